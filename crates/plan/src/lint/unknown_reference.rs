//! A name that leads nowhere.

use std::collections::{BTreeMap, BTreeSet};

use super::walk::{StepAt, actions, probes, steps};
use super::{Inputs, Problem, Rule, Severity};
use crate::decode::{listed, nearest};
use crate::document::Document;
use crate::place::{Path, place};
use crate::plan::check::Probe;
use crate::plan::cost::Growth;
use crate::plan::runbook::{Action, Wait};
use crate::value::selection::Selection;

pub(super) const RULE: Rule =
    Rule { code: "unknown-reference", severity: Severity::Error, needs_whole: false, check };

/// What sort of thing a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Asset,
    Tier,
    Check,
    Class,
    Schedule,
    Service,
    Scenario,
    Contact,
    Channel,
    Place,
}

impl Sort {
    const fn word(self) -> &'static str {
        match self {
            Self::Asset => "asset",
            Self::Tier => "tier",
            Self::Check => "check",
            Self::Class => "class",
            Self::Schedule => "schedule",
            Self::Service => "service",
            Self::Scenario => "scenario",
            Self::Contact => "contact",
            Self::Channel => "notification channel",
            Self::Place => "place",
        }
    }

    const fn section(self) -> &'static str {
        match self {
            Self::Asset => "assets",
            Self::Tier => "tiers",
            Self::Check => "checks",
            Self::Class => "classes",
            Self::Schedule => "schedules",
            Self::Service => "services",
            Self::Scenario => "scenarios",
            Self::Contact => "contacts",
            Self::Channel => "notify",
            Self::Place => "places",
        }
    }
}

struct Reference {
    sort: Sort,
    name: String,
    path: Path,
}

/// The references of a plan as they are found.
#[derive(Default)]
struct References(Vec<Reference>);

impl References {
    fn one(&mut self, sort: Sort, name: &impl ToString, path: Path) {
        self.0.push(Reference { sort, name: name.to_string(), path });
    }

    fn each<N: ToString>(&mut self, sort: Sort, names: &[N], path: &Path) {
        for (at, name) in names.iter().enumerate() {
            self.one(sort, name, path.then(at));
        }
    }

    fn some<N: ToString + Ord>(&mut self, sort: Sort, names: &Selection<N>, path: &Path) {
        self.each(sort, names.named(), path);
    }
}

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let mut references = References::default();
    of_platform(inputs.document, &mut references);
    of_times(inputs.document, &mut references);
    of_people(inputs.document, &mut references);
    for (path, probe) in probes(inputs) {
        of_probe(&path, probe, &mut references);
    }
    for at in steps(inputs) {
        of_step(&at, &mut references);
    }
    let known = known_names(inputs.document);
    let mut problems: Vec<_> = references
        .0
        .into_iter()
        .filter_map(|reference| unknown(inputs, &known[&reference.sort], reference))
        .collect();
    problems.extend(unknown_steps_and_approvers(inputs));
    problems
}

fn unknown(inputs: &Inputs<'_>, known: &BTreeSet<String>, reference: Reference) -> Option<Problem> {
    let Reference { sort, name, path } = reference;
    let written = place![sort.section(), &name];
    if known.contains(&name) || inputs.places.is_broken(&written) {
        return None;
    }
    let message = format!("there is no {} `{name}`", sort.word());
    let help = format!("write it, or define `[{}.{name}]`", sort.section());
    Some(suggest(Problem::at_value(path, message), &name, known, sort.word(), &help))
}

/// Adds what was probably meant, or what there is.
fn suggest(
    problem: Problem,
    name: &str,
    known: &BTreeSet<String>,
    word: &str,
    help: &str,
) -> Problem {
    if let Some(near) = nearest(name, known.iter().map(String::as_str)) {
        return problem.label(format!("did you mean `{near}`?")).help(help.replacen(
            "write it",
            &format!("write `{near}`"),
            1,
        ));
    }
    let problem = problem.label(format!("unknown {word}"));
    if known.is_empty() {
        return problem;
    }
    problem.help(format!("there is {}", listed(known.iter().map(String::as_str))))
}

fn known_names(document: &Document) -> BTreeMap<Sort, BTreeSet<String>> {
    fn names<N: ToString, T>(table: &BTreeMap<N, T>) -> BTreeSet<String> {
        table.keys().map(ToString::to_string).collect()
    }
    BTreeMap::from([
        (Sort::Asset, names(&document.assets)),
        (Sort::Tier, names(&document.tiers)),
        (Sort::Check, names(&document.checks)),
        (Sort::Class, names(&document.classes)),
        (Sort::Schedule, names(&document.schedules)),
        (Sort::Service, names(&document.services)),
        (Sort::Scenario, names(&document.scenarios)),
        (Sort::Contact, names(&document.contacts)),
        (Sort::Channel, names(&document.notify)),
        (Sort::Place, names(&document.places)),
    ])
}

fn of_platform(document: &Document, found: &mut References) {
    for (name, service) in &document.services {
        let path = place!["services", name];
        found.one(Sort::Class, &service.class, path.then("class"));
        found.each(Sort::Service, &service.needs, &path.then("needs"));
        found.each(Sort::Asset, &service.holds, &path.then("holds"));
    }
    for (name, asset) in &document.assets {
        if let Some(postgres) = asset.postgres() {
            let path = place!["assets", name, "wal"];
            found.each(Sort::Tier, &postgres.wal.to, &path.then("to"));
            found.each(Sort::Tier, &postgres.wal.ack, &path.then("ack"));
        }
    }
    for (name, scenario) in &document.scenarios {
        if let Some(class) = &scenario.class {
            found.one(Sort::Class, class, place!["scenarios", name, "class"]);
        }
    }
    for (name, tier) in &document.tiers {
        found.each(Sort::Place, &tier.places, &place!["tiers", name, "places"]);
    }
    for tier in document.costs.tiers.keys() {
        found.one(Sort::Tier, tier, place!["costs", format!("tiers.{tier}")]);
    }
    if let Growth::Stated(rates) = &document.costs.growth {
        for asset in rates.keys() {
            found.one(Sort::Asset, asset, place!["costs", "growth", asset]);
        }
    }
}

fn of_times(document: &Document, found: &mut References) {
    for (name, schedule) in &document.schedules {
        let path = place!["schedules", name];
        found.some(Sort::Asset, &schedule.assets, &path.then("assets"));
        found.some(Sort::Tier, &schedule.to, &path.then("to"));
    }
    for (name, test) in &document.restore_tests {
        let path = place!["restore_tests", name];
        found.some(Sort::Asset, &test.assets, &path.then("assets"));
        found.each(Sort::Check, &test.checks, &path.then("checks"));
        if let Some(start) = &test.start {
            found.some(Sort::Service, start, &path.then("start"));
        }
    }
    for (name, blackout) in &document.blackouts {
        found.each(Sort::Schedule, &blackout.spare, &place!["blackouts", name, "spare"]);
    }
    for (name, drill) in &document.drills {
        found.one(Sort::Scenario, &drill.scenario, place!["drills", name, "scenario"]);
        for (at, point) in drill.checklist.iter().enumerate() {
            found.each(
                Sort::Check,
                &point.checks,
                &place!["drills", name, "checklist", at, "checks"],
            );
        }
    }
}

fn of_people(document: &Document, found: &mut References) {
    for (at, level) in document.escalation.iter().enumerate() {
        let path = place!["escalation", at];
        found.each(Sort::Contact, &level.contacts, &path.then("contacts"));
        found.each(Sort::Channel, &level.via, &path.then("via"));
    }
}

fn of_probe(path: &Path, probe: &Probe, found: &mut References) {
    match probe {
        Probe::FilesIn(probe) => {
            found.one(Sort::Asset, &probe.files_in, path.then("files_in"));
            if let Some(asset) = &probe.asset {
                found.one(Sort::Asset, asset, path.then("asset"));
            }
        }
        Probe::Sql(probe) => {
            if let Some(asset) = &probe.asset {
                found.one(Sort::Asset, asset, path.then("asset"));
            }
        }
        Probe::Files(probe) => found.one(Sort::Asset, &probe.files, path.then("files")),
        Probe::Http(_) | Probe::Tcp(_) | Probe::Dns(_) | Probe::Smtp(_) | Probe::Command(_) => {}
    }
}

fn of_step(at: &StepAt<'_>, found: &mut References) {
    found.each(Sort::Check, &at.step.check, &at.path.then("check"));
    for (path, action) in actions(at) {
        match action {
            Action::Restore(restore) => {
                let path = path.then("restore").then("asset");
                found.one(Sort::Asset, &restore.restore.asset, path);
            }
            Action::Start(start) => {
                found.some(Sort::Service, &start.start, &path.then("start"));
            }
            Action::Stop(stop) => found.some(Sort::Service, &stop.stop, &path.then("stop")),
            Action::Wait(wait) => {
                if let Wait::Until(wait) = &wait.wait {
                    found.each(Sort::Check, &wait.until, &path.then("wait").then("until"));
                }
            }
            Action::Notify(notify) => {
                let path = path.then("notify");
                found.each(Sort::Contact, &notify.notify.contacts, &path.then("contacts"));
                found.each(Sort::Channel, &notify.notify.via, &path.then("via"));
            }
            // The step's own checks were taken above; those of an undo were not.
            Action::Check(check) if path != at.path => {
                found.each(Sort::Check, &check.check, &path.then("check"));
            }
            Action::Check(_)
            | Action::Manual(_)
            | Action::Approve(_)
            | Action::Run(_)
            | Action::Isolate(_)
            | Action::Evidence(_)
            | Action::Rotate(_) => {}
        }
    }
}

/// Steps are known within their runbook, approvers by a role or a name.
fn unknown_steps_and_approvers(inputs: &Inputs<'_>) -> Vec<Problem> {
    let contacts = &inputs.document.contacts;
    let roles = contacts.values().filter_map(|contact| contact.role.clone());
    let approvers: BTreeSet<_> = contacts.keys().map(ToString::to_string).chain(roles).collect();
    let mut problems = Vec::new();
    for at in steps(inputs) {
        let ids: BTreeSet<_> = at.runbook.steps.iter().map(|step| step.id.to_string()).collect();
        // A step that could not be read has lost its name.
        let missing = at
            .step
            .needs
            .iter()
            .enumerate()
            .filter(|(_, need)| inputs.whole && !ids.contains(need.as_str()));
        for (number, need) in missing {
            let path = at.path.then("needs").then(number);
            let problem =
                Problem::at_value(path, format!("there is no step `{need}` in `{}`", at.file));
            problems.push(suggest(problem, need.as_str(), &ids, "step", "write it"));
        }
        for (path, action) in actions(&at) {
            if let Action::Approve(approve) = action
                && !approvers.contains(&approve.approve.by)
                && (inputs.whole || !approvers.is_empty())
            {
                let by = &approve.approve.by;
                let path = path.then("approve").then("by");
                let problem = Problem::at_value(path, format!("nobody has the role `{by}`"));
                problems.push(suggest(problem, by, &approvers, "role or contact", "write it"));
            }
        }
    }
    problems
}
