//! How a job, or one stage of it for one asset on one tier, ended: computed once, told everywhere.

use std::fmt;

use lifeboat_model::{Exit, Outcome, TierName, Timestamp};
use serde::{Deserialize, Serialize};

/// How something ended, from best to worst, so that `max` of several is the verdict over all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// All of it was done.
    Succeeded,
    /// It was not tried, since what it builds on did not come about.
    Skipped,
    /// The plan asks for something that this version cannot do yet.
    NotBuilt,
    /// It could not be carried out, so nothing is known.
    CouldNotVerify,
    /// Part of it was done; the rest is named.
    Incomplete,
    /// The process ended in the middle.
    Interrupted,
    /// The user stopped it.
    Cancelled,
    /// It was tried and failed.
    Failed,
}

impl Ending {
    /// Returns how something ended that came to this verdict.
    pub const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self::Succeeded,
            Outcome::CouldNotVerify => Self::CouldNotVerify,
            Outcome::Failed => Self::Failed,
        }
    }

    /// Returns the exit code of a command whose worst ending this is.
    pub const fn exit(self) -> Exit {
        match self {
            Self::Succeeded => Exit::Done,
            Self::Skipped | Self::Interrupted | Self::Failed => Exit::Failed,
            Self::NotBuilt => Exit::NotBuilt,
            Self::CouldNotVerify => Exit::CouldNotVerify,
            Self::Incomplete => Exit::Incomplete,
            Self::Cancelled => Exit::Cancelled,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Succeeded => "done",
            Self::Skipped => "skipped",
            Self::NotBuilt => "not built yet",
            Self::CouldNotVerify => "could not verify",
            Self::Incomplete => "incomplete",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        })
    }
}

/// What a job does for an asset, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobStage {
    /// The hook before.
    Before,
    /// Reading the asset into the first tier.
    Store,
    /// Copying the snapshot to a further tier.
    Copy,
    /// Extending the locks of what a snapshot needs.
    Lock,
    /// Verifying a tier after the backup.
    Verify,
    /// The hook after, or the one for a failure.
    After,
}

impl fmt::Display for JobStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Before => "before",
            Self::Store => "store",
            Self::Copy => "copy",
            Self::Lock => "lock",
            Self::Verify => "verify",
            Self::After => "after",
        })
    }
}

/// How one stage ended for one asset on one tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageOutcome {
    /// Which stage.
    pub stage: JobStage,
    /// On which tier; hooks belong to none.
    pub tier: Option<TierName>,
    /// How it ended.
    pub ending: Ending,
    /// Why, unless it succeeded; never holds a secret.
    pub message: Option<String>,
    /// What a person can do about it.
    pub hint: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_ending_decides() {
        let worst = [Ending::Succeeded, Ending::NotBuilt, Ending::Incomplete].into_iter().max();
        assert_eq!(worst, Some(Ending::Incomplete));
        assert_eq!(Ending::Succeeded.exit(), Exit::Done);
        assert!(Ending::Failed > Ending::Cancelled);
    }
}
