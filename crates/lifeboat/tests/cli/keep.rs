//! `lifeboat retention` as a person uses it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

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
    assert!(done["traffic"][0]["deletes"].as_u64().unwrap() > 0, "{done:#}");
    assert_eq!(fs::read_dir(&snapshots).unwrap().count(), 1);
    let status = environment.run(["points"]).success();
    assert!(!status.contains("gone"), "{status}");
    let key = fs::read_to_string(environment.path("recovery.key")).unwrap();
    Restic::new(environment.path("first/repo"), key.trim()).check_read_data().unwrap();
    every_run_tells_what_it_asked_for(&environment);
    let catalog = environment.run(["catalog", "list"]).success();
    assert!(catalog.contains("retention-done"), "{catalog}");
}

#[test]
fn damaged_packs_of_which_all_was_stored_again_are_taken_away() {
    let environment = site();
    environment.run(["retention", "run"]).success();
    // The smallest holds what the file holds. Trees change with the folders above, so they are not stored again as they were.
    let smallest = |pack: &PathBuf| fs::metadata(pack).unwrap().len();
    let pack = packs(&environment).into_iter().min_by_key(smallest).unwrap();
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
    let length = usize::try_from(smallest(&pack)).unwrap();
    fs::File::create(&pack).unwrap().write_all(&vec![0x5a; length]).unwrap();
    assert_eq!(environment.run(["verify", "primary"]).code(), 1);
    // Of two places of the same nothing tells which is damaged: as long as nobody read all of it, both stay.
    // What it reads back for its own share may be what is damaged.
    assert!([0, 1].contains(&environment.run(["backup"]).code()));
    assert!(pack.exists());
    assert_eq!(environment.run(["verify", "primary"]).code(), 0);
    environment.run(["retention", "run"]).success();
    assert!(!pack.exists(), "what is damaged and needed no more is gone");
    let verified = environment.run(["verify", "--json"]).json();
    assert_eq!(verified["tiers"][0]["damaged_packs"], serde_json::json!([]), "{verified:#}");
    let key = fs::read_to_string(environment.path("recovery.key")).unwrap();
    Restic::new(environment.path("first/repo"), key.trim()).check_read_data().unwrap();
}

fn packs(environment: &Environment) -> BTreeSet<PathBuf> {
    let folders = fs::read_dir(environment.path("first/repo/data")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

/// Whatever works with a tier says how often it asked for what, and what that costs where the plan has prices.
fn every_run_tells_what_it_asked_for(environment: &Environment) {
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let prices = "[costs]\n\"tiers.primary\" = { per_1000_reads = 1000 }\n";
    environment.write("plan.toml", format!("{plan}\n{prices}"));
    for words in [
        &["tiers", "catch-up"][..],
        &["verify"],
        &["restore", "media", "--to", "back"],
        &["retention", "run"],
    ] {
        let told = environment.run(words.iter().copied()).success();
        let line = told.lines().find(|line| line.starts_with("primary: requests: "));
        let line = line.unwrap_or_else(|| panic!("{words:?}: {told}"));
        assert!(line.contains(" reads, ") && line.contains("; costs "), "{words:?}: {line}");
        assert!(!line.contains("requests: 0 reads"), "{words:?}: {line}");
    }
    let verified = environment.run(["verify", "--json"]).json();
    assert!(verified["traffic"][0]["request_cost"].as_f64().unwrap() > 0.0, "{verified:#}");
}
