//! What is done in a simulated world, as a command does it: open, lock, work, let go.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{
    ByteSize, Cancel, Classify as _, Clock, ErrorKind, Outcome, Silent, SnapshotId,
};
use lifeboat_repository::check::{CheckOptions, ReadData, check, explain};
use lifeboat_repository::copy::Copier;
use lifeboat_repository::forget::{self, Count, ForgetOptions, Policy, remove_snapshots};
use lifeboat_repository::lock::{LockGuard, LockKind, LockOptions, LockOwner};
use lifeboat_repository::prune::{self, MaxUnused, PruneOptions, PruneReport, SmallPacks};
use lifeboat_repository::repair::{
    DamagedSnapshots, PacksToMend, PacksToRead, repair_index, repair_packs, repair_snapshots,
};
use lifeboat_repository::restore::read_file;
use lifeboat_repository::selection::GroupBy;
use lifeboat_repository::source::{Source, StreamSource};
use lifeboat_repository::{
    BackupError, BackupOptions, Indexed, Open, Repository, RepositoryError, Store, backup,
};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::actor::Stage;
use super::disk::{DiskId, Process, SimTier};
use super::model::draw_files;
use super::reader::{self, Files};
use super::tally::Deed;
use super::weather::{Listing, Torn};
use super::{Scene, tiers};
use crate::place;

/// How long a command waits for another's lock; where listings are late, whoever is alone takes most of a minute.
const PATIENCE: Duration = Duration::from_secs(45);
const PATIENCE_WHERE_LISTINGS_ARE_LATE: Duration = Duration::from_secs(150);

/// What packs of data are filled to, in bytes: little, so that a backup fills several.
pub(super) const PACK_SIZES: std::ops::RangeInclusive<u64> = 1000..=5000;

/// How many snapshots are copied at once at most.
const COPIED_MAX: usize = 4;

/// What an actor is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Back something up to a disk.
    Backup(DiskId),
    /// Copy from the first disk to the second.
    Copy(Extent),
    /// Back something up to all disks at once; this one leads.
    FanOut(DiskId),
    /// Copy to a disk what it missed.
    CatchUp(DiskId),
    /// Check a disk and read all of it, beside others or, as stock restic does, alone.
    Check(DiskId, LockKind),
    /// Read a snapshot.
    Read(DiskId),
    /// Forget snapshots.
    Forget(DiskId, Data),
    /// Remove what no snapshot needs.
    Prune(DiskId, Thoroughness),
    /// Make the index fit the packs.
    RepairIndex(DiskId),
    /// Read all packs, and save what is whole of those that are not.
    RepairPacks(DiskId),
    /// Look for snapshots that lack something.
    RepairSnapshots(DiskId),
}

/// How much is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    One,
    Several,
}

/// What becomes of the data of snapshots that are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    /// It stays until somebody prunes.
    Stays,
    /// It is pruned at once, under the same lock.
    Goes,
}

/// How much of what nobody needs is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thoroughness {
    /// As much as is drawn.
    Any,
    /// All of it.
    Full,
}

impl Task {
    /// Draws what an actor is asked to do next.
    pub(crate) fn draw(scene: Scene, rng: &mut StdRng) -> Self {
        if scene == Scene::Tiers {
            return tiers::draw(rng);
        }
        let (first, second) = (DiskId(0), DiskId(1));
        let tasks = [
            (Self::Backup(first), 24),
            (Self::Backup(second), 6),
            (Self::Copy(Extent::One), 5),
            (Self::Copy(Extent::Several), 5),
            (Self::Check(first, LockKind::Shared), 2),
            (Self::Check(first, LockKind::Exclusive), 3),
            (Self::Read(first), 2),
            (Self::Read(second), 2),
            (Self::Forget(first, Data::Stays), 6),
            (Self::Forget(first, Data::Goes), 10),
            (Self::Forget(second, Data::Goes), 4),
            (Self::Prune(first, Thoroughness::Any), 8),
            (Self::Prune(second, Thoroughness::Any), 2),
            (Self::RepairIndex(first), 4),
            (Self::RepairPacks(first), 3),
            (Self::RepairSnapshots(first), 2),
        ];
        tasks.choose_weighted(rng, |(_, weight)| *weight).expect("there is a choice").0
    }

    /// Returns the disk from which it removes something, however it ends.
    const fn removes(self) -> Option<DiskId> {
        match self {
            Self::Forget(disk, _)
            | Self::Prune(disk, _)
            | Self::RepairIndex(disk)
            | Self::RepairPacks(disk)
            | Self::RepairSnapshots(disk) => Some(disk),
            Self::Backup(_)
            | Self::Copy(_)
            | Self::FanOut(_)
            | Self::CatchUp(_)
            | Self::Check(..)
            | Self::Read(_) => None,
        }
    }

    /// Returns as what it is counted that it was killed midway.
    const fn killed(self) -> Option<Deed> {
        match self {
            Self::Backup(_) | Self::FanOut(_) => Some(Deed::BackupKilled),
            Self::Copy(_) | Self::CatchUp(_) => Some(Deed::CopyKilled),
            Self::Forget(_, Data::Stays) => Some(Deed::ForgetKilled),
            Self::Forget(_, Data::Goes) | Self::Prune(..) => Some(Deed::PruneKilled),
            Self::RepairIndex(_) | Self::RepairPacks(_) | Self::RepairSnapshots(_) => {
                Some(Deed::RepairKilled)
            }
            Self::Check(..) | Self::Read(_) => None,
        }
    }

    /// Returns as what it is counted that its lock was lost.
    const fn lost(self) -> Option<Deed> {
        match self {
            Self::Backup(_) | Self::Copy(_) | Self::FanOut(_) | Self::CatchUp(_) => {
                Some(Deed::WriterLostLock)
            }
            Self::Forget(..)
            | Self::Prune(..)
            | Self::RepairIndex(_)
            | Self::RepairPacks(_)
            | Self::RepairSnapshots(_) => Some(Deed::PrunerLostLock),
            Self::Check(..) | Self::Read(_) => None,
        }
    }
}

/// One process: what a task is done by.
pub(crate) struct Run<'a> {
    pub(super) stage: &'a Stage,
    pub(super) process: Arc<Process>,
    pub(super) owner: LockOwner,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) cancel: Cancel,
    pub(super) nonces: u64,
    /// What a snapshot is tagged with that it makes.
    pub(super) tag: String,
}

/// Why a task was not done.
#[derive(Debug)]
pub(crate) enum Trouble {
    Repository(RepositoryError),
    Backup(BackupError),
    /// What must never be.
    Broken(String),
    /// There was nothing to do.
    Idle,
}

impl From<RepositoryError> for Trouble {
    fn from(error: RepositoryError) -> Self {
        Self::Repository(error)
    }
}

impl From<BackupError> for Trouble {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}

/// Draws how thoroughly a prune works.
fn draw_limits(rng: &mut StdRng, thoroughness: Thoroughness) -> PruneOptions {
    let nothing = MaxUnused::Bytes(0);
    let limits = [nothing, nothing, nothing, MaxUnused::Percent(20.0), MaxUnused::Unlimited];
    let pack_size = ByteSize(rng.random_range(PACK_SIZES));
    let usual = PruneOptions { pack_size, ..PruneOptions::default() };
    match thoroughness {
        Thoroughness::Full => PruneOptions { max_unused: nothing, ..usual },
        Thoroughness::Any => PruneOptions {
            max_unused: *limits.choose(rng).expect("there is a choice"),
            max_repack: rng.random_ratio(1, 5).then(|| rng.random_range(0..9000)),
            // Small beside these packs, so that what is nearly full may stay as it is.
            small: SmallPacks::All,
            ..usual
        },
    }
}

/// Reads a snapshot; what can be read has to be what was given. Returns what cannot.
pub(crate) fn read_snapshot(
    repository: &Repository<Indexed>,
    id: &SnapshotId,
    given: &Files,
) -> Result<Vec<String>, Trouble> {
    let snapshot = repository.snapshot(id)?;
    let mut unreadable = Vec::new();
    for (path, expected) in given {
        let mut content = Vec::new();
        let read = read_file(repository, &snapshot, Path::new(path));
        if !read.is_ok_and(|mut reader| reader.read_to_end(&mut content).is_ok()) {
            unreadable.push(path.clone());
        } else if content != *expected {
            return Err(Trouble::Broken(format!("{path} of {} reads wrong", id.to_hex())));
        }
    }
    Ok(unreadable)
}

impl Run<'_> {
    /// Does a task and ends; tells whether it was done.
    pub(crate) fn perform(self, task: Task, rng: &mut StdRng) -> Result<bool, String> {
        let done = match task {
            Task::Backup(disk) => self.back_up(disk, rng),
            Task::Copy(extent) => self.copy(extent, rng),
            Task::FanOut(leader) => self.fan_out(leader, rng),
            Task::CatchUp(disk) => self.catch_up(disk),
            Task::Check(disk, kind) => self.check(disk, kind),
            Task::Read(disk) => self.read(disk, rng),
            Task::Forget(disk, data) => self.forget(disk, data, rng),
            Task::Prune(disk, thoroughness) => self.prune(disk, thoroughness, rng),
            Task::RepairIndex(disk) => self.repair_index(disk, rng),
            Task::RepairPacks(disk) => self.repair_packs(disk),
            Task::RepairSnapshots(disk) => self.repair_snapshots(disk),
        };
        let judged = self.judge(task, &done).and_then(|was_done| {
            // Nobody else has a turn until this actor asks for one.
            task.removes().map_or(Ok(()), |disk| self.witness(disk))?;
            Ok(was_done)
        });
        let judged = judged.map_err(|what| format!("{task:?}: {what}"));
        self.note_end(task, &done);
        self.end();
        judged
    }

    /// Ends: lets go of its locks.
    pub(crate) fn end(self) {
        self.stage.model().unlock(&self.process);
        self.process.release();
    }

    pub(crate) fn note(&self, deed: Deed) {
        self.stage.world.lock().tally.note(deed);
    }

    fn note_end(&self, task: Task, done: &Result<(), Trouble>) {
        let is_conflict = matches!(
            done,
            Err(Trouble::Repository(error)) if error.kind() == ErrorKind::Conflict
        );
        let killed = task.killed().filter(|_| self.process.died_midway());
        let lost = task.lost().filter(|_| self.was_lost());
        let conflict = is_conflict.then_some(Deed::LockInTheWay);
        killed.into_iter().chain(lost).chain(conflict).for_each(|deed| self.note(deed));
    }

    fn store(&self, disk: DiskId) -> Store {
        let tier = SimTier::new(&self.stage.world, &self.process, disk);
        place::store(Arc::new(tier)).with_requests_max(NonZeroUsize::MIN)
    }

    pub(crate) fn open(&self, disk: DiskId) -> Result<Repository<Open>, Trouble> {
        Ok(place::open(self.store(disk))?.with_nonces_of(self.nonces))
    }

    pub(crate) fn lock(
        &self,
        disk: DiskId,
        repository: &Repository<Open>,
        kind: LockKind,
    ) -> Result<Arc<LockGuard>, Trouble> {
        let wait = match self.stage.world.lock().weather.listing {
            Listing::Late => PATIENCE_WHERE_LISTINGS_ARE_LATE,
            Listing::Prompt | Listing::Lagging => PATIENCE,
        };
        let options = LockOptions { kind, owner: self.owner.clone(), wait };
        let guard = LockGuard::acquire(repository, &options, &self.clock, &self.cancel)?;
        let guard = Arc::new(guard);
        let now = self.stage.world.lock().now;
        let noted = self.stage.model().lock(disk, &self.process, &guard, now);
        self.process.hold(&guard);
        noted.map_err(Trouble::Broken)?;
        Ok(guard)
    }

    pub(crate) fn load(
        &self,
        repository: Repository<Open>,
    ) -> Result<Repository<Indexed>, Trouble> {
        Ok(repository.load_index(&self.cancel, &Silent)?)
    }

    fn back_up(&self, disk: DiskId, rng: &mut StdRng) -> Result<(), Trouble> {
        let files = draw_files(rng);
        let source = |(path, content): (&String, &Vec<u8>)| {
            Source::Stream(StreamSource::document(path, content.clone()))
        };
        let sources: Vec<Source> = files.iter().map(source).collect();
        self.stage.model().given.insert(self.tag.clone(), files);
        let repository = self.open(disk)?;
        self.lock(disk, &repository, LockKind::Shared)?;
        let repository = self.load(repository)?;
        let pack_size = ByteSize(rng.random_range(PACK_SIZES));
        let mut options = BackupOptions::new("site").with_packs_of(pack_size);
        options.tags = vec![self.tag.clone()];
        options.workers = Some(NonZeroUsize::MIN);
        let clock = &*self.clock;
        let report = backup(&repository, sources, &options, &Silent, &self.cancel, clock)?;
        self.acknowledge(disk, report.snapshot, &self.tag);
        self.note(Deed::Backup);
        // One of them holds directories.
        if self.process.packs() > 2 {
            self.note(Deed::SeveralPacks);
        }
        Ok(())
    }

    pub(super) fn acknowledge(&self, disk: DiskId, snapshot: SnapshotId, tag: &str) {
        let was_lost = self.was_lost();
        let expected = &mut self.stage.model().disks[disk.0];
        expected.acknowledged.insert(snapshot, tag.to_owned());
        expected.forgotten.remove(&snapshot);
        // Whoever took a lost lock may have forgotten it by now.
        if !was_lost {
            expected.doomed.remove(&snapshot);
        }
    }

    /// Picks snapshots that are there for certain.
    fn pick(
        &self,
        disk: DiskId,
        count: usize,
        rng: &mut StdRng,
    ) -> Result<Vec<(SnapshotId, String)>, Trouble> {
        let model = self.stage.model();
        let expected = &model.disks[disk.0];
        let is_there = |(id, _): &(&SnapshotId, &String)| !expected.doomed.contains(id);
        let there: Vec<_> = expected.acknowledged.iter().filter(is_there).collect();
        let picked = there.sample(rng, count).map(|(id, tag)| (**id, (*tag).clone()));
        let picked: Vec<_> = picked.collect();
        if picked.is_empty() { Err(Trouble::Idle) } else { Ok(picked) }
    }

    fn copy(&self, extent: Extent, rng: &mut StdRng) -> Result<(), Trouble> {
        let (from, to) = (self.open(DiskId(0))?, self.open(DiskId(1))?);
        self.lock(DiskId(0), &from, LockKind::Shared)?;
        self.lock(DiskId(1), &to, LockKind::Shared)?;
        // As every reader does: first the snapshots, then the index.
        let count = match extent {
            Extent::One => 1,
            Extent::Several => rng.random_range(2..=COPIED_MAX),
        };
        let picked = self.pick(DiskId(0), count, rng)?;
        let (from, to) = (self.load(from)?, self.load(to)?);
        let mut copier = Copier::new(&from, &to, &Silent, &self.cancel);
        for (snapshot, tag) in &picked {
            let report = copier.copy(snapshot)?;
            self.acknowledge(DiskId(1), report.snapshot, tag);
            self.note(Deed::Copy);
        }
        if picked.len() > 1 {
            self.note(Deed::CopyOfSeveral);
        }
        Ok(())
    }

    fn check(&self, disk: DiskId, kind: LockKind) -> Result<(), Trouble> {
        let repository = self.open(disk)?;
        self.lock(disk, &repository, kind)?;
        let options = CheckOptions { data: ReadData::All };
        let report = check(&repository, &options, &Silent, &self.cancel)?;
        if report.outcome() == Outcome::Failed && !self.may_be_torn(disk, kind) && !self.was_lost()
        {
            let findings = format!("{:?}", report.findings);
            return Err(Trouble::Broken(format!("a check while others work: {findings}")));
        }
        self.note(Deed::Check);
        Ok(())
    }

    fn read(&self, disk: DiskId, rng: &mut StdRng) -> Result<(), Trouble> {
        let repository = self.open(disk)?;
        self.lock(disk, &repository, LockKind::Shared)?;
        let (id, tag) = self.pick(disk, 1, rng)?.remove(0);
        let repository = self.load(repository)?;
        let given = self.stage.model().given[&tag].clone();
        read_snapshot(&repository, &id, &given)?;
        self.note(Deed::Read);
        Ok(())
    }

    fn forget(&self, disk: DiskId, data: Data, rng: &mut StdRng) -> Result<(), Trouble> {
        let repository = self.open(disk)?;
        let guard = self.lock(disk, &repository, LockKind::Exclusive)?;
        let removed = self.choose_removed(&repository, rng)?;
        self.stage.model().disks[disk.0].doomed.extend(&removed);
        remove_snapshots(&repository, &guard, &removed, &self.cancel)?;
        self.stage.model().disks[disk.0].forgotten.extend(&removed);
        self.note(Deed::Forget);
        match data {
            Data::Stays => Ok(()),
            Data::Goes => {
                let without = BTreeSet::from_iter(removed);
                let options = PruneOptions { without, ..draw_limits(rng, Thoroughness::Any) };
                self.note_prune(&self.prune_under(&guard, repository, options)?);
                Ok(())
            }
        }
    }

    /// Chooses snapshots by a policy, or some of those that are there.
    fn choose_removed(
        &self,
        repository: &Repository<Open>,
        rng: &mut StdRng,
    ) -> Result<Vec<SnapshotId>, Trouble> {
        let snapshots = repository.snapshots()?;
        let removed = if rng.random() {
            let policy =
                Policy { last: Count::AtMost(rng.random_range(1..=2)), ..Policy::default() };
            let group_by = GroupBy::new([]);
            let options = ForgetOptions { policy, group_by, ..ForgetOptions::default() };
            let plan = forget::plan(snapshots, &options, self.clock.now());
            plan.map_err(|error| Trouble::Broken(error.to_string()))?.removed()
        } else {
            let count = rng.random_range(0..=snapshots.len());
            snapshots.sample(rng, count).map(|(id, _)| *id).collect()
        };
        if removed.is_empty() { Err(Trouble::Idle) } else { Ok(removed) }
    }

    fn prune(
        &self,
        disk: DiskId,
        thoroughness: Thoroughness,
        rng: &mut StdRng,
    ) -> Result<(), Trouble> {
        let repository = self.open(disk)?;
        let guard = self.lock(disk, &repository, LockKind::Exclusive)?;
        let options = draw_limits(rng, thoroughness);
        self.note_prune(&self.prune_under(&guard, repository, options)?);
        Ok(())
    }

    /// Prunes under a lock that is held.
    pub(crate) fn prune_under(
        &self,
        guard: &LockGuard,
        repository: Repository<Open>,
        options: PruneOptions,
    ) -> Result<PruneReport, Trouble> {
        let repository = self.load(repository)?;
        let plan = prune::plan(&repository, options, &Silent, &self.cancel)?;
        Ok(plan.perform(guard, &Silent, &self.cancel)?)
    }

    fn note_prune(&self, report: &PruneReport) {
        let packs = &report.packs;
        let deeds = [
            (1, Deed::Prune),
            (packs.repacked.count, Deed::PruneRepacked),
            (packs.removed.count, Deed::PruneRemoved),
            (packs.orphans.count, Deed::PruneOrphans),
        ];
        deeds.iter().filter(|(count, _)| *count > 0).for_each(|(_, deed)| self.note(*deed));
    }

    fn repair_index(&self, disk: DiskId, rng: &mut StdRng) -> Result<(), Trouble> {
        let packs = if rng.random() { PacksToRead::All } else { PacksToRead::Unknown };
        let repository = self.open(disk)?;
        let guard = self.lock(disk, &repository, LockKind::Exclusive)?;
        let may_be_torn = self.may_be_torn(disk, LockKind::Exclusive);
        let report = repair_index(&repository, Some(&guard), packs, &Silent, &self.cancel)?;
        let is_damaged = !(report.damaged_index_files.is_empty()
            && report.corrected_packs.is_empty()
            && report.missing_packs.is_empty()
            && report.damaged_packs.is_empty());
        if is_damaged && !may_be_torn && !self.was_lost() {
            return Err(Trouble::Broken(format!("there was something to repair: {report:?}")));
        }
        if report.index_files_written > 0 {
            self.note(Deed::IndexRepair);
        }
        Ok(())
    }

    fn repair_packs(&self, disk: DiskId) -> Result<(), Trouble> {
        let repository = self.open(disk)?;
        let guard = self.lock(disk, &repository, LockKind::Exclusive)?;
        let may_be_torn = self.may_be_torn(disk, LockKind::Exclusive);
        let (all, cancel) = (PacksToMend::All, &self.cancel);
        let report = repair_packs(&repository, Some(&guard), &all, &Silent, cancel)?;
        let is_damaged = !(report.repaired_packs.is_empty() && report.unknown_packs.is_empty());
        if is_damaged && !may_be_torn && !self.was_lost() {
            return Err(Trouble::Broken(format!("there was something to repair: {report:?}")));
        }
        self.note(Deed::PackRepair);
        Ok(())
    }

    fn repair_snapshots(&self, disk: DiskId) -> Result<(), Trouble> {
        let repository = self.open(disk)?;
        let guard = self.lock(disk, &repository, LockKind::Exclusive)?;
        let snapshots = repository.snapshots()?;
        let mut repository = self.load(repository)?;
        let (damaged, cancel) = (DamagedSnapshots::Keep, &self.cancel);
        let report =
            repair_snapshots(&mut repository, Some(&guard), snapshots, damaged, &Silent, cancel)?;
        if report.damaged() > 0 && !self.was_lost() {
            return Err(Trouble::Broken(format!("there was something to repair: {report:?}")));
        }
        self.note(Deed::SnapshotRepair);
        Ok(())
    }

    /// Holds what lies on a disk against what ought to: it has to be whole at every moment, since a
    /// later backup may store again what was removed wrongly.
    fn witness(&self, disk: DiskId) -> Result<(), String> {
        let state = self.stage.world.lock();
        if !state.disks[disk.0].torn.is_empty() {
            return Ok(());
        }
        let reading = reader::read(&state.disks[disk.0].contents(), &self.stage.keys[disk.0]);
        drop(state);
        if !reading.damage.is_empty() {
            return Err(format!("afterwards on disk {}: {:?}", disk.0, reading.damage));
        }
        self.stage.model().judge(disk, &reading)
    }

    /// Tells whether somebody who is no writer may see something that is not whole.
    fn may_be_torn(&self, disk: DiskId, kind: LockKind) -> bool {
        let state = self.stage.world.lock();
        // A listing that lags may show a snapshot before its index to whoever is not alone.
        let may_lag = kind == LockKind::Shared && !state.weather.listing.is_prompt();
        may_lag || !state.disks[disk.0].torn.is_empty()
    }

    /// Tells whether others may have taken this process for dead.
    fn was_lost(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Decides whether a failure is one of those that must be expected.
    fn judge(&self, task: Task, done: &Result<(), Trouble>) -> Result<bool, String> {
        let weather = self.stage.world.lock().weather;
        let (kind, text) = match done {
            Ok(()) => return Ok(true),
            Err(Trouble::Idle) => return Ok(false),
            Err(Trouble::Broken(what)) => return Err(what.clone()),
            Err(Trouble::Repository(RepositoryError::LockLost { .. }))
                if weather.sleep_per_mille + weather.slow_per_mille > 0 =>
            {
                return Ok(false);
            }
            Err(Trouble::Repository(error)) => (error.kind(), explain(error)),
            Err(Trouble::Backup(error)) => (error.kind(), explain(error)),
        };
        let is_weather = match kind {
            ErrorKind::Unavailable => {
                weather.fails_per_mille + weather.down_per_mille > 0
                    || self.process.is_dead()
                    || self.was_lost()
            }
            ErrorKind::Denied => weather.full_per_mille > 0,
            // Somebody else's lock, or what a dead process left of his.
            ErrorKind::Conflict => true,
            ErrorKind::Cancelled => self.was_lost(),
            ErrorKind::Corrupt => {
                weather.torn == Torn::InPlace
                    || (!weather.listing.is_prompt() && task.removes().is_none())
                    || self.was_lost()
            }
            _ => false,
        };
        if is_weather { Ok(false) } else { Err(format!("{kind:?}: {text}")) }
    }
}
