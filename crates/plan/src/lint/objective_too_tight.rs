//! An objective that the schedules cannot meet: interval + usual duration > rpo + grace.

use std::time::Duration;

use lifeboat_model::AssetName;

use super::{Inputs, Problem, Rule, Severity, longest_interval_of, schedules_of};
use crate::place::place;
use crate::plan::asset::Asset;
use crate::value::duration::Span;

pub(super) const RULE: Rule =
    Rule { code: "objective-too-tight", severity: Severity::Warning, needs_whole: true, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let assets = inputs.document.assets.iter().filter(|(_, asset)| !asset.is_followed());
    assets.filter_map(|(name, asset)| judge(inputs, name, asset)).collect()
}

fn judge(inputs: &Inputs<'_>, name: &AssetName, asset: &Asset) -> Option<Problem> {
    let rpo = asset.rpo?;
    let allowed = rpo.duration() + asset.grace()?;
    // That it is never backed up at all is another rule's complaint.
    schedules_of(inputs, name).next()?;
    let usual = inputs.facts.usual_durations.get(name).copied().unwrap_or_default();
    let interval = longest_interval_of(inputs, schedules_of(inputs, name));
    if interval.is_some_and(|interval| interval + usual <= allowed) {
        return None;
    }
    let what = match interval {
        Some(interval) if usual > Duration::ZERO => format!(
            "up to {} pass between two backups, and one takes {}",
            Span::from(interval),
            Span::from(usual)
        ),
        Some(interval) => format!("up to {} pass between two backups", Span::from(interval)),
        None => "more than a year passes between two backups".to_owned(),
    };
    let allowed = Span::from(allowed);
    let message = format!("`{name}` cannot lose as little as it may: {what}");
    Some(
        Problem::at_value(place!["assets", name, "rpo"], message)
            .label(format!("missed after {allowed}, with its grace"))
            .help("back it up more often, or allow it to lose more"),
    )
}
