//! Steps that cannot be told apart, are left out without a reason, or are missing altogether.

use std::collections::BTreeSet;

use super::walk::{StepAt, steps};
use super::{Inputs, Problem, Rule, Severity, runbook_path};

pub(super) const RULE: Rule =
    Rule { code: "steps", severity: Severity::Error, needs_whole: false, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (file, runbook) in inputs.runbooks {
        if runbook.steps.is_empty() && inputs.whole {
            let message = format!("`{file}` has no steps");
            problems.push(
                Problem::at_value(runbook_path(file).then("steps"), message)
                    .help("write at least one [[steps]]"),
            );
        }
    }
    let mut seen = BTreeSet::new();
    for at in steps(inputs) {
        if !seen.insert((at.file, &at.step.id)) {
            let message = format!("there are two steps `{}`", at.step.id);
            problems.push(
                Problem::at_value(at.path.then("id"), message)
                    .label("written before")
                    .help("give each step a name of its own"),
            );
        }
        problems.extend(unexplained(&at));
    }
    problems
}

fn unexplained(at: &StepAt<'_>) -> Option<Problem> {
    let skipped = at.step.skip_in?;
    at.step.reason.is_none().then(|| {
        let message = format!("`{}` is left out of a {skipped} without a reason", at.step.id);
        Problem::at_value(at.path.then("skip_in"), message)
            .label("what is not done is not proven")
            .help("say why: reason = \"…\"; the report repeats it")
    })
}
