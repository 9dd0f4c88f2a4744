//! Runs one after the other, several sources, streams, and sources that are not there.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lifeboat_model::pattern::{Case, Dialect, Patterns};
use lifeboat_model::{Cancel, Classify, ErrorKind, IndexId, Silent, SystemClock};
use lifeboat_repository::backup::{BackupError, BackupOptions, SkipReason, backup};
use lifeboat_repository::source::{Excludes, FilesSource, Source, StreamReader, StreamSource};
use lifeboat_testing::tree::{self, Aspect, Sample};

use crate::site::{Site, files, noise, restored, run};

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::File::create(path).unwrap();
    io::Write::write_all(&mut file, bytes.as_ref()).unwrap();
}

#[test]
fn a_second_run_stores_only_what_changed() {
    let site = Site::new();
    let source = site.source();
    Sample::everything(21).files(50).build(&source).unwrap();
    let first = site.backup();
    let second = site.backup();
    assert_eq!(second.parent, Some(first.snapshot));
    assert_eq!(second.counts.files_unmodified, first.counts.files());
    assert_eq!(second.counts.bytes_read, 0);
    assert_eq!(second.counts.data_blobs, 0);

    write(&source.join("changed/one"), b"first");
    write(&source.join("changed/two"), b"second");
    let third = site.backup();
    assert_eq!(third.counts.files_new, 2);
    assert_eq!(third.counts.bytes_read, 11);
    assert_eq!(third.counts.data_blobs, 2);
    assert_eq!(third.counts.directories_new, 1);

    write(&source.join("changed/two"), b"other");
    let fourth = site.backup();
    assert_eq!((fourth.counts.files_new, fourth.counts.files_changed), (0, 1));
    assert_eq!(fourth.counts.bytes_read, 5);
    site.restic().check_read_data().unwrap();
}

#[test]
fn a_large_file_that_changed_in_the_middle_is_mostly_there() {
    let site = Site::new();
    let path = site.source().join("large");
    let mut content = noise(40 << 20, 5);
    write(&path, &content);
    let first = site.backup();
    assert_eq!(first.counts.bytes_read, 40 << 20);
    content.splice(20_000_000..20_000_000, *b"inserted");
    write(&path, &content);
    let second = site.backup();
    assert_eq!(second.counts.bytes_read, (40 << 20) + 8);
    assert!(second.counts.data_blobs <= 5, "{:?}", second.counts);
    let name = path.to_str().unwrap();
    assert!(site.restic().dump(&second.snapshot.to_hex(), name).unwrap() == content);
}

#[test]
fn holes_are_not_read_and_become_blobs_of_zeros() {
    let site = Site::new();
    let huge = site.source().join("huge");
    write(&huge, b"beginning");
    fs::File::options().append(true).open(&huge).unwrap().set_len(8 << 30).unwrap();
    let report = site.backup();
    assert_eq!(report.counts.bytes_total, 8 << 30);
    // The beginning up to the hole, and one blob for all pieces of the hole but its unequal end.
    assert!(report.counts.data_blobs <= 3, "{:?}", report.counts);
    assert!(report.counts.bytes_stored < 64 << 10, "{:?}", report.counts);
    let listed = site.restic().ls(&report.snapshot.to_hex()).unwrap();
    let listed = listed.iter().find(|entry| entry["name"] == "huge").unwrap();
    assert_eq!(listed["size"], 8_u64 << 30);
}

#[test]
fn several_paths_keep_their_places() {
    let site = Site::new();
    let (one, two) = (site.path("a/one"), site.path("b/two"));
    write(&one.join("file"), b"1");
    write(&two, b"2");
    write(&site.path("b/beside"), b"not asked for");
    let report = site.backup_of(vec![files(&[&one]), files(&[&two])]).unwrap();
    let snapshot = report.snapshot.to_hex();
    let listed = site.restic().ls(&snapshot).unwrap();
    let paths: Vec<_> = listed.iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&one.join("file").to_str().unwrap()));
    assert!(paths.contains(&two.to_str().unwrap()));
    assert!(!paths.contains(&site.path("b/beside").to_str().unwrap()));
}

#[test]
fn a_path_in_another_one_goes_by_its_own_rules() {
    let site = Site::new();
    let source = site.source();
    write(&source.join("cache/kept/file.tmp"), b"kept");
    write(&source.join("cache/file"), b"left out");
    write(&source.join("file.tmp"), b"left out");
    let list = Patterns::new(Dialect::Restic, Case::Matters, ["cache", "*.tmp"]).unwrap();
    let outer = Source::Files(FilesSource {
        paths: vec![source.clone()],
        exclude: Excludes::by_patterns(list),
        one_file_system: true,
    });
    let inner = source.join("cache/kept");
    let report = site.backup_of(vec![outer, files(&[&inner])]).unwrap();
    let listed = site.restic().ls(&report.snapshot.to_hex()).unwrap();
    let below = source.to_str().unwrap();
    let paths: Vec<_> = listed
        .iter()
        .filter_map(|entry| entry["path"].as_str().unwrap().strip_prefix(below))
        .collect();
    assert_eq!(paths, ["", "/cache", "/cache/kept", "/cache/kept/file.tmp"]);
    assert!(report.is_complete());
}

/// Says at its end what the program that made it would say.
struct Dump {
    rest: io::Cursor<Vec<u8>>,
    broken_after: Option<u64>,
    end: io::Result<()>,
}

impl Read for Dump {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.broken_after {
            Some(limit) if self.rest.position() >= limit => Err(io::ErrorKind::BrokenPipe.into()),
            _ => self.rest.read(buffer),
        }
    }
}

impl StreamReader for Dump {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.end
    }
}

fn dump(path: &str, content: Vec<u8>, broken_after: Option<u64>, end: io::Result<()>) -> Source {
    Source::Stream(StreamSource::new(path, move || {
        Ok(Box::new(Dump { rest: io::Cursor::new(content), broken_after, end }))
    }))
}

#[test]
fn streams_become_files_beside_the_files() {
    let site = Site::new();
    write(&site.source().join("file"), b"file");
    let content = noise(3_000_000, 9);
    let sources = vec![
        dump("/lifeboat/db/dump/shop.dump", content.clone(), None, Ok(())),
        files(&[&site.source()]),
        Source::Stream(StreamSource::document("/lifeboat/db/dump/empty.sql", Vec::new())),
    ];
    let report = site.backup_of(sources).unwrap();
    assert_eq!(report.counts.files_new, 3);
    let restic = site.restic();
    restic.check_read_data().unwrap();
    let snapshot = report.snapshot.to_hex();
    assert!(restic.dump(&snapshot, "/lifeboat/db/dump/shop.dump").unwrap() == content);
    assert_eq!(restic.dump(&snapshot, "/lifeboat/db/dump/empty.sql").unwrap(), b"");
}

#[test]
fn a_stream_that_is_not_whole_makes_no_snapshot_but_is_found_again() {
    let site = Site::new();
    let content = noise(6_000_000, 10);
    let path = "/lifeboat/db/dump/shop.dump";
    let failed = io::Error::other("pg_dump ended with exit code 1");
    let error = site.backup_of(vec![dump(path, content.clone(), None, Err(failed))]).unwrap_err();
    assert_eq!(error.to_string(), format!("the stream for {path} is not whole"));
    let broken = dump(path, content.clone(), Some(5_000_000), Ok(()));
    let error = site.backup_of(vec![broken]).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read the stream for {path}"));
    assert!(site.repository().snapshot_ids().unwrap().is_empty());

    let report = site.backup_of(vec![dump(path, content, None, Ok(()))]).unwrap();
    assert_eq!(report.counts.data_blobs, 0, "all of it was stored by the first run");
    site.restic().check_read_data().unwrap();
}

#[test]
fn what_is_not_there_is_named() {
    let site = Site::new();
    let gone = site.path("gone/below");
    let error = site.backup_of(vec![files(&[&gone])]).unwrap_err();
    assert_eq!(error.to_string(), format!("nothing to back up: {} is not there", gone.display()));
    assert_eq!(error.kind(), ErrorKind::NotFound);

    write(&site.source().join("file"), b"file");
    let gone_too = site.source().join("gone");
    let report = site.backup_of(vec![files(&[&site.source(), &gone, &gone_too])]).unwrap();
    let skipped: Vec<_> =
        report.skipped.iter().map(|skipped| (&skipped.path, &skipped.reason)).collect();
    assert_eq!(skipped, [(&gone, &SkipReason::Missing), (&gone_too, &SkipReason::Missing)]);
    assert!(!report.is_complete());
}

#[test]
fn a_path_that_is_only_a_link_is_named() {
    let site = Site::new();
    write(&site.path("elsewhere/file"), b"file");
    symlink(site.path("elsewhere"), site.source()).unwrap();
    let report = site.backup();
    assert_eq!(report.skipped.len(), 1);
    let target = site.path("elsewhere");
    assert_eq!(report.skipped[0].reason, SkipReason::OnlyLink { target });

    // But a link on the way to a path is followed, as who wrote the path meant.
    let through = site.source().join("file");
    let report = site.backup_of(vec![files(&[&through])]).unwrap();
    assert!(report.is_complete());
    let dumped = site.restic().dump(&report.snapshot.to_hex(), through.to_str().unwrap());
    assert_eq!(dumped.unwrap(), b"file");
}

#[test]
fn an_empty_directory_is_a_backup_too() {
    let site = Site::new();
    fs::create_dir(site.source()).unwrap();
    let report = site.backup();
    assert!(report.is_complete());
    assert_eq!(report.counts.files(), 0);
    site.restic().check_read_data().unwrap();
}

#[test]
fn nothing_given_is_an_error() {
    let error = Site::new().backup_of(Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn a_cancelled_backup_makes_no_snapshot() {
    let site = Site::new();
    Sample::new(5).build(site.source()).unwrap();
    let repository = site.repository();
    let cancel = Cancel::new();
    let cancels = cancel.clone();
    let stream = StreamSource::new("/lifeboat/x", move || {
        cancels.cancel();
        Ok(Box::new(Dump { rest: io::Cursor::default(), broken_after: None, end: Ok(()) }))
    });
    let sources = vec![files(&[&site.source()]), Source::Stream(stream)];
    let options = BackupOptions::new("site");
    let result = backup(&repository, sources, &options, &Silent, &cancel, &SystemClock);
    assert!(matches!(result, Err(BackupError::Cancelled(_))), "{result:?}");
    assert!(repository.snapshot_ids().unwrap().is_empty());
    site.restic().check_read_data().unwrap();
    run(&site.repository(), vec![files(&[&site.source()])]).unwrap();
}

#[test]
fn a_backup_that_lost_its_lock_lists_nothing_more() {
    let site = Site::new();
    Sample::new(5).build(site.source()).unwrap();
    let repository = site.repository();
    let cancel = Cancel::new();
    let loses = cancel.clone();
    let stream = StreamSource::new("/lifeboat/x", move || {
        loses.revoke();
        Ok(Box::new(Dump { rest: io::Cursor::default(), broken_after: None, end: Ok(()) }))
    });
    let sources = vec![files(&[&site.source()]), Source::Stream(stream)];
    let options = BackupOptions::new("site");
    let result = backup(&repository, sources, &options, &Silent, &cancel, &SystemClock);
    assert!(matches!(result, Err(BackupError::Cancelled(_))), "{result:?}");
    assert_eq!(repository.store().list::<IndexId>().unwrap(), []);
    assert!(repository.snapshot_ids().unwrap().is_empty());
}

#[test]
fn what_a_prune_removed_before_the_lock_was_held_is_stored_again() {
    let site = Site::new();
    Sample::new(5).build(site.source()).unwrap();
    let first = run(&site.repository(), vec![files(&[&site.source()])]).unwrap();
    let stale = site.repository();
    site.restic().run(["forget", "--prune", &first.snapshot.to_hex()]).unwrap();
    stale.refresh_index(&Cancel::new(), &Silent).unwrap();
    run(&stale, vec![files(&[&site.source()])]).unwrap();
    site.restic().check_read_data().unwrap();
}

#[test]
fn one_worker_and_many_make_the_same_tree() {
    let site = Site::new();
    Sample::everything(31).files(100).build(site.source()).unwrap();
    write(&site.source().join("twenty"), noise(20 << 20, 3));
    let mut trees = [1, 2, 7].map(|workers| {
        let mut options = BackupOptions::new("site");
        options.workers = Some(workers.try_into().unwrap());
        options.parent = lifeboat_repository::ParentChoice::None;
        let sources = vec![files(&[&site.source()])];
        let repository = site.repository();
        let report =
            backup(&repository, sources, &options, &Silent, &Cancel::new(), &SystemClock).unwrap();
        site.subtree(&site.repository(), report.tree)
    });
    trees.sort();
    assert_eq!(trees[0], trees[2]);
    site.restic().check_read_data().unwrap();
    let target: PathBuf = site.path("target");
    site.restic().restore("latest", &target).unwrap();
    let (before, after) = (
        tree::capture(site.source()).unwrap(),
        tree::capture(restored(&target, &site.source())).unwrap(),
    );
    assert_eq!(before.differences(&after, &[Aspect::Holes]), []);
}
