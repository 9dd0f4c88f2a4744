//! The journal of jobs: what is to be done, what runs, and what became of what was done.
//!
//! ```text
//! queued ──> running ──> succeeded | failed | cancelled
//!    │          └──────> lost, and queued again as the next attempt
//!    └────────────────────────────────> cancelled
//! ```
//!
//! A job that was begun holds a *lease*, renewed while it runs. When the daemon starts, its lock proves that
//! whoever held a lease is gone: those jobs are marked as lost, and each is queued again, a few times. That
//! does nothing twice, since every operation goes on from what it finds: a backup adopts what the killed
//! one stored, a copy sends what lacks, a prune ends what was begun.
//!
//! # Invariants
//!
//! - A time of the calendar is taken up and its job queued in one transaction: neither without the other.
//! - A job is begun by one, and ends once.
//! - Nothing that runs while its daemon is gone stays as running.
//!
//! # Crash consistency
//!
//! Everything is one SQLite file in WAL mode, written through at each commit. What was done is told by the
//! catalog, under the same id; losing the journal loses the queue and the times that were taken up, so that
//! each task begins anew from now.

mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use lifeboat_model::Timestamp;
use lifeboat_model::{Classify, ErrorKind, Exit, Hint, JobId};
use serde::{Deserialize, Serialize};

use crate::ending::Ending;
use crate::schedule::Task;

pub use crate::schedule::Work;
pub use store::Journal;

/// How often a job is begun that nobody ended, so that one which brings the daemon down does not do so for ever.
pub const ATTEMPTS_MAX: u32 = 3;

/// How many ended jobs are kept: months of every few minutes.
pub const KEPT_MAX: u32 = 20_000;

/// The journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite failed.
    #[error("cannot use the journal of jobs {}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's word.
        #[source]
        source: rusqlite::Error,
    },
    /// The file could not be made.
    #[error("cannot create {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// A later version of lifeboat wrote it; it was not touched.
    #[error("the journal of jobs {} was written by a later version", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// A row is no job.
    #[error("the journal of jobs {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl Classify for JournalError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Sqlite { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                    ErrorKind::Corrupt
                }
                _ => ErrorKind::Unavailable,
            },
            Self::Create { .. } => ErrorKind::Unavailable,
            Self::Newer { .. } => ErrorKind::Conflict,
            Self::Damaged { .. } => ErrorKind::Corrupt,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(Hint::new(match self {
            Self::Newer { .. } => "install the version that wrote it, or a later one".to_owned(),
            Self::Create { .. } => "run it as the user who owns the state directory".to_owned(),
            Self::Sqlite { path, .. } | Self::Damaged { path } => format!(
                "see that the disk has room; if it is damaged, move {} away: what was done is in the catalog",
                path.display()
            ),
        }))
    }

    fn exit(&self) -> Exit {
        self.kind().exit()
    }
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It waits for its turn.
    Queued,
    /// It runs.
    Running,
    /// All of it was done.
    Succeeded,
    /// It ended otherwise; its ending says how.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// Its daemon ended in the middle of it.
    Lost,
}

impl JobState {
    const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled, Self::Lost];

    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// Returns how a job stands that ended like this.
    pub const fn of(ending: Ending) -> Self {
        match ending {
            Ending::Succeeded => Self::Succeeded,
            Ending::Cancelled => Self::Cancelled,
            Ending::Interrupted => Self::Lost,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text is no state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no state of a job")]
pub struct ParseJobStateError;

impl FromStr for JobState {
    type Err = ParseJobStateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(ParseJobStateError)
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Which job; the catalog's records of it bear the same id.
    pub id: JobId,
    /// What it does.
    #[serde(flatten)]
    pub work: Work,
    /// Who wanted it: a person, or nobody but the plan.
    pub asked_by: Option<String>,
    /// The time of the calendar that it stands for.
    pub slot: Option<Timestamp>,
    /// How many earlier ones it makes up for.
    pub missed: u32,
    /// The how manieth attempt this is, from 1.
    pub attempt: u32,
    /// How it stands.
    pub state: JobState,
    /// When it was queued.
    pub queued: Timestamp,
    /// When it was begun.
    pub started: Option<Timestamp>,
    /// Until when whoever runs it vouches for that.
    pub lease: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How.
    pub ending: Option<Ending>,
    /// Why, unless it succeeded.
    pub message: Option<String>,
}

impl Job {
    /// Returns a job that waits for its turn.
    pub const fn queued(id: JobId, work: Work, now: Timestamp) -> Self {
        Self {
            id,
            work,
            asked_by: None,
            slot: None,
            missed: 0,
            attempt: 1,
            state: JobState::Queued,
            queued: now,
            started: None,
            lease: None,
            ended: None,
            ending: None,
            message: None,
        }
    }

    /// Returns the task of the plan that it does, if it is one.
    pub const fn task(&self) -> Option<&Task> {
        match &self.work {
            Work::Task { task } => Some(task),
            Work::Backup { .. } => None,
        }
    }
}
