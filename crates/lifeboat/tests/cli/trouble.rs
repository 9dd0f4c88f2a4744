//! What bad circumstances get: an error that says what and where, the right code, and no loss.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_testing::postgres::Cluster;
use lifeboat_testing::restic::Restic;
use lifeboat_testing::tree;

use crate::environment::Environment;

/// A plan for one folder of files and one tier.
pub(crate) struct Files {
    pub(crate) environment: Environment,
    media: PathBuf,
}

impl Files {
    pub(crate) fn new() -> Self {
        let environment = Environment::new();
        let media = environment.path("media");
        environment.write("media/one.txt", "one\n");
        let site = Self { environment, media };
        site.init(&site.environment.path("tier"));
        site
    }

    fn init(&self, tier: &Path) {
        let path = format!("media={}", self.media.display());
        let tier = format!("primary={}", tier.display());
        let arguments = ["init", "--no-discovery", "--confirm-later", "--site", "shop"];
        let more = ["--tier", &tier, "--asset-path", &path];
        let made = self.environment.run(arguments.iter().chain(&more));
        assert_eq!(made.code(), 0, "{made}");
    }

    fn key(&self) -> String {
        fs::read_to_string(self.environment.path("recovery.key")).unwrap().trim().to_owned()
    }

    fn restic(&self) -> Restic {
        Restic::new(self.environment.path("tier/repo"), self.key())
    }
}

/// A small file system of its own, so that a test can fill it or make it read-only.
struct Mount(PathBuf);

impl Mount {
    fn new(path: PathBuf, options: &str) -> Self {
        lifeboat_tiers::durable::create_directories(&path, 0o700).unwrap();
        mount(&["-t", "tmpfs", "-o", options, "tmpfs"], &path);
        Self(path)
    }
}

fn mount(arguments: &[&str], path: &Path) {
    let status = Command::new("mount").args(arguments).arg(path).status().unwrap();
    assert!(status.success(), "these tests mount file systems and need root");
}

impl Drop for Mount {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().unwrap();
    }
}

#[test]
fn a_full_tier_says_so_and_goes_on_once_there_is_room() {
    let site = Files::new();
    let tier = Mount::new(site.environment.path("tier"), "size=6m");
    let noise: Vec<u8> =
        (0_u32..3 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    site.environment.write("media/big.bin", &noise);
    let text = site.environment.run(["backup"]);
    assert_eq!(text.code(), 1, "{text}");
    assert!(text.to_string().contains("no space"), "{text}");
    mount(&["-o", "remount,size=64m"], &tier.0);
    let done = site.environment.run(["backup"]);
    assert_eq!(done.code(), 0, "{done}");
    site.restic().check_read_data().unwrap();
}

#[test]
fn a_read_only_tier_keeps_what_it_has() {
    let site = Files::new();
    let tier = Mount::new(site.environment.path("tier"), "size=64m");
    site.environment.run(["backup"]).success();
    mount(&["-o", "remount,ro"], &tier.0);
    site.environment.write("media/two.txt", "two\n");
    let failed = site.environment.run(["backup"]);
    assert_ne!(failed.code(), 0, "{failed}");
    assert!(
        failed.to_string().contains("refused") || failed.to_string().contains("Read-only"),
        "{failed}"
    );
    let address = site.environment.path("tier/repo").display().to_string();
    let password = site.environment.write("password", site.key());
    let password = password.to_str().unwrap();
    let listed = site.environment.run([
        "repo",
        "snapshots",
        &address,
        "--no-lock",
        "--json",
        "--password-file",
        password,
    ]);
    assert_eq!(listed.json()["snapshots"].as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn a_tier_of_another_site_is_refused() {
    let site = Files::new();
    site.environment.run(["backup"]).success();
    let other = Environment::new();
    other.write("media/x", "x");
    let path = format!("media={}", other.path("media").display());
    let tier = format!("primary={}", site.environment.path("tier").display());
    let arguments = ["init", "--no-discovery", "--confirm-later", "--site", "other"];
    other.run(arguments.iter().chain(&["--tier", &tier, "--asset-path", &path])).success();
    let refused = other.run(["backup"]);
    assert_eq!(refused.code(), 1, "{refused}");
    assert!(refused.to_string().contains("`shop`"), "{refused}");
}

#[test]
fn a_tier_that_was_lost_is_not_made_anew_in_silence() {
    let site = Files::new();
    site.environment.run(["backup"]).success();
    fs::remove_dir_all(site.environment.path("tier")).unwrap();
    let refused = site.environment.run(["backup"]);
    assert_ne!(refused.code(), 0, "{refused}");
    assert!(
        !site.environment.path("tier").exists(),
        "an empty tier would hide the loss: {refused}"
    );
}

#[test]
fn another_key_is_refused() {
    let site = Files::new();
    site.environment.run(["backup"]).success();
    let other = Files::new();
    site.environment.write("recovery.key", other.key());
    let refused = site.environment.run(["backup"]);
    assert_eq!(refused.code(), 12, "{refused}");
}

#[test]
fn a_database_that_is_down_is_named_and_leaves_no_snapshot() {
    let mut cluster = Cluster::start().unwrap();
    cluster.create_database("shop").unwrap();
    let site = Files::new();
    fs::remove_file(site.environment.path("plan.toml")).unwrap();
    fs::remove_file(site.environment.path("recovery.key")).unwrap();
    let database = format!("database={}", cluster.connect_string("shop"));
    let path = format!("media={}", site.media.display());
    let tier = format!("primary={}", site.environment.path("tier").display());
    let arguments = ["init", "--no-discovery", "--confirm-later", "--site", "shop", "--tier"];
    let more = [tier.as_str(), "--asset-path", &path, "--database", &database];
    site.environment.run(arguments.iter().chain(&more)).success();
    cluster.stop().unwrap();
    let ended = site.environment.run(["backup", "--json"]);
    assert_eq!(ended.code(), 1, "{ended}");
    let report = ended.json();
    let of = |name: &str| {
        report["assets"]
            .as_array()
            .unwrap()
            .iter()
            .find(|asset| asset["asset"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(of("media")["ending"], "succeeded", "the files are stored all the same: {report:#}");
    assert_eq!(of("database")["ending"], "failed");
    assert_eq!(of("database")["snapshots"], serde_json::json!([]));
    let tags = site.restic().snapshots().unwrap();
    assert!(tags.iter().all(|snapshot| !snapshot["tags"].to_string().contains("asset=database")));
}

#[test]
fn what_is_left_out_makes_the_backup_incomplete() {
    let site = Files::new();
    let gone = site.environment.write("gone/two.txt", "two");
    fs::remove_file(site.environment.path("recovery.key")).unwrap();
    fs::remove_file(site.environment.path("plan.toml")).unwrap();
    let one = format!("media={}", site.media.display());
    let two = format!("media={}", gone.parent().unwrap().display());
    let tier = format!("primary={}", site.environment.path("tier").display());
    let arguments = ["init", "--no-discovery", "--confirm-later", "--site", "shop", "--tier"];
    let more = [tier.as_str(), "--asset-path", &one, "--asset-path", &two];
    site.environment.run(arguments.iter().chain(&more)).success();
    fs::remove_dir_all(gone.parent().unwrap()).unwrap();
    let ended = site.environment.run(["backup", "--json"]);
    assert_eq!(ended.code(), 3, "{ended}");
    let report = ended.json();
    assert_eq!(report["assets"][0]["ending"], "incomplete", "{report:#}");
    assert!(report["assets"][0]["skipped"].to_string().contains("gone"), "{report:#}");
    let points = site.environment.run(["status", "--check"]);
    assert_ne!(points.code(), 0, "an incomplete backup is no success: {points}");
}

#[test]
fn a_killed_backup_is_completed_by_the_next() {
    let site = Files::new();
    let noise: Vec<u8> =
        (0_u32..24 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    for number in 0..4 {
        site.environment.write(&format!("media/{number}.bin"), &noise[number..]);
    }
    let mut child = site.environment.start(["backup"]);
    // The first pack on the tier shows that it is in the middle.
    let data = site.environment.path("tier/repo/data");
    while child.try_wait().unwrap().is_none() && !has_files(&data) {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let done = site.environment.run(["backup"]);
    assert_eq!(done.code(), 0, "{done}");
    site.restic().check_read_data().unwrap();
    let restored = site.environment.run(["restore", "media", "--to", "out"]);
    assert_eq!(restored.code(), 0, "{restored}");
    let below = site.environment.path("out").join(site.media.strip_prefix("/").unwrap());
    let (before, after) = (tree::capture(&site.media), tree::capture(below));
    assert!(before.unwrap().differences(&after.unwrap(), &[]).is_empty());
}

fn has_files(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() { has_files(&path) } else { true }
    })
}

#[test]
fn the_key_is_seen_nowhere() {
    let site = Files::new();
    let key = site.key();
    let mut child = site.environment.start(["-vvv", "backup"]);
    let mut lines = Vec::new();
    while child.try_wait().unwrap().is_none() {
        if let Ok(line) = fs::read(format!("/proc/{}/cmdline", child.id())) {
            lines.extend(line);
        }
    }
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let said = format!("{}{stdout}{stderr}", String::from_utf8_lossy(&lines));
    assert!(!said.contains(&key) && !said.contains("AGE-SECRET-KEY"), "{said}");
    for arguments in [&["key", "show"][..], &["status"], &["check"], &["catalog", "list"]] {
        let ended = site.environment.run(arguments.iter().chain(&["--json"]));
        assert!(!ended.to_string().contains(&key), "{ended}");
    }
    site.environment.run(["key", "export", "--age", "--json"]).failure(2);
}
