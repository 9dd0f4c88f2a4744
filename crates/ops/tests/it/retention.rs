//! Removing what the plan does not keep, on tiers that die, lock, or refuse to delete.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{Cancel, Exit, Outcome, Silent, SimClock};
use lifeboat_ops::Site;
use lifeboat_ops::backup::{BackupOptions, Extent, backup};
use lifeboat_ops::catch_up::catch_up;
use lifeboat_ops::ending::Ending;
use lifeboat_ops::holdings::recovery_points;
use lifeboat_ops::point::At;
use lifeboat_ops::retention::hold::{WhichHolds, hold, release};
use lifeboat_ops::retention::letting_go::{self, WhichGone};
use lifeboat_ops::retention::{Purpose, RetentionOptions, RetentionReport, retention};
use lifeboat_ops::tier_state::tiers_report;
use lifeboat_ops::verification::{Share, VerifyOptions, verify};
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Operation, Rule, Target};
use lifeboat_tiers::placement::LockRule;
use lifeboat_tiers::{LockMode, MemoryTier, Tier};

use crate::ground::{Ground, back_up, restore_to};

const DAY: u64 = 24 * 3600;

const ONE_TIER: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[tiers.primary]
url = "file://HOME/first"
keep = { within = "2d" }
[schedules.daily]
cron = "0 2 * * *"
assets = ["media"]
to = ["primary"]
[schedules.monthly]
cron = "0 4 1 * *"
assets = ["media"]
to = ["primary"]
keep = { monthly = 12 }
[costs]
"tiers.primary" = { per_gib_month = 1, per_1000_writes = 5 }
"#;

fn retain(site: &Site, purpose: Purpose) -> RetentionReport {
    let options = RetentionOptions { tiers: Vec::new(), purpose };
    retention(site, &options, &Silent, &Cancel::new()).unwrap()
}

/// How many snapshots of the first tier stay, and how many go.
fn fates(report: &RetentionReport) -> (usize, usize) {
    let snapshots = &report.tiers[0].snapshots;
    let going = snapshots.iter().filter(|fate| fate.reasons.is_empty()).count();
    (snapshots.len() - going, going)
}

/// Backs up once a day, each time something else.
fn days(ground: &Ground, site: &Site, count: u64) {
    for day in 0..count {
        // Bytes that no compression makes the same.
        let bytes: Vec<u8> =
            (0..40_000_u64).map(|n| ((n * n * (day + 3)) >> 7).to_le_bytes()[0]).collect();
        ground.write("media/changes", bytes);
        ground.write(&format!("media/{day}"), format!("{day}"));
        ground.pass(DAY);
        assert_eq!(back_up(site).unwrap().ending, Ending::Succeeded);
    }
}

fn on(site: &Site, tier: Arc<dyn Tier>) -> Site {
    site.clone().with_tier("primary".parse().unwrap(), tier)
}

#[test]
fn nothing_is_removed_from_a_tier_from_which_a_snapshot_went_without_a_word() {
    let ground = Ground::new();
    let memory = Arc::new(MemoryTier::new());
    let site = on(&ground.site(ONE_TIER), Arc::<MemoryTier>::clone(&memory));
    days(&ground, &site, 5);
    let points = recovery_points(&site, None, &Silent, &Cancel::new()).unwrap().points;
    let primary = "primary".parse().unwrap();
    let lost = points[1].members[0].capture.copies[&primary];
    let path = format!("repo/snapshots/{}", lost.to_hex()).parse().unwrap();
    ground.surroundings.runtime.block_on(memory.delete(&path)).unwrap();
    let data = || {
        let is_data = |path: &&lifeboat_tiers::ObjectPath| {
            ["repo/data/", "repo/snapshots/"].iter().any(|folder| path.as_str().starts_with(folder))
        };
        memory.contents().keys().filter(is_data).cloned().collect::<Vec<_>>()
    };
    let before = data();
    for purpose in [Purpose::Show, Purpose::Run] {
        let report = retain(&site, purpose);
        let trouble = report.tiers[0].trouble.as_ref().unwrap();
        assert!(trouble.message.contains(&lost.to_string()), "{trouble:?}");
        assert!(trouble.hint.as_ref().unwrap().contains("lifeboat retention let-go primary"));
        assert_eq!((report.exit(), data()), (Exit::Failed, before.clone()));
    }
    letting_go::let_go(&site, &primary, &WhichGone::All, &Silent, &Cancel::new()).unwrap();
    assert_eq!(data(), before, "to let go removes nothing yet");
    assert_eq!(retain(&site, Purpose::Run).ending, Ending::Succeeded);
    assert!(data().len() < before.len());
    prove(&ground, &site, "back");
}

fn prove(ground: &Ground, site: &Site, folder: &str) {
    let options = VerifyOptions { tiers: Vec::new(), share: Share::All };
    let verified = verify(site, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(verified.outcome, Outcome::Passed, "{verified:#?}");
    restore_to(site, "media", At::Latest, &ground.path(folder)).unwrap();
    let back = ground.path(folder).join(ground.path("media/changes").strip_prefix("/").unwrap());
    assert_eq!(fs::read(back).unwrap(), fs::read(ground.path("media/changes")).unwrap());
}

#[test]
fn what_the_plan_does_not_keep_goes_and_is_not_missed() {
    let ground = Ground::new();
    let memory = Arc::new(MemoryTier::new());
    let site = on(&ground.site(ONE_TIER), Arc::<MemoryTier>::clone(&memory));
    ground.write("media/a", "a");
    let options =
        BackupOptions { schedule: Some("monthly".parse().unwrap()), ..BackupOptions::default() };
    backup(&site, &options, &Silent, &Cancel::new()).unwrap();
    days(&ground, &site, 5);
    let before = memory.contents();
    let shown = retain(&site, Purpose::Show);
    assert_eq!(fates(&shown), (3, 3));
    let packs = |objects: &std::collections::BTreeMap<_, _>| {
        objects
            .keys()
            .filter(|path: &&lifeboat_tiers::ObjectPath| path.as_str().starts_with("repo/"))
            .count()
    };
    assert_eq!(packs(&memory.contents()), packs(&before), "showing removes nothing");
    let done = retain(&site, Purpose::Run);
    assert_eq!((done.ending, fates(&done)), (Ending::Succeeded, (3, 3)));
    let (foreseen, measured) = (&shown.tiers[0], &done.tiers[0]);
    assert_eq!(foreseen.requests.unwrap().deletes, measured.requests.unwrap().deletes);
    assert!(
        measured.prune.unwrap().freed_bytes > 0 && measured.price.unwrap().saved_per_month > 0.0
    );
    prove(&ground, &site, "back");
    let points = recovery_points(&site, None, &Silent, &Cancel::new()).unwrap();
    assert_eq!(points.points.len(), 3);
    assert!(points.missing.is_empty(), "{:?}", points.missing);
    assert_eq!(fates(&retain(&site, Purpose::Run)), (3, 0), "a second run has nothing to do");
}

const TWO_TIERS: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[tiers.primary]
url = "file://HOME/first"
[tiers.secondary]
url = "file://HOME/second"
keep = { last = 1, daily = 2 }
[schedules.hourly]
cron = "0 * * * *"
assets = ["media"]
to = ["primary", "secondary"]
[schedules.monthly]
cron = "0 4 1 * *"
assets = ["media"]
to = ["primary", "secondary"]
keep = { monthly = 12 }
"#;

#[test]
fn a_tier_catches_up_with_what_its_own_rules_keep_and_retention_finds_nothing_to_remove() {
    let ground = Ground::new();
    let site = ground.site(TWO_TIERS);
    ground.write("media/a", "a");
    assert_eq!(back_up(&site).unwrap().ending, Ending::Succeeded);
    let to: Vec<_> = vec!["primary".parse().unwrap()];
    let backed_up = |schedule: &str| {
        let schedule = Some(schedule.parse().unwrap());
        let extent = Extent::StoreAlone;
        let options =
            BackupOptions { to: to.clone(), schedule, extent, ..BackupOptions::default() };
        assert_eq!(
            backup(&site, &options, &Silent, &Cancel::new()).unwrap().ending,
            Ending::Succeeded
        );
    };
    for hour in 0..4 * 24 {
        ground.pass(3600);
        if hour % 6 == 0 {
            ground.write("media/a", format!("in hour {hour}"));
            backed_up(if hour == 6 { "monthly" } else { "hourly" });
        }
    }
    let second = || tiers_report(&site).unwrap().tiers.pop().unwrap();
    let before = second();
    let report = catch_up(&site, &[], &Silent, &Cancel::new()).unwrap();
    let brought = report.tiers.iter().find(|tier| tier.tier.as_str() == "secondary").unwrap();
    // The newest of each of two days, of which one is the newest of all, and what its schedule keeps.
    assert_eq!((brought.brought.len(), brought.lacks), (3, 0), "{brought:#?}");
    assert_eq!(before.pending.unwrap().snapshots, 3);
    assert_eq!(before.assets[0].lag.points, 3);
    let after = second();
    assert_eq!((after.pending.unwrap().snapshots, after.assets[0].lag.points), (0, 0));
    let retained = retain(&site, Purpose::Run);
    let secondary = &retained.tiers[1].snapshots;
    let gone: Vec<_> = secondary.iter().filter(|fate| fate.reasons.is_empty()).collect();
    assert_eq!((secondary.len(), gone.len()), (4, 1), "what was there before: {gone:#?}");
    assert_eq!(gone[0].snapshot, secondary.last().unwrap().snapshot);
    let again = catch_up(&site, &[], &Silent, &Cancel::new()).unwrap();
    assert!(again.tiers.iter().all(|tier| tier.brought.is_empty()), "{again:#?}");
}

#[test]
fn nothing_goes_while_retention_is_held() {
    let ground = Ground::new();
    let site = on(&ground.site(ONE_TIER), Arc::new(MemoryTier::new()));
    days(&ground, &site, 4);
    let held = hold(&site, "an intruder", &Silent, &Cancel::new()).unwrap();
    let report = retain(&site, Purpose::Run);
    assert_eq!(fates(&report), (4, 0));
    assert_eq!(report.holds, std::slice::from_ref(&held));
    let wrong = WhichHolds::One("zz".to_owned());
    assert!(release(&site, &wrong, &Silent, &Cancel::new()).is_err());
    let released =
        release(&site, &WhichHolds::One(held.id.unwrap().to_string()), &Silent, &Cancel::new());
    assert_eq!(released.unwrap(), [held]);
    assert_eq!(fates(&retain(&site, Purpose::Run)), (2, 2));
}

#[test]
fn the_last_point_that_was_verified_outlives_its_rule() {
    let ground = Ground::new();
    let site = on(&ground.site(ONE_TIER), Arc::new(MemoryTier::new()));
    days(&ground, &site, 1);
    prove(&ground, &site, "first");
    days(&ground, &site, 4);
    let report = retain(&site, Purpose::Run);
    assert_eq!(fates(&report), (3, 2));
    let oldest = report.tiers[0].snapshots.last().unwrap();
    assert_eq!(oldest.reasons[0].to_string(), "last verified");
    prove(&ground, &site, "second");
    assert_eq!(fates(&retain(&site, Purpose::Run)), (2, 1), "another one was verified");
}

/// Retains on a tier that dies at a write, then looks at everything, and goes on. What was before is
/// copied, so that it is made only once.
fn survive(ground: &Ground, before: &MemoryTier, write: u64, moment: Moment) -> bool {
    let memory: Arc<dyn Tier> = Arc::new(before.fork());
    let folder = format!("{moment:?}-{write}");
    let mut surroundings = ground.surroundings.clone();
    surroundings.state_directory = ground.path(&format!("state-{folder}"));
    fs::create_dir(&surroundings.state_directory).unwrap();
    for entry in fs::read_dir(ground.path("state")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), surroundings.state_directory.join(entry.file_name())).unwrap();
        }
    }
    let site = on(&ground.site(ONE_TIER).with_surroundings(surroundings), Arc::clone(&memory));
    let dying = Arc::new(FaultTier::new(Arc::clone(&memory)));
    dying.add(Rule::kill_at_write(write, moment));
    let options = RetentionOptions { tiers: Vec::new(), purpose: Purpose::Run };
    let dead = on(&site, Arc::<FaultTier>::clone(&dying));
    _ = retention(&dead, &options, &Silent, &Cancel::new());
    // The lock of the process that died goes stale.
    ground.pass(3600);
    prove(ground, &site, &format!("{folder}-after"));
    let points = recovery_points(&site, None, &Silent, &Cancel::new()).unwrap();
    assert!(points.missing.is_empty(), "write {write} {moment:?}: {:?}", points.missing);
    let again = retain(&site, Purpose::Run);
    assert_eq!(again.ending, Ending::Succeeded, "write {write} {moment:?}: {again:#?}");
    prove(ground, &site, &format!("{folder}-again"));
    dying.is_dead()
}

#[test]
fn a_kill_at_any_write_of_retention_leaves_everything_restorable() {
    let ground = Ground::new();
    let memory = Arc::new(MemoryTier::new());
    days(&ground, &on(&ground.site(ONE_TIER), Arc::<MemoryTier>::clone(&memory)), 5);
    for moment in [Moment::Before, Moment::After] {
        let mut write = 1;
        while survive(&ground, &memory, write, moment) {
            write += 1;
        }
        assert!(write > 10, "{moment:?}: {write}");
    }
}

#[test]
fn what_is_locked_stays_until_its_lock_has_run_out() {
    let ground = Ground::new();
    let keep = Duration::from_secs(10 * DAY);
    let rule = LockRule { mode: LockMode::Compliance, keep };
    let clock = Arc::<SimClock>::clone(&ground.clock);
    let memory = Arc::new(MemoryTier::locking(clock, rule));
    let site = on(&ground.site(ONE_TIER), Arc::<MemoryTier>::clone(&memory));
    days(&ground, &site, 5);
    let report = retain(&site, Purpose::Run);
    assert_eq!((report.ending, fates(&report)), (Ending::Succeeded, (5, 0)), "{report:#?}");
    let oldest = report.tiers[0].snapshots.last().unwrap();
    assert!(oldest.reasons[0].to_string().starts_with("locked until 2026-12-0"));
    // A hostile client with the same credentials gets no further.
    for path in memory.contents().keys().filter(|path| !path.as_str().starts_with("repo/locks/")) {
        let deleted = ground.surroundings.runtime.block_on(memory.delete(path));
        assert!(deleted.is_err(), "{path}");
    }
    ground.pass(7 * DAY);
    let report = retain(&site, Purpose::Run);
    assert_eq!(report.ending, Ending::Succeeded, "{report:#?}");
    assert_eq!(fates(&report), (3, 2), "{report:#?}");
    prove(&ground, &site, "back");
    ground.pass(30 * DAY);
    let report = retain(&site, Purpose::Run);
    assert_eq!(report.ending, Ending::Succeeded, "{report:#?}");
    prove(&ground, &site, "later");
}

/// A tier on which nothing can be deleted but what lies in a folder.
fn append_only(but: Option<&str>) -> Arc<FaultTier> {
    let mut refusal = Rule::new(Target::Only(Operation::Delete), Fault::Denied);
    if let Some(folder) = but {
        refusal = refusal.except(folder.parse().unwrap());
    }
    Arc::new(FaultTier::new(Arc::new(MemoryTier::new())).with(refusal))
}

#[test]
fn backups_work_where_nothing_can_be_deleted() {
    let plan = ONE_TIER.replace("[tiers.primary]", "[tiers.primary]\nappend_only = true");
    for but in [Some("repo/locks"), None] {
        let ground = Ground::new();
        let tier = append_only(but);
        let site = on(&ground.site(&plan), Arc::<FaultTier>::clone(&tier));
        days(&ground, &site, 5);
        prove(&ground, &site, "back");
        let report = retain(&site, Purpose::Run);
        assert_eq!(report.ending, Ending::Failed);
        let trouble = report.tiers[0].trouble.as_ref().unwrap();
        assert_eq!(report.exit(), Exit::Failed);
        assert!(trouble.message.contains("lets this host remove nothing"), "{trouble:?}");
        let hint = trouble.hint.as_ref().unwrap();
        assert!(hint.contains("on a machine whose credentials may delete"), "{hint}");
        assert_eq!(recovery_points(&site, None, &Silent, &Cancel::new()).unwrap().points.len(), 5);
        let refused = |asked: &&lifeboat_tiers::fault::Asked| asked.fault.is_some();
        let locks = tier
            .asked()
            .iter()
            .filter(refused)
            .filter(|a| a.path.starts_with("repo/locks"))
            .count();
        assert_eq!(locks == 0, but.is_some(), "{locks}");
        // Whoever may delete retains: another machine, with other credentials.
        tier.heal();
        ground.pass(3600);
        assert_eq!(fates(&retain(&site, Purpose::Run)), (2, 3));
    }
}
