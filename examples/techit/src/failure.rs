//! Why what is staged did not come to its good end.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use lifeboat_testing::interrupt::Interrupted;
use lifeboat_testing::program::ProgramError;

/// Something on the stage failed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Somebody pressed Ctrl-C.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// A file of the platform could not be made, read or removed.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The system did not do what was asked.
    #[error("cannot {action}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A program that the stage needs is missing, or a server that stands in for a cloud failed.
    #[error("what the stage needs failed")]
    Program(#[from] ProgramError),
    /// A command ended otherwise than it should.
    #[error("`{command}` ended with {status}{}{said}", if said.is_empty() { "" } else { ": " })]
    Command {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// What should have happened did not.
    #[error("{what}")]
    NotProven {
        /// What differs.
        what: String,
    },
}

/// Says what should have happened and did not.
pub fn not_proven(what: impl Into<String>) -> StageError {
    StageError::NotProven { what: what.into() }
}

/// Adds to a system error what was attempted with which file.
pub fn file(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> StageError {
    let path = path.into();
    move |source| StageError::File { action, path, source }
}

/// Adds to a system error what was attempted.
pub fn system(action: &'static str) -> impl FnOnce(io::Error) -> StageError {
    move |source| StageError::System { action, source }
}
