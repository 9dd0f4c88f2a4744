//! What a recovery on this host means for where the platform lives, said before it begins.

use std::collections::BTreeSet;

use lifeboat_model::{AssetName, Cancel, PlanId, RecordId, RunId, TierName, Timestamp};
use serde::Serialize;

use super::fence::{Looked, known_here, look};
use super::sought::Sought;
use super::{Known, PlaceError, Residence, own};
use crate::catalog::body::{Body, PlanAdopted, Whereabouts};
use crate::catalog::view::{View, Wanted};
use crate::error::OpsError;
use crate::state::State;
use crate::wire::Site;

/// Where a recovery brings the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// This host.
    pub here: Whereabouts,
    /// Where it lives until then, as far as is known.
    pub from: Residence,
    /// Recoveries that bring it to another place, and are not over.
    pub elsewhere: Vec<Sought>,
    /// Whether it lives here afterwards and did not before.
    pub is_move: bool,
    /// What the runbook does not bring back whole: the platform is not moved by a part of it.
    pub lacking: BTreeSet<AssetName>,
    /// Whether the point holds all that was ever written, since the platform was handed over before.
    pub is_whole: bool,
    /// Tiers that did not tell.
    pub unasked: Vec<TierName>,
    /// The plan in force, if that is another one than this.
    pub other_plan: Option<PlanId>,
    /// What the plan lacks, if this host is no place of it.
    pub to_write: Option<String>,
    /// What a move follows.
    #[serde(skip)]
    pub after: BTreeSet<RecordId>,
}

impl Destination {
    /// Asks the tiers; nothing for a plan without places whose platform was never backed up elsewhere, and nothing in a drill,
    /// which moves nothing.
    pub(crate) fn look_ahead(
        site: &Site,
        lacking: BTreeSet<AssetName>,
        cancel: &Cancel,
    ) -> Result<Option<Self>, OpsError> {
        if site.inside().is_some() {
            return Ok(None);
        }
        let Some(here) = own(site)? else { return Self::unplanned(site) };
        let Looked { known, unasked } = look(site, cancel)?;
        let elsewhere: Vec<_> = known.sought_elsewhere(&here).cloned().collect();
        let is_away = !known.residence.is_at(&here) || !elsewhere.is_empty();
        let is_move = is_away && lacking.is_empty();
        let lacking = if is_away { lacking } else { BTreeSet::new() };
        let to_write = here.place.is_none().then(|| sections(&[&here.host]));
        let other_plan = if is_move { other_plan(site)? } else { None };
        let after = known.ends();
        let Known { residence: from, .. } = known;
        Ok(Some(Self {
            here,
            from,
            elsewhere,
            is_move,
            lacking,
            is_whole: false,
            unasked,
            other_plan,
            to_write,
            after,
        }))
    }

    /// Tells of a host that the plan does not know, since it has no places at all.
    fn unplanned(site: &Site) -> Result<Option<Self>, OpsError> {
        let host = site.surroundings().hostname.clone();
        let known = known_here(site)?;
        let Some((last, _)) = known.backed_up.filter(|(last, _)| *last != host) else {
            return Ok(None);
        };
        let to_write = Some(sections(&[&last, &host]));
        let here = Whereabouts { place: None, host };
        Ok(Some(Self {
            here,
            from: Residence::Unsaid,
            elsewhere: Vec::new(),
            is_move: false,
            lacking: BTreeSet::new(),
            is_whole: false,
            unasked: Vec::new(),
            other_plan: None,
            to_write,
            after: BTreeSet::new(),
        }))
    }

    /// Refuses while another recovery brings the platform to another place, unless somebody says that its host is lost.
    pub fn expect_alone(&self, despite: &[RunId]) -> Result<(), PlaceError> {
        let other = self.elsewhere.iter().find(|sought| !despite.contains(&sought.what.run));
        other.map_or(Ok(()), |sought| {
            let (here, sought) = (self.here.clone(), Box::new(sought.clone()));
            Err(PlaceError::AlreadySought { here, sought })
        })
    }

    /// Takes note of the moment that the recovery comes back to.
    #[must_use]
    pub(crate) fn at_point(mut self, point: Option<Timestamp>) -> Self {
        self.is_whole = match (&self.from, point) {
            // What was captured later was so by somebody who did not know of it.
            (Residence::Left { still, recorded, .. }, Some(point)) => {
                self.is_move && *still <= point && point <= *recorded
            }
            _ => false,
        };
        self
    }
}

/// Returns what is to be written for places of these hosts.
fn sections(hosts: &[&str]) -> String {
    let sections = hosts.iter().map(|host| format!("[places.NAME] host = \"{host}\""));
    sections.collect::<Vec<_>>().join(", ")
}

fn other_plan(site: &Site) -> Result<Option<PlanId>, OpsError> {
    let state = State::open(&site.surroundings().state_directory)?;
    let view = View::open(&state.view_path())?;
    let wanted = Wanted { kind: "plan-adopted", asset: None, tier: None, good_only: false };
    let in_force = view.latest(wanted, 1)?.pop().and_then(|record| match record.body() {
        Body::PlanAdopted(PlanAdopted { plan }) => Some(*plan),
        _ => None,
    });
    Ok(in_force.filter(|plan| *plan != site.plan().id()))
}
