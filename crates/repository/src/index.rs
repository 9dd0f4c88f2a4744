//! Where every blob of a repository lies.
//!
//! An [`IndexFile`] is what is stored: which blobs lie in which packs. [`Index`] answers where a blob
//! is: from the [`atlas`], a sorted local file, and from what index files list that came later, which
//! is in memory. Without a cache all of it is in memory.
//!
//! # Invariants
//!
//! - Packs that rustic marked as `packs_to_delete` are never found here: they may be gone at any
//!   time.
//! - A blob that is stored in several packs is found in each of them.
//! - The atlas is used only while the repository lists all index files that it covers.
//!
//! # Crash consistency
//!
//! An index file is stored after the packs that it lists. If it never is, its packs are orphans
//! that a prune removes; nothing refers to them.
//!
//! # Limits
//!
//! In memory a blob takes 48 bytes, and a pack about 100; in the atlas a blob takes 52 bytes of disk
//! and half a byte of memory.

mod atlas;
mod document;
mod load;
mod ordinal;
mod reader;
mod table;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use lifeboat_model::{BlobId, PackId};

use crate::blob::{BlobKind, BlobLocation};
use crate::error::RepositoryError;
use crate::pack::PackedBlob;

use self::atlas::Atlas;
use self::table::{Slot, Table};

pub(crate) use document::PackDigest;
pub use document::{BLOBS_PER_FILE_MAX, IndexFile, PackEntry};
pub(crate) use load::{Inspector, load, load_apart};
pub(crate) use ordinal::{CountedPack, Edition};
pub(crate) use reader::{IndexReader, Origin};

/// Slots that [`Index::for_each_pack`] holds at a time: 48 MB, since each round reads the whole
/// atlas.
const SLOTS_AT_ONCE: u64 = 1_000_000;

const KINDS: [BlobKind; 2] = [BlobKind::Data, BlobKind::Tree];

/// A pack with all its blobs in the order of their offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack.
    pub id: PackId,
    /// Its blobs.
    pub blobs: Vec<PackedBlob>,
}

/// Where every blob of a repository lies.
#[derive(Debug, Default)]
pub struct Index {
    /// Its packs have the first numbers.
    atlas: Option<Atlas>,
    /// Packs of the atlas that are left out, and the blobs of each kind in it.
    left_out: HashMap<u32, [u32; 2]>,
    /// Whether anything was ever left out.
    is_cut: bool,
    packs: Vec<PackId>,
    numbers: HashMap<PackId, u32>,
    data: Table,
    trees: Table,
    edition: Edition,
}

impl Index {
    /// Begins with what an atlas has.
    fn on(atlas: Atlas) -> Self {
        Self { atlas: Some(atlas), ..Self::default() }
    }

    /// Adds what an index file lists.
    pub fn add(&mut self, file: &IndexFile) {
        self.add_packs(&file.packs);
    }

    fn add_packs(&mut self, packs: &[PackEntry]) {
        self.edition = Edition::default();
        let mut slots: [Vec<Slot>; 2] = Default::default();
        for entry in packs {
            let pack = self.number(entry.id);
            for blob in &entry.blobs {
                slots[blob.kind as usize].push(Slot::new(blob, pack));
            }
        }
        for (kind, mut slots) in KINDS.into_iter().zip(slots) {
            slots.retain(|slot| !self.is_in_atlas(kind, slot));
            slots.shrink_to_fit();
            self.table_mut(kind).insert(slots);
        }
    }

    fn is_in_atlas(&self, kind: BlobKind, slot: &Slot) -> bool {
        // Only a pack that the atlas has can have a slot there.
        let Some(atlas) = self.atlas.as_ref().filter(|atlas| slot.pack < atlas.pack_count()) else {
            return false;
        };
        let mut found = false;
        atlas.find(kind, &slot.id, |_, other| found |= other == *slot);
        found && !self.left_out.contains_key(&slot.pack)
    }

    /// Forgets what lies in these packs, until a file that lists them is added again.
    pub fn leave_out(&mut self, packs: &BTreeSet<PackId>) {
        self.edition = Edition::default();
        self.is_cut |= !packs.is_empty();
        let numbers: BTreeSet<u32> =
            packs.iter().filter_map(|pack| self.find_number(pack)).collect();
        if let Some(atlas) = &self.atlas {
            let of_atlas = numbers.iter().take_while(|number| **number < atlas.pack_count());
            let count = |number: u32| atlas.pack(number).map_or([0; 2], |(_, counts)| counts);
            let counts: Vec<_> = of_atlas.map(|number| (*number, count(*number))).collect();
            self.left_out.extend(counts);
        }
        for table in [&mut self.data, &mut self.trees] {
            table.retain(|slot| !numbers.contains(&slot.pack));
        }
    }

    /// Tells whether nothing was left out, so that all is here that the index files list.
    pub(crate) const fn is_whole(&self) -> bool {
        !self.is_cut
    }

    /// Returns where a blob lies; the first of several places.
    pub fn get(&self, kind: BlobKind, id: &BlobId) -> Option<BlobLocation> {
        let mut first = self.table(kind).find(id).next().copied();
        if first.is_none() {
            self.find_in_atlas(kind, id, |slot| _ = first.get_or_insert(slot));
        }
        self.location(&first?)
    }

    /// Tells whether a blob is there.
    pub fn contains(&self, kind: BlobKind, id: &BlobId) -> bool {
        let mut found = self.table(kind).find(id).next().is_some();
        if !found {
            self.find_in_atlas(kind, id, |_| found = true);
        }
        found
    }

    /// Returns every place where a blob lies.
    pub fn locations(&self, kind: BlobKind, id: &BlobId) -> impl Iterator<Item = BlobLocation> {
        let mut slots: Vec<Slot> = self.table(kind).find(id).copied().collect();
        self.find_in_atlas(kind, id, |slot| slots.push(slot));
        slots.into_iter().filter_map(|slot| self.location(&slot))
    }

    fn find_in_atlas(&self, kind: BlobKind, id: &BlobId, mut show: impl FnMut(Slot)) {
        if let Some(atlas) = &self.atlas {
            atlas.find(kind, id, |_, slot| {
                if !self.left_out.contains_key(&slot.pack) {
                    show(slot);
                }
            });
        }
    }

    /// Returns all blobs of a kind and where they lie, in no particular order; of a damaged local
    /// index some may lack.
    pub fn blobs(&self, kind: BlobKind) -> impl Iterator<Item = (BlobId, BlobLocation)> {
        let of_atlas = self.atlas.iter().flat_map(move |atlas| atlas.slots(kind));
        let of_atlas = of_atlas.filter(|slot| !self.left_out.contains_key(&slot.pack));
        let slots = self.table(kind).slots().copied().chain(of_atlas);
        slots.filter_map(|slot| Some((slot.id, self.location(&slot)?)))
    }

    /// Returns how many blobs of a kind there are.
    pub fn len(&self, kind: BlobKind) -> usize {
        let left_out: usize =
            self.left_out.values().map(|counts| counts[kind as usize] as usize).sum();
        let in_atlas = self.atlas.as_ref().map_or(0, |atlas| atlas.len(kind));
        in_atlas - left_out + self.table(kind).len()
    }

    /// Tells whether there is no blob at all.
    pub fn is_empty(&self) -> bool {
        KINDS.iter().all(|kind| self.len(*kind) == 0)
    }

    /// Returns all packs, in no particular order; also those that are left out.
    pub fn packs(&self) -> Result<Vec<PackId>, RepositoryError> {
        let of_atlas = self.atlas.as_ref().map(Atlas::packs).transpose();
        let mut packs = of_atlas.map_err(|_| self.atlas_is_damaged())?.unwrap_or_default();
        packs.extend(&self.packs);
        Ok(packs)
    }

    /// Tells whether a pack is listed; also one that is left out.
    ///
    /// Must not decide about deleting it: of a damaged local index nothing counts as there.
    pub(crate) fn has_pack(&self, pack: &PackId) -> bool {
        self.find_number(pack).is_some()
    }

    /// Shows what each pack holds, one pack after the other in no particular order; packs that are
    /// left out hold nothing.
    ///
    /// Takes a bounded amount of memory however many blobs there are.
    pub fn for_each_pack<E: From<RepositoryError>>(
        &self,
        mut visit: impl FnMut(IndexedPack) -> Result<(), E>,
    ) -> Result<(), E> {
        for packs in self.rounds() {
            let begin = packs.start;
            for (number, blobs) in (begin..).zip(self.blobs_of_packs(packs)?) {
                let id = self.pack(number).ok_or_else(|| self.atlas_is_damaged())?;
                visit(IndexedPack { id, blobs })?;
            }
        }
        Ok(())
    }

    /// Divides the packs, by their numbers, into as many as are held at a time.
    fn rounds(&self) -> impl Iterator<Item = Range<u32>> {
        let count = self.pack_count();
        // Packs have their numbers by their ids, so as many packs hold about as many blobs.
        let slots = KINDS.iter().map(|kind| self.len(*kind) as u64).sum::<u64>();
        let rounds = u32::try_from(slots.div_ceil(SLOTS_AT_ONCE)).unwrap_or(u32::MAX);
        let step = count.div_ceil(rounds.max(1)).max(1);
        (0..count)
            .step_by(step as usize)
            .map(move |begin| begin..begin.saturating_add(step).min(count))
    }

    /// Returns what each pack holds; it takes about 64 bytes a blob.
    pub fn by_pack(&self) -> Result<Vec<IndexedPack>, RepositoryError> {
        let mut packs = Vec::new();
        self.for_each_pack::<RepositoryError>(|pack| {
            packs.push(pack);
            Ok(())
        })?;
        Ok(packs)
    }

    fn blobs_of_packs(&self, packs: Range<u32>) -> Result<Vec<Vec<PackedBlob>>, RepositoryError> {
        let mut blobs = vec![Vec::new(); packs.len()];
        for kind in KINDS {
            let mut put = |slot: &Slot| {
                if packs.contains(&slot.pack) {
                    blobs[(slot.pack - packs.start) as usize].push(slot.packed(kind));
                }
            };
            self.table(kind).slots().for_each(&mut put);
            if let Some(atlas) = &self.atlas {
                let read = atlas.for_each_slot(kind, |slot| {
                    if !self.left_out.contains_key(&slot.pack) {
                        put(&slot);
                    }
                });
                read.map_err(|_| self.atlas_is_damaged())?;
            }
        }
        for blobs in &mut blobs {
            blobs.sort_unstable_by_key(|blob| blob.offset);
        }
        Ok(blobs)
    }

    /// Fails if something of the local index could not be read, so that what it did not find may be
    /// there.
    pub(crate) fn make_sure(&self) -> Result<(), RepositoryError> {
        let is_lost = self.atlas.as_ref().is_some_and(Atlas::is_lost);
        if is_lost { Err(self.atlas_is_damaged()) } else { Ok(()) }
    }

    fn atlas_is_damaged(&self) -> RepositoryError {
        let path = self.atlas.as_ref().map(|atlas| atlas.path().to_owned());
        RepositoryError::LocalIndexDamaged { path: path.unwrap_or_default() }
    }

    /// Returns how many packs there are; they have the numbers below.
    fn pack_count(&self) -> u32 {
        let own = u32::try_from(self.packs.len()).expect("packs have numbers of 32 bits");
        self.atlas_pack_count() + own
    }

    fn atlas_pack_count(&self) -> u32 {
        self.atlas.as_ref().map_or(0, Atlas::pack_count)
    }

    /// Returns the pack of a number, unless the atlas is damaged there.
    fn pack(&self, number: u32) -> Option<PackId> {
        match number.checked_sub(self.atlas_pack_count()) {
            Some(own) => self.packs.get(own as usize).copied(),
            None => Some(self.atlas.as_ref()?.pack(number)?.0),
        }
    }

    fn find_number(&self, pack: &PackId) -> Option<u32> {
        let own = self.numbers.get(pack).copied();
        own.or_else(|| self.atlas.as_ref()?.pack_number(pack))
    }

    fn number(&mut self, pack: PackId) -> u32 {
        self.find_number(&pack).unwrap_or_else(|| {
            let number = self.pack_count();
            self.packs.push(pack);
            self.numbers.insert(pack, number);
            number
        })
    }

    const fn table(&self, kind: BlobKind) -> &Table {
        match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        }
    }

    const fn table_mut(&mut self, kind: BlobKind) -> &mut Table {
        match kind {
            BlobKind::Data => &mut self.data,
            BlobKind::Tree => &mut self.trees,
        }
    }

    fn location(&self, slot: &Slot) -> Option<BlobLocation> {
        Some(slot.location(self.pack(slot.pack)?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::num::NonZeroU32;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn pack_id(number: u8) -> PackId {
        PackId::from_bytes([number; 32])
    }

    fn blob_id(number: u8) -> BlobId {
        BlobId::from_bytes([number; 32])
    }

    fn blob(kind: BlobKind, number: u8, offset: u32) -> PackedBlob {
        let uncompressed_length = NonZeroU32::new(u32::from(number % 3));
        PackedBlob { kind, id: blob_id(number), offset, length: 40, uncompressed_length }
    }

    fn file(packs: Vec<(u8, Vec<PackedBlob>)>) -> IndexFile {
        let packs = packs.into_iter().map(|(id, blobs)| PackEntry {
            id: pack_id(id),
            blobs,
            time: None,
            size: None,
        });
        IndexFile { packs: packs.collect(), ..IndexFile::default() }
    }

    #[test]
    fn a_file_is_written_as_restic_does() {
        let file = file(vec![(9, vec![blob(BlobKind::Data, 1, 0), blob(BlobKind::Tree, 3, 40)])]);
        let (pack, one, three) = (pack_id(9).to_hex(), blob_id(1).to_hex(), blob_id(3).to_hex());
        assert_eq!(
            String::from_utf8(file.to_document()).unwrap(),
            format!(
                r#"{{"packs":[{{"id":"{pack}","blobs":[{{"id":"{one}","type":"data","offset":0,"length":40,"uncompressed_length":1}},{{"id":"{three}","type":"tree","offset":40,"length":40}}]}}]}}"#
            )
        );
    }

    #[test]
    fn packs_that_rustic_will_delete_are_kept_and_never_used() {
        let (pack, one) = (pack_id(9).to_hex(), blob_id(1).to_hex());
        let entry = format!(
            r#"{{"id":"{pack}","blobs":[{{"id":"{one}","type":"data","offset":0,"length":40}}],"time":"2024-10-23T02:00:00+02:00","size":113}}"#
        );
        let document = format!(r#"{{"packs":[],"packs_to_delete":[{entry}]}}"#);
        let file = IndexFile::parse(document.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(file.to_document()).unwrap(), document);
        let mut index = Index::default();
        index.add(&file);
        assert!(!index.contains(BlobKind::Data, &blob_id(1)));
        assert!(index.packs().unwrap().is_empty() && index.is_empty());
    }

    #[test]
    fn a_blob_is_found_in_every_pack_that_has_it() {
        let mut index = Index::default();
        index.add(&file(vec![(9, vec![blob(BlobKind::Data, 1, 0)])]));
        index.add(&file(vec![(8, vec![blob(BlobKind::Data, 1, 0), blob(BlobKind::Tree, 2, 40)])]));
        // Said twice, as two indexes may after an interrupted repair.
        index.add(&file(vec![(9, vec![blob(BlobKind::Data, 1, 0)])]));
        let mut packs: Vec<PackId> =
            index.locations(BlobKind::Data, &blob_id(1)).map(|l| l.pack).collect();
        packs.sort_unstable();
        assert_eq!(packs, [pack_id(8), pack_id(9)]);
        assert_eq!(index.get(BlobKind::Tree, &blob_id(1)), None);
        assert_eq!((index.len(BlobKind::Data), index.len(BlobKind::Tree)), (2, 1));
        let by_pack = index.by_pack().unwrap();
        assert_eq!(by_pack.len(), 2);
        assert_eq!(by_pack[1].blobs.len(), 2);
        assert_eq!(by_pack[1].blobs[1], blob(BlobKind::Tree, 2, 40));
    }

    #[test]
    fn what_is_left_out_is_found_nowhere_else_than_in_other_packs() {
        let mut index = Index::default();
        let both = [blob(BlobKind::Data, 1, 0), blob(BlobKind::Tree, 2, 40)];
        index.add(&file(vec![(9, both.to_vec())]));
        index.add(&file(vec![(8, vec![blob(BlobKind::Data, 1, 0)])]));
        index.leave_out(&BTreeSet::from([pack_id(9), pack_id(7)]));
        assert_eq!(index.get(BlobKind::Data, &blob_id(1)).unwrap().pack, pack_id(8));
        assert!(!index.contains(BlobKind::Tree, &blob_id(2)));
        index.leave_out(&BTreeSet::from([pack_id(8)]));
        assert!(index.is_empty());
        // Stored again, it is there again.
        index.add(&file(vec![(9, both.to_vec())]));
        assert_eq!(index.get(BlobKind::Tree, &blob_id(2)).unwrap().pack, pack_id(9));
    }

    fn any_blob() -> impl Strategy<Value = PackedBlob> {
        (any::<bool>(), any::<u8>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
            |(tree, number, offset, length, uncompressed)| PackedBlob {
                kind: if tree { BlobKind::Tree } else { BlobKind::Data },
                id: blob_id(number),
                offset,
                length,
                uncompressed_length: NonZeroU32::new(uncompressed),
            },
        )
    }

    fn any_file() -> impl Strategy<Value = IndexFile> {
        vec((any::<u8>(), vec(any_blob(), 0..30)), 0..6).prop_map(file)
    }

    proptest! {
        #[test]
        fn a_file_reads_as_it_was_written(file in any_file()) {
            prop_assert_eq!(IndexFile::parse(&file.to_document()).unwrap(), file);
        }

        #[test]
        fn the_index_finds_what_a_map_would(files in vec(any_file(), 0..6)) {
            let mut index = Index::default();
            let mut map: HashMap<(BlobKind, BlobId), Vec<BlobLocation>> = HashMap::new();
            for file in &files {
                index.add(file);
                for pack in &file.packs {
                    for blob in &pack.blobs {
                        let places = map.entry((blob.kind, blob.id)).or_default();
                        if !places.contains(&blob.location(pack.id)) {
                            places.push(blob.location(pack.id));
                        }
                    }
                }
            }
            for kind in [BlobKind::Data, BlobKind::Tree] {
                for number in 0..=255 {
                    let id = blob_id(number);
                    let found: Vec<_> = index.locations(kind, &id).collect();
                    let expected = map.remove(&(kind, id)).unwrap_or_default();
                    prop_assert_eq!(found.len(), expected.len());
                    prop_assert!(expected.iter().all(|place| found.contains(place)));
                }
            }
        }

        #[test]
        fn no_document_makes_the_parser_panic(text in r#"[\[\]{}":,a-f0-9 packsblobs]{0,200}"#) {
            let _ = IndexFile::parse(text.as_bytes());
        }
    }
}
