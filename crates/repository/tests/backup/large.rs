//! Directories of so many entries that neither they nor their trees are whole in memory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use lifeboat_model::{BlobId, Cancel, Silent, SnapshotId, SystemClock};
use lifeboat_repository::BlobKind;
use lifeboat_repository::backup::{BackupOptions, ParentChoice, backup};
use lifeboat_repository::check::{CheckOptions, ReadData, check};
use lifeboat_repository::prune::{self, PruneOptions};
use lifeboat_repository::restore::{RestoreOptions, restore};
use lifeboat_repository::stats::{StatsMode, stats};

use crate::site::{Site, files, restored};

/// Enough for several stretches, and for a tree that is longer than 8 MiB.
const ENTRIES: usize = 30_000;

fn name(number: usize) -> String {
    format!("{number:05}-{}", "a name that is as long as those of uploads are ".repeat(2))
}

/// Makes a directory of files, with some links and directories among them.
fn build(source: &Path) {
    fs::create_dir_all(source).unwrap();
    for number in 0..ENTRIES {
        let path = source.join(name(number));
        match number % 1000 {
            0 => {
                fs::create_dir(&path).unwrap();
                fs::File::create(path.join("below")).unwrap();
            }
            1 => symlink("elsewhere", &path).unwrap(),
            2 => write(&path, number),
            _ => drop(fs::File::create(&path).unwrap()),
        }
    }
}

fn write(path: &Path, number: usize) {
    let mut file = fs::File::create(path).unwrap();
    std::io::Write::write_all(&mut file, number.to_string().as_bytes()).unwrap();
}

fn tree_of(site: &Site, id: &SnapshotId) -> BlobId {
    let repository = site.repository();
    site.subtree(&repository, repository.snapshot(id).unwrap().tree)
}

/// Returns the tree that a backup makes which takes nothing over.
fn tree_without_parent(site: &Site) -> BlobId {
    let repository = site.repository();
    let options = BackupOptions { parent: ParentChoice::None, ..BackupOptions::new("site") };
    let sources = vec![files(&[&site.source()])];
    let made = backup(&repository, sources, &options, &Silent, &Cancel::new(), &SystemClock);
    tree_of(site, &made.unwrap().snapshot)
}

#[test]
fn a_directory_of_very_many_entries_is_stored_as_restic_stores_it_and_read_by_everybody() {
    let site = Site::new();
    build(&site.source());
    let first = site.backup();
    let tree = tree_of(&site, &first.snapshot);
    site.restic().backup(site.source()).unwrap();
    let repository = site.repository();
    let snapshots = repository.snapshots().unwrap();
    let theirs = snapshots.iter().find(|(id, _)| *id != first.snapshot).unwrap();
    assert_eq!(site.subtree(&repository, theirs.1.tree), tree);
    site.restic().check_read_data().unwrap();
    site.check();

    let target = site.path("target");
    let snapshot = repository.snapshot(&first.snapshot).unwrap();
    let options = RestoreOptions::new(&target);
    let report = restore(&repository, &snapshot, &options, &Silent, &Cancel::new()).unwrap();
    assert!(report.is_complete(), "{report:?}");
    let back = fs::read_dir(restored(&target, &site.source())).unwrap().count();
    assert_eq!(back, ENTRIES);
    let counted =
        stats(&repository, &[snapshot.tree], StatsMode::RestoreSize, &Cancel::new()).unwrap();
    assert!(counted.unreadable.is_empty() && counted.files > ENTRIES as u64, "{counted:?}");
    let plan = prune::plan(&repository, PruneOptions::default(), &Silent, &Cancel::new()).unwrap();
    assert_eq!(plan.report().unused.count, 0, "{:?}", plan.report());
}

#[test]
fn damage_to_a_directory_of_very_many_entries_is_found_by_reading_its_pack() {
    let site = Site::new();
    build(&site.source());
    let tree = tree_of(&site, &site.backup().snapshot);
    let repository = site.repository();
    let place = repository.index().get(BlobKind::Tree, &tree).unwrap();
    let mut pack = repository.store().get(&place.pack).unwrap().to_vec();
    pack[place.offset as usize + 1000] ^= 1;
    repository.store().put(&place.pack, pack.into()).unwrap();
    let options = CheckOptions { data: ReadData::All };
    let report = check(&repository, &options, &Silent, &Cancel::new()).unwrap();
    assert!(report.damaged_packs.contains(&place.pack));
    let named = |text: &str| report.findings.iter().any(|finding| finding.problem.contains(text));
    assert!(named(&format!("tree blob {} at {}", tree.to_hex(), place.offset)), "{report:?}");
}

#[test]
fn a_parent_makes_no_difference_to_a_directory_of_very_many_entries() {
    let site = Site::new();
    let source = site.source();
    build(&source);
    let first = site.backup();
    let tree = tree_of(&site, &first.snapshot);
    let unchanged = site.backup();
    // Others work in the directories above meanwhile, whose trees are short.
    assert!(unchanged.counts.bytes_added < 10_000, "{:?}", unchanged.counts);
    assert_eq!(tree_of(&site, &unchanged.snapshot), tree);

    // In the last stretch alone, then in the first one, too.
    write(&source.join(name(ENTRIES - 3)), 7);
    let late = site.backup();
    assert_eq!((late.counts.files_changed, late.counts.tree_blobs > 0), (1, true));
    assert_eq!(tree_of(&site, &late.snapshot), tree_without_parent(&site));
    fs::remove_file(source.join(name(5))).unwrap();
    fs::File::create(source.join("00007-new")).unwrap();
    fs::File::create(source.join(name(1000)).join("new")).unwrap();
    let early = site.backup();
    assert_eq!(early.counts.files_new, 2, "{:?}", early.counts);
    assert_eq!(tree_of(&site, &early.snapshot), tree_without_parent(&site));
    // The last entries are gone, and nothing else.
    let before = tree_of(&site, &early.snapshot);
    for number in ENTRIES - 50..ENTRIES {
        fs::remove_file(source.join(name(number))).unwrap();
    }
    let shorter = tree_of(&site, &site.backup().snapshot);
    assert_ne!(shorter, before);
    assert_eq!(shorter, tree_without_parent(&site));
    site.check();
}
