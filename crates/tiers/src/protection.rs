//! How a store keeps an object from being deleted or replaced.

use std::fmt;

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

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        })
    }
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

    /// Tells what it lacks of a lock of a mode that lasts until a date; one that holds more is none the worse.
    pub fn shortfall(self, wanted: LockMode, date: Timestamp) -> Option<Shortfall> {
        match self {
            Self::None => Some(Shortfall::Unlocked),
            Self::Locked { mode, .. } if mode < wanted => {
                Some(Shortfall::Mode { found: mode, wanted })
            }
            Self::Locked { until, .. } if until < date => {
                Some(Shortfall::Date { found: until, wanted: date })
            }
            Self::Locked { .. } => None,
        }
    }
}

/// What an object's lock lacks of the one that it is to have; the gravest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortfall {
    /// There is none.
    Unlocked,
    /// More people may lift it.
    Mode {
        /// Its mode.
        found: LockMode,
        /// The one that it is to have.
        wanted: LockMode,
    },
    /// It ends earlier.
    Date {
        /// When.
        found: Timestamp,
        /// When it is to end.
        wanted: Timestamp,
    },
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlocked => f.write_str("not locked"),
            Self::Mode { found, wanted } => {
                write!(f, "locked in the mode {found}, not {wanted}")
            }
            Self::Date { found, wanted } => {
                write!(f, "locked only until {found:.0}, not {wanted:.0}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_falls_short_by_its_mode_before_its_date_and_never_by_holding_more() {
        use LockMode::{Compliance, Governance};
        let at = |day: i64| Timestamp::from_second(day * 86_400).unwrap();
        let said = |found: Protection, wanted| {
            found.shortfall(wanted, at(30)).map(|shortfall| shortfall.to_string())
        };
        let locked = |mode, day| Protection::Locked { mode, until: at(day) };
        assert_eq!(said(Protection::None, Governance).unwrap(), "not locked");
        assert_eq!(said(locked(Governance, 30), Governance), None);
        assert_eq!(said(locked(Compliance, 31), Governance), None);
        let short = said(locked(Compliance, 29), Compliance).unwrap();
        assert_eq!(short, "locked only until 1970-01-30T00:00:00Z, not 1970-01-31T00:00:00Z");
        let weak = said(locked(Governance, 29), Compliance).unwrap();
        assert_eq!(weak, "locked in the mode governance, not compliance");
    }
}
