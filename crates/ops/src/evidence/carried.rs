//! Evidence of a runbook that was carried out: its journal, told as a record. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lifeboat_model::{AssetName, CheckName, Outcome, ScenarioName, StepName, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::runbook::{Action, Step as PlannedStep};
use lifeboat_plan::plan::scenario::Scenario;
use lifeboat_runbook::entry::{AttemptEnding, Found};
use lifeboat_runbook::{Course, Entry, Fact, Mood, Output, Outputs, Phase, Run, Stand, Step};
use sha2::{Digest as _, Sha256};

use super::Drilled;
use super::document::{
    AssetKept, Attempt, CheckKept, Counted, Decided, Delivery, Facts, Finding, JournalKept, Kind,
    LIST_MAX, Limited, Mode, ObjectiveKept, Place, Rejected, Source, StepLog, TakenKept, TimesKept,
    bounded, rows, text,
};
use super::expected::{asked, expected};
use super::measure::{estimates, is_of_scenario, objectives};
use crate::catalog::body::Restored;
use crate::ending::Ending;
use crate::procedure::Procedure;
use crate::procedure::conduct::{DECLARED_BY, HOST, HOSTNAME, POINT, POINT_TIME, REJECTED};
use crate::procedure::deed::{ROWS, SHOWN, TABLES};
use crate::procedure::outlook::RejectedPoint;
use crate::procedure::report::{milliseconds, stand};

/// A run that is over, with all that is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Carried<'a> {
    /// The plan by which it was carried out.
    pub plan: &'a Plan,
    /// What was carried out.
    pub procedure: &'a Procedure,
    /// What its journal adds up to.
    pub run: &'a Run,
    /// Its journal.
    pub entries: &'a [Entry],
    /// What the catalog recorded of restores meanwhile.
    pub restored: &'a [Restored],
}

impl Carried<'_> {
    /// Says what the run proves; of a drill also what became of its sandbox.
    pub(super) fn facts(&self, drilled: Option<&Drilled>) -> Facts {
        let mut not_verified =
            drilled.map(|drilled| drilled.not_verified.clone()).unwrap_or_default();
        let steps = self.steps();
        let mut checks = self.checks();
        checks.extend(drilled.into_iter().flat_map(|drilled| drilled.points.clone()));
        let counts = self.counts(&checks);
        self.note_unverified(&checks, &counts, &mut not_verified);
        let objectives = objectives(self.plan, self.procedure, self.run);
        let unmeasured = objectives.iter().filter(|kept| kept.outcome == Outcome::CouldNotVerify);
        not_verified.extend(unmeasured.map(|kept| format!("{}: {}", kept.of, kept.message)));
        let outcome = self.outcome(drilled, &checks, &objectives);
        let findings = self.findings(&objectives, &checks, drilled);
        let (started, run) = (self.run.declared(), self.run.began().run.to_string());
        let decisions = bounded(self.decisions(), "decisions", &mut not_verified);
        Facts {
            of: if drilled.is_some() { Kind::Drill } else { Kind::Recovery },
            run,
            subject: self.procedure.name().to_string(),
            title: text(self.procedure.title()),
            hypothesis: hypothesis(self.procedure.name(), self.procedure.scenario()),
            mode: if drilled.is_some() { Mode::Sandbox } else { Mode::Live },
            trigger: self.trigger(drilled),
            operators: self.operators(),
            decisions,
            declared: started,
            ended: self.run.last_time(),
            outcome,
            ending: self.ending(),
            runbook: Some(self.run.began().runbook),
            source: self.source(),
            place: self.place(drilled),
            steps: bounded(steps, "steps", &mut not_verified),
            times: self.times(),
            objectives: bounded(objectives, "objectives", &mut not_verified),
            estimates: bounded(estimates(self.procedure, self.run), "estimates", &mut not_verified),
            counts,
            taken: self.taken(),
            notifications: bounded(self.notifications(drilled), "notifications", &mut not_verified),
            checks: bounded(checks, "checks", &mut not_verified),
            teardown: drilled.map(|drilled| drilled.teardown.clone()),
            teardown_absent: drilled
                .is_none()
                .then(|| "a recovery stays: nothing of it is torn down".to_owned()),
            findings: bounded(findings, "findings", &mut not_verified),
            journal: Some(JournalKept { last: self.run.last(), entries: self.run.count() }),
            not_verified: bounded(not_verified, "reasons", &mut Vec::new()),
        }
    }

    fn about(&self, key: &str) -> Option<&str> {
        self.run.began().about.get(key).map(String::as_str)
    }

    /// Returns the steps, each as the plan has it, as the run knows it, and how far it is.
    fn courses(&self) -> impl Iterator<Item = (&PlannedStep, &Step, &Course)> {
        self.procedure.steps().iter().filter_map(|planned| {
            let (step, course) = self.run.step(&planned.id)?;
            Some((planned, step, course))
        })
    }

    fn trigger(&self, drilled: Option<&Drilled>) -> String {
        let by = self.about(DECLARED_BY).unwrap_or("somebody");
        drilled.map_or_else(|| format!("declared by {by}"), |drilled| text(&drilled.trigger))
    }

    fn operators(&self) -> Vec<String> {
        let taken = self.entries.iter().filter_map(|entry| match &entry.fact {
            Fact::Taken { by } => Some(by.to_string()),
            _ => None,
        });
        let operators: BTreeSet<_> = taken.collect();
        operators.into_iter().collect()
    }

    fn decisions(&self) -> Vec<Decided> {
        let decided = |entry: &Entry| {
            let (by, right, what, step, why) = match &entry.fact {
                Fact::Approved { step, by, right, note } => {
                    (by, Some(right), "approved", Some(step), Some(note))
                }
                Fact::Confirmed { step, by, note, .. } => {
                    (by, None, "confirmed", Some(step), Some(note))
                }
                Fact::Declined { step, by, why } => (by, None, "declined", Some(step), Some(why)),
                Fact::Skipped { step, by, why } => (by, None, "skipped", Some(step), Some(why)),
                Fact::Retried { step, by } => (by, None, "retried", Some(step), None),
                Fact::Paused { by, why } => (by, None, "paused", None, Some(why)),
                Fact::Resumed { by } => (by, None, "resumed", None, None),
                Fact::Aborted { by, why } => (by, None, "aborted", None, Some(why)),
                _ => return None,
            };
            let why = why.filter(|why| !why.is_empty()).map(|why| text(why));
            Some(Decided {
                time: entry.time,
                by: by.clone(),
                right: right.cloned(),
                what: what.to_owned(),
                step: step.cloned(),
                why,
            })
        };
        self.entries.iter().filter_map(decided).collect()
    }

    fn ending(&self) -> String {
        match self.run.mood() {
            Mood::Finished(outcome) => outcome.to_string(),
            _ => "open".to_owned(),
        }
    }

    /// What a person skipped is not proven, so a run that did not do everything could not verify; what was undone failed. What
    /// was to be shown is also that it comes back in time and loses no more than it may.
    fn outcome(
        &self,
        drilled: Option<&Drilled>,
        checks: &[CheckKept],
        objectives: &[ObjectiveKept],
    ) -> Outcome {
        let ended = match self.run.mood() {
            Mood::Finished(lifeboat_runbook::Outcome::Succeeded) => Outcome::Passed,
            Mood::Finished(lifeboat_runbook::Outcome::Incomplete) => {
                let failed =
                    self.courses().any(|(.., course)| matches!(course.stand, Stand::Failed(_)));
                if failed { Outcome::Failed } else { Outcome::CouldNotVerify }
            }
            _ => Outcome::Failed,
        };
        let checks = checks.iter().map(|check| check.outcome).max();
        let teardown = drilled.map(|drilled| drilled.teardown.outcome);
        let own = objectives.iter().filter(|kept| is_of_scenario(kept));
        let objectives = own.map(|kept| kept.outcome);
        checks.into_iter().chain(teardown).chain(objectives).fold(ended, Outcome::max)
    }

    fn source(&self) -> Source {
        let rejected: Vec<RejectedPoint> = self
            .about(REJECTED)
            .and_then(|rejected| serde_json::from_str(rejected).ok())
            .unwrap_or_default();
        let rejected = rejected.into_iter();
        Source {
            point: self.about(POINT).map(str::to_owned),
            target_time: self.about(POINT_TIME).and_then(|time| time.parse().ok()),
            rejected: rejected
                .map(|point| Rejected { name: point.name, why: text(&point.why) })
                .collect(),
            assets: self.assets(),
        }
    }

    fn assets(&self) -> Vec<AssetKept> {
        let assets = self.courses().filter_map(|(planned, _, course)| {
            let Action::Restore(restore) = &planned.action else { return None };
            let asset = restore.restore.asset.clone();
            // Of several attempts the last one is what is there.
            let recorded = self.restored.iter().rev().find(|restored| restored.asset == asset);
            let (outcome, message) = match (&course.stand, recorded) {
                (Stand::Done, _) => (Outcome::Passed, counted_text(&course.outputs)),
                (Stand::Failed(failure), _) => (Outcome::Failed, text(&failure.why)),
                (_, Some(restored)) if restored.ending != Ending::Succeeded => {
                    (Outcome::Failed, restored.ending.to_string())
                }
                (other, _) => (Outcome::CouldNotVerify, stand(other, &course.undo).to_owned()),
            };
            Some(AssetKept {
                asset,
                tier: recorded.map(|restored| restored.tier.clone()),
                snapshot: recorded.map(|restored| restored.snapshot),
                time: time_of(&course.outputs),
                lsn: text_of(&course.outputs, "lsn").and_then(|lsn| lsn.parse().ok()),
                target: text_of(&course.outputs, "target").map(text),
                outcome,
                message,
            })
        });
        assets.collect()
    }

    fn place(&self, drilled: Option<&Drilled>) -> Place {
        // Runs of earlier versions tell only what their runbooks called it.
        let host = self.about(HOSTNAME).or(self.about(HOST)).unwrap_or("?").to_owned();
        match drilled {
            Some(drilled) => Place {
                host,
                sandbox: Some(drilled.sandbox.clone()),
                network: text(&drilled.network),
            },
            None => {
                Place { host, sandbox: None, network: "that of the platform itself".to_owned() }
            }
        }
    }

    fn steps(&self) -> Vec<StepLog> {
        let attempts = attempts(self.entries);
        let log = |(planned, step, course): (&PlannedStep, &Step, &Course)| StepLog {
            step: planned.id.to_string(),
            title: planned.title.as_deref().map(text),
            action: Some(planned.action.kind().to_owned()),
            phase: step.phase.name().to_owned(),
            stand: stand(&course.stand, &course.undo).to_owned(),
            why: why(&course.stand),
            started: course.begun.map(|(_, begun)| begun),
            ended: course.ended,
            took_ms: took(course).map(milliseconds),
            attempts: attempts.get(&planned.id).cloned().unwrap_or_default(),
        };
        self.courses().map(log).collect()
    }

    fn times(&self) -> TimesKept {
        let times = self.run.times(self.run.last_time());
        let phase = |phase: Phase| {
            let took = times.phases.get(&phase).copied().unwrap_or_default();
            (phase.name().to_owned(), milliseconds(took))
        };
        TimesKept {
            total_ms: milliseconds(times.total),
            phases_ms: PHASES.into_iter().map(phase).collect(),
            people_ms: milliseconds(times.people),
            standstill_ms: milliseconds(times.standstill),
        }
    }

    /// Every check of every step: of those that are done what was shown, of others why not.
    fn checks(&self) -> Vec<CheckKept> {
        let mut checks = Vec::new();
        for (planned, _, course) in self.courses() {
            for name in asked_by(planned) {
                let shown = text_of(&course.outputs, &format!("{SHOWN}{name}"));
                let (outcome, actual) = match (shown, &course.stand) {
                    (Some(shown), _) => (Outcome::Passed, shown.to_owned()),
                    (None, Stand::Failed(failure)) => failed_check(&name, &failure.why),
                    (None, Stand::Done) => (
                        Outcome::CouldNotVerify,
                        "the step is done, and what it showed is not known".to_owned(),
                    ),
                    (None, other) => {
                        let stand = stand(other, &course.undo);
                        (Outcome::CouldNotVerify, format!("it was not asked: its step is {stand}"))
                    }
                };
                checks.push(CheckKept {
                    expected: text(&expected(self.plan, &name)),
                    name,
                    step: Some(planned.id.to_string()),
                    actual: text(&actual),
                    outcome,
                    took_ms: None,
                });
            }
        }
        checks
    }

    fn counts(&self, checks: &[CheckKept]) -> Vec<Counted> {
        let counts = self.courses().filter_map(|(planned, _, course)| {
            let Action::Restore(restore) = &planned.action else { return None };
            let asset = &restore.restore.asset;
            Some(Counted {
                asset: asset.to_string(),
                files: number_of(&course.outputs, "files"),
                bytes: number_of(&course.outputs, "bytes"),
                rows: rows(compared_text(&course.outputs), self.showed(asset, checks)),
                sample: None,
                hashes: (course.stand == Stand::Done)
                    .then(|| "each file is held to the hash of its content".to_owned()),
            })
        });
        counts.collect()
    }

    /// Returns what the checks showed that ask an asset, the last word of each.
    fn showed(
        &self,
        asset: &AssetName,
        checks: &[CheckKept],
    ) -> impl Iterator<Item = (String, String)> + use<> {
        let asks = |check: &&CheckKept| {
            let probe =
                check.name.parse().ok().and_then(|name: CheckName| self.plan.checks().get(&name));
            let asked = probe.and_then(|probe| asked(self.plan, probe));
            check.outcome != Outcome::CouldNotVerify && asked.is_some_and(|it| it.contains(asset))
        };
        let showed = checks.iter().filter(asks);
        let showed: BTreeMap<_, _> =
            showed.map(|check| (format!("check {}", check.name), check.actual.clone())).collect();
        showed.into_iter()
    }

    fn taken(&self) -> Vec<TakenKept> {
        let taken = self.courses().filter_map(|(planned, _, course)| {
            let Action::Evidence(_) = &planned.action else { return None };
            Some(TakenKept {
                step: planned.id.to_string(),
                to: text(text_of(&course.outputs, "target")?),
                sha256: text_of(&course.outputs, "digest")?.to_owned(),
                files: number_of(&course.outputs, "files"),
                bytes: number_of(&course.outputs, "bytes"),
            })
        });
        taken.collect()
    }

    fn notifications(&self, drilled: Option<&Drilled>) -> Vec<Delivery> {
        let told = self.courses().filter_map(|(planned, _, course)| {
            let Action::Notify(notify) = &planned.action else { return None };
            let outcome = match course.stand {
                Stand::Done if drilled.is_some() => Outcome::CouldNotVerify,
                Stand::Done => Outcome::Passed,
                Stand::Failed(_) => Outcome::Failed,
                _ => Outcome::CouldNotVerify,
            };
            let simulated = (drilled.is_some() && course.stand == Stand::Done)
                .then(|| "a drill tells nobody outside of it".to_owned());
            let why = why(&course.stand).or(simulated).or_else(|| {
                (outcome != Outcome::Passed).then(|| stand(&course.stand, &course.undo).to_owned())
            });
            Some(Delivery {
                step: planned.id.to_string(),
                via: notify.notify.via.iter().map(ToString::to_string).collect(),
                time: course.ended,
                outcome,
                why,
                acknowledged: None,
            })
        });
        told.collect()
    }

    fn note_unverified(
        &self,
        checks: &[CheckKept],
        counts: &[Counted],
        not_verified: &mut Vec<String>,
    ) {
        let checks = checks.iter().filter(|check| check.outcome == Outcome::CouldNotVerify);
        not_verified
            .extend(checks.map(|check| format!("check `{}`: {}", check.name, check.actual)));
        for (planned, _, course) in self.courses() {
            match &course.stand {
                Stand::Skipped { by, why } => {
                    not_verified
                        .push(text(&format!("step `{}`, which {by} skipped: {why}", planned.id)));
                }
                Stand::LeftOut { why } => {
                    not_verified
                        .push(text(&format!("step `{}`, which was left out: {why}", planned.id)));
                }
                Stand::Waiting
                | Stand::Asked { .. }
                | Stand::Interrupted
                | Stand::Retrying { .. } => {
                    not_verified.push(format!("step `{}`, which was not done", planned.id));
                }
                Stand::Running { .. } | Stand::Failed(_) | Stand::Done => {}
            }
        }
        let uncounted = counts.iter().filter(|counted| counted.rows.is_none());
        let databases = uncounted.filter(|counted| self.is_database(&counted.asset));
        not_verified.extend(databases.map(|counted| {
            format!("rows of `{}`: none were counted, and no check asks for them", counted.asset)
        }));
    }

    fn is_database(&self, asset: &str) -> bool {
        let asset = asset.parse().ok().and_then(|name: AssetName| self.plan.assets().get(&name));
        asset.is_some_and(|asset| asset.postgres().is_some())
    }

    /// What failed, was skipped or took too long is to be mended; the owner of the plan answers for it.
    fn findings(
        &self,
        objectives: &[ObjectiveKept],
        checks: &[CheckKept],
        drilled: Option<&Drilled>,
    ) -> Vec<Finding> {
        let mut what = Vec::new();
        for (planned, _, course) in self.courses() {
            match &course.stand {
                Stand::Failed(failure) => {
                    what.push(format!("step `{}` failed: {}", planned.id, failure.why));
                }
                Stand::Skipped { why, .. } => {
                    what.push(format!("step `{}` was skipped: {why}", planned.id));
                }
                _ => {}
            }
        }
        let failed = checks.iter().filter(|check| check.outcome == Outcome::Failed);
        what.extend(failed.map(|check| format!("check `{}` failed", check.name)));
        let missed = objectives.iter().filter(|kept| kept.outcome == Outcome::Failed);
        what.extend(missed.map(|kept| format!("the {} of {} is missed", limited(kept), kept.of)));
        let owner = self.plan.about().owner.as_ref();
        let own = what.into_iter().map(|what| Finding {
            what: text(&what),
            owner: owner.cloned(),
            due: None,
            closed_by: None,
        });
        drilled.into_iter().flat_map(|drilled| drilled.findings.clone()).chain(own).collect()
    }
}

/// The parts of a run's time, all of which are told.
const PHASES: [Phase; 7] = [
    Phase::Decide,
    Phase::Prepare,
    Phase::Fetch,
    Phase::Restore,
    Phase::Replay,
    Phase::Start,
    Phase::Validate,
];

/// The times of what never began.
pub(super) fn no_times() -> TimesKept {
    let phases_ms = PHASES.into_iter().map(|phase| (phase.name().to_owned(), 0)).collect();
    TimesKept { total_ms: 0, phases_ms, people_ms: 0, standstill_ms: 0 }
}

/// What the runbook of a scenario is to show.
pub(super) fn hypothesis(name: &ScenarioName, scenario: &Scenario) -> String {
    let within = scenario.rto.map_or_else(String::new, |rto| format!(" within {rto}"));
    let loss =
        scenario.rpo.map_or_else(String::new, |rpo| format!(" with a loss of at most {rpo}"));
    format!("after `{name}` the platform is back{within}{loss}")
}

const fn limited(kept: &ObjectiveKept) -> &'static str {
    match kept.limited {
        Limited::Rto => "RTO",
        Limited::Rpo => "RPO",
    }
}

/// The checks that a step asks, by name.
fn asked_by(planned: &PlannedStep) -> Vec<String> {
    use lifeboat_plan::plan::runbook::Wait;
    let own: &[lifeboat_model::CheckName] = match &planned.action {
        Action::Check(check) => &check.check,
        Action::Wait(wait) => match &wait.wait {
            Wait::Until(until) => &until.until,
            Wait::For(_) => &[],
        },
        _ => &[],
    };
    let names: BTreeSet<_> = own.iter().chain(&planned.check).map(ToString::to_string).collect();
    names.into_iter().collect()
}

/// Finds what a failed step says of one of its checks.
fn failed_check(name: &str, why: &str) -> (Outcome, String) {
    let said = |outcome: Outcome| {
        let begin = format!("check `{name}` {outcome}: ");
        let from = why.find(&begin)? + begin.len();
        let rest = &why[from..];
        let end = rest.find("; check `").unwrap_or(rest.len());
        Some((outcome, rest[..end].to_owned()))
    };
    let other = || (Outcome::CouldNotVerify, format!("it was not asked, or passed: {why}"));
    said(Outcome::Failed).or_else(|| said(Outcome::CouldNotVerify)).unwrap_or_else(other)
}

fn why(stand: &Stand) -> Option<String> {
    match stand {
        Stand::Failed(failure) => Some(text(&failure.why)),
        Stand::LeftOut { why } => Some(text(why)),
        Stand::Skipped { by, why } => Some(text(&format!("{by}: {why}"))),
        _ => None,
    }
}

fn took(course: &Course) -> Option<Duration> {
    let (_, begun) = course.begun?;
    Duration::try_from(course.ended?.duration_since(begun)).ok()
}

fn text_of<'o>(outputs: &'o Outputs, name: &str) -> Option<&'o str> {
    match outputs.get(name)? {
        Output::Text(text) => Some(text),
        _ => None,
    }
}

fn number_of(outputs: &Outputs, name: &str) -> Option<u64> {
    match outputs.get(name)? {
        Output::Number(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn time_of(outputs: &Outputs) -> Option<Timestamp> {
    match outputs.get("time")? {
        Output::Time(time) => Some(*time),
        _ => None,
    }
}

/// Says how much of a database is as it was counted at its backup: what differs is not put in its place.
fn compared_text(outputs: &Outputs) -> Option<String> {
    let (tables, rows) = (number_of(outputs, TABLES)?, number_of(outputs, ROWS)?);
    Some(format!("{tables} tables with {rows} rows are as they were counted"))
}

fn counted_text(outputs: &Outputs) -> String {
    if let Some(compared) = compared_text(outputs) {
        return compared;
    }
    match (number_of(outputs, "files"), number_of(outputs, "bytes")) {
        (Some(files), Some(bytes)) => format!("{files} files with {bytes} bytes"),
        _ => "it came back".to_owned(),
    }
}

/// Gathers every attempt at every step from the entries.
fn attempts(entries: &[Entry]) -> BTreeMap<StepName, Vec<Attempt>> {
    let mut attempts: BTreeMap<StepName, Vec<Attempt>> = BTreeMap::new();
    for entry in entries {
        match &entry.fact {
            Fact::Started { step, .. } | Fact::Asked { step } | Fact::UndoStarted { step } => {
                attempts.entry(step.clone()).or_default().push(Attempt {
                    started: entry.time,
                    ended: None,
                    how: "interrupted".to_owned(),
                    exit: None,
                    why: None,
                    output_sha256: None,
                });
            }
            fact => {
                let Some((step, how, exit, why, said)) = ended(fact) else { continue };
                if let Some(last) = attempts.get_mut(step).and_then(|own| own.last_mut()) {
                    last.ended = Some(entry.time);
                    how.clone_into(&mut last.how);
                    (last.exit, last.why, last.output_sha256) = (exit, why, said);
                }
            }
        }
    }
    for own in attempts.values_mut() {
        own.truncate(LIST_MAX);
    }
    attempts
}

/// How an attempt ended: at which step, how, with which code, why, and the hash of what it said.
type AttemptEnd<'f> = (&'f StepName, &'static str, Option<i32>, Option<String>, Option<String>);

fn ended(fact: &Fact) -> Option<AttemptEnd<'_>> {
    let done = |outputs: &Outputs| {
        let said = text_of(outputs, "output");
        let hash = said.map(|said| hex::encode(Sha256::digest(said.as_bytes())));
        (said.map(|_| 0), hash)
    };
    Some(match fact {
        Fact::Ended { step, ending } => match ending {
            AttemptEnding::Done { outputs } => {
                let (exit, said) = done(outputs);
                (step, "done", exit, None, said)
            }
            AttemptEnding::Failed(failure) => {
                (step, "failed", failure.exit, Some(text(&failure.why)), None)
            }
            AttemptEnding::Stopped => (step, "stopped", None, None, None),
        },
        Fact::Found { step, found } => match found {
            Found::Done { outputs } => (step, "found done", None, None, done(outputs).1),
            Found::NotDone { why } => (step, "found not done", None, Some(text(why)), None),
            Found::Unclear { why } => (step, "unclear", None, Some(text(why)), None),
        },
        Fact::Confirmed { step, .. } => (step, "confirmed", None, None, None),
        Fact::Approved { step, .. } => (step, "approved", None, None, None),
        Fact::Declined { step, why, .. } => (step, "declined", None, Some(text(why)), None),
        Fact::Elapsed { step } => (step, "elapsed", None, None, None),
        Fact::UndoEnded { step, failure: None } => (step, "undone", None, None, None),
        Fact::UndoEnded { step, failure: Some(failure) } => {
            (step, "undo failed", failure.exit, Some(text(&failure.why)), None)
        }
        _ => return None,
    })
}
