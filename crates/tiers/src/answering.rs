//! Whether a tier answers, as far as whoever asks it knows; clones know the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lifeboat_model::{Classify, ErrorKind};

use crate::TierError;

/// What is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It never answered.
    Unasked,
    /// It answered, whatever it said.
    Answers,
    /// Something was asked of it as often as is tried, and it did not answer.
    GivenUp,
}

/// Whether a tier answers.
#[derive(Debug, Clone, Default)]
pub struct Answering(Arc<Known>);

#[derive(Debug)]
struct Known {
    state: AtomicU8,
    is_told: AtomicBool,
    begun: Instant,
    /// When it was heard of last, in milliseconds since it was begun.
    heard_ms: AtomicU64,
}

impl Default for Known {
    fn default() -> Self {
        let (state, is_told, heard_ms) = Default::default();
        Self { state, is_told, begun: Instant::now(), heard_ms }
    }
}

impl Answering {
    pub(crate) fn state(&self) -> State {
        match self.0.state.load(Ordering::Relaxed) {
            0 => State::Unasked,
            1 => State::Answers,
            _ => State::GivenUp,
        }
    }

    /// Returns how long nothing was heard of it.
    pub fn silent_for(&self) -> Duration {
        let heard = Duration::from_millis(self.0.heard_ms.load(Ordering::Relaxed));
        self.0.begun.elapsed().saturating_sub(heard)
    }

    /// Takes note that something came of it.
    pub(crate) fn sign(&self) {
        let now = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.heard_ms.fetch_max(now, Ordering::Relaxed);
    }

    /// Takes note of how something ended that was asked of it.
    pub(crate) fn heard<T>(&self, ended: &Result<T, TierError>) {
        let answered =
            |error: &TierError| !error.is_without_answer() && error.kind() != ErrorKind::Cancelled;
        if ended.as_ref().err().is_none_or(answered) {
            self.0.state.store(1, Ordering::Relaxed);
            self.sign();
        }
    }

    /// Takes note that something is not asked of it any more that failed like this.
    pub(crate) fn gave_up(&self, error: &TierError) {
        if error.is_without_answer() {
            self.0.state.store(2, Ordering::Relaxed);
        }
    }

    /// Tells whether nobody was told yet that it did not answer; from now on somebody was.
    pub(crate) fn is_told_first(&self) -> bool {
        !self.0.is_told.swap(true, Ordering::Relaxed)
    }
}
