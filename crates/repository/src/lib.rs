//! The restic repository: crypto, chunker, packs, index, trees, snapshots; backup, restore, check.
//!
//! Version 2 of restic's repository format, byte for byte: stock restic reads, checks and restores
//! what is written here, and what restic wrote is read here.
//!
//! From the bottom up: [`crypto`] seals, [`compress`] compresses, [`blob`] does both to a piece of
//! data, [`pack`] puts blobs into files, [`index`] finds them again; [`tree`] and [`node`] are
//! directories, [`snapshot`] names a root; [`store`] is where files lie, [`repository`] is all of it
//! opened with its key.

pub mod backup;
pub mod blob;
pub mod cache;
pub mod check;
pub mod chunker;
pub mod cold;
pub mod compress;
pub mod config;
pub mod copy;
pub mod crypto;
pub mod diff;
pub mod error;
pub mod find;
pub mod follower;
pub mod forest;
pub mod forget;
pub mod index;
mod json;
pub mod key;
pub mod keyring;
pub mod listing;
pub mod lock;
pub mod needed;
pub mod node;
mod orphans;
pub mod pack;
mod packing;
mod parallel;
pub mod polynomial;
mod printable;
pub mod profile;
pub mod prune;
mod ranges;
mod references;
mod reindex;
mod removal;
pub mod repair;
pub mod repository;
pub mod restore;
pub mod selection;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod snapshot;
pub mod source;
pub mod stats;
pub mod store;
pub mod tag;
mod time;
pub mod tree;
mod tree_packs;
mod walk;

pub use backup::{BackupError, BackupOptions, BackupReport, ParentChoice, backup};
pub use blob::{BlobKind, BlobLocation, SealedBlob};
pub use crypto::MasterKey;
pub use error::{Corruption, Defect, RepositoryError, StoredObject};
pub use index::Index;
pub use node::{Node, NodeKind};
pub use profile::{Activity, Meter, Profile, ProfileReport};
pub use repository::{Indexed, InitOptions, Open, OpenOptions, Repository};
pub use selection::{GroupBy, SnapshotFilter, SnapshotName};
pub use snapshot::{Snapshot, SnapshotTime};
pub use store::Store;
pub use time::NodeTime;
pub use tree::Tree;
