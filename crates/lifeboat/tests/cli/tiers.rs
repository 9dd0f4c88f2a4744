//! `tiers` and `tiers catch-up`: what a tier missed while it was away.

use std::fs;

use serde_json::Value;

use crate::environment::Environment;

/// A site with media on two tiers, backed up once.
fn site() -> Environment {
    let environment = Environment::new();
    environment.write("media/a", "a");
    let path = format!("media={}", environment.path("media").display());
    let tier = |name: &str| format!("{name}={}", environment.path(name).display());
    let (near, far) = (tier("near"), tier("far"));
    let words = [
        "init",
        "--no-discovery",
        "--confirm-later",
        "--site",
        "shop",
        "--tier",
        &near,
        "--tier",
        &far,
        "--asset-path",
        &path,
    ];
    environment.run(words).success();
    environment.run(["backup"]).success();
    environment
}

fn tier<'r>(report: &'r Value, name: &str) -> &'r Value {
    let tiers = report["tiers"].as_array().unwrap();
    tiers.iter().find(|tier| tier["tier"] == name).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "nothing here has to survive a crash")]
fn rename(environment: &Environment, from: &str, to: &str) {
    fs::rename(environment.path(from), environment.path(to)).unwrap();
}

#[test]
fn a_tier_that_was_away_is_shown_behind_and_catches_up_when_asked() {
    let environment = site();
    let stored = environment.run(["backup"]).success();
    for tier in ["near", "far"] {
        let line = stored.lines().find(|line| line.starts_with(&format!("{tier}: requests: ")));
        let line = line.unwrap_or_else(|| panic!("{stored}"));
        assert!(line.contains(" reads, ") && !line.contains("costs"), "{line}");
    }
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let costs = "[costs]\n\"tiers.far\" = { per_1000_writes = 1.0, per_gib_month = 2.0 }\n";
    environment.write("plan.toml", format!("{plan}\n{costs}"));
    let told = environment.run(["backup"]).success();
    let line = told.lines().find(|line| line.starts_with("far: requests: ")).unwrap();
    assert!(line.contains("; costs 0.0") && line.contains(" a month"), "{line}");
    environment.write("plan.toml", plan);
    let text = environment.run(["tiers"]).success();
    assert!(text.contains("nothing") && text.contains("near") && text.contains("far"), "{text}");
    rename(&environment, "far", "away");
    environment.write("media/b", "b");
    let partial = environment.run(["backup"]);
    assert_eq!(partial.code(), 1, "{partial}");
    let row = |tier: &str| {
        let text = partial.stdout();
        let mut rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.contains(&tier)).unwrap();
        row.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("near")[..3], ["media", "done", "near"], "{partial}");
    assert_eq!(row("far")[..3], ["failed", "far", "-"], "{partial}");
    let away = environment.run(["tiers", "--json"]);
    assert_eq!(away.code(), 4, "{away}");
    let far = away.json();
    let far = tier(&far, "far");
    assert!(far["trouble"]["message"].is_string() && far["pending"].is_null(), "{far}");
    assert!(far["assets"][0]["snapshot"].is_string(), "as recorded: {far}");
    assert_eq!(far["assets"][0]["lag"]["points"], 1, "{far}");
    let text = environment.run(["tiers"]).stdout();
    let far = text.lines().find(|line| line.starts_with("far ")).unwrap();
    assert!(far.contains("unreachable") && far.contains("not known"), "{text}");
    assert!(!far.contains("none"), "{text}");
    rename(&environment, "away", "far");

    let behind = environment.run(["tiers", "--json"]).json();
    assert_eq!(behind["schema"], "lifeboat.tiers/1");
    let far = tier(&behind, "far");
    assert_eq!(
        (&far["assets"][0]["lag"]["points"], &far["pending"]["snapshots"]),
        (&1.into(), &1.into())
    );
    let text = environment.run(["tiers"]).success();
    assert!(text.contains("next: lifeboat tiers catch-up far"), "{text}");

    let ended = environment.run(["tiers", "catch-up", "far", "--limit-upload", "100000", "--json"]);
    assert_eq!(ended.code(), 0, "{ended}");
    let report = ended.json();
    assert_eq!(report["schema"], "lifeboat.tiers.catch-up/1");
    assert_eq!(tier(&report, "far")["brought"][0]["from"], "near");
    let level = environment.run(["tiers", "--json"]).json();
    assert_eq!(tier(&level, "far")["assets"], tier(&level, "near")["assets"]);
    assert_eq!(tier(&level, "far")["pending"]["snapshots"], 0);
    let again = environment.run(["tiers", "catch-up"]).success();
    assert!(again.contains("far: lacks nothing"), "{again}");
    environment.run(["tiers", "catch-up", "nowhere"]).failure(2);
}

#[test]
fn a_snapshot_that_somebody_removed_is_named_and_copied_back_or_let_go() {
    let environment = site();
    environment.run(["verify"]).success();
    let remove = || {
        let folder = fs::read_dir(environment.path("far/repo/snapshots")).unwrap();
        let file = folder.map(|entry| entry.unwrap().path()).next().unwrap();
        fs::remove_file(&file).unwrap();
        file.file_name().unwrap().to_string_lossy()[..8].to_owned()
    };
    let lost = remove();
    let verified = environment.run(["verify", "far"]);
    assert_eq!(verified.code(), 1, "{verified}");
    let said = verified.stdout();
    assert!(said.contains(&lost) && said.contains("far") && said.contains("media"), "{said}");
    assert!(said.contains("lifeboat tiers catch-up far"), "{said}");
    let shown = environment.run(["tiers"]).success();
    assert!(shown.contains("gone: far: 1 snapshots"), "{shown}");
    assert!(shown.contains("next: lifeboat tiers catch-up far"), "{shown}");
    environment.run(["tiers", "catch-up", "far"]).success();
    environment.run(["verify", "far"]).success();

    let lost = remove();
    assert_eq!(environment.run(["retention", "run", "far"]).code(), 1);
    environment.run(["retention", "let-go", "far"]).failure(2);
    let gave = environment.run(["retention", "let-go", "far", &lost, "--json"]).json();
    assert_eq!(gave["schema"], "lifeboat.retention.let-go/1");
    assert_eq!(gave["snapshots"].as_array().unwrap().len(), 1);
    environment.run(["verify", "far"]).success();
    environment.run(["retention", "run", "far"]).success();
    let none = environment.run(["retention", "let-go", "far", "--all"]).success();
    assert!(none.contains("nothing is gone from far"), "{none}");
}
