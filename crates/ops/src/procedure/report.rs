//! How a run stands, for people and for programs: gathered from its entries, its runbook and the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lifeboat_model::{Exit, RecordId, RunId, ScenarioName, SiteName, StepName, Timestamp};
use lifeboat_plan::plan::runbook::Action;
use lifeboat_runbook::{Command, Mood, Outcome, Person, Run, Stand, Task, Times, UndoStand};
use serde::Serialize;

use super::Procedure;
use super::conduct::{POINT, move_of, places_to_write};
use super::outlook::rto;
use super::values::Values;
use crate::catalog::body::Whereabouts;
use crate::evidence::collect::of_run;
use crate::evidence::document::{EstimateKept, ObjectiveKept};
use crate::evidence::measure::{estimates, objectives};
use crate::wire::Site;

/// The version of [`RunReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// How a run stands.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// The version of this document.
    pub schema: u32,
    /// Of which site.
    pub site: SiteName,
    /// Which run.
    pub run: RunId,
    /// Of what.
    pub scenario: ScenarioName,
    /// What people call it.
    pub title: String,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// Where it is.
    pub state: RunState,
    /// Who said so, and why, if somebody paused or aborted it.
    pub said: Option<String>,
    /// Who drives it now.
    pub driver: Option<String>,
    /// When it was declared.
    pub declared: Timestamp,
    /// From which point it recovers.
    pub point: Option<String>,
    /// Where the platform lives once the run is over, if it moves; if nothing was restored as asked for, it does not.
    pub moves_to: Option<Whereabouts>,
    /// What the plan lacks of places.
    pub places_to_write: Option<String>,
    /// The steps, in the runbook's order.
    pub steps: Vec<StepReport>,
    /// Where the time went, in milliseconds.
    pub times: TimesReport,
    /// How long it may take, in milliseconds.
    pub rto_ms: Option<u64>,
    /// What the plan allows of scenario, classes and assets, with what was measured; once it is over.
    pub objectives: Vec<ObjectiveKept>,
    /// What the plan thought, with what was measured; once it is over.
    pub estimates: Vec<EstimateKept>,
    /// The record that proves it, once it is over.
    pub evidence: Option<RecordId>,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Steps are under way, or can be.
    Going,
    /// Nothing goes on before a person did what is asked for.
    WaitsForPerson,
    /// Nothing goes on before a person decides about what failed.
    Stuck,
    /// Nothing new is begun.
    Paused,
    /// It is being undone.
    Aborting,
    /// It is over.
    Finished,
}

/// Where the time of a run went, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimesReport {
    /// From its declaration to its end, or to now.
    pub total_ms: u64,
    /// What each part took.
    pub phases_ms: BTreeMap<lifeboat_runbook::Phase, u64>,
    /// How long nothing but a person was waited for.
    pub people_ms: u64,
    /// How long nothing happened.
    pub standstill_ms: u64,
}

impl From<Times> for TimesReport {
    fn from(times: Times) -> Self {
        let phases = times.phases.iter();
        Self {
            total_ms: milliseconds(times.total),
            phases_ms: phases.map(|(phase, time)| (*phase, milliseconds(*time))).collect(),
            people_ms: milliseconds(times.people),
            standstill_ms: milliseconds(times.standstill),
        }
    }
}

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepReport {
    /// Which.
    pub step: StepName,
    /// What people call it.
    pub title: Option<String>,
    /// How far it is.
    pub stand: &'static str,
    /// Why, where there is a reason.
    pub why: Option<String>,
    /// What leads on.
    pub hint: Option<String>,
    /// What a person is asked to do, or to agree to.
    pub asks: Option<String>,
    /// The points that are to be ticked off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checklist: Vec<String>,
    /// Whom it waits for, by role or name.
    pub waits_for: Option<String>,
    /// The commands that lead on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// How many attempts were begun.
    pub attempts: u32,
    /// From its first attempt to its end, in milliseconds.
    pub took_ms: Option<u64>,
}

impl RunReport {
    /// Returns how the command ends.
    pub const fn exit(&self) -> Exit {
        match (self.outcome, self.state) {
            (Some(Outcome::Succeeded), _) => Exit::Done,
            (Some(Outcome::Aborted), _) | (None, RunState::Stuck) => Exit::Failed,
            (Some(Outcome::Incomplete) | None, _) => Exit::Incomplete,
        }
    }
}

/// Gathers how a run stands.
pub fn report(site: &Site, procedure: &Procedure, run: &Run, driver: Option<String>) -> RunReport {
    let now = site.surroundings().now();
    let values = Values::of_run(site.plan(), procedure, run);
    let steps: Vec<_> = run.steps().map(|(step, _)| step.name.clone()).collect();
    let steps = steps.iter().filter_map(|name| step_report(procedure, run, &values, name));
    let (outcome, said) = match run.mood() {
        Mood::Finished(outcome) => (Some(*outcome), None),
        Mood::Paused { by, why } | Mood::Aborting { by, why } => {
            (None, Some(format!("{by}: {why}")))
        }
        Mood::Going => (None, None),
    };
    RunReport {
        schema: SCHEMA,
        site: site.name().clone(),
        run: run.began().run,
        scenario: procedure.name().clone(),
        title: procedure.title().to_owned(),
        outcome,
        state: state(run, now),
        said,
        driver,
        declared: run.declared(),
        point: run.began().about.get(POINT).cloned(),
        moves_to: move_of(run).map(|taken| taken.whereabouts),
        places_to_write: places_to_write(run),
        steps: steps.collect(),
        times: run.times(now).into(),
        rto_ms: rto(site, procedure).map(milliseconds),
        objectives: outcome.map_or_else(Vec::new, |_| objectives(site.plan(), procedure, run)),
        estimates: outcome.map_or_else(Vec::new, |_| estimates(procedure, run)),
        evidence: outcome.and_then(|_| evidence_of(site, run)),
    }
}

fn evidence_of(site: &Site, run: &Run) -> Option<RecordId> {
    // Whoever asks how a run stands wants to know that, also where the catalog's view cannot be read.
    of_run(site, run.began().run).ok().flatten().map(|record| record.id())
}

fn state(run: &Run, now: Timestamp) -> RunState {
    use lifeboat_runbook::Decision;
    match run.mood() {
        Mood::Finished(_) => RunState::Finished,
        Mood::Paused { .. } => RunState::Paused,
        Mood::Aborting { .. } | Mood::Going => {
            let decisions = run.decide(now);
            let is_stuck = decisions.iter().any(|d| matches!(d, Decision::Stuck(_)));
            let is_running =
                run.steps().any(|(_, course)| matches!(course.stand, Stand::Running { .. }));
            match run.mood() {
                _ if is_stuck => RunState::Stuck,
                Mood::Aborting { .. } => RunState::Aborting,
                _ if decisions.is_empty() && !is_running => RunState::WaitsForPerson,
                _ => RunState::Going,
            }
        }
    }
}

fn step_report(
    procedure: &Procedure,
    run: &Run,
    values: &Values,
    name: &StepName,
) -> Option<StepReport> {
    let (step, course) = run.step(name)?;
    let planned = procedure.step(name)?;
    let (why, hint) = match (&course.undo, &course.stand) {
        (UndoStand::Failed(failure), _) | (_, Stand::Failed(failure)) => {
            (Some(failure.why.clone()), failure.hint.clone())
        }
        (_, Stand::LeftOut { why }) => (Some(why.clone()), None),
        (_, Stand::Skipped { by, why }) => (Some(format!("{by}: {why}")), None),
        _ => (None, None),
    };
    let is_asked = matches!(course.stand, Stand::Asked { .. });
    let asks = match &planned.action {
        Action::Manual(manual) if is_asked => Some(&manual.manual),
        Action::Approve(approve) if is_asked => Some(&approve.approve.ask),
        Action::Rotate(rotate) if is_asked => Some(&rotate.rotate.what),
        _ => None,
    };
    let waits_for = match &step.task {
        Task::Approve { by } if is_asked => Some(by.clone()),
        Task::Manual { .. } if is_asked => Some("anybody".to_owned()),
        _ => None,
    };
    let checklist = match &step.task {
        Task::Manual { checklist } if is_asked => checklist.clone(),
        _ => Vec::new(),
    };
    let commands = commands(run, name, &step.task);
    let took =
        course.begun.zip(course.ended).map(|((_, begun), ended)| ended.duration_since(begun));
    Some(StepReport {
        step: name.clone(),
        title: planned.title.clone(),
        stand: stand(&course.stand, &course.undo),
        why,
        // What a failure says to do is done by commands that the run takes.
        hint: hint.filter(|_| !commands.is_empty()),
        asks: asks.map(|template| values.text(template, &run.given())),
        checklist,
        waits_for,
        commands,
        attempts: course.attempts,
        took_ms: took.map(|took| milliseconds(Duration::try_from(took).unwrap_or_default())),
    })
}

pub(crate) const fn stand(stand: &Stand, undo: &UndoStand) -> &'static str {
    match (undo, stand) {
        (UndoStand::Running, _) => "being undone",
        (UndoStand::Failed(_), _) => "undo failed",
        (UndoStand::Done, _) => "undone",
        (_, Stand::Waiting) => "to come",
        (_, Stand::Asked { .. }) => "waits for a person",
        (_, Stand::Running { .. }) => "under way",
        (_, Stand::Interrupted) => "interrupted",
        (_, Stand::Retrying { .. }) => "to be tried again",
        (_, Stand::Failed(_)) => "failed",
        (_, Stand::Done) => "done",
        (_, Stand::LeftOut { .. }) => "left out",
        (_, Stand::Skipped { .. }) => "skipped",
    }
}

/// The commands that lead on at a step: of those that would, what the run takes as it stands.
fn commands(run: &Run, name: &StepName, task: &Task) -> Vec<String> {
    let command = |words: &str| format!("lifeboat recover {words}");
    let Some((_, course)) = run.step(name) else { return Vec::new() };
    match (&course.undo, &course.stand, task) {
        (_, Stand::Asked { .. }, Task::Approve { .. }) => vec![
            command(&format!("approve {name} --reason WHY")),
            command(&format!("decline {name} --reason WHY")),
        ],
        (_, Stand::Asked { .. }, _) => vec![command(&format!("confirm {name} --note TEXT"))],
        (UndoStand::Failed(_), ..) | (_, Stand::Failed(_), _) => {
            let (step, why) = (name.clone(), "WHY".to_owned());
            let ways = [
                (Command::Retry { step: step.clone() }, format!("retry {name}")),
                (Command::Skip { step, why: why.clone() }, format!("skip {name} --reason WHY")),
                (Command::Abort { why }, "abort --reason WHY".to_owned()),
            ];
            let anybody = Person { name: String::new(), rights: BTreeSet::new() };
            let taken = ways.iter().filter(|(way, _)| run.command(way, &anybody).is_ok());
            taken.map(|(_, words)| command(words)).collect()
        }
        _ => Vec::new(),
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
