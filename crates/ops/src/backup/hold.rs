//! The lock under which a backup works on one tier, and that it ends there alone if it is lost.

use std::cell::OnceCell;

use lifeboat_model::{Cancel, EventSink};
use lifeboat_repository::lock::LockGuard;

use crate::error::{OpsError, Trouble};
use crate::wire::Site;
use crate::wire::open::{OpenTier, begin_lock};

/// A tier that is held: nobody removes anything there.
#[derive(Debug)]
pub(super) struct Hold {
    guard: LockGuard,
    cancel: Cancel,
    lost: OnceCell<Trouble>,
}

impl Hold {
    /// Locks a tier. Whether somebody else was quicker turns out while its assets are read.
    pub(super) fn begin(
        site: &Site,
        tier: &OpenTier,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Self, Trouble> {
        let cancel = Cancel::part_of(&[cancel]);
        let guard = begin_lock(site, tier, events, &cancel);
        let guard = guard.map_err(|error| Trouble::of(&error))?;
        Ok(Self { guard, cancel, lost: OnceCell::new() })
    }

    /// Returns the flag that stops what is done on this tier.
    pub(super) const fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Returns the lock.
    pub(super) const fn guard(&self) -> &LockGuard {
        &self.guard
    }

    /// Returns why nothing more may be done on this tier, if that is known.
    pub(super) fn lost(&self) -> Option<&Trouble> {
        self.lost.get()
    }

    /// Finds out, after work on this tier failed, whether that is since the lock is lost.
    pub(super) fn ask(&self) -> Option<&Trouble> {
        if self.lost.get().is_none()
            && self.cancel.is_cancelled()
            && let Err(error) = self.guard.check()
        {
            let trouble = Trouble::of(&OpsError::from(error));
            return Some(self.lost.get_or_init(|| trouble));
        }
        self.lost.get()
    }
}
