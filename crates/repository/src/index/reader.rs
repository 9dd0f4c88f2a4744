//! Reads index files, several at once.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, available_parallelism};

use lifeboat_model::{IndexId, RepositoryId};

use crate::cache::Cache;
use crate::crypto::MasterKey;
use crate::error::{Corruption, Defect, RepositoryError, StoredObject};
use crate::index::document::{PackEntry, visit_packs};
use crate::repository::read_document;
use crate::store::Store;

/// How many workers read index files from a tier that is far at least: each mostly waits, and holds one
/// as it was opened, some 12 MB.
const WORKERS_FAR: usize = 4;

/// Where index files are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The cache, as far as it has them.
    Cache,
    /// The tier itself, for whoever asks what lies there.
    Tier,
}

/// What it takes to read index files of one repository.
#[derive(Debug)]
pub(crate) struct IndexReader {
    pub(crate) store: Store,
    pub(crate) key: MasterKey,
    pub(crate) cache: Option<Arc<Cache>>,
    pub(crate) repository: RepositoryId,
    pub(crate) origin: Origin,
}

impl IndexReader {
    /// Returns the repository's master key.
    pub(super) const fn key(&self) -> &MasterKey {
        &self.key
    }

    /// Returns the repository's id.
    pub(super) const fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// Returns the repository's cache.
    pub(super) fn cache(&self) -> Option<&Cache> {
        self.cache.as_deref()
    }

    /// Shows what an index file lists, pack by pack.
    fn visit(&self, id: &IndexId, visit: impl FnMut(PackEntry)) -> Result<(), RepositoryError> {
        let cache = self.cache().filter(|_| self.origin == Origin::Cache);
        let document = read_document(&self.store, &self.key, cache, id)?;
        visit_packs(&document, visit).map_err(|error| {
            let address = self.store.address().to_owned();
            let (object, defect) = (StoredObject::Index(*id), Defect::Json(error));
            Box::new(Corruption { address, object, defect }).into()
        })
    }

    /// Reads index files with as many workers as there are processors, or more where they wait for a tier
    /// that is far. Each begins with `begin`, takes
    /// every pack with `take` and is told how reading every file ended.
    ///
    /// Fails with the first failure that it is told in turn; the others stop then.
    pub(super) fn read_all<W: Send, E: Send>(
        &self,
        files: &[IndexId],
        begin: impl Fn() -> W + Sync,
        take: impl Fn(&mut W, PackEntry) + Sync,
        end_of_file: impl Fn(&mut W, &IndexId, Result<(), RepositoryError>) -> Result<(), E> + Sync,
    ) -> Result<Vec<W>, E> {
        let waiting: Mutex<VecDeque<&IndexId>> = Mutex::new(files.iter().collect());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let work = || {
            let mut worker = begin();
            while let Some(id) = next() {
                let read = self.visit(id, |pack| take(&mut worker, pack));
                if let Err(error) = end_of_file(&mut worker, id, read) {
                    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    return Err(error);
                }
            }
            Ok(worker)
        };
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        let wanted = if self.store.reads_here() { processors } else { processors.max(WORKERS_FAR) };
        let workers = self.store.requests(wanted).min(files.len());
        if workers <= 1 {
            return Ok(vec![work()?]);
        }
        thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let join = |worker: thread::ScopedJoinHandle<'_, Result<W, E>>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().map(join).collect()
        })
    }
}
