//! A stretch of the calendar: `3 months`, `1 year`, `6 weeks`, `90 days`.

use std::fmt;
use std::str::FromStr;

use jiff::ToSpan;
use jiff::civil::Date;

use crate::value::text_value;

/// A number of months and days; a month is as long as the calendar says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Period {
    months: u16,
    days: u16,
}

/// A text is not a stretch of the calendar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a period: expected a number and days, weeks, months or years, like `3 months`"
)]
pub struct ParsePeriodError {
    text: String,
}

impl Period {
    /// Returns the day that is this long after `date`; the last of a shorter month.
    pub fn after(self, date: Date) -> Date {
        date.saturating_add(i32::from(self.months).months().days(i32::from(self.days)))
    }
}

impl FromStr for Period {
    type Err = ParsePeriodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParsePeriodError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Period> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u16 = text[..digits].parse().ok().filter(|number| *number > 0)?;
    match text[digits..].trim() {
        "d" | "day" | "days" => Some(Period { months: 0, days: number }),
        "w" | "week" | "weeks" => Some(Period { months: 0, days: number.checked_mul(7)? }),
        "month" | "months" => Some(Period { months: number, days: 0 }),
        "year" | "years" => Some(Period { months: number.checked_mul(12)?, days: 0 }),
        _ => None,
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match (self.months, self.days) {
            (0, days) => (days, "day"),
            (months, _) if months % 12 == 0 => (months / 12, "year"),
            (months, _) => (months, "month"),
        };
        let plural = if number == 1 { "" } else { "s" };
        write!(f, "{number} {unit}{plural}")
    }
}

text_value! {
    Period: "bad-period", {
        "pattern": "^[0-9]+ *(d|days?|w|weeks?|months?|years?)$", "examples": ["3 months"]
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_as_long_as_the_calendar_says() {
        let date = |text: &str| text.parse::<Date>().unwrap();
        let period = |text: &str| text.parse::<Period>().unwrap();
        assert_eq!(period("3 months").after(date("2025-10-24")), date("2026-01-24"));
        assert_eq!(period("1 month").after(date("2024-01-31")), date("2024-02-29"));
        assert_eq!(period("1 year").after(date("2024-02-29")), date("2025-02-28"));
        assert_eq!(period("2w").after(date("2025-12-25")), date("2026-01-08"));
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "3", "months", "0 months", "3 m", "99999 years", "-1 days"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
        assert_eq!("12 months".parse::<Period>().unwrap().to_string(), "1 year");
    }
}
