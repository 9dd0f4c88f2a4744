//! The plumbing on repositories of both makers: what one wrote, the other reads.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lifeboat_model::{Cancel, Clock, Secret, SystemClock};
use lifeboat_repository::lock::{LockGuard, LockKind, LockOptions};
use lifeboat_repository::{OpenOptions, Repository, Store};
use lifeboat_testing::restic::Restic;
use lifeboat_testing::tree::{self, Aspect, Sample};
use lifeboat_tiers::{LocalTier, ObjectPrefix, durable};
use tokio::runtime::Runtime;

use crate::environment::Environment;

const PASSWORD: &str = "correct horse battery staple";

fn environment() -> Environment {
    Environment::new().with("RESTIC_PASSWORD", PASSWORD)
}

/// Makes a repository by lifeboat's hand and a snapshot of a sample tree by restic's.
struct Stored {
    environment: Environment,
    restic: Restic,
    source: PathBuf,
    snapshot: String,
}

impl Stored {
    fn new(seed: u64) -> Self {
        let environment = environment();
        environment.run(["repo", "init", "repo"]).success();
        let source = environment.path("source");
        Sample::everything(seed).files(20).build(&source).unwrap();
        let restic = Restic::new(environment.path("repo"), PASSWORD);
        let snapshot = restic.backup(&source).unwrap();
        Self { environment, restic, source, snapshot }
    }

    /// Returns the files of the repository's folder `kind`.
    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.environment.path("repo").join(kind)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() { folders.push(entry) } else { found.push(entry) }
            }
        }
        found
    }
}

/// Changes one byte in the middle of a file that may be read-only.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    durable::replace(path, &bytes, 0o600).unwrap();
}

#[test]
fn what_restic_stored_comes_back() {
    let stored = Stored::new(7);
    let environment = &stored.environment;
    let listed = environment.run(["repo", "snapshots", "repo", "--json"]).json();
    assert_eq!(listed["schema"], "lifeboat.repo.snapshots/1");
    let id = listed["snapshots"][0]["id"].as_str().unwrap();
    assert!(id.starts_with(&stored.snapshot), "{listed}");

    let restored = environment.run(["repo", "restore", "repo", "--to", "out", "--json"]);
    assert_eq!(restored.code(), 0, "{restored}");
    let below = environment.path("out").join(stored.source.strip_prefix("/").unwrap());
    let (before, after) = (tree::capture(&stored.source), tree::capture(&below));
    // Holes come back as far as they fill whole chunks.
    let differences = before.unwrap().differences(&after.unwrap(), &[Aspect::Holes]);
    assert!(differences.is_empty(), "{differences:?}");

    environment.run(["repo", "check", "repo", "--read-data"]).success();
    stored.restic.check_read_data().unwrap();
    assert!(stored.files("locks").is_empty(), "every lock was given back");
}

#[test]
fn a_snapshot_can_be_looked_into() {
    let environment = environment();
    environment.run(["repo", "init", "repo"]).success();
    environment.write("source/notes/one.txt", "first\n");
    let restic = Restic::new(environment.path("repo"), PASSWORD);
    let source = environment.path("source");
    restic.backup(&source).unwrap();

    let listed = environment.run([
        OsStr::new("repo"),
        "ls".as_ref(),
        "repo".as_ref(),
        "latest".as_ref(),
        source.as_ref(),
    ]);
    let expected = "[HOME]/source/notes\n[HOME]/source/notes/one.txt\n";
    assert_eq!(listed.success(), expected);
    let file = source.join("notes/one.txt");
    let printed =
        environment.run(["repo", "cat", "repo", "file", "latest", file.to_str().unwrap()]);
    assert_eq!(printed.success(), "first\n");
    let config = environment.run(["repo", "cat", "repo", "config", "--json"]).json();
    assert_eq!(
        (&config["schema"], &config["object"]["version"]),
        (&"lifeboat.repo.cat/1".into(), &2.into())
    );
    let missing = environment.run(["repo", "cat", "repo", "file", "latest", "/no/such"]).failure(1);
    assert!(missing.contains("/no/such"), "{missing}");
    environment.run(["repo", "cat", "repo", "file", "latest"]).failure(2);
}

#[test]
fn a_wrong_password_a_missing_and_a_locked_repository_have_their_codes() {
    let stored = Stored::new(3);
    let wrong = Environment::new().with("RESTIC_PASSWORD", "wrong");
    let repository = stored.environment.path("repo").display().to_string();
    wrong.run(["repo", "snapshots", &repository]).failure(12);
    let missing = stored.environment.run(["repo", "snapshots", "elsewhere", "--json"]);
    assert_eq!((missing.code(), &missing.json()["exit"]), (10, &10.into()), "{missing}");
    assert!(!stored.environment.path("elsewhere").exists(), "looking makes nothing");
    let nobody = Environment::new();
    let text = nobody.run(["repo", "snapshots", &repository]).failure(2);
    assert!(text.contains("--password-file"), "{text}");

    let occupied = stored.environment.run(["repo", "init", "repo"]).failure(1);
    assert!(occupied.contains("already"), "{occupied}");

    let runtime = Runtime::new().unwrap();
    let tier = Arc::new(LocalTier::open(Path::new(&repository)).unwrap());
    let store = Store::new(tier, runtime.handle().clone(), ObjectPrefix::ALL);
    let password = Secret::new(PASSWORD);
    let opened = Repository::open(store, &password, &OpenOptions::default()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let exclusive = LockOptions::new(LockKind::Exclusive);
    let held = LockGuard::acquire(&opened, &exclusive, &clock, &Cancel::new()).unwrap();
    let locked = stored.environment.run(["repo", "snapshots", "repo"]).failure(11);
    assert!(locked.contains("exclusive"), "it says who holds it: {locked}");
    stored.environment.run(["repo", "snapshots", "repo", "--no-lock"]).success();
    drop(held);
    stored.environment.run(["repo", "snapshots", "repo"]).success();
}

#[test]
fn damage_is_found_named_and_costs_only_its_files() {
    let stored = Stored::new(5);
    let pack =
        stored.files("data").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len());
    let pack = pack.unwrap();
    damage(&pack);
    let name = pack.file_name().unwrap().to_str().unwrap();
    let checked = stored.environment.run(["repo", "check", "repo", "--read-data", "--json"]);
    assert_eq!(checked.code(), 1, "{checked}");
    let document = checked.json();
    assert_eq!(
        (&document["schema"], &document["outcome"]),
        (&"lifeboat.repo.check/1".into(), &"failed".into())
    );
    assert!(document["findings"].to_string().contains(name), "{document}");
    let restored = stored.environment.run(["repo", "restore", "repo", "--to", "out", "--json"]);
    assert_eq!(restored.code(), 3, "{restored}");
    assert!(!restored.json()["failed"].as_array().unwrap().is_empty(), "{restored}");
}

#[test]
fn a_truncated_index_and_a_memory_bomb_are_refused() {
    let stored = Stored::new(9);
    let index = stored.files("index").remove(0);
    let bytes = fs::read(&index).unwrap();
    durable::replace(&index, &bytes[..bytes.len() / 2], 0o600).unwrap();
    let text = stored.environment.run(["repo", "ls", "repo"]).failure(1);
    assert!(text.contains(index.file_name().unwrap().to_str().unwrap()), "{text}");

    let key = stored.files("keys").remove(0);
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(&key).unwrap()).unwrap();
    document["N"] = (1_u64 << 30).into();
    fs::remove_file(&key).unwrap();
    let bytes = serde_json::to_vec(&document).unwrap();
    let bomb = stored.environment.write("bomb", &bytes);
    let hash = Command::new("sha256sum").arg(bomb).output().unwrap().stdout;
    let name = String::from_utf8(hash).unwrap();
    durable::replace(&key.with_file_name(&name[..64]), &bytes, 0o600).unwrap();
    let text = stored.environment.run(["repo", "snapshots", "repo"]).failure(1);
    assert!(text.contains("memory"), "{text}");
}

#[test]
fn passwords_come_from_files_and_commands_and_are_never_shown() {
    let environment = Environment::new();
    let file = environment.write("password", format!("{PASSWORD}\n"));
    let file = file.to_str().unwrap();
    let made = environment.run(["-vvv", "repo", "init", "repo", "--password-file", file]);
    assert_eq!(made.code(), 0, "{made}");
    let command = format!("cat {file}");
    let listed =
        environment.run(["-vvv", "repo", "snapshots", "repo", "--password-command", &command]);
    assert_eq!(listed.code(), 0, "{listed}");
    for ended in [made, listed] {
        assert!(!ended.to_string().contains(PASSWORD), "{ended}");
    }
}

#[test]
fn snapshots_are_copied_once_into_a_repository_with_another_password() {
    let stored = Stored::new(13);
    let environment = &stored.environment;
    let password = environment.write("other-password", "other\n");
    let password = password.to_str().unwrap();
    environment.run(["repo", "init", "other", "--password-file", password]).success();
    let copy = ["repo", "copy", "repo", "--to", "other", "--to-password-file", password, "--json"];
    let first = environment.run(copy);
    assert_eq!((first.code(), &first.json()["snapshots"][0]["was_there"]), (0, &false.into()));
    let second = environment.run(copy).json();
    assert_eq!(second["snapshots"][0]["was_there"], true, "{second:#}");
    let other = Restic::new(environment.path("other"), "other");
    other.check_read_data().unwrap();
    assert_eq!(other.snapshots().unwrap().len(), 1);
}

/// Returns bytes that cannot be compressed.
fn noise(length: usize, mut state: u64) -> Vec<u8> {
    let step = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(step).take(length).collect()
}

#[test]
fn a_killed_backup_is_gone_on_with_and_limits_are_limits() {
    let environment = environment();
    environment.run(["repo", "init", "repo"]).success();
    let source = environment.path("source");
    for number in 0..60 {
        environment.write(&format!("source/{number}"), noise(400_000, number + 1));
    }
    let source = source.to_str().unwrap();
    let backup = ["repo", "backup", "repo", source, "--pack-size", "4"];
    // Slow enough that much is left to do after the second pack.
    let mut child = environment.start(backup.iter().chain(&["--limit-upload", "1500"]));
    let packs = || {
        let folders = fs::read_dir(environment.path("repo/data")).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten());
        files.filter(|file| file.file_name().len() == 64).count()
    };
    while child.try_wait().unwrap().is_none() && packs() < 2 {
        std::thread::yield_now();
    }
    let restic = Restic::new(environment.path("repo"), PASSWORD);
    // It asks the holder of a lock by a signal whether it is there.
    restic.run(["unlock"]).unwrap();
    assert_eq!(fs::read_dir(environment.path("repo/locks")).unwrap().count(), 1);
    assert!(child.try_wait().unwrap().is_none(), "it goes on");
    child.kill().unwrap();
    child.wait().unwrap();
    let left = packs();

    let done = environment.run(backup.iter().chain(&["--limit-download", "1000000", "--json"]));
    assert_eq!(done.code(), 0, "{done}");
    assert_eq!(done.json()["counts"]["packs_adopted"], left, "{done}");
    let listed = environment.run(["repo", "list", "repo", "blobs", "--json"]).json();
    let blobs = listed["objects"].as_array().unwrap();
    let ids: std::collections::BTreeSet<_> =
        blobs.iter().map(|blob| (blob["type"].as_str(), blob["id"].as_str())).collect();
    assert_eq!(ids.len(), blobs.len(), "nothing is stored twice");
    restic.check_read_data().unwrap();

    let error = environment.run(backup.iter().chain(&["--limit-upload", "fast"])).failure(2);
    assert!(error.contains("KiB a second"), "{error}");
}
