//! The cache spares reads and is never believed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::{Cancel, IndexId, Outcome, Silent};
use lifeboat_repository::check::{CheckOptions, ReadData, check};
use lifeboat_repository::listing::{Depth, list};
use lifeboat_repository::{BlobKind, Indexed, Repository};
use lifeboat_tiers::fault::Operation;
use lifeboat_tiers::{FaultTier, MemoryTier};

use crate::support::{directory, file, index, init, open, save_pack, save_snapshot, save_tree};

struct Cached {
    tier: Arc<FaultTier>,
    base: tempfile::TempDir,
}

impl Cached {
    fn new() -> Self {
        let tier = Arc::new(FaultTier::new(Arc::new(MemoryTier::new())));
        let repository = init(tier.clone(), None);
        save_pack(&repository, BlobKind::Data, &[b"content"]);
        let inner = save_tree(&repository, &[file("b", &[b"content"])]);
        let root = save_tree(&repository, &[directory("d", inner)]);
        save_snapshot(&repository, root);
        Self { tier, base: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> Repository<Indexed> {
        let mut repository = open(self.tier.clone());
        repository.use_cache(self.base.path()).unwrap();
        index(repository)
    }

    /// Lists the snapshot and returns what had to be read from the tier for it.
    fn read(&self) -> Vec<String> {
        let repository = self.open();
        let (_, snapshot) = repository.find_snapshot("latest").unwrap();
        let listing = list(&repository, &snapshot, Path::new("/"), Depth::All).unwrap();
        assert_eq!(
            listing.map(|entry| entry.unwrap().path).collect::<Vec<_>>(),
            [PathBuf::from("/d"), PathBuf::from("/d/b")]
        );
        let asked = self.tier.asked().into_iter().filter(|a| a.operation == Operation::Get);
        let metadata = |path: &String| !path.starts_with("keys") && path != "config";
        asked.map(|asked| asked.path).filter(metadata).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut found = vec![];
        let mut folders = vec![self.base.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.retain(|path| path.file_name().unwrap().len() == 64);
        found
    }
}

#[test]
fn what_was_read_once_is_not_read_again() {
    let cached = Cached::new();
    let first = cached.read().len();
    // Three indexes, one snapshot, two tree packs.
    assert_eq!(first, 6);
    assert_eq!(cached.read().len(), first, "the second time nothing was read");
    assert_eq!(cached.files().len(), 6);
}

#[test]
fn damaged_and_lost_files_are_read_anew() {
    let cached = Cached::new();
    let first = cached.read().len();
    for path in cached.files() {
        File::create(path).unwrap().write_all(b"rubbish").unwrap();
    }
    assert_eq!(cached.read().len(), 2 * first);
    for path in cached.files() {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(cached.read().len(), 3 * first);
}

#[test]
fn what_the_repository_dropped_is_dropped() {
    let cached = Cached::new();
    cached.read();
    let repository = open(cached.tier.clone());
    for file in repository.store().list::<IndexId>().unwrap() {
        repository.store().delete(&file.id).unwrap();
    }
    cached.open();
    assert_eq!(cached.files().len(), 1, "the snapshot stays until snapshots are listed");
}

#[test]
fn a_check_does_not_look_into_the_cache() {
    let cached = Cached::new();
    cached.read();
    let repository = cached.open();
    for file in repository.store().list::<IndexId>().unwrap() {
        repository.store().put(&file.id, bytes::Bytes::from_static(b"damaged")).unwrap();
    }
    let options = CheckOptions { data: ReadData::None };
    let report = check(&repository, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(report.outcome(), Outcome::Failed);
}
