//! What all workers of one backup share, and the worker itself.

use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread;

use crossbeam_channel::bounded;
use lifeboat_model::{BlobId, Cancel, Clock, Event, EventSink, Stage, Timestamp, Work as Amount};
use rustix::fs::Stat;
use tracing::warn;

use super::assemble::{After, Completed, Directory, Known, Part, Slot, Traces};
use super::before::{self, ParentTree};
use super::fingerprint::Fingerprint;
use super::fingerprint::file::{Fingerprints, Row};
use super::sink::{PACKS_WAITING, Shelf, Sink, uploads};
use super::stream::Streams;
use super::tally::Tally;
use super::walk::DirectoryJob;
use super::work::{Job, Work};
use super::{BackupError, Counts, Evidence, SkipReason, Skipped, Witness};
use crate::blob::{BlobKind, BlobOpener, BlobSealer};
use crate::chunker::{Chunker, Gear};
use crate::compress::Compression;
use crate::follower::Follower;
use crate::index::Index;
use crate::node::{ExtendedAttribute, Metadata, Node};
use crate::profile::{Activity, Meter, Profile};
use crate::repository::{Indexed, Repository};
use crate::source::attributes::Holder;
use crate::source::layout::Layout;
use crate::source::metadata::{self, AccessTime};
use crate::source::owners::Owners;

/// What a backup goes by.
pub(super) struct Setting<'a> {
    pub(super) repository: &'a Repository<Indexed>,
    pub(super) events: &'a dyn EventSink,
    pub(super) witness: &'a dyn Witness,
    pub(super) now: Timestamp,
    pub(super) compression: Compression,
    pub(super) pack_size: usize,
    pub(super) workers: NonZeroUsize,
    pub(super) profile: &'a Profile,
    /// The root of the parent snapshot.
    pub(super) parent_tree: Option<BlobId>,
    /// Whether extended attributes may be taken over from the parent: only if it was made by the
    /// same user, since another one might have seen fewer.
    pub(super) keep_attributes: bool,
    /// The fingerprints of directories, where any are kept.
    pub(super) fingerprints: Option<&'a Fingerprints>,
    pub(super) evidence: Evidence,
    pub(super) access_time: AccessTime,
    pub(super) packs: Packs,
    /// Who gets the packs as well.
    pub(super) followers: &'a [&'a Follower<'a>],
}

/// Where finished packs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packs {
    /// Into the repository.
    Stored,
    /// Nowhere: it is only told what would be stored.
    Dropped,
}

/// What a backup made.
pub(super) struct Made {
    pub(super) tree: BlobId,
    pub(super) counts: Counts,
    pub(super) skipped: Vec<Skipped>,
}

/// What all workers of one backup share.
pub(super) struct Engine<'a> {
    setting: &'a Setting<'a>,
    pub(super) work: &'a Work<'a>,
    pub(super) sink: Sink<'a>,
    pub(super) witness: &'a dyn Witness,
    pub(super) now: Timestamp,
    pub(super) owners: Owners,
    pub(super) streams: Streams,
    pub(super) tally: Tally,
    gear: Gear,
    top: OnceLock<BlobId>,
}

/// Reads and stores all sources; what was stored is listed even if that fails.
pub(super) fn run(
    setting: &Setting<'_>,
    layout: Layout,
    clock: &dyn Clock,
    cancel: &Cancel,
) -> Result<Made, BackupError> {
    let work = Work::new(cancel);
    let shelf = Shelf::new((setting.repository, setting.followers), &work, clock, setting.profile);
    let (packs, finished) = bounded(PACKS_WAITING);
    let made = thread::scope(|threads| {
        let store = setting.repository.store();
        for _ in 0..store.requests(uploads(store, setting.pack_size)) {
            let finished = finished.clone();
            threads.spawn(|| {
                let finished = finished;
                match setting.packs {
                    Packs::Stored => shelf.store_all(&finished),
                    Packs::Dropped => shelf.drop_all(&finished),
                }
            });
        }
        drop(finished);
        let sink = Sink::new(&shelf, packs, setting.pack_size, setting.workers);
        let engine = Engine::new(setting, &work, sink);
        engine.work_through(layout);
        engine.sink.flush();
        engine.made()
    });
    let listed = match setting.packs {
        Packs::Stored => shelf.finish(),
        Packs::Dropped => Ok(()),
    };
    work.result()?;
    listed?;
    Ok(made.expect("without a failure every directory was completed"))
}

impl<'a> Engine<'a> {
    fn new(setting: &'a Setting<'a>, work: &'a Work<'a>, sink: Sink<'a>) -> Self {
        let polynomial = setting.repository.config().chunker_polynomial;
        Self {
            setting,
            work,
            sink,
            witness: setting.witness,
            now: setting.now,
            owners: Owners::default(),
            streams: Streams::default(),
            tally: Tally::default(),
            gear: Gear::derive(polynomial.bits()),
            top: OnceLock::new(),
        }
    }

    /// Lets the workers do all that there is to do.
    fn work_through(&self, layout: Layout) {
        self.work.add([], [DirectoryJob::top(layout.top, self.setting.parent_tree)]);
        let streams = layout.streams;
        let announced = (!streams.is_empty()).then(|| self.work.announce());
        thread::scope(|workers| {
            for _ in 0..self.setting.workers.get() {
                workers.spawn(|| Worker::new(self).work());
            }
            if let Some(announced) = announced {
                workers.spawn(move || {
                    if let Err(error) = Worker::new(self).read_streams(streams) {
                        self.work.fail(error);
                    }
                    drop(announced);
                });
            }
        });
    }

    fn made(self) -> Option<Made> {
        let tree = self.top.into_inner()?;
        let added = &self.sink.added;
        let mut counts = self.tally.counts();
        counts.bytes_added = added.bytes.load(Ordering::Relaxed);
        counts.bytes_stored = added.stored.load(Ordering::Relaxed);
        counts.data_blobs = added.data_blobs.load(Ordering::Relaxed);
        counts.tree_blobs = added.tree_blobs.load(Ordering::Relaxed);
        counts.packs_adopted = added.packs_adopted.load(Ordering::Relaxed);
        counts.bytes_adopted = added.bytes_adopted.load(Ordering::Relaxed);
        Some(Made { tree, counts, skipped: self.tally.into_skipped() })
    }

    /// Tells listeners of work that was done.
    pub(super) fn advance(&self, items: u64, bytes: u64) {
        let work = Amount { items, bytes };
        self.setting.events.emit(Event::Advanced { stage: Stage::Backup, work });
    }

    /// Returns what is kept of an entry, but for its extended attributes.
    pub(super) fn metadata(&self, stat: &Stat) -> Metadata {
        metadata::read(stat, &self.owners, self.setting.access_time)
    }

    /// Returns which time is kept as that of the last access.
    pub(super) const fn access_time(&self) -> AccessTime {
        self.setting.access_time
    }

    /// Tells whether two looks at an entry, whose name is one, found what makes the same node.
    pub(super) fn says_the_same(&self, stat: &Stat, other: &Stat) -> bool {
        let numbers = |stat| metadata::read_numbers(stat, self.setting.access_time);
        numbers(stat) == numbers(other)
    }

    /// Tells whether to keep what is said of the entries of a directory.
    pub(super) const fn traces(&self) -> Traces {
        if self.setting.fingerprints.is_some() { Traces::Kept } else { Traces::Dropped }
    }

    /// Returns what a directory with this tree looks like, if that is known and may be gone by.
    pub(super) fn expected(&self, tree: &BlobId) -> Option<Row<'a>> {
        self.setting.fingerprints.filter(|_| self.setting.keep_attributes)?.get(tree)
    }

    /// Takes note that a directory is what it was expected to be.
    pub(super) fn meet(&self, row: usize) {
        if let Some(fingerprints) = self.setting.fingerprints {
            fingerprints.meet(row);
        }
    }

    /// Takes note of what a directory with this tree looks like.
    pub(super) fn remember(&self, tree: BlobId, print: Fingerprint, subtrees: Vec<BlobId>) {
        if let Some(fingerprints) = self.setting.fingerprints {
            fingerprints.add(tree, print, subtrees);
        }
    }

    /// Tells whether a file of the parent's size and time is the parent's file.
    pub(super) fn has_inode_of(&self, stat: &Stat, before: &Metadata) -> bool {
        match self.setting.evidence {
            Evidence::InodeAndCtime => metadata::has_inode_of(stat, before),
            Evidence::Inode => before.inode == stat.st_ino,
            Evidence::SizeAndMtime => true,
        }
    }

    /// Returns extended attributes: those of the parent if nobody touched the inode since, else
    /// those of the file system. Ones that cannot be read are named and left out.
    pub(super) fn attributes(
        &self,
        holder: Holder<'_>,
        stat: &Stat,
        before: Option<&Metadata>,
        path: impl FnOnce() -> PathBuf,
    ) -> Vec<ExtendedAttribute> {
        let same = before.filter(|before| metadata::has_inode_of(stat, before));
        if let Some(before) = same.filter(|_| self.setting.keep_attributes) {
            return before.extended_attributes.clone();
        }
        metadata::extended(holder).unwrap_or_else(|error| {
            self.tally.skip(path(), SkipReason::Attributes { error: error.to_string() });
            Vec::new()
        })
    }

    /// Tells whether the attributes of an inode that nobody touched are those of the parent.
    pub(super) const fn keeps_attributes(&self) -> bool {
        self.setting.keep_attributes
    }

    /// Returns where all blobs lie that are listed.
    pub(super) fn index(&self) -> impl Deref<Target = Index> {
        self.setting.repository.index()
    }

    /// Tells whether all blobs of a file are in the repository.
    pub(super) fn has_all(&self, mut content: impl Iterator<Item = BlobId>) -> bool {
        let index = self.index();
        content.all(|id| index.contains(BlobKind::Data, &id))
    }
}

/// One thread with what it alone uses.
pub(super) struct Worker<'e> {
    pub(super) engine: &'e Engine<'e>,
    pub(super) chunker: Chunker<'e>,
    pub(super) sealer: BlobSealer<'e>,
    pub(super) meter: Meter,
    opener: BlobOpener<'e>,
    /// For what is compared and thrown away.
    pub(super) scratch: Vec<u8>,
    /// The piece of a fixed size that was read last.
    pub(super) piece: Vec<u8>,
    pub(super) owner: LastOwner,
}

impl<'e> Worker<'e> {
    fn new(engine: &'e Engine<'_>) -> Self {
        let key = engine.setting.repository.key();
        let meter = engine.setting.profile.meter();
        Self {
            engine,
            chunker: Chunker::new(&engine.gear).measured_by(meter.clone()),
            sealer: BlobSealer::new(key, engine.setting.compression).measured_by(meter.clone()),
            meter,
            opener: BlobOpener::new(key),
            scratch: Vec::new(),
            piece: Vec::new(),
            owner: LastOwner::default(),
        }
    }

    /// Reads what the parent snapshot has in a directory.
    ///
    /// If that cannot be read, all of it is read from the file system again: the new snapshot must
    /// not suffer from what happened to an old one.
    pub(super) fn read_parent(&mut self, directory: &Directory) {
        directory.read_parent(|tree| {
            self.engine.witness.parent_is_read(&directory.path);
            self.parent_tree(tree)
        });
    }

    fn parent_tree(&mut self, tree: BlobId) -> Option<ParentTree> {
        let repository = self.engine.setting.repository;
        let read = repository.read_blob_with(&mut self.opener, BlobKind::Tree, &tree);
        let document = read.inspect_err(|error| warn_of(&tree, error)).ok()?;
        ParentTree::new(tree, document).inspect_err(|error| warn_of(&tree, error)).ok()
    }

    /// Does one job after the other until there are none.
    fn work(&mut self) {
        while let Some((job, running)) =
            self.meter.measure(Activity::Wait, 0, || self.engine.work.next())
        {
            let done = match job {
                Job::Piece(job) => self.store_piece(job),
                Job::File(job) => self.read_file(&job),
                Job::Paged(job) => self.begin_paged(job),
                Job::Span(job) => self.read_span(&job),
                Job::Directory(job) => self.list(job),
            };
            if let Err(error) = done {
                self.engine.work.fail(error);
            }
            drop(running);
        }
    }

    /// Sets an entry of a directory, or leaves it out, and completes what is complete by that.
    pub(super) fn set(&mut self, slot: &Slot, node: Option<&Node>) -> Result<(), BackupError> {
        let known = slot.directory.set(slot, node);
        self.complete(Arc::clone(&slot.directory), known)
    }

    /// Goes on after a stretch of a directory: with the next one, or stores its tree, and those above
    /// that this completes.
    pub(super) fn complete(
        &mut self,
        mut directory: Arc<Directory>,
        mut known: Option<Known>,
    ) -> Result<(), BackupError> {
        while let Some(Known { parts, traces, after, .. }) = known {
            let tree = match after {
                After::End(before) => {
                    let tree = self.store_tree(&directory, &parts, before)?;
                    self.take_fingerprint(&directory, tree, &traces);
                    tree
                }
                After::Glanced(glanced) => {
                    let is_same = |part: &Part| matches!(part, Part::Same);
                    let same = directory.before().filter(|_| parts.iter().all(is_same));
                    let Some(tree) = same else {
                        known = self.look_closely(&directory, *glanced, (parts, traces))?;
                        continue;
                    };
                    self.keep(&glanced);
                    tree
                }
                After::More(rest) => {
                    let compression = self.engine.setting.compression;
                    directory.print(&traces);
                    let draft = || directory.draft(&parts, compression);
                    self.meter.measure(Activity::Encode, 0, draft);
                    drop(parts);
                    known = self.list_on(&directory, *rest)?;
                    continue;
                }
            };
            drop(parts);
            let Some(slot) = directory.slot() else {
                self.engine.top.get_or_init(|| tree);
                return Ok(());
            };
            self.engine.tally.directory_was_stored(directory.before(), tree);
            known = self.set_directory(&directory, slot, tree);
            directory = Arc::clone(&slot.directory);
        }
        Ok(())
    }

    /// Sets the entry of a directory that is complete.
    fn set_directory(&mut self, directory: &Directory, slot: &Slot, tree: BlobId) -> Option<Known> {
        let above = &slot.directory;
        if directory.is_same(tree) {
            return above.set_same(slot);
        }
        let mut node = directory.node(&slot.name, tree);
        if let (Some(stat), Some(handle)) = (directory.without_attributes(), &directory.handle) {
            self.read_parent(above);
            let before = above.parent().and_then(|parent| parent.find(&slot.name));
            let before = before.and_then(before::parse).map(|node| node.metadata);
            let holder = Holder::Open(handle.as_fd());
            node.metadata.extended_attributes =
                self.engine.attributes(holder, stat, before.as_ref(), || directory.path.clone());
        }
        above.set(slot, Some(&node))
    }

    fn store_tree(
        &mut self,
        directory: &Directory,
        parts: &[Part],
        before: Option<usize>,
    ) -> Result<BlobId, BackupError> {
        let finish = || directory.finish(parts, before);
        let length = |made: &Result<Completed, _>| made.as_ref().map_or(0, Completed::len);
        let made = self.meter.measure_result(Activity::Encode, length, finish)?;
        let sink = &self.engine.sink;
        Ok(match made {
            Completed::Unchanged(tree) => tree,
            Completed::Document(document) => {
                sink.store(&mut self.sealer, BlobKind::Tree, &document)?
            }
            Completed::Streamed(tree) => sink.store_streamed(&self.meter, BlobKind::Tree, &tree)?,
        })
    }
}

/// The owner of the entry that was looked at last, who mostly owns the next one, too.
#[derive(Default)]
pub(super) struct LastOwner {
    ids: Option<(u32, u32)>,
    user: String,
    group: String,
}

impl LastOwner {
    /// Returns the names of a user and a group.
    pub(super) fn names(&mut self, owners: &Owners, ids: (u32, u32)) -> (&str, &str) {
        if self.ids != Some(ids) {
            let (user, group) = (owners.user(ids.0), owners.group(ids.1));
            *self = Self { ids: Some(ids), user, group };
        }
        (&self.user, &self.group)
    }
}

fn warn_of(tree: &BlobId, error: &(dyn std::error::Error + 'static)) {
    warn!(tree = %tree.to_hex(), error, "The parent's directory cannot be read.");
}
