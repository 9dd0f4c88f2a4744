//! `lifeboat repo backup`: what it takes in, and that stock restic goes on from there.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_model::{Clock, Secret, SystemClock};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::{InitOptions, Repository, Store};
use lifeboat_testing::restic::Restic;
use lifeboat_tiers::{LocalTier, ObjectPrefix};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::environment::Environment;

const PASSWORD: &str = "correct horse battery staple";

/// An empty repository, and a home in which trees are made.
pub(crate) struct Site {
    pub(crate) environment: Environment,
    pub(crate) restic: Restic,
}

impl Site {
    pub(crate) fn new() -> Self {
        let environment = Environment::new().with("RESTIC_PASSWORD", PASSWORD);
        // With a key that is cheap to derive, unlike the one that a password of a person's gets.
        let runtime = Runtime::new().unwrap();
        let tier = Arc::new(LocalTier::create(&environment.path("repo")).unwrap());
        let store = Store::new(tier, runtime.handle().clone(), ObjectPrefix::ALL);
        let origin = KeyOrigin {
            created: SystemClock.now(),
            username: "root".to_owned(),
            hostname: "host".to_owned(),
        };
        let options = InitOptions {
            password: &Secret::new(PASSWORD),
            kdf: KdfParameters::RECOVERY_KEY,
            master_key: None,
            polynomial: None,
            origin,
        };
        Repository::init(store, &options).unwrap();
        let restic = Restic::new(environment.path("repo"), PASSWORD);
        Self { environment, restic }
    }

    /// Backs up and returns the document.
    #[track_caller]
    pub(crate) fn backup(&self, arguments: &[&str]) -> Value {
        let ended =
            self.environment.run(["repo", "backup", "repo", "--json"].iter().chain(arguments));
        ended.success();
        ended.json()
    }

    /// Returns the paths of the latest snapshot below `root`, which is left off.
    pub(crate) fn stored(&self, root: &str) -> Vec<String> {
        let root = self.environment.path(root);
        let entries = self.restic.ls("latest").unwrap();
        let paths = entries.iter().filter_map(|entry| entry["path"].as_str());
        let below = paths
            .filter_map(|path| PathBuf::from(path).strip_prefix(&root).map(PathBuf::from).ok());
        below.map(|path| path.display().to_string()).filter(|path| !path.is_empty()).collect()
    }
}

#[test]
fn a_snapshot_is_made_named_and_read_by_restic_which_goes_on_from_it() {
    let site = Site::new();
    site.environment.write("tree/a", "first");
    site.environment.write("tree/below/b", "second");
    let made =
        site.backup(&["tree", "--tag", "one,two", "--host", "h", "--time", "2026-01-02 03:04:05"]);
    assert_eq!(made["schema"], "lifeboat.repo.backup/1");
    assert_eq!(
        (&made["counts"]["files_new"], &made["skipped"]),
        (&2.into(), &Value::Array(vec![]))
    );
    let snapshots = site.restic.snapshots().unwrap();
    assert_eq!(snapshots[0]["tags"], serde_json::json!(["one", "two"]));
    assert_eq!(
        (&snapshots[0]["hostname"], &snapshots[0]["time"]),
        (&"h".into(), &"2026-01-02T03:04:05Z".into())
    );
    assert_eq!(site.stored("tree"), ["a", "below", "below/b"]);

    let tree = site.environment.path("tree");
    let tree = tree.to_str().unwrap();
    let again = site.restic.run(["backup", "--json", "--host", "h", tree]).unwrap();
    let text = String::from_utf8(again.stdout).unwrap();
    let summary: Value = serde_json::from_str(text.trim().lines().last().unwrap()).unwrap();
    assert_eq!(
        (&summary["files_unmodified"], &summary["data_blobs"]),
        (&2.into(), &0.into()),
        "{summary}"
    );
    let back = site.backup(&["tree", "--host", "h"]);
    assert_eq!(back["counts"]["files_unmodified"], 2, "{back}");
    let forced = site.backup(&["tree", "--host", "h", "--force"]);
    assert_eq!((&forced["counts"]["files_new"], &forced["parent"]), (&2.into(), &Value::Null));
    let parent = forced["snapshot"].as_str().unwrap();
    let child = site.backup(&["tree", "--host", "other", "--parent", parent]);
    assert_eq!(
        (&child["parent"], &child["counts"]["files_unmodified"]),
        (&forced["snapshot"], &2.into())
    );
    site.restic.check_read_data().unwrap();
}

#[test]
fn what_cannot_be_taken_in_ends_with_its_code() {
    let site = Site::new();
    site.environment.write("tree/a", "first");
    let run = |arguments: &[&str]| {
        site.environment.run(["repo", "backup", "repo"].iter().chain(arguments))
    };
    let part = run(&["tree", "gone"]);
    assert_eq!(part.code(), 3, "{part}");
    assert!(part.stdout().contains("gone: it is not there"), "{part}");
    assert!(run(&["gone"]).failure(1).contains("nothing to back up"));
    assert!(run(&["tree", "--exclude", "[a"]).failure(2).contains("[a"));
    assert!(run(&["tree", "--no-lock"]).failure(2).contains("--no-lock"));
    run(&[]).failure(2);
    fs::remove_dir_all(site.environment.path("repo")).unwrap();
    run(&["tree"]).failure(10);
}
