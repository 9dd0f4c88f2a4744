//! An asset whose copies all lie in one place.

use std::collections::BTreeSet;

use super::{Inputs, Problem, Rule, Severity, schedules_of};
use crate::place::place;

pub(super) const RULE: Rule =
    Rule { code: "single-copy", severity: Severity::Warning, needs_whole: true, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let document = inputs.document;
    let tiers_of = |asset| -> BTreeSet<_> {
        let schedules = schedules_of(inputs, asset);
        schedules.flat_map(|(_, schedule)| schedule.to.pick(document.tiers.keys())).collect()
    };
    let assets = document.assets.keys().map(|asset| (asset, tiers_of(asset)));
    assets
        .filter_map(|(asset, tiers)| {
            let mut tiers = tiers.into_iter();
            let (Some(only), None) = (tiers.next(), tiers.next()) else { return None };
            let message = format!("`{asset}` has copies on `{only}` alone");
            let problem = Problem::at_key(place!["assets", asset], message);
            Some(
                problem
                    .label("lost when that tier is lost")
                    .help("add a second tier to the `to` of one of its schedules"),
            )
        })
        .collect()
}
