//! What a plan gets wrong although it can be read: one rule a file.
//!
//! A rule is pure. It looks at the typed plan and names what it complains about by its path; the
//! place in the file is found from that. Rules that reason from what is *not* there (a tier that
//! nothing fills) only run when all of the plan could be read, since a table that was dropped for
//! a typing mistake must not set off a second complaint.

use std::collections::BTreeMap;

use lifeboat_model::Timestamp;

use crate::diagnostic::{Finding, Severity};
use crate::document::Document;
use crate::load::Facts;
use crate::place::{Path, Places};
use crate::plan::runbook::Runbook;
use crate::value::path::PlanPath;

/// What a rule may look at.
pub(crate) struct Inputs<'a> {
    pub(crate) document: &'a Document,
    pub(crate) runbooks: &'a BTreeMap<PlanPath, Runbook>,
    pub(crate) places: &'a Places,
    pub(crate) facts: &'a Facts,
    pub(crate) now: Timestamp,
    /// Whether every part of the plan could be read.
    pub(crate) whole: bool,
}

/// One rule.
struct Rule {
    /// Its stable name.
    code: &'static str,
    /// How much it matters, unless a complaint says otherwise.
    severity: Severity,
    /// Whether it reasons from what is not there.
    needs_whole: bool,
    check: fn(&Inputs<'_>) -> Vec<Problem>,
}

/// A complaint.
struct Problem {
    place: Place,
    severity: Option<Severity>,
    message: String,
    label: Option<String>,
    help: Option<String>,
}

enum Place {
    Key(Path),
    Value(Path),
}

impl Problem {
    /// Complains about a name or a table.
    fn at_key(path: Path, message: impl Into<String>) -> Self {
        Self::at(Place::Key(path), message)
    }

    /// Complains about a value.
    fn at_value(path: Path, message: impl Into<String>) -> Self {
        Self::at(Place::Value(path), message)
    }

    fn at(place: Place, message: impl Into<String>) -> Self {
        Self { place, severity: None, message: message.into(), label: None, help: None }
    }

    fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn severity(mut self, severity: Severity) -> Self {
        self.severity = Some(severity);
        self
    }
}

const RULES: [Rule; 0] = [];

/// Applies every rule.
pub(crate) fn run(inputs: &Inputs<'_>) -> Vec<Finding> {
    let applicable = RULES.iter().filter(|rule| inputs.whole || !rule.needs_whole);
    applicable
        .flat_map(|rule| {
            let problems = (rule.check)(inputs);
            problems.into_iter().filter_map(|problem| finding(rule, problem, inputs.places))
        })
        .collect()
}

fn finding(rule: &Rule, problem: Problem, places: &Places) -> Option<Finding> {
    let span = match &problem.place {
        Place::Key(path) => places.key(path),
        Place::Value(path) => places.value(path),
    }?;
    let severity = problem.severity.unwrap_or(rule.severity);
    let mut finding = Finding::new(severity, rule.code, span.clone(), problem.message);
    finding.label = problem.label;
    finding.help = problem.help;
    Some(finding)
}

/// Returns the path under which the places of a runbook's values are kept.
pub(crate) fn runbook_path(file: &PlanPath) -> Path {
    // No key of the plan begins with a dot and a slash.
    Path::new([format!("./{file}")])
}
