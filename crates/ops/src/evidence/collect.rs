//! Writing down what runs of this host prove, as soon as that can be done.
//!
//! # Crash consistency
//!
//! A run is over once its journal says so; its record and its evidence come after. A kill in between, a lock that somebody
//! else held or a catalog that could not be opened leaves a run without them, which the next to collect makes up for.

use std::collections::BTreeSet;

use lifeboat_model::{Cancel, EventSink, RunId, Timestamp};
use lifeboat_runbook::{Journal as _, JournalError, Mood, Outcome, Run};

use super::{Carried, EvidenceOf, KIND, evidence_in, keep};
use crate::catalog::body::{Body, RecoveryEnded, Restored};
use crate::catalog::record::Record;
use crate::catalog::view::{View, Wanted};
use crate::catalog::{Catalog, CatalogError, CatalogKeys};
use crate::error::{OpsError, explain};
use crate::procedure::conduct::{POINT_TIME, load, move_of};
use crate::procedure::outlook::rto;
use crate::procedure::report::milliseconds;
use crate::procedure::runs::{KnownRun, Runs};
use crate::procedure::{Procedure, ProcedureError};
use crate::residence::sought::{following_its_own, forgo};
use crate::retention::hold;
use crate::state::State;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite};

/// What was made up for.
#[derive(Debug, Default)]
pub struct Collected {
    /// The evidence that was kept.
    pub kept: Vec<Record>,
    /// Runs of which none could be kept, and why.
    pub troubles: Vec<(RunId, String)>,
}

/// Keeps evidence of every recovery of this host that is over and has none.
pub fn collect(
    site: &Site,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Collected, ProcedureError> {
    let runs = Runs::of(site)?;
    // Drills keep their own evidence, once they are torn down.
    let over = runs.all()?.into_iter();
    let over = over.filter(|run| run.damage.is_some() || (run.is_over() && run.is_recovery()));
    let over: Vec<_> = over.collect();
    let mut collected = Collected::default();
    if over.is_empty() {
        return Ok(collected);
    }
    let ledger = Ledger::open(site, events, cancel)?;
    let there = runs_in(ledger.catalog().view())?;
    for known in over.iter().filter(|known| !there.contains(&known.id.to_string())) {
        if let Some(damage) = known.damage {
            let damaged = JournalError::Damaged(damage);
            collected.troubles.push((known.id, damaged.to_string()));
            continue;
        }
        if known.was_aborted() {
            let plan = site.plan().id();
            forgo(ledger.catalog(), known.id, plan).map_err(OpsError::from)?;
            hold::end(ledger.catalog(), known.id, plan)?;
        }
        match keep_run(site, ledger.catalog(), &runs, known) {
            Ok(record) => collected.kept.push(record),
            Err(error) => collected.troubles.push((known.id, explain(&error))),
        }
    }
    ledger.deliver()?;
    Ok(collected)
}

/// Returns of which runs and jobs there is evidence.
fn runs_in(view: &View) -> Result<BTreeSet<String>, OpsError> {
    Ok(all(view)?.iter().filter_map(evidence_in).map(|own| own.facts.run.clone()).collect())
}

/// Returns all evidence that is known here, the newest first.
pub fn all(view: &View) -> Result<Vec<Record>, OpsError> {
    let wanted = Wanted { kind: KIND, asset: None, tier: None, good_only: false };
    Ok(view.latest(wanted, u32::MAX)?)
}

/// Returns the evidence of a run, if there is any.
pub fn of_run(site: &Site, run: RunId) -> Result<Option<Record>, OpsError> {
    let state = State::open(&site.surroundings().state_directory)?;
    let run = run.to_string();
    let own = |record: &Record| evidence_in(record).is_some_and(|own| own.facts.run == run);
    Ok(all(&View::open(&state.view_path())?)?.into_iter().find(own))
}

fn keep_run(
    site: &Site,
    catalog: &Catalog,
    runs: &Runs,
    known: &KnownRun,
) -> Result<Record, ProcedureError> {
    let journal = runs.journal(known.id)?;
    let (procedure, run) = load(site, known, &journal)?;
    let entries = journal.read(0, None)?;
    if !was_recorded(catalog.view(), known.id)? {
        let body = Body::RecoveryEnded(ended(site, &procedure, &run));
        catalog.append(body, Some(site.plan().id())).map_err(OpsError::from)?;
    }
    record_move(site, catalog, &run).map_err(OpsError::from)?;
    let restored = restored_in(catalog, (run.declared(), run.last_time()))?;
    let carried = Carried {
        plan: site.plan(),
        procedure: &procedure,
        run: &run,
        entries: &entries,
        restored: &restored,
    };
    Ok(keep(catalog, &EvidenceOf::Recovery(&carried)).map_err(OpsError::from)?)
}

/// Records that the platform lives where a run brought it, once. A run that was given up brought it nowhere; one that left
/// something undone did, and nobody else works on it now.
fn record_move(site: &Site, catalog: &Catalog, run: &Run) -> Result<(), CatalogError> {
    let is_there = matches!(run.mood(), Mood::Finished(Outcome::Succeeded | Outcome::Incomplete));
    let Some(taken) = move_of(run).filter(|_| is_there) else { return Ok(()) };
    let wanted = Wanted { kind: "place-taken", asset: None, tier: None, good_only: false };
    let recorded = catalog.view().latest(wanted, u32::MAX)?;
    let is_this =
        |record: &Record| matches!(record.body(), Body::PlaceTaken(own) if own.by == taken.by);
    if !recorded.iter().any(is_this) {
        let taken = following_its_own(catalog.view(), run.began().run, taken)?;
        catalog.append(Body::PlaceTaken(taken), Some(site.plan().id()))?;
    }
    Ok(())
}

fn was_recorded(view: &View, run: RunId) -> Result<bool, OpsError> {
    let wanted = Wanted { kind: "recovery-ended", asset: None, tier: None, good_only: false };
    let own =
        |record: &Record| matches!(record.body(), Body::RecoveryEnded(ended) if ended.run == run);
    Ok(view.latest(wanted, u32::MAX)?.iter().any(own))
}

/// Returns what this host restored within a time, the oldest first.
pub(crate) fn restored_in(
    catalog: &Catalog,
    (from, to): (Timestamp, Timestamp),
) -> Result<Vec<Restored>, OpsError> {
    let records = catalog.view().of_writer(catalog.writer().id(), "restored")?;
    let within = records.iter().rev().filter(|record| {
        let time = record.header().time;
        from <= time && time <= to
    });
    let restored = within.filter_map(|record| match record.body() {
        Body::Restored(restored) => Some(restored.clone()),
        _ => None,
    });
    Ok(restored.collect())
}

fn ended(site: &Site, procedure: &Procedure, run: &Run) -> RecoveryEnded {
    let times = run.times(run.last_time());
    let outcome = match run.mood() {
        Mood::Finished(outcome) => *outcome,
        _ => Outcome::Incomplete,
    };
    RecoveryEnded {
        run: run.began().run,
        scenario: procedure.name().clone(),
        runbook: run.began().runbook,
        point: run.began().about.get(POINT_TIME).and_then(|time| time.parse().ok()),
        outcome,
        declared: run.declared(),
        journal: run.last(),
        entries: run.count(),
        total_ms: milliseconds(times.total),
        phases_ms: times.phases.iter().map(|(p, time)| (*p, milliseconds(*time))).collect(),
        people_ms: milliseconds(times.people),
        standstill_ms: milliseconds(times.standstill),
        rto_ms: rto(site, procedure).map(milliseconds),
    }
}

/// Where it is written down: with all tiers, or, where the recovery key cannot be read, here alone. This host's writer signs
/// either way, and what is written here alone is delivered by the next command that has the key.
enum Ledger<'s> {
    Whole(Box<OpenSite<'s>>),
    Alone(Box<Catalog>),
}

impl<'s> Ledger<'s> {
    fn open(site: &'s Site, events: &dyn EventSink, cancel: &Cancel) -> Result<Self, OpsError> {
        let tiers = site.plan().tiers().keys().cloned().collect();
        let error = match OpenSite::open(site, &tiers, NewTiers::Leave, events, cancel) {
            Ok(open) => return Ok(Self::Whole(Box::new(open))),
            Err(error) => error,
        };
        let key = site.plan().key();
        let halves = key.recipient.as_ref().zip(key.verifier.as_ref());
        let halves = halves.and_then(|(recipient, verifier)| {
            Some((recipient.parse().ok()?, verifier.parse().ok()?))
        });
        let (Err(_), Some((recipient, verifier))) = (site.recovery_key(cancel), halves) else {
            return Err(error);
        };
        let surroundings = site.surroundings();
        let lock = State::open(&surroundings.state_directory)?.lock()?;
        let keys = CatalogKeys { recipient, verifier, opener: None };
        let catalog = Catalog::open(lock, site.name().clone(), keys, surroundings)?;
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "Evidence is kept here alone until the recovery key can be read.");
        Ok(Self::Alone(Box::new(catalog)))
    }

    fn catalog(&self) -> &Catalog {
        match self {
            Self::Whole(open) => open.catalog(),
            Self::Alone(catalog) => catalog,
        }
    }

    fn deliver(&self) -> Result<(), OpsError> {
        match self {
            Self::Whole(open) => open.deliver().map(drop),
            Self::Alone(_) => Ok(()),
        }
    }
}
