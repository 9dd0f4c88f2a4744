//! Directories whose entries are not all known yet; the last one to become known completes it.
//!
//! So trees are built bottom up, and a tree is the same whichever worker finished first.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::BlobId;

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
}

impl Slot {
    /// Returns the path of what belongs here.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path.join(&self.name)
    }
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
    /// What the parent snapshot has of it.
    before: Option<BlobId>,
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    nodes: Vec<Option<Node>>,
    unknown: usize,
}

impl Directory {
    /// Begins a directory with the entries that are known, in the order of their names, and `unknown`
    /// many that will be.
    pub(super) fn new(
        slot: Option<Slot>,
        path: PathBuf,
        (handle, metadata): (Option<OwnedFd>, Metadata),
        before: Option<BlobId>,
        (nodes, unknown): (Vec<Option<Node>>, usize),
    ) -> Arc<Self> {
        let entries = Mutex::new(Entries { nodes, unknown });
        Arc::new(Self { path, handle, slot, metadata, before, entries })
    }

    /// Returns the tree that the parent snapshot has of it.
    pub(super) const fn before(&self) -> Option<BlobId> {
        self.before
    }

    /// Sets an entry, or leaves it out; returns all entries if it was the last.
    pub(super) fn set(&self, number: usize, node: Option<Node>) -> Option<Vec<Option<Node>>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.nodes[number] = node;
        entries.unknown -= 1;
        (entries.unknown == 0).then(|| std::mem::take(&mut entries.nodes))
    }

    /// Returns all entries if they are known from the beginning.
    pub(super) fn known(&self) -> Option<Vec<Option<Node>>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        (entries.unknown == 0).then(|| std::mem::take(&mut entries.nodes))
    }

    /// Returns where the directory belongs and its node, but for the root directory.
    pub(super) fn completed(&self, subtree: BlobId) -> Option<(Slot, Node)> {
        let slot = self.slot.clone()?;
        let kind = NodeKind::Directory { subtree };
        let node = Node { name: slot.name.clone(), kind, metadata: self.metadata.clone() };
        Some((slot, node))
    }
}

/// Encodes the entries that are there.
pub(super) fn encode(nodes: Vec<Option<Node>>) -> Result<Vec<u8>, RepositoryError> {
    let mut writer = TreeWriter::new();
    for node in nodes.into_iter().flatten() {
        writer.add(&node)?;
    }
    Ok(writer.finish())
}
