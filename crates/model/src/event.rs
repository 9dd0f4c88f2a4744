//! Progress, as facts that anybody may listen to; libraries emit, only the binary draws.

use std::fmt::{self, Debug};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;

/// A part of an operation that progresses on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Reading and storing what is backed up.
    Backup,
    /// Loading the index of a repository.
    Index,
    /// Checking structure: packs, indexes, snapshots, trees.
    Structure,
    /// Reading stored data back and checking it.
    Data,
    /// Waiting until what lies cold can be read.
    Thaw,
    /// Waiting until listings of a store show all that others did.
    Listings,
    /// Writing restored files.
    Restore,
    /// Copying a snapshot from one repository into another.
    Copy,
    /// Removing what no snapshot refers to.
    Prune,
    /// Finding out what is in packs, and writing it down anew.
    Repair,
    /// Dumping or restoring a database.
    Database,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => "backing up",
            Self::Index => "loading index",
            Self::Structure => "checking structure",
            Self::Data => "reading data",
            Self::Thaw => "waiting for cold storage",
            Self::Listings => "waiting until listings show everything",
            Self::Restore => "restoring",
            Self::Copy => "copying",
            Self::Prune => "pruning",
            Self::Repair => "repairing",
            Self::Database => "database",
        })
    }
}

/// An amount of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Work {
    /// Files, packs or whatever the stage counts.
    pub items: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// Something that happened in a running operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A stage began; `total` is what is known of its size.
    Started {
        /// Which stage.
        stage: Stage,
        /// All of its work, where it is known beforehand.
        total: Option<Work>,
    },
    /// Work was done since the last such event of the stage.
    Advanced {
        /// Which stage.
        stage: Stage,
        /// What was done since.
        work: Work,
    },
    /// A server that recovers has replayed its log up to here.
    Replayed {
        /// Up to where.
        lsn: Lsn,
        /// When the last transaction was committed that it replayed.
        committed: Option<Timestamp>,
    },
    /// A stage ended.
    Finished {
        /// Which stage.
        stage: Stage,
    },
}

/// Somebody who listens to events; must be quick and must not fail.
pub trait EventSink: Debug + Send + Sync {
    /// Takes note of `event`.
    fn emit(&self, event: Event);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl EventSink for Silent {
    fn emit(&self, _event: Event) {}
}
