//! What all verifications of a tier amount to: damage that was proven stands until it is disproven.
//!
//! A verification that reads a share of the data, or none, says nothing of what it did not read; so
//! only one that read everything and passed takes back that another failed. What was found where the tier lay before says
//! nothing of the place where it lies now.

use std::collections::BTreeSet;

use lifeboat_model::{Outcome, PackId, TierName, Timestamp};
use serde::Serialize;

use crate::adoptions::Adoptions;
use crate::catalog::body::{Body, TierVerified};
use crate::catalog::record::Record;
use crate::catalog::view::{View, ViewError};

/// One verification of a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedOnce {
    /// When.
    pub time: Timestamp,
    /// What it showed.
    pub outcome: Outcome,
    /// Whether all data was read.
    pub all_data: bool,
}

/// What the verifications of a tier amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The verification that the tier is judged by: the last that failed, while nothing disproved
    /// it, else the last.
    pub verified: Option<VerifiedOnce>,
    /// The packs that were found damaged, by all verifications since the last that disproved it.
    pub damaged_packs: BTreeSet<PackId>,
}

impl Standing {
    /// Reads how a tier stands.
    pub fn load(view: &View, tier: &TierName) -> Result<Self, ViewError> {
        let mut standing = Self::default();
        let adoptions = Adoptions::load(view, tier)?;
        let here = |record: &Record| adoptions.counts(record.header().time);
        for record in view.verifications(tier)?.into_iter().filter(here) {
            if let Body::TierVerified(body) = record.body() {
                standing.add(record.header().time, body);
            }
        }
        Ok(standing)
    }

    /// Takes in the next verification; they come the oldest first.
    fn add(&mut self, time: Timestamp, body: &TierVerified) {
        let (outcome, all_data) = (body.outcome, body.all_data);
        let disproves = outcome == Outcome::Passed && all_data;
        let settles = outcome == Outcome::Failed || disproves;
        if disproves {
            self.damaged_packs.clear();
        }
        self.damaged_packs.extend(&body.damaged_packs);
        if settles || !self.is_damaged() {
            self.verified = Some(VerifiedOnce { time, outcome, all_data });
        }
    }

    /// Returns those of some tiers that were proven damaged, and not whole since.
    pub(crate) fn damaged<'t>(
        view: &View,
        tiers: impl IntoIterator<Item = &'t TierName>,
    ) -> Result<BTreeSet<TierName>, ViewError> {
        let mut damaged = BTreeSet::new();
        for tier in tiers {
            if Self::load(view, tier)?.is_damaged() {
                damaged.insert(tier.clone());
            }
        }
        Ok(damaged)
    }

    /// Tells whether the tier was proven damaged, and not whole since.
    pub fn is_damaged(&self) -> bool {
        self.verified.as_ref().is_some_and(|verified| verified.outcome == Outcome::Failed)
    }
}

#[cfg(test)]
mod tests {
    use lifeboat_model::Outcome::{CouldNotVerify, Failed, Passed};

    use super::*;

    fn pack(number: i64) -> PackId {
        PackId::from_bytes([number.to_le_bytes()[0]; 32])
    }

    /// How a tier stands after verifications one second apart, each of all data or not.
    fn after(verifications: &[(Outcome, bool)]) -> Standing {
        let mut standing = Standing::default();
        for (second, (outcome, all_data)) in (0..).zip(verifications) {
            let body = TierVerified {
                job: "job_018bcfe5-6800-7000-8000-000000000000".parse().unwrap(),
                tier: "near".parse().unwrap(),
                outcome: *outcome,
                packs_read: 0,
                read_until: None,
                bytes_read: 0,
                all_data: *all_data,
                findings: Vec::new(),
                damaged_packs: match outcome {
                    Failed => BTreeSet::from([pack(second)]),
                    _ => BTreeSet::new(),
                },
            };
            standing.add(Timestamp::from_second(second).unwrap(), &body);
        }
        standing
    }

    #[test]
    fn damage_stands_until_all_data_was_read_and_is_whole() {
        let (all, share) = (true, false);
        for (verifications, judged_by) in [
            (&[(Passed, share)][..], Some((0, Passed))),
            (&[(Passed, share), (Passed, share)], Some((1, Passed))),
            (&[(Passed, all), (CouldNotVerify, share)], Some((1, CouldNotVerify))),
            (&[(Passed, all), (Failed, all)], Some((1, Failed))),
            (&[(Failed, all), (Passed, share)], Some((0, Failed))),
            (&[(Failed, share), (Passed, share), (Passed, share)], Some((0, Failed))),
            (&[(Failed, all), (CouldNotVerify, all)], Some((0, Failed))),
            (&[(Failed, all), (Failed, share), (Passed, share)], Some((1, Failed))),
            (&[(Failed, all), (Passed, all)], Some((1, Passed))),
            (&[(Failed, all), (Passed, all), (Passed, share)], Some((2, Passed))),
            (&[], None),
        ] {
            let standing = after(verifications);
            let verified = standing.verified.as_ref();
            let found = verified.map(|v| (v.time.as_second(), v.outcome));
            assert_eq!(found, judged_by, "{verifications:?}");
            assert_eq!(standing.is_damaged(), judged_by.is_some_and(|(_, last)| last == Failed));
        }
    }

    #[test]
    fn what_several_verifications_found_damaged_adds_up_until_it_is_disproven() {
        let found = [(Failed, true), (Failed, false), (Passed, false)];
        assert_eq!(after(&found).damaged_packs, BTreeSet::from([pack(0), pack(1)]));
        let disproven = [(Failed, true), (Passed, true), (Failed, false)];
        assert_eq!(after(&disproven).damaged_packs, BTreeSet::from([pack(2)]));
    }
}
