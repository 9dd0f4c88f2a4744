//! Whether evidence is what was written: signed by who may, whole, in its order, on every tier, and true to its journal.
//!
//! # Limits
//!
//! Records that are cut off at the end of a chain, on every tier and here, before anything else was recorded, are missed only if
//! the journal of their run is still here.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{
    Cancel, Exit, Outcome, RecordId, RunId, SiteName, TierName, Timestamp, WriterId,
};
use lifeboat_runbook::Entry;
use serde::Serialize;

use super::document::{Evidence, FORMAT, Kind};
use super::evidence_in;
use crate::catalog::audit::{Flaw, attested_key};
use crate::catalog::body::Body;
use crate::catalog::record::{Record, RecordError};
use crate::catalog::{self, CatalogKeys, TierSync};
use crate::error::OpsError;
use crate::procedure::ProcedureError;
use crate::procedure::runs::{KnownRun, Runs};
use crate::recovery_key::Verifier;
use crate::wire::Site;
use crate::wire::audit::look_at_catalog;

/// Something about evidence that should not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(tag = "flaw", rename_all = "kebab-case")]
pub enum EvidenceFlaw {
    /// Its own word for its writer does not hold.
    #[error(
        "evidence {number} of {writer} does not say truly by whose word its writer belongs to the site"
    )]
    Signer {
        /// Whose chain.
        writer: WriterId,
        /// Which place in it.
        number: u64,
    },
    /// Evidence is missing in a chain.
    #[error("evidence {first} to {last} of {writer} is missing")]
    Missing {
        /// Whose chain.
        writer: WriterId,
        /// The first that is missing.
        first: u64,
        /// The last that is missing.
        last: u64,
    },
    /// It does not hold the hash of the one before.
    #[error("evidence {number} of {writer} does not follow from the one before")]
    Broken {
        /// Whose chain.
        writer: WriterId,
        /// Which place in it.
        number: u64,
    },
    /// Two claim one place.
    #[error("{records} different records claim to be evidence {number} of {writer}")]
    Fork {
        /// Whose chain.
        writer: WriterId,
        /// Which place in it.
        number: u64,
        /// How many.
        records: usize,
    },
    /// A later version wrote it.
    #[error(
        "evidence {number} of {writer} has format {found}, and this version reads up to {FORMAT}"
    )]
    Newer {
        /// Whose chain.
        writer: WriterId,
        /// Which place in it.
        number: u64,
        /// Its format.
        found: u32,
    },
    /// The run's journal is not that of which it tells.
    #[error("the journal of {run} is not the one of which its evidence tells")]
    Journal {
        /// Which run.
        run: String,
    },
    /// A tier lacks it.
    #[error("{tier} lacks evidence {number} of {writer}")]
    NotOn {
        /// Which tier.
        tier: TierName,
        /// Whose chain.
        writer: WriterId,
        /// Which place in it.
        number: u64,
    },
    /// Something ended, and no evidence of it is there.
    #[error("there is no evidence of {run}, which ended {ended}")]
    Absent {
        /// Which run or job.
        run: String,
        /// When it ended.
        ended: Timestamp,
    },
}

/// What is known of a journal of which evidence tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum JournalState {
    /// It is here, and the same.
    Same,
    /// It is here, and another.
    Differs,
    /// It is not here.
    NotHere,
    /// There is none to tell of.
    None,
}

/// Evidence that is what its writer wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proven {
    /// Which record.
    pub record: RecordId,
    /// Who wrote it.
    pub writer: WriterId,
    /// Its place in the writer's chain.
    pub number: u64,
    /// When it was written.
    pub time: Timestamp,
    /// What was done.
    pub of: Kind,
    /// Of which scenario or test.
    pub subject: String,
    /// Which run or job.
    pub run: String,
    /// The verdict.
    pub outcome: Outcome,
    /// What is known of its journal.
    pub journal: JournalState,
    /// The tiers that have it.
    pub tiers: Vec<TierName>,
}

/// What examining all evidence showed.
#[derive(Debug, Serialize)]
pub struct Examined {
    /// What is as it was written, the oldest first.
    pub records: Vec<Proven>,
    /// What was read of each tier.
    pub tiers: Vec<TierSync>,
    /// What should not be of the catalog that holds it.
    pub catalog: BTreeSet<Flaw>,
    /// What should not be of the evidence.
    pub flaws: BTreeSet<EvidenceFlaw>,
}

impl Examined {
    /// Returns how the command ends: a flaw is a failure; what could not be looked at leaves things unproven.
    pub fn exit(&self) -> Exit {
        let is_wrong = |flaw: &EvidenceFlaw| !matches!(flaw, EvidenceFlaw::Newer { .. });
        if !self.catalog.is_empty() || self.flaws.iter().any(is_wrong) {
            Exit::Failed
        } else if !self.flaws.is_empty() || self.tiers.iter().any(|tier| tier.error.is_some()) {
            Exit::CouldNotVerify
        } else {
            Exit::Done
        }
    }
}

/// Examines all evidence of some tiers of a plan, of what this host knows, and of its journals.
pub fn examine(
    site: &Site,
    tiers: &BTreeSet<TierName>,
    cancel: &Cancel,
) -> Result<Examined, ProcedureError> {
    let looked = look_at_catalog(site, tiers, cancel)?;
    let verifier = site.recovery_key(cancel)?.public_halves().verifier;
    let mut runs = Runs::of(site)?.all()?;
    runs.extend(Runs::of_drills(site)?.all()?);
    let evidence = Ground {
        site: site.name(),
        verifier: &verifier,
        runs: &runs,
        shelves: &looked.shelves,
        unsent: &looked.outbox.iter().copied().collect(),
    };
    let (records, flaws) = evidence.examine(&looked.known);
    Ok(Examined { records, tiers: looked.report.tiers, catalog: looked.report.flaws, flaws })
}

/// Returns the evidence that a tier has, the oldest first.
pub fn read_tier(
    site: &Site,
    tier: &TierName,
    cancel: &Cancel,
) -> Result<Vec<Record>, ProcedureError> {
    let keys = CatalogKeys::from(&site.recovery_key(cancel)?);
    let named = site.tier(tier)?;
    let read = catalog::read_tier(site.name(), &keys, &named);
    let records = site.surroundings().runtime.block_on(read).map_err(OpsError::from)?;
    Ok(records.into_iter().filter(|record| evidence_in(record).is_some()).collect())
}

/// The evidence of a writer, by its number and, where several claim one, by their ids.
type Chain<'a> = BTreeMap<(u64, RecordId), (&'a Record, &'a Evidence)>;

/// All that evidence is held against.
pub(super) struct Ground<'a> {
    pub(super) site: &'a SiteName,
    pub(super) verifier: &'a Verifier,
    pub(super) runs: &'a [KnownRun],
    pub(super) shelves: &'a [(TierName, Vec<Record>)],
    pub(super) unsent: &'a BTreeSet<RecordId>,
}

impl Ground<'_> {
    /// Examines what is known and what the tiers have. Pure.
    pub(super) fn examine(&self, known: &[Record]) -> (Vec<Proven>, BTreeSet<EvidenceFlaw>) {
        let on_tiers = self.shelves.iter().flat_map(|(_, records)| records);
        let all: BTreeMap<RecordId, &Record> =
            known.iter().chain(on_tiers).map(|record| (record.id(), record)).collect();
        let mut chains: BTreeMap<WriterId, Chain<'_>> = BTreeMap::new();
        for record in all.values() {
            if let Some(evidence) = evidence_in(record) {
                let chain = chains.entry(record.header().writer).or_default();
                chain.insert((evidence.number, record.id()), (record, evidence));
            }
        }
        let (mut proven, mut flaws) = (Vec::new(), BTreeSet::new());
        for (writer, chain) in &chains {
            find_flaws(*writer, chain, &mut flaws);
            for (record, evidence) in chain.values() {
                self.examine_one(record, evidence, &mut flaws);
                proven.push(self.proven(record, evidence));
            }
        }
        proven.sort_by_key(|known| (known.time, known.writer, known.number));
        let unproven = proven.iter().filter(|known| known.journal == JournalState::Differs);
        flaws.extend(unproven.map(|known| EvidenceFlaw::Journal { run: known.run.clone() }));
        let damaged = self.runs.iter().filter(|run| run.damage.is_some());
        flaws.extend(damaged.map(|run| EvidenceFlaw::Journal { run: run.id.to_string() }));
        self.find_absent(&all, &chains, &mut flaws);
        (proven, flaws)
    }

    fn examine_one(
        &self,
        record: &Record,
        evidence: &Evidence,
        flaws: &mut BTreeSet<EvidenceFlaw>,
    ) {
        let (writer, number) = (record.header().writer, evidence.number);
        if evidence.format > FORMAT {
            flaws.insert(EvidenceFlaw::Newer { writer, number, found: evidence.format });
        }
        if signer_of(self.site, self.verifier, record, evidence).is_none() {
            flaws.insert(EvidenceFlaw::Signer { writer, number });
        }
        for (tier, there) in self.shelves {
            let is_there = there.iter().any(|other| other.id() == record.id());
            if !is_there && !self.unsent.contains(&record.id()) {
                flaws.insert(EvidenceFlaw::NotOn { tier: tier.clone(), writer, number });
            }
        }
    }

    fn proven(&self, record: &Record, evidence: &Evidence) -> Proven {
        let has = |(_, there): &&(TierName, Vec<Record>)| {
            there.iter().any(|other| other.id() == record.id())
        };
        Proven {
            record: record.id(),
            writer: record.header().writer,
            number: evidence.number,
            time: record.header().time,
            of: evidence.facts.of,
            subject: evidence.facts.subject.clone(),
            run: evidence.facts.run.clone(),
            outcome: evidence.facts.outcome,
            journal: self.journal(evidence),
            tiers: self.shelves.iter().filter(has).map(|(tier, _)| tier.clone()).collect(),
        }
    }

    fn journal(&self, evidence: &Evidence) -> JournalState {
        let Some(told) = &evidence.facts.journal else { return JournalState::None };
        let run = evidence.facts.run.parse::<RunId>().ok();
        let Some(known) = self.runs.iter().find(|known| Some(known.id) == run) else {
            return JournalState::NotHere;
        };
        let same = known.entries.last().map(Entry::id) == Some(told.last)
            && known.entries.len() as u64 == told.entries;
        if same { JournalState::Same } else { JournalState::Differs }
    }

    /// Names what ended without evidence: by this host's journals, and by records that follow the first evidence of their
    /// writer; those before it are of a version that kept none.
    fn find_absent(
        &self,
        all: &BTreeMap<RecordId, &Record>,
        chains: &BTreeMap<WriterId, Chain<'_>>,
        flaws: &mut BTreeSet<EvidenceFlaw>,
    ) {
        let evidence = chains.values().flat_map(BTreeMap::values);
        let there: BTreeSet<&str> = evidence.map(|(_, own)| own.facts.run.as_str()).collect();
        let ended_here = self.runs.iter().filter(|run| run.is_over());
        for run in ended_here.filter(|run| !there.contains(run.id.to_string().as_str())) {
            let ended = run.entries.last().map(|entry| entry.time).unwrap_or_default();
            flaws.insert(EvidenceFlaw::Absent { run: run.id.to_string(), ended });
        }
        for record in all.values() {
            let run = match record.body() {
                Body::RecoveryEnded(ended) => ended.run.to_string(),
                Body::RestoreTested(tested) => tested.job.to_string(),
                // One that was never declared has nothing to be told.
                Body::DrillEnded(ended) if ended.journal.is_some() => ended.run.to_string(),
                _ => continue,
            };
            let header = record.header();
            let first = chains
                .get(&header.writer)
                .and_then(|chain| chain.values().map(|(record, _)| record.header().sequence).min());
            if first.is_some_and(|first| first < header.sequence) && !there.contains(run.as_str()) {
                flaws.insert(EvidenceFlaw::Absent { run, ended: header.time });
            }
        }
    }
}

fn find_flaws(writer: WriterId, chain: &Chain<'_>, flaws: &mut BTreeSet<EvidenceFlaw>) {
    let mut places: BTreeMap<u64, Vec<(&Record, &Evidence)>> = BTreeMap::new();
    for ((number, _), own) in chain {
        places.entry(*number).or_default().push(*own);
    }
    let mut next = 0;
    for (&number, own) in &places {
        if number > next {
            flaws.insert(EvidenceFlaw::Missing { writer, first: next, last: number - 1 });
        }
        if own.len() > 1 {
            flaws.insert(EvidenceFlaw::Fork { writer, number, records: own.len() });
        }
        let before = number.checked_sub(1).map(|before| places.get(&before));
        let follows = |(_, evidence): &(&Record, &Evidence)| match (before, evidence.previous) {
            (None, previous) => previous.is_none(),
            (Some(None), previous) => previous.is_some(),
            (Some(Some(before)), previous) => {
                before.iter().any(|(record, _)| Some(record.id()) == previous)
            }
        };
        if !own.iter().all(follows) {
            flaws.insert(EvidenceFlaw::Broken { writer, number });
        }
        next = number.saturating_add(1);
    }
}

/// Returns the key of whoever signed, if the root key vouches for it and the signature is its.
fn signer_of(
    site: &SiteName,
    root: &Verifier,
    record: &Record,
    evidence: &Evidence,
) -> Option<Verifier> {
    let said = (evidence.signer.public_key.as_str(), evidence.signer.attestation.as_str());
    let key = attested_key(site, root, record.header().writer, said)?;
    record.is_signed_by(&key).then_some(key)
}

/// A document that was handed over is no evidence of the site.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is no record at all, or a changed one.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It is a record of something else.
    #[error("it is a record of kind `{kind}`, which proves nothing by itself")]
    Another {
        /// Of what.
        kind: &'static str,
    },
    /// It belongs to another site.
    #[error("it is of site `{found}`, and the plan's is `{expected}`")]
    AnotherSite {
        /// The plan's site.
        expected: SiteName,
        /// The document's.
        found: SiteName,
    },
    /// It was written by a later version.
    #[error("it has format {found}, and this version reads up to {FORMAT}")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// It was changed, or signed by somebody for whom the plan's verifier does not vouch.
    #[error(
        "it is not signed by a writer for whom the plan's verifier vouches: changed, or somebody else's"
    )]
    Signature,
}

impl lifeboat_model::Classify for DocumentError {
    fn kind(&self) -> lifeboat_model::ErrorKind {
        use lifeboat_model::ErrorKind;
        match self {
            Self::Record(RecordError::NewerSchema { .. }) | Self::Newer { .. } => {
                ErrorKind::Conflict
            }
            Self::Record(_) | Self::Signature => ErrorKind::Corrupt,
            Self::Another { .. } => ErrorKind::Usage,
            Self::AnotherSite { .. } => ErrorKind::Conflict,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Record(RecordError::NewerSchema { .. }) | Self::Newer { .. } => {
                Exit::CouldNotVerify
            }
            other => other.kind().exit(),
        }
    }
}

/// Reads a document that somebody handed over; it needs nothing but the plan's verifier. A line end behind it does not count.
pub fn read_document(
    bytes: &[u8],
    site: &SiteName,
    verifier: &Verifier,
) -> Result<Record, DocumentError> {
    let record = Record::read(bytes.strip_suffix(b"\n").unwrap_or(bytes))?;
    let Some(evidence) = evidence_in(&record) else {
        return Err(DocumentError::Another { kind: record.body().kind() });
    };
    if record.header().site != *site {
        let (expected, found) = (site.clone(), record.header().site.clone());
        return Err(DocumentError::AnotherSite { expected, found });
    }
    if signer_of(site, verifier, &record, evidence).is_none() {
        return Err(DocumentError::Signature);
    }
    if evidence.format > FORMAT {
        return Err(DocumentError::Newer { found: evidence.format });
    }
    Ok(record)
}
