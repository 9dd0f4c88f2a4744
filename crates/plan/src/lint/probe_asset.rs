//! A check that asks the wrong sort of asset, or does not say which database it asks.

use lifeboat_model::AssetName;

use super::walk::probes;
use super::{Inputs, Problem, Rule, Severity};
use crate::decode::listed;
use crate::place::Path;
use crate::plan::asset::Asset;
use crate::plan::check::Probe;

pub(super) const RULE: Rule =
    Rule { code: "probe-asset", severity: Severity::Error, needs_whole: false, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, probe) in probes(inputs) {
        match probe {
            Probe::FilesIn(probe) => {
                problems.extend(must_be_files(inputs, path.then("files_in"), &probe.files_in));
                problems.extend(must_be_database(inputs, &path, probe.asset.as_ref()));
            }
            Probe::Sql(probe) => {
                problems.extend(must_be_database(inputs, &path, probe.asset.as_ref()));
            }
            Probe::Files(probe) => {
                problems.extend(must_be_files(inputs, path.then("files"), &probe.files));
            }
            Probe::Http(_) | Probe::Tcp(_) | Probe::Dns(_) | Probe::Smtp(_) | Probe::Command(_) => {
            }
        }
    }
    problems
}

fn must_be_files(inputs: &Inputs<'_>, path: Path, name: &AssetName) -> Option<Problem> {
    let asset = inputs.document.assets.get(name)?;
    asset.files().is_none().then(|| of_other_kind(path, name, asset, "files"))
}

fn of_other_kind(path: Path, name: &AssetName, asset: &Asset, wanted: &str) -> Problem {
    let message = format!("`{name}` is of kind \"{}\"", asset.kind.kind());
    Problem::at_value(path, message).label(format!("must be an asset of kind \"{wanted}\""))
}

fn must_be_database(
    inputs: &Inputs<'_>,
    path: &Path,
    named: Option<&AssetName>,
) -> Option<Problem> {
    let assets = &inputs.document.assets;
    if let Some(name) = named {
        let asset = assets.get(name)?;
        let other = asset.postgres().is_none();
        return other.then(|| of_other_kind(path.then("asset"), name, asset, "postgres"));
    }
    let databases: Vec<_> = assets
        .iter()
        .filter(|(_, asset)| asset.postgres().is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    // With a broken asset nobody can tell how many databases there are.
    if databases.len() == 1 || !inputs.whole {
        return None;
    }
    let problem = Problem::at_value(path.then("sql"), "it is not said which database is asked");
    if databases.is_empty() {
        let problem = problem.label("the plan has no database");
        return Some(problem.help("add an asset of kind = \"postgres\""));
    }
    let known = listed(databases.into_iter());
    Some(problem.label("there are several").help(format!("write asset = …, one of {known}")))
}
