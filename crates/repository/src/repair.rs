//! Repairs what can be repaired: the index from the packs, and snapshots by leaving out what is lost.
//!
//! [`repair_index`] makes the index fit the packs that are there. Nothing is lost by it. After that
//! [`repair_snapshots`] makes snapshots that need nothing that is lost, beside those that do, or in
//! their place.
//!
//! Sources: restic `doc/077_troubleshooting.rst`; restic `internal/repository/repair_index.go`,
//! `cmd/restic/cmd_repair_snapshots.go`.

mod index;
mod snapshots;

pub use index::{IndexRepair, PacksToRead, repair_index};
pub use snapshots::{
    DamagedSnapshots, Loss, RepairedSnapshot, SnapshotOutcome, SnapshotRepair, repair_snapshots,
};
