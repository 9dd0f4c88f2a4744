//! A step that takes something of another, or depends on it, without needing it done before.

use std::collections::BTreeSet;

use lifeboat_model::StepName;

use super::walk::{StepAt, steps};
use super::{Inputs, Problem, Rule, Severity};
use crate::plan::runbook::{Runbook, Step};

pub(super) const RULE: Rule =
    Rule { code: "step-input", severity: Severity::Error, needs_whole: false, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    steps(inputs).iter().flat_map(problems).collect()
}

fn problems(at: &StepAt<'_>) -> Vec<Problem> {
    let known = |name: &StepName| at.runbook.steps.iter().find(|step| step.id == *name);
    let before = before(at.runbook, at.step);
    // A name that is known nowhere is for `template-name` to complain of.
    let takes = at.step.takes().into_iter().filter(|(giver, _)| known(giver).is_some());
    let takes = takes.filter(|(giver, _)| !before.contains(giver));
    let mut problems: Vec<_> = takes
        .map(|(giver, output)| {
            let message = format!("`{}` takes `{output}` of `{giver}`", at.step.id);
            not_before(Problem::at_value(at.path.then("id"), message), &giver)
        })
        .collect();
    let Some(when) = &at.step.when else { return problems };
    let path = at.path.then("when");
    match known(&when.step) {
        None => {
            let message = format!("`{}` is no step of this runbook", when.step);
            problems.push(Problem::at_value(path, message).help("name a step that it needs"));
        }
        Some(giver) if giver.action.said().is_none() => {
            let message = format!("`{}` says nothing that could be looked at", when.step);
            let help = "name a step with `run`, `manual` or `approve`";
            problems.push(Problem::at_value(path, message).help(help));
        }
        Some(_) if !before.contains(&when.step) => {
            let message = format!("`{}` depends on what `{}` gives", at.step.id, when.step);
            problems.push(not_before(Problem::at_value(path, message), &when.step));
        }
        Some(_) => {}
    }
    problems
}

fn not_before(problem: Problem, giver: &StepName) -> Problem {
    problem
        .label("which need not be done by then")
        .help(format!("add `{giver}` to its `needs`, or to those of a step that it needs"))
}

/// The steps that are done before a step begins.
fn before<'a>(runbook: &'a Runbook, step: &'a Step) -> BTreeSet<&'a StepName> {
    let mut before = BTreeSet::new();
    let mut open: Vec<&StepName> = step.needs.iter().collect();
    while let Some(name) = open.pop() {
        if before.insert(name) {
            let needs = runbook.steps.iter().filter(|step| step.id == *name);
            open.extend(needs.flat_map(|step| &step.needs));
        }
    }
    before
}
