//! A blob that is too long to be opened into memory: its sealed bytes are there, and its plaintext is
//! read from them as often as it is wanted.
//!
//! # Invariants
//!
//! - The plaintext was read to its end once and hashes to the blob's id before anybody gets to see it.
//!
//! # Limits
//!
//! What is in memory is the blob as it is stored, and zstd's window.

use std::io::{self, Read};
use std::num::NonZeroU32;
use std::ops::Range;

use lifeboat_model::BlobId;
use sha2::{Digest, Sha256};

use super::BlobOpener;
use crate::compress::{CompressionError, decoder};
use crate::crypto::NONCE_LENGTH;
use crate::error::Defect;

/// From which length on, in bytes, a tree is read from its sealed bytes and not opened into memory: one
/// of some 25,000 entries.
pub(crate) const LONG: u32 = 8 << 20;

/// How much is read at once.
const READ_LENGTH: usize = 128 << 10;

/// A blob whose plaintext is read from its sealed bytes.
#[derive(Debug)]
pub(crate) struct LongBlob<B> {
    bytes: B,
    /// Where the compressed plaintext is in them.
    text: Range<usize>,
}

impl BlobOpener<'_> {
    /// Opens the sealed bytes of a long compressed blob where they lie and verifies its plaintext.
    pub(crate) fn open_long<B: AsRef<[u8]> + AsMut<[u8]>>(
        &self,
        id: &BlobId,
        mut bytes: B,
        length: NonZeroU32,
    ) -> Result<LongBlob<B>, Defect> {
        let opened = self.key.open_in_place(bytes.as_mut())?.len();
        let blob = LongBlob { bytes, text: NONCE_LENGTH..NONCE_LENGTH + opened };
        blob.verify(id, length)?;
        Ok(blob)
    }
}

impl<B: AsRef<[u8]>> LongBlob<B> {
    fn verify(&self, id: &BlobId, length: NonZeroU32) -> Result<(), Defect> {
        let expected = u64::from(length.get());
        let mut reader = self.reader().map_err(CompressionError::Invalid)?;
        let (mut hash, mut actual, mut buffer) = (Sha256::new(), 0, vec![0; READ_LENGTH]);
        loop {
            let read = reader.read(&mut buffer).map_err(CompressionError::Invalid)?;
            actual += read as u64;
            if actual > expected || (read == 0 && actual < expected) {
                return Err(CompressionError::Length { expected, actual }.into());
            }
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
        }
        let actual: [u8; 32] = hash.finalize().into();
        if actual == *id.as_bytes() { Ok(()) } else { Err(Defect::Hash { actual }) }
    }

    /// Reads the plaintext from its beginning.
    pub(crate) fn reader(&self) -> io::Result<impl Read> {
        let text = &self.bytes.as_ref()[self.text.clone()];
        Ok(io::BufReader::with_capacity(READ_LENGTH, decoder(text)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{BlobKind, BlobSealer, blob_id};
    use crate::compress::Compression;
    use crate::crypto::MasterKey;

    #[test]
    fn a_long_blob_is_read_as_often_as_wanted_and_only_if_it_is_whole() {
        let key = MasterKey::generate();
        let text: Vec<u8> = (0..300_000_u32).flat_map(|i| (i / 5).to_le_bytes()).collect();
        let id = blob_id(&text);
        let sealed =
            BlobSealer::new(&key, Compression::Auto).seal(BlobKind::Tree, id, &text).unwrap();
        let length = sealed.uncompressed_length.unwrap();
        let opener = BlobOpener::new(&key);
        let blob = opener.open_long(&id, sealed.bytes.clone(), length).unwrap();
        for _ in 0..2 {
            let mut read = Vec::new();
            blob.reader().unwrap().take(u64::MAX).read_to_end(&mut read).unwrap();
            assert!(read == text);
        }
        for wrong in [length.get() - 1, length.get() + 1] {
            let wrong = NonZeroU32::new(wrong).unwrap();
            let error = opener.open_long(&id, sealed.bytes.clone(), wrong).unwrap_err();
            assert!(matches!(error, Defect::Compression(_)), "{error}");
        }
        let error = opener.open_long(&blob_id(b"x"), sealed.bytes.clone(), length).unwrap_err();
        assert!(matches!(error, Defect::Hash { .. }), "{error}");
        let mut flipped = sealed.bytes;
        flipped[1000] ^= 1;
        assert!(matches!(opener.open_long(&id, flipped, length), Err(Defect::Seal(_))));
    }
}
