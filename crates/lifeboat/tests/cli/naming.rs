//! A tier is named by its name or by its address, by every command alike; and plumbing by a tier's name.

use std::collections::BTreeSet;

use crate::environment::Environment;

/// Every command that names a tier, as its manual's page is called, and how it is called with `TIER` in it.
const COMMANDS: [(&str, &str); 15] = [
    ("backup", "backup --to TIER"),
    ("evidence-list", "evidence list --from TIER"),
    ("evidence-show", "evidence show --from TIER"),
    ("evidence-times", "evidence times --from TIER"),
    ("evidence-verify", "evidence verify --from TIER"),
    ("query", "query media --at latest --sql SELECT --tier TIER"),
    ("recover", "recover fire --dry-run --without TIER"),
    ("restore", "restore media --to out --dry-run --tier TIER"),
    ("retention-let-go", "retention let-go TIER --all"),
    ("retention-run", "retention run TIER"),
    ("retention-show", "retention show TIER"),
    ("test", "test --tier TIER"),
    ("tiers-catch-up", "tiers catch-up TIER"),
    ("tiers-mark", "tiers mark TIER"),
    ("verify", "verify --read-data none TIER"),
];

/// What PostgreSQL calls; it ends in codes of its own.
const FETCHES: (&str, &str) = ("wal-get", "wal get 000000010000000000000001 out --from TIER");

/// A site with media on one tier, backed up.
fn site() -> Environment {
    // What opens other repositories does not open a tier's.
    let environment = Environment::new().with("RESTIC_PASSWORD", "of another one");
    environment.write("media/a", "a");
    let path = format!("media={}", environment.path("media").display());
    let tier = format!("primary={}", environment.path("backups").display());
    let made = ["init", "--no-discovery", "--confirm-later", "--site", "shop", "--tier", &tier];
    environment.run(made.iter().chain(&["--asset-path", path.as_str()])).success();
    environment.run(["backup"]).success();
    environment
}

/// Runs a command with a tier in it; returns its exit code and what it says of tiers.
fn run(environment: &Environment, command: &str, tier: &str) -> (i32, String) {
    let words = command.split(' ').map(|word| if word == "TIER" { tier } else { word });
    let ended = environment.run(words);
    (ended.code(), ended.stderr())
}

#[test]
fn every_command_that_names_a_tier_is_tried_here() {
    let environment = Environment::new();
    let pages = environment.path("pages");
    lifeboat_tiers::durable::create_directories(&pages, 0o755).unwrap();
    environment.run(["man", "pages"]).success();
    let naming = pages.read_dir().unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_stem()?.to_str()?.strip_prefix("lifeboat-")?.to_owned();
        let page = std::fs::read_to_string(&path).unwrap();
        [r"\fITIER\fR", r"\fI<TIER>\fR"].iter().any(|value| page.contains(value)).then_some(name)
    });
    let tried = COMMANDS.iter().chain([&FETCHES]).map(|(page, _)| (*page).to_owned());
    assert_eq!(naming.collect::<BTreeSet<_>>(), tried.collect::<BTreeSet<_>>());
}

#[test]
fn a_command_takes_the_name_and_every_spelling_of_the_address() {
    let environment = site();
    let home = environment.path("").display().to_string();
    let home = home.trim_end_matches('/');
    let spellings =
        [format!("file://{home}/backups"), format!("{home}/backups/"), "./backups".to_owned()];
    for (_, command) in COMMANDS.into_iter().chain([FETCHES]) {
        let (code, by_name) = run(&environment, command, "primary");
        for spelling in &spellings {
            let (other, told) = run(&environment, command, spelling);
            assert_eq!(other, code, "{command}, {spelling}: {told}");
            assert!(!told.contains("no tier"), "{command}, {spelling}: {told}");
        }
        assert!(!by_name.contains("no tier"), "{command}: {by_name}");
    }
}

#[test]
fn what_is_no_tier_of_the_plan_is_refused_with_those_that_are() {
    let environment = site();
    for (_, command) in COMMANDS.into_iter().chain([FETCHES]) {
        let refused = if command == FETCHES.1 { 255 } else { 2 };
        let (code, told) = run(&environment, command, "s3://elsewhere/site");
        assert_eq!(code, refused, "{command}: {told}");
        assert!(
            told.contains("no tier of the plan is at s3://elsewhere/site"),
            "{command}: {told}"
        );
        assert!(told.contains("primary at file://[HOME]/backups"), "{command}: {told}");
        assert!(told.contains("lifeboat restore --from"), "{command}: {told}");
        let (code, told) = run(&environment, command, "secondary");
        assert_eq!(code, refused, "{command}: {told}");
        assert!(
            told.contains("`secondary`") && told.contains("it has primary"),
            "{command}: {told}"
        );
        let (code, told) = run(&environment, command, "gs://bucket");
        assert!(code == 5 || code == refused, "{command}: {told}");
        assert!(told.contains("gs:"), "{command}: {told}");
    }
}

#[test]
fn plumbing_reaches_the_repository_of_a_tier_by_its_name() {
    let environment = site();
    let list = |word: &str| environment.run(["repo", "snapshots", word]);
    let snapshots = list("tier:primary").success();
    assert!(snapshots.contains("media"), "{snapshots}");
    assert_eq!(list("primary").success(), snapshots, "nothing else is called so");
    let by_address = format!("tier:file://{}", environment.path("backups/").display());
    assert_eq!(list(&by_address).success(), snapshots);
    let repaired = environment.run(["repo", "repair", "index", &by_address, "--dry-run"]);
    assert_eq!(repaired.code(), 0, "{repaired}");
    // Where something is, a bare name says too little.
    environment.write("primary/a", "");
    let told = list("primary").failure(2);
    assert!(told.contains("./primary") && told.contains("tier:primary"), "{told}");
    assert_eq!(list("tier:primary").success(), snapshots);
    list("./primary").failure(10);
    // A plan that cannot be read takes nothing away from who did not name it.
    let plan = std::fs::read_to_string(environment.path("plan.toml")).unwrap();
    environment.write("plan.toml", "format = ");
    list("primary").failure(10);
    environment.run(["repo", "snapshots", "primary", "--plan", "plan.toml"]).failure(2);
    environment.write("plan.toml", plan);

    let told = list("tier:secondary").failure(2);
    assert!(told.contains("it has primary"), "{told}");
    let told = list("backups").failure(10);
    assert!(told.contains("the tier `primary`") && told.contains("`tier:primary`"), "{told}");
    let told = environment.run(["repo", "init", "tier:primary"]).failure(2);
    assert!(told.contains("lifeboat backup"), "{told}");
    let told = environment.run(["repo", "prune", "tier:primary", "--prompt-listing"]).failure(2);
    assert!(told.contains("prompt_listing = true"), "{told}");
    let stranger = environment.write("password", "wrong\n").display().to_string();
    environment
        .run(["repo", "snapshots", "tier:primary", "--password-file", &stranger])
        .failure(12);
}
