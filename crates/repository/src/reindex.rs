//! Writes the index files of a repository anew where they no longer fit its packs.
//!
//! # Invariants
//!
//! - A pack that is to stay is listed at every moment: new index files are durable before an old one
//!   is removed.
//! - What rustic marked as `packs_to_delete` stays marked.
//! - An index file in which nothing changes stays as it is, unless it is so small that it is put
//!   together with others.
//!
//! # Crash consistency
//!
//! A run that is interrupted leaves packs listed twice, in the same way, which is harmless; the next
//! one goes on.
//!
//! # Limits
//!
//! Index files are read one by one; up to two files' worth of entries are in memory.

use std::collections::BTreeSet;

use lifeboat_model::{Cancel, IndexId, PackId};

use crate::error::RepositoryError;
use crate::index::{BLOBS_PER_FILE_MAX, IndexFile, PackEntry};
use crate::lock::LockGuard;
use crate::repository::{Repository, State};

/// An index file with fewer blobs is put together with others when the index is written anyway.
const SMALL: usize = BLOBS_PER_FILE_MAX / 4;

/// What becomes of small index files while the index is written anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SmallIndexFiles {
    /// They are put together.
    #[default]
    Merge,
    /// They stay: where the store locks what is written, what was written just now cannot be removed.
    Leave,
}

/// What is to become of the index.
#[derive(Debug, Default)]
pub(crate) struct Reindex {
    /// Packs that are not listed any more.
    pub gone: BTreeSet<PackId>,
    /// Index files whose content does not count, since they cannot be read or are made anew.
    pub void: BTreeSet<IndexId>,
    /// Index files that cannot be removed; none of them lists what is gone.
    pub pinned: BTreeSet<IndexId>,
    /// What becomes of small ones.
    pub small: SmallIndexFiles,
    /// Packs that are listed in addition; they must be durable.
    pub added: Vec<PackEntry>,
    /// Packs that rustic marked in files that do not count.
    pub marked: Vec<PackEntry>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reindexed {
    pub written: u64,
    pub removed: u64,
}

/// Whether it is done, or only found out what there would be to do.
#[derive(Debug, Clone, Copy)]
enum Purpose<'a> {
    Perform(&'a LockGuard),
    Foresee,
}

impl Reindex {
    /// Writes new index files, then removes the old ones that they replace.
    pub(crate) fn perform<S: State>(
        self,
        repository: &Repository<S>,
        lock: &LockGuard,
        cancel: &Cancel,
    ) -> Result<Reindexed, RepositoryError> {
        self.go_through(repository, Purpose::Perform(lock), &[], cancel)
    }

    /// Finds out what [`Reindex::perform`] would do if there were `fresh` index files besides, each of so many
    /// blobs.
    pub(crate) fn foresee<S: State>(
        self,
        repository: &Repository<S>,
        fresh: &[usize],
        cancel: &Cancel,
    ) -> Result<Reindexed, RepositoryError> {
        self.go_through(repository, Purpose::Foresee, fresh, cancel)
    }

    fn go_through<S: State>(
        self,
        repository: &Repository<S>,
        purpose: Purpose<'_>,
        fresh: &[usize],
        cancel: &Cancel,
    ) -> Result<Reindexed, RepositoryError> {
        let mut writer = Writer::new(repository, purpose);
        let mut replaced: Vec<IndexId> = Vec::new();
        let mut small = Vec::new();
        for listed in repository.store().list::<IndexId>()? {
            cancel.check()?;
            if self.pinned.contains(&listed.id) {
                continue;
            }
            if self.void.contains(&listed.id) {
                replaced.push(listed.id);
                continue;
            }
            let file = repository.index_file(&listed.id)?;
            if file.packs.iter().any(|pack| self.gone.contains(&pack.id)) {
                writer.take(file, &self.gone)?;
                replaced.push(listed.id);
            } else if self.small == SmallIndexFiles::Merge && file.blob_count() < SMALL {
                small.push(listed.id);
            }
        }
        writer.file.packs_to_delete.extend(self.marked);
        for entry in self.added {
            writer.add(entry)?;
        }
        let merges = self.small == SmallIndexFiles::Merge;
        let is_small = |blobs: &usize| merges && *blobs < SMALL;
        let fresh: Vec<_> = fresh.iter().copied().filter(is_small).collect();
        let changes = !replaced.is_empty() || !writer.is_idle();
        let mut fresh_replaced = 0;
        if changes && small.len() + fresh.len() + usize::from(!writer.is_empty()) > 1 {
            for id in small {
                cancel.check()?;
                writer.take(repository.index_file(&id)?, &self.gone)?;
                replaced.push(id);
            }
            fresh_replaced = fresh.len() as u64;
            fresh.into_iter().try_for_each(|blobs| writer.take_fresh(blobs))?;
        }
        let written = writer.finish()?;
        if let Purpose::Perform(lock) = purpose {
            for id in &replaced {
                cancel.check()?;
                lock.check()?;
                repository.store().delete(id)?;
            }
        }
        Ok(Reindexed { written, removed: replaced.len() as u64 + fresh_replaced })
    }
}

/// Collects entries into index files.
struct Writer<'a, S: State> {
    repository: &'a Repository<S>,
    purpose: Purpose<'a>,
    file: IndexFile,
    /// Blobs of index files that are not there yet.
    fresh: usize,
    written: u64,
}

impl<'a, S: State> Writer<'a, S> {
    fn new(repository: &'a Repository<S>, purpose: Purpose<'a>) -> Self {
        Self { repository, purpose, file: IndexFile::default(), fresh: 0, written: 0 }
    }

    fn is_empty(&self) -> bool {
        self.file.packs.is_empty() && self.fresh == 0
    }

    fn is_idle(&self) -> bool {
        self.written == 0 && self.is_empty() && self.file.packs_to_delete.is_empty()
    }

    fn take(&mut self, file: IndexFile, gone: &BTreeSet<PackId>) -> Result<(), RepositoryError> {
        self.file.packs_to_delete.extend(file.packs_to_delete);
        let kept = file.packs.into_iter().filter(|pack| !gone.contains(&pack.id));
        kept.into_iter().try_for_each(|entry| self.add(entry))
    }

    fn take_fresh(&mut self, blobs: usize) -> Result<(), RepositoryError> {
        self.fresh += blobs;
        self.flush_if_full()
    }

    fn add(&mut self, entry: PackEntry) -> Result<(), RepositoryError> {
        self.file.packs.push(entry);
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<(), RepositoryError> {
        if self.file.blob_count() + self.fresh >= BLOBS_PER_FILE_MAX {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), RepositoryError> {
        let file = std::mem::take(&mut self.file);
        self.fresh = 0;
        if let Purpose::Perform(_) = self.purpose {
            self.repository.save_document::<IndexId>(&file.to_document())?;
        }
        self.written += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<u64, RepositoryError> {
        if !self.is_empty() || !self.file.packs_to_delete.is_empty() {
            self.flush()?;
        }
        Ok(self.written)
    }
}
