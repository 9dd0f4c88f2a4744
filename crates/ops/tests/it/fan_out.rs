//! Several tiers at once: an asset is read once, a tier that is down or slow delays only itself, and
//! gets later what it missed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lifeboat_model::clock::{Sleep, StillClock};
use lifeboat_model::{Cancel, Clock, Exit, Outcome, Silent, SnapshotId, Timestamp};
use lifeboat_ops::Site;
use lifeboat_ops::catalog::view::View;
use lifeboat_ops::catch_up::{CatchUpReport, catch_up};
use lifeboat_ops::ending::Ending;
use lifeboat_ops::error::Trouble;
use lifeboat_ops::holdings::recovery_points;
use lifeboat_ops::point::At;
use lifeboat_ops::retention::letting_go::{self, WhichGone};
use lifeboat_ops::state::State;
use lifeboat_ops::status::status;
use lifeboat_ops::tier_state::{Lag, Pending, Stands, TierState, tiers_report};
use lifeboat_ops::verification::{Share, VerifyOptions, VerifyReport, verify};
use lifeboat_tiers::counting::Traffic;
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Operation, Rule, Target};
use lifeboat_tiers::protection::Protection;
use lifeboat_tiers::{CountingTier, MemoryTier, ObjectPrefix, Tier};

use crate::ground::{Ground, back_up, messages, restore_to, stages};

const ON_THREE: &str = r#"
[assets.settings]
kind = "files"
paths = ["HOME/settings"]
[assets.media]
kind = "files"
paths = ["HOME/media"]
rpo = "24h"
[tiers.cloud]
url = "file://HOME/cloud"
[tiers.disk]
url = "file://HOME/disk"
[tiers.vault]
url = "file://HOME/vault"
[schedules.daily]
cron = "0 2 * * *"
assets = ["media", "settings"]
to = ["cloud", "disk", "vault"]
"#;

/// A site with a disk and two tiers that are far away, and may be told to fail.
struct Three {
    ground: Ground,
    cloud: Arc<FaultTier>,
    vault: Arc<FaultTier>,
}

impl Three {
    fn new() -> Self {
        let ground = Ground::new();
        ground.write("media/a", noise(3 << 20, 1));
        ground.write("settings/b", "b");
        let far = || Arc::new(FaultTier::new(Arc::new(MemoryTier::new())));
        Self { ground, cloud: far(), vault: far() }
    }

    fn site(&self) -> Site {
        let site = self.ground.site(ON_THREE);
        let site = site.with_tier("cloud".parse().unwrap(), self.cloud.clone());
        site.with_tier("vault".parse().unwrap(), self.vault.clone())
    }

    fn verify_all(&self) {
        let options = VerifyOptions { tiers: Vec::new(), share: Share::All };
        let verified = verify(&self.site(), &options, &Silent, &Cancel::new()).unwrap();
        assert_eq!(verified.outcome, Outcome::Passed, "{verified:#?}");
    }

    fn snapshots(&self) -> Vec<usize> {
        let tiers = status(&self.site()).unwrap().tiers;
        tiers.iter().map(|tier| tier.snapshots.unwrap()).collect()
    }

    fn verify(&self, tier: &str) -> VerifyReport {
        let options = VerifyOptions { tiers: vec![tier.parse().unwrap()], share: Share::All };
        verify(&self.site(), &options, &Silent, &Cancel::new()).unwrap()
    }

    fn view_path(&self) -> PathBuf {
        State::open(&self.ground.surroundings.state_directory).unwrap().view_path()
    }

    /// Backs up twice, and then takes a snapshot of the first time from the vault, as somebody might by hand.
    fn lose_one_of_two(&self) -> SnapshotId {
        back_up(&self.site()).unwrap();
        let asked = self.vault.asked();
        let mut puts = asked.iter().filter(|asked| asked.operation == Operation::Put);
        let path = puts.find(|put| put.path.contains("snapshots/")).unwrap().path.parse().unwrap();
        self.ground.pass(3600);
        back_up(&self.site()).unwrap();
        self.ground.pass(3600);
        self.ground.surroundings.runtime.block_on(self.vault.delete(&path)).unwrap();
        path.file_name().parse().unwrap()
    }

    fn catch_up(&self) -> CatchUpReport {
        catch_up(&self.site(), &[], &Silent, &Cancel::new()).unwrap()
    }
}

/// Returns bytes that cannot be compressed.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(step).take(length).collect()
}

fn repo(folder: &str) -> ObjectPrefix {
    format!("repo/{folder}").parse().unwrap()
}

#[test]
fn an_asset_is_read_once_and_a_tier_of_this_machine_leads() {
    let three = Three::new();
    let report = back_up(&three.site()).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "{report:#?}");
    for asset in ["media", "settings"] {
        let mut ended = stages(&report, asset);
        assert_eq!(ended.remove(0), "store disk done");
        ended.sort();
        assert_eq!(ended, ["copy cloud done", "copy vault done"]);
    }
    let ids: Vec<_> = report.assets[0].snapshots.iter().map(|on| on.snapshot).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    three.verify_all();
}

#[test]
fn a_tier_that_dies_midway_keeps_no_other_and_catches_up_with_the_next_backup() {
    let three = Three::new();
    back_up(&three.site()).unwrap();
    three.ground.pass(3600);
    three.ground.write("media/c", noise(1 << 20, 3));
    three.cloud.add(
        Rule::new(Target::Only(Operation::Put), Fault::Fail(Moment::Before)).below(repo("data")),
    );
    let report = back_up(&three.site()).unwrap();
    let ended = stages(&report, "media");
    assert!(ended.contains(&"copy cloud failed".to_owned()), "{ended:?}");
    assert!(ended.contains(&"copy vault done".to_owned()), "{ended:?}");
    assert!(messages(&report)[0].contains("put repo/data"), "{:?}", messages(&report));
    let states = tiers_report(&three.site()).unwrap().tiers;
    let lag =
        |tier: usize| states[tier].assets.iter().find(|a| a.asset.as_str() == "media").unwrap().lag;
    assert_eq!((lag(0).points, lag(0).seconds), (1, Some(3600)));
    assert!(lag(0).bytes > 1 << 20, "{:?}", lag(0));
    assert_eq!(
        (lag(1), lag(2)),
        (Lag { seconds: Some(0), ..Lag::default() }, Lag { seconds: Some(0), ..Lag::default() })
    );
    let pending: Vec<_> = states.iter().map(|tier| tier.pending.unwrap().snapshots).collect();
    assert_eq!(pending[1..], [0, 0]);
    assert!(pending[0] >= 1, "{pending:?}");
    let media = &status(&three.site()).unwrap().assets[0];
    let behind: Vec<_> = media.tiers.iter().map(|on| on.behind).collect();
    assert_eq!(behind, [1, 0, 0]);

    three.cloud.heal();
    three.ground.pass(3600);
    let report = back_up(&three.site()).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "{:?}", messages(&report));
    let [cloud] = &report.caught_up[..] else { panic!("{:?}", report.caught_up) };
    assert_eq!((cloud.tier.as_str(), cloud.lacks), ("cloud", 0));
    assert_eq!(three.snapshots(), [6, 6, 6]);
    assert!(
        status(&three.site())
            .unwrap()
            .assets
            .iter()
            .all(|a| a.tiers.iter().all(|on| on.behind == 0))
    );
    three.verify_all();
}

/// A clock on which any wait lasts until the vault has so many snapshots.
#[derive(Debug)]
struct UntilLevel {
    vault: Arc<FaultTier>,
    snapshots: usize,
}

impl Clock for UntilLevel {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn sleep(&self, _duration: Duration) -> Sleep<'_> {
        Box::pin(async {
            while self.vault.list(&repo("snapshots")).count().await < self.snapshots {
                tokio::task::yield_now().await;
            }
        })
    }
}

#[test]
fn a_slow_tier_delays_only_itself() {
    let three = Three::new();
    back_up(&three.site()).unwrap();
    three.ground.pass(3600);
    three.ground.write("media/c", noise(1 << 20, 3));
    three.ground.write("settings/d", "d");
    // Nothing gets through to it before the other one has everything: who waited for it would wait forever.
    let until = Arc::new(UntilLevel { vault: three.vault.clone(), snapshots: 4 });
    let slow = FaultTier::new(three.cloud.clone()).with_clock(until).with(
        Rule::new(Target::Only(Operation::Put), Fault::Slow(Duration::from_mins(1)))
            .below(repo("data")),
    );
    let site = three.site().with_tier("cloud".parse().unwrap(), Arc::new(slow));
    let report = back_up(&site).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "{:?}", messages(&report));
    assert_eq!(three.snapshots(), [4, 4, 4]);
}

#[test]
fn a_tier_that_hangs_keeps_no_other_waiting_and_gets_everything_once_it_answers() {
    let three = Three::new();
    back_up(&three.site()).unwrap();
    three.ground.pass(3600);
    three.ground.write("media/c", noise(1 << 20, 3));
    // It takes what is asked and says nothing before the other one has everything.
    let until = Arc::new(UntilLevel { vault: three.vault.clone(), snapshots: 4 });
    let hangs = FaultTier::new(three.cloud.clone())
        .with_clock(until)
        .with(Rule::new(Target::Any, Fault::Slow(Duration::from_mins(1))));
    let site = three.site().with_tier("cloud".parse().unwrap(), Arc::new(hangs));
    let report = back_up(&site).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "{:?}", messages(&report));
    for asset in ["media", "settings"] {
        assert_eq!(
            stages(&report, asset),
            ["store disk done", "copy vault done", "copy cloud done"],
            "the one that hung is the last"
        );
    }
    assert_eq!(three.snapshots(), [4, 4, 4]);
    three.verify_all();
}

#[test]
fn a_restore_begins_with_a_tier_that_has_everything_and_asks_one_that_hangs_once() {
    let three = Three::new();
    back_up(&three.site()).unwrap();
    let still = StillClock::new(Timestamp::UNIX_EPOCH, Cancel::new());
    let hangs = FaultTier::new(three.cloud.clone())
        .with_clock(Arc::new(still))
        .with(Rule::new(Target::Any, Fault::Slow(Duration::from_mins(1))));
    let hangs = Arc::new(hangs);
    let site = three.site().with_tier("cloud".parse().unwrap(), hangs.clone());
    let to = three.ground.path("back");
    let report = restore_to(&site, "media", At::Latest, &to).unwrap();
    assert_eq!((report.ending, report.preview.tier.as_str()), (Ending::Succeeded, "disk"));
    assert_eq!(hangs.asked().len(), 1, "it was not waited for until it is asked again");
}

/// A tier that says nothing any more to some of what it is asked.
fn silent(tier: &Arc<FaultTier>, rule: Rule) -> Arc<FaultTier> {
    let still = StillClock::new(Timestamp::UNIX_EPOCH, Cancel::new());
    Arc::new(FaultTier::new(tier.clone()).with_clock(Arc::new(still)).with(rule))
}

const HANGS: Fault = Fault::Slow(Duration::from_mins(1));

#[test]
fn a_restore_of_a_moment_waits_for_no_tier_that_holds_nothing_better() {
    let three = Three::new();
    back_up(&three.site()).unwrap();
    let now = three.ground.surroundings.now();
    three.ground.pass(3600);
    for (number, at) in [At::Time(now), At::Named(now)].into_iter().enumerate() {
        let hangs = silent(&three.cloud, Rule::new(Target::Any, HANGS));
        let site = three.site().with_tier("cloud".parse().unwrap(), hangs.clone());
        let to = three.ground.path(&format!("back-{number}"));
        let report = restore_to(&site, "media", at, &to).unwrap();
        assert_eq!((report.ending, report.preview.tier.as_str()), (Ending::Succeeded, "disk"));
        assert_eq!(hangs.asked().len(), 1, "it was not waited for until it is asked again");
    }
}

#[test]
fn a_tier_that_falls_silent_once_it_is_open_keeps_no_restore_waiting() {
    let three = Three::new();
    back_up(&three.site()).unwrap();
    three.ground.pass(3600);
    let snapshots = Rule::new(Target::Only(Operation::List), HANGS).below(repo("snapshots"));
    let site = three.site().with_tier("cloud".parse().unwrap(), silent(&three.cloud, snapshots));
    let report = restore_to(&site, "media", At::Latest, &three.ground.path("back")).unwrap();
    assert_eq!((report.ending, report.preview.tier.as_str()), (Ending::Succeeded, "disk"));
    assert_eq!(report.preview.capture.copies.len(), 2);
}

#[test]
fn who_only_looks_hears_the_others_and_of_the_silent_tier_that_it_is() {
    let three = Three::new();
    back_up(&three.site()).unwrap();
    three.ground.pass(3600);
    // Its mark is read, and then nothing comes any more.
    let silent = silent(&three.cloud, Rule::new(Target::Only(Operation::List), HANGS));
    let site = three.site().with_tier("cloud".parse().unwrap(), silent);
    let site = site.waiting_for_silent(Duration::from_secs(3));
    let late = |trouble: Option<&Trouble>| {
        trouble.is_some_and(|trouble| trouble.message.contains("has not answered so far"))
    };
    let tiers = tiers_report(&site).unwrap().tiers;
    assert!(late(tiers[0].trouble.as_ref()) && tiers[1].trouble.is_none(), "{tiers:#?}");
    assert_eq!(tiers[0].stands, Stands::Unreachable);
    let tiers = status(&site).unwrap().tiers;
    assert!(late(tiers[0].trouble.as_ref()) && tiers[2].trouble.is_none(), "{tiers:#?}");
    let points = recovery_points(&site, None, &Silent, &Cancel::new()).unwrap();
    assert!(late(points.troubles.values().next()), "{points:#?}");
    assert_eq!(points.points[0].whole_on.len(), 2);
}

#[test]
fn a_tier_that_takes_no_records_is_left_alone_until_the_job_ends() {
    let three = Three::new();
    back_up(&three.site()).unwrap();
    three.ground.pass(3600);
    three.ground.write("media/c", "c");
    let records: ObjectPrefix = "catalog".parse().unwrap();
    let refuses = Rule::new(Target::Only(Operation::Put), Fault::Denied).below(records);
    three.cloud.add(refuses);
    let before = three.cloud.asked().len();
    let report = back_up(&three.site()).unwrap();
    let error = |name: &str| {
        report.catalog.iter().find(|on| on.tier.as_str() == name).unwrap().error.as_deref()
    };
    assert!(error("cloud").is_some() && error("vault").is_none(), "{:?}", report.catalog);
    let asked = three.cloud.asked().split_off(before);
    let tried = asked.iter().filter(|a| a.fault == Some(Fault::Denied)).count();
    let written = three.vault.asked().into_iter().filter(|a| a.operation == Operation::Put);
    let of_job = written.filter(|a| a.path.starts_with("catalog")).count();
    assert!(tried < of_job, "{tried} of {of_job} records were tried");
    three.cloud.heal();
    assert_eq!(back_up(&three.site()).unwrap().ending, Ending::Succeeded);
    assert!(tiers_report(&three.site()).unwrap().tiers[0].pending.unwrap().records == 0);
}

#[test]
fn a_tier_that_cannot_be_looked_at_is_as_far_behind_as_the_catalog_knows() {
    let three = Three::new();
    back_up(&three.site()).unwrap();
    three.ground.pass(3600);
    three.ground.write("media/c", noise(1 << 20, 3));
    three.cloud.add(Rule::new(Target::Any, Fault::Fail(Moment::Before)));
    let report = back_up(&three.site()).unwrap();
    assert_eq!(report.exit(), Exit::Failed);
    let states = tiers_report(&three.site()).unwrap().tiers;
    assert!(states[0].trouble.is_some() && states[0].space.is_none(), "{:?}", states[0]);
    let media = states[0].assets.iter().find(|on| on.asset.as_str() == "media").unwrap();
    assert!(media.captured.is_some(), "what was recorded there");
    assert_eq!(media.lag.points, 1, "{media:?}");
    // What was waited for meanwhile went by on the clock as well.
    assert!(media.lag.seconds >= Some(3600) && media.lag.bytes > 1 << 20, "{media:?}");
}

#[test]
fn what_was_missed_is_copied_when_asked_and_once() {
    let three = Three::new();
    back_up(&three.site()).unwrap();
    three.vault.add(Rule::new(Target::Any, Fault::Fail(Moment::Before)));
    for number in 0..3 {
        three.ground.pass(3600);
        three.ground.write(&format!("media/{number}"), noise(300_000, 7 + number));
        let report = back_up(&three.site()).unwrap();
        assert_eq!(report.ending, Ending::Failed);
    }
    assert_eq!(three.catch_up().exit(), Exit::Failed, "it is down still");
    three.vault.heal();
    let report = three.catch_up();
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    let vault = report.tiers.iter().find(|tier| tier.tier.as_str() == "vault");
    let vault = vault.unwrap();
    assert_eq!((vault.brought.len(), vault.lacks), (6, 0), "{vault:#?}");
    assert!(vault.brought.iter().all(|brought| brought.from.as_str() == "disk"));
    assert_eq!(three.snapshots(), [8, 8, 8]);
    three.verify_all();
    let again = three.catch_up();
    assert!(again.tiers.iter().all(|tier| tier.brought.is_empty() && tier.lacks == 0));
}

#[test]
fn a_catch_up_that_is_killed_goes_on_and_sends_nothing_twice() {
    for kill_at in [3, 5, 7, 9, 12] {
        let three = Three::new();
        back_up(&three.site()).unwrap();
        three.vault.add(Rule::new(Target::Any, Fault::Fail(Moment::Before)));
        for number in 0..2 {
            three.ground.pass(3600);
            three.ground.write(&format!("media/{number}"), noise(300_000, 7 + number));
            back_up(&three.site()).unwrap();
        }
        three.vault.heal();
        three.vault.add(Rule::kill_at_write(kill_at, Moment::After));
        let before = three.vault.asked().len();
        drop(catch_up(&three.site(), &[], &Silent, &Cancel::new()));
        assert!(three.vault.is_dead(), "at {kill_at}");
        three.vault.heal();
        // A killed process keeps no lock for long.
        three.ground.pass(3600);
        let report = three.catch_up();
        assert_eq!(report.exit(), Exit::Done, "{report:#?}");
        assert_eq!(three.snapshots(), [6, 6, 6]);
        let asked = three.vault.asked().split_off(before);
        let puts = asked.into_iter().filter(|a| a.operation == Operation::Put);
        let mut packs: Vec<_> = puts.map(|a| a.path).filter(|p| p.contains("/data/")).collect();
        let all = packs.len();
        packs.sort();
        packs.dedup();
        // But for the pack at which it died, which the tier may try again.
        assert!(packs.len() + 1 >= all, "{all} puts of {} packs", packs.len());
        three.verify_all();
    }
}

#[test]
fn a_tier_tells_its_lock_its_space_and_what_is_on_its_way() {
    let ground = Ground::new();
    ground.write("media/a", noise(200_000, 5));
    ground.write("settings/b", "b");
    let plan = ON_THREE
        .replace("url = \"file://HOME/vault\"", "url = \"s3://vault/shop\"\nlock = \"30d\"");
    let vault = Arc::new(FaultTier::new(Arc::new(MemoryTier::new())));
    let site = ground.site(&plan).with_tier("vault".parse().unwrap(), vault.clone());
    let fresh = tiers_report(&site).unwrap();
    let is_new = |tier: &TierState| tier.stands == Stands::New && tier.trouble.is_none();
    assert!(fresh.tiers.iter().all(is_new), "{fresh:#?}");
    assert_eq!(fresh.tiers[2].lock.outcome, Some(Outcome::CouldNotVerify));
    back_up(&site).unwrap();
    let report = tiers_report(&site).unwrap();
    assert!(!report.has_trouble());
    for tier in &report.tiers {
        let space = tier.space.unwrap();
        assert!(space.repository > 200_000 && space.catalog > 0 && space.other > 0, "{space:?}");
        assert_eq!(space.free.is_some(), tier.tier.as_str() != "vault");
        assert_eq!(tier.pending.unwrap(), Pending::default());
    }
    // A store that could lock and did not has not locked.
    let lock = &report.tiers[2].lock;
    assert_eq!((lock.outcome, lock.found), (Some(Outcome::Failed), Some(Protection::None)));
    assert!(report.has_weak_lock() && report.tiers[0].lock.outcome.is_none());
}

#[test]
fn a_snapshot_that_went_without_a_word_is_missed_everywhere_until_it_is_brought_back() {
    let three = Three::new();
    let lost = three.lose_one_of_two();
    let verified = three.verify("vault");
    assert_eq!((verified.outcome, verified.exit()), (Outcome::Failed, Exit::Failed));
    let [finding] = &verified.tiers[0].report.findings[..] else { panic!("{verified:#?}") };
    assert_eq!(finding.object, format!("snapshot {}", lost.to_hex()));
    assert!(finding.problem.contains("stored on `vault`, with `"), "{finding:?}");
    assert!(
        finding.hint.as_ref().unwrap().contains("lifeboat tiers catch-up vault"),
        "{finding:?}"
    );
    assert_eq!(three.verify("cloud").outcome, Outcome::Passed);
    let pending = || tiers_report(&three.site()).unwrap().tiers[2].pending.unwrap();
    assert_eq!((pending().gone, pending().snapshots), (1, 1));
    // What it says of the copy that is gone takes no proof from the others.
    let points = recovery_points(&three.site(), None, &Silent, &Cancel::new()).unwrap();
    let on_vault = points.points.iter().filter_map(|point| {
        point.heights.get(&"vault".parse().unwrap()).map(|height| height.doubt.clone())
    });
    assert_eq!(on_vault.collect::<Vec<_>>(), [None]);

    three.ground.pass(60);
    let caught_up = three.catch_up();
    let brought: Vec<_> = caught_up.tiers.iter().flat_map(|tier| &tier.brought).collect();
    let [brought] = brought[..] else { panic!("{caught_up:#?}") };
    assert_eq!((brought.snapshot, brought.from.as_str()), (lost, "disk"));
    assert_eq!(pending(), Pending::default());
    three.verify_all();
    assert_eq!(three.snapshots(), [4, 4, 4]);
    let good = View::open(&three.view_path()).unwrap();
    let captures = good.captures(&brought.asset, &"vault".parse().unwrap(), 9).unwrap();
    assert!(captures.len() == 2 && captures.iter().all(|it| !it.is_gone), "{captures:?}");
}

#[test]
fn what_was_removed_from_a_tier_is_not_brought_back() {
    let three = Three::new();
    let lost = three.lose_one_of_two();
    // Nor does a backup decide by itself that it was a mistake; it says so again and again.
    three.ground.pass(3600);
    let report = back_up(&three.site()).unwrap();
    assert!(report.caught_up.is_empty(), "{:?}", report.caught_up);
    assert_eq!(report.ending, Ending::Failed);
    let let_go = |digits: &str| {
        let (which, vault) = (WhichGone::These(vec![digits.to_owned()]), "vault".parse().unwrap());
        letting_go::let_go(&three.site(), &vault, &which, &Silent, &Cancel::new())
    };
    for digits in ["", "zz"] {
        let error = let_go(digits).unwrap_err();
        assert!(error.to_string().contains("gone from `vault`"), "{error}");
    }
    assert_eq!(let_go(&lost.to_string()).unwrap().snapshots, [lost]);
    assert!(three.catch_up().tiers.iter().all(|tier| tier.brought.is_empty()));
    assert_eq!(tiers_report(&three.site()).unwrap().tiers[2].pending.unwrap(), Pending::default());
    three.verify_all();
}

#[test]
fn many_small_files_make_few_requests_on_each_tier() {
    let ground = Ground::new();
    for number in 0..3000 {
        ground.write(&format!("media/{}/{number}", number % 30), format!("file {number}"));
    }
    ground.write("settings/b", "b");
    let far = || Arc::new(CountingTier::new(Arc::new(MemoryTier::new())));
    let (cloud, vault) = (far(), far());
    let site = ground.site(ON_THREE).with_tier("cloud".parse().unwrap(), cloud.clone());
    let site = site.with_tier("vault".parse().unwrap(), vault.clone());
    let report = back_up(&site).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "{:?}", messages(&report));
    let told: Vec<_> = report.traffic.iter().map(|on| (on.tier.as_str(), on.traffic)).collect();
    assert_eq!(told[0], ("cloud", cloud.traffic()));
    assert_eq!(told[2], ("vault", vault.traffic()));
    assert!(told[1].0 == "disk" && told[1].1.puts > 5, "{told:?}");
    for tier in [cloud, vault] {
        let Traffic { puts, gets, heads, lists, deletes, .. } = tier.traffic();
        assert!(
            puts < 40 && gets < 60 && heads < 20 && lists < 40 && deletes < 5,
            "{:?}",
            tier.traffic()
        );
    }
}
