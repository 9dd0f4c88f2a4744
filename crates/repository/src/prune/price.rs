//! The price of a prune before it is done: what is read, written and asked for.
//!
//! # Limits
//!
//! Packs are filled here in one order, and in the work by several threads, so that their number may differ by a
//! few. What `--repack-uncompressed` saves is not foreseen.

use lifeboat_model::Cancel;

use super::decide::{Decision, Moving};
use super::report::PruneReport;
use super::{PruneOptions, PrunePlan};
use crate::blob::BlobKind;
use crate::error::RepositoryError;
use crate::index::BLOBS_PER_FILE_MAX;
use crate::pack::{PackedBlob, pack_size};
use crate::packing::{LIST_AFTER, TREE_PACK_SIZE};
use crate::ranges::runs;
use crate::reindex::Reindexed;

impl PrunePlan<'_> {
    /// Returns what it is going to do and what that costs; reads the index files for it, as the work does.
    pub fn price(&self, cancel: &Cancel) -> Result<PruneReport, RepositoryError> {
        let decision = &self.decision;
        let mut report = decision.report;
        let (bytes_read, requests) = reads(&decision.moving);
        let mut fill = Fill::new(&self.options);
        for blob in decision.moving.iter().flat_map(|moving| &moving.blobs) {
            fill.add(blob);
        }
        let stored = fill.finish();
        let mut gone = decision.removed.clone();
        gone.extend(&decision.missing);
        let mut reindexed = Reindexed::default();
        if !gone.is_empty() {
            let reindex = self.options.reindex(gone);
            reindexed = reindex.foresee(self.repository, &stored.listed, cancel)?;
        }
        report.traffic.bytes_read = bytes_read;
        report.traffic.packs_written = stored.packs;
        report.traffic.bytes_written = stored.bytes;
        report.traffic.index_files_written = stored.listed.len() as u64 + reindexed.written;
        report.traffic.index_files_removed = reindexed.removed;
        report.settle(requests, decision.removals());
        Ok(report)
    }
}

impl Decision {
    /// Returns how many packs are removed.
    pub(super) fn removals(&self) -> u64 {
        (self.removed.len() + self.orphans.len()) as u64
    }
}

impl PruneReport {
    /// Fills in what follows from the traffic: how much is freed, and how often the tier is asked.
    pub(super) const fn settle(&mut self, reads: u64, removals: u64) {
        let (packs, traffic) = (&self.packs, &mut self.traffic);
        let old = packs.removed.bytes + packs.repacked.bytes + packs.orphans.bytes;
        self.freed_bytes = old.saturating_sub(traffic.bytes_written);
        // Every pack that is written is looked at afterwards.
        traffic.requests = reads
            + 2 * traffic.packs_written
            + traffic.index_files_written
            + traffic.index_files_removed
            + removals;
    }
}

/// Returns how many bytes are read for what moves, and by how many requests.
fn reads(moving: &[Moving]) -> (u64, u64) {
    let extents =
        |moving: &Moving| runs(moving.blobs.iter().map(|blob| (blob.offset, blob.length)));
    let runs = moving.iter().flat_map(extents);
    runs.fold((0, 0), |(bytes, requests), run| (bytes + run.length, requests + 1))
}

/// What is stored of what moves.
#[derive(Debug, Default)]
struct Stored {
    packs: u64,
    bytes: u64,
    /// The index files that list it, by how many blobs each lists.
    listed: Vec<usize>,
    unlisted: usize,
    unlisted_bytes: u64,
}

impl Stored {
    fn add(&mut self, pack: &Filling) {
        let bytes = pack.bytes + pack_size(&[]);
        self.packs += 1;
        self.bytes += bytes;
        self.unlisted += pack.blobs;
        self.unlisted_bytes += bytes;
        if self.unlisted >= BLOBS_PER_FILE_MAX || self.unlisted_bytes >= LIST_AFTER {
            self.list();
        }
    }

    fn list(&mut self) {
        self.listed.push(std::mem::take(&mut self.unlisted));
        self.unlisted_bytes = 0;
    }
}

/// A pack that is being filled.
#[derive(Debug, Default)]
struct Filling {
    blobs: usize,
    /// With what each blob takes in the header.
    bytes: u64,
}

/// Fills packs as a [`PackWriter`](crate::packing::PackWriter) does.
struct Fill {
    /// The size to which packs of each kind are filled.
    sizes: [u64; 2],
    open: [Filling; 2],
    stored: Stored,
}

impl Fill {
    fn new(options: &PruneOptions) -> Self {
        let mut sizes = [0; 2];
        sizes[BlobKind::Data as usize] = options.pack_size.0;
        sizes[BlobKind::Tree as usize] = TREE_PACK_SIZE as u64;
        Self { sizes, open: Default::default(), stored: Stored::default() }
    }

    fn add(&mut self, blob: &PackedBlob) {
        let kind = blob.kind as usize;
        let bytes = pack_size(std::slice::from_ref(blob)) - pack_size(&[]);
        let open = &mut self.open[kind];
        if open.blobs > 0 && open.bytes + bytes > self.sizes[kind] {
            self.stored.add(&std::mem::take(open));
        }
        open.blobs += 1;
        open.bytes += bytes;
    }

    fn finish(mut self) -> Stored {
        for open in self.open.iter().filter(|open| open.blobs > 0) {
            self.stored.add(open);
        }
        if self.stored.unlisted > 0 {
            self.stored.list();
        }
        self.stored
    }
}
