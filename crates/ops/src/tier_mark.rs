//! Whose a tier is: `site.json` at its root, in plain text, so that it can be read without a key.
//!
//! It protects against mistakes, not against attackers: whoever can write it can delete the tier.

use std::future::ready;
use std::pin::pin;

use bytes::Bytes;
use futures::TryStreamExt as _;
use lifeboat_model::SiteName;
use lifeboat_tiers::placement::is_probe;
use lifeboat_tiers::{ObjectPath, ObjectPrefix, PutMode, ReadRange, Tier, TierError};
use serde::{Deserialize, Serialize};

use crate::error::OpsError;

/// The layout of tiers that this version writes.
const FORMAT: u32 = 1;

/// What the mark says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierMark {
    /// The layout's version.
    format: u32,
    /// Whose tier it is.
    pub site: SiteName,
    /// The root key's public half.
    pub verifier: String,
}

fn path() -> ObjectPath {
    "site.json".parse().expect("it is a valid path")
}

impl TierMark {
    /// Returns the mark of a site.
    pub fn new(site: SiteName, verifier: String) -> Self {
        Self { format: FORMAT, site, verifier }
    }

    /// Reads a tier's mark; `None` on a tier that has nothing at all, but for what was left by trying whether it takes
    /// something.
    ///
    /// A tier that has something but no mark is refused: it is a folder of somebody else's.
    pub async fn read(tier: &dyn Tier) -> Result<Option<Self>, OpsError> {
        let address = || tier.address().to_owned();
        match tier.get(&path(), ReadRange::Full).await {
            Ok(bytes) => match serde_json::from_slice::<Self>(&bytes) {
                Ok(mark) if mark.format <= FORMAT => Ok(Some(mark)),
                _ => Err(OpsError::BadMark { address: address() }),
            },
            Err(TierError::NotFound { .. }) => {
                let listed = tier.list(&ObjectPrefix::ALL);
                let mut others = pin!(listed.try_filter(|meta| ready(!is_probe(&meta.path))));
                match others.try_next().await? {
                    None => Ok(None),
                    Some(_) => Err(OpsError::Unmarked { address: address() }),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Marks an empty tier; of two sites that try at once, one succeeds.
    pub async fn write(&self, tier: &dyn Tier) -> Result<(), OpsError> {
        let bytes = Bytes::from(serde_json::to_vec(self).expect("a mark is JSON"));
        match tier.put(&path(), bytes, PutMode::Create).await {
            Err(TierError::AlreadyExists { .. }) => match Self::read(tier).await? {
                Some(there) => there.expect(&self.site, tier.address()),
                None => Err(OpsError::BadMark { address: tier.address().to_owned() }),
            },
            other => Ok(other?),
        }
    }

    /// Refuses the tier of another site.
    pub fn expect(&self, site: &SiteName, address: &str) -> Result<(), OpsError> {
        if self.site == *site {
            return Ok(());
        }
        let (expected, found) = (site.clone(), self.site.clone());
        Err(OpsError::AnotherSite { address: address.to_owned(), expected, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_tiers::MemoryTier;

    #[tokio::test]
    async fn a_tier_belongs_to_one_site() {
        let tier = MemoryTier::new();
        assert_eq!(TierMark::read(&tier).await.unwrap(), None);
        let mark = TierMark::new("shop".parse().unwrap(), "ed25519:x".to_owned());
        mark.write(&tier).await.unwrap();
        mark.write(&tier).await.unwrap();
        assert_eq!(TierMark::read(&tier).await.unwrap(), Some(mark));
        let other = TierMark::new("bank".parse().unwrap(), "ed25519:y".to_owned());
        let error = other.write(&tier).await.unwrap_err();
        assert!(matches!(error, OpsError::AnotherSite { .. }), "{error}");
    }

    #[tokio::test]
    async fn what_a_check_could_not_take_away_makes_a_tier_nobodys() {
        let tier = MemoryTier::new();
        crate::readiness::probe(&tier, "").await.unwrap();
        let left = "probe-0123456789abcdef".parse().unwrap();
        tier.put(&left, Bytes::from_static(b"lifeboat"), PutMode::Create).await.unwrap();
        assert_eq!(TierMark::read(&tier).await.unwrap(), None);
    }

    #[tokio::test]
    async fn somebody_elses_folder_is_refused() {
        let tier = MemoryTier::new();
        let path = "holiday.jpg".parse().unwrap();
        tier.put(&path, Bytes::from_static(b"x"), PutMode::Create).await.unwrap();
        assert!(matches!(TierMark::read(&tier).await, Err(OpsError::Unmarked { .. })));
        tier.put(&super::path(), Bytes::from_static(b"{\"format\":2}"), PutMode::Create)
            .await
            .unwrap();
        assert!(matches!(TierMark::read(&tier).await, Err(OpsError::BadMark { .. })));
    }
}
