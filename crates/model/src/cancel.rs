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
    parts: Mutex<Vec<Weak<Shared>>>,
    wholes: Vec<Cancel>,
}

impl Shared {
    fn stop(&self, state: u8) {
        self.state.fetch_max(state, Ordering::Relaxed);
        self.stopped.notify_waiters();
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        for part in parts.iter().filter_map(Weak::upgrade) {
            part.stop(state);
        }
    }
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
        self.0.stop(STOPPING);
    }

    /// Asks the work to stop without so much as noting down what it did: the lock under which it
    /// wrote is lost, so that what it stored may be gone.
    pub fn revoke(&self) {
        self.0.stop(REVOKED);
    }

    /// Returns the flag of a part that several pieces of work have in common: it is set with any of them,
    /// and can be set alone. Before it writes, their keepers are asked as well.
    pub fn part_of(wholes: &[&Self]) -> Self {
        let of = wholes.iter().copied().cloned().collect();
        let part = Self(Arc::new(Shared { wholes: of, ..Shared::default() }));
        for whole in wholes {
            let mut parts = whole.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.retain(|part| part.strong_count() > 0);
            parts.push(Arc::downgrade(&part.0));
            drop(parts);
            // Only now: whoever sets it from here on finds the part.
            part.0.stop(whole.0.state.load(Ordering::Relaxed));
        }
        part
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
        self.ask();
        if self.0.state.load(Ordering::Relaxed) == REVOKED { Err(Cancelled) } else { Ok(()) }
    }

    fn ask(&self) {
        self.0.wholes.iter().for_each(Self::ask);
        let mut keepers = self.keepers();
        keepers.retain(|keeper| keeper.strong_count() > 0);
        let present: Vec<_> = keepers.iter().filter_map(Weak::upgrade).collect();
        // A keeper may take its time, and may revoke this flag.
        drop(keepers);
        for keeper in present {
            keeper.look();
        }
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

    #[test]
    fn a_part_is_set_with_each_whole_and_alone() {
        let (one, other) = (Cancel::new(), Cancel::new());
        let part = Cancel::part_of(&[&one]);
        part.revoke();
        assert_eq!((one.check(), part.check()), (Ok(()), Err(Cancelled)));
        let part = Cancel::part_of(&[&one, &other]);
        other.cancel();
        assert_eq!((one.check(), part.check()), (Ok(()), Err(Cancelled)));
        assert_eq!(part.check_may_write(), Ok(()));
        other.revoke();
        assert_eq!(part.check_may_write(), Err(Cancelled));
        assert_eq!(
            Cancel::part_of(&[&one, &other]).check_may_write(),
            Err(Cancelled),
            "later, too"
        );
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
        assert_eq!(Cancel::part_of(&[&cancel]).check_may_write(), Err(Cancelled));
        assert_eq!(cancel.check_may_write(), Err(Cancelled));
    }
}
