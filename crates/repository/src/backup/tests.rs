//! Files that change, vanish or turn into something else at the worst moment.

mod glances;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lifeboat_model::{Cancel, Secret, Silent, SystemClock};
use lifeboat_tiers::ObjectPrefix;
use lifeboat_tiers::memory::MemoryTier;
use tempfile::TempDir;

use lifeboat_model::BlobId;

use super::*;
use crate::key::{KdfParameters, KeyOrigin};
use crate::node::{Node, NodeKind};
use crate::repository::InitOptions;
use crate::source::{FilesSource, Source};
use crate::store::Store;

/// Does something to a file whenever that file was read or its directory was listed.
struct Meddler<F> {
    path: PathBuf,
    times: Mutex<usize>,
    meddle: F,
}

impl<F> std::fmt::Debug for Meddler<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddler")
    }
}

impl<F: Fn(&Path) + Sync> Meddler<F> {
    fn at(&self, path: &Path) {
        let mut times = self.times.lock().unwrap();
        if path == self.path && *times > 0 {
            *times -= 1;
            (self.meddle)(path);
        }
    }
}

impl<F: Fn(&Path) + Sync> Witness for Meddler<F> {
    fn directory_was_listed(&self, path: &Path) {
        self.at(path);
    }

    fn file_was_read(&self, path: &Path) {
        self.at(path);
    }
}

struct Bench {
    dir: TempDir,
    _runtime: tokio::runtime::Runtime,
    repository: Repository<Indexed>,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let options = InitOptions {
            password: &Secret::new("x"),
            kdf: KdfParameters::new(2, 1, 1).unwrap(),
            master_key: None,
            polynomial: None,
            origin: KeyOrigin {
                created: Timestamp::UNIX_EPOCH,
                username: String::new(),
                hostname: String::new(),
            },
        };
        let tier = Arc::new(MemoryTier::new());
        let store = Store::new(tier, runtime.handle().clone(), ObjectPrefix::ALL);
        let repository = Repository::init(store, &options).unwrap();
        let repository = repository.load_index(&Cancel::new(), &Silent).unwrap();
        Self { dir: tempfile::tempdir().unwrap(), _runtime: runtime, repository }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    }

    /// Backs the directory up while `path` is meddled with this often.
    fn backup(&self, path: &Path, times: usize, meddle: impl Fn(&Path) + Sync) -> BackupReport {
        let meddler = Meddler { path: path.to_owned(), times: Mutex::new(times), meddle };
        let paths = vec![self.dir.path().to_owned()];
        let sources = vec![Source::Files(FilesSource { paths, ..FilesSource::default() })];
        let options = BackupOptions::new("site");
        let (cancel, seen) =
            (Cancel::new(), (&SystemClock as &dyn Clock, &meddler as &dyn Witness));
        backup_witnessed(&self.repository, sources, &options, &Silent, &cancel, seen, &mut |_| {
            Ok(())
        })
        .unwrap()
    }

    /// Returns the names in the directory as the snapshot has them.
    fn names(&self, report: &BackupReport) -> Vec<String> {
        let nodes = self.nodes(report, self.dir.path());
        nodes.into_iter().map(|node| node.name.into_string().unwrap()).collect()
    }

    fn nodes(&self, report: &BackupReport, path: &Path) -> Vec<Node> {
        let mut tree = self.repository.tree(&report.tree).unwrap();
        for name in path.strip_prefix("/").unwrap() {
            let NodeKind::Directory { subtree } = tree.get(name).unwrap().kind else { panic!() };
            tree = self.repository.tree(&subtree).unwrap();
        }
        tree.nodes
    }

    /// Returns the content of a file and the size that its node tells.
    fn content(&self, report: &BackupReport, path: &Path) -> (Vec<u8>, u64) {
        let nodes = self.nodes(report, path.parent().unwrap());
        let node = nodes.into_iter().find(|node| Some(&*node.name) == path.file_name()).unwrap();
        let NodeKind::File { size, content } = node.kind else { panic!() };
        let mut bytes = Vec::new();
        for id in content {
            bytes
                .extend_from_slice(&self.repository.read_blob(crate::BlobKind::Data, &id).unwrap());
        }
        (bytes, size)
    }
}

fn append(path: &Path, bytes: &[u8]) {
    fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn a_file_that_changed_while_it_was_read_is_read_again() {
    let bench = Bench::new();
    let path = bench.write("log", b"one ");
    let report = bench.backup(&path, 1, |path| append(path, b"two"));
    assert!(report.is_complete(), "{:?}", report.skipped);
    assert_eq!(bench.content(&report, &path), (b"one two".to_vec(), 7));
    assert_eq!(report.counts.bytes_read, 11);
}

#[test]
fn a_file_that_never_holds_still_is_stored_and_named() {
    let bench = Bench::new();
    let path = bench.write("log", &vec![b'x'; 600_000]);
    let report = bench.backup(&path, 9, |path| append(path, b"more"));
    let skipped = [Skipped { path: path.clone(), reason: SkipReason::Changing }];
    assert_eq!(report.skipped, skipped);
    let (bytes, size) = bench.content(&report, &path);
    assert_eq!((bytes.len(), size), (600_004, 600_004));
    // The next backup sees that it is not what was stored, and reads it again.
    let next = bench.backup(&path, 0, |_| {});
    assert_eq!(bench.content(&next, &path).1, 600_008);
}

#[test]
fn a_file_that_shrank_has_the_size_of_what_was_read() {
    let bench = Bench::new();
    let path = bench.write("data", &vec![b'x'; 3 << 20]);
    let report = bench.backup(&path, 1, |path| {
        fs::File::options().write(true).open(path).unwrap().set_len(5).unwrap();
    });
    assert!(report.is_complete());
    assert_eq!(bench.content(&report, &path), (b"xxxxx".to_vec(), 5));
}

#[test]
fn files_that_vanish_are_named_and_the_others_kept() {
    let bench = Bench::new();
    let kept = bench.write("kept", b"kept");
    let gone = bench.write("gone", b"gone");
    let report = bench.backup(bench.dir.path(), 1, |_| fs::remove_file(&gone).unwrap());
    assert_eq!(report.skipped, [Skipped { path: gone.clone(), reason: SkipReason::Vanished }]);
    assert_eq!(bench.names(&report), ["kept"]);
    assert_eq!(bench.content(&report, &kept).0, b"kept");
}

#[test]
fn a_file_that_vanishes_between_listing_and_reading_is_named() {
    let bench = Bench::new();
    let first = bench.write("a", b"first");
    let second = bench.write("b", b"second");
    let mut options = BackupOptions::new("site");
    options.workers = NonZeroUsize::new(1);
    // With one worker `a` is read before `b`, and both were listed before.
    let meddler = Meddler {
        path: first,
        times: Mutex::new(1),
        meddle: |_: &Path| fs::remove_file(&second).unwrap(),
    };
    let paths = vec![bench.dir.path().to_owned()];
    let sources = vec![Source::Files(FilesSource { paths, ..FilesSource::default() })];
    let (cancel, seen) = (Cancel::new(), (&SystemClock as &dyn Clock, &meddler as &dyn Witness));
    let report =
        backup_witnessed(&bench.repository, sources, &options, &Silent, &cancel, seen, &mut |_| {
            Ok(())
        })
        .unwrap();
    assert_eq!(report.skipped, [Skipped { path: second.clone(), reason: SkipReason::Vanished }]);
    assert_eq!(bench.names(&report), ["a"]);
}

#[test]
fn a_directory_that_became_a_link_is_not_followed() {
    let bench = Bench::new();
    let outside = tempfile::tempdir().unwrap();
    fs::File::create(outside.path().join("secret")).unwrap();
    let inner = bench.write("dir/file", b"file").parent().unwrap().to_owned();
    let aside = bench.dir.path().join("zzz");
    let report = bench.backup(bench.dir.path(), 1, |_| {
        // After the listing and before the directory is looked at.
        fs::remove_dir_all(&inner).unwrap();
        std::os::unix::fs::symlink(outside.path(), &inner).unwrap();
        fs::create_dir(&aside).unwrap();
    });
    let nodes = bench.nodes(&report, bench.dir.path());
    assert!(matches!(nodes[0].kind, NodeKind::Symlink { .. }), "{nodes:?}");
    assert_eq!(nodes.len(), 1);
}

#[test]
fn a_parent_that_lost_its_trees_costs_only_time() {
    let bench = Bench::new();
    let path = bench.write("file", b"content");
    let first = bench.backup(&path, 0, |_| {});
    let lost = Snapshot {
        tree: BlobId::from_bytes([7; 32]),
        ..bench.repository.snapshot(&first.snapshot).unwrap()
    };
    let lost = bench.repository.save_snapshot(&lost).unwrap();
    let mut options = BackupOptions::new("site");
    options.parent = ParentChoice::Snapshot(lost);
    let paths = vec![bench.dir.path().to_owned()];
    let sources = vec![Source::Files(FilesSource { paths, ..FilesSource::default() })];
    let report =
        backup(&bench.repository, sources, &options, &Silent, &Cancel::new(), &SystemClock)
            .unwrap();
    assert!(report.is_complete());
    // The directories above are shared with other tests, which change their times.
    let nodes = |report| bench.nodes(report, bench.dir.path());
    assert_eq!(nodes(&report), nodes(&first));
    assert_eq!(report.counts.data_blobs, 0);
}
