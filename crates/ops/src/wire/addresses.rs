//! From the address of a tier to the tier: what the plan adds to it, and what the environment says.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use lifeboat_model::{Cancel, Clock, TierName};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::tier::{AccessTier, LockMode, ThawSpeed, Tier as PlannedTier};
use lifeboat_plan::value::address::TierUrl;
use lifeboat_plan::value::secret::SecretRef;
use lifeboat_plan::value::sftp_place::SftpPlace;
use lifeboat_tiers::azure::AzureOptions;
use lifeboat_tiers::s3::{Addressing, Keys, S3Options};
use lifeboat_tiers::sftp::SftpOptions;
use lifeboat_tiers::{
    AccessClass, AzureTier, Creation, Listings, LocalTier, LockRule, Placement, S3Tier, SftpTier,
    Tier, TierError,
};

use crate::error::OpsError;
use crate::secret;
use crate::surroundings::Surroundings;

/// What whoever names a place by its address alone knows of the world.
#[derive(Debug, Clone, Copy)]
pub struct Outside<'a> {
    /// The process's environment variables.
    pub environment: &'a BTreeMap<String, String>,
    /// Where time comes from.
    pub clock: &'a Arc<dyn Clock>,
    /// How soon listings there show what was stored and removed.
    pub listings: Listings,
}

/// A place that is named by its address alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A directory of this machine.
    Directory(String),
    /// A bucket, at an endpoint or wherever the environment says.
    S3 {
        /// The store's address, if it was given.
        endpoint: Option<String>,
        /// The bucket.
        bucket: String,
        /// What stands before every object's path.
        prefix: String,
    },
    /// A directory of a server.
    Sftp(SftpPlace),
    /// A container of Azure, at the endpoint that the environment says or at the vendor's.
    Azure {
        /// The storage account.
        account: String,
        /// The container.
        container: String,
        /// What stands before every object's path.
        prefix: String,
    },
}

impl Address {
    /// Reads an address: a path, `local:` and a path, `file://` and a path from the root, `s3://` with
    /// bucket and prefix, restic's `s3:` with endpoint, bucket and prefix, `azure://` with account, container and
    /// prefix, `sftp://` with host and path, or restic's `sftp:user@host:path`.
    pub fn parse(text: &str) -> Result<Self, OpsError> {
        let bad = || OpsError::BadAddress { address: without_password(text) };
        let Some((scheme, rest)) = text.split_once(':') else {
            let path = (!text.is_empty()).then(|| text.to_owned());
            return path.map(Self::Directory).ok_or_else(bad);
        };
        match scheme {
            "local" => Ok(Self::Directory(rest.to_owned())),
            "file" => match rest.strip_prefix("//") {
                Some(path) if path.starts_with('/') => Ok(Self::Directory(path.to_owned())),
                _ => Err(bad()),
            },
            "s3" if !rest.starts_with("//") => Self::as_restic_writes(rest).ok_or_else(bad),
            "s3" => match text.parse() {
                Ok(TierUrl::S3 { bucket, prefix }) => {
                    Ok(Self::S3 { endpoint: None, bucket, prefix })
                }
                _ => Err(bad()),
            },
            "sftp" => {
                let place = match rest.strip_prefix("//") {
                    Some(place) => place.parse().ok(),
                    None => rest
                        .split_once(':')
                        .and_then(|(host, path)| SftpPlace::new(host, path).ok()),
                };
                place.map(Self::Sftp).ok_or_else(bad)
            }
            "azure" => match text.parse() {
                Ok(TierUrl::Azure { account, container, prefix }) => {
                    Ok(Self::Azure { account, container, prefix })
                }
                _ => Err(bad()),
            },
            "b2" | "gs" | "rest" | "rclone" | "swift" => {
                Err(OpsError::NotBuilt { what: format!("reaching {scheme}: addresses") })
            }
            _ if rest.starts_with("//") => Err(bad()),
            _ => Ok(Self::Directory(text.to_owned())),
        }
    }

    /// Reads `http://host:9000/bucket/prefix` or `host/bucket/prefix`.
    fn as_restic_writes(text: &str) -> Option<Self> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), text),
        };
        let (host, place) = rest.split_once('/')?;
        let TierUrl::S3 { bucket, prefix } = format!("s3://{place}").parse().ok()? else {
            return None;
        };
        (!host.is_empty() && !host.contains('@')).then(|| Self::S3 {
            endpoint: Some(format!("{scheme}{host}")),
            bucket,
            prefix,
        })
    }

    /// Opens what is there.
    pub fn open(&self, outside: Outside<'_>) -> Result<Arc<dyn Tier>, OpsError> {
        self.reach(outside, Storing::from(outside), LocalTier::open_as)
    }

    /// Opens what is there, as the plan's tier that lies there stores what it is given: in which class and locked
    /// until when. Where it is, and who may go there, stays as the address and the environment say.
    pub(crate) fn open_as(
        &self,
        planned: &PlannedTier,
        outside: Outside<'_>,
    ) -> Result<Arc<dyn Tier>, OpsError> {
        self.reach(outside, Storing::from(planned), LocalTier::open_as)
    }

    /// Opens what is there; a directory that is not is made, a bucket, a container or one of a server never.
    pub fn create(&self, outside: Outside<'_>) -> Result<Arc<dyn Tier>, OpsError> {
        self.reach(outside, Storing::from(outside), LocalTier::create_as)
    }

    fn reach(
        &self,
        outside: Outside<'_>,
        Storing { creation, listings, placement }: Storing,
        local: impl FnOnce(&Path, Listings) -> Result<LocalTier, TierError>,
    ) -> Result<Arc<dyn Tier>, OpsError> {
        match self {
            Self::Directory(path) => Ok(Arc::new(local(Path::new(path), listings)?)),
            Self::S3 { endpoint, bucket, prefix } => {
                let mut options = S3Options::new(bucket, prefix);
                options.endpoint.clone_from(endpoint);
                options.environment.clone_from(outside.environment);
                (options.creation, options.placement) = (creation, placement);
                options.listings = listings;
                Ok(Arc::new(S3Tier::new(&options, Arc::clone(outside.clock))?))
            }
            Self::Sftp(place) => {
                let options =
                    SftpOptions { creation, listings, ..sftp(place, outside.environment) };
                Ok(Arc::new(SftpTier::new(options)))
            }
            Self::Azure { account, container, prefix } => {
                let mut options = AzureOptions::new(account, container, prefix);
                options.environment.clone_from(outside.environment);
                (options.listings, options.placement) = (listings, placement);
                Ok(Arc::new(AzureTier::new(&options, Arc::clone(outside.clock))?))
            }
        }
    }
}

/// As it is written down; none holds a secret.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = |prefix: &str| match prefix {
            "" => String::new(),
            prefix => format!("/{prefix}"),
        };
        match self {
            Self::Directory(path) if path.starts_with('/') => write!(f, "file://{path}"),
            Self::Directory(path) => f.write_str(path),
            Self::S3 { endpoint: None, bucket, prefix } => {
                write!(f, "s3://{bucket}{}", below(prefix))
            }
            Self::S3 { endpoint: Some(endpoint), bucket, prefix } => {
                write!(f, "s3:{endpoint}/{bucket}{}", below(prefix))
            }
            Self::Sftp(place) => write!(f, "sftp://{place}"),
            Self::Azure { account, container, prefix } => {
                write!(f, "azure://{account}/{container}{}", below(prefix))
            }
        }
    }
}

/// Leaves out what stands for a login that has a password.
fn without_password(address: &str) -> String {
    let (scheme, rest) = address.split_once(':').unwrap_or(("", address));
    match rest.rsplit_once('@') {
        Some((login, place)) if login.trim_start_matches("//").contains(':') => {
            format!("{scheme}:[password]@{place}")
        }
        _ => address.to_owned(),
    }
}

/// How a tier stores what it is given; by default as whoever names it by its address alone can know.
#[derive(Debug, Clone, Copy, Default)]
struct Storing {
    creation: Creation,
    listings: Listings,
    placement: Placement,
}

impl From<Outside<'_>> for Storing {
    fn from(Outside { listings, .. }: Outside<'_>) -> Self {
        Self { listings, ..Self::default() }
    }
}

impl From<&PlannedTier> for Storing {
    fn from(tier: &PlannedTier) -> Self {
        let creation =
            if tier.conditional_put { Creation::Conditional } else { Creation::LookFirst };
        Self { creation, listings: listings(tier), placement: placement(tier) }
    }
}

/// Returns what the plan says of how soon listings show what was stored.
pub(super) const fn listings(tier: &PlannedTier) -> Listings {
    match tier.prompt_listing {
        None => Listings::AsKnown,
        Some(true) => Listings::Prompt,
        Some(false) => Listings::Late,
    }
}

/// Opens a bucket as the plan describes it.
pub(super) fn open_s3(
    tier: &PlannedTier,
    (bucket, prefix): (&str, &str),
    surroundings: &Surroundings,
) -> Result<S3Tier, OpsError> {
    let cancel = &surroundings.cancel;
    let Storing { creation, listings, placement } = Storing::from(tier);
    let options = S3Options {
        endpoint: tier.endpoint.clone(),
        region: tier.region.clone(),
        addressing: tier
            .path_style
            .map(|in_path| if in_path { Addressing::Path } else { Addressing::Host }),
        profile: tier.profile.clone(),
        keys: keys(tier, surroundings, cancel)?,
        creation,
        listings,
        placement,
        environment: surroundings.environment.clone(),
        ..S3Options::new(bucket, prefix)
    };
    Ok(S3Tier::new(&options, Arc::clone(&surroundings.clock))?)
}

/// Returns the hosts that are asked for what lies on the tiers of a plan; see [`host_of`].
pub(crate) fn hosts_of(
    plan: &Plan,
    environment: &BTreeMap<String, String>,
) -> BTreeMap<TierName, String> {
    let hosts = plan.tiers().iter().map(|(name, tier)| (name, host_of(tier, environment)));
    hosts.filter_map(|(name, host)| Some((name.clone(), host?))).collect()
}

/// Returns the host that is asked for what lies on a tier, if it is not a vendor's own: by the plan, or by what the
/// environment says.
fn host_of(tier: &PlannedTier, environment: &BTreeMap<String, String>) -> Option<String> {
    match &tier.url {
        TierUrl::File(_) => None,
        TierUrl::Sftp(place) => Some(place.host.clone()),
        TierUrl::S3 { bucket, prefix } => {
            let options = S3Options {
                endpoint: tier.endpoint.clone(),
                profile: tier.profile.clone(),
                environment: environment.clone(),
                ..S3Options::new(bucket, prefix)
            };
            options.host()
        }
        TierUrl::Azure { account, container, prefix } => {
            let options = AzureOptions {
                endpoint: tier.endpoint.clone(),
                environment: environment.clone(),
                ..AzureOptions::new(account, container, prefix)
            };
            options.host()
        }
    }
}

/// Opens a directory of a server as the plan describes it.
pub(super) fn open_sftp(
    tier: &PlannedTier,
    place: &SftpPlace,
    surroundings: &Surroundings,
) -> SftpTier {
    let Storing { creation, listings, .. } = Storing::from(tier);
    SftpTier::new(SftpOptions { creation, listings, ..sftp(place, &surroundings.environment) })
}

fn sftp(place: &SftpPlace, environment: &BTreeMap<String, String>) -> SftpOptions {
    SftpOptions {
        user: place.user.clone(),
        port: place.port.map(NonZeroU16::get),
        environment: environment.clone(),
        ..SftpOptions::new(&place.host, &place.path)
    }
}

fn keys(
    tier: &PlannedTier,
    surroundings: &Surroundings,
    cancel: &Cancel,
) -> Result<Option<Keys>, OpsError> {
    let (Some(id), Some(secret)) = (&tier.access_key_id, &tier.secret_access_key) else {
        return Ok(None);
    };
    let id = secret::resolve(id, surroundings, cancel)?;
    let secret = secret::resolve(secret, surroundings, cancel)?;
    Ok(Some(Keys { id, secret }))
}

/// Opens a container as the plan describes it.
pub(super) fn open_azure(
    tier: &PlannedTier,
    (account, container, prefix): (&str, &str, &str),
    surroundings: &Surroundings,
) -> Result<AzureTier, OpsError> {
    let resolved = |place: &Option<SecretRef>| {
        let place = place.as_ref();
        place.map(|place| secret::resolve(place, surroundings, &surroundings.cancel)).transpose()
    };
    let Storing { listings, placement, .. } = Storing::from(tier);
    let options = AzureOptions {
        endpoint: tier.endpoint.clone(),
        account_key: resolved(&tier.account_key)?,
        sas_token: resolved(&tier.sas_token)?,
        listings,
        placement,
        environment: surroundings.environment.clone(),
        ..AzureOptions::new(account, container, prefix)
    };
    Ok(AzureTier::new(&options, Arc::clone(&surroundings.clock))?)
}

/// Returns who may lift the locks of a tier, as the plan says.
pub(crate) const fn lock_mode(tier: &PlannedTier) -> lifeboat_tiers::LockMode {
    match tier.lock_mode {
        LockMode::Governance => lifeboat_tiers::LockMode::Governance,
        LockMode::Compliance => lifeboat_tiers::LockMode::Compliance,
    }
}

/// Returns how a vendor's tier stores what the plan sends there.
fn placement(tier: &PlannedTier) -> Placement {
    let mode = lock_mode(tier);
    let access = tier.access.map(|access| match access {
        AccessTier::Hot => AccessClass::Hot,
        AccessTier::Cool => AccessClass::Cool,
        AccessTier::Cold => AccessClass::Cold,
        AccessTier::Archive => AccessClass::Archive,
    });
    let thaw = match tier.thaw {
        ThawSpeed::Bulk => lifeboat_tiers::ThawSpeed::Bulk,
        ThawSpeed::Standard => lifeboat_tiers::ThawSpeed::Standard,
        ThawSpeed::Fast => lifeboat_tiers::ThawSpeed::Fast,
    };
    Placement { lock: tier.locked_for().map(|keep| LockRule { mode, keep }), access, thaw }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: &str) -> Address {
        Address::Directory(path.to_owned())
    }

    fn s3(endpoint: Option<&str>, bucket: &str, prefix: &str) -> Address {
        let endpoint = endpoint.map(str::to_owned);
        Address::S3 { endpoint, bucket: bucket.to_owned(), prefix: prefix.to_owned() }
    }

    fn sftp(login: &str, path: &str) -> Address {
        Address::Sftp(SftpPlace::new(login, path).unwrap())
    }

    fn azure(account: &str, container: &str, prefix: &str) -> Address {
        let [account, container, prefix] = [account, container, prefix].map(str::to_owned);
        Address::Azure { account, container, prefix }
    }

    #[test]
    fn every_spelling_is_understood() {
        for (text, address) in [
            ("/srv/a", directory("/srv/a")),
            ("srv", directory("srv")),
            ("a:b", directory("a:b")),
            ("local:srv", directory("srv")),
            ("file:///srv/a", directory("/srv/a")),
            ("s3://bucket", s3(None, "bucket", "")),
            ("s3://bucket/a/b", s3(None, "bucket", "a/b")),
            ("s3:http://127.0.0.1:9000/bucket/a", s3(Some("http://127.0.0.1:9000"), "bucket", "a")),
            ("s3:s3.example.org/bucket", s3(Some("s3.example.org"), "bucket", "")),
            ("sftp://u@host:23/srv/a", sftp("u@host:23", "/srv/a")),
            ("sftp://u@host//srv/a", sftp("u@host", "/srv/a")),
            ("sftp:u@host:/srv/a", sftp("u@host", "/srv/a")),
            ("sftp:host:a", sftp("host", "a")),
            ("azure://account/container/a/b", azure("account", "container", "a/b")),
        ] {
            assert_eq!(Address::parse(text).unwrap(), address, "{text}");
            // What is written down is understood again.
            let written = address.to_string();
            assert_eq!(Address::parse(&written).unwrap(), address, "{written}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_and_what_is_not_there_yet_is_told() {
        for bad in [
            "",
            "file://host/srv",
            "s3://",
            "s3://B",
            "s3:bucket",
            "s3:/bucket",
            "ftp://host/a",
            "sftp:host",
            "sftp://host",
            "sftp://u:p@host/a",
            "azure://account",
            "azure:container:/",
        ] {
            let error = Address::parse(bad).unwrap_err();
            assert!(matches!(error, OpsError::BadAddress { .. }), "{bad}: {error}");
        }
        let error = Address::parse("gs://bucket").unwrap_err();
        assert!(matches!(error, OpsError::NotBuilt { .. }), "{error}");
    }
}
