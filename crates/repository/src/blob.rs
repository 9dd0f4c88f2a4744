//! Blobs: what packs are made of. A worker seals them with a [`BlobSealer`] and opens them with a
//! [`BlobOpener`]; both keep their zstd context from blob to blob.
//!
//! # Invariants
//!
//! - A blob's id is the SHA-256 of its plaintext, computed here and nowhere else.
//! - What a [`BlobOpener`] hands out hashes to the id that was asked for.
//! - A tree is always compressed; data is stored raw where compressing would not make it smaller.
//!
//! # Limits
//!
//! A blob is at most [`BLOB_LENGTH_MAX`] bytes and never empty.
//!
//! Sources: restic `doc/design.rst`, section "Pack Format"; restic
//! `internal/repository/repository.go` (`saveAndEncrypt`).

mod long;
mod stream;

use std::fmt;
use std::num::NonZeroU32;

use lifeboat_model::{BlobId, PackId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::compress::{Compression, Compressor, Decompressor};
use crate::crypto::{MasterKey, OVERHEAD};
use crate::error::{Defect, RepositoryError};
use crate::profile::{Activity, Meter};

pub(crate) use long::{LONG, LongBlob};
pub(crate) use stream::{BlobStream, StreamedBlob};

/// The longest blob, in bytes: offsets and lengths in a pack are 32 bits wide, and the seal and the
/// worst case of zstd come on top.
pub const BLOB_LENGTH_MAX: usize = (u32::MAX - (32 << 20)) as usize;

/// What a blob holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    /// A piece of a file.
    Data,
    /// A directory.
    Tree,
}

impl fmt::Display for BlobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Data => "data",
            Self::Tree => "tree",
        })
    }
}

/// Where a blob lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobLocation {
    /// The pack.
    pub pack: PackId,
    /// Where its sealed bytes begin in the pack.
    pub offset: u32,
    /// How many sealed bytes there are.
    pub length: u32,
    /// The length before compression, in bytes; absent if the blob is not compressed.
    pub uncompressed_length: Option<NonZeroU32>,
}

impl BlobLocation {
    /// Returns how many bytes the blob has once it is opened.
    pub fn plaintext_length(&self) -> u32 {
        plaintext_length(self.length, self.uncompressed_length)
    }
}

/// Returns how many bytes a blob has once it is opened.
pub fn plaintext_length(length: u32, uncompressed_length: Option<NonZeroU32>) -> u32 {
    let overhead = u32::try_from(OVERHEAD).expect("it is 32");
    uncompressed_length.map_or_else(|| length.saturating_sub(overhead), NonZeroU32::get)
}

/// Returns the id of a blob with this plaintext.
pub fn blob_id(plaintext: &[u8]) -> BlobId {
    BlobId::from_bytes(Sha256::digest(plaintext).into())
}

/// A blob, ready to be put into a pack.
#[derive(Debug, Clone)]
pub struct SealedBlob {
    /// What it holds.
    pub kind: BlobKind,
    /// Its id.
    pub id: BlobId,
    /// Its sealed bytes.
    pub bytes: Vec<u8>,
    /// The length before compression, in bytes; absent if the blob is not compressed.
    pub uncompressed_length: Option<NonZeroU32>,
}

/// A blob in the form in which it is stored, but for the seal.
#[derive(Debug, Clone, Copy)]
pub struct PreparedBlob<'a> {
    /// What it holds.
    pub kind: BlobKind,
    /// Its id.
    pub id: BlobId,
    /// What is to be sealed: its bytes, compressed or as they are.
    pub content: &'a [u8],
    /// The length before compression, in bytes; absent if the blob is not compressed.
    pub uncompressed_length: Option<NonZeroU32>,
}

impl PreparedBlob<'_> {
    /// Returns how many bytes it has once it is sealed.
    pub const fn sealed_length(&self) -> usize {
        self.content.len() + OVERHEAD
    }
}

/// Compresses and seals blobs.
#[derive(Debug)]
pub struct BlobSealer<'k> {
    key: &'k MasterKey,
    compressor: Compressor,
    meter: Meter,
}

impl<'k> BlobSealer<'k> {
    /// Makes a sealer; one a worker.
    pub fn new(key: &'k MasterKey, compression: Compression) -> Self {
        Self { key, compressor: Compressor::new(compression), meter: Meter::off() }
    }

    /// Measures what it does with `meter`.
    #[must_use]
    pub fn measured_by(self, meter: Meter) -> Self {
        Self { meter, ..self }
    }

    /// Returns what it is measured by.
    pub const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Compresses and seals a blob whose id is known.
    pub fn seal(
        &mut self,
        kind: BlobKind,
        id: BlobId,
        plaintext: &[u8],
    ) -> Result<SealedBlob, RepositoryError> {
        let (key, meter) = (self.key, self.meter.clone());
        let PreparedBlob { content, uncompressed_length, .. } =
            self.prepare(kind, id, plaintext)?;
        let bytes = meter.measure(Activity::Seal, content.len(), || key.seal(content));
        Ok(SealedBlob { kind, id, bytes, uncompressed_length })
    }

    /// Compresses a blob whose id is known, or leaves it as it is where that is better.
    pub fn prepare<'a>(
        &'a mut self,
        kind: BlobKind,
        id: BlobId,
        plaintext: &'a [u8],
    ) -> Result<PreparedBlob<'a>, RepositoryError> {
        if plaintext.len() > BLOB_LENGTH_MAX {
            return Err(RepositoryError::TooLarge {
                what: "a blob",
                length: plaintext.len() as u64,
                limit: BLOB_LENGTH_MAX as u64,
            });
        }
        let length = u32::try_from(plaintext.len()).expect("checked against the limit");
        // A length of zero could not be told from none, so what is empty is not compressed.
        let compressed = NonZeroU32::new(length).and_then(|length| {
            let compressor = &mut self.compressor;
            let compressed =
                self.meter.measure(Activity::Compress, plaintext.len(), || match kind {
                    BlobKind::Tree => Some(compressor.compress(plaintext)),
                    BlobKind::Data => compressor.shorten(plaintext),
                });
            compressed.map(|content| (content, length))
        });
        Ok(match compressed {
            Some((content, length)) => {
                PreparedBlob { kind, id, content, uncompressed_length: Some(length) }
            }
            None => PreparedBlob { kind, id, content: plaintext, uncompressed_length: None },
        })
    }
}

/// Opens, decompresses and verifies blobs.
#[derive(Debug)]
pub struct BlobOpener<'k> {
    key: &'k MasterKey,
    decompressor: Decompressor,
    /// What was decompressed last; its memory is used again for the next blob.
    decompressed: Vec<u8>,
}

impl<'k> BlobOpener<'k> {
    /// Makes an opener; one a worker.
    pub fn new(key: &'k MasterKey) -> Self {
        Self { key, decompressor: Decompressor::new(), decompressed: Vec::new() }
    }

    /// Opens the sealed bytes of the blob `id`; their content is of no use afterwards.
    pub fn open(
        &mut self,
        id: &BlobId,
        sealed: &mut [u8],
        uncompressed_length: Option<NonZeroU32>,
    ) -> Result<Vec<u8>, Defect> {
        if uncompressed_length.is_none() {
            return Ok(self.open_in_place(id, sealed, None)?.to_vec());
        }
        let result = self.open_in_place(id, sealed, uncompressed_length).map(drop);
        let plaintext = std::mem::take(&mut self.decompressed);
        result.map(|()| plaintext)
    }

    /// Opens the sealed bytes of the blob `id` where they lie, or into memory that the next blob gets
    /// again: for whoever opens one after the other and keeps none.
    pub fn open_in_place<'b>(
        &'b mut self,
        id: &BlobId,
        sealed: &'b mut [u8],
        uncompressed_length: Option<NonZeroU32>,
    ) -> Result<&'b [u8], Defect> {
        let opened = self.key.open_in_place(sealed)?;
        let plaintext: &[u8] = match uncompressed_length {
            None => opened,
            Some(length) => {
                let buffer = &mut self.decompressed;
                self.decompressor.decompress_into(opened, length.get(), buffer)?;
                buffer
            }
        };
        let actual: [u8; 32] = Sha256::digest(plaintext).into();
        if actual == *id.as_bytes() { Ok(plaintext) } else { Err(Defect::Hash { actual }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let blocks = (0_u64..).flat_map(|i| Sha256::digest(i.to_le_bytes()));
        blocks.take(length).collect()
    }

    fn round_trip(kind: BlobKind, compression: Compression, plaintext: &[u8]) -> SealedBlob {
        let key = MasterKey::generate();
        let id = blob_id(plaintext);
        let sealed = BlobSealer::new(&key, compression).seal(kind, id, plaintext).unwrap();
        let mut bytes = sealed.bytes.clone();
        let mut reader = BlobOpener::new(&key);
        let opened = reader.open(&id, &mut bytes, sealed.uncompressed_length);
        assert_eq!(opened.unwrap(), plaintext);
        for _ in 0..2 {
            let mut bytes = sealed.bytes.clone();
            let opened = reader.open_in_place(&id, &mut bytes, sealed.uncompressed_length);
            assert_eq!(opened.unwrap(), plaintext);
        }
        sealed
    }

    #[test]
    fn text_is_compressed_and_noise_is_not() {
        let text = round_trip(BlobKind::Data, Compression::Auto, &[b'a'; 5000]);
        assert_eq!(text.uncompressed_length, NonZeroU32::new(5000));
        assert!(text.bytes.len() < 200);
        let noise = round_trip(BlobKind::Data, Compression::Auto, &noise(5000));
        assert_eq!(noise.uncompressed_length, None);
        assert_eq!(noise.bytes.len(), 5000 + OVERHEAD);
        for length in 0..3 {
            round_trip(BlobKind::Data, Compression::Max, &vec![1; length]);
        }
    }

    #[test]
    fn trees_are_compressed_whatever_the_setting() {
        let tree = round_trip(BlobKind::Tree, Compression::Off, &noise(1));
        assert_eq!(tree.uncompressed_length, NonZeroU32::new(1));
        let data = round_trip(BlobKind::Data, Compression::Off, &[0; 5000]);
        assert_eq!(data.uncompressed_length, None);
    }

    #[test]
    fn a_blob_under_another_name_is_refused() {
        let key = MasterKey::generate();
        let sealed = BlobSealer::new(&key, Compression::Auto)
            .seal(BlobKind::Data, blob_id(b"one"), b"two")
            .unwrap();
        let error = BlobOpener::new(&key)
            .open(&sealed.id, &mut sealed.bytes.clone(), sealed.uncompressed_length)
            .unwrap_err();
        assert!(matches!(error, Defect::Hash { actual } if actual == *blob_id(b"two").as_bytes()));
    }
}
