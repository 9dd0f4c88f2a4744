//! A scenario that a drill would play on another platform than the one it happens to.

use super::{Inputs, Problem, Rule, Severity};
use crate::place::{Path, place};
use crate::plan::runbook::Action;
use crate::plan::scenario::{PlatformState, Scenario};

pub(super) const RULE: Rule =
    Rule { code: "rehearsal", severity: Severity::Warning, needs_whole: true, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, scenario) in &inputs.document.scenarios {
        let path = place!["scenarios", name];
        problems.extend(match scenario.platform {
            PlatformState::Lost => lost(inputs, scenario, &path),
            PlatformState::Runs => running(inputs, &path),
        });
        let is_drilled = inputs.document.drills.values().any(|drill| drill.scenario == *name);
        if is_drilled && scenario.platform == PlatformState::Runs && scenario.damage.is_none() {
            let message = format!("a drill of `{name}` mends a platform that nothing happened to");
            problems.push(
                Problem::at_value(path.then("platform"), message)
                    .severity(Severity::Note)
                    .label("the drill shows that it runs, and starts it before")
                    .help(
                        "write damage = \"…\", a command that does what happens, in drills alone",
                    ),
            );
        }
    }
    problems
}

/// What speaks of a platform that runs, where the plan says that it is lost.
fn lost(inputs: &Inputs<'_>, scenario: &Scenario, path: &Path) -> Option<Problem> {
    if scenario.damage.is_some() {
        let message = "nothing runs that this could be done to";
        return Some(
            Problem::at_value(path.then("damage"), message)
                .severity(Severity::Error)
                .label("a lost platform is damaged by being lost")
                .help("write platform = \"runs\", or leave damage out"),
        );
    }
    let runbook = inputs.runbooks.get(&scenario.runbook)?;
    let mut actions = runbook.steps.iter().map(|step| (&step.id, &step.action));
    // What comes first in the file comes first, as far as can be told without its graph.
    let first = actions.find(|(_, action)| matches!(action, Action::Stop(_) | Action::Start(_)))?;
    let (step, Action::Stop(_)) = first else { return None };
    let message = format!("`{step}` stops what a drill of it would not find running");
    Some(
        Problem::at_value(path.then("runbook"), message)
            .label("its runbook stops services before it starts any")
            .help("write platform = \"runs\", and a drill brings the platform up before"),
    )
}

/// Nothing can be brought up that has no command for it.
fn running(inputs: &Inputs<'_>, path: &Path) -> Option<Problem> {
    let mut services = inputs.document.services.values();
    (!services.any(|service| service.start.is_some())).then(|| {
        Problem::at_value(path.then("platform"), "a drill can start nothing of this platform")
            .label("no service says how it is started")
            .help("give services a `start`, or write platform = \"lost\"")
    })
}
