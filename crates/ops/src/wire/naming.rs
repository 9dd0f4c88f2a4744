//! Which of a plan's tiers lies at an address: the same place, however it is spelled.
//!
//! Nothing is asked of a store: two spellings are compared, of folders also what links lead to.

use std::collections::BTreeMap;
use std::path::Path;

use lifeboat_model::TierName;
use lifeboat_plan::plan::tier::Tier as PlannedTier;
use lifeboat_plan::value::address::TierUrl;
use lifeboat_plan::value::sftp_place::SftpPlace;
use lifeboat_tiers::s3::S3Options;

use super::addresses::Address;
use super::{Reached, Site};
use crate::error::OpsError;
use crate::named_tier::NamedTier;

/// The port of SSH.
const SSH_PORT: u16 = 22;

impl Site {
    /// Returns the name of the plan's tier at an address; a folder is named from the root.
    pub fn tier_at(&self, address: &Address) -> Result<TierName, OpsError> {
        let tiers = self.plan().tiers();
        let environment = &self.surroundings().environment;
        for (name, tier) in tiers {
            if leads_to(address, tier, environment)? {
                return Ok(name.clone());
            }
        }
        // Only now, since a folder on a server that does not answer may be asked.
        let linked = tiers.iter().find(|(_, tier)| is_linked(address, tier));
        linked.map(|(name, _)| name.clone()).ok_or_else(|| OpsError::NoTierAt {
            address: address.to_string(),
            known: tiers.iter().map(|(name, tier)| (name.clone(), tier.url.to_string())).collect(),
        })
    }

    /// Goes to a tier that somebody named, which has to be there.
    pub fn tier(&self, name: &TierName) -> Result<NamedTier, OpsError> {
        match self.reach(name) {
            Reached::Ready(named) => Ok(named),
            Reached::Vacant(vacancy) => {
                let address = vacancy.address().to_owned();
                Err(OpsError::TierNew { tier: name.clone(), address })
            }
            Reached::Trouble(trouble) => Err(OpsError::TierUnread { tier: name.clone(), trouble }),
        }
    }
}

/// Tells whether an address is a spelling of a tier's.
fn leads_to(
    address: &Address,
    tier: &PlannedTier,
    environment: &BTreeMap<String, String>,
) -> Result<bool, OpsError> {
    Ok(match (address, &tier.url) {
        // Paths compare by their parts, whatever slashes stand between and behind them.
        (Address::Directory(path), TierUrl::File(folder)) => Path::new(path) == folder.as_path(),
        (Address::S3 { endpoint, bucket, prefix }, TierUrl::S3 { bucket: own, prefix: below }) => {
            let is_same = (bucket, prefix) == (own, below);
            match endpoint {
                // The plan says where the store is, and has no bucket twice.
                None => is_same,
                Some(endpoint) => is_same && is_at(tier, bucket, endpoint, environment)?,
            }
        }
        (
            Address::Azure { account, container, prefix },
            TierUrl::Azure { account: owner, container: own, prefix: below },
        ) => (account, container, prefix) == (owner, own, below),
        (Address::Sftp(place), TierUrl::Sftp(own)) => is_same_directory(place, own),
        _ => false,
    })
}

fn is_at(
    tier: &PlannedTier,
    bucket: &str,
    endpoint: &str,
    environment: &BTreeMap<String, String>,
) -> Result<bool, OpsError> {
    let options = S3Options {
        endpoint: tier.endpoint.clone(),
        profile: tier.profile.clone(),
        environment: environment.clone(),
        ..S3Options::new(bucket, "")
    };
    Ok(options.is_at(endpoint)?)
}

/// Who logs in may be left out on either side; two logins may be led to two places.
fn is_same_directory(one: &SftpPlace, other: &SftpPlace) -> bool {
    let port = |place: &SftpPlace| place.port.map_or(SSH_PORT, Into::into);
    let path = |place: &'_ SftpPlace| place.path.trim_end_matches('/').to_owned();
    let users = one.user.as_ref().zip(other.user.as_ref());
    one.host.eq_ignore_ascii_case(&other.host)
        && port(one) == port(other)
        && path(one) == path(other)
        && users.is_none_or(|(one, other)| one == other)
}

/// Tells whether links lead from one folder and from the other to the same.
fn is_linked(address: &Address, tier: &PlannedTier) -> bool {
    let (Address::Directory(path), Some(folder)) = (address, tier.url.folder()) else {
        return false;
    };
    let real = |path: &Path| path.canonicalize().ok();
    real(Path::new(path)).is_some_and(|found| real(folder.as_path()) == Some(found))
}
