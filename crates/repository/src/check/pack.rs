//! Checks the bytes of one pack against its name, the index, and the ids of its blobs.

use lifeboat_model::{BlobId, PackId};
use sha2::{Digest, Sha256};

use super::finding::explain;
use crate::blob::{BlobKind, BlobOpener};
use crate::crypto::MasterKey;
use crate::pack::{PackHeader, PackedBlob, pack_size};

/// What is wrong with a pack.
#[derive(Debug, Default)]
pub struct PackVerdict {
    /// In words.
    pub problems: Vec<String>,
    /// The blobs that cannot be had from it.
    pub bad_blobs: Vec<(BlobKind, BlobId)>,
}

/// Checks what the index says of a pack against the pack's listed size; needs none of its bytes.
///
/// `indexed` is in the order of the offsets.
pub fn check_layout(indexed: &[PackedBlob], listed_size: u64) -> Vec<String> {
    let mut problems = Vec::new();
    let mut expected = 0_u64;
    for blob in indexed {
        if u64::from(blob.offset) != expected {
            problems.push(format!(
                "the index has {} blob {} at {}, but the blob before it ends at {expected}",
                blob.kind,
                blob.id.to_hex(),
                blob.offset
            ));
        }
        expected = u64::from(blob.offset) + u64::from(blob.length);
    }
    let size = pack_size(indexed);
    if size != listed_size {
        problems.push(format!("it has {listed_size} bytes; its blobs in the index make {size}"));
    }
    problems
}

/// Checks all bytes of a pack; `indexed` is in the order of the offsets.
pub fn check_bytes(
    key: &MasterKey,
    pack: &PackId,
    bytes: &[u8],
    indexed: &[PackedBlob],
) -> PackVerdict {
    let mut verdict = PackVerdict::default();
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    if hash != *pack.as_bytes() {
        verdict.problems.push(format!("its content hashes to {}", hex::encode(hash)));
    }
    match PackHeader::open(key, bytes, bytes.len() as u64) {
        Err(error) => verdict.problems.push(explain(&error)),
        Ok(header) if header.blobs != indexed => {
            verdict.problems.push(difference(&header.blobs, indexed));
        }
        Ok(_) => {}
    }
    let mut opener = BlobOpener::new(key);
    for blob in indexed {
        if let Err(problem) = check_blob(&mut opener, bytes, blob) {
            let (kind, id) = (blob.kind, blob.id.to_hex());
            verdict.problems.push(format!("{kind} blob {id} at {}: {problem}", blob.offset));
            verdict.bad_blobs.push((blob.kind, blob.id));
        }
    }
    verdict
}

fn check_blob(opener: &mut BlobOpener<'_>, bytes: &[u8], blob: &PackedBlob) -> Result<(), String> {
    let begin = blob.offset as usize;
    let sealed = begin.checked_add(blob.length as usize).and_then(|end| bytes.get(begin..end));
    let mut sealed = sealed.ok_or("it lies beyond the end of the pack")?.to_vec();
    opener
        .open(&blob.id, &mut sealed, blob.uncompressed_length)
        .map(drop)
        .map_err(|defect| explain(&defect))
}

/// Says where a header and the index first disagree.
fn difference(header: &[PackedBlob], indexed: &[PackedBlob]) -> String {
    if header.len() != indexed.len() {
        let (header, indexed) = (header.len(), indexed.len());
        return format!("its header lists {header} blobs, the index {indexed}");
    }
    let at = header.iter().zip(indexed).position(|(a, b)| a != b).unwrap_or_default();
    let id = header.get(at).map(|blob| blob.id.to_hex()).unwrap_or_default();
    format!("its header and the index differ from entry {at} on, which the header says is {id}")
}
