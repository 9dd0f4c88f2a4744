//! Packs that are filled with sealed blobs, stored when they are full, and listed.
//!
//! Prune, copy and repair store what they make through a [`PackWriter`].
//!
//! # Invariants
//!
//! - A pack holds blobs of one kind.
//! - Only packs that are durable, and have the size that they should have, are listed. For a writer that
//!   [reads back](PackWriter::reading_back) a sample of them was read as well, and the index file.
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

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lifeboat_model::{Cancel, Classify, PackId};
use lifeboat_tiers::TierError;

use crate::blob::{BLOB_LENGTH_MAX, BlobKind, SealedBlob};
use crate::error::{Defect, RepositoryError};
use crate::index::{BLOBS_PER_FILE_MAX, IndexFile, PackEntry};
use crate::pack::{FinishedPack, PackBuilder};
use crate::repository::{Indexed, Repository, State};
use crate::store::{FileId, ListedFile};

/// The size of a pack of directories: read as a whole, so smaller than those of data.
pub(crate) const TREE_PACK_SIZE: usize = 4 << 20;

/// How many bytes are stored before they are listed: a kill costs at most so many.
pub(crate) const LIST_AFTER: u64 = 256 << 20;

/// How many packs are asked for their sizes one by one, where a listing of all would take no fewer requests.
const ASKED_SINGLY: usize = 8;

/// How many objects a store tells in one answer to a listing.
const LISTED_AT_ONCE: usize = 1000;

/// How many packs are stored for each that is read back: a gigabyte for one of the usual size.
const STORED_FOR_ONE_READ: u64 = 64;

/// Whether what is stored is looked at again on the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadBack {
    /// Only its size.
    Sizes,
    /// A sample of the packs, and every index file.
    Sample,
}

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
    /// Packs whose sizes are not confirmed.
    unconfirmed: Vec<ListedFile<PackId>>,
}

/// Fills packs, stores and lists them; any number of threads may add blobs.
#[derive(Debug)]
pub(crate) struct PackWriter<'a, S: State = Indexed> {
    repository: &'a Repository<S>,
    cancel: &'a Cancel,
    read_back: ReadBack,
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
            read_back: ReadBack::Sizes,
            data_pack_size,
            data: Mutex::default(),
            trees: Mutex::default(),
            progress: Mutex::default(),
        }
    }

    /// Reads back a sample of what is stored before it is listed, and what lists it.
    #[must_use]
    pub(crate) const fn reading_back(mut self) -> Self {
        self.read_back = ReadBack::Sample;
        self
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
        let size = pack.bytes.len() as u64;
        let mut progress = lock(&self.progress);
        progress.written.packs += 1;
        progress.written.bytes += size;
        progress.written.ids.insert(pack.id);
        progress.unconfirmed.push(ListedFile { id: pack.id, size });
        drop(progress);
        self.note(PackEntry::from(pack), size)
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
    pub(crate) fn list(&self) -> Result<(), RepositoryError> {
        let (unlisted, unconfirmed, stored) = {
            let mut progress = lock(&self.progress);
            progress.unlisted_bytes = 0;
            let unconfirmed = std::mem::take(&mut progress.unconfirmed);
            (std::mem::take(&mut progress.unlisted), unconfirmed, progress.written.packs)
        };
        if unlisted.packs.is_empty() {
            return Ok(());
        }
        self.confirm(&unconfirmed, stored)?;
        // Without its lock, a prune may have taken these packs for orphans.
        self.cancel.check_may_write()?;
        match self.read_back {
            ReadBack::Sizes => self.repository.save_index(&unlisted)?,
            ReadBack::Sample => self.repository.save_index_and_read_it(&unlisted)?,
        };
        lock(&self.progress).written.index_files += 1;
        Ok(())
    }

    /// Asks the tier whether packs are there and have the sizes that they should have; and reads one, if
    /// it is due.
    fn confirm(&self, packs: &[ListedFile<PackId>], stored: u64) -> Result<(), RepositoryError> {
        let listed = self.list_packs(packs.len())?;
        for ListedFile { id, size: expected } in packs {
            let actual = match listed.get(id) {
                Some(size) => *size,
                // Asked for singly also where a listing lags behind.
                None => self.repository.store().size(id)?,
            };
            if actual != *expected {
                let defect = Defect::Length { expected: *expected, actual };
                return Err(self.repository.corrupt(id.object(), defect));
            }
        }
        let before = stored - packs.len() as u64;
        let is_due = before.div_ceil(STORED_FOR_ONE_READ) != stored.div_ceil(STORED_FOR_ONE_READ);
        let Some(pack) = packs.first().filter(|_| is_due && self.read_back == ReadBack::Sample)
        else {
            return Ok(());
        };
        match self.repository.load_raw(&pack.id) {
            // Waking it takes hours: its size has to do.
            Err(RepositoryError::Tier(TierError::Cold { .. })) => Ok(()),
            read => read.map(drop),
        }
    }

    /// Lists all packs, if that takes fewer requests than asking for so many one by one.
    fn list_packs(&self, wanted: usize) -> Result<HashMap<PackId, u64>, RepositoryError> {
        let store = self.repository.store();
        if store.reads_here() || wanted <= ASKED_SINGLY {
            return Ok(HashMap::new());
        }
        if wanted <= ASKED_SINGLY + self.repository.packs_known().div_ceil(LISTED_AT_ONCE) {
            return Ok(HashMap::new());
        }
        let listed = store.list::<PackId>()?;
        Ok(listed.into_iter().map(|file| (file.id, file.size)).collect())
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
