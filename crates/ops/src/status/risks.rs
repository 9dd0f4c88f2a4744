//! What stands in the way of a recovery or could, each with the command that helps. Pure.

use std::time::Duration;

use lifeboat_model::{Outcome, ServiceName, TierName, Timestamp};
use lifeboat_plan::Plan;

use super::history::Attempt;
use super::proof::ProofState;
use super::rehearsals::Rehearsed;
use super::{
    AssetOnTier, AssetStatus, Facts, Lived, Objective, Risk, StatusReport, TierStatus, Verdict,
};
use crate::daemon::report::JobsReport;
use crate::ending::Ending;
use crate::objectives::exposure;
use crate::residence::Residence;
use crate::retention::hold::Hold;
use crate::schedule::Task;

/// How late a task may be before somebody is told: longer than the daemon takes to look around.
const LATE: Duration = Duration::from_mins(15);

/// Returns the risks, the worst first.
pub(super) fn of(report: &StatusReport, facts: &Facts, plan: &Plan) -> Vec<Risk> {
    let mut found = Found::default();
    // Of what is recorded nowhere here nothing else could be said.
    if report.unrecorded.is_empty() {
        for asset in &report.assets {
            of_asset(asset, plan, &mut found);
        }
        for tier in &report.tiers {
            of_tier(tier, (report, plan), &mut found);
        }
    } else {
        of_blank_catalog(report, &mut found);
    }
    of_key(report, facts, &mut found);
    if let Some(place) = &report.place {
        of_place(place, &mut found);
    }
    for hold in &report.holds {
        of_hold(hold, &mut found);
    }
    // What restore tests show is said of the assets that they prove.
    for drill in report.rehearsals.iter().filter(|it| matches!(it.task, Task::Drill(_))) {
        of_drill(drill, &mut found);
    }
    of_scenarios(report, &mut found);
    if let Some(activity) = &report.activity {
        of_activity(activity, report.now, &mut found);
    }
    let mut risks = found.0;
    risks.sort_by_key(|risk| std::cmp::Reverse(risk.verdict));
    risks
}

#[derive(Default)]
struct Found(Vec<Risk>);

impl Found {
    fn add(
        &mut self,
        verdict: Verdict,
        subject: &(impl ToString + ?Sized),
        message: impl Into<String>,
        command: impl Into<String>,
    ) {
        let (subject, message) = (subject.to_string(), message.into());
        self.0.push(Risk { verdict, subject, message, command: Some(command.into()) });
    }
}

/// A host whose state was lost, or that is new, knows of nothing that lies on the tiers.
fn of_blank_catalog(report: &StatusReport, found: &mut Found) {
    let names: Vec<_> = report.unrecorded.iter().map(TierName::as_str).collect();
    let names = names.join(", ");
    let message = format!("no record on this host of what may lie on {names}");
    found.add(Verdict::Unknown, "catalog", message, "lifeboat catalog rebuild");
}

/// Where the platform stands still or nobody knows where it lives nothing is captured any more.
fn of_place(place: &Lived, found: &mut Found) {
    match &place.residence {
        Residence::Disputed { .. } => {
            let message = "several places say that it lives there, so none captures anything";
            found.add(Verdict::No, "platform", message, "lifeboat place show");
        }
        Residence::Left { whereabouts, .. } => {
            let message = format!("stands still since {whereabouts} handed it over");
            found.add(Verdict::Unknown, "platform", message, "lifeboat recover SCENARIO");
        }
        Residence::Lives { .. } | Residence::Unsaid => {}
    }
    if let Some(begun) = place.hand_over.as_ref().filter(|begun| !begun.goes_on()) {
        let names: Vec<_> = begun.stopped.iter().map(ServiceName::as_str).collect();
        let names = names.join(", ");
        let message = format!("a hand-over was cut short, which stopped {names}");
        found.add(Verdict::Unknown, "platform", message, "lifeboat place hand-over --take-back");
    }
}

/// While retention is held the tiers grow.
fn of_hold(hold: &Hold, found: &mut Found) {
    let message = format!("held since {:.0}: {}", hold.since, hold.reason);
    let command = if hold.run.is_some() { "recover status" } else { "retention show" };
    found.add(Verdict::Yes, "retention", message, format!("lifeboat {command}"));
}

fn of_asset(status: &AssetStatus, plan: &Plan, found: &mut Found) {
    let asset = &status.asset;
    let backup = format!("lifeboat backup {asset}");
    match status.objective {
        Objective::Missed if status.exposure_s.is_none() => {
            found.add(Verdict::No, asset, nothing_there(status), backup);
        }
        Objective::Missed => {
            found.add(Verdict::No, asset, "would lose more than rpo and grace allow", backup);
        }
        Objective::AtRisk => found.add(Verdict::Yes, asset, "beyond its rpo", backup),
        Objective::Unknown
            if status.exposure_s.is_some() && status.tiers.iter().any(|on| on.wants_log) =>
        {
            let message = "how far its log leads could not be looked at";
            found.add(Verdict::Unknown, asset, message, "lifeboat wal status");
        }
        Objective::Unknown => {
            let message = "no tier of it could be looked at";
            found.add(Verdict::Unknown, asset, message, "lifeboat check");
        }
        Objective::Met | Objective::None => {}
    }
    for on in &status.tiers {
        of_asset_on_tier(status, on, found);
    }
    of_comeback(status, found);
    of_proof(status, plan, found);
}

/// Says why there is nothing to bring back: it was never tried, never came about, or is gone.
fn nothing_there(status: &AssetStatus) -> &'static str {
    if status.tiers.iter().any(|on| on.snapshots_missing > 0) {
        return "no snapshot is left on any tier";
    }
    if status.tiers.iter().any(|on| on.last_attempt.is_some()) {
        return "no backup ever succeeded";
    }
    "never captured"
}

fn of_asset_on_tier(status: &AssetStatus, on: &AssetOnTier, found: &mut Found) {
    let (asset, tier) = (&status.asset, &on.tier);
    let subject = format!("{asset} on {tier}");
    let backup = format!("lifeboat backup {asset}");
    let is_seen = on.objective != Objective::Unknown;
    if on.snapshots_missing > 0 {
        let message = format!("{} snapshots are gone", on.snapshots_missing);
        found.add(Verdict::Unknown, &subject, message, "lifeboat points");
    } else if on.captured.is_none() && status.exposure_s.is_some() && is_seen {
        found.add(Verdict::Unknown, &subject, "there is no copy", &backup);
    }
    if on.behind > 0 && on.captured.is_some() && is_seen {
        let message = format!("{} captures behind", on.behind);
        found.add(Verdict::Yes, &subject, message, format!("lifeboat tiers catch-up {tier}"));
    }
    if let Some(attempt) = on.last_attempt.as_ref().filter(|a| a.ending != Ending::Succeeded) {
        let why = attempt.message.as_deref().unwrap_or("it does not say why");
        let message = format!("the last backup: {}: {why}", attempt.ending);
        found.add(Verdict::Yes, &subject, message, backup);
    }
    if let Some(log) = on.log.filter(|_| on.wants_log) {
        if log.missing > 0 {
            let message = format!("the log has a hole of {} segments", log.missing);
            found.add(Verdict::Unknown, &subject, message, "lifeboat wal catch-up");
        } else if log.archived.is_none() {
            let message = "no log was ever archived";
            found.add(Verdict::Unknown, &subject, message, "lifeboat wal status");
        }
    }
}

fn of_comeback(status: &AssetStatus, found: &mut Found) {
    let asset = &status.asset;
    let look = format!("lifeboat restore {asset} --dry-run");
    match status.comeback.objective {
        Objective::Missed => {
            found.add(Verdict::Unknown, asset, "took longer to come back than its rto", look);
        }
        Objective::AtRisk => {
            found.add(Verdict::Yes, asset, "may take longer to come back than its rto", look);
        }
        _ => {}
    }
}

fn of_proof(status: &AssetStatus, plan: &Plan, found: &mut Found) {
    let (asset, proof) = (&status.asset, &status.proof);
    let mut tests = plan.restore_tests().iter().filter(|(_, test)| test.assets.includes(asset));
    let prove = tests.next().map_or_else(
        || format!("lifeboat verify --restore {asset}"),
        |(test, _)| format!("lifeboat test {test}"),
    );
    let verdict = match proof.state {
        ProofState::Failed => Verdict::No,
        ProofState::NeedsProof => Verdict::Unknown,
        ProofState::Never if proof.is_asked && status.exposure_s.is_some() => Verdict::Unknown,
        ProofState::Never | ProofState::Proven => return,
    };
    let why = proof.why.as_deref().unwrap_or("was never proven to come back");
    found.add(verdict, asset, why, prove);
}

fn of_tier(status: &TierStatus, (report, plan): (&StatusReport, &Plan), found: &mut Found) {
    let (tier, now) = (&status.tier, report.now);
    if let Some(trouble) = &status.trouble {
        let verdict = if trouble.is_known() { Verdict::No } else { Verdict::Unknown };
        found.add(verdict, tier, trouble.message.as_str(), "lifeboat check");
        return;
    }
    if let Some(from) = &status.moved_from {
        let message = format!(
            "nothing is at {} yet, where it is to be by the plan; what lies at {from} no longer counts",
            status.address
        );
        found.add(Verdict::Unknown, tier, message, "lifeboat backup");
        return;
    }
    if status.gone > 0 {
        let message = format!("{} recorded snapshots are gone from it", status.gone);
        found.add(Verdict::Unknown, tier, message, format!("lifeboat verify {tier}"));
    }
    if status.snapshots.unwrap_or(0) == 0 {
        return;
    }
    if let Some(weak) = &status.weak_lock {
        found.add(Verdict::Unknown, tier, weak.as_str(), "lifeboat check");
    }
    let command = format!("lifeboat verify {tier}");
    let cycle = Duration::from(plan.verification().full_within);
    match &status.verified {
        None => found.add(Verdict::Unknown, tier, "never verified", command),
        Some(verified) if verified.outcome == Outcome::Failed => {
            let message = "found damaged, and not read whole without damage since";
            // A backup stores again what damaged packs held and is still on the disk; reading all of it proves that.
            let is_anew = is_stored_anew(tier, verified.time, &report.assets);
            let command = if is_anew { command } else { "lifeboat backup".to_owned() };
            found.add(Verdict::No, tier, message, command);
        }
        Some(verified) => {
            if verified.outcome == Outcome::CouldNotVerify || exposure(verified.time, now) > cycle {
                let message = format!("not verified within {} d", cycle.as_secs() / 86_400);
                found.add(Verdict::Unknown, tier, message, command);
            }
        }
    }
}

/// Tells whether every asset that goes to a tier was stored there since some time.
fn is_stored_anew(tier: &TierName, since: Timestamp, assets: &[AssetStatus]) -> bool {
    let is_new = |attempt: &Attempt| attempt.ending == Ending::Succeeded && attempt.time > since;
    let mut there = assets.iter().flat_map(|asset| &asset.tiers).filter(|on| on.tier == *tier);
    there.all(|on| on.last_attempt.as_ref().is_some_and(is_new))
}

fn of_key(report: &StatusReport, facts: &Facts, found: &mut Found) {
    if let Some(file) = &facts.key_lacking {
        let message = format!(
            "it is not in {}: without it nothing is backed up, and nothing comes back, on this host",
            file.display()
        );
        found.add(Verdict::Unknown, "recovery key", message, "lifeboat check");
    }
    if report.key_confirmed.is_none() {
        let message = "nobody confirmed that it is kept away from this host";
        found.add(Verdict::Unknown, "recovery key", message, "lifeboat key confirm");
    }
}

fn of_drill(rehearsal: &Rehearsed, found: &mut Found) {
    let task = &rehearsal.task;
    let run = format!("lifeboat jobs run {task}");
    match &rehearsal.last {
        None => found.add(Verdict::Unknown, task, "never ran", run),
        Some(last) if last.ending != Ending::Succeeded => {
            let why = last.message.as_deref().unwrap_or("it does not say why");
            let verdict = match last.ending {
                Ending::Failed => Verdict::No,
                _ => Verdict::Unknown,
            };
            found.add(verdict, task, format!("{}: {why}", last.ending), run);
        }
        Some(_) => {}
    }
}

fn of_scenarios(report: &StatusReport, found: &mut Found) {
    for status in report.scenarios.iter().filter(|it| it.objective == Objective::Missed) {
        let command = format!("lifeboat recover {} --dry-run", status.scenario);
        let message = "recovering took longer than its rto";
        found.add(Verdict::Unknown, &status.scenario, message, command);
    }
}

/// Says of the daemon what keeps things from being done.
fn of_activity(activity: &JobsReport, now: Timestamp, found: &mut Found) {
    match &activity.daemon {
        None => found.add(
            Verdict::Yes,
            "daemon",
            "none runs: nothing is done by itself",
            "lifeboat serve",
        ),
        Some(served) if served.trouble.is_some() => {
            let message = "the one on disk does not hold; the one before stays in force";
            found.add(Verdict::Yes, "plan", message, "lifeboat check");
        }
        Some(served) if served.plan != activity.plan => {
            found.add(Verdict::Yes, "plan", "the one on disk is not in force", "lifeboat reload");
        }
        Some(_) => {}
    }
    if let Some(pause) = &activity.pause {
        let message = format!("{} paused everything: {}", pause.by, pause.why);
        found.add(Verdict::Yes, "daemon", message, "lifeboat resume");
    }
    for run in &activity.next {
        let runs = activity.jobs.iter().any(|job| job.task() == Some(&run.task));
        let is_late = run.held.is_none() && exposure(run.at, now) > LATE;
        if is_late && !runs && run.task != Task::Delivery {
            let at = run.at.strftime("%Y-%m-%d %H:%M");
            let command = format!("lifeboat jobs run {}", run.task);
            found.add(
                Verdict::Yes,
                &run.task,
                format!("was due at {at} UTC and did not run"),
                command,
            );
        }
    }
}
