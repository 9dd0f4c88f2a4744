//! A lock that the store cannot hold, one that keeps nothing, and one that outlasts what is to be kept.

use lifeboat_model::TierName;

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;
use crate::plan::tier::Tier;
use crate::value::duration::Span;

pub(super) const IMPOSSIBLE: Rule =
    Rule { code: "lock-impossible", severity: Severity::Error, needs_whole: false, check };

pub(super) const EMPTY: Rule =
    Rule { code: "lock-empty", severity: Severity::Error, needs_whole: false, check: empty };

pub(super) const OUTLASTS: Rule = Rule {
    code: "lock-outlasts-keep",
    severity: Severity::Warning,
    needs_whole: false,
    check: outlasts,
};

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let locked = inputs.document.tiers.iter().filter(|(_, tier)| tier.lock.is_some());
    let impossible = locked.filter(|(_, tier)| !tier.url.may_lock());
    impossible
        .map(|(name, _)| {
            let message = format!("`{name}` cannot lock what is stored there");
            Problem::at_value(place!["tiers", name, "lock"], message)
                .label("whoever may write to a folder may delete in it")
                .help("lock a tier in an object store, or leave `lock` out")
        })
        .collect()
}

fn empty(inputs: &Inputs<'_>) -> Vec<Problem> {
    let tiers = inputs.document.tiers.iter();
    let none = tiers.filter(|(_, tier)| tier.lock.is_some_and(|lock| lock.duration().is_zero()));
    none.map(|(name, _)| {
        let message = format!("the lock of `{name}` is over as soon as something is stored");
        Problem::at_value(place!["tiers", name, "lock"], message)
            .label("nothing is locked for no time")
            .help("write for how long, like lock = \"30d\", or leave `lock` out")
    })
    .collect()
}

fn outlasts(inputs: &Inputs<'_>) -> Vec<Problem> {
    let tiers = inputs.document.tiers.iter();
    tiers.filter(|(_, tier)| tier.url.may_lock()).filter_map(longer_than_kept).collect()
}

fn longer_than_kept((name, tier): (&TierName, &Tier)) -> Option<Problem> {
    let (lock, kept) = (tier.lock?, Span::from(tier.keep.reach()?));
    if kept >= lock {
        return None;
    }
    let message = format!("copies on `{name}` stay for {lock} although `keep` lets them go");
    Some(
        Problem::at_value(place!["tiers", name, "lock"], message)
            .label(format!("nothing can be removed before, and `keep` ends after {kept}"))
            .help(format!("keep for {lock}, or lock for {kept} at most")),
    )
}
