//! Keeps a host from working on a platform that lives somewhere else.
//!
//! Before anything is captured or removed, every tier of the plan is asked what its catalog tells of moves. A tier that does not
//! tell is not used. Where some do not tell, and all that do are folders of this host, which no other place need see, nothing
//! is known: then nothing is done, unless a person said within [`WORD_HOLDS`] that the platform lives here. What by its `places` in the
//! plan only others see tells nothing here, and nobody waits for it; a folder counts as seen by others where `places` says so.
//!
//! # Limits
//!
//! A move that reached only tiers which this host cannot read is not seen, as long as it can read another one in the
//! network. What it captures meanwhile lies on tiers that the other place did not reach either. A server's user who pushes its log
//! without the daemon cannot read the catalog, and asks nobody. By a plan without places only the tiers that a job opens, and that
//! answered when it began, are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lifeboat_model::{Cancel, Exit, TierName, Timestamp};
use serde::Serialize;

use super::{Known, PlaceError, Residence, own};
use crate::catalog::body::{Body, PlaceTaken, Taking, Whereabouts};
use crate::catalog::view::View;
use crate::catalog::{Catalog, CatalogKeys, CatalogReport};
use crate::ending::Ending;
use crate::error::{OpsError, Trouble};
use crate::inquiry::ask_all;
use crate::named_tier::NamedTier;
use crate::state::{State, StateError};
use crate::wire::open::{Found, OpenSite, was_adopted};
use crate::wire::{Reached, Site};

/// How long a person's word that the platform lives here stands for tiers that cannot be asked.
const WORD_HOLDS: Duration = Duration::from_hours(24);

/// What is known, and of whom it is not.
#[derive(Debug, Clone)]
pub struct Looked {
    /// What is known.
    pub known: Known,
    /// The tiers of the plan that did not tell.
    pub unasked: Vec<TierName>,
}

/// Refuses unless the platform lives here, as the tiers tell; by a plan without places, unless they tell of no move away from
/// here. What does not tell is left out of what was found.
pub(crate) fn expect_home(
    open: &OpenSite<'_>,
    found: &mut [(TierName, Found)],
    learned: &CatalogReport,
) -> Result<(), OpsError> {
    let site = open.site();
    let Some(here) = own(site)? else { return expect_unplanned(site, open.catalog().view()) };
    leave_untold(found, learned);
    let (told, unasked) = ask(open, found, learned)?;
    let known = Known::load(open.catalog().view())?;
    known.expect_at(&here, site.plan())?;
    if may_be_unseen(site, &here, &told, &unasked)
        && !is_fresh_word(&known, site.surroundings().now())
    {
        return Err(PlaceError::Unasked { tiers: unasked }.into());
    }
    Ok(())
}

/// Refuses by a plan without places where the catalog knows of a move away from this host: it may be one of before there were
/// any.
fn expect_unplanned(site: &Site, view: &View) -> Result<(), OpsError> {
    let known = Known::load(view)?;
    if known.residence == Residence::Unsaid && known.underway.is_empty() {
        return Ok(());
    }
    let here = Whereabouts { place: None, host: site.surroundings().hostname.clone() };
    Ok(known.expect_at(&here, site.plan())?)
}

/// Leaves out the tiers whose records could not be read.
fn leave_untold(found: &mut [(TierName, Found)], learned: &CatalogReport) {
    for (name, found) in found {
        let Found::Tier(opened) = found else { continue };
        if opened.is_ok() && !learned.told.contains(name) {
            let sync = learned.tiers.iter().find(|sync| sync.tier == *name);
            let why = sync.and_then(|sync| sync.error.clone()).unwrap_or_default();
            let message = format!("its records cannot be read: {why}");
            let (hint, exit) = (None, Ending::Failed.exit().code());
            **opened = Err(Trouble { ending: Ending::Failed, message, hint, exit, kind: None });
        }
    }
}

/// Records that the platform lives here, where nobody said yet where it does.
pub(crate) fn take_first(open: &OpenSite<'_>) -> Result<(), OpsError> {
    let Some(whereabouts) = own(open.site())? else { return Ok(()) };
    if Known::load(open.catalog().view())?.residence == Residence::Unsaid {
        let (by, after) = (Taking::FirstBackup, BTreeSet::new());
        open.record(Body::PlaceTaken(PlaceTaken { whereabouts, by, after }))?;
    }
    Ok(())
}

/// Asks every tier of the plan that was not gone to; returns those that told, and those that did not. What is nowhere yet tells
/// nothing.
fn ask(
    open: &OpenSite<'_>,
    found: &[(TierName, Found)],
    learned: &CatalogReport,
) -> Result<(BTreeSet<TierName>, Vec<TierName>), OpsError> {
    let mut told = learned.told.clone();
    let (mut unasked, mut others) = (Vec::new(), Vec::new());
    for name in open.site().plan().tiers().keys() {
        match found.iter().find(|(found, _)| found == name) {
            _ if told.contains(name) || !may_tell(open.site(), name)? => {}
            Some((_, found)) if is_new(open, name, found)? => {}
            Some(_) => unasked.push(name.clone()),
            None => others.push(name.clone()),
        }
    }
    let view = open.catalog().view();
    let ready = reach(open.site(), view, &others, &mut unasked)?;
    told.extend(open.catalog().learn(&ready)?);
    unasked.extend(ready.into_iter().map(|tier| tier.name).filter(|name| !told.contains(name)));
    Ok((told, unasked))
}

/// Tells whether a tier can tell anything here: it is neither said to be lost nor seen by other places alone.
fn may_tell(site: &Site, name: &TierName) -> Result<bool, OpsError> {
    Ok(!site.done_without().contains(name) && site.is_seen_here(name)?)
}

/// Tells whether a tier is not there since it was never set up.
fn is_new(open: &OpenSite<'_>, name: &TierName, found: &Found) -> Result<bool, OpsError> {
    let is_nowhere = match found {
        Found::Vacant(_) => true,
        Found::Tier(opened) => {
            let trouble = opened.as_ref().as_ref().err();
            trouble.is_some_and(|trouble| trouble.exit == Exit::NoRepository.code())
        }
    };
    let address = open.site().address(name)?;
    Ok(is_nowhere && !was_adopted(open.catalog().view(), name, &address)?)
}

/// Goes to tiers; those that should be there and are not cannot be asked.
fn reach(
    site: &Site,
    view: &View,
    names: &[TierName],
    unasked: &mut Vec<TierName>,
) -> Result<Vec<NamedTier>, OpsError> {
    let mut ready = Vec::new();
    for (name, reached) in names.iter().zip(ask_all(names, |name| site.reach(name))) {
        match reached {
            Reached::Ready(tier) => ready.push(tier),
            Reached::Vacant(_) if !was_adopted(view, name, &site.address(name)?)? => {}
            Reached::Vacant(_) | Reached::Trouble(_) => unasked.push(name.clone()),
        }
    }
    Ok(ready)
}

/// Tells whether a move may be recorded where nobody looked: all that told need not be seen by any other place, and others did
/// not.
fn may_be_unseen(
    site: &Site,
    here: &Whereabouts,
    told: &BTreeSet<TierName>,
    unasked: &[TierName],
) -> bool {
    let tiers = site.plan().tiers();
    let is_own = |name: &TierName| {
        tiers.get(name).is_none_or(|tier| !tier.is_seen_beside(here.place.as_ref()))
    };
    !unasked.is_empty() && told.iter().all(is_own)
}

fn is_fresh_word(known: &Known, now: Timestamp) -> bool {
    let Residence::Lives { since, by: Taking::Word { .. }, .. } = &known.residence else {
        return false;
    };
    Duration::try_from(now.duration_since(*since)).is_ok_and(|age| age < WORD_HOLDS)
}

/// Asks the tiers where the platform lives, and changes nothing but the catalog's view. Where another process of this host works
/// with that, what it knows is told.
pub fn look(site: &Site, cancel: &Cancel) -> Result<Looked, OpsError> {
    let names: Vec<TierName> = site.plan().tiers().keys().cloned().collect();
    let lock = match site.state_lock() {
        // Whoever works with it asked them when it began.
        Err(StateError::Locked { .. }) => {
            return Ok(Looked { known: known_here(site)?, unasked: Vec::new() });
        }
        other => other?,
    };
    let keys = CatalogKeys::from(&site.recovery_key(cancel)?);
    let catalog = Catalog::open(lock, site.name().clone(), keys, site.surroundings())?;
    let mut unasked = Vec::new();
    let mut wanted = Vec::new();
    for name in names {
        if may_tell(site, &name)? {
            wanted.push(name);
        }
    }
    let ready = reach(site, catalog.view(), &wanted, &mut unasked)?;
    let told = catalog.learn(&ready)?;
    unasked.extend(ready.into_iter().map(|tier| tier.name).filter(|name| !told.contains(name)));
    Ok(Looked { known: Known::load(catalog.view())?, unasked })
}

/// Returns what this host knows without asking anybody.
pub fn known_here(site: &Site) -> Result<Known, OpsError> {
    let state = State::open(&site.surroundings().state_directory)?;
    Ok(Known::load(&View::open(&state.view_path())?)?)
}

/// Refuses where this host knows, without asking anybody, that the platform lives somewhere else.
pub fn expect_as_known(site: &Site) -> Result<(), OpsError> {
    let Some(here) = own(site)? else {
        let state = State::open(&site.surroundings().state_directory)?;
        return expect_unplanned(site, &View::open(&state.view_path())?);
    };
    Ok(known_here(site)?.expect_at(&here, site.plan())?)
}

/// Asks the tiers, and refuses unless the platform lives here.
pub(crate) fn expect_home_now(site: &Site, cancel: &Cancel) -> Result<(), OpsError> {
    let Some(here) = own(site)? else { return Ok(()) };
    let Looked { known, unasked } = look(site, cancel)?;
    known.expect_at(&here, site.plan())?;
    let mut told = BTreeSet::new();
    for name in site.plan().tiers().keys().filter(|name| !unasked.contains(name)) {
        if may_tell(site, name)? {
            told.insert(name.clone());
        }
    }
    if may_be_unseen(site, &here, &told, &unasked)
        && !is_fresh_word(&known, site.surroundings().now())
    {
        return Err(PlaceError::Unasked { tiers: unasked }.into());
    }
    Ok(())
}

/// Refuses a log that is pushed where this user knows that the platform lives somewhere else; who knows nothing, as a
/// server's user does, is not kept from pushing.
pub fn expect_as_known_to_pusher(site: &Site) -> Result<(), OpsError> {
    let view = site.surroundings().state_directory.join("catalog.sqlite");
    if site.plan().places().is_empty() || !view.exists() {
        return Ok(());
    }
    match expect_as_known(site) {
        Err(OpsError::Place(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// A person's word that the platform lives here, and who has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claimed {
    /// This host.
    pub here: Whereabouts,
    /// The tiers that tell of it.
    pub told: BTreeSet<TierName>,
    /// Those that do not yet, and why.
    pub untold: BTreeMap<TierName, String>,
}

/// Says that the platform lives here, since a person says so. What no tier took is kept here, and delivered later.
pub fn claim(
    site: &Site,
    (login, reason): (&str, &str),
    cancel: &Cancel,
) -> Result<Claimed, OpsError> {
    let here = own(site)?.ok_or(PlaceError::NoPlaces)?;
    let tiers: BTreeSet<_> = site.plan().tiers().keys().cloned().collect();
    let leave = crate::wire::open::NewTiers::Leave;
    let open = OpenSite::open(site, &tiers, leave, &lifeboat_model::Silent, cancel)?;
    let after = Known::load(open.catalog().view())?.ends();
    let by = Taking::Word { login: login.to_owned(), reason: reason.to_owned() };
    open.record(Body::PlaceTaken(PlaceTaken { whereabouts: here.clone(), by, after }))?;
    let mut claimed = Claimed { here, told: BTreeSet::new(), untold: BTreeMap::new() };
    let mut delivered: BTreeMap<_, _> =
        open.deliver()?.into_iter().map(|sync| (sync.tier, sync.error)).collect();
    for tier in tiers {
        let why = match delivered.remove(&tier) {
            Some(why) => why,
            None => open.tier(&tier).err().map(|trouble| trouble.message),
        };
        match why {
            None => {
                claimed.told.insert(tier);
            }
            Some(why) => {
                claimed.untold.insert(tier, why);
            }
        }
    }
    Ok(claimed)
}
