//! Visits the directories of snapshots, each once however many snapshots share it.
//!
//! # Limits
//!
//! Level by level: it holds the paths of one level of directories and the ids of all that were
//! visited, 32 bytes each. [`BATCH`] directories are read at a time.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use lifeboat_model::{BlobId, Cancel, Cancelled, SnapshotId};

use crate::blob::{BlobKind, BlobOpener};
use crate::error::{Defect, RepositoryError, StoredObject};
use crate::index::Index;
use crate::node::NodeKind;
use crate::repository::{Repository, State};
use crate::tree::Tree;

/// How many threads read directories from a tier that is far: each mostly waits for it.
const READERS_FAR: usize = 8;

/// How many directories are read before they are looked at, so that few are in memory.
pub(crate) const BATCH: usize = 256;

/// A directory that is visited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visit {
    /// Its tree.
    pub tree: BlobId,
    /// Its path, in the first snapshot in which it was found.
    pub path: PathBuf,
    /// That snapshot.
    pub snapshot: SnapshotId,
}

/// Visits all directories below the roots; `look` gets each of them, or why it cannot be read.
///
/// Every directory comes after one that it lies in.
pub(crate) fn walk_trees<S: State>(
    repository: &Repository<S>,
    index: &Index,
    roots: impl Iterator<Item = (SnapshotId, BlobId)>,
    cancel: &Cancel,
    mut look: impl FnMut(&Visit, Result<Tree, RepositoryError>),
) -> Result<(), Cancelled> {
    let mut seen = HashSet::new();
    let mut level: Vec<Visit> = roots
        .filter(|(_, tree)| seen.insert(*tree))
        .map(|(snapshot, tree)| Visit { tree, path: PathBuf::from("/"), snapshot })
        .collect();
    while !level.is_empty() {
        let mut next = Vec::new();
        for batch in level.chunks(BATCH) {
            cancel.check()?;
            let trees = read_each(repository, batch, |opener, visit: &Visit| {
                read_tree(repository, index, opener, &visit.tree)
            });
            for (visit, tree) in batch.iter().zip(trees) {
                if let Ok(tree) = &tree {
                    for node in &tree.nodes {
                        let NodeKind::Directory { subtree } = node.kind else { continue };
                        if seen.insert(subtree) {
                            let path = visit.path.join(&node.name);
                            next.push(Visit { tree: subtree, path, snapshot: visit.snapshot });
                        }
                    }
                }
                look(visit, tree);
            }
        }
        level = next;
    }
    Ok(())
}

/// Returns how many threads are worth having for work on what is read from a tier: as many as there
/// are processors where reading is work, more where it is waiting.
pub(crate) fn readers<S: State>(repository: &Repository<S>) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let near = repository.store().reads_here();
    repository.store().requests(if near { processors } else { processors.max(READERS_FAR) })
}

/// Reads directories by their ids, several at a time, each from the first place where it is whole.
pub(crate) fn read_trees<S: State>(
    repository: &Repository<S>,
    index: &Index,
    ids: &[BlobId],
) -> Vec<Result<Tree, RepositoryError>> {
    read_each(repository, ids, |opener, id| read_tree(repository, index, opener, id))
}

/// Reads directories, several at a time; the results come in the order of the items.
pub(crate) fn read_each<S: State, T: Sync>(
    repository: &Repository<S>,
    items: &[T],
    read: impl Fn(&mut BlobOpener<'_>, &T) -> Result<Tree, RepositoryError> + Sync,
) -> Vec<Result<Tree, RepositoryError>> {
    let next = AtomicUsize::new(0);
    let results: Vec<_> = items.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        let mut opener = BlobOpener::new(repository.key());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { break };
            let tree = read(&mut opener, item);
            *results[number].lock().unwrap_or_else(PoisonError::into_inner) = Some(tree);
        }
    };
    thread::scope(|scope| {
        for _ in 1..readers(repository).min(items.len()) {
            scope.spawn(work);
        }
        work();
    });
    let take = |result: Mutex<Option<_>>| {
        let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
        result.expect("the threads went on until every directory was read")
    };
    results.into_iter().map(take).collect()
}

/// Reads a directory from the first place where it is whole, never from a cache.
fn read_tree<S: State>(
    repository: &Repository<S>,
    index: &Index,
    opener: &mut BlobOpener<'_>,
    id: &BlobId,
) -> Result<Tree, RepositoryError> {
    let object = |at| StoredObject::Blob { kind: BlobKind::Tree, id: *id, at };
    let mut result = Err(repository.corrupt(object(None), Defect::NotIndexed));
    for location in index.locations(BlobKind::Tree, id) {
        let at = Some((location.pack, location.offset));
        result =
            repository.read_blob_at(opener, BlobKind::Tree, id, &location).and_then(|document| {
                Tree::parse(&document).map_err(|e| repository.corrupt(object(at), e))
            });
        if result.is_ok() {
            break;
        }
    }
    result
}
