//! The restic repository: crypto, chunker, packs, index, trees, snapshots; backup, restore, check.
