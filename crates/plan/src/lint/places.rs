//! Places that are one host, steps that know only one of them, so that the way back is another runbook, and folders of which it
//! is not said which places see them.

use lifeboat_model::TierName;

use super::walk::steps;
use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;
use crate::plan::location::{Place, is_one_host};

pub(super) const SAME_HOST: Rule =
    Rule { code: "same-place", severity: Severity::Error, needs_whole: false, check: same_host };

pub(super) const FIXED: Rule =
    Rule { code: "fixed-place", severity: Severity::Warning, needs_whole: false, check: fixed };

pub(super) const UNSEEN: Rule =
    Rule { code: "unseen-tier", severity: Severity::Note, needs_whole: true, check: unseen };

fn same_host(inputs: &Inputs<'_>) -> Vec<Problem> {
    let places: Vec<_> = inputs.document.places.iter().collect();
    let mut problems = Vec::new();
    for (at, (name, place)) in places.iter().enumerate() {
        let is_same = |other: &&(_, &Place)| is_one_host(&other.1.host, &place.host);
        let Some((first, _)) = places[..at].iter().find(is_same) else { continue };
        let message = format!("`{first}` and `{name}` are one host");
        problems.push(
            Problem::at_value(place!["places", name, "host"], message)
                .label(format!("`{first}` has this host too"))
                .help("a host is one place; with its domain and without it is the same"),
        );
    }
    problems
}

fn fixed(inputs: &Inputs<'_>) -> Vec<Problem> {
    let places = &inputs.document.places;
    let mut problems = Vec::new();
    for at in steps(inputs) {
        let Some(on) = &at.step.on else { continue };
        let Some((name, _)) = places.iter().find(|(_, place)| place.is_host(on.as_str())) else {
            continue;
        };
        let message = format!("`{}` is always done at `{name}`", at.step.id);
        problems.push(
            Problem::at_value(at.path.then("on"), message)
                .label("also when the platform is brought back somewhere else")
                .help("write on = \"{{ target.host }}\", and the runbook leads to every place"),
        );
    }
    problems
}

/// Where every tier is a folder, a host cannot tell one that another place sees from its own disk.
fn unseen(inputs: &Inputs<'_>) -> Vec<Problem> {
    let tiers = &inputs.document.tiers;
    let has_others = inputs.document.places.len() > 1;
    if !has_others || tiers.values().any(|tier| tier.url.folder().is_none()) {
        return Vec::new();
    }
    let unsaid = tiers.iter().filter(|(_, tier)| tier.places.is_empty()).map(|(name, _)| name);
    let problem = |name: &TierName| {
        let message = format!("which places see the folder of `{name}` is not said");
        Problem::at_key(place!["tiers", name], message)
            .label("while another folder is away, no place backs up")
            .help("write places = [\"…\"]: a host's own disk is seen by that place, a shared one by all")
    };
    unsaid.map(problem).collect()
}
