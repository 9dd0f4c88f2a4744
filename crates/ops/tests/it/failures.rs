//! What goes wrong with one thing and must not spoil the rest.

use std::fs;
use std::sync::Arc;

use lifeboat_model::{Cancel, Event, EventSink, Exit, Outcome, Silent, SimClock, Stage};
use lifeboat_ops::backup::{BackupOptions, backup};
use lifeboat_ops::ending::Ending;
use lifeboat_ops::point::At;
use lifeboat_ops::restore::{Destination, RestoreOptions, restore};
use lifeboat_ops::verification::{Share, VerifyOptions, verify};
use lifeboat_ops::{OpsError, Site};
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Operation, Rule, Target};
use lifeboat_tiers::local::LocalTier;
use lifeboat_tiers::{MemoryTier, PutMode, Tier};

use crate::ground::{Ground, MEDIA_ON_TWO, back_up, messages, restore_to, stages};

#[test]
fn a_tier_that_is_gone_is_an_error_and_not_made_anew() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    fs::remove_dir_all(ground.path("first")).unwrap();
    let report = back_up(&site).unwrap();
    assert_eq!(stages(&report, "media"), ["copy primary failed", "store secondary done"]);
    assert!(messages(&report)[0].contains("is not there any more"), "{:?}", messages(&report));
    assert!(!ground.path("first").exists());
    assert_eq!(report.exit(), Exit::Failed, "as if it had failed later: the other has everything");
    // An empty directory in its place, as when a disk is not mounted, hides nothing either.
    fs::create_dir(ground.path("first")).unwrap();
    let report = back_up(&site).unwrap();
    assert_eq!(stages(&report, "media"), ["copy primary failed", "store secondary done"]);
    assert_eq!(fs::read_dir(ground.path("first")).unwrap().count(), 0);
    fs::remove_dir_all(ground.path("second")).unwrap();
    let report = back_up(&site).unwrap();
    assert_eq!(report.exit(), Exit::NoRepository, "nothing is stored, for this reason alone");
}

#[test]
fn a_new_tier_gets_the_key_of_one_before_it_whichever_is_asked_for() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    back_up(&ground.site(MEDIA_ON_TWO)).unwrap();
    // The disk of the first is replaced by an empty one.
    fs::remove_dir_all(ground.path("first")).unwrap();
    fs::create_dir(ground.path("first")).unwrap();
    let plan = MEDIA_ON_TWO.replace("primary", "fresh");
    let site = ground.site(&plan);
    let to =
        |name: &str| BackupOptions { to: vec![name.parse().unwrap()], ..BackupOptions::default() };
    let report = backup(&site, &to("fresh"), &Silent, &Cancel::new()).unwrap();
    assert_eq!(stages(&report, "media"), ["store fresh done"], "{:?}", messages(&report));
    // Of one key, packs are copied as they are, and a snapshot keeps its id.
    let report = back_up(&site).unwrap();
    assert_eq!(stages(&report, "media"), ["store fresh done", "copy secondary done"]);
    let ids: Vec<_> = report.assets[0].snapshots.iter().map(|on| on.snapshot).collect();
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
}

#[test]
fn a_new_tier_says_which_ones_before_it_cannot_be_opened_and_begins_anew_without_them() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    back_up(&ground.site(MEDIA_ON_TWO)).unwrap();
    fs::remove_dir_all(ground.path("first")).unwrap();
    fs::remove_dir_all(ground.path("second")).unwrap();
    let third = "[tiers.third]\nurl = \"file://HOME/third\"\n[schedules.daily]";
    let plan = MEDIA_ON_TWO.replace("[schedules.daily]", third);
    let options = BackupOptions { to: vec!["third".parse().unwrap()], ..BackupOptions::default() };
    let report = backup(&ground.site(&plan), &options, &Silent, &Cancel::new()).unwrap();
    let said = messages(&report)[0].clone();
    for part in ["`third` cannot be set up", "primary: tier `primary` was set up at", "secondary: "]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!ground.path("third").exists());
    // Whoever takes what is lost for good out of the plan may begin anew.
    let alone = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[tiers.third]
url = "file://HOME/third"
[schedules.daily]
cron = "0 2 * * *"
assets = ["media"]
to = ["third"]
"#;
    let report = back_up(&ground.site(alone)).unwrap();
    assert_eq!(stages(&report, "media"), ["store third done"], "{:?}", messages(&report));
    restore_to(&ground.site(alone), "media", At::Latest, &ground.path("back")).unwrap();
}

/// A site whose second tier is as far away as its first, which leads then.
fn far(ground: &Ground, folder: &str, plan: &str) -> Site {
    let disk = LocalTier::open(&ground.path(folder)).unwrap();
    let tier = Arc::new(FaultTier::new(Arc::new(disk)));
    ground.site(plan).with_tier("secondary".parse().unwrap(), tier)
}

#[test]
fn a_tier_that_fills_up_gives_way_to_the_next() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    ground.write("media/b", "b");
    let full = FaultTier::new(Arc::new(LocalTier::open(&ground.path("first")).unwrap()));
    full.add(Rule::new(Target::Writes, Fault::Full).below("repo/data".parse().unwrap()));
    let full = Arc::new(full);
    let tier = Arc::<FaultTier>::clone(&full);
    let site = far(&ground, "second", MEDIA_ON_TWO).with_tier("primary".parse().unwrap(), tier);
    let report = back_up(&site).unwrap();
    assert_eq!(stages(&report, "media"), ["store primary failed", "store secondary done"]);
    assert_eq!(report.ending, Ending::Failed);
    assert_eq!(report.assets[0].snapshots.len(), 1);
    assert!(report.assets[0].captured.is_some());
    // A full disk is told at once: what does not pass is not tried again.
    let mut refused: Vec<_> =
        full.asked().into_iter().filter(|a| a.fault.is_some()).map(|a| a.path).collect();
    let all = refused.len();
    refused.sort();
    refused.dedup();
    assert!(all > 0 && refused.len() == all, "{refused:?}");
}

#[test]
fn a_tier_that_stumbles_fails_nothing() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let stumbling = |name: &str| {
        let disk = LocalTier::create(&ground.path(name)).unwrap();
        let tier = FaultTier::new(Arc::new(disk));
        for nth in (2..2000).step_by(3) {
            let moment = if nth % 2 == 0 { Moment::Before } else { Moment::After };
            tier.add(Rule::new(Target::Any, Fault::Fail(moment)).nth(nth));
        }
        Arc::new(tier)
    };
    let (first, second) = (stumbling("first"), stumbling("second"));
    let site = ground
        .site(MEDIA_ON_TWO)
        .with_tier("primary".parse().unwrap(), Arc::<FaultTier>::clone(&first))
        .with_tier("secondary".parse().unwrap(), Arc::<FaultTier>::clone(&second));
    for _ in 0..2 {
        let report = back_up(&site).unwrap();
        assert_eq!(stages(&report, "media"), ["store primary done", "copy secondary done"]);
        ground.write("media/b", "b");
    }
    restore_to(&site, "media", At::Latest, &ground.path("back")).unwrap();
    let back = ground.path("back").join(ground.path("media/b").strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(back).unwrap(), "b");
    for tier in [first, second] {
        let struck = tier.asked().iter().filter(|asked| asked.fault.is_some()).count();
        assert!(struck > 10, "{struck}");
    }
}

#[test]
fn another_sites_tier_is_refused() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    back_up(&ground.site(MEDIA_ON_TWO)).unwrap();
    let other = ground.plan_text(MEDIA_ON_TWO).replace("site = \"shop\"", "site = \"bank\"");
    let mut site = ground.site_from(other);
    // Another site has a state directory of its own.
    let mut surroundings = ground.surroundings.clone();
    surroundings.state_directory = ground.path("other-state");
    site = site.with_surroundings(surroundings);
    let before = fs::read_dir(ground.path("first/catalog")).unwrap().count();
    let report = back_up(&site).unwrap();
    assert_eq!(report.ending, Ending::Failed);
    assert!(messages(&report)[0].contains("belongs to site `shop`"), "{:?}", messages(&report));
    assert_eq!(fs::read_dir(ground.path("first/catalog")).unwrap().count(), before);
}

#[test]
fn somebody_elses_folder_is_not_written_to() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    ground.write("first/holiday.jpg", "x");
    let report = back_up(&ground.site(MEDIA_ON_TWO)).unwrap();
    assert_eq!(stages(&report, "media"), ["copy primary failed", "store secondary done"]);
    assert_eq!(fs::read_dir(ground.path("first")).unwrap().count(), 1);
}

#[test]
fn a_store_without_credentials_says_so_and_the_rest_goes_on() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let plan = MEDIA_ON_TWO.replace("file://HOME/second", "azure://shop/backups");
    let site = ground.site(&plan);
    let report = back_up(&site).unwrap();
    assert_eq!(stages(&report, "media"), ["copy secondary failed", "store primary done"]);
    assert!(messages(&report)[0].contains("no credentials for the storage account `shop`"));
    restore_to(&site, "media", At::Latest, &ground.path("back")).unwrap();
}

#[test]
fn a_full_tier_does_not_spoil_the_other() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let full = Arc::new(FaultTier::new(Arc::new(MemoryTier::new())));
    let (first, second) = (Arc::new(MemoryTier::new()), Arc::<FaultTier>::clone(&full));
    let site = ground
        .site(MEDIA_ON_TWO)
        .with_tier("primary".parse().unwrap(), first)
        .with_tier("secondary".parse().unwrap(), second);
    back_up(&site).unwrap();
    ground.write("media/b", "b");
    full.add(Rule::new(Target::Writes, Fault::Full).below("repo/data".parse().unwrap()));
    let report = back_up(&site).unwrap();
    assert_eq!(stages(&report, "media"), ["store primary done", "copy secondary failed"]);
    assert!(messages(&report)[0].contains("no space is left"), "{:?}", messages(&report));
    full.heal();
    let report = back_up(&site).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "{report:#?}");
}

#[test]
fn a_read_only_tier_is_named() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let tier = Arc::new(FaultTier::new(Arc::new(MemoryTier::new())));
    let site = ground
        .site(MEDIA_ON_TWO)
        .with_tier("primary".parse().unwrap(), Arc::<FaultTier>::clone(&tier) as Arc<dyn Tier>)
        .with_tier("secondary".parse().unwrap(), Arc::new(MemoryTier::new()));
    tier.add(Rule::new(Target::Writes, Fault::Denied));
    let report = back_up(&site).unwrap();
    assert_eq!(report.ending, Ending::Failed);
    assert!(messages(&report)[0].contains("refused to"), "{:?}", messages(&report));
    assert_eq!(stages(&report, "media")[1], "store secondary done");
}

const HOOKED: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
before = ["sh", "-c", "echo before $LIFEBOAT_ASSET >> HOME/hooks; exit BEFORE"]
after = ["sh", "-c", "echo after $LIFEBOAT_OUTCOME >> HOME/hooks; echo written"]
on_failure = ["sh", "-c", "echo on_failure $LIFEBOAT_OUTCOME >> HOME/hooks"]
[tiers.primary]
url = "file://HOME/first"
[schedules.daily]
cron = "0 2 * * *"
assets = ["media"]
to = ["primary"]
"#;

#[test]
fn hooks_run_for_what_happened() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let report = back_up(&ground.site(&HOOKED.replace("BEFORE", "0"))).unwrap();
    assert_eq!(stages(&report, "media"), ["before - done", "store primary done", "after - done"]);
    assert_eq!(report.assets[0].hooks[1].stdout, "written\n");
    let report = back_up(&ground.site(&HOOKED.replace("BEFORE", "7"))).unwrap();
    assert_eq!(
        stages(&report, "media"),
        ["before - failed", "copy primary skipped", "after - done"]
    );
    assert!(messages(&report)[0].contains("exit code 7"), "{:?}", messages(&report));
    assert!(report.assets[0].snapshots.is_empty());
    let told = fs::read_to_string(ground.path("hooks")).unwrap();
    assert_eq!(told, "before media\nafter succeeded\nbefore media\non_failure failed\n");
}

#[test]
fn a_cancelled_backup_says_so_and_the_next_one_goes_on() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    let cancel = Cancel::new();
    cancel.cancel();
    let cancelled = backup(&site, &BackupOptions::default(), &Silent, &cancel);
    match cancelled {
        Ok(report) => assert_eq!(report.exit(), Exit::Cancelled),
        Err(error) => assert_eq!(lifeboat_model::Classify::exit(&error), Exit::Cancelled),
    }
    assert_eq!(back_up(&site).unwrap().ending, Ending::Succeeded);
}

#[test]
fn names_that_the_plan_lacks_are_refused() {
    let ground = Ground::new();
    let site = ground.site(MEDIA_ON_TWO);
    let assets = vec!["music".parse().unwrap()];
    let options = BackupOptions { assets, ..BackupOptions::default() };
    let error = backup(&site, &options, &Silent, &Cancel::new()).unwrap_err();
    assert!(matches!(error, OpsError::NoAsset { .. }), "{error}");
    let options = BackupOptions { to: vec!["moon".parse().unwrap()], ..BackupOptions::default() };
    let error = backup(&site, &options, &Silent, &Cancel::new()).unwrap_err();
    assert!(matches!(error, OpsError::NoTier { .. }), "{error}");
    assert!(!ground.path("state").join("catalog.sqlite").exists());
}

#[test]
fn who_was_quicker_to_lock_a_tier_stands_in_the_way_there_alone() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let disk = LocalTier::create(&ground.path("first")).unwrap();
    let first = Arc::new(FaultTier::new(Arc::new(disk)));
    let tier = Arc::<FaultTier>::clone(&first);
    LocalTier::create(&ground.path("second")).unwrap();
    let site = far(&ground, "second", MEDIA_ON_TWO).with_tier("primary".parse().unwrap(), tier);
    back_up(&site).unwrap();

    // Somebody's lock is there that is not listed yet when ours is written.
    let locks = "repo/locks".parse().unwrap();
    first.settle();
    first.add(Rule::new(Target::Only(Operation::List), Fault::Lag).below(locks).nth(1));
    let name = format!("repo/locks/{}", "3".repeat(64)).parse().unwrap();
    let put = first.put(&name, "torn".into(), PutMode::Create);
    ground.surroundings.runtime.block_on(put).unwrap();

    let report = back_up(&site).unwrap();
    assert_eq!(stages(&report, "media"), ["store primary failed", "store secondary done"]);
    assert!(messages(&report)[0].contains("is locked by"), "{:?}", messages(&report));
    assert_eq!(report.verifications.len(), 1);
    assert_eq!(report.exit(), Exit::Locked);
}

/// A machine that sleeps for half an hour whenever this stage begins.
#[derive(Debug)]
struct Sleeps(Stage, Arc<SimClock>);

impl EventSink for Sleeps {
    fn emit(&self, event: Event) {
        if matches!(event, Event::Started { stage, .. } if stage == self.0) {
            self.1.advance(std::time::Duration::from_mins(30));
        }
    }
}

#[test]
fn what_was_read_under_a_lock_that_was_lost_counts_for_nothing() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    let sleeps = |stage| Sleeps(stage, Arc::clone(&ground.clock));

    let to = Destination::Directory(ground.path("out"));
    let options = RestoreOptions::new("media".parse().unwrap(), to);
    let restored = restore(&site, &options, &sleeps(Stage::Restore), &Cancel::new());
    let error = lifeboat_ops::error::explain(&restored.unwrap_err());
    assert!(error.contains("was not refreshed for 30 minutes"), "{error}");

    let all = VerifyOptions { tiers: vec!["primary".parse().unwrap()], share: Share::All };
    let report = verify(&site, &all, &sleeps(Stage::Structure), &Cancel::new()).unwrap();
    assert_eq!(report.outcome, Outcome::CouldNotVerify);
    let trouble = report.tiers[0].trouble.as_ref().unwrap();
    assert!(trouble.message.contains("was not refreshed"), "{trouble:?}");
}
