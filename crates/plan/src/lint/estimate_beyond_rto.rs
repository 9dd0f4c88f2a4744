//! A recovery that is thought to take longer than it may.

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;

pub(super) const RULE: Rule =
    Rule { code: "estimate-beyond-rto", severity: Severity::Warning, needs_whole: false, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let scenarios = inputs.document.scenarios.iter();
    scenarios
        .filter_map(|(name, scenario)| {
            let (estimate, rto) = (scenario.estimate?, scenario.rto?);
            (estimate.most > rto).then(|| {
                let message = format!("`{name}` may take {}, and is allowed {rto}", estimate.most);
                Problem::at_value(place!["scenarios", name, "estimate"], message)
                    .label("more than its rto")
                    .help("find what makes it faster, or allow it more time")
            })
        })
        .collect()
}
