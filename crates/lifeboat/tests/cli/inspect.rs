//! Looking into a repository by the real binary; that the answers are restic's is tested below it.

use std::io::Write;
use std::process::Stdio;

use lifeboat_testing::restic::Restic;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::environment::Environment;

const PASSWORD: &str = "correct horse battery staple";

/// A repository by restic with two snapshots of `source`, the first tagged.
fn stored() -> (Environment, Restic) {
    let environment = Environment::new().with("RESTIC_PASSWORD", PASSWORD);
    let restic = Restic::new(environment.path("repo"), PASSWORD);
    restic.init().unwrap();
    let source = environment.path("source");
    let source = source.to_str().unwrap();
    environment.write("source/one.txt", "first\n");
    environment.write("source/deep/two.txt", "second\n");
    restic.run(["backup", "--host", "web", "--tag", "a,b", source]).unwrap();
    environment.write("source/one.txt", "changed\n");
    environment.write("source/three", "third\n");
    restic.run(["backup", "--host", "db", source]).unwrap();
    (environment, restic)
}

#[test]
fn snapshots_are_chosen_compared_searched_and_counted() {
    let (environment, _restic) = stored();
    let listed = environment.run(["repo", "snapshots", "repo", "--host", "web", "--json"]).json();
    let [web] = &listed["snapshots"].as_array().unwrap()[..] else { panic!("{listed}") };
    let web = web["id"].as_str().unwrap();
    let grouped = environment.run(["repo", "snapshots", "repo", "-g", "host", "-c"]).success();
    assert!(grouped.contains("host db\n") && grouped.ends_with("2 snapshots\n"), "{grouped}");

    let source = environment.path("source");
    let before = format!("{}:{}", &web[..10], source.display());
    let after = format!("latest:{}", source.display());
    let text = environment.run(["repo", "diff", "repo", &before, &after]).success();
    assert!(text.contains("M    /one.txt\n+    /three\n"), "{text}");
    assert!(text.contains("Files:            1 new,      0 removed,      1 changed\n"), "{text}");
    let same = environment.run(["repo", "diff", "repo", web, "latest", "--host", "web", "--json"]);
    assert_eq!(same.json()["changes"], serde_json::json!([]), "the filter says what is latest");

    let found = environment.run(["repo", "find", "repo", "TWO.*", "-i", "-l"]).success();
    assert_eq!(found.matches("[HOME]/source/deep/two.txt").count(), 2, "{found}");
    let found = environment.run(["repo", "find", "repo", "two.txt", "-s", web, "--json"]).json();
    assert_eq!(found["snapshots"][0]["id"], web);
    assert_eq!(found["snapshots"].as_array().unwrap().len(), 1, "{found}");
    environment.run(["repo", "find", "repo", "[a"]).failure(2);
    environment.run(["repo", "find", "repo", "--tree", "--pack", "a"]).failure(2);

    let counted = environment.run(["repo", "stats", "repo", "--mode", "raw-data", "--json"]).json();
    assert!(counted["compression_ratio"].as_f64().unwrap() > 1.0, "{counted}");
    let blobs = environment.run(["repo", "list", "repo", "blobs"]).success().lines().count();
    assert_eq!(counted["blobs"], blobs);
    let keys = environment.run(["repo", "list", "repo", "keys", "--json"]).json();
    assert_eq!(keys["objects"].as_array().unwrap().len(), 1, "{keys}");

    let unknown = environment.run(["repo", "diff", "repo", "fffffffffff", "latest"]).failure(1);
    assert!(unknown.contains("repo snapshots"), "it says where to look: {unknown}");
}

#[test]
fn passwords_are_added_changed_and_removed() {
    let (environment, restic) = stored();
    let file = environment.write("second", "second\n");
    let second = file.to_str().unwrap();
    let add = ["repo", "key", "add", "repo", "--new-password-file", second, "--user", "anna"];
    environment.run(add).success();
    let listed = environment.run(["repo", "key", "list", "repo"]).success();
    assert!(listed.contains("anna") && listed.contains("\n*"), "{listed}");
    let keys = environment.run(["repo", "key", "list", "repo", "--json"]).json();
    let current = keys["keys"].as_array().unwrap().iter().find(|key| key["current"] == true);
    let current = current.unwrap()["id"].as_str().unwrap().to_owned();
    let refused = environment.run(["repo", "key", "remove", "repo", &current[..8]]).failure(1);
    assert!(refused.contains("cannot be removed"), "{refused}");
    let remove = ["repo", "key", "remove", "repo", &current[..8], "--password-file", second];
    environment.run(remove).success();
    environment.run(["repo", "snapshots", "repo"]).failure(12);
    restic.snapshots().unwrap_err();

    let third = environment.write("third", "third\n");
    let third = third.to_str().unwrap();
    let change =
        ["repo", "key", "passwd", "repo", "--password-file", second, "--new-password-file", third];
    environment.run(change).success();
    Restic::new(environment.path("repo"), "third").check_read_data().unwrap();
    let nobody = ["repo", "key", "add", "repo", "--password-file", third];
    environment.run(nobody).failure(2);
}

#[test]
fn tags_are_changed_and_stale_locks_removed() {
    let (environment, restic) = stored();
    let tagged =
        environment.run(["repo", "tag", "repo", "--tag", "a", "--add", "c", "--json"]).json();
    assert_eq!(tagged["snapshots"][0]["tags"], serde_json::json!(["a", "b", "c"]), "{tagged}");
    let theirs = restic.run(["snapshots", "--json", "--tag", "c"]).unwrap().stdout;
    let theirs: serde_json::Value = serde_json::from_slice(&theirs).unwrap();
    assert_eq!(theirs[0]["original"], tagged["snapshots"][0]["before"]);
    environment.run(["repo", "tag", "repo"]).failure(2);
    environment.run(["repo", "tag", "repo", "--set", "x", "--add", "y"]).failure(2);

    assert_eq!(environment.run(["repo", "unlock", "repo"]).success(), "no locks\n");
    let mut child =
        restic.command().args(["backup", "--stdin"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut locks = String::new();
    while locks.is_empty() {
        locks = environment.run(["repo", "list", "repo", "locks"]).success();
    }
    let kept = environment.run(["repo", "unlock", "repo"]).success();
    assert!(kept.starts_with("kept") && kept.contains(&child.id().to_string()), "{kept}");
    environment.run(["repo", "tag", "repo", "--add", "d"]).failure(11);
    child.kill().unwrap();
    child.wait().unwrap();
    let removed = environment.run(["repo", "unlock", "repo"]).success();
    assert!(removed.starts_with("removed"), "{removed}");
}

/// Bytes that do not compress, the same for the same seed.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

#[test]
fn a_backup_beside_a_stopped_restic_leaves_both_snapshots_whole() {
    let (environment, restic) = stored();
    let packs = || environment.run(["repo", "list", "repo", "packs"]).success().lines().count();
    let before = packs();
    let content = noise(48 << 20, 7);
    let mut child = restic
        .command()
        .args(["backup", "--stdin", "--stdin-filename", "noise"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (first, rest) = content.split_at(40 << 20);
    stdin.write_all(first).unwrap();
    while packs() == before {}
    let restic_process = Pid::from_raw(child.id().try_into().unwrap());
    kill(restic_process, Signal::SIGSTOP).unwrap();

    // In the middle of its work, its lock is held and its packs are listed by no index yet.
    environment.write("source/beside", noise(5 << 20, 9));
    let source = environment.path("source");
    let source = source.to_str().unwrap();
    let stored = environment.run(["repo", "backup", "repo", source, "--json"]);
    assert_eq!(stored.code(), 0, "{stored}");
    let refused = environment.run(["repo", "tag", "repo", "--add", "x"]).failure(11);
    assert!(refused.contains(&format!("process {}", child.id())), "{refused}");

    kill(restic_process, Signal::SIGCONT).unwrap();
    stdin.write_all(rest).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    restic.check_read_data().unwrap();
    // Ours began later, so it is the latest of all.
    let theirs = restic.run(["dump", "--path", "/noise", "latest", "/noise"]).unwrap().stdout;
    assert!(theirs == content, "restic's snapshot is whole");
    let ours = stored.json()["snapshot"].as_str().unwrap().to_owned();
    let beside = restic.dump(&ours, &format!("{source}/beside")).unwrap();
    assert!(beside == noise(5 << 20, 9), "so is ours");
    assert_eq!(environment.run(["repo", "list", "repo", "locks"]).success(), "");
}

#[test]
fn restic_does_not_prune_beside_our_backup_and_breaks_the_lock_of_a_dead_one() {
    let (environment, restic) = stored();
    // Enough that it is still at work when it is stopped.
    for number in 0..40 {
        environment.write(&format!("source/big{number}"), noise(4 << 20, number + 1));
    }
    let source = environment.path("source");
    let mut child = environment.start(["repo", "backup", "repo", source.to_str().unwrap()]);
    let process = Pid::from_raw(child.id().try_into().unwrap());
    let locks = environment.path("repo/locks");
    // Under its own name, which is the hash of its bytes; before that it is no lock yet.
    let is_lock =
        |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().len() == 64;
    while !std::fs::read_dir(&locks).unwrap().any(is_lock) {}
    kill(process, Signal::SIGSTOP).unwrap();
    let refused = restic.run(["prune"]).unwrap_err().to_string();
    assert!(refused.contains(&format!("PID {}", child.id())), "{refused}");
    let error = environment.run(["repo", "tag", "repo", "--add", "x"]).failure(11);
    assert!(error.contains("a shared lock"), "{error}");

    kill(process, Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    // Its process is gone, so nobody has to wait for half an hour; restic wants to be told.
    restic.run(["unlock"]).unwrap();
    restic.run(["prune"]).unwrap();
    restic.check_read_data().unwrap();
    assert_eq!(restic.snapshots().unwrap().len(), 2);
}
