//! A flag that asks running work to stop at its next safe point.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// The work goes on.
const RUNNING: u8 = 0;

/// The work stops, and may note down what it did.
const STOPPING: u8 = 1;

/// The work stops and writes nothing any more.
const REVOKED: u8 = 2;

/// Somebody without whom the work must not write, like whoever holds its lock.
pub trait Keeper: Debug + Send + Sync {
    /// Revokes the work if it must not go on. It may be long since anybody looked: threads that look
    /// now and then stand still while the machine sleeps, and need not be the first to wake.
    fn look(&self);
}

#[derive(Debug, Default)]
struct Shared {
    state: AtomicU8,
    keepers: Mutex<Vec<Weak<dyn Keeper>>>,
    stopped: Notify,
}

/// A cancellation flag; clones share it.
///
/// Work polls it where stopping leaves everything consistent. Once set it stays set.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Shared>);

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
        self.stop(STOPPING);
    }

    /// Asks the work to stop without so much as noting down what it did: the lock under which it
    /// wrote is lost, so that what it stored may be gone.
    pub fn revoke(&self) {
        self.stop(REVOKED);
    }

    fn stop(&self, state: u8) {
        self.0.state.fetch_max(state, Ordering::Relaxed);
        self.0.stopped.notify_waiters();
    }

    /// Tells whether the work was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.state.load(Ordering::Relaxed) > RUNNING
    }

    /// Fails once the work was asked to stop; for use with `?` inside loops.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Waits for `wait` to end, but no longer than until the work is asked to stop.
    pub async fn cut_short<W: Future>(&self, wait: W) -> Result<W::Output, Cancelled> {
        // Made before the flag is looked at: whoever sets it from then on is heard.
        let stopped = self.0.stopped.notified();
        self.check()?;
        tokio::select! {
            biased;
            ended = wait => Ok(ended),
            () = stopped => Err(Cancelled),
        }
    }

    /// Lets somebody be asked before the work writes, as long as there is anybody.
    pub fn heed(&self, keeper: Weak<dyn Keeper>) {
        self.keepers().push(keeper);
    }

    /// Fails once the work must write nothing any more, not even what it did; asks the keepers first.
    pub fn check_may_write(&self) -> Result<(), Cancelled> {
        let mut keepers = self.keepers();
        keepers.retain(|keeper| keeper.strong_count() > 0);
        let present: Vec<_> = keepers.iter().filter_map(Weak::upgrade).collect();
        // A keeper may take its time, and may revoke this flag.
        drop(keepers);
        for keeper in present {
            keeper.look();
        }
        if self.0.state.load(Ordering::Relaxed) == REVOKED { Err(Cancelled) } else { Ok(()) }
    }

    fn keepers(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn Keeper>>> {
        self.0.keepers.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test]
    async fn a_wait_ends_when_the_work_is_asked_to_stop() {
        let cancel = Cancel::new();
        assert_eq!(cancel.cut_short(std::future::ready(7)).await, Ok(7));
        let other = cancel.clone();
        let (cut, ()) =
            tokio::join!(cancel.cut_short(std::future::pending::<()>()), async { other.cancel() });
        assert_eq!(cut, Err(Cancelled));
        assert_eq!(cancel.cut_short(std::future::pending::<()>()).await, Err(Cancelled));
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

    #[test]
    fn keepers_are_asked_before_anything_is_written_while_they_are_there() {
        #[derive(Debug)]
        struct Lost(Cancel);
        impl Keeper for Lost {
            fn look(&self) {
                self.0.revoke();
            }
        }
        let cancel = Cancel::new();
        let gone: Arc<dyn Keeper> = Arc::new(Lost(cancel.clone()));
        cancel.heed(Arc::downgrade(&gone));
        drop(gone);
        assert_eq!(cancel.check_may_write(), Ok(()));
        let lost: Arc<dyn Keeper> = Arc::new(Lost(cancel.clone()));
        cancel.heed(Arc::downgrade(&lost));
        assert_eq!(cancel.check(), Ok(()), "only what writes asks");
        assert_eq!(cancel.check_may_write(), Err(Cancelled));
    }
}
