//! The fingerprint of a directory: one hash over all that the file system says of its entries, and that
//! their nodes depend on.
//!
//! It is taken in two ways that must agree: of nodes, when their tree is made, and of what is found when
//! a directory is glanced at. So it covers what a node's first fields are written from, and no more:
//! content, the target of a link and extended attributes belong to an inode and the time of its last
//! change, which it covers.

pub(super) mod file;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use lifeboat_model::BlobId;
use rustix::fs::{FileType, Stat};
use sha2::{Digest, Sha256};

use super::walk::STRETCH;
use crate::node::{Metadata, Node, NodeKind};
use crate::source::metadata;

/// In how many directories a directory may be glanced at: all of them wait to be listed at once, then.
const SUBTREES_MAX: usize = STRETCH;

/// A hash over what is said of all entries of a directory, in the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Takes the fingerprint of a directory, entry after entry.
#[derive(Debug, Default)]
pub(super) struct Printer {
    hash: Sha256,
    subtrees: Vec<BlobId>,
}

impl Printer {
    /// Adds what [`write`] wrote of the entries that come next.
    pub(super) fn add_said(&mut self, said: &[u8]) {
        self.hash.update(said);
    }

    /// Adds the entries that come next.
    pub(super) fn add(&mut self, traces: &[Option<Trace>]) {
        for trace in traces.iter().flatten() {
            self.add_said(&trace.said);
            self.subtrees.extend(trace.subtree.filter(|_| self.subtrees.len() <= SUBTREES_MAX));
        }
    }

    /// Returns the fingerprint.
    pub(super) fn finish(self) -> Fingerprint {
        Fingerprint(self.hash.finalize().into())
    }

    /// Returns the fingerprint with the trees of the directories, unless these are too many.
    pub(super) fn finish_row(self) -> Option<(Fingerprint, Vec<BlobId>)> {
        let subtrees = (self.subtrees.len() <= SUBTREES_MAX).then_some(self.subtrees)?;
        Some((Fingerprint(self.hash.finalize().into()), subtrees))
    }
}

/// What a directory's fingerprint needs of one entry.
#[derive(Debug)]
pub(super) struct Trace {
    /// What is said of it, by [`write`].
    pub(super) said: Box<[u8]>,
    /// Its tree, if it is a directory.
    pub(super) subtree: Option<BlobId>,
}

impl Trace {
    /// Takes it of a node.
    pub(super) fn of(node: &Node) -> Self {
        let Node { name, kind, metadata } = node;
        let (size, device, subtree) = match kind {
            NodeKind::File { size, .. } => (*size, 0, None),
            NodeKind::Directory { subtree } => (0, 0, Some(*subtree)),
            NodeKind::BlockDevice { device } | NodeKind::CharDevice { device } => {
                (0, *device, None)
            }
            NodeKind::Symlink { .. } | NodeKind::Fifo | NodeKind::Socket => (0, 0, None),
        };
        Self { subtree, ..Self::of_entry(name, metadata, (size, device)) }
    }

    /// Takes it of an entry that is no directory.
    pub(super) fn of_entry(name: &OsStr, metadata: &Metadata, extent: (u64, u64)) -> Self {
        let mut said = Vec::new();
        write(&mut said, name, metadata, extent, (&metadata.user, &metadata.group));
        Self { said: said.into_boxed_slice(), subtree: None }
    }
}

/// Returns the size and the device number that a node keeps of an entry.
pub(super) fn extent(stat: &Stat) -> (u64, u64) {
    match metadata::file_type(stat) {
        FileType::RegularFile => (metadata::size(stat), 0),
        FileType::BlockDevice | FileType::CharacterDevice => (0, stat.st_rdev),
        _ => (0, 0),
    }
}

/// Writes what is said of an entry; no two different entries, or sequences of them, are written alike.
///
/// The names of the owners stand apart, since whoever glances at a directory does not copy them into
/// `metadata`.
pub(super) fn write(
    said: &mut Vec<u8>,
    name: &OsStr,
    metadata: &Metadata,
    (size, device): (u64, u64),
    (user, group): (&str, &str),
) {
    for text in [name.as_bytes(), user.as_bytes(), group.as_bytes()] {
        said.extend_from_slice(&(text.len() as u64).to_le_bytes());
        said.extend_from_slice(text);
    }
    for number in [metadata.mode.bits(), metadata.uid, metadata.gid] {
        said.extend_from_slice(&number.to_le_bytes());
    }
    for time in [metadata.mtime, metadata.atime, metadata.ctime] {
        said.extend_from_slice(&time.seconds().to_le_bytes());
        said.extend_from_slice(&time.nanoseconds().to_le_bytes());
    }
    for number in [metadata.inode, metadata.device_id, metadata.links, size, device] {
        said.extend_from_slice(&number.to_le_bytes());
    }
}
