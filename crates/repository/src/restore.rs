//! Restores snapshots: a [`RestorePlan`] says what will be done, [`RestorePlan::perform`] does it;
//! [`restore`] is both. [`read_file`] streams one file without touching the disk.
//!
//! A file lands below the target at its path in the snapshot, as with restic: `/srv/media/a` of a
//! restore to `/mnt` becomes `/mnt/srv/media/a`, also when only `/srv/media` was asked for. Of
//! the directories on the way, those that lack are made with their recorded metadata; those that
//! are there belong to whoever made them and keep their owner, mode and attributes.
//!
//! # Invariants
//!
//! - Nothing outside the target is touched: no name of a tree and no symbolic link in the target
//!   leads out of it (module [`target`], [`name`]).
//! - No byte is written that did not hash to its blob's id. What cannot be had costs only the files
//!   that need it; each of them is named in [`RestoreReport::failed`].
//! - A file is private to this process' user until it has its recorded owner and mode.
//!
//! # Crash consistency
//!
//! The repository is only read. A restore that was killed leaves files with mode 0600 and
//! directories with 0700 in the target, some with holes where content is still to come; restoring
//! again with [`Existing::Overwrite`] replaces them. With `durable` the report is returned only
//! after everything was written through to the disk.
//!
//! # Limits
//!
//! - Replacing a file removes the old one first; both exist at no time.
//! - A lost file that has some of its content keeps that, with holes for the rest, and is named.
//! - Runs of zeros that fill whole blobs come back as holes, also if they were none.
//! - The plan holds all entries that are restored in memory. Fetching takes up to [`WORKERS`]
//!   ranges of 8 MiB and one opened blob each.

pub mod files;
pub mod metadata;
pub mod name;
pub mod plan;
mod reader;
pub mod reads;
pub mod report;
mod run;
pub mod target;

use std::path::{Path, PathBuf};

use lifeboat_model::{Cancel, EventSink};

use crate::error::RepositoryError;
use crate::repository::{Indexed, Repository};
use crate::snapshot::Snapshot;

pub use metadata::Ownership;
pub use plan::{RestorePlan, RestoreTotals};
pub use reader::{FileReader, read_file};
pub use report::{Remark, RestoreReport};
pub use target::Existing;

/// Threads that fetch, open and write: enough to keep an object store's latency busy, few enough
/// for a small machine's memory.
pub const WORKERS: usize = 8;

/// What is restored, where to and how.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The directory below which the snapshot's paths are made; it is created if it lacks.
    pub target: PathBuf,
    /// What of the snapshot: an absolute path in it, `/` for all.
    pub subpath: PathBuf,
    /// Whose the files become.
    pub ownership: Ownership,
    /// What happens with a target that holds something.
    pub existing: Existing,
    /// Whether an owner that could not be set makes the restore incomplete.
    pub strict_owner: bool,
    /// Whether everything is on the disk itself when the restore ends.
    pub durable: bool,
}

impl RestoreOptions {
    /// All of a snapshot into an empty directory, with recorded owners by number.
    pub fn new(target: impl Into<PathBuf>) -> Self {
        Self {
            target: target.into(),
            subpath: PathBuf::from("/"),
            ownership: Ownership::default(),
            existing: Existing::default(),
            strict_owner: false,
            durable: false,
        }
    }

    /// Restores only what lies at and below a path of the snapshot.
    #[must_use]
    pub fn subpath(mut self, path: impl AsRef<Path>) -> Self {
        path.as_ref().clone_into(&mut self.subpath);
        self
    }
}

/// Restores a snapshot or a part of it.
///
/// What could not be restored is in the report, not an error: look at
/// [`RestoreReport::is_complete`]. An error means that going on made no sense.
pub fn restore(
    repository: &Repository<Indexed>,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<RestoreReport, RepositoryError> {
    target::refuse_occupied(&options.target, options.existing)?;
    let plan = RestorePlan::new(repository, snapshot, &options.subpath, cancel)?;
    plan.perform(repository, options, events, cancel)
}

impl RestorePlan {
    /// Does what was planned; `options.subpath` had its effect when the plan was made.
    pub fn perform(
        &self,
        repository: &Repository<Indexed>,
        options: &RestoreOptions,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<RestoreReport, RepositoryError> {
        run::Run::new(self, repository, options, events, cancel)?.perform(options.durable)
    }
}
