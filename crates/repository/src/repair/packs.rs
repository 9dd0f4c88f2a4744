//! Mends packs that are damaged: saves what is whole of them, and gives up the rest.
//!
//! What is lost of a pack is in no index afterwards. So the next backup stores it again if it is still
//! on the disk, and [`super::repair_snapshots`] sees that it lacks.
//!
//! # Invariants
//!
//! - A pack that was read and found to be whole stays as it is.
//! - A damaged pack goes only after all that is whole of it was opened, stored and listed elsewhere,
//!   and no index lists it any more.
//! - A pack of which nobody can say what is in it, and one that rustic marked, stays.
//!
//! # Crash consistency
//!
//! New packs, index files that list them, index files that do not list the damaged packs, the old index
//! files, the damaged packs: what a kill leaves is whole but for what was damaged before, and the
//! next run goes on.
//!
//! # Limits
//!
//! The entries of one index file are in memory, those of the damaged packs, 32 bytes for each pack, and
//! the packs that are read at a time, as for a check of all data. Index files have to be whole.
//!
//! Source: restic `internal/repository/repair_pack.go`.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{Cancel, Classify, ErrorKind, Event, EventSink, IndexId, PackId, Stage, Work};
use lifeboat_tiers::TierError;
use serde::Serialize;

use super::salvage::{Damaged, SalvagedPack, add_blobs, listed_in, salvage};
use crate::check::{PackToRead, read_packs};
use crate::error::RepositoryError;
use crate::lock::LockGuard;
use crate::pack::PackedBlob;
use crate::profile::Profile;
use crate::reindex::Reindex;
use crate::removal::Remover;
use crate::repository::{Open, Repository};
use crate::store::FileId;

/// Which packs are read, and mended if they are damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacksToMend {
    /// These.
    Named(BTreeSet<PackId>),
    /// All.
    All,
}

/// What was, or would be, mended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PackRepair {
    /// How many packs were read.
    pub packs_read: u64,
    /// Packs that were damaged or missing, and what could be had of them.
    pub repaired_packs: Vec<SalvagedPack>,
    /// Packs that were left as they are, since nobody can say what is in them.
    pub unknown_packs: Vec<PackId>,
    /// How many packs were written.
    pub packs_written: u64,
    /// How many bytes they have.
    #[serde(rename = "written_bytes")]
    pub bytes_written: u64,
    /// How many index files were written.
    pub index_files_written: u64,
    /// How many index files were removed.
    pub index_files_removed: u64,
}

impl PackRepair {
    /// Returns how many blobs are lost.
    pub fn lost_blobs(&self) -> usize {
        let lost: BTreeSet<_> = self
            .repaired_packs
            .iter()
            .flat_map(|pack| &pack.lost_blobs)
            .map(|blob| (blob.kind, blob.id))
            .collect();
        lost.len()
    }
}

/// Mends packs under an exclusive lock; without a lock, only tells what could be had of them.
///
/// # Errors
///
/// [`RepositoryError::NoSuchId`] if a pack was named that is neither there nor in an index.
pub fn repair_packs(
    repository: &Repository<Open>,
    lock: Option<&LockGuard>,
    packs: &PacksToMend,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<PackRepair, RepositoryError> {
    let mut survey = Survey::of(repository, events, cancel)?;
    survey.read(packs)?;
    let Survey { sizes, damaged, mut report, .. } = survey;
    if damaged.is_empty() {
        return Ok(report);
    }
    let (salvaged, written) = salvage(repository, lock, &damaged, cancel)?;
    report.repaired_packs = salvaged;
    let Some(lock) = lock else { return Ok(report) };
    let remover = Remover { store: repository.store(), lock, stage: Stage::Repair, events, cancel };
    remover.make_sure()?;
    let gone: BTreeSet<PackId> = damaged.keys().copied().collect();
    let there: Vec<PackId> = gone.iter().filter(|id| sizes.contains_key(id)).copied().collect();
    let reindexed = Reindex { gone, ..Reindex::default() }.perform(repository, lock, cancel)?;
    remover.remove_all(&there)?;
    report.packs_written = written.packs;
    report.bytes_written = written.bytes;
    report.index_files_written = written.index_files + reindexed.written;
    report.index_files_removed = reindexed.removed;
    Ok(report)
}

/// What is known of packs.
struct Survey<'a> {
    repository: &'a Repository<Open>,
    /// The packs that are there.
    sizes: BTreeMap<PackId, u64>,
    /// What rustic marked.
    marked: BTreeSet<PackId>,
    /// The packs that were looked at.
    seen: BTreeSet<PackId>,
    damaged: Damaged,
    report: PackRepair,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
}

impl<'a> Survey<'a> {
    fn of(
        repository: &'a Repository<Open>,
        events: &'a dyn EventSink,
        cancel: &'a Cancel,
    ) -> Result<Self, RepositoryError> {
        let files = repository.store().list::<PackId>()?;
        Ok(Self {
            repository,
            sizes: files.into_iter().map(|file| (file.id, file.size)).collect(),
            marked: BTreeSet::new(),
            seen: BTreeSet::new(),
            damaged: Damaged::new(),
            report: PackRepair::default(),
            events,
            cancel,
        })
    }

    /// Reads packs and finds those that are damaged, with all that is said to be in them.
    fn read(&mut self, packs: &PacksToMend) -> Result<(), RepositoryError> {
        let total = match packs {
            PacksToMend::Named(named) => named.len(),
            PacksToMend::All => self.sizes.len(),
        };
        let total = Some(Work { items: total as u64, bytes: 0 });
        self.events.emit(Event::Started { stage: Stage::Data, total });
        let is_wanted = |id: &PackId| match packs {
            PacksToMend::Named(named) => named.contains(id),
            PacksToMend::All => true,
        };
        for listed in self.repository.store().list::<IndexId>()? {
            self.cancel.check()?;
            let file = self.repository.index_file(&listed.id)?;
            self.marked.extend(file.packs_to_delete.iter().map(|pack| pack.id));
            let entries = file.packs.into_iter().filter(|entry| is_wanted(&entry.id));
            self.read_listed(entries.map(|entry| (entry.id, entry.blobs)))?;
        }
        self.read_unlisted(packs)?;
        self.events.emit(Event::Finished { stage: Stage::Data });
        self.add_all_that_is_known()
    }

    /// Reads packs of which an index says what is in them.
    fn read_listed(
        &mut self,
        entries: impl Iterator<Item = (PackId, Vec<PackedBlob>)>,
    ) -> Result<(), RepositoryError> {
        let mut wanted = Vec::new();
        for (id, mut blobs) in entries.filter(|(id, _)| self.seen.insert(*id)) {
            if let Some(size) = self.sizes.get(&id) {
                blobs.sort_unstable_by_key(|blob| blob.offset);
                wanted.push(PackToRead { id, size: *size, blobs });
            } else {
                self.damaged.insert(id, blobs);
            }
        }
        self.read_whole(&wanted)
    }

    fn read_whole(&mut self, wanted: &[PackToRead]) -> Result<(), RepositoryError> {
        let profile = Profile::off();
        for read in read_packs(self.repository, wanted, &profile, self.events, self.cancel)? {
            self.report.packs_read += 1;
            match read.result {
                Ok(verdict) if verdict.problems.is_empty() => {}
                Ok(_) | Err(TierError::NotFound { .. }) => {
                    _ = self.damaged.insert(read.id, Vec::new());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads packs that no index lists, as far as their headers say what is in them.
    fn read_unlisted(&mut self, packs: &PacksToMend) -> Result<(), RepositoryError> {
        let ids: Vec<PackId> = match packs {
            PacksToMend::Named(named) => named.iter().copied().collect(),
            PacksToMend::All => self.sizes.keys().copied().collect(),
        };
        for id in ids {
            if self.seen.contains(&id) {
                continue;
            }
            let size =
                *self.sizes.get(&id).ok_or_else(|| self.repository.no_such("packs", &id.hex()))?;
            self.cancel.check()?;
            match self.repository.pack_header(&id, size) {
                _ if self.marked.contains(&id) => self.report.unknown_packs.push(id),
                Ok(header) => self.read_whole(&[PackToRead { id, size, blobs: header.blobs }])?,
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    self.report.unknown_packs.push(id);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Adds what all index files and the packs' own headers say: any of them may be wrong.
    fn add_all_that_is_known(&mut self) -> Result<(), RepositoryError> {
        if self.damaged.is_empty() {
            return Ok(());
        }
        let ids = self.damaged.keys().copied().collect();
        for (id, blobs) in listed_in(self.repository, &ids, self.cancel)? {
            add_blobs(self.damaged.entry(id).or_default(), blobs);
        }
        for (id, blobs) in &mut self.damaged {
            let Some(size) = self.sizes.get(id) else { continue };
            match self.repository.pack_header(id, *size) {
                Ok(header) => add_blobs(blobs, header.blobs),
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
