//! The catalog of all tiers held against each other and against what is known here, read-only.
//!
//! Opening a site for a command that writes brings every tier up to date first, and so would put
//! back whatever somebody removed. Whoever asks whether something was removed must look before.

use std::collections::BTreeSet;

use lifeboat_model::{Cancel, TierName};

use super::{Reached, Site};
use crate::catalog::{Catalog, CatalogKeys, CatalogReport, Looked, TierSync};
use crate::error::OpsError;
use crate::inquiry::ask_all;

/// Reads every record of every tier of the plan and names whatever should not be.
///
/// Changes nothing on a tier. A tier that could not be looked at is in the report with its reason.
pub fn verify_catalog(site: &Site, cancel: &Cancel) -> Result<CatalogReport, OpsError> {
    let tiers = site.plan().tiers().keys().cloned().collect();
    Ok(look_at_catalog(site, &tiers, cancel)?.report)
}

/// Reads every record of some tiers of the plan, and of this host.
pub(crate) fn look_at_catalog(
    site: &Site,
    tiers: &BTreeSet<TierName>,
    cancel: &Cancel,
) -> Result<Looked, OpsError> {
    let key = site.recovery_key(cancel)?;
    let surroundings = site.surroundings();
    let lock = site.state_lock()?;
    let keys = CatalogKeys::from(&key);
    let catalog = Catalog::open(lock, site.name().clone(), keys, surroundings)?;
    let (mut ready, mut unseen) = (Vec::new(), Vec::new());
    let names: Vec<_> = tiers.iter().collect();
    for (name, reached) in names.iter().zip(ask_all(&names, |name| site.reach(name))) {
        let reason = match reached {
            Reached::Ready(tier) => {
                ready.push(tier);
                continue;
            }
            Reached::Vacant(vacancy) => format!("there is nothing at {}", vacancy.address()),
            Reached::Trouble(trouble) => trouble.message,
        };
        unseen.push(TierSync { tier: (*name).clone(), read: 0, put: 0, error: Some(reason) });
    }
    let mut looked = catalog.look(&ready)?;
    looked.report.tiers.extend(unseen);
    Ok(looked)
}
