//! Copies snapshots into another repository: packs, then indexes, then the snapshot.
//!
//! Where both repositories have the same master key, as all of a site's have, packs of which nothing is
//! there yet are copied as they are, without opening a blob, and the snapshot keeps its id. Otherwise every blob is opened,
//! held against its id, and sealed anew.
//!
//! # Invariants
//!
//! - Only packs with a blob that the other repository lacks are copied.
//! - Each pack hashes to its name before it is stored, and has its size afterwards; a sample of them,
//!   every index file and the snapshot are read back whole.
//! - A snapshot that is damaged costs no other one its copy.
//! - Of a pack of which something is there already only what lacks is copied.
//! - The snapshot becomes visible only after all that it refers to is durable and indexed there. An
//!   error before leaves it invisible.
//! - The caller holds a shared lock on both repositories.
//!
//! # Crash consistency
//!
//! What was copied is listed every few hundred megabytes, and also when the copy fails or is
//! cancelled; the next copy goes on behind it. After a kill, packs are left that no index lists: the
//! next copy adopts those that hold what it would store (see the module `orphans`), whoever stored
//! them and whether the keys are the same or not.
//!
//! # Limits
//!
//! [`WORKERS`] packs are in memory at a time, a byte for each blob of the repository, and 64 for each
//! that is copied.
//!
//! Source: restic `cmd/restic/cmd_copy.go`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use lifeboat_model::{BlobId, Cancel, Event, EventSink, PackId, SnapshotId, Stage, Work};
use lifeboat_tiers::ReadRange;
use serde::Serialize;

use crate::backup::PACK_SIZE;
use crate::blob::{BlobKind, BlobOpener, BlobSealer, SealedBlob};
use crate::compress::Compression;
use crate::error::{Defect, RepositoryError, StoredObject};
use crate::orphans::Orphans;
use crate::pack::{FinishedPack, PackHeader, PackedBlob};
use crate::packing::{PackWriter, Written};
use crate::parallel::in_parallel;
use crate::profile::Meter;
use crate::ranges::{Run, runs};
use crate::references::References;
use crate::repository::{Indexed, Repository};
use crate::snapshot::Snapshot;
use crate::store::FileId;

/// How many packs are copied at a time: one comes while another goes.
const WORKERS: usize = 2;

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

/// Whether two repositories cut files in the same places, so that what is copied into one is the
/// same as what is backed up there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cuts {
    /// They do.
    Same,
    /// What is copied and what is backed up there share nothing.
    Different,
}

/// Tells whether two repositories cut files in the same places.
pub fn compare_cuts(from: &Repository<Indexed>, to: &Repository<Indexed>) -> Cuts {
    let same = from.config().chunker_polynomial == to.config().chunker_polynomial;
    if same { Cuts::Same } else { Cuts::Different }
}

/// Copies a snapshot and all that it needs.
pub fn copy_snapshot(
    from: &Repository<Indexed>,
    to: &Repository<Indexed>,
    id: &SnapshotId,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<CopyReport, RepositoryError> {
    Copier::new(from, to, events, cancel).copy(id)
}

/// Copies one snapshot after the other; what they share is looked at once.
#[derive(Debug)]
pub struct Copier<'a> {
    from: &'a Repository<Indexed>,
    to: &'a Repository<Indexed>,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
    keys: Keys,
    /// What was looked at for earlier snapshots, all of which is there now.
    seen: References,
    /// The snapshots there, by what they are and were; read when they are needed first.
    there: Option<HashMap<SnapshotId, Vec<(SnapshotId, Snapshot)>>>,
    /// What interrupted runs stored there; looked for when something lacks first.
    orphans: OnceLock<Orphans>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    Same,
    Different,
}

impl<'a> Copier<'a> {
    /// Begins to copy.
    pub fn new(
        from: &'a Repository<Indexed>,
        to: &'a Repository<Indexed>,
        events: &'a dyn EventSink,
        cancel: &'a Cancel,
    ) -> Self {
        let keys = if from.key() == to.key() { Keys::Same } else { Keys::Different };
        let seen = References::new(&from.index());
        Self { from, to, events, cancel, keys, seen, there: None, orphans: OnceLock::new() }
    }

    /// Copies snapshots, those too that come after one that is damaged; `tell` is told how each went.
    ///
    /// # Errors
    ///
    /// What goes wrong with either repository as a whole ends it.
    pub fn copy_all(
        &mut self,
        ids: impl IntoIterator<Item = SnapshotId>,
        mut tell: impl FnMut(SnapshotId, Result<CopyReport, RepositoryError>),
    ) -> Result<(), RepositoryError> {
        for id in ids {
            let copied = self.copy(&id);
            match &copied {
                Err(RepositoryError::Corrupt(damage)) if damage.address == self.from.address() => {}
                Err(_) => return copied.map(drop),
                Ok(_) => {}
            }
            tell(id, copied);
        }
        Ok(())
    }

    /// Copies a snapshot and all that it needs.
    pub fn copy(&mut self, id: &SnapshotId) -> Result<CopyReport, RepositoryError> {
        let copied = self.try_copy(id);
        if copied.is_err() {
            // Not all that was looked at is there.
            self.seen = References::new(&self.from.index());
        }
        copied
    }

    fn try_copy(&mut self, id: &SnapshotId) -> Result<CopyReport, RepositoryError> {
        let snapshot = self.from.snapshot(id)?;
        if let Some(there) = self.find_copy(id, &snapshot)? {
            return Ok(CopyReport { snapshot: there, was_there: true, packs: 0, bytes: 0 });
        }
        let lacking = self.lacking(&snapshot)?;
        let total = Work { items: lacking.len() as u64, bytes: 0 };
        self.events.emit(Event::Started { stage: Stage::Copy, total: Some(total) });
        let written = self.copy_blobs(&lacking)?;
        // Also when the lock was lost: what the snapshot refers to may be gone by now.
        self.cancel.check_may_write()?;
        self.cancel.check()?;
        let original = snapshot.original.unwrap_or(*id);
        let copy = match self.keys {
            Keys::Same => {
                self.to.store().put(id, self.from.load_raw(id)?)?;
                *id
            }
            Keys::Different => {
                let original = Some(original);
                self.to.save_snapshot(&Snapshot { parent: None, original, ..snapshot.clone() })?
            }
        };
        self.to.load_raw(&copy)?;
        if let Some(there) = &mut self.there {
            there.entry(original).or_default().push((copy, snapshot));
        }
        self.events.emit(Event::Finished { stage: Stage::Copy });
        let Written { packs, bytes, .. } = written;
        Ok(CopyReport { snapshot: copy, was_there: false, packs, bytes })
    }

    /// Finds an earlier copy of the snapshot: one of the same origin that is alike.
    fn find_copy(
        &mut self,
        id: &SnapshotId,
        snapshot: &Snapshot,
    ) -> Result<Option<SnapshotId>, RepositoryError> {
        if self.keys == Keys::Same {
            // One that is damaged there, as a disk leaves it that lies about its syncs, is copied
            // again.
            let is_whole = self.to.snapshot_ids()?.contains(id) && self.to.load_raw(id).is_ok();
            return Ok(is_whole.then_some(*id));
        }
        let there = match &mut self.there {
            Some(there) => there,
            none => none.insert(snapshots_there(self.to)?),
        };
        let same_origin = there.get(&snapshot.original.unwrap_or(*id));
        let copy = same_origin.and_then(|s| s.iter().find(|(_, other)| are_alike(other, snapshot)));
        Ok(copy.map(|(id, _)| *id))
    }

    /// Finds what the snapshot needs and the other repository lacks, by the pack it lies in.
    fn lacking(&mut self, snapshot: &Snapshot) -> Result<Vec<Lacking>, RepositoryError> {
        let (index, there) = (self.from.index(), self.to.index());
        let lacking: Mutex<BTreeMap<PackId, Vec<PackedBlob>>> = Mutex::default();
        let lost: Mutex<Option<(BlobKind, BlobId)>> = Mutex::default();
        let found = |kind, id| {
            if there.contains(kind, &id) {
                return;
            }
            let Some(place) = index.get(kind, &id) else {
                lock(&lost).get_or_insert((kind, id));
                return;
            };
            lock(&lacking).entry(place.pack).or_default().push(PackedBlob {
                kind,
                id,
                offset: place.offset,
                length: place.length,
                uncompressed_length: place.uncompressed_length,
            });
        };
        let roots = std::iter::once(snapshot.tree);
        self.seen.add(self.from, &index, roots, &found, self.events, self.cancel)?;
        if let Some((kind, id)) = lost.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let object = StoredObject::Blob { kind, id, at: None };
            return Err(self.from.corrupt(object, Defect::NotIndexed));
        }
        let lacking = lacking.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
        let in_order = |(pack, mut blobs): (PackId, Vec<PackedBlob>)| {
            blobs.sort_unstable_by_key(|blob| blob.offset);
            Lacking { pack, blobs }
        };
        Ok(lacking.map(in_order).collect())
    }

    fn copy_blobs(&self, lacking: &[Lacking]) -> Result<Written, RepositoryError> {
        let pack_size = usize::try_from(PACK_SIZE.0).unwrap_or(usize::MAX);
        let writer = PackWriter::new(self.to, pack_size, self.cancel).reading_back();
        if lacking.is_empty() {
            return writer.finish(Ok(()));
        }
        let copied = in_parallel(lacking, self.to.store().requests(WORKERS), |mine| {
            let mut tools = Tools {
                opener: BlobOpener::new(self.from.key()),
                sealer: BlobSealer::new(self.to.key(), Compression::default()),
                bytes: Vec::new(),
            };
            for lacking in mine {
                self.cancel.check()?;
                self.copy_lacking(&mut tools, &writer, lacking)?;
                let bytes = lacking.blobs.iter().map(|blob| u64::from(blob.length)).sum();
                let work = Work { items: 1, bytes };
                self.events.emit(Event::Advanced { stage: Stage::Copy, work });
            }
            Ok(())
        });
        // What is stored is listed, however it ended, so that the next copy need not store it again.
        writer.finish(copied)
    }

    /// Copies what no interrupted run stored there already.
    fn copy_lacking(
        &self,
        tools: &mut Tools<'_>,
        writer: &PackWriter<'_>,
        lacking: &Lacking,
    ) -> Result<(), RepositoryError> {
        let orphans = self.orphans.get_or_init(|| Orphans::find(self.to, self.cancel));
        let mut blobs = Vec::new();
        for blob in &lacking.blobs {
            let (mut noted, wanted) = (Ok(()), (blob.kind, blob.id));
            let note = |entry, size| noted = writer.note(entry, size);
            if !orphans.adopt(self.to, wanted, &Meter::off(), note) {
                blobs.push(*blob);
            }
            noted?;
        }
        let rest = Lacking { pack: lacking.pack, blobs };
        match self.keys {
            _ if rest.blobs.is_empty() => Ok(()),
            Keys::Same => self.copy_pack(tools, writer, &rest),
            Keys::Different => self.reseal(tools, writer, &rest),
        }
    }

    /// Copies a pack as it is.
    fn copy_pack(
        &self,
        tools: &mut Tools<'_>,
        writer: &PackWriter<'_>,
        lacking: &Lacking,
    ) -> Result<(), RepositoryError> {
        let id = lacking.pack;
        let bytes = match self.from.load_raw(&id) {
            Ok(bytes) => bytes,
            // What is needed of it may be whole, or lie in another pack too.
            Err(RepositoryError::Corrupt(_)) => return self.reseal(tools, writer, lacking),
            Err(error) => return Err(error),
        };
        let header = PackHeader::open(self.from.key(), &bytes, bytes.len() as u64)
            .map_err(|error| self.from.corrupt(id.object(), error))?;
        if header.blobs.iter().any(|blob| self.to.contains(blob.kind, &blob.id)) {
            return self.reseal(tools, writer, lacking);
        }
        writer.store(&FinishedPack { id, bytes, blobs: header.blobs })
    }

    /// Opens blobs and puts them into new packs, sealed anew if the keys differ.
    fn reseal(
        &self,
        tools: &mut Tools<'_>,
        writer: &PackWriter<'_>,
        lacking: &Lacking,
    ) -> Result<(), RepositoryError> {
        for run in runs(lacking.blobs.iter().map(|blob| (blob.offset, blob.length))) {
            self.cancel.check()?;
            let range = ReadRange::Bounded { offset: run.offset, length: run.length };
            let bytes = &mut tools.bytes;
            if self.from.store().get_into(&lacking.pack, range, bytes).is_err() {
                // What went wrong is told by the single reads that follow.
                bytes.clear();
            }
            for blob in &lacking.blobs[run.blobs.clone()] {
                self.reseal_blob(tools, writer, &run, blob)?;
            }
        }
        Ok(())
    }

    fn reseal_blob(
        &self,
        tools: &mut Tools<'_>,
        writer: &PackWriter<'_>,
        run: &Run,
        blob: &PackedBlob,
    ) -> Result<(), RepositoryError> {
        let Tools { opener, sealer, bytes } = tools;
        let begin = usize::try_from(u64::from(blob.offset) - run.offset).unwrap_or(usize::MAX);
        let sealed = bytes.get_mut(begin..begin.saturating_add(blob.length as usize));
        if let Some(sealed) = sealed {
            let as_it_is = (self.keys == Keys::Same).then(|| SealedBlob {
                kind: blob.kind,
                id: blob.id,
                bytes: sealed.to_vec(),
                uncompressed_length: blob.uncompressed_length,
            });
            let opened = opener.open_in_place(&blob.id, sealed, blob.uncompressed_length);
            match (opened, as_it_is) {
                (Ok(_), Some(blob)) => return writer.add(&blob),
                (Ok(content), None) => {
                    return writer.add(&sealer.seal(blob.kind, blob.id, content)?);
                }
                (Err(_), _) => {}
            }
        }
        let plaintext = self.from.read_blob_with(opener, blob.kind, &blob.id)?;
        writer.add(&sealer.seal(blob.kind, blob.id, &plaintext)?)
    }
}

/// What is to be copied out of a pack.
struct Lacking {
    pack: PackId,
    /// In the order of their offsets.
    blobs: Vec<PackedBlob>,
}

/// What one thread copies with.
struct Tools<'a> {
    opener: BlobOpener<'a>,
    sealer: BlobSealer<'a>,
    bytes: Vec<u8>,
}

/// Returns the snapshots of a repository by what they are and by what they were copied from.
fn snapshots_there(
    to: &Repository<Indexed>,
) -> Result<HashMap<SnapshotId, Vec<(SnapshotId, Snapshot)>>, RepositoryError> {
    let mut there: HashMap<_, Vec<_>> = HashMap::new();
    for id in to.snapshot_ids()? {
        // A damaged one may be it; one copy too many is better than none.
        let Ok(snapshot) = to.snapshot(&id) else { continue };
        if let Some(original) = snapshot.original {
            there.entry(original).or_default().push((id, snapshot.clone()));
        }
        there.entry(id).or_default().push((id, snapshot));
    }
    Ok(there)
}

/// Tells whether snapshots are alike in all but what a copy changes.
fn are_alike(a: &Snapshot, b: &Snapshot) -> bool {
    let has_all = |all: &[String], some: &[String]| {
        all.len() == some.len() && some.iter().all(|one| all.contains(one))
    };
    a.time.instant() == b.time.instant()
        && (a.tree, &a.hostname, &a.username) == (b.tree, &b.hostname, &b.username)
        && (a.uid, a.gid, &a.excludes) == (b.uid, b.gid, &b.excludes)
        && has_all(&a.paths, &b.paths)
        && has_all(&a.tags, &b.tags)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
