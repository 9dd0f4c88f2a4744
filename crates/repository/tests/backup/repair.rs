//! Repairs, judged by stock restic: afterwards its check finds nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::{Cancel, IndexId, PackId, Silent, SnapshotId};
use lifeboat_repository::check::{CheckOptions, ReadData, check};
use lifeboat_repository::repair::{
    DamagedSnapshots, IndexRepair, Loss, PacksToRead, SnapshotOutcome, SnapshotRepair,
    repair_index, repair_snapshots,
};
use lifeboat_repository::{BlobKind, Repository, RepositoryError};
use lifeboat_tiers::fault::{FaultTier, Moment, Rule};
use lifeboat_tiers::{Tier, durable};

use crate::retention::{assert_restores, assert_sound, copy_directory, exclusive, history};
use crate::site::Site;

fn repair_on(site: &Site, tier: Arc<dyn Tier>) -> Result<IndexRepair, RepositoryError> {
    repair_packs_on(site, tier, PacksToRead::Unknown)
}

fn repair_packs_on(
    site: &Site,
    tier: Arc<dyn Tier>,
    packs: PacksToRead,
) -> Result<IndexRepair, RepositoryError> {
    // The lock is another opening's, so that its writes are not counted.
    let lock = exclusive(&site.opened_on(site.tier()));
    let repository: Repository = site.opened_on(tier);
    repair_index(&repository, Some(&lock), packs, &Silent, &Cancel::new())
}

pub(crate) fn repair(site: &Site) -> IndexRepair {
    repair_on(site, site.tier()).unwrap()
}

fn files(site: &Site, kind: &str) -> Vec<PathBuf> {
    let folder = site.path("tier/repo").join(kind);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

pub(crate) fn pack_path(site: &Site, pack: &PackId) -> PathBuf {
    let name = pack.to_hex();
    site.path("tier/repo/data").join(&name[..2]).join(name)
}

pub(crate) fn overwrite(path: &Path, bytes: &[u8]) {
    durable::replace(path, bytes, 0o600).unwrap();
}

#[test]
fn a_lost_index_is_made_again_from_the_packs() {
    let site = Site::new();
    let history = history(&site, 31, 3);
    for file in files(&site, "index") {
        fs::remove_file(file).unwrap();
    }
    let packs = site.repository().store().list::<PackId>().unwrap().len();
    let report = repair(&site);
    assert_eq!(report.added_packs.len(), packs);
    assert_sound(&site);
    assert_restores(&site, &history.iter().collect::<Vec<_>>());
    let again = repair(&site);
    assert!(!again.is_needed() && again.index_files_written == 0, "{again:?}");
}

#[test]
fn damaged_index_files_missing_packs_and_garbage_are_told_apart() {
    let site = Site::new();
    let history = history(&site, 32, 4);
    let index = files(&site, "index").remove(0);
    let bytes = fs::read(&index).unwrap();
    overwrite(&index, &bytes[..bytes.len() / 2]);
    let garbage = PackId::from_bytes([0xab; 32]);
    let garbage_path = pack_path(&site, &garbage);
    fs::create_dir_all(garbage_path.parent().unwrap()).unwrap();
    overwrite(&garbage_path, b"no pack at all, but long enough to have a header");

    let dry = {
        let repository = site.opened_on(site.tier());
        repair_index(&repository, None, PacksToRead::Unknown, &Silent, &Cancel::new()).unwrap()
    };
    let report = repair(&site);
    assert_eq!(dry.added_packs, report.added_packs);
    assert_eq!(report.damaged_index_files.len(), 1);
    assert_eq!(report.damaged_packs, [garbage]);
    assert!(!report.added_packs.contains(&garbage) && !report.added_packs.is_empty());
    assert_restores(&site, &history.iter().collect::<Vec<_>>());
    fs::remove_file(garbage_path).unwrap();
    assert_sound(&site);
}

#[test]
fn the_whole_index_is_made_from_the_headers() {
    let site = Site::new();
    let history = history(&site, 33, 5);
    let before = site.repository().index().by_pack().unwrap().len() as u64;
    let report = repair_packs_on(&site, site.tier(), PacksToRead::All).unwrap();
    assert_eq!(report.headers_read, before);
    assert_eq!(files(&site, "index").len(), 1);
    assert!(!report.is_needed(), "{report:?}");
    assert_sound(&site);
    assert_restores(&site, &[&history[4]]);
}

#[test]
fn a_kill_at_any_write_of_an_index_repair_is_survived() {
    let site = Site::new();
    let history = history(&site, 34, 4);
    let lost = files(&site, "index").remove(1);
    fs::remove_file(lost).unwrap();
    let (tier, golden) = (site.path("tier"), site.path("golden"));
    copy_directory(&tier, &golden);
    for nth in 1.. {
        for moment in [Moment::Before, Moment::After] {
            copy_directory(&golden, &tier);
            let faults = Arc::new(FaultTier::new(site.tier()));
            faults.add(Rule::kill_at_write(nth, moment));
            let result = repair_on(&site, faults);
            if result.is_ok() {
                assert!(nth > 3, "{nth}");
                return;
            }
            repair(&site);
            assert_sound(&site);
            assert_restores(&site, &[&history[3]]);
        }
    }
}

pub(crate) fn repair_trees(site: &Site, damaged: DamagedSnapshots) -> SnapshotRepair {
    let mut repository = site.repository();
    let lock = exclusive(&repository);
    let snapshots = repository.snapshots().unwrap();
    let cancel = Cancel::new();
    repair_snapshots(&mut repository, Some(&lock), snapshots, damaged, &Silent, &cancel).unwrap()
}

/// Removes the pack that holds a piece of a file which only the snapshot has.
fn lose_data(site: &Site, snapshot: &SnapshotId) -> PackId {
    let repository = site.repository();
    let index = repository.index();
    let last = index.by_pack().unwrap();
    let mut packs = last.iter().filter(|pack| pack.blobs[0].kind == BlobKind::Data);
    let pack = packs.next_back().unwrap().id;
    drop(index);
    assert!(repository.snapshot(snapshot).is_ok());
    fs::remove_file(pack_path(site, &pack)).unwrap();
    pack
}

#[test]
fn whole_snapshots_are_not_touched() {
    let site = Site::new();
    history(&site, 35, 3);
    let before = site.repository().snapshot_ids().unwrap();
    let report = repair_trees(&site, DamagedSnapshots::Forget);
    assert_eq!((report.damaged(), report.snapshots.len()), (0, 3));
    assert_eq!(site.repository().snapshot_ids().unwrap(), before);
}

#[test]
fn nothing_is_given_up_that_only_has_to_be_listed_again() {
    let site = Site::new();
    let history = history(&site, 38, 3);
    for file in files(&site, "index") {
        fs::remove_file(file).unwrap();
    }
    let mut repository = site.repository();
    let options = CheckOptions { data: ReadData::None };
    let report = check(&repository, &options, &Silent, &Cancel::new()).unwrap();
    assert!(report.findings.len() > 3);
    for finding in &report.findings {
        let hint = finding.hint.as_deref().unwrap_or_default();
        assert!(hint.contains("repair index") && !hint.contains("prune"), "{finding:?}");
    }
    {
        let lock = exclusive(&repository);
        let (snapshots, cancel) = (repository.snapshots().unwrap(), Cancel::new());
        let forget = DamagedSnapshots::Forget;
        for lock in [None, Some(&lock)] {
            let given_up = repair_snapshots(
                &mut repository,
                lock,
                snapshots.clone(),
                forget,
                &Silent,
                &cancel,
            );
            assert!(matches!(given_up, Err(RepositoryError::UnlistedPacks { count: 1.., .. })));
        }
    }
    drop(repository);
    repair(&site);
    assert_sound(&site);
    assert_restores(&site, &history.iter().collect::<Vec<_>>());
    assert_eq!(repair_trees(&site, DamagedSnapshots::Forget).damaged(), 0);
}

#[test]
fn lost_data_is_left_out_beside_the_damaged_snapshots_or_in_their_place() {
    for damaged in [DamagedSnapshots::Keep, DamagedSnapshots::Forget] {
        let site = Site::new();
        let history = history(&site, 36, 3);
        lose_data(&site, &history[2].id);
        repair(&site);
        let report = repair_trees(&site, damaged);
        assert!(report.damaged() >= 1, "{report:?}");
        let repository = site.repository();
        for snapshot in &report.snapshots {
            match snapshot.outcome {
                SnapshotOutcome::Whole => assert!(snapshot.losses.is_empty()),
                SnapshotOutcome::Lost => panic!("{report:?}"),
                SnapshotOutcome::Repaired { new } => {
                    assert!(
                        snapshot.losses.iter().all(|loss| matches!(loss, Loss::File { path, .. } if path.starts_with(site.source()))),
                        "{report:?}"
                    );
                    let new = repository.snapshot(&new.unwrap()).unwrap();
                    assert_eq!(new.original, Some(snapshot.id));
                    let is_tagged = new.tags.contains(&"repaired".to_owned());
                    assert_eq!(is_tagged, damaged == DamagedSnapshots::Keep);
                    let is_there = repository.snapshot(&snapshot.id).is_ok();
                    assert_eq!(is_there, damaged == DamagedSnapshots::Keep);
                }
            }
        }
        if damaged == DamagedSnapshots::Forget {
            assert_sound(&site);
        } else {
            let ids: Vec<String> = report
                .snapshots
                .iter()
                .filter(|snapshot| snapshot.outcome != SnapshotOutcome::Whole)
                .map(|snapshot| snapshot.id.to_hex())
                .collect();
            site.restic().run(["forget".to_owned()].into_iter().chain(ids)).unwrap();
            assert_sound(&site);
        }
        site.backup();
        assert_sound(&site);
        let again = repair_trees(&site, DamagedSnapshots::Keep);
        assert_eq!(again.damaged(), 0);
    }
}

#[test]
fn a_lost_directory_becomes_empty_and_a_lost_root_loses_the_snapshot() {
    let site = Site::new();
    let history = history(&site, 37, 2);
    let repository = site.repository();
    let root = repository.snapshot(&history[1].id).unwrap().tree;
    // All trees of the second backup lie in one pack; its data is whole.
    let pack = repository.locate(BlobKind::Tree, &root).unwrap().pack;
    fs::remove_file(pack_path(&site, &pack)).unwrap();
    repair(&site);
    let report = repair_trees(&site, DamagedSnapshots::Keep);
    assert_eq!(report.snapshots[1].outcome, SnapshotOutcome::Lost);
    assert!(site.repository().snapshot(&history[1].id).is_ok(), "it goes only if asked to");
    let report = repair_trees(&site, DamagedSnapshots::Forget);
    assert_eq!(report.snapshots[1].outcome, SnapshotOutcome::Lost);
    assert_eq!(site.repository().snapshot_ids().unwrap().len(), 1);
    assert_restores(&site, &[&history[0]]);
    assert_sound(&site);
    assert!(!site.repository().store().list::<IndexId>().unwrap().is_empty());
}
