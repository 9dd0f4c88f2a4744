//! Where a tier was set up, and when: what was recorded while it had another repository lies elsewhere and counts no more.
//!
//! A tier whose address changed in the plan lies at a new place. As long as nothing is there it [`Emptiness::Moved`]; once it is
//! set up there, or what was copied there by hand was found, the last record of its adoption says which repository it has.

use lifeboat_model::{RepositoryId, TierName, Timestamp};

use crate::catalog::body::Body;
use crate::catalog::view::{View, ViewError, Wanted};
use crate::error::OpsError;

/// One adoption of a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Adopted {
    time: Timestamp,
    address: String,
    repository: RepositoryId,
}

/// All adoptions of a tier, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Adoptions(Vec<Adopted>);

/// What it means that nothing is where a tier should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Emptiness {
    /// It was never set up.
    New,
    /// It was set up right there.
    Lost,
    /// It was set up somewhere else: the plan names another place since.
    Moved {
        /// Where it lay last.
        from: String,
    },
}

impl Emptiness {
    /// Returns the same as what keeps a tier from being read.
    pub(crate) fn trouble(self, tier: TierName, address: String) -> OpsError {
        match self {
            Self::New => OpsError::TierNew { tier, address },
            Self::Lost => OpsError::TierLost { tier, address },
            Self::Moved { from } => OpsError::TierMoved { tier, address, from },
        }
    }
}

impl Adoptions {
    /// Reads where a tier was set up.
    pub(crate) fn load(view: &View, tier: &TierName) -> Result<Self, ViewError> {
        let wanted =
            Wanted { kind: "tier-adopted", asset: None, tier: Some(tier), good_only: false };
        let records = view.latest(wanted, u32::MAX)?;
        let adopted = records.iter().rev().filter_map(|record| match record.body() {
            Body::TierAdopted(body) => Some(Adopted {
                time: record.header().time,
                address: body.address.clone(),
                repository: body.repository,
            }),
            _ => None,
        });
        Ok(Self(adopted.collect()))
    }

    /// Tells whether what was recorded of the tier at a moment lies in the repository that it has now.
    pub(crate) fn counts(&self, time: Timestamp) -> bool {
        let Some(now) = self.0.last() else { return true };
        let then = self.0.iter().rfind(|adopted| adopted.time <= time);
        then.is_some_and(|then| then.repository == now.repository)
    }

    /// Tells whether it is known that the tier has this repository at this address.
    pub(crate) fn knows(&self, address: &str, repository: RepositoryId) -> bool {
        let is_last = self.0.last().is_some_and(|last| last.repository == repository);
        is_last && self.0.iter().any(|adopted| adopted.address == address)
    }

    /// Tells what it means that nothing is at this address.
    pub(crate) fn nothing_at(&self, address: &str) -> Emptiness {
        match self.0.last() {
            None => Emptiness::New,
            Some(_) if self.0.iter().any(|adopted| adopted.address == address) => Emptiness::Lost,
            Some(last) => Emptiness::Moved { from: last.address.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adoptions(all: &[(i64, &str, u8)]) -> Adoptions {
        let adopted = |(second, address, repository): &(i64, &str, u8)| Adopted {
            time: at(*second),
            address: (*address).to_owned(),
            repository: RepositoryId::from_bytes([*repository; 32]),
        };
        Adoptions(all.iter().map(adopted).collect())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_lies_in_another_repository_does_not_count() {
        let counted = |adoptions: &Adoptions| -> Vec<i64> {
            (0..50).step_by(10).filter(|second| adoptions.counts(at(second + 5))).collect()
        };
        assert_eq!(counted(&adoptions(&[])), [0, 10, 20, 30, 40], "of a catalog before adoptions");
        assert_eq!(counted(&adoptions(&[(10, "a", 1)])), [10, 20, 30, 40]);
        assert_eq!(counted(&adoptions(&[(0, "a", 1), (20, "b", 2)])), [20, 30, 40]);
        // Copied by hand, and reached in another way: the same.
        assert_eq!(counted(&adoptions(&[(0, "a", 1), (20, "b", 1)])), [0, 10, 20, 30, 40]);
        let there_and_back = adoptions(&[(0, "a", 1), (20, "b", 2), (40, "a", 1)]);
        assert_eq!(counted(&there_and_back), [0, 10, 40]);
    }

    #[test]
    fn nothing_is_new_lost_or_elsewhere() {
        let known = adoptions(&[(0, "a", 1), (20, "b", 2)]);
        assert_eq!(adoptions(&[]).nothing_at("a"), Emptiness::New);
        assert_eq!(known.nothing_at("a"), Emptiness::Lost);
        assert_eq!(known.nothing_at("c"), Emptiness::Moved { from: "b".to_owned() });
        let repository = |number| RepositoryId::from_bytes([number; 32]);
        assert!(known.knows("a", repository(2)) && known.knows("b", repository(2)));
        assert!(!known.knows("a", repository(1)) && !known.knows("c", repository(2)));
    }
}
