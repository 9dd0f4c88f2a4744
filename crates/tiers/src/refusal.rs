//! What stores in the network refuse for, and what whoever reads that can do.

use std::fmt;
use std::time::Duration;

use lifeboat_model::{ErrorKind, Hint};

/// Why a store will go on refusing until somebody does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Credentials were found nowhere.
    NoCredentials,
    /// The store does not know the credentials, or they are over.
    Credentials,
    /// The credentials were valid, or will be, but are not now.
    Expired,
    /// The store knows who asks and does not allow it.
    NotAllowed,
    /// The bucket or container is not there.
    NoContainer,
    /// The bucket is in another region.
    Region {
        /// The right one, if the store said it.
        right: Option<String>,
    },
    /// This machine's clock is off, so that its signatures count as too old or as not yet valid.
    Clock {
        /// By how much, if the store said its own time.
        off: Option<Duration>,
    },
    /// The store could not prove that it is who it is taken for.
    Certificate,
    /// The store does not understand the request.
    Unfit,
}

impl Refusal {
    /// Returns the class of errors.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NoContainer => ErrorKind::NotFound,
            Self::Credentials | Self::Expired | Self::NotAllowed | Self::Certificate => {
                ErrorKind::Denied
            }
            Self::NoCredentials | Self::Region { .. } | Self::Clock { .. } | Self::Unfit => {
                ErrorKind::Config
            }
        }
    }

    /// Returns what can be done about it on a tier.
    pub fn hint(&self, tier: &str) -> Hint {
        let by_vendor = match tier.split_once("://") {
            Some(("s3", place)) => self.hint_at_aws(place),
            Some(("azure", place)) => self.hint_at_azure(place),
            _ => None,
        };
        Hint::new(by_vendor.unwrap_or_else(|| self.hint_anywhere(tier)))
    }

    fn hint_anywhere(&self, tier: &str) -> String {
        match self {
            Self::NoCredentials => format!("name the credentials for {tier} in the plan"),
            Self::Credentials | Self::Expired => {
                format!("see whether the credentials for {tier} are still valid")
            }
            Self::NotAllowed => format!(
                "allow it for these credentials on {tier}, or use others; docs/object-stores.md lists what is needed for what"
            ),
            Self::NoContainer => created(&format!("a container for {tier}")),
            Self::Region { .. } => format!("name the region of {tier} in the plan"),
            Self::Clock { .. } => "set this machine's clock: timedatectl set-ntp true".to_owned(),
            Self::Certificate => trusted("SSL_CERT_FILE"),
            Self::Unfit => format!("see whether the endpoint of {tier} is right for this store"),
        }
    }

    fn hint_at_aws(&self, place: &str) -> Option<String> {
        let bucket = place.split('/').next().unwrap_or(place);
        Some(match self {
            Self::NoCredentials => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or write access_key_id and secret_access_key for the tier in the plan".to_owned(),
            Self::Credentials | Self::Expired => "see whose they are and whether they are still valid: aws sts get-caller-identity".to_owned(),
            Self::NoContainer => created(&format!("aws s3 mb s3://{bucket}")),
            Self::Region { right: Some(right) } => format!("write region = \"{right}\" for the tier in the plan, or set AWS_REGION={right}"),
            Self::Region { right: None } => format!("write the bucket's region for the tier in the plan, or set AWS_REGION; this tells it: aws s3api get-bucket-location --bucket {bucket}"),
            Self::Certificate => trusted("AWS_CA_BUNDLE"),
            Self::Unfit => "see whether endpoint, region and path_style of the tier are right for this store".to_owned(),
            Self::NotAllowed | Self::Clock { .. } => return None,
        })
    }

    fn hint_at_azure(&self, place: &str) -> Option<String> {
        let (account, place) = place.split_once('/').unwrap_or((place, ""));
        let container = place.split('/').next().unwrap_or(place);
        let named = format!("--account-name {account} --name {container}");
        Some(match self {
            Self::Credentials => format!("see whether Azure's tools are let in with the same: az storage container show {named}"),
            Self::Expired => format!("make a new signature: az storage container generate-sas {named} --permissions rcl --expiry DATE"),
            Self::NoContainer => created(&format!("az storage container create {named}")),
            Self::Certificate => trusted("REQUESTS_CA_BUNDLE"),
            Self::Unfit => "see whether the endpoint of the tier is the address of the account's blobs: az storage account show --query primaryEndpoints.blob".to_owned(),
            _ => return None,
        })
    }
}

fn created(command: &str) -> String {
    format!(
        "create it where copies are to be: {command}; lifeboat makes none, since an empty one in its place would hide a loss"
    )
}

fn trusted(variable: &str) -> String {
    format!(
        "if the store has a certificate of your own authority, name the file with the authority: {variable}=/path/to/ca.pem"
    )
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCredentials => f.write_str("there are no credentials for it"),
            Self::Credentials => f.write_str("the credentials are wrong or over"),
            Self::Expired => f.write_str("the credentials are not valid at this time"),
            Self::NotAllowed => f.write_str("the credentials do not allow it"),
            Self::NoContainer => f.write_str("its bucket or container does not exist"),
            Self::Region { right: Some(right) } => write!(f, "the bucket is in the region {right}"),
            Self::Region { right: None } => f.write_str("the bucket is in another region"),
            Self::Clock { off: Some(off) } => {
                write!(f, "this machine's clock is off by {} seconds", off.as_secs())
            }
            Self::Clock { off: None } => f.write_str("this machine's clock is off"),
            Self::Certificate => f.write_str("it could not prove that it is the store"),
            Self::Unfit => f.write_str("it does not understand what is asked"),
        }
    }
}
