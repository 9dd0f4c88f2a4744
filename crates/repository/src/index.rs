//! Index files, and the index in memory that is made from them.
//!
//! An [`IndexFile`] is what is stored: which blobs lie in which packs. [`Index`] answers where a
//! blob is; it holds 48 bytes a blob, so that a repository of 1 TiB takes about 34 MB.
//!
//! # Invariants
//!
//! - All blobs of a pack stand in one entry of one file (restic refuses to load anything else).
//! - Packs that rustic marked as `packs_to_delete` are kept when a file is written back, and no
//!   blob in them is ever found here: they may be gone at any time.
//! - A blob that is stored in several packs is found in each of them.
//!
//! # Crash consistency
//!
//! An index file is stored after the packs that it lists. If it never is, its packs are orphans
//! that `restic prune` removes; nothing refers to them.
//!
//! Sources: restic `doc/design.rst`, section "Indexing"; restic
//! `internal/repository/index/index.go`; rustic_core `repofile/indexfile.rs`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroU32;

use lifeboat_model::{BlobId, IndexId, PackId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::blob::{BlobKind, BlobLocation};
use crate::error::RepositoryError;
use crate::pack::{FinishedPack, PackedBlob};

/// How many blobs go into one index file before the next is begun; as restic does, so that a file
/// stays near 10 MB.
pub const BLOBS_PER_FILE_MAX: usize = 50_000;

/// One pack in an index file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackEntry {
    /// The pack.
    pub id: PackId,
    /// All of its blobs.
    #[serde(deserialize_with = "null_is_empty")]
    pub blobs: Vec<PackedBlob>,
    /// When rustic marked or made it; kept as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The size of the pack in bytes, where rustic wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
}

impl From<&FinishedPack> for PackEntry {
    fn from(pack: &FinishedPack) -> Self {
        Self { id: pack.id, blobs: pack.blobs.clone(), time: None, size: None }
    }
}

/// An index file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFile {
    /// Files that this one replaces; old versions of restic wrote it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub supersedes: Vec<IndexId>,
    /// The packs.
    #[serde(deserialize_with = "null_is_empty")]
    pub packs: Vec<PackEntry>,
    /// Packs that rustic will delete.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub packs_to_delete: Vec<PackEntry>,
}

impl IndexFile {
    /// Parses an opened and decompressed index file.
    pub fn parse(document: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(document)
    }

    /// Writes the file as it is to be compressed and sealed.
    pub fn to_document(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an index file is plain data")
    }

    /// Returns how many blobs the file lists.
    pub fn blob_count(&self) -> usize {
        self.packs.iter().map(|pack| pack.blobs.len()).sum()
    }
}

fn null_is_empty<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// How a blob stands in an index file.
#[derive(Serialize, Deserialize)]
struct BlobDocument {
    id: BlobId,
    #[serde(rename = "type")]
    kind: BlobKind,
    offset: u32,
    length: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    uncompressed_length: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Serialize for PackedBlob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let document = BlobDocument {
            id: self.id,
            kind: self.kind,
            offset: self.offset,
            length: self.length,
            uncompressed_length: self.uncompressed_length.map_or(0, NonZeroU32::get),
        };
        document.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PackedBlob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = BlobDocument::deserialize(deserializer)?;
        Ok(Self {
            kind: document.kind,
            id: document.id,
            offset: document.offset,
            length: document.length,
            uncompressed_length: NonZeroU32::new(document.uncompressed_length),
        })
    }
}

/// A blob in memory: 48 bytes, ordered by id, then pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    id: BlobId,
    pack: u32,
    offset: u32,
    length: u32,
    uncompressed_length: u32,
}

/// The blobs of one kind, as sorted runs, each at least twice as long as the next; so there are few
/// to look into, and each slot is merged into a longer run only a few times.
#[derive(Debug, Default)]
struct Table {
    runs: Vec<Vec<Slot>>,
}

impl Table {
    fn insert(&mut self, mut run: Vec<Slot>) {
        run.sort_unstable();
        run.dedup();
        run.retain(|slot| self.runs.iter().all(|known| known.binary_search(slot).is_err()));
        if run.is_empty() {
            return;
        }
        while let Some(longer) = self.runs.pop_if(|last| last.len() < 2 * run.len()) {
            run = merge(longer, run);
        }
        self.runs.push(run);
    }

    fn retain(&mut self, keep: impl Fn(&Slot) -> bool) {
        // Put in anew, so that the runs stay few.
        for mut run in std::mem::take(&mut self.runs) {
            run.retain(&keep);
            self.insert(run);
        }
    }

    fn find(&self, id: &BlobId) -> impl Iterator<Item = &Slot> {
        self.runs.iter().flat_map(move |run| {
            let begin = run.partition_point(|slot| slot.id < *id);
            run[begin..].iter().take_while(move |slot| slot.id == *id)
        })
    }

    fn len(&self) -> usize {
        self.runs.iter().map(Vec::len).sum()
    }
}

/// Merges two sorted runs.
fn merge(a: Vec<Slot>, b: Vec<Slot>) -> Vec<Slot> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        merged.extend(if x < y { a.next() } else { b.next() });
    }
    merged.extend(a);
    merged.extend(b);
    merged
}

/// A pack with all its blobs in the order of their offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack.
    pub id: PackId,
    /// Its blobs.
    pub blobs: Vec<PackedBlob>,
}

/// Where every blob of a repository lies.
#[derive(Debug, Default)]
pub struct Index {
    packs: Vec<PackId>,
    numbers: HashMap<PackId, u32>,
    data: Table,
    trees: Table,
}

impl Index {
    /// Adds what an index file lists.
    pub fn add(&mut self, file: &IndexFile) {
        let mut data = Vec::new();
        let mut trees = Vec::new();
        for entry in &file.packs {
            let pack = self.number(entry.id);
            for blob in &entry.blobs {
                let run = match blob.kind {
                    BlobKind::Data => &mut data,
                    BlobKind::Tree => &mut trees,
                };
                run.push(Slot {
                    id: blob.id,
                    pack,
                    offset: blob.offset,
                    length: blob.length,
                    uncompressed_length: blob.uncompressed_length.map_or(0, NonZeroU32::get),
                });
            }
        }
        data.shrink_to_fit();
        trees.shrink_to_fit();
        self.data.insert(data);
        self.trees.insert(trees);
    }

    /// Forgets what lies in these packs, until a file that lists them is added again.
    pub fn leave_out(&mut self, packs: &BTreeSet<PackId>) {
        let numbers = packs.iter().filter_map(|pack| self.numbers.get(pack).copied());
        let numbers: HashSet<u32> = numbers.collect();
        for table in [&mut self.data, &mut self.trees] {
            table.retain(|slot| !numbers.contains(&slot.pack));
        }
    }

    /// Returns where a blob lies; the first of several places.
    pub fn get(&self, kind: BlobKind, id: &BlobId) -> Option<BlobLocation> {
        self.locations(kind, id).next()
    }

    /// Tells whether a blob is there.
    pub fn contains(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.table(kind).find(id).next().is_some()
    }

    /// Returns every place where a blob lies.
    pub fn locations(&self, kind: BlobKind, id: &BlobId) -> impl Iterator<Item = BlobLocation> {
        self.table(kind).find(id).map(|slot| self.location(slot))
    }

    /// Returns all blobs of a kind and where they lie, in no particular order.
    pub fn blobs(&self, kind: BlobKind) -> impl Iterator<Item = (BlobId, BlobLocation)> {
        self.table(kind).runs.iter().flatten().map(|slot| (slot.id, self.location(slot)))
    }

    /// Returns how many blobs of a kind there are.
    pub fn len(&self, kind: BlobKind) -> usize {
        self.table(kind).len()
    }

    /// Tells whether there is no blob at all.
    pub fn is_empty(&self) -> bool {
        self.data.runs.is_empty() && self.trees.runs.is_empty()
    }

    /// Returns all packs, in no particular order; also those that are left out.
    pub fn packs(&self) -> impl Iterator<Item = PackId> {
        self.packs.iter().copied()
    }

    /// Shows what each pack holds, one pack after the other in no particular order; packs that are
    /// left out hold nothing.
    ///
    /// Takes a bounded amount of memory however many blobs there are.
    pub fn for_each_pack<E: From<RepositoryError>>(
        &self,
        visit: impl FnMut(IndexedPack) -> Result<(), E>,
    ) -> Result<(), E> {
        self.by_pack().into_iter().try_for_each(visit)
    }

    /// Returns what each pack holds; it takes about 64 bytes a blob.
    pub fn by_pack(&self) -> Vec<IndexedPack> {
        let mut packs: Vec<IndexedPack> =
            self.packs.iter().map(|id| IndexedPack { id: *id, blobs: Vec::new() }).collect();
        for (kind, table) in [(BlobKind::Data, &self.data), (BlobKind::Tree, &self.trees)] {
            for slot in table.runs.iter().flatten() {
                packs[slot.pack as usize].blobs.push(PackedBlob {
                    kind,
                    id: slot.id,
                    offset: slot.offset,
                    length: slot.length,
                    uncompressed_length: NonZeroU32::new(slot.uncompressed_length),
                });
            }
        }
        for pack in &mut packs {
            pack.blobs.sort_unstable_by_key(|blob| blob.offset);
        }
        packs
    }

    fn number(&mut self, pack: PackId) -> u32 {
        *self.numbers.entry(pack).or_insert_with(|| {
            self.packs.push(pack);
            u32::try_from(self.packs.len() - 1).expect("4 billion packs do not fit into memory")
        })
    }

    const fn table(&self, kind: BlobKind) -> &Table {
        match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        }
    }

    fn location(&self, slot: &Slot) -> BlobLocation {
        BlobLocation {
            pack: self.packs[slot.pack as usize],
            offset: slot.offset,
            length: slot.length,
            uncompressed_length: NonZeroU32::new(slot.uncompressed_length),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn pack_id(number: u8) -> PackId {
        PackId::from_bytes([number; 32])
    }

    fn blob_id(number: u8) -> BlobId {
        BlobId::from_bytes([number; 32])
    }

    fn blob(kind: BlobKind, number: u8, offset: u32) -> PackedBlob {
        let uncompressed_length = NonZeroU32::new(u32::from(number % 3));
        PackedBlob { kind, id: blob_id(number), offset, length: 40, uncompressed_length }
    }

    fn file(packs: Vec<(u8, Vec<PackedBlob>)>) -> IndexFile {
        let packs = packs.into_iter().map(|(id, blobs)| PackEntry {
            id: pack_id(id),
            blobs,
            time: None,
            size: None,
        });
        IndexFile { packs: packs.collect(), ..IndexFile::default() }
    }

    #[test]
    fn a_slot_takes_48_bytes() {
        assert_eq!(size_of::<Slot>(), 48);
    }

    #[test]
    fn a_file_is_written_as_restic_does() {
        let file = file(vec![(9, vec![blob(BlobKind::Data, 1, 0), blob(BlobKind::Tree, 3, 40)])]);
        let (pack, one, three) = (pack_id(9).to_hex(), blob_id(1).to_hex(), blob_id(3).to_hex());
        assert_eq!(
            String::from_utf8(file.to_document()).unwrap(),
            format!(
                r#"{{"packs":[{{"id":"{pack}","blobs":[{{"id":"{one}","type":"data","offset":0,"length":40,"uncompressed_length":1}},{{"id":"{three}","type":"tree","offset":40,"length":40}}]}}]}}"#
            )
        );
    }

    #[test]
    fn packs_that_rustic_will_delete_are_kept_and_never_used() {
        let (pack, one) = (pack_id(9).to_hex(), blob_id(1).to_hex());
        let entry = format!(
            r#"{{"id":"{pack}","blobs":[{{"id":"{one}","type":"data","offset":0,"length":40}}],"time":"2024-10-23T02:00:00+02:00","size":113}}"#
        );
        let document = format!(r#"{{"packs":[],"packs_to_delete":[{entry}]}}"#);
        let file = IndexFile::parse(document.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(file.to_document()).unwrap(), document);
        let mut index = Index::default();
        index.add(&file);
        assert!(!index.contains(BlobKind::Data, &blob_id(1)));
        assert!(index.packs().next().is_none() && index.is_empty());
    }

    #[test]
    fn a_blob_is_found_in_every_pack_that_has_it() {
        let mut index = Index::default();
        index.add(&file(vec![(9, vec![blob(BlobKind::Data, 1, 0)])]));
        index.add(&file(vec![(8, vec![blob(BlobKind::Data, 1, 0), blob(BlobKind::Tree, 2, 40)])]));
        // Said twice, as two indexes may after an interrupted repair.
        index.add(&file(vec![(9, vec![blob(BlobKind::Data, 1, 0)])]));
        let mut packs: Vec<PackId> =
            index.locations(BlobKind::Data, &blob_id(1)).map(|l| l.pack).collect();
        packs.sort_unstable();
        assert_eq!(packs, [pack_id(8), pack_id(9)]);
        assert_eq!(index.get(BlobKind::Tree, &blob_id(1)), None);
        assert_eq!((index.len(BlobKind::Data), index.len(BlobKind::Tree)), (2, 1));
        let by_pack = index.by_pack();
        assert_eq!(by_pack.len(), 2);
        assert_eq!(by_pack[1].blobs.len(), 2);
        assert_eq!(by_pack[1].blobs[1], blob(BlobKind::Tree, 2, 40));
    }

    #[test]
    fn what_is_left_out_is_found_nowhere_else_than_in_other_packs() {
        let mut index = Index::default();
        let both = [blob(BlobKind::Data, 1, 0), blob(BlobKind::Tree, 2, 40)];
        index.add(&file(vec![(9, both.to_vec())]));
        index.add(&file(vec![(8, vec![blob(BlobKind::Data, 1, 0)])]));
        index.leave_out(&BTreeSet::from([pack_id(9), pack_id(7)]));
        assert_eq!(index.get(BlobKind::Data, &blob_id(1)).unwrap().pack, pack_id(8));
        assert!(!index.contains(BlobKind::Tree, &blob_id(2)));
        index.leave_out(&BTreeSet::from([pack_id(8)]));
        assert!(index.is_empty());
        // Stored again, it is there again.
        index.add(&file(vec![(9, both.to_vec())]));
        assert_eq!(index.get(BlobKind::Tree, &blob_id(2)).unwrap().pack, pack_id(9));
    }

    #[test]
    fn there_are_few_runs() {
        let mut table = Table::default();
        for number in 0..1000_u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_le_bytes());
            let id = BlobId::from_bytes(id);
            table.insert(vec![Slot { id, pack: 0, offset: 0, length: 0, uncompressed_length: 0 }]);
        }
        assert_eq!(table.len(), 1000);
        assert!(table.runs.len() <= 10, "{}", table.runs.len());
        assert!(table.runs.iter().all(|run| run.is_sorted_by(|a, b| a < b)));
    }

    fn any_blob() -> impl Strategy<Value = PackedBlob> {
        (any::<bool>(), any::<u8>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
            |(tree, number, offset, length, uncompressed)| PackedBlob {
                kind: if tree { BlobKind::Tree } else { BlobKind::Data },
                id: blob_id(number),
                offset,
                length,
                uncompressed_length: NonZeroU32::new(uncompressed),
            },
        )
    }

    fn any_file() -> impl Strategy<Value = IndexFile> {
        vec((any::<u8>(), vec(any_blob(), 0..30)), 0..6).prop_map(file)
    }

    proptest! {
        #[test]
        fn a_file_reads_as_it_was_written(file in any_file()) {
            prop_assert_eq!(IndexFile::parse(&file.to_document()).unwrap(), file);
        }

        #[test]
        fn the_index_finds_what_a_map_would(files in vec(any_file(), 0..6)) {
            let mut index = Index::default();
            let mut map: HashMap<(BlobKind, BlobId), Vec<BlobLocation>> = HashMap::new();
            for file in &files {
                index.add(file);
                for pack in &file.packs {
                    for blob in &pack.blobs {
                        let places = map.entry((blob.kind, blob.id)).or_default();
                        if !places.contains(&blob.location(pack.id)) {
                            places.push(blob.location(pack.id));
                        }
                    }
                }
            }
            for kind in [BlobKind::Data, BlobKind::Tree] {
                for number in 0..=255 {
                    let id = blob_id(number);
                    let found: Vec<_> = index.locations(kind, &id).collect();
                    let expected = map.remove(&(kind, id)).unwrap_or_default();
                    prop_assert_eq!(found.len(), expected.len());
                    prop_assert!(expected.iter().all(|place| found.contains(place)));
                }
            }
        }

        #[test]
        fn no_document_makes_the_parser_panic(text in r#"[\[\]{}":,a-f0-9 packsblobs]{0,200}"#) {
            let _ = IndexFile::parse(text.as_bytes());
        }
    }
}
