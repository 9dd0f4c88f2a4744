//! Why a measurement did not come to its end.

use std::io;
use std::path::PathBuf;

/// A measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file could not be made, read or removed.
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
}

/// Adds to a system error what was attempted with which file.
pub fn file(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> BenchError {
    let path = path.into();
    move |source| BenchError::File { action, path, source }
}
