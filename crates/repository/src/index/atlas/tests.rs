//! Whether an atlas answers as an index in memory does, whatever happened to its file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;

use lifeboat_model::Cancelled;
use lifeboat_tiers::MemoryTier;
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::blob::BlobLocation;
use crate::cache::Cache;
use crate::crypto::MasterKey;
use crate::error::RepositoryError;
use crate::index::{
    CountedPack, Index, IndexFile, Inspector, Origin, PackDigest, PackEntry, load, load_apart,
};
use crate::pack::PackedBlob;
use crate::repository::save_document;
use crate::store::{ListedFile, Store};

/// A repository that has nothing but index files, and its cache.
struct Place {
    _runtime: Runtime,
    _directory: TempDir,
    reader: Arc<IndexReader>,
}

impl Place {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let repository = RepositoryId::from_bytes([7; 32]);
        let cache = Cache::open(directory.path(), repository).unwrap();
        let tier = Arc::new(MemoryTier::new());
        let store = Store::new(tier, runtime.handle().clone(), "".parse().unwrap());
        let (key, cache) = (MasterKey::generate(), Some(Arc::new(cache)));
        let origin = Origin::Cache;
        let reader = Arc::new(IndexReader { store, key, cache, repository, origin });
        Self { _runtime: runtime, _directory: directory, reader }
    }

    fn store(&self, file: &IndexFile) -> IndexId {
        save_document(&self.reader.store, &self.reader.key, &file.to_document()).unwrap()
    }

    fn store_all(&self, files: &[IndexFile]) {
        for file in files {
            self.store(file);
        }
    }

    fn listed(&self) -> Vec<ListedFile<IndexId>> {
        self.reader.store.list().unwrap()
    }

    fn path(&self) -> PathBuf {
        self.reader.cache().unwrap().path_of(FILE_NAME)
    }

    /// Makes an atlas of all index files and opens it.
    fn atlas(&self) -> Atlas {
        let files: Vec<IndexId> = self.listed().iter().map(|file| file.id).collect();
        survey::make(&self.reader, &files, &|_| Ok(())).unwrap();
        Atlas::open(&self.path(), Arc::clone(&self.reader)).unwrap()
    }

    fn load(&self) -> Index {
        load(&self.reader, &self.listed(), &|_| Ok(())).unwrap()
    }

    /// Loses all index files, on the tier and in the cache.
    fn lose_index_files(&self) {
        for file in self.listed() {
            self.reader.store.delete(&file.id).unwrap();
        }
        let cache = self.reader.cache().unwrap();
        cache.trim(crate::cache::CacheKind::Index, |_| false);
    }
}

fn blob(kind: BlobKind, id: [u8; 32], offset: u32) -> PackedBlob {
    let uncompressed_length = std::num::NonZeroU32::new(offset % 3);
    PackedBlob { kind, id: BlobId::from_bytes(id), offset, length: 40, uncompressed_length }
}

fn file(packs: impl IntoIterator<Item = (PackId, Vec<PackedBlob>)>) -> IndexFile {
    let entry = |(id, blobs)| PackEntry { id, blobs, time: None, size: None };
    IndexFile { packs: packs.into_iter().map(entry).collect(), ..IndexFile::default() }
}

/// An id that looks like a hash.
fn hash(number: u32) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(number.to_le_bytes()).into()
}

/// An index file with packs of 30 blobs, every tenth of which is a directory.
fn synthetic(packs: std::ops::Range<u32>) -> IndexFile {
    file(packs.map(|pack| {
        let blobs = (0..30).map(|number| {
            let kind = if number % 10 == 0 { BlobKind::Tree } else { BlobKind::Data };
            blob(kind, hash(pack * 30 + number), number * 40)
        });
        (PackId::from_bytes(hash(!pack)), blobs.collect())
    }))
}

fn in_memory(files: &[IndexFile]) -> Index {
    let mut index = Index::default();
    for file in files {
        index.add(file);
    }
    index
}

fn places(index: &Index, kind: BlobKind, id: &BlobId) -> Vec<BlobLocation> {
    let mut places: Vec<BlobLocation> = index.locations(kind, id).collect();
    places.sort_by_key(|place| (place.pack, place.offset, place.length));
    places
}

/// Holds all that an index tells against one in memory.
fn assert_same(index: &Index, expected: &Index) {
    for kind in [BlobKind::Data, BlobKind::Tree] {
        assert_eq!(index.len(kind), expected.len(kind));
        for (id, _) in expected.blobs(kind) {
            assert!(index.contains(kind, &id));
            assert_eq!(places(index, kind, &id), places(expected, kind, &id));
        }
        assert_eq!(index.blobs(kind).count(), expected.len(kind));
        assert!(!index.contains(kind, &BlobId::from_bytes([0xee; 32])));
    }
    let by_pack = |index: &Index| {
        let mut packs = index.by_pack().unwrap();
        for pack in &mut packs {
            pack.blobs.sort_by_key(|blob| (blob.offset, blob.kind, blob.id, blob.length));
        }
        packs.sort_by_key(|pack| pack.id);
        packs
    };
    assert_eq!(by_pack(index), by_pack(expected));
    let packs = |index: &Index| index.packs().unwrap().into_iter().collect::<BTreeSet<_>>();
    assert_eq!(packs(index), packs(expected));
    assert_ordinals(index, expected);
}

/// Expects that every blob has one ordinal of its own, in whichever way it is asked for.
fn assert_ordinals(index: &Index, expected: &Index) {
    let mut of_packs: BTreeMap<(BlobKind, BlobId), BTreeSet<u32>> = BTreeMap::new();
    let note = |pack: CountedPack| {
        for (blob, ordinal) in pack.blobs {
            of_packs.entry((blob.kind, blob.id)).or_default().insert(ordinal);
        }
    };
    index.for_each_counted_pack(note).unwrap();
    for kind in [BlobKind::Data, BlobKind::Tree] {
        let ids: BTreeSet<BlobId> = expected.blobs(kind).map(|(id, _)| id).collect();
        let lacking = BlobId::from_bytes([0xee; 32]);
        let mut ordinals = BTreeMap::new();
        let asked = ids.iter().copied().chain([lacking, lacking]).collect();
        index.ordinals_of(kind, asked, |id, ordinal| _ = ordinals.insert(id, ordinal)).unwrap();
        assert_eq!(ordinals.remove(&lacking), Some(None));
        assert!(ordinals.keys().eq(&ids));
        let mut once = BTreeMap::new();
        index
            .for_each_blob(kind, |blob, n| assert_eq!(once.insert(blob.id, Some(n)), None))
            .unwrap();
        assert_eq!(once, ordinals);
        for (id, ordinal) in &ordinals {
            assert_eq!(index.ordinal(kind, id), *ordinal);
            assert_eq!(of_packs[&(kind, *id)], ordinal.iter().copied().collect());
        }
        let different: BTreeSet<_> = ordinals.values().flatten().collect();
        assert_eq!(different.len(), ids.len());
        assert!(different.iter().all(|ordinal| (**ordinal as usize) < index.ordinals(kind)));
    }
}

/// Tells that an index claims nothing that another one does not.
fn assert_no_more(index: &Index, expected: &Index) {
    for kind in [BlobKind::Data, BlobKind::Tree] {
        for (id, _) in expected.blobs(kind) {
            let expected = places(expected, kind, &id);
            assert!(places(index, kind, &id).iter().all(|place| expected.contains(place)));
        }
        for (id, place) in index.blobs(kind) {
            assert!(places(expected, kind, &id).contains(&place));
        }
        assert!(!index.contains(kind, &BlobId::from_bytes([0xee; 32])));
    }
}

fn flip(path: &Path, bit: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << (bit % 8))], bit / 8).unwrap();
}

#[test]
fn an_atlas_answers_as_memory_does() {
    let place = Place::new();
    let files = [synthetic(0..40), synthetic(30..90)];
    place.store_all(&files);
    assert_same(&Index::on(place.atlas()), &in_memory(&files));
}

#[test]
fn an_atlas_of_nothing_has_nothing() {
    let place = Place::new();
    place.store(&IndexFile::default());
    let index = Index::on(place.atlas());
    assert!(index.is_empty());
    assert_same(&index, &Index::default());
}

#[test]
fn whatever_bit_is_flipped_the_answers_stay_right() {
    let place = Place::new();
    let files = [synthetic(0..20)];
    place.store_all(&files);
    let expected = in_memory(&files);
    drop(place.atlas());
    let whole = fs::read(place.path()).unwrap();
    // A bit of every part of every block: nonce, place, items, padding, seal.
    let bits = (0..whole.len() as u64 * 8).step_by(8209);
    for bit in bits {
        place
            .reader
            .cache()
            .unwrap()
            .replace(FILE_NAME, |file| file.write_all_at(&whole, 0))
            .unwrap();
        flip(&place.path(), bit);
        assert_same(&place.load(), &expected);
        // What is flipped after it was opened is noticed, too.
        let index = Index::on(place.atlas());
        flip(&place.path(), bit);
        assert_same(&index, &expected);
    }
}

#[test]
fn a_damaged_atlas_that_cannot_be_made_anew_claims_nothing() {
    let place = Place::new();
    let files = [synthetic(0..20)];
    place.store_all(&files);
    let expected = in_memory(&files);
    drop(place.atlas());
    let whole = fs::read(place.path()).unwrap();
    place.lose_index_files();
    for bit in (0..whole.len() as u64 * 8).step_by(7919) {
        place
            .reader
            .cache()
            .unwrap()
            .replace(FILE_NAME, |file| file.write_all_at(&whole, 0))
            .unwrap();
        let index = Index::on(Atlas::open(&place.path(), Arc::clone(&place.reader)).unwrap());
        flip(&place.path(), bit);
        assert_no_more(&index, &expected);
        if let Ok(packs) = index.by_pack() {
            assert_eq!(packs.len(), 20, "all or an error");
        }
        if let Ok(packs) = index.packs() {
            assert_eq!(packs.len(), 20, "all or an error");
        }
        if let Ok(atlas) = Atlas::open(&place.path(), Arc::clone(&place.reader)) {
            assert_no_more(&Index::on(atlas), &expected);
        }
    }
}

#[test]
fn an_atlas_that_is_cut_short_or_longer_is_not_opened() {
    let place = Place::new();
    place.store(&synthetic(0..20));
    drop(place.atlas());
    let length = fs::metadata(place.path()).unwrap().len();
    for wrong in [0, 1, BLOCK_LENGTH as u64 - 1, BLOCK_LENGTH as u64, length - 1, length + 1] {
        fs::File::options().write(true).open(place.path()).unwrap().set_len(wrong).unwrap();
        assert!(Atlas::open(&place.path(), Arc::clone(&place.reader)).is_err(), "{wrong}");
        assert_same(&place.load(), &in_memory(&[synthetic(0..20)]));
        drop(place.atlas());
    }
}

#[test]
fn an_atlas_that_is_cut_short_while_it_is_read_is_made_anew() {
    let place = Place::new();
    place.store(&synthetic(0..40));
    let index = Index::on(place.atlas());
    fs::File::options().write(true).open(place.path()).unwrap().set_len(0).unwrap();
    assert_same(&index, &in_memory(&[synthetic(0..40)]));
}

#[test]
fn an_atlas_of_another_repository_or_key_is_not_opened() {
    let place = Place::new();
    place.store(&synthetic(0..20));
    drop(place.atlas());
    let like = |key: MasterKey, repository| {
        let (store, cache) = (place.reader.store.clone(), place.reader.cache.clone());
        Arc::new(IndexReader { store, key, cache, repository, origin: Origin::Cache })
    };
    let own = place.reader.repository;
    let other = like(place.reader.key.clone(), RepositoryId::from_bytes([8; 32]));
    assert!(matches!(Atlas::open(&place.path(), other), Err(AtlasError::Header)));
    let other = like(MasterKey::generate(), own);
    assert!(matches!(Atlas::open(&place.path(), other), Err(AtlasError::Header)));
}

#[test]
fn blobs_of_an_index_file_that_is_gone_are_gone() {
    let place = Place::new();
    let files = [synthetic(0..300), synthetic(300..420)];
    let ids: Vec<IndexId> = files.iter().map(|file| place.store(file)).collect();
    assert_same(&place.load(), &in_memory(&files));
    assert!(place.path().exists(), "so many blobs have an atlas");
    place.reader.store.delete(&ids[1]).unwrap();
    assert_same(&place.load(), &in_memory(&files[..1]));
    place.reader.store.delete(&ids[0]).unwrap();
    assert!(place.load().is_empty());
}

#[test]
fn what_came_later_is_found_and_in_the_end_is_in_the_atlas() {
    let place = Place::new();
    let mut files = vec![synthetic(0..300)];
    place.store(&files[0]);
    assert_same(&place.load(), &in_memory(&files));
    let covered = || Atlas::open(&place.path(), Arc::clone(&place.reader)).unwrap().files().len();
    assert_eq!(covered(), 1);
    // Some packs are listed again, as a repair may do.
    files.push(synthetic(290..310));
    place.store(&files[1]);
    assert_same(&place.load(), &in_memory(&files));
    assert_eq!(covered(), 1, "it does not pay yet");
    files.push(synthetic(310..700));
    place.store(&files[2]);
    assert_same(&place.load(), &in_memory(&files));
    assert_eq!(covered(), 3);
}

#[test]
fn a_damaged_index_file_is_named_and_leaves_no_atlas() {
    let place = Place::new();
    place.store(&synthetic(0..300));
    let id: IndexId =
        save_document(&place.reader.store, &place.reader.key, b"{\"packs\":[{}]}").unwrap();
    let error = load(&place.reader, &place.listed(), &|_| Ok(())).unwrap_err();
    assert!(error.to_string().contains(&id.to_hex()), "{error}");
    assert!(!place.path().exists());
}

#[test]
fn loading_that_is_cancelled_leaves_no_atlas() {
    let place = Place::new();
    place.store(&synthetic(0..400));
    let stop = |_: &IndexId| Err(RepositoryError::Cancelled(Cancelled));
    let error = load(&place.reader, &place.listed(), &stop).unwrap_err();
    assert!(matches!(error, RepositoryError::Cancelled(_)));
    assert!(!place.path().exists());
}

/// Takes note of what is told of index files.
#[derive(Default)]
struct Notes(std::sync::Mutex<Vec<(IndexId, usize, bool)>>);

impl Inspector for Notes {
    fn was_read(
        &self,
        file: &IndexId,
        packs: &[PackDigest],
        read: Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        self.0.lock().unwrap().push((*file, packs.len(), read.is_ok()));
        Ok(())
    }
}

#[test]
fn an_index_apart_is_what_lies_on_the_tier() {
    let place = Place::new();
    let files = [synthetic(0..300), synthetic(290..420)];
    let ids: Vec<IndexId> = files.iter().map(|file| place.store(file)).collect();
    let reader = &place.reader;
    let apart = Arc::new(IndexReader {
        store: reader.store.clone(),
        key: reader.key.clone(),
        cache: reader.cache.clone(),
        repository: reader.repository,
        origin: Origin::Tier,
    });
    // One that is no index is told and left out.
    let damaged =
        save_document::<IndexId>(&reader.store, &reader.key, b"{\"packs\":[{}]}").unwrap();
    let (notes, listed) = (Notes::default(), place.listed());
    assert_same(&load_apart(&apart, &listed, &notes).unwrap(), &in_memory(&files));
    let all: Vec<IndexId> = listed.iter().map(|file| file.id).collect();
    let in_a_file = Index::on(survey::make_apart(&apart, &all, &notes).unwrap());
    assert_same(&in_a_file, &in_memory(&files));
    in_a_file.make_sure().unwrap();
    let mut notes = notes.0.into_inner().unwrap();
    notes.sort_unstable();
    notes.dedup();
    let mut expected = vec![(ids[0], 300, true), (ids[1], 130, true), (damaged, 0, false)];
    expected.sort_unstable();
    assert_eq!(notes, expected);
}

#[test]
fn a_cache_that_cannot_be_written_costs_only_time() {
    let place = Place::new();
    place.store(&synthetic(0..400));
    let directory = place.path().parent().unwrap().to_owned();
    fs::remove_dir_all(&directory).unwrap();
    fs::File::create(&directory).unwrap();
    assert_same(&place.load(), &in_memory(&[synthetic(0..400)]));
}

#[test]
fn what_a_killed_writer_left_is_swept() {
    let place = Place::new();
    place.store(&synthetic(0..10));
    // Beyond the largest number that a process can have.
    let left = place.path().with_extension("2147483647-0.tmp");
    let own = place.path().with_extension(format!("{}-77.tmp", std::process::id()));
    for path in [&left, &own] {
        fs::File::create(path).unwrap();
    }
    drop(place.atlas());
    assert!(!left.exists() && own.exists());
}

fn any_blob() -> impl Strategy<Value = PackedBlob> {
    // Few ids, and those close to each other, so that they meet within blocks and across them.
    (any::<bool>(), 0..40_u8, 0..9_u32).prop_map(|(tree, number, offset)| {
        let mut id = [0; 32];
        id[if number % 2 == 0 { 0 } else { 31 }] = number;
        blob(if tree { BlobKind::Tree } else { BlobKind::Data }, id, offset)
    })
}

fn any_files() -> impl Strategy<Value = Vec<IndexFile>> {
    let pack = (any::<u8>(), vec(any_blob(), 0..60));
    let packs = vec(pack.prop_map(|(id, blobs)| (PackId::from_bytes([id % 9; 32]), blobs)), 0..6);
    vec(packs.prop_map(file), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_atlas_with_later_files_and_packs_left_out_answers_as_memory_does(
        below in any_files(),
        beyond in any_files(),
        left_out in vec(0..9_u8, 0..4),
    ) {
        let place = Place::new();
        place.store_all(&below);
        let mut index = Index::on(place.atlas());
        let mut expected = in_memory(&below);
        for file in &beyond {
            index.add(file);
            expected.add(file);
        }
        assert_same(&index, &expected);
        let left_out: BTreeSet<PackId> =
            left_out.into_iter().map(|id| PackId::from_bytes([id; 32])).collect();
        index.leave_out(&left_out);
        expected.leave_out(&left_out);
        assert_same(&index, &expected);
        for file in below.iter().chain(&beyond).take(2) {
            index.add(file);
            expected.add(file);
        }
        assert_same(&index, &expected);
    }
}
