//! Backups that go by fingerprints of directories: they make the snapshots that others make.

use std::fs;
use std::path::Path;

use lifeboat_model::pattern::{Case, Dialect, Patterns};
use lifeboat_model::{BlobId, Cancel, PackId, Silent, SystemClock};
use lifeboat_repository::backup::{BackupOptions, BackupReport, Evidence, ParentChoice, backup};
use lifeboat_repository::source::{AccessTime, Excludes, FilesSource, Source};
use lifeboat_repository::{BlobKind, Indexed, Repository};
use proptest::prelude::*;

use crate::changes::{CHANGES, Change, change, change_file, make, path_of, write};
use crate::site::Site;

fn run_with(
    site: &Site,
    repository: &Repository<Indexed>,
    options: &BackupOptions,
    exclude: Excludes,
) -> (BackupReport, BlobId) {
    let paths = vec![site.source()];
    let sources = vec![Source::Files(FilesSource { paths, exclude, ..FilesSource::default() })];
    let report =
        backup(repository, sources, options, &Silent, &Cancel::new(), &SystemClock).unwrap();
    let tree = site.subtree(repository, report.tree);
    (report, tree)
}

fn run(site: &Site, repository: &Repository<Indexed>, options: &BackupOptions) -> BlobId {
    run_with(site, repository, options, Excludes::default()).1
}

fn usual() -> BackupOptions {
    BackupOptions::new("site")
}

fn without_parent() -> BackupOptions {
    BackupOptions { parent: ParentChoice::None, ..usual() }
}

/// Tells whether any fingerprints are kept.
fn has_fingerprints(cache: &Path) -> bool {
    let below = |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let is_one = |path: &Path| path.file_name().unwrap().as_encoded_bytes().starts_with(b"finger");
    below(cache)
        .filter(|path| path.is_dir())
        .flat_map(|path| below(&path))
        .any(|path| is_one(&path))
}

#[test]
fn times_of_reading_are_seen_as_soon_as_they_are_kept() {
    let site = Site::new();
    make(&site.source());
    let own = BackupOptions { access_time: AccessTime::Own, ..usual() };
    let own_anew = BackupOptions { access_time: AccessTime::Own, ..without_parent() };
    let repository = site.repository_with_cache();
    run(&site, &repository, &usual());
    for (seed, (with, anew)) in
        (1..).zip([(&own, &own_anew), (&own, &own_anew), (&usual(), &without_parent())])
    {
        let file = fs::File::open(path_of(&site.source(), 2, 2)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seed);
        file.set_times(fs::FileTimes::new().set_accessed(time)).unwrap();
        let tree = run(&site, &repository, with);
        assert_eq!(tree, run(&site, &site.repository(), anew), "{seed}");
    }
    site.check();
}

#[test]
fn what_is_left_out_is_seen_at_once() {
    let site = Site::new();
    make(&site.source());
    let repository = site.repository_with_cache();
    let excludes = |texts: &[&str]| {
        Excludes::by_patterns(Patterns::new(Dialect::Restic, Case::Matters, texts).unwrap())
    };
    run(&site, &repository, &usual());
    for patterns in [&["z"][..], &["plain"], &["below/it"], &[], &["below/*"], &["plain"]] {
        let (_, with) = run_with(&site, &repository, &usual(), excludes(patterns));
        let (_, anew) = run_with(&site, &site.repository(), &without_parent(), excludes(patterns));
        assert_eq!(with, anew, "{patterns:?}");
    }
    // What is left out may change without a difference.
    write(&path_of(&site.source(), 0, 0).with_file_name("plain.log"), b"1");
    let (_, before) = run_with(&site, &repository, &usual(), excludes(&["*.log"]));
    write(&path_of(&site.source(), 0, 0).with_file_name("plain.log"), b"22");
    let (report, after) = run_with(&site, &repository, &usual(), excludes(&["*.log"]));
    assert_eq!(
        (after, report.counts.directories_changed),
        (before, report.counts.directories_changed)
    );
}

#[test]
fn what_lay_in_a_pack_that_is_known_to_be_lost_is_stored_again() {
    let site = Site::new();
    make(&site.source());
    run(&site, &site.repository_with_cache(), &usual());
    assert!(has_fingerprints(&site.path("cache")));
    let repository = site.repository();
    let packs: Vec<PackId> =
        repository.index().blobs(BlobKind::Data).map(|(_, location)| location.pack).collect();
    for pack in &packs {
        let _ = repository.store().delete(pack);
    }
    // From here on no index lists what was lost.
    site.restic().run(["rebuild-index"]).unwrap();
    let repository = site.repository_with_cache();
    let (report, tree) = run_with(&site, &repository, &usual(), Excludes::default());
    assert!(report.counts.data_blobs > 0);
    assert_eq!(tree, run(&site, &site.repository(), &without_parent()));
    site.check();
}

#[test]
fn attributes_are_those_of_the_parent_until_the_inode_changes() {
    let site = Site::new();
    make(&site.source());
    let directory = site.source().join("below");
    let set = |path: &Path, value: &[u8]| {
        rustix::fs::setxattr(path, "user.x", value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set(&directory, b"of a directory");
    set(&path_of(&site.source(), 1, 2), b"of a file");
    let repository = site.repository_with_cache();
    run(&site, &repository, &usual());
    let changes: [&dyn Fn(); 5] = [
        &|| {},
        &|| change(&site.source(), (Change::Content, 2, 2, 1)),
        &|| set(&directory, b"other"),
        &|| set(&path_of(&site.source(), 1, 2), b"other"),
        &|| change_file(&path_of(&site.source(), 1, 2), Change::NoAttribute, 1),
    ];
    for (number, happens) in changes.into_iter().enumerate() {
        happens();
        let tree = run(&site, &repository, &usual());
        assert_eq!(tree, run(&site, &site.repository(), &without_parent()), "{number}");
    }
    site.restic().check_read_data().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_changed_fingerprints_make_no_difference(
        rounds in prop::collection::vec(
            (
                prop::sample::select(vec![Evidence::InodeAndCtime, Evidence::Inode, Evidence::SizeAndMtime]),
                prop::collection::vec(
                    (prop::sample::select(&CHANGES[..]), 0..3_usize, 0..6_usize, any::<u32>()),
                    0..4,
                ),
            ),
            1..5,
        ),
    ) {
        let site = Site::new();
        make(&site.source());
        run(&site, &site.repository_with_cache(), &usual());
        // Who goes by little evidence overlooks changes, and so do those who go by his snapshot.
        let mut all_seen = true;
        for (evidence, changes) in rounds {
            for one in changes {
                change(&site.source(), one);
            }
            // Both go by the same snapshot.
            let options = BackupOptions { evidence, ..usual() };
            let parent = site.repository().snapshots().unwrap().last().unwrap().0;
            let parent = ParentChoice::Snapshot(parent);
            let compared = BackupOptions { parent, ..options.clone() };
            let with = run(&site, &site.repository_with_cache(), &options);
            let without = run(&site, &site.repository(), &compared);
            prop_assert_eq!(with, without);
            all_seen &= evidence == Evidence::InodeAndCtime;
            if all_seen {
                prop_assert_eq!(with, run(&site, &site.repository(), &without_parent()));
            }
        }
    }
}
