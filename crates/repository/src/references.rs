//! What snapshots refer to: every directory and every piece of data, whatever their paths.
//!
//! Only the ids are taken out of each directory, so that this is much faster than reading it.
//!
//! # Invariants
//!
//! - A directory that cannot be read, or that does not say what it refers to, is an error: what is
//!   not known to be used must not be taken for unused.
//! - Each directory is read once, however many snapshots share it.
//!
//! # Limits
//!
//! 40 to 80 bytes for each blob that is referred to, depending on how full the tables are. [`READERS`]
//! threads hold one range of a pack each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use lifeboat_model::{BlobId, Cancel, Event, EventSink, PackId, Stage, Work};
use lifeboat_tiers::ReadRange;
use serde::Deserialize;
use serde_json::Deserializer;
use serde_json::de::Read;

use crate::blob::{BlobKind, BlobLocation, BlobOpener, LONG};
use crate::error::{Defect, RepositoryError, StoredObject};
use crate::index::Index;
use crate::ranges::{Run, runs};
use crate::repository::{Repository, State};
use crate::tree::{TreeError, visit_entries};

/// How many threads read directories: on an object store each mostly waits.
const READERS: usize = 8;

/// How many parts a table of blobs has, each behind a lock of its own.
const SHARDS: usize = 64;

/// Hashes an id by its own bytes, which are a hash already.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

type Shard = HashMap<BlobId, u8, BuildHasherDefault<IdHasher>>;

/// Blobs of one kind, with a number for each.
#[derive(Debug)]
pub(crate) struct BlobTable {
    shards: Vec<Mutex<Shard>>,
}

impl BlobTable {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn place(id: &BlobId) -> usize {
        // Not the bytes that the hash is made of, or each shard would use a part of its room only.
        usize::from(id.as_bytes()[31]) % SHARDS
    }

    /// Adds a blob with the number 0; tells whether it is new.
    pub(crate) fn insert(&self, id: BlobId) -> bool {
        match lock(&self.shards[Self::place(&id)]).entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(0);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    /// Returns the number of a blob, if it is there.
    pub(crate) fn get_mut(&mut self, id: &BlobId) -> Option<&mut u8> {
        let shard = &mut self.shards[Self::place(id)];
        shard.get_mut().unwrap_or_else(PoisonError::into_inner).get_mut(id)
    }

    /// Returns the smallest id whose number is wanted.
    pub(crate) fn first_where(&mut self, wanted: impl Fn(u8) -> bool) -> Option<BlobId> {
        let shards = self.shards.iter_mut();
        let shards = shards.map(|shard| shard.get_mut().unwrap_or_else(PoisonError::into_inner));
        shards.flat_map(|shard| shard.iter()).filter(|(_, n)| wanted(**n)).map(|(id, _)| *id).min()
    }
}

/// The blobs that snapshots refer to.
#[derive(Debug)]
pub(crate) struct References {
    pub data: BlobTable,
    pub trees: BlobTable,
}

impl References {
    pub(crate) fn new() -> Self {
        Self { data: BlobTable::new(), trees: BlobTable::new() }
    }

    pub(crate) const fn table(&mut self, kind: BlobKind) -> &mut BlobTable {
        match kind {
            BlobKind::Data => &mut self.data,
            BlobKind::Tree => &mut self.trees,
        }
    }

    /// Adds all that directories refer to, themselves included; those that are there already have
    /// been looked at. `found` gets each blob that was not known before.
    pub(crate) fn add<S: State>(
        &self,
        repository: &Repository<S>,
        index: &Index,
        roots: impl Iterator<Item = BlobId>,
        found: &(dyn Fn(BlobKind, BlobId) + Sync),
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), RepositoryError> {
        let new = |id: &BlobId| {
            let is_new = self.trees.insert(*id);
            if is_new {
                found(BlobKind::Tree, *id);
            }
            is_new
        };
        let mut level: Vec<BlobId> = roots.filter(new).collect();
        while !level.is_empty() {
            let walk = Walk { repository, index, references: self, found, cancel };
            let count = level.len() as u64;
            level = walk.read_level(level)?;
            let work = Work { items: count, bytes: 0 };
            events.emit(Event::Advanced { stage: Stage::Structure, work });
        }
        Ok(())
    }
}

/// Neighbouring directories of a pack.
struct Batch {
    pack: PackId,
    run: Run,
    trees: Vec<(BlobId, BlobLocation)>,
}

struct Walk<'a, S: State> {
    repository: &'a Repository<S>,
    index: &'a Index,
    references: &'a References,
    found: &'a (dyn Fn(BlobKind, BlobId) + Sync),
    cancel: &'a Cancel,
}

impl<S: State> Walk<'_, S> {
    /// Reads directories; returns those below them that are new.
    fn read_level(&self, level: Vec<BlobId>) -> Result<Vec<BlobId>, RepositoryError> {
        let batches = self.batches(level)?;
        let next = AtomicUsize::new(0);
        let outcome: Mutex<Result<Vec<BlobId>, RepositoryError>> = Mutex::new(Ok(Vec::new()));
        let work = || {
            let mut opener = BlobOpener::new(self.repository.key());
            let mut bytes = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(batch) = batches.get(number) else { break };
                let below = self.read_batch(&mut opener, &mut bytes, batch);
                let mut outcome = lock(&outcome);
                match (&mut *outcome, below) {
                    (Ok(all), Ok(below)) => all.extend(below),
                    (Ok(_), Err(error)) => *outcome = Err(error),
                    (Err(_), _) => break,
                }
            }
        };
        thread::scope(|scope| {
            let readers = self.repository.store().requests(READERS);
            for _ in 0..readers.min(batches.len()) {
                scope.spawn(work);
            }
        });
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts directories that lie together into one request.
    fn batches(&self, level: Vec<BlobId>) -> Result<Vec<Batch>, RepositoryError> {
        let mut places = Vec::with_capacity(level.len());
        for id in level {
            let object = StoredObject::Blob { kind: BlobKind::Tree, id, at: None };
            let location = self.index.get(BlobKind::Tree, &id);
            let missing = || self.repository.corrupt(object, Defect::NotIndexed);
            places.push((id, location.ok_or_else(missing)?));
        }
        places.sort_unstable_by_key(|(_, place)| (place.pack, place.offset));
        let mut batches = Vec::new();
        for trees in places.chunk_by(|(_, a), (_, b)| a.pack == b.pack) {
            let extents = trees.iter().map(|(_, place)| (place.offset, place.length));
            for run in runs(extents) {
                let trees = trees[run.blobs.clone()].to_vec();
                batches.push(Batch { pack: trees[0].1.pack, run, trees });
            }
        }
        Ok(batches)
    }

    fn read_batch(
        &self,
        opener: &mut BlobOpener<'_>,
        bytes: &mut Vec<u8>,
        batch: &Batch,
    ) -> Result<Vec<BlobId>, RepositoryError> {
        self.cancel.check()?;
        let range = ReadRange::Bounded { offset: batch.run.offset, length: batch.run.length };
        if self.repository.store().get_into(&batch.pack, range, bytes).is_err() {
            // What went wrong is told by the single reads that follow.
            bytes.clear();
        }
        let mut below = Vec::new();
        for (id, location) in &batch.trees {
            let tree = match open_in(opener, bytes, batch.run.offset, id, location) {
                Some(Ok(tree)) => tree,
                _ => self.read_alone(opener, id)?,
            };
            self.note(tree, &mut below);
        }
        Ok(below)
    }

    fn note(&self, tree: TreeReferences, below: &mut Vec<BlobId>) {
        for id in tree.data {
            if self.references.data.insert(id) {
                (self.found)(BlobKind::Data, id);
            }
        }
        for id in tree.trees {
            if self.references.trees.insert(id) {
                (self.found)(BlobKind::Tree, id);
                below.push(id);
            }
        }
    }

    /// Reads a directory from the first place where it is whole.
    fn read_alone(
        &self,
        opener: &mut BlobOpener<'_>,
        id: &BlobId,
    ) -> Result<TreeReferences, RepositoryError> {
        let object = |at| StoredObject::Blob { kind: BlobKind::Tree, id: *id, at };
        let mut result = Err(self.repository.corrupt(object(None), Defect::NotIndexed));
        for location in self.index.locations(BlobKind::Tree, id) {
            let at = Some((location.pack, location.offset));
            let document = self.repository.read_blob_at(opener, BlobKind::Tree, id, &location);
            result = document.and_then(|document| {
                let references = TreeReferences::parse(&mut Deserializer::from_slice(&document));
                references.map_err(|e| self.repository.corrupt(object(at), e))
            });
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

/// Opens a directory in bytes that begin at `begin` of its pack.
fn open_in(
    opener: &mut BlobOpener<'_>,
    bytes: &mut [u8],
    begin: u64,
    id: &BlobId,
    location: &BlobLocation,
) -> Option<Result<TreeReferences, TreeError>> {
    let offset = usize::try_from(u64::from(location.offset) - begin).ok()?;
    let sealed = bytes.get_mut(offset..offset + location.length as usize)?;
    if let Some(length) = location.uncompressed_length.filter(|length| length.get() > LONG) {
        let blob = opener.open_long(id, sealed, length).ok()?;
        return Some(TreeReferences::parse(&mut Deserializer::from_reader(blob.reader().ok()?)));
    }
    let document = opener.open_in_place(id, sealed, location.uncompressed_length).ok()?;
    Some(TreeReferences::parse(&mut Deserializer::from_slice(document)))
}

/// What one directory refers to.
#[derive(Debug, Default, PartialEq, Eq)]
struct TreeReferences {
    data: Vec<BlobId>,
    trees: Vec<BlobId>,
}

#[derive(Deserialize)]
struct NodeDocument<'a> {
    #[serde(borrow, default)]
    name: std::borrow::Cow<'a, str>,
    #[serde(borrow, rename = "type", default)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(default)]
    content: Option<Vec<BlobId>>,
    #[serde(default)]
    subtree: Option<BlobId>,
}

impl TreeReferences {
    /// Takes the ids out of a directory. A sort of node that is not known counts by what it has.
    fn parse<'de, R: Read<'de>>(document: &mut Deserializer<R>) -> Result<Self, TreeError> {
        let mut references = Self::default();
        visit_entries(document, |node: NodeDocument<'de>| {
            if node.kind == "file" && node.content.is_none() {
                return Err(TreeError::NoContent { name: node.name.into_owned() });
            }
            if node.kind == "dir" && node.subtree.is_none() {
                return Err(TreeError::NoSubtree { name: node.name.into_owned() });
            }
            references.data.extend(node.content.unwrap_or_default());
            references.trees.extend(node.subtree);
            Ok(())
        })?;
        Ok(references)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_and_their_lack_is_noticed() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let tree = format!(
            r#"{{"nodes":[{{"name":"f\"","type":"file","content":["{a}"],"size":3}},{{"name":"d","type":"dir","content":null,"subtree":"{b}"}},{{"name":"s","type":"symlink","content":null}}]}}"#
        );
        let parse = |text: &str| {
            let read = TreeReferences::parse(&mut Deserializer::from_reader(text.as_bytes()));
            let references = TreeReferences::parse(&mut Deserializer::from_str(text));
            assert_eq!(read.is_ok(), references.is_ok());
            references
        };
        let found = parse(&tree).unwrap();
        assert_eq!(found.data, [a.parse().unwrap()]);
        assert_eq!(found.trees, [b.parse().unwrap()]);
        let none = parse("{\"nodes\":null}").unwrap();
        assert_eq!(none, TreeReferences::default());
        for broken in [
            r#"{"nodes":[{"name":"f","type":"file","content":null}]}"#,
            r#"{"nodes":[{"name":"d","type":"dir"}]}"#,
            r#"{"nodes":[{"name":"f","type":"file","content":["xy"]}]}"#,
            "[]",
        ] {
            assert!(parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_table_knows_what_it_holds() {
        let mut table = BlobTable::new();
        let id = |number| BlobId::from_bytes([number; 32]);
        assert!(table.insert(id(7)) && !table.insert(id(7)) && table.insert(id(3)));
        *table.get_mut(&id(7)).unwrap() = 1;
        assert_eq!(
            (table.first_where(|n| n == 1), table.first_where(|_| true)),
            (Some(id(7)), Some(id(3)))
        );
        assert_eq!(table.get_mut(&id(1)), None);
    }
}
