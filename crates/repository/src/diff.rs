//! What differs between two snapshots.
//!
//! # Limits
//!
//! Only directories that differ are looked into, level by level and many at once; it holds what
//! differs and the ids of the blobs in those directories. Counting what was added and removed
//! exactly ([`Sums::Exact`]) visits what both have in common as well, as far as needed to know
//! whether a blob that looks new lies there: in that it is restic's count, at a fraction of its time.
//!
//! One thing is told that restic leaves out: what lies in a directory that was something else before,
//! or became something else.
//!
//! Source: restic `cmd/restic/cmd_diff.go`.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use lifeboat_model::{BlobId, Cancel};
use serde::Serialize;

use crate::blob::BlobKind;
use crate::error::RepositoryError;
use crate::forest::Unreadable;
use crate::node::{Node, NodeKind};
use crate::repository::{Indexed, Repository};
use crate::tree::Tree;
use crate::walk::{BATCH, Directory, batches, not_a_tree, read_trees};

/// Whether changes of metadata alone are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetadataChanges {
    /// They are not.
    #[default]
    Ignored,
    /// They are.
    Told,
}

/// How what was added and removed is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sums {
    /// What both have, wherever it lies, is neither added nor removed.
    #[default]
    Exact,
    /// Only what differs is looked at: data that was copied out of an unchanged directory counts as
    /// added, though both have it.
    OfWhatDiffers,
}

/// How two snapshots are compared.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiffOptions {
    /// Whether changes of metadata alone are told.
    pub metadata: MetadataChanges,
    /// How what was added and removed is counted.
    pub sums: Sums,
}

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// It is only in the second.
    Added,
    /// It is only in the first.
    Removed,
    /// It is of another type.
    Type,
    /// It is of another type, and changes of metadata are told.
    TypeAndMetadata,
    /// It is a file with other content.
    Content,
    /// It is a file with other content but the same size, times and inode: perhaps a rotten disk.
    Suspicious,
    /// Its metadata is another, or what lies in it.
    Metadata,
}

impl Mark {
    /// Returns the letters that restic shows.
    pub const fn letters(self) -> &'static str {
        match self {
            Self::Added => "+",
            Self::Removed => "-",
            Self::Type => "T",
            Self::TypeAndMetadata => "TU",
            Self::Content => "M",
            Self::Suspicious => "M?",
            Self::Metadata => "U",
        }
    }
}

impl Serialize for Mark {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.letters())
    }
}

/// An entry that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where it is.
    pub path: PathBuf,
    /// What happened to it.
    pub mark: Mark,
    /// What sort of entry it is now, or was, as [`NodeKind::name`] says.
    pub sort: &'static str,
}

/// What was added, or what was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Other entries.
    pub others: u64,
    /// Data blobs.
    pub data_blobs: u64,
    /// Tree blobs.
    pub tree_blobs: u64,
    /// The length of those blobs in bytes, before compression.
    pub bytes: u64,
}

/// What differs between two snapshots.
#[derive(Debug, Default)]
pub struct DiffReport {
    /// Every entry that differs, in the order of the paths.
    pub changes: Vec<Change>,
    /// How many files have other content.
    pub changed_files: u64,
    /// What only the second has.
    pub added: Sum,
    /// What only the first has.
    pub removed: Sum,
    /// Directories that could not be read, so that what is in them is missing above.
    pub unreadable: Vec<Unreadable>,
}

/// Compares what lies below two directories; usually the roots of two snapshots.
pub fn diff(
    repository: &Repository<Indexed>,
    before: BlobId,
    after: BlobId,
    options: DiffOptions,
    cancel: &Cancel,
) -> Result<DiffReport, RepositoryError> {
    let mut comparison = Comparison::new(options.metadata);
    comparison.compare(repository, before, after, cancel)?;
    if options.sums == Sums::Exact {
        comparison.leave_out_common(repository, cancel)?;
    }
    Ok(comparison.into_report(repository))
}

type Handle = (BlobKind, BlobId);

/// A directory in one of the two, or in both.
struct Pair {
    path: PathBuf,
    before: Option<BlobId>,
    after: Option<BlobId>,
}

struct Comparison {
    metadata: MetadataChanges,
    report: DiffReport,
    before: HashSet<Handle>,
    after: HashSet<Handle>,
    /// Directories that both have at the same place.
    common: HashSet<BlobId>,
    pending: Vec<Pair>,
}

impl Comparison {
    fn new(metadata: MetadataChanges) -> Self {
        Self {
            metadata,
            report: DiffReport::default(),
            before: HashSet::new(),
            after: HashSet::new(),
            common: HashSet::new(),
            pending: Vec::new(),
        }
    }

    fn compare(
        &mut self,
        repository: &Repository<Indexed>,
        before: BlobId,
        after: BlobId,
        cancel: &Cancel,
    ) -> Result<(), RepositoryError> {
        self.enter(PathBuf::from("/"), Some(before), Some(after));
        while !self.pending.is_empty() {
            for batch in std::mem::take(&mut self.pending).chunks(BATCH) {
                cancel.check()?;
                let ids: Vec<BlobId> =
                    batch.iter().flat_map(|pair| [pair.before, pair.after]).flatten().collect();
                let trees = read_trees(repository, &repository.index(), &ids);
                let mut trees = trees.into_iter().peekable();
                for pair in batch {
                    let mut read = |tree: Option<BlobId>| {
                        let Some((id, read)) = tree.zip(trees.next_if(|_| tree.is_some())) else {
                            return Ok(Tree::default());
                        };
                        let whole = |read: Directory| {
                            read.into_tree().map_err(|error| not_a_tree(repository, id, error))
                        };
                        read.and_then(whole)
                    };
                    match (read(pair.before), read(pair.after)) {
                        (Ok(before), Ok(after)) => self.compare_trees(&pair.path, before, after),
                        (Err(error), _) | (_, Err(error)) => {
                            let path = pair.path.clone();
                            self.report.unreadable.push(Unreadable { path, error });
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Sees to it that a directory is looked into, unless both have the same one.
    fn enter(&mut self, path: PathBuf, before: Option<BlobId>, after: Option<BlobId>) {
        self.before.extend(before.map(|tree| (BlobKind::Tree, tree)));
        self.after.extend(after.map(|tree| (BlobKind::Tree, tree)));
        match (before, after) {
            (Some(before), Some(after)) if before == after => _ = self.common.insert(before),
            (None, None) => {}
            _ => self.pending.push(Pair { path, before, after }),
        }
    }

    fn compare_trees(&mut self, path: &Path, before: Tree, after: Tree) {
        let mut entries: BTreeMap<OsString, (Option<Node>, Option<Node>)> = BTreeMap::new();
        for node in before.nodes {
            let entry = entries.entry(node.name.clone()).or_default();
            entry.0 = Some(node);
        }
        for node in after.nodes {
            let entry = entries.entry(node.name.clone()).or_default();
            entry.1 = Some(node);
        }
        for (name, (before, after)) in entries {
            self.compare_entries(path, &name, before.as_ref(), after.as_ref());
        }
    }

    fn compare_entries(
        &mut self,
        parent: &Path,
        name: &OsStr,
        before: Option<&Node>,
        after: Option<&Node>,
    ) {
        self.before.extend(before.into_iter().flat_map(data_blobs));
        self.after.extend(after.into_iter().flat_map(data_blobs));
        let path = parent.join(name);
        let mark = match (before, after) {
            (Some(before), Some(after)) => self.mark_change(before, after),
            (None, Some(after)) => {
                self.report.added.count(after);
                Some(Mark::Added)
            }
            (Some(before), None) => {
                self.report.removed.count(before);
                Some(Mark::Removed)
            }
            (None, None) => None,
        };
        let told = mark.zip(after.or(before));
        if let Some((mark, node)) = told {
            let (path, sort) = (path.clone(), node.kind.name());
            self.report.changes.push(Change { path, mark, sort });
        }
        self.enter(path, before.and_then(subtree), after.and_then(subtree));
    }

    fn mark_change(&mut self, before: &Node, after: &Node) -> Option<Mark> {
        let told = self.metadata == MetadataChanges::Told && before != after;
        if std::mem::discriminant(&before.kind) != std::mem::discriminant(&after.kind) {
            return Some(if told { Mark::TypeAndMetadata } else { Mark::Type });
        }
        if let (
            NodeKind::File { size: old_size, content: old },
            NodeKind::File { size: new_size, content: new },
        ) = (&before.kind, &after.kind)
            && old != new
        {
            self.report.changed_files += 1;
            let same = old_size == new_size && before.metadata == after.metadata;
            return Some(if same { Mark::Suspicious } else { Mark::Content });
        }
        told.then_some(Mark::Metadata)
    }

    /// Takes blobs out of what was added and removed that both have in directories in common.
    fn leave_out_common(
        &mut self,
        repository: &Repository<Indexed>,
        cancel: &Cancel,
    ) -> Result<(), RepositoryError> {
        let in_both: Vec<Handle> = self.before.intersection(&self.after).copied().collect();
        for handle in in_both {
            self.before.remove(&handle);
            self.after.remove(&handle);
        }
        if self.before.is_empty() && self.after.is_empty() {
            return Ok(());
        }
        let mut seen = HashSet::new();
        let mut level: Vec<BlobId> = self.common.drain().collect();
        while !level.is_empty() {
            let mut next = Vec::new();
            level.retain(|tree| seen.insert(*tree));
            for batch in batches(&repository.index(), &level, |id| *id) {
                cancel.check()?;
                let trees = read_trees(repository, &repository.index(), batch);
                for (tree, read) in batch.iter().zip(trees) {
                    self.forget((BlobKind::Tree, *tree));
                    // What cannot be read says nothing of what differs.
                    let _ = read.map(|tree| {
                        tree.for_each(|node| {
                            data_blobs(node).for_each(|handle| self.forget(handle));
                            next.extend(subtree(node));
                        })
                    });
                }
            }
            level = next;
        }
        Ok(())
    }

    fn forget(&mut self, handle: Handle) {
        self.before.remove(&handle);
        self.after.remove(&handle);
    }

    fn into_report(self, repository: &Repository<Indexed>) -> DiffReport {
        let Self { mut report, before, after, .. } = self;
        report.removed.count_blobs(repository, before.difference(&after));
        report.added.count_blobs(repository, after.difference(&before));
        report.changes.sort_by(|a, b| a.path.cmp(&b.path));
        report
    }
}

impl Sum {
    fn count(&mut self, node: &Node) {
        match node.kind {
            NodeKind::File { .. } => self.files += 1,
            NodeKind::Directory { .. } => self.directories += 1,
            _ => self.others += 1,
        }
    }

    fn count_blobs<'h>(
        &mut self,
        repository: &Repository<Indexed>,
        handles: impl Iterator<Item = &'h Handle>,
    ) {
        let index = repository.index();
        for (kind, id) in handles {
            match kind {
                BlobKind::Data => self.data_blobs += 1,
                BlobKind::Tree => self.tree_blobs += 1,
            }
            let length = index.get(*kind, id).map_or(0, |location| location.plaintext_length());
            self.bytes += u64::from(length);
        }
    }
}

fn data_blobs(node: &Node) -> impl Iterator<Item = Handle> + '_ {
    let content: &[BlobId] = match &node.kind {
        NodeKind::File { content, .. } => content,
        _ => &[],
    };
    content.iter().map(|id| (BlobKind::Data, *id))
}

const fn subtree(node: &Node) -> Option<BlobId> {
    match &node.kind {
        NodeKind::Directory { subtree } => Some(*subtree),
        _ => None,
    }
}
