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
//! One byte for each blob of the index, and [`PENDING_MAX`] ids of data for each thread at most: which
//! blobs those are is found out for many at once. [`READERS`] threads hold one range of a pack each.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use lifeboat_model::{BlobId, Cancel, Event, EventSink, PackId, Stage, Work};
use lifeboat_tiers::ReadRange;
use serde::Deserialize;
use serde_json::Deserializer;
use serde_json::de::Read;

use crate::blob::{BlobKind, BlobLocation, BlobOpener, LONG};
use crate::error::{Defect, RepositoryError, StoredObject};
use crate::index::{Edition, Index};
use crate::ranges::{Run, runs};
use crate::repository::{Repository, State};
use crate::tree::{TreeError, visit_entries};

/// How many threads read directories: on an object store each mostly waits.
const READERS: usize = 8;

/// Pieces of data whose ordinals are looked for together: 16 MB for each thread that does it and for
/// what comes meanwhile.
const PENDING_MAX: usize = 500_000;

/// What no blob is noted with: it is not referred to.
const ABSENT: u8 = 0;

/// Blobs of one kind that are referred to, with a note of each.
#[derive(Debug, Default)]
pub(crate) struct BlobTable {
    /// One more than the note of each blob that the index has, by its ordinal.
    notes: Vec<AtomicU8>,
    /// Those that it has not.
    unlisted: Mutex<BTreeSet<BlobId>>,
}

impl BlobTable {
    /// The largest note.
    pub(crate) const NOTE_MAX: u8 = u8::MAX - 1;

    fn of(ordinals: usize) -> Self {
        let notes = std::iter::repeat_with(|| AtomicU8::new(ABSENT)).take(ordinals).collect();
        Self { notes, unlisted: Mutex::default() }
    }

    /// Adds a blob by its ordinal, with the note 0; tells whether it is new.
    pub(crate) fn insert(&self, id: BlobId, ordinal: Option<u32>) -> bool {
        match ordinal.and_then(|ordinal| self.notes.get(ordinal as usize)) {
            Some(note) => note.fetch_max(1, Ordering::Relaxed) == ABSENT,
            None => lock(&self.unlisted).insert(id),
        }
    }

    /// Returns the note of a blob, if it is there.
    pub(crate) fn note(&self, ordinal: u32) -> Option<u8> {
        self.notes.get(ordinal as usize)?.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Changes the note of a blob that is there.
    pub(crate) fn set_note(&mut self, ordinal: u32, note: u8) {
        if let Some(there) = self.notes.get_mut(ordinal as usize) {
            *there.get_mut() = note.min(Self::NOTE_MAX) + 1;
        }
    }

    /// Tells whether the note of any blob is wanted.
    pub(crate) fn any(&self, wanted: impl Fn(u8) -> bool) -> bool {
        let notes =
            self.notes.iter().filter_map(|note| note.load(Ordering::Relaxed).checked_sub(1));
        notes.into_iter().any(wanted)
    }

    /// Returns the smallest id that the index does not have.
    pub(crate) fn first_unlisted(&self) -> Option<BlobId> {
        lock(&self.unlisted).first().copied()
    }
}

/// The blobs that snapshots refer to.
#[derive(Debug)]
pub(crate) struct References {
    pub data: BlobTable,
    pub trees: BlobTable,
    edition: Edition,
    /// Pieces of data that were met and not looked for yet.
    pending: Mutex<Vec<BlobId>>,
}

impl References {
    /// Makes an empty one, for blobs of this index.
    pub(crate) fn new(index: &Index) -> Self {
        let table = |kind| BlobTable::of(index.ordinals(kind));
        let (data, trees) = (table(BlobKind::Data), table(BlobKind::Tree));
        Self { data, trees, edition: index.edition(), pending: Mutex::default() }
    }

    /// Makes an empty one for this many ordinals.
    #[cfg(test)]
    pub(crate) fn of(ordinals: usize) -> Self {
        let (data, trees) = (BlobTable::of(ordinals), BlobTable::of(ordinals));
        Self { data, trees, edition: Edition::default(), pending: Mutex::default() }
    }

    pub(crate) const fn table(&mut self, kind: BlobKind) -> &mut BlobTable {
        match kind {
            BlobKind::Data => &mut self.data,
            BlobKind::Tree => &mut self.trees,
        }
    }

    /// Adds pieces of data, of which many are looked for at once.
    pub(crate) fn add_data(
        &self,
        index: &Index,
        ids: impl IntoIterator<Item = BlobId>,
        found: &(dyn Fn(BlobKind, BlobId) + Sync),
    ) -> Result<(), RepositoryError> {
        let mut pending = lock(&self.pending);
        pending.extend(ids);
        if pending.len() < PENDING_MAX {
            return Ok(());
        }
        drop(pending);
        self.end_data(index, found)
    }

    /// Looks for the data that was added.
    pub(crate) fn end_data(
        &self,
        index: &Index,
        found: &(dyn Fn(BlobKind, BlobId) + Sync),
    ) -> Result<(), RepositoryError> {
        let ids = std::mem::take(&mut *lock(&self.pending));
        index.ordinals_of(BlobKind::Data, ids, |id, ordinal| {
            if self.data.insert(id, ordinal) {
                found(BlobKind::Data, id);
            }
        })
    }

    /// Adds all that directories refer to, themselves included; those that are there already have
    /// been looked at, unless the index changed. `found` gets each blob that was not known before.
    pub(crate) fn add<S: State>(
        &mut self,
        repository: &Repository<S>,
        index: &Index,
        roots: impl Iterator<Item = BlobId>,
        found: &(dyn Fn(BlobKind, BlobId) + Sync),
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), RepositoryError> {
        if self.edition != index.edition() {
            *self = Self::new(index);
        }
        let references = &*self;
        let new = |id: &BlobId| {
            let is_new = references.trees.insert(*id, index.ordinal(BlobKind::Tree, id));
            if is_new {
                found(BlobKind::Tree, *id);
            }
            is_new
        };
        let mut level: Vec<BlobId> = roots.filter(new).collect();
        while !level.is_empty() {
            let walk = Walk { repository, index, references, found, cancel };
            let count = level.len() as u64;
            level = walk.read_level(level)?;
            let work = Work { items: count, bytes: 0 };
            events.emit(Event::Advanced { stage: Stage::Structure, work });
        }
        references.end_data(index, found)
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
            self.note(tree, &mut below)?;
        }
        Ok(below)
    }

    fn note(&self, tree: TreeReferences, below: &mut Vec<BlobId>) -> Result<(), RepositoryError> {
        for id in tree.trees {
            if self.references.trees.insert(id, self.index.ordinal(BlobKind::Tree, &id)) {
                (self.found)(BlobKind::Tree, id);
                below.push(id);
            }
        }
        self.references.add_data(self.index, tree.data, self.found)
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
        let mut table = BlobTable::of(8);
        let id = |number| BlobId::from_bytes([number; 32]);
        assert!(table.insert(id(7), Some(7)) && !table.insert(id(7), Some(7)));
        assert!(
            table.insert(id(9), None) && !table.insert(id(9), None) && table.insert(id(3), None)
        );
        assert_eq!((table.note(7), table.note(6), table.note(8)), (Some(0), None, None));
        table.set_note(7, u8::MAX);
        assert_eq!(table.note(7), Some(BlobTable::NOTE_MAX));
        assert!(table.any(|note| note == BlobTable::NOTE_MAX) && !table.any(|note| note == 0));
        assert!(!table.insert(id(7), Some(7)));
        assert_eq!(table.first_unlisted(), Some(id(3)));
    }
}
