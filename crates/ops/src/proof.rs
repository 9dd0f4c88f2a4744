//! Whether the proof that an asset comes back still holds: a pure function of the plan, its restore tests and the time.
//!
//! A proof is a restore test that passed. It holds for the plan by which it was run, and for as long as the plan's own
//! rhythm says: when the next one should have passed, it is too old.
//!
//! # Invariants
//!
//! - What a test could not verify proves nothing; what failed stands until a test of the same name passes.
//! - An asset that no restore test of the plan restores has no proof, and is not spoken of here.

use std::collections::BTreeMap;
use std::time::Duration;

use lifeboat_model::{AssetName, Outcome, PlanId, RestoreTestName, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_plan::schedule::longest_interval;
use serde::Serialize;

use crate::catalog::body::{Body, RestoreTested};
use crate::catalog::view::{View, ViewError, Wanted};

/// By how much a proof may be older than the interval of its tests, at least: a test takes its time.
const GRACE_MIN: Duration = Duration::from_hours(1);

/// One part in so many of the interval is the grace, if that is more.
const GRACE_PART: u32 = 10;

/// A restore test that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// When it ended.
    pub time: Timestamp,
    /// By which plan.
    pub plan: Option<PlanId>,
    /// What it showed.
    pub body: RestoreTested,
}

/// Why something has to be proven anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum Need {
    /// The last run of a test of it failed.
    Failed {
        /// Which test.
        test: RestoreTestName,
        /// When.
        at: Timestamp,
        /// What was wrong.
        why: String,
    },
    /// No test of it ever passed.
    NeverProven,
    /// It was proven by another plan.
    PlanChanged {
        /// When.
        proven: Timestamp,
    },
    /// The next test should have passed by now.
    TooOld {
        /// When it was proven.
        proven: Timestamp,
        /// How old a proof may be, in seconds.
        allowed_s: u64,
    },
    /// The last run of a test of it could not verify all.
    CouldNotVerify {
        /// Which test.
        test: RestoreTestName,
        /// When.
        at: Timestamp,
        /// What could not be verified.
        why: String,
    },
}

/// How an asset is proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// When a test of it passed last.
    pub proven: Option<Timestamp>,
    /// Why it needs proof; none if it is proven.
    pub needs: Option<Need>,
}

/// Reads the restore tests that were run, the newest first.
pub fn load(view: &View, plan: &Plan) -> Result<Vec<Tested>, ViewError> {
    let mut tested = Vec::new();
    for asset in plan.assets().keys() {
        let wanted =
            Wanted { kind: "restore-tested", asset: Some(asset), tier: None, good_only: false };
        tested.extend(view.latest(wanted, RUNS_MAX)?);
        tested.extend(view.latest(Wanted { good_only: true, ..wanted }, RUNS_MAX)?);
    }
    tested.sort_by_key(|record| std::cmp::Reverse((record.header().time, record.id())));
    tested.dedup_by_key(|record| record.id());
    let read = tested.iter().filter_map(|record| match record.body() {
        Body::RestoreTested(body) => {
            let header = record.header();
            Some(Tested { time: header.time, plan: header.plan, body: body.clone() })
        }
        _ => None,
    });
    Ok(read.collect())
}

/// So many runs of an asset are looked at: the last of each of its tests is among them.
const RUNS_MAX: u32 = 100;

/// Judges the proof of every asset that restore tests of the plan restore; what was run comes the newest first.
pub fn proofs(plan: &Plan, runs: &[Tested], now: Timestamp) -> BTreeMap<AssetName, Proof> {
    let proof = |asset: &AssetName| Some((asset.clone(), proof_of(plan, asset, runs, now)?));
    plan.assets().keys().filter_map(proof).collect()
}

fn proof_of(plan: &Plan, asset: &AssetName, runs: &[Tested], now: Timestamp) -> Option<Proof> {
    let tests = plan.restore_tests().iter().filter(|(_, test)| test.assets.includes(asset));
    let tests: BTreeMap<_, _> = tests.collect();
    if tests.is_empty() {
        return None;
    }
    let own = |run: &&Tested| {
        let is_asked = run.body.assets.iter().any(|tested| tested.asset == *asset);
        is_asked && tests.contains_key(&run.body.test)
    };
    let own: Vec<_> = runs.iter().filter(own).collect();
    let newest = tests.keys().filter_map(|name| own.iter().find(|run| run.body.test == **name));
    let newest: Vec<_> = newest.copied().collect();
    let passed = own.iter().find(|run| run.body.outcome == Outcome::Passed);
    let timetables: Vec<_> = tests.values().map(|test| test.timetable()).collect();
    let allowed = longest_interval(&timetables, now).map(with_grace);
    let last = |outcome| newest.iter().find(|run| run.body.outcome == outcome);
    let needs = if let Some(run) = last(Outcome::Failed) {
        let (test, at, why) = (run.body.test.clone(), run.time, why(&run.body));
        Some(Need::Failed { test, at, why })
    } else if let Some(run) = passed {
        let stale = stale(plan, run, allowed, now);
        stale.or_else(|| last(Outcome::CouldNotVerify).map(|run| unverified(run)))
    } else {
        Some(last(Outcome::CouldNotVerify).map_or(Need::NeverProven, |run| unverified(run)))
    };
    Some(Proof { proven: passed.map(|run| run.time), needs })
}

fn stale(plan: &Plan, run: &Tested, allowed: Option<Duration>, now: Timestamp) -> Option<Need> {
    let proven = run.time;
    if run.plan != Some(plan.id()) {
        return Some(Need::PlanChanged { proven });
    }
    let age = Duration::try_from(now.duration_since(proven)).unwrap_or_default();
    let allowed = allowed.filter(|allowed| age > *allowed)?;
    Some(Need::TooOld { proven, allowed_s: allowed.as_secs() })
}

fn unverified(run: &Tested) -> Need {
    let (test, at, why) = (run.body.test.clone(), run.time, why(&run.body));
    Need::CouldNotVerify { test, at, why }
}

fn with_grace(interval: Duration) -> Duration {
    interval + (interval / GRACE_PART).max(GRACE_MIN)
}

/// Says in one line why a test did not pass.
pub fn why(tested: &RestoreTested) -> String {
    let worst = tested.outcome;
    let asset = tested.assets.iter().find(|asset| asset.outcome == worst);
    let check = tested.checks.iter().map(|check| &check.result).find(|c| c.outcome == worst);
    let control = tested.control.as_ref().filter(|control| control.outcome == worst);
    let of_asset = asset.map(|asset| format!("{}: {}", asset.asset, asset.message));
    let of_check = check.map(|check| {
        format!("{}: {}", check.name, check.findings.first().unwrap_or(&check.message))
    });
    let of_control = control
        .map(|control| format!("of {} {}: {}", control.asset, control.damage, control.message));
    let known = tested.trouble.clone().or(of_asset).or(of_check).or(of_control);
    known.unwrap_or_else(|| "it does not say why".to_owned())
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed { test, why, .. } => write!(f, "failed its restore test `{test}`: {why}"),
            Self::NeverProven => f.write_str("was never proven by a restore test"),
            Self::PlanChanged { .. } => {
                f.write_str("needs proof again: it was proven by an earlier plan")
            }
            Self::TooOld { allowed_s, .. } => write!(
                f,
                "needs proof again: no restore test passed within {} h",
                allowed_s.div_ceil(3600)
            ),
            Self::CouldNotVerify { test, why, .. } => {
                write!(f, "could not be verified by its restore test `{test}`: {why}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lifeboat_model::Outcome::{CouldNotVerify, Failed, Passed};
    use lifeboat_plan::{Facts, SourceFile, load};

    use super::*;
    use crate::catalog::body::AssetTested;

    const PLAN: &str = r#"
format = 1
[plan]
name = "Shop"
site = "shop"
[key]
env = "KEY"
[assets.media]
kind = "files"
paths = ["/srv/media"]
[assets.logs]
kind = "files"
paths = ["/var/log"]
[tiers.near]
url = "file:///backups/near"
[schedules.hourly]
cron = "0 * * * *"
assets = ["*"]
to = ["near"]
[checks.there]
files = "media"
[restore_tests.daily]
cron = "0 5 * * *"
assets = ["media"]
checks = ["there"]
[restore_tests.monthly]
cron = "0 5 1 * *"
assets = ["media"]
"#;

    /// How old a proof by the daily test may be, in seconds.
    const ALLOWED_S: i64 = 86_400 + 8640;

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn plan(text: &str) -> Plan {
        let source = SourceFile { path: "plan.toml".to_owned(), text: text.to_owned() };
        load(source, &BTreeMap::<String, String>::new(), &Facts::default(), now()).unwrap().plan
    }

    fn run(test: &str, outcome: Outcome, age_s: i64) -> Tested {
        let time = now() - jiff::SignedDuration::from_secs(age_s);
        let tested = AssetTested {
            asset: "media".parse().unwrap(),
            tier: None,
            snapshot: None,
            time: None,
            isolation: None,
            outcome,
            message: "3 files".to_owned(),
            dump: None,
            duration_ms: 1,
        };
        let body = RestoreTested {
            job: "job_018bcfe5-6800-7000-8000-000000000000".parse().unwrap(),
            test: test.parse().unwrap(),
            on: None,
            seed: 1,
            at: "latest".to_owned(),
            moment: None,
            outcome,
            trouble: None,
            assets: vec![tested],
            checks: Vec::new(),
            services: None,
            control: None,
            phases_ms: BTreeMap::new(),
            own_ms: 0,
            started: time,
            duration_ms: 0,
        };
        Tested { time, plan: Some(plan(PLAN).id()), body }
    }

    fn need(runs: &[Tested]) -> Option<&'static str> {
        let proofs = proofs(&plan(PLAN), runs, now());
        assert_eq!(proofs.len(), 1, "what no test restores is not spoken of");
        proofs.into_values().next().unwrap().needs.map(|need| match need {
            Need::Failed { .. } => "failed",
            Need::NeverProven => "never",
            Need::PlanChanged { .. } => "plan",
            Need::TooOld { .. } => "old",
            Need::CouldNotVerify { .. } => "unknown",
        })
    }

    #[test]
    fn a_proof_holds_for_as_long_as_the_plan_says() {
        assert_eq!(need(&[]), Some("never"));
        assert_eq!(need(&[run("daily", Passed, ALLOWED_S)]), None);
        assert_eq!(need(&[run("daily", Passed, ALLOWED_S + 1)]), Some("old"));
        // A test that the plan no longer has proves nothing.
        assert_eq!(need(&[run("weekly", Passed, 60)]), Some("never"));
    }

    #[test]
    fn a_plan_that_changed_needs_proof_again() {
        let changed = plan(&PLAN.replace("0 * * * *", "30 * * * *"));
        let runs = [run("daily", Passed, 60)];
        let needs = proofs(&changed, &runs, now()).into_values().next().unwrap().needs;
        assert_eq!(needs, Some(Need::PlanChanged { proven: runs[0].time }));
    }

    #[test]
    fn a_failure_stands_until_the_same_test_passes() {
        let failed = || run("monthly", Failed, 3600);
        assert_eq!(need(&[run("daily", Passed, 60), failed()]), Some("failed"));
        assert_eq!(need(&[run("monthly", Passed, 60), failed()]), None);
        let unknown = run("daily", CouldNotVerify, 60);
        assert_eq!(need(&[unknown.clone(), run("daily", Passed, 90)]), Some("unknown"));
        assert_eq!(need(std::slice::from_ref(&unknown)), Some("unknown"));
        assert_eq!(need(&[unknown, failed()]), Some("failed"));
    }
}
