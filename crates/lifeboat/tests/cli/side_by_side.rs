//! A daemon at work on two things at the same time.

use std::fs;

use lifeboat_testing::restic::Restic;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::daemon::{
    Running, every_job_has_its_end, jobs_once, nobody_runs_anything, nothing_is_lost_or_doubled,
    site,
};
use crate::environment::Environment;

/// Media that take most of a minute to their tier, and a configuration that is there at once or within seconds.
const MORE: &str = r#"
[assets.configuration]
kind = "files"
paths = ["HOME/etc"]
rpo = "24h"
[schedules.slow]
cron = "0 2 1 1 *"
assets = ["media"]
to = ["primary"]
bandwidth = "500KB"
[schedules.quick]
cron = "0 2 1 1 *"
assets = ["configuration"]
to = ["primary"]
[schedules.other]
cron = "0 2 1 1 *"
assets = ["configuration"]
to = ["primary"]
bandwidth = "100KB"
"#;

fn busy_site() -> Environment {
    let environment = site();
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let home = environment.path("etc");
    let more = MORE.replace("HOME", home.parent().unwrap().to_str().unwrap());
    environment.write("plan.toml", format!("{plan}{more}"));
    noise(&environment, "media/upload", 20_000_000, 1);
    noise(&environment, "etc/settings", 1_000, 2);
    environment
}

/// Writes what cannot be compressed.
fn noise(environment: &Environment, path: &str, length: usize, seed: u64) {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    environment.write(path, bytes);
}

/// Lifts what holds the backups back: nobody needs to wait for the rest of them.
fn without_bandwidth(environment: &Environment) {
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let lines = plan.lines().filter(|line| !line.starts_with("bandwidth"));
    environment.write("plan.toml", lines.collect::<Vec<_>>().join("\n"));
}

fn ask(environment: &Environment, task: &str) -> String {
    let queued = environment.run(["--json", "jobs", "run", task]).json();
    queued["job"]["id"].as_str().unwrap().to_owned()
}

fn state<'j>(jobs: &'j Value, id: &str) -> &'j Value {
    let all = ["jobs", "ended"].map(|key| jobs[key].as_array().unwrap());
    let found = all.into_iter().flatten().find(|job| job["id"] == id);
    &found.expect("it is known")["state"]
}

#[test]
fn a_long_backup_keeps_no_other_waiting_and_a_kill_with_two_at_work_loses_neither() {
    let environment = busy_site();
    let daemon = Running::start(&environment);
    let slow = ask(&environment, "backup:slow");
    jobs_once(&environment, |jobs| state(jobs, &slow) == "running");
    environment.run(["jobs", "run", "backup:quick", "--wait"]).success();
    let after = environment.run(["--json", "jobs"]).json();
    assert_eq!(state(&after, &slow), "running", "the other was done meanwhile: {after:#}");
    let handed = environment.run(["verify", "primary"]);
    assert_eq!(handed.code(), 11, "who is not the daemon waits for all of its jobs: {handed}");
    // But for who brings back, whom nobody keeps waiting.
    environment.run(["restore", "configuration", "--to", "meanwhile"]).success();
    let after = environment.run(["--json", "jobs"]).json();
    assert_eq!(state(&after, &slow), "running", "{after:#}");
    environment.run(["jobs", "cancel", &slow]).success();
    jobs_once(&environment, |jobs| state(jobs, &slow) == "cancelled");

    noise(&environment, "etc/settings", 2_000_000, 4);
    let asked = ["backup:slow", "backup:other"].map(|task| ask(&environment, task));
    jobs_once(&environment, |jobs| asked.iter().all(|id| state(jobs, id) == "running"));
    // A third of the same asset waits.
    let third = ask(&environment, "backup:quick");
    let drawn = environment.run(["jobs"]).success();
    let count = |word: &str| drawn.lines().filter(|line| line.contains(word)).count();
    assert_eq!((count("  running"), count("  queued")), (2, 1), "{drawn}");
    daemon.kill();
    let left = environment.run(["--json", "jobs"]).json();
    nobody_runs_anything(&left);
    assert!(asked.iter().all(|id| state(&left, id) == "lost"), "{left:#}");

    without_bandwidth(&environment);
    let daemon = Running::start(&environment);
    let done = jobs_once(&environment, |jobs| jobs["jobs"] == Value::Array(Vec::new()));
    nothing_is_lost_or_doubled(&done, &[&asked[..], &[third]].concat());
    environment.run(["jobs", "run", "verification:primary", "--wait"]).success();
    daemon.stop();
    environment.run(["catalog", "verify"]).success();
    let catalog = environment.run(["--json", "catalog", "list", "--limit", "10000"]).json();
    every_job_has_its_end(&catalog);
    let key = fs::read_to_string(environment.path("recovery.key")).unwrap();
    Restic::new(environment.path("first/repo"), key.trim()).check_read_data().unwrap();
    environment.run(["restore", "configuration", "--to", "back"]).success();
}

#[test]
fn a_backup_that_is_stopped_with_its_daemon_waits_for_the_next_one_and_is_done_once() {
    let environment = busy_site();
    let daemon = Running::start(&environment);
    let slow = ask(&environment, "backup:slow");
    jobs_once(&environment, |jobs| state(jobs, &slow) == "running");
    let said = daemon.stop();
    assert!(!said.contains("Something still runs"), "it stopped by itself: {said}");
    let left = environment.run(["--json", "jobs"]).json();
    let waiting = &left["jobs"].as_array().unwrap()[..];
    assert_eq!(waiting.len(), 1, "{left:#}");
    assert_eq!(
        (&waiting[0]["id"], &waiting[0]["state"]),
        (&slow.as_str().into(), &"queued".into())
    );
    assert_eq!(waiting[0]["message"], "the daemon was stopped meanwhile");
    assert!(waiting[0]["started"].is_null(), "{left:#}");

    without_bandwidth(&environment);
    let daemon = Running::start(&environment);
    let done = jobs_once(&environment, |jobs| state(jobs, &slow) == "succeeded");
    daemon.stop();
    let runs = done["ended"].as_array().unwrap().iter();
    let runs: Vec<_> = runs.filter(|job| job["task"] == "backup:slow").collect();
    assert_eq!(runs.len(), 1, "done once: {done:#}");
    assert_eq!(runs[0]["attempt"], 1, "who is asked to stop does not lose it: {done:#}");
    let points = environment.run(["--json", "points"]).json();
    assert_eq!(points["points"].as_array().unwrap().len(), 1, "{points:#}");
    let catalog = environment.run(["--json", "catalog", "list", "--limit", "10000"]).json();
    every_job_has_its_end(&catalog);
}
