//! Index files as they are stored: which blobs lie in which packs.
//!
//! # Invariants
//!
//! - All blobs of a pack stand in one entry of one file (restic refuses to load anything else).
//! - Packs that rustic marked as `packs_to_delete` are kept when a file is written back, and are
//!   never shown by [`visit_packs`]: they may be gone at any time.
//!
//! Sources: restic `doc/design.rst`, section "Indexing"; restic
//! `internal/repository/index/index.go`; rustic_core `repofile/indexfile.rs`.

use std::fmt;
use std::num::NonZeroU32;

use lifeboat_model::{BlobId, IndexId, PackId};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::blob::BlobKind;
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

/// What an index file says of a pack, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackDigest {
    /// The pack.
    pub(crate) pack: PackId,
    /// The hash of its blobs in the order of their offsets.
    pub(crate) blobs: [u8; 32],
}

impl PackDigest {
    /// Sums an entry up.
    pub(super) fn of(entry: &PackEntry) -> Self {
        let mut blobs: Vec<&PackedBlob> = entry.blobs.iter().collect();
        blobs.sort_by_key(|blob| blob.offset);
        let mut hash = Sha256::new();
        for blob in blobs {
            let uncompressed_length = blob.uncompressed_length.map_or(0, NonZeroU32::get);
            hash.update([blob.kind as u8]);
            hash.update(blob.id.as_bytes());
            for number in [blob.offset, blob.length, uncompressed_length] {
                hash.update(number.to_le_bytes());
            }
        }
        Self { pack: entry.id, blobs: hash.finalize().into() }
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

/// Shows the packs of an opened and decompressed index file one by one, so that a large file is
/// never held as structures.
///
/// Packs that stand before a mistake in the document are shown, too.
pub(super) fn visit_packs(
    document: &[u8],
    visit: impl FnMut(PackEntry),
) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(document);
    deserializer.deserialize_map(FileVisitor(visit))?;
    deserializer.end()
}

/// The fields of an index file.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum FileField {
    Packs,
    #[serde(other)]
    Other,
}

struct FileVisitor<F>(F);

impl<'de, F: FnMut(PackEntry)> Visitor<'de> for FileVisitor<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an index file")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        let mut has_packs = false;
        while let Some(field) = fields.next_key()? {
            match field {
                FileField::Packs if has_packs => return Err(A::Error::duplicate_field("packs")),
                FileField::Packs => {
                    has_packs = true;
                    fields.next_value_seed(PacksVisitor(&mut self.0))?;
                }
                FileField::Other => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        if has_packs { Ok(()) } else { Err(A::Error::missing_field("packs")) }
    }
}

struct PacksVisitor<'v, F>(&'v mut F);

impl<'de, F: FnMut(PackEntry)> DeserializeSeed<'de> for PacksVisitor<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(PackEntry)> Visitor<'de> for PacksVisitor<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of packs")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut packs: A) -> Result<(), A::Error> {
        while let Some(pack) = packs.next_element()? {
            (self.0)(pack);
        }
        Ok(())
    }
}
