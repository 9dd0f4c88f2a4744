//! A check that nobody runs.

use std::collections::BTreeSet;

use super::walk::{actions, steps};
use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;
use crate::plan::runbook::{Action, Wait};

pub(super) const RULE: Rule =
    Rule { code: "unused-check", severity: Severity::Warning, needs_whole: true, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let tests = inputs.document.restore_tests.values();
    let mut used: BTreeSet<_> = tests.flat_map(|test| &test.checks).collect();
    let drills = inputs.document.drills.values().flat_map(|drill| &drill.checklist);
    used.extend(drills.flat_map(|point| &point.checks));
    for at in steps(inputs) {
        used.extend(&at.step.check);
        for (_, action) in actions(&at) {
            match action {
                Action::Check(check) => used.extend(&check.check),
                Action::Wait(wait) => {
                    if let Wait::Until(wait) = &wait.wait {
                        used.extend(&wait.until);
                    }
                }
                _ => {}
            }
        }
    }
    let unused = inputs.document.checks.keys().filter(|name| !used.contains(name));
    unused
        .map(|name| {
            Problem::at_key(place!["checks", name], format!("nobody runs the check `{name}`"))
                .label("in no restore test and no runbook")
                .help("add it to the `checks` of a restore test, or to a step of a runbook")
        })
        .collect()
}
