//! The daemon as a person runs it: it is asked, paused, stopped, and killed at any moment.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
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

fn site() -> Environment {
    let environment = Environment::new();
    let media = environment.write("media/upload", "of the first day");
    let tier = format!("primary={}", environment.path("first").display());
    let path = format!("media={}", media.parent().unwrap().display());
    let made = ["init", "--no-discovery", "--confirm-later", "--site", "shop", "--tier", &tier];
    environment.run(made.iter().chain(&["--asset-path", path.as_str()])).success();
    environment
}

/// A daemon that listens.
struct Running {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Running {
    fn start(environment: &Environment) -> Self {
        let mut child = environment.start(["serve"]);
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

    /// Asks it to stop; returns what it said meanwhile.
    fn stop(mut self) -> String {
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

    daemon.stop();
}

#[test]
fn the_daemon_runs_restore_tests_and_a_failed_one_is_a_risk() {
    let environment = site();
    let plan = environment.path("plan.toml");
    let test = |name: &str, file: &str| {
        format!(
            "[checks.{name}]\nfiles = \"media\"\nexist = [\"{file}\"]\n\
             [restore_tests.{name}]\ncron = \"0 5 * * SUN\"\nassets = [\"media\"]\nchecks = [\"{name}\"]\n"
        )
    };
    let text = fs::read_to_string(&plan).unwrap();
    let text = format!("{text}\n{}{}", test("whole", "upload"), test("more", "lost"));
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

/// Lets a while pass that nobody can cut short.
fn let_pass(length: Duration) {
    let (keeps, waits) = mpsc::channel::<()>();
    assert!(waits.recv_timeout(length).is_err());
    drop(keeps);
}

#[test]
fn a_daemon_that_is_killed_at_any_moment_loses_and_doubles_nothing() {
    let kills = std::env::var("LIFEBOAT_KILLS").ok().and_then(|text| text.parse().ok());
    let environment = site();
    let mut random = StdRng::seed_from_u64(6);
    let mut asked = Vec::new();
    for round in 0..kills.unwrap_or(KILLS) {
        let mut daemon = Running::start(&environment);
        environment.write("media/upload", format!("of round {round}").repeat(100_000));
        let queued = environment.run(["--json", "jobs", "run", "backup:daily"]).json();
        asked.push(queued["job"]["id"].as_str().unwrap().to_owned());
        let_pass(Duration::from_millis(random.random_range(0..600)));
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
        let left = environment.run(["--json", "jobs"]).json();
        let states = left["jobs"].as_array().unwrap().iter().map(|job| job["state"].clone());
        assert!(states.clone().all(|state| state != "running"), "nobody runs it any more");
    }
    let daemon = Running::start(&environment);
    environment.run(["jobs", "run", "backup:daily", "--wait"]).success();
    let verified = environment.run(["jobs", "run", "verification:primary", "--wait"]);
    verified.success();
    daemon.stop();

    let document = environment.run(["--json", "jobs", "--last", "1000"]).json();
    assert_eq!(document["jobs"], Value::Array(Vec::new()), "nothing is left undone");
    let jobs = document["ended"].as_array().unwrap();
    for id in asked {
        // Asked for while an earlier attempt waited, it is that attempt.
        let job = jobs.iter().find(|job| job["id"] == id.as_str()).expect("no job is lost");
        assert!(["succeeded", "lost"].contains(&job["state"].as_str().unwrap()), "{job}");
    }
    let lost = jobs.iter().filter(|job| job["state"] == "lost").count();
    let again = jobs.iter().filter(|job| job["attempt"].as_u64() > Some(1)).count();
    let given_up = jobs.iter().filter(|job| job["state"] == "lost" && job["attempt"] == 3).count();
    assert_eq!(again, lost - given_up, "each is begun anew as often as it may be");

    let key = fs::read_to_string(environment.path("recovery.key")).unwrap();
    Restic::new(environment.path("first/repo"), key.trim()).check_read_data().unwrap();
    let catalog = environment.run(["--json", "catalog", "list", "--limit", "10000"]).json();
    let records = catalog["records"].as_array().unwrap();
    let count = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
    assert_eq!(count("job-started"), count("job-ended"), "every job that began has its end");
}
