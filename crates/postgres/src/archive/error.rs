//! Why a file of the log could not be archived or had back.

use std::fmt::Display;
use std::path::PathBuf;

use lifeboat_model::{Classify, ErrorKind, Exit, Hint, TierName, counted};
use lifeboat_tiers::TierError;
use lifeboat_tiers::envelope::EnvelopeError;

use super::name::{ShortDigest, SystemId};
use crate::timeline::HistoryError;
use crate::wal::page::SegmentFault;
use crate::wal::{ParseWalNameError, SegmentSize, TimelineId, WalFileName};

/// The archive did not take or give a file.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The name is none that PostgreSQL gives.
    #[error(transparent)]
    Name(#[from] ParseWalNameError),
    /// The file's first bytes are not those of a segment.
    #[error("{file} is no segment")]
    Header {
        /// Which file.
        file: WalFileName,
        /// What is wrong.
        #[source]
        source: SegmentFault,
    },
    /// The file is another one than its name says.
    #[error("{file} has {field} {found}, expected {expected}")]
    Differs {
        /// Which file.
        file: WalFileName,
        /// What differs.
        field: &'static str,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// The file is longer than any of its kind.
    #[error("{file} has {length} bytes, expected at most {max}")]
    TooLong {
        /// Which file.
        file: WalFileName,
        /// How long it is.
        length: u64,
        /// How long it may be.
        max: u64,
    },
    /// No segment of the cluster's size has this name.
    #[error("no segment of {} bytes is named {file}", size.bytes())]
    Unfit {
        /// Which file.
        file: WalFileName,
        /// How large the cluster's segments are.
        size: SegmentSize,
    },
    /// The archive has other bytes under this name.
    #[error(
        "split brain: tier `{tier}` holds {file} with SHA-256 {held}…, and this one has {offered}…"
    )]
    SplitBrain {
        /// On which tier.
        tier: TierName,
        /// Which file.
        file: WalFileName,
        /// What is there.
        held: ShortDigest,
        /// What was to be stored, or is there as well.
        offered: ShortDigest,
    },
    /// Nothing is archived yet of a cluster, and it is not known whether anything should be.
    #[error("tier `{tier}` holds nothing yet of the cluster with system id {system}")]
    Newcomer {
        /// Which tier.
        tier: TierName,
        /// Which cluster.
        system: SystemId,
    },
    /// A tier that has to hold the file did not take it.
    #[error("tier `{tier}` did not take {file}")]
    NotAcknowledged {
        /// Which tier.
        tier: TierName,
        /// Which file.
        file: WalFileName,
        /// Why.
        #[source]
        source: Box<TierError>,
    },
    /// The plan names no tier that has to hold the log.
    #[error("no tier has to hold {file} before the server may forget it")]
    NoTier {
        /// Which file.
        file: WalFileName,
    },
    /// A tier failed.
    #[error(transparent)]
    Tier(#[from] TierError),
    /// An archived file could not be opened.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An archived file was opened and is not what its name says.
    #[error("`{what}` is damaged: {problem}")]
    Damaged {
        /// Which object.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// A history makes no sense.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A segment is missing though later ones are there.
    #[error("{file} is missing from the archive, which goes on: it holds {later} on tier `{tier}`")]
    Hole {
        /// Which file.
        file: WalFileName,
        /// A file that follows it.
        later: WalFileName,
        /// Where that was seen.
        tier: TierName,
    },
    /// Where a timeline comes from is not known.
    #[error("timeline {timeline} is in the archive, and its history is not")]
    NoHistory {
        /// Which timeline.
        timeline: TimelineId,
    },
    /// There is nothing at all of this cluster.
    #[error("the archive holds nothing of the cluster with system id {system}")]
    NoArchive {
        /// Which cluster.
        system: SystemId,
    },
    /// Whether a file is in the archive is not known.
    #[error("whether {file} is in the archive is not known: {}", problems.join("; "))]
    Unproven {
        /// Which file.
        file: WalFileName,
        /// What happened at each tier.
        problems: Vec<String>,
    },
    /// Not everything that a tier lacks could be copied there.
    #[error("{} could not be copied to tier `{tier}`", counted(*missing, "file"))]
    Behind {
        /// Which tier.
        tier: TierName,
        /// How many.
        missing: usize,
        /// What went wrong with one of them.
        #[source]
        source: Box<ArchiveError>,
    },
    /// The log makes a tablespace where another server's data lie.
    #[error("the log makes tablespace {oid} at {}, where data of another server lie", path.display())]
    TablespaceTaken {
        /// Its number.
        oid: u32,
        /// Its directory.
        path: PathBuf,
    },
    /// A file of this host could not be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// The control file of the cluster could not be read.
    #[error("cannot tell whose log it is from {}", path.display())]
    Control {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: crate::control::ControlError,
    },
}

impl ArchiveError {
    pub(super) fn differs(
        file: WalFileName,
        field: &'static str,
        found: impl Display,
        expected: impl Display,
    ) -> Self {
        let (found, expected) = (format!("{found}"), format!("{expected}"));
        Self::Differs { file, field, found, expected }
    }

    pub(super) fn another_system(file: WalFileName, found: SystemId, expected: SystemId) -> Self {
        Self::differs(file, "system id", found, expected)
    }
}

impl Classify for ArchiveError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Name(_) | Self::Unfit { .. } => ErrorKind::Usage,
            Self::NoTier { .. } => ErrorKind::Config,
            Self::SplitBrain { .. } | Self::Newcomer { .. } | Self::TablespaceTaken { .. } => {
                ErrorKind::Conflict
            }
            Self::NoArchive { .. } => ErrorKind::NotFound,
            Self::Header { .. }
            | Self::Differs { .. }
            | Self::TooLong { .. }
            | Self::Damaged { .. }
            | Self::Hole { .. }
            | Self::NoHistory { .. }
            | Self::Control { .. } => ErrorKind::Corrupt,
            Self::Unproven { .. } => ErrorKind::Unavailable,
            Self::History(error) => error.kind(),
            Self::Tier(error) => error.kind(),
            Self::NotAcknowledged { source, .. } => source.kind(),
            Self::Envelope(error) => error.kind(),
            Self::Behind { source, .. } => source.kind(),
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Unavailable,
            },
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Envelope(error) => error.exit(),
            _ => self.kind().exit(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::SplitBrain { .. } => {
                "two servers write the same timeline: stop the one that must not, then see `lifeboat wal status`"
            }
            Self::Hole { .. } => {
                "see `lifeboat wal status`; recover to a time before the hole, or from a later base backup"
            }
            Self::NoHistory { .. } => {
                "push the history again from the server that has it in pg_wal, or recover along another timeline"
            }
            Self::Unproven { .. } => {
                "make a tier reachable that the plan's `ack` names, or name with `--from` the one whose end counts"
            }
            Self::TablespaceTaken { .. } => {
                "a server that replays this would take these data for its own: recover on a host on which that directory is empty; or move it away if nobody needs it, and start the recovery again; `lifeboat query` looks at the past without touching it"
            }
            Self::Tier(error) => return error.hint(),
            Self::NotAcknowledged { source, .. } => return source.hint(),
            Self::Envelope(error) => return error.hint(),
            Self::Behind { source, .. } => return source.hint(),
            _ => return None,
        };
        Some(Hint::new(text))
    }
}
