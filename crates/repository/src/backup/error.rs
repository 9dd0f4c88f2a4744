//! Why no snapshot was made.

use std::io;
use std::path::PathBuf;

use lifeboat_model::{Cancelled, Classify, ErrorKind, Exit, Hint};

use crate::error::RepositoryError;
use crate::source::LayoutError;

/// A backup failed as a whole. What was stored until then is kept and used by the next one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The sources make no tree.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Not one of the paths is there.
    #[error("nothing to back up: {} not there", absent(paths))]
    Missing {
        /// The paths that were given.
        paths: Vec<PathBuf>,
    },
    /// The root directory cannot be opened.
    #[error("cannot open /")]
    Top(#[source] io::Error),
    /// A stream could not be opened, or broke off.
    #[error("cannot read the stream for {}", path.display())]
    Stream {
        /// The file that it was to become.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A stream came to its end, but whoever made it says that it is not whole.
    #[error("the stream for {} is not whole", path.display())]
    StreamEnd {
        /// The file that it was to become.
        path: PathBuf,
        /// What its maker says.
        #[source]
        source: io::Error,
    },
    /// A file that is read in pieces could not be read.
    #[error("cannot read what becomes {}", path.display())]
    Paged {
        /// The file that it was to become.
        path: PathBuf,
        /// What its reader says.
        #[source]
        source: io::Error,
    },
    /// All is stored, but whoever asked for the snapshot does not want it yet.
    #[error("the snapshot was not made")]
    Withheld(#[source] Box<Withheld>),
    /// The repository did not do what was asked.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The backup was asked to stop and did.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Why a snapshot is not to be made although all of it is stored.
#[derive(Debug)]
pub struct Withheld {
    kind: ErrorKind,
    hint: Option<Hint>,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Withheld {
    /// Takes the reason.
    pub fn new(reason: impl Classify + Send + Sync + 'static) -> Self {
        Self { kind: reason.kind(), hint: reason.hint(), source: Box::new(reason) }
    }
}

/// The reason's own words.
impl std::fmt::Display for Withheld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(f)
    }
}

impl std::error::Error for Withheld {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

fn absent(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(", "))
}

impl Classify for BackupError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Layout(source) => source.kind(),
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Top(_) => ErrorKind::Denied,
            Self::Stream { .. } | Self::StreamEnd { .. } | Self::Paged { .. } => {
                ErrorKind::Unavailable
            }
            Self::Withheld(withheld) => withheld.kind,
            Self::Repository(source) => source.kind(),
            Self::Cancelled(_) => ErrorKind::Cancelled,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Repository(source) => source.exit(),
            _ => self.kind().exit(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Missing { .. } => Some(Hint::new(
                "mount what holds these paths, or leave them out if they are gone for good",
            )),
            Self::Repository(source) => source.hint(),
            Self::Withheld(withheld) => withheld.hint.clone(),
            _ => None,
        }
    }
}
