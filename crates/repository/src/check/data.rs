//! Reads packs back, several at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use lifeboat_model::{Cancel, Cancelled, Event, EventSink, PackId, Stage, Work};
use lifeboat_tiers::TierError;

use super::pack::{PackChecker, PackVerdict};
use crate::pack::PackedBlob;
use crate::profile::Profile;
use crate::repository::{Repository, State};
use crate::walk::readers;

/// How many packs are read at a time from a tier that is far. Each is in memory whole: 128 MiB for the
/// largest that stock restic makes. Of one that is near, each processor reads one in small steps.
pub const READERS: usize = 4;

/// A pack that is to be read.
#[derive(Debug, Clone)]
pub(crate) struct PackToRead {
    pub id: PackId,
    pub size: u64,
    /// What the index says is in it, in the order of the offsets.
    pub blobs: Vec<PackedBlob>,
}

/// What reading a pack showed.
#[derive(Debug)]
pub(crate) struct ReadPack {
    pub id: PackId,
    pub size: u64,
    pub result: Result<PackVerdict, TierError>,
}

impl ReadPack {
    /// Tells whether blobs cannot be had from it.
    pub(super) fn costs_blobs(&self) -> bool {
        match &self.result {
            Ok(verdict) => !verdict.bad_blobs.is_empty(),
            Err(error) => matches!(error, TierError::NotFound { .. }),
        }
    }
}

/// Reads packs and checks all of their bytes; the results come in the order of the packs.
pub(crate) fn read_packs<S: State>(
    repository: &Repository<S>,
    packs: &[PackToRead],
    profile: &Profile,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Vec<ReadPack>, Cancelled> {
    if packs.is_empty() {
        return Ok(Vec::new());
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        let mut checker = PackChecker::new(repository.store(), repository.key(), profile.meter());
        while !cancel.is_cancelled() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(pack) = packs.get(number) else { break };
            let result = checker.check(pack);
            let read = ReadPack { id: pack.id, size: pack.size, result };
            results.lock().unwrap_or_else(PoisonError::into_inner).push((number, read));
            let work = Work { items: 1, bytes: pack.size };
            events.emit(Event::Advanced { stage: Stage::Data, work });
        }
    };
    thread::scope(|scope| {
        let store = repository.store();
        let near = store.reads_here();
        let readers = if near { readers(repository) } else { store.requests(READERS) };
        for _ in 1..readers.min(packs.len()) {
            scope.spawn(work);
        }
        work();
    });
    cancel.check()?;
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    Ok(results.into_iter().map(|(_, read)| read).collect())
}
