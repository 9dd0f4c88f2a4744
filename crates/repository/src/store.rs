//! The files of a repository on a tier, and the one place where threads meet tokio.
//!
//! Workers of this crate are plain threads. A [`Store`] carries a handle to the runtime that drives
//! the tier, and every method blocks its thread until the tier has answered. It must not be called
//! from within asynchronous code (tokio panics there): spawn a blocking task around the whole
//! operation instead.
//!
//! # Invariants
//!
//! - A file is found by its id and kind only; paths are made here and nowhere else.
//! - Names that are no ids are not the repository's and are never listed, read or deleted.
//!
//! # Crash consistency
//!
//! `put` returns after the tier has made the object durable. A file's name is the hash of its
//! bytes, so that repeating an interrupted `put` is harmless; only the config is put under a fixed
//! name, and never over another one.
//!
//! Source: restic `doc/design.rst`, section "Repository Layout".

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future, stream};
use lifeboat_model::{IndexId, KeyId, LockId, PackId, SnapshotId, Timestamp};
use lifeboat_tiers::{ObjectPath, ObjectPrefix, PutMode, ReadRange, Tier, TierError, Warmth};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::StoredObject;

/// How many small files are read at once from a tier that is far: as many as key files are tried.
const GETS_AT_ONCE: usize = 20;

/// What sort of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A key file.
    Key,
    /// A lock.
    Lock,
    /// A snapshot.
    Snapshot,
    /// An index.
    Index,
    /// A pack.
    Pack,
}

impl FileKind {
    /// Returns the name of the folder that holds files of this kind.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Key => "keys",
            Self::Lock => "locks",
            Self::Snapshot => "snapshots",
            Self::Index => "index",
            Self::Pack => "data",
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// The id of a file, which tells its kind.
pub trait FileId: sealed::Sealed + Copy + Debug + Ord + Send + Sync + 'static {
    /// What sort of file has such an id.
    const KIND: FileKind;

    /// Wraps the bytes of an id.
    fn from_bytes(bytes: [u8; 32]) -> Self;

    /// Returns the bytes.
    fn as_bytes(&self) -> &[u8; 32];

    /// Returns all hex digits, which are the file's name.
    fn hex(&self) -> String {
        hex::encode(self.as_bytes())
    }

    /// Returns the file as messages name it.
    fn object(&self) -> StoredObject;
}

macro_rules! file_ids {
    ($($id:ident => $kind:ident;)*) => {$(
        impl sealed::Sealed for $id {}

        impl FileId for $id {
            const KIND: FileKind = FileKind::$kind;

            fn from_bytes(bytes: [u8; 32]) -> Self {
                Self::from_bytes(bytes)
            }

            fn as_bytes(&self) -> &[u8; 32] {
                self.as_bytes()
            }

            fn object(&self) -> StoredObject {
                StoredObject::$kind(*self)
            }
        }
    )*};
}

file_ids! {
    KeyId => Key;
    LockId => Lock;
    SnapshotId => Snapshot;
    IndexId => Index;
    PackId => Pack;
}

/// A file as a listing shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedFile<I> {
    /// Its id.
    pub id: I,
    /// Its size in bytes.
    pub size: u64,
}

/// The files of one repository; clones share the tier.
#[derive(Debug, Clone)]
pub struct Store {
    tier: Arc<dyn Tier>,
    runtime: Handle,
    prefix: ObjectPrefix,
    address: String,
    requests_max: usize,
}

impl Store {
    /// Wraps a tier that `runtime`, which must have threads of its own, drives.
    pub fn new(tier: Arc<dyn Tier>, runtime: Handle, prefix: ObjectPrefix) -> Self {
        let address = match prefix.path() {
            None => tier.address().to_owned(),
            Some(path) => format!("{}/{path}", tier.address().trim_end_matches('/')),
        };
        Self { tier, runtime, prefix, address, requests_max: usize::MAX }
    }

    /// Lets at most so many threads of one operation ask the tier at the same time.
    #[must_use]
    pub const fn with_requests_max(mut self, requests_max: NonZeroUsize) -> Self {
        self.requests_max = requests_max.get();
        self
    }

    /// Returns how many threads of those that an operation would like may ask the tier.
    pub(crate) fn requests(&self, wanted: usize) -> usize {
        wanted.min(self.requests_max)
    }

    /// Returns how people call this place.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the tier.
    pub fn tier(&self) -> &Arc<dyn Tier> {
        &self.tier
    }

    /// Returns the runtime that drives the tier.
    pub const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Stores a file durably.
    pub fn put<I: FileId>(&self, id: &I, bytes: Bytes) -> Result<(), TierError> {
        self.runtime.block_on(self.tier.put(&self.path(id), bytes, PutMode::Overwrite))
    }

    /// Stores durably a file that only a recovery reads.
    pub fn put_cold<I: FileId>(&self, id: &I, bytes: Bytes) -> Result<(), TierError> {
        self.runtime.block_on(self.tier.put_cold(&self.path(id), bytes, PutMode::Overwrite))
    }

    /// Reads a whole file.
    pub fn get<I: FileId>(&self, id: &I) -> Result<Bytes, TierError> {
        self.runtime.block_on(self.tier.get(&self.path(id), ReadRange::Full))
    }

    /// Reads a whole file and returns what its bytes hash to, like [`Store::hashed`].
    pub(crate) fn get_hashed<I: FileId>(&self, id: &I) -> Result<(Bytes, [u8; 32]), TierError> {
        self.hashed(id, self.get(id)?)
    }

    /// Returns a file that was read and what its bytes hash to. What came otherwise than it is named is read once
    /// more, since a line may have altered it; not from a disk, which gives the same again.
    pub(crate) fn hashed<I: FileId>(
        &self,
        id: &I,
        read: Bytes,
    ) -> Result<(Bytes, [u8; 32]), TierError> {
        let hash = |bytes: &Bytes| -> [u8; 32] { Sha256::digest(bytes).into() };
        let found = hash(&read);
        if found == *id.as_bytes() || self.reads_here() {
            return Ok((read, found));
        }
        tracing::warn!(object = %id.object(), "a file came damaged; reading it again");
        let again = self.get(id)?;
        let found = hash(&again);
        Ok((again, found))
    }

    /// Reads a part of a file.
    pub fn get_range<I: FileId>(&self, id: &I, range: ReadRange) -> Result<Bytes, TierError> {
        self.runtime.block_on(self.tier.get(&self.path(id), range))
    }

    /// Tells whether reading a little at a time costs nothing.
    pub fn reads_here(&self) -> bool {
        self.tier.reads_here()
    }

    /// Reads a part of a file into a buffer that is used again, which then holds just that.
    pub fn get_into<I: FileId>(
        &self,
        id: &I,
        range: ReadRange,
        buffer: &mut Vec<u8>,
    ) -> Result<(), TierError> {
        let path = self.path(id);
        if let Some(read) = self.tier.get_here(&path, range, buffer) {
            return read;
        }
        let bytes = self.runtime.block_on(self.tier.get(&path, range))?;
        buffer.clear();
        buffer.extend_from_slice(&bytes);
        Ok(())
    }

    /// Begins to read a part of a file, for whoever needs it later; aborting the task is harmless.
    pub fn begin_get_range<I: FileId>(
        &self,
        id: &I,
        range: ReadRange,
    ) -> JoinHandle<Result<Bytes, TierError>> {
        let (tier, path) = (Arc::clone(&self.tier), self.path(id));
        self.runtime.spawn(async move { tier.get(&path, range).await })
    }

    /// Tells whether a file can be read at once.
    pub fn warmth<I: FileId>(&self, id: &I) -> Result<Warmth, TierError> {
        self.runtime.block_on(self.tier.warmth(&self.path(id)))
    }

    /// Returns the size of a file in bytes.
    pub fn size<I: FileId>(&self, id: &I) -> Result<u64, TierError> {
        Ok(self.runtime.block_on(self.tier.head(&self.path(id)))?.size)
    }

    /// Reads whole files, several at once from a tier that is far; the results come in the order of the ids.
    pub fn get_each<I: FileId>(&self, ids: &[I]) -> Vec<Result<Bytes, TierError>> {
        let at_once = if self.reads_here() { 1 } else { self.requests(GETS_AT_ONCE) };
        let get = |id: &I| {
            let path = self.path(id);
            async move { self.tier.get(&path, ReadRange::Full).await }
        };
        let got = stream::iter(ids.iter().map(get).collect::<Vec<_>>()).buffered(at_once);
        self.runtime.block_on(got.collect())
    }

    /// Reads the config, if there is one, and lists all files of a kind: at the same time from a tier that
    /// is far.
    pub fn get_config_and_list<I: FileId>(
        &self,
    ) -> Result<(Option<Bytes>, Vec<ListedFile<I>>), TierError> {
        if self.reads_here() || self.requests(2) < 2 {
            return Ok((self.get_config()?, self.list()?));
        }
        let both = future::join(self.config(), self.files());
        let (config, files) = self.runtime.block_on(both);
        Ok((config?, files?))
    }

    /// Lists all files of a kind, in the order of their ids.
    pub fn list<I: FileId>(&self) -> Result<Vec<ListedFile<I>>, TierError> {
        self.runtime.block_on(self.files())
    }

    /// Lists all files of a kind, in the order of their ids, each with when it was stored by the tier's clock.
    pub fn list_dated<I: FileId>(&self) -> Result<Vec<(ListedFile<I>, Timestamp)>, TierError> {
        self.runtime.block_on(self.dated())
    }

    async fn files<I: FileId>(&self) -> Result<Vec<ListedFile<I>>, TierError> {
        Ok(self.dated().await?.into_iter().map(|(file, _)| file).collect())
    }

    async fn dated<I: FileId>(&self) -> Result<Vec<(ListedFile<I>, Timestamp)>, TierError> {
        let prefix = ObjectPrefix::from(self.join(I::KIND.folder()));
        let listing = self.tier.list(&prefix).try_filter_map(|meta| {
            let id = parse_file_name(meta.path.file_name()).map(I::from_bytes);
            // A stray copy elsewhere than where its name belongs is not the repository's.
            let listed = id.filter(|id| self.path(id) == meta.path);
            let dated = |id| (ListedFile { id, size: meta.size }, meta.modified);
            std::future::ready(Ok(listed.map(dated)))
        });
        let mut files: Vec<_> = listing.try_collect().await?;
        files.sort_unstable();
        Ok(files)
    }

    /// Removes a file; one that is not there is no error.
    pub fn delete<I: FileId>(&self, id: &I) -> Result<(), TierError> {
        self.runtime.block_on(self.tier.delete(&self.path(id)))
    }

    /// Reads the config, if there is one.
    pub fn get_config(&self) -> Result<Option<Bytes>, TierError> {
        self.runtime.block_on(self.config())
    }

    async fn config(&self) -> Result<Option<Bytes>, TierError> {
        match self.tier.get(&self.join("config"), ReadRange::Full).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(TierError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores the config; fails if there is one.
    pub fn create_config(&self, bytes: Bytes) -> Result<(), TierError> {
        self.runtime.block_on(self.tier.put(&self.join("config"), bytes, PutMode::Create))
    }

    /// Returns where a file lies on the tier.
    pub fn path<I: FileId>(&self, id: &I) -> ObjectPath {
        let name = hex::encode(id.as_bytes());
        let folder = I::KIND.folder();
        match I::KIND {
            FileKind::Pack => self.join(&format!("{folder}/{}/{name}", &name[..2])),
            _ => self.join(&format!("{folder}/{name}")),
        }
    }

    fn join(&self, rest: &str) -> ObjectPath {
        let path = match self.prefix.path() {
            None => rest.to_owned(),
            Some(prefix) => format!("{prefix}/{rest}"),
        };
        path.parse().expect("folders and hex digits are valid parts of a path")
    }
}

fn parse_file_name(name: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let lower = !name.bytes().any(|b| b.is_ascii_uppercase());
    (lower && hex::decode_to_slice(name, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use lifeboat_tiers::MemoryTier;
    use tokio::runtime::Runtime;

    use super::*;

    fn store(prefix: &str) -> (Runtime, Arc<MemoryTier>, Store) {
        let runtime = Runtime::new().unwrap();
        let tier = Arc::new(MemoryTier::new());
        let store = Store::new(tier.clone(), runtime.handle().clone(), prefix.parse().unwrap());
        (runtime, tier, store)
    }

    fn pack(number: u8) -> PackId {
        PackId::from_bytes([number; 32])
    }

    #[test]
    fn files_lie_where_restic_looks_for_them() {
        let (_runtime, tier, store) = store("repo");
        store.put(&pack(0xab), Bytes::from_static(b"p")).unwrap();
        store.put(&SnapshotId::from_bytes([1; 32]), Bytes::from_static(b"s")).unwrap();
        store.create_config(Bytes::from_static(b"c")).unwrap();
        let paths: Vec<String> = tier.contents().keys().map(ToString::to_string).collect();
        let (ab, one) = ("ab".repeat(32), "01".repeat(32));
        assert_eq!(
            paths,
            [
                "repo/config".to_owned(),
                format!("repo/data/ab/{ab}"),
                format!("repo/snapshots/{one}")
            ]
        );
    }

    #[test]
    fn threads_of_their_own_use_one_store() {
        let (_runtime, _tier, store) = store("");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    store.put(&pack(number), Bytes::from(vec![number; 10])).unwrap();
                    let part = ReadRange::Bounded { offset: 8, length: 2 };
                    assert_eq!(store.get_range(&pack(number), part).unwrap(), vec![number; 2]);
                });
            }
        });
        let listed: Vec<PackId> = store.list().unwrap().into_iter().map(|file| file.id).collect();
        assert_eq!(listed, (0..8).map(pack).collect::<Vec<_>>());
    }

    #[test]
    fn a_blocking_task_of_a_runtime_may_use_the_store() {
        let (runtime, _tier, store) = store("repo");
        let task = runtime.spawn_blocking(move || {
            store.put(&pack(1), Bytes::from_static(b"x")).unwrap();
            store.size(&pack(1)).unwrap()
        });
        assert_eq!(runtime.block_on(task).unwrap(), 1);
    }

    #[test]
    fn strangers_are_not_listed() {
        let (runtime, tier, store) = store("repo");
        let name = "ab".repeat(32);
        for path in [
            format!("repo/data/{name}"),
            format!("repo/data/cd/{name}"),
            format!("repo/data/ab/{}", name.to_uppercase()),
            "repo/data/ab/ab".to_owned(),
            format!("repo/data/ab/{name}.tmp"),
            format!("other/data/ab/{name}"),
            format!("repo/index/{name}"),
        ] {
            let path = path.parse().unwrap();
            runtime.block_on(tier.put(&path, Bytes::new(), PutMode::Create)).unwrap();
        }
        assert_eq!(store.list::<PackId>().unwrap(), []);
        assert_eq!(store.list::<IndexId>().unwrap().len(), 1);
        assert_eq!(store.list::<KeyId>().unwrap(), []);
    }

    #[test]
    fn a_config_is_never_replaced() {
        let (_runtime, _tier, store) = store("repo");
        assert_eq!(store.get_config().unwrap(), None);
        store.create_config(Bytes::from_static(b"one")).unwrap();
        let error = store.create_config(Bytes::from_static(b"two")).unwrap_err();
        assert!(matches!(error, TierError::AlreadyExists { .. }));
        assert_eq!(store.get_config().unwrap().unwrap(), "one");
    }

    #[test]
    fn what_was_deleted_is_gone() {
        let (_runtime, _tier, store) = store("repo");
        store.put(&pack(1), Bytes::from_static(b"x")).unwrap();
        store.delete(&pack(1)).unwrap();
        store.delete(&pack(1)).unwrap();
        assert!(matches!(store.get(&pack(1)), Err(TierError::NotFound { .. })));
    }
}
