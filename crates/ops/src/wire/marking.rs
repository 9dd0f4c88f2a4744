//! Putting the mark of a tier back that lost it.
//!
//! The mark says whose a tier is to whoever has no key. Where it is gone, what lies there has to prove it: a repository that the
//! recovery key opens, and signed records of this site that tell of it. Somebody else's folder proves neither and is left alone.

use lifeboat_model::{Cancel, RepositoryId, SiteName, TierName};
use serde::Serialize;

use super::{Place, Site, repositories};
use crate::catalog::body::Body;
use crate::catalog::record::Record;
use crate::catalog::view::{View, Wanted};
use crate::catalog::{CatalogKeys, read_tier};
use crate::error::OpsError;
use crate::named_tier::NamedTier;
use crate::recovery_key::RecoveryKey;
use crate::state::State;
use crate::tier_mark::TierMark;

/// What became of a mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Marked {
    /// Which tier.
    pub tier: TierName,
    /// Where it is.
    pub address: String,
    /// Whose it is.
    pub site: SiteName,
    /// What was done.
    pub deed: Deed,
}

/// What was done about a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Nothing: it was there.
    WasThere,
    /// It was put back.
    PutBack,
}

/// Puts the mark of a tier back, if what lies there is proven to be this site's.
pub fn mark(site: &Site, name: &TierName, cancel: &Cancel) -> Result<Marked, OpsError> {
    let (address, key) = (site.address(name)?, site.recovery_key(cancel)?);
    let nothing = || OpsError::NothingThere { address: address.clone() };
    let Place::Empty(tier) = site.go_to(name)? else { return Err(nothing()) };
    let runtime = &site.surroundings().runtime;
    let deed = match runtime.block_on(TierMark::read(tier.as_ref())) {
        Ok(Some(mark)) => {
            mark.expect(site.name(), &address)?;
            Deed::WasThere
        }
        Ok(None) => return Err(nothing()),
        Err(OpsError::Unmarked { .. }) => {
            let named = NamedTier { name: name.clone(), tier };
            prove(site, &key, &named)?;
            let verifier = key.public_halves().verifier.to_string();
            let mark = TierMark::new(site.name().clone(), verifier);
            runtime.block_on(mark.write(named.tier.as_ref()))?;
            Deed::PutBack
        }
        Err(error) => return Err(error),
    };
    Ok(Marked { tier: name.clone(), address, site: site.name().clone(), deed })
}

/// Fails unless the recovery key opens the repository on a tier, and a record of this site, there or here, tells of that
/// repository.
fn prove(site: &Site, key: &RecoveryKey, tier: &NamedTier) -> Result<(), OpsError> {
    let (surroundings, address) = (site.surroundings(), tier.tier.address().to_owned());
    let repository = repositories::open_bare(tier, key, surroundings);
    let repository = match repository {
        Ok(repository) => repository.config().id,
        Err(error) => return Err(OpsError::NotProven { address, source: Box::new(error) }),
    };
    let keys = CatalogKeys::from(key);
    let there = surroundings.runtime.block_on(read_tier(site.name(), &keys, tier))?;
    if tells_of(&there, repository) || tells_of(&recorded(site)?, repository) {
        return Ok(());
    }
    let source = Box::new(OpsError::NoRecordOf { repository });
    Err(OpsError::NotProven { address, source })
}

/// Returns what this host knows of tiers that were set up.
fn recorded(site: &Site) -> Result<Vec<Record>, OpsError> {
    let state = State::open(&site.surroundings().state_directory)?;
    let wanted = Wanted { kind: "tier-adopted", asset: None, tier: None, good_only: false };
    Ok(View::open(&state.view_path())?.latest(wanted, u32::MAX)?)
}

fn tells_of(records: &[Record], repository: RepositoryId) -> bool {
    records.iter().any(|record| match record.body() {
        Body::TierAdopted(adopted) => adopted.repository == repository,
        _ => false,
    })
}
