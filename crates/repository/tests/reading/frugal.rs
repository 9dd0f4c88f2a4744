//! Who wants little of a large repository reads little of it.

use std::path::Path;
use std::sync::Arc;

use lifeboat_model::{BlobId, Cancel, IndexId, KeyId, PackId, Silent, SnapshotId};
use lifeboat_repository::blob::blob_id;
use lifeboat_repository::listing;
use lifeboat_repository::restore::{RestoreOptions, RestorePlan, Selection, restore};
use lifeboat_repository::store::FileId;
use lifeboat_repository::{BlobKind, Indexed, Node, NodeKind, Repository, Tree};
use lifeboat_tiers::{CountingTier, MemoryTier};

use crate::support::{directory, file, index, init, open, save_pack, save_snapshot};

/// A repository on a tier that is far, and a cache.
struct Large {
    tier: Arc<MemoryTier>,
    cache: tempfile::TempDir,
}

impl Large {
    /// One film among others, and one pack with many directories.
    fn new() -> Self {
        let tier = Arc::new(MemoryTier::new());
        add(&init(tier.clone(), None), "first");
        Self { tier, cache: tempfile::tempdir().unwrap() }
    }

    fn plain(&self) -> Repository<Indexed> {
        index(open(self.tier.clone()))
    }

    /// Opens it with the cache, on a tier whose traffic is counted.
    fn counted(&self) -> (Repository<Indexed>, Arc<CountingTier>) {
        let counted = Arc::new(CountingTier::new(self.tier.clone()));
        let mut repository = open(counted.clone());
        repository.use_cache(self.cache.path()).unwrap();
        (index(repository), counted)
    }

    /// Returns the sizes of all files of a kind.
    fn sizes<I: FileId>(&self) -> u64 {
        self.plain().store().list::<I>().unwrap().iter().map(|file| file.size).sum()
    }

    fn config_size(&self) -> u64 {
        self.plain().store().get_config().unwrap().unwrap().len() as u64
    }
}

fn noise(seed: &str, length: usize) -> Vec<u8> {
    let block = |number: usize| *blob_id(format!("{seed} {number}").as_bytes()).as_bytes();
    (0..length.div_ceil(32)).flat_map(block).take(length).collect()
}

/// Adds a film in three pieces, whose neighbours in the pack are others', sixty directories, and a snapshot.
fn add(repository: &Repository<Indexed>, name: &str) {
    let pieces: Vec<_> = (0..5).map(|number| noise(&format!("{name} {number}"), 50_000)).collect();
    let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
    save_pack(repository, BlobKind::Data, &pieces);
    let mut documents = Vec::new();
    let mut save = |nodes: Vec<Node>| {
        let document = Tree { nodes }.to_document().unwrap();
        documents.push(document);
        blob_id(documents.last().unwrap())
    };
    let empty = |folder: &str, number: u32| file(&format!("{folder}-{number:03}"), &[]);
    let mut root: Vec<_> = (0..60)
        .map(|number| {
            let folder = format!("d{number:02}");
            let nodes = (0..30).map(|number| empty(&format!("{name}-{folder}"), number)).collect();
            directory(&folder, save(nodes))
        })
        .collect();
    let mut films = vec![file(&format!("a-{name}"), &pieces[1..4])];
    films.extend((0..30).map(|number| empty("film", number)));
    root.push(directory("films", save(films)));
    let tree = save(root);
    let documents: Vec<_> = documents.iter().map(Vec::as_slice).collect();
    save_pack(repository, BlobKind::Tree, &documents);
    save_snapshot(repository, tree);
}

/// Adds up the sealed bytes of blobs.
fn lengths(repository: &Repository<Indexed>, kind: BlobKind, ids: &[BlobId]) -> u64 {
    ids.iter().map(|id| u64::from(repository.locate(kind, id).unwrap().length)).sum()
}

#[test]
fn one_file_costs_its_ranges_the_directories_on_its_path_and_what_is_new_in_the_index() {
    let large = Large::new();
    let (warm, _) = large.counted();
    assert_eq!(warm.snapshots().unwrap().len(), 1);
    let before = large.sizes::<IndexId>() + large.sizes::<SnapshotId>();
    add(&large.plain(), "second");

    let plain = large.plain();
    let path = Path::new("/films/a-second");
    let mut with_it = plain.snapshots().unwrap().into_iter().filter(|(_, snapshot)| {
        listing::find(&plain, snapshot, path).is_ok_and(|found| found.is_some())
    });
    let (id, snapshot) = with_it.next().unwrap();
    let node = |path: &str| listing::find(&plain, &snapshot, Path::new(path)).unwrap().unwrap();
    let NodeKind::Directory { subtree } = node("/films").kind else { panic!("it is a directory") };
    let NodeKind::File { content, .. } = node("/films/a-second").kind else { panic!("a file") };

    let (repository, counted) = large.counted();
    let snapshot = repository.snapshot(&id).unwrap();
    let target = large.cache.path().join("target");
    let mut options = RestoreOptions::new(&target);
    options.selection = Selection::new(&["/films/a-second"], &[]).unwrap();
    let report = restore(&repository, &snapshot, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!((report.failed.len(), report.files), (0, 1));

    let ranges = lengths(&plain, BlobKind::Data, &content);
    let trees = lengths(&plain, BlobKind::Tree, &[snapshot.tree, subtree]);
    let new = large.sizes::<IndexId>() + large.sizes::<SnapshotId>() - before;
    let opening = large.config_size() + large.sizes::<KeyId>();
    let read = counted.traffic().read_bytes;
    assert_eq!(read, opening + new + trees + ranges);
    assert!(read < large.sizes::<PackId>() / 2, "{read}");
}

#[test]
fn who_wants_all_directories_reads_their_packs_once() {
    let large = Large::new();
    let (repository, counted) = large.counted();
    let (_, snapshot) = repository.find_snapshot("latest").unwrap();
    let before = counted.traffic();
    let found = listing::list(&repository, &snapshot, Path::new("/"), listing::Depth::All).unwrap();
    assert_eq!(found.map(Result::unwrap).count(), 61 + 61 * 30 + 1);
    let read = counted.traffic().since(before);
    assert_eq!(read.gets, 1);

    // Patterns that may match anywhere soon want all of it, too.
    let (repository, counted) = Large { cache: tempfile::tempdir().unwrap(), ..large }.counted();
    let everywhere = Selection::new(&["*.none"], &[]).unwrap();
    let before = counted.traffic();
    RestorePlan::new(&repository, &snapshot, Path::new("/"), everywhere, &Cancel::new()).unwrap();
    let gets = counted.traffic().since(before).gets;
    assert!(gets <= 20, "{gets} reads for 62 directories");
}
