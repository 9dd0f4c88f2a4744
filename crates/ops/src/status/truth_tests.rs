//! What other tools got wrong: each of these showed green, or showed red, for a job history that told otherwise than the
//! tiers.

use lifeboat_model::{JobId, Lsn};
use lifeboat_plan::{Facts as PlanFacts, SourceFile, load};
use lifeboat_postgres::archive::SystemId;
use lifeboat_postgres::archive::inventory::{SegmentRange, TimelineInventory};
use lifeboat_postgres::wal::{SegmentName, SegmentNumber, SegmentSize, TimelineId};
use lifeboat_tiers::{Refusal, TierError};

use super::history::BroughtBack;
use super::proof::{ProofState, proof};
use super::*;
use crate::catalog::body::BaseRecord;
use crate::catalog::body::{AssetTested, RestoreTested};
use crate::ending::Ending;
use crate::error::OpsError;
use crate::jobs::{Job, JobState, Work};
use crate::objectives::Rehearsal;
use crate::proof::Tested;
use crate::schedule::NextRun;
use crate::wal::status::{ClusterLog, RangeTimes, TierLog};

const PLAN: &str = r#"
format = 1
[plan]
name = "Shop"
site = "shop"
[key]
env = "KEY"
[assets.database]
kind = "postgres"
connect = "host=/run dbname=shop"
base = "physical"
wal = { mode = "archive", to = ["near"], ack = ["near"] }
rpo = "1h"
rto = "2h"
[tiers.near]
url = "file:///backups/near"
[tiers.far]
url = "file:///backups/far"
[schedules.hourly]
cron = "0 * * * *"
assets = ["database"]
to = ["near", "far"]
[checks.users]
asset = "database"
database = "shop"
sql = "SELECT 1"
expect = "= 1"
[restore_tests.weekly]
cron = "0 5 * * SUN"
assets = ["database"]
checks = ["users"]
"#;

const NEWEST: SnapshotId = SnapshotId::from_bytes([1; 32]);
const OLDER: SnapshotId = SnapshotId::from_bytes([2; 32]);

pub(crate) fn now() -> Timestamp {
    "2026-11-30T12:00:00Z".parse().unwrap()
}

fn ago(minutes: u64) -> Timestamp {
    now().saturating_sub(Duration::from_mins(minutes)).unwrap()
}

pub(crate) fn plan() -> Plan {
    let source = SourceFile { path: "plan.toml".to_owned(), text: PLAN.to_owned() };
    load(source, &BTreeMap::<String, String>::new(), &PlanFacts::default(), now()).unwrap().plan
}

fn base() -> BaseRecord {
    BaseRecord {
        system_id: "7".to_owned(),
        timeline: 1,
        start_lsn: Lsn(5 << 24),
        stop_lsn: Lsn(6 << 24),
        stopped: ago(40),
        damaged_pages: 0,
        tablespaces: None,
    }
}

fn good(minutes: u64, snapshot: SnapshotId) -> Good {
    Good {
        captured: ago(minutes),
        snapshot,
        size_bytes: Some(1 << 30),
        base: Some(base()),
        is_gone: false,
    }
}

/// A history in which all is well: two captures on each tier, both verified, the database proven by this plan.
pub(crate) fn history() -> History {
    let mut history = History { key_confirmed: Some(ago(9)), ..History::default() };
    let database: AssetName = "database".parse().unwrap();
    for tier in ["near", "far"] {
        let tier: TierName = tier.parse().unwrap();
        let captures = vec![good(40, NEWEST), good(100, OLDER)];
        history.good.insert((database.clone(), tier.clone()), captures);
        let verified = VerifiedOnce { time: ago(9), outcome: Outcome::Passed, all_data: false };
        history.verified.insert(tier, verified);
    }
    history.brought_back.insert(database, vec![proven(60)]);
    history.tests = vec![run(Outcome::Passed, 60)];
    history
}

/// A restore test that ended so many minutes ago.
fn run(outcome: Outcome, minutes: u64) -> Tested {
    let tested = AssetTested {
        asset: "database".parse().unwrap(),
        tier: None,
        snapshot: None,
        time: None,
        isolation: None,
        outcome,
        message: "1 of 1 files".to_owned(),
        dump: None,
        duration_ms: 600_000,
    };
    let body = RestoreTested {
        job: "job_018bcfe5-6800-7000-8000-000000000000".parse().unwrap(),
        test: "weekly".parse().unwrap(),
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
        started: ago(minutes),
        duration_ms: 0,
    };
    Tested { time: ago(minutes), plan: Some(plan().id()), body }
}

fn proven(minutes: u64) -> BroughtBack {
    BroughtBack {
        tier: "near".parse().unwrap(),
        time: ago(minutes),
        by: Rehearsal::VerifiedRestore,
        outcome: Outcome::Passed,
        duration_ms: 600_000,
        plan: Some(plan().id()),
    }
}

fn segment(number: u64) -> SegmentName {
    SegmentName::new(TimelineId(1), SegmentNumber(number), SegmentSize::default()).unwrap()
}

fn range(first: u64, last: u64) -> SegmentRange {
    SegmentRange { first: segment(first), last: segment(last), count: last - first + 1 }
}

/// A log of these ranges, whose last commit was so many minutes ago.
fn log(ranges: &[(u64, u64)], minutes: u64) -> TierLog {
    let ranges: Vec<_> = ranges.iter().map(|(first, last)| range(*first, *last)).collect();
    let number = |name: SegmentName| name.number(SegmentSize::default()).unwrap().0;
    let holes =
        ranges.windows(2).map(|two| range(number(two[0].last) + 1, number(two[1].first) - 1));
    let times = ranges.iter().map(|range| RangeTimes {
        range: *range,
        first: Some(ago(999)),
        last: Some(ago(minutes)),
    });
    let cluster = ClusterLog {
        system: SystemId(7),
        segment_bytes: Some(SegmentSize::default().bytes()),
        latest: Some(ago(1)),
        times: times.collect(),
        duplicates: Vec::new(),
        timelines: vec![TimelineInventory {
            timeline: TimelineId(1),
            holes: holes.collect(),
            ranges,
            has_history: true,
        }],
    };
    let clusters = vec![cluster];
    TierLog {
        tier: "near".parse().unwrap(),
        acknowledges: true,
        trouble: None,
        clusters,
        behind: 0,
    }
}

fn tested(ending: Ending) -> Job {
    let id: JobId = "job_018bcfe5-6800-7000-8000-000000000000".parse().unwrap();
    let work = Work::Task { task: "restore-test:weekly".parse().unwrap() };
    let mut job = Job::queued(id, work, ago(70));
    (job.started, job.ended, job.ending) = (Some(ago(70)), Some(ago(60)), Some(ending));
    job.state = JobState::of(ending);
    job
}

/// Both tiers hold these, and the near one this log.
fn facts(there: &[SnapshotId], log: TierLog) -> Facts {
    let seen = || Seen { snapshots: there.iter().copied().collect(), ..Seen::default() };
    let mut near = seen();
    near.logs.insert("database".parse().unwrap(), log);
    let tiers = [("near", Ok(near)), ("far", Ok(seen()))];
    let tiers = tiers.map(|(tier, seen)| (tier.parse().unwrap(), seen)).into();
    Facts { tiers, rehearsals: vec![tested(Ending::Succeeded)], ..Facts::default() }
}

fn all() -> Facts {
    facts(&[NEWEST, OLDER], log(&[(4, 9)], 5))
}

fn said(report: &StatusReport) -> Vec<String> {
    report.risks.iter().map(|risk| format!("{}: {}", risk.subject, risk.message)).collect()
}

fn assert_says(report: &StatusReport, verdict: Verdict, words: &str) {
    let said = said(report);
    assert_eq!(report.verdict, verdict, "{said:?}");
    assert!(said.iter().any(|said| said.contains(words)), "{said:?}");
}

#[test]
fn what_is_there_whole_and_proven_is_green_and_nothing_is_said() {
    let report = assess(&plan(), &history(), &all(), now());
    assert_eq!((report.verdict, said(&report)), (Verdict::Yes, Vec::new()));
    let database = &report.assets[0];
    assert_eq!((database.protected, database.proof.state), (Verdict::Yes, ProofState::Proven));
    // The log leads further than the base; the tier without one is as old as its base.
    assert_eq!(
        database.tiers.iter().map(|on| on.exposure_s).collect::<Vec<_>>(),
        [Some(2400), Some(300)]
    );
    assert_eq!(database.comeback.objective, Objective::Met);
}

#[test]
fn a_platform_whose_every_snapshot_was_deleted_is_not_protected_by_its_job_history() {
    let mut history = history();
    history.attempts.insert(
        ("database".parse().unwrap(), "near".parse().unwrap()),
        Attempt {
            job: "job_018bcfe5-6800-7000-8000-000000000000".parse().unwrap(),
            time: ago(5),
            ending: Ending::Succeeded,
            message: None,
        },
    );
    let report = assess(&plan(), &history, &facts(&[], log(&[(4, 9)], 5)), now());
    assert_says(&report, Verdict::No, "database: no snapshot is left on any tier");
    assert_eq!(report.assets[0].protected, Verdict::No);
    assert_eq!(report.assets[0].exposure_s, None, "a log without a base brings nothing back");
}

#[test]
fn one_snapshot_that_somebody_deleted_is_seen_at_once_and_the_one_before_counts() {
    let report = assess(&plan(), &history(), &facts(&[OLDER], log(&[(1, 9)], 500)), now());
    assert_says(&report, Verdict::No, "database on near: 1 snapshots are gone");
    assert_eq!(report.assets[0].exposure_s, Some(6000));
}

#[test]
fn what_a_tier_lost_counts_for_nothing_though_it_was_stored_there() {
    let mut facts = all();
    let (tier, address) = ("far".parse().unwrap(), "file:///backups/far".to_owned());
    let gone = Trouble::of(&OpsError::TierLost { tier, address });
    facts.tiers.insert("far".parse().unwrap(), Err(gone));
    let report = assess(&plan(), &history(), &facts, now());
    assert_says(
        &report,
        Verdict::No,
        "far: tier `far` was set up at file:///backups/far, and is not there any more",
    );
    assert_eq!(report.assets[0].scorecard.copies.outcome, Outcome::CouldNotVerify);
}

/// How a status stands as a whole where neither tier tells anything.
fn unseen(history: &History, why: &OpsError) -> Verdict {
    let mut facts = all();
    for tier in ["near", "far"] {
        facts.tiers.insert(tier.parse().unwrap(), Err(Trouble::of(why)));
    }
    let report = assess(&plan_without_log(), history, &facts, now());
    let verdicts =
        report.risks.iter().filter(|risk| ["near", "far"].contains(&risk.subject.as_str()));
    for risk in verdicts {
        assert_eq!(
            risk.verdict,
            if Trouble::of(why).is_known() { Verdict::No } else { Verdict::Unknown }
        );
    }
    report.verdict
}

fn plan_without_log() -> Plan {
    let text =
        PLAN.lines().filter(|line| !line.starts_with("wal = ")).collect::<Vec<_>>().join("\n");
    let source = SourceFile { path: "plan.toml".to_owned(), text };
    load(source, &BTreeMap::<String, String>::new(), &PlanFacts::default(), now()).unwrap().plan
}

#[test]
fn a_tier_that_does_not_answer_is_not_known_and_one_that_is_gone_is_no() {
    let tier: TierName = "far".parse().unwrap();
    let address = "s3://far".to_owned();
    let refusal = |refusal| TierError::Refused {
        tier: address.clone(),
        action: "list".to_owned(),
        refusal,
        source: std::io::Error::other("403"),
    };
    let silent = TierError::Unavailable {
        tier: address.clone(),
        action: "list".to_owned(),
        source: std::io::ErrorKind::ConnectionRefused.into(),
    };
    let unknown = [
        OpsError::TierLate { tier: tier.clone(), address: address.clone() },
        silent.into(),
        refusal(Refusal::Credentials).into(),
        refusal(Refusal::NoCredentials).into(),
    ];
    for why in unknown {
        assert_eq!(unseen(&history(), &why), Verdict::Unknown, "{why}");
        // More would be lost than is allowed, even if all lies there that was recorded.
        let mut old = history();
        old.good.values_mut().for_each(|captures| *captures = vec![good(1000, OLDER)]);
        assert_eq!(unseen(&old, &why), Verdict::No, "{why}");
    }
    let found = "other".parse().unwrap();
    let known = [
        OpsError::TierLost { tier, address: address.clone() },
        OpsError::AnotherSite { address: address.clone(), expected: plan().site().clone(), found },
        OpsError::BadMark { address },
    ];
    for why in known {
        assert_eq!(unseen(&history(), &why), Verdict::No, "{why}");
    }
}

#[test]
fn a_job_that_never_once_succeeded_has_no_age_and_is_told() {
    let mut history = history();
    history.good.clear();
    for tier in ["near", "far"] {
        let attempt = Attempt {
            job: "job_018bcfe5-6800-7000-8000-000000000000".parse().unwrap(),
            time: ago(1),
            ending: Ending::Failed,
            message: Some("no".to_owned()),
        };
        let key = ("database".parse().unwrap(), tier.parse().unwrap());
        history.attempts.insert(key, attempt);
    }
    let report = assess(&plan(), &history, &facts(&[], log(&[], 0)), now());
    assert_says(&report, Verdict::No, "database: no backup ever succeeded");
    assert_eq!(report.assets[0].exposure_s, None, "never is no large number of days");
}

#[test]
fn a_failed_backup_takes_nothing_from_the_good_ones_before() {
    let mut history = history();
    let attempt = Attempt {
        job: "job_018bcfe5-6800-7000-8000-000000000000".parse().unwrap(),
        time: ago(1),
        ending: Ending::Failed,
        message: Some("disk full".to_owned()),
    };
    history.attempts.insert(("database".parse().unwrap(), "far".parse().unwrap()), attempt);
    let report = assess(&plan(), &history, &all(), now());
    assert_says(&report, Verdict::Yes, "database on far: the last backup: failed: disk full");
    assert_eq!(report.assets[0].objective, Objective::Met);
}

#[test]
fn a_broken_log_is_told_and_leads_no_further_than_its_base() {
    let broken =
        assess(&plan(), &history(), &facts(&[NEWEST, OLDER], log(&[(4, 6), (8, 9)], 5)), now());
    assert_says(&broken, Verdict::Unknown, "database on near: the log has a hole of 1 segments");
    assert_eq!(broken.assets[0].exposure_s, Some(2400));
    // A hole before the base concerns nobody.
    let before =
        assess(&plan(), &history(), &facts(&[NEWEST, OLDER], log(&[(1, 2), (4, 9)], 5)), now());
    assert_eq!((before.verdict, before.assets[0].exposure_s), (Verdict::Yes, Some(300)));
}

#[test]
fn a_log_that_nobody_looked_at_may_lead_further_and_is_not_known_to() {
    let mut history = history();
    for good in history.good.values_mut() {
        good.retain(|good| good.snapshot == OLDER);
    }
    let facts = Facts {
        rehearsals: vec![tested(Ending::Succeeded)],
        ..Facts::as_recorded(&plan(), &history)
    };
    let report = assess(&plan(), &history, &facts, now());
    assert_says(
        &report,
        Verdict::Unknown,
        "database: how far its log leads could not be looked at",
    );
}

#[test]
fn a_host_on_which_nothing_is_recorded_knows_nothing_and_says_where_it_is() {
    let blank = History { is_blank: true, ..History::default() };
    let report = assess(&plan(), &blank, &all(), now());
    let told = "catalog: no record on this host of what may lie on ";
    assert_says(&report, Verdict::Unknown, told);
    assert_eq!(report.next.as_deref(), Some("lifeboat catalog rebuild"));
    let unasked = assess(&plan(), &blank, &Facts::as_recorded(&plan(), &blank), now());
    assert_eq!(unasked.verdict, Verdict::Unknown);
    // Where the tiers were looked at and hold nothing, nothing was ever captured.
    let empty = plan().tiers().keys().map(|tier| (tier.clone(), Ok(Seen::default()))).collect();
    let facts = Facts { tiers: empty, ..Facts::default() };
    let report = assess(&plan(), &blank, &facts, now());
    assert_says(&report, Verdict::No, "database: never captured");
}

#[test]
fn what_was_recorded_as_gone_is_not_there_by_the_catalog_either() {
    let mut history = history();
    for good in history.good.values_mut().flatten() {
        good.is_gone = true;
    }
    let report = assess(&plan(), &history, &Facts::as_recorded(&plan(), &history), now());
    assert_says(&report, Verdict::No, "database: no snapshot is left on any tier");
}

#[test]
fn a_log_of_which_nothing_was_ever_archived_is_told() {
    let mut facts = all();
    let near = facts.tiers.get_mut(&"near".parse().unwrap()).unwrap().as_mut().unwrap();
    near.logs.values_mut().for_each(|log| log.clusters.clear());
    let report = assess(&plan(), &history(), &facts, now());
    assert_says(&report, Verdict::Unknown, "database on near: no log was ever archived");
}

#[test]
fn a_schedule_that_did_not_run_and_a_daemon_that_is_gone_are_told() {
    let mut facts = all();
    let next =
        NextRun { task: "backup:hourly".parse().unwrap(), at: ago(60), attempt: 1, held: None };
    facts.activity = Some(JobsReport {
        site: "shop".parse().unwrap(),
        now: now(),
        plan: plan().id(),
        daemon: None,
        pause: None,
        jobs: Vec::new(),
        next: vec![next],
        ended: Vec::new(),
    });
    let report = assess(&plan(), &history(), &facts, now());
    assert_says(
        &report,
        Verdict::Yes,
        "backup:hourly: was due at 2026-11-30 11:00 UTC and did not run",
    );
    assert_says(&report, Verdict::Yes, "daemon: none runs");
}

#[test]
fn a_test_that_never_ran_or_could_not_verify_is_no_proof() {
    for (runs, verdict, words) in [
        (Vec::new(), Verdict::Unknown, "database: was never proven by a restore test"),
        (
            vec![run(Outcome::CouldNotVerify, 60)],
            Verdict::Unknown,
            "database: could not be verified by its restore test `weekly`",
        ),
        (vec![run(Outcome::Failed, 60)], Verdict::No, "database: failed its restore test `weekly`"),
    ] {
        let report = assess(&plan(), &History { tests: runs, ..history() }, &all(), now());
        assert_says(&report, verdict, words);
        let command = report.risks.iter().find_map(|risk| risk.command.as_deref());
        assert_eq!(command, Some("lifeboat test weekly"));
    }
}

#[test]
fn a_proof_of_another_plan_or_one_that_is_too_old_needs_proof() {
    let state = |tests: Vec<Tested>| {
        assess(&plan(), &History { tests, ..history() }, &all(), now()).assets[0].proof.state
    };
    let passed = |minutes| run(Outcome::Passed, minutes);
    assert_eq!(state(vec![passed(60)]), ProofState::Proven);
    assert_eq!(state(vec![Tested { plan: None, ..passed(60) }]), ProofState::NeedsProof);
    // The weekly test should have passed once more since.
    assert_eq!(state(vec![passed(60 * 24 * 7)]), ProofState::Proven);
    assert_eq!(state(vec![passed(60 * 24 * 8)]), ProofState::NeedsProof);
    assert_eq!(state(Vec::new()), ProofState::Never);
    assert_eq!(state(vec![run(Outcome::Failed, 1), passed(60)]), ProofState::Failed);
    let unknown = run(Outcome::CouldNotVerify, 1);
    assert_eq!(state(vec![unknown, passed(60)]), ProofState::NeedsProof);
}

#[test]
fn a_test_that_somebody_ran_by_hand_was_run() {
    let mut facts = all();
    facts.rehearsals = vec![tested(Ending::Failed)];
    let last = |facts: &Facts, minutes| {
        let tests = vec![run(Outcome::Passed, minutes)];
        let report = assess(&plan(), &History { tests, ..history() }, facts, now());
        report.rehearsals[0].last.as_ref().map(|last| last.ending)
    };
    assert_eq!(last(&facts, 30), Some(Ending::Succeeded));
    assert_eq!(last(&facts, 90), Some(Ending::Failed), "the daemon's came later");
    facts.rehearsals.clear();
    assert_eq!(last(&facts, 90), Some(Ending::Succeeded));
}

#[test]
fn where_the_plan_has_no_restore_test_a_restore_that_was_verified_is_the_proof() {
    let state = |back: &[BroughtBack]| proof(None, back).state;
    assert_eq!(state(&[proven(60)]), ProofState::Proven);
    assert_eq!(state(&[]), ProofState::Never);
    assert_eq!(state(&[BroughtBack { by: Rehearsal::Restore, ..proven(60) }]), ProofState::Never);
    let failed = BroughtBack { outcome: Outcome::Failed, ..proven(1) };
    assert_eq!(state(&[failed, proven(60)]), ProofState::Failed);
    let unknown = BroughtBack { outcome: Outcome::CouldNotVerify, ..proven(1) };
    assert_eq!(state(&[unknown, proven(60)]), ProofState::Proven, "it says nothing");
}
