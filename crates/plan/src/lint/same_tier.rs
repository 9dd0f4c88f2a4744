//! Two tiers at one address: two names for one copy.

use std::collections::BTreeMap;

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;

pub(super) const RULE: Rule =
    Rule { code: "same-tier", severity: Severity::Error, needs_whole: false, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let mut first_at = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, tier) in &inputs.document.tiers {
        let Some(first) = first_at.get(&tier.url) else {
            first_at.insert(&tier.url, name);
            continue;
        };
        let message = format!("`{first}` and `{name}` are the same place");
        problems.push(
            Problem::at_value(place!["tiers", name, "url"], message)
                .label(format!("`{first}` has this address too"))
                .help("a second copy needs a second place"),
        );
    }
    problems
}
