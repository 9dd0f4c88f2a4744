//! A site with a tier on disk and one in a bucket, against a server that speaks S3: the disk goes, the bucket gives back.

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
    let back = ["restore", "media", "--from", &from, "--key-file", &key, "--to", "out"];
    bare.run(back).success();
    let below = environment.path("media/a");
    let restored = bare.path("out").join(below.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(restored).unwrap(), "kept in a bucket");
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
