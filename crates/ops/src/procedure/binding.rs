//! What a step of a plan is to a run: who does it, what it gives and takes, and what an interruption means.

use std::time::Duration;

use lifeboat_model::StepName;
use lifeboat_plan::plan::runbook::{
    Action, RestoreWhat, RunKind, Runbook as PlannedRunbook, Step as PlannedStep, Wait, When,
};
use lifeboat_plan::value::duration::Span;
use lifeboat_runbook::step::TIMEOUT_DEFAULT;
use lifeboat_runbook::{
    Condition, Input, Interruption, OutputKind, Phase, Retry, Step, Task, Test, Undo,
};

/// How much longer than its own limit a wait may take: its last question may take its time.
const WAIT_SLACK: Duration = Duration::from_mins(2);

/// Returns what a step is to a run of this kind.
pub(super) fn bind(step: &PlannedStep, runbook: &PlannedRunbook, kind: RunKind) -> Step {
    let left_out = step.skip_in.filter(|skipped| *skipped == kind);
    let reason = || step.reason.clone().unwrap_or_else(|| format!("it is left out of a {kind}"));
    let inputs = step.takes().into_iter();
    Step {
        needs: step.needs.clone(),
        inputs: inputs.map(|(step, output)| Input { step, output }).collect(),
        outputs: outputs(&step.action),
        condition: step.when.as_ref().map(|when| condition(when, runbook)),
        left_out: left_out.map(|_| reason()),
        is_critical: step.critical,
        timeout: timeout(step),
        retry: retry(step),
        interruption: interruption(step),
        undo: if step.undo.is_some() { Undo::Possible } else { Undo::Nothing },
        phase: phase(&step.action),
        ..Step::new(step.id.clone(), task(&step.action))
    }
}

fn task(action: &Action) -> Task {
    match action {
        Action::Manual(manual) => Task::Manual { checklist: manual.checklist.clone() },
        Action::Rotate(rotate) if rotate.rotate.run.is_none() => {
            Task::Manual { checklist: Vec::new() }
        }
        Action::Approve(approve) => Task::Approve { by: approve.approve.by.clone() },
        Action::Wait(wait) => match &wait.wait {
            Wait::For(length) => Task::Wait(length.duration()),
            Wait::Until(_) => Task::Act,
        },
        _ => Task::Act,
    }
}

fn outputs(action: &Action) -> std::collections::BTreeMap<String, OutputKind> {
    let kind = |name: &str| match (action, name) {
        (Action::Restore(_), "time") => OutputKind::Time,
        _ => OutputKind::Text,
    };
    action.gives().iter().map(|name| ((*name).to_owned(), kind(name))).collect()
}

fn condition(when: &When, runbook: &PlannedRunbook) -> Condition {
    let giver = |name: &StepName| runbook.steps.iter().find(|step| step.id == *name);
    let said = giver(&when.step).and_then(|step| step.action.said()).unwrap_or("note");
    let input = Input { step: when.step.clone(), output: said.to_owned() };
    Condition { input, test: Test::Is(when.is.clone()) }
}

/// Returns how long one attempt at a step may take.
pub(super) fn timeout(step: &PlannedStep) -> Duration {
    let own = match &step.action {
        Action::Wait(wait) => match &wait.wait {
            Wait::Until(until) => Some(until.at_most.duration() + WAIT_SLACK),
            Wait::For(_) => None,
        },
        _ => None,
    };
    step.timeout.map(Span::duration).or(own).unwrap_or(TIMEOUT_DEFAULT)
}

fn retry(step: &PlannedStep) -> Retry {
    let retry = step.retry.as_ref();
    retry.map_or_else(Retry::default, |retry| Retry {
        times: retry.times,
        wait: retry.wait.duration(),
    })
}

/// What may be done twice is done again. Whoever lets a command be tried again says that it may.
fn interruption(step: &PlannedStep) -> Interruption {
    let repeats = match &step.action {
        Action::Start(_)
        | Action::Stop(_)
        | Action::Wait(_)
        | Action::Check(_)
        | Action::Notify(_)
        | Action::Isolate(_) => true,
        // In place, what was there is aside or still there; into a directory, that is no longer empty.
        Action::Restore(restore) => is_in_place(&restore.restore),
        Action::Run(_) | Action::Rotate(_) => step.retry.is_some(),
        Action::Manual(_) | Action::Approve(_) | Action::Evidence(_) => false,
    };
    if repeats { Interruption::Repeat } else { Interruption::FindOut }
}

const fn is_in_place(what: &RestoreWhat) -> bool {
    what.to.is_none()
}

const fn phase(action: &Action) -> Phase {
    match action {
        Action::Restore(_) => Phase::Restore,
        Action::Start(_) => Phase::Start,
        Action::Check(_) => Phase::Validate,
        Action::Wait(wait) if matches!(wait.wait, Wait::Until(_)) => Phase::Validate,
        _ => Phase::Prepare,
    }
}
