//! `keep = { within = … }` of no whole hours: what is kept is kept for the hour that has begun.

use std::time::Duration;

use super::{Inputs, Problem, Rule, Severity};
use crate::place::{Path, place};
use crate::plan::tier::Keep;
use crate::value::duration::Span;

pub(super) const RULE: Rule =
    Rule { code: "keep-hours", severity: Severity::Warning, needs_whole: false, check };

const HOUR: Duration = Duration::from_hours(1);

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let document = inputs.document;
    let tiers =
        document.tiers.iter().map(|(name, tier)| (place!["tiers", name, "keep"], &tier.keep));
    let schedules = document.schedules.iter().filter_map(|(name, schedule)| {
        Some((place!["schedules", name, "keep"], schedule.keep.as_ref()?))
    });
    tiers.chain(schedules).filter_map(|(path, keep)| rounded(&path, keep)).collect()
}

fn rounded(path: &Path, keep: &Keep) -> Option<Problem> {
    let within = keep.within?;
    let kept = Span::from(HOUR * u32::try_from(keep.hours_within()).ok()?);
    if kept == within {
        return None;
    }
    let message = format!("what is younger than {kept} is kept, not what is younger than {within}");
    Some(
        Problem::at_value(path.then("within"), message)
            .label("copies are kept by whole hours, and an hour that has begun counts")
            .help(format!("write within = \"{kept}\"")),
    )
}
