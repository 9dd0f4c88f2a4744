//! An amount of bytes, as a person writes and reads it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of bytes; shown with binary units (`1.5 GiB`), serialised as a number.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// A text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a size: expected a whole number and one of B, KiB, MiB, GiB, TiB, KB, MB, GB, TB, like 64MiB"
)]
pub struct ParseSizeError {
    text: String,
}

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl FromStr for ByteSize {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let split = text.find(|c: char| !c.is_ascii_digit())?;
            let number: u64 = text[..split].parse().ok()?;
            let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == text[split..].trim_start())?;
            number.checked_mul(*factor).map(Self)
        };
        parse().ok_or_else(|| ParseSizeError { text: text.to_owned() })
    }
}

impl fmt::Display for ByteSize {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = &UNITS[1..5];
        let text = match binary.iter().rev().find(|(_, factor)| self.0 >= *factor) {
            None => format!("{} B", self.0),
            Some((unit, factor)) => format!("{:.1} {unit}", self.0 as f64 / *factor as f64),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_written() {
        assert_eq!("64MiB".parse(), Ok(ByteSize(64 << 20)));
        assert_eq!("500 MB".parse(), Ok(ByteSize(500_000_000)));
        for bad in ["", "64", "MiB", "1.5GiB", "-1B", "99999999TiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_in_binary_units() {
        assert_eq!(ByteSize(512).to_string(), "512 B");
        assert_eq!(ByteSize(3 << 29).to_string(), "1.5 GiB");
    }
}
