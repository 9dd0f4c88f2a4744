//! The daemon on a simulated clock, with work that is not done.

use std::collections::BTreeMap;
use std::path::Path;

use lifeboat_model::{AssetName, EventSink, SimClock};
use lifeboat_plan::{Facts, SourceFile, load};

use super::*;
use crate::daemon::control::Ask;
use crate::surroundings::Surroundings;

/// Work that is not done, but takes a while.
#[derive(Debug)]
struct Pretence {
    clock: Arc<SimClock>,
}

/// How long everything takes.
const TAKES: Duration = Duration::from_mins(7);

impl Executor for Pretence {
    fn execute(&self, _: Site, _: &Job, _: &dyn EventSink, _: &Cancel) -> Finished {
        self.clock.advance(TAKES);
        Finished::done(Ending::Succeeded, None)
    }
}

struct Ground {
    home: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    clock: Arc<SimClock>,
    pretence: Arc<Pretence>,
}

fn reference_plan() -> (String, BTreeMap<String, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/techit/plan");
    let text = std::fs::read_to_string(folder.join("plan.toml")).unwrap();
    let files = std::fs::read_dir(folder.join("runbooks")).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        (format!("runbooks/{name}"), std::fs::read_to_string(&path).unwrap())
    });
    (text, files.collect())
}

impl Ground {
    fn new(start: &str) -> Self {
        let clock = Arc::new(SimClock::new(start.parse().unwrap()));
        let pretence = Pretence { clock: Arc::clone(&clock) };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        // Each commit is written through, which memory does at once.
        let memory = Path::new("/dev/shm");
        let home = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { home: home.unwrap(), runtime, clock, pretence: Arc::new(pretence) }
    }

    fn now(&self) -> Timestamp {
        use lifeboat_model::Clock as _;
        self.clock.now()
    }

    fn site(&self) -> Site {
        let (text, files) = reference_plan();
        let source = SourceFile { path: "plan.toml".to_owned(), text };
        let checked = load(source, &files, &Facts::default(), self.now()).unwrap();
        let surroundings = Surroundings {
            environment: BTreeMap::new(),
            credentials_directory: None,
            state_directory: self.home.path().join("state"),
            cache_directory: self.home.path().join("cache"),
            hostname: "host".to_owned(),
            clock: self.clock.clone(),
            cancel: Cancel::new(),
            runtime: self.runtime.handle().clone(),
        };
        Site::new(checked, surroundings)
    }

    fn daemon(&self) -> Arc<Daemon> {
        let loader: Loader = Box::new(|| Err("`cron` has four fields".to_owned()));
        let executor = self.pretence.clone();
        Daemon::open(self.site(), Setup { loader, executor, workers: Workers::Loop }).unwrap()
    }

    /// Lets a daemon go round until then.
    fn run_until(&self, daemon: &Arc<Daemon>, end: Timestamp) {
        while self.now() < end {
            let wait = daemon.step().unwrap();
            self.clock.advance(wait);
        }
    }
}

/// All that ended, the oldest first.
fn ended(daemon: &Daemon) -> Vec<Job> {
    let mut jobs = daemon.journal().ended(u32::MAX).unwrap();
    jobs.reverse();
    jobs
}

#[test]
fn what_the_plan_cannot_do_yet_is_said_and_a_bad_plan_changes_nothing() {
    let ground = Ground::new("2027-11-01T12:00:00Z");
    let daemon = ground.daemon();
    let plan = daemon.site().plan().id();
    assert!(daemon.reload().unwrap_err().contains("four fields"));
    assert_eq!(daemon.site().plan().id(), plan);
    assert!(daemon.told().contains("does not hold"), "{}", daemon.told());
    let drill = daemon.site().for_a_job(&ground, "drill:monthly");
    assert_eq!(drill.ending, Ending::NotBuilt);
    assert!(drill.message.unwrap().contains("not built yet"));
}

trait ForAJob {
    fn for_a_job(&self, ground: &Ground, task: &str) -> Finished;
}

impl ForAJob for Arc<Site> {
    /// Does a task by the operations themselves.
    fn for_a_job(&self, ground: &Ground, task: &str) -> Finished {
        let work = Work::Task { task: task.parse().unwrap() };
        let job = Job::queued(self.surroundings().new_job(), work, ground.now());
        let site = self.as_ref().clone();
        execution::Operations.execute(site, &job, &lifeboat_model::Silent, &Cancel::new())
    }
}

#[test]
fn what_somebody_asks_for_comes_first_and_in_a_pause_too() {
    let ground = Ground::new("2027-11-01T12:00:00Z");
    let daemon = ground.daemon();
    let run = |task: &str| {
        let work = Work::Task { task: task.parse().unwrap() };
        daemon.answer(Ask::Run { work, waits: control::Waits::No }, "alice").unwrap()
    };
    let control::Reply::Queued { job: first } = run("backup:monthly") else { panic!("refused") };
    let control::Reply::Queued { job: again } = run("backup:monthly") else { panic!("refused") };
    assert_eq!(first.id, again.id, "asked for twice, done once");
    assert!(matches!(run("backup:nightly"), control::Reply::Refused { .. }));
    let pause = Ask::Pause { for_s: 3 * 3600, why: "disks".to_owned() };
    assert!(matches!(daemon.answer(pause, "alice").unwrap(), control::Reply::Paused { .. }));
    ground.run_until(&daemon, ground.now().saturating_add(Duration::from_hours(2)).unwrap());
    let jobs = ended(&daemon);
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!((jobs[0].id, jobs[0].asked_by.as_deref()), (first.id, Some("alice")));
    ground.run_until(&daemon, ground.now().saturating_add(Duration::from_hours(2)).unwrap());
    assert!(ended(&daemon).len() > 1, "it ended by itself");
    let assets: Vec<AssetName> = vec!["media".parse().unwrap()];
    let work = Work::Backup { assets, to: Vec::new(), schedule: None };
    let run = Ask::Run { work, waits: control::Waits::No };
    let control::Reply::Queued { job } = daemon.answer(run, "bob").unwrap() else { panic!() };
    let cancelled = daemon.cancel_job(job.id).unwrap().unwrap();
    assert_eq!(cancelled.state, JobState::Cancelled);
    assert_eq!(cancelled.work.to_string(), "backup of media");
}
