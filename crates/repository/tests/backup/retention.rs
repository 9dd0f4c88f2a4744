//! What repositories need for tests of forget, prune and repair.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use lifeboat_model::{Cancel, Clock, Silent, SimClock, SnapshotId, SystemClock};
use lifeboat_repository::forget::remove_snapshots;
use lifeboat_repository::lock::{LockGuard, LockKind, LockOptions};
use lifeboat_repository::prune::{self, PruneOptions, PruneReport};
use lifeboat_repository::repository::State;
use lifeboat_repository::{Indexed, Repository, RepositoryError};
use lifeboat_testing::tree::{self, Aspect, Sample, TreeState};

use crate::site::{Site, restored};

pub(crate) fn exclusive<S: State>(repository: &Repository<S>) -> LockGuard {
    // Whoever is alone waits for listings, which nobody has to here.
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(SystemClock.now()));
    let options = LockOptions::new(LockKind::Exclusive);
    LockGuard::acquire(repository, &options, &clock, &Cancel::new()).unwrap()
}

pub(crate) fn forget(repository: &Repository<Indexed>, ids: &[SnapshotId]) {
    let lock = exclusive(repository);
    remove_snapshots(repository, &lock, ids, &Cancel::new()).unwrap();
}

/// Prunes under a lock that is held already.
pub(crate) fn prune_under(
    lock: &LockGuard,
    repository: &Repository<Indexed>,
    options: PruneOptions,
) -> Result<PruneReport, RepositoryError> {
    let cancel = Cancel::new();
    prune::plan(repository, options, &Silent, &cancel)?.perform(lock, &Silent, &cancel)
}

pub(crate) fn prune(site: &Site, options: PruneOptions) -> PruneReport {
    let repository = site.repository();
    let lock = exclusive(&repository);
    prune_under(&lock, &repository, options).unwrap()
}

/// Options that leave nothing unused.
pub(crate) fn thorough() -> PruneOptions {
    PruneOptions { max_unused: "0".parse().unwrap(), ..PruneOptions::default() }
}

/// A snapshot, and what it must give back.
pub(crate) struct Kept {
    pub id: SnapshotId,
    pub state: TreeState,
}

/// Makes a history of backups of a source that changes in between.
pub(crate) fn history(site: &Site, seed: u64, length: u64) -> Vec<Kept> {
    let mut kept = Vec::new();
    for number in 0..length {
        let part = site.source().join(format!("part-{}", number % 4));
        if part.exists() {
            fs::remove_dir_all(&part).unwrap();
        }
        Sample::new(seed * 100 + number).files(12).build(&part).unwrap();
        let id = site.backup().snapshot;
        kept.push(Kept { id, state: tree::capture(site.source()).unwrap() });
    }
    kept
}

/// Asserts that snapshots are there and restic restores them as they were.
pub(crate) fn assert_restores(site: &Site, kept: &[&Kept]) {
    for Kept { id, state } in kept {
        let target = site.path("target");
        site.restic().restore(&id.to_hex(), &target).unwrap();
        let after = tree::capture(restored(&target, &site.source())).unwrap();
        assert_eq!(state.differences(&after, &[Aspect::Holes]), []);
        fs::remove_dir_all(&target).unwrap();
    }
}

/// Asserts that both checks, reading all data, find nothing wrong.
pub(crate) fn assert_sound(site: &Site) {
    site.restic().check_read_data().unwrap();
    site.check();
}

/// Replaces a directory by a copy of another one.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Returns how many bytes the packs of a repository have.
pub(crate) fn packed_bytes(site: &Site) -> u64 {
    let files = site.repository().store().list::<lifeboat_model::PackId>().unwrap();
    files.iter().map(|file| file.size).sum()
}
