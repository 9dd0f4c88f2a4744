//! Backups that go by a parent: whatever changed, they make the snapshot that one without a parent
//! makes; and where nothing changed they store nothing.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lifeboat_model::{BlobId, Cancel, Silent, SystemClock};
use lifeboat_repository::backup::{BackupOptions, BackupReport, Evidence, ParentChoice, backup};
use lifeboat_repository::{Indexed, Repository};
use proptest::prelude::*;
use rustix::fs::{CWD, XattrFlags, renameat};

use crate::site::{Site, files};

/// Entries of the source; the names want quoting, escaping, or neither.
const NAMES: [&[u8]; 6] =
    [b"plain", b"a\"b\\c", b"<tag> & more", b"\xff\xfe", "\u{e9}\u{200b}".as_bytes(), b"z"];

/// Something that happens to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Content,
    SameSizeAndTime,
    Mode,
    Owner,
    Attribute,
    NoAttribute,
    Mtime,
    Ctime,
    Rename,
    OtherInode,
    HardLink,
    ToDirectory,
    ToLink,
    OtherLink,
    Remove,
    Add,
}

pub(crate) const CHANGES: [Change; 16] = [
    Change::Content,
    Change::SameSizeAndTime,
    Change::Mode,
    Change::Owner,
    Change::Attribute,
    Change::NoAttribute,
    Change::Mtime,
    Change::Ctime,
    Change::Rename,
    Change::OtherInode,
    Change::HardLink,
    Change::ToDirectory,
    Change::ToLink,
    Change::OtherLink,
    Change::Remove,
    Change::Add,
];

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

pub(crate) fn path_of(source: &Path, directory: usize, name: usize) -> PathBuf {
    let directory = [".", "below", "below/it"][directory % 3];
    source.join(directory).join(OsStr::from_bytes(NAMES[name % NAMES.len()]))
}

pub(crate) fn make(source: &Path) {
    fs::create_dir_all(source.join("below/it")).unwrap();
    for directory in 0..3 {
        for name in 0..NAMES.len() - 1 {
            let path = path_of(source, directory, name);
            match name {
                0 => symlink("target", path).unwrap(),
                1 => write(&path, b""),
                _ => write(&path, format!("{directory} {name}").as_bytes()),
            }
        }
    }
}

fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn set_mtime(path: &Path, mtime: SystemTime) {
    let times = FileTimes::new().set_modified(mtime);
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

/// Changes a regular file.
pub(crate) fn change_file(path: &Path, change: Change, seed: u32) {
    let seconds = Duration::from_secs(seed.into());
    let metadata = path.metadata().unwrap();
    match change {
        Change::Content => write(path, &seed.to_le_bytes()),
        Change::SameSizeAndTime => {
            let bytes = vec![seed.to_le_bytes()[0]; usize::try_from(metadata.size()).unwrap()];
            write(path, &bytes);
            set_mtime(path, metadata.modified().unwrap());
        }
        Change::Mode => {
            fs::set_permissions(path, Permissions::from_mode(0o600 | seed & 0o177)).unwrap();
        }
        // Only root may give a file away; for others this changes the inode's time.
        Change::Owner => match chown(path, Some(seed & 0xffff), Some(seed & 0xfff)) {
            Ok(()) => {}
            Err(_) => chown(path, None, None).unwrap(),
        },
        Change::Attribute => {
            let value = seed.to_le_bytes();
            rustix::fs::setxattr(path, "user.x", &value, XattrFlags::empty()).unwrap();
        }
        Change::NoAttribute => drop(rustix::fs::removexattr(path, "user.x")),
        Change::Mtime => set_mtime(path, SystemTime::UNIX_EPOCH + seconds),
        Change::Ctime => fs::set_permissions(path, metadata.permissions()).unwrap(),
        _ => unreachable!("{change:?} is none of a file"),
    }
}

/// Changes an entry, if there is one that can be changed so.
pub(crate) fn change(source: &Path, (change, directory, name, seed): (Change, usize, usize, u32)) {
    let path = path_of(source, directory, name);
    let Ok(metadata) = path.symlink_metadata() else {
        if change == Change::Add && path.parent().unwrap().is_dir() {
            write(&path, &seed.to_le_bytes());
        }
        return;
    };
    let beside = path_of(source, directory, name + 1);
    match change {
        Change::Remove => remove(&path),
        Change::Rename => {
            remove(&beside);
            renameat(CWD, &path, CWD, &beside).unwrap();
        }
        Change::ToDirectory => {
            remove(&path);
            fs::create_dir(&path).unwrap();
            write(&path.join("in it"), b"x");
        }
        Change::ToLink => {
            remove(&path);
            symlink(format!("to <{seed}>"), &path).unwrap();
        }
        Change::OtherLink if metadata.is_symlink() => {
            remove(&path);
            symlink(format!("{seed}"), &path).unwrap();
        }
        Change::HardLink if metadata.is_file() => {
            remove(&beside);
            fs::hard_link(&path, &beside).unwrap();
        }
        Change::OtherInode if metadata.is_file() => {
            let (bytes, mtime) = (fs::read(&path).unwrap(), metadata.modified().unwrap());
            let other = source.join("other inode");
            write(&other, &bytes);
            fs::set_permissions(&other, metadata.permissions()).unwrap();
            set_mtime(&other, mtime);
            renameat(CWD, &other, CWD, &path).unwrap();
        }
        Change::Add | Change::OtherLink | Change::HardLink | Change::OtherInode => {}
        _ if metadata.is_file() => change_file(&path, change, seed),
        _ => {}
    }
}

/// Backs the source up and returns its own tree: the directories above it may change at any time.
fn run(
    site: &Site,
    repository: &Repository<Indexed>,
    parent: ParentChoice,
) -> (BackupReport, BlobId) {
    let options = BackupOptions { parent, ..BackupOptions::new("site") };
    let sources = vec![files(&[&site.source()])];
    let report =
        backup(repository, sources, &options, &Silent, &Cancel::new(), &SystemClock).unwrap();
    let tree = site.subtree(repository, report.tree);
    (report, tree)
}

#[test]
fn where_nothing_changed_nothing_is_stored() {
    let site = Site::new();
    make(&site.source());
    change_file(&path_of(&site.source(), 1, 2), Change::Attribute, 7);
    let repository = site.repository();
    let (_, first) = run(&site, &repository, ParentChoice::Latest);
    for _ in 0..2 {
        let (report, tree) = run(&site, &repository, ParentChoice::Latest);
        assert_eq!(tree, first);
        assert_eq!((report.counts.data_blobs, report.counts.bytes_read), (0, 0));
        assert_eq!(report.counts.files_unmodified, 12);
        assert_eq!((report.counts.files_new, report.counts.files_changed), (0, 0));
        assert_eq!(report.counts.directories_new, 0);
        assert!(report.counts.directories_unmodified >= 3);
    }
    site.check();
}

#[test]
fn every_single_change_is_seen() {
    let site = Site::new();
    make(&site.source());
    let repository = site.repository();
    for (seed, kind) in (1..).zip(CHANGES) {
        let name = match kind {
            Change::OtherLink => 0,
            Change::Add => 5,
            _ => 2,
        };
        // Some of them change the very entry that the next one wants to change.
        remove(&site.source());
        make(&site.source());
        if kind == Change::NoAttribute {
            change_file(&path_of(&site.source(), 2, name), Change::Attribute, 1);
        }
        let (_, before) = run(&site, &repository, ParentChoice::Latest);
        change(&site.source(), (kind, 2, name, seed));
        let (_, after) = run(&site, &repository, ParentChoice::Latest);
        assert_ne!(after, before, "{kind:?}");
        let (_, anew) = run(&site, &repository, ParentChoice::None);
        assert_eq!(after, anew, "{kind:?}");
    }
    site.check();
}

#[test]
fn size_mtime_ctime_and_inode_are_each_enough_to_read_a_file_again() {
    let site = Site::new();
    let path = path_of(&site.source(), 2, 2);
    let repository = site.repository();
    let grow_only = || {
        let mtime = path.metadata().unwrap().modified().unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        set_mtime(&path, mtime);
    };
    let with = |kind| change(&site.source(), (kind, 2, 2, 7));
    // What changes size or mtime changes the ctime as well, so that the evidence which is left out
    // of account shows that the one in question is enough.
    let cases: [(&str, &dyn Fn(), Evidence, u64); 8] = [
        ("size", &grow_only, Evidence::SizeAndMtime, 1),
        ("mtime", &|| with(Change::Mtime), Evidence::SizeAndMtime, 1),
        ("ctime", &|| with(Change::Ctime), Evidence::InodeAndCtime, 1),
        ("ctime", &|| with(Change::Ctime), Evidence::Inode, 0),
        ("ctime", &|| with(Change::Ctime), Evidence::SizeAndMtime, 0),
        ("inode", &|| with(Change::OtherInode), Evidence::Inode, 1),
        ("inode", &|| with(Change::OtherInode), Evidence::SizeAndMtime, 0),
        ("nothing", &|| {}, Evidence::InodeAndCtime, 0),
    ];
    for (what, happens, evidence, read) in cases {
        remove(&site.source());
        make(&site.source());
        run(&site, &repository, ParentChoice::Latest);
        happens();
        let options = BackupOptions { evidence, ..BackupOptions::new("site") };
        let (sources, cancel) = (vec![files(&[&site.source()])], Cancel::new());
        let report =
            backup(&repository, sources, &options, &Silent, &cancel, &SystemClock).unwrap();
        assert_eq!(report.counts.files_changed, read, "{what} {evidence:?}");
        // Whatever was read, the metadata are those of the file system.
        let trees =
            (site.subtree(&repository, report.tree), run(&site, &repository, ParentChoice::None).1);
        assert_eq!(trees.0, trees.1, "{what} {evidence:?}");
    }
    site.restic().check_read_data().unwrap();
}

#[test]
fn a_parent_of_restics_is_gone_by_too() {
    let site = Site::new();
    make(&site.source());
    let restic = site.restic();
    restic.run(["backup", "--host", "site", site.source().to_str().unwrap()]).unwrap();
    let repository = site.repository();
    let (report, with_parent) = run(&site, &repository, ParentChoice::Latest);
    assert_eq!((report.counts.files_unmodified, report.counts.bytes_read), (12, 0));
    let (_, anew) = run(&site, &repository, ParentChoice::None);
    assert_eq!(with_parent, anew);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_changed_a_parent_makes_no_difference(
        rounds in prop::collection::vec(
            prop::collection::vec(
                (prop::sample::select(&CHANGES[..]), 0..3_usize, 0..6_usize, any::<u32>()),
                0..5,
            ),
            1..4,
        ),
    ) {
        let site = Site::new();
        make(&site.source());
        let repository = site.repository();
        run(&site, &repository, ParentChoice::Latest);
        for changes in rounds {
            for one in changes {
                change(&site.source(), one);
            }
            let (_, with_parent) = run(&site, &repository, ParentChoice::Latest);
            let (_, anew) = run(&site, &repository, ParentChoice::None);
            prop_assert_eq!(with_parent, anew);
        }
    }
}
