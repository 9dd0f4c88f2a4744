//! Restore tests, drills and recoveries: when they last ran, what came of it, and when they run next. Pure.

use std::time::Duration;

use lifeboat_model::{ScenarioName, Timestamp};
use lifeboat_plan::Plan;
use serde::Serialize;

use super::Facts;
use super::history::History;
use crate::drill::DrillEnded;
use crate::ending::Ending;
use crate::jobs::Job;
use crate::objectives::{Measured, Objective, Rehearsal, judge_comeback};
use crate::proof::{Tested, why};
use crate::schedule::Task;

/// A restore test or a drill of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rehearsed {
    /// Which one.
    pub task: Task,
    /// How it went last; absent if it never ran, as far as the catalog and this host's journal know.
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

/// Tells of each rehearsal of a plan how it went: by the catalog, and by this host's journal if that knows of a later run,
/// which came to no record.
pub(super) fn rehearsed(
    plan: &Plan,
    history: &History,
    facts: &Facts,
    now: Timestamp,
) -> Vec<Rehearsed> {
    let each = |task: Task| {
        let job = facts.rehearsals.iter().find(|job| job.task() == Some(&task));
        let is_own =
            |run: &&Tested| matches!(&task, Task::RestoreTest(name) if *name == run.body.test);
        let of_record = history.tests.iter().find(is_own);
        let (of_job, of_record) = (job.and_then(last_of_job), of_record.map(last_of_record));
        let is_drill = |(_, body): &&(Timestamp, DrillEnded)| matches!(&task, Task::Drill(name) if body.drill.as_ref() == Some(name));
        let of_drill = history.drills.iter().find(is_drill).map(last_of_drill);
        let last =
            of_record.into_iter().chain(of_drill).chain(of_job).max_by_key(|last| last.ended);
        Rehearsed { last, next: next(plan, &task, now), task }
    };
    tasks(plan).into_iter().map(each).collect()
}

fn last_of_job(job: &Job) -> Option<LastRun> {
    let took = job.started.zip(job.ended).map(|(from, to)| to.duration_since(from));
    Some(LastRun {
        ended: job.ended,
        ending: job.ending?,
        took_s: took.and_then(|took| Duration::try_from(took).ok()).map(|took| took.as_secs()),
        message: job.message.clone(),
    })
}

fn last_of_record(run: &Tested) -> LastRun {
    let ending = Ending::of(run.body.outcome);
    let message = (ending != Ending::Succeeded).then(|| why(&run.body));
    let took_s = Some(run.body.duration_ms / 1000);
    LastRun { ended: Some(run.time), ending, took_s, message }
}

fn last_of_drill((time, body): &(Timestamp, DrillEnded)) -> LastRun {
    let first = body.findings.first();
    LastRun {
        ended: Some(*time),
        ending: Ending::of(body.outcome),
        took_s: Some(body.duration_ms / 1000),
        message: first.map(|finding| finding.what.clone()),
    }
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
        let mut drills = history.drills.iter();
        let drill = drills.find(|(_, body)| body.scenario == *name && body.ran == Some(succeeded));
        let last = last.map(|(time, body)| (*time, body.total_ms));
        let last = last.max(drill.map(|(time, body)| (*time, body.total_ms)));
        let measured = last.map(|(time, took_ms)| Measured {
            took_ms,
            time,
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
