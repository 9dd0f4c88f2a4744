//! The recovery key in the hands of a person: confirming that it is kept, exporting it.

use std::collections::BTreeSet;

use lifeboat_model::{Cancel, Secret, Silent, Timestamp};
use serde::Serialize;

use crate::catalog::body::{Body, KeyConfirmed};
use crate::error::OpsError;
use crate::recovery_key::{PublicHalves, RecoveryKey};
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite};

/// A key was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confirmation {
    /// The version of this document.
    pub schema: u32,
    /// When.
    pub confirmed: Timestamp,
    /// Which key, by its public halves.
    #[serde(flatten)]
    pub halves: PublicHalves,
}

/// Confirms that somebody holds the recovery key: what was typed must be the key of this plan.
///
/// Records it, so that `check` and `status` say when. Needs no tier: the record travels with the
/// next backup, if none is there yet.
pub fn confirm(site: &Site, typed: &Secret, cancel: &Cancel) -> Result<Confirmation, OpsError> {
    let expected = site.recovery_key(cancel)?.public_halves();
    let halves = RecoveryKey::parse(typed)?.public_halves();
    if halves != expected {
        let (expected, found) = (expected.verifier.to_string(), halves.verifier.to_string());
        return Err(OpsError::AnotherKey { expected, found });
    }
    let tiers: BTreeSet<_> = site.plan().tiers().keys().cloned().collect();
    let open = OpenSite::open(site, &tiers, NewTiers::Leave, &Silent, cancel)?;
    let verifier = halves.verifier.to_string();
    let record = open.record(Body::KeyConfirmed(KeyConfirmed { verifier }))?;
    open.deliver()?;
    Ok(Confirmation { schema: 1, confirmed: record.header().time, halves })
}
