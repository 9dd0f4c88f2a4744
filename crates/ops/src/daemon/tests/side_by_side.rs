//! Jobs that run at the same time: on threads of their own, each until it is let go.

use std::collections::BTreeSet;
use std::sync::Condvar;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// How long is waited for what comes at once where all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a job that is held looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(2);

/// Work that says that it began, and goes on until it is let go.
#[derive(Debug)]
struct Gates {
    begun: Mutex<Sender<String>>,
    open: Mutex<BTreeSet<String>>,
    opened: Condvar,
}

impl Executor for Gates {
    fn execute(&self, _: Site, job: &Job, _: &dyn EventSink, cancel: &Cancel) -> Finished {
        let name = job.work.to_string();
        lock(&self.begun).send(name.clone()).unwrap();
        let mut open = lock(&self.open);
        while !open.remove(&name) {
            if cancel.is_cancelled() {
                return Finished::done(Ending::Cancelled, None);
            }
            open = self.opened.wait_timeout(open, LOOK).unwrap().0;
        }
        Finished::done(Ending::Succeeded, None)
    }
}

impl Gates {
    fn let_go(&self, name: &str) {
        lock(&self.open).insert(name.to_owned());
        self.opened.notify_all();
    }
}

/// A daemon whose jobs are held.
struct Held {
    ground: Ground,
    gates: Arc<Gates>,
    begun: Receiver<String>,
    daemon: Arc<Daemon>,
}

impl Held {
    fn new() -> Self {
        let ground = Ground::new("2027-11-01T12:30:00Z");
        let (begun, hears) = channel();
        let gates = Arc::new(Gates {
            begun: Mutex::new(begun),
            open: Mutex::default(),
            opened: Condvar::new(),
        });
        let loader: Loader = Box::new(|| Err("not asked for".to_owned()));
        let setup = Setup { loader, executor: gates.clone(), workers: Workers::Threads };
        let daemon = Daemon::open(ground.site(), setup).unwrap();
        Self { ground, gates, begun: hears, daemon }
    }

    fn ask(&self, work: Work) -> Job {
        let run = Ask::Run { work, waits: control::Waits::No };
        let reply = self.daemon.answer(run, "alice").unwrap();
        let control::Reply::Queued { job } = reply else { panic!("{reply:?}") };
        job
    }

    /// Goes round once; returns what began.
    fn step(&self, expected: usize) -> Vec<String> {
        self.daemon.step().unwrap();
        let mut begun: Vec<_> =
            (0..expected).map(|_| self.begun.recv_timeout(PATIENCE).unwrap()).collect();
        assert!(self.begun.try_recv().is_err(), "nothing else begins");
        begun.sort();
        begun
    }

    /// Waits until so many ended, which the next step writes down.
    fn wait_for(&self, count: usize) {
        while lock(&self.daemon.ended).len() < count {
            let wake = async { tokio::time::timeout(PATIENCE, self.daemon.wake.notified()).await };
            self.ground.runtime.block_on(wake).expect("it ends");
        }
    }

    fn running(&self) -> Vec<String> {
        let open = self.daemon.journal.open_jobs().unwrap().into_iter();
        let running = open.filter(|job| job.state == JobState::Running);
        running.map(|job| job.work.to_string()).collect()
    }
}

fn task(name: &str) -> Work {
    Work::Task { task: name.parse().unwrap() }
}

#[test]
fn what_is_due_runs_beside_what_takes_long_and_two_never_work_on_one_asset() {
    let held = Held::new();
    let backup = |asset: &str| {
        let assets = vec![asset.parse().unwrap()];
        Work::Backup { assets, to: Vec::new(), schedule: None }
    };
    held.ask(backup("media"));
    assert_eq!(held.step(1), ["backup of media"]);
    held.ground.clock.advance(Duration::from_mins(40));
    assert_eq!(held.step(1), ["backup:hourly"], "the database does not wait for the media");
    // The daily one backs up both, and one that somebody asks for is of the database.
    held.ask(task("backup:daily"));
    held.ask(backup("database"));
    assert_eq!(held.step(0), Vec::<String>::new());
    assert_eq!(held.running(), ["backup of media", "backup:hourly"]);
    held.gates.let_go("backup:hourly");
    held.wait_for(1);
    assert_eq!(held.step(1), ["backup of database"], "the daily one waits for the media still");
    held.gates.let_go("backup of media");
    held.gates.let_go("backup of database");
    held.wait_for(2);
    assert_eq!(held.step(1), ["backup:daily"]);
    held.gates.let_go("backup:daily");
    held.wait_for(1);
    held.step(0);
    let jobs = ended(&held.daemon);
    assert!(jobs.len() >= 4 && jobs.iter().all(|job| job.state == JobState::Succeeded));
}

#[test]
fn what_removes_waits_for_all_others_and_keeps_nothing_from_beginning_meanwhile() {
    let held = Held::new();
    held.ask(task("backup:weekly"));
    assert_eq!(held.step(1), ["backup:weekly"]);
    held.ask(task("retention"));
    assert_eq!(held.step(0), Vec::<String>::new());
    held.ground.clock.advance(Duration::from_mins(40));
    assert_eq!(held.step(1), ["backup:hourly"], "though somebody asked for retention before");
    held.gates.let_go("backup:hourly");
    held.gates.let_go("backup:weekly");
    held.wait_for(2);
    assert_eq!(held.step(1), ["retention"]);
    held.ground.clock.advance(Duration::from_hours(1));
    assert_eq!(held.step(0), Vec::<String>::new(), "nothing begins while something is removed");
    held.gates.let_go("retention");
    held.wait_for(1);
    assert_eq!(held.step(1), ["backup:hourly"]);
    held.gates.let_go("backup:hourly");
    held.wait_for(1);
}

#[test]
fn each_job_is_stopped_by_itself_and_a_killed_daemon_accounts_for_all_of_them() {
    let held = Held::new();
    let weekly = held.ask(task("backup:weekly"));
    held.ask(task("backup:hourly"));
    held.ask(task("verification:primary"));
    assert_eq!(held.step(3), ["backup:hourly", "backup:weekly", "verification:primary"]);
    held.daemon.cancel_job(weekly.id).unwrap();
    held.wait_for(1);
    held.step(0);
    let cancelled = held.daemon.journal.get(weekly.id).unwrap().unwrap();
    assert_eq!(cancelled.state, JobState::Cancelled);
    assert_eq!(held.running(), ["backup:hourly", "verification:primary"]);
    // As a kill leaves it: nobody wrote down that the two ended.
    let journal = Journal::open(&held.daemon.state.journal_path()).unwrap();
    let now = held.ground.now();
    let lost = journal.recover(now, || held.daemon.site().surroundings().new_job()).unwrap();
    assert_eq!(lost.len(), 2);
    let open = journal.open_jobs().unwrap();
    assert!(open.iter().all(|job| job.state == JobState::Queued && job.attempt == 2), "{open:?}");
    assert_eq!(open.len(), 2, "each is begun anew, and once");
    held.gates.let_go("backup:hourly");
    held.gates.let_go("verification:primary");
    held.wait_for(2);
}
