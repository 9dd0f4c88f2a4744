//! Directories whose entries are not all known yet; the last one to become known completes it.
//!
//! So trees are built bottom up, and a tree is the same whichever worker finished first.

use std::ffi::OsString;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::BlobId;

use super::before::ParentTree;
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
    /// The tree that the parent snapshot has of it.
    before: Option<BlobId>,
    /// That tree, if it could be read.
    parent: Option<ParentTree>,
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    parts: Vec<Part>,
    unknown: usize,
    /// How many entries the parent's tree has; not known if it is not a list of entries and nothing
    /// else.
    before: Option<usize>,
}

impl Directory {
    /// Begins a directory that has no entries yet.
    pub(super) fn new(
        slot: Option<Slot>,
        path: PathBuf,
        (handle, metadata): (Option<OwnedFd>, Metadata),
        before: Option<BlobId>,
        parent: Option<ParentTree>,
    ) -> Self {
        let entries = Mutex::new(Entries { parts: Vec::new(), unknown: 0, before: None });
        Self { path, handle, slot, metadata, before, parent, entries }
    }

    /// Sets the entries in the order of their names, all at once.
    pub(super) fn with_entries(mut self, parts: Vec<Part>, before: Option<usize>) -> Arc<Self> {
        let unknown = parts.iter().filter(|part| matches!(part, Part::Unknown)).count();
        self.entries = Mutex::new(Entries { parts, unknown, before });
        Arc::new(self)
    }

    /// Returns the tree that the parent snapshot has of it.
    pub(super) const fn before(&self) -> Option<BlobId> {
        self.before
    }

    /// Returns the tree that the parent snapshot has of it, if that could be read.
    pub(super) const fn parent(&self) -> Option<&ParentTree> {
        self.parent.as_ref()
    }

    /// Writes an entry, unless it is what the parent's tree has of it.
    pub(super) fn part(&self, node: &Node, range: Option<Range<usize>>) -> Part {
        let mut written = Vec::new();
        node.write(&mut written);
        let is_same = |range: &Range<usize>| {
            self.parent.as_ref().is_some_and(|parent| *parent.entry(range.clone()) == written)
        };
        match range.filter(is_same) {
            Some(range) => Part::Kept(range),
            None => Part::Written(written.into_boxed_slice()),
        }
    }

    /// Sets an entry, or leaves it out; returns all entries if it was the last.
    pub(super) fn set(&self, slot: &Slot, node: Option<&Node>) -> Option<Known> {
        let part = node.map_or(Part::Absent, |node| self.part(node, slot.range.clone()));
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.parts[slot.number] = part;
        entries.unknown -= 1;
        take(&mut entries)
    }

    /// Returns all entries if they are known from the beginning.
    pub(super) fn known(&self) -> Option<Known> {
        take(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns where the directory belongs and its node, but for the root directory.
    pub(super) fn completed(&self, subtree: BlobId) -> Option<(Slot, Node)> {
        let slot = self.slot.clone()?;
        let kind = NodeKind::Directory { subtree };
        let node = Node { name: slot.name.clone(), kind, metadata: self.metadata.clone() };
        Some((slot, node))
    }

    /// Returns the tree of the parent if the entries are all that it has, unchanged.
    pub(super) fn unchanged(&self, known: &Known) -> Option<BlobId> {
        let parent = self.parent.as_ref().filter(|parent| parent.is_as_stored())?;
        let mut kept = 0;
        for part in &known.parts {
            match part {
                Part::Kept(_) => kept += 1,
                Part::Absent => {}
                Part::Written(_) | Part::Unknown => return None,
            }
        }
        (known.before == Some(kept)).then_some(parent.id)
    }

    /// Encodes the entries that are there.
    pub(super) fn encode(&self, known: &Known) -> Vec<u8> {
        let mut writer = TreeWriter::new();
        for part in &known.parts {
            match (part, &self.parent) {
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

/// All entries of a directory.
#[derive(Debug)]
pub(super) struct Known {
    parts: Vec<Part>,
    before: Option<usize>,
}

fn take(entries: &mut Entries) -> Option<Known> {
    let before = entries.before;
    (entries.unknown == 0).then(|| Known { parts: std::mem::take(&mut entries.parts), before })
}
