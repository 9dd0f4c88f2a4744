//! Makes snapshots that need nothing that is lost.
//!
//! A directory that cannot be read becomes an empty one, and what is lost of a file is left out of
//! it. Everything else stays as it is, also the ids of directories with nothing lost below them.
//!
//! # Invariants
//!
//! - A snapshot without damage is not touched.
//! - A new snapshot names the one that it was made from; that one goes only if asked to, and only
//!   after the new one is durable. One whose root is lost goes only if asked to, too.
//! - Everything that was left out is named.
//! - Nothing is given up while packs are there that an index could list: they may hold it.
//!
//! # Crash consistency
//!
//! As a backup: packs, index, snapshot; then the old snapshot is removed. What an interrupted run
//! left is repaired once more, or is found to be repaired.
//!
//! # Limits
//!
//! It holds the directories on the way to where it is, and 64 bytes for each directory.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use lifeboat_model::{
    BlobId, Cancel, Classify, ErrorKind, Event, EventSink, PackId, SnapshotId, Stage, Work,
};
use serde::{Serialize, Serializer};

use crate::backup::PACK_SIZE;
use crate::blob::{BlobKind, BlobSealer, blob_id};
use crate::compress::Compression;
use crate::error::RepositoryError;
use crate::lock::LockGuard;
use crate::node::{Node, NodeKind};
use crate::packing::PackWriter;
use crate::repository::{Indexed, Repository};
use crate::snapshot::Snapshot;
use crate::store::ListedFile;
use crate::tree::Tree;

/// The tag of a snapshot that was made by a repair beside the damaged one.
const TAG: &str = "repaired";

/// What becomes of the damaged snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DamagedSnapshots {
    /// They stay beside the new ones, which are tagged `repaired`.
    #[default]
    Keep,
    /// The new ones take their place.
    Forget,
}

/// What was left out of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Loss {
    /// A directory is empty now.
    Directory {
        /// Where it is.
        #[serde(serialize_with = "shown")]
        path: PathBuf,
    },
    /// A file lacks pieces.
    File {
        /// Where it is.
        #[serde(serialize_with = "shown")]
        path: PathBuf,
        /// How many bytes it had.
        size_bytes: u64,
        /// How many it has now.
        left_bytes: u64,
    },
    /// A file was recorded with another length than its pieces have.
    Size {
        /// Where it is.
        #[serde(serialize_with = "shown")]
        path: PathBuf,
    },
}

/// Writes a path, which need not be text.
fn shown<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// What became of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum SnapshotOutcome {
    /// It is whole.
    Whole,
    /// It was repaired, or would be.
    Repaired {
        /// The new snapshot; none if it was not made.
        new: Option<SnapshotId>,
    },
    /// Nothing of it is left: its root cannot be read.
    Lost,
}

/// A snapshot that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairedSnapshot {
    /// The snapshot.
    pub id: SnapshotId,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: SnapshotOutcome,
    /// What it lacks.
    pub losses: Vec<Loss>,
}

/// What was, or would be, repaired.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SnapshotRepair {
    /// The snapshots that were looked at.
    pub snapshots: Vec<RepairedSnapshot>,
}

impl SnapshotRepair {
    /// Returns how many are damaged.
    pub fn damaged(&self) -> usize {
        let is_damaged = |snapshot: &&RepairedSnapshot| snapshot.outcome != SnapshotOutcome::Whole;
        self.snapshots.iter().filter(is_damaged).count()
    }
}

/// Repairs snapshots under an exclusive lock; without a lock, only tells what is wrong.
///
/// What the index lists in packs that are not there counts as lost.
///
/// # Errors
///
/// [`RepositoryError::UnlistedPacks`] if something lacks while packs are there that could be listed:
/// nothing is given up that may only have to be listed again.
pub fn repair_snapshots(
    repository: &mut Repository<Indexed>,
    lock: Option<&LockGuard>,
    snapshots: Vec<(SnapshotId, Snapshot)>,
    damaged: DamagedSnapshots,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<SnapshotRepair, RepositoryError> {
    let files = repository.store().list::<PackId>()?;
    let listed: BTreeSet<PackId> = files.iter().map(|file| file.id).collect();
    let indexed = repository.index().packs()?.into_iter();
    let missing = indexed.filter(|pack| !listed.contains(pack)).collect();
    repository.leave_out(&missing);
    let total = Some(Work { items: snapshots.len() as u64, bytes: 0 });
    events.emit(Event::Started { stage: Stage::Repair, total });
    let mut repairer = Repairer {
        repository,
        sealer: BlobSealer::new(repository.key(), Compression::default()),
        repaired: HashMap::new(),
        new: Vec::new(),
        cancel,
    };
    let mut report = SnapshotRepair::default();
    // Whether what lacks is lost.
    let mut is_final = false;
    for (id, snapshot) in snapshots {
        let mut losses = Vec::new();
        let tree = repairer.repair(snapshot.tree, Path::new("/"), &mut losses)?;
        if tree != Some(snapshot.tree) && !is_final {
            refuse_unlisted_packs(repository, &files)?;
            is_final = true;
        }
        let outcome = match tree {
            Some(tree) if tree == snapshot.tree => SnapshotOutcome::Whole,
            Some(tree) => {
                let new = lock
                    .map(|lock| repairer.replace((id, snapshot), tree, damaged, lock))
                    .transpose()?;
                SnapshotOutcome::Repaired { new }
            }
            None => {
                if let (Some(lock), DamagedSnapshots::Forget) = (lock, damaged) {
                    lock.check()?;
                    repository.store().delete(&id)?;
                }
                SnapshotOutcome::Lost
            }
        };
        report.snapshots.push(RepairedSnapshot { id, outcome, losses });
        events.emit(Event::Advanced { stage: Stage::Repair, work: Work { items: 1, bytes: 0 } });
    }
    events.emit(Event::Finished { stage: Stage::Repair });
    Ok(report)
}

/// Fails if there are packs with something that no index lists; one whose header cannot be read cannot be
/// listed either.
fn refuse_unlisted_packs(
    repository: &Repository<Indexed>,
    files: &[ListedFile<PackId>],
) -> Result<(), RepositoryError> {
    let mut count = 0;
    for file in files {
        if repository.index().has_pack(&file.id) {
            continue;
        }
        let header = match repository.pack_header(&file.id, file.size) {
            Err(error) if error.kind() == ErrorKind::Corrupt => continue,
            header => header?,
        };
        let index = repository.index();
        count += usize::from(header.blobs.iter().any(|b| !index.contains(b.kind, &b.id)));
    }
    if count == 0 {
        return Ok(());
    }
    Err(RepositoryError::UnlistedPacks { address: repository.address().to_owned(), count })
}

/// What a directory became, and what is lost below it, by paths relative to it.
#[derive(Debug, Clone)]
struct Repaired {
    tree: Option<BlobId>,
    losses: Vec<Loss>,
}

struct Repairer<'a> {
    repository: &'a Repository<Indexed>,
    sealer: BlobSealer<'a>,
    /// What became of directories that were looked at; snapshots share most of theirs.
    repaired: HashMap<BlobId, Repaired>,
    /// New directories that are not stored yet.
    new: Vec<(BlobId, Vec<u8>)>,
    cancel: &'a Cancel,
}

impl Repairer<'_> {
    /// Returns what a directory becomes; nothing if it cannot be read.
    fn repair(
        &mut self,
        id: BlobId,
        path: &Path,
        losses: &mut Vec<Loss>,
    ) -> Result<Option<BlobId>, RepositoryError> {
        self.cancel.check()?;
        if !self.repaired.contains_key(&id) {
            let repaired = match self.repository.tree(&id) {
                Ok(tree) => self.repair_tree(id, &tree)?,
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    Repaired { tree: None, losses: Vec::new() }
                }
                Err(error) => return Err(error),
            };
            self.repaired.insert(id, repaired);
        }
        let repaired = &self.repaired[&id];
        losses.extend(repaired.losses.iter().map(|loss| loss.below(path)));
        Ok(repaired.tree)
    }

    fn repair_tree(&mut self, id: BlobId, tree: &Tree) -> Result<Repaired, RepositoryError> {
        let mut losses = Vec::new();
        let mut nodes = Vec::with_capacity(tree.nodes.len());
        let mut changes = false;
        for node in &tree.nodes {
            let repaired = self.repair_node(node, &mut losses)?;
            changes |= repaired != *node;
            nodes.push(repaired);
        }
        let tree = if changes { self.save(&Tree { nodes })? } else { id };
        Ok(Repaired { tree: Some(tree), losses })
    }

    fn repair_node(
        &mut self,
        node: &Node,
        losses: &mut Vec<Loss>,
    ) -> Result<Node, RepositoryError> {
        let path = PathBuf::from(&node.name);
        let kind = match &node.kind {
            NodeKind::File { size, content } => self.repair_file(path, *size, content, losses),
            NodeKind::Directory { subtree } => {
                let subtree = if let Some(subtree) = self.repair(*subtree, &path, losses)? {
                    subtree
                } else {
                    losses.push(Loss::Directory { path });
                    self.save(&Tree::default())?
                };
                NodeKind::Directory { subtree }
            }
            other => other.clone(),
        };
        Ok(Node { kind, ..node.clone() })
    }

    fn repair_file(
        &self,
        path: PathBuf,
        size: u64,
        content: &[BlobId],
        losses: &mut Vec<Loss>,
    ) -> NodeKind {
        let mut left = Vec::with_capacity(content.len());
        let mut left_bytes = 0;
        let index = self.repository.index();
        for id in content {
            if let Some(location) = index.get(BlobKind::Data, id) {
                left.push(*id);
                left_bytes += u64::from(location.plaintext_length());
            }
        }
        if left.len() < content.len() {
            losses.push(Loss::File { path, size_bytes: size, left_bytes });
        } else if left_bytes != size {
            losses.push(Loss::Size { path });
        }
        NodeKind::File { size: left_bytes, content: left }
    }

    fn save(&mut self, tree: &Tree) -> Result<BlobId, RepositoryError> {
        let document = tree.to_document()?;
        let id = blob_id(&document);
        self.new.push((id, document));
        Ok(id)
    }

    /// Stores the new directories, then the new snapshot, then removes the old one if asked to.
    fn replace(
        &mut self,
        (id, mut snapshot): (SnapshotId, Snapshot),
        tree: BlobId,
        damaged: DamagedSnapshots,
        lock: &LockGuard,
    ) -> Result<SnapshotId, RepositoryError> {
        let pack_size = usize::try_from(PACK_SIZE.0).unwrap_or(usize::MAX);
        let writer = PackWriter::new(self.repository, pack_size, self.cancel);
        let mut stored = BTreeSet::new();
        let mut outcome = Ok(());
        for (id, document) in std::mem::take(&mut self.new) {
            if self.repository.contains(BlobKind::Tree, &id) || !stored.insert(id) {
                continue;
            }
            let sealed = self.sealer.seal(BlobKind::Tree, id, &document);
            outcome = sealed.and_then(|blob| writer.add(&blob));
            if outcome.is_err() {
                break;
            }
        }
        writer.finish(outcome)?;
        lock.check()?;
        snapshot.tree = tree;
        snapshot.original = Some(id);
        if damaged == DamagedSnapshots::Keep && !snapshot.tags.iter().any(|tag| tag == TAG) {
            snapshot.tags.push(TAG.to_owned());
        }
        let new = self.repository.save_snapshot(&snapshot)?;
        if damaged == DamagedSnapshots::Forget {
            self.repository.load_raw(&new)?;
            lock.check()?;
            self.repository.store().delete(&id)?;
        }
        Ok(new)
    }
}

impl Loss {
    /// Returns the loss as seen from above.
    fn below(&self, parent: &Path) -> Self {
        let mut loss = self.clone();
        let (Self::Directory { path } | Self::File { path, .. } | Self::Size { path }) = &mut loss;
        *path = parent.join(&*path);
        loss
    }
}
