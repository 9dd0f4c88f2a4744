//! Those who work in a simulated world: each does one task after the other, each task as a process
//! of its own, as commands do.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use std::io::Read as _;
use std::num::NonZeroUsize;

use lifeboat_model::clock::Sleep;
use lifeboat_model::{
    Cancel, Classify as _, Clock, ErrorKind, Outcome, Silent, SnapshotId, Timestamp,
};
use lifeboat_repository::check::{CheckOptions, ReadData, check, explain};
use lifeboat_repository::copy::copy_snapshot;
use lifeboat_repository::lock::{LockGuard, LockKind, LockOptions, LockOwner};
use lifeboat_repository::restore::read_file;
use lifeboat_repository::source::{Source, StreamSource};
use lifeboat_repository::{
    BackupError, BackupOptions, Open, Repository, RepositoryError, Store, backup,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::disk::{DiskId, Process, SimTier};
use super::model::{Model, SKEW_SECONDS, draw_files};
use super::reader::Files;
use super::weather::{Listing, Torn, Weather};
use super::world::{ActorId, Wish, World};
use crate::place;

/// How long a command waits for another's lock.
const PATIENCE: Duration = Duration::from_secs(45);

/// A process with this number exists on every machine.
const LIVING_PID: i32 = 1;

/// No machine has so many processes.
const DEAD_PID: i32 = i32::MAX - 1;

/// At which of its writes a process is killed at the latest; a task has few more.
const LAST_KILL: u64 = 14;

/// What an actor is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Back something up to a disk.
    Backup(DiskId),
    /// Copy a snapshot from the first disk to the second.
    Copy,
    /// Check a disk and read all of it, beside others or, as stock restic does, alone.
    Check(DiskId, LockKind),
    /// Read a snapshot.
    Read(DiskId),
}

impl Task {
    /// Draws what an actor is asked to do next.
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let (first, second) = (DiskId(0), DiskId(1));
        let tasks = [
            (Self::Backup(first), 10),
            (Self::Backup(second), 2),
            (Self::Copy, 4),
            (Self::Check(first, LockKind::Shared), 1),
            (Self::Check(first, LockKind::Exclusive), 2),
            (Self::Read(first), 1),
            (Self::Read(second), 1),
        ];
        tasks.choose_weighted(rng, |(_, weight)| *weight).expect("there is a choice").0
    }
}

/// A clock that is a little wrong.
#[derive(Debug)]
struct ActorClock {
    world: Arc<World>,
    actor: ActorId,
    skew: Duration,
}

impl Clock for ActorClock {
    fn now(&self) -> Timestamp {
        // Ahead of the world's by up to twice what clocks may be wrong by.
        self.world.lock().now + self.skew
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        Box::pin(async move {
            let now = self.world.lock().now;
            let until = now.saturating_add(duration).unwrap_or(Timestamp::MAX);
            drop(self.world.take_turn(self.actor, Wish::Wake(until)));
        })
    }
}

/// What everybody in a world shares.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) seed: u64,
    pub(crate) world: Arc<World>,
    pub(crate) model: Mutex<Model>,
}

impl Stage {
    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who does tasks.
pub(crate) struct Actor<'s> {
    stage: &'s Stage,
    id: ActorId,
    rng: StdRng,
    clock: Arc<dyn Clock>,
    processes: u64,
}

/// One process: what a task is done by.
struct Run<'a> {
    stage: &'a Stage,
    process: Arc<Process>,
    owner: LockOwner,
    clock: Arc<dyn Clock>,
    cancel: Cancel,
    nonces: u64,
}

/// Why a task was not done.
#[derive(Debug)]
enum Trouble {
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

impl<'s> Actor<'s> {
    pub(crate) fn new(stage: &'s Stage, id: ActorId) -> Self {
        let own = stage.seed ^ (id.0 as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = StdRng::seed_from_u64(own);
        let skew = Duration::from_secs(rng.random_range(0..=2 * SKEW_SECONDS.cast_unsigned()));
        let clock = ActorClock { world: Arc::clone(&stage.world), actor: id, skew };
        Self { stage, id, rng, clock: Arc::new(clock), processes: 0 }
    }

    /// Draws tasks and does them.
    pub(crate) fn live(&mut self, tasks: usize) -> Result<(), String> {
        let mut result = Ok(());
        for _ in 0..tasks {
            let task = Task::draw(&mut self.rng);
            result = result.and_then(|()| self.perform(task).map(drop));
        }
        self.stage.world.end(self.id);
        result
    }

    /// Does a task; tells whether it was done. An error is what must never be.
    pub(crate) fn perform(&mut self, task: Task) -> Result<bool, String> {
        self.processes += 1;
        let weather = self.stage.world.lock().weather;
        let killed = self.rng.random_ratio(weather.killed_per_mille, 1000);
        let killed_at = self.rng.random_range(1..=LAST_KILL);
        let run = Run {
            stage: self.stage,
            process: Arc::new(Process::new(self.id, killed.then_some(killed_at))),
            owner: LockOwner {
                hostname: format!("host-{}", self.id.0),
                username: "somebody".to_owned(),
                pid: if killed { DEAD_PID } else { LIVING_PID },
                uid: 0,
                gid: 0,
            },
            clock: Arc::clone(&self.clock),
            cancel: Cancel::new(),
            nonces: self.rng.random(),
        };
        let tag = format!("{:x}-{}-{}", self.stage.seed, self.id.0, self.processes);
        let done = match task {
            Task::Backup(disk) => run.back_up(disk, &tag, draw_files(&mut self.rng)),
            Task::Copy => run.copy(&mut self.rng),
            Task::Check(disk, kind) => run.check(disk, kind),
            Task::Read(disk) => run.read(disk, &mut self.rng),
        };
        let judged = run.judge(&done, weather).map_err(|what| format!("{task:?}: {what}"));
        self.stage.model().unlock(&run.process);
        run.process.release();
        judged
    }
}

impl Run<'_> {
    fn store(&self, disk: DiskId) -> Store {
        let tier = SimTier::new(&self.stage.world, &self.process, disk);
        place::store(Arc::new(tier)).with_requests_max(NonZeroUsize::MIN)
    }

    fn open(&self, disk: DiskId) -> Result<Repository<Open>, Trouble> {
        Ok(place::open(self.store(disk))?.with_nonces_of(self.nonces))
    }

    fn lock(
        &self,
        disk: DiskId,
        repository: &Repository<Open>,
        kind: LockKind,
    ) -> Result<(), Trouble> {
        let options = LockOptions { kind, owner: self.owner.clone(), wait: PATIENCE };
        let guard = LockGuard::acquire(repository, &options, &self.clock, &self.cancel)?;
        let guard = Arc::new(guard);
        let now = self.stage.world.lock().now;
        let noted = self.stage.model().lock(disk, &self.process, &guard, now);
        self.process.hold(&guard);
        noted.map_err(Trouble::Broken)
    }

    fn back_up(&self, disk: DiskId, tag: &str, files: Files) -> Result<(), Trouble> {
        let source = |(path, content): (&String, &Vec<u8>)| {
            Source::Stream(StreamSource::document(path, content.clone()))
        };
        let sources: Vec<Source> = files.iter().map(source).collect();
        self.stage.model().given.insert(tag.to_owned(), files);
        let repository = self.open(disk)?;
        self.lock(disk, &repository, LockKind::Shared)?;
        let repository = repository.load_index(&self.cancel, &Silent)?;
        let mut options = BackupOptions::new("site");
        options.tags = vec![tag.to_owned()];
        options.workers = Some(NonZeroUsize::MIN);
        let clock = &*self.clock;
        let report = backup(&repository, sources, &options, &Silent, &self.cancel, clock)?;
        self.acknowledge(disk, report.snapshot, tag);
        Ok(())
    }

    fn acknowledge(&self, disk: DiskId, snapshot: SnapshotId, tag: &str) {
        let acknowledged = &mut self.stage.model().disks[disk.0].acknowledged;
        acknowledged.insert(snapshot, tag.to_owned());
    }

    /// Picks a snapshot that is there for certain.
    fn pick(&self, disk: DiskId, rng: &mut StdRng) -> Result<(SnapshotId, String), Trouble> {
        let model = self.stage.model();
        let expected = &model.disks[disk.0];
        let there: Vec<_> =
            expected.acknowledged.iter().filter(|(id, _)| !expected.doomed.contains(id)).collect();
        let (id, tag) = there.choose(rng).ok_or(Trouble::Idle)?;
        Ok((**id, (*tag).clone()))
    }

    fn copy(&self, rng: &mut StdRng) -> Result<(), Trouble> {
        let (from, to) = (self.open(DiskId(0))?, self.open(DiskId(1))?);
        self.lock(DiskId(0), &from, LockKind::Shared)?;
        self.lock(DiskId(1), &to, LockKind::Shared)?;
        // As every reader does: first the snapshot, then the index.
        let (snapshot, tag) = self.pick(DiskId(0), rng)?;
        let from = from.load_index(&self.cancel, &Silent)?;
        let to = to.load_index(&self.cancel, &Silent)?;
        let report = copy_snapshot(&from, &to, &snapshot, &Silent, &self.cancel)?;
        self.acknowledge(DiskId(1), report.snapshot, &tag);
        Ok(())
    }

    fn check(&self, disk: DiskId, kind: LockKind) -> Result<(), Trouble> {
        let repository = self.open(disk)?;
        self.lock(disk, &repository, kind)?;
        let options = CheckOptions { data: ReadData::All };
        let report = check(&repository, &options, &Silent, &self.cancel)?;
        if report.outcome() == Outcome::Failed && !self.may_be_torn(disk) && !self.was_lost() {
            let findings = format!("{:?}", report.findings);
            return Err(Trouble::Broken(format!("a check while others work: {findings}")));
        }
        Ok(())
    }

    fn read(&self, disk: DiskId, rng: &mut StdRng) -> Result<(), Trouble> {
        let repository = self.open(disk)?;
        self.lock(disk, &repository, LockKind::Shared)?;
        let (id, tag) = self.pick(disk, rng)?;
        let repository = repository.load_index(&self.cancel, &Silent)?;
        let snapshot = repository.snapshot(&id)?;
        let given = self.stage.model().given[&tag].clone();
        for (path, expected) in &given {
            let mut content = Vec::new();
            let mut reader = read_file(&repository, &snapshot, Path::new(path))?;
            if reader.read_to_end(&mut content).is_ok() && content != *expected {
                return Err(Trouble::Broken(format!("{path} of {tag} reads wrong")));
            }
        }
        Ok(())
    }

    fn may_be_torn(&self, disk: DiskId) -> bool {
        let state = self.stage.world.lock();
        // A listing that lags may show a snapshot before its index.
        !state.disks[disk.0].torn.is_empty() || state.weather.listing == Listing::Lagging
    }

    /// Tells whether others may have taken this process for dead.
    fn was_lost(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Decides whether a failure is one of those that must be expected.
    fn judge(&self, done: &Result<(), Trouble>, weather: Weather) -> Result<bool, String> {
        let (kind, text) = match done {
            Ok(()) => return Ok(true),
            Err(Trouble::Idle) => return Ok(false),
            Err(Trouble::Broken(what)) => return Err(what.clone()),
            Err(Trouble::Repository(error)) => (error.kind(), explain(error)),
            Err(Trouble::Backup(error)) => (error.kind(), explain(error)),
        };
        let is_weather = match kind {
            ErrorKind::Unavailable => weather.fails_per_mille > 0 || self.process.is_dead(),
            ErrorKind::Denied => weather.full_per_mille > 0,
            // Somebody else's lock, or what a dead process left of his.
            ErrorKind::Conflict => true,
            ErrorKind::Cancelled => self.was_lost(),
            ErrorKind::Corrupt => {
                weather.torn == Torn::InPlace
                    || weather.listing == Listing::Lagging
                    || self.was_lost()
            }
            _ => false,
        };
        if is_weather { Ok(false) } else { Err(format!("{kind:?}: {text}")) }
    }
}
