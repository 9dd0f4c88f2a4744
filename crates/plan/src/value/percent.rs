//! A share of a whole: `5%`, `0.5%`, `100%`.

use std::fmt;
use std::str::FromStr;

use crate::value::text_value;

/// A share of a whole, kept in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent {
    hundredths: u16,
}

/// A text is not a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a share: expected 0% to 100%, with at most two decimals, like 5%")]
pub struct ParsePercentError {
    text: String,
}

impl Percent {
    /// Nothing.
    pub const NONE: Self = Self { hundredths: 0 };

    /// Returns a whole number of percent, at most all.
    pub const fn whole(percent: u8) -> Self {
        let percent = if percent > 100 { 100 } else { percent };
        Self { hundredths: percent as u16 * 100 }
    }

    /// Returns the share as a number from 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.hundredths) / 10_000.0
    }
}

impl FromStr for Percent {
    type Err = ParsePercentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hundredths(text)
            .map(|hundredths| Self { hundredths })
            .ok_or_else(|| ParsePercentError { text: text.to_owned() })
    }
}

fn parse_hundredths(text: &str) -> Option<u16> {
    let number = text.strip_suffix('%')?.trim_end();
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 2 {
        return None;
    }
    let whole: u16 = whole.parse().ok()?;
    let decimals: u16 = format!("{decimals:0<2}").parse().ok()?;
    whole.checked_mul(100)?.checked_add(decimals).filter(|hundredths| *hundredths <= 10_000)
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.hundredths / 100, self.hundredths % 100);
        let text = match decimals {
            0 => format!("{whole}%"),
            _ => format!("{whole}.{}%", format!("{decimals:02}").trim_end_matches('0')),
        };
        f.pad(&text)
    }
}

text_value! {
    Percent: "bad-share", { "pattern": "^[0-9]{1,3}(\\.[0-9]{1,2})? *%$", "examples": ["5%"] };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_back() {
        for text in ["0%", "5%", "0.5%", "12.34%", "100%"] {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), text);
        }
        assert!(("5%".parse::<Percent>().unwrap().fraction() - 0.05).abs() < 1e-9);
        assert_eq!("5.00%".parse::<Percent>(), Ok(Percent::whole(5)));
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "5", "%", "101%", "-5%", "5.%", ".5%", "1.234%", "+5%"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }
}
