//! A tier that no schedule and no write-ahead log fills.

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;

pub(super) const RULE: Rule =
    Rule { code: "tier-unfilled", severity: Severity::Warning, needs_whole: true, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let document = inputs.document;
    let scheduled = |tier| document.schedules.values().any(|schedule| schedule.to.includes(tier));
    let logged = |tier| {
        let mut databases = document.assets.values().filter_map(|asset| asset.postgres());
        databases.any(|database| database.wal.to.contains(tier))
    };
    let unfilled = document.tiers.keys().filter(|tier| !scheduled(tier) && !logged(tier));
    unfilled
        .map(|tier| {
            Problem::at_key(place!["tiers", tier], format!("nothing is ever stored on `{tier}`"))
                .label("no schedule has this tier")
                .help(format!("add `{tier}` to the `to` of a schedule, or remove the tier"))
        })
        .collect()
}
