//! Evidence of a restore test: its record of the catalog, told as evidence. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use lifeboat_model::{Outcome, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_postgres::enclosure::Isolation;
use lifeboat_runbook::Phase;

use super::document::{
    AssetKept, CheckKept, Counted, Facts, Finding, Kind, Limited, Mode, ObjectiveKept, Place,
    Source, StepLog, Teardown, TimesKept, bounded, rows, text,
};
use super::expected::expected;
use super::measure::judged;
use crate::catalog::body::{AssetTested, RestoreTested, ServicesTested, TestPhase, TestedCheck};
use crate::recovery::verified::OF_PLAN;
use crate::restore_test::Trigger;

/// A restore test that is over, and of which nothing is left.
#[derive(Debug, Clone, Copy)]
pub struct TestedRestore<'a> {
    /// The plan by which it ran.
    pub plan: &'a Plan,
    /// What came of it.
    pub tested: &'a RestoreTested,
    /// What set it off.
    pub trigger: &'a Trigger,
    /// On which host it ran.
    pub host: &'a str,
    /// That nothing of it is left.
    pub teardown: &'a Teardown,
}

/// Tells of services that were started on what came back.
fn services(services: &ServicesTested) -> CheckKept {
    CheckKept {
        name: "services".to_owned(),
        step: None,
        expected: "they start on what came back, and are healthy".to_owned(),
        actual: text(&services.message),
        outcome: services.outcome,
        took_ms: Some(services.duration_ms),
    }
}

impl TestedRestore<'_> {
    /// Says what the test proves.
    pub(super) fn facts(&self) -> Facts {
        let tested = self.tested;
        let mut not_verified = Vec::new();
        let checks = tested.checks.iter().map(|check| self.check(check));
        let checks: Vec<_> = tested.services.iter().map(services).chain(checks).collect();
        let objectives = self.objectives();
        self.note_unverified(&checks, &objectives, &mut not_verified);
        let outcome = tested.outcome.max(self.teardown.outcome);
        let ended = after(tested.started, tested.duration_ms).max(self.teardown.time);
        Facts {
            of: Kind::RestoreTest,
            run: tested.job.to_string(),
            subject: tested.test.to_string(),
            title: format!("Restore test {}", tested.test),
            hypothesis: "every asset comes back as it was stored, and every check holds".to_owned(),
            mode: Mode::Sandbox,
            trigger: self.trigger.to_string(),
            operators: self.trigger.operator().into_iter().collect(),
            decisions: Vec::new(),
            declared: tested.started,
            ended,
            outcome,
            ending: outcome.to_string(),
            runbook: None,
            source: Source {
                point: Some(tested.at.clone()),
                target_time: tested.moment,
                rejected: Vec::new(),
                assets: tested.assets.iter().map(asset).collect(),
            },
            place: self.place(),
            steps: self.steps(),
            times: self.times(),
            findings: bounded(self.findings(&objectives), "findings", &mut not_verified),
            objectives,
            estimates: Vec::new(),
            checks: bounded(checks, "checks", &mut not_verified),
            counts: tested.assets.iter().map(|asset| self.counted(asset)).collect(),
            taken: Vec::new(),
            notifications: Vec::new(),
            teardown: Some(self.teardown.clone()),
            teardown_absent: None,
            journal: None,
            not_verified: bounded(not_verified, "reasons", &mut Vec::new()),
        }
    }

    fn check(&self, check: &TestedCheck) -> CheckKept {
        let result = &check.result;
        let findings = result.findings.join("; ");
        let more = if findings.is_empty() { String::new() } else { format!(": {findings}") };
        let name = result.name.strip_prefix(OF_PLAN).unwrap_or(&result.name).to_owned();
        CheckKept {
            expected: text(&expected(self.plan, &name)),
            name,
            step: None,
            actual: text(&format!("{}{more}", result.message)),
            outcome: result.outcome,
            took_ms: Some(result.duration_ms),
        }
    }

    /// A test shows how long it takes until each asset is there; what would be lost it does not show, as its moment is drawn.
    fn objectives(&self) -> Vec<ObjectiveKept> {
        let rto = self.tested.assets.iter().filter_map(|tested| {
            let rto = self.plan.assets().get(&tested.asset)?.rto?;
            let took = (tested.outcome == Outcome::Passed).then_some(tested.duration_ms);
            let message = match took {
                Some(_) => "until it was back in the sandbox",
                None => "it did not come back",
            };
            let of = format!("asset {}", tested.asset);
            Some(judged(&of, Limited::Rto, rto.duration(), took, message))
        });
        rto.collect()
    }

    fn place(&self) -> Place {
        let isolation = self.tested.assets.iter().filter_map(|asset| asset.isolation.as_ref());
        let worst =
            isolation.max_by_key(|isolation| matches!(isolation, Isolation::SettingsOnly { .. }));
        let network = match worst {
            Some(Isolation::Namespaces) => {
                "a network namespace of its own: nothing can be reached".to_owned()
            }
            Some(Isolation::SettingsOnly { why }) => {
                format!("no namespace of its own, only settings that reach nothing: {why}")
            }
            None => "no server ran: only files were written".to_owned(),
        };
        let sandbox = Some(self.tested.job.to_string());
        Place { host: self.host.to_owned(), sandbox, network: text(&network) }
    }

    /// A test has no runbook: its steps are the assets that come back, one after the other, and the asking.
    fn steps(&self) -> Vec<StepLog> {
        let asset = |tested: &AssetTested| StepLog {
            step: format!("bring back {}", tested.asset),
            title: None,
            action: Some("restore".to_owned()),
            phase: Phase::Restore.name().to_owned(),
            stand: tested.outcome.to_string(),
            why: (tested.outcome != Outcome::Passed).then(|| text(&tested.message)),
            started: None,
            ended: None,
            took_ms: Some(tested.duration_ms),
            attempts: Vec::new(),
        };
        let mut steps: Vec<_> = self.tested.assets.iter().map(asset).collect();
        let own = |name: &str, phase: TestPhase, stand: String| StepLog {
            step: name.to_owned(),
            title: None,
            action: Some("check".to_owned()),
            phase: Phase::Validate.name().to_owned(),
            stand,
            why: None,
            started: None,
            ended: None,
            took_ms: self.tested.phases_ms.get(&phase).copied(),
            attempts: Vec::new(),
        };
        for (asset, dump) in
            self.tested.assets.iter().filter_map(|a| a.dump.as_ref().map(|d| (&a.asset, d)))
        {
            steps.push(StepLog {
                took_ms: Some(dump.duration_ms),
                why: (dump.outcome != Outcome::Passed).then(|| text(&dump.message)),
                ..own(
                    &format!("load the dump of {asset}"),
                    TestPhase::Load,
                    dump.outcome.to_string(),
                )
            });
        }
        let asked = self.tested.checks.iter().map(|check| check.result.outcome).max();
        let asked = asked.map_or_else(|| "nothing is asked".to_owned(), |worst| worst.to_string());
        steps.push(own("ask", TestPhase::Check, asked));
        steps.push(own("tear down", TestPhase::Teardown, self.teardown.outcome.to_string()));
        steps
    }

    fn times(&self) -> TimesKept {
        let tested = self.tested;
        let of = |phase| tested.phases_ms.get(&phase).copied().unwrap_or(0);
        let phases: BTreeMap<_, _> = [
            (Phase::Decide, 0),
            (Phase::Prepare, 0),
            (Phase::Fetch, of(TestPhase::Fetch)),
            // Rows come back by loading, where there is nothing to replay.
            (Phase::Restore, of(TestPhase::Restore) + of(TestPhase::Load)),
            (Phase::Replay, of(TestPhase::Replay)),
            (Phase::Start, of(TestPhase::Services)),
            (Phase::Validate, of(TestPhase::Check)),
        ]
        .map(|(phase, ms)| (phase.name().to_owned(), ms))
        .into();
        TimesKept {
            total_ms: tested.duration_ms,
            phases_ms: phases,
            people_ms: 0,
            standstill_ms: tested.own_ms,
        }
    }

    fn counted(&self, tested: &AssetTested) -> Counted {
        let own = |check: &&TestedCheck| check.assets.contains(&tested.asset);
        let asked = self.tested.checks.iter().filter(own);
        let asked = asked.map(|check| (check.result.name.clone(), check.result.message.clone()));
        Counted {
            asset: tested.asset.to_string(),
            files: None,
            bytes: None,
            rows: rows(None, asked),
            sample: Some(format!("at {}, drawn with seed {}", self.tested.at, self.tested.seed)),
            hashes: (tested.outcome == Outcome::Passed).then(|| {
                "every file was read back and held to the hash of what was stored".to_owned()
            }),
        }
    }

    fn note_unverified(
        &self,
        checks: &[CheckKept],
        objectives: &[ObjectiveKept],
        not_verified: &mut Vec<String>,
    ) {
        let tested = self.tested;
        let assets = tested.assets.iter().filter(|a| a.outcome == Outcome::CouldNotVerify);
        not_verified.extend(assets.map(|a| text(&format!("asset `{}`: {}", a.asset, a.message))));
        let checks = checks.iter().filter(|check| check.outcome == Outcome::CouldNotVerify);
        not_verified
            .extend(checks.map(|check| format!("check `{}`: {}", check.name, check.actual)));
        let unmeasured = objectives.iter().filter(|kept| kept.outcome == Outcome::CouldNotVerify);
        not_verified.extend(unmeasured.map(|kept| format!("{}: {}", kept.of, kept.message)));
        if tested.checks.is_empty() {
            not_verified.push("the plan names no check for this test".to_owned());
        }
        match &tested.control {
            None => not_verified
                .push("whether it would notice damage: no damaged copy was tried".to_owned()),
            Some(control) if control.outcome == Outcome::CouldNotVerify => {
                not_verified
                    .push(text(&format!("whether it would notice damage: {}", control.message)));
            }
            Some(_) => {}
        }
    }

    fn findings(&self, objectives: &[ObjectiveKept]) -> Vec<Finding> {
        let tested = self.tested;
        let mut what = Vec::new();
        what.extend(tested.trouble.iter().map(|trouble| format!("it ended early: {trouble}")));
        let assets = tested.assets.iter().filter(|asset| asset.outcome != Outcome::Passed);
        what.extend(assets.map(|asset| format!("asset `{}` {}", asset.asset, asset.outcome)));
        let checks = tested.checks.iter().filter(|check| check.result.outcome == Outcome::Failed);
        what.extend(checks.map(|check| format!("`{}` failed", check.result.name)));
        if tested.control.as_ref().is_some_and(|control| control.outcome == Outcome::Failed) {
            what.push("it passes on a copy that was damaged on purpose".to_owned());
        }
        let missed = objectives.iter().filter(|kept| kept.outcome == Outcome::Failed);
        what.extend(missed.map(|kept| format!("the RTO of {} is missed", kept.of)));
        match self.teardown.outcome {
            Outcome::Passed => {}
            Outcome::Failed => what.push("something of it is left".to_owned()),
            Outcome::CouldNotVerify => {
                what.push("whether something of it is left is not known".to_owned());
            }
        }
        let owner = self.plan.about().owner.as_ref();
        let finding = |what: String| Finding {
            what: text(&what),
            owner: owner.cloned(),
            due: None,
            closed_by: None,
        };
        what.into_iter().map(finding).collect()
    }
}

fn asset(tested: &AssetTested) -> AssetKept {
    AssetKept {
        asset: tested.asset.clone(),
        tier: tested.tier.clone(),
        snapshot: tested.snapshot,
        time: tested.time,
        lsn: None,
        target: None,
        outcome: tested.outcome,
        message: text(&tested.message),
    }
}

fn after(time: Timestamp, ms: u64) -> Timestamp {
    time.saturating_add(Duration::from_millis(ms)).unwrap_or(Timestamp::MAX)
}
