//! Steps that cannot be told apart, are left out without a reason, want what cannot be, or are missing altogether.

use std::collections::BTreeSet;

use super::walk::{StepAt, actions, steps};
use super::{Inputs, Problem, Rule, Severity, runbook_path};
use crate::place::Path;
use crate::plan::runbook::{Action, Extent};

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
        for (path, action) in actions(&at) {
            problems.extend(halved(inputs, &path, action));
        }
    }
    problems
}

/// Only files in their place can come back in part.
fn halved(inputs: &Inputs<'_>, path: &Path, action: &Action) -> Option<Problem> {
    let Action::Restore(restore) = action else { return None };
    let what = &restore.restore;
    let asset = inputs.document.assets.get(&what.asset)?;
    let fits = asset.files().is_some() && what.to.is_none();
    (what.extent != Extent::Everything && !fits).then(|| {
        let message = format!("`{}` cannot come back in part there", what.asset);
        Problem::at_value(path.then("restore").then("extent"), message)
            .label("for files that go where they were")
            .help("leave out extent")
    })
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
