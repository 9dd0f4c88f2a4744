//! `lifeboat retention` as a person uses it.

use std::fs;

use lifeboat_testing::restic::Restic;

use crate::environment::Environment;

/// A site that was backed up three times, of which the plan keeps one.
fn site() -> Environment {
    let environment = Environment::new();
    let media = environment.write("media/upload", "of the first day");
    let tier = format!("primary={}", environment.path("first").display());
    let path = format!("media={}", media.parent().unwrap().display());
    let made = ["init", "--no-discovery", "--confirm-later", "--site", "shop", "--tier", &tier];
    environment.run(made.iter().chain(&["--asset-path", path.as_str()])).success();
    let plan = environment.path("plan.toml");
    let text = fs::read_to_string(&plan).unwrap();
    let keep: Vec<_> = text
        .lines()
        .map(
            |line| if line.trim_start().starts_with("keep") { "keep = { last = 1 }" } else { line },
        )
        .collect();
    environment.write("plan.toml", keep.join("\n"));
    for day in 0..3 {
        environment.write("media/upload", format!("of day {day}"));
        environment.run(["backup"]).success();
    }
    environment
}

#[test]
fn retention_shows_then_removes_and_restic_agrees() {
    let environment = site();
    let shown = environment.run(["retention", "show"]).success();
    assert!(shown.contains("1 snapshot kept, 2 to be removed"), "{shown}");
    assert!(shown.contains("kept: last snapshot") && shown.contains("requests: "), "{shown}");
    let snapshots = environment.path("first/repo/snapshots");
    assert_eq!(fs::read_dir(&snapshots).unwrap().count(), 3, "showing removes nothing");

    environment.run(["retention", "hold", "--reason", "an intruder"]).success();
    let held = environment.run(["retention", "run"]).success();
    assert!(held.contains("held: an intruder"), "{held}");
    let status = environment.run(["status", "--all"]).success();
    assert!(
        status.contains("retention: held since ") && status.contains("an intruder"),
        "{status}"
    );
    for words in
        [&["repo", "forget", "tier:primary", "latest"][..], &["repo", "prune", "tier:primary"]]
    {
        let refused = environment.run(words.iter().copied()).failure(1);
        assert!(
            refused.contains("retention is held") && refused.contains("an intruder"),
            "{refused}"
        );
    }
    environment.run(["repo", "prune", "tier:primary", "--dry-run"]).success();
    assert_eq!(fs::read_dir(&snapshots).unwrap().count(), 3);
    environment.run(["retention", "release"]).failure(2);
    environment.run(["retention", "release", "--all"]).success();

    let done = environment.run(["--json", "retention", "run"]).json();
    assert_eq!(done["schema"], "lifeboat.retention/1");
    assert_eq!(done["ending"], "succeeded");
    assert_eq!(fs::read_dir(&snapshots).unwrap().count(), 1);
    let status = environment.run(["points"]).success();
    assert!(!status.contains("gone"), "{status}");
    let key = fs::read_to_string(environment.path("recovery.key")).unwrap();
    Restic::new(environment.path("first/repo"), key.trim()).check_read_data().unwrap();
    let catalog = environment.run(["catalog", "list"]).success();
    assert!(catalog.contains("retention-done"), "{catalog}");
}
