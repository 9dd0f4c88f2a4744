//! Why a base backup cannot be made.

use std::io;
use std::path::{Path, PathBuf};

use lifeboat_model::{Classify, ErrorKind, Hint};

use crate::control::ControlError;
use crate::error::PostgresError;
use crate::wal::{SegmentName, TimelineId};

/// A base backup failed.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The server did not do what was asked.
    #[error(transparent)]
    Server(#[from] PostgresError),
    /// The server's files could not be used.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// Directories lie in each other without end.
    #[error("`{}` lies too deep: a link leads in a circle", path.display())]
    TooDeep {
        /// The directory.
        path: PathBuf,
    },
    /// The control file cannot be used.
    #[error("`{}` cannot be used", path.display())]
    Control {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ControlError,
    },
    /// The files that are here are not those of the server that answers.
    #[error("`{}` is not the data of the server that answers: {what}", path.display())]
    AnotherCluster {
        /// The data directory.
        path: PathBuf,
        /// What tells.
        what: String,
    },
    /// The server's build is not what lifeboat reads.
    #[error("the server was built with {what} of {found}, expected {expected}")]
    Build {
        /// What of it.
        what: &'static str,
        /// What it has.
        found: u32,
        /// What all packages have.
        expected: u32,
    },
    /// The server's log does not tell enough.
    #[error("the server has `{setting}`, expected {expected}")]
    Setting {
        /// The setting and its value, like `wal_level = minimal`.
        setting: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The session that held the backup open is gone, and the backup with it.
    #[error("the session that held the backup open was lost")]
    SessionLost,
    /// A standby became a primary while it was backed up.
    #[error("the standby was promoted while it was backed up")]
    Promoted,
    /// What the server says of the backup makes no sense.
    #[error("the server's word about the backup makes no sense: {what}")]
    Label {
        /// What is wrong.
        what: String,
    },
    /// The log does not arrive in the archive.
    #[error(
        "`{segment}` is not in the archive on `{tier}` after {waited_s} s; a backup is of no use without it"
    )]
    WalMissing {
        /// The first segment that lacks.
        segment: SegmentName,
        /// The tier.
        tier: String,
        /// How long it was waited for.
        waited_s: u64,
    },
    /// The timeline changed.
    #[error("the backup began on timeline {began} and ended on {ended}")]
    Timeline {
        /// Where it began.
        began: TimelineId,
        /// Where it ended.
        ended: TimelineId,
    },
    /// The record of a backup cannot be read.
    #[error("the manifest of a base backup cannot be read: {what}")]
    Manifest {
        /// What is wrong.
        what: String,
    },
}

impl BaseError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

impl Classify for BaseError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(source) => source.kind(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Unavailable,
            },
            Self::Control { source, .. } => source.kind(),
            Self::TooDeep { .. }
            | Self::AnotherCluster { .. }
            | Self::Build { .. }
            | Self::Setting { .. } => ErrorKind::Config,
            Self::SessionLost
            | Self::Promoted
            | Self::Timeline { .. }
            | Self::WalMissing { .. } => ErrorKind::Unavailable,
            Self::Label { .. } | Self::Manifest { .. } => ErrorKind::Corrupt,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Server(source) => return source.hint(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run lifeboat as root, or as the user who owns the data directory".to_owned()
            }
            Self::AnotherCluster { .. } => {
                "a base backup reads the server's files: run lifeboat on the server's own host, and correct `connect` if it leads elsewhere".to_owned()
            }
            Self::Setting { .. } => {
                "set it in postgresql.conf and restart the server, or let `lifeboat postgres setup` do it".to_owned()
            }
            Self::WalMissing { .. } => {
                "`SELECT * FROM pg_stat_archiver` and the server's log tell why it is not archived; on a standby, run `SELECT pg_switch_wal()` on its primary".to_owned()
            }
            Self::SessionLost | Self::Promoted | Self::Timeline { .. } => {
                "run the backup again".to_owned()
            }
            _ => return None,
        };
        Some(Hint::new(text))
    }
}
