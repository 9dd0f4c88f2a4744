//! Backing up: sources in, one snapshot out.
//!
//! ```text
//!   paths ──> list a directory ──> unchanged since the parent? ── yes ──> node
//!                │    ^                       │ no                          │
//!                └────┘ below                 v                             v
//!   streams, paged files ─────────> read and cut ──> hash ──> new? ──>  the directory's tree,
//!                                                              │        once all nodes are known
//!                                                     compress, seal         │
//!                                                              v             v
//!                                                            pack ──> store ──> index ──> snapshot
//! ```
//!
//! A number of equal workers does all of it but the storing; see the module `work` for what is done
//! first and `sink` for what becomes of a blob. Parts of a large file are handed to workers who would
//! have nothing to do. Paged files are read by several workers at a time; see `paged`. Streams of the
//! last turn are read when all else was.
//!
//! # Invariants
//!
//! - Packs are durable before an index lists them, and indexes before the snapshot is written. A
//!   snapshot that can be seen is whole.
//! - No snapshot is made if anything but a single path failed: not if the tier refused a write, not
//!   if a stream turned out not to be whole or a paged file could not be read, not if the backup was
//!   cancelled, not if whoever asked for it withholds it in the end.
//! - A path that could not be read is named in the report; the snapshot holds the others. Only of a
//!   paged file may its reader say that it is gone, and nobody is told.
//! - A parent makes no difference to the snapshot, only to the work: an entry, and a directory as a
//!   whole, is taken over only where writing it anew would give the same bytes; see `before`.
//!   Where a directory's fingerprint is kept, its tree is not even read; see `glance`.
//! - The same files make the same trees, whatever worker did what; for files of one piece they are
//!   those that restic makes (times, owners and attributes included; `atime` is set to `mtime` unless
//!   the options say otherwise, and sockets are left out, as restic does).
//!
//! # Crash consistency
//!
//! A kill at any time leaves the snapshots that were there. What the killed backup stored is found
//! again by the next one: what an index lists is known, which is all but 64 MiB or an eighth, whichever
//! is more, and all that is older than ten minutes; all of it when a backup fails, but nothing more once
//! its lock is lost, since a prune may have begun. Packs that no index lists are adopted: each that
//! holds something which is to be stored is read, held against its name, and listed; see the module
//! `orphans`. So nothing is stored twice but what lies in packs that are damaged. What nobody wants any
//! more of them costs space until a prune.
//!
//! # Limits
//!
//! - Memory: for each worker a piece, what was read beyond it, and its sealed form (three times 8 MiB
//!   at most); 16 MiB of pieces that wait; an open pack of data for each worker, 16 at most, and two
//!   of directories; two packs on their way to the tier and one that waits, and the memory of three
//!   stored ones. With the defaults on two cores less than 250 MB.
//!   Besides, of each directory that is open its names and the parent's tree, some 350 bytes an entry;
//!   and of one with more than [`walk::STRETCH`] entries the tree as far as it is known, compressed: a
//!   quarter of that. Entries themselves are in memory for one stretch of each directory only. Of a
//!   directory that was only glanced at it is its names, and 200 bytes for each directory in it; the
//!   fingerprints take 104 bytes for each directory of the last backup.
//!   Of a directory that was enumerated all entries are in memory, and of its paged files 67 bytes a piece.
//!   Each new blob takes 48 bytes. After a kill, some 25 MB for what the packs hold that no index lists;
//!   and one of them for each worker, from a tier that is not of this machine.
//! - A directory is open from its listing until it is complete, so the depth of the tree is limited
//!   by the number of files that the process may open; what lies deeper is named as unreadable.
//! - A read from a stream that blocks is not interrupted when the backup is cancelled; whoever opens
//!   the stream has to end it.

mod assemble;
mod before;
mod draft;
mod engine;
mod error;
mod file;
mod fingerprint;
mod glance;
mod packs;
mod paged;
mod report;
mod sink;
mod stream;
mod tally;
mod walk;
mod work;

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use lifeboat_model::{ByteSize, Cancel, Clock, Event, EventSink, SnapshotId, Stage, Timestamp};
use nix::unistd::{Uid, User};

use crate::compress::Compression;
use crate::error::RepositoryError;
use crate::follower::Follower;
use crate::profile::Profile;
use crate::repository::{Indexed, Repository};
use crate::snapshot::{Snapshot, SnapshotSummary};
use crate::source::layout::Layout;
use crate::source::{AccessTime, Source};

use engine::Packs;
use fingerprint::file::Fingerprints;

pub use error::{BackupError, Withheld};
pub use report::{BackupPreview, BackupReport, Counts, SkipReason, Skipped};

/// The usual size of a pack of data, in bytes: large enough that storing one costs little beside its
/// content, small enough that seven of them in memory do not matter.
pub const PACK_SIZE: ByteSize = ByteSize(16 << 20);

/// The sizes that a pack of data may have: restic reads up to 128 MiB, and below 4 MiB its `prune`
/// would pack anew.
pub const PACK_SIZES: std::ops::RangeInclusive<ByteSize> = ByteSize(4 << 20)..=ByteSize(128 << 20);

/// How a backup is made.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// The host that the snapshot is filed under; lifeboat's own name the site.
    pub hostname: String,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// The snapshot's time; when the backup began if absent.
    pub time: Option<Timestamp>,
    /// Which snapshot's unchanged files are not read again.
    pub parent: ParentChoice,
    /// What tells that a file is the parent's, and is not read again.
    pub evidence: Evidence,
    /// Which time is kept as that of the last access.
    pub access_time: AccessTime,
    /// How much effort goes into compression.
    pub compression: Compression,
    /// The size of a pack of data; held to [`PACK_SIZES`].
    pub pack_size: ByteSize,
    /// How many workers read and store; as many as there are processors if absent.
    pub workers: Option<NonZeroUsize>,
    /// Collects where the time goes, if it is measuring.
    pub profile: Profile,
    /// Below which size packs are not held, if not below the smallest of [`PACK_SIZES`].
    #[cfg(feature = "simulation")]
    pub smallest_pack: Option<ByteSize>,
}

impl BackupOptions {
    /// Returns the usual options for a host.
    pub fn new(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            tags: Vec::new(),
            time: None,
            parent: ParentChoice::default(),
            evidence: Evidence::default(),
            access_time: AccessTime::default(),
            compression: Compression::default(),
            pack_size: PACK_SIZE,
            workers: None,
            profile: Profile::off(),
            #[cfg(feature = "simulation")]
            smallest_pack: None,
        }
    }

    fn pack_size(&self) -> usize {
        let smallest = *PACK_SIZES.start();
        #[cfg(feature = "simulation")]
        let smallest = self.smallest_pack.unwrap_or(smallest);
        let size = self.pack_size.clamp(smallest, *PACK_SIZES.end());
        usize::try_from(size.0).expect("128 MiB fit into memory")
    }
}

/// Which snapshot's unchanged files are not read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParentChoice {
    /// The latest of the same host and paths.
    #[default]
    Latest,
    /// This one.
    Snapshot(SnapshotId),
    /// None: every file is read.
    None,
}

/// What, besides size and modification time, tells that a file is the one that the parent has.
///
/// Owners, modes and attributes are those of the file system in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Evidence {
    /// Its inode, and when that was changed last: nobody can set this one back.
    #[default]
    InodeAndCtime,
    /// Its inode; for hosts where something else changes inodes, such as other backup programs.
    Inode,
    /// Nothing; for file systems whose inodes get new numbers with every mount.
    SizeAndMtime,
}

/// Sees what a backup is about to do; for tests that change files at that very moment.
pub(crate) trait Witness: Debug + Sync {
    /// A directory was listed, and its entries are not looked at yet.
    fn directory_was_listed(&self, _path: &Path) {}

    /// What the parent snapshot has of a directory is about to be read.
    fn parent_is_read(&self, _path: &Path) {}

    /// A file was read to its end, and it is not looked at yet whether it changed.
    fn file_was_read(&self, _path: &Path) {}
}

/// Sees nothing.
impl Witness for () {}

/// Where a backup goes.
#[derive(Debug, Clone, Copy)]
pub struct Destinations<'a> {
    /// The repository that gets the snapshot; its index decides what is new.
    pub leader: &'a Repository<Indexed>,
    /// Those that get the packs meanwhile, see [`follower`](crate::follower).
    pub followers: &'a [&'a Follower<'a>],
}

impl<'a> From<&'a Repository<Indexed>> for Destinations<'a> {
    fn from(leader: &'a Repository<Indexed>) -> Self {
        Self { leader, followers: &[] }
    }
}

/// Makes a snapshot of `sources`.
///
/// Must not be called from within asynchronous code. The caller holds a lock on the repository.
pub fn backup(
    repository: &Repository<Indexed>,
    sources: Vec<Source>,
    options: &BackupOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
    clock: &dyn Clock,
) -> Result<BackupReport, BackupError> {
    backup_witnessed(repository, sources, options, events, cancel, (clock, &()), &mut |_| Ok(()))
}

/// Says whether a snapshot may be made, once all that it refers to is durable and listed.
pub type Condition<'c> = dyn FnMut(&BackupPreview) -> Result<(), Withheld> + 'c;

/// Makes a snapshot of `sources`, if `condition` allows it in the end.
///
/// The condition is asked once, last of all; it may take its time. If it fails there is no snapshot,
/// and what was stored is found again by the next backup, which stores none of it twice.
pub fn backup_on_condition<'a>(
    to: impl Into<Destinations<'a>>,
    sources: Vec<Source>,
    options: &BackupOptions,
    condition: &mut Condition<'_>,
    events: &dyn EventSink,
    cancel: &Cancel,
    clock: &dyn Clock,
) -> Result<BackupReport, BackupError> {
    backup_witnessed(to, sources, options, events, cancel, (clock, &()), condition)
}

/// Tells what a backup would do; files are read and nothing is written.
///
/// Whoever writes to the repository meanwhile may make a difference.
pub fn preview(
    repository: &Repository<Indexed>,
    sources: Vec<Source>,
    options: &BackupOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
    clock: &dyn Clock,
) -> Result<BackupPreview, BackupError> {
    let layout = Layout::new(sources)?;
    let to = repository.into();
    let run = Run { to, options, events, cancel, clock, witness: &() };
    Ok(run.capture(layout, Packs::Dropped)?.preview())
}

/// Makes a snapshot under the eyes of a witness.
fn backup_witnessed<'a>(
    to: impl Into<Destinations<'a>>,
    sources: Vec<Source>,
    options: &BackupOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
    (clock, witness): (&dyn Clock, &dyn Witness),
    condition: &mut Condition<'_>,
) -> Result<BackupReport, BackupError> {
    let layout = Layout::new(sources)?;
    let excludes = layout.excludes.clone();
    let to = to.into();
    let run = Run { to, options, events, cancel, clock, witness };
    let captured = run.capture(layout, Packs::Stored)?;
    cancel.check()?;
    condition(&captured.preview()).map_err(|why| BackupError::Withheld(Box::new(why)))?;
    // Without its lock, what the snapshot refers to may be gone.
    cancel.check_may_write()?;
    // Asked to stop after the last byte: who asks does not want the snapshot.
    cancel.check()?;
    let Captured { made, paths, parent, fingerprints, now, started, ended } = captured;
    let parent = parent.map(|(id, _)| id);
    let snapshot = Snapshot {
        parent,
        excludes,
        summary: Some(summary(&made.counts, started, ended)),
        ..describe(Snapshot::new(now, made.tree, paths), options)
    };
    let id = to.leader.save_snapshot(&snapshot)?;
    if let Some(fingerprints) = fingerprints {
        fingerprints.save(to.leader);
    }
    Ok(BackupReport {
        snapshot: id,
        tree: made.tree,
        parent,
        counts: made.counts,
        skipped: made.skipped,
        started,
        ended,
    })
}

/// What a backup works with.
struct Run<'a> {
    to: Destinations<'a>,
    options: &'a BackupOptions,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
    clock: &'a dyn Clock,
    witness: &'a dyn Witness,
}

/// What was read, before there is a snapshot of it.
struct Captured {
    made: engine::Made,
    paths: Vec<String>,
    parent: Option<(SnapshotId, Snapshot)>,
    fingerprints: Option<Fingerprints>,
    /// The time of the snapshot.
    now: Timestamp,
    started: Timestamp,
    ended: Timestamp,
}

impl Captured {
    /// Tells what the snapshot would be.
    fn preview(&self) -> BackupPreview {
        BackupPreview {
            parent: self.parent.as_ref().map(|(id, _)| *id),
            counts: self.made.counts,
            skipped: self.made.skipped.clone(),
            started: self.started,
            ended: self.ended,
        }
    }
}

impl Run<'_> {
    /// Reads all sources.
    fn capture(&self, layout: Layout, packs: Packs) -> Result<Captured, BackupError> {
        let Self { to, options, events, cancel, clock, witness } = *self;
        let repository = to.leader;
        let started = clock.now();
        refuse_if_nothing_is_there(&layout)?;
        cancel.check()?;
        let paths: Vec<String> =
            layout.paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let parent = find_parent(repository, options, &paths)?;
        let now = options.time.unwrap_or(started);
        let fingerprints = Fingerprints::open(repository, &options.hostname, &paths);
        let setting = engine::Setting {
            repository,
            events,
            witness,
            now,
            compression: options.compression,
            pack_size: options.pack_size(),
            profile: &options.profile,
            workers: options.workers.or(available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN),
            parent_tree: parent.as_ref().map(|(_, parent)| parent.tree),
            keep_attributes: parent.as_ref().is_some_and(|(_, p)| p.uid == Uid::current().as_raw()),
            fingerprints: fingerprints.as_ref(),
            evidence: options.evidence,
            access_time: options.access_time,
            packs,
            followers: to.followers,
        };
        events.emit(Event::Started { stage: Stage::Backup, total: None });
        let made = engine::run(&setting, layout, clock, cancel);
        events.emit(Event::Finished { stage: Stage::Backup });
        let (made, ended) = (made?, clock.now());
        Ok(Captured { made, paths, parent, fingerprints, now, started, ended })
    }
}

/// Some of the paths may be missing, which the report tells; if all are, something is not mounted.
fn refuse_if_nothing_is_there(layout: &Layout) -> Result<(), BackupError> {
    let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
    let is_all_of_host = layout.paths.len() == layout.roots.len();
    if is_all_of_host && !layout.roots.iter().any(is_there) {
        return Err(BackupError::Missing { paths: layout.roots.clone() });
    }
    Ok(())
}

/// Finds the snapshot to go by. One that cannot be read is passed over: it costs time, not safety.
fn find_parent(
    repository: &Repository<Indexed>,
    options: &BackupOptions,
    paths: &[String],
) -> Result<Option<(SnapshotId, Snapshot)>, RepositoryError> {
    match options.parent {
        ParentChoice::None => Ok(None),
        ParentChoice::Snapshot(id) => Ok(Some((id, repository.snapshot(&id)?))),
        ParentChoice::Latest => {
            let fits = |snapshot: &Snapshot| {
                snapshot.hostname == options.hostname && snapshot.paths == paths
            };
            let readable = repository.readable_snapshots()?.or_warn();
            Ok(readable.into_iter().rfind(|(_, snapshot)| fits(snapshot)))
        }
    }
}

/// Fills in who made the snapshot.
fn describe(snapshot: Snapshot, options: &BackupOptions) -> Snapshot {
    let uid = Uid::current();
    let user = User::from_uid(uid).ok().flatten();
    Snapshot {
        hostname: options.hostname.clone(),
        username: user.map(|user| user.name).unwrap_or_default(),
        uid: uid.as_raw(),
        gid: nix::unistd::Gid::current().as_raw(),
        tags: options.tags.clone(),
        program_version: concat!("lifeboat ", env!("CARGO_PKG_VERSION")).to_owned(),
        ..snapshot
    }
}

fn summary(counts: &Counts, started: Timestamp, ended: Timestamp) -> SnapshotSummary {
    SnapshotSummary {
        backup_start: started,
        backup_end: ended,
        files_new: counts.files_new,
        files_changed: counts.files_changed,
        files_unmodified: counts.files_unmodified,
        dirs_new: counts.directories_new,
        dirs_changed: counts.directories_changed,
        dirs_unmodified: counts.directories_unmodified,
        data_blobs: counts.data_blobs,
        tree_blobs: counts.tree_blobs,
        data_added: counts.bytes_added,
        data_added_packed: counts.bytes_stored,
        total_files_processed: counts.files(),
        total_bytes_processed: counts.bytes_total,
    }
}

#[cfg(test)]
mod tests;
