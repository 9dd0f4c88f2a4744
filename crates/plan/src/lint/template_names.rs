//! A `{{ name }}` that nothing will ever fill in.

use std::collections::BTreeSet;

use super::walk::{StepAt, plan_templates, step_templates, steps};
use super::{Inputs, Problem, Rule, Severity};
use crate::decode::nearest;
use crate::place::Path;
use crate::value::template::Template;

pub(super) const RULE: Rule =
    Rule { code: "template-name", severity: Severity::Error, needs_whole: false, check };

/// What is known wherever a template may stand.
const EVERYWHERE: [&str; 10] = [
    "plan.name",
    "plan.site",
    "plan.version",
    "plan.owner",
    "target.host",
    "target.directory",
    "point.id",
    "point.time",
    "point.lsn",
    "point.revision",
];

/// What is known besides while a runbook runs.
const IN_RUNBOOKS: [&str; 5] =
    ["run.id", "run.kind", "run.started", "scenario.name", "scenario.title"];

/// What is known of a contact and of a vendor.
const OF_CONTACT: [&str; 4] = ["name", "phone", "email", "role"];
const OF_VENDOR: [&str; 6] = ["name", "phone", "email", "url", "account", "sla"];

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let known = known_everywhere(inputs);
    let mut problems = judge(&known, plan_templates(inputs));
    for at in steps(inputs) {
        let known = known_in(&known, &at);
        problems.extend(judge(&known, step_templates(at.step, &at.path)));
    }
    problems
}

fn members<'a>(
    sort: &'a str,
    name: &impl ToString,
    keys: &'a [&'a str],
) -> impl Iterator<Item = String> + 'a {
    let name = name.to_string();
    keys.iter().map(move |key| format!("{sort}.{name}.{key}"))
}

fn known_everywhere(inputs: &Inputs<'_>) -> BTreeSet<String> {
    let document = inputs.document;
    let contacts = document.contacts.keys().flat_map(|n| members("contacts", n, &OF_CONTACT));
    let vendors = document.vendors.keys().flat_map(|n| members("vendors", n, &OF_VENDOR));
    // Without places there is none to name.
    let place = (!document.places.is_empty()).then(|| "target.place".to_owned());
    let all = EVERYWHERE.iter().map(ToString::to_string).chain(contacts).chain(vendors);
    all.chain(place).collect()
}

fn known_in(everywhere: &BTreeSet<String>, at: &StepAt<'_>) -> BTreeSet<String> {
    let steps =
        at.runbook.steps.iter().flat_map(|step| members("steps", &step.id, step.action.gives()));
    let own = IN_RUNBOOKS.iter().map(ToString::to_string);
    everywhere.iter().cloned().chain(own).chain(steps).collect()
}

fn judge(known: &BTreeSet<String>, templates: Vec<(Path, &Template)>) -> Vec<Problem> {
    let names = templates
        .into_iter()
        .flat_map(|(path, template)| template.names().map(move |name| (path.clone(), name)));
    names.filter(|(_, name)| !known.contains(*name)).map(|(p, n)| unknown(known, p, n)).collect()
}

fn unknown(known: &BTreeSet<String>, path: Path, name: &str) -> Problem {
    let problem = Problem::at_value(path, format!("nothing is known as `{{{{ {name} }}}}`"));
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => problem
            .label(format!("did you mean `{near}`?"))
            .help(format!("write `{{{{ {near} }}}}`")),
        None => problem
            .label("nothing will fill this in")
            .help("names begin with plan, target, point, contacts or vendors; in a runbook also with run, scenario or steps"),
    }
}
