//! Evidence of what the real binary recovered and tested: shown, verified, altered, lost.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::environment::Environment;
use crate::recover::{Site, ended};

const RUNBOOK: &str = r#"
[[steps]]
id = "keep"
evidence = { take = ["HOME/shop", "HOME/runbooks"], to = "HOME/kept/{{ run.id }}" }

[[steps]]
id = "stop"
needs = ["keep"]
stop = ["*"]

[[steps]]
id = "restore"
needs = ["stop"]
restore = { asset = "media" }
check = ["pictures"]
estimate = "1m..2m"

[[steps]]
id = "start"
needs = ["restore"]
start = ["*"]
"#;

/// A site that was recovered once.
fn recovered() -> Site {
    let site = Site::new(RUNBOOK);
    site.lose();
    let (code, said) = ended(site.recover());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("evidence: `lifeboat evidence show "), "{said}");
    assert!(said.contains("RTO of class critical"), "{said}");
    site
}

fn listed(site: &Site, more: &[&str]) -> Vec<Value> {
    let words = ["evidence", "list", "--json"].iter().chain(more).copied();
    let listed = site.environment.run(words);
    assert_eq!(listed.code(), 0, "{listed}");
    listed.json()["records"].as_array().unwrap().clone()
}

/// The object of a record on a tier.
fn object(site: &Site, tier: &str, id: &str) -> PathBuf {
    let catalog = site.environment.path(tier).join("catalog");
    let writers = fs::read_dir(catalog).unwrap().map(|entry| entry.unwrap().path());
    let objects = writers.flat_map(|writer| fs::read_dir(writer).unwrap());
    let mut objects = objects.map(|entry| entry.unwrap().path());
    let is_own = |path: &PathBuf| path.to_string_lossy().contains(&format!("-{}", &id[..16]));
    objects.find(is_own).unwrap()
}

#[test]
fn a_recovery_leaves_evidence_that_is_shown_and_stands() {
    let site = recovered();
    let records = listed(&site, &[]);
    let (id, run) = (records[0]["id"].as_str().unwrap(), records[0]["run"].as_str().unwrap());
    assert_eq!((records.len(), &records[0]["outcome"]), (1, &"passed".into()), "{records:#?}");
    let markdown = site.environment.run(["evidence", "show"]).success();
    for told in ["| RTO |", "step restore", "| restore | restore | restore |", "| keep |"] {
        assert!(markdown.contains(told), "`{told}` is not in {markdown}");
    }
    let html = site.environment.run(["evidence", "show", run, "--format", "html"]).success();
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains(id), "{html}");
    assert!(!html.contains("<script") && !html.contains("http://"), "{html}");
    let shown = site.environment.run(["evidence", "show", id, "--json"]).json();
    let body = &shown["record"]["body"];
    assert_eq!((&body["kind"], &body["of"]), (&"evidence".into(), &"recovery".into()), "{body:#}");
    let kept = site.environment.path(format!("kept/{run}"));
    assert!(kept.join("SHA256SUMS").exists(), "{body:#}");
    assert_eq!(body["taken"][0]["to"], kept.to_str().unwrap());
    assert_eq!(body["counts"][0]["files"], 1, "{body:#}");
    for field in ["teardown", "previous"] {
        assert!(body.get(field).is_some_and(Value::is_null), "`{field}` is there: {body:#}");
    }
    let verified = site.environment.run(["evidence", "verify"]);
    assert_eq!(verified.code(), 0, "{verified}");
    for tier in ["primary", "secondary"] {
        let words = ["evidence", "show", id, "--from", tier, "--format", "json"];
        let read = site.environment.run(words).success();
        assert!(read.contains(run), "{read}");
    }
    let times = site.environment.run(["evidence", "times", "loss"]).success();
    assert!(times.contains("1m..2m") && times.contains("4 h"), "{times}");
    for (window, count) in [("--until", 0), ("--since", 1)] {
        assert_eq!(listed(&site, &[window, "2020-01-01"]).len(), count, "{window}");
    }
    site.environment.run(["evidence", "list", "--since", "yesterday"]).failure(2);
    site.environment.run(["evidence", "show", "ffffffffffffffff"]).failure(2);
}

#[test]
fn evidence_that_was_altered_lost_or_belongs_to_others_is_named() {
    let site = recovered();
    let records = listed(&site, &[]);
    let (id, run) = (records[0]["id"].as_str().unwrap(), records[0]["run"].as_str().unwrap());
    // As it was written, with paths that tests otherwise make short.
    let shown = site.environment.command().args(["evidence", "show", "--format", "json"]).output();
    let document = String::from_utf8(shown.unwrap().stdout).unwrap();
    site.environment.write("good.json", &document);
    site.environment.write("altered.json", document.replace("\"passed\"", "\"failed\""));
    let good = site.environment.path("good.json").display().to_string();
    let altered = site.environment.path("altered.json").display().to_string();
    site.environment.run(["evidence", "verify", &good]).success();
    let refused = site.environment.run(["evidence", "verify", &good, &altered]);
    assert_eq!(refused.code(), 1, "{refused}");
    assert!(refused.stdout().contains("it is not signed by a writer"), "{refused}");
    // A tier that lost it.
    let lost = object(&site, "secondary", id);
    let aside = site.environment.path("aside");
    fs::copy(&lost, &aside).unwrap();
    fs::remove_file(&lost).unwrap();
    let told = site.environment.run(["evidence", "verify"]);
    assert_eq!(told.code(), 1, "{told}");
    assert!(told.stdout().contains("secondary lacks evidence 0"), "{told}");
    site.environment.run(["evidence", "verify", "--from", "primary"]).success();
    fs::copy(&aside, &lost).unwrap();
    // A journal that was altered afterwards.
    let state = site.environment.path(".");
    let journal = find(&state, &format!("{run}/journal"));
    let text = fs::read_to_string(&journal).unwrap();
    site.environment.write(journal.to_str().unwrap(), text.replace("succeeded", "aborted"));
    let told = site.environment.run(["evidence", "verify"]);
    assert_eq!(told.code(), 1, "{told}");
    assert!(told.stdout().contains(&format!("the journal of {run}")), "{told}");
    site.environment.write(journal.to_str().unwrap(), text);
    site.environment.run(["evidence", "verify"]).success();
    // Another site's verifier.
    let other = Site::new(RUNBOOK);
    let plan = fs::read_to_string(site.environment.path("plan.toml")).unwrap();
    let verifier = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("verifier")).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    let others = fs::read_to_string(other.environment.path("plan.toml")).unwrap();
    site.environment.write("plan.toml", plan.replace(&verifier(&plan), &verifier(&others)));
    let refused = site.environment.run(["evidence", "verify", &good]);
    assert_eq!(refused.code(), 1, "{refused}");
}

/// Finds the file whose path ends so.
fn find(folder: &std::path::Path, end: &str) -> PathBuf {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.ends_with(end) {
                return path;
            }
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            }
        }
    }
    panic!("no file ends in {end}")
}

const TEST: &str = r#"
[restore_tests.weekly]
cron = "0 5 * * SUN"
assets = ["media"]
checks = ["pictures"]
"#;

#[test]
fn a_restore_test_leaves_evidence_with_the_proof_of_its_teardown() {
    let site = Site::with(RUNBOOK, &[], TEST);
    let environment: &Environment = &site.environment;
    environment.run(["test", "weekly", "--seed", "3"]).success();
    let shown = environment.run(["evidence", "show", "--json"]).json();
    let body = &shown["record"]["body"];
    assert_eq!((&body["of"], &body["outcome"]), (&"restore-test".into(), &"passed".into()));
    assert_eq!(body["teardown"]["outcome"], "passed", "{body:#}");
    assert!(body["teardown"]["looked_for"].as_array().unwrap().len() > 1, "{body:#}");
    assert_eq!(body["checks"][0]["expected"], "one.txt exist");
    environment.run(["evidence", "verify"]).success();
}

#[test]
fn evidence_that_could_not_be_kept_is_collected_later() {
    let site = recovered();
    // The view and the tiers without it, as after a kill right at the end of the run.
    let id = listed(&site, &[])[0]["id"].as_str().unwrap().to_owned();
    for tier in ["primary", "secondary"] {
        fs::remove_file(object(&site, tier, &id)).unwrap();
    }
    let view = find(&site.environment.path("."), "catalog.sqlite");
    for suffix in ["", "-wal", "-shm"] {
        _ = fs::remove_file(format!("{}{suffix}", view.display()));
    }
    site.environment.run(["catalog", "rebuild"]).success();
    assert_eq!(listed(&site, &[]).len(), 0);
    let told = site.environment.run(["evidence", "verify"]);
    assert_eq!(told.code(), 1, "{told}");
    assert!(told.stdout().contains("there is no evidence of run_"), "{told}");
    site.environment.run(["evidence", "collect"]).success();
    assert_eq!(listed(&site, &[]).len(), 1);
    site.environment.run(["evidence", "verify"]).success();
}
