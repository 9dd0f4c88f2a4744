//! The restic repository: crypto, chunker, packs, index, trees, snapshots; backup, restore, check.

pub mod cache;
pub mod check;
pub mod chunker;
pub mod lock;
pub mod restore;
