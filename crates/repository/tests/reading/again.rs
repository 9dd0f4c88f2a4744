//! Restores into targets that hold something: interrupted ones, older ones, somebody else's.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lifeboat_model::{Cancel, Event, EventSink, Exit, Silent};
use lifeboat_repository::restore::{
    Existing, RestoreOptions, RestoreReport, Selection, Unexpected, Verify, preview, restore,
    write_tar,
};
use lifeboat_repository::{BlobKind, Indexed, Repository, Snapshot};
use lifeboat_testing::restic::Restic;
use lifeboat_testing::tree::{Aspect, Sample, capture};
use lifeboat_tiers::LocalTier;

use crate::support::{
    PASSWORD, ResticRepository, directory, file, index, memory, open, restore_all, save_pack,
    save_tree, snapshot_of,
};

/// Chunks of restic do not end where holes do, so part of a hole may come back as zeros.
const NOT_HOLES: [Aspect; 1] = [Aspect::Holes];

fn write(path: &Path, content: &[u8]) {
    File::create(path).unwrap().write_all(content).unwrap();
}

/// A snapshot of `/a` in two pieces and `/d/b` in one, and the folder that it is restored into.
struct Ground {
    repository: Repository<Indexed>,
    snapshot: Snapshot,
    target: tempfile::TempDir,
}

const FIRST: &[u8] = &[1; 3000];
const SECOND: &[u8] = &[2; 2000];

impl Ground {
    fn new() -> Self {
        let repository = memory();
        save_pack(&repository, BlobKind::Data, &[FIRST]);
        save_pack(&repository, BlobKind::Data, &[SECOND]);
        save_pack(&repository, BlobKind::Data, &[b"content of b"]);
        let inner = save_tree(&repository, &[file("b", &[b"content of b"])]);
        let nodes = [file("a", &[FIRST, SECOND]), directory("d", inner)];
        let snapshot = snapshot_of(save_tree(&repository, &nodes));
        Self { repository, snapshot, target: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.target.path().join(name)
    }

    fn options(&self, existing: Existing) -> RestoreOptions {
        RestoreOptions { existing, ..RestoreOptions::new(self.target.path()) }
    }

    fn restore(&self, options: &RestoreOptions) -> RestoreReport {
        let (repository, snapshot) = (&self.repository, &self.snapshot);
        restore(repository, snapshot, options, &Silent, &Cancel::new()).unwrap()
    }

    fn preview(&self, options: &RestoreOptions) -> RestoreReport {
        preview(&self.repository, &self.snapshot, options, &Cancel::new()).unwrap()
    }

    fn assert_whole(&self) {
        assert!(fs::read(self.path("a")).unwrap() == [FIRST, SECOND].concat());
        assert_eq!(fs::read(self.path("d/b")).unwrap(), b"content of b");
        for name in ["a", "d/b"] {
            let metadata = fs::metadata(self.path(name)).unwrap();
            assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o644, 0), "{name}");
        }
    }
}

#[test]
fn what_is_right_already_is_neither_fetched_nor_written() {
    let ground = Ground::new();
    ground.restore(&ground.options(Existing::Refuse));
    for existing in [Existing::Always, Existing::IfChanged] {
        let report = ground.restore(&ground.options(existing));
        assert_eq!((report.bytes_fetched, report.bytes_written), (0, 0), "{existing:?}");
        assert_eq!((report.files, report.unchanged, report.replaced), (2, 2, 0), "{existing:?}");
        ground.assert_whole();
    }
}

#[test]
fn of_a_changed_file_only_what_differs_is_written() {
    let ground = Ground::new();
    ground.restore(&ground.options(Existing::Refuse));
    let mut changed = [FIRST, SECOND].concat();
    changed[4000] = 9;
    changed.extend_from_slice(b"longer");
    write(&ground.path("a"), &changed);
    let inode = fs::metadata(ground.path("a")).unwrap().ino();
    let options = ground.options(Existing::IfChanged);
    let planned = ground.preview(&options);
    assert!(fs::read(ground.path("a")).unwrap() == changed, "a preview changes nothing");
    let report = ground.restore(&options);
    assert_eq!((report.bytes_written, report.bytes_there), (2000, 3012));
    assert_eq!((report.bytes_compared, planned.bytes_compared), (5000, 5000));
    assert_eq!((planned.bytes_written, planned.bytes_fetched), (2000, report.bytes_fetched));
    assert_eq!((report.replaced, planned.replaced), (1, 1));
    assert_eq!(fs::metadata(ground.path("a")).unwrap().ino(), inode);
    ground.assert_whole();
}

#[test]
fn a_file_that_only_has_more_behind_its_end_is_cut_off() {
    let ground = Ground::new();
    ground.restore(&ground.options(Existing::Refuse));
    for (name, content) in [("a", [FIRST, SECOND].concat()), ("d/b", b"content of b".to_vec())] {
        write(&ground.path(name), &[content, b"longer".to_vec()].concat());
    }
    let report = ground.restore(&ground.options(Existing::Always));
    assert_eq!((report.bytes_written, report.replaced), (0, 2));
    ground.assert_whole();
}

#[test]
fn a_file_of_the_recorded_length_and_time_is_read_only_if_asked() {
    let ground = Ground::new();
    ground.restore(&ground.options(Existing::Refuse));
    let path = ground.path("d/b");
    write(&path, b"CONTENT of b");
    File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    ground.restore(&ground.options(Existing::IfChanged));
    assert_eq!(fs::read(&path).unwrap(), b"CONTENT of b");
    ground.restore(&ground.options(Existing::Always));
    ground.assert_whole();
}

#[test]
fn what_may_not_be_overwritten_stays_as_it_is() {
    let ground = Ground::new();
    write(&ground.path("a"), b"theirs");
    fs::create_dir(ground.path("d")).unwrap();
    let report = ground.restore(&ground.options(Existing::Never));
    assert!(fs::read(ground.path("a")).unwrap() == b"theirs");
    assert_eq!(fs::read(ground.path("d/b")).unwrap(), b"content of b");
    assert_eq!((report.files, report.untouched), (1, 1));
    assert_eq!(report.exit(), Exit::Done);
}

#[test]
fn a_file_with_another_name_elsewhere_is_replaced_not_written_into() {
    let ground = Ground::new();
    let outside = tempfile::tempdir_in(ground.target.path().parent().unwrap()).unwrap();
    let theirs = outside.path().join("theirs");
    let content = [FIRST, b"theirs"].concat();
    write(&theirs, &content);
    fs::hard_link(&theirs, ground.path("a")).unwrap();
    ground.restore(&ground.options(Existing::Always));
    ground.assert_whole();
    assert!(fs::read(&theirs).unwrap() == content);
}

#[test]
fn what_the_snapshot_does_not_have_is_removed_without_following_links() {
    let ground = Ground::new();
    let outside = tempfile::tempdir().unwrap();
    write(&outside.path().join("precious"), b"precious");
    ground.restore(&ground.options(Existing::Refuse));
    write(&ground.path("d/extra"), b"x");
    fs::create_dir_all(ground.path("more/deep")).unwrap();
    write(&ground.path("more/deep/x"), b"x");
    symlink(outside.path(), ground.path("d/link")).unwrap();
    symlink(outside.path(), ground.path("more/link")).unwrap();

    let mut options = ground.options(Existing::IfChanged);
    options.unexpected = Unexpected::Remove;
    let expected = ["/d/extra", "/d/link", "/more"].map(PathBuf::from);
    assert_eq!(ground.preview(&options).deleted, expected);
    assert!(ground.path("more/deep/x").exists());
    let report = ground.restore(&options);
    assert_eq!(report.deleted, expected);
    assert_eq!(fs::read_dir(ground.target.path()).unwrap().count(), 2);
    assert_eq!(fs::read_dir(ground.path("d")).unwrap().count(), 1);
    assert_eq!(fs::read(outside.path().join("precious")).unwrap(), b"precious");
    ground.assert_whole();
}

#[test]
fn a_directory_that_is_a_link_in_the_target_loses_nothing() {
    let ground = Ground::new();
    let outside = tempfile::tempdir().unwrap();
    write(&outside.path().join("precious"), b"precious");
    symlink(outside.path(), ground.path("d")).unwrap();
    let mut options = ground.options(Existing::Always);
    options.unexpected = Unexpected::Remove;
    options.existing = Existing::Never;
    assert_eq!(ground.restore(&options).exit(), Exit::Incomplete);
    assert!(fs::symlink_metadata(ground.path("d")).unwrap().is_symlink());
    options.existing = Existing::Always;
    let report = ground.restore(&options);
    assert_eq!((report.exit(), &report.deleted[..]), (Exit::Done, &[PathBuf::from("/d")][..]));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    ground.assert_whole();
}

#[test]
fn what_is_in_the_way_is_foreseen() {
    for unexpected in [Unexpected::Keep, Unexpected::Remove] {
        for existing in [Existing::Always, Existing::IfChanged, Existing::Never] {
            let ground = Ground::new();
            fs::create_dir_all(ground.path("a/deep")).unwrap();
            symlink("/nowhere", ground.path("d")).unwrap();
            let options = RestoreOptions { unexpected, ..ground.options(existing) };
            let (repository, snapshot) = (&ground.repository, &ground.snapshot);
            let foreseen = preview(repository, snapshot, &options, &Cancel::new()).unwrap();
            assert!(fs::symlink_metadata(ground.path("d")).unwrap().is_symlink());
            let report = ground.restore(&options);
            let paths = |report: &RestoreReport| -> Vec<PathBuf> {
                report.failed.iter().map(|failed| failed.path.clone()).collect()
            };
            let case = format!("{unexpected:?} {existing:?}: {foreseen:?} {report:?}");
            assert_eq!(paths(&foreseen), paths(&report), "{case}");
            assert_eq!(foreseen.deleted, report.deleted, "{case}");
            let sums = |r: &RestoreReport| (r.files, r.directories, r.bytes);
            assert_eq!(sums(&foreseen), sums(&report), "{case}");
            assert_eq!(foreseen.exit(), report.exit(), "{case}");
        }
    }
}

#[test]
fn what_matches_nothing_is_no_success() {
    let ground = Ground::new();
    let mut options = ground.options(Existing::Refuse);
    options.selection = Selection::new(&["/nobody"], &[] as &[&str]).unwrap();
    let report = ground.restore(&options);
    assert_eq!(report.exit(), Exit::Incomplete);
    assert!(report.failed[0].what.contains("nothing in it matches"), "{report:?}");
    options.selection = Selection::new(&["/nobody", "/a"], &[] as &[&str]).unwrap();
    assert_eq!(ground.restore(&options).exit(), Exit::Done);
}

#[test]
fn only_what_patterns_select_is_removed() {
    let ground = Ground::new();
    ground.restore(&ground.options(Existing::Refuse));
    for name in ["x.tmp", "y.log", "d/z.tmp", "d/z.log"] {
        write(&ground.path(name), b"x");
    }
    let mut options = ground.options(Existing::Always);
    options.unexpected = Unexpected::Remove;
    options.selection = Selection::new(&["/d"], &["*.log"]).unwrap();
    assert_eq!(ground.restore(&options).deleted, [Path::new("/d/z.tmp")]);
    options.selection = Selection::default();
    options.subpath = "/d".into();
    assert_eq!(ground.restore(&options).deleted, [Path::new("/d/z.log")]);
    assert!(ground.path("x.tmp").exists() && ground.path("y.log").exists());
}

#[test]
fn a_directory_in_the_place_of_a_file_goes_only_if_removing_is_asked_for() {
    let ground = Ground::new();
    fs::create_dir_all(ground.path("a/deep")).unwrap();
    let mut options = ground.options(Existing::Always);
    let report = ground.restore(&options);
    assert!(report.failed[0].what.contains("a directory stands in its place"), "{report:?}");
    options.unexpected = Unexpected::Remove;
    let report = ground.restore(&options);
    assert_eq!((report.failed, report.deleted), (vec![], vec![PathBuf::from("/a")]));
    ground.assert_whole();
}

#[test]
fn what_was_restored_is_read_back_if_that_is_asked_for() {
    let ground = Ground::new();
    let mut options = ground.options(Existing::Refuse);
    options.verify = Verify::Content;
    assert_eq!(ground.restore(&options).verified, Some(2));
    // Taken for whole by its length and time, and found out.
    let path = ground.path("d/b");
    write(&path, b"CONTENT of b");
    File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    options.existing = Existing::IfChanged;
    let report = ground.restore(&options);
    assert_eq!(report.verified, Some(1));
    assert_eq!(report.failed[0].path, Path::new("/d/b"));
    assert_eq!(report.exit(), Exit::Incomplete);
}

/// Stops a restore after so many steps, as a kill would: nothing is tidied up.
#[derive(Debug)]
struct StopsAfter {
    steps: AtomicUsize,
    cancel: Cancel,
}

impl EventSink for StopsAfter {
    fn emit(&self, event: Event) {
        let is_step = matches!(event, Event::Advanced { .. });
        if is_step && self.steps.fetch_sub(1, Ordering::Relaxed) <= 1 {
            self.cancel.cancel();
        }
    }
}

#[test]
fn an_interrupted_restore_goes_on_where_it_was() {
    let repository = ResticRepository::of(&Sample::everything(31));
    let before = capture(&repository.source).unwrap();
    let indexed = repository.indexed();
    let (_, snapshot) = indexed.find_snapshot("latest").unwrap();
    let whole = restore_all(&indexed, &snapshot, &repository.path("whole"));
    for steps in [1, 2, 3, 5, 8, 13] {
        let target = repository.path(&format!("target-{steps}"));
        let mut options = RestoreOptions::new(&target);
        let cancel = Cancel::new();
        let stops = StopsAfter { steps: AtomicUsize::new(steps), cancel: cancel.clone() };
        let stopped = restore(&indexed, &snapshot, &options, &stops, &cancel);
        options.existing = Existing::IfChanged;
        options.verify = Verify::Content;
        let report = restore(&indexed, &snapshot, &options, &Silent, &Cancel::new()).unwrap();
        assert_eq!((&report.failed, &report.warnings), (&vec![], &vec![]), "{steps}");
        assert!(report.bytes_there > 0, "{steps}: {stopped:?}");
        assert_eq!(report.bytes_there + report.bytes_written, whole.bytes, "{steps}");
        let after = capture(target.join(repository.source.strip_prefix("/").unwrap())).unwrap();
        assert_eq!(before.differences(&after, &NOT_HOLES), [], "{steps}");
    }
}

/// Returns all paths below a directory that are no directories.
fn files_below(root: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn patterns_select_what_restic_selects() {
    let repository = ResticRepository::of(&Sample::everything(32));
    let indexed = repository.indexed();
    let (_, snapshot) = indexed.find_snapshot("latest").unwrap();
    let plain = repository.source.join("plain");
    let anchored = format!("{}/3", plain.display());
    let wild = format!("{}/**/file-1*", repository.source.display());
    let cases: [(&str, &[&str]); 8] = [
        ("--include", &["plain"]),
        ("--include", &["*.txt"]),
        ("--include", &[&anchored]),
        ("--include", &[&wild, "blob.bin"]),
        ("--include", &["plain/[0-2]"]),
        ("--include", &["nothing-is-called-so"]),
        ("--exclude", &["*.txt"]),
        ("--exclude", &[&anchored, "large"]),
    ];
    for (number, (flag, patterns)) in cases.into_iter().enumerate() {
        let (ours, theirs) = (
            repository.path(&format!("ours-{number}")),
            repository.path(&format!("theirs-{number}")),
        );
        let mut arguments = vec!["restore", "latest", "--target", theirs.to_str().unwrap()];
        arguments.extend(patterns.iter().flat_map(|pattern| [flag, pattern]));
        repository.restic.run(arguments).unwrap();
        let mut options = RestoreOptions::new(&ours);
        let (include, exclude) =
            if flag == "--include" { (patterns, &[][..]) } else { (&[][..], patterns) };
        options.selection = Selection::new(include, exclude).unwrap();
        let report = restore(&indexed, &snapshot, &options, &Silent, &Cancel::new()).unwrap();
        // Where nothing matches, restic says nothing.
        let is_nothing = files_below(&ours).is_empty() && report.failed.len() == 1;
        assert!(report.failed.is_empty() || is_nothing, "{report:?}");
        assert_eq!(files_below(&ours), files_below(&theirs), "{flag} {patterns:?}");
    }
}

#[test]
fn a_pack_that_is_gone_or_cut_off_costs_only_its_files() {
    for cut_off in [false, true] {
        let ground = Ground::new();
        let index = ground.repository.index();
        let id = lifeboat_repository::blob::blob_id(SECOND);
        let pack = index.get(BlobKind::Data, &id).unwrap().pack;
        drop(index);
        let bytes = ground.repository.store().get(&pack).unwrap();
        ground.repository.store().delete(&pack).unwrap();
        if cut_off {
            ground.repository.store().put(&pack, bytes.slice(..10)).unwrap();
        }
        let report = ground.restore(&ground.options(Existing::Refuse));
        let failed: Vec<_> = report.failed.iter().map(|remark| remark.path.as_path()).collect();
        assert_eq!(failed, [Path::new("/a")]);
        assert!(report.failed[0].what.contains(&pack.to_hex()));
        assert_eq!(report.exit(), Exit::Incomplete);
        assert_eq!(fs::read(ground.path("d/b")).unwrap(), b"content of b");
        // Once the pack is back, the rest is fetched.
        ground.repository.store().put(&pack, bytes).unwrap();
        let report = ground.restore(&ground.options(Existing::Always));
        assert_eq!((report.failed, report.bytes_written), (vec![], 2000));
        ground.assert_whole();
    }
}

#[test]
fn a_file_that_is_not_whole_is_not_taken_for_the_recorded_one_afterwards() {
    let ground = Ground::new();
    let id = lifeboat_repository::blob::blob_id(SECOND);
    let pack = ground.repository.index().get(BlobKind::Data, &id).unwrap().pack;
    let bytes = ground.repository.store().get(&pack).unwrap();
    ground.repository.store().delete(&pack).unwrap();
    ground.restore(&ground.options(Existing::Refuse));
    for existing in [Existing::IfChanged, Existing::Always] {
        let report = ground.restore(&ground.options(existing));
        assert_eq!(report.exit(), Exit::Incomplete, "{existing:?}");
    }
    ground.repository.store().put(&pack, bytes).unwrap();
    let report = ground.restore(&ground.options(Existing::IfChanged));
    assert_eq!((report.failed, report.bytes_written), (vec![], 2000));
    ground.assert_whole();
}

#[test]
fn gnu_tar_brings_back_what_the_archive_holds() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    Sample::everything(33).build(&source).unwrap();
    let long = "n".repeat(120);
    fs::create_dir(source.join(&long)).unwrap();
    write(&source.join(&long).join("deep-\u{e4}"), b"long");
    symlink("t".repeat(150), source.join("to-far")).unwrap();
    let restic = Restic::new(folder.path().join("repo"), PASSWORD);
    restic.init().unwrap();
    restic.backup(&source).unwrap();
    let before = capture(&source).unwrap();
    let repository = index(open(Arc::new(LocalTier::open(restic.path()).unwrap())));
    let (_, snapshot) = repository.find_snapshot("latest").unwrap();

    let options = RestoreOptions::new("unused");
    let archive = folder.path().join("archive.tar");
    let mut out = File::create(&archive).unwrap();
    let report =
        write_tar(&repository, &snapshot, &options, &mut out, &Silent, &Cancel::new()).unwrap();
    assert_eq!(report.failed, []);
    assert_ne!(report.bytes_fetched, 0);

    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    let mut tar = std::process::Command::new("tar");
    tar.arg("-xpf").arg(&archive).arg("-C").arg(&target);
    tar.args(["--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*"]);
    let output = tar.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let after = capture(target.join(source.strip_prefix("/").unwrap())).unwrap();
    assert_eq!(before.differences(&after, &NOT_HOLES), []);
}

#[test]
fn an_archive_is_whole_when_a_file_is_not() {
    let ground = Ground::new();
    let id = lifeboat_repository::blob::blob_id(FIRST);
    let pack = ground.repository.locate(BlobKind::Data, &id).unwrap().pack;
    ground.repository.store().delete(&pack).unwrap();
    let (mut out, options) = (Vec::new(), ground.options(Existing::Refuse));
    let (repository, snapshot) = (&ground.repository, &ground.snapshot);
    let report =
        write_tar(repository, snapshot, &options, &mut out, &Silent, &Cancel::new()).unwrap();
    assert_eq!(report.exit(), Exit::Incomplete);
    assert_eq!(report.failed[0].path, Path::new("/a"));
    assert_eq!(out.len() % 512, 0);
    assert!(out.windows(12).any(|bytes| bytes == b"content of b"));
    assert!(out.windows(SECOND.len()).any(|bytes| bytes == SECOND));
}
