//! Opens repositories of stock restic and makes odd ones by hand.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use lifeboat_model::{BlobId, Cancel, Secret, Silent, SnapshotId, Timestamp};
use lifeboat_repository::blob::{BlobSealer, blob_id};
use lifeboat_repository::compress::Compression;
use lifeboat_repository::index::{IndexFile, PackEntry};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::node::Metadata;
use lifeboat_repository::pack::{FinishedPack, PackBuilder};
use lifeboat_repository::restore::{RestoreOptions, RestoreReport, restore};
use lifeboat_repository::{
    BlobKind, Indexed, InitOptions, MasterKey, Node, NodeKind, Open, OpenOptions, Repository,
    Snapshot, Store, Tree,
};
use lifeboat_testing::restic::Restic;
use lifeboat_testing::tree::Sample;
use lifeboat_tiers::{LocalTier, MemoryTier, ObjectPrefix, Tier};
use tokio::runtime::{Builder, Runtime};

pub const PASSWORD: &str = "correct horse";

/// The runtime that drives all tiers of this test process.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

pub fn store(tier: Arc<dyn Tier>) -> Store {
    Store::new(tier, RUNTIME.handle().clone(), ObjectPrefix::ALL)
}

/// A folder with a tree and a repository of stock restic that holds one snapshot of it.
pub struct ResticRepository {
    pub folder: tempfile::TempDir,
    pub restic: Restic,
    pub source: PathBuf,
}

impl ResticRepository {
    pub fn of(sample: &Sample) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        sample.build(&source).unwrap();
        let restic = Restic::new(folder.path().join("repo"), PASSWORD);
        restic.init().unwrap();
        restic.backup(&source).unwrap();
        Self { folder, restic, source }
    }

    pub fn tier(&self) -> Arc<dyn Tier> {
        Arc::new(LocalTier::open(self.restic.path()).unwrap())
    }

    pub fn open(&self) -> Repository<Open> {
        open(self.tier())
    }

    pub fn indexed(&self) -> Repository<Indexed> {
        index(self.open())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

pub fn open(tier: Arc<dyn Tier>) -> Repository<Open> {
    Repository::open(store(tier), &Secret::new(PASSWORD), &OpenOptions::default()).unwrap()
}

pub fn index(repository: Repository<Open>) -> Repository<Indexed> {
    repository.load_index(&Cancel::new(), &Silent).unwrap()
}

/// Makes an empty repository.
pub fn init(tier: Arc<dyn Tier>, master_key: Option<MasterKey>) -> Repository<Indexed> {
    let options = InitOptions {
        password: &Secret::new(PASSWORD),
        kdf: KdfParameters::new(1 << 10, 8, 1).unwrap(),
        master_key,
        polynomial: None,
        origin: KeyOrigin {
            created: Timestamp::UNIX_EPOCH,
            username: "tester".to_owned(),
            hostname: "test".to_owned(),
        },
    };
    index(Repository::init(store(tier), &options).unwrap())
}

pub fn memory() -> Repository<Indexed> {
    init(Arc::new(MemoryTier::new()), None)
}

/// Stores blobs as one pack, listed by one index file.
pub fn save_pack(
    repository: &Repository<Indexed>,
    kind: BlobKind,
    plaintexts: &[&[u8]],
) -> FinishedPack {
    let mut sealer = BlobSealer::new(repository.key(), Compression::default());
    let mut builder = PackBuilder::default();
    for plaintext in plaintexts {
        builder.add(&sealer.seal(kind, blob_id(plaintext), plaintext).unwrap()).unwrap();
    }
    let pack = builder.finish(repository.key());
    repository.save_pack(&pack).unwrap();
    let packs = vec![PackEntry::from(&pack)];
    repository.save_index(&IndexFile { packs, ..IndexFile::default() }).unwrap();
    pack
}

/// Stores a directory, in whatever order its nodes are.
pub fn save_tree(repository: &Repository<Indexed>, nodes: &[Node]) -> BlobId {
    let documents: Vec<String> = nodes
        .iter()
        .map(|node| {
            let tree = Tree { nodes: vec![node.clone()] }.to_document().unwrap();
            let text = String::from_utf8(tree).unwrap();
            let node = text.strip_prefix("{\"nodes\":[").unwrap();
            node.strip_suffix("]}\n").unwrap().to_owned()
        })
        .collect();
    save_raw_tree(repository, &format!("{{\"nodes\":[{}]}}\n", documents.join(",")))
}

pub fn save_raw_tree(repository: &Repository<Indexed>, document: &str) -> BlobId {
    save_pack(repository, BlobKind::Tree, &[document.as_bytes()]);
    blob_id(document.as_bytes())
}

pub fn file(name: &str, content: &[&[u8]]) -> Node {
    let size = content.iter().map(|piece| piece.len() as u64).sum();
    let content = content.iter().map(|piece| blob_id(piece)).collect();
    node(name, NodeKind::File { size, content })
}

pub fn directory(name: &str, subtree: BlobId) -> Node {
    node(name, NodeKind::Directory { subtree })
}

pub fn node(name: &str, kind: NodeKind) -> Node {
    let type_bits = match kind {
        NodeKind::Directory { .. } => 0o040_755,
        NodeKind::Symlink { .. } => 0o120_777,
        _ => 0o100_644,
    };
    let metadata = Metadata {
        mode: lifeboat_repository::node::FileMode::from_unix(type_bits),
        mtime: Timestamp::UNIX_EPOCH.into(),
        atime: Timestamp::UNIX_EPOCH.into(),
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        ..Metadata::default()
    };
    Node { name: name.into(), kind, metadata }
}

pub fn snapshot_of(tree: BlobId) -> Snapshot {
    Snapshot::new(Timestamp::UNIX_EPOCH, tree, vec!["/srv".to_owned()])
}

pub fn save_snapshot(repository: &Repository<Indexed>, tree: BlobId) -> SnapshotId {
    repository.save_snapshot(&snapshot_of(tree)).unwrap()
}

pub fn restore_all(
    repository: &Repository<Indexed>,
    snapshot: &Snapshot,
    target: &Path,
) -> RestoreReport {
    let options = RestoreOptions::new(target);
    restore(repository, snapshot, &options, &Silent, &Cancel::new()).unwrap()
}

/// Replaces ids by their order of appearance, since every seal has another nonce.
pub fn redact(text: &str) -> String {
    let mut seen: Vec<String> = Vec::new();
    let mut redacted = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.len() == 64 || word.len() == 8 {
            let known = seen.iter().position(|id| id[..8] == word[..8]);
            let number = known.unwrap_or_else(|| {
                seen.push(word.to_owned());
                seen.len() - 1
            });
            write!(redacted, "<id {number}>").unwrap();
        } else {
            redacted.push_str(word);
        }
        let next = after.find(|c: char| c.is_ascii_hexdigit()).unwrap_or(after.len());
        redacted.push_str(&after[..next]);
        rest = &after[next..];
    }
    redacted
}
