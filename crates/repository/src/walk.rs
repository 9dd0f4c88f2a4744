//! Visits the directories of snapshots, each once however many snapshots share it.
//!
//! # Limits
//!
//! Level by level: it holds the paths of one level of directories and the ids of all that were
//! visited, 32 bytes each. At most [`BATCH`] directories are read at a time, and no more than
//! [`BATCH_BYTES`] of them, unless one alone has more.

use std::collections::HashSet;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use lifeboat_model::{BlobId, Cancel, Cancelled, SnapshotId};
use serde_json::Deserializer;

use crate::blob::{BlobKind, BlobLocation, BlobOpener, LONG, LongBlob};
use crate::error::{Defect, RepositoryError, StoredObject};
use crate::index::Index;
use crate::node::{Node, NodeKind};
use crate::repository::{Indexed, Neighbours, Repository, State};
use crate::tree::{Tree, TreeError, visit_nodes};

/// How many threads read directories from a tier that is far: each mostly waits for it.
const READERS_FAR: usize = 8;

/// How many directories are read before they are looked at, so that few are in memory.
pub(crate) const BATCH: usize = 256;

/// How long the trees of these directories may be together: they take about twice as much when they
/// are parsed.
const BATCH_BYTES: u64 = 8 << 20;

/// Divides directories into batches that are read at once.
pub(crate) fn batches<'d, T>(
    index: &Index,
    directories: &'d [T],
    tree: impl Fn(&T) -> BlobId,
) -> Vec<&'d [T]> {
    let (mut batches, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (number, directory) in directories.iter().enumerate() {
        let place = index.get(BlobKind::Tree, &tree(directory));
        let length = place.map_or(0, |place| u64::from(place.plaintext_length()));
        if number > begin && (number - begin == BATCH || bytes + length > BATCH_BYTES) {
            batches.push(&directories[begin..number]);
            (begin, bytes) = (number, 0);
        }
        bytes += length;
    }
    batches.extend((begin < directories.len()).then(|| &directories[begin..]));
    batches
}

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

/// Judges directories, several at once.
pub(crate) trait Judge: Sync {
    /// What one directory shows.
    type Verdict: Default + Send;

    /// Looks at an entry; they come in the order in which they stand.
    fn look_at(&self, visit: &Visit, node: &Node, verdict: &mut Self::Verdict);

    /// Ends with a directory, after all of its entries.
    fn end(
        &self,
        _visit: &Visit,
        _tree: &Directory,
        _verdict: &mut Self::Verdict,
    ) -> Result<(), TreeError> {
        Ok(())
    }
}

/// Visits all directories below the roots; `look` gets what the judge says of each of them, or why it
/// cannot be read, in an order that does not depend on how many are read at once.
///
/// Every directory comes after one that it lies in.
pub(crate) fn walk_trees<S: State, J: Judge>(
    repository: &Repository<S>,
    index: &Index,
    roots: impl Iterator<Item = (SnapshotId, BlobId)>,
    judge: &J,
    cancel: &Cancel,
    mut look: impl FnMut(&Visit, Result<J::Verdict, RepositoryError>),
) -> Result<(), Cancelled> {
    let mut seen = HashSet::new();
    let mut level: Vec<Visit> = roots
        .filter(|(_, tree)| seen.insert(*tree))
        .map(|(snapshot, tree)| Visit { tree, path: PathBuf::from("/"), snapshot })
        .collect();
    while !level.is_empty() {
        let mut next = Vec::new();
        for batch in batches(index, &level, |visit| visit.tree) {
            cancel.check()?;
            let judged = read_each(repository, batch, |opener, visit: &Visit| {
                let tree = read_tree(repository, index, opener, &visit.tree)?;
                Ok(Judged::of(repository, judge, visit, &tree))
            });
            for (visit, judged) in batch.iter().zip(judged) {
                let verdict = judged.and_then(|Judged { below, verdict }| {
                    for (name, tree) in below {
                        if seen.insert(tree) {
                            let path = visit.path.join(name);
                            next.push(Visit { tree, path, snapshot: visit.snapshot });
                        }
                    }
                    verdict
                });
                look(visit, verdict);
            }
        }
        level = next;
    }
    Ok(())
}

/// A directory that was judged.
struct Judged<V> {
    /// The directories in it; of one that is damaged, those before the damage.
    below: Vec<(OsString, BlobId)>,
    verdict: Result<V, RepositoryError>,
}

impl<V: Default> Judged<V> {
    fn of<S: State>(
        repository: &Repository<S>,
        judge: &impl Judge<Verdict = V>,
        visit: &Visit,
        tree: &Directory,
    ) -> Self {
        let (mut below, mut verdict) = (Vec::new(), V::default());
        let looked = tree.for_each(|node| {
            if let NodeKind::Directory { subtree } = node.kind {
                below.push((node.name.clone(), subtree));
            }
            judge.look_at(visit, node, &mut verdict);
        });
        let looked = looked.and_then(|()| judge.end(visit, tree, &mut verdict));
        let looked = looked.map_err(|error| not_a_tree(repository, visit.tree, error));
        Self { below, verdict: looked.map(|()| verdict) }
    }
}

/// Returns how many threads are worth having for work on what is read from a tier: as many as there
/// are processors where reading is work, more where it is waiting.
pub(crate) fn readers<S: State>(repository: &Repository<S>) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let near = repository.store().reads_here();
    repository.store().requests(if near { processors } else { processors.max(READERS_FAR) })
}

/// A directory that was read.
#[derive(Debug)]
pub(crate) enum Directory {
    /// All of it.
    Tree(Tree),
    /// One that is too long to be in memory with all that it says.
    Long(LongBlob<Vec<u8>>),
}

impl Directory {
    /// Shows all nodes, in the order in which they stand; those before a mistake, too.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&Node)) -> Result<(), TreeError> {
        match self {
            Self::Tree(tree) => tree.nodes.iter().for_each(look),
            Self::Long(blob) => {
                let reader = blob.reader().map_err(serde_json::Error::io)?;
                visit_nodes(&mut Deserializer::from_reader(reader), |node| look(&node))?;
            }
        }
        Ok(())
    }

    /// Tells whether the names ascend strictly, as restic wants.
    pub(crate) fn is_ordered(&self) -> Result<bool, TreeError> {
        if let Self::Tree(tree) = self {
            return Ok(tree.is_ordered());
        }
        let (mut last, mut is_ordered) = (OsString::new(), true);
        self.for_each(|node| {
            // Names are never empty, so the first one comes after nothing.
            is_ordered &= last.as_bytes() < node.name.as_bytes();
            last.clone_from(&node.name);
        })?;
        Ok(is_ordered)
    }

    /// Returns all of it, however long.
    pub(crate) fn into_tree(self) -> Result<Tree, TreeError> {
        match self {
            Self::Tree(tree) => Ok(tree),
            Self::Long(blob) => {
                let reader = blob.reader().map_err(serde_json::Error::io)?;
                let mut nodes = Vec::new();
                visit_nodes(&mut Deserializer::from_reader(reader), |node| nodes.push(node))?;
                Ok(Tree { nodes })
            }
        }
    }
}

/// Says that a blob which is whole is no tree.
pub(crate) fn not_a_tree<S: State>(
    repository: &Repository<S>,
    id: BlobId,
    error: TreeError,
) -> RepositoryError {
    repository.corrupt(StoredObject::Blob { kind: BlobKind::Tree, id, at: None }, error)
}

/// Reads directories by their ids, several at a time, each from the first place where it is whole.
pub(crate) fn read_trees<S: State>(
    repository: &Repository<S>,
    index: &Index,
    ids: &[BlobId],
) -> Vec<Result<Directory, RepositoryError>> {
    read_each(repository, ids, |opener, id| read_tree(repository, index, opener, id))
}

/// Reads directories, several at a time; the results come in the order of the items.
pub(crate) fn read_each<S: State, T: Sync, R: Send>(
    repository: &Repository<S>,
    items: &[T],
    read: impl Fn(&mut BlobOpener<'_>, &T) -> Result<R, RepositoryError> + Sync,
) -> Vec<Result<R, RepositoryError>> {
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

/// Reads a directory with a worker's own opener; one that is not long may come from the cache.
pub(crate) fn read_cached(
    repository: &Repository<Indexed>,
    neighbours: Neighbours,
    opener: &mut BlobOpener<'_>,
    id: &BlobId,
) -> Result<Directory, RepositoryError> {
    let place = repository.locate(BlobKind::Tree, id);
    if place.is_some_and(|place| place.plaintext_length() > LONG) {
        return read_tree(repository, &repository.index(), opener, id);
    }
    repository.tree_among(neighbours, opener, id).map(Directory::Tree)
}

/// Reads a directory from the first place where it is whole, never from a cache.
fn read_tree<S: State>(
    repository: &Repository<S>,
    index: &Index,
    opener: &mut BlobOpener<'_>,
    id: &BlobId,
) -> Result<Directory, RepositoryError> {
    let object = StoredObject::Blob { kind: BlobKind::Tree, id: *id, at: None };
    let mut result = Err(repository.corrupt(object, Defect::NotIndexed));
    for location in index.locations(BlobKind::Tree, id) {
        result = read_tree_at(repository, opener, id, &location);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn read_tree_at<S: State>(
    repository: &Repository<S>,
    opener: &mut BlobOpener<'_>,
    id: &BlobId,
    location: &BlobLocation,
) -> Result<Directory, RepositoryError> {
    if let Some(blob) = repository.read_long_tree_at(opener, id, location)? {
        return Ok(Directory::Long(blob));
    }
    let document = repository.read_blob_at(opener, BlobKind::Tree, id, location)?;
    let at = Some((location.pack, location.offset));
    let object = StoredObject::Blob { kind: BlobKind::Tree, id: *id, at };
    let tree = Tree::parse(&document).map_err(|error| repository.corrupt(object, error))?;
    Ok(Directory::Tree(tree))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use lifeboat_model::PackId;

    use super::*;
    use crate::index::{IndexFile, PackEntry};
    use crate::pack::PackedBlob;

    #[test]
    fn batches_are_of_few_directories_and_few_bytes() {
        let id = |number: usize| BlobId::from_bytes([u8::try_from(number % 256).unwrap(); 32]);
        let large = u32::try_from(BATCH_BYTES).unwrap() / 3;
        let blob = |number: usize, length: u32| PackedBlob {
            kind: BlobKind::Tree,
            id: id(number),
            offset: 0,
            length: 40,
            uncompressed_length: NonZeroU32::new(length),
        };
        let blobs = (0..8).map(|number| blob(number, if number == 7 { u32::MAX } else { large }));
        let pack = PackId::from_bytes([1; 32]);
        let entry = PackEntry { id: pack, blobs: blobs.collect(), time: None, size: None };
        let mut index = Index::default();
        index.add(&IndexFile { packs: vec![entry], ..IndexFile::default() });
        let numbers: Vec<usize> = (0..8).collect();
        let lengths = |numbers: &[usize]| -> Vec<usize> {
            batches(&index, numbers, |n| id(*n)).iter().map(|batch| batch.len()).collect()
        };
        assert_eq!(lengths(&numbers), [3, 3, 1, 1], "one that is too long for any comes alone");
        assert_eq!(lengths(&[]), [0; 0]);
        let unknown: Vec<usize> = (0..=BATCH).map(|number| 100 + number % 100).collect();
        assert_eq!(lengths(&unknown), [BATCH, 1]);
    }
}
