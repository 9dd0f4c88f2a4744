//! A repository on a local tier, and what it ought to hold.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_model::{ByteSize, Cancel, Clock, Outcome, Silent, SnapshotId};
use lifeboat_repository::check::{CheckOptions, ReadData, check};
use lifeboat_repository::copy::Copier;
use lifeboat_repository::forget::remove_snapshots;
use lifeboat_repository::lock::{LockGuard, LockKind, LockOptions};
use lifeboat_repository::prune::{MaxUnused, PruneOptions, plan};
use lifeboat_repository::source::{Source, StreamSource};
use lifeboat_repository::{BackupOptions, Open, Repository, RepositoryError, backup};
use lifeboat_tiers::LocalTier;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::Trouble;
use crate::place;

/// How many different streams there are; few, so that backups share blobs.
const STREAMS: u64 = 8;

/// How many bytes each of them has.
const BYTES: usize = 3000;

/// What packs are filled to: little, so that there are several.
const PACK_SIZE: ByteSize = ByteSize(5000);

/// A repository, and what was acknowledged of it.
pub(super) struct Holding {
    place: PathBuf,
    is_made: bool,
    acknowledged: BTreeSet<SnapshotId>,
    /// Those that somebody began to forget.
    doomed: BTreeSet<SnapshotId>,
    forgotten: BTreeSet<SnapshotId>,
}

fn noise(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    StdRng::seed_from_u64(number).fill_bytes(&mut bytes);
    bytes
}

impl Holding {
    pub(super) const fn new(place: PathBuf) -> Self {
        Self {
            place,
            is_made: false,
            acknowledged: BTreeSet::new(),
            doomed: BTreeSet::new(),
            forgotten: BTreeSet::new(),
        }
    }

    fn open(&mut self) -> Result<Repository<Open>, Trouble> {
        let tier = if self.is_made {
            LocalTier::open(&self.place)?
        } else {
            LocalTier::create(&self.place)?
        };
        let store = place::store(Arc::new(tier));
        let repository = match place::open(store.clone()) {
            Err(RepositoryError::NoRepository { .. }) if !self.is_made => place::init(store)?,
            opened => opened?,
        };
        self.is_made = true;
        Ok(repository)
    }

    fn lock(
        &mut self,
        kind: LockKind,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Repository<Open>, LockGuard), Trouble> {
        let repository = self.open()?;
        let guard =
            LockGuard::acquire(&repository, &LockOptions::new(kind), clock, &Cancel::new())?;
        Ok((repository, guard))
    }

    fn acknowledge(&mut self, snapshot: SnapshotId) {
        self.acknowledged.insert(snapshot);
        self.doomed.remove(&snapshot);
        self.forgotten.remove(&snapshot);
    }

    pub(super) fn back_up(
        &mut self,
        rng: &mut StdRng,
        clock: &Arc<dyn Clock>,
    ) -> Result<(), Trouble> {
        let (repository, _guard) = self.lock(LockKind::Shared, clock)?;
        let cancel = Cancel::new();
        let repository = repository.load_index(&cancel, &Silent)?;
        let sources = (0..rng.random_range(1..=4)).map(|number| {
            let path = format!("/srv/{number}");
            Source::Stream(StreamSource::document(path, noise(rng.random_range(0..STREAMS))))
        });
        let mut options = BackupOptions::new("site").with_packs_of(PACK_SIZE);
        options.workers = Some(NonZeroUsize::MIN);
        let report = backup(&repository, sources.collect(), &options, &Silent, &cancel, &**clock)?;
        self.acknowledge(report.snapshot);
        Ok(())
    }

    fn there(&self) -> Vec<SnapshotId> {
        self.acknowledged.difference(&self.doomed).copied().collect()
    }

    /// Copies a snapshot; returns how many were copied.
    pub(super) fn copy_to(
        &mut self,
        to: &mut Self,
        rng: &mut StdRng,
        clock: &Arc<dyn Clock>,
    ) -> Result<u64, Trouble> {
        let Some(snapshot) = self.there().choose(rng).copied() else { return Ok(0) };
        let (from, _guard) = self.lock(LockKind::Shared, clock)?;
        let (into, _other) = to.lock(LockKind::Shared, clock)?;
        let cancel = Cancel::new();
        let (from, into) = (from.load_index(&cancel, &Silent)?, into.load_index(&cancel, &Silent)?);
        let report = Copier::new(&from, &into, &Silent, &cancel).copy(&snapshot)?;
        to.acknowledge(report.snapshot);
        Ok(1)
    }

    /// Forgets a snapshot; returns how many were forgotten.
    pub(super) fn forget(
        &mut self,
        rng: &mut StdRng,
        clock: &Arc<dyn Clock>,
    ) -> Result<u64, Trouble> {
        let Some(snapshot) = self.there().choose(rng).copied() else { return Ok(0) };
        let (repository, guard) = self.lock(LockKind::Exclusive, clock)?;
        self.doomed.insert(snapshot);
        remove_snapshots(&repository, &guard, &[snapshot], &Cancel::new())?;
        self.forgotten.insert(snapshot);
        Ok(1)
    }

    /// Prunes; returns how often.
    pub(super) fn prune(&mut self, clock: &Arc<dyn Clock>) -> Result<u64, Trouble> {
        let (repository, guard) = self.lock(LockKind::Exclusive, clock)?;
        let cancel = Cancel::new();
        let repository = repository.load_index(&cancel, &Silent)?;
        let options = PruneOptions {
            max_unused: MaxUnused::Bytes(0),
            pack_size: PACK_SIZE,
            ..PruneOptions::default()
        };
        plan(&repository, options, &Silent, &cancel)?.perform(&guard, &Silent, &cancel)?;
        Ok(1)
    }

    /// Looks whether it holds what it ought to, whole.
    pub(super) fn look(&mut self) -> Result<(), Trouble> {
        if !self.is_made {
            return Ok(());
        }
        let repository = self.open()?;
        let ids: BTreeSet<_> = repository.snapshot_ids()?.into_iter().collect();
        let kept: BTreeSet<_> = self.there().into_iter().collect();
        if let Some(lost) = kept.difference(&ids).next() {
            return Err(format!("{} was acknowledged and is gone", lost.to_hex()).into());
        }
        if let Some(back) = self.forgotten.intersection(&ids).next() {
            return Err(format!("{} was forgotten and is back", back.to_hex()).into());
        }
        let options = CheckOptions { data: ReadData::All };
        let report = check(&repository, &options, &Silent, &Cancel::new())?;
        if report.outcome() == Outcome::Passed {
            Ok(())
        } else {
            Err(format!("the check finds {:?}", report.findings).into())
        }
    }
}
