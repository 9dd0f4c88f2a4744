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
            Self::Credentials | Self::NotAllowed | Self::Certificate => ErrorKind::Denied,
            Self::NoCredentials | Self::Region { .. } | Self::Clock { .. } | Self::Unfit => {
                ErrorKind::Config
            }
        }
    }

    /// Returns what can be done about it on a tier.
    pub fn hint(&self, tier: &str) -> Hint {
        let aws = tier.starts_with("s3:");
        Hint::new(match self {
            Self::NoCredentials if aws => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or write access_key_id and secret_access_key for the tier in the plan".to_owned(),
            Self::NoCredentials => format!("name the credentials for {tier} in the plan"),
            Self::Credentials if aws => "see whose they are and whether they are still valid: aws sts get-caller-identity".to_owned(),
            Self::Credentials => format!("see whether the credentials for {tier} are still valid"),
            Self::NotAllowed => format!("allow it for these credentials on {tier}, or use others; docs/object-stores.md lists what is needed for what"),
            Self::NoContainer => format!("create it where copies are to be: {}; lifeboat makes none, since an empty one in its place would hide a loss", creation(tier)),
            Self::Region { right: Some(right) } => format!("write region = \"{right}\" for the tier in the plan, or set AWS_REGION={right}"),
            Self::Region { right: None } => "write the bucket's region for the tier in the plan, or set AWS_REGION; this tells it: aws s3api get-bucket-location --bucket BUCKET".to_owned(),
            Self::Clock { .. } => "set this machine's clock: timedatectl set-ntp true".to_owned(),
            Self::Certificate => "if the store has a certificate of your own authority, name the file with the authority: AWS_CA_BUNDLE=/path/to/ca.pem".to_owned(),
            Self::Unfit => "see whether endpoint, region and path_style of the tier are right for this store".to_owned(),
        })
    }
}

fn creation(tier: &str) -> String {
    let place = tier.split_once("://").map_or(tier, |(_, place)| place);
    let name = place.split('/').next().unwrap_or(place);
    if tier.starts_with("s3:") {
        format!("aws s3 mb s3://{name}")
    } else {
        format!("a container for {tier}")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCredentials => f.write_str("there are no credentials for it"),
            Self::Credentials => f.write_str("the credentials are wrong or over"),
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
