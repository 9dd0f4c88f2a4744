//! Simulations of a repository in use: several writers on two disks, or on three tiers at once, with
//! everything that goes wrong decided by one number.
//!
//! [`simulate`] runs one seed: tasks of the real code in a simulated world ([`world`]), a plain map of
//! what ought to be beside it ([`model`]), and at the end, when the weather is calm again, the
//! verdict. A seed replays to the last byte: names, times and order are the same every time.
//!
//! # Invariants
//!
//! - Every snapshot that can be seen is whole and holds what its backup was given, as read by the
//!   code under test and by another reader that shares nothing with it ([`reader`]).
//! - Every snapshot that was acknowledged is there unless somebody asked to forget it.
//! - No two hold locks at the same time that do not bear each other.
//! - Whatever happened, the next backup completes.
//! - Nothing that a snapshot needs is ever removed: each time somebody forgot, pruned or repaired,
//!   well or not, everything that can be seen is whole.
//! - The last prune leaves nothing that nobody needs.
//! - Once all tiers are back and caught up, each has what nobody asked to forget anywhere.
//! - What a failing disk loses at the end is named, costs only what it held, and can be repaired.
//! - No error is of a sort that nothing of what happened explains.
//!
//! # Limits
//!
//! See [`world`] for what is not simulated.

mod actor;
mod disk;
mod model;
mod reader;
mod tally;
mod tasks;
mod tiers;
mod verdict;
mod weather;
mod world;
mod wreck;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use actor::{Actor, Keys, Stage};
pub use tally::{Deed, Tally};
use weather::Weather;
use world::{ActorId, World};

/// How many actors a simulation has at most.
const ACTORS_MAX: usize = 3;

/// How many tasks each of them does at most.
const TASKS_MAX: usize = 6;

/// What a simulation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Story {
    /// How many requests reached a disk.
    pub operations: u64,
    /// The same for two runs in which the same happened.
    pub digest: u64,
    /// What lay on the disks when all had ended.
    pub remains: Remains,
    /// What happened how often.
    pub tally: Tally,
}

/// What lies on the disks when all have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Remains {
    /// How many snapshots.
    pub snapshots: usize,
    /// How many packs that no index lists.
    pub orphans: usize,
    /// How many blobs that no snapshot needs.
    pub unneeded: usize,
}

/// What must never be happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// In which simulation.
    pub seed: u64,
    /// What it is.
    pub what: String,
    /// All that happened before, if that was asked for.
    pub trace: Vec<String>,
}

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Writers on two disks.
    Disks,
    /// A site whose backups go to three tiers at once, any of which may be down.
    Tiers,
}

/// Whether what happens is kept in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Only what went wrong.
    Brief,
    /// Everything.
    Full,
}

/// Runs the simulation of a seed.
pub fn simulate(scene: Scene, seed: u64, telling: Telling) -> Result<Story, Broken> {
    let mut rng = StdRng::seed_from_u64(seed);
    let weather = scene.weather(&mut rng);
    let weather = Weather { listing: weather.listing.of_seed(seed), ..weather };
    let actors = rng.random_range(1..=ACTORS_MAX);
    let tasks = rng.random_range(2..=TASKS_MAX);
    let world = Arc::new(World::new(rng.random(), actors, weather));
    if telling == Telling::Full {
        world.lock().trace.lines = Some(vec![format!("{weather:?}")]);
    }
    let stage = Stage { world, ..Stage::new(scene, scene.own(seed), scene.draw_keys(&mut rng)) };
    let verdict = verdict::prepare(&stage, &mut rng)
        .and_then(|()| live(&stage, actors, tasks))
        .and_then(|()| verdict::judge(&stage, &mut rng));
    let mut after = stage.world.lock();
    let trace = after.trace.lines.take().unwrap_or_default();
    let (operations, digest, tally) = (after.trace.operations, after.trace.digest(), after.tally);
    drop(after);
    match verdict {
        Ok(remains) => Ok(Story { operations, digest, remains, tally }),
        Err(what) => Err(Broken { seed, what, trace }),
    }
}

impl Scene {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Disks, Self::Tiers];

    /// Returns a seed that no other scene has, and that is another one if its halves change places.
    const fn own(self, seed: u64) -> u64 {
        match self {
            Self::Disks => seed,
            Self::Tiers => seed ^ (1 << 62),
        }
    }

    /// Returns how many disks have a repository.
    const fn disks(self) -> usize {
        match self {
            Self::Disks => 2,
            Self::Tiers => 3,
        }
    }

    fn weather(self, rng: &mut StdRng) -> Weather {
        let weather = Weather::draw(rng);
        match self {
            Self::Disks => weather,
            Self::Tiers => tiers::weather(weather, rng),
        }
    }

    /// Draws a key for each repository: on two disks in half of all simulations the same, on the tiers of a
    /// site always.
    fn draw_keys(self, rng: &mut StdRng) -> Keys {
        let first: [u8; 64] = std::array::from_fn(|_| rng.random());
        let is_same = self == Self::Tiers || rng.random();
        let second = if is_same { first } else { std::array::from_fn(|_| rng.random()) };
        [first, second, first]
    }
}

/// Lets all actors live their lives.
fn live(stage: &Stage, actors: usize, tasks: usize) -> Result<(), String> {
    thread::scope(|scope| {
        let lives: Vec<_> = (0..actors)
            .map(|id| {
                scope.spawn(move || {
                    let life = || Actor::new(stage, ActorId(id)).live(tasks);
                    catch_unwind(AssertUnwindSafe(life)).unwrap_or_else(|panic| {
                        // The others wait for everybody.
                        stage.world.end(ActorId(id));
                        Err(format!("a panic: {}", words(&*panic)))
                    })
                })
            })
            .collect();
        let results: Vec<_> = lives.into_iter().map(thread::ScopedJoinHandle::join).collect();
        results.into_iter().try_for_each(|result| result.unwrap_or(Ok(())))
    })
}

/// Returns what a panic says.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}
