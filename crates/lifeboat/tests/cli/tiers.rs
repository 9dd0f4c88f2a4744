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

/// The first line of a table that is about a tier.
fn row_of<'t>(text: &'t str, tier: &str) -> &'t str {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(tier));
    line.unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn a_tier_whose_address_changed_begins_anew_and_says_so() {
    let environment = site();
    environment.run(["verify"]).success();
    let before = environment.run(["tiers", "--json"]).json();
    let captured = &tier(&before, "near")["assets"];
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let [old, new] = ["far", "elsewhere"].map(|name| environment.path(name).display().to_string());
    assert!(plan.contains(&old), "{plan}");
    environment.write("plan.toml", plan.replace(&old, &new));

    let said = "what lies at file://[HOME]/far no longer counts";
    let shown = environment.run(["tiers"]).success();
    assert!(row_of(&shown, "far").contains("moved") && shown.contains(said), "{shown}");
    assert!(shown.contains("next: lifeboat backup"), "{shown}");
    let report = environment.run(["tiers", "--json"]).json();
    let far = tier(&report, "far");
    assert_eq!((&far["stands"], &far["pending"]["snapshots"]), (&"moved".into(), &1.into()));
    assert!(far["assets"][0]["snapshot"].is_null(), "{far}");
    let status = environment.run(["status"]).stdout();
    let nothing = "far: nothing is at file://[HOME]/elsewhere yet";
    assert!(status.contains(nothing) && row_of(&status, "far").contains("never"), "{status}");
    assert!(!status.contains("gone"), "{status}");
    let points = environment.run(["points"]);
    assert_eq!(points.code(), 4, "{points}");
    assert!(points.stdout().contains(said), "{points}");
    let checked = environment.run(["check"]).stdout();
    assert!(checked.contains("it lay at file://[HOME]/far"), "{checked}");
    let refused = environment.run(["tiers", "catch-up", "far"]);
    assert_eq!(refused.code(), 1, "{refused}");
    assert!(refused.stdout().contains("lifeboat backup"), "{refused}");

    environment.write("media/b", "b");
    let ended = environment.run(["backup"]);
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(ended.stderr().contains("lies at a new place"), "{ended}");
    assert!(ended.stderr().contains("snapshots=1"), "{ended}");
    let level = environment.run(["tiers", "--json"]).json();
    let far = tier(&level, "far");
    assert_eq!((&far["stands"], &far["pending"]["snapshots"]), (&"set-up".into(), &0.into()));
    assert_eq!(&far["assets"], &tier(&level, "near")["assets"]);
    assert_ne!(&far["assets"], captured);
    let snapshots = fs::read_dir(environment.path("elsewhere/repo/snapshots")).unwrap().count();
    assert_eq!(snapshots, 2, "what others hold came as well");

    // The old place is asked no more.
    fs::remove_dir_all(environment.path("far")).unwrap();
    environment.run(["verify"]).success();
    environment.run(["points"]).success();
    let status = environment.run(["status"]).stdout();
    assert!(row_of(&status, "far").contains("passed") && !status.contains("gone"), "{status}");
}

#[test]
fn a_tier_that_is_not_set_up_yet_is_called_new_by_all() {
    let environment = site();
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let third = environment.path("third").display().to_string();
    environment.write("plan.toml", format!("{plan}\n[tiers.third]\nurl = \"file://{third}\"\n"));
    let shown = environment.run(["tiers"]).success();
    assert!(row_of(&shown, "third").contains("new"), "{shown}");
    assert!(shown.contains("`lifeboat backup` sets it up"), "{shown}");
    let checked = environment.run(["check"]).stdout();
    assert!(checked.contains("can be set up by the first backup"), "{checked}");
}

#[test]
fn a_folder_that_was_emptied_is_called_lost_and_not_new() {
    let environment = site();
    fs::remove_dir_all(environment.path("far")).unwrap();
    fs::create_dir(environment.path("far")).unwrap();
    let points = environment.run(["points"]);
    assert_eq!(points.code(), 4, "{points}");
    let said = points.stdout();
    assert!(said.contains("was set up at") && !said.contains("never set up"), "{said}");
    let shown = environment.run(["retention", "show"]);
    let said = shown.stdout();
    assert!(said.contains("far: its snapshots could not be looked at"), "{shown}");
    assert!(!said.contains("far: 0 snapshots"), "{shown}");
}

#[test]
fn a_time_typed_as_it_is_printed_finds_what_is_printed() {
    let environment = site();
    let listed = environment.run(["points"]).success();
    let row =
        listed.lines().find(|line| line.contains(" UTC")).unwrap_or_else(|| panic!("{listed}"));
    let (head, _) = row.split_once(" UTC").unwrap();
    let time = head.split_whitespace().skip(1).collect::<Vec<_>>().join(" ") + " UTC";
    assert!(time.contains('.'), "clocks are finer than a second: {time}");
    let restored = environment.run(["restore", "media", "--at", &time, "--to", "back"]).success();
    assert!(restored.contains(&time), "{restored}");
    let told = environment.run(["restore", "media", "--to", "back"]).failure(1);
    assert!(told.contains("lifeboat repo restore tier:TIER SNAPSHOT"), "{told}");
    assert!(told.contains("--overwrite if-changed"), "{told}");
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
    assert!(far.contains("lost") && far.contains("not known"), "{text}");
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
    let status = environment.run(["status"]).stdout();
    assert!(row_of(&status, "far").contains("failed: 1 gone"), "{status}");
    let shown = environment.run(["tiers"]).success();
    assert!(shown.contains("gone: far: 1 snapshots"), "{shown}");
    assert!(shown.contains("next: lifeboat tiers catch-up far"), "{shown}");
    environment.run(["tiers", "catch-up", "far"]).success();
    environment.run(["verify", "far"]).success();
    let status = environment.run(["status"]).stdout();
    assert!(row_of(&status, "far").contains("passed"), "{status}");

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
