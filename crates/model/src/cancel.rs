//! A flag that asks running work to stop at its next safe point.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The work goes on.
const RUNNING: u8 = 0;

/// The work stops, and may note down what it did.
const STOPPING: u8 = 1;

/// The work stops and writes nothing any more.
const REVOKED: u8 = 2;

/// A cancellation flag; clones share it.
///
/// Work polls it where stopping leaves everything consistent. Once set it stays set.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicU8>);

/// The work was asked to stop and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

impl Cancel {
    /// Returns a flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop.
    pub fn cancel(&self) {
        self.0.fetch_max(STOPPING, Ordering::Relaxed);
    }

    /// Asks the work to stop without so much as noting down what it did: the lock under which it
    /// wrote is lost, so that what it stored may be gone.
    pub fn revoke(&self) {
        self.0.fetch_max(REVOKED, Ordering::Relaxed);
    }

    /// Tells whether the work was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) > RUNNING
    }

    /// Fails once the work was asked to stop; for use with `?` inside loops.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Fails once the work must write nothing any more, not even what it did.
    pub fn check_may_write(&self) -> Result<(), Cancelled> {
        if self.0.load(Ordering::Relaxed) == REVOKED { Err(Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_flag() {
        let cancel = Cancel::new();
        let other = cancel.clone();
        assert_eq!(other.check(), Ok(()));
        cancel.cancel();
        assert_eq!(other.check(), Err(Cancelled));
    }

    #[test]
    fn what_is_revoked_stays_revoked() {
        let cancel = Cancel::new();
        cancel.cancel();
        assert_eq!(cancel.check_may_write(), Ok(()));
        cancel.revoke();
        cancel.cancel();
        assert_eq!((cancel.check(), cancel.check_may_write()), (Err(Cancelled), Err(Cancelled)));
    }
}
