//! What all connections of a line share: the weather, and what was carried so far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::weather::{Subject, Trouble, Way, Weather};

/// How much a line carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carried {
    /// Connections that were opened.
    pub connections: u64,
    /// Requests that came.
    pub requests: u64,
    /// Connections and requests that were struck by trouble.
    pub troubles: u64,
    /// Bytes that clients sent, heads included.
    pub there_bytes: u64,
    /// Bytes that were sent to clients, heads included.
    pub back_bytes: u64,
}

impl Carried {
    /// Returns what was carried since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            connections: self.connections - before.connections,
            requests: self.requests - before.requests,
            troubles: self.troubles - before.troubles,
            there_bytes: self.there_bytes - before.there_bytes,
            back_bytes: self.back_bytes - before.back_bytes,
        }
    }
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Like `PUT`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// What befell it.
    pub trouble: Option<Trouble>,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    rng: StdRng,
    connections: u64,
    troubles: u64,
    asked: Vec<Asked>,
}

/// The weather of one line, and its record.
#[derive(Debug)]
pub(super) struct Sky {
    state: Mutex<State>,
    there_bytes: AtomicU64,
    back_bytes: AtomicU64,
}

impl Sky {
    pub(super) fn new(weather: Weather) -> Self {
        let rng = StdRng::seed_from_u64(weather.seed);
        let state = State { weather, rng, connections: 0, troubles: 0, asked: Vec::new() };
        let (there_bytes, back_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { state: Mutex::new(state), there_bytes, back_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, weather: Weather) {
        let mut state = self.lock();
        state.rng = StdRng::seed_from_u64(weather.seed);
        state.weather = weather;
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.lock().weather.round_trip
    }

    /// Takes note of a new connection and returns what befalls it.
    pub(super) fn connection(&self) -> Option<Trouble> {
        let mut state = self.lock();
        state.connections += 1;
        state.strike(Subject::Connection)
    }

    /// Takes note of a request and returns what befalls it.
    pub(super) fn request(&self, method: &str, target: &str) -> Option<Trouble> {
        let mut state = self.lock();
        let trouble = state.strike(Subject::Request { method, target });
        let (method, target) = (method.to_owned(), target.to_owned());
        state.asked.push(Asked { method, target, trouble: trouble.clone() });
        trouble
    }

    pub(super) fn count(&self, way: Way, bytes: usize) {
        let counter = match way {
            Way::There => &self.there_bytes,
            Way::Back => &self.back_bytes,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn carried(&self) -> Carried {
        let state = self.lock();
        Carried {
            connections: state.connections,
            requests: state.asked.len() as u64,
            troubles: state.troubles,
            there_bytes: self.there_bytes.load(Ordering::Relaxed),
            back_bytes: self.back_bytes.load(Ordering::Relaxed),
        }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }
}

impl State {
    fn strike(&mut self, subject: Subject<'_>) -> Option<Trouble> {
        let struck = self.weather.strike(subject, &mut self.rng);
        self.troubles += u64::from(struck.is_some());
        struck
    }
}
