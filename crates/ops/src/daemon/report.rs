//! What waits, runs, ended and comes next: read from the state, whether or not a daemon runs.

use std::path::{Path, PathBuf};

use lifeboat_model::{PlanId, SiteName, Timestamp};
use serde::Serialize;

use super::conditions;
use super::control::Served;
use crate::jobs::{Job, JobState, Journal, JournalError};
use crate::schedule::{NextRun, Pause, Task, next_runs};
use crate::state::{State, StateError};
use crate::status::history::History;
use crate::wire::Site;

/// The version of [`JobsReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// The queue, and what is around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobsReport {
    /// Which site.
    pub site: SiteName,
    /// When this was read.
    pub now: Timestamp,
    /// The plan that was read here.
    pub plan: PlanId,
    /// The daemon, if one runs.
    pub daemon: Option<Served>,
    /// The pause, if one holds.
    pub pause: Option<Pause>,
    /// What runs and what waits.
    pub jobs: Vec<Job>,
    /// When each task is due next, the soonest first.
    pub next: Vec<NextRun>,
    /// What ended, the newest first.
    pub ended: Vec<Job>,
}

/// A report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The state directory is not to be had.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal is not to be had.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl lifeboat_model::Classify for ReportError {
    fn kind(&self) -> lifeboat_model::ErrorKind {
        match self {
            Self::State(error) => error.kind(),
            Self::Journal(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<lifeboat_model::Hint> {
        match self {
            Self::State(error) => error.hint(),
            Self::Journal(error) => error.hint(),
        }
    }
}

/// Returns where a site's daemon listens, as it wrote down itself.
pub fn socket_of(site: &Site) -> Result<Option<PathBuf>, ReportError> {
    socket_below(&site.surroundings().state_directory)
}

/// Returns where the daemon of a state directory listens, whatever the plan on disk says.
pub fn socket_below(directory: &Path) -> Result<Option<PathBuf>, ReportError> {
    match journal_in(directory)? {
        Some((_, journal)) => Ok(journal.socket()?),
        None => Ok(None),
    }
}

/// Opens the journal of a site, if there is one.
pub fn journal_of(site: &Site) -> Result<Option<(State, Journal)>, ReportError> {
    journal_in(&site.surroundings().state_directory)
}

fn journal_in(directory: &Path) -> Result<Option<(State, Journal)>, ReportError> {
    let state = State::open(directory)?;
    let path = state.journal_path();
    if !path.exists() {
        return Ok(None);
    }
    let journal = Journal::open(&path)?;
    Ok(Some((state, journal)))
}

/// Reads how the jobs stand; `daemon` is what answered on the daemon's socket.
pub fn jobs_report(
    site: &Site,
    daemon: Option<Served>,
    ended: u32,
) -> Result<JobsReport, ReportError> {
    report(site, daemon, ended, None)
}

/// Tells what the daemon does, to somebody who has read the history already.
pub(crate) fn activity(
    site: &Site,
    daemon: Option<Served>,
    history: &History,
) -> Result<JobsReport, ReportError> {
    report(site, daemon, 0, Some(history))
}

fn report(
    site: &Site,
    daemon: Option<Served>,
    ended: u32,
    history: Option<&History>,
) -> Result<JobsReport, ReportError> {
    let (plan, now) = (site.plan(), site.surroundings().now());
    let mut report = JobsReport {
        site: site.name().clone(),
        now,
        plan: plan.id(),
        daemon,
        pause: None,
        jobs: Vec::new(),
        next: Vec::new(),
        ended: Vec::new(),
    };
    let Some((state, journal)) = journal_of(site)? else { return Ok(report) };
    report.pause = journal.pause()?.filter(|pause| pause.holds_at(now));
    report.jobs = journal.open_jobs()?;
    if report.daemon.is_none() {
        // Nobody works on it any more; the next daemon will say so.
        let running = report.jobs.iter_mut().filter(|job| job.state == JobState::Running);
        running.for_each(|job| job.state = JobState::Lost);
    }
    report.ended = journal.ended(ended)?;
    let mut known = conditions::of_known(&state, plan, history);
    known.elsewhere = conditions::elsewhere(site);
    known.recovering = conditions::recovering(site);
    known.pause.clone_from(&report.pause);
    known.open = report.jobs.iter().filter_map(Job::task).cloned().collect();
    let done = journal.known_history(&Task::all(plan))?;
    report.next = next_runs(plan, &done, &known, now);
    Ok(report)
}
