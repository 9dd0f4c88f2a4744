//! Directories whose entries are not all known yet; the last one to become known completes it.
//!
//! So trees are built bottom up, and a tree is the same whichever worker finished first.
//!
//! A large directory is completed in stretches, one after the other: when all entries of one are known,
//! they go into the directory's [`Draft`], and the next one is looked at.
//!
//! Of a directory that was only glanced at, the directories in it are waited for; if one of them is not
//! as it was, its entries are looked at after all.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lifeboat_model::BlobId;
use rustix::fs::Stat;

use super::before::ParentTree;
use super::draft::{Draft, Outcome};
use super::fingerprint::{Fingerprint, Printer, Trace};
use super::glance::Glanced;
use super::walk::Rest;
use crate::blob::StreamedBlob;
use crate::compress::Compression;
use crate::error::RepositoryError;
use crate::node::{Metadata, Node, NodeKind};
use crate::tree::TreeWriter;

/// A place in a directory that is being completed.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) directory: Arc<Directory>,
    pub(super) number: usize,
    pub(super) name: OsString,
    /// Whether the parent snapshot has a file here.
    pub(super) was_file: bool,
    /// Where the parent's tree has the entry.
    pub(super) range: Option<Range<usize>>,
}

impl Slot {
    /// Returns the path of what belongs here.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path.join(&self.name)
    }
}

/// What is known of an entry.
#[derive(Debug)]
pub(super) enum Part {
    /// Nothing yet.
    Unknown,
    /// It is left out.
    Absent,
    /// It is as the parent's tree has it, there.
    Kept(Range<usize>),
    /// As it is to be written.
    Written(Box<[u8]>),
    /// A directory that is what it was when its parent's tree was made.
    Same,
}

/// Whether what is said of the entries is kept, for the fingerprint of their directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traces {
    Kept,
    Dropped,
}

/// A directory that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    /// There is none if it exists on no disk.
    pub(super) handle: Option<OwnedFd>,
    pub(super) metadata: Metadata,
    pub(super) sighting: Sighting,
}

/// How a directory was seen before it was opened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sighting {
    /// Closely, or not at all; its metadata are complete.
    Other,
    /// At a glance. Its extended attributes are not read, and are not needed unless it has changed.
    Glance {
        /// What was found when it was opened.
        stat: Stat,
        /// Whether that is what was glanced at.
        is_same: bool,
    },
}

/// A directory whose entries are not all known yet.
#[derive(Debug)]
pub(super) struct Directory {
    /// Its path, for patterns and messages.
    pub(super) path: PathBuf,
    /// Opened; a directory that exists on no disk is not.
    pub(super) handle: Option<OwnedFd>,
    /// Its place, but for the root directory.
    slot: Option<Slot>,
    metadata: Metadata,
    sighting: Sighting,
    traces: Traces,
    /// The tree that the parent snapshot has of it.
    before: Option<BlobId>,
    /// That tree, if it could be read; unset as long as nobody needed it.
    parent: OnceLock<Option<ParentTree>>,
    /// The entries that are looked at now.
    entries: Mutex<Known>,
    /// Those before, if these are not the first ones.
    draft: Mutex<Option<Draft>>,
    printer: Mutex<Printer>,
}

impl Directory {
    /// Begins a directory that has no entries yet.
    pub(super) fn new(
        slot: Option<Slot>,
        path: PathBuf,
        opened: Opened,
        before: Option<BlobId>,
        traces: Traces,
    ) -> Arc<Self> {
        let (parent, entries, draft) = (OnceLock::new(), Mutex::default(), Mutex::default());
        let Opened { handle, metadata, sighting } = opened;
        Arc::new(Self {
            path,
            handle,
            slot,
            metadata,
            sighting,
            traces,
            before,
            parent,
            entries,
            draft,
            printer: Mutex::default(),
        })
    }

    /// Sets the entries of the next stretch in the order of their names, all at once; returns them if
    /// all are known.
    pub(super) fn begin_stretch(
        &self,
        (parts, traces): (Vec<Part>, Vec<Option<Trace>>),
        after: After,
    ) -> Option<Known> {
        let unknown = parts.iter().filter(|part| matches!(part, Part::Unknown)).count();
        let mut entries = lock(&self.entries);
        *entries = Known { parts, traces, unknown, after };
        take(&mut entries)
    }

    /// Returns the tree that the parent snapshot has of it.
    pub(super) const fn before(&self) -> Option<BlobId> {
        self.before
    }

    /// Returns the tree that the parent snapshot has of it, if it was read and could be.
    pub(super) fn parent(&self) -> Option<&ParentTree> {
        self.parent.get()?.as_ref()
    }

    /// Sees to it that the tree that the parent snapshot has of it was read.
    pub(super) fn read_parent(&self, read: impl FnOnce(BlobId) -> Option<ParentTree>) {
        self.parent.get_or_init(|| self.before.and_then(read));
    }

    /// Adds a stretch that is known to the fingerprint.
    pub(super) fn print(&self, traces: &[Option<Trace>]) {
        if self.traces == Traces::Kept {
            lock(&self.printer).add(traces);
        }
    }

    /// Returns the fingerprint, with the trees of the directories in it, if one was taken.
    pub(super) fn take_fingerprint(&self) -> Option<(Fingerprint, Vec<BlobId>)> {
        let printer = std::mem::take(&mut *lock(&self.printer));
        (self.traces == Traces::Kept).then_some(printer)?.finish_row()
    }

    /// Returns what is said of an entry, if that is kept.
    pub(super) fn trace(&self, node: &Node) -> Option<Trace> {
        (self.traces == Traces::Kept).then(|| Trace::of(node))
    }

    /// Tells whether what is said of the entries is kept.
    pub(super) const fn traces(&self) -> Traces {
        self.traces
    }

    /// Writes an entry, unless it is what the parent's tree has of it.
    pub(super) fn part(&self, node: &Node, range: Option<Range<usize>>) -> Part {
        let mut written = Vec::new();
        node.write(&mut written);
        let is_same = |range: &Range<usize>| {
            self.parent().is_some_and(|parent| *parent.entry(range.clone()) == written)
        };
        match range.filter(is_same) {
            Some(range) => Part::Kept(range),
            None => Part::Written(written.into_boxed_slice()),
        }
    }

    /// Sets an entry, or leaves it out; returns the stretch if it was its last.
    pub(super) fn set(&self, slot: &Slot, node: Option<&Node>) -> Option<Known> {
        let part = node.map_or(Part::Absent, |node| self.part(node, slot.range.clone()));
        let trace = node.and_then(|node| self.trace(node));
        self.set_part(slot.number, part, trace)
    }

    /// Tells that a directory in it, which was glanced at, is what it was.
    pub(super) fn set_same(&self, slot: &Slot) -> Option<Known> {
        self.set_part(slot.number, Part::Same, None)
    }

    fn set_part(&self, number: usize, part: Part, trace: Option<Trace>) -> Option<Known> {
        let mut entries = lock(&self.entries);
        entries.parts[number] = part;
        if let Some(place) = entries.traces.get_mut(number) {
            *place = trace;
        }
        entries.unknown -= 1;
        take(&mut entries)
    }

    /// Adds a stretch that is known to the draft.
    pub(super) fn draft(&self, parts: &[Part], compression: Compression) {
        let mut draft = lock(&self.draft);
        draft.get_or_insert_with(|| Draft::new(compression)).add(parts, self.parent());
    }

    /// Ends the directory with its last stretch, of a small directory the only one.
    pub(super) fn finish(
        &self,
        parts: &[Part],
        before: Option<usize>,
    ) -> Result<Completed, RepositoryError> {
        let Some(mut draft) = lock(&self.draft).take() else {
            return Ok(match self.unchanged(parts, before) {
                Some(tree) => Completed::Unchanged(tree),
                None => Completed::Document(self.encode(parts)),
            });
        };
        draft.add(parts, self.parent());
        Ok(match draft.finish(before, self.parent())? {
            Outcome::Unchanged(tree) => Completed::Unchanged(tree),
            Outcome::Tree(tree) => Completed::Streamed(tree),
        })
    }

    /// Returns where the directory belongs, but for the root directory.
    pub(super) const fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    /// Tells whether it is what was glanced at, and has the tree that it had.
    pub(super) fn is_same(&self, tree: BlobId) -> bool {
        matches!(self.sighting, Sighting::Glance { is_same: true, .. }) && self.before == Some(tree)
    }

    /// Returns what was found when it was opened, if its extended attributes are still to be read.
    pub(super) const fn without_attributes(&self) -> Option<&Stat> {
        match &self.sighting {
            Sighting::Glance { stat, .. } => Some(stat),
            Sighting::Other => None,
        }
    }

    /// Returns its node under a name.
    pub(super) fn node(&self, name: &OsStr, subtree: BlobId) -> Node {
        let kind = NodeKind::Directory { subtree };
        Node { name: name.to_owned(), kind, metadata: self.metadata.clone() }
    }

    /// Returns the tree of the parent if the entries are all that it has, unchanged.
    fn unchanged(&self, parts: &[Part], before: Option<usize>) -> Option<BlobId> {
        let parent = self.parent().filter(|parent| parent.is_as_stored())?;
        let mut kept = 0;
        for part in parts {
            match part {
                Part::Kept(_) => kept += 1,
                Part::Absent => {}
                Part::Written(_) | Part::Unknown | Part::Same => return None,
            }
        }
        (before == Some(kept)).then_some(parent.id)
    }

    /// Encodes the entries that are there.
    fn encode(&self, parts: &[Part]) -> Vec<u8> {
        let mut writer = TreeWriter::new();
        for part in parts {
            match (part, self.parent()) {
                (Part::Written(node), _) => writer.add_written(node),
                (Part::Kept(range), Some(parent)) => {
                    writer.add_written(parent.entry(range.clone()));
                }
                _ => {}
            }
        }
        writer.finish()
    }
}

/// The entries of one stretch of a directory.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) parts: Vec<Part>,
    /// What is said of each of them, if that is kept.
    pub(super) traces: Vec<Option<Trace>>,
    unknown: usize,
    pub(super) after: After,
}

/// What comes after a stretch.
#[derive(Debug)]
pub(super) enum After {
    /// More of the directory.
    More(Box<Rest>),
    /// All of it, if one of the directories in it is not what it was; the parts are those alone.
    Glanced(Box<Glanced>),
    /// Nothing; with how many entries the parent's tree has, which is not known if that is not a list
    /// of entries and nothing else.
    End(Option<usize>),
}

impl Default for After {
    fn default() -> Self {
        Self::End(None)
    }
}

/// A directory of which everything is known.
#[derive(Debug)]
pub(super) enum Completed {
    /// Its tree is that of the parent.
    Unchanged(BlobId),
    /// Its tree, as it is to be stored.
    Document(Vec<u8>),
    /// The tree of a large directory.
    Streamed(StreamedBlob),
}

impl Completed {
    /// Returns how long the tree is, if it was written anew.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Unchanged(_) => 0,
            Self::Document(document) => document.len(),
            Self::Streamed(tree) => tree.plaintext_length(),
        }
    }
}

/// Takes a stretch once all of it is known.
fn take(entries: &mut Known) -> Option<Known> {
    (entries.unknown == 0).then(|| std::mem::take(entries))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
