//! `--quiet`: only what was asked for and what goes wrong is printed.

use crate::capture::Site;
use crate::trouble::Files;

#[test]
fn nothing_is_said_of_what_went_well() {
    let site = Site::new();
    site.environment.write("tree/a", "a");
    site.environment.write("new", "other\n");
    let run = |arguments: &[&str]| site.environment.run(arguments.iter().chain(&["-q"]));
    for arguments in [
        &["repo", "backup", "repo", "tree"][..],
        &["repo", "check", "repo", "--read-data"],
        &["repo", "restore", "repo", "--to", "out"],
        &["repo", "tag", "repo", "--add", "kept"],
        &["repo", "key", "add", "repo", "--new-password-file", "new"],
        &["repo", "unlock", "repo"],
        &["repo", "forget", "repo", "--keep-last", "1", "--prune"],
        &["repo", "prune", "repo"],
    ] {
        let ended = run(arguments);
        assert_eq!((ended.success(), ended.stderr()), Default::default(), "{arguments:?}");
    }
    let tar = run(&["repo", "restore", "repo", "--tar", "-"]);
    assert!(tar.success().contains("tree/a") && tar.stderr().is_empty(), "{tar}");
}

#[test]
fn what_was_asked_for_and_what_went_wrong_is_said() {
    let site = Site::new();
    site.environment.write("tree/a", "a");
    let run = |arguments: &[&str]| site.environment.run(arguments.iter().chain(&["--quiet"]));
    let part = run(&["repo", "backup", "repo", "tree", "gone"]);
    assert_eq!(part.code(), 3);
    assert!(part.stdout().contains("gone: it is not there"), "{part}");
    let document = run(&["repo", "backup", "repo", "tree", "--json"]).json();
    assert_eq!(document["schema"], "lifeboat.repo.backup/1");
    let dry = run(&["repo", "forget", "repo", "--keep-last", "1", "--dry-run"]).success();
    assert!(dry.contains("nothing was changed"), "{dry}");
    let profile = run(&["repo", "backup", "repo", "tree", "--profile"]).success();
    assert!(profile.contains("wall"), "{profile}");
    assert!(run(&["repo", "snapshots", "repo"]).success().contains("3 snapshots"));
    let told = run(&["repo", "snapshots", "elsewhere"]).failure(10);
    assert!(told.contains("hint"), "{told}");
}

#[test]
fn with_a_plan_it_is_the_same() {
    let site = Files::new();
    let ended = site.environment.run(["backup", "--quiet"]);
    assert_eq!((ended.success(), ended.stderr()), Default::default());
    let status = site.environment.run(["status", "--quiet"]);
    assert!(status.stdout().contains("media"), "{status}");
}
