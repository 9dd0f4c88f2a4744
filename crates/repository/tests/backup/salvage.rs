//! Damaged packs are mended: what is whole of them is saved, whatever happens meanwhile.

use std::fs;
use std::sync::Arc;

use lifeboat_model::{Cancel, Classify, ErrorKind, PackId, Silent};
use lifeboat_repository::index::{IndexFile, PackEntry};
use lifeboat_repository::repair::{
    DamagedSnapshots, PackRepair, PacksToMend, PacksToRead, repair_index, repair_packs,
};
use lifeboat_repository::{BlobKind, RepositoryError};
use lifeboat_testing::tree::Sample;
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Operation, Rule, Target};
use lifeboat_tiers::{Tier, durable};

use crate::repair::{overwrite, pack_path, repair, repair_trees};
use crate::retention::{Kept, assert_restores, assert_sound, copy_directory, exclusive, history};
use crate::site::{Site, assert_stored_once};

fn named(packs: &[PackId]) -> PacksToMend {
    PacksToMend::Named(packs.iter().copied().collect())
}

fn mend_on(
    site: &Site,
    tier: Arc<dyn Tier>,
    packs: &PacksToMend,
) -> Result<PackRepair, RepositoryError> {
    // The lock is another opening's, so that its writes are not counted.
    let lock = exclusive(&site.opened_on(site.tier()));
    repair_packs(&site.opened_on(tier), Some(&lock), packs, &Silent, &Cancel::new())
}

fn mend(site: &Site, packs: &PacksToMend) -> PackRepair {
    mend_on(site, site.tier(), packs).unwrap()
}

fn mend_dry(site: &Site, packs: &PacksToMend) -> PackRepair {
    repair_packs(&site.opened_on(site.tier()), None, packs, &Silent, &Cancel::new()).unwrap()
}

/// Returns what the index says of the packs of one kind, the largest last.
fn packs_of(site: &Site, kind: BlobKind) -> Vec<PackEntry> {
    let mut packs = site.repository().index().by_pack().unwrap();
    packs.retain(|pack| pack.blobs[0].kind == kind);
    packs.sort_by_key(|pack| pack.blobs.len());
    packs
        .into_iter()
        .map(|pack| PackEntry { id: pack.id, blobs: pack.blobs, time: None, size: None })
        .collect()
}

/// Makes a history of which everything that the last snapshot needs is still on the disk, and returns the
/// pack of it with most blobs.
fn stored(site: &Site, seed: u64) -> (Vec<Kept>, PackEntry) {
    let kept = history(site, seed, 1);
    (kept, packs_of(site, BlobKind::Data).pop().unwrap())
}

fn change(site: &Site, pack: &PackId, change: impl FnOnce(&mut Vec<u8>)) {
    let path = pack_path(site, pack);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    overwrite(&path, &bytes);
}

/// Lets one blob of a pack rot.
fn rot(site: &Site, pack: &PackEntry, blob: usize) {
    change(site, &pack.id, |bytes| bytes[pack.blobs[blob].offset as usize + 20] ^= 1);
}

/// Backs up what is still there and asserts that nothing lacks any more.
fn assert_healed_by_a_backup(site: &Site, kept: &[Kept]) {
    site.backup();
    assert_sound(site);
    assert_restores(site, &kept.iter().collect::<Vec<_>>());
    assert_eq!(repair_trees(site, DamagedSnapshots::Keep).damaged(), 0);
}

#[test]
fn a_rotten_blob_is_lost_alone_and_the_next_backup_stores_it_again() {
    let site = Site::new();
    let (kept, pack) = stored(&site, 51);
    rot(&site, &pack, 1);
    let packs = named(&[pack.id]);
    let dry = mend_dry(&site, &packs);
    let found = mend_dry(&site, &PacksToMend::All);
    assert_eq!(found.repaired_packs, dry.repaired_packs, "reading all finds it");
    assert!(pack_path(&site, &pack.id).exists());
    let report = mend(&site, &packs);
    assert_eq!(report.repaired_packs, dry.repaired_packs);
    assert_eq!((report.lost_blobs(), report.packs_written), (1, 1));
    assert_eq!(report.repaired_packs[0].lost_blobs[0].id, pack.blobs[1].id);
    assert_eq!(report.repaired_packs[0].whole_blobs, pack.blobs.len() as u64 - 1);
    assert!(!pack_path(&site, &pack.id).exists());
    assert!(!site.repository().contains(BlobKind::Data, &pack.blobs[1].id));
    assert_stored_once(&site.repository());
    assert_healed_by_a_backup(&site, &kept);
}

#[test]
fn what_stays_lost_is_left_out() {
    let site = Site::new();
    let (_, pack) = stored(&site, 52);
    rot(&site, &pack, 0);
    assert_eq!(mend(&site, &PacksToMend::All).lost_blobs(), 1);
    assert_eq!(repair_trees(&site, DamagedSnapshots::Forget).damaged(), 1);
    assert_sound(&site);
}

#[test]
fn a_rotten_header_and_a_rotten_name_cost_nothing() {
    let site = Site::new();
    let (kept, pack) = stored(&site, 53);
    change(&site, &pack.id, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let report = mend(&site, &named(&[pack.id]));
    assert_eq!((report.lost_blobs(), report.repaired_packs.len()), (0, 1), "{report:?}");
    assert_sound(&site);
    assert_restores(&site, &[&kept[0]]);
}

#[test]
fn a_rotten_directory_is_saved_with_its_neighbours() {
    let site = Site::new();
    let kept = history(&site, 54, 1);
    let pack = packs_of(&site, BlobKind::Tree).pop().unwrap();
    rot(&site, &pack, 0);
    let report = mend(&site, &PacksToMend::All);
    assert_eq!((report.lost_blobs(), report.repaired_packs[0].id), (1, pack.id));
    assert_healed_by_a_backup(&site, &kept);
}

#[test]
fn a_pack_that_is_gone_is_in_no_index_afterwards() {
    let site = Site::new();
    let (kept, pack) = stored(&site, 55);
    fs::remove_file(pack_path(&site, &pack.id)).unwrap();
    let report = mend(&site, &named(&[pack.id]));
    assert_eq!((report.lost_blobs(), report.packs_written), (pack.blobs.len(), 0));
    assert_healed_by_a_backup(&site, &kept);
}

#[test]
fn what_lies_elsewhere_is_not_stored_again() {
    let site = Site::new();
    let (kept, pack) = stored(&site, 56);
    let before = packs_of(&site, BlobKind::Data);
    rot(&site, &pack, 0);
    assert_eq!(mend(&site, &named(&[pack.id])).packs_written, 1);
    site.backup();
    // As if the run had been killed before it took anything out of the index: the rest lies elsewhere.
    let entries = before.iter().find(|entry| entry.id == pack.id).cloned().unwrap();
    let file = IndexFile { packs: vec![entries], ..Default::default() };
    site.repository().save_index(&file).unwrap();
    let report = mend(&site, &PacksToMend::All);
    assert_eq!((report.lost_blobs(), report.packs_written), (0, 0), "{report:?}");
    assert_stored_once(&site.repository());
    assert_sound(&site);
    assert_restores(&site, &[&kept[0]]);
}

#[test]
fn whole_packs_and_those_that_nobody_knows_stay() {
    let site = Site::new();
    let (kept, pack) = stored(&site, 57);
    let garbage = PackId::from_bytes([0xab; 32]);
    let path = pack_path(&site, &garbage);
    durable::create_directories(path.parent().unwrap(), 0o700).unwrap();
    overwrite(&path, b"no pack at all, but long enough to have a header");
    let before = site.repository().store().list::<PackId>().unwrap();
    for packs in [named(&[pack.id, garbage]), PacksToMend::All] {
        let report = mend(&site, &packs);
        assert!(report.repaired_packs.is_empty() && report.index_files_written == 0, "{report:?}");
        assert_eq!(report.unknown_packs, [garbage]);
    }
    assert_eq!(site.repository().store().list::<PackId>().unwrap(), before);
    let nobody = PackId::from_bytes([0xcd; 32]);
    let error = mend_on(&site, site.tier(), &named(&[nobody])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_restores(&site, &[&kept[0]]);
}

/// Lets each write of a repair fail in turn; the next repair ends the work.
fn survives(rule: impl Fn(u64) -> Rule, least: u64) {
    let site = Site::new();
    let (kept, pack) = stored(&site, 58);
    let trees = packs_of(&site, BlobKind::Tree).pop().unwrap();
    rot(&site, &pack, 1);
    change(&site, &trees.id, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let (tier, golden) = (site.path("tier"), site.path("golden"));
    copy_directory(&tier, &golden);
    let packs = named(&[pack.id, trees.id]);
    for nth in 1.. {
        copy_directory(&golden, &tier);
        let faults = Arc::new(FaultTier::new(site.tier()));
        faults.add(rule(nth));
        match mend_on(&site, faults, &packs) {
            Ok(_) => return assert!(nth > least, "packs, indexes, and removals: {nth}"),
            Err(error) => assert_ne!(error.kind(), ErrorKind::Bug, "{error}"),
        }
        // Whatever was done, nothing more is lost than was before.
        let report = mend(&site, &PacksToMend::All);
        assert!(report.lost_blobs() <= 1, "{nth}: {report:?}");
        assert_eq!(mend(&site, &PacksToMend::All).repaired_packs, [], "{nth}");
        assert_healed_by_a_backup(&site, &kept);
    }
}

#[test]
fn a_pack_repair_is_killed_before_any_write() {
    survives(|nth| Rule::kill_at_write(nth, Moment::Before), 6);
}

#[test]
fn a_pack_repair_is_killed_after_any_write() {
    survives(|nth| Rule::kill_at_write(nth, Moment::After), 6);
}

#[test]
fn any_write_of_a_pack_repair_fails() {
    survives(|nth| Rule::new(Target::Writes, Fault::Fail(Moment::Before)).nth(nth), 6);
}

#[test]
fn a_tier_is_full_from_any_write_of_a_pack_repair_on() {
    survives(|nth| Rule::new(Target::Only(Operation::Put), Fault::Full).from_nth(nth), 3);
}

#[test]
fn an_index_repair_saves_what_is_whole_of_a_pack_that_was_cut() {
    for packs in [PacksToRead::Unknown, PacksToRead::All] {
        let site = Site::new();
        let (kept, pack) = stored(&site, 59);
        let cut = pack.blobs[pack.blobs.len() / 2].offset as usize + 9;
        change(&site, &pack.id, |bytes| bytes.truncate(cut));
        let lock = exclusive(&site.opened_on(site.tier()));
        let repository = site.opened_on(site.tier());
        let report =
            repair_index(&repository, Some(&lock), packs, &Silent, &Cancel::new()).unwrap();
        drop(lock);
        assert_eq!(report.damaged_packs, [pack.id]);
        let salvaged = &report.salvaged_packs[0];
        assert_eq!(salvaged.whole_blobs, pack.blobs.len() as u64 / 2, "{packs:?}");
        assert!(pack_path(&site, &pack.id).exists(), "it is left where it is");
        assert_eq!(repair(&site).salvaged_packs, []);
        fs::remove_file(pack_path(&site, &pack.id)).unwrap();
        assert_healed_by_a_backup(&site, &kept);
    }
}

#[test]
fn of_a_pack_that_lies_in_two_indexes_both_are_gone_by() {
    let site = Site::new();
    Sample::new(60).files(9).build(site.source()).unwrap();
    site.backup();
    let pack = packs_of(&site, BlobKind::Data).pop().unwrap();
    let mut wrong = pack.clone();
    wrong.blobs.pop();
    let file = IndexFile { packs: vec![wrong], ..Default::default() };
    site.repository().save_index(&file).unwrap();
    change(&site, &pack.id, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let report = mend(&site, &PacksToMend::All);
    assert_eq!(report.repaired_packs[0].whole_blobs, pack.blobs.len() as u64);
    assert_sound(&site);
}
