//! Something that the language has and this version cannot carry out: said before somebody relies on it.

use super::walk::{StepAt, actions, steps};
use super::{Inputs, Problem, Rule, Severity};
use crate::place::Path;
use crate::plan::check::Probe;
use crate::plan::people::Channel;
use crate::plan::runbook::Action;

pub(super) const RULE: Rule =
    Rule { code: "not-built", severity: Severity::Note, needs_whole: false, check };

/// The only host that anything is restored on.
const HERE: &str = "{{ target.host }}";

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for at in steps(inputs) {
        problems.extend(elsewhere(&at));
        for (path, action) in actions(&at) {
            problems.extend(unable(inputs, action).map(|what| problem(&path, &at, what)));
        }
        let mails = at.step.check.iter().filter(|name| sends_mail(inputs, name));
        problems.extend(mails.map(|name| {
            let what = format!("the check `{name}`, which waits for a mail, cannot be asked");
            problem(&at.path, &at, what)
        }));
    }
    problems
}

fn problem(path: &Path, at: &StepAt<'_>, what: String) -> Problem {
    Problem::at_value(path.then("id"), what)
        .label("not built yet")
        .help(format!("a recovery stops at `{}` until somebody skips it with a reason", at.step.id))
}

fn elsewhere(at: &StepAt<'_>) -> Option<Problem> {
    let on = at.step.on.as_ref().filter(|on| on.as_str() != HERE)?;
    let Action::Restore(_) = at.step.action else { return None };
    let message = format!("`{}` restores on {on}, which is another host", at.step.id);
    let problem = Problem::at_value(at.path.then("on"), message).label("not built yet");
    Some(problem.help(format!("write on = \"{HERE}\", and run the recovery there")))
}

/// Says what of an action cannot be carried out.
fn unable(inputs: &Inputs<'_>, action: &Action) -> Option<String> {
    match action {
        Action::Isolate(isolate) if isolate.isolate.run.is_none() => {
            Some("lifeboat cannot cut the platform off by itself".to_owned())
        }
        Action::Notify(notify) => {
            let is_built = |channel: Option<&Channel>| matches!(channel, Some(Channel::Command(_)));
            let via = notify.notify.via.iter();
            let mut unbuilt = via.filter(|name| !is_built(inputs.document.notify.get(*name)));
            unbuilt.next().map(|name| format!("nobody can be told by `{name}`"))
        }
        _ => None,
    }
}

fn sends_mail(inputs: &Inputs<'_>, name: &lifeboat_model::CheckName) -> bool {
    matches!(inputs.document.checks.get(name), Some(Probe::Smtp(_)))
}
