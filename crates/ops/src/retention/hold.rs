//! Holding retention: while a hold is open, nothing is removed, nothing is packed anew, and no log goes.
//!
//! A hold is a record of the catalog and known by that record. Whoever investigates an incident holds, so
//! that no rule takes away what is still to be looked at. A recovery holds by itself, from before its first step until it is
//! over; a drill does not.
//!
//! # Limits
//!
//! What a host cannot read of its recoveries counts as one that is open. A recovery on a host that is lost is held for until
//! somebody releases it.

use std::collections::BTreeSet;

use lifeboat_model::{Cancel, EventSink, RecordId, RunId, ScenarioName, TierName, Timestamp};
use serde::Serialize;

use crate::catalog::Catalog;
use crate::catalog::body::{Body, RecoveryDeclared, RetentionHeld, RetentionReleased};
use crate::catalog::record::Record;
use crate::catalog::view::{View, ViewError, Wanted};
use crate::error::{OpsError, explain};
use crate::procedure::ProcedureError;
use crate::procedure::conduct::SCENARIO;
use crate::procedure::runs::{KnownRun, Runs};
use crate::state::State;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite};

/// A hold that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// The record that began it; its first digits name it. None where a recovery of this host was recorded nowhere yet.
    pub id: Option<RecordId>,
    /// The recovery that holds, if it is one.
    pub run: Option<RunId>,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}

/// Which holds are ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichHolds {
    /// All that people began.
    All,
    /// The one whose id begins like this, or that of the recovery with this id.
    One(String),
}

impl WhichHolds {
    fn includes(&self, hold: &Hold) -> bool {
        let Self::One(digits) = self else { return hold.run.is_none() };
        let of_record = hold.id.is_some_and(|id| id.to_hex().starts_with(digits.as_str()));
        !digits.is_empty() && (of_record || hold.run.is_some_and(|run| run.to_string() == *digits))
    }
}

/// Returns the holds that are open, the newest first.
pub fn holds(site: &Site, view: &View) -> Result<Vec<Hold>, ViewError> {
    let mut open = recorded(view)?;
    let now = site.surroundings().now();
    match recoveries(site) {
        Ok(here) => {
            // The journal knows before the catalog that a run began, and that it is over.
            let is_over = |run| here.iter().any(|known| known.id == run && known.is_over());
            open.retain(|hold| !hold.run.is_some_and(is_over));
            for known in here.iter().filter(|known| !known.is_over()) {
                if !open.iter().any(|hold| hold.run == Some(known.id)) {
                    open.extend(of_run(known));
                }
            }
        }
        Err(error) => {
            let reason = format!("a recovery of this host may be open: {}", explain(&error));
            open.push(Hold { id: None, run: None, since: now, reason });
        }
    }
    open.sort_by_key(|hold| std::cmp::Reverse(hold.since));
    Ok(open)
}

/// Refuses to remove anything from a tier while retention is held, as far as this host knows.
pub fn expect_none(site: &Site, tier: &TierName) -> Result<(), OpsError> {
    let view = View::open(&State::open(&site.surroundings().state_directory)?.view_path())?;
    match holds(site, &view)?.into_iter().next() {
        Some(Hold { reason, .. }) => Err(OpsError::Held { tier: tier.clone(), reason }),
        None => Ok(()),
    }
}

fn recoveries(site: &Site) -> Result<Vec<KnownRun>, ProcedureError> {
    Ok(Runs::of(site)?.all()?.into_iter().filter(KnownRun::is_recovery).collect())
}

fn of_run(known: &KnownRun) -> Option<Hold> {
    let since = known.entries.first()?.time;
    let reason = recovering(known.about(SCENARIO).unwrap_or("?"));
    Some(Hold { id: None, run: Some(known.id), since, reason })
}

fn recovering(scenario: &str) -> String {
    format!("the recovery of `{scenario}` is not over")
}

fn all(view: &View, kind: &str) -> Result<Vec<Record>, ViewError> {
    view.latest(Wanted { kind, asset: None, tier: None, good_only: false }, u32::MAX)
}

/// Returns the holds of which the catalog knows.
fn recorded(view: &View) -> Result<Vec<Hold>, ViewError> {
    let mut ended = BTreeSet::new();
    for record in all(view, "retention-released")? {
        if let Body::RetentionReleased(body) = record.body() {
            ended.insert(body.hold);
        }
    }
    let mut over = BTreeSet::new();
    for record in all(view, "recovery-ended")? {
        if let Body::RecoveryEnded(body) = record.body() {
            over.insert(body.run);
        }
    }
    let mut open = all(view, "retention-held")?;
    open.extend(all(view, "recovery-declared")?);
    let holds = open.iter().filter(|record| !ended.contains(&record.id())).filter_map(of_record);
    Ok(holds.filter(|hold| hold.run.is_none_or(|run| !over.contains(&run))).collect())
}

fn of_record(record: &Record) -> Option<Hold> {
    let (run, reason) = match record.body() {
        Body::RetentionHeld(RetentionHeld { reason }) => (None, reason.clone()),
        Body::RecoveryDeclared(body) => (Some(body.run), recovering(body.scenario.as_str())),
        _ => return None,
    };
    Some(Hold { id: Some(record.id()), run, since: record.header().time, reason })
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

/// Ends holds; returns those that it ended. That of a recovery which is open on this host ends with the recovery alone.
pub fn release(
    site: &Site,
    which: &WhichHolds,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Vec<Hold>, OpsError> {
    let open = open_site(site, events, cancel)?;
    let mut ended = holds(site, open.catalog().view())?;
    ended.retain(|hold| which.includes(hold));
    if let WhichHolds::One(digits) = which {
        let [hold] = &ended[..] else {
            let what = format!("hold whose id begins with `{digits}` and no other's does");
            return Err(OpsError::NotInPlan { what });
        };
        let here = recoveries(site).unwrap_or_default();
        if let Some(known) = here.iter().find(|known| Some(known.id) == hold.run) {
            return Err(OpsError::Recovering { run: known.id });
        }
    }
    ended.retain(|hold| hold.id.is_some());
    for hold in ended.iter().filter_map(|hold| hold.id) {
        open.record(Body::RetentionReleased(RetentionReleased { hold }))?;
    }
    open.deliver()?;
    Ok(ended)
}

/// Records, once, that a recovery was declared.
pub(crate) fn declare(
    open: &OpenSite<'_>,
    run: RunId,
    scenario: &ScenarioName,
) -> Result<(), OpsError> {
    let is_this =
        |record: &Record| matches!(record.body(), Body::RecoveryDeclared(own) if own.run == run);
    if !all(open.catalog().view(), "recovery-declared")?.iter().any(is_this) {
        let scenario = scenario.clone();
        open.record(Body::RecoveryDeclared(RecoveryDeclared { run, scenario }))?;
    }
    Ok(())
}

/// Ends what a recovery holds of which no record says how it ended, since it was given up.
pub(crate) fn end(
    catalog: &Catalog,
    run: RunId,
    plan: lifeboat_model::PlanId,
) -> Result<(), OpsError> {
    let open = recorded(catalog.view())?.into_iter().filter(|hold| hold.run == Some(run));
    for hold in open.filter_map(|hold| hold.id) {
        catalog.append(Body::RetentionReleased(RetentionReleased { hold }), Some(plan))?;
    }
    Ok(())
}
