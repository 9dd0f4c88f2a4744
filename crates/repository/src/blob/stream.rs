//! A blob that is written piece by piece, so that its plaintext is never whole in memory.
//!
//! # Limits
//!
//! What is in memory is the compressed content so far and zstd's window of 512 KiB. It is compressed
//! whether the repository has the blob already or not.

use std::fmt;
use std::io::Write as _;
use std::num::NonZeroU32;

use lifeboat_model::BlobId;
use sha2::{Digest, Sha256};

use super::{BLOB_LENGTH_MAX, BlobKind, PreparedBlob};
use crate::compress::{Compression, encoder};
use crate::error::RepositoryError;

/// A blob whose content is not all known yet.
pub(crate) struct BlobStream {
    hash: Sha256,
    length: usize,
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStream").field("length", &self.length).finish_non_exhaustive()
    }
}

/// A blob that was written to its end.
#[derive(Debug)]
pub(crate) struct StreamedBlob {
    pub(crate) id: BlobId,
    content: Vec<u8>,
    length: usize,
}

impl BlobStream {
    /// Begins a blob.
    pub(crate) fn new(compression: Compression) -> Self {
        Self { hash: Sha256::new(), length: 0, encoder: encoder(compression, Vec::new()) }
    }

    /// Writes the next part of the content.
    pub(crate) fn write(&mut self, part: &[u8]) {
        self.hash.update(part);
        self.length += part.len();
        self.encoder.write_all(part).expect("zstd writes whatever it is given into memory");
    }

    /// Ends the blob; refuses one that is too long.
    pub(crate) fn finish(self) -> Result<StreamedBlob, RepositoryError> {
        if self.length > BLOB_LENGTH_MAX {
            return Err(RepositoryError::TooLarge {
                what: "a blob",
                length: self.length as u64,
                limit: BLOB_LENGTH_MAX as u64,
            });
        }
        let content = self.encoder.finish().expect("zstd writes its end into memory");
        let id = BlobId::from_bytes(self.hash.finalize().into());
        Ok(StreamedBlob { id, content, length: self.length })
    }
}

impl StreamedBlob {
    /// Returns the length of the plaintext, in bytes.
    pub(crate) const fn plaintext_length(&self) -> usize {
        self.length
    }

    /// Returns the blob as it is to be sealed.
    pub(crate) fn prepared(&self, kind: BlobKind) -> PreparedBlob<'_> {
        let length = u32::try_from(self.length).expect("it was held to the limit");
        let uncompressed_length = NonZeroU32::new(length);
        PreparedBlob { kind, id: self.id, content: &self.content, uncompressed_length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{BlobOpener, blob_id};
    use crate::crypto::MasterKey;

    #[test]
    fn what_is_written_in_parts_opens_as_a_whole() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|i| (i / 3).to_le_bytes()).collect();
        let mut stream = BlobStream::new(Compression::Auto);
        text.chunks(7919).for_each(|part| stream.write(part));
        let blob = stream.finish().unwrap();
        assert_eq!((blob.id, blob.plaintext_length()), (blob_id(&text), text.len()));
        let (key, prepared) = (MasterKey::generate(), blob.prepared(BlobKind::Tree));
        let mut sealed = key.seal(prepared.content);
        let opened =
            BlobOpener::new(&key).open(&blob.id, &mut sealed, prepared.uncompressed_length);
        assert!(opened.unwrap() == text);
    }
}
