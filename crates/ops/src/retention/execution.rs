//! Removing what was decided, or finding out what that would do.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use lifeboat_model::{Cancel, Capability, EventSink, IndexId, PackId, SnapshotId};
use lifeboat_plan::plan::tier::Tier;
use lifeboat_postgres::archive::inventory::Listed;
use lifeboat_repository::forget::remove_snapshots;
use lifeboat_repository::lock::LockGuard;
use lifeboat_repository::prune::{
    self, Locked, PruneOptions, PrunePlan, PruneReport, Repack, SmallIndexFiles,
};
use lifeboat_repository::store::FileId;
use lifeboat_tiers::{Protection, TierError};

use super::LogFate;
use crate::error::OpsError;
use crate::standing::Standing;
use crate::wire::open::{OpenSite, OpenTier};

/// How many objects are asked about or removed at a time: each mostly waits for the tier.
const REQUESTS_MAX: usize = 8;

/// After so many files of the log it is looked whether the lock is held still.
const FILES_AT_A_TIME: usize = 64;

/// How often a prune is decided anew because something of it turned out to be locked. What is locked stays
/// out of each further one, so that each has less to ask about.
const DECISIONS_MAX: usize = 8;

/// The work on one tier.
pub(super) struct Work<'a> {
    pub open: &'a OpenSite<'a>,
    pub tier: &'a OpenTier,
    pub events: &'a dyn EventSink,
    pub cancel: &'a Cancel,
}

/// What was done, or would be.
pub(super) struct Done {
    pub prune: PruneReport,
    pub log: LogFate,
}

impl Work<'_> {
    pub(super) fn foresee(&self, going: &[SnapshotId], log: &[Listed]) -> Result<Done, OpsError> {
        let prune = self.plan(going.iter().copied().collect())?.price(self.cancel)?;
        let bytes = log.iter().map(|file| file.size).sum();
        let log = LogFate { files: log.len() as u64, bytes, locked: 0 };
        Ok(Done { prune, log })
    }

    pub(super) fn perform(
        &self,
        lock: &LockGuard,
        going: &[SnapshotId],
        log: &[Listed],
    ) -> Result<Done, OpsError> {
        remove_snapshots(&self.tier.repository, lock, going, self.cancel)?;
        let plan = self.plan(BTreeSet::new())?;
        let prune = plan.perform(lock, self.events, self.cancel)?;
        let log = self.remove_log(lock, log)?;
        Ok(Done { prune, log })
    }

    /// Decides what is pruned, beside what is locked.
    fn plan(&self, without: BTreeSet<SnapshotId>) -> Result<PrunePlan<'_>, OpsError> {
        let repository = &self.tier.repository;
        let repack = self.repack();
        let superseded = self.superseded()?;
        let mut options = PruneOptions { without, repack, superseded, ..PruneOptions::default() };
        let may_be_locked = self.tier.named.tier.capabilities().has(Capability::ObjectLock);
        if may_be_locked {
            let listed = repository.store().list::<IndexId>().map_err(OpsError::from)?;
            let ids: Vec<_> = listed.into_iter().map(|file| file.id).collect();
            options.small_index_files = SmallIndexFiles::Leave;
            options.locked = Locked { index_files: self.locked(&ids)?, packs: BTreeSet::new() };
        }
        for _ in 0..DECISIONS_MAX {
            let plan = prune::plan(repository, options.clone(), self.events, self.cancel)?;
            if !may_be_locked {
                return Ok(plan);
            }
            let doomed: Vec<PackId> = plan.doomed().collect();
            let locked = self.locked(&doomed)?;
            if locked.is_empty() {
                return Ok(plan);
            }
            options.locked.packs.extend(locked);
        }
        // What is locked all the same is refused by the store, and told.
        Ok(prune::plan(repository, options, self.events, self.cancel)?)
    }

    /// Returns the damaged packs of which nothing is needed any more, since a verification that read all data passed: what they
    /// held was stored again. From then on the index leaves them out.
    fn superseded(&self) -> Result<BTreeSet<PackId>, OpsError> {
        let standing = Standing::load(self.open.catalog().view(), &self.tier.named.name)?;
        if standing.is_damaged() || standing.damaged_packs.is_empty() {
            return Ok(BTreeSet::new());
        }
        self.tier.repository.leave_out(&standing.damaged_packs);
        Ok(standing.damaged_packs)
    }

    /// Where packs of data cannot be read at once they are not packed anew: waking them takes hours, and what
    /// goes sooner than the vendor counts is paid all the same.
    fn repack(&self) -> Repack {
        let tiers = self.open.site().plan().tiers();
        let is_archive = tiers.get(&self.tier.named.name).is_some_and(Tier::is_archive);
        if is_archive { Repack::CacheableOnly } else { Repack::All }
    }

    /// Returns those of the files that the store locks.
    fn locked<I: FileId + Ord + Send + Sync>(&self, ids: &[I]) -> Result<BTreeSet<I>, OpsError> {
        let store = self.tier.repository.store();
        let ask = |id: I| async move {
            match store.tier().protection(&store.path(&id)).await {
                Ok(Protection::None) | Err(TierError::NotFound { .. }) => Ok(None),
                Ok(Protection::Locked { .. }) => Ok(Some(id)),
                Err(error) => Err(error),
            }
        };
        let asked = stream::iter(ids.iter().copied()).map(ask).buffer_unordered(REQUESTS_MAX);
        let asked: Vec<Result<Option<I>, TierError>> = store.runtime().block_on(asked.collect());
        let locked = asked.into_iter().filter_map(Result::transpose);
        Ok(locked.collect::<Result<_, _>>()?)
    }

    /// Removes files of the log, in their order; one that the store locks stays.
    fn remove_log(&self, lock: &LockGuard, log: &[Listed]) -> Result<LogFate, OpsError> {
        let tier = &self.tier.named.tier;
        let mut fate = LogFate::default();
        for some in log.chunks(FILES_AT_A_TIME) {
            self.cancel.check()?;
            lock.check()?;
            let remove = |file: Listed| async move {
                let path = file.name.path();
                (file, tier.delete(&path).await)
            };
            let removed = stream::iter(some.iter().copied()).map(remove).buffered(REQUESTS_MAX);
            let runtime = &self.open.site().surroundings().runtime;
            for (file, removed) in runtime.block_on(removed.collect::<Vec<_>>()) {
                match removed {
                    Ok(()) => {
                        fate.files += 1;
                        fate.bytes += file.size;
                    }
                    Err(TierError::Locked { .. }) => fate.locked += 1,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(fate)
    }
}
