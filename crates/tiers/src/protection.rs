//! How a store keeps an object from being deleted or replaced.

use lifeboat_model::Timestamp;
use serde::{Deserialize, Serialize};

/// Who may lift a lock before its date.
///
/// Source: Amazon S3 User Guide, "Locking objects with Object Lock", section "Retention modes".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockMode {
    /// Whoever holds a permission of its own for it.
    Governance,
    /// Nobody, the owner of the account included.
    Compliance,
}

/// What the store itself says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Protection {
    /// Whoever may delete objects can delete it.
    None,
    /// It can be neither deleted nor replaced before a date.
    Locked {
        /// Who may lift that.
        mode: LockMode,
        /// The date.
        until: Timestamp,
    },
}

impl Protection {
    /// Tells whether the object is safe until `date`.
    pub fn lasts_until(self, date: Timestamp) -> bool {
        match self {
            Self::None => false,
            Self::Locked { until, .. } => until >= date,
        }
    }
}
