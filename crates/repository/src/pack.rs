//! Packs: sealed blobs one after the other, then a sealed header that lists them.
//!
//! A [`PackBuilder`] makes one; [`PackHeader`] reads what is in one.
//!
//! # Invariants
//!
//! - A pack holds blobs of one kind only, if its builder was given only such.
//! - A header that was parsed describes its pack without gaps: the blobs' lengths, the header and
//!   its length field add up to the size of the file.
//!
//! # Limits
//!
//! The header is at most [`HEADER_LENGTH_MAX`] bytes, a pack at most 4 GiB; [`PackBuilder::add`]
//! and [`PackBuilder::seal`] refuse what would exceed either. No memory is taken on the word of a
//! length field before it was held against the size of the file.
//!
//! Sources: restic `doc/design.rst`, section "Pack Format"; restic
//! `internal/repository/pack/pack.go`.

use std::num::NonZeroU32;

use bytes::Bytes;
use lifeboat_model::{BlobId, PackId};
use sha2::{Digest, Sha256};

use crate::blob::{BlobKind, BlobLocation, PreparedBlob, SealedBlob};
use crate::crypto::{MasterKey, OVERHEAD, OpenError};
use crate::profile::{Activity, Meter};

/// The longest sealed header, in bytes.
pub const HEADER_LENGTH_MAX: usize = 16 << 20;

/// The length field at the end of a pack, in bytes.
pub const LENGTH_FIELD_LENGTH: usize = 4;

const ENTRY_LENGTH: usize = 1 + 4 + 32;
const ENTRY_COMPRESSED_LENGTH: usize = ENTRY_LENGTH + 4;

/// A pack's header does not describe its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file cannot hold even an empty header.
    #[error("its {size} bytes are too few for a pack")]
    TooShort {
        /// The size of the file in bytes.
        size: u64,
    },
    /// The length field names a header that cannot be.
    #[error("its header claims {length} bytes in a pack of {size}")]
    Length {
        /// The claimed length in bytes.
        length: u32,
        /// The size of the file in bytes.
        size: u64,
    },
    /// The header's seal does not open.
    #[error("its header does not open")]
    Seal(#[source] OpenError),
    /// An entry is of a sort that is not known.
    #[error("entry {index} of its header is of unknown type {kind}")]
    Kind {
        /// Which entry, from 0.
        index: usize,
        /// The type byte.
        kind: u8,
    },
    /// The header ends in the middle of an entry.
    #[error("entry {index} of its header is cut off")]
    CutOff {
        /// Which entry, from 0.
        index: usize,
    },
    /// The blobs do not add up to the size of the file.
    #[error("its header describes {described} bytes of blobs, but there are {actual}")]
    Sum {
        /// What the entries add up to, in bytes.
        described: u64,
        /// What there is before the header, in bytes.
        actual: u64,
    },
}

/// One blob in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedBlob {
    /// What it holds.
    pub kind: BlobKind,
    /// Its id.
    pub id: BlobId,
    /// Where its sealed bytes begin.
    pub offset: u32,
    /// How many sealed bytes there are.
    pub length: u32,
    /// The length before compression, in bytes; absent if the blob is not compressed.
    pub uncompressed_length: Option<NonZeroU32>,
}

impl PackedBlob {
    /// Returns where the blob lies, given its pack.
    pub const fn location(&self, pack: PackId) -> BlobLocation {
        BlobLocation {
            pack,
            offset: self.offset,
            length: self.length,
            uncompressed_length: self.uncompressed_length,
        }
    }

    const fn entry_length(&self) -> usize {
        if self.uncompressed_length.is_some() { ENTRY_COMPRESSED_LENGTH } else { ENTRY_LENGTH }
    }

    fn write_entry(&self, header: &mut Vec<u8>) {
        let kind: u8 = match self.kind {
            BlobKind::Data => 0,
            BlobKind::Tree => 1,
        };
        header.push(kind + if self.uncompressed_length.is_some() { 2 } else { 0 });
        header.extend_from_slice(&self.length.to_le_bytes());
        if let Some(length) = self.uncompressed_length {
            header.extend_from_slice(&length.get().to_le_bytes());
        }
        header.extend_from_slice(self.id.as_bytes());
    }
}

/// Returns the size of the pack that holds `blobs` and nothing else, in bytes.
pub fn pack_size<'b>(blobs: impl IntoIterator<Item = &'b PackedBlob>) -> u64 {
    let blobs = blobs.into_iter();
    let blobs: u64 = blobs.map(|b| u64::from(b.length) + b.entry_length() as u64).sum();
    blobs + (OVERHEAD + LENGTH_FIELD_LENGTH) as u64
}

/// A pack has no room for a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pack of {size} bytes has no room for a blob of {length}")]
pub struct PackFull {
    size: u64,
    length: u64,
}

/// Collects sealed blobs into a pack; its name is hashed on the way.
#[derive(Debug, Default)]
pub struct PackBuilder {
    bytes: Vec<u8>,
    blobs: Vec<PackedBlob>,
    header_length: usize,
    hasher: Sha256,
}

impl PackBuilder {
    /// Makes an empty pack in memory that was used before, so that it need not be taken anew.
    pub fn reusing(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes, ..Self::default() }
    }

    /// Tells whether nothing was added.
    pub const fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Returns the size that the pack would have if it was finished now, in bytes.
    pub const fn size(&self) -> usize {
        self.bytes.len() + self.header_length + OVERHEAD + LENGTH_FIELD_LENGTH
    }

    /// Returns what was added, in order.
    pub fn blobs(&self) -> &[PackedBlob] {
        &self.blobs
    }

    /// Adds a blob that is sealed already and returns how it is listed.
    pub fn add(&mut self, blob: &SealedBlob) -> Result<PackedBlob, PackFull> {
        let length = blob.bytes.len();
        let packed = self.list(blob.kind, blob.id, length, blob.uncompressed_length)?;
        self.bytes.extend_from_slice(&blob.bytes);
        self.hasher.update(&blob.bytes);
        Ok(packed)
    }

    /// Seals a blob into its place in the pack and returns how it is listed.
    pub fn seal(
        &mut self,
        key: &MasterKey,
        blob: &PreparedBlob<'_>,
        meter: &Meter,
    ) -> Result<PackedBlob, PackFull> {
        let length = blob.sealed_length();
        let packed = self.list(blob.kind, blob.id, length, blob.uncompressed_length)?;
        let begin = self.bytes.len();
        meter.measure(Activity::Seal, blob.content.len(), || {
            key.seal_onto(blob.content, &mut self.bytes);
        });
        let sealed = &self.bytes[begin..];
        meter.measure(Activity::PackHash, length, || self.hasher.update(sealed));
        Ok(packed)
    }

    /// Lists a blob that goes to the end of the pack, if there is room for it.
    fn list(
        &mut self,
        kind: BlobKind,
        id: BlobId,
        length: usize,
        uncompressed_length: Option<NonZeroU32>,
    ) -> Result<PackedBlob, PackFull> {
        let full = PackFull { size: self.size() as u64, length: length as u64 };
        let offset = u32::try_from(self.bytes.len()).map_err(|_| full)?;
        let packed = PackedBlob {
            kind,
            id,
            offset,
            length: u32::try_from(length).map_err(|_| full)?,
            uncompressed_length,
        };
        let header_length = self.header_length + packed.entry_length();
        let size = self.size() as u64 + u64::from(packed.length) + packed.entry_length() as u64;
        if header_length + OVERHEAD > HEADER_LENGTH_MAX || size > u64::from(u32::MAX) {
            return Err(full);
        }
        self.header_length = header_length;
        self.blobs.push(packed);
        Ok(packed)
    }

    /// Takes over what is in another pack, or gives it back if `size` has no room for both.
    fn absorb(&mut self, other: Self, size: usize) -> Option<Self> {
        let both = self.size() + other.bytes.len() + other.header_length;
        let header_length = self.header_length + other.header_length;
        if both > size || header_length + OVERHEAD > HEADER_LENGTH_MAX {
            return Some(other);
        }
        let begin = u32::try_from(self.bytes.len()).expect("a pack is less than 4 GiB");
        self.blobs.extend(
            other.blobs.into_iter().map(|blob| PackedBlob { offset: begin + blob.offset, ..blob }),
        );
        self.bytes.extend_from_slice(&other.bytes);
        self.hasher.update(&other.bytes);
        self.header_length = header_length;
        None
    }

    /// Puts packs that are not full together, so that several threads leave no more behind than one.
    pub(crate) fn gather(packs: impl IntoIterator<Item = Self>, size: usize) -> Vec<Self> {
        let size = size.min(u32::MAX as usize);
        let mut gathered: Vec<Self> = Vec::new();
        for pack in packs.into_iter().filter(|pack| !pack.is_empty()) {
            let mut rest = Some(pack);
            for fuller in &mut gathered {
                rest = rest.and_then(|pack| fuller.absorb(pack, size));
            }
            gathered.extend(rest);
        }
        gathered
    }

    /// Seals the header and names the pack.
    pub fn finish(mut self, key: &MasterKey) -> FinishedPack {
        let mut header = Vec::with_capacity(self.header_length);
        for blob in &self.blobs {
            blob.write_entry(&mut header);
        }
        let blobs_length = self.bytes.len();
        key.seal_onto(&header, &mut self.bytes);
        let length = u32::try_from(self.bytes.len() - blobs_length)
            .expect("the header is held to its limit");
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.hasher.update(&self.bytes[blobs_length..]);
        FinishedPack {
            id: PackId::from_bytes(self.hasher.finalize().into()),
            bytes: Bytes::from(self.bytes),
            blobs: self.blobs,
        }
    }
}

/// A whole pack, ready to be stored.
#[derive(Debug, Clone)]
pub struct FinishedPack {
    /// Its name.
    pub id: PackId,
    /// Its bytes.
    pub bytes: Bytes,
    /// What is in it, in order.
    pub blobs: Vec<PackedBlob>,
}

/// What a pack says is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackHeader {
    /// The blobs, in order, without gaps.
    pub blobs: Vec<PackedBlob>,
}

impl PackHeader {
    /// Returns the length of the sealed header and its length field, from the last bytes of a pack
    /// of `size` bytes; these must be at least [`LENGTH_FIELD_LENGTH`].
    pub fn tail_length(tail: &[u8], size: u64) -> Result<usize, HeaderError> {
        let field = tail.last_chunk().ok_or(HeaderError::TooShort { size })?;
        let length = u32::from_le_bytes(*field);
        let whole = length as usize + LENGTH_FIELD_LENGTH;
        let possible = (OVERHEAD..=HEADER_LENGTH_MAX).contains(&(length as usize));
        if possible && whole as u64 <= size {
            Ok(whole)
        } else {
            Err(HeaderError::Length { length, size })
        }
    }

    /// Opens the header in the last bytes of a pack of `size` bytes; these must hold all of the
    /// header, as [`PackHeader::tail_length`] tells, and may hold more.
    pub fn open(key: &MasterKey, tail: &[u8], size: u64) -> Result<Self, HeaderError> {
        let length = Self::tail_length(tail, size)?;
        let begin = tail.len().checked_sub(length).ok_or(HeaderError::TooShort { size })?;
        let sealed = &tail[begin..tail.len() - LENGTH_FIELD_LENGTH];
        let header = key.open(sealed).map_err(HeaderError::Seal)?;
        Self::parse(&header, size - length as u64)
    }

    /// Parses an opened header of a pack with `blobs_length` bytes before it.
    pub fn parse(header: &[u8], blobs_length: u64) -> Result<Self, HeaderError> {
        let mut blobs = Vec::with_capacity(header.len() / ENTRY_LENGTH);
        let mut described = 0_u64;
        let mut rest = header;
        while !rest.is_empty() {
            let index = blobs.len();
            let (mut blob, after) = parse_entry(rest, index)?;
            // An offset past 32 bits belongs to a pack that cannot be; the sum below says so.
            blob.offset = u32::try_from(described).unwrap_or(u32::MAX);
            described += u64::from(blob.length);
            blobs.push(blob);
            rest = after;
        }
        if described == blobs_length && u32::try_from(described).is_ok() {
            Ok(Self { blobs })
        } else {
            Err(HeaderError::Sum { described, actual: blobs_length })
        }
    }
}

/// Takes one entry off the front; its offset is for the caller to fill in.
fn parse_entry(bytes: &[u8], index: usize) -> Result<(PackedBlob, &[u8]), HeaderError> {
    let cut_off = HeaderError::CutOff { index };
    let (kind, rest) = bytes.split_first().ok_or(cut_off)?;
    let (blob_kind, compressed) = match kind {
        0 => (BlobKind::Data, false),
        1 => (BlobKind::Tree, false),
        2 => (BlobKind::Data, true),
        3 => (BlobKind::Tree, true),
        _ => return Err(HeaderError::Kind { index, kind: *kind }),
    };
    let (length, mut rest) = rest.split_first_chunk().ok_or(cut_off)?;
    let mut uncompressed_length = None;
    if compressed {
        let (length, after) = rest.split_first_chunk().ok_or(cut_off)?;
        uncompressed_length = NonZeroU32::new(u32::from_le_bytes(*length));
        rest = after;
    }
    let (id, rest) = rest.split_first_chunk().ok_or(cut_off)?;
    let blob = PackedBlob {
        kind: blob_kind,
        id: BlobId::from_bytes(*id),
        offset: 0,
        length: u32::from_le_bytes(*length),
        uncompressed_length,
    };
    Ok((blob, rest))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::blob::{BlobSealer, blob_id};
    use crate::compress::Compression;

    fn pack(key: &MasterKey, contents: &[(BlobKind, Vec<u8>)]) -> FinishedPack {
        let mut sealer = BlobSealer::new(key, Compression::Auto);
        let mut builder = PackBuilder::default();
        for (kind, content) in contents {
            builder.add(&sealer.seal(*kind, blob_id(content), content).unwrap()).unwrap();
        }
        let size = builder.size();
        let pack = builder.finish(key);
        assert_eq!(pack.bytes.len(), size);
        assert_eq!(pack_size(&pack.blobs), size as u64);
        pack
    }

    fn two_blobs() -> (MasterKey, FinishedPack) {
        let key = MasterKey::generate();
        let contents = [(BlobKind::Data, vec![1; 300]), (BlobKind::Tree, vec![2; 5])];
        let pack = pack(&key, &contents);
        (key, pack)
    }

    #[test]
    fn a_pack_is_named_by_its_bytes() {
        let (_, pack) = two_blobs();
        assert_eq!(*pack.id.as_bytes(), <[u8; 32]>::from(Sha256::digest(&pack.bytes)));
    }

    #[test]
    fn a_header_that_claims_too_much_takes_no_memory() {
        let (key, pack) = two_blobs();
        let size = pack.bytes.len() as u64;
        let too_long = u32::try_from(size).unwrap() - 3;
        for claim in [0, 31, too_long, 1 << 24, u32::MAX] {
            let mut bytes = pack.bytes.to_vec();
            let field = bytes.len() - LENGTH_FIELD_LENGTH;
            bytes[field..].copy_from_slice(&claim.to_le_bytes());
            let error = PackHeader::open(&key, &bytes, size).unwrap_err();
            assert_eq!(error, HeaderError::Length { length: claim, size });
        }
        for length in 0..LENGTH_FIELD_LENGTH {
            let error = PackHeader::open(&key, &pack.bytes[..length], length as u64).unwrap_err();
            assert_eq!(error, HeaderError::TooShort { size: length as u64 });
        }
    }

    #[test]
    fn a_header_describes_its_pack_without_gaps() {
        let entry = |kind: u8, length: u32| {
            let mut entry = vec![kind];
            entry.extend(length.to_le_bytes());
            entry.extend([0; 36]);
            entry
        };
        let header = [entry(2, 50), entry(3, 70)].concat();
        assert_eq!(PackHeader::parse(&header, 120).unwrap().blobs[1].offset, 50);
        let error = PackHeader::parse(&header, 121).unwrap_err();
        assert_eq!(error, HeaderError::Sum { described: 120, actual: 121 });
        let error = PackHeader::parse(&header[..81], 120).unwrap_err();
        assert_eq!(error, HeaderError::CutOff { index: 1 });
        let error = PackHeader::parse(&entry(4, 50), 50).unwrap_err();
        assert_eq!(error, HeaderError::Kind { index: 0, kind: 4 });
        let huge = [entry(2, u32::MAX), entry(2, u32::MAX)].concat();
        let described = 2 * u64::from(u32::MAX);
        let error = PackHeader::parse(&huge, described).unwrap_err();
        assert_eq!(error, HeaderError::Sum { described, actual: described });
    }

    #[test]
    fn packs_that_are_not_full_are_put_together() {
        let key = MasterKey::generate();
        let mut sealer = BlobSealer::new(&key, Compression::Off);
        let contents: Vec<Vec<u8>> = (1..=9).map(|n| vec![n; 100 * usize::from(n)]).collect();
        let builders = contents.iter().map(|content| {
            let mut builder = PackBuilder::default();
            let blob = sealer.seal(BlobKind::Data, blob_id(content), content).unwrap();
            builder.add(&blob).unwrap();
            builder
        });
        let mut all: Vec<_> = builders.collect();
        all.push(PackBuilder::default());
        let gathered = PackBuilder::gather(all, 2000);
        assert!(gathered.len() < 5 && gathered.iter().all(|pack| pack.size() <= 2000));
        let mut found = 0;
        for pack in gathered {
            let pack = pack.finish(&key);
            assert_eq!(*pack.id.as_bytes(), <[u8; 32]>::from(Sha256::digest(&pack.bytes)));
            let header = PackHeader::open(&key, &pack.bytes, pack.bytes.len() as u64).unwrap();
            assert_eq!(header.blobs, pack.blobs);
            for blob in header.blobs {
                let end = (blob.offset + blob.length) as usize;
                let mut bytes = pack.bytes[blob.offset as usize..end].to_vec();
                let mut opener = crate::blob::BlobOpener::new(&key);
                opener.open(&blob.id, &mut bytes, blob.uncompressed_length).unwrap();
                found += 1;
            }
        }
        assert_eq!(found, contents.len());
    }

    #[test]
    fn a_pack_that_is_full_refuses_and_stays_whole() {
        let mut builder = PackBuilder::default();
        let entries = (HEADER_LENGTH_MAX - OVERHEAD) / ENTRY_LENGTH;
        let blob = SealedBlob {
            kind: BlobKind::Data,
            id: blob_id(b""),
            bytes: Vec::new(),
            uncompressed_length: None,
        };
        for _ in 0..entries {
            builder.add(&blob).unwrap();
        }
        assert!(builder.add(&blob).is_err());
        assert_eq!(builder.blobs().len(), entries);
        let key = MasterKey::generate();
        let pack = builder.finish(&key);
        let header = PackHeader::open(&key, &pack.bytes, pack.bytes.len() as u64).unwrap();
        assert_eq!(header.blobs.len(), entries);
    }

    proptest! {
        #[test]
        fn the_header_lists_what_was_added(
            contents in vec((any::<bool>(), vec(any::<u8>(), 0..200)), 0..20),
        ) {
            let kind = |tree| if tree { BlobKind::Tree } else { BlobKind::Data };
            let contents: Vec<_> =
                contents.into_iter().map(|(tree, content)| (kind(tree), content)).collect();
            let key = MasterKey::generate();
            let pack = pack(&key, &contents);
            let header = PackHeader::open(&key, &pack.bytes, pack.bytes.len() as u64).unwrap();
            prop_assert_eq!(&header.blobs, &pack.blobs);
            for (blob, (kind, content)) in header.blobs.iter().zip(&contents) {
                prop_assert_eq!((blob.kind, blob.id), (*kind, blob_id(content)));
                let end = (blob.offset + blob.length) as usize;
                let mut sealed = pack.bytes[blob.offset as usize..end].to_vec();
                let mut opener = crate::blob::BlobOpener::new(&key);
                let opened = opener.open(&blob.id, &mut sealed, blob.uncompressed_length).unwrap();
                prop_assert_eq!(&opened, content);
            }
        }

        #[test]
        fn no_header_makes_the_parser_panic(bytes in vec(any::<u8>(), 0..300), size: u64) {
            let _ = PackHeader::parse(&bytes, size);
            let _ = PackHeader::open(&MasterKey::from_bytes(&[1; 64]), &bytes, size);
        }
    }
}
