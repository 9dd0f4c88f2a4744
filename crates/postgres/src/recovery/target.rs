//! Up to where a cluster is recovered.

use std::fmt;

use lifeboat_model::instant::parse_instant;
use lifeboat_model::{Lsn, Timestamp};

/// As long as the name of a restore point may be (`MAXFNAMELEN` of PostgreSQL, less the end).
const NAME_LENGTH_MAX: usize = 63;

/// Up to where a cluster is recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveryTarget {
    /// To the end of the archive.
    Latest,
    /// Only until the data make sense.
    Immediate,
    /// To what was committed by this time.
    Time(Timestamp),
    /// To this position.
    Lsn(Lsn),
    /// To this transaction's end, its own changes included.
    Xid(u32),
    /// To the restore point of this name.
    Name(String),
}

/// A text is not a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no moment to recover to")]
pub struct ParseTargetError {
    text: String,
}

impl std::str::FromStr for RecoveryTarget {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.split_once(':') {
            _ if text == "latest" => Some(Self::Latest),
            _ if text == "immediate" => Some(Self::Immediate),
            Some(("lsn", lsn)) => lsn.parse().ok().map(Self::Lsn),
            Some(("xid", xid)) => xid.parse().ok().map(Self::Xid),
            Some(("name", name)) => is_name(name).then(|| Self::Name(name.to_owned())),
            _ => parse_instant(text).ok().map(Self::Time),
        };
        parsed.ok_or_else(|| ParseTargetError { text: text.to_owned() })
    }
}

/// Tells whether a restore point can have this name; one with a line's end in it would be two settings.
fn is_name(name: &str) -> bool {
    (1..=NAME_LENGTH_MAX).contains(&name.len()) && !name.contains(char::is_control)
}

impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Immediate => f.write_str("immediate"),
            Self::Time(time) => time.fmt(f),
            Self::Lsn(lsn) => write!(f, "lsn:{lsn}"),
            Self::Xid(xid) => write!(f, "xid:{xid}"),
            Self::Name(name) => write!(f, "name:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_back() {
        for text in ["latest", "immediate", "lsn:0/3000028", "xid:731", "name:before the move"] {
            let target: RecoveryTarget = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
        }
        let time: RecoveryTarget = "20261123_020000".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-23T02:00:00Z");
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = format!("name:{}", "x".repeat(64));
        for text in ["", "now", "lsn:x", "xid:-1", "xid:4294967296", "name:", "name:a\nb", &long] {
            assert!(text.parse::<RecoveryTarget>().is_err(), "{text}");
        }
    }
}
