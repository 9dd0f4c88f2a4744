//! Whether a set of records is what its writers wrote: whole, in order, signed, and nobody else's.
//!
//! Pure: it looks at records only. A record whose signature holds is accepted even where its chain
//! has a flaw, since hiding an authentic record of a good backup would be a second loss; the flaw
//! is named all the same.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::Signature;
use lifeboat_model::{SiteName, TierName, WriterId, counted};
use serde::Serialize;

use super::body::{Body, Enrolment, attestation_text};
use super::record::{Record, RecordName};
use crate::recovery_key::Verifier;

/// Something about the catalog that should not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(tag = "flaw", rename_all = "kebab-case")]
pub enum Flaw {
    /// An object cannot be opened or read.
    #[error("`{object}` on {tier}: {reason}")]
    Unreadable {
        /// On which tier.
        tier: TierName,
        /// Which object.
        object: String,
        /// Why.
        reason: String,
    },
    /// An object holds another record than its name says.
    #[error("`{object}` on {tier} holds another record than its name says")]
    Misnamed {
        /// On which tier.
        tier: TierName,
        /// Which object.
        object: String,
    },
    /// A record tells of another site.
    #[error("record {sequence} of {writer} belongs to site `{site}`")]
    AnotherSite {
        /// Whose chain.
        writer: WriterId,
        /// Which place in it.
        sequence: u64,
        /// Which site.
        site: SiteName,
    },
    /// A writer was never enrolled with the root key.
    #[error(
        "{writer} was never enrolled with the recovery key, so that {} of its own count for nothing", counted(*records, "record")
    )]
    NotEnrolled {
        /// Who.
        writer: WriterId,
        /// How many records claim to be its.
        records: usize,
    },
    /// A record's signature is not its writer's.
    #[error("record {sequence} of {writer} is not signed by it: changed, or somebody else's")]
    ForeignSignature {
        /// Whose chain.
        writer: WriterId,
        /// Which place in it.
        sequence: u64,
    },
    /// Records are missing in the middle of a chain.
    #[error("records {first} to {last} of {writer} are missing")]
    Gap {
        /// Whose chain.
        writer: WriterId,
        /// The first one that is missing.
        first: u64,
        /// The last one that is missing.
        last: u64,
    },
    /// A record does not hold the hash of the one before.
    #[error("record {sequence} of {writer} does not follow from the one before")]
    BrokenChain {
        /// Whose chain.
        writer: WriterId,
        /// Which place in it.
        sequence: u64,
    },
    /// Two records claim one place.
    #[error("{records} different records claim place {sequence} of {writer}")]
    Fork {
        /// Whose chain.
        writer: WriterId,
        /// Which place in it.
        sequence: u64,
        /// How many.
        records: usize,
    },
    /// A tier lacks records that another tier has or that are known here.
    #[error("{tier} lacks {} known elsewhere", counted(*records, "record"))]
    Behind {
        /// Which tier.
        tier: TierName,
        /// How many.
        records: usize,
    },
}

/// What an audit showed.
#[derive(Debug, Default)]
pub struct Audited {
    /// The records whose signatures hold, merged by time.
    pub accepted: Vec<Record>,
    /// What should not be.
    pub flaws: BTreeSet<Flaw>,
}

/// Audits records of any number of writers; the same record given twice counts once.
pub fn audit(site: &SiteName, verifier: &Verifier, records: Vec<Record>) -> Audited {
    let mut chains: BTreeMap<WriterId, BTreeMap<(u64, _), Record>> = BTreeMap::new();
    for record in records {
        let key = (record.header().sequence, record.id());
        chains.entry(record.header().writer).or_default().insert(key, record);
    }
    let mut audited = Audited::default();
    for (writer, chain) in chains {
        let chain = chain.into_values().collect();
        audit_chain(site, verifier, writer, chain, &mut audited);
    }
    audited.accepted.sort_by_key(Record::order);
    audited
}

/// Audits records beside those that were accepted before: the names of all of them, and those themselves to which new
/// ones are held, their writers' enrolments and their neighbours in the chain. Only new ones are returned.
pub(super) fn audit_new(
    site: &SiteName,
    verifier: &Verifier,
    known: &HashSet<RecordName>,
    beside: Vec<Record>,
    new: Vec<Record>,
) -> Audited {
    let mut places: BTreeMap<WriterId, BTreeSet<u64>> = BTreeMap::new();
    for record in beside.iter().chain(&new) {
        places.entry(record.header().writer).or_default().insert(record.header().sequence);
    }
    for name in known {
        if let Some(places) = places.get_mut(&name.writer) {
            places.insert(name.sequence);
        }
    }
    let mut audited = audit(site, verifier, [beside, new].concat());
    // The few that are beside say nothing of what lies between them.
    audited.flaws.retain(|flaw| !matches!(flaw, Flaw::Gap { .. }));
    let is_enrolled = |writer: &WriterId| {
        audited.accepted.iter().any(|accepted| accepted.header().writer == *writer)
    };
    places.retain(|writer, _| is_enrolled(writer));
    for (writer, places) in &places {
        find_gaps(*writer, places, &mut audited.flaws);
    }
    audited.accepted.retain(|record| !known.contains(&RecordName::of(record)));
    audited
}

fn audit_chain(
    site: &SiteName,
    root: &Verifier,
    writer: WriterId,
    chain: Vec<Record>,
    audited: &mut Audited,
) {
    let key = chain.iter().find_map(|record| enrolled_key(site, root, record));
    let Some(key) = key else {
        audited.flaws.insert(Flaw::NotEnrolled { writer, records: chain.len() });
        return;
    };
    let (mut authentic, mut places) = (Vec::new(), BTreeSet::new());
    for record in chain {
        let sequence = record.header().sequence;
        places.insert(sequence);
        if !record.is_signed_by(&key) {
            audited.flaws.insert(Flaw::ForeignSignature { writer, sequence });
        } else if record.header().site == *site {
            authentic.push(record);
        } else {
            let site = record.header().site.clone();
            audited.flaws.insert(Flaw::AnotherSite { writer, sequence, site });
        }
    }
    find_gaps(writer, &places, &mut audited.flaws);
    find_breaks(writer, &authentic, &mut audited.flaws);
    audited.accepted.append(&mut authentic);
}

/// Returns the writer's key, if this record is an enrolment that the root key signed.
fn enrolled_key(site: &SiteName, root: &Verifier, record: &Record) -> Option<Verifier> {
    let Body::Enrolment(Enrolment { public_key, attestation, .. }) = record.body() else {
        return None;
    };
    attested_key(site, root, record.header().writer, (public_key, attestation))
}

/// Returns a writer's key, if the root key signed that it is.
pub(crate) fn attested_key(
    site: &SiteName,
    root: &Verifier,
    writer: WriterId,
    (public_key, attestation): (&str, &str),
) -> Option<Verifier> {
    let signature = Signature::from_slice(&BASE64.decode(attestation).ok()?).ok()?;
    let text = attestation_text(site.as_str(), writer, public_key);
    root.verifies(&text, &signature).then(|| public_key.parse().ok()).flatten()
}

fn find_gaps(writer: WriterId, places: &BTreeSet<u64>, flaws: &mut BTreeSet<Flaw>) {
    let mut next = 0;
    for place in places {
        if *place > next {
            flaws.insert(Flaw::Gap { writer, first: next, last: place - 1 });
        }
        next = place.saturating_add(1);
    }
}

fn find_breaks(writer: WriterId, authentic: &[Record], flaws: &mut BTreeSet<Flaw>) {
    let mut places: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
    for record in authentic {
        places.entry(record.header().sequence).or_default().push(record);
    }
    for (&sequence, records) in &places {
        if records.len() > 1 {
            flaws.insert(Flaw::Fork { writer, sequence, records: records.len() });
        }
        let before = sequence.checked_sub(1).map(|place| places.get(&place));
        let follows = |record: &&Record| match (before, record.header().previous) {
            (None, previous) => previous.is_none(),
            // What is missing is a gap, already named; nothing can be said about the hash.
            (Some(None), previous) => previous.is_some(),
            (Some(Some(before)), previous) => before.iter().any(|b| Some(b.id()) == previous),
        };
        if !records.iter().all(follows) {
            flaws.insert(Flaw::BrokenChain { writer, sequence });
        }
    }
}
