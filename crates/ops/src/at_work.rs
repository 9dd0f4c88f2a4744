//! Who works with one state directory at the same time: the jobs of one process, which share its lock, and those of others
//! that work beside it. Each job has a file that is locked as long as its process lives.
//!
//! # Invariants
//!
//! - A job is entered before the catalog tells that it began, and leaves after the catalog tells how it ended. So a job
//!   that began, did not end, and is not here, is one whose process is gone.
//! - What is brought to one tier since it was missed there is brought by one job.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lifeboat_model::{AssetName, JobId, TierName};
use lifeboat_tiers::durable;

use crate::state::{PRIVATE_DIRECTORY, lock_file};

/// The jobs at work.
#[derive(Debug, Clone)]
pub(crate) struct AtWork {
    entered: Arc<Mutex<Entered>>,
    folder: PathBuf,
}

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
    path: PathBuf,
    file: Option<File>,
}

/// Nobody else brings a tier what it missed as long as this lives.
#[derive(Debug)]
pub(crate) struct CatchingUp {
    at_work: AtWork,
    tier: TierName,
}

impl AtWork {
    /// Nobody is at work yet, and the files of who will be lie in this folder.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { entered: Arc::default(), folder }
    }

    fn entered(&self) -> MutexGuard<'_, Entered> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, job: JobId) -> PathBuf {
        self.folder.join(job.to_string())
    }

    /// Enters a job that works on these assets.
    pub(crate) fn enter(&self, job: JobId, assets: &[AssetName]) -> io::Result<Presence> {
        durable::create_directories(&self.folder, PRIVATE_DIRECTORY)?;
        let path = self.path(job);
        // None if it is entered twice: the first keeps it.
        let file = lock_file(&path)?;
        let mut entered = self.entered();
        let number = entered.next;
        entered.next += 1;
        entered.jobs.insert(number, (job, assets.to_vec()));
        Ok(Presence { at_work: self.clone(), number, path, file })
    }

    /// Returns those of these jobs, of which the catalog tells that they began and not how they ended, that nobody works on
    /// any more. Nobody may write to the catalog meanwhile.
    pub(crate) fn abandoned(&self, mut began: Vec<JobId>) -> io::Result<Vec<JobId>> {
        let entered = self.entered();
        began.retain(|job| !entered.jobs.values().any(|(at_work, _)| at_work == job));
        drop(entered);
        let mut abandoned = Vec::new();
        for job in began {
            if self.is_abandoned(job)? {
                abandoned.push(job);
            }
        }
        Ok(abandoned)
    }

    /// Tells whether no process has the file of a job.
    fn is_abandoned(&self, job: JobId) -> io::Result<bool> {
        let path = self.path(job);
        if !path.try_exists()? {
            return Ok(true);
        }
        let file = lock_file(&path)?;
        if file.is_some() {
            remove(&path)?;
        }
        Ok(file.is_some())
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
        if self.file.is_some() {
            // One that stays is no longer locked, which means the same.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Drop for CatchingUp {
    fn drop(&mut self) {
        self.at_work.entered().catching_up.remove(&self.tier);
    }
}

fn remove(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(source),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u64) -> JobId {
        JobId::from_uuid(uuid::Uuid::from_u64_pair(0, number))
    }

    fn here(home: &tempfile::TempDir) -> AtWork {
        AtWork::new(home.path().to_owned())
    }

    #[test]
    fn only_who_is_not_at_work_was_abandoned() {
        let home = tempfile::tempdir().unwrap();
        let (at_work, other) = (here(&home), here(&home));
        let both = || vec![job(1), job(2)];
        let first = at_work.enter(job(1), &["media".parse().unwrap()]).unwrap();
        let second = at_work.enter(job(2), &[]).unwrap();
        assert_eq!(at_work.abandoned(both()).unwrap(), []);
        assert_eq!(other.abandoned(both()).unwrap(), [], "who works beside knows them too");
        assert_eq!(at_work.assets_of_others(std::slice::from_ref(&second)).len(), 1);
        assert!(at_work.assets_of_others(std::slice::from_ref(&first)).is_empty());
        drop(first);
        assert_eq!(at_work.abandoned(both()).unwrap(), [job(1)]);
        assert_eq!(other.abandoned(both()).unwrap(), [job(1)]);
        // Its process was killed.
        std::mem::forget(second);
        fs::File::create(home.path().join(job(3).to_string())).unwrap();
        assert_eq!(other.abandoned(vec![job(2), job(3)]).unwrap(), [job(3)]);
        assert!(!home.path().join(job(3).to_string()).exists());
    }

    #[test]
    fn one_job_brings_a_tier_what_it_missed() {
        let home = tempfile::tempdir().unwrap();
        let (at_work, tier) = (here(&home), "far".parse().unwrap());
        let first = at_work.catch_up(&tier);
        assert!(first.is_some() && at_work.catch_up(&tier).is_none());
        drop(first);
        assert!(at_work.catch_up(&tier).is_some());
    }
}
