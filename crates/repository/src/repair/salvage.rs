//! Saves what is whole of packs that are damaged into new packs.
//!
//! A blob that can still be had from a pack that is not given up stays where it is. Of the others each
//! that opens and hashes to its id is put into a new pack, as it is sealed. What is left is lost.
//!
//! # Invariants
//!
//! - Nothing counts as saved, or as whole elsewhere, before it was read from the tier and opened.
//! - Nothing is removed here, and no index file is written that lists less than before.
//!
//! # Crash consistency
//!
//! New packs are durable before the index files that list them. What an interrupted run saved and
//! listed lies elsewhere for the next one.
//!
//! # Limits
//!
//! One pack is in memory, and about 100 bytes for each blob of all packs that are damaged.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use lifeboat_model::{BlobId, Cancel, Classify, ErrorKind, IndexId, PackId};
use lifeboat_tiers::TierError;
use serde::Serialize;

use crate::backup::PACK_SIZE;
use crate::blob::{BlobKind, BlobLocation, BlobOpener, SealedBlob};
use crate::error::RepositoryError;
use crate::lock::LockGuard;
use crate::pack::PackedBlob;
use crate::packing::{PackWriter, Written};
use crate::repository::{Open, Repository};

/// What can be had of a damaged pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SalvagedPack {
    /// The pack.
    pub id: PackId,
    /// How many of its blobs are whole, there or elsewhere.
    pub whole_blobs: u64,
    /// The blobs that are lost.
    pub lost_blobs: Vec<LostBlob>,
}

/// A blob that cannot be had from anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LostBlob {
    /// What it held.
    #[serde(rename = "type")]
    pub kind: BlobKind,
    /// Its id.
    pub id: BlobId,
}

/// Damaged packs, and what is said to be in them.
pub(super) type Damaged = BTreeMap<PackId, Vec<PackedBlob>>;

/// Saves what is whole of the packs and lists it; without a lock, only finds out what is.
pub(super) fn salvage(
    repository: &Repository<Open>,
    lock: Option<&LockGuard>,
    damaged: &Damaged,
    cancel: &Cancel,
) -> Result<(Vec<SalvagedPack>, Written), RepositoryError> {
    let mut salvage = Salvage {
        repository,
        elsewhere: elsewhere(repository, damaged, cancel)?,
        is_whole: HashMap::new(),
        opener: BlobOpener::new(repository.key()),
        cancel,
    };
    let pack_size = usize::try_from(PACK_SIZE.0).unwrap_or(usize::MAX);
    let writer = PackWriter::new(repository, pack_size, cancel);
    let saved = damaged
        .iter()
        .try_for_each(|(pack, blobs)| salvage.save(pack, blobs, lock.map(|_| &writer)));
    let written = writer.finish(saved);
    // Work is cancelled when the lock is lost; that is the reason to name then.
    lock.map_or(Ok(()), LockGuard::check)?;
    let is_whole = &salvage.is_whole;
    let report =
        |(pack, blobs): (&PackId, &Vec<PackedBlob>)| SalvagedPack::of(*pack, blobs, is_whole);
    Ok((damaged.iter().map(report).collect(), written?))
}

/// Returns what the index files that can be read list in some packs, in the order of the offsets.
pub(super) fn listed_in(
    repository: &Repository<Open>,
    packs: &BTreeSet<PackId>,
    cancel: &Cancel,
) -> Result<Damaged, RepositoryError> {
    let mut listed = Damaged::new();
    for_each_entry(repository, cancel, |pack, blobs| {
        if packs.contains(&pack) {
            add_blobs(listed.entry(pack).or_default(), blobs);
        }
    })?;
    Ok(listed)
}

/// Adds blobs to those that are known to be in a pack.
pub(super) fn add_blobs(known: &mut Vec<PackedBlob>, more: Vec<PackedBlob>) {
    known.extend(more);
    known.sort_unstable_by_key(|blob| (blob.offset, blob.id));
    known.dedup();
}

/// Shows what index files list; one that cannot be read lists nothing.
fn for_each_entry(
    repository: &Repository<Open>,
    cancel: &Cancel,
    mut show: impl FnMut(PackId, Vec<PackedBlob>),
) -> Result<(), RepositoryError> {
    for listed in repository.store().list::<IndexId>()? {
        cancel.check()?;
        match repository.index_file(&listed.id) {
            Ok(file) => file.packs.into_iter().for_each(|entry| show(entry.id, entry.blobs)),
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

type Places = HashMap<(BlobKind, BlobId), Vec<BlobLocation>>;

/// Returns where else the blobs of damaged packs are said to lie.
fn elsewhere(
    repository: &Repository<Open>,
    damaged: &Damaged,
    cancel: &Cancel,
) -> Result<Places, RepositoryError> {
    let blobs = damaged.values().flatten();
    let mut places: Places = blobs.map(|blob| ((blob.kind, blob.id), Vec::new())).collect();
    for_each_entry(repository, cancel, |pack, blobs| {
        for blob in blobs.iter().filter(|_| !damaged.contains_key(&pack)) {
            if let Some(places) = places.get_mut(&(blob.kind, blob.id)) {
                places.push(blob.location(pack));
            }
        }
    })?;
    Ok(places)
}

struct Salvage<'a> {
    repository: &'a Repository<Open>,
    elsewhere: Places,
    /// The blobs that were looked at; whether each can be had.
    is_whole: HashMap<(BlobKind, BlobId), bool>,
    opener: BlobOpener<'a>,
    cancel: &'a Cancel,
}

impl Salvage<'_> {
    fn save(
        &mut self,
        pack: &PackId,
        blobs: &[PackedBlob],
        writer: Option<&PackWriter<'_, Open>>,
    ) -> Result<(), RepositoryError> {
        self.cancel.check()?;
        let bytes = match self.repository.store().get_hashed(pack) {
            Err(TierError::NotFound { .. }) => Bytes::new(),
            hashed => hashed?.0,
        };
        for blob in blobs {
            let name = (blob.kind, blob.id);
            if self.is_whole.get(&name) == Some(&true) {
                continue;
            }
            let mut is_whole = self.is_elsewhere(name)?;
            if !is_whole && let Some(sealed) = self.open(blob, &bytes) {
                writer.map_or(Ok(()), |writer| writer.add(&sealed))?;
                is_whole = true;
            }
            self.is_whole.insert(name, is_whole);
        }
        Ok(())
    }

    /// Tells whether a blob can be had from a pack that stays.
    fn is_elsewhere(&mut self, (kind, id): (BlobKind, BlobId)) -> Result<bool, RepositoryError> {
        for place in self.elsewhere.get(&(kind, id)).into_iter().flatten() {
            self.cancel.check()?;
            match self.repository.read_blob_at(&mut self.opener, kind, &id, place) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Returns a blob as it is sealed in a pack, if it opens and is what it should be.
    fn open(&mut self, blob: &PackedBlob, pack: &[u8]) -> Option<SealedBlob> {
        let begin = blob.offset as usize;
        let sealed = pack.get(begin..begin.checked_add(blob.length as usize)?)?;
        let opened = self
            .opener
            .open_in_place(&blob.id, &mut sealed.to_vec(), blob.uncompressed_length)
            .is_ok();
        opened.then(|| SealedBlob {
            kind: blob.kind,
            id: blob.id,
            bytes: sealed.to_vec(),
            uncompressed_length: blob.uncompressed_length,
        })
    }
}

impl SalvagedPack {
    fn of(id: PackId, blobs: &[PackedBlob], is_whole: &HashMap<(BlobKind, BlobId), bool>) -> Self {
        let names: BTreeSet<_> = blobs.iter().map(|blob| (blob.kind, blob.id)).collect();
        let (whole, lost): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| is_whole.get(name) == Some(&true));
        let lost_blobs = lost.into_iter().map(|(kind, id)| LostBlob { kind, id }).collect();
        Self { id, whole_blobs: whole.len() as u64, lost_blobs }
    }
}
