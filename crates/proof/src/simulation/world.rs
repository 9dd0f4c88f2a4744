//! The world of a simulation: one clock, some disks, and whose turn it is.
//!
//! Whoever works in a simulated world is an actor with threads of its own, as the real code has
//! them. Each time one of them asks a tier or sleeps, it comes here and waits for its turn; only
//! when every actor waits is the next turn given, by the seed. So one actor runs at a time, and a
//! seed decides in which order everything happens.
//!
//! # Invariants
//!
//! - At most one turn is out. Whoever has it does one thing to the world and gives it back when he
//!   comes again or ends.
//! - Everything that is drawn, is drawn by who has the turn, from one generator.
//!
//! # Limits
//!
//! - Reading a pack takes no turn, since several threads of one operation do that at once; packs
//!   never change, and whether such a read fails is decided by what is read, not by when.
//! - An operation must ask for everything else with one thread at a time
//!   ([`lifeboat_repository::Store::with_requests_max`]).
//! - The thread of a lock guard looks at the machine's clock. It would disturb a seed that takes five
//!   seconds; one takes milliseconds.

use std::hash::Hasher as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeboat_model::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::disk::{DISKS_MAX, Disk};
use super::tally::{Deed, Tally};
use super::weather::Weather;

/// When every simulation begins, in seconds since 1970.
const EPOCH_SECONDS: i64 = 1_750_000_000;

/// How often, in a thousand, whoever had the last turn gets the next one as well; high enough that
/// whole operations happen between two others, low enough that operations happen in the middle.
const STAYS: u32 = 700;

/// Which actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ActorId(pub(crate) usize);

/// What somebody waits for a turn to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Something that must not be on its way while the machine sleeps: a snapshot, an index or a
    /// removal that is, arrives when the machine wakes, whatever became of the lock. No lock that a
    /// tier cannot enforce keeps that from happening.
    Promptly,
    /// Something before which the machine may fall asleep.
    Whenever,
    /// Going on at a time.
    Wake(Timestamp),
}

#[derive(Debug, Default)]
struct Actor {
    /// What it waits to do, if it waits.
    wish: Option<Wish>,
    ended: bool,
}

/// What only who has the turn may touch.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) rng: StdRng,
    pub(crate) now: Timestamp,
    pub(crate) disks: [Disk; DISKS_MAX],
    pub(crate) weather: Weather,
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    actors: Vec<Actor>,
    /// Who has the turn.
    turn: Option<ActorId>,
    last: ActorId,
}

/// What happened, as a number that tells two runs apart, and in words if somebody wants to read it.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) lines: Option<Vec<String>>,
    hash: std::hash::DefaultHasher,
    pub(crate) operations: u64,
}

impl Trace {
    pub(crate) fn note(&mut self, words: impl FnOnce() -> String) {
        let words = words();
        self.hash.write(words.as_bytes());
        self.operations += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(words);
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.hash.finish()
    }
}

/// A simulated world.
#[derive(Debug)]
pub(crate) struct World {
    state: Mutex<State>,
    /// One for each actor, so that a turn wakes nobody else.
    turns: Vec<Condvar>,
}

impl World {
    /// Makes a world of `actors`, none of whom has come yet.
    pub(crate) fn new(seed: u64, actors: usize, weather: Weather) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            now: Timestamp::from_second(EPOCH_SECONDS).expect("it is in our time"),
            disks: std::array::from_fn(|_| Disk::default()),
            weather,
            trace: Trace::default(),
            tally: Tally::default(),
            actors: (0..actors).map(|_| Actor::default()).collect(),
            turn: None,
            last: ActorId(0),
        };
        Self { state: Mutex::new(state), turns: (0..actors).map(|_| Condvar::new()).collect() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    pub(crate) fn take_turn(&self, who: ActorId, wish: Wish) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        let actor = &mut state.actors[who.0];
        assert!(actor.wish.is_none(), "an operation asks with two threads at once");
        actor.wish = Some(wish);
        if state.turn.is_none_or(|turn| turn == who) {
            self.give_turn(&mut state);
        }
        while state.turn != Some(who) {
            state = self.turns[who.0].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Goes without a turn: the actor's work has ended.
    pub(crate) fn end(&self, who: ActorId) {
        let mut state = self.lock();
        state.actors[who.0].ended = true;
        self.give_turn(&mut state);
    }

    /// Gives the turn to one of those who wait, if everybody does.
    fn give_turn(&self, state: &mut State) {
        state.turn = None;
        if state.actors.iter().any(|actor| actor.wish.is_none() && !actor.ended) {
            return;
        }
        let Some(who) = state.choose() else { return };
        let wish = state.actors[who.0].wish.take();
        state.pass_time(wish.unwrap_or(Wish::Promptly));
        state.turn = Some(who);
        state.last = who;
        self.turns[who.0].notify_all();
    }
}

impl State {
    fn choose(&mut self) -> Option<ActorId> {
        let soonest = self.actors.iter().filter_map(|actor| match actor.wish? {
            Wish::Wake(at) => Some(at),
            Wish::Promptly | Wish::Whenever => Some(Timestamp::MIN),
        });
        // When all sleep, the night is short.
        self.now = self.now.max(soonest.min()?);
        let is_ready = |actor: &Actor| match actor.wish {
            Some(Wish::Wake(at)) => at <= self.now,
            Some(_) => true,
            None => false,
        };
        if is_ready(&self.actors[self.last.0]) && self.rng.random_ratio(STAYS, 1000) {
            return Some(self.last);
        }
        let ready: Vec<usize> =
            (0..self.actors.len()).filter(|index| is_ready(&self.actors[*index])).collect();
        Some(ActorId(ready[self.rng.random_range(0..ready.len())]))
    }

    fn pass_time(&mut self, wish: Wish) {
        let mut step = Duration::from_millis(self.rng.random_range(1..=20));
        let weather = self.weather;
        // What another has on its way arrives before a lock can have gone stale.
        let others_are_prompt = self.actors.iter().any(|actor| actor.wish == Some(Wish::Promptly));
        let is_slow = self.rng.random_ratio(weather.slow_per_mille, 1000);
        if is_slow && !others_are_prompt {
            step = Duration::from_secs(self.rng.random_range(1..=200));
            self.tally.note(Deed::Slow);
        }
        let sleeps = self.rng.random_ratio(weather.sleep_per_mille, 1000);
        if sleeps && wish == Wish::Whenever && !others_are_prompt {
            step = Duration::from_mins(self.rng.random_range(20..=60));
            self.tally.note(Deed::MachineSlept);
        }
        self.now = self.now.saturating_add(step).unwrap_or(Timestamp::MAX);
    }

    /// Moves the time on.
    pub(crate) fn advance(&mut self, duration: Duration) {
        self.now = self.now.saturating_add(duration).unwrap_or(Timestamp::MAX);
    }
}
