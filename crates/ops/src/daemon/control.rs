//! What is said to the daemon over its socket, and what it answers: lines of JSON.
//!
//! The socket is that of the log, see [`crate::wal::protocol`]; a question that has a `wish` is one about the
//! log. Who else asks has to be root or the daemon's own user: whoever may run a backup of everything may
//! read everything.

use lifeboat_model::{Event, JobId, PlanId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::watcher::Watched;
use crate::jobs::{Job, Work};
use crate::schedule::Pause;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// What runs here.
    Status,
    /// Do this now.
    Run {
        /// What.
        work: Work,
        /// Whether whoever asks stays until it is done.
        waits: Waits,
    },
    /// Stop a job.
    Cancel {
        /// Which.
        job: JobId,
    },
    /// Begin nothing until then.
    Pause {
        /// For so many seconds.
        for_s: u64,
        /// Why.
        why: String,
    },
    /// End the pause.
    Resume,
    /// Read the plan anew.
    Reload,
}

/// Whether whoever asks for a job stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waits {
    /// Until it is done, and hears what it does.
    Yes,
    /// Until it is queued.
    No,
}

/// What is answered. A job that is waited for is answered with `queued`, events, and `ended`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// What runs here.
    Status(Served),
    /// It waits for its turn.
    Queued {
        /// The job.
        job: Job,
    },
    /// It goes on.
    Event {
        /// How.
        event: Event,
    },
    /// It ended.
    Ended {
        /// The job.
        job: Job,
        /// The operation's report.
        report: Option<Value>,
        /// What a person can do about it.
        hint: Option<String>,
        /// How a command ends that waited for it.
        exit: u8,
    },
    /// The job as it stands now.
    Job {
        /// The job.
        job: Job,
    },
    /// Nothing begins until its end.
    Paused {
        /// The pause.
        pause: Pause,
    },
    /// It is done.
    Done,
    /// The plan was read.
    Reloaded {
        /// The one in force now.
        plan: PlanId,
    },
    /// It is not done.
    Refused {
        /// Why.
        message: String,
    },
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Since when the daemon runs.
    pub since: Timestamp,
    /// Its process.
    pub process: u32,
    /// The version of lifeboat.
    pub version: String,
    /// The plan in force.
    pub plan: PlanId,
    /// What is wrong with the plan on disk, for which that one stays.
    pub trouble: Option<String>,
    /// The assets that are captured when they change.
    #[serde(default)]
    pub watched: Vec<Watched>,
}
