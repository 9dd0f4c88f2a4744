//! How long something is thought to take: `1h`, or between two bounds: `4h..8h`.

use std::fmt;
use std::str::FromStr;

use crate::value::duration::{ParseSpanError, Span};
use crate::value::text_value;

/// The least and the most that something is thought to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Estimate {
    /// If all goes well.
    pub least: Span,
    /// If it does not.
    pub most: Span,
}

/// A text is not an estimate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseEstimateError {
    /// One of its ends is not a duration.
    #[error(transparent)]
    Span(#[from] ParseSpanError),
    /// The upper end is below the lower.
    #[error("`{text}` ends before it begins: write the shorter duration first")]
    Backwards {
        /// What was written.
        text: String,
    },
}

impl FromStr for Estimate {
    type Err = ParseEstimateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (least.trim().parse()?, most.trim().parse()?);
        if least > most {
            return Err(ParseEstimateError::Backwards { text: text.to_owned() });
        }
        Ok(Self { least, most })
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.most {
            self.least.fmt(f)
        } else {
            write!(f, "{}..{}", self.least, self.most)
        }
    }
}

text_value! {
    Estimate: "bad-estimate", { "examples": ["1h", "4h..8h"] };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_read_back() {
        for text in ["1h", "4h..8h", "30m..2h"] {
            assert_eq!(text.parse::<Estimate>().unwrap().to_string(), text);
        }
        for bad in ["", "8h..4h", "4h..", "..8h", "4h-8h"] {
            assert!(bad.parse::<Estimate>().is_err(), "{bad}");
        }
    }
}
