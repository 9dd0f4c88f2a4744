//! Checks the bytes of one pack against its name, the index, and the ids of its blobs.
//!
//! A pack is read, hashed and opened step by step, each step while it is in the processor's cache.
//!
//! # Limits
//!
//! From a tier that is near one step is in memory, [`STEP_MIN`] or a blob as it is stored; from one that
//! is far, or if its blobs do not lie side by side, the whole pack. A blob that is longer than [`LONG`]
//! is never whole in memory once it is decompressed.

use bytes::Bytes;
use lifeboat_model::BlobId;
use lifeboat_tiers::{ReadRange, TierError};
use sha2::{Digest, Sha256};

use super::data::PackToRead;
use super::finding::explain;
use crate::blob::{BlobKind, BlobOpener, LONG};
use crate::crypto::MasterKey;
use crate::pack::{PackHeader, PackedBlob, pack_size};
use crate::profile::{Activity, Meter};
use crate::store::Store;

/// How much is read at a time, at least: more than one read costs, little enough for a cache.
const STEP_MIN: u32 = 256 << 10;

/// How much memory is kept from step to step: the longest piece of data and what stands beside it.
const STEP_KEPT: usize = 9 << 20;

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

/// Checks packs one after the other, in memory that is used again.
pub(crate) struct PackChecker<'k> {
    store: &'k Store,
    key: &'k MasterKey,
    opener: BlobOpener<'k>,
    step: Vec<u8>,
    meter: Meter,
}

impl<'k> PackChecker<'k> {
    pub(crate) fn new(store: &'k Store, key: &'k MasterKey, meter: Meter) -> Self {
        Self { store, key, opener: BlobOpener::new(key), step: Vec::new(), meter }
    }

    /// Reads all bytes of a pack and checks them; those that came damaged over a line once more.
    pub(crate) fn check(&mut self, pack: &PackToRead) -> Result<PackVerdict, TierError> {
        if self.store.reads_here() && check_layout(&pack.blobs, pack.size).is_empty() {
            match self.check_in_steps(pack) {
                // It is not as long as it was when it was listed.
                Err(TierError::OutOfRange { .. }) => {}
                checked => return checked,
            }
        }
        let verdict = self.check_once(pack)?;
        if verdict.problems.is_empty() || self.store.reads_here() {
            return Ok(verdict);
        }
        tracing::warn!(pack = pack.id.to_hex(), "a pack came damaged; reading it again");
        self.check_once(pack)
    }

    fn check_once(&mut self, pack: &PackToRead) -> Result<PackVerdict, TierError> {
        let meter = self.meter.clone();
        let bytes = meter.measure_result(
            Activity::Fetch,
            |read: &Result<Bytes, _>| read.as_ref().map_or(0, Bytes::len),
            || self.store.get(&pack.id),
        )?;
        Ok(self.check_whole(pack, &bytes))
    }

    /// Checks a pack whose blobs fill it up to its header.
    fn check_in_steps(&mut self, pack: &PackToRead) -> Result<PackVerdict, TierError> {
        let mut hasher = Sha256::new();
        let mut bad = PackVerdict::default();
        let mut rest = &pack.blobs[..];
        while let Some(first) = rest.first() {
            let (blobs, after) = rest.split_at(step_length(rest));
            let length = blobs.iter().map(|blob| u64::from(blob.length)).sum();
            self.read(pack, first.offset.into(), length, &mut hasher)?;
            let mut step = std::mem::take(&mut self.step);
            for blob in blobs {
                let begin = (blob.offset - first.offset) as usize;
                let sealed = step.get_mut(begin..begin + blob.length as usize);
                self.check_blob(blob, sealed, &mut bad);
            }
            // What one long blob took is not kept for all that follow.
            step.truncate(STEP_KEPT);
            step.shrink_to(STEP_KEPT);
            self.step = step;
            rest = after;
        }
        let end =
            pack.blobs.last().map_or(0, |blob| u64::from(blob.offset) + u64::from(blob.length));
        self.read(pack, end, pack.size - end, &mut hasher)?;
        let mut verdict = self.check_name_and_header(pack, hasher, (&self.step, pack.size));
        verdict.problems.append(&mut bad.problems);
        verdict.bad_blobs = bad.bad_blobs;
        Ok(verdict)
    }

    /// Reads a part of a pack and hashes it.
    fn read(
        &mut self,
        pack: &PackToRead,
        offset: u64,
        length: u64,
        hasher: &mut Sha256,
    ) -> Result<(), TierError> {
        let (store, step) = (self.store, &mut self.step);
        let range = ReadRange::Bounded { offset, length };
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        self.meter.measure(Activity::Fetch, bytes, || store.get_into(&pack.id, range, step))?;
        self.meter.measure(Activity::PackHash, bytes, || hasher.update(&self.step));
        Ok(())
    }

    /// Checks a pack that is in memory, whatever the index says of it.
    fn check_whole(&mut self, pack: &PackToRead, bytes: &[u8]) -> PackVerdict {
        let mut hasher = Sha256::new();
        self.meter.measure(Activity::PackHash, bytes.len(), || hasher.update(bytes));
        let mut verdict = self.check_name_and_header(pack, hasher, (bytes, bytes.len() as u64));
        let mut sealed = std::mem::take(&mut self.step);
        for blob in &pack.blobs {
            let begin = blob.offset as usize;
            let there =
                begin.checked_add(blob.length as usize).and_then(|end| bytes.get(begin..end));
            sealed.clear();
            sealed.extend_from_slice(there.unwrap_or_default());
            self.check_blob(blob, there.map(|_| &mut sealed[..]), &mut verdict);
        }
        self.step = sealed;
        verdict
    }

    /// Holds the hash of a pack against its name, and the header in its last bytes against the index.
    fn check_name_and_header(
        &self,
        pack: &PackToRead,
        hasher: Sha256,
        (tail, size): (&[u8], u64),
    ) -> PackVerdict {
        let mut verdict = PackVerdict::default();
        let hash: [u8; 32] = hasher.finalize().into();
        if hash != *pack.id.as_bytes() {
            verdict.problems.push(format!("its content hashes to {}", hex::encode(hash)));
        }
        match PackHeader::open(self.key, tail, size) {
            Err(error) => verdict.problems.push(explain(&error)),
            Ok(header) if header.blobs != pack.blobs => {
                verdict.problems.push(difference(&header.blobs, &pack.blobs));
            }
            Ok(_) => {}
        }
        verdict
    }

    /// Opens a blob; `sealed` are its bytes, if they are there.
    fn check_blob(
        &mut self,
        blob: &PackedBlob,
        sealed: Option<&mut [u8]>,
        verdict: &mut PackVerdict,
    ) {
        let opened = match sealed {
            None => Err("it lies beyond the end of the pack".to_owned()),
            Some(sealed) => {
                let (opener, length) = (&mut self.opener, blob.uncompressed_length);
                let open = || match length.filter(|length| length.get() > LONG) {
                    Some(length) => opener.open_long(&blob.id, sealed, length).map(drop),
                    None => opener.open_in_place(&blob.id, sealed, length).map(drop),
                };
                self.meter
                    .measure(Activity::Open, blob.length as usize, open)
                    .map_err(|defect| explain(&defect))
            }
        };
        if let Err(problem) = opened {
            let (kind, id) = (blob.kind, blob.id.to_hex());
            verdict.problems.push(format!("{kind} blob {id} at {}: {problem}", blob.offset));
            verdict.bad_blobs.push((blob.kind, blob.id));
        }
    }
}

/// Returns how many of the blobs are read at a time.
fn step_length(blobs: &[PackedBlob]) -> usize {
    let mut length = 0_u32;
    let fills = |blob: &PackedBlob| {
        length = length.saturating_add(blob.length);
        length >= STEP_MIN
    };
    blobs.iter().position(fills).map_or(blobs.len(), |last| last + 1)
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
