//! Looking at the locks of a repository, and removing those that nobody holds any more.

use std::time::Duration;

use lifeboat_model::{Clock, LockId, Timestamp};
use lifeboat_tiers::TierError;

use super::record::{LockRecord, STALE_AFTER};
use super::{LockOwner, read_lock};
use crate::error::RepositoryError;
use crate::repository::{Repository, State};

/// Which locks are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Those whose holders are gone: not refreshed for half an hour, or of a dead process of this
    /// machine.
    Stale,
    /// All. Whoever holds one goes on as if nothing had happened, so that work that must not meet
    /// then may meet.
    All,
}

/// How a lock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Somebody holds it.
    Held,
    /// Its holder is gone.
    Stale,
    /// Nobody knows what it says.
    Unreadable,
}

/// A lock that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLock {
    /// Its file.
    pub id: LockId,
    /// What it says, unless it cannot be read.
    pub record: Option<LockRecord>,
    /// How it stands.
    pub standing: Standing,
}

impl<S: State> Repository<S> {
    /// Looks at all locks.
    pub fn locks(&self, clock: &dyn Clock) -> Result<Vec<FoundLock>, RepositoryError> {
        let machine = LockOwner::this_process();
        let mut locks = Vec::new();
        for file in self.store().list::<LockId>()? {
            let bytes = match self.store().get_hashed(&file.id) {
                Ok((bytes, _)) => bytes,
                // Released since it was listed.
                Err(TierError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let record = read_lock(self.key(), file.id, &bytes);
            let standing = match &record {
                None => Standing::Unreadable,
                Some(lock) if lock.is_stale(clock.now(), &machine) => Standing::Stale,
                Some(_) => Standing::Held,
            };
            locks.push(FoundLock { id: file.id, record, standing });
        }
        Ok(locks)
    }
}

impl<S: State> Repository<S> {
    /// Counts the locks that nobody refreshed for long, by the dates that the store gives them; none is read.
    pub fn left_locks(&self, now: Timestamp) -> Result<usize, TierError> {
        let files = self.store().list_dated::<LockId>()?.into_iter();
        let ages =
            files.filter_map(|(_, stored)| Duration::try_from(now.duration_since(stored)).ok());
        Ok(ages.filter(|age| *age > STALE_AFTER).count())
    }
}

/// Removes locks; returns those that were removed and those that were kept.
pub fn unlock<S: State>(
    repository: &Repository<S>,
    removal: Removal,
    clock: &dyn Clock,
) -> Result<(Vec<FoundLock>, Vec<FoundLock>), RepositoryError> {
    let goes = |lock: &FoundLock| removal == Removal::All || lock.standing == Standing::Stale;
    let (removed, kept): (Vec<_>, Vec<_>) = repository.locks(clock)?.into_iter().partition(goes);
    for lock in &removed {
        repository.store().delete(&lock.id)?;
    }
    Ok((removed, kept))
}
