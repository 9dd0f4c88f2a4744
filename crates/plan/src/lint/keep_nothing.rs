//! `keep` without a rule, or with one that keeps nothing: what was to be kept is kept by no word of the plan.

use super::{Inputs, Problem, Rule, Severity};
use crate::place::{Path, place};
use crate::plan::tier::Keep;

pub(super) const RULE: Rule =
    Rule { code: "keep-nothing", severity: Severity::Error, needs_whole: false, check };

const LIKE: &str = "say what is to be kept, like keep = { within = \"30d\" }";

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let document = inputs.document;
    let tiers =
        document.tiers.iter().map(|(name, tier)| (place!["tiers", name, "keep"], &tier.keep));
    let schedules = document.schedules.iter().filter_map(|(name, schedule)| {
        Some((place!["schedules", name, "keep"], schedule.keep.as_ref()?))
    });
    let written = tiers.chain(schedules).filter(|(path, _)| inputs.places.is_written(path));
    written.flat_map(|(path, keep)| nothing(&path, keep)).collect()
}

fn nothing(path: &Path, keep: &Keep) -> Vec<Problem> {
    if keep.keeps_all() {
        let problem =
            Problem::at_value(path.clone(), "`keep` has no rule, and so keeps everything")
                .label("empty")
                .help(format!("{LIKE}, or leave `keep` out to keep everything"));
        return vec![problem];
    }
    let counts = [
        ("last", keep.last),
        ("hourly", keep.hourly),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
        ("yearly", keep.yearly),
    ];
    let counts = counts.into_iter().filter(|(_, count)| *count == Some(0)).map(|(key, _)| key);
    let none = keep.within.is_some_and(|within| within.duration().is_zero());
    let problem = |key: &'static str| {
        Problem::at_value(path.then(key), format!("`{key}` keeps nothing"))
            .label("no copy is kept by this")
            .help(format!("{LIKE}, or leave `{key}` out"))
    };
    none.then_some("within").into_iter().chain(counts).map(problem).collect()
}
