//! What a daemon tells others while it runs: dead man's switches, and whoever reads its log.

use std::fs;

use serde_json::Value;
use techit::sink::Sink;

use crate::daemon::{Running, site};
use crate::environment::Environment;

/// A switch for each loop, and a restore test that fails.
const MORE: &str = r#"
[notify.switch]
ping = { env = "SWITCH_URL" }
[checks.more]
files = "media"
exist = ["lost"]
[restore_tests.more]
cron = "0 5 1 1 *"
assets = ["media"]
checks = ["more"]
"#;

fn told_site() -> Environment {
    let environment = site();
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    environment.write("plan.toml", format!("{plan}{MORE}"));
    environment
}

/// Has a task done; returns its job.
fn done(environment: &Environment, task: &str) -> Value {
    environment.run(["--json", "jobs", "run", task, "--wait"]).json()["job"].clone()
}

/// Returns what a job is called by its digits alone, however they are grouped.
fn digits(id: &str) -> String {
    id.trim_start_matches("job_").replace('-', "")
}

#[test]
fn a_switch_is_told_of_every_run_and_of_the_daemon_itself() {
    let switch = Sink::of_requests().unwrap();
    let address = format!("http://127.0.0.1:{}/{{loop}}", switch.port());
    let environment = told_site().with("SWITCH_URL", &address);
    let daemon = Running::start(&environment);
    let succeeded = done(&environment, "backup:daily");
    let failed = done(&environment, "restore-test:more");
    assert_eq!((&succeeded["ending"], &failed["ending"]), (&"succeeded".into(), &"failed".into()));
    let said = daemon.stop();
    assert!(!said.contains("switch"), "all of it arrived: {said}");

    let told = switch.taken();
    let of = |name: &str| {
        let own = told.iter().filter(|told| told.starts_with(&format!("POST /{name}")));
        own.cloned().collect::<Vec<_>>()
    };
    let check = |name: &str, job: &Value, word: &str| {
        let told = of(name);
        assert_eq!(told.len(), 2, "{name}: {told:?}");
        let (begins, ends) = (format!("POST /{name}/start?"), format!("POST /{name}{word}?"));
        assert!(told[0].starts_with(&begins) && told[1].starts_with(&ends), "{told:?}");
        for told in &told {
            let run = told.split(' ').nth(1).unwrap().split_once("rid=").expect("a run").1;
            assert_eq!(digits(run), digits(job["id"].as_str().unwrap()), "{told}");
        }
        told[1].clone()
    };
    check("backup-daily", &succeeded, "");
    let why = check("restore-test-more", &failed, "/fail");
    assert!(why.contains(failed["message"].as_str().unwrap()), "{why}");
    assert_eq!(of("daemon"), ["POST /daemon "], "once in minutes");
}

/// What a person is told at the terminal whatever the log looks like.
const REMARK: &str = "stopping at the next safe point";

#[test]
fn each_line_of_a_log_for_machines_is_a_document_that_names_its_job() {
    let switch = Sink::of_requests().unwrap();
    let address = format!("http://127.0.0.1:{}/{{loop}}", switch.port());
    let environment = told_site().with("SWITCH_URL", &address);
    let daemon = Running::of(environment.start(["--log-format", "json", "--verbose", "serve"]));
    let job = done(&environment, "restore-test:more");
    let said = daemon.stop();
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let lines = said.lines().filter(|line| !line.starts_with(REMARK));
    let documents: Vec<Value> = lines.map(read).collect();
    for document in &documents {
        for key in ["timestamp", "level", "message"] {
            assert!(document[key].is_string(), "{key} of {document}");
        }
    }
    let mut about = documents.iter().filter(|document| document["job"] == job["id"]);
    let levels: Vec<_> = about.clone().map(|document| &document["level"]).collect();
    assert_eq!(levels, ["INFO", "INFO", "ERROR"], "asked for, begun, failed: {said}");
    assert_eq!(about.next_back().unwrap()["ending"], "failed");
}
