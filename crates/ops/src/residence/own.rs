//! Which place this host is: by what it calls itself, or by an operator's word in the state directory.

use lifeboat_model::PlaceName;
use lifeboat_plan::Plan;

use super::PlaceError;
use crate::catalog::body::Whereabouts;
use crate::error::OpsError;
use crate::state::State;
use crate::wire::Site;

/// Returns where this host is; nothing for a plan without places.
pub fn own(site: &Site) -> Result<Option<Whereabouts>, OpsError> {
    let plan = site.plan();
    if plan.places().is_empty() {
        return Ok(None);
    }
    let surroundings = site.surroundings();
    let host = surroundings.hostname.clone();
    let word = State::open(&surroundings.state_directory)?.place()?;
    let place = match word {
        Some(word) => Some(known(plan, &word.parse().map_err(|_| PlaceError::Damaged)?)?),
        None => plan.place_of(&host).cloned(),
    };
    Ok(Some(Whereabouts { place, host }))
}

fn known(plan: &Plan, place: &PlaceName) -> Result<PlaceName, PlaceError> {
    if plan.places().contains_key(place) {
        return Ok(place.clone());
    }
    let known = plan.places().keys().cloned().collect();
    Err(PlaceError::Unknown { place: place.clone(), known })
}

/// Keeps an operator's word that this host is a place, whatever it calls itself.
pub fn is_place(site: &Site, place: &PlaceName) -> Result<(), OpsError> {
    let place = known(site.plan(), place)?;
    let host = &site.surroundings().hostname;
    if let Some(named) = site.plan().place_of(host).filter(|named| **named != place) {
        let (host, named) = (host.clone(), named.clone());
        return Err(PlaceError::NamedOtherwise { host, named, place }.into());
    }
    Ok(site.state_lock()?.keep_place(place.as_str())?)
}
