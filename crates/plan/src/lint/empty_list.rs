//! A list that must name something and names nothing.

use super::{Inputs, Problem, Rule, Severity};
use crate::place::{Path, place};

pub(super) const RULE: Rule =
    Rule { code: "empty-list", severity: Severity::Error, needs_whole: true, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let document = inputs.document;
    let mut problems = Vec::new();
    let mut want = |empty: bool, path: Path, what: &str| {
        if empty {
            let message = format!("this list names nothing: {what}");
            problems.push(Problem::at_value(path, message).label("empty"));
        }
    };
    for (name, asset) in &document.assets {
        let empty = asset.files().is_some_and(|files| files.paths.is_empty());
        want(empty, place!["assets", name, "paths"], "name at least one path");
    }
    for (at, level) in document.escalation.iter().enumerate() {
        let path = place!["escalation", at];
        want(level.contacts.is_empty(), path.then("contacts"), "name who is told");
        want(level.via.is_empty(), path.then("via"), "name how they are told");
    }
    problems
}
