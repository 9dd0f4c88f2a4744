//! Copies that are gone before the next one comes, or before damage would be noticed.

use std::time::Duration;

use lifeboat_model::{AssetName, TierName};

use super::{
    Inputs, Problem, Rule, Severity, longest_interval_of, schedules_filling, schedules_of,
};
use crate::decode::listed;
use crate::place::place;
use crate::plan::tier::Keep;
use crate::value::duration::Span;

pub(super) const RULE: Rule =
    Rule { code: "retention-too-short", severity: Severity::Warning, needs_whole: true, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let tiers = inputs.document.tiers.keys();
    let mut problems: Vec<_> = tiers.filter_map(|tier| before_the_next(inputs, tier)).collect();
    problems.extend(before_noticed(inputs));
    problems
}

/// How long a copy of `asset` lives on `tier`; `None` if nothing bounds it by time.
fn lifetime(inputs: &Inputs<'_>, asset: &AssetName, tier: &TierName) -> Option<Duration> {
    let own = &inputs.document.tiers.get(tier)?.keep;
    if own.keeps_all() {
        return None;
    }
    let filling = schedules_filling(inputs, asset, tier);
    let rules = filling.filter_map(|(_, schedule)| schedule.keep.as_ref()).chain([own]);
    rules.map(Keep::reach).collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn before_the_next(inputs: &Inputs<'_>, tier: &TierName) -> Option<Problem> {
    let mut short = Vec::new();
    let mut longest = Duration::ZERO;
    for asset in inputs.document.assets.keys() {
        let filling = schedules_filling(inputs, asset, tier);
        let Some(interval) = longest_interval_of(inputs, filling) else { continue };
        if lifetime(inputs, asset, tier).is_some_and(|lifetime| lifetime < interval) {
            short.push(asset.as_str());
            longest = longest.max(interval);
        }
    }
    let names = (!short.is_empty()).then(|| listed(short.into_iter()))?;
    let longest = Span::from(longest);
    let message = format!("copies of {names} on `{tier}` get too old before the next one is made");
    Some(
        Problem::at_value(place!["tiers", tier, "keep"], message)
            .label(format!("up to {longest} pass between two copies"))
            .help(format!("keep for {longest} at least, or make copies more often")),
    )
}

fn before_noticed(inputs: &Inputs<'_>) -> Option<Problem> {
    let noticed = inputs.document.verification.noticed_within?;
    let lives_long = |asset: &AssetName| {
        let mut filled = inputs
            .document
            .tiers
            .keys()
            .filter(|tier| schedules_filling(inputs, asset, tier).next().is_some());
        filled.any(|tier| {
            lifetime(inputs, asset, tier).is_none_or(|lifetime| lifetime >= noticed.duration())
        })
    };
    let scheduled = |asset: &&AssetName| schedules_of(inputs, asset).next().is_some();
    let assets = inputs.document.assets.keys().filter(scheduled);
    let short: Vec<_> = assets.filter(|a| !lives_long(a)).map(AssetName::as_str).collect();
    let names = (!short.is_empty()).then(|| listed(short.into_iter()))?;
    let message = format!("no copy of {names} is older than damage that goes unnoticed");
    Some(
        Problem::at_value(place!["verification", "noticed_within"], message)
            .label("every copy may already hold the damage")
            .help(format!("keep copies for more than {noticed} on one of their tiers")),
    )
}
