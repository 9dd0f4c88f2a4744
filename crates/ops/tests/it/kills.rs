//! A kill between any two writes to a tier leaves the old snapshots, and the next run goes on.

use std::fs;
use std::sync::Arc;

use lifeboat_model::{Cancel, Outcome, Silent};
use lifeboat_ops::catalog::body::Body;
use lifeboat_ops::catalog::view::{View, Wanted};
use lifeboat_ops::ending::Ending;
use lifeboat_ops::point::At;
use lifeboat_ops::state::State;
use lifeboat_ops::verification::{Share, VerifyOptions, verify};
use lifeboat_tiers::fault::{FaultTier, Moment, Rule};
use lifeboat_tiers::{MemoryTier, Tier};

use crate::ground::{Ground, back_up, restore_to};

const ONE_TIER: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[tiers.primary]
url = "file://HOME/first"
[schedules.daily]
cron = "0 2 * * *"
assets = ["media"]
to = ["primary"]
"#;

/// Runs a first backup that is killed at a write, then one that is not, and looks at everything.
fn survive(write: u64, moment: Moment) -> bool {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new());
    let dying = Arc::new(FaultTier::new(Arc::clone(&memory)));
    dying.add(Rule::kill_at_write(write, moment));
    let name = || "primary".parse().unwrap();
    let site = ground.site(ONE_TIER);
    // Whether it reports or fails, its process is gone afterwards, and its memory with it.
    _ = back_up(&site.clone().with_tier(name(), Arc::<FaultTier>::clone(&dying)));
    let was_killed = dying.is_dead();
    let site = site.with_tier(name(), memory);
    ground.pass(60);
    let report = back_up(&site).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "write {write} {moment:?}: {report:#?}");
    let options = VerifyOptions { tiers: Vec::new(), share: Share::All };
    let verified = verify(&site, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(verified.outcome, Outcome::Passed, "write {write} {moment:?}: {verified:#?}");
    restore_to(&site, "media", At::Latest, &ground.path("back")).unwrap();
    let back = ground.path("back").join(ground.path("media/a").strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(back).unwrap(), "a");
    was_killed
}

#[test]
fn a_kill_at_any_write_of_the_first_backup_is_survived() {
    for moment in [Moment::Before, Moment::After] {
        let mut write = 1;
        while survive(write, moment) {
            write += 1;
        }
        assert!(write > 10, "{moment:?}: the backup makes more than {write} writes");
    }
}

#[test]
fn a_job_whose_process_died_is_marked() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    let site = ground.site(ONE_TIER);
    back_up(&site).unwrap();
    let open_view = || {
        let state = State::open(&ground.surroundings.state_directory).unwrap();
        View::open(&state.view_path()).unwrap()
    };
    let wanted = Wanted { kind: "job-started", asset: None, tier: None, good_only: false };
    let started = open_view().latest(wanted, 1).unwrap();
    // A process that dies leaves a start without an end: put one there as it would be.
    crate::kills::begin_and_die(&ground, &site);
    assert_eq!(open_view().open_jobs(started[0].header().writer).unwrap().len(), 1);
    back_up(&site).unwrap();
    assert!(open_view().open_jobs(started[0].header().writer).unwrap().is_empty());
    let wanted = Wanted { kind: "job-ended", ..wanted };
    let endings: Vec<_> = open_view()
        .latest(wanted, 3)
        .unwrap()
        .iter()
        .filter_map(|record| match record.body() {
            Body::JobEnded(ended) => Some(ended.ending),
            _ => None,
        })
        .collect();
    assert_eq!(endings, [Ending::Succeeded, Ending::Interrupted, Ending::Succeeded]);
}

fn begin_and_die(ground: &Ground, site: &lifeboat_ops::Site) {
    use lifeboat_ops::catalog::body::JobStarted;
    use lifeboat_ops::catalog::{Catalog, CatalogKeys};
    let lock = State::open(&ground.surroundings.state_directory).unwrap().lock().unwrap();
    let keys = CatalogKeys::from(&ground.key);
    let catalog = Catalog::open(lock, site.name().clone(), keys, &ground.surroundings).unwrap();
    let job = ground.surroundings.new_job();
    let (command, assets) = ("backup".to_owned(), Vec::new());
    catalog.append(Body::JobStarted(JobStarted { job, command, assets }), None).unwrap();
}
