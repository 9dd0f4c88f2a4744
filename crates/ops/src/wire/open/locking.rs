//! The locks of a tier's repository, and what is waited for where listings lag.

use std::time::Duration;

use lifeboat_model::{Cancel, Capability, Event, EventSink, Stage};
use lifeboat_repository::RepositoryError;
use lifeboat_repository::lock::{LISTING_LAG_MAX, LockGuard, LockKind, LockOptions, LockOwner};
use lifeboat_tiers::{Refusal, TierError};

use super::{OpenSite, OpenTier};
use crate::catalog::view::Wanted;
use crate::error::OpsError;
use crate::wire::Site;

/// How long a wait is that somebody is told of: what is over sooner nobody wonders about.
const TOLD_FROM: Duration = Duration::from_secs(2);

impl OpenSite<'_> {
    /// Locks a tier's repository for work that removes something: nobody else is there.
    pub(crate) fn lock_alone(
        &self,
        tier: &OpenTier,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<LockGuard, RepositoryError> {
        self.lock(tier, LockKind::Exclusive, events, cancel)
    }

    /// Locks a tier's repository like [`begin_lock`], but waits until it is certain.
    fn lock(
        &self,
        tier: &OpenTier,
        kind: LockKind,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<LockGuard, RepositoryError> {
        let clock = &self.site.surroundings().clock;
        let options = LockOptions::new(kind);
        let is_prompt = tier.named.tier.capabilities().has(Capability::PromptListing);
        let waits = kind == LockKind::Exclusive && !is_prompt;
        if waits {
            events.emit(Event::Started { stage: Stage::Listings, total: None });
        }
        let held = LockGuard::acquire(&tier.repository, &options, clock, cancel);
        if waits {
            events.emit(Event::Finished { stage: Stage::Listings });
        }
        let held = held?;
        tier.repository.refresh_index(cancel, events)?;
        Ok(held)
    }

    /// Locks a tier's repository for reading; one that cannot be written to is read without, since
    /// nobody can prune it either.
    pub(crate) fn lock_to_read(
        &self,
        tier: &OpenTier,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Option<LockGuard>, OpsError> {
        match self.lock(tier, LockKind::Shared, events, cancel) {
            Ok(held) => {
                self.wait_for_listings(tier, events, cancel)?;
                Ok(Some(held))
            }
            Err(RepositoryError::Tier(
                error @ (TierError::Denied { .. }
                | TierError::Refused { refusal: Refusal::NotAllowed, .. }),
            )) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, tier = %tier.named.name, "It is read without a lock.");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits, where listings may lag, until what was recorded last is listed with everything that it needs.
    fn wait_for_listings(
        &self,
        tier: &OpenTier,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), OpsError> {
        if tier.named.tier.capabilities().has(Capability::PromptListing) {
            return Ok(());
        }
        let (surroundings, name) = (self.site.surroundings(), Some(&tier.named.name));
        let wanted = Wanted { kind: "asset-backed-up", asset: None, tier: name, good_only: false };
        let Some(newest) = self.catalog.view().latest(wanted, 1)?.pop() else { return Ok(()) };
        let age = Duration::try_from(surroundings.now().duration_since(newest.header().time));
        let rest = LISTING_LAG_MAX.saturating_sub(age.unwrap_or_default());
        if rest.is_zero() {
            return Ok(());
        }
        if rest >= TOLD_FROM {
            events.emit(Event::Started { stage: Stage::Listings, total: None });
        }
        let pause = async { cancel.cut_short(surroundings.clock.sleep(rest)).await };
        let paused = surroundings.runtime.block_on(pause);
        events.emit(Event::Finished { stage: Stage::Listings });
        paused?;
        Ok(tier.repository.refresh_index(cancel, events)?)
    }
}

/// Locks a tier's repository against deletion, and leaves it open whether somebody else was quicker, see
/// [`LockGuard::begin`]. Its index is that of now: it was loaded before the lock was held, so a prune
/// may have come in between.
pub(crate) fn begin_lock(
    site: &Site,
    tier: &OpenTier,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<LockGuard, RepositoryError> {
    let (owner, clock) = (LockOwner::this_process(), &site.surroundings().clock);
    let held = LockGuard::begin(&tier.repository, owner, clock, cancel)?;
    tier.repository.refresh_index(cancel, events)?;
    Ok(held)
}
