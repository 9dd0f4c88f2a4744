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
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use lifeboat_model::{IndexId, KeyId, LockId, PackId, SnapshotId};
use lifeboat_tiers::{ObjectPath, ObjectPrefix, PutMode, ReadRange, Tier, TierError};
use tokio::runtime::Handle;

use crate::error::StoredObject;

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
}

impl Store {
    /// Wraps a tier that `runtime`, which must have threads of its own, drives.
    pub fn new(tier: Arc<dyn Tier>, runtime: Handle, prefix: ObjectPrefix) -> Self {
        let address = match prefix.path() {
            None => tier.address().to_owned(),
            Some(path) => format!("{}/{path}", tier.address().trim_end_matches('/')),
        };
        Self { tier, runtime, prefix, address }
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

    /// Reads a whole file.
    pub fn get<I: FileId>(&self, id: &I) -> Result<Bytes, TierError> {
        self.runtime.block_on(self.tier.get(&self.path(id), ReadRange::Full))
    }

    /// Reads a part of a file.
    pub fn get_range<I: FileId>(&self, id: &I, range: ReadRange) -> Result<Bytes, TierError> {
        self.runtime.block_on(self.tier.get(&self.path(id), range))
    }

    /// Returns the size of a file in bytes.
    pub fn size<I: FileId>(&self, id: &I) -> Result<u64, TierError> {
        Ok(self.runtime.block_on(self.tier.head(&self.path(id)))?.size)
    }

    /// Lists all files of a kind, in the order of their ids.
    pub fn list<I: FileId>(&self) -> Result<Vec<ListedFile<I>>, TierError> {
        let prefix = ObjectPrefix::from(self.join(I::KIND.folder()));
        let listing = self.tier.list(&prefix).try_filter_map(|meta| {
            let id = parse_file_name(meta.path.file_name()).map(I::from_bytes);
            // A stray copy elsewhere than where its name belongs is not the repository's.
            let listed = id.filter(|id| self.path(id) == meta.path);
            std::future::ready(Ok(listed.map(|id| ListedFile { id, size: meta.size })))
        });
        let mut files: Vec<ListedFile<I>> = self.runtime.block_on(listing.try_collect())?;
        files.sort_unstable();
        Ok(files)
    }

    /// Removes a file; one that is not there is no error.
    pub fn delete<I: FileId>(&self, id: &I) -> Result<(), TierError> {
        self.runtime.block_on(self.tier.delete(&self.path(id)))
    }

    /// Reads the config, if there is one.
    pub fn get_config(&self) -> Result<Option<Bytes>, TierError> {
        match self.runtime.block_on(self.tier.get(&self.join("config"), ReadRange::Full)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(TierError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores the config; fails if there is one.
    pub fn create_config(&self, bytes: Bytes) -> Result<(), TierError> {
        self.runtime.block_on(self.tier.put(&self.join("config"), bytes, PutMode::Create))
    }

    fn path<I: FileId>(&self, id: &I) -> ObjectPath {
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
