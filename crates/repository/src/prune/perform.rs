//! The work: moves what is used, lists it, and removes the rest.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use lifeboat_model::{Cancel, Event, EventSink, PackId, Stage, Work};
use lifeboat_tiers::{ReadRange, TierError};

use super::decide::{Decision, Moving};
use super::{PrunePlan, PruneReport, Uncompressed, WORKERS_MAX};
use crate::blob::{BlobKind, BlobOpener, BlobSealer, SealedBlob};
use crate::compress::Compression;
use crate::error::RepositoryError;
use crate::lock::LockGuard;
use crate::pack::PackedBlob;
use crate::packing::{PackWriter, Written};
use crate::parallel::in_parallel;
use crate::ranges::{Run, runs};
use crate::removal::Remover;
use crate::repository::{Indexed, Repository};

impl PrunePlan<'_> {
    /// Does it, under the exclusive lock that was taken before anything was read. The index that the
    /// repository was loaded with fits it no longer.
    pub fn perform(
        self,
        lock: &LockGuard,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<PruneReport, RepositoryError> {
        let (repository, mut decision) = (self.repository, self.decision);
        let items = decision.moving.len() + decision.removed.len() + decision.orphans.len();
        let total = Some(Work { items: items as u64, bytes: 0 });
        events.emit(Event::Started { stage: Stage::Prune, total });
        let bytes_read = AtomicU64::new(0);
        let requests = AtomicU64::new(0);
        let cold = Mutex::default();
        let mover = Mover {
            repository,
            writer: PackWriter::new(repository, pack_size(self.options.pack_size.0), cancel),
            uncompressed: self.options.uncompressed,
            bytes_read: &bytes_read,
            requests: &requests,
            cold: &cold,
            events,
            cancel,
        };
        let outcome = mover.move_all(&decision.moving);
        // Work is cancelled when the lock is lost; that is the reason to name then.
        lock.check()?;
        let written = outcome?;
        decision.leave(&cold.into_inner().unwrap_or_else(PoisonError::into_inner));
        drop(std::mem::take(&mut decision.moving));
        decision.keep(&written.ids);
        let removals = decision.removals();
        let stage = Stage::Prune;
        let remover = Remover { store: repository.store(), lock, stage, events, cancel };
        // Only now: one of them may hold a blob that turned out to be damaged elsewhere.
        remover.remove_all(&decision.orphans)?;
        let old_packs: Vec<_> = decision.removed.iter().copied().collect();
        let mut gone = decision.removed;
        gone.extend(&decision.missing);
        let mut reindexed = crate::reindex::Reindexed::default();
        if !gone.is_empty() {
            remover.make_sure()?;
            reindexed = self.options.reindex(gone).perform(repository, lock, cancel)?;
        }
        remover.remove_all(&old_packs)?;
        events.emit(Event::Finished { stage: Stage::Prune });
        let mut report = decision.report;
        let traffic = &mut report.traffic;
        traffic.bytes_read = bytes_read.into_inner();
        traffic.bytes_written = written.bytes;
        traffic.packs_written = written.packs;
        traffic.index_files_written = written.index_files + reindexed.written;
        traffic.index_files_removed = reindexed.removed;
        report.settle(requests.into_inner(), removals);
        Ok(report)
    }
}

impl Decision {
    /// Lets packs stay that could not be read, since they are in cold storage: waking them costs more than what
    /// is unused in them.
    fn leave(&mut self, cold: &BTreeSet<PackId>) {
        for moving in self.moving.iter().filter(|moving| cold.contains(&moving.pack)) {
            self.removed.remove(&moving.pack);
            self.report.packs.keep_cold(moving.size);
            self.report.unused_after_bytes += moving.left;
        }
    }

    /// Keeps packs that were just written: what a killed prune left without listing it may be the very
    /// pack that this one made of the same blobs.
    fn keep(&mut self, written: &BTreeSet<PackId>) {
        self.removed.retain(|id| !written.contains(id));
        self.orphans.retain(|id| !written.contains(id));
        self.missing.retain(|id| !written.contains(id));
    }
}

fn pack_size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Moves blobs into new packs.
struct Mover<'a> {
    repository: &'a Repository<Indexed>,
    writer: PackWriter<'a>,
    uncompressed: Uncompressed,
    bytes_read: &'a AtomicU64,
    requests: &'a AtomicU64,
    /// Packs that cannot be read before somebody asks for them.
    cold: &'a Mutex<BTreeSet<PackId>>,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
}

/// What one thread moves blobs with.
struct Tools<'a> {
    opener: BlobOpener<'a>,
    sealer: BlobSealer<'a>,
    bytes: Vec<u8>,
    scratch: Vec<u8>,
}

impl Mover<'_> {
    fn move_all(self, moving: &[Moving]) -> Result<Written, RepositoryError> {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        // One more than there are processors, since each waits for the tier now and then.
        let threads = self.repository.store().requests((processors + 1).min(WORKERS_MAX));
        let moved = in_parallel(moving, threads, |mine| {
            let key = self.repository.key();
            let mut tools = Tools {
                opener: BlobOpener::new(key),
                sealer: BlobSealer::new(key, Compression::default()),
                bytes: Vec::new(),
                scratch: Vec::new(),
            };
            for pack in mine {
                self.move_pack(&mut tools, pack)?;
                let work = Work { items: 1, bytes: 0 };
                self.events.emit(Event::Advanced { stage: Stage::Prune, work });
            }
            Ok(())
        });
        self.writer.finish(moved)
    }

    fn move_pack(&self, tools: &mut Tools<'_>, moving: &Moving) -> Result<(), RepositoryError> {
        for run in runs(moving.blobs.iter().map(|blob| (blob.offset, blob.length))) {
            self.cancel.check()?;
            let range = ReadRange::Bounded { offset: run.offset, length: run.length };
            let read = self.repository.store().get_into(&moving.pack, range, &mut tools.bytes);
            self.requests.fetch_add(1, Ordering::Relaxed);
            if matches!(read, Err(TierError::Cold { .. })) {
                self.cold.lock().unwrap_or_else(PoisonError::into_inner).insert(moving.pack);
                return Ok(());
            }
            if read.is_err() {
                // What went wrong is told by the single reads that follow.
                tools.bytes.clear();
            }
            self.bytes_read.fetch_add(tools.bytes.len() as u64, Ordering::Relaxed);
            for blob in &moving.blobs[run.blobs.clone()] {
                self.move_blob(tools, &run, blob)?;
            }
        }
        Ok(())
    }

    /// Moves a blob as it is sealed, after it was opened and found to be whole.
    fn move_blob(
        &self,
        tools: &mut Tools<'_>,
        run: &Run,
        blob: &PackedBlob,
    ) -> Result<(), RepositoryError> {
        let Tools { opener, sealer, bytes, scratch } = tools;
        let compress = blob.uncompressed_length.is_none()
            && (blob.kind == BlobKind::Tree || self.uncompressed == Uncompressed::Compress);
        let begin = usize::try_from(u64::from(blob.offset) - run.offset).unwrap_or(usize::MAX);
        let sealed = bytes.get(begin..begin.saturating_add(blob.length as usize));
        if let Some(sealed) = sealed {
            scratch.clear();
            scratch.extend_from_slice(sealed);
            let opened = opener.open_in_place(&blob.id, scratch, blob.uncompressed_length);
            match opened {
                Ok(plaintext) if compress => {
                    return self.writer.add(&sealer.seal(blob.kind, blob.id, plaintext)?);
                }
                Ok(_) => {
                    return self.writer.add(&SealedBlob {
                        kind: blob.kind,
                        id: blob.id,
                        bytes: sealed.to_vec(),
                        uncompressed_length: blob.uncompressed_length,
                    });
                }
                Err(defect) => {
                    tracing::warn!(%defect, blob = blob.id.to_hex(), "A blob is damaged; looking for it elsewhere.");
                }
            }
        }
        let plaintext = self.repository.read_blob_with(opener, blob.kind, &blob.id)?;
        self.writer.add(&sealer.seal(blob.kind, blob.id, &plaintext)?)
    }
}
