//! `repo forget`, `prune`, `repair` and `copy` as a person uses them, judged by stock restic.

use std::fs;
use std::path::PathBuf;

use lifeboat_testing::restic::Restic;
use lifeboat_testing::tree::Sample;

use crate::environment::Environment;

const PASSWORD: &str = "correct horse battery staple";

/// A repository with three snapshots of a source that changes.
struct Stored {
    environment: Environment,
    restic: Restic,
}

impl Stored {
    fn new() -> Self {
        let environment = Environment::new().with("RESTIC_PASSWORD", PASSWORD);
        environment.run(["repo", "init", "repo"]).success();
        let restic = Restic::new(environment.path("repo"), PASSWORD);
        let source = environment.path("source");
        for seed in 0..3 {
            if source.exists() {
                fs::remove_dir_all(&source).unwrap();
            }
            Sample::new(seed).files(10).build(&source).unwrap();
            restic.backup(&source).unwrap();
        }
        Self { environment, restic }
    }

    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let folder = self.environment.path("repo").join(kind);
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn forget_with_prune_frees_what_its_dry_run_said() {
    let stored = Stored::new();
    let command = ["repo", "forget", "repo", "--keep-last", "1", "--prune", "--json"];
    let dry = stored.environment.run(command.iter().copied().chain(["--dry-run"])).json();
    assert_eq!(stored.restic.snapshots().unwrap().len(), 3);
    let done = stored.environment.run(command).json();
    assert_eq!(done["schema"], "lifeboat.repo.forget/1");
    let group = &done["groups"][0];
    assert_eq!(group["keep"][0]["reasons"][0], "last snapshot");
    assert_eq!(group["remove"].as_array().unwrap().len(), 2);
    assert_eq!(dry["groups"], done["groups"]);
    assert_eq!(dry["prune"]["packs"], done["prune"]["packs"]);
    assert!(done["prune"]["unused"]["count"].as_u64().unwrap() > 0, "{done:#}");
    stored.restic.check_read_data().unwrap();
    assert_eq!(stored.restic.snapshots().unwrap().len(), 1);
    let text = stored.environment.run(["repo", "prune", "repo", "-n"]).success();
    assert!(text.contains("nothing was changed"), "{text}");
}

#[test]
fn snapshots_are_forgotten_by_their_ids_and_an_empty_policy_forgets_none() {
    let stored = Stored::new();
    let refused = stored.environment.run(["repo", "forget", "repo"]).failure(2);
    assert!(refused.contains("keep"), "{refused}");
    let unlocked = ["repo", "forget", "repo", "--keep-last", "1", "--no-lock"];
    stored.environment.run(unlocked).failure(2);
    stored.environment.run(["repo", "forget", "repo", "latest"]).success();
    assert_eq!(stored.restic.snapshots().unwrap().len(), 2);
    let all = ["repo", "forget", "repo", "-l", "-1", "--group-by", ""];
    stored.environment.run(all).success();
    assert_eq!(stored.restic.snapshots().unwrap().len(), 2);
    let other = ["repo", "forget", "repo", "--unsafe-allow-remove-all", "--tag", ""];
    stored.environment.run(other).success();
    assert_eq!(stored.restic.snapshots().unwrap().len(), 0);
}

#[test]
fn a_lost_index_and_lost_data_are_repaired() {
    let stored = Stored::new();
    for file in stored.files("index") {
        fs::remove_file(file).unwrap();
    }
    let repaired = stored.environment.run(["repo", "repair", "index", "repo", "--json"]).json();
    assert_eq!(repaired["schema"], "lifeboat.repo.repair.index/1");
    assert!(!repaired["added_packs"].as_array().unwrap().is_empty(), "{repaired:#}");
    stored.restic.check_read_data().unwrap();

    let largest = walk(stored.environment.path("repo/data"));
    let largest = largest.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len());
    fs::remove_file(largest.unwrap()).unwrap();
    stored.environment.run(["repo", "repair", "index", "repo"]).success();
    let command = ["repo", "repair", "snapshots", "repo", "--forget"];
    let text = stored.environment.run(command.iter().copied().chain(["-n"])).success();
    assert!(text.contains("would be repaired") && text.contains("source/"), "{text}");
    let text = stored.environment.run(command).success();
    assert!(text.contains("was repaired as"), "{text}");
    stored.restic.check_read_data().unwrap();
    assert_eq!(stored.restic.snapshots().unwrap().len(), 3);
}

fn walk(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(path) } else { vec![path] }).collect()
}

#[test]
fn snapshots_are_copied_by_condition() {
    let stored = Stored::new();
    let environment = &stored.environment;
    environment.run(["repo", "init", "other"]).success();
    let copy = ["repo", "copy", "repo", "--to", "other", "--json"];
    let none = environment.run(copy.iter().copied().chain(["--host", "nobody"])).json();
    assert_eq!(none["snapshots"].as_array().unwrap().len(), 0);
    let all = environment.run(copy);
    assert_eq!(all.json()["snapshots"].as_array().unwrap().len(), 3, "{all}");
    assert!(all.stderr().contains("cut files in different places"), "{all}");
    let other = Restic::new(environment.path("other"), PASSWORD);
    other.check_read_data().unwrap();
    let again = environment.run(copy).json();
    assert!(again["snapshots"].as_array().unwrap().iter().all(|s| s["was_there"] == true));
}

#[test]
fn what_is_whole_is_copied_past_what_is_damaged() {
    let stored = Stored::new();
    let environment = &stored.environment;
    let from = ["repo", "init", "other", "--from-repo", "repo", "--copy-chunker-params"];
    environment.run(from).success();
    // Each snapshot has files of its own; of one of them the pack is lost, another one is cut off.
    let largest = walk(environment.path("repo/data"));
    let largest = largest.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    fs::remove_file(largest).unwrap();
    let copy = ["repo", "copy", "repo", "--to", "other", "--json"];
    let copied = environment.run(copy);
    assert_eq!(copied.code(), 3, "{copied}");
    assert!(!copied.stderr().contains("cut files in different places"), "{copied}");
    let (there, failed) = (copied.json()["snapshots"].clone(), copied.json()["failed"].clone());
    assert_eq!((there.as_array().unwrap().len(), failed.as_array().unwrap().len()), (2, 1));
    assert!(failed[0]["problem"].as_str().unwrap().contains("missing"), "{copied}");
    let text = environment.run(&copy[..5]);
    assert_eq!(text.code(), 3, "{text}");
    assert!(text.stdout().contains("not copied: snapshot "), "{text}");
    let snapshot = stored.files("snapshots").remove(0);
    let bytes = fs::read(&snapshot).unwrap();
    lifeboat_tiers::durable::replace(&snapshot, &bytes[1..], 0o600).unwrap();
    let again = environment.run(copy).json();
    assert!(!again["failed"].as_array().unwrap().is_empty(), "{again:#}");
    let other = Restic::new(environment.path("other"), PASSWORD);
    other.check_read_data().unwrap();
    assert_eq!(other.snapshots().unwrap().len(), 2);
}
