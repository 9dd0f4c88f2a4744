//! An entry of a run's journal: one fact, its time, and the hash of the entry before.

use std::collections::BTreeMap;
use std::fmt;

use lifeboat_model::{EntryId, RunId, RunbookId, StepName, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Failure, Outputs};

/// The version of entries that this version writes.
pub const FORMAT: u32 = 1;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the journal, from 0.
    pub sequence: u64,
    /// When it was written; never before the entry before it.
    pub time: Timestamp,
    /// The hash of the entry before; none for the first.
    pub before: Option<EntryId>,
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
}

impl Entry {
    /// Returns the line that stands for it, without its end.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("an entry has only texts for keys")
    }

    /// Returns the hash of what stands for it.
    pub fn id(&self) -> EntryId {
        id_of(&self.line())
    }
}

/// Returns the hash of a line.
pub(crate) fn id_of(line: &str) -> EntryId {
    EntryId::from_bytes(Sha256::digest(line.as_bytes()).into())
}

/// What happened in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "kebab-case")]
pub enum Fact {
    /// The run was declared; always the first.
    Began(Began),
    /// A process took the run over; what another one was at is interrupted.
    Taken {
        /// Who drives it now.
        by: Operator,
    },
    /// An attempt at a step began.
    Started {
        /// Which step.
        step: StepName,
        /// The how manyth attempt, from 1.
        attempt: u32,
    },
    /// An attempt ended, and what it did was looked at.
    Ended {
        /// Which step.
        step: StepName,
        /// How it ended.
        ending: AttemptEnding,
    },
    /// It was found out what became of an interrupted attempt.
    Found {
        /// Of which step.
        step: StepName,
        /// What.
        found: Found,
    },
    /// A step is left out of this run, by what the runbook says.
    LeftOut {
        /// Which step.
        step: StepName,
        /// Why.
        why: String,
    },
    /// A person is waited for.
    Asked {
        /// By which step.
        step: StepName,
    },
    /// A person did what a step asks for.
    Confirmed {
        /// Which step.
        step: StepName,
        /// Who did.
        by: String,
        /// What they noted.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
        /// The points that they ticked off.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ticked: Vec<String>,
    },
    /// A person agreed.
    Approved {
        /// To which step.
        step: StepName,
        /// Who did.
        by: String,
        /// By which right: their role, or their own name.
        right: String,
        /// What they noted.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
    },
    /// A person did not agree.
    Declined {
        /// To which step.
        step: StepName,
        /// Who did not.
        by: String,
        /// Why.
        why: String,
    },
    /// The time that a step waits for is over.
    Elapsed {
        /// Which step.
        step: StepName,
    },
    /// Nothing new is begun from now on.
    Paused {
        /// Who wants that.
        by: String,
        /// Why.
        why: String,
    },
    /// It goes on.
    Resumed {
        /// Who wants that.
        by: String,
    },
    /// A step that failed, or an undo that did, is to be tried again.
    Retried {
        /// Which step.
        step: StepName,
        /// Who wants that.
        by: String,
    },
    /// A step, or an undo, is not to be done.
    Skipped {
        /// Which step.
        step: StepName,
        /// Who wants that.
        by: String,
        /// Why.
        why: String,
    },
    /// The run ends here, and what it did is undone in reverse order.
    Aborted {
        /// Who wants that.
        by: String,
        /// Why.
        why: String,
    },
    /// Undoing a step began.
    UndoStarted {
        /// Which step.
        step: StepName,
    },
    /// Undoing a step ended.
    UndoEnded {
        /// Which step.
        step: StepName,
        /// What went wrong, if anything did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// The run is over.
    Finished {
        /// How.
        outcome: Outcome,
    },
}

/// A run was declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    /// The version of the entries.
    pub format: u32,
    /// Which run.
    pub run: RunId,
    /// Which runbook it carries out.
    pub runbook: RunbookId,
    /// When the recovery was declared: deciding from which point takes its time too.
    pub declared: Timestamp,
    /// What whoever began it wants to find again.
    pub about: BTreeMap<String, String>,
}

/// A process that drives a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Whose it is.
    pub login: String,
    /// On which host.
    pub host: String,
    /// Its number there.
    pub process: u32,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} (process {})", self.login, self.host, self.process)
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum AttemptEnding {
    /// It worked, and was found to have worked.
    Done {
        /// What it gives to others.
        outputs: Outputs,
    },
    /// It did not.
    Failed(Failure),
    /// It was told to stop before it was done, as when somebody ends the process.
    Stopped,
}

/// What became of an interrupted attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Found {
    /// It had worked.
    Done {
        /// What it gives to others.
        outputs: Outputs,
    },
    /// It had not.
    NotDone {
        /// How that is known.
        why: String,
    },
    /// Nobody can tell.
    Unclear {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Succeeded => "succeeded",
            Self::Incomplete => "incomplete",
            Self::Aborted => "aborted",
        })
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All that the runbook asks for was done.
    Succeeded,
    /// Some of it was not: it failed without being critical, or a person skipped it.
    Incomplete,
    /// It was given up, and what could be undone is.
    Aborted,
}
