//! Restore tests, drills and recoveries: when they last ran, what came of it, and when they run next. Pure.

use std::time::Duration;

use lifeboat_model::{ScenarioName, Timestamp};
use lifeboat_plan::Plan;
use serde::Serialize;

use super::Facts;
use super::history::History;
use crate::ending::Ending;
use crate::objectives::{Measured, Objective, Rehearsal, judge_comeback};
use crate::schedule::Task;

/// A restore test or a drill of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rehearsed {
    /// Which one.
    pub task: Task,
    /// How it went last; absent if it never ran on this host.
    pub last: Option<LastRun>,
    /// When it is due next.
    pub next: Option<Timestamp>,
}

/// How a rehearsal went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastRun {
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How.
    pub ending: Ending,
    /// How long it took, in seconds.
    pub took_s: Option<u64>,
    /// Why, unless it succeeded.
    pub message: Option<String>,
}

/// Something that can happen, and how long recovering from it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScenarioStatus {
    /// Which one.
    pub scenario: ScenarioName,
    /// How long it may take, in seconds.
    pub limit_s: Option<u64>,
    /// How long the last one took that succeeded.
    pub measured: Option<Measured>,
    /// How that stands.
    pub objective: Objective,
}

/// Returns the tasks of a plan that prove something.
pub(super) fn tasks(plan: &Plan) -> Vec<Task> {
    let proves = |task: &Task| matches!(task, Task::RestoreTest(_) | Task::Drill(_));
    Task::all(plan).into_iter().filter(proves).collect()
}

/// Tells of each rehearsal of a plan how it went.
pub(super) fn rehearsed(plan: &Plan, facts: &Facts, now: Timestamp) -> Vec<Rehearsed> {
    let each = |task: Task| {
        let last = facts.rehearsals.iter().find(|job| job.task() == Some(&task));
        let last = last.and_then(|job| {
            let took = job.started.zip(job.ended).map(|(from, to)| to.duration_since(from));
            Some(LastRun {
                ended: job.ended,
                ending: job.ending?,
                took_s: took
                    .and_then(|took| Duration::try_from(took).ok())
                    .map(|took| took.as_secs()),
                message: job.message.clone(),
            })
        });
        Rehearsed { last, next: next(plan, &task, now), task }
    };
    tasks(plan).into_iter().map(each).collect()
}

fn next(plan: &Plan, task: &Task, now: Timestamp) -> Option<Timestamp> {
    match task {
        Task::RestoreTest(name) => plan.restore_tests().get(name)?.timetable().next_after(now),
        Task::Drill(name) => plan.drills().get(name)?.timetable().next_after(now),
        _ => None,
    }
}

/// Tells of each scenario how long recovering from it took last.
pub(super) fn scenarios(plan: &Plan, history: &History) -> Vec<ScenarioStatus> {
    let each = |(name, scenario): (&ScenarioName, &lifeboat_plan::plan::scenario::Scenario)| {
        let succeeded = lifeboat_runbook::Outcome::Succeeded;
        let mut ended = history.recoveries.iter();
        let last = ended.find(|(_, body)| body.scenario == *name && body.outcome == succeeded);
        let measured = last.map(|(time, body)| Measured {
            took_ms: body.total_ms,
            time: *time,
            by: Rehearsal::Recovery,
            tier: None,
        });
        let limit = scenario.rto.map(Duration::from);
        ScenarioStatus {
            scenario: name.clone(),
            limit_s: limit.map(|limit| limit.as_secs()),
            objective: judge_comeback(limit, measured.as_ref(), None),
            measured,
        }
    };
    plan.scenarios().iter().map(each).collect()
}
