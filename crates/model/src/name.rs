//! The names that a plan gives: sites, assets, tiers, checks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name, so that names fit into file names, tags and SQL identifiers.
pub const NAME_LENGTH_MAX: usize = 63;

/// A text cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` cannot be the name of {sort}: a name starts with a letter or digit and goes on with letters, digits, `-`, `_`, at most {NAME_LENGTH_MAX}"
)]
pub struct ParseNameError {
    text: String,
    sort: &'static str,
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= NAME_LENGTH_MAX
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Defines a validated name.
macro_rules! define_name {
    ($($(#[$doc:meta])* $name:ident is $sort:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseNameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if is_name(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ParseNameError { text: text.to_owned(), sort: $sort })
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

define_name! {
    /// The name of a platform on its tiers.
    SiteName is "a site";
    /// The name of something that is protected.
    AssetName is "an asset";
    /// The name of a place where copies live.
    TierName is "a tier";
    /// The name of a check.
    CheckName is "a check";
    /// The name of a class of services: how soon they must be back.
    ClassName is "a class";
    /// The name of a service.
    ServiceName is "a service";
    /// The name of a schedule of backups.
    ScheduleName is "a schedule";
    /// The name of a blackout: hours in which nothing is begun.
    BlackoutName is "a blackout";
    /// The name of a restore test.
    RestoreTestName is "a restore test";
    /// The name of a drill.
    DrillName is "a drill";
    /// The name of a scenario: what can happen.
    ScenarioName is "a scenario";
    /// The name of a place where the platform can live.
    PlaceName is "a place";
    /// The name of a contact.
    ContactName is "a contact";
    /// The name of a vendor.
    VendorName is "a vendor";
    /// The name of a notification channel.
    ChannelName is "a notification channel";
    /// The name of a step of a runbook.
    StepName is "a step";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_slugs() {
        for good in ["media", "web-1", "9lives", "a_b"] {
            assert!(good.parse::<AssetName>().is_ok(), "{good}");
        }
        let long = "a".repeat(NAME_LENGTH_MAX + 1);
        for bad in ["", "-x", "a/b", "a b", "ü", "..", long.as_str()] {
            assert!(bad.parse::<TierName>().is_err(), "{bad}");
        }
    }
}
