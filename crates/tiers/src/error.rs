//! Why a tier did not do what was asked.

use std::io;
use std::time::Duration;

use lifeboat_model::{Capability, Classify, ErrorKind, Hint, Timestamp};

use crate::refusal::Refusal;
use crate::{ObjectPath, ReadRange};

/// An operation on a tier failed.
#[derive(Debug, thiserror::Error)]
pub enum TierError {
    /// The object is not there.
    #[error("`{path}` does not exist on {tier}")]
    NotFound {
        /// The tier's address.
        tier: String,
        /// The object.
        path: ObjectPath,
    },
    /// The object is there already and was to be created.
    #[error("`{path}` exists already on {tier}")]
    AlreadyExists {
        /// The tier's address.
        tier: String,
        /// The object.
        path: ObjectPath,
    },
    /// The object is shorter than the range that was asked for.
    #[error("`{path}` on {tier} has {size} bytes, too few for {range:?}")]
    OutOfRange {
        /// The tier's address.
        tier: String,
        /// The object.
        path: ObjectPath,
        /// What was asked for.
        range: ReadRange,
        /// The object's size in bytes.
        size: u64,
    },
    /// The tier's folder or bucket itself is not there.
    #[error("{tier} does not exist")]
    Missing {
        /// The tier's address.
        tier: String,
    },
    /// At the tier's address is another directory than the one that was opened.
    #[error("{tier} is not the directory any more that was opened")]
    Replaced {
        /// The tier's address.
        tier: String,
    },
    /// Permission was refused or the tier is read-only.
    #[error("{tier} refused to {action}")]
    Denied {
        /// The tier's address.
        tier: String,
        /// What was attempted, like `write repo/config`.
        action: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A store in the network refuses, and will until somebody does something.
    #[error("{tier} refused to {action}: {refusal}")]
    Refused {
        /// The tier's address.
        tier: String,
        /// What was attempted.
        action: String,
        /// Why.
        refusal: Refusal,
        /// The store's word.
        #[source]
        source: io::Error,
    },
    /// No space is left.
    #[error("no space is left on {tier} to {action}")]
    Full {
        /// The tier's address.
        tier: String,
        /// What was attempted.
        action: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// It did not answer or failed in a way that may pass.
    #[error("{tier} failed to {action}")]
    Unavailable {
        /// The tier's address.
        tier: String,
        /// What was attempted.
        action: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It asks to be left alone for a while.
    #[error("{tier} failed to {action} and asks to be left alone for {} seconds", rest.as_secs())]
    Busy {
        /// The tier's address.
        tier: String,
        /// What was attempted.
        action: String,
        /// For how long.
        rest: Duration,
        /// The store's word.
        #[source]
        source: io::Error,
    },
    /// A lock keeps the object from being deleted or replaced.
    #[error("`{path}` on {tier} is locked{}", until_when(*until))]
    Locked {
        /// The tier's address.
        tier: String,
        /// The object.
        path: ObjectPath,
        /// Until when, where the store says so.
        until: Option<Timestamp>,
    },
    /// The object lies in a class from which nothing can be read at once.
    #[error("`{path}` on {tier} is in cold storage and was not made readable")]
    Cold {
        /// The tier's address.
        tier: String,
        /// The object.
        path: ObjectPath,
    },
    /// The tier cannot do that at all.
    #[error("{tier} cannot {}", ability(*capability))]
    Unsupported {
        /// The tier's address.
        tier: String,
        /// What it lacks.
        capability: Capability,
    },
    /// It was not tried again, since the work was asked to stop.
    #[error("{tier} was not tried again, since the work was asked to stop")]
    GivenUp {
        /// The tier's address.
        tier: String,
        /// Why it was to be tried again.
        #[source]
        source: Box<TierError>,
    },
}

impl TierError {
    pub(crate) fn not_found(tier: &str, path: &ObjectPath) -> Self {
        Self::NotFound { tier: tier.to_owned(), path: path.clone() }
    }

    pub(crate) fn already_exists(tier: &str, path: &ObjectPath) -> Self {
        Self::AlreadyExists { tier: tier.to_owned(), path: path.clone() }
    }

    pub(crate) fn refused(tier: &str, action: String, refusal: Refusal, source: io::Error) -> Self {
        Self::Refused { tier: tier.to_owned(), action, refusal, source }
    }

    pub(crate) fn unsupported(tier: &str, capability: Capability) -> Self {
        Self::Unsupported { tier: tier.to_owned(), capability }
    }

    pub(crate) fn out_of_range(tier: &str, path: &ObjectPath, range: ReadRange, size: u64) -> Self {
        Self::OutOfRange { tier: tier.to_owned(), path: path.clone(), range, size }
    }
}

impl TierError {
    /// Tells whether whoever asked lacks the right to it, as a disk or a store in the network says so.
    pub const fn is_not_allowed(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Refused { refusal: Refusal::NotAllowed, .. })
    }

    /// Tells whether nobody answered: no connection came about, or nothing came over it. A store that says that it
    /// cannot just now has answered.
    pub fn is_without_answer(&self) -> bool {
        let no_answer = [io::ErrorKind::TimedOut, io::ErrorKind::NotConnected];
        matches!(self, Self::Unavailable { source, .. } if no_answer.contains(&source.kind()))
    }
}

fn until_when(until: Option<Timestamp>) -> String {
    until.map(|until| format!(" until {until}")).unwrap_or_default()
}

const fn ability(capability: Capability) -> &'static str {
    match capability {
        Capability::ConditionalPut => "create an object only where there is none",
        Capability::ObjectLock => "lock objects against deletion",
        Capability::AccessTier => "keep objects in a colder class",
        Capability::PromptListing => "list what was just stored",
    }
}

impl Classify for TierError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::Missing { .. } | Self::Replaced { .. } => {
                ErrorKind::NotFound
            }
            Self::AlreadyExists { .. } => ErrorKind::Conflict,
            Self::OutOfRange { .. } => ErrorKind::Corrupt,
            Self::Denied { .. } | Self::Full { .. } | Self::Locked { .. } | Self::Cold { .. } => {
                ErrorKind::Denied
            }
            Self::Refused { refusal, .. } => refusal.kind(),
            Self::Unsupported { .. } => ErrorKind::Config,
            Self::Unavailable { .. } | Self::Busy { .. } => ErrorKind::Unavailable,
            Self::GivenUp { .. } => ErrorKind::Cancelled,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Missing { tier } if tier.starts_with("sftp:") => Some(Hint::new(format!(
                "mount it on its server, or make the directory there if the tier is new; lifeboat makes none, since an empty one in the place of {tier} would hide a loss"
            ))),
            Self::Missing { tier } => Some(Hint::new(format!(
                "mount or create {tier}; lifeboat does not create a tier that was there before, since an empty one in its place would hide the loss"
            ))),
            Self::Replaced { tier } => Some(Hint::new(format!(
                "see whether the disk of {tier} was unmounted or mounted while it was in use: findmnt --target PATH"
            ))),
            Self::Denied { tier, .. } => {
                Some(Hint::new(format!("check the owner, mode and mount options of {tier}")))
            }
            Self::Refused { tier, refusal, .. } => Some(refusal.hint(tier)),
            Self::Unsupported { tier, capability: Capability::ConditionalPut } => {
                Some(Hint::new(format!(
                    "write conditional_put = false for {tier} in the plan, and let only one host write there"
                )))
            }
            Self::Cold { .. } => Some(Hint::new(
                "lifeboat restore ASSET --to DIR --thaw asks the store for all that a restore reads; --dry-run tells the hours and the price",
            )),
            Self::Full { tier, .. } => {
                Some(Hint::new(format!("free space on {tier}, then run the command again")))
            }
            Self::Locked { .. } => Some(Hint::new(
                "leave it until its lock is over; `lifeboat retention run` removes what may go and leaves what is locked",
            )),
            Self::Unavailable { tier, .. } | Self::Busy { tier, .. } if is_far(tier) => {
                Some(Hint::new(format!(
                    "see whether {tier} can be reached from here and is well, then run the command again; what was stored is not sent again"
                )))
            }
            _ => None,
        }
    }
}

/// Tells whether a line lies between this machine and the tier.
fn is_far(tier: &str) -> bool {
    ["s3:", "azure:", "sftp:"].iter().any(|scheme| tier.starts_with(scheme))
}
