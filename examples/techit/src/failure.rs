//! Why the demo did not come to its good end.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use lifeboat_testing::interrupt::Interrupted;
use lifeboat_testing::program::ProgramError;

/// The demo failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
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
    /// PostgreSQL did not do what was asked.
    #[error("the platform's database failed")]
    Database(#[from] ProgramError),
    /// A server that stands in for a cloud did not do what was asked.
    #[error("what stands in for a cloud failed")]
    Cloud(#[source] ProgramError),
    /// A command ended otherwise than it should.
    #[error("`{command}` ended with {status}")]
    Command {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// What came back is not what was there.
    #[error("{what}")]
    NotProven {
        /// What differs.
        what: String,
    },
}

/// Adds to a system error what was attempted with which file.
pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> DemoError {
    let path = path.into();
    move |source| DemoError::File { action, path, source }
}
