//! A repository of any number of blobs: what lists them and refers to them is real and sealed, and the
//! packs of data are as long as they should be, but hold nothing; but for one file, that can be restored.
//!
//! Whatever reads index files, directories and sizes does on it what it would do on terabytes. Ids are
//! the hashes of numbers, so that anybody can look up the thousandth blob.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use lifeboat_model::{BlobId, IndexId, PackId, RepositoryId, Secret, Timestamp};
use lifeboat_repository::blob::{BlobSealer, blob_id};
use lifeboat_repository::compress::Compression;
use lifeboat_repository::index::{BLOBS_PER_FILE_MAX, IndexFile, PackEntry};
use lifeboat_repository::node::{FileMode, Metadata};
use lifeboat_repository::pack::{PackBuilder, PackedBlob, pack_size};
use lifeboat_repository::tree::TreeWriter;
use lifeboat_repository::{
    BlobKind, Node, NodeKind, Open, OpenOptions, Repository, Snapshot, Store,
};
use lifeboat_testing::interrupt::Interrupt;
use lifeboat_tiers::{LocalTier, ObjectPrefix};
use tokio::runtime::Runtime;

use crate::corpus::random::Random;
use crate::failure::{BenchError, file};
use crate::racer::{self, PASSWORD};

/// How many files lie in a directory.
const FILES: u64 = 500;

/// How many blobs a file has.
const BLOBS_PER_FILE: u64 = 8;

/// How blobs lie in packs of 16 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// How many blobs a pack holds; whole packs make up a directory.
    pub blobs_per_pack: u64,
    /// How long a blob is as it is stored.
    pub blob_length: u32,
}

impl Packing {
    /// Blobs of small files.
    pub const SMALL: Self = Self { blobs_per_pack: 40, blob_length: 400 << 10 };

    /// Blobs as long as those of large files are on average.
    pub const LARGE: Self = Self { blobs_per_pack: 16, blob_length: 1 << 20 };
}

/// How many blobs belong to one directory; packs do not reach over its end.
pub const BLOBS_PER_DIRECTORY: u64 = FILES * BLOBS_PER_FILE;

/// The one file that can be restored, in both snapshots.
pub const REAL_FILE: &str = "/00000000/IMG_0000.jpg";

/// How many blobs its content adds to those that are wanted.
pub const REAL_BLOBS: u64 = BLOBS_PER_FILE;

/// How full a pack of directories gets.
const TREE_PACK_LENGTH: usize = 4 << 20;

/// Which part of the directories only the older snapshot has.
const GONE_PART: u64 = 10;

/// When the older snapshot was made, in seconds since 1970.
const OLDER_S: i64 = 1_767_225_600;

/// How much room a blob takes, in bytes: in directories, index files, the local index and its runs.
pub const ROOM_PER_BLOB: u64 = 320;

/// Returns the id of a blob of data.
pub fn id_of(number: u64) -> BlobId {
    blob_id(&number.to_le_bytes())
}

/// Returns how many blobs of data are made where about so many are wanted.
pub fn rounded(blobs: u64) -> u64 {
    blobs.div_ceil(BLOBS_PER_DIRECTORY).max(1) * BLOBS_PER_DIRECTORY
}

/// Opens a repository that was made here.
pub fn open(path: &Path, runtime: &Runtime) -> Result<Repository<Open>, BenchError> {
    let tier = Arc::new(LocalTier::open(path)?);
    let store = Store::new(tier, runtime.handle().clone(), ObjectPrefix::ALL);
    Ok(Repository::open(store, &Secret::new(PASSWORD), &OpenOptions::default())?)
}

/// Makes a repository with `blobs` blobs of data, rounded up to whole directories, and two
/// snapshots; the later one lacks some of the directories. All content is there of [`REAL_FILE`] alone.
pub fn make(
    path: &Path,
    blobs: u64,
    packing: Packing,
    interrupt: &Interrupt,
) -> Result<RepositoryId, BenchError> {
    racer::init(path)?;
    let runtime = racer::runtime()?;
    let repository = open(path, &runtime)?;
    let mut synthesis = Synthesis::new(path, &repository, packing)?;
    let directories = rounded(blobs) / BLOBS_PER_DIRECTORY;
    let mut trees = Vec::new();
    for number in 0..directories {
        interrupt.check()?;
        trees.push(synthesis.directory(number)?);
    }
    let kept = trees.len() - trees.len() / usize::try_from(GONE_PART).unwrap_or(1);
    let roots = [synthesis.root(&trees)?, synthesis.root(&trees[..kept])?];
    synthesis.finish()?;
    for (root, age_s) in roots.into_iter().zip([0, 86_400]) {
        let time = Timestamp::from_second(OLDER_S + age_s).expect("it is a day of 2026");
        let hostname = "bench".to_owned();
        let snapshot = Snapshot::new(time, root, vec!["/synthetic".to_owned()]);
        repository.save_snapshot(&Snapshot { hostname, ..snapshot })?;
    }
    Ok(repository.config().id)
}

/// A repository in the making.
struct Synthesis<'r> {
    path: &'r Path,
    repository: &'r Repository<Open>,
    packing: Packing,
    sealer: BlobSealer<'r>,
    trees: PackBuilder,
    listing: IndexFile,
}

impl<'r> Synthesis<'r> {
    fn new(
        path: &'r Path,
        repository: &'r Repository<Open>,
        packing: Packing,
    ) -> Result<Self, BenchError> {
        for bucket in 0..=u8::MAX {
            let bucket = path.join(format!("data/{bucket:02x}"));
            fs::create_dir_all(&bucket).map_err(file("make", &bucket))?;
        }
        let sealer = BlobSealer::new(repository.key(), Compression::Fastest);
        let (trees, listing) = (PackBuilder::default(), IndexFile::default());
        Ok(Self { path, repository, packing, sealer, trees, listing })
    }

    /// Makes a directory and the packs of its files.
    fn directory(&mut self, number: u64) -> Result<BlobId, BenchError> {
        let first = number * BLOBS_PER_DIRECTORY;
        for pack in 0..BLOBS_PER_DIRECTORY / self.packing.blobs_per_pack {
            self.pack(first + pack * self.packing.blobs_per_pack)?;
        }
        let mut real = if number == 0 { Some(self.real_content()?) } else { None };
        let mut tree = TreeWriter::new();
        for file in 0..FILES {
            let first = first + file * BLOBS_PER_FILE;
            let hollow = || (first..first + BLOBS_PER_FILE).map(id_of).collect();
            let content = real.take().unwrap_or_else(hollow);
            let size = BLOBS_PER_FILE * u64::from(self.plaintext_length());
            let kind = NodeKind::File { size, content };
            let name = format!("IMG_{file:04}.jpg").into();
            let node = Node { name, kind, metadata: metadata(0o100_644, first) };
            tree.add(&node).expect("names ascend");
        }
        self.tree(&tree.finish())
    }

    /// Stores the content of the one file that has some, in a pack of its own.
    fn real_content(&mut self) -> Result<Vec<BlobId>, BenchError> {
        let (mut pack, mut ids) = (PackBuilder::default(), Vec::new());
        for number in 0..BLOBS_PER_FILE {
            let mut noise = Random::of(u64::MAX, number);
            let content = noise.bytes(self.plaintext_length() as usize);
            let id = blob_id(&content);
            let sealed = self.sealer.seal(BlobKind::Data, id, &content)?;
            pack.add(&sealed).expect("an empty pack has room for a file");
            ids.push(id);
        }
        let pack = pack.finish(self.repository.key());
        self.repository.save_pack(&pack)?;
        self.list(PackEntry::from(&pack))?;
        Ok(ids)
    }

    /// Makes a pack of data: a hole as long as it should be, under a name of its own.
    fn pack(&mut self, first: u64) -> Result<(), BenchError> {
        let Packing { blobs_per_pack, blob_length } = self.packing;
        let blobs: Vec<_> = (0..blobs_per_pack)
            .map(|number| PackedBlob {
                kind: BlobKind::Data,
                id: id_of(first + number),
                offset: u32::try_from(number).expect("there are few") * blob_length,
                length: blob_length,
                uncompressed_length: None,
            })
            .collect();
        let id =
            PackId::from_bytes(*blob_id(&[b"pack", &first.to_le_bytes()[..]].concat()).as_bytes());
        let name = id.to_hex();
        let path = self.path.join("data").join(&name[..2]).join(&name);
        let made = File::create(&path).and_then(|file| file.set_len(pack_size(&blobs)));
        made.map_err(file("make", &path))?;
        self.list(PackEntry { id, blobs, time: None, size: None })
    }

    fn root(&mut self, trees: &[BlobId]) -> Result<BlobId, BenchError> {
        let mut root = TreeWriter::new();
        for (number, tree) in (0..).zip(trees) {
            let kind = NodeKind::Directory { subtree: *tree };
            let name = format!("{number:08}").into();
            let node = Node { name, kind, metadata: metadata(0o040_755, number) };
            root.add(&node).expect("names ascend");
        }
        self.tree(&root.finish())
    }

    fn tree(&mut self, document: &[u8]) -> Result<BlobId, BenchError> {
        let id = blob_id(document);
        let sealed = self.sealer.seal(BlobKind::Tree, id, document)?;
        if self.trees.size() + sealed.bytes.len() > TREE_PACK_LENGTH {
            self.end_trees()?;
        }
        self.trees.add(&sealed).expect("an empty pack has room for a directory");
        Ok(id)
    }

    fn end_trees(&mut self) -> Result<(), BenchError> {
        let trees = std::mem::take(&mut self.trees);
        if trees.is_empty() {
            return Ok(());
        }
        let pack = trees.finish(self.repository.key());
        self.repository.save_pack(&pack)?;
        self.list(PackEntry::from(&pack))
    }

    fn list(&mut self, pack: PackEntry) -> Result<(), BenchError> {
        self.listing.packs.push(pack);
        if self.listing.packs.len() as u64 * self.packing.blobs_per_pack
            >= BLOBS_PER_FILE_MAX as u64
        {
            self.end_listing()?;
        }
        Ok(())
    }

    fn end_listing(&mut self) -> Result<(), BenchError> {
        let listing = std::mem::take(&mut self.listing);
        self.repository.save_document::<IndexId>(&listing.to_document())?;
        Ok(())
    }

    /// Returns the length of a blob before it was sealed.
    fn plaintext_length(&self) -> u32 {
        lifeboat_repository::blob::plaintext_length(self.packing.blob_length, None)
    }

    fn finish(mut self) -> Result<(), BenchError> {
        self.end_trees()?;
        self.end_listing()
    }
}

fn metadata(mode: u32, inode: u64) -> Metadata {
    let time = lifeboat_repository::NodeTime::from_unix(OLDER_S, 0);
    Metadata {
        mode: FileMode::from_unix(mode),
        mtime: time,
        atime: time,
        ctime: time,
        user: "www-data".to_owned(),
        group: "www-data".to_owned(),
        uid: 33,
        gid: 33,
        inode: inode + 1,
        device_id: 65_025,
        links: 1,
        ..Metadata::default()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn restic_finds_nothing_amiss_in_what_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("repository");
        make(&path, 20 * BLOBS_PER_DIRECTORY, Packing::SMALL, &Interrupt::default()).unwrap();
        let restic = racer::restic(&path);
        // Without reading data, of which there is none: index files, sizes of packs, directories.
        restic.run(["check"]).unwrap();
        assert_eq!(restic.snapshots().unwrap().len(), 2);
        let entries = restic.ls("latest").unwrap();
        let files = entries.iter().filter(|entry| entry["type"] == "file").count() as u64;
        assert_eq!(files, 18 * FILES, "a tenth of 20 directories is gone");
        let target = directory.path().join("target");
        let arguments = ["restore", "latest", "--include", REAL_FILE, "--target"];
        restic.run(arguments.map(OsStr::new).into_iter().chain([target.as_os_str()])).unwrap();
        let restored = fs::metadata(target.join(&REAL_FILE[1..])).unwrap();
        let expected = lifeboat_repository::blob::plaintext_length(400 << 10, None);
        assert_eq!(restored.len(), BLOBS_PER_FILE * u64::from(expected));
    }

    #[test]
    fn amounts_are_rounded_up_to_whole_directories() {
        assert_eq!(rounded(0), BLOBS_PER_DIRECTORY);
        assert_eq!(rounded(BLOBS_PER_DIRECTORY), BLOBS_PER_DIRECTORY);
        assert_eq!(rounded(10_000_000), 10_000_000);
    }
}
