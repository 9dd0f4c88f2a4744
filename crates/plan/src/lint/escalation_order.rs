//! Escalation levels that do not go up, in number or in time.

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;

pub(super) const RULE: Rule =
    Rule { code: "escalation-order", severity: Severity::Error, needs_whole: false, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let levels = &inputs.document.escalation;
    let mut problems = Vec::new();
    for (at, pair) in levels.windows(2).enumerate() {
        let (before, level) = (&pair[0], &pair[1]);
        if level.level <= before.level {
            let message = format!("level {} comes after level {}", level.level, before.level);
            problems.push(
                Problem::at_value(place!["escalation", at + 1, "level"], message)
                    .label(format!("must be more than {}", before.level))
                    .help("write the levels in the order in which they are told"),
            );
        } else if level.after <= before.after {
            let message =
                format!("level {} is told no later than level {}", level.level, before.level);
            problems.push(
                Problem::at_value(place!["escalation", at + 1, "after"], message)
                    .label(format!("must be more than {}", before.after))
                    .help("a level is told when the one before did not acknowledge"),
            );
        }
    }
    problems
}
