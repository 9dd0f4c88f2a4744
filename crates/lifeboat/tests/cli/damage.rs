//! Whoever does what `repo check` says of damage loses nothing that was whole, and ends with a repository
//! that stock restic accepts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_testing::restic::Restic;
use serde_json::Value;

use crate::environment::Environment;

const PASSWORD: &str = "correct horse battery staple";

/// How often somebody checks again and does what is said then.
const ROUNDS: usize = 4;

/// What happens to a repository.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// One byte of a blob in the largest pack is another one.
    Blob,
    /// The end of the largest pack is another one.
    Header,
    /// The end of the largest pack is not there any more.
    Cut,
    /// The largest pack is not there any more.
    Lost,
    /// One byte of a directory is another one.
    Directory,
    /// Packs with directories are not there any more.
    LostDirectories,
    /// An index file cannot be read.
    Index,
    /// No index file is there any more.
    Indexes,
}

const ALL: [Damage; 8] = [
    Damage::Blob,
    Damage::Header,
    Damage::Cut,
    Damage::Lost,
    Damage::Directory,
    Damage::LostDirectories,
    Damage::Index,
    Damage::Indexes,
];

/// What the person still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Everything that was backed up.
    There,
    /// Nothing.
    Gone,
}

struct Stored {
    environment: Environment,
    restic: Restic,
}

impl Stored {
    fn new() -> Self {
        let environment = Environment::new().with("RESTIC_PASSWORD", PASSWORD);
        environment.run(["repo", "init", "repo"]).success();
        for backup in 0..2 {
            for number in 0..12 {
                let bytes = noise(3000 + 977 * number, 1 + number + 100 * backup);
                environment.write(&format!("source/{backup}/{}/{number}", number % 3), bytes);
            }
            environment.run(["repo", "backup", "repo", "source"]).success();
        }
        let restic = Restic::new(environment.path("repo"), PASSWORD);
        copy(&environment.path("repo"), &environment.path("whole"));
        Self { environment, restic }
    }

    /// Makes the repository whole again.
    fn reset(&self) {
        fs::remove_dir_all(self.environment.path("repo")).unwrap();
        copy(&self.environment.path("whole"), &self.environment.path("repo"));
    }

    /// Returns the packs of one kind, the largest last.
    fn packs(&self, kind: &str) -> Vec<PathBuf> {
        let (root, mut packs) = (self.environment.path("repo/data"), BTreeSet::new());
        for file in self.files("repo/index") {
            let id = file.file_name().unwrap().to_str().unwrap().to_owned();
            let index = self.environment.run(["repo", "cat", "repo", "index", &id]).json();
            for pack in index["packs"].as_array().unwrap() {
                if pack["blobs"][0]["type"] == kind {
                    let id = pack["id"].as_str().unwrap();
                    packs.insert(root.join(&id[..2]).join(id));
                }
            }
        }
        let mut packs: Vec<_> = packs.into_iter().collect();
        packs.sort_by_key(|path| fs::metadata(path).unwrap().len());
        packs
    }

    fn files(&self, below: &str) -> Vec<PathBuf> {
        walk(&self.environment.path(below))
    }

    fn damage(&self, damage: Damage) {
        let largest = |kind| self.packs(kind).pop().unwrap();
        match damage {
            Damage::Blob => change(&largest("data"), |bytes| bytes[100] ^= 1),
            Damage::Directory => change(&largest("tree"), |bytes| bytes[40] ^= 1),
            Damage::Header => change(&largest("data"), |bytes| *bytes.last_mut().unwrap() ^= 1),
            Damage::Cut => change(&largest("data"), |bytes| bytes.truncate(bytes.len() / 2)),
            Damage::Lost => fs::remove_file(largest("data")).unwrap(),
            Damage::LostDirectories => fs::remove_file(largest("tree")).unwrap(),
            Damage::Index => {
                change(&self.files("repo/index")[0], |bytes| bytes.truncate(bytes.len() / 2));
            }
            Damage::Indexes => {
                self.files("repo/index").iter().for_each(|file| fs::remove_file(file).unwrap());
            }
        }
    }

    fn check(&self) -> Value {
        self.environment.run(["repo", "check", "repo", "--read-data", "--json"]).json()
    }

    /// Does what a check says, command by command.
    fn follow(&self, report: &Value, source: Source) {
        let mut done = BTreeSet::new();
        for finding in report["findings"].as_array().unwrap() {
            let Some(hint) = finding["hint"].as_str().filter(|_| finding["severity"] == "error")
            else {
                continue;
            };
            for (said, command) in commands(hint) {
                if source == Source::There && said.contains("back up") {
                    let ended = self.environment.run(["repo", "backup", "repo", "source"]);
                    assert_eq!(ended.code(), 0, "{ended}");
                }
                if done.insert(command.clone()) {
                    let ended = self.environment.run(command.split(' '));
                    assert!([0, 3].contains(&ended.code()), "`{command}`: {ended}");
                }
            }
        }
    }

    /// Restores the latest snapshot and returns what it has of the source.
    fn restored(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let target = self.environment.path("target");
        let _ = fs::remove_dir_all(&target);
        self.restic.restore("latest", &target).unwrap();
        contents(&target.join(self.environment.path("source").strip_prefix("/").unwrap()))
    }
}

/// Returns the commands that a hint names, each with what is said before it.
fn commands(hint: &str) -> Vec<(&str, String)> {
    let parts: Vec<&str> = hint.split('`').collect();
    let command = |text: &str| text.strip_prefix("lifeboat ").unwrap().to_owned();
    parts.chunks_exact(2).map(|pair| (pair[0], command(pair[1]))).collect()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    lifeboat_tiers::durable::replace(path, &bytes, 0o600).unwrap();
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path.strip_prefix(folder).unwrap().to_owned(), bytes)
    };
    let mut contents: Vec<_> = walk(folder).into_iter().map(read).collect();
    contents.sort();
    contents
}

fn noise(length: u32, seed: u32) -> Vec<u8> {
    let mix = |n: u32| (n ^ seed).wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes()[1];
    (0..length).map(mix).collect()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Follows what is said until the check passes; returns what the damage cost.
fn mend(stored: &Stored, damage: Damage, source: Source) -> Vec<String> {
    stored.reset();
    stored.damage(damage);
    let mut affected = Vec::new();
    for round in 0.. {
        let report = stored.check();
        if report["outcome"] == "passed" {
            assert!(round > 0, "{damage:?} was not found");
            break;
        }
        assert!(round < ROUNDS, "{damage:?} leads nowhere: {report:#}");
        for finding in report["findings"].as_array().unwrap() {
            let paths = finding["affected"].as_array().unwrap().iter();
            affected.extend(paths.map(|path| path.as_str().unwrap().to_owned()));
        }
        stored.follow(&report, source);
    }
    stored.restic.check_read_data().unwrap();
    affected
}

#[test]
fn what_a_check_says_heals_all_that_is_still_on_the_disk() {
    let stored = Stored::new();
    let source = contents(&stored.environment.path("source"));
    for damage in ALL {
        mend(&stored, damage, Source::There);
        assert!(stored.restored() == source, "{damage:?}: something is lost");
    }
}

#[test]
fn what_a_check_says_gives_up_only_what_is_lost() {
    let stored = Stored::new();
    for damage in ALL {
        let affected = mend(&stored, damage, Source::Gone);
        let is_whole = matches!(damage, Damage::Header | Damage::Index | Damage::Indexes);
        if matches!(damage, Damage::Directory | Damage::LostDirectories) {
            continue; // What lay below it is not in the snapshot any more.
        }
        let restored = stored.restored();
        for (path, bytes) in contents(&stored.environment.path("source")) {
            let name = format!("source/{}", path.display());
            let may_lack = !is_whole && affected.iter().any(|path| path.ends_with(&name));
            let is_there = restored.contains(&(path, bytes));
            assert!(is_there || may_lack, "{damage:?}: {name} is lost");
        }
    }
}

#[test]
fn packs_are_repaired_by_name_or_all_are_read() {
    let stored = Stored::new();
    stored.damage(Damage::Blob);
    let command = ["repo", "repair", "packs", "repo"];
    let refused = stored.environment.run(command);
    assert_eq!(refused.code(), 2, "{refused}");
    let with = |more: &[&str]| {
        let arguments: Vec<&str> = command.iter().chain(more).copied().collect();
        stored.environment.run(arguments)
    };
    let dry = with(&["--read-data", "--dry-run", "--json"]);
    assert_eq!((dry.code(), dry.json()["dry_run"] == true), (3, true), "{dry}");
    let id = dry.json()["repaired_packs"][0]["id"].as_str().unwrap().to_owned();
    let done = with(&[&id[..8], "--json"]);
    assert_eq!(done.code(), 3, "{done}");
    assert_eq!(done.json()["schema"], "lifeboat.repo.repair.packs/1");
    assert_eq!(done.json()["repaired_packs"], dry.json()["repaired_packs"]);
    let again = with(&["--read-data"]).success();
    assert!(again.contains("0 damaged or gone"), "{again}");
    stored.environment.run(["repo", "backup", "repo", "source"]).success();
    stored.restic.check_read_data().unwrap();
}
