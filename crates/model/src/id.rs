//! Identifiers: SHA-256 names of stored things, and time-ordered names of runs and writers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A text is not an identifier of the wanted sort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {sort}: expected {expected}")]
pub struct ParseIdError {
    text: String,
    sort: &'static str,
    expected: &'static str,
}

/// Serialises through `Display`-like text and parses through `FromStr`.
macro_rules! serde_as_text {
    ($name:ident, $to_text:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&$to_text(self))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Defines a 32-byte id that shows its first 8 hex digits and serialises as all 64.
macro_rules! define_hash_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps the bytes of an id.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Returns the bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Returns all 64 hex digits.
            pub fn to_hex(&self) -> String {
                hex::encode(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(&self.0[..4]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) if lower => Ok(Self(bytes)),
                    _ => Err(ParseIdError {
                        text: text.to_owned(),
                        sort: stringify!($name),
                        expected: "64 lower-case hex digits",
                    }),
                }
            }
        }

        serde_as_text!($name, Self::to_hex);
    )*};
}

define_hash_id! {
    /// SHA-256 of a blob's plaintext; of a tree blob too.
    BlobId;
    /// SHA-256 of a pack file's bytes, which is its name.
    PackId;
    /// SHA-256 of an index file's bytes, which is its name.
    IndexId;
    /// SHA-256 of a snapshot file's bytes, which is its name.
    SnapshotId;
    /// SHA-256 of a key file's bytes, which is its name.
    KeyId;
    /// SHA-256 of a lock file's bytes, which is its name.
    LockId;
    /// The random id in a repository's config.
    RepositoryId;
    /// The content hash of a resolved plan and its runbooks.
    PlanId;
    /// SHA-256 of a catalog record's plaintext.
    RecordId;
}

/// Defines a UUIDv7 id that is written with a prefix naming its sort.
macro_rules! define_run_id {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID; the caller makes it from a clock and randomness.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(|uuid| Uuid::try_parse(uuid).ok())
                    .map(Self)
                    .ok_or_else(|| ParseIdError {
                        text: text.to_owned(),
                        sort: stringify!($name),
                        expected: concat!($prefix, "_ and a UUID"),
                    })
            }
        }

        serde_as_text!($name, ToString::to_string);
    )*};
}

define_run_id! {
    /// One run of a job.
    JobId = "job";
    /// One writer of catalog records: a host and its state directory.
    WriterId = "writer";
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn hash_ids_show_eight_digits_and_keep_all() {
        let id: BlobId = HEX.parse().unwrap();
        assert_eq!(id.to_string(), "00112233");
        assert_eq!(id.to_hex(), HEX);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{HEX}\""));
    }

    #[test]
    fn hash_ids_refuse_what_is_not_canonical() {
        for bad in ["", "00", &HEX.to_uppercase(), &HEX.replace('0', "g")] {
            assert!(bad.parse::<PackId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn run_ids_carry_their_prefix() {
        let id = JobId::from_uuid(Uuid::from_u128(7));
        let text = id.to_string();
        assert!(text.starts_with("job_"));
        assert_eq!(text.parse::<JobId>(), Ok(id));
        assert!(text.parse::<WriterId>().is_err());
    }
}
