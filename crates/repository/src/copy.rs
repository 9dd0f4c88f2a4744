//! Copies a snapshot into another repository: packs, then indexes, then the snapshot.
//!
//! Where both repositories have the same master key, as all of a site's have, packs are copied as
//! they are, without opening a blob, and the snapshot keeps its id. Otherwise every blob is opened
//! and sealed anew.
//!
//! # Invariants
//!
//! - Only packs with a blob that the other repository lacks are copied.
//! - Each pack hashes to its name before it is stored, and has its size afterwards; the snapshot is
//!   read back whole.
//! - The snapshot becomes visible only after all that it refers to is durable and indexed there. An
//!   error before leaves it invisible.
//! - The caller holds a shared lock on both repositories.
//!
//! # Crash consistency
//!
//! What was copied is listed every [`BLOBS_PER_FILE_MAX`] blobs, and also when the copy fails or is
//! cancelled; the next copy goes on behind it. After a kill, packs that were not listed yet are
//! orphans, which `prune` removes, or are stored once more under the same name.
//!
//! # Limits
//!
//! [`WORKERS`] packs are in memory at a time, and 40 bytes for each blob that is copied.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use lifeboat_model::{BlobId, Cancel, Event, EventSink, PackId, SnapshotId, Stage, Work};
use serde::Serialize;

use crate::blob::{BLOB_LENGTH_MAX, BlobKind, BlobOpener, BlobSealer};
use crate::compress::Compression;
use crate::error::{Defect, RepositoryError, StoredObject};
use crate::index::{BLOBS_PER_FILE_MAX, IndexFile, PackEntry};
use crate::node::NodeKind;
use crate::pack::{FinishedPack, PackBuilder, PackHeader};
use crate::repository::{Indexed, Repository};
use crate::snapshot::Snapshot;
use crate::store::FileId;
use crate::walk::walk_trees;

/// How many packs are copied at a time: one comes while another goes.
const WORKERS: usize = 2;

/// How large packs are made whose blobs are sealed anew, in bytes; restic's own default.
const RESEALED_PACK_SIZE: usize = 16 << 20;

/// What a copy did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CopyReport {
    /// The snapshot in the other repository; the same id if the keys are the same.
    pub snapshot: SnapshotId,
    /// Whether it was there already, so that there was nothing to do.
    pub was_there: bool,
    /// How many packs were stored.
    pub packs: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

/// Copies a snapshot and all that it needs.
pub fn copy_snapshot(
    from: &Repository<Indexed>,
    to: &Repository<Indexed>,
    id: &SnapshotId,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<CopyReport, RepositoryError> {
    let snapshot = from.snapshot(id)?;
    let same_key = from.key() == to.key();
    if let Some(there) = find_copy(to, id, &snapshot, same_key)? {
        return Ok(CopyReport { snapshot: there, was_there: true, packs: 0, bytes: 0 });
    }
    let lacking = lacking(from, to, id, &snapshot, cancel)?;
    let total = Work { items: lacking.len() as u64, bytes: 0 };
    events.emit(Event::Started { stage: Stage::Copy, total: Some(total) });
    let copier = Copier { from, to, events, cancel, progress: Mutex::default() };
    let outcome = if same_key { copier.copy_packs(&lacking) } else { copier.reseal_all(&lacking) };
    // What is stored is listed, however it ended, so that the next copy need not store it again.
    let listed = copier.list();
    outcome.and(listed)?;
    let progress = copier.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    let snapshot = if same_key {
        to.store().put(id, from.load_raw(id)?)?;
        to.load_raw(id)?;
        *id
    } else {
        let original = Some(snapshot.original.unwrap_or(*id));
        let copy = to.save_snapshot(&Snapshot { parent: None, original, ..snapshot })?;
        to.load_raw(&copy)?;
        copy
    };
    events.emit(Event::Finished { stage: Stage::Copy });
    Ok(CopyReport { snapshot, was_there: false, packs: progress.packs, bytes: progress.bytes })
}

/// Finds an earlier copy of the snapshot.
fn find_copy(
    to: &Repository<Indexed>,
    id: &SnapshotId,
    snapshot: &Snapshot,
    same_key: bool,
) -> Result<Option<SnapshotId>, RepositoryError> {
    let ids = to.snapshot_ids()?;
    if same_key {
        // One that is damaged there, as a disk leaves it that lies about its syncs, is copied again.
        let is_whole = ids.contains(id) && to.load_raw(id).is_ok();
        return Ok(is_whole.then_some(*id));
    }
    let original = snapshot.original.unwrap_or(*id);
    for there in ids {
        // A damaged one may be it; one copy too many is better than none.
        let Ok(other) = to.snapshot(&there) else { continue };
        if other.original == Some(original) && other.tree == snapshot.tree {
            return Ok(Some(there));
        }
    }
    Ok(None)
}

/// The blobs to copy, by the pack they lie in.
type Lacking = BTreeMap<PackId, Vec<(BlobKind, BlobId)>>;

/// Finds what the snapshot needs and the other repository lacks.
fn lacking(
    from: &Repository<Indexed>,
    to: &Repository<Indexed>,
    id: &SnapshotId,
    snapshot: &Snapshot,
    cancel: &Cancel,
) -> Result<Lacking, RepositoryError> {
    let (index, there) = (from.index(), to.index());
    let mut lacking = Lacking::new();
    let mut seen = HashSet::new();
    let mut damage = None;
    let mut need = |kind, blob: &BlobId| {
        if there.contains(kind, blob) || !seen.insert((kind, *blob)) {
            return Ok::<_, RepositoryError>(());
        }
        let object = StoredObject::Blob { kind, id: *blob, at: None };
        let location = index.get(kind, blob);
        let location = location.ok_or_else(|| from.corrupt(object, Defect::NotIndexed))?;
        lacking.entry(location.pack).or_default().push((kind, *blob));
        Ok(())
    };
    let roots = std::iter::once((*id, snapshot.tree));
    walk_trees(from, &index, roots, cancel, |visit, tree| {
        let need_all = || -> Result<(), RepositoryError> {
            need(BlobKind::Tree, &visit.tree)?;
            for node in &tree?.nodes {
                if let NodeKind::File { content, .. } = &node.kind {
                    content.iter().try_for_each(|blob| need(BlobKind::Data, blob))?;
                }
            }
            Ok(())
        };
        if damage.is_none() {
            damage = need_all().err();
        }
    })?;
    damage.map_or(Ok(lacking), Err)
}

#[derive(Default)]
struct Progress {
    packs: u64,
    bytes: u64,
    /// What is stored and not listed yet.
    unlisted: IndexFile,
}

struct Copier<'a> {
    from: &'a Repository<Indexed>,
    to: &'a Repository<Indexed>,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
    progress: Mutex<Progress>,
}

impl Copier<'_> {
    /// Copies packs as they are.
    fn copy_packs(&self, lacking: &Lacking) -> Result<(), RepositoryError> {
        let packs: Vec<_> = lacking.iter().collect();
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<RepositoryError>> = Mutex::default();
        let work = || {
            while lock(&failure).is_none() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((pack, blobs)) = packs.get(number) else { break };
                let copied = self.cancel.check().map_err(RepositoryError::from);
                if let Err(error) = copied.and_then(|()| self.copy_pack(pack, blobs)) {
                    lock(&failure).get_or_insert(error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.to.store().requests(WORKERS).min(packs.len()) {
                scope.spawn(work);
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn copy_pack(&self, id: &PackId, needed: &[(BlobKind, BlobId)]) -> Result<(), RepositoryError> {
        let bytes = match self.from.load_raw(id) {
            Ok(bytes) => bytes,
            // What is needed of it may be whole, or lie in another pack too.
            Err(RepositoryError::Corrupt(_)) => return self.reseal(needed),
            Err(error) => return Err(error),
        };
        let header = PackHeader::open(self.from.key(), &bytes, bytes.len() as u64)
            .map_err(|error| self.from.corrupt(id.object(), error))?;
        self.store(&FinishedPack { id: *id, bytes, blobs: header.blobs })
    }

    fn reseal_all(&self, lacking: &Lacking) -> Result<(), RepositoryError> {
        // One kind at a time: a pack holds blobs of one kind.
        for wanted in [BlobKind::Data, BlobKind::Tree] {
            let of_kind = lacking.values().flatten().filter(|(kind, _)| *kind == wanted);
            let blobs: Vec<_> = of_kind.copied().collect();
            self.reseal(&blobs)?;
        }
        Ok(())
    }

    /// Opens blobs and puts them into new packs.
    fn reseal(&self, blobs: &[(BlobKind, BlobId)]) -> Result<(), RepositoryError> {
        let mut opener = BlobOpener::new(self.from.key());
        let mut sealer = BlobSealer::new(self.to.key(), Compression::default());
        let mut builder = PackBuilder::default();
        for (kind, id) in blobs {
            self.cancel.check()?;
            let plaintext = self.from.read_blob_with(&mut opener, *kind, id)?;
            let blob = sealer.seal(*kind, *id, &plaintext)?;
            let same_kind = builder.blobs().first().is_none_or(|first| first.kind == *kind);
            if !same_kind || builder.size() >= RESEALED_PACK_SIZE {
                self.store(&std::mem::take(&mut builder).finish(self.to.key()))?;
            }
            builder.add(&blob).map_err(|_| RepositoryError::TooLarge {
                what: "a sealed blob",
                length: blob.bytes.len() as u64,
                limit: BLOB_LENGTH_MAX as u64,
            })?;
        }
        if builder.is_empty() { Ok(()) } else { self.store(&builder.finish(self.to.key())) }
    }

    /// Stores a pack, makes sure of its size, and notes it for the index.
    fn store(&self, pack: &FinishedPack) -> Result<(), RepositoryError> {
        self.to.save_pack(pack)?;
        let (expected, actual) = (pack.bytes.len() as u64, self.to.store().size(&pack.id)?);
        if actual != expected {
            return Err(self.to.corrupt(pack.id.object(), Defect::Length { expected, actual }));
        }
        let mut progress = lock(&self.progress);
        progress.packs += 1;
        progress.bytes += expected;
        progress.unlisted.packs.push(PackEntry::from(pack));
        let full = progress.unlisted.blob_count() >= BLOBS_PER_FILE_MAX;
        drop(progress);
        let work = Work { items: 1, bytes: expected };
        self.events.emit(Event::Advanced { stage: Stage::Copy, work });
        if full { self.list() } else { Ok(()) }
    }

    /// Lists what was stored since the last time.
    fn list(&self) -> Result<(), RepositoryError> {
        let unlisted = std::mem::take(&mut lock(&self.progress).unlisted);
        if unlisted.packs.is_empty() { Ok(()) } else { self.to.save_index(&unlisted).map(drop) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
