//! Files that are read in pieces while somebody changes them: what is taken from the parent, what
//! becomes of files that vanish, shrink and grow, what is read last, and what a restore writes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lifeboat_model::{
    ByteSize, Cancel, Classify, ErrorKind, Hint, Silent, SnapshotId, SystemClock, Timestamp,
};
use lifeboat_repository::backup::{
    BackupError, BackupOptions, BackupPreview, BackupReport, Withheld, backup_on_condition,
};
use lifeboat_repository::restore::{
    Existing, RestoreOptions, RestoreReport, Selection, read_file, restore,
};
use lifeboat_repository::source::{
    EntryMetadata, FormerPiece, PagedContent, PagedEntry, PagedKind, PagedSource, PieceSize,
    PieceState, Source, StreamReader, StreamSource,
};
use lifeboat_repository::{Indexed, NodeKind, ParentChoice, Repository};
use lifeboat_tiers::fault::{FaultTier, Moment, Rule};
use proptest::prelude::*;

use crate::site::{Site, assert_stored_once, files, noise, restored};

const ROOT: &str = "/lifeboat/database/pgdata";

/// A file that knows what it was when the parent was made.
#[derive(Default)]
struct Relation {
    now: Vec<u8>,
    before: Option<Vec<u8>>,
    /// How many pieces a parent was offered for.
    offered: AtomicU64,
    read: AtomicU64,
    is_gone: AtomicBool,
    /// The offset at which it turns out to be gone.
    vanishes_at: Option<u64>,
    fails: bool,
}

impl Relation {
    fn new(now: Vec<u8>) -> Self {
        Self { now, ..Self::default() }
    }

    fn after(before: Option<Vec<u8>>, now: Vec<u8>) -> Self {
        Self { now, before, ..Self::default() }
    }
}

fn part(bytes: &[u8], offset: u64, length: usize) -> &[u8] {
    let begin = usize::try_from(offset).unwrap().min(bytes.len());
    &bytes[begin..(begin + length).min(bytes.len())]
}

impl PagedContent for Relation {
    fn read(
        &self,
        offset: u64,
        buffer: &mut [u8],
        former: Option<FormerPiece>,
    ) -> io::Result<PieceState> {
        if self.fails {
            return Err(io::Error::other("the disk is broken"));
        }
        if self.vanishes_at.is_some_and(|at| offset >= at) {
            self.is_gone.store(true, Ordering::Relaxed);
        }
        if self.is_gone.load(Ordering::Relaxed) {
            return Ok(PieceState::Vanished);
        }
        let now = part(&self.now, offset, buffer.len());
        self.offered.fetch_add(former.is_some().into(), Ordering::Relaxed);
        if let (Some(former), Some(before)) = (former, &self.before)
            && part(before, offset, buffer.len()) == now
        {
            return Ok(PieceState::AsInParent(former));
        }
        buffer[..now.len()].copy_from_slice(now);
        buffer[now.len()..].fill(0);
        self.read.fetch_add(1, Ordering::Relaxed);
        Ok(PieceState::Read)
    }
}

fn metadata(permissions: u32) -> EntryMetadata {
    let owner = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    EntryMetadata::new(permissions, owner, Timestamp::from_second(1_700_000_000).unwrap())
}

fn entry(path: &str, kind: PagedKind) -> PagedEntry {
    PagedEntry { path: path.into(), metadata: metadata(0o600), kind }
}

fn directory(path: &str) -> PagedEntry {
    PagedEntry { path: path.into(), metadata: metadata(0o700), kind: PagedKind::Directory }
}

fn file(path: &str, content: &Arc<Relation>) -> PagedEntry {
    file_of(path, content.now.len() as u64, content)
}

fn file_of(path: &str, size: u64, content: &Arc<Relation>) -> PagedEntry {
    let content = Arc::clone(content) as Arc<dyn PagedContent>;
    entry(path, PagedKind::File { size, piece_size: PieceSize::default(), content })
}

fn source(entries: Vec<PagedEntry>) -> Source {
    Source::Paged(PagedSource { path: ROOT.into(), metadata: metadata(0o700), entries })
}

fn source_of(size: PieceSize, mut entries: Vec<PagedEntry>) -> Source {
    for entry in &mut entries {
        if let PagedKind::File { piece_size, .. } = &mut entry.kind {
            *piece_size = size;
        }
    }
    source(entries)
}

fn options() -> BackupOptions {
    BackupOptions {
        pack_size: ByteSize(4 << 20),
        time: Some(Timestamp::UNIX_EPOCH),
        ..BackupOptions::new("site")
    }
}

fn run_with(
    repository: &Repository<Indexed>,
    sources: Vec<Source>,
    options: &BackupOptions,
    condition: &mut dyn FnMut(&BackupPreview) -> Result<(), Withheld>,
) -> Result<BackupReport, BackupError> {
    let cancel = Cancel::new();
    backup_on_condition(repository, sources, options, condition, &Silent, &cancel, &SystemClock)
}

fn run(site: &Site, sources: Vec<Source>) -> BackupReport {
    run_with(&site.repository(), sources, &options(), &mut |_| Ok(())).unwrap()
}

/// Goes by a snapshot; all of them have the same time, so that none is the latest.
fn run_after(site: &Site, parent: &BackupReport, sources: Vec<Source>) -> BackupReport {
    let options = BackupOptions { parent: ParentChoice::Snapshot(parent.snapshot), ..options() };
    run_with(&site.repository(), sources, &options, &mut |_| Ok(())).unwrap()
}

fn below(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

fn content(site: &Site, snapshot: &SnapshotId, path: &Path) -> Vec<u8> {
    let repository = site.repository();
    let snapshot = repository.snapshot(snapshot).unwrap();
    let mut bytes = Vec::new();
    let mut file = read_file(&repository, &snapshot, path).unwrap();
    io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    bytes
}

fn is_in(site: &Site, snapshot: &SnapshotId, path: &Path) -> bool {
    let repository = site.repository();
    let snapshot = repository.snapshot(snapshot).unwrap();
    lifeboat_repository::listing::find(&repository, &snapshot, path)
        .is_ok_and(|node| node.is_some())
}

#[test]
fn restic_restores_what_was_enumerated() {
    let site = Site::new();
    let mut large = noise(9 << 20, 3);
    large[1 << 20..3 << 20].fill(0);
    large.extend_from_slice(b"and an end");
    let contents =
        [("base/5/16384", large), ("base/5/empty", vec![]), ("PG_VERSION", b"18\n".to_vec())];
    let mut entries = vec![
        entry("pg_tblspc/16999", PagedKind::Symlink { target: "/srv/space".into() }),
        directory("pg_wal"),
        directory("base"),
        directory("base/5"),
    ];
    for (path, bytes) in &contents {
        entries.push(file(path, &Arc::new(Relation::new(bytes.clone()))));
    }
    fs::create_dir_all(site.source()).unwrap();
    fs::File::create(site.source().join("postgresql.conf")).unwrap();
    let control = StreamSource::document(below("global/pg_control"), noise(8192, 5));
    let control = Source::Stream(control.last().with_metadata(metadata(0o640)));
    let report = run(&site, vec![source(entries), control, files(&[&site.source()])]);
    assert_eq!(report.skipped, []);
    assert_eq!(report.counts.files_new, 5);

    let restic = site.restic();
    restic.check_read_data().unwrap();
    site.check();
    restic.restore(&report.snapshot.to_hex(), site.path("target")).unwrap();
    let target = restored(&site.path("target"), Path::new(ROOT));
    for (path, bytes) in &contents {
        let path = target.join(path);
        assert!(fs::read(&path).unwrap() == *bytes, "{}", path.display());
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o600, 1_700_000_000));
    }
    let control = target.join("global/pg_control");
    assert!(fs::read(&control).unwrap() == noise(8192, 5));
    assert_eq!(fs::metadata(control).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_link(target.join("pg_tblspc/16999")).unwrap(), Path::new("/srv/space"));
    assert_eq!(fs::metadata(target.join("pg_wal")).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn pieces_that_are_as_in_the_parent_are_neither_read_nor_stored() {
    let site = Site::new();
    let before = noise(6 << 20, 7);
    let first = Arc::new(Relation::new(before.clone()));
    let first = run(&site, vec![source(vec![file("base/1", &first)])]);
    let mut now = before.clone();
    now[(2 << 20) + 5] ^= 1;
    now[5 << 20] ^= 1;
    let relation = Arc::new(Relation::after(Some(before), now.clone()));
    let report = run_after(&site, &first, vec![source(vec![file("base/1", &relation)])]);
    assert_eq!(report.counts.bytes_read, 2 * (64 << 10));
    assert_eq!((report.counts.data_blobs, report.counts.files_changed), (2, 1));
    assert!(content(&site, &report.snapshot, &below("base/1")) == now);

    let relation = Arc::new(Relation::after(Some(now.clone()), now));
    let report = run_after(&site, &report, vec![source(vec![file("base/1", &relation)])]);
    let counts = report.counts;
    assert_eq!((counts.bytes_read, counts.files_unmodified, counts.files_changed), (0, 1, 0));
    assert_eq!((counts.bytes_total, counts.data_blobs, counts.tree_blobs), (6 << 20, 0, 0));
    site.restic().check_read_data().unwrap();
}

#[test]
fn a_parent_that_is_cut_otherwise_is_never_offered() {
    let site = Site::new();
    let bytes = noise(3 << 20, 9);
    let mut parent = run(&site, vec![source(vec![])]);
    let small = PieceSize::new(8 << 10).unwrap();
    for (piece_size, expected) in [(small, 0), (small, 384), (PieceSize::default(), 0)] {
        let relation = Arc::new(Relation::after(Some(bytes.clone()), bytes.clone()));
        let sources = vec![source_of(piece_size, vec![file("1", &relation)])];
        parent = run_after(&site, &parent, sources);
        assert!(content(&site, &parent.snapshot, &below("1")) == bytes);
        assert_eq!(relation.offered.load(Ordering::Relaxed), expected);
    }
    // What a stream left there is cut by its content.
    let stream = Source::Stream(StreamSource::document(below("1"), bytes.clone()));
    parent = run(&site, vec![source(vec![]), stream]);
    let relation = Arc::new(Relation::after(Some(bytes.clone()), bytes));
    run_after(&site, &parent, vec![source(vec![file("1", &relation)])]);
    assert_eq!(relation.offered.load(Ordering::Relaxed), 0);
}

#[test]
fn a_file_that_vanishes_is_left_out_and_nobody_is_told() {
    let site = Site::new();
    let gone = |at: u64| Relation { vanishes_at: Some(at), ..Relation::new(noise(9 << 20, 13)) };
    let entries = vec![
        file("base/at-once", &Arc::new(gone(0))),
        file("base/half-way", &Arc::new(gone(6 << 20))),
        file("base/stays", &Arc::new(Relation::new(noise(100, 15)))),
    ];
    let report = run(&site, vec![source(entries)]);
    assert!(report.is_complete());
    assert_eq!(report.counts.files_new, 1);
    assert!(is_in(&site, &report.snapshot, &below("base/stays")));
    for name in ["base/at-once", "base/half-way"] {
        assert!(!is_in(&site, &report.snapshot, &below(name)), "{name}");
    }
    site.restic().check_read_data().unwrap();
}

#[test]
fn a_file_has_the_size_that_was_enumerated() {
    let site = Site::new();
    let bytes = noise(300 << 10, 17);
    let shrunk = Arc::new(Relation::new(bytes[..100 << 10].to_vec()));
    let grown = Arc::new(Relation::new(bytes.clone()));
    let entries = vec![file_of("shrunk", 300 << 10, &shrunk), file_of("grown", 70_000, &grown)];
    let report = run(&site, vec![source(entries)]);
    let mut padded = bytes[..100 << 10].to_vec();
    padded.resize(300 << 10, 0);
    assert!(content(&site, &report.snapshot, &below("shrunk")) == padded);
    assert!(content(&site, &report.snapshot, &below("grown")) == bytes[..70_000]);
}

#[test]
fn zeros_are_stored_once() {
    let site = Site::new();
    let relation = Arc::new(Relation::new(vec![0; 32 << 20]));
    let report = run(&site, vec![source(vec![file("1", &relation)])]);
    assert_eq!(report.counts.data_blobs, 1);
    assert!(content(&site, &report.snapshot, &below("1")) == relation.now);
}

#[test]
fn a_file_that_cannot_be_read_makes_no_snapshot() {
    let site = Site::new();
    let broken = Arc::new(Relation { fails: true, ..Relation::new(vec![1; 100]) });
    let sources = vec![source(vec![file("base/1", &broken)])];
    let error = run_with(&site.repository(), sources, &options(), &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read what becomes {ROOT}/base/1"));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(site.repository().snapshot_ids().unwrap().is_empty());
}

#[test]
fn the_same_tree_is_made_by_any_number_of_workers() {
    let site = Site::new();
    let relations: Vec<Arc<Relation>> = [(11 << 20, 1), (5 << 20, 2), (12_345, 3), (0, 4)]
        .map(|(length, seed)| Arc::new(Relation::new(noise(length, seed))))
        .into();
    let trees = [1, 2, 3, 7].map(|workers| {
        let files = relations.iter().zip(["a/1", "a/2", "b/3", "b/4"]);
        let entries = files.map(|(relation, path)| file(path, relation)).collect();
        let options = BackupOptions {
            workers: NonZeroUsize::new(workers),
            parent: ParentChoice::None,
            ..options()
        };
        let sources = vec![source(entries)];
        run_with(&site.repository(), sources, &options, &mut |_| Ok(())).unwrap().tree
    });
    assert!(trees.iter().all(|tree| *tree == trees[0]), "{trees:?}");
}

/// A stream that notes when it was opened and ended.
struct Noted {
    content: io::Cursor<Vec<u8>>,
    name: &'static str,
    notes: Arc<Mutex<Vec<&'static str>>>,
}

impl io::Read for Noted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.content.read(buffer)
    }
}

impl StreamReader for Noted {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.notes.lock().unwrap().push(self.name);
        Ok(())
    }
}

#[test]
fn what_is_read_last_is_opened_after_all_else_was_read() {
    for workers in [1, 3] {
        let site = Site::new();
        fs::create_dir_all(site.source()).unwrap();
        let notes = Arc::new(Mutex::new(Vec::new()));
        let tiny = Arc::new(Relation::new(b"tiny".to_vec()));
        let large = Arc::new(Relation::new(noise(9 << 20, 21)));
        // More entries than are looked at in one go, on both sides of the stream.
        let mut entries: Vec<_> =
            (0..6000).map(|number| file(&format!("d/{number}"), &tiny)).collect();
        entries.push(file("z", &large));
        let stream = |name: &'static str, path: &str| {
            let (notes, tiny, large) = (Arc::clone(&notes), Arc::clone(&tiny), Arc::clone(&large));
            StreamSource::new(below(path), move || {
                if name != "beside" {
                    assert_eq!(tiny.read.load(Ordering::Relaxed), 6000);
                    assert_eq!(large.read.load(Ordering::Relaxed), 144);
                }
                let content = io::Cursor::new(name.as_bytes().to_vec());
                Ok(Box::new(Noted { content, name, notes }) as _)
            })
        };
        let sources = vec![
            Source::Stream(stream("control", "d/3000x").last()),
            Source::Stream(stream("manifest", "manifest").last()),
            Source::Stream(stream("beside", "beside")),
            source(entries),
            files(&[&site.source()]),
        ];
        let options = BackupOptions { workers: NonZeroUsize::new(workers), ..options() };
        let report = run_with(&site.repository(), sources, &options, &mut |_| Ok(())).unwrap();
        assert_eq!(*notes.lock().unwrap(), ["beside", "control", "manifest"]);
        assert_eq!(report.counts.files_new, 6004);
        assert_eq!(content(&site, &report.snapshot, &below("d/3000x")), b"control");
        site.restic().check_read_data().unwrap();
    }
}

#[derive(Debug, thiserror::Error)]
#[error("segment 000000010000000000000007 is not archived")]
struct NotArchived;

impl Classify for NotArchived {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Incomplete
    }

    fn hint(&self) -> Option<Hint> {
        Some(Hint::new("lifeboat wal push"))
    }
}

#[test]
fn a_snapshot_that_is_withheld_is_not_there_and_nothing_is_stored_again() {
    let site = Site::new();
    let sources =
        || vec![source(vec![file("base/1", &Arc::new(Relation::new(noise(5 << 20, 23))))])];
    let mut refuse = |preview: &BackupPreview| {
        assert_eq!(preview.counts.bytes_read, 5 << 20);
        Err(Withheld::new(NotArchived))
    };
    let error = run_with(&site.repository(), sources(), &options(), &mut refuse).unwrap_err();
    assert_eq!((error.kind(), error.hint()), (NotArchived.kind(), NotArchived.hint()));
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), NotArchived.to_string());
    assert!(site.repository().snapshot_ids().unwrap().is_empty());
    let report = run(&site, sources());
    let counts = report.counts;
    assert_eq!((counts.data_blobs, counts.tree_blobs, counts.packs_adopted), (0, 0, 0));
    assert_stored_once(&site.repository());
}

/// Kills a backup at each of its writes; the condition is asked only when all is durable and listed,
/// and the next run stores nothing twice.
fn survives_kills(moment: Moment) {
    let bytes = noise(9 << 20, 25);
    let mut asked = 0;
    for nth in 1.. {
        let site = Site::new();
        let sources = || {
            let control = StreamSource::document(below("global/pg_control"), noise(8192, 5));
            let relation = Arc::new(Relation::new(bytes.clone()));
            vec![source(vec![file("base/1", &relation)]), Source::Stream(control.last())]
        };
        let tier = Arc::new(FaultTier::new(site.tier()));
        let repository = site.repository_on(Arc::clone(&tier) as _);
        tier.add(Rule::kill_at_write(nth, moment));
        let mut condition = |_: &BackupPreview| {
            asked += 1;
            assert_stored_once(&site.repository());
            assert!(site.repository().snapshot_ids().unwrap().is_empty());
            Ok(())
        };
        let killed = run_with(&repository, sources(), &options(), &mut condition);
        if killed.is_ok() {
            assert!(nth > 4, "packs of data, one of directories, an index and a snapshot");
            assert_eq!(asked, 2, "the snapshot's own write fails after it was asked");
            return;
        }
        let report = run(&site, sources());
        assert!(content(&site, &report.snapshot, &below("base/1")) == bytes);
        assert_stored_once(&site.repository());
        site.restic().check_read_data().unwrap();
        site.check();
    }
}

#[test]
fn a_paged_backup_is_killed_before_any_write() {
    survives_kills(Moment::Before);
}

#[test]
fn a_paged_backup_is_killed_after_any_write() {
    survives_kills(Moment::After);
}

/// What happens to a cluster between two backups.
#[derive(Debug, Clone)]
enum Edit {
    Write { file: u8, page: u8, seed: u32 },
    Zero { file: u8, page: u8 },
    Resize { file: u8, length: u32 },
    Remove { file: u8 },
}

fn edit() -> impl Strategy<Value = Edit> {
    let file = 0..4_u8;
    prop_oneof![
        4 => (file.clone(), 0..20_u8, 1..1000_u32)
            .prop_map(|(file, page, seed)| Edit::Write { file, page, seed }),
        1 => (file.clone(), 0..20_u8).prop_map(|(file, page)| Edit::Zero { file, page }),
        2 => (file.clone(), 0..200_000_u32).prop_map(|(file, length)| Edit::Resize { file, length }),
        1 => file.prop_map(|file| Edit::Remove { file }),
    ]
}

type Cluster = BTreeMap<u8, Vec<u8>>;

fn apply(cluster: &mut Cluster, edit: &Edit) {
    const PAGE: usize = 8 << 10;
    let mut page = |file: u8, page: u8, bytes: Vec<u8>| {
        let begin = usize::from(page) * PAGE;
        let content = cluster.entry(file).or_default();
        content.resize(content.len().max(begin + PAGE), 0);
        content[begin..begin + PAGE].copy_from_slice(&bytes);
    };
    match *edit {
        Edit::Write { file, page: number, seed } => page(file, number, noise(PAGE, seed)),
        Edit::Zero { file, page: number } => page(file, number, vec![0; PAGE]),
        Edit::Resize { file, length } => {
            cluster.entry(file).or_default().resize(length as usize, 7);
        }
        Edit::Remove { file } => drop(cluster.remove(&file)),
    }
}

fn cluster_source(before: &Cluster, now: &Cluster, piece_size: PieceSize) -> Source {
    let relation = |number| Relation::after(before.get(number).cloned(), now[number].clone());
    let entries =
        now.keys().map(|number| file(&format!("base/{number}"), &Arc::new(relation(number))));
    source_of(piece_size, entries.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever happened since, honest answers make the tree that reading everything makes.
    #[test]
    fn a_parent_makes_no_difference_to_a_paged_file(
        rounds in prop::collection::vec(prop::collection::vec(edit(), 0..8), 1..5),
        pages in 1..4_u32,
    ) {
        let site = Site::new();
        let piece_size = PieceSize::new(pages * (8 << 10)).unwrap();
        let (mut before, mut parent) = (Cluster::new(), ParentChoice::None);
        for edits in rounds {
            let mut now = before.clone();
            for edit in &edits {
                apply(&mut now, edit);
            }
            let backup = |parent, before: &Cluster| {
                let options = BackupOptions { parent, ..options() };
                let sources = vec![cluster_source(before, &now, piece_size)];
                run_with(&site.repository(), sources, &options, &mut |_| Ok(())).unwrap()
            };
            let after = backup(parent, &before);
            prop_assert_eq!(backup(ParentChoice::None, &Cluster::new()).tree, after.tree);
            for (number, bytes) in &now {
                let path = below(&format!("base/{number}"));
                prop_assert!(content(&site, &after.snapshot, &path) == *bytes);
            }
            (before, parent) = (now, ParentChoice::Snapshot(after.snapshot));
        }
    }
}

/// Restores the enumerated directory itself to a target, but for a file that comes last.
fn restore_database(site: &Site, snapshot: &SnapshotId, target: &Path) -> RestoreReport {
    let repository = site.repository();
    let snapshot = repository.snapshot(snapshot).unwrap();
    let root = repository.enter(snapshot, Path::new(ROOT)).unwrap();
    let options = RestoreOptions {
        existing: Existing::Always,
        selection: Selection::new(&[], &["/global/pg_control"]).unwrap(),
        ..RestoreOptions::new(target)
    };
    restore(&repository, &root, &options, &Silent, &Cancel::new()).unwrap()
}

#[test]
fn a_restore_over_changed_files_moves_only_what_differs() {
    let site = Site::new();
    let (large, small) = (noise(26 << 20, 31), noise(70_000, 33));
    let control = StreamSource::document(below("global/pg_control"), noise(8192, 35));
    let entries = vec![
        file("base/1", &Arc::new(Relation::new(large.clone()))),
        file("base/2", &Arc::new(Relation::new(small.clone()))),
    ];
    let snapshot = run(&site, vec![source(entries), Source::Stream(control.last())]).snapshot;
    let target = site.path("target");
    let full = restore_database(&site, &snapshot, &target);
    let total = (large.len() + small.len()) as u64;
    assert_eq!((full.bytes_written, full.bytes_compared), (total, 0));
    assert!(!target.join("global/pg_control").exists());
    assert!(content(&site, &snapshot, &below("global/pg_control")) == noise(8192, 35));

    // Four pieces in four hundred; the length and the time stay as they were.
    let path = target.join("base/1");
    let (inode, mtime) = (fs::metadata(&path).unwrap().ino(), fs::metadata(&path).unwrap().mtime());
    let changed = fs::File::options().write(true).open(&path).unwrap();
    for piece in [3, 120, 250, 401] {
        changed.write_all_at(b"changed", piece * (64 << 10) + 77).unwrap();
    }
    changed
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000))
        .unwrap();
    let delta = restore_database(&site, &snapshot, &target);
    assert_eq!((delta.bytes_written, delta.bytes_compared), (4 * (64 << 10), total));
    assert_eq!(delta.bytes_there, total - 4 * (64 << 10));
    assert!(delta.bytes_fetched <= full.bytes_fetched / 10, "{}", delta.bytes_fetched);
    assert!(fs::read(&path).unwrap() == large && fs::read(target.join("base/2")).unwrap() == small);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.ino(), metadata.mtime(), metadata.mode() & 0o777), (inode, mtime, 0o600));
}

#[test]
fn a_symlink_or_directory_that_did_not_change_leaves_the_tree_as_it_was() {
    let site = Site::new();
    let trees = [0, 1].map(|_| {
        let entries = vec![
            entry("pg_tblspc/1", PagedKind::Symlink { target: "/srv/space".into() }),
            directory("pg_tblspc"),
            directory("pg_wal"),
        ];
        let options = BackupOptions { time: None, ..options() };
        let sources = vec![source(entries)];
        let repository = site.repository();
        let report = run_with(&repository, sources, &options, &mut |_| Ok(())).unwrap();
        let snapshot = repository.snapshot(&report.snapshot).unwrap();
        let node = lifeboat_repository::listing::find(&repository, &snapshot, Path::new(ROOT));
        match node.unwrap().unwrap().kind {
            NodeKind::Directory { subtree } => subtree,
            kind => panic!("{kind:?}"),
        }
    });
    assert_eq!(trees[0], trees[1]);
}
