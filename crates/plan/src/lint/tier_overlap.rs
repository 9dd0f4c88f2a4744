//! A file asset that holds a tier, or lies in one: each backup would store the backups before it.

use lifeboat_model::{AssetName, TierName};

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;
use crate::plan::asset::FileSet;
use crate::value::path::HostPath;

pub(super) const RULE: Rule =
    Rule { code: "tier-overlap", severity: Severity::Error, needs_whole: false, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let document = inputs.document;
    let mut problems = Vec::new();
    for (asset, files) in document.assets.iter().filter_map(|(n, a)| Some((n, a.files()?))) {
        for (tier, folder) in document.tiers.iter().filter_map(|(n, t)| Some((n, t.url.folder()?)))
        {
            problems.extend(overlap(asset, files, tier, folder));
        }
    }
    problems
}

fn overlap(
    asset: &AssetName,
    files: &FileSet,
    tier: &TierName,
    folder: &HostPath,
) -> Option<Problem> {
    if !files.captures(folder.as_path()) {
        let inside = files.paths.iter().position(|path| folder.contains(path.as_path()))?;
        let message = format!("`{asset}` backs up what lies on the tier `{tier}`");
        return Some(
            Problem::at_value(place!["assets", asset, "paths", inside], message)
                .label(format!("inside `{folder}`, where copies are stored"))
                .help("move the tier to a folder of its own"),
        );
    }
    let holder = files.paths.iter().position(|path| path.contains(folder.as_path()))?;
    let message = format!("`{asset}` backs up the tier `{tier}`");
    Some(
        Problem::at_value(place!["assets", asset, "paths", holder], message)
            .label(format!("holds `{folder}`, where copies are stored"))
            .help(format!("add \"{folder}\" to the `exclude` of `{asset}`")),
    )
}
