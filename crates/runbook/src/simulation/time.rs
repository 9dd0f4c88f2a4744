//! Time that moves on when nobody has anything left to do, to the next moment that somebody waits for.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lifeboat_model::clock::Sleep;
use lifeboat_model::{Clock, Timestamp};

use super::world::Life;

/// A clock for [`play`].
#[derive(Debug)]
pub struct SimulatedTime(Mutex<State>);

#[derive(Debug)]
struct State {
    now: Timestamp,
    next: u64,
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
}

impl SimulatedTime {
    /// Returns a clock that stands at `start`.
    pub const fn new(start: Timestamp) -> Self {
        Self(Mutex::new(State { now: start, next: 0, sleepers: BTreeMap::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves on to the next moment that somebody waits for; tells whether there was one.
    fn advance(&self) -> bool {
        let mut state = self.state();
        let Some(((moment, _), waker)) = state.sleepers.pop_first() else { return false };
        state.now = state.now.max(moment);
        drop(state);
        waker.wake();
        true
    }
}

impl Clock for SimulatedTime {
    fn now(&self) -> Timestamp {
        self.state().now
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        Box::pin(Nap { time: self, duration, until: None })
    }
}

/// A sleep; it begins when it is first looked at.
struct Nap<'a> {
    time: &'a SimulatedTime,
    duration: Duration,
    until: Option<(Timestamp, u64)>,
}

impl Future for Nap<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.time.state();
        let until = self.until.unwrap_or_else(|| {
            state.next += 1;
            (state.now.saturating_add(self.duration).unwrap_or(Timestamp::MAX), state.next)
        });
        if state.now >= until.0 {
            state.sleepers.remove(&until);
            return Poll::Ready(());
        }
        state.sleepers.insert(until, cx.waker().clone());
        drop(state);
        self.until = Some(until);
        Poll::Pending
    }
}

impl Drop for Nap<'_> {
    fn drop(&mut self) {
        if let Some(until) = &self.until {
            self.time.state().sleepers.remove(until);
        }
    }
}

/// Lets `work` go on to its end, with `meanwhile` called whenever it has nothing to do; returns nothing if
/// its process was killed.
pub fn play<T>(
    time: &Arc<SimulatedTime>,
    work: impl Future<Output = T>,
    life: &Life,
    mut meanwhile: impl FnMut(),
) -> Option<T> {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match work.as_mut().poll(&mut context) {
            _ if life.is_over() => return None,
            Poll::Ready(ended) => return Some(ended),
            Poll::Pending => {}
        }
        let before = life.heartbeat();
        meanwhile();
        if life.heartbeat() == before {
            assert!(time.advance(), "nothing will ever happen any more");
        }
    }
}
