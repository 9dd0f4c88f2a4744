//! Packs that no index lists, as a run leaves them that was killed: what of them can be built upon.
//!
//! Backup and copy look for them before they store a first blob, and take from them whatever they
//! would have stored themselves. Only headers are read at first. The pack of a blob that is wanted is
//! read whole, held against its name, and every blob in it against its id; only then it is
//! **adopted**: handed over to be listed with what the run itself stored. That costs less than storing
//! it anew, which would read, compress, seal and write as much.
//!
//! # Invariants
//!
//! - Nothing counts as there before all bytes of its pack were read and found to be right.
//! - A pack is adopted once, and only for a blob that no index lists.
//! - What an index lists, what was left out as damaged, and what rustic marked as `packs_to_delete` is
//!   no orphan.
//!
//! # Beside others
//!
//! The caller holds a lock, so nobody prunes. Another backup that runs at the same time has packs that
//! it will list itself soon; they may be adopted. Both then list the same pack in the same way, which
//! is legal, harmless for every reader, and put right by the next prune. A pack that is being written
//! is not there on tiers that keep their contract; of one that another program writes under its final
//! name bit by bit, the header does not open yet.
//!
//! # Crash consistency
//!
//! Nothing is written here. A kill after an adoption and before the index file leaves an orphan that
//! is found again.
//!
//! # Limits
//!
//! - Headers of at most [`PACKS_MAX`] packs are read, each of at most [`PACK_SIZE_MAX`], and at most
//!   [`BLOBS_MAX`] blobs are kept, some 100 bytes each; what is beyond that stays an orphan and is
//!   stored again. A killed backup leaves fewer: it lists at least every 50,000 blobs.
//! - Index files are read if there is an orphan with something that no index lists, as a prune does.
//! - Where a listing lags behind, an orphan may be overlooked: its blobs are stored again.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, OnceLock, PoisonError};

use lifeboat_model::{BlobId, Cancel, PackId};

use crate::backup::PACK_SIZES;
use crate::blob::BlobKind;
use crate::check::{PackChecker, PackToRead};
use crate::error::RepositoryError;
use crate::index::PackEntry;
use crate::parallel::in_parallel;
use crate::profile::Meter;
use crate::repository::{Indexed, Repository};
use crate::store::ListedFile;

/// How many headers are read at most: with packs of 16 MiB those of 256 GiB, twice what a backup of
/// a terabyte may leave unlisted.
const PACKS_MAX: usize = 16 << 10;

/// How many blobs are kept at most: five times what a killed backup leaves unlisted.
const BLOBS_MAX: usize = 256 << 10;

/// The largest pack that is looked at: what restic makes at most, and one blob beyond.
const PACK_SIZE_MAX: u64 = PACK_SIZES.end().0 + (16 << 20);

/// How many headers are read at a time: each mostly waits for the tier.
const READERS: usize = 8;

/// The packs that no index lists, by what is in them and in no index.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    packs: Vec<Orphan>,
    blobs: HashMap<(BlobKind, BlobId), u32>,
}

#[derive(Debug)]
struct Orphan {
    pack: PackToRead,
    /// Whether it was found to be whole, once it was read.
    is_whole: OnceLock<bool>,
}

impl Orphans {
    /// Looks for orphans. What goes wrong costs space, not safety: it is told to the log, and there
    /// are none.
    pub(crate) fn find(repository: &Repository<Indexed>, cancel: &Cancel) -> Self {
        Self::try_find(repository, cancel).unwrap_or_else(|error| {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "What an interrupted run stored cannot be looked for.");
            Self::default()
        })
    }

    fn try_find(
        repository: &Repository<Indexed>,
        cancel: &Cancel,
    ) -> Result<Self, RepositoryError> {
        let mut unlisted = repository.store().list::<PackId>()?;
        {
            let index = repository.index();
            unlisted.retain(|file| file.size <= PACK_SIZE_MAX && !index.has_pack(&file.id));
        }
        unlisted.truncate(PACKS_MAX);
        let mut packs = read_headers(repository, &unlisted, cancel)?;
        if !packs.is_empty() {
            // Listed since the index was loaded, or marked.
            let others = listed_by_others(repository, cancel)?;
            packs.retain(|pack| !others.contains(&pack.id) && is_useful(repository, pack));
        }
        Ok(Self::of(packs))
    }

    fn of(packs: Vec<PackToRead>) -> Self {
        let mut orphans = Self::default();
        for pack in packs {
            let number = u32::try_from(orphans.packs.len()).expect("there are few");
            for blob in &pack.blobs {
                orphans.blobs.entry((blob.kind, blob.id)).or_insert(number);
            }
            orphans.packs.push(Orphan { pack, is_whole: OnceLock::new() });
        }
        orphans
    }

    /// Tells whether an orphan holds a blob, and is whole; `list` is given what to list of that pack,
    /// the first time.
    pub(crate) fn adopt(
        &self,
        repository: &Repository<Indexed>,
        (kind, id): (BlobKind, BlobId),
        meter: &Meter,
        list: impl FnOnce(PackEntry, u64),
    ) -> bool {
        let Some(number) = self.blobs.get(&(kind, id)) else { return false };
        let Orphan { pack, is_whole } = &self.packs[*number as usize];
        *is_whole.get_or_init(|| {
            let whole = is_whole_now(repository, pack, meter);
            if whole {
                let blobs = pack.blobs.clone();
                list(PackEntry { id: pack.id, blobs, time: None, size: None }, pack.size);
            }
            whole
        })
    }
}

/// Reads all bytes of a pack and holds them against its name, its header and the ids of its blobs.
fn is_whole_now(repository: &Repository<Indexed>, pack: &PackToRead, meter: &Meter) -> bool {
    let mut checker = PackChecker::new(repository.store(), repository.key(), meter.clone());
    let problem = match checker.check(pack) {
        Ok(verdict) if verdict.problems.is_empty() => return true,
        Ok(verdict) => verdict.problems.into_iter().next().unwrap_or_default(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(
        pack = pack.id.to_hex(),
        problem,
        "A pack that no index lists is not whole; what it holds is stored again."
    );
    false
}

/// Tells whether a pack has something that no index lists.
fn is_useful(repository: &Repository<Indexed>, pack: &PackToRead) -> bool {
    let index = repository.index();
    pack.blobs.iter().any(|blob| !index.contains(blob.kind, &blob.id))
}

/// Reads the headers of packs and keeps the useful ones; packs whose header cannot be used, or that
/// are gone, are passed over.
fn read_headers(
    repository: &Repository<Indexed>,
    files: &[ListedFile<PackId>],
    cancel: &Cancel,
) -> Result<Vec<PackToRead>, RepositoryError> {
    let kept: Mutex<(usize, Vec<PackToRead>)> = Mutex::default();
    let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
    in_parallel(files, repository.store().requests(READERS), |mine| {
        for file in mine {
            cancel.check()?;
            let Some(pack) = read_header(repository, file) else { continue };
            let mut kept = lock();
            kept.0 += pack.blobs.len();
            if kept.0 > BLOBS_MAX {
                break;
            }
            kept.1.push(pack);
        }
        Ok(())
    })?;
    let (_, mut packs) = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    packs.sort_unstable_by_key(|pack| pack.id);
    Ok(packs)
}

fn read_header(
    repository: &Repository<Indexed>,
    ListedFile { id, size }: &ListedFile<PackId>,
) -> Option<PackToRead> {
    let told = |error: &RepositoryError| {
        let error: &dyn std::error::Error = error;
        tracing::debug!(error, "A pack that no index lists is passed over.");
    };
    let header = repository.pack_header(id, *size).inspect_err(told).ok()?;
    let pack = PackToRead { id: *id, size: *size, blobs: header.blobs };
    is_useful(repository, &pack).then_some(pack)
}

/// Returns the packs that the index files list or mark which are there now.
fn listed_by_others(
    repository: &Repository<Indexed>,
    cancel: &Cancel,
) -> Result<HashSet<PackId>, RepositoryError> {
    let mut others = HashSet::new();
    repository.take_up_index_files(cancel, |file| {
        let entries = file.packs.iter().chain(&file.packs_to_delete);
        others.extend(entries.map(|entry| entry.id));
    })?;
    Ok(others)
}
