//! What the daemon publishes: whether it goes round, whether its plan holds, and its metrics.

use std::time::Duration;

use super::http::{Page, Status};
use super::metrics::{Measured, PlanOnDisk, TaskMeasured, render};
use super::{Daemon, LOOK_EVERY, lock};
use crate::catalog::view::{View, ViewError};
use crate::error::explain;
use crate::jobs::{JobState, JournalError};
use crate::objectives::exposure;
use crate::schedule::{Held, Task, next_runs};
use crate::status::history::History;
use crate::status::{Facts, assess};
use crate::wire::addresses::hosts_of;

/// How many looks may be missed before the daemon counts as hanging.
const LOOKS_MISSED_MAX: u32 = 6;

/// The metrics could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum MetricsError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    View(#[from] ViewError),
}

impl Page {
    fn well(body: impl Into<String>) -> Self {
        Self { status: Status::Fine, body: body.into() }
    }

    fn unwell(body: &str) -> Self {
        Self { status: Status::Unavailable, body: format!("{body}\n") }
    }
}

impl Daemon {
    /// Returns what lies at a path.
    pub(super) fn page(&self, path: &str) -> Page {
        match path {
            "/health" => self.health(),
            "/ready" => self.readiness(),
            "/metrics" => {
                self.metrics().map_or_else(|error| Page::unwell(&explain(&error)), Page::well)
            }
            _ => {
                let body = "see /health, /ready, /metrics\n".to_owned();
                Page { status: Status::NotFound, body }
            }
        }
    }

    /// Tells whether the loop goes round.
    fn health(&self) -> Page {
        let looked = *lock(&self.looked);
        let age: Duration = exposure(looked, self.now());
        if age < LOOK_EVERY * LOOKS_MISSED_MAX {
            Page::well("ok\n")
        } else {
            Page::unwell(&format!("the daemon looked around last at {looked}"))
        }
    }

    /// Tells whether the plan on disk is in force and the journal can be kept.
    fn readiness(&self) -> Page {
        self.look_at_plan_again();
        if let Some(trouble) = &lock(&self.in_force).trouble {
            return Page::unwell(&format!("the plan on disk is not in force: {trouble}"));
        }
        match self.journal.open_jobs() {
            Ok(_) => Page::well("ok\n"),
            Err(error) => Page::unwell(&explain(&error)),
        }
    }

    pub(super) fn metrics(&self) -> Result<String, MetricsError> {
        let (site, now) = (self.site(), self.now());
        let plan = site.plan();
        let history = History::load(&View::open(&self.state.view_path())?, plan)?;
        let hosts = hosts_of(plan, &site.surroundings().environment);
        let facts = Facts { hosts, ..Facts::as_recorded(plan, &history) };
        let conditions = self.conditions(now)?;
        let open = self.journal.open_jobs()?;
        let count = |state| open.iter().filter(|job| job.state == state).count();
        let trouble = lock(&self.in_force).trouble.is_some();
        Ok(render(&Measured {
            report: &assess(plan, &history, &facts, now),
            history: &history,
            on_disk: if trouble { PlanOnDisk::Refused } else { PlanOnDisk::Holds },
            started: self.started,
            looked: *lock(&self.looked),
            tasks: &self.tasks(now)?,
            is_paused: conditions.pause.as_ref().is_some_and(|pause| pause.holds_at(now)),
            undelivered: conditions.undelivered,
            queued: count(JobState::Queued),
            running: count(JobState::Running),
        }))
    }

    /// Returns what became of each task, and when it is due next.
    fn tasks(&self, now: lifeboat_model::Timestamp) -> Result<Vec<TaskMeasured>, JournalError> {
        let site = self.site();
        let all = Task::all(site.plan());
        let known = self.journal.known_history(&all)?;
        let next = next_runs(site.plan(), &known, &self.conditions(now)?, now);
        let measured = all.into_iter().map(|task| {
            let past = known.get(&task).copied();
            let next = next.iter().find(|run| run.task == task);
            // What is done where the platform lives is nothing that should happen here.
            let is_here = !next.is_some_and(|run| matches!(run.held, Some(Held::Elsewhere { .. })));
            let timetable = task.timetable(site.plan()).filter(|_| is_here);
            Ok(TaskMeasured {
                last: self.journal.last_of(&task)?,
                first_due: past.and_then(|past| timetable?.next_after(past.since)),
                next: next.filter(|_| is_here).map(|run| run.at),
                past,
                task,
            })
        });
        measured.collect()
    }
}
