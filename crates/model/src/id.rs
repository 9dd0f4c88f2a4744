//! Identifiers: SHA-256 names of stored things, and time-ordered names of runs and writers.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::Visitor;
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

/// Parses a text where it stands, since a repository's documents consist of ids for the most part.
struct TextVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err = ParseIdError>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// What stands for a byte that is no lower-case hex digit.
const NO_DIGIT: u8 = u8::MAX;

/// The value of each byte as a lower-case hex digit.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};

/// Reads 64 lower-case hex digits.
fn read_hex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let pairs: &[[u8; 2]; 32] = pairs.try_into().ok().filter(|_| rest.is_empty())?;
    let value = |digit: u8| DIGITS[usize::from(digit)];
    // No digit has one of the upper four bits.
    let odd = pairs.iter().fold(0, |odd, [high, low]| odd | value(*high) | value(*low));
    (odd < 16).then(|| pairs.map(|[high, low]| value(high) << 4 | value(low)))
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
                deserializer.deserialize_str(TextVisitor(PhantomData))
            }
        }
    };
}

/// Defines a 32-byte id that shows its first 8 hex digits and serialises as all 64.
macro_rules! define_hash_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; 32]);

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                // Two hashes nearly always differ in what fits into a register.
                let first = |id: &Self| id.0.first_chunk().copied().map(u64::from_be_bytes);
                first(self).cmp(&first(other)).then_with(|| self.0.cmp(&other.0))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

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
                read_hex(text).map(Self).ok_or_else(|| ParseIdError {
                    text: text.to_owned(),
                    sort: stringify!($name),
                    expected: "64 lower-case hex digits",
                })
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
    /// The content hash of a runbook's resolved steps.
    RunbookId;
    /// SHA-256 of one entry of a run's journal, as it was written.
    EntryId;
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
    /// One run of a runbook.
    RunId = "run";
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
        let (longer, cut) = (format!("{HEX}0"), &HEX[1..]);
        for bad in ["", "00", &HEX.to_uppercase(), &HEX.replace('0', "g"), &longer, cut] {
            assert!(bad.parse::<PackId>().is_err(), "{bad}");
        }
        let error = serde_json::from_str::<PackId>("7").unwrap_err().to_string();
        assert!(error.starts_with("invalid type: integer `7`, expected a string"), "{error}");
    }

    #[test]
    fn every_byte_is_read_as_the_digit_that_it_is() {
        for byte in 0..128_u8 {
            let text = HEX.replace('0', &char::from(byte).to_string());
            let is_digit = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert_eq!(text.parse::<BlobId>().map(|id| id.to_hex()).ok(), is_digit.then_some(text));
        }
    }

    #[test]
    fn hash_ids_are_ordered_as_their_bytes_are() {
        let mut ids = vec![BlobId::from_bytes([7; 32])];
        for at in [0, 7, 8, 31] {
            for value in [0, 8, 255] {
                let mut bytes = [7; 32];
                bytes[at] = value;
                ids.push(BlobId::from_bytes(bytes));
            }
        }
        for (a, b) in ids.iter().flat_map(|a| ids.iter().map(move |b| (a, b))) {
            assert_eq!(a.cmp(b), a.as_bytes().cmp(b.as_bytes()));
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
