//! Those who work in a simulated world: each does one task after the other, each task as a process
//! of its own, as commands do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeboat_model::clock::Sleep;
use lifeboat_model::{Cancel, Clock, Timestamp};
use lifeboat_repository::lock::LockOwner;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::Scene;
use super::disk::{DISKS_MAX, DiskId, Process};
use super::model::{Model, SKEW_SECONDS};
use super::tasks::{Run, Task};
use super::weather::Weather;
use super::world::{ActorId, Wish, World};

/// The bytes of the repositories' master keys.
pub(crate) type Keys = [[u8; 64]; DISKS_MAX];

/// A process with this number exists on every machine.
const LIVING_PID: i32 = 1;

/// No machine has so many processes.
const DEAD_PID: i32 = i32::MAX - 1;

/// At which of its writes a process is killed at the latest: some tasks have few, some have many.
const LAST_KILLS: [u64; 3] = [4, 9, 24];

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
    pub(crate) keys: Keys,
    pub(crate) scene: Scene,
}

impl Stage {
    /// Makes a stage on which nothing was done yet, in a world without anybody.
    pub(crate) fn new(scene: Scene, seed: u64, keys: Keys) -> Self {
        let world = Arc::new(World::new(0, 0, Weather::CALM));
        Self { seed, world, model: Mutex::default(), keys, scene }
    }

    /// Returns the disks that have a repository.
    pub(crate) fn disks(&self) -> impl Iterator<Item = DiskId> + use<> {
        (0..self.scene.disks()).map(DiskId)
    }

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
            let task = Task::draw(self.stage.scene, &mut self.rng);
            result = result.and_then(|()| self.perform(task).map(drop));
        }
        self.stage.world.end(self.id);
        result
    }

    /// Does a task; tells whether it was done. An error is what must never be.
    pub(crate) fn perform(&mut self, task: Task) -> Result<bool, String> {
        let per_mille = self.stage.world.lock().weather.killed_per_mille;
        let killed = self.rng.random_ratio(per_mille, 1000);
        let last = *LAST_KILLS.choose(&mut self.rng).expect("there is a choice");
        let killed_at = self.rng.random_range(1..=last);
        let run = self.begin(killed.then_some(killed_at));
        run.perform(task, &mut self.rng)
    }

    /// Begins a process.
    pub(crate) fn begin(&mut self, killed_at: Option<u64>) -> Run<'s> {
        self.processes += 1;
        Run {
            stage: self.stage,
            process: Arc::new(Process::new(self.id, killed_at)),
            owner: LockOwner {
                hostname: format!("host-{}", self.id.0),
                username: "somebody".to_owned(),
                pid: if killed_at.is_some() { DEAD_PID } else { LIVING_PID },
                uid: 0,
                gid: 0,
            },
            clock: Arc::clone(&self.clock),
            cancel: Cancel::new(),
            nonces: self.rng.random(),
            tag: format!("{:x}-{}-{}", self.stage.seed, self.id.0, self.processes),
        }
    }
}
