//! From a tier's address and the key alone: plan, runbooks and catalog come back, and the commands that are
//! printed then work as they stand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::environment::{Ended, Environment};

const RUNBOOK: &str =
    "title = \"Fire\"\n[[steps]]\nid = \"media\"\nrestore = { asset = \"media\" }\n";

/// A site with media on two tiers and a runbook, backed up once.
fn site() -> Environment {
    let environment = Environment::new();
    environment.write("media/a", "kept");
    let path = format!("media={}", environment.path("media").display());
    let tier = |name: &str| format!("{name}={}", environment.path(name).display());
    let (near, far) = (tier("near"), tier("far"));
    let words = ["init", "--no-discovery", "--confirm-later", "--site", "shop"];
    let places = ["--tier", &near, "--tier", &far, "--asset-path", &path];
    environment.run(words.into_iter().chain(places)).success();
    environment.write("runbooks/fire.toml", RUNBOOK);
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let scenario = "\n[scenarios.fire]\nrunbook = \"runbooks/fire.toml\"\n";
    environment.write("plan.toml", format!("{plan}{scenario}"));
    environment.run(["backup"]).success();
    environment
}

/// A machine with nothing but the key, on a stick.
struct Bare {
    environment: Environment,
    key: String,
}

impl Bare {
    fn of(site: &Environment) -> Self {
        let environment = Environment::new();
        let key = fs::read(site.path("recovery.key")).unwrap();
        let key = environment.write("stick/recovery.key", key).display().to_string();
        Self { environment, key }
    }

    fn restore(&self, from: &Path, more: &[&str]) -> Ended {
        let from = from.display().to_string();
        let words = ["restore", "--from", &from, "--key-file", &self.key];
        self.environment.run(words.iter().chain(more))
    }

    /// Gives a command to a shell as it stands.
    fn shell(&self, line: &str) -> (bool, String) {
        let binary = Path::new(env!("CARGO_BIN_EXE_lifeboat"));
        let path = format!("{}:/usr/bin:/bin", binary.parent().unwrap().display());
        let mut shell = Command::new("/bin/sh");
        shell.env_clear().env("PATH", path).env("HOME", self.environment.path(""));
        shell.env("XDG_STATE_HOME", self.environment.path("state"));
        shell.env("XDG_CACHE_HOME", self.environment.path("cache"));
        let ended =
            shell.current_dir(self.environment.path("")).args(["-c", line]).output().unwrap();
        let text = [&ended.stdout[..], &ended.stderr].concat();
        (ended.status.success(), String::from_utf8_lossy(&text).into_owned())
    }
}

fn next(document: &Value) -> Vec<String> {
    let commands = document["next"].as_array().unwrap().iter();
    commands.map(|command| command.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_tier_that_the_plan_got_later_suffices_after_its_first_backup() {
    let site = site();
    let plan = fs::read_to_string(site.path("plan.toml")).unwrap();
    let third = site.path("third");
    let tier = format!(
        "\n[tiers.third]\nurl = \"file://{}\"\nkeep = {{ within = \"30d\" }}\n",
        third.display()
    );
    site.write("plan.toml", format!("{plan}{tier}"));
    site.run(["backup", "--to", "third"]).success();
    let bare = Bare::of(&site);
    let back = bare.restore(&third, &["--plan-to", "etc"]);
    assert_eq!(back.code(), 0, "{back}");
    let found = fs::read_to_string(bare.environment.path("etc/plan.toml")).unwrap();
    assert!(found.contains("[tiers.third]"), "{found}");
}

#[test]
fn an_address_and_the_key_give_back_plan_runbooks_catalog_and_data() {
    let site = site();
    let bare = Bare::of(&site);
    let files = ["plan.toml", "runbooks/fire.toml"];
    let before = files.map(|file| fs::read(site.path(file)).unwrap());
    // What the host had is gone, the nearer tier with it.
    for folder in ["near", "media", "state", "runbooks"] {
        fs::remove_dir_all(site.path(folder)).unwrap();
    }
    for file in ["plan.toml", "recovery.key"] {
        fs::remove_file(site.path(file)).unwrap();
    }
    let far = site.path("far");
    let refused = bare.restore(&far, &["--dry-run"]).failure(2);
    assert!(refused.contains("name an asset"), "{refused}");
    assert!(
        !bare.environment.path("plan.toml").exists() && !bare.environment.path("state").exists()
    );
    let text = bare.restore(&far, &[]).success();
    for told in ["plan.toml", "runbooks/fire.toml", "media", "Points on far", "install -D"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert_eq!(files.map(|file| fs::read(bare.environment.path(file)).unwrap()), before);
    let listed = bare.environment.run(["catalog", "list", "--json"]).json();
    assert!(listed["records"].as_array().unwrap().len() > 5, "{listed:#}");

    // Again changes nothing, and says the same.
    let again = bare.restore(&far, &["--json"]);
    let document = again.json();
    assert_eq!((again.code(), &document["schema"]), (0, &"lifeboat.restore.bootstrap/1".into()));
    let state = |file: &Value| file["state"].as_str().unwrap().to_owned();
    let states: Vec<_> = document["files"].as_array().unwrap().iter().map(state).collect();
    assert_eq!(states, ["there", "there"]);

    let commands = next(&document);
    assert_eq!(commands.len(), 4, "{commands:?}");
    assert!(commands[0].starts_with("install ") && commands[1] == "lifeboat tiers", "{commands:?}");
    assert_eq!(commands[2], "lifeboat recover fire --dry-run", "the runbook leads further");
    assert_eq!(commands[3], "lifeboat restore media --tier far --in-place");
    assert!(bare.shell(&commands[0]).0);
    let (_, tiers) = bare.shell(&commands[1]);
    assert!(tiers.contains("set up at") && tiers.contains("near"), "the loss is told: {tiers}");
    let (is_done, text) = bare.shell(&commands[2]);
    assert!(is_done && text.contains("media"), "{text}");
    let (is_done, text) = bare.shell(&format!("{} --confirm shop", commands[3]));
    assert!(is_done, "{text}");
    assert_eq!(fs::read_to_string(site.path("media/a")).unwrap(), "kept");
}

#[test]
fn a_tier_that_was_carried_elsewhere_is_read_there() {
    let site = site();
    let bare = Bare::of(&site);
    let moved = bare.environment.path("mounted");
    assert!(
        Command::new("cp").arg("-a").arg(site.path("far")).arg(&moved).status().unwrap().success()
    );
    let ended = bare.restore(&moved, &["--plan-to", "etc", "--json"]);
    assert_eq!(ended.code(), 0, "{ended}");
    let document = ended.json();
    assert!(document["planned"].as_str().unwrap().ends_with("/far"), "{document:#}");
    let commands = next(&document);
    let tiers =
        format!("lifeboat tiers --plan {}", bare.environment.path("etc/plan.toml").display());
    assert!(commands.contains(&tiers), "{commands:?}");
    let restore = commands.last().unwrap();
    assert!(restore.contains(&format!("--from file://{}", moved.display())), "{restore}");
    assert!(restore.contains("--key-file"), "{restore}");
    let (is_done, text) = bare.shell(&restore.replace("--in-place", "--to out"));
    assert!(is_done, "{text}");
}

#[test]
fn what_is_there_is_named_and_kept() {
    let site = site();
    let bare = Bare::of(&site);
    bare.environment.write("plan.toml", "somebody's own");
    let ended = bare.restore(&site.path("far"), &[]);
    assert_eq!(ended.code(), 3, "{ended}");
    let text = ended.stdout();
    assert!(text.contains("kept: [HOME]/plan.toml") && text.contains("--plan-to DIR"), "{text}");
    assert!(!text.contains("To go on"), "no command goes by somebody else's plan: {text}");
    assert_eq!(fs::read_to_string(bare.environment.path("plan.toml")).unwrap(), "somebody's own");
    assert!(!bare.environment.path("runbooks").exists(), "half a plan is none");
}

/// Damages the plan that lies on a tier.
fn damage_plans(tier: &Path) -> Vec<PathBuf> {
    let plans = fs::read_dir(tier.join("plan")).unwrap().map(|entry| entry.unwrap().path());
    let plans: Vec<_> = plans.collect();
    for plan in &plans {
        let mut bytes = fs::read(plan).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        lifeboat_tiers::durable::replace(plan, &bytes, 0o600).unwrap();
    }
    plans
}

#[test]
fn a_damaged_plan_is_told_with_its_name_and_an_older_one_is_used() {
    let site = site();
    let bare = Bare::of(&site);
    let damaged = damage_plans(&site.path("far")).pop().unwrap();
    let name = damaged.file_stem().unwrap().to_str().unwrap()[..8].to_owned();
    let text = bare.restore(&site.path("far"), &[]).failure(1);
    assert!(text.contains(&format!("plan {name} at ")) && text.contains("age file"), "{text}");
    assert!(text.contains("another tier") && text.contains("--plan-id"), "{text}");
    bare.restore(&site.path("near"), &["--plan-to", "whole"]).success();

    // The next plan is whole, then damaged: the one before is older, and damaged as well.
    let plan = fs::read_to_string(site.path("plan.toml")).unwrap();
    site.write("plan.toml", plan.replace("rpo   = \"24h\"", "rpo   = \"12h\""));
    site.run(["backup"]).success();
    let newest = bare.restore(&site.path("far"), &["--plan-to", "newest"]);
    assert_eq!(newest.code(), 0, "{newest}");
    assert!(newest.stdout().contains(&format!("there is also plan {name}")), "{newest}");
    damage_plans(&site.path("near")).retain(|plan| !plan.ends_with(damaged.file_name().unwrap()));
    let text = bare.restore(&site.path("near"), &[]).failure(1);
    assert!(text.contains("cannot be used"), "{text}");
}

#[test]
fn an_older_plan_is_used_in_the_place_of_a_damaged_one_and_that_is_said() {
    let site = site();
    let bare = Bare::of(&site);
    let older = fs::read_dir(site.path("far/plan")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&older).unwrap();
    let before = fs::read(site.path("plan.toml")).unwrap();
    let plan = String::from_utf8(before.clone()).unwrap();
    site.write("plan.toml", plan.replace("rpo   = \"24h\"", "rpo   = \"12h\""));
    site.run(["backup"]).success();
    damage_plans(&site.path("far"));
    lifeboat_tiers::durable::replace(&older, &whole, 0o600).unwrap();
    let ended = bare.restore(&site.path("far"), &[]);
    assert_eq!(ended.code(), 3, "{ended}");
    let said = ended.stderr();
    assert!(said.contains("cannot be used") && said.contains("is used in its place"), "{ended}");
    assert_eq!(fs::read(bare.environment.path("plan.toml")).unwrap(), before);
    let data = bare.restore(&site.path("far"), &["media", "--to", "out"]);
    assert_eq!(data.code(), 0, "the data is whole: {data}");
    assert!(data.stderr().contains("is used in its place"), "{data}");
}

#[test]
fn what_is_no_tier_of_the_keys_site_is_refused_with_what_to_do() {
    let (site, other) = (site(), site());
    let (bare, stranger) = (Bare::of(&site), Bare::of(&other));
    let far = site.path("far");
    let text = stranger.restore(&far, &[]).failure(12);
    assert!(text.contains("site `shop`") && text.contains("verifier is ed25519:"), "{text}");
    let empty = bare.environment.path("empty");
    lifeboat_tiers::durable::create_directories(&empty, 0o755).unwrap();
    let text = bare.restore(&empty, &[]).failure(1);
    assert!(text.contains("nothing lies at") && text.contains("`site.json`"), "{text}");
    let text = bare.restore(&site.path("gone"), &[]).failure(1);
    assert!(text.contains("does not exist") && text.contains("mount"), "{text}");
    let text = bare.restore(&site.path("far/repo"), &[]).failure(2);
    assert!(text.contains("the tier is the folder above"), "{text}");
    for folder in [&empty, &far] {
        assert!(!folder.join("state").exists());
    }
    assert!(!bare.environment.path("plan.toml").exists(), "nothing was written");
}

#[test]
fn a_tier_without_its_mark_says_that_and_is_restored_from_and_marked_again() {
    let site = site();
    let (bare, far) = (Bare::of(&site), site.path("far"));
    fs::remove_file(far.join("site.json")).unwrap();
    let data = bare.restore(&far, &["media", "--to", "out"]);
    assert_eq!(data.code(), 0, "{data}");
    let said = data.stderr();
    assert!(said.contains("`site.json`, is missing"), "{data}");
    assert!(said.contains("`lifeboat tiers mark far` puts it back"), "{data}");
    let brought = bare.restore(&far, &[]);
    assert_eq!(brought.code(), 0, "{brought}");
    assert!(bare.environment.path("plan.toml").exists());

    let checked = site.run(["check"]);
    assert!(checked.stdout().contains("lifeboat tiers mark TIER"), "{checked}");
    site.run(["tiers", "mark", "nowhere"]).failure(2);
    let marked = site.run(["tiers", "mark", "far"]).success();
    assert!(marked.contains("is marked as that again"), "{marked}");
    let again = site.run(["tiers", "mark", "far", "--json"]).json();
    assert_eq!((again["deed"].as_str(), again["site"].as_str()), (Some("was-there"), Some("shop")));
    site.run(["backup"]).success();
}

#[test]
fn a_bucket_that_does_not_answer_is_told_of() {
    let site = site();
    // Nobody listens on the port of a listener that was dropped.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let environment = Environment::new()
        .with("AWS_ACCESS_KEY_ID", "anybody")
        .with("AWS_SECRET_ACCESS_KEY", "anything")
        .with("AWS_REGION", "eu-central-1")
        .with("AWS_ENDPOINT_URL", &endpoint);
    let key = environment.write("key", fs::read(site.path("recovery.key")).unwrap());
    let key = key.display().to_string();
    let words = ["restore", "--from", "s3://shop-backups/site", "--key-file", &key];
    let text = environment.run(words).failure(1);
    assert!(text.contains("s3://shop-backups/site") && text.contains("refused"), "{text}");
}

#[test]
fn a_restore_says_what_and_where_to_or_where_from() {
    let environment = Environment::new();
    let refused = |words: &[&str]| environment.run(words).failure(2);
    assert!(refused(&["restore"]).contains("ASSET|TIME"));
    assert!(refused(&["restore", "media"]).contains("--in-place"));
    let from = ["restore", "--from", "/mnt", "--to", "out"];
    assert!(refused(&from).contains("ASSET|TIME"));
    assert!(
        refused(&["restore", "media", "--to", "out", "--plan-to", "etc"]).contains("--plan-to")
    );
}
