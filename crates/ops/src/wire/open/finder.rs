//! Opens tiers, on whichever thread.

use std::time::Duration;

use lifeboat_model::{Cancel, EventSink, TierName};
use lifeboat_repository::{Indexed, Repository, RepositoryError};

use super::{Found, OpenTier};
use crate::error::{OpsError, Trouble};
use crate::named_tier::NamedTier;
use crate::recovery_key::RecoveryKey;
use crate::wire::{Place, Reached, Site, Vacancy, repositories};

/// How often it is looked for the key of a repository that was made just now, and for how long: listings lag by seconds
/// where they do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOKS_MAX: u32 = 60;

/// Opens tiers, on whichever thread.
#[derive(Debug)]
pub(super) struct Finder {
    pub(super) site: Site,
    pub(super) key: RecoveryKey,
    pub(super) cancel: Cancel,
}

impl Finder {
    /// Opens a tier, if one is there.
    pub(super) fn look(&self, name: &TierName, events: &dyn EventSink) -> Found {
        match self.site.reach(name) {
            Reached::Vacant(vacancy) => Found::Vacant(vacancy),
            Reached::Trouble(trouble) => Found::Tier(Box::new(Err(trouble))),
            Reached::Ready(tier) => match self.open(tier.clone(), events) {
                // A kill between the mark and the config left a tier without a repository.
                Err(OpsError::Repository(RepositoryError::NoRepository { .. })) => {
                    let (name, address) = (name.clone(), tier.tier.address().to_owned());
                    let place = Place::Empty(tier.tier);
                    Found::Vacant(Vacancy { name, address, place })
                }
                opened => Found::Tier(Box::new(opened.map_err(|error| Trouble::of(&error)))),
            },
        }
    }

    pub(super) fn open(
        &self,
        named: NamedTier,
        events: &dyn EventSink,
    ) -> Result<OpenTier, OpsError> {
        let surroundings = self.site.surroundings();
        let repository = repositories::open(&named, &self.key, surroundings, events, &self.cancel)?;
        Ok(OpenTier { named, repository })
    }

    /// Waits until a listing shows the key of a repository that was made just now: whoever opens it next looks for it there.
    pub(super) fn await_key(&self, repository: &Repository<Indexed>) -> Result<(), OpsError> {
        let surroundings = self.site.surroundings();
        for _ in 0..LOOKS_MAX {
            if !repository.keys()?.is_empty() {
                break;
            }
            let pause = async { surroundings.clock.sleep(LOOK_EVERY).await };
            surroundings.runtime.block_on(self.cancel.cut_short(pause))?;
        }
        Ok(())
    }
}
