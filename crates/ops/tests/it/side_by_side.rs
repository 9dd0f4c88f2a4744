//! Two jobs of one daemon at the same time, doing their work on the same tiers.

use std::sync::Arc;

use lifeboat_model::{Cancel, JobId, Silent, SystemClock};
use lifeboat_ops::Site;
use lifeboat_ops::catalog::body::Body;
use lifeboat_ops::catalog::view::View;
use lifeboat_ops::daemon::execution::Operations;
use lifeboat_ops::daemon::{Daemon, Setup, Until, Workers};
use lifeboat_ops::ending::Ending;
use lifeboat_ops::holdings::Holdings;
use lifeboat_ops::jobs::{Job, JobState, Work};
use lifeboat_ops::state::State;
use lifeboat_ops::verification::{Share, VerifyOptions, verify};
use lifeboat_ops::wire::audit::verify_catalog;
use lifeboat_testing::restic::Restic;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::ground::Ground;

/// Media that are not read before the configuration was, and a configuration that is not done before the media began.
const MEETING: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
before = ["sh", "-c", "cat HOME/gate"]
[assets.configuration]
kind = "files"
paths = ["HOME/configuration"]
after = ["sh", "-c", "echo > HOME/gate"]
[tiers.primary]
url = "file://HOME/first"
[tiers.secondary]
url = "file://HOME/second"
[schedules.media]
cron = "0 2 1 1 *"
assets = ["media"]
to = ["primary", "secondary"]
[schedules.configuration]
cron = "0 2 1 1 *"
assets = ["configuration"]
to = ["primary", "secondary"]
"#;

/// Media whose backup fails where another one works on them.
const NARROW: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
before = ["mkdir", "HOME/busy"]
after = ["rmdir", "HOME/busy"]
[tiers.primary]
url = "file://HOME/first"
[schedules.often]
cron = "0 2 1 1 *"
assets = ["media"]
to = ["primary"]
[schedules.seldom]
cron = "0 2 1 1 *"
assets = ["media"]
to = ["primary"]
"#;

fn ground() -> Ground {
    let mut ground = Ground::new();
    ground.surroundings.clock = Arc::new(SystemClock);
    ground
}

/// Lets a daemon do these; returns how each ended.
fn done(site: &Site, tasks: &[&str]) -> Vec<Job> {
    let loader = Box::new(|| Err("not asked for".to_owned()));
    let setup = Setup { loader, executor: Arc::new(Operations), workers: Workers::Threads };
    let daemon = Daemon::open(site.clone(), setup).unwrap();
    let surroundings = site.surroundings();
    for task in tasks {
        let work = Work::Task { task: task.parse().unwrap() };
        let job = Job::queued(surroundings.new_job(), work, surroundings.now());
        daemon.journal().queue(&job).unwrap();
    }
    daemon.run(Until::Idle, &Cancel::new());
    let jobs = daemon.journal().ended(100).unwrap();
    let asked = |job: &Job| tasks.iter().any(|task| job.work.to_string() == **task);
    jobs.into_iter().filter(asked).collect()
}

fn view(ground: &Ground) -> View {
    let state = State::open(&ground.surroundings.state_directory).unwrap();
    View::open(&state.view_path()).unwrap()
}

/// How each job that the catalog knows ended.
fn endings(ground: &Ground) -> Vec<(JobId, Ending)> {
    let records = view(ground).all().unwrap();
    let ended = records.iter().filter_map(|record| match record.body() {
        Body::JobEnded(ended) => Some((ended.job, ended.ending)),
        _ => None,
    });
    ended.collect()
}

#[test]
fn two_backups_work_at_the_same_time_on_the_same_new_tiers_and_both_are_whole() {
    let ground = ground();
    for number in 0..200 {
        ground.write(&format!("media/{number}"), format!("picture {number}").repeat(999));
    }
    ground.write("configuration/.env", "SECRET=1");
    mkfifo(&ground.path("gate"), Mode::S_IRWXU).unwrap();
    let site = ground.site(MEETING);
    // Had one of them to wait for the other, neither would end.
    let jobs = done(&site, &["backup:media", "backup:configuration"]);
    assert!(jobs.iter().all(|job| job.state == JobState::Succeeded), "{jobs:#?}");
    let [first, second] = jobs.as_slice() else { panic!("{jobs:#?}") };
    let overlap = first.started < second.ended && second.started < first.ended;
    assert!(overlap, "{jobs:#?}");

    let mut known = endings(&ground);
    known.sort_unstable_by_key(|(job, _)| *job);
    let mut expected = vec![(first.id, Ending::Succeeded), (second.id, Ending::Succeeded)];
    expected.sort_unstable_by_key(|(job, _)| *job);
    assert_eq!(known, expected, "neither took the other for interrupted");
    let catalog = verify_catalog(&site, &Cancel::new()).unwrap();
    assert!(catalog.flaws.is_empty(), "{catalog:?}");
    let holdings = Holdings::look(&site, &view(&ground), &Silent, &Cancel::new()).unwrap();
    assert!(holdings.troubles.is_empty(), "{holdings:?}");
    assert!(holdings.missing(&view(&ground)).unwrap().is_empty(), "{holdings:?}");
    assert_eq!(holdings.captures.len(), 2, "each once: {holdings:#?}");
    assert!(holdings.captures.iter().all(|capture| capture.copies.len() == 2));
    let options = VerifyOptions { tiers: Vec::new(), share: Share::All };
    let verified = verify(&site, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(verified.outcome, lifeboat_model::Outcome::Passed, "{verified:#?}");
    for tier in ["first", "second"] {
        let repository = ground.path(tier).join("repo");
        Restic::new(repository, ground.key.spelled().expose()).check_read_data().unwrap();
    }
}

#[test]
fn two_backups_of_one_asset_run_one_after_the_other() {
    let ground = ground();
    ground.write("media/upload", "of the first day");
    let site = ground.site(NARROW);
    let jobs = done(&site, &["backup:often", "backup:seldom"]);
    assert_eq!(jobs.len(), 2);
    assert!(jobs.iter().all(|job| job.state == JobState::Succeeded), "{jobs:#?}");
    assert_eq!(endings(&ground).len(), 2);
}
