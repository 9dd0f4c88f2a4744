//! The archive of a cluster's write-ahead log on the tiers: files in, files out, and what is there.
//!
//! ```text
//! wal/<system id>/<timeline>/<log>-<size>M/<file>-<digest>.zst.age
//! wal/<system id>/history/<timeline>.history-<digest>.zst.age
//! ```
//!
//! - [`name`]: paths, and what they say.
//! - [`file`](mod@file): a file of the log whose bytes were held against its name.
//! - [`object`] and [`summary`]: how a file lies on a tier.
//! - [`mod@push`]: storing a file on several tiers; [`mod@catch_up`]: what one of them lacks.
//! - [`inventory`]: ranges and holes, by one listing.
//! - [`get`]: fetching a file, and telling the end of the archive from a hole in it.
//! - [`reach`]: up to which times one can recover.
//!
//! # Invariants
//!
//! - A path stands for its bytes: what is read is held against the digest in its path, and nothing
//!   is given that differs.
//! - A file is acknowledged only when it is durable on every tier that acknowledges.
//! - The end of the archive is told only after a listing that shows it.
//!
//! A cluster that was upgraded with `pg_upgrade` or made anew has another system id and so an archive
//! of its own beside the old one.

pub mod catch_up;
pub mod copies;
pub mod error;
pub mod file;
pub mod get;
pub mod inventory;
pub mod name;
pub mod object;
pub mod push;
pub mod reach;
pub mod summary;
mod tablespace;

#[cfg(test)]
mod tests;

pub use catch_up::{CatchUpReport, catch_up};
pub use copies::Copies;
pub use error::ArchiveError;
pub use file::{Cluster, WalFile};
pub use inventory::{ClusterInventory, Inventory};
pub use name::{ArchivedFile, SystemId, WalAddress};
pub use push::{Destination, Duty, Newcomer, PushReport, push};
pub use summary::Summary;
