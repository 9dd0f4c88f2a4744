//! Holds the documents to the code: what they name exists, and what must be argued for is.

mod project;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use project::{root, sources};

fn document(name: &str) -> String {
    let path = root().join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns what stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_identifier(text: &str) -> bool {
    text.contains('_')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The outside libraries of the workspace's table.
fn dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it can be read");
    let manifest: toml::Table = manifest.parse().expect("it is TOML");
    let table = manifest["workspace"]["dependencies"].as_table().expect("it is a table");
    let outside = table.iter().filter(|(_, wanted)| wanted.get("path").is_none());
    outside.map(|(name, _)| name.clone()).collect()
}

#[test]
fn every_dependency_is_argued_for() {
    let argued: BTreeSet<String> = document("dependencies.md")
        .lines()
        .filter_map(|line| line.strip_prefix("- **")?.split_once("**"))
        .flat_map(|(names, _)| quoted(names).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let known = dependencies();
    assert_eq!(
        known.difference(&argued).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "not argued for"
    );
    assert_eq!(argued.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "gone");
}

#[test]
fn every_dependency_is_used() {
    let mut manifests = String::new();
    for folder in ["crates", "examples"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            manifests += &fs::read_to_string(entry.unwrap().path().join("Cargo.toml")).unwrap();
        }
    }
    let is_used = |name: &str| {
        let plain = format!("\n{name}.workspace");
        let extended = format!("\n{name} = {{ workspace");
        manifests.contains(&plain) || manifests.contains(&extended)
    };
    let unused: Vec<_> = dependencies().into_iter().filter(|name| !is_used(name)).collect();
    assert!(unused.is_empty(), "nobody uses {unused:?}");
}

/// A mutant that does not fit the source any more proves nothing, and is found out only when somebody tries it.
#[test]
fn every_mutant_fits_the_source() {
    let entries = fs::read_dir(root().join("dev/mutants")).unwrap();
    let mutants: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(mutants.len() > 10, "{mutants:?}");
    for mutant in mutants {
        let mut git = Command::new("git");
        git.args(["apply", "--check"]).arg(&mutant).current_dir(root());
        let tried = git.output().unwrap();
        let said = String::from_utf8_lossy(&tried.stderr);
        assert!(tried.status.success(), "{}: {said}", mutant.display());
    }
}

#[test]
fn the_tests_that_the_invariants_name_exist() {
    let code: String = sources().into_iter().map(|source| source.text).collect();
    let invariants = document("INVARIANTS.md");
    let named = quoted(&invariants).map(|text| text.rsplit("::").next().unwrap_or(text));
    let named: BTreeSet<&str> = named.filter(|text| is_identifier(text)).collect();
    assert!(!named.is_empty(), "INVARIANTS.md names no test");
    let gone: Vec<_> = named.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(gone.is_empty(), "INVARIANTS.md names tests that do not exist: {gone:?}");
}

#[test]
fn what_is_proven_on_which_postgresql_is_proven_by_tests_that_exist() {
    let (sources, page) = (sources(), document("postgresql-versions.md"));
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(rows.len() > 10, "the table is gone");
    for row in rows {
        let proof = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let named: Vec<_> = quoted(proof).collect();
        assert!(!named.is_empty() || proof.trim() == "the same", "nothing proves: {row}");
        for name in named {
            let is_there = |source: &project::Source| {
                let is_test = source.text.contains(&format!("#[test]\nfn {name}("));
                let is_ignored = source.text.contains(&format!("runs it\"]\nfn {name}("));
                source.name.ends_with(name) || is_test || is_ignored
            };
            assert!(sources.iter().any(is_there), "no test is named {name}");
        }
    }
}

#[test]
fn every_error_code_has_its_page() {
    let code: String = sources().iter().map(|source| source.without_tests().to_owned()).collect();
    let used: BTreeSet<String> = code
        .split("ErrorCode(\"")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
        .collect();
    let pages: BTreeSet<String> = fs::read_dir(root().join("docs/errors"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".md").filter(|name| *name != "README").map(str::to_owned)
        })
        .collect();
    assert_eq!(used, pages, "codes in the sources and pages below docs/errors");
}
