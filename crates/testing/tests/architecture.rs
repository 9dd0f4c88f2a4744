//! Holds the house to its drawing: who may import whom, and what every source file looks like.
//!
//! `docs/ARCHITECTURE.md` says why. An edge is added here in the commit that changes that page.

mod project;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use project::{Source, root, sources};

/// Which rooms a room may import; what stands beside the house is not in it.
const ROOMS: [(&str, &[&str]); 8] = [
    ("model", &[]),
    ("plan", &["model"]),
    ("runbook", &["model"]),
    ("tiers", &["model"]),
    ("repository", &["model", "tiers"]),
    ("postgres", &["model", "tiers", "repository"]),
    ("ops", &["model", "plan", "runbook", "tiers", "repository", "postgres"]),
    ("lifeboat", &["model", "plan", "runbook", "tiers", "repository", "postgres", "ops"]),
];

/// Beside the house: may import rooms, but only tests and each other may import them.
const BESIDE: [&str; 4] = ["testing", "bench", "proof", "techit"];

/// Of these, what tests of the rooms stand on.
const SUPPORT: [&str; 2] = ["testing", "techit"];

/// Longer than this, a file holds two ideas.
const SOURCE_LINES_MAX: usize = 800;

/// Names that say nothing, under which everything collects.
const ATTICS: [&str; 7] = ["utils", "util", "common", "helpers", "helper", "misc", "manager"];

fn room(package: &str) -> &str {
    package.strip_prefix("lifeboat-").unwrap_or(package)
}

fn packages() -> Vec<Package> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.other_options(vec!["--offline".to_owned()]);
    command.exec().expect("cargo reads its own workspace").packages
}

/// Imports of `package` among the project's own crates, and whether only its tests import them.
fn imports(package: &Package) -> Vec<(&str, bool)> {
    let own = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
    own.map(|dependency| (room(&dependency.name), dependency.kind == DependencyKind::Development))
        .collect()
}

#[test]
fn imports_run_one_way() {
    let packages = packages();
    let mut wrong = Vec::new();
    for package in &packages {
        let name = room(&package.name);
        if BESIDE.contains(&name) {
            continue;
        }
        let allowed = ROOMS.iter().find(|(room, _)| *room == name);
        let Some((_, allowed)) = allowed else {
            panic!("`{name}` is a new room: name it in docs/ARCHITECTURE.md and here");
        };
        for (import, is_for_tests) in imports(package) {
            let is_support = is_for_tests && SUPPORT.contains(&import);
            if !is_support && !allowed.contains(&import) {
                wrong.push(format!("{name} -> {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that the architecture does not have: {wrong:?}");
    for (room_name, _) in ROOMS {
        let exists = packages.iter().any(|package| room(&package.name) == room_name);
        assert!(exists, "the room `{room_name}` is gone");
    }
}

#[test]
fn the_drawing_has_no_circle() {
    // The rooms are listed so that each imports only from those before it.
    for (index, (room, allowed)) in ROOMS.iter().enumerate() {
        for import in *allowed {
            let before = ROOMS[..index].iter().any(|(earlier, _)| earlier == import);
            assert!(before, "{room} -> {import}");
        }
    }
}

#[test]
fn every_dependency_comes_from_the_workspace_table() {
    let mut wrong = Vec::new();
    for package in packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for (name, value) in dependencies {
                let inherits = value.get("workspace").and_then(toml::Value::as_bool);
                if inherits != Some(true) {
                    wrong.push(format!("{}: {name}", package.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "versions are written in the workspace's table alone: {wrong:?}");
}

fn offenders(is_wrong: impl Fn(&Source) -> bool) -> Vec<String> {
    sources().into_iter().filter(|source| is_wrong(source)).map(|source| source.name).collect()
}

#[test]
fn every_source_file_says_what_it_is() {
    let wrong = offenders(|source| !source.text.starts_with("//!"));
    assert!(wrong.is_empty(), "these do not open with `//!`: {wrong:?}");
}

#[test]
fn no_source_file_is_too_long() {
    let wrong = offenders(|source| source.text.lines().count() > SOURCE_LINES_MAX);
    assert!(wrong.is_empty(), "these have more than {SOURCE_LINES_MAX} lines: {wrong:?}");
}

#[test]
fn no_source_file_is_an_attic() {
    let wrong = offenders(|source| {
        let name = source.name.trim_end_matches(".rs").trim_end_matches("/mod");
        let name = name.rsplit('/').next().unwrap_or(name);
        ATTICS.iter().any(|attic| {
            name == *attic
                || name.ends_with(&format!("_{attic}"))
                || name.starts_with(&format!("{attic}_"))
        })
    });
    assert!(wrong.is_empty(), "what these hold has a better name: {wrong:?}");
}

#[test]
fn only_the_binary_reads_the_environment() {
    const READS: [&str; 5] =
        ["env::var", "env::vars", "env::args", "env::home_dir", "env::current_dir"];
    let is_library = |name: &str| {
        let rooms = ROOMS.iter().filter(|(room, _)| *room != "lifeboat");
        rooms.map(|(room, _)| format!("crates/{room}/src/")).any(|start| name.starts_with(&start))
    };
    // A long test is told by the environment how long, as `make year` does.
    let is_test = |name: &str| name.contains("/tests/") || name.ends_with("/tests.rs");
    let wrong = offenders(|source| {
        is_library(&source.name)
            && !is_test(&source.name)
            && READS.iter().any(|read| source.without_tests().contains(read))
    });
    assert!(wrong.is_empty(), "these read what the binary should hand them: {wrong:?}");
}
