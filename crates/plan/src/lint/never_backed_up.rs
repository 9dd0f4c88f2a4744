//! An asset that no schedule backs up.

use super::{Inputs, Problem, Rule, Severity, schedules_of};
use crate::place::place;

pub(super) const RULE: Rule =
    Rule { code: "never-backed-up", severity: Severity::Warning, needs_whole: true, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let assets = inputs.document.assets.keys();
    let forgotten = assets.filter(|asset| schedules_of(inputs, asset).next().is_none());
    forgotten
        .map(|asset| {
            Problem::at_key(place!["assets", asset], format!("`{asset}` is never backed up"))
                .label("no schedule has this asset")
                .help(format!("add `{asset}` to the `assets` of a schedule"))
        })
        .collect()
}
