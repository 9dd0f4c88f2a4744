//! A store whose listings lag some seconds behind what was stored, as some that speak S3 have it: whatever is done right
//! after something else loses nothing and reads nothing wrong.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{Cancel, Clock as _, Outcome, Silent, SimClock, Timestamp};
use lifeboat_ops::Site;
use lifeboat_ops::ending::Ending;
use lifeboat_ops::holdings::recovery_points;
use lifeboat_ops::point::At;
use lifeboat_ops::retention::{Purpose, RetentionOptions, TierReport, retention};
use lifeboat_ops::verification::{Share, VerifyOptions, verify};
use lifeboat_repository::lock::LISTING_LAG_MAX;
use lifeboat_tiers::MemoryTier;
use lifeboat_tiers::fault::{Asked, Fault, FaultTier, Operation, Rule, Target};

use crate::ground::{Ground, back_up, messages, restore_to};

const LAG: Duration = LISTING_LAG_MAX;

/// How many sites are tried, and how many backups each makes.
const SEEDS: u64 = 6;
const STEPS: usize = 6;

const KEPT_FOR_A_DAY: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[tiers.primary]
url = "file://HOME/first"
keep = { within = "1d" }
[schedules.daily]
cron = "0 2 * * *"
assets = ["media"]
to = ["primary"]
"#;

/// A site in such a store.
struct Lagging {
    ground: Ground,
    tier: Arc<FaultTier>,
}

impl Lagging {
    fn new() -> Self {
        let ground = Ground::new();
        let clock = Arc::<SimClock>::clone(&ground.clock);
        let tier = FaultTier::new(Arc::new(MemoryTier::new())).with_clock(clock);
        let lagging = Self { ground, tier: Arc::new(tier) };
        lagging.lag_by(LAG);
        lagging
    }

    /// Lets listings lag so much from now on.
    fn lag_by(&self, lag: Duration) {
        self.tier.heal();
        self.tier.add(Rule::new(Target::Only(Operation::List), Fault::LagBy(lag)));
    }

    fn site(&self) -> Site {
        let site = self.ground.site(KEPT_FOR_A_DAY);
        site.with_tier("primary".parse().unwrap(), Arc::<FaultTier>::clone(&self.tier))
    }

    fn back_up(&self) {
        let report = back_up(&self.site()).unwrap();
        assert_eq!(report.ending, Ending::Succeeded, "{:?}", messages(&report));
    }

    fn write(&self, name: &str, seed: u64) {
        let byte = |n: u64| ((n * n * (seed + 3)) >> 7).to_le_bytes()[0];
        self.ground.write(&format!("media/{name}"), (0..40_000).map(byte).collect::<Vec<_>>());
    }

    fn settle(&self) {
        self.ground.clock.advance(LAG);
    }

    /// Removes what is over, and returns what became of the tier.
    fn retain(&self) -> TierReport {
        let options = RetentionOptions { tiers: Vec::new(), purpose: Purpose::Run };
        let report = retention(&self.site(), &options, &Silent, &Cancel::new()).unwrap();
        report.tiers.into_iter().next().unwrap()
    }

    fn restored(&self, at: At, folder: &str) -> Files {
        let to = self.ground.path(folder);
        restore_to(&self.site(), "media", at, &to).unwrap();
        files(&to.join(self.ground.path("media").strip_prefix("/").unwrap()))
    }

    fn now(&self) -> Files {
        files(&self.ground.path("media"))
    }

    fn assert_whole(&self) {
        let options = VerifyOptions { tiers: Vec::new(), share: Share::All };
        let verified = verify(&self.site(), &options, &Silent, &Cancel::new()).unwrap();
        assert_eq!(verified.outcome, Outcome::Passed, "{verified:#?}");
    }
}

/// Files by their names.
type Files = Vec<(String, Vec<u8>)>;

fn files(folder: &std::path::Path) -> Files {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let read = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    let mut files: Vec<_> = entries.map(read).collect();
    files.sort();
    files
}

#[test]
fn a_prune_right_after_a_backup_removes_nothing_that_it_needs_while_listings_lag() {
    let lagging = Lagging::new();
    lagging.write("a", 1);
    lagging.write("b", 2);
    lagging.back_up();
    lagging.ground.clock.advance(Duration::from_hours(72));
    // `a` is stored by the first backup alone, whose time is over.
    lagging.write("b", 3);
    lagging.back_up();
    let retained = lagging.retain();
    assert_eq!(retained.ending, Ending::Succeeded, "{:?}", retained.trouble);
    let going = retained.snapshots.iter().filter(|snapshot| snapshot.reasons.is_empty()).count();
    assert_eq!((going, retained.snapshots.len()), (1, 2), "the second one was seen");
    assert!(retained.prune.unwrap().freed_bytes > 0, "{:?}", retained.prune);
    assert!(lagging.restored(At::Latest, "at-once") == lagging.now());
    lagging.settle();
    assert!(lagging.restored(At::Latest, "after") == lagging.now());
    lagging.assert_whole();
}

#[test]
fn what_is_read_right_after_a_backup_is_what_it_stored_while_listings_lag() {
    let lagging = Lagging::new();
    lagging.write("a", 1);
    lagging.back_up();
    lagging.settle();
    lagging.write("a", 2);
    lagging.write("b", 3);
    lagging.back_up();
    assert!(lagging.restored(At::Latest, "at-once") == lagging.now());
    lagging.write("b", 4);
    lagging.back_up();
    lagging.assert_whole();
}

#[test]
fn nothing_is_removed_from_a_tier_that_lists_a_recorded_snapshot_too_late() {
    let lagging = Lagging::new();
    lagging.write("a", 1);
    lagging.write("b", 2);
    lagging.back_up();
    lagging.ground.clock.advance(Duration::from_hours(72));
    // Beyond what is expected of any store.
    lagging.lag_by(Duration::from_hours(1));
    lagging.write("b", 3);
    lagging.back_up();
    let deleted = || {
        let asked = lagging.tier.asked();
        let is_data = |asked: &&Asked| !asked.path.starts_with("repo/locks/");
        asked.iter().filter(is_data).filter(|asked| asked.operation == Operation::Delete).count()
    };
    let before = deleted();
    let retained = lagging.retain();
    let trouble = retained.trouble.unwrap();
    assert_eq!(retained.ending, Ending::Failed, "{trouble:?}");
    assert!(trouble.message.contains("tier `primary` holds snapshot"), "{trouble:?}");
    assert!(trouble.hint.unwrap().contains("lifeboat retention run primary"));
    assert_eq!(deleted(), before);
    lagging.ground.clock.advance(Duration::from_hours(1));
    let retained = lagging.retain();
    assert_eq!(retained.ending, Ending::Succeeded, "{:?}", retained.trouble);
    assert!(deleted() > before);
    lagging.ground.clock.advance(Duration::from_hours(1));
    assert!(lagging.restored(At::Latest, "after") == lagging.now());
    lagging.assert_whole();
}

/// Numbers that a seed decides.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn whatever_is_done_one_right_after_the_other_every_point_comes_back_once_listings_show_all() {
    for seed in 0..SEEDS {
        let (lagging, mut dice) = (Lagging::new(), Dice(seed));
        let mut made: Vec<(Timestamp, Files)> = Vec::new();
        for step in 0..STEPS {
            for _ in 0..=dice.roll(2) {
                lagging
                    .write(["a", "b", "c"][usize::try_from(dice.roll(3)).unwrap()], dice.roll(5));
            }
            made.push((lagging.ground.clock.now(), lagging.now()));
            lagging.back_up();
            if dice.roll(3) > 0 {
                let retained = lagging.retain();
                assert_eq!(retained.ending, Ending::Succeeded, "{seed}: {:?}", retained.trouble);
            }
            if dice.roll(3) == 0 {
                let restored = lagging.restored(At::Latest, &format!("step-{step}"));
                assert!(restored == lagging.now(), "seed {seed}, step {step}");
            }
            let pause = [1, 8, 60, 9 * 3600, 30 * 3600][usize::try_from(dice.roll(5)).unwrap()];
            lagging.ground.clock.advance(Duration::from_secs(pause));
        }
        lagging.settle();
        lagging.assert_whole();
        let found = recovery_points(&lagging.site(), None, &Silent, &Cancel::new()).unwrap();
        assert!(found.missing.is_empty() && !found.points.is_empty(), "{seed}: {found:?}");
        for point in found.points {
            let given = made.iter().rfind(|(began, _)| *began <= point.time).unwrap();
            let restored = lagging.restored(At::Time(point.time), &point.name);
            assert!(restored == given.1, "seed {seed}: {}", point.name);
        }
    }
}
