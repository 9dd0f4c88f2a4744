//! The daemon as a person runs it: it is asked, paused, stopped, and killed at any moment.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStderr};
use std::sync::mpsc;
use std::time::Duration;

use lifeboat_testing::restic::Restic;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use crate::environment::Environment;
use crate::notice::Notices;

pub fn site() -> Environment {
    let environment = Environment::new();
    let media = environment.write("media/upload", "of the first day");
    let tier = format!("primary={}", environment.path("first").display());
    let path = format!("media={}", media.parent().unwrap().display());
    let made = ["init", "--no-discovery", "--confirm-later", "--site", "shop", "--tier", &tier];
    environment.run(made.iter().chain(&["--asset-path", path.as_str()])).success();
    environment
}

/// A daemon that listens.
pub struct Running {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Running {
    pub fn start(environment: &Environment) -> Self {
        Self::of(environment.start(["serve"]))
    }

    /// Waits until a daemon that was started serves `shop`.
    pub fn of(mut child: Child) -> Self {
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("serving `shop`") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "it ended");
        }
        Self { child, said }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Kills it, as nothing can prepare for.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop; returns what it said meanwhile.
    pub fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let mut said = String::new();
        self.said.read_to_string(&mut said).unwrap();
        said
    }
}

fn ended(environment: &Environment) -> Vec<Value> {
    let document = environment.run(["--json", "jobs", "--last", "1000"]).json();
    assert_eq!(document["schema"], "lifeboat.jobs/1");
    document["ended"].as_array().unwrap().clone()
}

#[test]
fn the_daemon_does_what_it_is_asked_and_stops_when_told() {
    let environment = site();
    let alone = environment.run(["jobs"]);
    assert_eq!(alone.code(), 4, "{alone}");
    assert!(
        environment
            .run(["pause", "--for", "1h", "--why", "x"])
            .failure(1)
            .contains("lifeboat serve")
    );

    let daemon = Running::start(&environment);
    let second = environment.run(["serve"]).failure(11);
    assert!(second.contains("a daemon runs"), "{second}");

    let handed = environment.run(["backup"]);
    assert!(handed.stderr().contains("the daemon does it"), "{handed}");
    assert!(handed.success().contains("media"), "{handed}");
    environment.write("media/upload", "of the second day");
    let document = environment.run(["--json", "backup", "media"]).json();
    assert_eq!(document["schema"], "lifeboat.backup/1");
    assert_eq!(document["ending"], "succeeded");
    let newest = &ended(&environment)[0];
    assert_eq!(newest["id"], document["job"], "journal and catalog know it by one id");
    assert_eq!(newest["state"], "succeeded");
    assert!(newest["asked_by"].is_string());
    let unknown = environment.run(["backup", "--to", "nowhere"]).failure(2);
    assert!(unknown.contains("no tier `nowhere`"), "{unknown}");

    environment.run(["pause", "--for", "2h", "--why", "moving disks"]).success();
    let paused = environment.run(["jobs"]).success();
    assert!(paused.contains("moving disks") && paused.contains("paused until"), "{paused}");
    environment.run(["resume"]).success();
    environment.run(["jobs", "run", "verification:primary", "--wait"]).success();
    assert_eq!(environment.run(["jobs", "run", "backup:nightly"]).code(), 1, "not of this plan");
    let drawn = environment.run(["jobs"]).success();
    assert!(drawn.contains("retention") && drawn.contains("backup:daily"), "{drawn}");

    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    environment.write(
        "plan.toml",
        format!("{plan}\n[blackouts.office]\ncron = \"0 8 * * *\"\nlasts = \"2h\"\n"),
    );
    let elsewhere = environment.run(["backup"]);
    assert!(elsewhere.stderr().contains("lifeboat reload"), "{elsewhere}");
    assert_eq!(elsewhere.code(), 0, "{elsewhere}");
    environment.run(["reload"]).success();
    assert!(environment.run(["backup"]).stderr().contains("the daemon does it"));
    environment.write("plan.toml", format!("{plan}\n[blackouts.office]\ncron = \"0 8 * *\"\n"));
    daemon.signal(Signal::SIGHUP);
    environment.run(["reload"]).failure(2);
    environment.write("plan.toml", &plan);

    let socket = environment.path("state/lifeboat/shop/lifeboat.sock");
    assert!(socket.exists());
    daemon.stop();
    assert!(!socket.exists());
    let here = environment.run(["backup"]);
    assert!(!here.stderr().contains("the daemon"), "{here}");
    here.success();
    let once = environment.run(["--json", "serve", "--once"]).json();
    assert_eq!((&once["schema"], &once["jobs"]), (&"lifeboat.serve/1".into(), &0.into()));
}

#[test]
fn a_plan_on_disk_that_does_not_hold_keeps_nobody_from_asking_the_daemon() {
    let environment = site();
    let daemon = Running::of(environment.start(["--log-format", "json", "serve"]));
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    environment.write("plan.toml", format!("{plan}\n[schedules.broken\n"));
    environment.run(["reload"]).failure(2);
    environment.run(["pause", "--for", "1h", "--why", "x"]).success();
    environment.write("plan.toml", &plan);
    let told = environment.run(["--json", "jobs"]).json();
    assert!(told["daemon"]["trouble"].is_string(), "the daemon knows: {told:#}");
    let queued = environment.run(["--json", "jobs", "run", "backup:daily"]).json();
    environment.write("plan.toml", format!("{plan}\n[schedules.broken\n"));
    environment.run(["jobs", "cancel", queued["job"]["id"].as_str().unwrap()]).success();
    environment.run(["resume"]).success();

    environment.write("plan.toml", &plan);
    fs::remove_dir_all(environment.path("media")).unwrap();
    assert_ne!(environment.run(["jobs", "run", "backup:daily", "--wait"]).code(), 0);
    let said = daemon.stop();
    let line = said.lines().find(|line| line.contains("It did not succeed.")).unwrap();
    assert_eq!(line.matches("\"message\":").count(), 1, "{line}");
}

/// How often is asked until something has come about that takes seconds: captures lie ten of them apart.
const ASKED_MAX: u32 = 1000;

/// The files of the journal that whoever only reads it does not write to.
const JOURNAL: [&str; 2] = ["jobs.sqlite", "jobs.sqlite-wal"];

/// Asks for the jobs whenever the daemon wrote something down, until they are as wanted; returns them.
pub fn jobs_once(environment: &Environment, wanted: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..ASKED_MAX {
        let notices = Notices::below(&environment.path("state/lifeboat/shop"));
        let jobs = environment.run(["--json", "jobs"]).json();
        if wanted(&jobs) {
            return jobs;
        }
        notices.wait(&JOURNAL);
    }
    panic!("it does not come about: {}", environment.run(["jobs"]));
}

fn captures(jobs: &Value) -> usize {
    let ended = jobs["ended"].as_array().unwrap().iter();
    ended.filter(|job| job["task"] == "capture:media" && job["state"] == "succeeded").count()
}

#[test]
fn what_changes_is_captured_by_itself_and_what_does_not_is_known_to_be_unchanged() {
    let environment = site();
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let watched = plan.replacen("[assets.media]", "[assets.media]\nwatch = true", 1).replacen(
        "rpo   = \"24h\"",
        "rpo = \"20s\"",
        1,
    );
    assert!(watched.contains("watch = true") && watched.contains("\"20s\""), "{watched}");
    environment.write("plan.toml", &watched);
    let daemon = Running::start(&environment);
    jobs_once(&environment, |jobs| captures(jobs) == 1);
    environment.write("media/deep/er/.env", "SECRET=1");
    jobs_once(&environment, |jobs| captures(jobs) == 2);
    let quiet = jobs_once(&environment, |jobs| {
        let watched = &jobs["daemon"]["watched"][0];
        watched["is_changed"] == false && watched["unchanged"].is_string()
    });
    assert_eq!(captures(&quiet), 2, "nothing changed since: {quiet}");
    assert_eq!(quiet["daemon"]["watched"][0]["asset"], "media");
    daemon.stop();

    let points = environment.run(["--json", "points"]).json();
    assert_eq!(points["points"].as_array().unwrap().len(), 2, "{points}");
    let once = environment.run(["--json", "serve", "--once"]).json();
    assert_eq!(once["jobs"], 0, "it is remembered what was captured: {once}");
    environment.write("media/upload", "of the second day");
    let once = environment.run(["--json", "serve", "--once"]).json();
    assert_eq!(once["jobs"], 1, "what changed while nobody watched is found: {once}");
    let status = environment.run(["--json", "status"]).json();
    let exposure = status["assets"][0]["exposure_s"].as_u64().unwrap();
    assert!(exposure < 600, "{status}");
}

#[test]
fn the_daemon_runs_restore_tests_and_a_failed_one_is_a_risk() {
    let environment = site();
    let plan = environment.path("plan.toml");
    let table = |name: &str, file: &str| {
        format!(
            "[checks.{name}]\nfiles = \"media\"\nexist = [\"{file}\"]\n\
             [restore_tests.{name}]\ncron = \"0 5 * * SUN\"\nassets = [\"media\"]\nchecks = [\"{name}\"]\n"
        )
    };
    let text = fs::read_to_string(&plan).unwrap();
    let text = format!("{text}\n{}{}", table("whole", "upload"), table("more", "lost"));
    environment.write("plan.toml", text);
    let daemon = Running::start(&environment);
    environment.run(["backup"]).success();
    environment.run(["jobs", "run", "restore-test:whole", "--wait"]).success();
    let before = environment.run(["--json", "status"]).json();
    assert!(!before["risks"].to_string().contains("restore test `more`"), "{before:#}");
    let failed = environment.run(["jobs", "run", "restore-test:more", "--wait"]);
    assert_eq!(failed.code(), 1, "{failed}");
    assert!(format!("{failed}").contains("lost is missing"), "{failed}");
    let after = environment.run(["--json", "status"]).json();
    assert!(after["risks"].to_string().contains("failed its restore test `more`"), "{after:#}");
    assert_eq!(after["verdict"], "no");
    let list = ["--json", "catalog", "list", "--kind", "restore-tested"];
    let records = environment.run(list).json();
    assert_eq!(records["records"].as_array().unwrap().len(), 2, "one each: {records:#}");
    daemon.stop();
}

/// How often a daemon is killed, unless `LIFEBOAT_KILLS` says otherwise, as `make kills` does.
const KILLS: u32 = 12;

/// How often as many rounds are played until a kill hits a job at work.
const ROUNDS_MAX: u32 = 5;

/// Returns how often a daemon is killed.
pub fn kills() -> u32 {
    let kills = std::env::var("LIFEBOAT_KILLS").ok();
    kills.map_or(KILLS, |text| text.parse().unwrap())
}

/// Lets a while pass that nobody can cut short.
pub fn let_pass(length: Duration) {
    let (keeps, waits) = mpsc::channel::<()>();
    assert!(waits.recv_timeout(length).is_err());
    drop(keeps);
}

#[test]
fn a_daemon_that_is_killed_at_any_moment_loses_and_doubles_nothing() {
    let environment = site();
    let mut random = StdRng::seed_from_u64(6);
    let mut asked = Vec::new();
    for round in 0..kills() * ROUNDS_MAX {
        if round >= kills() && ended(&environment).iter().any(|job| job["state"] == "lost") {
            break;
        }
        let daemon = Running::start(&environment);
        environment.write("media/upload", format!("of round {round}").repeat(100_000));
        let queued = environment.run(["--json", "jobs", "run", "backup:daily"]).json();
        asked.push(queued["job"]["id"].as_str().unwrap().to_owned());
        let_pass(Duration::from_millis(random.random_range(0..600)));
        daemon.kill();
        nobody_runs_anything(&environment.run(["--json", "jobs"]).json());
    }
    let daemon = Running::start(&environment);
    environment.run(["jobs", "run", "backup:daily", "--wait"]).success();
    let verified = environment.run(["jobs", "run", "verification:primary", "--wait"]);
    verified.success();
    daemon.stop();

    let document = environment.run(["--json", "jobs", "--last", "1000"]).json();
    nothing_is_lost_or_doubled(&document, &asked);
    let points = environment.run(["--json", "points"]).json();
    every_success_has_its_point(&document, points["points"].as_array().unwrap().len());

    let key = fs::read_to_string(environment.path("recovery.key")).unwrap();
    Restic::new(environment.path("first/repo"), key.trim()).check_read_data().unwrap();
    let catalog = environment.run(["--json", "catalog", "list", "--limit", "10000"]).json();
    every_job_has_its_end(&catalog);
}

/// What the jobs say right after a daemon was killed.
pub fn nobody_runs_anything(left: &Value) {
    let mut states = left["jobs"].as_array().unwrap().iter().map(|job| &job["state"]);
    assert!(states.all(|state| state != "running"), "nobody runs it any more: {left:#}");
}

/// What the jobs say once all that was asked for is done, however often the daemon was killed meanwhile.
pub fn nothing_is_lost_or_doubled(document: &Value, asked: &[String]) {
    assert_eq!(document["jobs"], Value::Array(Vec::new()), "nothing is left undone");
    let jobs = document["ended"].as_array().unwrap();
    for id in asked {
        // Asked for while an earlier attempt waited, it is that attempt.
        let job = jobs.iter().find(|job| job["id"] == id.as_str()).expect("no job is lost");
        assert!(["succeeded", "lost"].contains(&job["state"].as_str().unwrap()), "{job}");
    }
    let lost = jobs.iter().filter(|job| job["state"] == "lost").count();
    assert!(lost > 0, "no kill hit a job, so this shows nothing: {document:#}");
    let again = jobs.iter().filter(|job| job["attempt"].as_u64() > Some(1)).count();
    let given_up = jobs.iter().filter(|job| job["state"] == "lost" && job["attempt"] == 3).count();
    assert_eq!(again, lost - given_up, "each is begun anew as often as it may be");
}

/// What there is to restore then: of each backup that succeeded one point, and of one that a kill hit no more than that.
fn every_success_has_its_point(document: &Value, points: usize) {
    let jobs = document["ended"].as_array().unwrap().iter();
    let states: Vec<_> =
        jobs.filter(|job| job["task"] == "backup:daily").map(|job| &job["state"]).collect();
    let succeeded = states.iter().filter(|state| **state == "succeeded").count();
    let attempts = states.len();
    assert!((succeeded..=attempts).contains(&points), "{points} of {attempts}: {document:#}");
}

/// What the catalog says then.
pub fn every_job_has_its_end(catalog: &Value) {
    let records = catalog["records"].as_array().unwrap();
    let count = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
    assert_eq!(count("job-started"), count("job-ended"), "every job that began has its end");
}

#[test]
fn systemd_is_told_what_the_daemon_does_as_sd_notify_says() {
    let environment = site();
    let path = environment.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let environment =
        environment.with("NOTIFY_SOCKET", path.to_str().unwrap()).with("WATCHDOG_USEC", "400000");
    let hear_until = |wanted: &str| {
        let mut bytes = [0; 500];
        let said = std::iter::repeat_with(|| {
            let length = socket.recv(&mut bytes).expect(wanted);
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        });
        let mut said = said.take(1000);
        said.find(|said| said.contains(wanted)).expect(wanted)
    };
    let mut daemon = Running::start(&environment);
    assert!(hear_until("READY=1").contains("STATUS="));
    hear_until("WATCHDOG=1");
    hear_until("WATCHDOG=1");
    daemon.signal(Signal::SIGHUP);
    assert!(hear_until("RELOADING=1").contains("MONOTONIC_USEC="));
    hear_until("READY=1");
    daemon.signal(Signal::SIGTERM);
    hear_until("STOPPING=1");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
}
