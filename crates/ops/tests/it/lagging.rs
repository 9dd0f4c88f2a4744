//! A store whose listings lag some seconds behind what was stored, as some that speak S3 have it: whatever is done right
//! after something else loses nothing and reads nothing wrong.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{Cancel, Clock as _, Outcome, Silent, SimClock};
use lifeboat_ops::Site;
use lifeboat_ops::ending::Ending;
use lifeboat_ops::point::At;
use lifeboat_ops::retention::{Purpose, RetentionOptions, retention};
use lifeboat_ops::verification::{Share, VerifyOptions, verify};
use lifeboat_tiers::MemoryTier;
use lifeboat_tiers::fault::{Fault, FaultTier, Operation, Rule, Target};

use crate::ground::{Ground, back_up, messages, restore_to};

const LAG: Duration = Duration::from_secs(10);

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
        tier.add(Rule::new(Target::Only(Operation::List), Fault::LagBy(LAG)));
        Self { ground, tier: Arc::new(tier) }
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

    fn restored(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let to = self.ground.path(folder);
        restore_to(&self.site(), "media", At::Latest, &to).unwrap();
        files(&to.join(self.ground.path("media").strip_prefix("/").unwrap()))
    }

    fn now(&self) -> Vec<(String, Vec<u8>)> {
        files(&self.ground.path("media"))
    }

    fn assert_whole(&self) {
        let options = VerifyOptions { tiers: Vec::new(), share: Share::All };
        let verified = verify(&self.site(), &options, &Silent, &Cancel::new()).unwrap();
        assert_eq!(verified.outcome, Outcome::Passed, "{verified:#?}");
    }
}

fn files(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
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
    let before = lagging.ground.clock.now();
    let options = RetentionOptions { tiers: Vec::new(), purpose: Purpose::Run };
    let retained = retention(&lagging.site(), &options, &Silent, &Cancel::new());
    let passed = lagging.ground.clock.now().duration_since(before).unsigned_abs();
    assert!(passed < LAG, "it was to look while the listing lags: {passed:?}");
    // To do nothing is as right as to do it: the next one will.
    drop(retained);
    lagging.settle();
    assert!(lagging.restored("after") == lagging.now());
    lagging.assert_whole();
}
