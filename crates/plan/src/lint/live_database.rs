//! The files of a running database server inside a file asset: a copy of them cannot be restored.

use std::path::{Path, PathBuf};

use lifeboat_model::AssetName;

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;
use crate::plan::asset::FileSet;

pub(super) const RULE: Rule =
    Rule { code: "live-database", severity: Severity::Error, needs_whole: false, check };

/// Where packages put the data of PostgreSQL: Debian, Red Hat, FreeBSD and the source, macOS.
const KNOWN_LOCATIONS: [&str; 4] = [
    "/var/lib/postgresql",
    "/var/lib/pgsql",
    "/usr/local/pgsql/data",
    "/opt/homebrew/var/postgresql",
];

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let found = &inputs.facts.data_directories;
    let known = KNOWN_LOCATIONS.iter().map(PathBuf::from);
    // What was found on the machine is better than what is usual.
    let locations: Vec<_> = if found.is_empty() { known.collect() } else { found.clone() };
    let assets = inputs.document.assets.iter();
    let mut problems = Vec::new();
    for (asset, files) in assets.filter_map(|(name, asset)| Some((name, asset.files()?))) {
        problems.extend(locations.iter().filter_map(|location| named(asset, files, location)));
        problems.extend(passed_over(asset, files, found));
    }
    problems
}

/// A path that is the data of a server, or lies in it.
fn named(asset: &AssetName, files: &FileSet, location: &Path) -> Option<Problem> {
    let at = files.paths.iter().position(|path| path.as_path().starts_with(location))?;
    let message = format!("`{asset}` backs up the files of a running PostgreSQL server");
    Some(
        Problem::at_value(place!["assets", asset, "paths", at], message)
            .label("changes while it is read, so a copy is of no use")
            .help(
                "protect the database by an asset of kind = \"postgres\", and leave this path out",
            ),
    )
}

/// Data that lies somewhere below a path: it is left out by itself, which has to be said.
fn passed_over(asset: &AssetName, files: &FileSet, locations: &[PathBuf]) -> Option<Problem> {
    let inside = |location: &&PathBuf| {
        files.captures(location)
            && !files.paths.iter().any(|path| path.as_path().starts_with(location))
    };
    let location = locations.iter().find(inside)?;
    let at = files.paths.iter().position(|path| path.contains(location))?;
    let location = location.display();
    let message =
        format!("the files of a PostgreSQL server below `{location}` are left out of `{asset}`");
    Some(
        Problem::at_value(place!["assets", asset, "paths", at], message)
            .severity(Severity::Note)
            .label("they change while they are read")
            .help(format!("add \"{location}\" to `exclude` to say it yourself")),
    )
}
