//! Locks of what is stored: extended while it is needed, and read back.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lifeboat_model::{Cancel, JobId, Outcome, Silent, SimClock, SnapshotId, Timestamp};
use lifeboat_ops::Site;
use lifeboat_ops::backup::BackupJobReport;
use lifeboat_ops::catalog::body::{AssetBackedUp, BaseRecord, Body};
use lifeboat_ops::ending::{Ending, JobStage};
use lifeboat_ops::readiness::{Answer, Subject, readiness};
use lifeboat_ops::retention::{Purpose, RetentionOptions, retention};
use lifeboat_ops::wire::open::{NewTiers, OpenSite};
use lifeboat_postgres::archive::{ArchivedFile, SystemId, WalAddress};
use lifeboat_postgres::base::manifest::MANIFEST;
use lifeboat_postgres::wal::{SegmentName, SegmentNumber, SegmentSize, TimelineId};
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Operation, Rule, Target};
use lifeboat_tiers::placement::LockRule;
use lifeboat_tiers::{CountingTier, LockMode, MemoryTier, ObjectPath, Protection, PutMode, Tier};

use crate::ground::{Ground, back_up};

const DAY: Duration = Duration::from_hours(24);

const LOCKED: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[tiers.far]
url = "s3://shop-far"
lock = "8d"
keep = { within = "8d" }
[schedules.daily]
cron = "0 2 * * *"
assets = ["media"]
to = ["far"]
"#;

/// As long as the plan's lock and its slack.
const LOCKED_FOR: Duration = Duration::from_hours(10 * 24);

fn locking(ground: &Ground) -> Arc<MemoryTier> {
    let rule = LockRule { mode: LockMode::Compliance, keep: LOCKED_FOR };
    let clock = Arc::<SimClock>::clone(&ground.clock);
    Arc::new(MemoryTier::locking(clock, rule))
}

fn on(site: &Site, tier: Arc<dyn Tier>) -> Site {
    site.clone().with_tier("far".parse().unwrap(), tier)
}

fn answers(site: &Site, what: &str) -> Vec<Answer> {
    let report = readiness(site, &Silent, &Cancel::new()).unwrap();
    let far = |answer: &Answer| matches!(&answer.subject, Subject::Tier(_)) && answer.what == what;
    report.answers.into_iter().filter(far).collect()
}

fn locked(site: &Site) -> Answer {
    answers(site, "what is stored there is locked").pop().unwrap()
}

/// Until when the objects below a folder are locked, the shortest.
fn shortest(ground: &Ground, tier: &MemoryTier, folder: &str) -> Option<Timestamp> {
    let until = |path| match ground.surroundings.runtime.block_on(tier.protection(path)) {
        Ok(Protection::Locked { until, .. }) => Some(until),
        _ => None,
    };
    let contents = tier.contents();
    contents.keys().filter(|path| path.as_str().starts_with(folder)).map(until).min().unwrap()
}

#[test]
fn what_a_new_snapshot_needs_stays_locked_however_old_it_is() {
    let ground = Ground::new();
    ground.write("media/old", "stored once and needed ever since");
    let memory = locking(&ground);
    let counting = Arc::new(CountingTier::new(Arc::<MemoryTier>::clone(&memory)));
    let site = on(&ground.site(LOCKED), counting);
    for day in 0..30_u32 {
        ground.write("media/new", format!("of day {day}"));
        let report = back_up(&site).unwrap();
        assert_eq!(report.ending, Ending::Succeeded, "{report:#?}");
        assert_eq!(report.locks[0].stage, JobStage::Lock);
        let due = ground.surroundings.now().saturating_add(DAY * 7).unwrap();
        for folder in ["repo/config", "repo/keys/", "site.json"] {
            assert!(shortest(&ground, &memory, folder) >= Some(due), "day {day}: {folder}");
        }
        let is_first = |path: &ObjectPath| path.file_name().starts_with("0000000000-");
        let enrolments: Vec<_> = memory.contents().into_keys().filter(is_first).collect();
        assert!(!enrolments.is_empty());
        for path in enrolments {
            assert!(shortest(&ground, &memory, path.as_str()) >= Some(due), "day {day}: {path}");
        }
        let answer = locked(&site);
        assert_eq!(answer.outcome, Outcome::Passed, "day {day}: {answer:#?}");
        ground.pass(DAY.as_secs());
    }
}

/// Where a segment of the log lies.
fn segment(number: u64) -> ObjectPath {
    let size = SegmentSize::MIN;
    let file = SegmentName::new(TimelineId(1), SegmentNumber(number), size).unwrap().into();
    ArchivedFile::of(WalAddress { system: SystemId(7), size, file }, b"").path()
}

fn open(site: &Site) -> OpenSite<'_> {
    let tiers = BTreeSet::from(["far".parse().unwrap()]);
    OpenSite::open(site, &tiers, NewTiers::Leave, &Silent, &Cancel::new()).unwrap()
}

/// Makes a base backup of what a job stored, as if it had been one of a server; returns its snapshot.
fn base_of(open: &OpenSite<'_>, job: JobId) -> SnapshotId {
    let repository = &open.tier(&"far".parse().unwrap()).unwrap().repository;
    let own = format!("job={job}");
    let mut snapshots = repository.snapshots().unwrap().into_iter();
    let (_, mut snapshot) = snapshots.find(|(_, snapshot)| snapshot.tags.contains(&own)).unwrap();
    snapshot.paths.push(format!("/lifeboat/media/{MANIFEST}"));
    repository.save_snapshot(&snapshot).unwrap()
}

/// Records that a backup holds a base, which begins in the third segment.
fn record_base(open: &OpenSite<'_>, report: &BackupJobReport) {
    let at = |number| SegmentNumber(number).start(SegmentSize::MIN).unwrap();
    let [asset] = &report.assets[..] else { panic!("{report:#?}") };
    let body = AssetBackedUp {
        size_bytes: None,
        job: report.job,
        asset: asset.asset.clone(),
        schedule: None,
        captured: asset.captured,
        snapshots: Vec::new(),
        revision: None,
        base: Some(BaseRecord {
            system_id: "7".to_owned(),
            timeline: 1,
            start_lsn: at(3),
            stop_lsn: at(4),
            stopped: report.ended,
            damaged_pages: 0,
            tablespaces: None,
        }),
        bytes_read: 0,
        bytes_stored: 0,
        skipped: Vec::new(),
        stages: asset.stages.clone(),
    };
    open.record(Body::AssetBackedUp(body)).unwrap();
}

#[test]
fn the_log_that_a_base_needs_stays_locked_however_old_the_base_is() {
    let ground = Ground::new();
    ground.write("media/old", "the files of a server");
    let memory = locking(&ground);
    let faulty = Arc::new(FaultTier::new(Arc::<MemoryTier>::clone(&memory)));
    let site = on(&ground.site(LOCKED), Arc::<FaultTier>::clone(&faulty));
    let report = back_up(&site).unwrap();
    let base = {
        let open = open(&site);
        record_base(&open, &report);
        base_of(&open, report.job)
    };
    let base = format!("repo/snapshots/{}", base.to_hex());
    for number in 0..6 {
        let path = segment(number);
        let put = memory.put(&path, Bytes::new(), PutMode::Create);
        ground.surroundings.runtime.block_on(put).unwrap();
    }
    let until = |number| shortest(&ground, &memory, segment(number).as_str());
    let first = until(0);
    let lists = || {
        let asked = faulty.asked();
        asked.iter().filter(|a| a.operation == Operation::List && a.path == "wal/7").count()
    };
    for day in 1..20_u32 {
        ground.pass(DAY.as_secs());
        ground.write("media/new", format!("of day {day}"));
        assert_eq!(back_up(&site).unwrap().ending, Ending::Succeeded);
        let due = ground.surroundings.now().saturating_add(DAY * 7).unwrap();
        assert!(shortest(&ground, &memory, &base) >= Some(due), "day {day}");
        for number in 3..6 {
            assert!(until(number) >= Some(due), "day {day}: segment {number}");
        }
        let expected = Some(first).filter(|_| day < 10).flatten();
        assert_eq!(until(2), expected, "what lies before the base is left to its lock");
        // The log of a young base was locked when it was stored.
        assert_eq!(lists() > 0, day > 1, "day {day}");
        let answer = locked(&site);
        assert_eq!(answer.outcome, Outcome::Passed, "day {day}: {answer:#?}");
    }
    let extended = faulty.asked();
    let extended = extended
        .iter()
        .filter(|asked| asked.operation == Operation::Protect && asked.path.starts_with("wal/"));
    // Three segments, each once in the slack of two days.
    assert!((3..=3 * 10).contains(&extended.count()));
}

#[test]
fn while_no_backup_comes_retention_keeps_a_base_and_its_log_locked() {
    let ground = Ground::new();
    ground.write("media/old", "the files of a server");
    let memory = locking(&ground);
    let plan = LOCKED.replace("within = \"8d\"", "within = \"90d\"");
    let site = on(&ground.site(&plan), Arc::<MemoryTier>::clone(&memory));
    let report = back_up(&site).unwrap();
    let base = {
        let open = open(&site);
        record_base(&open, &report);
        base_of(&open, report.job)
    };
    let base = format!("repo/snapshots/{}", base.to_hex());
    for number in 3..30_u32 {
        // Log comes, and no backup.
        let path = segment(number.into());
        let put = memory.put(&path, Bytes::new(), PutMode::Create);
        ground.surroundings.runtime.block_on(put).unwrap();
        ground.pass(DAY.as_secs());
        let options = RetentionOptions { tiers: Vec::new(), purpose: Purpose::Run };
        let retained = retention(&site, &options, &Silent, &Cancel::new()).unwrap();
        assert_eq!(retained.ending, Ending::Succeeded, "{retained:#?}");
        let due = ground.surroundings.now().saturating_add(DAY * 7).unwrap();
        for needed in [base.as_str(), "repo/data/", "repo/config", "repo/keys/", "wal/7/"] {
            assert!(shortest(&ground, &memory, needed) >= Some(due), "segment {number}: {needed}");
        }
    }
}

#[test]
fn of_a_base_without_a_record_the_one_before_is_kept_locked_too() {
    let ground = Ground::new();
    ground.write("media/old", "the files of a server");
    let memory = locking(&ground);
    let site = on(&ground.site(LOCKED), Arc::<MemoryTier>::clone(&memory));
    let mut bases = Vec::new();
    for recorded in [true, true, false] {
        let report = back_up(&site).unwrap();
        let open = open(&site);
        if recorded {
            record_base(&open, &report);
        }
        bases.push(format!("repo/snapshots/{}", base_of(&open, report.job).to_hex()));
        ground.pass(60);
    }
    for _ in 0..6 {
        ground.pass(2 * DAY.as_secs());
        back_up(&site).unwrap();
    }
    let due = ground.surroundings.now().saturating_add(DAY * 7).unwrap();
    let is_locked = |base: &String| shortest(&ground, &memory, base) >= Some(due);
    assert_eq!(bases.iter().map(is_locked).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn an_enrolment_whose_lock_ran_out_is_found_and_locked_anew() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let memory = locking(&ground);
    let faulty = Arc::new(FaultTier::new(Arc::<MemoryTier>::clone(&memory)));
    let site = on(&ground.site(LOCKED), Arc::<FaultTier>::clone(&faulty));
    back_up(&site).unwrap();
    ground.pass(20 * DAY.as_secs());
    let below = "catalog".parse().unwrap();
    faulty.add(Rule::new(Target::Only(Operation::Protect), Fault::Denied).below(below));
    let report = back_up(&site).unwrap();
    assert_eq!(report.locks[0].ending, Ending::Failed, "{report:#?}");
    let answer = locked(&site);
    assert_eq!(answer.outcome, Outcome::Failed, "{answer:#?}");
    assert!(answer.message.unwrap().contains("not locked: the first record of a writer"));
    faulty.heal();
    assert_eq!(back_up(&site).unwrap().ending, Ending::Succeeded);
    let answer = locked(&site);
    assert_eq!(answer.outcome, Outcome::Passed, "{answer:#?}");
}

#[test]
fn a_lost_book_costs_requests_and_nothing_else() {
    let ground = Ground::new();
    ground.write("media/old", "stored once and needed ever since");
    let memory = locking(&ground);
    let faulty = Arc::new(FaultTier::new(Arc::<MemoryTier>::clone(&memory)));
    let site = on(&ground.site(LOCKED), Arc::<FaultTier>::clone(&faulty));
    back_up(&site).unwrap();
    ground.pass(5 * DAY.as_secs());
    back_up(&site).unwrap();
    let extensions = || faulty.asked().iter().filter(|a| a.operation == Operation::Protect).count();
    let first = extensions();
    assert!(first > 0, "{first}");
    back_up(&site).unwrap();
    assert_eq!(extensions(), first, "it is known until when they are locked");
    fs::remove_dir_all(ground.path("state/locks")).unwrap();
    back_up(&site).unwrap();
    assert_eq!(extensions(), first, "the store knows it, too");
}

#[test]
fn a_lock_that_cannot_be_extended_is_told_and_caught_up() {
    let ground = Ground::new();
    ground.write("media/old", "stored once and needed ever since");
    let memory = locking(&ground);
    let faulty = Arc::new(FaultTier::new(Arc::<MemoryTier>::clone(&memory)));
    let site = on(&ground.site(LOCKED), Arc::<FaultTier>::clone(&faulty));
    back_up(&site).unwrap();
    ground.pass(9 * DAY.as_secs());
    faulty.add(Rule::new(Target::Only(Operation::Protect), Fault::Denied));
    let report = back_up(&site).unwrap();
    assert_eq!((report.ending, report.locks[0].ending), (Ending::Failed, Ending::Failed));
    assert_eq!(report.assets[0].ending, Ending::Succeeded, "the snapshot is there all the same");
    let answer = locked(&site);
    assert_eq!(answer.outcome, Outcome::Failed);
    assert!(answer.message.unwrap().contains("locked only until"));
    faulty.heal();
    faulty.add(Rule::new(Target::Only(Operation::Protect), Fault::Fail(Moment::After)).nth(1));
    assert_eq!(back_up(&site).unwrap().ending, Ending::Succeeded);
    assert_eq!(locked(&site).outcome, Outcome::Passed);
}

#[test]
fn a_store_that_merely_could_lock_is_found_out() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    // It says that it locks, and forgets to.
    let clock = Arc::<SimClock>::clone(&ground.clock);
    let rule = LockRule { mode: LockMode::Governance, keep: Duration::ZERO };
    let faulty = Arc::new(FaultTier::new(Arc::new(MemoryTier::locking(clock, rule))));
    faulty.add(Rule::new(Target::Only(Operation::Protect), Fault::Denied));
    let site = on(&ground.site(LOCKED), Arc::<FaultTier>::clone(&faulty));
    assert_eq!(answers(&site, "what is stored there is locked"), []);
    assert_eq!(back_up(&site).unwrap().locks[0].ending, Ending::Failed);
    let answer = locked(&site);
    assert_eq!(answer.outcome, Outcome::Failed);
    assert!(answer.message.unwrap().contains("not locked: the newest pack"));

    let other = Ground::new();
    other.write("media/a", "a");
    let site = on(&other.site(LOCKED), Arc::new(MemoryTier::new()));
    back_up(&site).unwrap();
    let answer = locked(&site);
    assert_eq!(answer.outcome, Outcome::Failed);
    assert!(answer.message.unwrap().contains("locks nothing"));

    let silent = Ground::new();
    silent.write("media/a", "a");
    let faulty = Arc::new(FaultTier::new(locking(&silent)));
    let site = on(&silent.site(LOCKED), Arc::<FaultTier>::clone(&faulty));
    back_up(&site).unwrap();
    faulty.add(Rule::new(Target::Only(Operation::Head), Fault::Denied));
    let answer = locked(&site);
    assert_eq!(answer.outcome, Outcome::CouldNotVerify, "{answer:#?}");
}

#[test]
fn deleting_is_tried_where_the_plan_says_that_it_is_refused() {
    let plan = LOCKED.replace("lock = \"8d\"", "append_only = true");
    let what = "it refuses to delete, as `append_only` says";
    for (fault, outcome) in [(Some(Fault::Denied), Outcome::Passed), (None, Outcome::Failed)] {
        let ground = Ground::new();
        ground.write("media/a", "a");
        let memory = Arc::new(MemoryTier::new());
        let tier = FaultTier::new(Arc::<MemoryTier>::clone(&memory));
        if let Some(fault) = fault {
            let refusal = Rule::new(Target::Only(Operation::Delete), fault);
            tier.add(refusal.except("repo/locks".parse().unwrap()));
        }
        let site = on(&ground.site(&plan), Arc::new(tier));
        back_up(&site).unwrap();
        for _ in 0..3 {
            assert_eq!(answers(&site, what)[0].outcome, outcome);
        }
        let contents = memory.contents();
        let probes = contents.keys().filter(|path| path.as_str().contains("probe")).count();
        assert_eq!(
            probes,
            if fault.is_some() { 3 } else { 0 },
            "one that was never there each time"
        );
    }
    let ground = Ground::new();
    ground.write("media/a", "a");
    let tier = Arc::new(FaultTier::new(Arc::new(MemoryTier::new())));
    let site = on(&ground.site(&plan), Arc::<FaultTier>::clone(&tier));
    back_up(&site).unwrap();
    let silence = Rule::new(Target::Only(Operation::Delete), Fault::Fail(Moment::Before));
    tier.add(silence.below("probe".parse().unwrap()));
    let answer = answers(&site, what).pop().unwrap();
    assert_eq!(answer.outcome, Outcome::CouldNotVerify, "{answer:#?}");
}
