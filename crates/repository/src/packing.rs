//! Packs that are filled with sealed blobs, stored when they are full, and listed.
//!
//! Prune, copy and repair store what they make through a [`PackWriter`].
//!
//! # Invariants
//!
//! - A pack holds blobs of one kind.
//! - Only packs that are durable, and have the size that they should have, are listed.
//!
//! # Crash consistency
//!
//! What is stored is listed every [`LIST_AFTER`] bytes and at the end, also if the work failed, so
//! that the next run need not store it again. After a kill, or when the lock was lost, packs that no
//! index lists are orphans.
//!
//! # Limits
//!
//! As many packs of each kind are open as threads add blobs at the same moment; 32 bytes for each that
//! was stored.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lifeboat_model::{Cancel, Classify, PackId};

use crate::blob::{BLOB_LENGTH_MAX, BlobKind, SealedBlob};
use crate::error::{Defect, RepositoryError};
use crate::index::{BLOBS_PER_FILE_MAX, IndexFile, PackEntry};
use crate::pack::{FinishedPack, PackBuilder};
use crate::repository::{Indexed, Repository, State};
use crate::store::FileId;

/// The size of a pack of directories: read as a whole, so smaller than those of data.
pub(crate) const TREE_PACK_SIZE: usize = 4 << 20;

/// How many bytes are stored before they are listed: a kill costs at most so many.
pub(crate) const LIST_AFTER: u64 = 256 << 20;

/// What a writer stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub packs: u64,
    /// The packs themselves, so that whoever removes others keeps these.
    pub ids: BTreeSet<PackId>,
    pub bytes: u64,
    pub index_files: u64,
}

#[derive(Debug, Default)]
struct Progress {
    written: Written,
    unlisted: IndexFile,
    unlisted_bytes: u64,
}

/// Fills packs, stores and lists them; any number of threads may add blobs.
#[derive(Debug)]
pub(crate) struct PackWriter<'a, S: State = Indexed> {
    repository: &'a Repository<S>,
    cancel: &'a Cancel,
    data_pack_size: usize,
    data: Mutex<Vec<PackBuilder>>,
    trees: Mutex<Vec<PackBuilder>>,
    progress: Mutex<Progress>,
}

impl<'a, S: State> PackWriter<'a, S> {
    pub(crate) fn new(
        repository: &'a Repository<S>,
        data_pack_size: usize,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            repository,
            cancel,
            data_pack_size,
            data: Mutex::default(),
            trees: Mutex::default(),
            progress: Mutex::default(),
        }
    }

    /// Returns the size that packs of a kind are filled to, in bytes.
    const fn size(&self, kind: BlobKind) -> usize {
        match kind {
            BlobKind::Data => self.data_pack_size,
            BlobKind::Tree => TREE_PACK_SIZE,
        }
    }

    const fn open(&self, kind: BlobKind) -> &Mutex<Vec<PackBuilder>> {
        match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        }
    }

    /// Adds a blob; stores the pack that it makes full.
    pub(crate) fn add(&self, blob: &SealedBlob) -> Result<(), RepositoryError> {
        let mut pack = lock(self.open(blob.kind)).pop().unwrap_or_default();
        let size = self.size(blob.kind);
        let fits = pack.is_empty() || pack.size() + blob.bytes.len() <= size;
        let full = (!fits || pack.add(blob).is_err())
            .then(|| std::mem::replace(&mut pack, PackBuilder::reusing(Vec::with_capacity(size))));
        let added = if full.is_some() { pack.add(blob).map(drop) } else { Ok(()) };
        lock(self.open(blob.kind)).push(pack);
        added.map_err(|_| RepositoryError::TooLarge {
            what: "a sealed blob",
            length: blob.bytes.len() as u64,
            limit: BLOB_LENGTH_MAX as u64,
        })?;
        full.filter(|pack| !pack.is_empty())
            .map_or(Ok(()), |pack| self.store(&pack.finish(self.repository.key())))
    }

    /// Stores a pack that is whole already.
    pub(crate) fn store(&self, pack: &FinishedPack) -> Result<(), RepositoryError> {
        self.repository.save_pack(pack)?;
        let (expected, actual) = (pack.bytes.len() as u64, self.repository.store().size(&pack.id)?);
        if actual != expected {
            let defect = Defect::Length { expected, actual };
            return Err(self.repository.corrupt(pack.id.object(), defect));
        }
        let mut progress = lock(&self.progress);
        progress.written.packs += 1;
        progress.written.bytes += expected;
        progress.written.ids.insert(pack.id);
        drop(progress);
        self.note(PackEntry::from(pack), expected)
    }

    /// Lists a pack that is durable, with the next index file.
    pub(crate) fn note(&self, entry: PackEntry, size: u64) -> Result<(), RepositoryError> {
        let mut progress = lock(&self.progress);
        progress.unlisted.packs.push(entry);
        progress.unlisted_bytes += size;
        let full = progress.unlisted.blob_count() >= BLOBS_PER_FILE_MAX
            || progress.unlisted_bytes >= LIST_AFTER;
        drop(progress);
        if full { self.list() } else { Ok(()) }
    }

    /// Lists what was stored since the last time.
    fn list(&self) -> Result<(), RepositoryError> {
        let unlisted = {
            let mut progress = lock(&self.progress);
            progress.unlisted_bytes = 0;
            std::mem::take(&mut progress.unlisted)
        };
        if unlisted.packs.is_empty() {
            return Ok(());
        }
        // Without its lock, a prune may have taken these packs for orphans.
        self.cancel.check_may_write()?;
        self.repository.save_index(&unlisted)?;
        lock(&self.progress).written.index_files += 1;
        Ok(())
    }

    /// Returns what was stored so far.
    pub(crate) fn written(&self) -> Written {
        lock(&self.progress).written.clone()
    }

    /// Ends the work: stores the packs that are not full, if it went well, and lists what is stored,
    /// however it went.
    pub(crate) fn finish(
        self,
        outcome: Result<(), RepositoryError>,
    ) -> Result<Written, RepositoryError> {
        let stored = outcome.and_then(|()| self.store_open());
        let listed = self.list();
        if let (Err(_), Err(error)) = (&stored, &listed) {
            tracing::warn!(%error, kind = ?error.kind(), "What was stored could not be listed.");
        }
        stored.and(listed)?;
        Ok(self.written())
    }

    fn store_open(&self) -> Result<(), RepositoryError> {
        for kind in [BlobKind::Data, BlobKind::Tree] {
            let open = std::mem::take(&mut *lock(self.open(kind)));
            for pack in PackBuilder::gather(open, self.size(kind)) {
                self.store(&pack.finish(self.repository.key()))?;
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
