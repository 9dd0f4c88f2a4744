//! A platform that is recovered elsewhere, lives there, and comes back: two places are two homes on one machine, which share
//! its tiers and what is protected.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lifeboat_testing::postgres::Cluster;
use nix::unistd::Uid;
use serde_json::json;

use crate::environment::{Ended, Environment};

/// How long something that has to happen is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

const SECTIONS: &str = r#"
[places.main]
host = "web-1.example.org"

[places.standby]
host = "web-2.example.org"

[classes]
critical = {}

[services.database]
class = "critical"
start = "touch SHARED/database"
stop = "rm SHARED/database"
holds = ["media"]

[services.front]
class = "critical"
needs = ["database"]
start = "test -e SHARED/database && touch SHARED/front"
stop = "rm SHARED/front"

[scenarios.loss]
runbook = "runbooks/loss.toml"

[scenarios.part]
runbook = "runbooks/part.toml"
"#;

const PART: &str = r#"
title = "Some files are lost"

[[steps]]
id = "media"
restore = { asset = "media", extent = "missing-or-different" }
"#;

const RUNBOOK: &str = r#"
title = "Loss of the host"

[[steps]]
id = "media"
restore = { asset = "media" }

[[steps]]
id = "start"
needs = ["media"]
start = ["*"]

[[steps]]
id = "names"
needs = ["start"]
run = "echo {{ target.place }} {{ target.host }} > SHARED/names"
"#;

/// Two places with their own state, plan and key.
struct Places {
    main: Environment,
    standby: Environment,
}

impl Places {
    fn new() -> Self {
        Self::with(&[], RUNBOOK)
    }

    /// Two places of a platform with more assets than files.
    fn with(more: &[&str], runbook: &str) -> Self {
        Self::at((Environment::new(), Environment::new()), more, runbook)
    }

    /// Two places at homes that are there.
    fn at((main, standby): (Environment, Environment), more: &[&str], runbook: &str) -> Self {
        main.write("shared/media/one.txt", "one");
        let shared = main.path("shared").display().to_string();
        let media = format!("media={shared}/media");
        let tier = |name: &str| format!("{name}={shared}/{name}");
        let (near, far) = (tier("near"), tier("far"));
        let words = ["init", "--no-discovery", "--confirm-later", "--site", "shop"];
        let places = ["--tier", &near, "--tier", &far, "--asset-path", &media];
        main.run(words.into_iter().chain(places).chain(more.iter().copied())).success();
        let plan = fs::read_to_string(main.path("plan.toml")).unwrap();
        main.write("plan.toml", format!("{plan}{SECTIONS}").replace("SHARED", &shared));
        main.write("runbooks/loss.toml", runbook.replace("SHARED", &shared));
        main.write("runbooks/part.toml", PART);
        for service in ["database", "front"] {
            main.write(&format!("shared/{service}"), "");
        }
        main.run(["place", "is", "main"]).success();
        main.run(["backup"]).success();
        Self { main, standby }
    }

    fn shared(&self, file: &str) -> PathBuf {
        self.main.path("shared").join(file)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.shared(file)).unwrap_or_default()
    }

    /// Lets the standby know what a tier knows, as on a bare machine.
    fn bootstrap(&self) {
        let key = fs::read(self.main.path("recovery.key")).unwrap();
        let key = self.standby.write("recovery.key", key).display().to_string();
        let from = self.shared("far").display().to_string();
        self.standby.run(["restore", "--from", &from, "--key-file", &key]).success();
        // The plan names the key where it lies on the main place.
        let plan = fs::read_to_string(self.standby.path("plan.toml")).unwrap();
        let (there, here) = (self.main.path("recovery.key"), self.standby.path("recovery.key"));
        let plan = plan.replace(&there.display().to_string(), &here.display().to_string());
        self.standby.write("plan.toml", plan);
        self.standby.run(["place", "is", "standby"]).success();
    }

    #[expect(clippy::disallowed_methods, reason = "nothing has to survive a crash")]
    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.shared(from), self.shared(to)).unwrap();
    }

    /// Loses what is protected, with everything that runs on it.
    fn lose(&self) {
        fs::remove_dir_all(self.shared("media")).unwrap();
        for service in ["database", "front"] {
            _ = fs::remove_file(self.shared(service));
        }
    }
}

fn recover(place: &Environment) -> Ended {
    place.run(["recover", "loss", "--confirm", "shop"])
}

fn state(place: &Environment) -> (String, String) {
    let shown = place.run(["place", "show", "--json"]).json();
    let residence = &shown["residence"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    (text(&residence["state"]), text(&residence["whereabouts"]["place"]))
}

fn lives(place: &str) -> (String, String) {
    ("lives".to_owned(), place.to_owned())
}

#[test]
fn a_platform_that_was_recovered_elsewhere_comes_back_with_all_that_was_written_there() {
    let places = Places::new();
    let Places { main, standby } = &places;
    assert_eq!(state(main), lives("main"));
    places.bootstrap();
    let refused = standby.run(["backup"]).failure(1);
    assert!(refused.contains("lives at `main`") && refused.contains("place claim"), "{refused}");

    // The main place is lost; the standby takes over.
    places.lose();
    let ahead = standby.run(["recover", "loss", "--dry-run"]).success();
    assert!(ahead.contains("moves to `standby`") && ahead.contains("not handed over"), "{ahead}");
    // A part of it does not make it live there.
    let part = standby.run(["recover", "part", "--dry-run"]).success();
    assert!(part.contains("moves nothing: media does not come back whole"), "{part}");
    let part = standby.run(["recover", "part", "--confirm", "shop"]);
    assert_eq!((part.code(), state(standby)), (0, lives("main")), "{part}");
    places.lose();
    let ended = recover(standby);
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(ended.stdout().contains("the platform lives at `standby`"), "{ended}");
    assert_eq!(places.read("names"), "standby web-2.example.org\n");
    assert_eq!(state(standby), lives("standby"));
    standby.run(["backup"]).success();

    // The main place comes up again, with what it knew, and keeps its hands off.
    let refused = main.run(["backup"]).failure(1);
    for told in ["lives at `standby`", "this is `main`", "of `loss`", "lifeboat recover SCENARIO"] {
        assert!(refused.contains(told), "{told}: {refused}");
    }
    for words in [["retention", "run"], ["tiers", "catch-up"]] {
        let refused = main.run(words).failure(1);
        assert!(refused.contains("lives at `standby`"), "{refused}");
    }
    let status = main.run(["status"]);
    assert!(status.stdout().contains("the platform lives at `standby`"), "{status}");

    // What is written at the standby meanwhile comes back with it.
    main.write("shared/media/two.txt", "two");
    let handed = standby.run(["place", "hand-over", "--to", "main", "--confirm", "shop"]).success();
    assert!(handed.contains("stopped: front\nstopped: database\n"), "{handed}");
    assert!(!places.shared("front").exists() && !places.shared("database").exists());
    let refused = standby.run(["backup"]).failure(1);
    assert!(refused.contains("stands still") && refused.contains("to `main`"), "{refused}");
    let refused = main.run(["backup"]).failure(1);
    assert!(refused.contains("stands still"), "{refused}");

    places.lose();
    let ahead = main.run(["recover", "loss", "--dry-run"]);
    assert_eq!(ahead.code(), 0, "{ahead}");
    assert!(ahead.stdout().contains("loses nothing: the platform was handed over"), "{ahead}");
    let ahead = main.run(["recover", "loss", "--dry-run", "--json"]).json();
    assert_eq!((&ahead["loss_ms"], &ahead["destination"]["is_whole"]), (&0.into(), &true.into()));
    let ended = recover(main);
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(
        (places.read("media/one.txt"), places.read("media/two.txt")),
        ("one".into(), "two".into())
    );
    assert_eq!(places.read("names"), "main web-1.example.org\n");
    assert_eq!(state(main), lives("main"));
    main.run(["backup"]).success();
    let refused = standby.run(["backup"]).failure(1);
    assert!(refused.contains("lives at `main`"), "{refused}");

    // The same once more, the other way round: no place is special.
    main.run(["place", "hand-over", "--confirm", "shop"]).success();
    assert_eq!(recover(standby).code(), 0);
    assert_eq!(state(main), lives("standby"));
}

#[test]
fn a_hand_over_that_fails_starts_again_what_it_stopped() {
    let places = Places::new();
    let main = &places.main;
    for tier in ["near", "far"] {
        places.rename(tier, &format!("{tier}-away"));
    }
    let unasked = main.run(["place", "hand-over", "--confirm", "shop"]).failure(1);
    assert!(unasked.contains("is not known") && unasked.contains("(far, near)"), "{unasked}");
    main.run(["backup"]).failure(1);
    for tier in ["near", "far"] {
        places.rename(&format!("{tier}-away"), tier);
    }
    // What cannot be captured is not handed over.
    places.rename("media", "media-away");
    let failed = main.run(["place", "hand-over", "--confirm", "shop"]).failure(3);
    assert!(failed.contains("`media` was not captured as a whole"), "{failed}");
    for service in ["database", "front"] {
        assert!(places.shared(service).exists(), "{service}: {failed}");
    }
    places.rename("media-away", "media");
    assert_eq!(state(main), lives("main"));
    main.run(["backup"]).success();
    // Nor is what goes on though it said that it stopped.
    let plan = fs::read_to_string(main.path("plan.toml")).unwrap();
    let (stop, front) =
        ("stop = \"rm SHARED/front\"", places.shared("front").display().to_string());
    let lying = format!("stop = \"true\"\nhealth = {{ command = \"test -e {front}\" }}");
    let stop = stop.replace("SHARED/front", &front);
    assert!(plan.contains(&stop), "{plan}");
    main.write("plan.toml", plan.replace(&stop, &lying));
    let lied = main.run(["place", "hand-over", "--confirm", "shop"]).failure(1);
    assert!(lied.contains("`front`") && lied.contains("it goes on, though"), "{lied}");
    main.write("plan.toml", plan);
    let unconfirmed = main.run(["place", "hand-over"]).failure(2);
    assert!(unconfirmed.contains("--confirm shop"), "{unconfirmed}");
    let own = main.run(["place", "hand-over", "--to", "main", "--confirm", "shop"]).failure(2);
    assert!(
        own.contains("lives at `main` already") && own.contains("nothing was stopped"),
        "{own}"
    );
    let unknown = main.run(["place", "hand-over", "--to", "moon", "--confirm", "shop"]).failure(2);
    assert!(unknown.contains("no place `moon`") && unknown.contains("main, standby"), "{unknown}");
    assert!(places.shared("front").exists());
}

/// Waits until something is so.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
    }
}

#[test]
fn a_hand_over_that_is_killed_is_told_and_gone_on_with_or_taken_back() {
    let places = Places::new();
    let main = &places.main;
    let plan = fs::read_to_string(main.path("plan.toml")).unwrap();
    let shared = places.shared("").display().to_string();
    let stop = format!("stop = \"rm {shared}database\"");
    let hangs = format!("stop = \"rm -f {shared}database; test -e {shared}go || sleep 600\"");
    assert!(plan.contains(&stop), "{plan}");
    let plan = plan.replace(&stop, &hangs).replace("stop = \"rm ", "stop = \"rm -f ");
    main.write("plan.toml", plan);
    let nothing = main.run(["place", "hand-over", "--take-back"]).failure(1);
    assert!(nothing.contains("no hand-over was begun"), "{nothing}");
    let cut_short = || {
        let words = ["place", "hand-over", "--to", "standby", "--confirm", "shop"];
        let mut handing = main.start(words);
        wait_until("it stops the database", || !places.shared("database").exists());
        let told = main.run(["place", "show"]).success();
        assert!(
            told.contains("is handed over since") && told.contains("front, database"),
            "{told}"
        );
        let busy = main.run(words).failure(1);
        assert!(busy.contains("hands the platform over since"), "{busy}");
        handing.kill().unwrap();
        handing.wait().unwrap();
        for words in [&["place", "show"][..], &["status"]] {
            let told = main.run(words.iter().copied());
            for part in ["cut short", "front, database", "hand-over --to standby", "--take-back"] {
                assert!(told.stdout().contains(part), "{part}: {told}");
            }
        }
    };
    cut_short();
    let back = main.run(["place", "hand-over", "--take-back"]).success();
    assert!(back.contains("started: database\nstarted: front\n"), "{back}");
    assert!(places.shared("database").exists() && places.shared("front").exists());
    let told = main.run(["place", "show"]).success();
    assert!(!told.contains("cut short"), "{told}");
    assert_eq!(state(main), lives("main"));

    cut_short();
    fs::File::create(places.shared("go")).unwrap();
    main.run(["place", "hand-over", "--to", "standby", "--confirm", "shop"]).success();
    let told = main.run(["place", "show"]).success();
    assert!(!told.contains("cut short") && told.contains("stands still"), "{told}");
}

#[test]
fn a_claim_says_which_tiers_tell_of_it() {
    let places = Places::new();
    let main = &places.main;
    let claim = || main.run(["place", "claim", "--reason", "it does"]);
    assert!(claim().success().contains("told by far, near"));
    places.rename("near", "near-away");
    let some = claim();
    assert_eq!(some.code(), 0, "{some}");
    let told = some.stdout();
    assert!(told.contains("told by far\n") && told.contains("not told by near: "), "{told}");
    places.rename("far", "far-away");
    let none = claim();
    assert_eq!(none.code(), 3, "{none}");
    assert!(none.stdout().contains("no other place knows of it yet"), "{none}");
    let json = main.run(["place", "claim", "--reason", "it does", "--json"]).json();
    assert_eq!((&json["told"], json["untold"].as_object().unwrap().len()), (&json!([]), 2));
    // It holds here, and is told once they answer.
    for tier in ["near", "far"] {
        places.rename(&format!("{tier}-away"), tier);
    }
    main.run(["backup"]).success();
    places.bootstrap();
    assert_eq!(state(&places.standby), lives("main"));
}

/// A step that waits until it is let go on.
const WAITS: &str = r#"
title = "Loss of the host"

[[steps]]
id = "wait"
run = "touch SHARED/waits; until test -e SHARED/go; do sleep 0.05; done"
retry = { times = 1, wait = "1s" }

[[steps]]
id = "media"
needs = ["wait"]
restore = { asset = "media" }
"#;

#[test]
fn while_a_recovery_goes_on_elsewhere_the_place_where_it_lived_leaves_the_platform_alone() {
    let places = Places::with(&[], WAITS);
    let Places { main, standby } = &places;
    places.bootstrap();
    let begin = |words: &[&str]| {
        _ = fs::remove_file(places.shared("waits"));
        let driving = standby.start(words.iter().copied());
        wait_until("its first step begins", || places.shared("waits").exists());
        driving
    };
    let mut driving = begin(&["recover", "loss", "--confirm", "shop"]);
    for words in [&["backup"][..], &["retention", "run"], &["tiers", "catch-up"]] {
        let refused = main.run(words.iter().copied()).failure(1);
        assert!(refused.contains("of `loss` brings the platform to `standby`"), "{refused}");
    }
    for words in [&["place", "show"][..], &["status"], &["recover", "loss", "--dry-run"]] {
        let told = main.run(words.iter().copied());
        assert!(told.stdout().contains("a recovery goes on: run_"), "{told}");
    }
    // A second one would contradict it, which is said while nothing is done yet.
    let second = main.run(["recover", "loss", "--confirm", "shop"]).failure(1);
    assert!(
        second.contains("would contradict it") && second.contains("--despite run_"),
        "{second}"
    );
    main.run(["recover", "status"]).failure(1);

    // Once it is given up there, the platform lives where it lived.
    driving.kill().unwrap();
    driving.wait().unwrap();
    standby.run(["recover", "abort", "--reason", "main is well"]).success();
    let aborted = standby.run(["recover", "--resume"]);
    assert!(aborted.stdout().contains("aborted"), "{aborted}");
    assert_eq!(state(main), lives("main"));
    main.run(["backup"]).success();

    // Whoever says that the other one's host is lost goes beyond it, and is the one who counts.
    let mut driving = begin(&["recover", "loss", "--confirm", "shop"]);
    driving.kill().unwrap();
    driving.wait().unwrap();
    fs::File::create(places.shared("go")).unwrap();
    let shown = main.run(["place", "show", "--json"]).json();
    let run = shown["underway"][0]["run"].as_str().unwrap().to_owned();
    let despite = main.run(["recover", "loss", "--confirm", "shop", "--despite", &run]);
    assert_eq!(despite.code(), 0, "{despite}");
    assert_eq!(state(main), lives("main"));
    main.run(["backup"]).success();
    let moved = main.run(["catalog", "list", "--kind", "place-sought"]).success();
    assert!(moved.contains("`main`") && moved.contains("`standby`"), "{moved}");
    // The host comes up again after all, and the first one does not go on.
    let resumed = standby.run(["recover", "--resume"]).failure(1);
    assert!(resumed.contains("went beyond this recovery"), "{resumed}");
    standby.run(["recover", "abort", "--reason", "main lives"]).success();
    assert!(standby.run(["recover", "--resume"]).stdout().contains("aborted"));
    assert_eq!(state(standby), lives("main"));
}

#[test]
fn as_root_a_drill_at_another_place_fences_nobody() {
    assert!(Uid::effective().is_root(), "only root has a yard");
    let below = || Environment::below(Path::new("/var/lib"));
    let places = Places::at((below(), below()), &[], WAITS);
    places.bootstrap();
    fs::File::create(places.shared("go")).unwrap();
    let drilled = places.standby.run(["drill", "loss", "--json"]);
    assert!(drilled.json()["entries"].as_u64().unwrap() > 3, "{drilled}");
    places.main.run(["backup"]).success();
    assert_eq!(state(&places.main), lives("main"));
    let told = places.main.run(["--json", "catalog", "list", "--kind", "place-sought"]).json();
    assert_eq!(told["records"], json!([]));
}

#[test]
fn two_places_that_did_not_know_of_each_other_both_stop_until_a_person_says_which() {
    let places = Places::new();
    let Places { main, standby } = &places;
    places.bootstrap();
    // Neither sees what the other one says.
    let tiers = ["near", "far"];
    let copies = |from: &str, to: &str| {
        for tier in tiers {
            let (from, to) = (format!("{tier}{from}"), format!("{tier}{to}"));
            _ = fs::remove_dir_all(places.shared(&to));
            copy(&places.shared(&from), &places.shared(&to));
        }
    };
    copies("", "-before");
    standby.run(["place", "claim", "--reason", "main does not answer"]).success();
    copies("", "-standby");
    copies("-before", "");
    main.run(["place", "claim", "--reason", "standby does not answer"]).success();
    for tier in tiers {
        let from = places.shared(&format!("{tier}-standby")).join("catalog");
        copy(&from, &places.shared(tier).join("catalog"));
    }
    for place in [main, standby] {
        let refused = place.run(["backup"]).failure(1);
        assert!(refused.contains("none knew of the others"), "{refused}");
    }
    main.run(["place", "claim", "--reason", "its data count"]).success();
    main.run(["backup"]).success();
    let refused = standby.run(["backup"]).failure(1);
    assert!(refused.contains("lives at `main`") && refused.contains("its data count"), "{refused}");
}

/// Copies a folder into another one, over what is there.
fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from.join(".")).arg(to);
    lifeboat_tiers::durable::create_directories(to, 0o755).unwrap();
    assert!(command.status().unwrap().success());
}

/// Brings a database back, too.
const WITH_DATABASE: &str = r#"
title = "Loss of the host"

[[steps]]
id = "database"
restore = { asset = "database" }

[[steps]]
id = "media"
needs = ["database"]
restore = { asset = "media" }

[[steps]]
id = "start"
needs = ["media"]
start = ["*"]
"#;

#[test]
fn rows_that_were_written_at_the_other_place_come_back_with_the_platform() {
    let cluster = Cluster::start().unwrap();
    cluster.create_database("shop").unwrap();
    cluster.psql("shop", "CREATE TABLE orders (id int PRIMARY KEY)").unwrap();
    cluster.psql("shop", "INSERT INTO orders VALUES (1)").unwrap();
    let database = format!("database={}", cluster.connect_string("shop"));
    let places = Places::with(&["--database", &database], WITH_DATABASE);
    places.bootstrap();
    places.lose();
    cluster.psql("shop", "DELETE FROM orders").unwrap();
    let ended = recover(&places.standby);
    assert_eq!(ended.code(), 0, "{ended}");
    cluster.psql("shop", "INSERT INTO orders VALUES (2)").unwrap();
    let handed = places.standby.run(["place", "hand-over", "--confirm", "shop"]);
    assert_eq!(handed.code(), 0, "{handed}");
    cluster.psql("shop", "DELETE FROM orders").unwrap();
    let ahead = places.main.run(["recover", "loss", "--dry-run", "--json"]).json();
    assert_eq!((&ahead["loss_ms"], &ahead["destination"]["is_whole"]), (&0.into(), &true.into()));
    let ended = recover(&places.main);
    assert_eq!(ended.code(), 0, "{ended}");
    let orders = cluster.psql("shop", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM orders");
    assert_eq!(orders.unwrap(), "1 2");
    assert_eq!(state(&places.main), lives("main"));
}
