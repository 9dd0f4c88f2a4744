//! Why a measurement did not come to its end.

use std::io;
use std::path::PathBuf;

use lifeboat_model::ByteSize;
use lifeboat_repository::RepositoryError;
use lifeboat_testing::interrupt::Interrupted;
use lifeboat_testing::program::ProgramError;
use lifeboat_tiers::TierError;
use lifeboat_tiers::s3::S3OpenError;

/// A measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Somebody pressed Ctrl-C.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
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
    /// What is measured needs more room than there is.
    #[error(
        "{needed} are needed below `{path}`, and {free} are free; set BENCH_DIR, or a smaller size"
    )]
    NoRoom {
        /// Where everything would be made.
        path: PathBuf,
        /// How much is needed.
        needed: ByteSize,
        /// How much there is.
        free: ByteSize,
    },
    /// A program is not installed or cannot be run.
    #[error("`{program}` cannot be run")]
    Missing {
        /// The program.
        program: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A program that was to be measured failed.
    #[error("`{command}` ended with {ending}: {message}")]
    Failed {
        /// The command as a person would type it.
        command: String,
        /// How it ended.
        ending: String,
        /// The end of what it said.
        message: String,
    },
    /// A program did something else than what its time was to be taken for.
    #[error("{racer} did not do the work: {what}")]
    WrongWork {
        /// The program.
        racer: &'static str,
        /// What is wrong.
        what: String,
    },
    /// An index did not answer as it should.
    #[error("the index of `{repository}` is wrong: {what}")]
    WrongAnswer {
        /// The repository.
        repository: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A repository could not be made or read.
    #[error("cannot use a repository")]
    Repository(#[from] RepositoryError),
    /// The directory of a repository could not be made.
    #[error("cannot make a repository")]
    Tier(#[from] TierError),
    /// The store cannot be spoken to.
    #[error("cannot speak to the store")]
    Store(#[from] S3OpenError),
    /// A tier could not be given its site's mark.
    #[error("cannot mark a tier")]
    Mark(#[source] Box<lifeboat_ops::error::OpsError>),
    /// A stock program did not do what was needed.
    #[error("cannot make what is to be measured")]
    Program(#[from] ProgramError),
    /// A word is not the name of a work.
    #[error("`{word}` is no work; the works are {known}")]
    UnknownWork {
        /// The word.
        word: String,
        /// The names that there are.
        known: String,
    },
    /// The page that is to hold the results has no place for them.
    #[error("`{path}` has no line `{marker}`")]
    NoPlace {
        /// The page.
        path: PathBuf,
        /// The line that is missing.
        marker: &'static str,
    },
    /// Only a whole run is published.
    #[error("a run with another scale or of some works only is not published")]
    NotWhole,
}

/// Adds to a system error what was attempted with which file.
pub fn file(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> BenchError {
    let path = path.into();
    move |source| BenchError::File { action, path, source }
}

/// Adds to a system error what was attempted.
pub fn system(action: &'static str) -> impl FnOnce(io::Error) -> BenchError {
    move |source| BenchError::System { action, source }
}
