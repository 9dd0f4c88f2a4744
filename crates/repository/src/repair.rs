//! Repairs what can be repaired: packs by saving what is whole of them, the index from the packs, and
//! snapshots by leaving out what is lost.
//!
//! [`repair_packs`] makes whole packs out of damaged ones. [`repair_index`] makes the index fit the packs
//! that are there. Nothing is lost by either that is not lost already. After that
//! [`repair_snapshots`] makes snapshots that need nothing that is lost, beside those that do, or in
//! their place.
//!
//! Sources: restic `doc/077_troubleshooting.rst`; restic `internal/repository/repair_index.go`,
//! `cmd/restic/cmd_repair_snapshots.go`.

mod index;
mod packs;
mod salvage;
mod snapshots;

pub use index::{IndexRepair, PacksToRead, repair_index};
pub use packs::{PackRepair, PacksToMend, repair_packs};
pub use salvage::{LostBlob, SalvagedPack};
pub use snapshots::{
    DamagedSnapshots, Loss, RepairedSnapshot, SnapshotOutcome, SnapshotRepair, repair_snapshots,
};
