//! The daemon on a simulated clock, with work that is not done: weeks in seconds, faults, kills.

mod side_by_side;
mod year;

use std::collections::BTreeMap;
use std::path::Path;

use lifeboat_model::{AssetName, EventSink, SimClock};
use lifeboat_plan::{Facts, SourceFile, load};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::daemon::control::Ask;
use crate::schedule::{MISSED_MAX, TRIES_MAX};
use crate::surroundings::Surroundings;

/// Work that is not done, but takes a while.
#[derive(Debug)]
struct Pretence {
    clock: Arc<SimClock>,
    random: Mutex<StdRng>,
}

impl Executor for Pretence {
    fn execute(&self, _: Site, _: &Job, _: &dyn EventSink, _: &Cancel) -> Finished {
        let minutes = lock(&self.random).random_range(0..40);
        self.clock.advance(Duration::from_mins(minutes));
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
        let random = Mutex::new(StdRng::seed_from_u64(6));
        let pretence = Pretence { clock: Arc::clone(&clock), random };
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
        self.site_in(BTreeMap::new())
    }

    fn site_in(&self, environment: BTreeMap<String, String>) -> Site {
        self.site_called("techit-production", environment)
    }

    fn site_called(&self, name: &str, environment: BTreeMap<String, String>) -> Site {
        let (text, files) = reference_plan();
        let text = text.replacen("techit-production", name, 1);
        let source = SourceFile { path: "plan.toml".to_owned(), text };
        let checked = load(source, &files, &Facts::default(), self.now()).unwrap();
        let surroundings = Surroundings {
            environment,
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
        self.daemon_with(Box::new(|| Err("`cron` has four fields".to_owned())))
    }

    fn daemon_with(&self, loader: Loader) -> Arc<Daemon> {
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

/// Returns everything that the plan's calendar wants done.
fn calendar(plan: &lifeboat_plan::Plan) -> Vec<(Task, lifeboat_plan::schedule::Timetable)> {
    let all = Task::all(plan).into_iter();
    all.filter_map(|task| Some((task.clone(), task.timetable(plan)?))).collect()
}

#[test]
fn a_drill_that_cannot_begin_says_so_and_a_bad_plan_changes_nothing() {
    let ground = Ground::new("2027-11-01T12:00:00Z");
    let daemon = ground.daemon();
    let plan = daemon.site().plan().id();
    assert!(daemon.reload().unwrap_err().contains("four fields"));
    assert_eq!(daemon.site().plan().id(), plan);
    assert!(daemon.told().contains("does not hold"), "{}", daemon.told());
    let drill = daemon.site().for_a_job(&ground, "drill:monthly");
    assert_eq!(drill.ending, Ending::Failed);
    assert!(drill.message.is_some());
}

#[test]
fn the_plan_of_another_site_is_not_taken_over() {
    let ground = Ground::new("2027-11-01T12:00:00Z");
    let on_disk = Arc::new(Mutex::new(ground.site_called("other", BTreeMap::new())));
    let read = Arc::clone(&on_disk);
    let daemon = ground.daemon_with(Box::new(move || Ok(lock(&read).clone())));
    let refused = daemon.reload().unwrap_err();
    assert!(refused.contains("`other`") && refused.contains("`techit-production`"), "{refused}");
    assert_eq!(daemon.site().name().to_string(), "techit-production");
    assert!(daemon.told().contains("does not hold"), "{}", daemon.told());
    *lock(&on_disk) = ground.site();
    assert_eq!(daemon.reload(), Ok(false), "its own is, as before");
    assert!(!daemon.told().contains("does not hold"), "{}", daemon.told());
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

/// Work that goes on until it is let go.
#[derive(Debug)]
struct Endless(Mutex<std::sync::mpsc::Receiver<()>>);

impl Executor for Endless {
    fn execute(&self, _: Site, _: &Job, _: &dyn EventSink, _: &Cancel) -> Finished {
        // Whoever let it go may be gone.
        _ = lock(&self.0).recv();
        Finished::done(Ending::Succeeded, None)
    }
}

#[test]
fn a_loop_that_hangs_is_not_told_as_alive() {
    let ground = Ground::new("2027-11-01T12:00:00Z");
    let path = ground.home.path().join("notify");
    let heard = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "1000")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let site = ground.site_in(variables.into());
    let (lets_go, held) = std::sync::mpsc::channel();
    let executor = Arc::new(Endless(Mutex::new(held)));
    let loader: Loader = Box::new(|| Err("not asked for".to_owned()));
    let daemon = Daemon::open(site, Setup { loader, executor, workers: Workers::Loop }).unwrap();
    let work = Work::Task { task: "retention".parse().unwrap() };
    daemon.answer(Ask::Run { work, waits: control::Waits::No }, "alice").unwrap();
    let mut bytes = [0; 500];
    let mut hear = || {
        let length = heard.recv(&mut bytes)?;
        std::io::Result::Ok(String::from_utf8(bytes[..length].to_vec()).unwrap())
    };
    let going = Arc::clone(&daemon);
    let loops = std::thread::spawn(move || going.run(Until::Idle, &Cancel::new()));
    assert!(hear().unwrap().contains("READY=1"));
    heard.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // The job hangs in the loop's own thread, which is what the watchdog is there for.
    let silence = hear().unwrap_err();
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
    drop(lets_go);
    assert!(hear().unwrap().contains("WATCHDOG=1"));
    assert_eq!(loops.join().unwrap().jobs, 1);
}

/// Asks for something as a browser would; returns the first line and the body.
fn get(ground: &Ground, daemon: &Arc<Daemon>, request: &str) -> (String, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    let text = ground.runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asks = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("{request}\r\nHost: here\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        // Without its patience, which is over at once on a simulated clock.
        let answers = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            http::attend(&mut stream, &Arc::downgrade(daemon)).await.unwrap();
        };
        tokio::join!(asks, answers).0
    });
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn the_daemon_publishes_how_it_goes_and_answers_nothing_else() {
    let ground = Ground::new("2027-11-01T12:00:00Z");
    let daemon = ground.daemon();
    ground.run_until(&daemon, ground.now().saturating_add(Duration::from_hours(26)).unwrap());
    *lock(&daemon.looked) = ground.now();
    let path = |path: &str| get(&ground, &daemon, &format!("GET {path} HTTP/1.1"));
    assert_eq!(path("/health"), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    assert_eq!(path("/ready").1, "ok\n");
    let (status, metrics) = path("/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK", "{metrics}");
    lifeboat_testing::promtool::Promtool::find().unwrap().check_metrics(&metrics).unwrap();
    for line in [
        "dr_job_last_status{task=\"backup:hourly\"} 1",
        "dr_backup_ever_succeeded{asset=\"media\",tier=\"offsite\"} 0",
        "dr_plan_loaded 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
    let duration = "dr_job_duration_seconds{task=\"backup:hourly\"} ";
    let took = metrics.lines().find_map(|line| line.strip_prefix(duration)).unwrap();
    let last = daemon.journal.last_of(&"backup:hourly".parse().unwrap()).unwrap().unwrap();
    let span = last.ended.unwrap().duration_since(last.started.unwrap());
    assert_eq!(took, span.as_secs().to_string());
    assert_eq!(get(&ground, &daemon, "HEAD /metrics HTTP/1.1").1, "");
    assert!(get(&ground, &daemon, "POST /metrics HTTP/1.1").0.contains("400"));
    assert!(path("/etc/passwd").0.contains("404"));
    // A plan that does not hold is not ready, and a loop that hangs is not healthy.
    daemon.reload().unwrap_err();
    assert!(path("/ready").0.contains("503"));
    assert!(path("/metrics").1.contains("dr_plan_loaded 0\n"));
    ground.clock.advance(LOOK_EVERY * 7);
    assert!(path("/health").0.contains("503"));
}

#[test]
fn a_loop_that_cannot_keep_its_journal_is_not_healthy() {
    let ground = Ground::new("2027-11-01T12:00:00Z");
    let daemon = ground.daemon();
    let status = || get(&ground, &daemon, "GET /health HTTP/1.1").0;
    daemon.look().unwrap();
    ground.clock.advance(LOOK_EVERY * 7);
    daemon.look().unwrap();
    assert!(status().contains("200"), "{}", status());
    let journal = rusqlite::Connection::open(daemon.state.journal_path()).unwrap();
    journal.execute_batch("ALTER TABLE jobs RENAME TO lost").unwrap();
    ground.clock.advance(LOOK_EVERY * 7);
    daemon.look().unwrap_err();
    assert!(status().contains("503"), "{}", status());
    journal.execute_batch("ALTER TABLE lost RENAME TO jobs").unwrap();
    daemon.look().unwrap();
    assert!(status().contains("200"), "{}", status());
}

#[test]
fn a_plan_that_was_mended_on_disk_is_ready_again_without_another_reload() {
    let ground = Ground::new("2026-11-30T12:00:00Z");
    let is_mended = Arc::new(AtomicBool::new(false));
    let (mended, site) = (Arc::clone(&is_mended), ground.site());
    let daemon = ground.daemon_with(Box::new(move || {
        let text = "`cron` has four fields".to_owned();
        mended.load(Ordering::Relaxed).then(|| site.clone()).ok_or(text)
    }));
    let ready = || daemon.page("/ready").body;
    assert_eq!(ready(), "ok\n");
    daemon.reload().unwrap_err();
    assert!(ready().contains("four fields"), "{}", ready());
    is_mended.store(true, Ordering::Relaxed);
    assert_eq!(ready(), "ok\n");
}
