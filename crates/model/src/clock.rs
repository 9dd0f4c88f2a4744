//! Where time comes from, so that whatever depends on time can be tested without waiting.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::cancel::Cancel;

/// A future that completes after a while.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The only source of the current time and of waiting.
pub trait Clock: Debug + Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Waits for `duration`.
    fn sleep(&self, duration: Duration) -> Sleep<'_>;
}

/// The machine's clock; whoever polls a sleep needs a tokio runtime with its timer enabled, and who makes one does not.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        // Tokio's own looks for the runtime as soon as it is made.
        Box::pin(async move { tokio::time::sleep(duration).await })
    }
}

/// A simulated clock: sleeping returns at once and moves the time on.
#[derive(Debug)]
pub struct SimClock(Mutex<Timestamp>);

impl SimClock {
    /// Returns a clock that stands at `start`.
    pub const fn new(start: Timestamp) -> Self {
        Self(Mutex::new(start))
    }

    /// Moves the time on by `duration`; it stops at the largest representable time.
    pub fn advance(&self, duration: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.saturating_add(duration).unwrap_or(Timestamp::MAX);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        self.advance(duration);
        Box::pin(std::future::ready(()))
    }
}

/// A clock that stands still: no wait ever ends, and each asks the work to stop, as somebody who has had
/// enough of it.
#[derive(Debug)]
pub struct StillClock {
    now: Timestamp,
    cancel: Cancel,
}

impl StillClock {
    /// Returns a clock that stands at `now`.
    pub const fn new(now: Timestamp, cancel: Cancel) -> Self {
        Self { now, cancel }
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn sleep(&self, _: Duration) -> Sleep<'_> {
        Box::pin(async {
            self.cancel.cancel();
            std::future::pending::<()>().await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_can_be_made_where_no_runtime_is() {
        let sleep = SystemClock.sleep(Duration::ZERO);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(sleep);
    }

    #[test]
    fn a_simulated_clock_moves_only_when_told() {
        let clock = SimClock::new(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_hours(1));
        assert_eq!(clock.now().as_second(), 3600);
    }
}
