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

/// What is to become of the index.
#[derive(Debug, Default)]
pub(crate) struct Reindex {
    /// Packs that are not listed any more.
    pub gone: BTreeSet<PackId>,
    /// Index files whose content does not count, since they cannot be read or are made anew.
    pub void: BTreeSet<IndexId>,
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

impl Reindex {
    /// Writes new index files, then removes the old ones that they replace.
    pub(crate) fn perform<S: State>(
        self,
        repository: &Repository<S>,
        lock: &LockGuard,
        cancel: &Cancel,
    ) -> Result<Reindexed, RepositoryError> {
        let mut writer = Writer { repository, file: IndexFile::default(), written: 0 };
        let mut replaced: Vec<IndexId> = Vec::new();
        let mut small = Vec::new();
        for listed in repository.store().list::<IndexId>()? {
            cancel.check()?;
            if self.void.contains(&listed.id) {
                replaced.push(listed.id);
                continue;
            }
            let file = repository.index_file(&listed.id)?;
            if file.packs.iter().any(|pack| self.gone.contains(&pack.id)) {
                writer.take(file, &self.gone)?;
                replaced.push(listed.id);
            } else if file.blob_count() < SMALL {
                small.push(listed.id);
            }
        }
        writer.file.packs_to_delete.extend(self.marked);
        for entry in self.added {
            writer.add(entry)?;
        }
        let changes = !replaced.is_empty() || !writer.is_idle();
        if changes && small.len() + usize::from(!writer.file.packs.is_empty()) > 1 {
            for id in small {
                cancel.check()?;
                writer.take(repository.index_file(&id)?, &self.gone)?;
                replaced.push(id);
            }
        }
        let written = writer.finish()?;
        for id in &replaced {
            cancel.check()?;
            lock.check()?;
            repository.store().delete(id)?;
        }
        Ok(Reindexed { written, removed: replaced.len() as u64 })
    }
}

/// Collects entries into index files.
struct Writer<'a, S: State> {
    repository: &'a Repository<S>,
    file: IndexFile,
    written: u64,
}

impl<S: State> Writer<'_, S> {
    fn is_idle(&self) -> bool {
        self.written == 0 && self.file.packs.is_empty() && self.file.packs_to_delete.is_empty()
    }

    fn take(&mut self, file: IndexFile, gone: &BTreeSet<PackId>) -> Result<(), RepositoryError> {
        self.file.packs_to_delete.extend(file.packs_to_delete);
        let kept = file.packs.into_iter().filter(|pack| !gone.contains(&pack.id));
        kept.into_iter().try_for_each(|entry| self.add(entry))
    }

    fn add(&mut self, entry: PackEntry) -> Result<(), RepositoryError> {
        self.file.packs.push(entry);
        if self.file.blob_count() >= BLOBS_PER_FILE_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), RepositoryError> {
        let file = std::mem::take(&mut self.file);
        self.repository.save_document::<IndexId>(&file.to_document())?;
        self.written += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<u64, RepositoryError> {
        if !self.file.packs.is_empty() || !self.file.packs_to_delete.is_empty() {
            self.flush()?;
        }
        Ok(self.written)
    }
}
