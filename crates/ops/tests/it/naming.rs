//! Which of a plan's tiers an address means.

use std::os::unix::fs::symlink;

use lifeboat_model::Classify as _;
use lifeboat_ops::wire::addresses::Address;
use lifeboat_ops::{OpsError, Site};

use crate::ground::Ground;

/// A plan with a tier of every kind.
const TIERS: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
rpo = "24h"
[tiers.disk]
url = "file://HOME/first"
[tiers.aws]
url = "s3://copies/site"
[tiers.minio]
url = "s3://others"
endpoint = "https://store.example.org"
[tiers.azure]
url = "azure://account/container/site"
[tiers.server]
url = "sftp://u@host/srv/site"
[tiers.port]
url = "sftp://host:2222/~/site"
[schedules.daily]
cron = "0 2 * * *"
assets = ["media"]
to = "*"
"#;

fn named(site: &Site, address: &str) -> Result<String, OpsError> {
    site.tier_at(&Address::parse(address)?).map(|name| name.to_string())
}

#[test]
fn a_tier_is_named_by_every_spelling_of_its_address() {
    let ground = Ground::new();
    let site = ground.site(TIERS);
    let home = ground.home.path().display();
    symlink(ground.path("first"), ground.path("link")).unwrap();
    ground.write("first/mark", "");
    for (address, tier) in [
        (format!("{home}/first"), "disk"),
        (format!("{home}/first/"), "disk"),
        (format!("{home}//./first"), "disk"),
        (format!("file://{home}/first/"), "disk"),
        (format!("local:{home}/first"), "disk"),
        (format!("{home}/link"), "disk"),
        ("s3://copies/site".to_owned(), "aws"),
        ("s3://copies/site/".to_owned(), "aws"),
        ("s3:s3.eu-central-1.amazonaws.com/copies/site".to_owned(), "aws"),
        ("s3://others".to_owned(), "minio"),
        ("s3://others/".to_owned(), "minio"),
        ("s3:store.example.org/others".to_owned(), "minio"),
        ("s3:https://STORE.example.org:443/others/".to_owned(), "minio"),
        ("azure://account/container/site/".to_owned(), "azure"),
        ("sftp://u@host/srv/site/".to_owned(), "server"),
        ("sftp://u@Host:22//srv/site".to_owned(), "server"),
        ("sftp:host:/srv/site".to_owned(), "server"),
        ("sftp://host:2222/~/site".to_owned(), "port"),
        ("sftp://v@host:2222/~/site".to_owned(), "port"),
    ] {
        let found = named(&site, &address);
        assert_eq!(found.unwrap_or_else(|error| panic!("{address}: {error}")), tier, "{address}");
    }
}

#[test]
fn an_address_of_no_tier_is_refused_with_those_that_there_are() {
    let ground = Ground::new();
    let site = ground.site(TIERS);
    let home = ground.home.path().display();
    for address in [
        format!("{home}/first/repo"),
        format!("{home}/second"),
        "s3://copies".to_owned(),
        "s3:store.example.org/copies/site".to_owned(),
        "s3:http://store.example.org/others".to_owned(),
        "azure://account/container".to_owned(),
        "sftp://v@host/srv/site".to_owned(),
        "sftp://u@host:2222/srv/site".to_owned(),
        "sftp://host/~/site".to_owned(),
    ] {
        let error = named(&site, &address).unwrap_err();
        assert!(matches!(error, OpsError::NoTierAt { .. }), "{address}: {error}");
        let hint = error.hint().unwrap().to_string();
        for part in
            ["aws at s3://copies/site", "disk at file://", "restore --from", "lifeboat repo"]
        {
            assert!(hint.contains(part), "{hint}");
        }
    }
}

#[test]
fn a_password_in_an_address_is_not_repeated() {
    for address in [
        "s3://user:hunter2@bucket",
        "sftp://user:hunter2@host/srv",
        "s3:https://user:hunter2@store/bucket",
        "azure://user:hunter2@account/container",
    ] {
        let error = Address::parse(address).unwrap_err();
        let told = format!("{error} {:?}", error.hint());
        assert!(!told.contains("hunter2"), "{told}");
    }
}
