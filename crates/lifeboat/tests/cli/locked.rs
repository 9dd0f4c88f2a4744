//! Whoever would take locked copies away from a bucket: by mistake, by the plan, or with the backup's credentials.
//!
//! What moto does not hold to is not tried here and not claimed: it lets a lock be shortened, deletes several objects
//! at once whatever locks them, and knows no lifecycle rules.

use std::fs;

use lifeboat_testing::emulators::{Bucket, Moto};

use crate::bucket::{BUCKET, home, init};
use crate::environment::Environment;

/// A site whose one far tier locks what it gets, backed up twice.
fn site(moto: &Moto) -> Environment {
    let environment = home(moto);
    environment.write("media/a", "of the first day");
    init(&environment);
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let url = format!("url  = \"s3://{BUCKET}/site\"\n");
    let before = format!("{url}keep = {{ within = \"30d\" }}\n");
    assert!(plan.contains(&before), "{plan}");
    // moto keeps everything in one process, so nobody has to wait for its listings.
    let after = format!("{url}lock = \"30d\"\nprompt_listing = true\nkeep = {{ last = 1 }}\n");
    environment.write("plan.toml", plan.replace(&before, &after));
    // What a check stores to try the bucket is neither locked nor in the way.
    let checked = environment.run(["check"]);
    assert!(checked.stdout().contains("can be set up by the first backup"), "{checked}");
    assert_eq!(environment.run(["backup"]).code(), 0);
    environment.write("media/a", "of the second day");
    assert_eq!(environment.run(["backup"]).code(), 0);
    environment
}

/// The keys and versions of everything that the bucket has.
fn versions(moto: &Moto) -> Vec<(String, String)> {
    let listed = moto.ask("GET", &format!("/{BUCKET}?versions"), &[]).unwrap();
    let between = |text: &str, tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap();
        rest.split_once("</").unwrap().0.to_owned()
    };
    let versions = listed.split("<Version>").skip(1);
    versions.map(|text| (between(text, "Key"), between(text, "VersionId"))).collect()
}

/// Those that must not go: locks of a repository are there to go.
fn locked(moto: &Moto) -> Vec<(String, String)> {
    let is_locked =
        |(key, _): &(String, String)| !key.contains("/locks/") && !key.contains("/probe");
    versions(moto).into_iter().filter(is_locked).collect()
}

fn snapshots(environment: &Environment, address: &str) -> usize {
    let listed = environment.run(["repo", "snapshots", address, "--json"]);
    assert_eq!(listed.code(), 0, "{listed}");
    listed.json()["snapshots"].as_array().unwrap().len()
}

#[test]
fn locked_copies_outlast_mistakes_the_plan_and_a_thief() {
    let moto = Moto::start().unwrap();
    moto.make_bucket(BUCKET, Bucket::Locking).unwrap();
    let environment = site(&moto);
    let key = fs::read_to_string(environment.path("recovery.key")).unwrap();
    let stored = locked(&moto);
    assert!(stored.len() > 10, "{stored:?}");
    retention_leaves_what_is_locked(&environment);
    let direct = home(&moto).with("RESTIC_PASSWORD", key.trim());
    forgetting_at_the_address_is_refused(&direct, &moto);
    a_thief_deletes_nothing(&moto, &stored);
    let left = locked(&moto);
    assert!(stored.iter().all(|version| left.contains(version)), "nothing of it is gone");

    let bare = home(&moto);
    let file = bare.write("key", key).display().to_string();
    let from = format!("s3://{BUCKET}/site");
    let back = ["restore", "media", "--from", &from, "--key-file", &file, "--to", "out"];
    let ended = bare.run(back);
    assert_eq!(ended.code(), 0, "{ended}");
    let first = marker_told_of(&ended.stderr()).unwrap();
    moto.ask("DELETE", &format!("/{BUCKET}/{}?versionId={}", first.0, first.1), &[]).unwrap();
    let back = ["restore", "media", "--from", &from, "--key-file", &file, "--to", "out-again"];
    let again = bare.run(back);
    assert_eq!(again.code(), 0, "{again}");
    let next = marker_told_of(&again.stderr());
    assert!(next.is_none_or(|(key, _)| key != first.0), "it is hidden no more: {again}");
    let below = environment.path("media/a");
    let restored = bare.path("out").join(below.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(restored).unwrap(), "of the second day");

    for (key, _) in &stored {
        moto.ask("PUT", &format!("/{BUCKET}/{key}"), &[]).unwrap();
    }
    let left = locked(&moto);
    assert!(stored.iter().all(|version| left.contains(version)), "what lies above it took nothing");
}

#[test]
fn a_lock_that_the_plan_asks_for_later_comes_to_what_was_there() {
    let moto = Moto::start().unwrap();
    moto.make_bucket(BUCKET, Bucket::Locking).unwrap();
    let environment = home(&moto);
    environment.write("media/a", "of the first day");
    init(&environment);
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let url = format!("url  = \"s3://{BUCKET}/site\"\n");
    let with = |more: &str| plan.replace(&url, &format!("{url}prompt_listing = true\n{more}"));
    let is_locked = || {
        let checked = environment.run(["check", "--json"]).json();
        let answers = checked["readiness"]["answers"].as_array().unwrap().clone();
        let of_locks =
            |answer: &&serde_json::Value| answer["what"] == "what is stored there is locked";
        answers.iter().find(of_locks).map(|answer| answer["outcome"].clone())
    };
    environment.write("plan.toml", with(""));
    assert_eq!(environment.run(["backup"]).code(), 0);
    for lock in ["10d", "30d"] {
        environment.write("plan.toml", with(&format!("lock = \"{lock}\"\n")));
        assert_eq!(is_locked(), Some("failed".into()), "{lock}");
        assert_eq!(environment.run(["backup"]).code(), 0);
        assert_eq!(is_locked(), Some("passed".into()), "{lock}");
    }
}

/// The key and the version of the marker that a warning says how to take away.
fn marker_told_of(told: &str) -> Option<(String, String)> {
    let command = told.split("somebody hid objects").nth(1)?.split('`').nth(1)?;
    let words: Vec<_> = command.split(' ').collect();
    assert_eq!(words[..5], ["aws", "s3api", "delete-object", "--bucket", BUCKET], "{told}");
    Some((words[6].to_owned(), words[8].to_owned()))
}

/// The outcome and the text of what is said of the far tier.
fn said(environment: &Environment, what: &str) -> (String, String) {
    let checked = environment.run(["check", "--json"]).json();
    let answers = checked["readiness"]["answers"].as_array().unwrap();
    let of_far = |answer: &&serde_json::Value| answer["name"] == "far" && answer["what"] == what;
    let answer = answers.iter().find(of_far).unwrap_or_else(|| panic!("{checked:#}"));
    let text = [&answer["message"], &answer["hint"]].map(ToString::to_string).join(" ");
    (answer["outcome"].as_str().unwrap().to_owned(), text)
}

fn far_lock(environment: &Environment) -> serde_json::Value {
    let report = environment.run(["tiers", "--json"]).json();
    let tiers = report["tiers"].as_array().unwrap();
    tiers.iter().find(|tier| tier["tier"] == "far").unwrap()["lock"].clone()
}

#[test]
fn a_bucket_that_cannot_lock_is_found_before_the_first_backup() {
    let moto = Moto::start().unwrap();
    let fresh = "it can be set up by the first backup";
    for (kind, outcome) in [(Bucket::Versioned, "failed"), (Bucket::Locking, "passed")] {
        let environment = home(&moto);
        environment.write("media/a", "a");
        init(&environment);
        moto.make_bucket(BUCKET, kind).unwrap();
        let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
        let url = format!("url  = \"s3://{BUCKET}/site\"\n");
        environment.write("plan.toml", plan.replace(&url, &format!("{url}lock = \"30d\"\n")));
        let (found, text) = said(&environment, fresh);
        assert_eq!(found, outcome, "{text}");
        if kind == Bucket::Versioned {
            assert!(text.contains("locks nothing") && text.contains("object lock"), "{text}");
            for (key, version) in versions(&moto) {
                let target = format!("/{BUCKET}/{key}?versionId={version}");
                moto.ask("DELETE", &target, &[]).unwrap();
            }
            moto.ask("DELETE", &format!("/{BUCKET}"), &[]).unwrap();
        }
    }
}

#[test]
fn a_lock_of_a_weaker_mode_or_a_shorter_time_than_the_plan_says_is_told() {
    let moto = Moto::start().unwrap();
    moto.make_bucket(BUCKET, Bucket::Locking).unwrap();
    let environment = home(&moto);
    environment.write("media/a", "a");
    init(&environment);
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let url = format!("url  = \"s3://{BUCKET}/site\"\n");
    let with = |lock: &str, mode: &str| {
        let keys = format!("lock = \"{lock}\"\nlock_mode = \"{mode}\"\nprompt_listing = true\n");
        environment.write("plan.toml", plan.replace(&url, &format!("{url}{keys}")));
    };
    let what = "what is stored there is locked";
    with("10d", "governance");
    environment.run(["backup"]).success();
    assert_eq!(said(&environment, what).0, "passed");
    assert_eq!(far_lock(&environment)["outcome"], "passed");
    for (lock, mode, told) in [
        ("10d", "compliance", "locked in the mode governance, not compliance"),
        ("30d", "governance", "locked only until"),
    ] {
        with(lock, mode);
        let (outcome, text) = said(&environment, what);
        assert_eq!(outcome, "failed", "{text}");
        assert!(text.contains(told), "{text}");
        let lock = far_lock(&environment);
        assert_eq!(lock["outcome"], "failed", "{lock}");
        assert!(lock["message"].as_str().unwrap().contains(told), "{lock}");
        assert_eq!(environment.run(["tiers"]).code(), 1);
        let status = environment.run(["status", "--json"]).json();
        assert_ne!(status["verdict"], "yes", "{status:#}");
    }
    // More than the plan says is none the worse.
    with("1d", "governance");
    assert_eq!(said(&environment, what).0, "passed");
}

/// The plan keeps one snapshot, and the lock both.
fn retention_leaves_what_is_locked(environment: &Environment) {
    let ended = environment.run(["retention", "run", "far", "--json"]);
    assert_eq!(ended.code(), 0, "{ended}");
    let report = ended.json();
    let fates = report["tiers"][0]["snapshots"].as_array().unwrap();
    assert_eq!(fates.len(), 2, "{report:#}");
    assert!(fates.iter().all(|fate| !fate["reasons"].as_array().unwrap().is_empty()), "{report:#}");
}

fn forgetting_at_the_address_is_refused(direct: &Environment, moto: &Moto) {
    let address = format!("s3://{BUCKET}/site/repo");
    assert_eq!(snapshots(direct, &address), 2);
    let before = locked(moto);
    let forget = ["repo", "forget", &address, "--keep-last", "1", "--prune"];
    let ended = direct.run(forget);
    let said = ended.failure(1);
    assert!(said.contains("is locked until") && said.contains("snapshots/"), "{said}");
    for command in [["repo", "prune", &address], ["repo", "check", &address]] {
        let ended = direct.run(command);
        assert_eq!(ended.code(), 0, "{ended}");
    }
    assert_eq!(locked(moto), before);
    assert_eq!(snapshots(direct, &address), 2);
}

/// With the backup's credentials: every version by its id, also by way of governance, and the bucket itself; then
/// whatever hides it.
fn a_thief_deletes_nothing(moto: &Moto, stored: &[(String, String)]) {
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    for (key, version) in stored {
        for headers in [&[][..], &bypass] {
            let target = format!("/{BUCKET}/{key}?versionId={version}");
            let refused = moto.ask("DELETE", &target, headers).unwrap_err();
            assert!(refused.to_string().contains("AccessDenied"), "{key}: {refused}");
        }
    }
    let refused = moto.ask("DELETE", &format!("/{BUCKET}"), &[]).unwrap_err();
    assert!(refused.to_string().contains("BucketNotEmpty"), "{refused}");
    for (key, _) in stored {
        moto.ask("DELETE", &format!("/{BUCKET}/{key}"), &[]).unwrap();
    }
}
