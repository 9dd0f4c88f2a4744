//! A number for each blob, so that whoever notes something of many blobs needs no table of their ids.
//!
//! The ordinal of a blob is the place of its first slot: among those in memory, or behind them among
//! those of the atlas, which stay where they are when the atlas is made anew. There are a few more
//! ordinals than blobs, since a blob that is stored several times has several slots.
//!
//! # Invariants
//!
//! - Ordinals hold for one [`Edition`] of an index and mean nothing to another one.
//!
//! # Limits
//!
//! Whoever asks for many at once sorts their ids: they are looked up one by one, or while all of the
//! atlas goes by, whichever is less work.

use std::sync::atomic::{AtomicU64, Ordering};

use lifeboat_model::{BlobId, PackId};

use super::atlas::Atlas;
use super::table::Slot;
use super::{Index, KINDS};
use crate::blob::BlobKind;
use crate::error::RepositoryError;
use crate::pack::PackedBlob;

/// As many slots of the atlas go by in the time in which one is looked up.
const SLOTS_PER_LOOK_UP: usize = 32;

/// Which blobs an index has; another one whenever that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edition(u64);

impl Default for Edition {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A pack with all its blobs in the order of their offsets, each with its ordinal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CountedPack {
    pub id: PackId,
    pub blobs: Vec<(PackedBlob, u32)>,
}

impl Index {
    /// Returns the edition for which its ordinals hold.
    pub(crate) const fn edition(&self) -> Edition {
        self.edition
    }

    /// Returns how many ordinals the blobs of a kind have; all are below.
    pub(crate) fn ordinals(&self, kind: BlobKind) -> usize {
        self.table(kind).len() + self.atlas.as_ref().map_or(0, |atlas| atlas.len(kind))
    }

    /// Returns the ordinal of a blob, if it is there.
    pub(crate) fn ordinal(&self, kind: BlobKind, id: &BlobId) -> Option<u32> {
        self.table(kind).ordinal(id).or_else(|| {
            let (mut first, mut is_there) = (None, false);
            self.atlas.as_ref()?.find(kind, id, |place, slot| {
                first.get_or_insert(place);
                is_there |= !self.left_out.contains_key(&slot.pack);
            });
            first.filter(|_| is_there).map(|place| self.ordinal_in_atlas(kind, place))
        })
    }

    /// Shows the ordinals of blobs, in the order of their ids; nothing for one that is not there.
    pub(crate) fn ordinals_of(
        &self,
        kind: BlobKind,
        mut ids: Vec<BlobId>,
        mut show: impl FnMut(BlobId, Option<u32>),
    ) -> Result<(), RepositoryError> {
        ids.sort_unstable();
        ids.dedup();
        let passes_by = |atlas: &&Atlas| {
            self.left_out.is_empty() && atlas.len(kind) / SLOTS_PER_LOOK_UP <= ids.len()
        };
        let Some(atlas) = self.atlas.as_ref().filter(passes_by) else {
            for id in ids {
                show(id, self.ordinal(kind, &id));
            }
            return self.make_sure();
        };
        let mut ids = ids.into_iter().peekable();
        let mut place = 0;
        let passed = atlas.for_each_slot(kind, |slot| {
            while let Some(id) = ids.next_if(|id| *id <= slot.id) {
                let in_atlas = || (id == slot.id).then(|| self.ordinal_in_atlas(kind, place));
                show(id, self.table(kind).ordinal(&id).or_else(in_atlas));
            }
            place += 1;
        });
        passed.map_err(|_| self.atlas_is_damaged())?;
        for id in ids {
            show(id, self.table(kind).ordinal(&id));
        }
        Ok(())
    }

    /// Shows what each pack holds as [`Index::for_each_pack`] does, with ordinals.
    pub(crate) fn for_each_counted_pack(
        &self,
        mut visit: impl FnMut(CountedPack),
    ) -> Result<(), RepositoryError> {
        for packs in self.rounds() {
            let mut blobs = vec![Vec::new(); packs.len()];
            for kind in KINDS {
                self.for_each_with_place(kind, |slot, run, place| {
                    if packs.contains(&slot.pack) {
                        let ordinal = self.table(kind).ordinal_before(run, &slot.id);
                        let counted = (slot.packed(kind), ordinal.unwrap_or(place));
                        blobs[(slot.pack - packs.start) as usize].push(counted);
                    }
                })?;
            }
            for (number, mut blobs) in packs.zip(blobs) {
                let id = self.pack(number).ok_or_else(|| self.atlas_is_damaged())?;
                blobs.sort_unstable_by_key(|(blob, _)| blob.offset);
                visit(CountedPack { id, blobs });
            }
        }
        Ok(())
    }

    /// Shows each blob of a kind once, in the first of the places where it lies, with its ordinal.
    pub(crate) fn for_each_blob(
        &self,
        kind: BlobKind,
        mut visit: impl FnMut(PackedBlob, u32),
    ) -> Result<(), RepositoryError> {
        let mut last = None;
        self.for_each_with_place(kind, |slot, run, place| {
            let is_first = last.replace((run, place)) != Some((run, place));
            if is_first && self.table(kind).ordinal_before(run, &slot.id).is_none() {
                visit(slot.packed(kind), place);
            }
        })
    }

    /// Shows all slots, each with the number of its run, the last of which is the atlas, and the place
    /// of the first slot there that its blob has.
    fn for_each_with_place(
        &self,
        kind: BlobKind,
        mut show: impl FnMut(&Slot, usize, u32),
    ) -> Result<(), RepositoryError> {
        self.table(kind).for_each_with_place(&mut show);
        let Some(atlas) = &self.atlas else { return Ok(()) };
        let mut place = 0;
        let mut first = (None, 0);
        let passed = atlas.for_each_slot(kind, |slot| {
            if first.0 != Some(slot.id) {
                first = (Some(slot.id), place);
            }
            if !self.left_out.contains_key(&slot.pack) {
                show(&slot, usize::MAX, self.ordinal_in_atlas(kind, first.1));
            }
            place += 1;
        });
        passed.map_err(|_| self.atlas_is_damaged())
    }

    fn ordinal_in_atlas(&self, kind: BlobKind, place: u64) -> u32 {
        let ordinal = u64::try_from(self.table(kind).len()).map(|before| before + place);
        ordinal.ok().and_then(|o| u32::try_from(o).ok()).expect("there are less than 4 billion")
    }
}
