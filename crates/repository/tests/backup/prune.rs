//! Prunes, judged by stock restic: what is freed, what is refused, what is left when something fails.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{
    BlobId, Cancel, Classify, Clock, ErrorKind, IndexId, PackId, Silent, SimClock,
};
use lifeboat_repository::blob::{BlobSealer, blob_id};
use lifeboat_repository::compress::Compression;
use lifeboat_repository::index::{IndexFile, PackEntry};
use lifeboat_repository::lock::{LockGuard, LockKind, LockOptions};
use lifeboat_repository::pack::{FinishedPack, PackBuilder};
use lifeboat_repository::prune::{self, PruneOptions, SmallPacks};
use lifeboat_repository::{BlobKind, Indexed, Repository, RepositoryError};
use lifeboat_testing::tree::{self, Kind};
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Operation, Rule, Target};
use lifeboat_tiers::{Tier, durable};

use crate::retention::{
    Kept, assert_restores, assert_sound, copy_directory, exclusive, forget, history, packed_bytes,
    prune, prune_under, thorough,
};
use crate::site::Site;

/// Forgets every third snapshot and keeps the others.
fn forget_some<'k>(site: &Site, history: &'k [Kept]) -> Vec<&'k Kept> {
    let (gone, kept): (Vec<_>, Vec<_>) = history.iter().enumerate().partition(|(n, _)| n % 3 == 0);
    let gone: Vec<_> = gone.into_iter().map(|(_, kept)| kept.id).collect();
    forget(&site.repository(), &gone);
    kept.into_iter().map(|(_, kept)| kept).collect()
}

/// Asserts that restic's own prune finds nothing left to remove.
fn assert_restic_has_nothing_to_do(site: &Site) {
    let output = site.restic().run(["prune", "--dry-run", "--max-unused=0", "-v"]).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("total prune:")).unwrap();
    assert!(line.contains(" 0 blobs / 0 B"), "{text}");
}

#[test]
fn what_nobody_refers_to_goes_and_the_rest_restores() {
    for seed in 1..4 {
        let site = Site::new();
        let history = history(&site, seed, 9);
        let kept = forget_some(&site, &history);
        let before = packed_bytes(&site);
        let planned = {
            let repository = site.repository();
            let plan = prune::plan(&repository, thorough(), &Silent, &Cancel::new()).unwrap();
            plan.price(&Cancel::new()).unwrap()
        };
        let report = prune(&site, thorough());
        assert!(report.unused.count > 0 && report.freed_bytes > 0, "{report:?}");
        assert_eq!(before - packed_bytes(&site), report.freed_bytes);
        assert_eq!(planned.packs, report.packs);
        assert_eq!(planned, report, "what was foreseen is what was done");
        assert_eq!(report.unused_after_bytes, 0);
        assert_sound(&site);
        assert_restores(&site, &kept);
        assert_restic_has_nothing_to_do(&site);
        let again = prune(&site, thorough());
        assert_eq!((again.unused.count, again.traffic.bytes_written), (0, 0), "{again:?}");
        assert_eq!(again.used, report.used);
        site.backup();
        assert_sound(&site);
    }
}

#[test]
fn what_restic_backed_up_and_forgot_is_pruned_and_the_other_way_round() {
    let site = Site::new();
    let history = history(&site, 5, 4);
    let restic = site.restic();
    restic.backup(site.source()).unwrap();
    restic.run(["forget", &history[0].id.to_hex(), &history[1].id.to_hex()]).unwrap();
    let report = prune(&site, thorough());
    assert!(report.unused.count > 0, "{report:?}");
    assert_sound(&site);
    assert_restores(&site, &[&history[2], &history[3]]);
    restic.run(["forget", &history[2].id.to_hex(), "--prune"]).unwrap();
    assert_sound(&site);
    // How many small packs there are, and so whether they are put together, depends on how many
    // threads filled them; after that there is nothing left to do.
    let report = prune(&site, PruneOptions::default());
    assert_eq!((report.unused.count, report.packs.removed.count), (0, 0), "{report:?}");
    let again = prune(&site, PruneOptions::default());
    assert_eq!(again.traffic.bytes_written, 0, "{again:?}");
    assert_sound(&site);
    assert_restores(&site, &[&history[3]]);
}

#[test]
fn a_dry_run_of_snapshots_that_are_there_still_counts_them_as_gone() {
    let site = Site::new();
    let history = history(&site, 6, 4);
    let without = history[..3].iter().map(|kept| kept.id).collect();
    let repository = site.repository();
    let options = PruneOptions { without, ..thorough() };
    let plan = prune::plan(&repository, options, &Silent, &Cancel::new()).unwrap();
    assert!(plan.report().unused.count > 0);
    let plan = prune::plan(&repository, thorough(), &Silent, &Cancel::new()).unwrap();
    assert_eq!(plan.report().unused.count, 0);
}

#[test]
fn many_small_packs_become_few() {
    let site = Site::new();
    let history = history(&site, 8, 14);
    let packs = || site.repository().store().list::<PackId>().unwrap().len();
    let (before, all) = (packs(), history.iter().collect::<Vec<_>>());
    assert!(before >= 28, "{before}");
    let options = PruneOptions { small: SmallPacks::All, ..PruneOptions::default() };
    prune(&site, options);
    assert!(packs() <= 4, "{}", packs());
    assert_eq!(site.repository().store().list::<IndexId>().unwrap().len(), 1);
    assert_sound(&site);
    assert_restores(&site, &all);
}

#[test]
fn no_more_than_allowed_is_packed_anew() {
    let site = Site::new();
    let history = history(&site, 9, 6);
    forget_some(&site, &history);
    let none = PruneOptions { max_repack: Some(0), ..thorough() };
    let report = prune(&site, none);
    assert_eq!(report.packs.repacked.count, 0, "{report:?}");
    assert!(report.unused_after_bytes > 0, "{report:?}");
    assert_sound(&site);
}

fn survives(least: u64, rule: impl Fn(u64) -> Rule) {
    let site = Site::new();
    let history = history(&site, 11, 4);
    let kept = forget_some(&site, &history);
    let (tier, golden) = (site.path("tier"), site.path("golden"));
    copy_directory(&tier, &golden);
    for nth in 1.. {
        copy_directory(&golden, &tier);
        let faults = Arc::new(FaultTier::new(site.tier()));
        let repository = site.repository_on(Arc::clone(&faults) as Arc<dyn Tier>);
        let lock = exclusive(&repository);
        faults.add(rule(nth));
        let result = prune_under(&lock, &repository, thorough());
        faults.heal();
        drop(lock);
        assert_sound(&site);
        match result {
            Ok(_) => {
                assert!(nth > least, "packs, an index, and removals: {nth}");
                return;
            }
            Err(error) => assert_ne!(error.kind(), ErrorKind::Bug, "{error}"),
        }
        prune(&site, thorough());
        assert_sound(&site);
        assert_restores(&site, &kept[..1]);
        assert_restic_has_nothing_to_do(&site);
    }
}

#[test]
fn a_prune_is_killed_before_any_write() {
    survives(8, |nth| Rule::kill_at_write(nth, Moment::Before));
}

#[test]
fn a_prune_is_killed_after_any_write() {
    survives(8, |nth| Rule::kill_at_write(nth, Moment::After));
}

#[test]
fn any_write_of_a_prune_fails() {
    survives(8, |nth| Rule::new(Target::Writes, Fault::Fail(Moment::Before)).nth(nth));
}

#[test]
fn a_tier_is_full_from_any_write_of_a_prune_on() {
    survives(1, |nth| Rule::new(Target::Only(Operation::Put), Fault::Full).from_nth(nth));
}

/// Asserts that a prune is refused and changes nothing.
fn assert_refused(site: &Site, names: &str) {
    let repository = site.repository();
    let before = repository.store().list::<PackId>().unwrap();
    let lock = exclusive(&repository);
    let error = prune_under(&lock, &repository, thorough()).unwrap_err();
    drop(lock);
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let RepositoryError::Corrupt(corruption) = &error else { panic!("{error}") };
    assert!(corruption.object.to_string().contains(names), "{error}");
    let after = site.repository().store().list::<PackId>().unwrap();
    assert!(before.iter().all(|pack| after.contains(pack)), "something was removed");
}

fn packs_of(site: &Site, kind: BlobKind) -> Vec<PackId> {
    let packs = site.repository().index().by_pack().unwrap();
    packs.iter().filter(|pack| pack.blobs[0].kind == kind).map(|pack| pack.id).collect()
}

fn pack_path(site: &Site, pack: &PackId) -> std::path::PathBuf {
    let name = pack.to_hex();
    site.path("tier/repo/data").join(&name[..2]).join(name)
}

#[test]
fn a_needed_pack_that_is_missing_stops_the_prune_before_anything_is_removed() {
    for kind in [BlobKind::Data, BlobKind::Tree] {
        let site = Site::new();
        let history = history(&site, 13, 4);
        forget(&site.repository(), &[history[0].id]);
        let kept = site.repository().snapshot(&history[3].id).unwrap();
        let pack = match kind {
            BlobKind::Tree => site.repository().locate(BlobKind::Tree, &kept.tree).unwrap().pack,
            BlobKind::Data => *packs_of(&site, kind).last().unwrap(),
        };
        fs::remove_file(pack_path(&site, &pack)).unwrap();
        // Every pack of data is needed still: the backups before left other parts alone.
        assert_refused(&site, &pack.to_hex());
    }
}

#[test]
fn a_missing_pack_that_nobody_needs_is_forgotten() {
    let site = Site::new();
    let stray = save(&site.repository(), &[b"needed by nobody"], Listed::Yes);
    let history = history(&site, 14, 2);
    fs::remove_file(pack_path(&site, &stray.id)).unwrap();
    let report = prune(&site, thorough());
    assert_eq!(report.packs.missing, 1);
    assert_sound(&site);
    assert_restores(&site, &[&history[1]]);
}

#[test]
fn a_damaged_blob_is_not_moved_and_nothing_is_removed() {
    let site = Site::new();
    let history = history(&site, 15, 1);
    // Half of the only pack of data is needed still, so that it is to move.
    let files = tree::capture(site.source()).unwrap().entries;
    let files = files.iter().filter(|(_, entry)| matches!(entry.kind, Kind::File { .. }));
    for (path, _) in files.step_by(2) {
        fs::remove_file(site.source().join(path)).unwrap();
    }
    site.backup();
    forget(&site.repository(), &[history[0].id]);
    let orphan = save(&site.repository(), &[b"an orphan"], Listed::No);
    for pack in site.repository().index().by_pack().unwrap() {
        if pack.blobs[0].kind == BlobKind::Tree {
            continue;
        }
        let path = pack_path(&site, &pack.id);
        let mut bytes = fs::read(&path).unwrap();
        for blob in &pack.blobs {
            bytes[blob.offset as usize + 20] ^= 1;
        }
        durable::replace(&path, &bytes, 0o600).unwrap();
    }
    assert_refused(&site, "data blob");
    assert!(pack_path(&site, &orphan.id).exists());
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Yes,
    No,
}

fn save(repository: &Repository<Indexed>, blobs: &[&[u8]], listed: Listed) -> FinishedPack {
    let mut sealer = BlobSealer::new(repository.key(), Compression::default());
    let mut builder = PackBuilder::default();
    for blob in blobs {
        builder.add(&sealer.seal(BlobKind::Data, blob_id(blob), blob).unwrap()).unwrap();
    }
    let pack = builder.finish(repository.key());
    repository.save_pack(&pack).unwrap();
    if listed == Listed::Yes {
        let packs = vec![PackEntry::from(&pack)];
        repository.save_index(&IndexFile { packs, ..IndexFile::default() }).unwrap();
    }
    pack
}

#[test]
fn duplicates_go_and_a_whole_copy_replaces_a_damaged_one() {
    let site = Site::new();
    let history = history(&site, 16, 3);
    let repository = site.repository();
    let ids: Vec<BlobId> = repository.index().blobs(BlobKind::Data).map(|(id, _)| id).collect();
    let copies: Vec<_> =
        ids.iter().map(|id| repository.read_blob(BlobKind::Data, id).unwrap()).collect();
    let copies: Vec<&[u8]> = copies.iter().map(|copy| &copy[..]).collect();
    save(&repository, &copies, Listed::Yes);
    save(&repository, &copies, Listed::Yes);
    let report = prune(&site, thorough());
    assert_eq!(report.duplicate.count, 2 * ids.len() as u64, "{report:?}");
    assert_sound(&site);
    assert_restores(&site, &history.iter().collect::<Vec<_>>());
    assert_eq!(site.repository().index().len(BlobKind::Data), ids.len());
}

#[test]
fn orphans_go_and_what_rustic_marked_stays() {
    let site = Site::new();
    let history = history(&site, 17, 3);
    let repository = site.repository();
    let orphan = save(&repository, &[b"left by a kill"], Listed::No);
    let marked = save(&repository, &[b"marked by rustic"], Listed::No);
    let time = Some("2026-01-01T00:00:00Z".to_owned());
    let entry = PackEntry { time, ..PackEntry::from(&marked) };
    let doomed = IndexFile { packs_to_delete: vec![entry.clone()], ..IndexFile::default() };
    repository.save_index(&doomed).unwrap();
    forget(&site.repository(), &[history[0].id, history[1].id]);
    let report = prune(&site, thorough());
    assert_eq!(report.packs.orphans.count, 1);
    assert!(!pack_path(&site, &orphan.id).exists());
    assert!(pack_path(&site, &marked.id).exists());
    let repository = site.repository();
    let files = repository.store().list::<IndexId>().unwrap();
    let marks: Vec<PackEntry> = files
        .iter()
        .flat_map(|file| repository.index_file(&file.id).unwrap().packs_to_delete)
        .collect();
    assert_eq!(marks, [entry]);
    assert_sound(&site);
}

#[test]
fn nothing_is_removed_once_the_lock_may_be_lost() {
    let site = Site::new();
    let history = history(&site, 18, 4);
    forget_some(&site, &history);
    let repository = site.repository();
    let sim = Arc::new(SimClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let clock: Arc<dyn Clock> = Arc::clone(&sim) as _;
    let cancel = Cancel::new();
    let options = LockOptions::new(LockKind::Exclusive);
    let lock = LockGuard::acquire(&repository, &options, &clock, &cancel).unwrap();
    let plan = prune::plan(&repository, thorough(), &Silent, &cancel).unwrap();
    let before = site.repository().store().list::<PackId>().unwrap();
    sim.advance(Duration::from_mins(25));
    let error = plan.perform(&lock, &Silent, &cancel).unwrap_err();
    assert!(matches!(error, RepositoryError::LockLost { .. }), "{error}");
    let after = site.repository().store().list::<PackId>().unwrap();
    assert!(before.iter().all(|pack| after.contains(pack)));
    drop(lock);
    assert_sound(&site);
}
