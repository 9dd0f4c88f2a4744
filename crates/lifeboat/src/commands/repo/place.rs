//! Which repository a word of the command line means: one at an address, or that of a tier of the plan.
//!
//! `tier:NAME` always means the tier, and so does `tier:ADDRESS`. A bare name means it, too, where nothing lies at that path; where something does, it
//! is refused: what plumbing removes must not depend on which plan lies in the directory. All else is an address, of
//! which the plan says nothing.

use std::path::Path;
use std::sync::Arc;

use lifeboat_model::{Capability, Secret, TierName};
use lifeboat_ops::wire::addresses::{Address, Outside};
use lifeboat_ops::wire::repositories;
use lifeboat_ops::{OpsError, Site};
use lifeboat_repository::lock::LISTING_LAG_MAX;
use lifeboat_repository::{Repository, Store};
use lifeboat_tiers::{Listings, ObjectPrefix, Throttle, Tier, TierError, steady};

use super::Access;
use crate::failure::{CommandError, Failure};
use crate::session::Session;
use crate::surroundings;
use crate::tier_argument::TierArgument;

/// What the name of a tier stands behind.
const TIER: &str = "tier:";

/// Where a repository is.
pub enum Place {
    /// Where an address leads.
    Address(Address),
    /// On a tier of the plan.
    Tier(Box<Site>, TierName),
}

impl Place {
    /// Finds out what a word means.
    pub fn find(word: &str, session: &Session) -> Result<Self, Failure> {
        if let Some(name) = word.strip_prefix(TIER) {
            let site = session.site_quietly()?;
            let name = TierArgument::from(name.to_owned()).of(&site)?;
            return Ok(Self::Tier(Box::new(site), name));
        }
        match word.parse() {
            Ok(name) => Self::of_name(&name, session),
            Err(_) => Ok(Self::Address(Address::parse(word)?)),
        }
    }

    /// Takes a name for that of a tier, unless it can only be that of a directory.
    fn of_name(name: &TierName, session: &Session) -> Result<Self, Failure> {
        let here = Self::Address(Address::Directory(name.to_string()));
        let is_path = Path::new(name.as_str()).symlink_metadata().is_ok();
        if surroundings::find_plan(&session.global).is_err() {
            return Ok(here);
        }
        let site = match session.site_quietly() {
            Ok(site) => site,
            // A plan that nobody named and that cannot be read takes no directory away, nor the name of a new one.
            Err(_) if session.global.plan.is_none() => return Ok(here),
            Err(failure) => return Err(failure),
        };
        match (site.plan().tiers().contains_key(name), is_path) {
            (false, _) => Ok(here),
            (true, false) => Ok(Self::Tier(Box::new(site), name.clone())),
            (true, true) => {
                let message = format!("`{name}` is a path here and the name of a tier of the plan");
                let hint = format!(
                    "write `./{name}` for the path, `{TIER}{name}` for the tier's repository"
                );
                Err(CommandError::usage(message, hint).into())
            }
        }
    }

    /// Goes to where the repository is.
    pub fn open(&self, access: &Access, session: &Session) -> Result<Store, Failure> {
        let throttle = Throttle::from(access.bandwidth);
        match self {
            Self::Address(address) => {
                let tier = reach(address, access.listings(), session, Address::open)?;
                Ok(at_root(tier, throttle, session))
            }
            Self::Tier(_, name) if access.prompt_listing => {
                let hint = "leave `--prompt-listing` out; `prompt_listing = true` in the plan says it of a tier";
                let message = format!("the plan says how the tier `{name}` lists");
                Err(CommandError::usage(message, hint).into())
            }
            Self::Tier(site, name) => {
                let named = site.as_ref().clone().with_throttle(throttle).tier(name)?;
                Ok(repositories::store(&named, site.surroundings()))
            }
        }
    }

    /// Makes the directory of a new repository, if it is not there.
    pub fn create(&self, access: &Access, session: &Session) -> Result<Store, Failure> {
        match self {
            Self::Address(address) => {
                let tier = reach(address, access.listings(), session, Address::create)?;
                Ok(at_root(tier, access.bandwidth.into(), session))
            }
            Self::Tier(_, name) => {
                let message = format!("the repository of the tier `{name}` is made with the tier");
                let hint =
                    format!("`lifeboat backup` sets the tier up; write `./{name}` for a directory");
                Err(CommandError::usage(message, hint).into())
            }
        }
    }

    /// Returns what opens it, where the plan knows that.
    pub fn password(&self, session: &Session) -> Result<Option<Secret>, Failure> {
        match self {
            Self::Address(_) => Ok(None),
            Self::Tier(site, _) => Ok(Some(site.recovery_key(&session.cancel)?.spelled())),
        }
    }

    /// Says of a lock beside which there is no other that it takes its time, and what would spare that.
    pub fn announce_wait(&self, repository: &Repository, session: &Session) {
        let store = repository.store();
        if store.tier().capabilities().has(Capability::PromptListing) {
            return;
        }
        session.screen.remark(&self.wait(store.address()));
    }

    fn wait(&self, address: &str) -> String {
        let lag = LISTING_LAG_MAX.as_secs();
        let spare = match self {
            Self::Address(_) => "`--prompt-listing`".to_owned(),
            Self::Tier(_, name) => format!("`prompt_listing = true` for `{name}` in the plan"),
        };
        format!(
            "waiting {} s until listings of {address} show all that others stored and removed, and {lag} s more at the \
             end; where they show it at once, {spare} says so",
            3 * lag
        )
    }

    /// Says that there is no repository, and where one is if a tier of the plan lies at the address.
    pub fn without_repository(&self, address: String, session: &Session) -> CommandError {
        let Self::Address(place) = self else { return CommandError::NoRepository { address } };
        let tier = session.site_quietly().ok().and_then(|site| {
            let place = crate::tier_argument::from_root(place.clone()).ok()?;
            site.tier_at(&place).ok()
        });
        match tier {
            Some(tier) => CommandError::TierNotRepository { address, tier },
            None => CommandError::NoRepository { address },
        }
    }
}

/// Goes to where an address leads.
fn reach(
    address: &Address,
    listings: Listings,
    session: &Session,
    go: impl FnOnce(&Address, Outside<'_>) -> Result<Arc<dyn Tier>, OpsError>,
) -> Result<Arc<dyn Tier>, Failure> {
    let environment = session.process.text_variables();
    let outside = Outside { environment: &environment, clock: &session.clock, listings };
    go(address, outside).map_err(|error| match error {
        OpsError::Tier(TierError::Missing { tier }) => {
            CommandError::NoRepository { address: tier }.into()
        }
        error => error.into(),
    })
}

/// What may pass is tried again, and nothing passes faster than told.
fn at_root(tier: Arc<dyn Tier>, throttle: Throttle, session: &Session) -> Store {
    let tier = steady(tier, &session.clock, throttle, &session.cancel);
    Store::new(tier, session.runtime.clone(), ObjectPrefix::ALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_for_how_long_and_what_spares_it() {
        let place = Place::Address(Address::Directory("/mnt/nas".to_owned()));
        let told = place.wait("file:///mnt/nas");
        for part in ["waiting 30 s", "file:///mnt/nas", "10 s more", "`--prompt-listing`"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
