//! A length of time: `500ms`, `60s`, `15m`, `4h`, `7d`, `2w`, or several in a row: `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::value::text_value;

/// A length of time as a plan writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(Duration);

/// A text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a duration: expected whole numbers with ms, s, m, h, d or w, like 15m, 4h, 7d"
)]
pub struct ParseSpanError {
    text: String,
}

/// From large to small, as they are written.
const UNITS_MS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A century: long enough for any retention, short enough that no sum of times overflows.
const MILLISECONDS_MAX: u64 = 100 * 366 * 24 * 3_600_000;

impl Span {
    /// Returns a span of whole seconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Returns the length of time.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_milliseconds(text)
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| ParseSpanError { text: text.to_owned() })
    }
}

fn parse_milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = UNITS_MS.iter();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, factor) = units.find(|(name, _)| *name == &rest[..unit])?;
        rest = &rest[unit..];
        total = total.checked_add(number.checked_mul(*factor)?)?;
    }
    (!text.is_empty() && total <= MILLISECONDS_MAX).then_some(total)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let mut text = String::new();
        for (unit, factor) in &UNITS_MS[1..] {
            if left >= *factor {
                text.push_str(&(left / factor).to_string());
                text.push_str(unit);
                left %= factor;
            }
        }
        f.pad(if text.is_empty() { "0s" } else { &text })
    }
}

text_value! {
    Span: "bad-duration", { "pattern": "^([0-9]+(w|d|h|m|s|ms))+$", "examples": ["15m", "4h", "7d"] };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_written() {
        for (text, seconds) in
            [("15m", 900), ("4h", 14_400), ("7d", 604_800), ("2w", 1_209_600), ("1h30m", 5_400)]
        {
            assert_eq!(text.parse(), Ok(Span::from_seconds(seconds)), "{text}");
        }
        assert_eq!("500ms".parse::<Span>().unwrap().duration(), Duration::from_millis(500));
        assert_eq!("0m".parse(), Ok(Span::default()));
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for bad in ["", "5", "h", "4 h", "4H", "-1h", "1.5h", "30m1h", "1h1h", "4months", "99999w"]
        {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_shown_in_their_largest_units() {
        for text in ["0s", "500ms", "1h30m", "7d", "1d1ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }
}
