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

use std::collections::HashMap;
use std::num::NonZeroU32;

use lifeboat_model::{BlobId, IndexId, PackId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::blob::{BlobKind, BlobLocation};
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
        if run.is_empty() {
            return;
        }
        run.sort_unstable();
        run.dedup();
        while let Some(longer) = self.runs.pop_if(|last| last.len() < 2 * run.len()) {
            run = merge(longer, run);
        }
        self.runs.push(run);
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

/// Merges two sorted runs and drops what stands in both.
fn merge(a: Vec<Slot>, b: Vec<Slot>) -> Vec<Slot> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        if x == y {
            b.next();
        } else {
            merged.extend(if x < y { a.next() } else { b.next() });
        }
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

    /// Returns all packs, in no particular order.
    pub fn packs(&self) -> &[PackId] {
        &self.packs
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
