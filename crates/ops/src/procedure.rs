//! A procedure: what a plan says is to be done when something happened, made ready to be carried out.
//!
//! [`Procedure::of`] turns a scenario's runbook into steps that a run knows; [`outlook::look_ahead`] says
//! what carrying it out would do; [`conduct`] declares a run, drives it, and takes what people say; [`report`] tells how
//! it stands.
//!
//! # Crash consistency
//!
//! A run is its journal (`docs/adr/0048`), which lies in the state directory; whatever process drove it may be
//! killed at any time. One lock says who drives.

mod binding;
pub mod conduct;
pub(crate) mod deed;
mod error;
pub(crate) mod journal_file;
pub mod mailbox;
pub mod outlook;
mod patience;
pub mod people;
pub(crate) mod platform;
pub mod probe;
pub mod report;
pub mod runs;
pub(crate) mod services;
mod shell;
mod taking;
pub mod target;
pub mod values;

use std::collections::BTreeSet;
use std::sync::Arc;

use lifeboat_model::{AssetName, ScenarioName, StepName};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::runbook::{
    Action, RunKind, Runbook as PlannedRunbook, Step as PlannedStep,
};
use lifeboat_plan::plan::scenario::Scenario;
use lifeboat_runbook::{Graph, GraphError, Runbook};

pub use error::ProcedureError;

/// What is to be done in a scenario.
#[derive(Debug, Clone)]
pub struct Procedure {
    name: ScenarioName,
    kind: RunKind,
    scenario: Scenario,
    planned: PlannedRunbook,
    runbook: Arc<Runbook>,
}

impl Procedure {
    /// Makes what a plan says of a scenario ready.
    pub fn of(plan: &Plan, name: &ScenarioName, kind: RunKind) -> Result<Self, ProcedureError> {
        let scenarios = plan.scenarios();
        let unknown = || ProcedureError::NoScenario {
            scenario: name.clone(),
            known: scenarios.keys().cloned().collect(),
        };
        let scenario = scenarios.get(name).ok_or_else(unknown)?;
        let (planned, id) = plan.runbook_of(scenario).ok_or_else(unknown)?;
        let graph = graph(planned, kind).map_err(|source| ProcedureError::NoOrder {
            runbook: scenario.runbook.to_string(),
            source,
        })?;
        let runbook = Arc::new(Runbook { id, graph });
        let (name, scenario, planned) = (name.clone(), scenario.clone(), planned.clone());
        Ok(Self { name, kind, scenario, planned, runbook })
    }

    /// Returns the scenario's name.
    pub const fn name(&self) -> &ScenarioName {
        &self.name
    }

    /// Returns whether it is done in earnest.
    pub const fn kind(&self) -> RunKind {
        self.kind
    }

    /// Returns the scenario.
    pub const fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Returns what people call it.
    pub fn title(&self) -> &str {
        self.scenario.title.as_deref().unwrap_or(&self.planned.title)
    }

    /// Returns the assets that it restores.
    pub fn restored(&self) -> BTreeSet<AssetName> {
        let asset = |step: &PlannedStep| match &step.action {
            Action::Restore(restore) => Some(restore.restore.asset.clone()),
            _ => None,
        };
        self.steps().iter().filter_map(asset).collect()
    }

    /// Returns the steps as a run knows them.
    pub const fn runbook(&self) -> &Arc<Runbook> {
        &self.runbook
    }

    /// Returns the steps as the plan has them.
    pub fn steps(&self) -> &[PlannedStep] {
        &self.planned.steps
    }

    /// Returns a step as the plan has it.
    pub fn step(&self, name: &StepName) -> Option<&PlannedStep> {
        self.planned.steps.iter().find(|step| step.id == *name)
    }
}

/// Puts the steps of a runbook into their order.
pub(crate) fn graph(runbook: &PlannedRunbook, kind: RunKind) -> Result<Graph, GraphError> {
    let steps = runbook.steps.iter().map(|step| binding::bind(step, runbook, kind));
    Graph::build(steps.collect()).map_err(|mut errors| errors.swap_remove(0))
}
