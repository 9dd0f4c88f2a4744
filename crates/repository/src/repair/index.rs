//! Makes the index fit the packs: what no index lists, or lists wrongly, is read from the packs.
//!
//! # Invariants
//!
//! - What an index lists of a pack that is there, and has the size that follows, stays as it is.
//! - A pack whose header cannot be read is left where it is and named; no index lists it afterwards. What
//!   an index says is in it, and is whole there, is saved into new packs before.
//! - What rustic marked as `packs_to_delete` stays marked, unless its index file cannot be read.
//!
//! # Crash consistency
//!
//! New index files are durable before an old one is removed; the next run goes on.
//!
//! # Limits
//!
//! It holds the entries of the packs that are read, about 50 bytes a blob, and of those that are damaged; [`READERS`] threads read
//! one header each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use lifeboat_model::{Cancel, Classify, ErrorKind, Event, EventSink, IndexId, PackId, Stage, Work};
use serde::Serialize;

use super::salvage::{SalvagedPack, listed_in, salvage};
use crate::error::RepositoryError;
use crate::index::{IndexFile, PackEntry};
use crate::lock::LockGuard;
use crate::pack::pack_size;
use crate::reindex::Reindex;
use crate::repository::{Open, Repository};

/// How many headers are read at a time: each mostly waits for the tier.
const READERS: usize = 8;

/// Of which packs the headers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PacksToRead {
    /// Of those that no index lists, or not as they are.
    #[default]
    Unknown,
    /// Of all: whatever the index says is put aside.
    All,
}

/// What was, or would be, repaired.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IndexRepair {
    /// Index files that cannot be used.
    pub damaged_index_files: Vec<IndexId>,
    /// Packs that no index listed.
    pub added_packs: Vec<PackId>,
    /// Packs that were listed otherwise than they are.
    pub corrected_packs: Vec<PackId>,
    /// Packs that were listed and are not there.
    pub missing_packs: Vec<PackId>,
    /// Packs that cannot be read.
    pub damaged_packs: Vec<PackId>,
    /// What could be had of those of them that an index listed.
    pub salvaged_packs: Vec<SalvagedPack>,
    /// How many headers were read.
    pub headers_read: u64,
    /// How many index files were written.
    pub index_files_written: u64,
    /// How many index files were removed.
    pub index_files_removed: u64,
}

impl IndexRepair {
    /// Tells whether there was anything to repair.
    pub const fn is_needed(&self) -> bool {
        !(self.damaged_index_files.is_empty()
            && self.added_packs.is_empty()
            && self.corrected_packs.is_empty()
            && self.missing_packs.is_empty())
    }
}

/// Makes the index fit the packs, under an exclusive lock; without a lock, only tells what is wrong.
pub fn repair_index(
    repository: &Repository<Open>,
    lock: Option<&LockGuard>,
    packs: PacksToRead,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<IndexRepair, RepositoryError> {
    let mut survey = Survey::of(repository, packs, cancel)?;
    let unknown = survey.sort_packs(repository, packs)?;
    let (added, damaged) = read_headers(repository, &unknown, events, cancel)?;
    let report = &mut survey.report;
    report.headers_read = unknown.len() as u64;
    report.damaged_packs = damaged;
    let damaged: BTreeSet<PackId> = report.damaged_packs.iter().copied().collect();
    report.added_packs.retain(|pack| !damaged.contains(pack));
    let known = listed_in(repository, &damaged, cancel)?;
    let (salvaged, written) = salvage(repository, lock, &known, cancel)?;
    survey.report.salvaged_packs = salvaged;
    let Some(lock) = lock else { return Ok(survey.report) };
    let changes = survey.report.is_needed() || packs == PacksToRead::All;
    if changes {
        let mut added = added;
        added.sort_unstable_by_key(|entry| entry.id);
        let reindex = Reindex {
            gone: survey.gone,
            void: survey.void,
            added,
            marked: survey.marked,
            ..Reindex::default()
        };
        let done = reindex.perform(repository, lock, cancel)?;
        survey.report.index_files_written = written.index_files + done.written;
        survey.report.index_files_removed = done.removed;
    }
    Ok(survey.report)
}

/// What the index files say.
#[derive(Debug, Default)]
struct Survey {
    /// The size that each listed pack should have; none if it is listed in several ways.
    listed: BTreeMap<PackId, Option<u64>>,
    /// Packs whose entries do not count any more.
    gone: BTreeSet<PackId>,
    /// Index files that do not count.
    void: BTreeSet<IndexId>,
    /// What rustic marked in files that do not count.
    marked: Vec<PackEntry>,
    /// All that rustic marked.
    doomed: BTreeSet<PackId>,
    report: IndexRepair,
}

impl Survey {
    fn of(
        repository: &Repository<Open>,
        packs: PacksToRead,
        cancel: &Cancel,
    ) -> Result<Self, RepositoryError> {
        let mut survey = Self::default();
        for listed in repository.store().list::<IndexId>()? {
            cancel.check()?;
            match repository.read_apart(&listed.id, IndexFile::parse) {
                Ok(file) => survey.add(listed.id, file, packs),
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    survey.void.insert(listed.id);
                    survey.report.damaged_index_files.push(listed.id);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(survey)
    }

    fn add(&mut self, id: IndexId, file: IndexFile, packs: PacksToRead) {
        self.doomed.extend(file.packs_to_delete.iter().map(|entry| entry.id));
        for entry in &file.packs {
            let size = Some(pack_size(&entry.blobs));
            let known = self.listed.entry(entry.id).or_insert(size);
            if *known != size {
                *known = None;
            }
        }
        if packs == PacksToRead::All {
            self.void.insert(id);
            self.marked.extend(file.packs_to_delete);
        }
    }

    /// Compares with the packs that are there; returns those to be read.
    fn sort_packs(
        &mut self,
        repository: &Repository<Open>,
        packs: PacksToRead,
    ) -> Result<Vec<(PackId, u64)>, RepositoryError> {
        let mut unknown = Vec::new();
        for file in repository.store().list::<PackId>()? {
            let listed = self.listed.remove(&file.id);
            match listed {
                None if self.doomed.contains(&file.id) => continue,
                None => self.report.added_packs.push(file.id),
                Some(size) if size != Some(file.size) => {
                    self.report.corrected_packs.push(file.id);
                    self.gone.insert(file.id);
                }
                Some(_) if packs == PacksToRead::Unknown => continue,
                Some(_) => {}
            }
            unknown.push((file.id, file.size));
        }
        self.report.missing_packs.extend(self.listed.keys());
        self.gone.extend(self.listed.keys());
        Ok(unknown)
    }
}

type Headers = (Vec<PackEntry>, Vec<PackId>);

/// Reads headers; returns what they list, and the packs that have none that can be read.
fn read_headers(
    repository: &Repository<Open>,
    packs: &[(PackId, u64)],
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Headers, RepositoryError> {
    let total = Work { items: packs.len() as u64, bytes: 0 };
    events.emit(Event::Started { stage: Stage::Repair, total: Some(total) });
    let next = AtomicUsize::new(0);
    let outcome: Mutex<Result<Headers, RepositoryError>> = Mutex::new(Ok(Headers::default()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((id, size)) = packs.get(number) else { break };
            let cancelled = cancel.check().map_err(RepositoryError::from);
            let header = cancelled.and_then(|()| repository.pack_header(id, *size));
            events
                .emit(Event::Advanced { stage: Stage::Repair, work: Work { items: 1, bytes: 0 } });
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *outcome, header) {
                (Ok((entries, _)), Ok(header)) => {
                    let blobs = header.blobs;
                    entries.push(PackEntry { id: *id, blobs, time: None, size: None });
                }
                (Ok((_, damaged)), Err(error)) if error.kind() == ErrorKind::Corrupt => {
                    damaged.push(*id);
                }
                (Ok(_), Err(error)) => *outcome = Err(error),
                (Err(_), _) => break,
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..repository.store().requests(READERS).min(packs.len()) {
            scope.spawn(work);
        }
    });
    let (entries, mut damaged) = outcome.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    damaged.sort_unstable();
    events.emit(Event::Finished { stage: Stage::Repair });
    Ok((entries, damaged))
}
