//! What a person gets for a plan: all of its mistakes at once, or its content.

use crate::environment::Environment;

/// Ten mistakes, one of each sort that people make.
const TEN_MISTAKES: &str = r#"format = 1

[plan]
name = "Shop"
site = "the shop"
wether = "fine"

[key]
file = 7

[assets.media]
kind  = "files"
path  = ["/srv/media"]
rpo   = "soon"
rto   = "-1h"

[assets.database]
kind = "postgre"
connect = "host=/run/postgresql dbname=shop"

[tiers.primary]
url  = "ftp://example.org/backups"
keep = { within = "a week" }

[schedules.daily]
cron   = "0 25 * * *"
assets = ["medai"]
to     = ["primary", "nowhere"]
"#;

const SOUND: &str = r#"format = 1

[plan]
name = "Shop"
site = "shop"

[key]
file = "/nonexistent/recovery.key"

[assets.media]
kind  = "files"
paths = ["/srv/media"]
rpo   = "24h"

[tiers.primary]
url  = "file:///mnt/primary"
keep = { within = "7d" }

[schedules.daily]
cron   = "0 2 * * *"
assets = ["media"]
to     = ["primary"]
"#;

#[test]
fn ten_mistakes_are_shown_at_once() {
    let environment = Environment::new();
    environment.write("plan.toml", TEN_MISTAKES);
    insta::assert_snapshot!(environment.run(["check"]).failure(2));
    let document = environment.run(["check", "--json"]).json();
    assert_eq!(document["schema"], "lifeboat.error/1");
    assert_eq!((&document["exit"], &document["kind"]), (&2.into(), &"config".into()));
    let errors = document["diagnostics"].as_array().unwrap().iter();
    let errors = errors.filter(|diagnostic| diagnostic["severity"] == "error").count();
    assert!(errors >= 10, "{errors} errors: {document:#}");
}

#[test]
fn a_plan_is_found_in_its_places() {
    let environment = Environment::new();
    let text = environment.run(["plan", "show"]).failure(2);
    assert!(text.contains("lifeboat.toml") && text.contains("lifeboat init"), "{text}");
    environment.write("plan.toml", SOUND);
    let shown = environment.run(["plan", "show", "--json"]).json();
    assert_eq!(shown["schema"], "lifeboat.plan.show/1");
    let elsewhere =
        environment.write("elsewhere/other.toml", SOUND.replace("\"shop\"", "\"other\""));
    let other = environment.run(["plan", "show", "--json", "--plan", elsewhere.to_str().unwrap()]);
    assert_ne!(shown["id"], other.json()["id"], "another plan has another id");
    environment.run(["plan", "show", "--plan", "no-such.toml"]).failure(2);
}

#[test]
fn a_plan_that_lints_may_still_not_be_able_to_run() {
    let environment = Environment::new();
    environment.write("plan.toml", SOUND);
    environment.run(["check", "--lint-only"]).success();
    let checked = environment.run(["check", "--json"]);
    assert_eq!(checked.code(), 1, "{checked}");
    let document = checked.json();
    assert_eq!(document["schema"], "lifeboat.check/1");
    let answers = document["readiness"]["answers"].as_array().unwrap();
    let key = answers.iter().find(|answer| answer["subject"] == "key").unwrap();
    assert_eq!(key["outcome"], "failed", "there is no key file");
}

#[test]
fn what_is_worth_a_look_is_shown_by_check_and_told_of_in_one_line_elsewhere() {
    let environment = Environment::new();
    environment.write("plan.toml", SOUND);
    let linted = environment.run(["check", "--lint-only"]).success();
    assert!(linted.contains("`media` has copies on `primary` alone"), "{linted}");
    let shown = environment.run(["plan", "show"]);
    let told: Vec<_> = shown.stderr().lines().map(str::to_owned).collect();
    assert_eq!(told.len(), 1, "{shown}");
    assert!(told[0].contains("with 1 remark") && told[0].contains("check --lint-only"), "{shown}");
}

#[test]
fn the_schema_is_a_json_schema() {
    let environment = Environment::new();
    for arguments in [&["plan", "schema"][..], &["plan", "schema", "--runbook"]] {
        let schema = environment.run(arguments).json();
        assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"), "{schema}");
    }
}
