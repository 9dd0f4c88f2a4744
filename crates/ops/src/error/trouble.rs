//! What went wrong with a part of a job while the rest went on, as reports tell it.

use lifeboat_model::{Classify, ErrorKind, Exit};
use serde::Serialize;

use super::explain;
use crate::ending::Ending;

/// What went wrong with one asset or one tier, while the others went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// How it ended.
    pub ending: Ending,
    /// What and why.
    pub message: String,
    /// What a person can do about it.
    pub hint: Option<String>,
    /// The exit code, had this been all that was asked for.
    pub exit: u8,
    /// What sort of failure it was, where an error says so.
    #[serde(skip)]
    pub kind: Option<ErrorKind>,
}

impl Trouble {
    /// Tells whether it says what is there, or that nothing is; else it says that nobody could look.
    pub fn is_known(&self) -> bool {
        use ErrorKind::{Bug, Conflict, Corrupt, NotFound};
        let says = self.kind.is_none_or(|kind| matches!(kind, NotFound | Conflict | Corrupt | Bug));
        self.ending == Ending::Failed && says
    }

    /// Takes note of an error.
    pub fn of(error: &impl Classify) -> Self {
        let exit = error.exit();
        let ending = match exit {
            Exit::NotBuilt => Ending::NotBuilt,
            Exit::Cancelled => Ending::Cancelled,
            Exit::Incomplete => Ending::Incomplete,
            Exit::CouldNotVerify => Ending::CouldNotVerify,
            _ => Ending::Failed,
        };
        let hint = error.hint().map(|hint| hint.to_string());
        let kind = Some(error.kind());
        Self { ending, message: explain(error), hint, exit: exit.code(), kind }
    }
}
