//! Golden tests: stock restic is the judge of what is written here, and the other way round.

#![cfg(test)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use lifeboat_model::{BlobId, Cancel, Secret, Silent, Timestamp};
use lifeboat_repository::blob::{BlobSealer, blob_id};
use lifeboat_repository::compress::Compression;
use lifeboat_repository::index::IndexFile;
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::node::{FileMode, Metadata};
use lifeboat_repository::pack::{FinishedPack, PackBuilder};
use lifeboat_repository::{
    BlobKind, Indexed, InitOptions, MasterKey, Node, NodeKind, NodeTime, OpenOptions, Repository,
    Snapshot, Store, Tree,
};
use lifeboat_testing::restic::Restic;
use lifeboat_testing::tree::{Feature, Sample};
use lifeboat_tiers::{LocalTier, ObjectPrefix};
use tokio::runtime::Runtime;

const PASSWORD: &str = "correct horse battery staple";

fn store(runtime: &Runtime, path: &Path) -> Store {
    let tier = Arc::new(LocalTier::create(path).unwrap());
    Store::new(tier, runtime.handle().clone(), ObjectPrefix::ALL)
}

fn open(runtime: &Runtime, path: &Path) -> Repository<Indexed> {
    let password = Secret::new(PASSWORD);
    let repository =
        Repository::open(store(runtime, path), &password, &OpenOptions::default()).unwrap();
    repository.load_index(&Cancel::new(), &Silent).unwrap()
}

fn init(runtime: &Runtime, path: &Path) -> Repository<Indexed> {
    let options = InitOptions {
        password: &Secret::new(PASSWORD),
        kdf: KdfParameters::RECOVERY_KEY,
        master_key: None,
        polynomial: None,
        origin: KeyOrigin {
            created: Timestamp::UNIX_EPOCH,
            username: "root".to_owned(),
            hostname: "web".to_owned(),
        },
    };
    let repository = Repository::init(store(runtime, path), &options).unwrap();
    repository.load_index(&Cancel::new(), &Silent).unwrap()
}

/// Reads every tree below `root`, encodes it again and returns how many there are.
fn encode_all_again(repository: &Repository<Indexed>, root: BlobId) -> usize {
    let mut seen = BTreeSet::new();
    let mut left = vec![root];
    while let Some(id) = left.pop() {
        if !seen.insert(id) {
            continue;
        }
        let stored = repository.read_blob(BlobKind::Tree, &id).unwrap();
        let tree = repository.tree(&id).unwrap();
        let encoded = tree.to_document().unwrap();
        assert_eq!(String::from_utf8_lossy(&encoded), String::from_utf8_lossy(&stored));
        assert_eq!(blob_id(&encoded), id);
        for node in &tree.nodes {
            match &node.kind {
                NodeKind::Directory { subtree } => left.push(*subtree),
                NodeKind::File { size, content } => {
                    let blobs = content.iter().map(|id| repository.read_blob(BlobKind::Data, id));
                    let length: usize = blobs.map(|blob| blob.unwrap().len()).sum();
                    assert_eq!(length as u64, *size, "{:?}", node.name);
                }
                _ => {}
            }
        }
    }
    seen.len()
}

/// Removes what has a character that Unicode has since version 14: restic 0.14 was compiled by a Go
/// that knows Unicode 13, and escapes what a restic of today writes as it is.
fn remove_newer_names(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().contains('\u{1f6df}') {
            fs::remove_file(entry.path()).unwrap();
        } else if entry.file_type().unwrap().is_dir() {
            remove_newer_names(&entry.path());
        }
    }
}

fn link_to(target: &OsStr, link: &Path) {
    std::os::unix::fs::symlink(target, link).unwrap();
}

#[test]
fn every_tree_of_restic_is_written_again_in_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    // restic 0.14 loses what is not UTF-8 in the target of a link, so that it cannot write such a
    // tree again itself; links that it keeps are added below.
    Sample::everything(11).without(Feature::Symlinks).build(&source).unwrap();
    remove_newer_names(&source);
    for (number, target) in ["a<b>&c", "\u{2028}\"\\", "é\u{200b}\u{a0}\u{1f}\t"].iter().enumerate()
    {
        link_to(OsStr::new(target), &source.join(format!("link-{number}")));
    }
    for name in [&b"\x01\x07\x08\x0b\x0c\x1b\x7f\t\n\r"[..], b"\"quoted\\", b"\xc2\x80\xc2\xad<>&"]
    {
        fs::File::create(source.join(OsStr::from_bytes(name))).unwrap();
    }
    let restic = Restic::new(dir.path().join("repo"), PASSWORD);
    restic.init().unwrap();
    restic.backup(&source).unwrap();

    let runtime = Runtime::new().unwrap();
    let repository = open(&runtime, restic.path());
    let (_, snapshot) = repository.find_snapshot("latest").unwrap();
    assert_eq!(snapshot.paths, [source.to_str().unwrap()]);
    assert!(encode_all_again(&repository, snapshot.tree) > 5);
}

#[test]
fn every_pack_of_restic_is_described_by_its_header_and_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    Sample::new(3).files(60).with(Feature::Large).build(&source).unwrap();
    let restic = Restic::new(dir.path().join("repo"), PASSWORD);
    restic.init().unwrap();
    restic.backup(&source).unwrap();

    let runtime = Runtime::new().unwrap();
    let repository = open(&runtime, restic.path());
    let packs = repository.index().by_pack().unwrap();
    assert!(packs.len() >= 2);
    for pack in packs {
        let size = repository.store().size(&pack.id).unwrap();
        assert_eq!(lifeboat_repository::pack::pack_size(&pack.blobs), size);
        assert_eq!(repository.pack_header(&pack.id, size).unwrap().blobs, pack.blobs);
        repository.load_raw(&pack.id).unwrap();
    }
}

#[test]
fn a_second_key_of_restic_opens_its_repository() {
    let dir = tempfile::tempdir().unwrap();
    let restic = Restic::new(dir.path().join("repo"), "the first");
    restic.init().unwrap();
    let password_file = dir.path().join("password");
    lifeboat_tiers::durable::write_new(&password_file, PASSWORD.as_bytes(), 0o600).unwrap();
    let add = ["key", "add", "--new-password-file", password_file.to_str().unwrap()];
    restic.run(add).unwrap();
    let runtime = Runtime::new().unwrap();
    assert_eq!(open(&runtime, restic.path()).snapshots().unwrap(), []);
}

#[test]
fn restic_opens_an_empty_repository_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let repository = init(&runtime, dir.path());
    let restic = Restic::new(dir.path(), PASSWORD);
    assert!(restic.snapshots().unwrap().is_empty());
    let config: serde_json::Value =
        serde_json::from_slice(&restic.cat(["config"]).unwrap()).unwrap();
    assert_eq!(config["version"], 2);
    assert_eq!(config["id"], repository.config().id.to_hex());
    assert_eq!(config["chunker_polynomial"], repository.config().chunker_polynomial.to_string());
    let master: MasterKey = serde_json::from_slice(&restic.cat(["masterkey"]).unwrap()).unwrap();
    assert_eq!(&master, repository.key());
    restic.check_read_data().unwrap();
}

/// Puts one file, `/hello.txt`, into a repository, and returns what restic shall find in it.
fn save_hello(repository: &Repository<Indexed>) -> (Vec<u8>, FinishedPack, FinishedPack) {
    let text = b"hello, ".repeat(1000);
    let mut sealer = BlobSealer::new(repository.key(), Compression::Auto);
    let seal = |sealer: &mut BlobSealer<'_>, kind, plaintext: &[u8]| {
        let mut builder = PackBuilder::default();
        builder.add(&sealer.seal(kind, blob_id(plaintext), plaintext).unwrap()).unwrap();
        let pack = builder.finish(repository.key());
        repository.save_pack(&pack).unwrap();
        pack
    };
    let data = seal(&mut sealer, BlobKind::Data, &text);
    let time = NodeTime::from_unix(1_729_648_800, 123_000_000);
    let metadata = Metadata {
        mode: FileMode::from_unix(0o100_640),
        mtime: time,
        atime: time,
        ctime: time,
        links: 1,
        ..Metadata::default()
    };
    let kind = NodeKind::File { size: text.len() as u64, content: vec![blob_id(&text)] };
    let tree = Tree { nodes: vec![Node { name: "hello.txt".into(), kind, metadata }] };
    let document = tree.to_document().unwrap();
    let trees = seal(&mut sealer, BlobKind::Tree, &document);
    let index = IndexFile { packs: vec![(&data).into(), (&trees).into()], ..IndexFile::default() };
    repository.save_index(&index).unwrap();
    let mut snapshot = Snapshot::new(
        "2024-10-23T02:00:00Z".parse().unwrap(),
        blob_id(&document),
        vec!["/".into()],
    );
    snapshot.hostname = "shop".to_owned();
    snapshot.tags = vec!["asset=media".to_owned()];
    repository.save_snapshot(&snapshot).unwrap();
    (text, data, trees)
}

#[test]
fn restic_reads_and_checks_what_is_written_here() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let repository = init(&runtime, dir.path());
    let (text, data, trees) = save_hello(&repository);
    assert!(repository.contains(BlobKind::Data, &data.blobs[0].id));

    let restic = Restic::new(dir.path(), PASSWORD);
    restic.check_read_data().unwrap();
    assert_eq!(restic.dump("latest", "/hello.txt").unwrap(), text);
    let snapshots = restic.snapshots().unwrap();
    assert_eq!(snapshots[0]["hostname"], "shop");
    assert_eq!(snapshots[0]["tags"][0], "asset=media");
    let entry = &restic.ls("latest").unwrap()[0];
    assert_eq!((&entry["mode"], &entry["size"]), (&416.into(), &7000.into()));
    assert_eq!(entry["mtime"], "2024-10-23T02:00:00.123Z");

    // What restic makes of the packs alone is the index that was written here.
    restic.run(["rebuild-index", "--read-all-packs"]).unwrap();
    let again = open(&runtime, dir.path());
    for pack in again.index().by_pack().unwrap() {
        let ours = if pack.id == data.id { &data } else { &trees };
        assert_eq!((pack.id, &pack.blobs), (ours.id, &ours.blobs));
    }
}
