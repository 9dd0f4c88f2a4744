//! A site with a tier on disk and one in a container of Azure, against Azurite: what was missed is brought, and the
//! container alone gives everything back.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use lifeboat_model::{Clock as _, SystemClock};
use lifeboat_testing::emulators::Azurite;
use lifeboat_testing::restic::Restic;
use lifeboat_tiers::azure::AzureOptions;
use lifeboat_tiers::{AzureTier, ObjectPrefix, ReadRange, Tier as _};
use serde_json::Value;

use crate::environment::Environment;

const CONTAINER: &str = "shop-backups";
const STRING: &str = "AZURE_STORAGE_CONNECTION_STRING";
const FROM: &str = "azure://devstoreaccount1/shop-backups/site";

/// A home that knows the server, as Azure's tools are told of one.
fn home(azurite: &Azurite) -> Environment {
    Environment::new().with(STRING, azurite.connection_string())
}

fn init(environment: &Environment) {
    let near = format!("near={}", environment.path("near").display());
    let media = format!("media={}", environment.path("media").display());
    let far = format!("far={FROM}");
    let words = ["init", "--no-discovery", "--confirm-later", "--site", "shop"];
    let places = ["--tier", &near, "--tier", &far, "--asset-path", &media];
    environment.run(words.into_iter().chain(places)).success();
}

fn far(report: &Value) -> &Value {
    let tiers = report["tiers"].as_array().unwrap();
    tiers.iter().find(|tier| tier["tier"] == "far").unwrap()
}

#[test]
fn a_container_catches_up_and_gives_back_what_the_disk_lost() {
    let azurite = Azurite::start().unwrap();
    let environment = home(&azurite);
    environment.write("media/a", "kept in a container");
    init(&environment);
    a_container_that_is_missing_costs_its_own_tier_alone(&environment);
    azurite.make_container(CONTAINER).unwrap();
    environment.run(["backup"]).success();
    what_was_missed_is_brought(&azurite, &environment);

    let key = fs::read_to_string(environment.path("recovery.key")).unwrap();
    let copy = environment.path("copy");
    download(&azurite, &copy);
    let restic = Restic::new(copy.join("repo"), key.trim());
    restic.check_read_data().unwrap();

    let bare = home(&azurite);
    let key = bare.write("key", key).display().to_string();
    let back = ["restore", "media", "--from", FROM, "--key-file", &key, "--to", "out"];
    bare.run(back).success();
    let below = environment.path("media/a");
    let restored = bare.path("out").join(below.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(restored).unwrap(), "kept in a container");
    let repository = format!("{FROM}/repo");
    let listed = bare.run(["repo", "snapshots", &repository, "--password-file", &key]).success();
    assert!(listed.matches("media").count() >= 2, "{listed}");
    whoever_can_only_add_is_seen_to_delete_nothing(&azurite, &environment);
}

fn a_container_that_is_missing_costs_its_own_tier_alone(environment: &Environment) {
    let ended = environment.run(["backup", "--json"]);
    assert_ne!(ended.code(), 0, "{ended}");
    let report = ended.json();
    let stages = report["assets"][0]["stages"].as_array().unwrap();
    let at = |tier: &str| stages.iter().find(|stage| stage["tier"] == tier).unwrap();
    assert_eq!(at("near")["ending"], "succeeded", "{ended}");
    assert!(at("far")["message"].as_str().unwrap().contains(FROM), "{ended}");
    let hint = at("far")["hint"].as_str().unwrap();
    assert!(hint.contains("az storage container create"), "{hint}");
}

/// While the key is wrong, a backup goes to the disk alone.
fn what_was_missed_is_brought(azurite: &Azurite, environment: &Environment) {
    environment.write("media/b", "b");
    let wrong = azurite.connection_string().replace(Azurite::KEY, "bm90IHRoZSBrZXk=");
    let ended = environment.command().env(STRING, wrong).arg("backup").output().unwrap();
    let told = [ended.stdout, ended.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("credentials are wrong"), "{told}");
    let behind = environment.run(["tiers", "--json"]).json();
    assert_eq!(far(&behind)["assets"][0]["lag"]["points"], 1, "{behind}");
    let ended = environment.run(["tiers", "catch-up", "far", "--json"]);
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(far(&ended.json())["brought"][0]["from"], "near");
    let level = environment.run(["tiers", "--json"]).json();
    assert_eq!(far(&level)["assets"][0]["lag"]["points"], 0, "{level}");
}

/// With a signature to read, create and list, `check` passes what it wants refused, and a backup works.
fn whoever_can_only_add_is_seen_to_delete_nothing(azurite: &Azurite, environment: &Environment) {
    let plan = environment.path("plan.toml");
    let text = fs::read_to_string(&plan).unwrap();
    let url = format!("\"{FROM}\"");
    let endpoint = azurite.endpoint();
    let appending = format!("{url}\nappend_only = true\nendpoint = \"{endpoint}\"");
    environment.write("plan.toml", text.replace(&url, &appending));
    let until = SystemClock.now() + Duration::from_hours(1);
    let run = |rights: &str, words: &[&str]| {
        let token = Azurite::signature(CONTAINER, rights, until);
        let mut command = environment.command();
        command.env_remove(STRING).env("AZURE_STORAGE_SAS_TOKEN", &token).args(words);
        command.output().unwrap()
    };
    for name in ["media/c", "media/d"] {
        environment.write(name, name);
        let ended = run("rcl", &["backup"]);
        let said = String::from_utf8_lossy(&ended.stderr);
        // The second finds what the first could not take away.
        assert!(ended.status.success() && !said.contains("WARN"), "{said}");
    }
    let checked = |rights: &str, what: &str| {
        let checked = run(rights, &["check", "--json"]);
        let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
        let answers = report["readiness"]["answers"].as_array().unwrap();
        let said = answers.iter().find(|answer| answer["name"] == "far" && answer["what"] == what);
        said.cloned().unwrap_or_default()
    };
    let (written, refusing) =
        ("it can be written to", "it refuses to delete, as `append_only` says");
    assert_eq!(checked("rcl", refusing)["outcome"], "passed");
    // What was stored by then lies there still, and proves nothing of whoever comes later.
    let read_only = checked("rl", written);
    assert_eq!(read_only["outcome"], "failed", "{read_only:#}");
    assert!(read_only["message"].as_str().unwrap().contains("do not allow it"), "{read_only:#}");
    assert!(read_only["hint"].as_str().unwrap().contains("right to add"), "{read_only:#}");
    assert_eq!(checked("rcl", written)["outcome"], "passed");
    let refused = run("rcl", &["retention", "run", "far"]);
    let said = [refused.stdout, refused.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("on a machine whose credentials may delete"), "{said}");
    assert!(!said.contains("allow it for these credentials"), "{said}");
    what_trials_left_goes_with_whoever_may_delete(environment);
}

fn what_trials_left_goes_with_whoever_may_delete(environment: &Environment) {
    let left = || {
        let tiers = environment.run(["tiers", "--json"]).json();
        far(&tiers)["space"]["other"].as_u64().unwrap()
    };
    let before = left();
    environment.run(["retention", "run", "far"]).success();
    assert_eq!(before - left(), 2 * "lifeboat".len() as u64);
}

/// Copies everything that lies in the container, as any tool of Azure's would.
fn download(azurite: &Azurite, to: &Path) {
    let mut options = AzureOptions::new(Azurite::ACCOUNT, CONTAINER, "site");
    options.environment.insert(STRING.to_owned(), azurite.connection_string());
    let tier = AzureTier::new(&options, Arc::new(SystemClock)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listed: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
        for object in listed {
            let body = tier.get(&object.path, ReadRange::Full).await.unwrap();
            let path = to.join(object.path.as_str());
            lifeboat_tiers::durable::create_directories(path.parent().unwrap(), 0o755).unwrap();
            lifeboat_tiers::durable::replace(&path, &body, 0o600).unwrap();
        }
    });
}
