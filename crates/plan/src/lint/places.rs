//! Places that are one host, and steps that know only one of them, so that the way back is another runbook.

use super::walk::steps;
use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;
use crate::plan::location::{Place, is_one_host};

pub(super) const SAME_HOST: Rule =
    Rule { code: "same-place", severity: Severity::Error, needs_whole: false, check: same_host };

pub(super) const FIXED: Rule =
    Rule { code: "fixed-place", severity: Severity::Warning, needs_whole: false, check: fixed };

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
