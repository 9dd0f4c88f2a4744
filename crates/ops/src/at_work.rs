//! Who works with one state directory at the same time: the jobs of one process, which share its lock.
//!
//! # Invariants
//!
//! - A job is entered before the catalog tells that it began, and leaves after the catalog tells how it ended. So a job
//!   that began, did not end, and is not here, is one whose process is gone.
//! - What is brought to one tier since it was missed there is brought by one job.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lifeboat_model::{AssetName, JobId, TierName};

/// The jobs at work.
#[derive(Debug, Clone, Default)]
pub(crate) struct AtWork(Arc<Mutex<Entered>>);

#[derive(Debug, Default)]
struct Entered {
    jobs: BTreeMap<u64, (JobId, Vec<AssetName>)>,
    catching_up: BTreeSet<TierName>,
    next: u64,
}

/// A job is at work as long as this lives.
#[derive(Debug)]
pub(crate) struct Presence {
    at_work: AtWork,
    number: u64,
}

/// Nobody else brings a tier what it missed as long as this lives.
#[derive(Debug)]
pub(crate) struct CatchingUp {
    at_work: AtWork,
    tier: TierName,
}

impl AtWork {
    fn entered(&self) -> MutexGuard<'_, Entered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a job that works on these assets.
    pub(crate) fn enter(&self, job: JobId, assets: &[AssetName]) -> Presence {
        let mut entered = self.entered();
        let number = entered.next;
        entered.next += 1;
        entered.jobs.insert(number, (job, assets.to_vec()));
        Presence { at_work: self.clone(), number }
    }

    /// Returns those of the jobs that `began` returns that are not at work. None enters or leaves meanwhile.
    pub(crate) fn abandoned<E>(
        &self,
        began: impl FnOnce() -> Result<Vec<JobId>, E>,
    ) -> Result<Vec<JobId>, E> {
        let entered = self.entered();
        let mut jobs = began()?;
        jobs.retain(|job| !entered.jobs.values().any(|(at_work, _)| at_work == job));
        Ok(jobs)
    }

    /// Returns what others than these work on.
    pub(crate) fn assets_of_others(&self, own: &[Presence]) -> BTreeSet<AssetName> {
        let is_other = |number: &u64| own.iter().all(|presence| presence.number != *number);
        let entered = self.entered();
        let others = entered.jobs.iter().filter(|(number, _)| is_other(number));
        others.flat_map(|(_, (_, assets))| assets.iter().cloned()).collect()
    }

    /// Takes it upon oneself to bring a tier what it missed; `None` if another job does.
    pub(crate) fn catch_up(&self, tier: &TierName) -> Option<CatchingUp> {
        let is_free = self.entered().catching_up.insert(tier.clone());
        is_free.then(|| CatchingUp { at_work: self.clone(), tier: tier.clone() })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.at_work.entered().jobs.remove(&self.number);
    }
}

impl Drop for CatchingUp {
    fn drop(&mut self) {
        self.at_work.entered().catching_up.remove(&self.tier);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn job(number: u64) -> JobId {
        JobId::from_uuid(uuid::Uuid::from_u64_pair(0, number))
    }

    #[test]
    fn only_who_is_not_at_work_was_abandoned() {
        let (at_work, media) = (AtWork::default(), "media".parse().unwrap());
        let both = || Ok::<_, Infallible>(vec![job(1), job(2)]);
        let first = at_work.enter(job(1), &[media]);
        let second = at_work.enter(job(2), &[]);
        assert_eq!(at_work.abandoned(both).unwrap(), []);
        assert_eq!(at_work.assets_of_others(std::slice::from_ref(&second)).len(), 1);
        assert!(at_work.assets_of_others(std::slice::from_ref(&first)).is_empty());
        drop(first);
        assert_eq!(at_work.abandoned(both).unwrap(), [job(1)]);
    }

    #[test]
    fn one_job_brings_a_tier_what_it_missed() {
        let (at_work, tier) = (AtWork::default(), "far".parse().unwrap());
        let first = at_work.catch_up(&tier);
        assert!(first.is_some() && at_work.catch_up(&tier).is_none());
        drop(first);
        assert!(at_work.catch_up(&tier).is_some());
    }
}
