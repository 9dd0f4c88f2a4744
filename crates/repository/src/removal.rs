//! Removes files under an exclusive lock, as a prune and a repair do at their end.
//!
//! # Invariants
//!
//! - Nothing is removed once the lock may be lost: it is looked at before each removal, and before the
//!   first also whether the machine slept.

use lifeboat_model::{Cancel, Event, EventSink, Stage, Work};

use crate::error::RepositoryError;
use crate::lock::LockGuard;
use crate::parallel::in_parallel;
use crate::store::{FileId, Store};

/// How many files are removed at a time: each removal mostly waits for the tier.
const REMOVALS_MAX: usize = 8;

/// Removes files while the lock is held.
pub(crate) struct Remover<'a> {
    pub store: &'a Store,
    pub lock: &'a LockGuard,
    /// What is told that it is going on.
    pub stage: Stage,
    pub events: &'a dyn EventSink,
    pub cancel: &'a Cancel,
}

impl Remover<'_> {
    /// Fails unless the lock is held still, also after the machine slept.
    pub(crate) fn make_sure(&self) -> Result<(), RepositoryError> {
        self.lock.tick();
        self.lock.check()?;
        Ok(self.cancel.check()?)
    }

    pub(crate) fn remove_all<I: FileId>(&self, ids: &[I]) -> Result<(), RepositoryError> {
        self.make_sure()?;
        in_parallel(ids, self.store.requests(REMOVALS_MAX), |mine| {
            for id in mine {
                self.lock.check()?;
                self.cancel.check()?;
                self.store.delete(id)?;
                let work = Work { items: 1, bytes: 0 };
                self.events.emit(Event::Advanced { stage: self.stage, work });
            }
            Ok(())
        })
    }
}
