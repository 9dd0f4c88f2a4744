//! Starting from nothing: a tier's address and the recovery key lead to the plan and the data.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt as _;
use lifeboat_model::{Cancel, PlanId, RepositoryId, Silent, TierName};
use lifeboat_plan::{Facts, SourceFile, load};
use lifeboat_tiers::{Tier, TierError};

use crate::catalog::body::Body;
use crate::catalog::record::Record;
use crate::catalog::{CatalogKeys, read_tier};
use crate::error::OpsError;
use crate::named_tier::NamedTier;
use crate::plan_archive::ArchivedPlan;
use crate::recovery_key::RecoveryKey;
use crate::surroundings::Surroundings;
use crate::tier_mark::TierMark;
use crate::wire::addresses::{Address, Outside};
use crate::wire::{Site, repositories, steadied};

/// Opens the tier at an address, like `file:///mnt/backups`, `/mnt/backups`, `s3://bucket/prefix`,
/// `azure://account/container/prefix` or `sftp://user@host/path`.
pub fn open_address(address: &str, outside: Outside<'_>) -> Result<Arc<dyn Tier>, OpsError> {
    match Address::parse(address)? {
        Address::Directory(path) if !path.starts_with('/') => {
            Err(OpsError::BadAddress { address: address.to_owned() })
        }
        place => place.open(outside),
    }
}

/// Reads whose tier it is that somebody wants to restore from.
pub async fn read_mark(tier: &dyn Tier) -> Result<TierMark, OpsError> {
    let address = tier.address().to_owned();
    match TierMark::read(tier).await {
        Ok(Some(mark)) => Ok(mark),
        // What is said to whoever sets up a tier, to empty it, must not be said here.
        Err(OpsError::Unmarked { .. }) if is_repository(tier).await? => {
            Err(OpsError::RepositoryAlone { address })
        }
        Ok(None) | Err(OpsError::Unmarked { .. }) => Err(OpsError::NoPlan { address }),
        Err(error) => Err(error),
    }
}

/// Tells whether a restic repository lies at the root, where a tier has it below `repo`.
async fn is_repository(tier: &dyn Tier) -> Result<bool, OpsError> {
    let config = "config".parse().expect("it is a valid path");
    let keys = "keys".parse().expect("it is a valid prefix");
    match tier.head(&config).await {
        Ok(_) => Ok(tier.list(&keys).try_next().await?.is_some()),
        Err(TierError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A site that was found through one of its tiers.
#[derive(Debug)]
pub struct FoundSite {
    /// The site; the tier is used where it was found, wherever the plan says that it is.
    pub site: Site,
    /// What the plan calls that tier. Whoever named it wants to read from it and from no other.
    pub tier: TierName,
}

/// Finds the plan that was last in force at a tier.
pub fn find_site(
    tier: &Arc<dyn Tier>,
    key: &RecoveryKey,
    surroundings: Surroundings,
    cancel: &Cancel,
) -> Result<FoundSite, OpsError> {
    let runtime = surroundings.runtime.clone();
    let (bare, tier) = (tier, &steadied(Arc::clone(tier), &surroundings));
    let no_plan = || OpsError::NoPlan { address: tier.address().to_owned() };
    let mark = runtime.block_on(read_mark(tier.as_ref()))?;
    let keys = CatalogKeys::from(key);
    let (expected, found) = (mark.verifier.clone(), keys.verifier.to_string());
    if expected != found {
        return Err(OpsError::AnotherKey { expected, found });
    }
    // Before its name is known the tier needs one to be spoken of.
    let name: TierName = "found".parse().expect("it is a valid name");
    let named = NamedTier { name, tier: Arc::clone(tier) };
    let records = runtime.block_on(read_tier(&mark.site, &keys, &named))?;
    let plan = last_plan(&records).ok_or_else(no_plan)?;
    let archived = runtime.block_on(ArchivedPlan::read(plan, &key.opener(), tier.as_ref()))?;
    let ArchivedPlan { name, text, runbooks, .. } = archived;
    let runbooks: BTreeMap<String, String> = runbooks;
    let source = SourceFile { path: name, text };
    let checked = load(source, &runbooks, &Facts::default(), surroundings.now())?;
    let site = Site::new(checked, surroundings).with_key(key.clone());
    let repository =
        repositories::open(&named, key, site.surroundings(), &Silent, cancel)?.config().id;
    match adopted_as(&records, repository) {
        Some(name) if site.plan().tiers().contains_key(&name) => {
            Ok(FoundSite { site: site.with_tier(name.clone(), Arc::clone(bare)), tier: name })
        }
        _ => Err(no_plan()),
    }
}

fn last_plan(records: &[Record]) -> Option<PlanId> {
    records.iter().rev().find_map(|record| match record.body() {
        Body::PlanAdopted(adopted) => Some(adopted.plan),
        _ => None,
    })
}

fn adopted_as(records: &[Record], repository: RepositoryId) -> Option<TierName> {
    records.iter().rev().find_map(|record| match record.body() {
        Body::TierAdopted(adopted) if adopted.repository == repository => {
            Some(adopted.tier.clone())
        }
        _ => None,
    })
}
