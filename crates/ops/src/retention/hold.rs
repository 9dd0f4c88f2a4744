//! Holding retention: while a hold is open, nothing is removed.
//!
//! A hold is a record of the catalog and known by that record. Whoever investigates an incident holds, so
//! that no rule takes away what is still to be looked at.

use std::collections::BTreeSet;

use lifeboat_model::{Cancel, EventSink, RecordId, Timestamp};
use serde::Serialize;

use crate::catalog::body::{Body, RetentionHeld, RetentionReleased};
use crate::catalog::record::Record;
use crate::catalog::view::{View, ViewError, Wanted};
use crate::error::OpsError;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite};

/// A hold that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// The record that began it; its first digits name it.
    pub id: RecordId,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}

/// Which holds are ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichHolds {
    /// All.
    All,
    /// The one whose id begins like this.
    One(String),
}

/// Returns the holds that are open, the newest first.
pub fn holds(view: &View) -> Result<Vec<Hold>, ViewError> {
    let all = |kind| {
        let wanted = Wanted { kind, asset: None, tier: None, good_only: false };
        view.latest(wanted, u32::MAX)
    };
    let released: BTreeSet<RecordId> = all("retention-released")?
        .iter()
        .filter_map(|record| match record.body() {
            Body::RetentionReleased(body) => Some(body.hold),
            _ => None,
        })
        .collect();
    let held = all("retention-held")?;
    let open = held.iter().filter(|record| !released.contains(&record.id()));
    Ok(open.filter_map(of_record).collect())
}

fn of_record(record: &Record) -> Option<Hold> {
    let Body::RetentionHeld(RetentionHeld { reason }) = record.body() else { return None };
    Some(Hold { id: record.id(), since: record.header().time, reason: reason.clone() })
}

fn open_site<'s>(
    site: &'s Site,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<OpenSite<'s>, OpsError> {
    let tiers: BTreeSet<_> = site.plan().tiers().keys().cloned().collect();
    OpenSite::open(site, &tiers, NewTiers::Leave, events, cancel)
}

/// Holds retention, on every host that sees one of the tiers.
pub fn hold(
    site: &Site,
    reason: &str,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Hold, OpsError> {
    let open = open_site(site, events, cancel)?;
    let reason = reason.to_owned();
    let record = open.record(Body::RetentionHeld(RetentionHeld { reason }))?;
    open.deliver()?;
    Ok(of_record(&record).expect("it is the record of a hold"))
}

/// Ends holds; returns those that it ended.
pub fn release(
    site: &Site,
    which: &WhichHolds,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Vec<Hold>, OpsError> {
    let open = open_site(site, events, cancel)?;
    let mut ended = holds(open.catalog().view())?;
    if let WhichHolds::One(digits) = which {
        ended.retain(|hold| !digits.is_empty() && hold.id.to_hex().starts_with(digits.as_str()));
        if ended.len() != 1 {
            let what = format!("hold whose id begins with `{digits}` and no other's does");
            return Err(OpsError::NotInPlan { what });
        }
    }
    for hold in &ended {
        open.record(Body::RetentionReleased(RetentionReleased { hold: hold.id }))?;
    }
    open.deliver()?;
    Ok(ended)
}
