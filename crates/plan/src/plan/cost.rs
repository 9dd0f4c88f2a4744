//! `[costs]`: what keeping the copies costs, and how fast they grow.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use lifeboat_model::{AssetName, ByteSize, TierName};
use serde_json::{Map, Value as Json, json};
use toml::de::DeValue;

use crate::decode::{Context, Decode, Defaults, Definitions, Fields, NAME_PATTERN, Value};
use crate::table::table;
use crate::value::text_value;

/// What keeping the copies costs, and how fast they grow.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Costs {
    /// What each tier costs.
    pub tiers: BTreeMap<TierName, TierCost>,
    /// How fast the assets grow.
    pub growth: Growth,
}

table! {
    /// What a tier costs, in the plan's currency.
    pub struct TierCost {
        /// Keeping a GiB for a month.
        per_gib_month: Option<f64>,
        /// Reading a GiB back.
        per_gib_read: Option<f64>,
        /// Making a GiB readable that lies in `access = "archive"`.
        per_gib_thaw: Option<f64>,
        /// A thousand requests that store, copy or list.
        per_1000_writes: Option<f64>,
        /// A thousand requests that read an object or ask about it.
        per_1000_reads: Option<f64>,
        /// A thousand requests that make an object readable.
        per_1000_thaws: Option<f64>,
        /// Having the tier for a month, whatever is in it.
        per_month: Option<f64>,
    }
}

/// How fast the assets grow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Growth {
    /// As fast as was seen.
    #[default]
    Measured,
    /// As fast as is stated.
    Stated(BTreeMap<AssetName, Rate>),
}

/// An amount of data in a length of time: `500MB/month`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    text: String,
    bytes_per_day: u64,
}

/// A text is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a rate: expected a size per day, week, month or year, like 500MB/month")]
pub struct ParseRateError {
    text: String,
}

impl Rate {
    /// Returns how much is added in a day; a month counts as 30 days, a year as 365.
    pub fn bytes_per_day(&self) -> u64 {
        self.bytes_per_day
    }
}

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (size, unit) = text.split_once('/')?;
            let size: ByteSize = size.trim().parse().ok()?;
            let days = match unit.trim() {
                "day" => 1,
                "week" => 7,
                "month" => 30,
                "year" => 365,
                _ => return None,
            };
            Some(Self { text: text.to_owned(), bytes_per_day: size.0 / days })
        };
        parse().ok_or_else(|| ParseRateError { text: text.to_owned() })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

text_value! {
    Rate: "bad-rate", {
        "pattern": "^[0-9]+ *([KMGT]i?)?B */ *(day|week|month|year)$", "examples": ["500MB/month"]
    };
}

impl Decode for Growth {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) if text == "measured" => Some(Self::Measured),
            DeValue::Table(_) => Decode::decode(value, cx).map(Self::Stated),
            _ => {
                cx.wrong_type(value, "\"measured\", or a table of rates like 500MB/month");
                None
            }
        }
    }

    fn encode(&self, defaults: Defaults) -> Json {
        match self {
            Self::Measured => Json::from("measured"),
            Self::Stated(rates) => rates.encode(defaults),
        }
    }

    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "anyOf": [{ "const": "measured" }, BTreeMap::<AssetName, Rate>::schema(definitions)] })
    }
}

const TIER_PREFIX: &str = "tiers.";

impl Decode for Costs {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::new(value, cx)?;
        let growth = fields.field_or("growth", Growth::default, cx)?;
        let mut costs = Self { tiers: BTreeMap::new(), growth };
        for (key, span, value) in fields.take_prefixed(TIER_PREFIX) {
            let cost = cx.descend(key, span.clone(), value);
            match key[TIER_PREFIX.len()..].parse() {
                Ok(name) => costs.tiers.extend(cost.map(|cost| (name, cost))),
                Err(error) => {
                    let finding = cx.error("bad-name", span, format!("{error}"));
                    cx.report(finding.label("not a name"));
                }
            }
        }
        fields.finish(&["growth", "tiers.…"], cx);
        Some(costs)
    }

    fn encode(&self, defaults: Defaults) -> Json {
        let key = |name: &TierName| format!("{TIER_PREFIX}{name}");
        let mut object: Map<_, _> =
            self.tiers.iter().map(|(name, cost)| (key(name), cost.encode(defaults))).collect();
        if self.growth != Growth::Measured || defaults == Defaults::Written {
            object.insert("growth".to_owned(), self.growth.encode(defaults));
        }
        Json::Object(object)
    }

    fn schema(definitions: &mut Definitions) -> Json {
        let tier_pattern = NAME_PATTERN.replacen('^', "^tiers\\.", 1);
        json!({
            "type": "object",
            "description": "What keeping the copies costs, and how fast they grow.",
            "properties": { "growth": Growth::schema(definitions) },
            "patternProperties": { tier_pattern: TierCost::schema(definitions) },
            "additionalProperties": false,
        })
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn is_absent(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_sizes_per_time() {
        assert_eq!("300MB/month".parse::<Rate>().unwrap().bytes_per_day(), 10_000_000);
        for bad in ["", "500MB", "500/month", "500MB/moon", "/day"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
