//! Why a drill was not begun, or could not be recorded.

use lifeboat_model::{Classify, ErrorCode, ErrorKind, Exit, Hint};

use crate::error::OpsError;
use crate::procedure::ProcedureError;
use crate::recovery::sandbox::SandboxError;
use crate::state::StateError;

/// A drill was not begun, or could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// A recovery is open.
    #[error("a recovery is open, and nobody drills meanwhile")]
    Recovering,
    /// Another drill goes on.
    #[error("another drill of this site goes on")]
    Busy,
    /// The plan knows no such drill or finding.
    #[error("the plan has no {what}")]
    Unknown {
        /// What was asked for.
        what: String,
    },
    /// The platform does not run to which something is to happen.
    #[error("the platform could not be brought up before anything happened to it: {why}")]
    NotUp {
        /// What keeps it.
        why: String,
    },
    /// The damage was not done.
    #[error("the `damage` of the scenario could not be done: {why}")]
    Undamaged {
        /// What kept it.
        why: String,
    },
    /// Nobody does damage outside of a yard.
    #[error("a platform is damaged in a yard alone, and here is none")]
    NoYard,
    /// The procedure cannot be carried out.
    #[error(transparent)]
    Procedure(#[from] ProcedureError),
    /// Something with the site went wrong.
    #[error(transparent)]
    Ops(#[from] OpsError),
}

impl From<StateError> for DrillError {
    fn from(error: StateError) -> Self {
        Self::Ops(error.into())
    }
}

impl From<SandboxError> for DrillError {
    fn from(error: SandboxError) -> Self {
        Self::Ops(error.into())
    }
}

impl DrillError {
    fn inner(&self) -> Option<&dyn Classify> {
        match self {
            Self::Procedure(error) => Some(error),
            Self::Ops(error) => Some(error),
            _ => None,
        }
    }
}

impl Classify for DrillError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Recovering | Self::Busy => ErrorKind::Conflict,
            Self::Unknown { .. } => ErrorKind::Usage,
            Self::NotUp { .. } | Self::Undamaged { .. } => ErrorKind::Incomplete,
            Self::NoYard => ErrorKind::Bug,
            _ => self.inner().map_or(ErrorKind::Bug, Classify::kind),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Busy => Exit::Locked,
            other => other.inner().map_or_else(|| other.kind().exit(), Classify::exit),
        }
    }

    fn code(&self) -> Option<ErrorCode> {
        self.inner().and_then(Classify::code)
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Recovering => Some(Hint::new("`lifeboat recover status` shows it")),
            _ => self.inner().and_then(Classify::hint),
        }
    }
}
