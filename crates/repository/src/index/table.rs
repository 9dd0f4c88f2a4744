//! Blobs in memory: 48 bytes each, in sorted runs.

use std::num::NonZeroU32;

use lifeboat_model::{BlobId, PackId};

use crate::blob::{BlobKind, BlobLocation};
use crate::pack::PackedBlob;

/// How many bytes a slot takes when it is written.
pub(super) const SLOT_LENGTH: usize = 48;

/// A blob and where it lies, ordered by id, then pack. Packs have numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) id: BlobId,
    pub(super) pack: u32,
    offset: u32,
    length: u32,
    uncompressed_length: u32,
}

impl Slot {
    /// Makes the slot of a blob in the pack of a number.
    pub(super) fn new(blob: &PackedBlob, pack: u32) -> Self {
        Self {
            id: blob.id,
            pack,
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.uncompressed_length.map_or(0, NonZeroU32::get),
        }
    }

    /// Returns where the blob lies, given the pack of its number.
    pub(super) const fn location(&self, pack: PackId) -> BlobLocation {
        BlobLocation {
            pack,
            offset: self.offset,
            length: self.length,
            uncompressed_length: NonZeroU32::new(self.uncompressed_length),
        }
    }

    /// Returns the blob as it stands in its pack.
    pub(super) const fn packed(&self, kind: BlobKind) -> PackedBlob {
        PackedBlob {
            kind,
            id: self.id,
            offset: self.offset,
            length: self.length,
            uncompressed_length: NonZeroU32::new(self.uncompressed_length),
        }
    }

    /// Gives the slot's pack another number.
    pub(super) const fn in_pack(self, pack: u32) -> Self {
        Self { pack, ..self }
    }

    /// Writes the slot.
    pub(super) fn to_bytes(self) -> [u8; SLOT_LENGTH] {
        let mut bytes = [0; SLOT_LENGTH];
        bytes[..32].copy_from_slice(self.id.as_bytes());
        let numbers = [self.pack, self.offset, self.length, self.uncompressed_length];
        for (place, number) in bytes[32..].as_chunks_mut().0.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        bytes
    }

    /// Reads a slot that was written.
    pub(super) fn from_bytes(bytes: &[u8; SLOT_LENGTH]) -> Self {
        let (id, numbers) = bytes.split_first_chunk().expect("an id takes 32 bytes of 48");
        let number = |index: usize| u32::from_le_bytes(numbers.as_chunks().0[index]);
        Self {
            id: BlobId::from_bytes(*id),
            pack: number(0),
            offset: number(1),
            length: number(2),
            uncompressed_length: number(3),
        }
    }
}

/// The blobs of one kind, as sorted runs, each at least twice as long as the next; so there are few
/// to look into, and each slot is merged into a longer run only a few times.
#[derive(Debug, Default)]
pub(super) struct Table {
    runs: Vec<Vec<Slot>>,
}

impl Table {
    /// Adds slots in any order.
    pub(super) fn insert(&mut self, mut run: Vec<Slot>) {
        run.sort_unstable();
        run.dedup();
        run.retain(|slot| self.runs.iter().all(|known| known.binary_search(slot).is_err()));
        if run.is_empty() {
            return;
        }
        while let Some(mut longer) = self.runs.pop_if(|last| last.len() < 2 * run.len()) {
            // Where it lies, since two of the longest run would not fit where one does.
            longer.reserve_exact(run.len());
            longer.append(&mut run);
            longer.sort_unstable();
            run = longer;
        }
        self.runs.push(run);
    }

    /// Drops slots.
    pub(super) fn retain(&mut self, keep: impl Fn(&Slot) -> bool) {
        // Put in anew, so that the runs stay few.
        for mut run in std::mem::take(&mut self.runs) {
            run.retain(&keep);
            self.insert(run);
        }
    }

    /// Returns the slots of a blob.
    pub(super) fn find(&self, id: &BlobId) -> impl Iterator<Item = &Slot> {
        self.runs.iter().flat_map(move |run| {
            let begin = run.partition_point(|slot| slot.id < *id);
            run[begin..].iter().take_while(move |slot| slot.id == *id)
        })
    }

    /// Returns the ordinal of a blob: the place of its first slot among all slots.
    pub(super) fn ordinal(&self, id: &BlobId) -> Option<u32> {
        self.ordinal_before(self.runs.len(), id)
    }

    /// Returns the ordinal of a blob if one of the first runs has it.
    pub(super) fn ordinal_before(&self, run: usize, id: &BlobId) -> Option<u32> {
        let mut before = 0;
        for run in &self.runs[..run.min(self.runs.len())] {
            let at = run.partition_point(|slot| slot.id < *id);
            if run.get(at).is_some_and(|slot| slot.id == *id) {
                return Some(narrow(before + at));
            }
            before += run.len();
        }
        None
    }

    /// Shows all slots, each with the number of its run and the place of the first slot there that its
    /// blob has.
    pub(super) fn for_each_with_place(&self, mut show: impl FnMut(&Slot, usize, u32)) {
        let mut place = 0;
        for (number, run) in self.runs.iter().enumerate() {
            for slots in run.chunk_by(|a, b| a.id == b.id) {
                for slot in slots {
                    show(slot, number, place);
                }
                place += narrow(slots.len());
            }
        }
    }

    /// Returns all slots, in no particular order.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.runs.iter().flatten()
    }

    /// Returns how many slots there are.
    pub(super) fn len(&self) -> usize {
        self.runs.iter().map(Vec::len).sum()
    }
}

fn narrow(place: usize) -> u32 {
    u32::try_from(place).expect("4 billion slots do not fit into memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u32) -> Slot {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let id = BlobId::from_bytes(id);
        Slot { id, pack: number, offset: !number, length: 3, uncompressed_length: 4 }
    }

    #[test]
    fn a_slot_takes_48_bytes_in_memory_and_elsewhere() {
        assert_eq!(size_of::<Slot>(), SLOT_LENGTH);
        assert_eq!(Slot::from_bytes(&slot(7).to_bytes()), slot(7));
    }

    #[test]
    fn there_are_few_runs() {
        let mut table = Table::default();
        for number in 0..1000_u32 {
            table.insert(vec![slot(number)]);
        }
        assert_eq!(table.len(), 1000);
        assert!(table.runs.len() <= 10, "{}", table.runs.len());
        assert!(table.runs.iter().all(|run| run.is_sorted_by(|a, b| a < b)));
    }
}
