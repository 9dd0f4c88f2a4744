//! Where blobs go: is it there already, else seal it, put it into a pack, store the pack, list it.
//!
//! # Crash consistency
//!
//! A pack is listed in an index only after it is durable. A kill before that leaves packs that no
//! index lists; the next backup adopts them as far as it needs them (see the module `orphans`), and
//! `prune` removes the others. Index files are written at least every [`INDEX_INTERVAL`], and sooner
//! once an eighth of what was stored is unlisted, so that no more than that has to be read back, or is
//! stored twice where stock restic goes on.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use lifeboat_model::{BlobId, Clock, Timestamp};

use super::packs::{OpenPacks, Spares};
use super::work::Work;
use crate::blob::{BlobKind, BlobSealer, PreparedBlob, StreamedBlob, blob_id};
use crate::error::RepositoryError;
use crate::follower::Follower;
use crate::index::{BLOBS_PER_FILE_MAX, IndexFile, PackEntry};
use crate::orphans::Orphans;
use crate::pack::{FinishedPack, PackBuilder};
use crate::profile::{Activity, Meter, Profile};
use crate::repository::{Indexed, Repository};
use crate::store::Store;

/// The size of a pack of directories, in bytes: restic keeps whole such packs in its cache when it
/// wants one directory.
const TREE_PACK_SIZE: usize = 4 << 20;

/// How many packs of data are filled at once at most. Each worker seals into one of his own, so that
/// nobody waits; with more workers than this, memory counts for more.
const OPEN_DATA_PACKS_MAX: usize = 16;

/// How many packs of directories are filled at once: workers seal into them only now and then.
const OPEN_TREE_PACKS_MAX: usize = 2;

/// How many packs are being stored at once on a tier of this machine: one that the tier makes durable and
/// one that is on its way there.
const UPLOADS_HERE: usize = 2;

/// How many packs are on their way at once to a tier that is far, as with restic's `connections`: at a
/// round trip of 50 ms one connection carries a pack of 16 MiB in little less than twice that time.
const UPLOADS_FAR: usize = 5;

/// How many bytes of packs may be on their way at once to a tier that is far, unless two packs have more.
const UPLOAD_BYTES_MAX: usize = 80 << 20;

/// Returns how many packs of a size are stored at once.
pub(super) fn uploads(store: &Store, pack_size: usize) -> usize {
    if store.reads_here() {
        return UPLOADS_HERE;
    }
    (UPLOAD_BYTES_MAX / pack_size.max(1)).clamp(UPLOADS_HERE, UPLOADS_FAR)
}

/// Finished packs that wait for an upload: one, so that a worker that finished a pack can go on.
pub(super) const PACKS_WAITING: usize = 1;

/// After how long a pack is listed at the latest, as restic does.
const INDEX_INTERVAL: Duration = Duration::from_mins(10);

/// How many bytes of packs may be unlisted at least; below it a kill costs less than an index file.
const UNLISTED_BYTES_MIN: u64 = 64 << 20;

/// Which part of what a backup stored may be unlisted, so that a kill never costs more than that,
/// while the number of index files grows only with the logarithm of the size.
const UNLISTED_PART: u64 = 8;

/// What was new, as far as it was counted.
#[derive(Debug, Default)]
pub(super) struct Added {
    pub(super) bytes: AtomicU64,
    pub(super) stored: AtomicU64,
    pub(super) data_blobs: AtomicU64,
    pub(super) tree_blobs: AtomicU64,
    pub(super) packs_adopted: AtomicU64,
    pub(super) bytes_adopted: AtomicU64,
}

/// The blobs that no index lists yet, and that one will.
type Unlisted = Mutex<HashSet<(BlobKind, BlobId)>>;

/// Takes packs that are finished, stores and lists them.
pub(super) struct Shelf<'a> {
    repository: &'a Repository<Indexed>,
    /// Who gets the packs as well; whatever becomes of them there is of no matter here.
    followers: &'a [&'a Follower<'a>],
    work: &'a Work<'a>,
    clock: &'a dyn Clock,
    unlisted: Unlisted,
    listing: Mutex<Listing>,
    /// What interrupted runs left; looked for when a blob is new first.
    orphans: OnceLock<Orphans>,
    /// Bytes of all packs that this backup stored.
    stored: AtomicU64,
    spares: Spares,
    profile: &'a Profile,
}

/// The index file that is being filled.
#[derive(Default)]
struct Listing {
    file: IndexFile,
    blobs: usize,
    bytes: u64,
    since: Option<Timestamp>,
}

impl<'a> Shelf<'a> {
    pub(super) fn new(
        (repository, followers): (&'a Repository<Indexed>, &'a [&'a Follower<'a>]),
        work: &'a Work<'a>,
        clock: &'a dyn Clock,
        profile: &'a Profile,
    ) -> Self {
        Self {
            repository,
            followers,
            work,
            clock,
            unlisted: Unlisted::default(),
            listing: Mutex::default(),
            orphans: OnceLock::new(),
            stored: AtomicU64::new(0),
            spares: Spares::default(),
            profile,
        }
    }

    /// Stores packs until there are no more; after a failure they are only taken.
    pub(super) fn store_all(&self, packs: &Receiver<FinishedPack>) {
        let meter = self.profile.meter();
        let mut failed = false;
        for pack in packs {
            if !failed && let Err(error) = self.store(&pack, &meter) {
                failed = true;
                self.work.fail(error);
            }
            self.spares.keep(pack.bytes);
        }
    }

    /// Takes packs and does nothing with them, until there are no more.
    pub(super) fn drop_all(&self, packs: &Receiver<FinishedPack>) {
        packs.iter().for_each(|pack| self.spares.keep(pack.bytes));
    }

    fn store(&self, pack: &FinishedPack, meter: &Meter) -> Result<(), RepositoryError> {
        self.followers.iter().for_each(|follower| follower.offer(pack));
        let length = pack.bytes.len();
        meter.measure(Activity::Store, length, || self.repository.save_pack(pack))?;
        let size = length as u64;
        let stored = self.stored.fetch_add(size, Ordering::Relaxed) + size;
        let mut listing = lock(&self.listing);
        listing.file.packs.push(PackEntry::from(pack));
        listing.blobs += pack.blobs.len();
        listing.bytes += size;
        let now = self.clock.now();
        let since = *listing.since.get_or_insert(now);
        let due = now.duration_since(since).unsigned_abs() >= INDEX_INTERVAL;
        let costly = listing.bytes >= UNLISTED_BYTES_MIN.max(stored / UNLISTED_PART);
        if listing.blobs < BLOBS_PER_FILE_MAX && !due && !costly {
            return Ok(());
        }
        let full = std::mem::take(&mut *listing);
        drop(listing);
        meter.measure(Activity::Index, 0, || self.list(full.file.packs))
    }

    /// Lists what was stored and is not listed yet.
    pub(super) fn finish(&self) -> Result<(), RepositoryError> {
        let rest = std::mem::take(&mut *lock(&self.listing)).file.packs;
        if rest.is_empty() {
            return Ok(());
        }
        self.profile.meter().measure(Activity::Index, 0, || self.list(rest))
    }

    fn list(&self, mut packs: Vec<PackEntry>) -> Result<(), RepositoryError> {
        // Some were adopted while others were stored; a simulation has to write the same file again.
        packs.sort_unstable_by_key(|pack| pack.id);
        let (mut file, mut blobs) = (IndexFile::default(), 0);
        for pack in packs {
            blobs += pack.blobs.len();
            file.packs.push(pack);
            if blobs >= BLOBS_PER_FILE_MAX {
                self.save(&std::mem::take(&mut file))?;
                blobs = 0;
            }
        }
        if file.packs.is_empty() { Ok(()) } else { self.save(&file) }
    }

    fn save(&self, file: &IndexFile) -> Result<(), RepositoryError> {
        // Without its lock, a prune may have taken these packs for orphans.
        self.work.check_may_write()?;
        self.repository.save_index(file)?;
        let mut unlisted = lock(&self.unlisted);
        for blob in file.packs.iter().flat_map(|pack| &pack.blobs) {
            unlisted.remove(&(blob.kind, blob.id));
        }
        Ok(())
    }

    /// Lists a pack that an interrupted run stored, with what this one stores.
    fn adopt(&self, entry: PackEntry) {
        let mut listing = lock(&self.listing);
        // Its bytes do not count: until it is listed it stays what it was, and costs nothing more.
        listing.blobs += entry.blobs.len();
        listing.file.packs.push(entry);
    }

    /// Tells whether a blob is new, and if so takes note of it; who asks first has to see to it that it
    /// will be listed.
    fn is_new(&self, kind: BlobKind, id: BlobId) -> bool {
        // The index is asked while the set is locked: a blob is taken out of the set only after it
        // was put into the index, so it is in one of them.
        let mut unlisted = lock(&self.unlisted);
        !self.repository.contains(kind, &id) && unlisted.insert((kind, id))
    }
}

/// Takes blobs.
pub(super) struct Sink<'a> {
    shelf: &'a Shelf<'a>,
    data: OpenPacks,
    trees: OpenPacks,
    packs: Sender<FinishedPack>,
    /// The blobs of zeros that were stored, by their lengths.
    zeros: Mutex<HashMap<usize, BlobId>>,
    pub(super) added: Added,
}

impl<'a> Sink<'a> {
    pub(super) fn new(
        shelf: &'a Shelf<'a>,
        packs: Sender<FinishedPack>,
        data_pack_size: usize,
        workers: NonZeroUsize,
    ) -> Self {
        let data_packs = workers.get().min(OPEN_DATA_PACKS_MAX);
        Self {
            shelf,
            data: OpenPacks::new(data_pack_size, data_packs),
            trees: OpenPacks::new(TREE_PACK_SIZE, OPEN_TREE_PACKS_MAX),
            packs,
            zeros: Mutex::default(),
            added: Added::default(),
        }
    }

    /// Makes sure that a blob is, or will be, in the repository.
    pub(super) fn store(
        &self,
        sealer: &mut BlobSealer<'_>,
        kind: BlobKind,
        plaintext: &[u8],
    ) -> Result<BlobId, RepositoryError> {
        let id = sealer.meter().measure(Activity::Hash, plaintext.len(), || blob_id(plaintext));
        if self.shelf.is_new(kind, id) && !self.is_adopted(kind, id, sealer.meter()) {
            self.store_new(sealer, kind, id, plaintext)?;
        }
        Ok(id)
    }

    /// Tells whether a blob lies in a pack that an interrupted run stored, which is listed then.
    fn is_adopted(&self, kind: BlobKind, id: BlobId, meter: &Meter) -> bool {
        let Shelf { repository, work, orphans, .. } = self.shelf;
        // Not before something is new: a listing of all packs costs more than a backup without changes.
        let orphans = orphans.get_or_init(|| Orphans::find(repository, work.cancel()));
        orphans.adopt(repository, (kind, id), meter, |entry, size| {
            self.added.packs_adopted.fetch_add(1, Ordering::Relaxed);
            self.added.bytes_adopted.fetch_add(size, Ordering::Relaxed);
            self.shelf.adopt(entry);
        })
    }

    /// Makes sure that the blob of a hole is, or will be, in the repository; hashes it once.
    pub(super) fn store_zeros(
        &self,
        sealer: &mut BlobSealer<'_>,
        length: usize,
    ) -> Result<BlobId, RepositoryError> {
        if let Some(id) = lock(&self.zeros).get(&length) {
            return Ok(*id);
        }
        let id = self.store(sealer, BlobKind::Data, &vec![0; length])?;
        lock(&self.zeros).insert(length, id);
        Ok(id)
    }

    fn store_new(
        &self,
        sealer: &mut BlobSealer<'_>,
        kind: BlobKind,
        id: BlobId,
        plaintext: &[u8],
    ) -> Result<(), RepositoryError> {
        let meter = sealer.meter().clone();
        let blob = sealer.prepare(kind, id, plaintext)?;
        self.count(&blob, plaintext.len());
        self.put(&blob, &meter)
    }

    /// Makes sure that a blob that was written piece by piece is, or will be, in the repository.
    pub(super) fn store_streamed(
        &self,
        meter: &Meter,
        kind: BlobKind,
        blob: &StreamedBlob,
    ) -> Result<BlobId, RepositoryError> {
        let prepared = blob.prepared(kind);
        if self.shelf.is_new(kind, blob.id) && !self.is_adopted(kind, blob.id, meter) {
            self.count(&prepared, blob.plaintext_length());
            self.put(&prepared, meter)?;
        }
        Ok(blob.id)
    }

    fn count(&self, blob: &PreparedBlob<'_>, plaintext_length: usize) {
        let counter = match blob.kind {
            BlobKind::Data => &self.added.data_blobs,
            BlobKind::Tree => &self.added.tree_blobs,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.added.bytes.fetch_add(plaintext_length as u64, Ordering::Relaxed);
        self.added.stored.fetch_add(blob.sealed_length() as u64, Ordering::Relaxed);
    }

    /// Seals a blob into a pack, and sends the pack on its way if that one has no room for it.
    fn put(&self, blob: &PreparedBlob<'_>, meter: &Meter) -> Result<(), RepositoryError> {
        let open = match blob.kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        };
        let key = self.shelf.repository.key();
        let mut pack = meter.measure(Activity::Wait, 0, || open.take());
        let has_room = pack.size() + blob.sealed_length() <= open.size();
        if has_room && pack.seal(key, blob, meter).is_ok() {
            open.give_back(pack);
            return Ok(());
        }
        let finished = std::mem::replace(&mut pack, self.shelf.spares.begin_pack());
        let sealed = pack.seal(key, blob, meter);
        open.give_back(pack);
        self.send(finished, meter);
        sealed.map(drop).map_err(|_| RepositoryError::TooLarge {
            what: "a blob",
            length: blob.content.len() as u64,
            limit: u64::from(u32::MAX),
        })
    }

    fn send(&self, pack: PackBuilder, meter: &Meter) {
        if !pack.is_empty() {
            let finished = pack.finish(self.shelf.repository.key());
            // Nobody listens only if the uploads panicked, which ends the backup anyway.
            drop(meter.measure(Activity::Wait, 0, || self.packs.send(finished)));
        }
    }

    /// Sends the packs that are not full.
    pub(super) fn flush(&self) {
        let meter = self.shelf.profile.meter();
        for pack in [&self.data, &self.trees].into_iter().flat_map(OpenPacks::drain) {
            self.send(pack, &meter);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
