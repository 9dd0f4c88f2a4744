//! Directories that are glanced at: what is compared and what is not, and what happens meanwhile.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use lifeboat_model::PackId;

use super::*;
use crate::cache::Cache;
use crate::repository::OpenOptions;

/// Sees of which directories the parent's tree was read; meddles when a directory was listed.
struct Onlooker<F> {
    read: Mutex<BTreeSet<PathBuf>>,
    meddle: F,
}

impl<F> std::fmt::Debug for Onlooker<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Onlooker")
    }
}

impl<F: Fn(&Path) + Sync> Witness for Onlooker<F> {
    fn directory_was_listed(&self, path: &Path) {
        (self.meddle)(path);
    }

    fn parent_is_read(&self, path: &Path) {
        self.read.lock().unwrap().insert(path.to_owned());
    }
}

/// A bench with a cache.
struct Cached {
    bench: Bench,
    cache: TempDir,
}

impl Cached {
    /// Makes one over a few files, two directories deep.
    fn new() -> Self {
        let (mut bench, cache) = (Bench::new(), tempfile::tempdir().unwrap());
        for name in ["a", "b/c", "b/d", "b/e/f", "b/g/h", "i/j"] {
            bench.write(name, name.as_bytes());
        }
        std::os::unix::fs::symlink("a", bench.dir.path().join("b/link")).unwrap();
        fs::create_dir(bench.dir.path().join("empty")).unwrap();
        reopen(&mut bench, cache.path());
        Self { bench, cache }
    }

    fn reopen(&mut self) {
        reopen(&mut self.bench, self.cache.path());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bench.dir.path().join(name)
    }

    /// Backs up; returns the report, and of which directories of the source the parent's tree was read.
    fn backup(&self) -> (BackupReport, Vec<String>) {
        self.backup_meddled(&BackupOptions::new("site"), |_| {})
    }

    fn backup_meddled(
        &self,
        options: &BackupOptions,
        meddle: impl Fn(&Path) + Sync,
    ) -> (BackupReport, Vec<String>) {
        let source = self.bench.dir.path();
        let onlooker = Onlooker { read: Mutex::default(), meddle };
        let paths = vec![source.to_owned()];
        let sources = vec![Source::Files(FilesSource { paths, ..FilesSource::default() })];
        let seen = (&SystemClock as &dyn Clock, &onlooker as &dyn Witness);
        let repository = &self.bench.repository;
        let (cancel, condition) = (Cancel::new(), &mut |_: &BackupPreview| Ok(()));
        let report =
            backup_witnessed(repository, sources, options, &Silent, &cancel, seen, condition)
                .unwrap();
        let read = onlooker.read.into_inner().unwrap();
        let below = read.iter().filter_map(|path| path.strip_prefix(source).ok());
        (report, below.map(|path| path.display().to_string()).collect())
    }

    /// Returns the source's nodes, as a backup makes them that has no parent.
    fn anew(&self) -> Vec<Node> {
        let options = BackupOptions { parent: ParentChoice::None, ..BackupOptions::new("anew") };
        self.nodes(&self.backup_meddled(&options, |_| {}).0)
    }

    fn nodes(&self, report: &BackupReport) -> Vec<Node> {
        self.bench.nodes(report, self.bench.dir.path())
    }

    /// Returns the files of fingerprints.
    fn files(&self) -> Vec<PathBuf> {
        let cache =
            Cache::open(self.cache.path(), self.bench.repository.config().id).unwrap().path_of(".");
        let entries = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
        let is_one = |path: &PathBuf| {
            path.file_name().unwrap().to_string_lossy().starts_with("fingerprints-")
        };
        entries.filter(is_one).collect()
    }

    fn file(&self) -> PathBuf {
        let [file] = &*self.files() else { panic!("{:?}", self.files()) };
        file.clone()
    }
}

/// Opens the repository of a bench anew, with a cache.
fn reopen(bench: &mut Bench, cache: &Path) {
    let store = bench.repository.store().clone();
    let mut opened = Repository::open(store, &Secret::new("x"), &OpenOptions::default()).unwrap();
    opened.use_cache(cache).unwrap();
    bench.repository = opened.load_index(&Cancel::new(), &Silent).unwrap();
}

const ALL: [&str; 6] = ["", "b", "b/e", "b/g", "empty", "i"];

#[test]
fn of_what_is_as_it_was_nothing_is_compared() {
    let mut cached = Cached::new();
    let (first, _) = cached.backup();
    let written = fs::read(cached.file()).unwrap();
    for _ in 0..2 {
        cached.reopen();
        let (report, compared) = cached.backup();
        assert_eq!(compared, [""; 0]);
        assert_eq!(cached.nodes(&report), cached.nodes(&first));
        let Counts { files_unmodified, directories_unmodified, bytes_total, .. } = report.counts;
        assert_eq!((files_unmodified, bytes_total), (6, first.counts.bytes_total));
        assert!(directories_unmodified >= 6);
        assert_eq!((report.counts.bytes_read, report.counts.files_changed), (0, 0));
    }
    assert_eq!(fs::read(cached.file()).unwrap(), written, "there was nothing new to write down");
}

#[test]
fn where_something_changed_the_way_to_it_is_compared_and_nothing_else() {
    let cached = Cached::new();
    cached.backup();
    append(&cached.path("b/e/f"), b"more");
    let (report, compared) = cached.backup();
    assert_eq!(compared, ["", "b", "b/e"]);
    assert_eq!(cached.nodes(&report), cached.anew());
    let Counts { files_changed, files_unmodified, files_new, .. } = report.counts;
    assert_eq!((files_changed, files_unmodified, files_new), (1, 5, 0));
    assert_eq!(cached.backup().1, [""; 0], "what was compared is known now");
}

#[test]
fn without_the_file_everything_is_compared_and_it_is_written_again() {
    let cached = Cached::new();
    let (first, _) = cached.backup();
    fs::remove_file(cached.file()).unwrap();
    let (report, compared) = cached.backup();
    assert_eq!(compared, ALL);
    assert_eq!(cached.nodes(&report), cached.nodes(&first));
    assert_eq!(cached.backup().1, [""; 0]);
}

#[test]
fn whatever_bit_of_the_file_is_flipped_nothing_of_it_is_believed() {
    let cached = Cached::new();
    cached.backup();
    let whole = fs::read(cached.file()).unwrap();
    let path = cached.file();
    for at in (0..whole.len() * 8).step_by(whole.len() * 8 / 20) {
        let mut bytes = whole.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
        assert_eq!(cached.backup().1, ALL, "{at}");
    }
    for length in [0, 7, whole.len() - 1] {
        fs::File::create(&path).unwrap().write_all(&whole[..length]).unwrap();
        assert_eq!(cached.backup().1, ALL, "{length}");
    }
}

#[test]
fn each_host_has_its_own_fingerprints() {
    let cached = Cached::new();
    cached.backup();
    let options = BackupOptions::new("another");
    cached.backup_meddled(&options, |_| {});
    assert_eq!(cached.files().len(), 2);
    assert_eq!(cached.backup().1, [""; 0]);
    assert_eq!(cached.backup_meddled(&options, |_| {}).1, [""; 0]);
}

#[test]
fn another_parent_is_gone_by_as_far_as_its_directories_are_known() {
    let cached = Cached::new();
    let (first, _) = cached.backup();
    append(&cached.path("b/e/f"), b"more");
    cached.backup();
    // The rows are those of the second snapshot by now, and the first one's `b` is not what is there.
    let parent = ParentChoice::Snapshot(first.snapshot);
    let options = BackupOptions { parent, ..BackupOptions::new("site") };
    let (report, compared) = cached.backup_meddled(&options, |_| {});
    assert_eq!(compared, ["", "b", "b/e"]);
    assert_eq!(cached.nodes(&report), cached.anew());
}

#[test]
fn who_reads_everything_again_goes_by_no_fingerprint_but_leaves_some() {
    let cached = Cached::new();
    let options = BackupOptions { parent: ParentChoice::None, ..BackupOptions::new("site") };
    for _ in 0..2 {
        let (report, _) = cached.backup_meddled(&options, |_| {});
        assert_eq!((report.counts.files_new, report.counts.files_unmodified), (6, 0));
    }
    assert_eq!(cached.backup().1, [""; 0]);
}

#[test]
fn a_preview_counts_the_same_and_writes_nothing_down() {
    let cached = Cached::new();
    let preview = || {
        let paths = vec![cached.bench.dir.path().to_owned()];
        let sources = vec![Source::Files(FilesSource { paths, ..FilesSource::default() })];
        let (repository, options) = (&cached.bench.repository, BackupOptions::new("site"));
        preview(repository, sources, &options, &Silent, &Cancel::new(), &SystemClock).unwrap()
    };
    preview();
    assert_eq!(cached.files(), [""; 0].map(PathBuf::from));
    cached.backup();
    let written = fs::read(cached.file()).unwrap();
    append(&cached.path("i/j"), b"more");
    let counts = preview().counts;
    assert_eq!((counts.files_unmodified, counts.files_changed), (5, 1));
    assert_eq!(fs::read(cached.file()).unwrap(), written);
}

#[test]
fn what_is_left_out_of_the_index_is_stored_again() {
    let cached = Cached::new();
    let (first, _) = cached.backup();
    let before = cached.nodes(&first);
    let packs: BTreeSet<PackId> =
        cached.bench.repository.index().packs().unwrap().into_iter().collect();
    cached.bench.repository.leave_out(&packs);
    let (report, _) = cached.backup();
    assert_eq!(report.counts.data_blobs, first.counts.data_blobs);
    assert_eq!(cached.nodes(&report), before);
}

#[test]
fn what_changes_after_it_was_glanced_at_is_as_it_was_read() {
    let cached = Cached::new();
    let options = BackupOptions { workers: NonZeroUsize::new(1), ..BackupOptions::new("site") };
    cached.backup();
    // `b` is glanced at, then `b/e` is listed, before `b/g` is opened.
    let (e, g, file) = (cached.path("b/e"), cached.path("b/g"), cached.path("b/e/f"));
    let changed = Mutex::new(false);
    let (_, compared) = cached.backup_meddled(&options, |path| {
        if path == e && !std::mem::replace(&mut *changed.lock().unwrap(), true) {
            fs::set_permissions(&g, fs::Permissions::from_mode(0o700)).unwrap();
            append(&file, b"more");
        }
    });
    assert_eq!(compared, ["", "b", "b/e"]);
    let (report, compared) = cached.backup();
    assert_eq!(compared, [""; 0], "both changes were seen");
    assert_eq!(cached.nodes(&report), cached.anew());
}

#[test]
fn a_directory_that_goes_after_it_was_glanced_at_is_named_and_left_out() {
    let cached = Cached::new();
    let options = BackupOptions { workers: NonZeroUsize::new(1), ..BackupOptions::new("site") };
    cached.backup();
    let (e, g) = (cached.path("b/e"), cached.path("b/g"));
    let (report, _) = cached.backup_meddled(&options, |path| {
        if *path == e && g.exists() {
            fs::remove_dir_all(&g).unwrap();
        }
    });
    assert_eq!(report.skipped, [Skipped { path: g, reason: SkipReason::Vanished }]);
    let (report, compared) = cached.backup();
    assert_eq!(compared, [""], "its directory has another time by now");
    assert_eq!(cached.nodes(&report), cached.anew());
}

#[test]
fn where_the_parents_tree_is_lost_its_directory_is_read_again_and_those_in_it_are_not() {
    let mut cached = Cached::new();
    cached.backup();
    let packs: BTreeSet<PackId> =
        cached.bench.repository.index().packs().unwrap().into_iter().collect();
    // From now on the trees of `b` lie in other packs than those on the way to it.
    append(&cached.path("i/j"), b"more");
    cached.backup();
    for pack in &packs {
        cached.bench.repository.store().delete(pack).unwrap();
    }
    let repository = Cache::open(cached.cache.path(), cached.bench.repository.config().id).unwrap();
    fs::remove_dir_all(repository.path_of("data")).unwrap();
    cached.reopen();
    append(&cached.path("b/e/f"), b"more");
    let (report, compared) = cached.backup();
    assert_eq!(compared, ["", "b", "b/e"]);
    let Counts { files_new, files_changed, files_unmodified, .. } = report.counts;
    assert_eq!((files_new, files_changed, files_unmodified), (3, 0, 3));
    // Trees that are lost are not stored again as long as an index lists them.
    let below = |report| {
        let nodes = cached.nodes(report);
        nodes.into_iter().find(|node| node.name == "b").unwrap()
    };
    let options = BackupOptions { parent: ParentChoice::None, ..BackupOptions::new("anew") };
    let (anew, _) = cached.backup_meddled(&options, |_| {});
    assert_eq!(below(&report), below(&anew));
}
