//! A service that must be back before something it needs.

use lifeboat_model::ServiceName;

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;
use crate::plan::service::{Class, Service};

pub(super) const RULE: Rule =
    Rule { code: "slower-need", severity: Severity::Warning, needs_whole: false, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let services = inputs.document.services.iter();
    services.flat_map(|(name, service)| judge(inputs, name, service)).collect()
}

/// The class of a service; none if the plan does not define it.
fn class_of<'a>(inputs: &Inputs<'a>, service: &Service) -> Option<&'a Class> {
    inputs.document.classes.get(&service.class)
}

fn judge(inputs: &Inputs<'_>, name: &ServiceName, service: &Service) -> Vec<Problem> {
    let Some(own) = class_of(inputs, service).and_then(|class| class.rto) else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    for (at, need) in service.needs.iter().enumerate() {
        let Some(needed) = inputs.document.services.get(need) else { continue };
        let Some(theirs) = class_of(inputs, needed) else { continue };
        if theirs.rto.is_none_or(|theirs| theirs > own) {
            let message = format!(
                "`{name}` must be back within {own}, and needs `{need}`, which may take longer"
            );
            problems.push(
                Problem::at_value(place!["services", name, "needs", at], message)
                    .label(format!("is of class `{}`", needed.class))
                    .help(format!("give `{need}` the class `{}`", service.class)),
            );
        }
    }
    problems
}
