//! What a plan gets wrong although it can be read: one rule a file.
//!
//! A rule is pure. It looks at the typed plan and names what it complains about by its path; the
//! place in the file is found from that. Rules that reason from what is *not* there (a tier that
//! nothing fills) only run when all of the plan could be read, since a table that was dropped for
//! a typing mistake must not set off a second complaint.

mod archive;
mod azure_container;
mod blackout;
mod empty_list;
mod escalation_order;
mod estimate_beyond_rto;
mod keep_hours;
mod keep_nothing;
mod live_database;
mod lock;
mod needs_circle;
mod never_backed_up;
mod not_built;
mod objective_too_tight;
mod places;
mod probe_asset;
mod rehearsal;
mod restore_test;
mod retention;
mod review_overdue;
mod same_tier;
mod single_copy;
mod slower_need;
mod step_inputs;
mod steps;
mod template_names;
mod tier_keys;
mod tier_overlap;
mod tier_unfilled;
mod tier_within;
mod unknown_reference;
mod unused_check;
mod wal;
pub(crate) mod walk;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use lifeboat_model::{AssetName, ScheduleName, TierName, Timestamp};

use crate::diagnostic::{Finding, Severity};
use crate::document::Document;
use crate::load::Facts;
use crate::place::{Path, Places};
use crate::plan::runbook::Runbook;
use crate::plan::timetable::Schedule;
use crate::schedule::longest_interval;
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
    pub(crate) intervals: Intervals,
}

/// The longest intervals of sets of schedules, each computed once: several rules ask for the same.
#[derive(Debug, Default)]
pub(crate) struct Intervals(RefCell<BTreeMap<Vec<ScheduleName>, Option<Duration>>>);

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

const RULES: [Rule; 40] = [
    archive::KEEP,
    archive::LOG,
    azure_container::RULE,
    blackout::RULE,
    empty_list::RULE,
    escalation_order::RULE,
    estimate_beyond_rto::RULE,
    keep_hours::RULE,
    keep_nothing::RULE,
    live_database::RULE,
    lock::EMPTY,
    lock::IMPOSSIBLE,
    lock::OUTLASTS,
    needs_circle::RULE,
    never_backed_up::RULE,
    not_built::RULE,
    objective_too_tight::RULE,
    places::SAME_HOST,
    places::FIXED,
    places::UNSEEN,
    probe_asset::RULE,
    rehearsal::RULE,
    restore_test::RULE,
    restore_test::STAGED,
    retention::RULE,
    review_overdue::RULE,
    same_tier::RULE,
    single_copy::RULE,
    slower_need::RULE,
    step_inputs::RULE,
    steps::RULE,
    template_names::RULE,
    tier_keys::FOREIGN,
    tier_keys::IDLE,
    tier_overlap::RULE,
    tier_unfilled::RULE,
    tier_within::RULE,
    unknown_reference::RULE,
    unused_check::RULE,
    wal::RULE,
];

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

/// The schedules that back `asset` up.
fn schedules_of<'a>(
    inputs: &Inputs<'a>,
    asset: &AssetName,
) -> impl Iterator<Item = (&'a ScheduleName, &'a Schedule)> {
    inputs.document.schedules.iter().filter(|(_, schedule)| schedule.assets.includes(asset))
}

/// The schedules that bring `asset` to `tier`.
fn schedules_filling<'a>(
    inputs: &Inputs<'a>,
    asset: &AssetName,
    tier: &TierName,
) -> impl Iterator<Item = (&'a ScheduleName, &'a Schedule)> {
    schedules_of(inputs, asset).filter(|(_, schedule)| schedule.to.includes(tier))
}

/// The longest time between two neighbouring runs of any of `schedules`.
fn longest_interval_of<'a>(
    inputs: &Inputs<'_>,
    schedules: impl Iterator<Item = (&'a ScheduleName, &'a Schedule)>,
) -> Option<Duration> {
    let (names, timetables): (Vec<_>, Vec<_>) =
        schedules.map(|(name, schedule)| (name.clone(), schedule.timetable())).unzip();
    let known = inputs.intervals.0.borrow().get(&names).copied();
    known.unwrap_or_else(|| {
        let interval = longest_interval(&timetables, inputs.now);
        inputs.intervals.0.borrow_mut().insert(names, interval);
        interval
    })
}
