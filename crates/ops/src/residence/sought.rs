//! Recoveries that bring the platform to another place, from their first step on: they are told on the tiers before anything is
//! done, so that the place where it lived leaves it alone, and nobody begins a second one unawares.
//!
//! # Limits
//!
//! Who cannot reach a tier that tells of it does not know of it. Nothing waits for a tier: a platform that is lost comes back
//! also where no tier takes a record.

use std::collections::BTreeSet;
use std::fmt;

use lifeboat_model::{RecordId, RunId, Timestamp};
use serde::Serialize;

use super::{Known, Move, PlaceError, What};
use crate::catalog::body::{Body, PlaceForgone, PlaceSought, PlaceTaken, Taking};
use crate::catalog::record::Record;
use crate::catalog::view::{View, ViewError, Wanted};
use crate::catalog::{Catalog, CatalogError};
use crate::error::OpsError;
use crate::wire::open::OpenSite;

/// A recovery that brings the platform somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sought {
    /// Its record.
    pub record: RecordId,
    /// When that was written, by the clock of its host.
    pub time: Timestamp,
    /// Where to, and by which run.
    #[serde(flatten)]
    pub what: PlaceSought,
}

impl fmt::Display for Sought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlaceSought { whereabouts, run, scenario, .. } = &self.what;
        write!(f, "{run} of `{scenario}` brings the platform to {whereabouts} since {}", self.time)
    }
}

/// Returns those that are not over, the newest first.
pub(super) fn underway(view: &View, moves: &[Move]) -> Result<Vec<Sought>, ViewError> {
    let forgone = latest(view, "place-forgone")?;
    let forgone = forgone.iter().filter_map(|record| match record.body() {
        Body::PlaceForgone(PlaceForgone { run }) => Some(*run),
        _ => None,
    });
    Ok(not_over(all(view)?, &forgone.collect(), moves))
}

/// Leaves out those that were given up, that brought the platform where they were to, and that somebody who knew of them
/// went beyond: by a word of a person, or by another recovery.
pub(super) fn not_over(
    mut sought: Vec<Sought>,
    forgone: &BTreeSet<RunId>,
    moves: &[Move],
) -> Vec<Sought> {
    let beyond = sought.iter().flat_map(|each| &each.what.after);
    let followed: BTreeSet<RecordId> =
        moves.iter().flat_map(Move::after).chain(beyond).copied().collect();
    let is_there = |run: RunId| {
        let brought = |each: &Move| match &each.what {
            What::Taken(PlaceTaken { by: Taking::Recovery { run: own, .. }, .. }) => *own == run,
            _ => false,
        };
        moves.iter().any(brought)
    };
    sought.retain(|each| {
        let run = each.what.run;
        !followed.contains(&each.record) && !forgone.contains(&run) && !is_there(run)
    });
    sought
}

fn all(view: &View) -> Result<Vec<Sought>, ViewError> {
    let sought = latest(view, "place-sought")?.into_iter().filter_map(|record| {
        let Body::PlaceSought(what) = record.body() else { return None };
        Some(Sought { record: record.id(), time: record.header().time, what: what.clone() })
    });
    Ok(sought.collect())
}

fn latest(view: &View, kind: &str) -> Result<Vec<Record>, ViewError> {
    view.latest(Wanted { kind, asset: None, tier: None, good_only: false }, u32::MAX)
}

/// Returns the record by which a run told that it brings the platform somewhere.
fn of_run(view: &View, run: RunId) -> Result<Option<RecordId>, ViewError> {
    Ok(all(view)?.into_iter().find(|each| each.what.run == run).map(|each| each.record))
}

/// Tells, once, that a run brings the platform here; refused where another one brings it somewhere else of which this one did
/// not know when it was declared, and where somebody went beyond this one meanwhile.
pub(crate) fn seek(
    open: &OpenSite<'_>,
    (run, taken): (RunId, &PlaceTaken),
) -> Result<(), OpsError> {
    let Taking::Recovery { scenario, .. } = &taken.by else { return Ok(()) };
    let view = open.catalog().view();
    let own = of_run(view, run)?;
    if own.is_none() {
        let (whereabouts, after) = (taken.whereabouts.clone(), taken.after.clone());
        let scenario = scenario.clone();
        open.record(Body::PlaceSought(PlaceSought { whereabouts, run, scenario, after }))?;
        if !open.deliver()?.iter().any(|tier| tier.error.is_none()) {
            tracing::warn!(%run, "No tier tells other places of this recovery yet.");
        }
        // Who told of his own meanwhile is seen now, or sees this.
        let ready: Vec<_> = open.open_tiers().map(|tier| tier.named.clone()).collect();
        open.catalog().learn(&ready)?;
    }
    let known = Known::load(view)?;
    let is_open = |own: RecordId| known.underway.iter().any(|each| each.record == own);
    if own.is_some_and(|own| !is_open(own)) && !known.residence.is_at(&taken.whereabouts) {
        return Err(PlaceError::Overruled { here: taken.whereabouts.clone() }.into());
    }
    let mut others = known.sought_elsewhere(&taken.whereabouts);
    match others.find(|other| !taken.after.contains(&other.record)) {
        None => Ok(()),
        Some(other) => {
            let (here, sought) = (taken.whereabouts.clone(), Box::new(other.clone()));
            Err(PlaceError::AlreadySought { here, sought }.into())
        }
    }
}

/// Returns a run's move with the record that told of it beforehand, which it follows, too.
pub(crate) fn following_its_own(
    view: &View,
    run: RunId,
    mut taken: PlaceTaken,
) -> Result<PlaceTaken, ViewError> {
    taken.after.extend(of_run(view, run)?);
    Ok(taken)
}

/// Records, once, that a run which was to bring the platform somewhere is given up.
pub(crate) fn forgo(
    catalog: &Catalog,
    run: RunId,
    plan: lifeboat_model::PlanId,
) -> Result<(), CatalogError> {
    let is_this =
        |record: &Record| matches!(record.body(), Body::PlaceForgone(own) if own.run == run);
    let was_told = of_run(catalog.view(), run)?.is_some();
    if was_told && !latest(catalog.view(), "place-forgone")?.iter().any(is_this) {
        catalog.append(Body::PlaceForgone(PlaceForgone { run }), Some(plan))?;
    }
    Ok(())
}
