//! Evidence: one signed record for each recovery, drill and restore test, which can be shown to somebody who trusts nobody.
//!
//! [`keep`] writes a record into the catalog; [`proof::examine`] names whatever is wrong with those that there are;
//! [`trend`] compares what was measured over time; the binary tells a record as Markdown or HTML.
//!
//! A record of evidence is a record of the catalog (`docs/adr/0062`): signed by this host's writer, in its chain of hashes,
//! on every tier, locked where the tier locks. Besides it holds the hash of the writer's evidence before it, so that one that
//! is missing is noticed also by whoever sees nothing but evidence, and the root key's word for the writer, so that the
//! plan's `verifier` alone is enough to check it.
//!
//! # Invariants
//!
//! - Evidence is kept after everything else is over: of a drill and a restore test after its teardown, whose proof it holds.
//! - Every field is always there. What could not run never counts as passed.
//! - A record is never longer than what the outbox keeps; what had to be left out is named in it.

mod carried;
pub mod collect;
pub mod document;
pub(crate) mod expected;
pub mod measure;
pub mod proof;
mod tested;
pub mod trend;
mod undeclared;

use std::collections::BTreeSet;

use lifeboat_model::WriterId;
use lifeboat_plan::Plan;

pub use self::carried::Carried;
use self::document::{CheckKept, Closed, Evidence, FORMAT, Facts, Finding, Signer, Teardown};
pub use self::tested::TestedRestore;
pub use self::undeclared::Undeclared;
use crate::catalog::body::Body;
use crate::catalog::record::Record;
use crate::catalog::view::{View, ViewError};
use crate::catalog::{Catalog, CatalogError};

/// The kind of records that are evidence.
pub const KIND: &str = "evidence";

/// How many earlier records of the same subject are looked through for findings that no longer show.
const EARLIER_MAX: usize = 20;

/// What evidence is of.
#[derive(Debug, Clone, Copy)]
pub enum EvidenceOf<'a> {
    /// A platform was recovered.
    Recovery(&'a Carried<'a>),
    /// A recovery was rehearsed.
    Drill(&'a Carried<'a>, &'a Drilled),
    /// A drill was over before its run could be told.
    Undeclared(&'a Undeclared<'a>, &'a Drilled),
    /// Assets were brought back and asked.
    RestoreTest(&'a TestedRestore<'a>),
}

/// What a drill adds to the run that it carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drilled {
    /// What set it off.
    pub trigger: String,
    /// The sandbox's id.
    pub sandbox: String,
    /// What could be reached from it.
    pub network: String,
    /// The points of its check-list.
    pub points: Vec<CheckKept>,
    /// What was not done in earnest.
    pub not_verified: Vec<String>,
    /// What is to be mended, each with its owner and its date.
    pub findings: Vec<Finding>,
    /// That nothing of it is left.
    pub teardown: Teardown,
}

impl EvidenceOf<'_> {
    /// Says what it proves.
    pub fn facts(&self) -> Facts {
        match self {
            Self::Recovery(carried) => carried.facts(None),
            Self::Drill(carried, drilled) => carried.facts(Some(drilled)),
            Self::Undeclared(drill, drilled) => drill.facts(drilled),
            Self::RestoreTest(tested) => tested.facts(),
        }
    }

    const fn plan(&self) -> &Plan {
        match self {
            Self::Recovery(carried) | Self::Drill(carried, _) => carried.plan,
            Self::Undeclared(drill, _) => drill.plan,
            Self::RestoreTest(tested) => tested.plan,
        }
    }
}

/// Keeps evidence: signed, chained, and durable here when this returns; [`Catalog::deliver`] puts it on the tiers.
pub fn keep(catalog: &Catalog, of: &EvidenceOf<'_>) -> Result<Record, CatalogError> {
    let (view, writer) = (catalog.view(), catalog.writer().id());
    let signer = signer(view, writer)?.ok_or(CatalogError::NotEnrolled)?;
    let earlier = view.of_writer(writer, KIND)?;
    let last = earlier.first().and_then(|record| Some((record.id(), evidence_in(record)?)));
    let (facts, plan) = (document::fitted(of.facts()), of.plan());
    let evidence = Evidence {
        format: FORMAT,
        number: last.as_ref().map_or(0, |(_, last)| last.number + 1),
        previous: last.map(|(id, _)| id),
        signer,
        tool: concat!("lifeboat ", env!("CARGO_PKG_VERSION")).to_owned(),
        plan_version: plan.about().version.clone(),
        closed: closed(&facts, earlier.iter().filter_map(evidence_in)),
        facts,
    };
    catalog.append(Body::Evidence(Box::new(evidence)), Some(plan.id()))
}

/// Returns what a record proves, if it is evidence.
pub fn evidence_in(record: &Record) -> Option<&Evidence> {
    match record.body() {
        Body::Evidence(evidence) => Some(evidence),
        _ => None,
    }
}

/// Returns by whose word a writer belongs to the site.
fn signer(view: &View, writer: WriterId) -> Result<Option<Signer>, ViewError> {
    let enrolled = view.of_writer(writer, "enrolment")?;
    let signer = enrolled.iter().find_map(|record| match record.body() {
        Body::Enrolment(enrolment) => Some(Signer {
            host: enrolment.host.clone(),
            public_key: enrolment.public_key.clone(),
            attestation: enrolment.attestation.clone(),
        }),
        _ => None,
    });
    Ok(signer)
}

/// Returns the findings of earlier runs of the same that do not show in this one, which did everything.
fn closed<'e>(facts: &Facts, earlier: impl Iterator<Item = &'e Evidence>) -> Vec<Closed> {
    let is_whole = facts.outcome == lifeboat_model::Outcome::Passed;
    let same = |known: &&Evidence| {
        (known.facts.of, &known.facts.subject) == (facts.of, &facts.subject) && is_whole
    };
    let open: BTreeSet<_> = facts.findings.iter().map(|finding| &finding.what).collect();
    let (mut closed, mut settled) = (Vec::new(), BTreeSet::new());
    for known in earlier.filter(same).take(EARLIER_MAX) {
        settled.extend(known.closed.iter().map(|closed| (&closed.found_by, &closed.what)));
        for finding in &known.facts.findings {
            let is_settled = settled.contains(&(&known.facts.run, &finding.what));
            if !open.contains(&finding.what) && !is_settled {
                let (what, found_by) = (finding.what.clone(), known.facts.run.clone());
                closed.push(Closed { what, found_by });
            }
        }
    }
    closed.truncate(document::LIST_MAX);
    closed
}

#[cfg(test)]
mod tests;
