//! What a prune does and costs: the same figures before, as an estimate, and afterwards.

use serde::Serialize;

/// Blobs, and how many bytes they take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Their length as they are stored.
    #[serde(rename = "size_bytes")]
    pub bytes: u64,
}

impl Amount {
    pub(crate) const fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What becomes of the packs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PacksReport {
    /// They stay as they are.
    pub kept: Amount,
    /// They are removed after what is used of them was packed anew.
    pub repacked: Amount,
    /// They are removed: nothing of them is used.
    pub removed: Amount,
    /// They are removed: no index lists them.
    pub orphans: Amount,
    /// They would be removed, and stay since the store locks them.
    pub locked: Amount,
    /// They would be packed anew, and stay since they are in cold storage; they count as kept too.
    pub cold: Amount,
    /// They are not listed any more: they are not there, and nothing of them is used.
    pub missing: u64,
}

impl PacksReport {
    /// Lets a pack stay that was to be packed anew.
    pub(super) const fn keep_cold(&mut self, bytes: u64) {
        self.repacked.count -= 1;
        self.repacked.bytes -= bytes;
        self.kept.add(bytes);
        self.cold.add(bytes);
    }
}

/// What goes to and comes from the tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TrafficReport {
    /// Bytes of packs that are read.
    #[serde(rename = "read_bytes")]
    pub bytes_read: u64,
    /// Bytes of packs that are written.
    #[serde(rename = "written_bytes")]
    pub bytes_written: u64,
    /// How many packs are written.
    pub packs_written: u64,
    /// How many index files are written.
    pub index_files_written: u64,
    /// How many index files are removed.
    pub index_files_removed: u64,
    /// How many requests for reading packs, and for writing and removing, the tier gets.
    pub requests: u64,
}

/// What a prune does; before, how much is to be written and asked for is an estimate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PruneReport {
    /// Blobs that snapshots refer to, each counted once.
    pub used: Amount,
    /// Blobs that are stored more than once, without the one that counts as used.
    pub duplicate: Amount,
    /// Blobs that nobody refers to.
    pub unused: Amount,
    /// How many bytes that nobody needs stay, in packs that are partly used.
    pub unused_after_bytes: u64,
    /// How many bytes the repository becomes smaller.
    pub freed_bytes: u64,
    /// What becomes of the packs.
    pub packs: PacksReport,
    /// What goes to and comes from the tier.
    pub traffic: TrafficReport,
}
