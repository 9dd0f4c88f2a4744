//! A site with a tier on disk and one in a bucket, against a server that speaks S3: the disk goes, the bucket gives back.

use std::collections::BTreeSet;
use std::fs;

use lifeboat_testing::emulators::{Bucket, Moto};
use lifeboat_testing::restic::Restic;

use crate::environment::Environment;

pub const BUCKET: &str = "shop-backups";

/// A home that knows the server, as the AWS tools are told of one.
pub fn home(moto: &Moto) -> Environment {
    home_at(moto.endpoint())
}

/// A home that knows a server by this endpoint.
pub fn home_at(endpoint: String) -> Environment {
    let who = Moto::credentials();
    Environment::new()
        .with("AWS_ACCESS_KEY_ID", who.key_id)
        .with("AWS_SECRET_ACCESS_KEY", who.secret)
        .with("AWS_REGION", Moto::REGION)
        .with("AWS_ENDPOINT_URL", endpoint)
}

pub fn init(environment: &Environment) {
    let near = format!("near={}", environment.path("near").display());
    let media = format!("media={}", environment.path("media").display());
    let far = format!("far=s3://{BUCKET}/site");
    let words = ["init", "--no-discovery", "--confirm-later", "--site", "shop"];
    let places = ["--tier", &near, "--tier", &far, "--asset-path", &media];
    environment.run(words.into_iter().chain(places)).success();
}

#[test]
fn a_bucket_gives_back_what_the_disk_lost() {
    let moto = Moto::start().unwrap();
    moto.make_bucket(BUCKET, Bucket::Versioned).unwrap();
    let environment = home(&moto);
    environment.write("media/a", "kept in a bucket");
    init(&environment);
    let runbook = "title = \"Fire\"\n[[steps]]\nid = \"media\"\nrestore = { asset = \"media\" }\n";
    environment.write("runbooks/fire.toml", runbook);
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let scenario = "\n[scenarios.fire]\nrunbook = \"runbooks/fire.toml\"\n";
    environment.write("plan.toml", format!("{plan}{scenario}"));
    environment.run(["backup"]).success();
    let tiers = environment.run(["tiers", "--json"]);
    assert_eq!(tiers.code(), 0, "{tiers}");
    let tiers = tiers.json();
    for tier in tiers["tiers"].as_array().unwrap() {
        assert!(tier["trouble"].is_null(), "{tier}");
        assert_eq!(tier["assets"][0]["lag"]["points"], 0, "{tier}");
    }

    // The store is on this machine, as the environment alone says.
    let status = environment.run(["status", "--json"]).json();
    let offsite = &status["assets"][0]["scorecard"]["offsite"];
    assert_eq!((&offsite["found"], &offsite["outcome"]), (&0.into(), &"failed".into()));

    let key = fs::read_to_string(environment.path("recovery.key")).unwrap();
    let restic = Restic::new(format!("s3:{}/{BUCKET}/site/repo", moto.endpoint()), key.trim());
    let mut check = restic.command();
    let who = Moto::credentials();
    check.env("AWS_ACCESS_KEY_ID", who.key_id).env("AWS_SECRET_ACCESS_KEY", who.secret);
    check.env("AWS_DEFAULT_REGION", Moto::REGION).args(["check", "--read-data", "--no-lock"]);
    let checked = check.output().unwrap();
    assert!(String::from_utf8_lossy(&checked.stdout).contains("no errors were found"));

    let bare = home(&moto);
    let key = bare.write("key", key).display().to_string();
    let from = format!("s3://{BUCKET}/site");
    bare.run(["restore", "--from", &from, "--key-file", &key]).success();
    for file in ["plan.toml", "runbooks/fire.toml"] {
        let [before, back] = [&environment, &bare].map(|home| fs::read(home.path(file)).unwrap());
        assert_eq!(back, before, "{file}");
    }
    let listed = bare.run(["catalog", "list", "--json"]).json();
    assert!(listed["records"].as_array().unwrap().len() > 5, "{listed:#}");
    let back = ["restore", "media", "--from", &from, "--key-file", &key, "--to", "out"];
    bare.run(back).success();
    let below = environment.path("media/a");
    let restored = bare.path("out").join(below.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(restored).unwrap(), "kept in a bucket");
}

/// What `status` says to do about a tier; nothing, if it is well.
fn told(environment: &Environment, tier: &str) -> Option<Vec<String>> {
    let status = environment.run(["status", "--json"]).json();
    let risks = status["risks"].as_array().unwrap();
    let own = risks.iter().find(|risk| risk["subject"] == tier)?;
    Some(words(own["command"].as_str().unwrap()))
}

fn words(command: &str) -> Vec<String> {
    command.strip_prefix("lifeboat ").unwrap().split(' ').map(str::to_owned).collect()
}

/// Follows what `status` says of a tier until that is well; returns the commands.
fn follow(environment: &Environment, tier: &str) -> Vec<String> {
    let mut given = Vec::new();
    while let Some(command) = told(environment, tier) {
        assert!(given.len() < 20, "it goes round: {given:?}");
        given.push(command.join(" "));
        let ended = environment.run(&command);
        if ended.code() == 0 {
            continue;
        }
        // What a verification finds says by itself how it is mended.
        let hints = ended.stdout();
        let hints = hints.lines().filter_map(|line| line.trim().strip_prefix("hint: "));
        let parts = hints.flat_map(|hint| hint.split('`').skip(1).step_by(2));
        let alone = |part: &&str| part.starts_with("lifeboat ") && !part.contains("let-go");
        let said: BTreeSet<_> = parts.filter(alone).map(words).collect();
        let is_first =
            |words: &&Vec<String>| words[..2] == ["repo", "repair"] && words[2] != "snapshots";
        let backup = vec!["backup".to_owned()];
        let (first, last) = (said.iter().filter(is_first), said.iter().filter(|it| !is_first(it)));
        for command in first.chain([&backup]).chain(last) {
            given.push(command.join(" "));
            let ended = environment.run(command);
            // A backup ends with 1 where something is still damaged, and a repair with 3 where something stays lost.
            assert!([0, 1, 3].contains(&ended.code()), "{command:?}: {ended}");
        }
    }
    given
}

#[test]
fn a_damaged_pack_in_a_bucket_is_healed_by_what_status_and_verify_say() {
    let moto = Moto::start().unwrap();
    moto.make_bucket(BUCKET, Bucket::Plain).unwrap();
    let environment = home(&moto);
    environment.write("media/a", "of the first day");
    init(&environment);
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let url = format!("url  = \"s3://{BUCKET}/site\"\n");
    // moto keeps everything in one process, so nobody has to wait for its listings.
    environment.write("plan.toml", plan.replace(&url, &format!("{url}prompt_listing = true\n")));
    environment.run(["backup"]).success();
    let packs = || {
        let listing = format!("/{BUCKET}?list-type=2&prefix=site/repo/data/");
        let listed = moto.ask("GET", &listing, &[]).unwrap();
        let keys = listed.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap());
        keys.map(str::to_owned).collect::<Vec<_>>()
    };
    let cut_short = |key: &String| {
        moto.ask("PUT", &format!("/{BUCKET}/{key}"), &[]).unwrap();
    };
    packs().iter().for_each(cut_short);
    assert_eq!(environment.run(["verify", "far"]).code(), 1);
    // All of it is on the disk still.
    assert_eq!(follow(&environment, "far"), ["backup", "verify far"]);
    assert_eq!(environment.run(["retention", "run", "far"]).code(), 0);
    let verified = environment.run(["verify", "far", "--json"]);
    assert_eq!(verified.code(), 0, "{verified}");
    assert_eq!(verified.json()["tiers"][0]["damaged_packs"], serde_json::json!([]));

    // Of these packs something is on no disk any more, and the other tier has it.
    let before = packs();
    environment.write("media/a", "of the second day");
    assert_eq!(environment.run(["backup"]).code(), 0);
    before.iter().for_each(cut_short);
    assert_eq!(environment.run(["verify", "far"]).code(), 1);
    let given = follow(&environment, "far");
    assert!(given.iter().any(|command| command.contains("tiers catch-up far")), "{given:?}");
    assert_eq!(environment.run(["verify", "far"]).code(), 0);
    let points = environment.run(["points", "--json"]).json();
    assert!(points["missing"].as_array().is_none_or(Vec::is_empty), "{points:#}");
}

#[test]
fn a_bucket_that_is_not_there_costs_its_own_tier_alone() {
    let moto = Moto::start().unwrap();
    let environment = home(&moto);
    environment.write("media/a", "a");
    init(&environment);
    let ended = environment.run(["backup", "--json"]);
    assert_ne!(ended.code(), 0, "{ended}");
    let report = ended.json();
    let stages = report["assets"][0]["stages"].as_array().unwrap();
    let at = |tier: &str| stages.iter().find(|stage| stage["tier"] == tier).unwrap();
    assert_eq!(at("near")["ending"], "succeeded", "{ended}");
    assert!(at("far")["message"].as_str().unwrap().contains(BUCKET), "{ended}");
}
