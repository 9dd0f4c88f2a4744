//! The whole way, with a real server: a plan, a backup, a disaster, a recovery that is proven equal.

use std::fs;
use std::path::PathBuf;

use lifeboat_testing::postgres::Cluster;
use lifeboat_testing::restic::Restic;
use lifeboat_testing::tree::{self, Aspect, Sample, TreeState};
use serde_json::Value;

use crate::environment::Environment;

/// A site with a database and files, whose plan `lifeboat init` wrote.
struct Site {
    environment: Environment,
    cluster: Cluster,
    media: PathBuf,
}

const TABLES: &str = "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE orders (id int PRIMARY KEY, owner int NOT NULL REFERENCES users, paid numeric);
    INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 500) n;
    INSERT INTO orders SELECT n, 1 + n % 500, n / 7.0 FROM generate_series(1, 2000) n;";

const CONTENT: &str = "SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM (
    SELECT 'u', id, name, NULL FROM users UNION ALL SELECT 'o', id, owner::text, paid FROM orders) t";

impl Site {
    fn new() -> Self {
        let environment = Environment::new();
        let cluster = Cluster::start().unwrap();
        cluster.create_database("shop").unwrap();
        cluster.psql("shop", TABLES).unwrap();
        let media = environment.path("media");
        Sample::everything(11).files(30).build(&media).unwrap();
        let site = Self { environment, cluster, media };
        let database = format!("database={}", site.cluster.connect_string("shop"));
        let path = format!("media={}", site.media.display());
        let tier = |name: &str| format!("{name}={}", site.environment.path(name).display());
        let (primary, secondary) = (tier("primary"), tier("secondary"));
        let made = site.environment.run([
            "init",
            "--no-discovery",
            "--confirm-later",
            "--site",
            "shop",
            "--tier",
            &primary,
            "--tier",
            &secondary,
            "--database",
            &database,
            "--asset-path",
            &path,
        ]);
        assert_eq!(made.code(), 0, "{made}");
        site
    }

    fn confirm_key(&self) {
        let key = fs::read_to_string(self.environment.path("recovery.key")).unwrap();
        let copy = self.environment.write("stick/recovery.key", key);
        self.environment.run(["key", "confirm", "--from", copy.to_str().unwrap()]).success();
    }

    fn backup(&self) -> Value {
        let ended = self.environment.run(["backup", "--json"]);
        assert_eq!(ended.code(), 0, "{ended}");
        ended.json()
    }

    fn content(&self) -> String {
        self.cluster.psql("shop", CONTENT).unwrap()
    }

    fn files(&self) -> TreeState {
        tree::capture(&self.media).unwrap()
    }

    fn key(&self) -> String {
        fs::read_to_string(self.environment.path("recovery.key")).unwrap().trim().to_owned()
    }
}

fn stored_bytes(report: &Value, asset: &str) -> u64 {
    let assets = report["assets"].as_array().unwrap();
    let found = assets.iter().find(|each| each["asset"] == asset).unwrap();
    found["counts"]["bytes_stored"].as_u64().unwrap()
}

#[test]
fn what_was_destroyed_comes_back_equal() {
    let site = Site::new();
    let environment = &site.environment;
    let check = || environment.run(["check", "--json"]);
    assert_eq!(check().code(), 1, "the key was not confirmed");
    site.confirm_key();
    assert_eq!(check().code(), 0, "the first backup can set the tiers up: {}", check());

    let first = site.backup();
    assert_eq!(first["schema"], "lifeboat.backup/1");
    assert_eq!(check().code(), 0, "{}", check());
    let second = site.backup();
    let (before, after) = (stored_bytes(&first, "media"), stored_bytes(&second, "media"));
    assert!(after * 10 < before, "the second backup stores only what changed: {after} of {before}");
    let status = environment.run(["status", "--check", "--json"]);
    assert_eq!((status.code(), &status.json()["verdict"]), (0, &"yes".into()), "{status}");
    let points = environment.run(["points", "--json"]).json();
    assert_eq!(points["points"].as_array().unwrap().len(), 2, "{points:#}");
    environment.run(["verify"]).success();

    let (content, files) = (site.content(), site.files());
    site.cluster.psql("postgres", "DROP DATABASE shop").unwrap();
    fs::remove_dir_all(&site.media).unwrap();
    for asset in ["database", "media"] {
        let restored = environment.run(["restore", asset, "--in-place", "--confirm", "shop"]);
        assert_eq!(restored.code(), 0, "{restored}");
        assert!(restored.stderr().contains("where nothing is in the way"), "{restored}");
    }
    assert_eq!(site.content(), content);
    let differences = files.differences(&site.files(), &[Aspect::Holes]);
    assert!(differences.is_empty(), "{differences:?}");

    // Stock restic opens the same tier with nothing but the recovery key.
    let password = environment.run(["key", "export", "--restic"]).success();
    let restic = Restic::new(environment.path("primary/repo"), password.trim());
    assert!(restic.snapshots().unwrap().len() >= 4);
    restic.check_read_data().unwrap();
}

#[test]
fn going_back_replaces_only_after_the_name_was_given() {
    let site = Site::new();
    site.backup();
    let points = site.environment.run(["points", "--json"]).json();
    let point = points["points"][0]["name"].as_str().unwrap().to_owned();
    let before = site.content();
    site.cluster.psql("shop", "UPDATE users SET name = 'gone'").unwrap();
    let changed = site.content();

    let back = |more: &[&str]| {
        let arguments = ["restore", point.as_str(), "--database-only"];
        site.environment.run(arguments.iter().chain(more))
    };
    let text = back(&[]).failure(2);
    assert!(text.contains("--confirm shop") && text.contains("replaces"), "{text}");
    back(&["--confirm", "another"]).failure(2);
    assert_eq!(site.content(), changed, "nothing was replaced");
    let done = back(&["--confirm", "shop", "--json"]);
    assert_eq!(done.code(), 0, "{done}");
    assert_eq!(done.json()["schema"], "lifeboat.restore/1");
    assert_eq!(site.content(), before);
    let databases = site.cluster.psql("postgres", "SELECT count(*) FROM pg_database").unwrap();
    assert_eq!(databases, "5", "the old database is kept beside the three of every cluster");
}

#[test]
fn a_bare_machine_needs_a_tier_and_the_key() {
    let site = Site::new();
    site.backup();
    let bare = Environment::new();
    let key = bare.write("key", site.key());
    let tier = site.environment.path("secondary").display().to_string();
    let restored = bare.run([
        "restore",
        "media",
        "--from",
        &tier,
        "--key-file",
        key.to_str().unwrap(),
        "--to",
        "out",
    ]);
    assert_eq!(restored.code(), 0, "{restored}");
    let below = bare.path("out").join(site.media.strip_prefix("/").unwrap());
    let differences = site.files().differences(&tree::capture(below).unwrap(), &[Aspect::Holes]);
    assert!(differences.is_empty(), "{differences:?}");
    let nothing = bare.run(["restore", "media", "--from", &tier, "--to", "again"]);
    let text = nothing.failure(2);
    assert!(text.contains("recovery key") && text.contains("--key-file -"), "{text}");
}

#[test]
fn the_tier_that_is_named_is_the_one_that_is_read() {
    let site = Site::new();
    site.backup();
    let environment = &site.environment;
    // The plan's first tier can be reached, and its data is damaged.
    let packs = environment.path("primary/repo/data");
    fs::remove_dir_all(&packs).unwrap();
    fs::create_dir(&packs).unwrap();
    let bare = Environment::new();
    let key = bare.write("key", site.key()).display().to_string();
    let from = |tier: &str, to: &str| {
        let tier = environment.path(tier).display().to_string();
        bare.run(["restore", "media", "--from", &tier, "--key-file", &key, "--to", to])
    };
    let good = from("secondary", "good");
    assert_eq!(good.code(), 0, "{good}");
    assert!(good.stdout().contains("from secondary"), "{good}");
    let local = environment.run(["restore", "media", "--to", "local"]);
    assert_ne!(local.code(), 0, "{local}");
    assert!(format!("{local}").contains("--tier secondary --to DIR"), "{local}");
    // What that met is remembered: the next one asks another tier first.
    let again = environment.run(["restore", "media", "--to", "again"]);
    assert!(again.success().contains("from secondary"), "{again}");
    let bad = from("primary", "bad");
    assert_ne!(bad.code(), 0, "{bad}");
    assert!(format!("{bad}").contains("lifeboat restore media --at "), "{bad}");
    assert!(format!("{bad}").contains("secondary --to DIR"), "{bad}");
}

#[test]
fn the_catalog_comes_back_from_the_tiers() {
    let site = Site::new();
    site.confirm_key();
    site.backup();
    let environment = &site.environment;
    environment.run(["catalog", "verify"]).success();
    let status = |environment: &Environment| {
        let mut document = environment.run(["status", "--json"]).json();
        // What moves with the clock is not part of the comparison.
        document["now"] = Value::Null;
        for asset in document["assets"].as_array_mut().unwrap() {
            asset["exposure_s"] = Value::Null;
            for tier in asset["tiers"].as_array_mut().unwrap() {
                tier["exposure_s"] = Value::Null;
            }
        }
        document
    };
    let before = status(environment);
    fs::remove_dir_all(environment.path("state")).unwrap();
    let lost = environment.run(["status"]);
    let told = "no record on this host of what may lie on primary, secondary";
    assert!(lost.stdout().contains(told), "{lost}");
    assert!(lost.stdout().contains("lifeboat catalog rebuild"), "{lost}");
    assert!(!lost.stdout().contains("never captured"), "{lost}");
    assert_eq!(environment.run(["status", "--json"]).json()["verdict"], "unknown");
    environment.run(["catalog", "rebuild"]).success();
    assert_eq!(status(environment), before);
    let listed = environment.run(["catalog", "list", "--kind", "asset-backed-up", "--json"]).json();
    let record = listed["records"][0]["id"].as_str().unwrap();
    let shown = environment.run(["catalog", "show", &record[..10], "--json"]).json();
    assert_eq!(shown["record"]["body"]["kind"], "asset-backed-up", "{shown:#}");
}

#[test]
fn the_plans_own_key_file_confirms_nothing() {
    let site = Site::new();
    let refused = site.environment.run(["key", "confirm", "--from", "recovery.key"]);
    assert!(refused.failure(2).contains("lost with this host"), "{refused}");
    site.confirm_key();
}

#[test]
fn a_record_that_was_removed_is_missed_and_not_put_back_by_looking() {
    let site = Site::new();
    site.backup();
    let environment = &site.environment;
    let writers = fs::read_dir(environment.path("primary/catalog")).unwrap();
    let writer = writers.map(|writer| writer.unwrap().path()).next().unwrap();
    let mut records: Vec<_> =
        fs::read_dir(&writer).unwrap().map(|record| record.unwrap().path()).collect();
    records.sort();
    // The last ones: their loss leaves no gap in the chain.
    let last = records.pop().unwrap();
    fs::remove_file(&last).unwrap();
    for _ in 0..2 {
        let verified = environment.run(["catalog", "verify"]);
        assert_eq!(verified.code(), 1, "{verified}");
        assert!(verified.stdout().contains("primary lacks 1 record known elsewhere"), "{verified}");
        assert!(!last.exists());
    }
    fs::remove_dir_all(environment.path("secondary")).unwrap();
    let verified = environment.run(["catalog", "verify"]);
    assert!(verified.stdout().contains("secondary: not reached"), "{verified}");
}

#[test]
fn what_is_there_is_never_overwritten_by_init() {
    let site = Site::new();
    let (plan, key) = (site.environment.path("plan.toml"), site.environment.path("recovery.key"));
    let before = (fs::read(&plan).unwrap(), fs::read(&key).unwrap());
    let again = ["init", "--no-discovery", "--asset-path", "media=/srv"];
    let text = site.environment.run(again).failure(1);
    assert!(text.contains("plan.toml") && text.contains("--plan"), "{text}");
    let other = site.environment.path("other.toml").display().to_string();
    let text = site.environment.run(again.iter().chain(&["--plan", &other])).failure(1);
    assert!(text.contains("recovery.key") && text.contains("--key-file"), "{text}");
    assert_eq!((fs::read(&plan).unwrap(), fs::read(&key).unwrap()), before);
    assert!(!site.environment.path("other.toml").exists(), "a plan without its key is not written");
}
