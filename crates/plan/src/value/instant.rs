//! Days and moments: the day of a review, the time to go back to.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use lifeboat_model::instant::{ParseInstantError, compact_instant, parse_instant};
use lifeboat_model::{Lsn, Timestamp};
use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::decode::{Context, Decode, Defaults, Definitions, Value};
use crate::value::text_value;

impl Decode for Date {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let text = match value.get_ref() {
            DeValue::Datetime(datetime) if datetime.time.is_none() => datetime.to_string(),
            DeValue::String(text) => text.clone().into_owned(),
            _ => {
                cx.wrong_type(value, "a day like 2025-10-24");
                return None;
            }
        };
        let parsed = text.parse().ok();
        if parsed.is_none() {
            let message = format!("`{text}` is not a day: expected one like 2025-10-24");
            let finding = cx.error("bad-date", value.span(), message);
            cx.report(finding);
        }
        parsed
    }

    fn encode(&self, _defaults: Defaults) -> Json {
        Json::from(self.to_string())
    }

    fn schema(_definitions: &mut Definitions) -> Json {
        // A TOML day is no JSON value; editors hand it to the schema as a text.
        json!({ "type": "string", "format": "date" })
    }
}

/// Which state of the past a restore goes back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointInTime {
    /// The newest there is.
    Latest,
    /// The earliest consistent state after the newest base.
    Immediate,
    /// Any second that can be reached; for tests.
    Random,
    /// The state at this time.
    Time(Timestamp),
    /// The recovery point that is called like this second; if none is, the state at its beginning.
    Point(Timestamp),
    /// The state at this position of the write-ahead log.
    Lsn(Lsn),
    /// The state after this transaction.
    Transaction(u64),
    /// The state at this named restore point.
    Name(String),
}

/// A text names no state of the past.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePointError {
    /// Not even a time.
    #[error("{source}, or latest, immediate, random, lsn:…, xid:…, name:…")]
    Time {
        /// Why it is no time.
        source: ParseInstantError,
    },
    /// What follows the prefix is wrong.
    #[error(
        "`{text}` does not name a point: expected lsn:16/B374D848, xid:1234 or name:before-switch"
    )]
    Malformed {
        /// What was written.
        text: String,
    },
}

impl FromStr for PointInTime {
    type Err = ParsePointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParsePointError::Malformed { text: text.to_owned() };
        match (text, text.split_once(':')) {
            ("latest", _) => Ok(Self::Latest),
            ("immediate", _) => Ok(Self::Immediate),
            ("random", _) => Ok(Self::Random),
            (_, Some(("lsn", lsn))) => lsn.parse().map(Self::Lsn).map_err(|_| malformed()),
            (_, Some(("xid", xid))) => xid.parse().map(Self::Transaction).map_err(|_| malformed()),
            (_, Some(("name", ""))) => Err(malformed()),
            (_, Some(("name", name))) => Ok(Self::Name(name.to_owned())),
            _ => match parse_instant(text) {
                Ok(time) if compact_instant(time) == text => Ok(Self::Point(time)),
                Ok(time) => Ok(Self::Time(time)),
                Err(source) => Err(ParsePointError::Time { source }),
            },
        }
    }
}

impl fmt::Display for PointInTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Immediate => f.write_str("immediate"),
            Self::Random => f.write_str("random"),
            Self::Point(time) => f.write_str(&compact_instant(*time)),
            Self::Time(time) => write!(f, "{time}"),
            Self::Lsn(lsn) => write!(f, "lsn:{lsn}"),
            Self::Transaction(xid) => write!(f, "xid:{xid}"),
            Self::Name(name) => write!(f, "name:{name}"),
        }
    }
}

text_value! {
    PointInTime: "bad-point", {
        "examples": ["latest", "random", "2026-11-23T02:00:00Z", "20261123_020000"]
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_read_back() {
        let times = ["20241023_020000", "2024-10-23T02:00:00Z", "2024-10-23T02:00:00.5Z"];
        for text in ["latest", "immediate", "random", "lsn:0/16", "xid:7"].into_iter().chain(times)
        {
            assert_eq!(text.parse::<PointInTime>().unwrap().to_string(), text);
        }
        assert_eq!("name:a:b".parse(), Ok(PointInTime::Name("a:b".to_owned())));
        for bad in ["", "later", "lsn:", "xid:-1", "name:", "now"] {
            assert!(bad.parse::<PointInTime>().is_err(), "{bad}");
        }
    }
}
