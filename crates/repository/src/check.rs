//! Checks a repository: its structure, and its data by reading it back.
//!
//! Structure: every index and snapshot opens, every pack that an index names is there with the
//! right size, every directory of every snapshot opens and parses, every blob that it refers to is
//! in an index. Data: every chosen pack hashes to its name, says in its header what the index says,
//! and each of its blobs opens, decompresses and hashes to its id.
//!
//! # Invariants
//!
//! - Nothing is taken from the local cache: what is checked is what lies on the tier.
//! - What could not be looked at is a finding of its own and never counts as passed.
//! - Snapshots are listed before indexes and those before packs, so that a backup that runs at the
//!   same time is never mistaken for damage. A prune may be: hold a shared lock.
//! - What is told, and in which order, depends on what lies there and not on which thread came first.
//! - A pack that no index names is a hint: an interrupted backup leaves such, `prune` removes it.
//!
//! # Limits
//!
//! While data is read from a tier that is far, up to [`data::READERS`] packs are in memory. A large
//! index goes into a file that vanishes with the process, if there is a cache; without one it takes 48
//! bytes a blob. About 200 bytes a pack are in memory, and 32 for each directory. Directories are
//! walked while data is read; those are looked at once more if reading shows that blobs are lost.

mod data;
mod finding;
mod pack;
mod remedy;
pub mod share;
mod structure;
mod trees;

use std::thread;

use lifeboat_model::{Cancel, Event, EventSink, SnapshotId, Stage};

use crate::error::RepositoryError;
use crate::profile::Profile;
use crate::repository::{Repository, State};
use crate::store::Store;

use structure::Structure;

pub(crate) use data::{PackToRead, read_packs};
pub use finding::{CheckReport, Finding, Severity, explain};
pub(crate) use pack::PackChecker;
pub use share::{Part, RollingShare};

/// Which data is read back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ReadData {
    /// None: only the structure is checked.
    #[default]
    None,
    /// All packs.
    All,
    /// The packs that are due.
    Share(RollingShare),
    /// One of several parts.
    Part(Part),
    /// The packs that these snapshots need.
    Snapshots(Vec<SnapshotId>),
}

/// How thoroughly a repository is checked.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Which data is read back.
    pub data: ReadData,
}

/// Checks a repository, whose index need not be loaded, nor be loadable.
///
/// # Errors
///
/// Only when nothing at all can be said: the tier cannot be listed, or the check was cancelled.
pub fn check<S: State>(
    repository: &Repository<S>,
    options: &CheckOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<CheckReport, RepositoryError> {
    check_measured(repository, options, &Profile::off(), events, cancel)
}

/// Checks as [`check`] does, and takes note of what the time goes into while data is read.
pub fn check_measured<S: State>(
    repository: &Repository<S>,
    options: &CheckOptions,
    profile: &Profile,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<CheckReport, RepositoryError> {
    let mut structure = Structure::load(repository, events, cancel)?;
    let chosen = structure.packs_to_read(&options.data, cancel)?;
    events.emit(Event::Started { stage: Stage::Structure, total: None });
    let mut trees = None;
    if !chosen.is_empty() {
        let read =
            |packs: &[PackToRead]| data::read_packs(repository, packs, profile, events, cancel);
        let (packs, seen) = beside(
            repository.store(),
            || structure.read_data(&chosen, events, read),
            || structure.check_trees(events, cancel),
        );
        let packs = packs?;
        // Which files the damage costs was not known when they were looked at.
        let is_known = !packs.iter().any(data::ReadPack::costs_blobs);
        trees = seen.transpose()?.filter(|_| is_known);
        structure.add_packs(packs)?;
    }
    let trees = trees.map_or_else(|| structure.check_trees(events, cancel), Ok)?;
    events.emit(Event::Finished { stage: Stage::Structure });
    structure.add_trees(trees);
    Ok(structure.into_report())
}

/// Does one thing, and the other meanwhile if the store bears it.
fn beside<A, B: Send>(
    store: &Store,
    work: impl FnOnce() -> A,
    meanwhile: impl FnOnce() -> B + Send,
) -> (A, Option<B>) {
    if store.requests(2) < 2 {
        return (work(), None);
    }
    thread::scope(|scope| {
        let meanwhile = scope.spawn(meanwhile);
        let done = work();
        let beside = meanwhile.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (done, Some(beside))
    })
}
