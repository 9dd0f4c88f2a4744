//! Counting what a backup does while many workers do it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lifeboat_model::BlobId;

use super::{Counts, SkipReason, Skipped};

/// What was counted so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    files_new: AtomicU64,
    files_changed: AtomicU64,
    files_unmodified: AtomicU64,
    directories_new: AtomicU64,
    directories_changed: AtomicU64,
    directories_unmodified: AtomicU64,
    bytes_total: AtomicU64,
    bytes_read: AtomicU64,
    skipped: Mutex<Vec<Skipped>>,
}

impl Tally {
    /// Counts a file that was read and stored.
    pub(super) fn file_was_read(&self, was_there_before: bool, size: u64) {
        let counter = if was_there_before { &self.files_changed } else { &self.files_new };
        counter.fetch_add(1, Ordering::Relaxed);
        self.bytes_total.fetch_add(size, Ordering::Relaxed);
    }

    /// Counts files that were taken over from the parent.
    pub(super) fn files_were_kept(&self, count: u64, size: u64) {
        self.files_unmodified.fetch_add(count, Ordering::Relaxed);
        self.bytes_total.fetch_add(size, Ordering::Relaxed);
    }

    /// Counts a directory by what the parent snapshot has of it.
    pub(super) fn directory_was_stored(&self, before: Option<BlobId>, tree: BlobId) {
        let counter = match before {
            None => &self.directories_new,
            Some(before) if before == tree => &self.directories_unmodified,
            Some(_) => &self.directories_changed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes of content.
    pub(super) fn bytes_were_read(&self, count: u64) {
        self.bytes_read.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes note of a path that is not in the snapshot, or not as it should be.
    pub(super) fn skip(&self, path: PathBuf, reason: SkipReason) {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.push(Skipped { path, reason });
    }

    /// Returns what was counted here; what was added to the repository is counted elsewhere.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            files_new: self.files_new.load(Ordering::Relaxed),
            files_changed: self.files_changed.load(Ordering::Relaxed),
            files_unmodified: self.files_unmodified.load(Ordering::Relaxed),
            directories_new: self.directories_new.load(Ordering::Relaxed),
            directories_changed: self.directories_changed.load(Ordering::Relaxed),
            directories_unmodified: self.directories_unmodified.load(Ordering::Relaxed),
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            ..Counts::default()
        }
    }

    /// Returns what was skipped, in the order of the paths.
    pub(super) fn into_skipped(self) -> Vec<Skipped> {
        let mut skipped = self.skipped.into_inner().unwrap_or_else(PoisonError::into_inner);
        skipped.sort_by(|a, b| a.path.cmp(&b.path));
        skipped
    }
}
