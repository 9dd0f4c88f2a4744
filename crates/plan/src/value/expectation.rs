//! What a check wants to see: `> 0`, `= ok`, `>= 99.5`, or just `ok`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::value::text_value;

/// A comparison with a value that a check will see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    comparison: Comparison,
    wanted: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The longer signs first, since a shorter one may begin a longer.
const SIGNS: [(&str, Comparison); 7] = [
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("!=", Comparison::Unequal),
    ("<>", Comparison::Unequal),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// A text is not an expectation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseExpectationError {
    /// Nothing to compare with.
    #[error("`{text}` does not say what to compare with: write `> 0` or `= ok`")]
    NoValue {
        /// What was written.
        text: String,
    },
    /// Larger and smaller need numbers.
    #[error("`{wanted}` is not a number: `<` and `>` compare numbers only")]
    NotNumber {
        /// What was to be compared with.
        wanted: String,
    },
}

impl Expectation {
    /// Tells whether `actual` is as expected; `None` if the two cannot be compared.
    pub fn holds(&self, actual: &str) -> Option<bool> {
        let actual = actual.trim();
        let ordering = match (number(actual), number(&self.wanted)) {
            (Some(actual), Some(wanted)) => actual.partial_cmp(&wanted),
            _ if actual == self.wanted => Some(Ordering::Equal),
            _ => None,
        };
        match self.comparison {
            Comparison::Equal => Some(ordering == Some(Ordering::Equal)),
            Comparison::Unequal => Some(ordering != Some(Ordering::Equal)),
            Comparison::Less => ordering.map(Ordering::is_lt),
            Comparison::LessOrEqual => ordering.map(Ordering::is_le),
            Comparison::Greater => ordering.map(Ordering::is_gt),
            Comparison::GreaterOrEqual => ordering.map(Ordering::is_ge),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

impl FromStr for Expectation {
    type Err = ParseExpectationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let signed = SIGNS
            .iter()
            .find_map(|(sign, comparison)| Some((*comparison, trimmed.strip_prefix(sign)?)));
        let (comparison, wanted) = signed.unwrap_or((Comparison::Equal, trimmed));
        let wanted = wanted.trim().to_owned();
        if wanted.is_empty() {
            return Err(ParseExpectationError::NoValue { text: text.to_owned() });
        }
        let any_value = matches!(comparison, Comparison::Equal | Comparison::Unequal);
        if !any_value && number(&wanted).is_none() {
            return Err(ParseExpectationError::NotNumber { wanted });
        }
        Ok(Self { comparison, wanted })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = SIGNS.iter().find(|(_, c)| *c == self.comparison).map_or("=", |(sign, _)| sign);
        write!(f, "{sign} {}", self.wanted)
    }
}

text_value! {
    Expectation: "bad-expectation", { "minLength": 1, "examples": ["> 0", "= ok"] };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(expectation: &str, actual: &str) -> Option<bool> {
        expectation.parse::<Expectation>().unwrap().holds(actual)
    }

    #[test]
    fn numbers_compare_as_numbers() {
        assert_eq!(holds("> 0", "10"), Some(true));
        assert_eq!(holds("> 9", "10"), Some(true));
        assert_eq!(holds("<= 0.5", "0.50"), Some(true));
        assert_eq!(holds("= 1", "1.0"), Some(true));
        assert_eq!(holds("!= 0", "0"), Some(false));
    }

    #[test]
    fn texts_compare_as_texts() {
        assert_eq!(holds("ok", "ok\n"), Some(true));
        assert_eq!(holds("= ok", "okay"), Some(false));
        assert_eq!(holds("<> ok", "okay"), Some(true));
        assert_eq!(holds("> 0", "many"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", ">", "> many", "<= "] {
            assert!(bad.parse::<Expectation>().is_err(), "{bad}");
        }
        assert_eq!("<>x".parse::<Expectation>().unwrap().to_string(), "!= x");
    }
}
