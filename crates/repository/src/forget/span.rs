//! Spans of time like `1y5m7d2h`, and how restic counts them back from a moment.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use crate::snapshot::SnapshotTime;

/// A span of years, months, days and hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    years: u16,
    months: u16,
    days: u32,
    hours: u32,
}

impl Span {
    /// Returns a span of whole hours.
    pub const fn of_hours(hours: u32) -> Self {
        Self { years: 0, months: 0, days: 0, hours }
    }

    /// Tells whether it is no time at all, which stands for not being asked for.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// Returns the moment that lies the span before another one, by the clock of its host: a day that
    /// a month does not have counts on into the next, as Go counts. Before all time is the
    /// beginning of time.
    pub(super) fn before(self, time: SnapshotTime) -> Timestamp {
        self.checked_before(time).unwrap_or(Timestamp::MIN)
    }

    fn checked_before(self, time: SnapshotTime) -> Option<Timestamp> {
        let clock = time.offset().to_datetime(time.instant());
        let months = i32::from(clock.year() - 1) * 12 + i32::from(clock.month() - 1)
            - i32::from(self.years) * 12
            - i32::from(self.months);
        let year = i16::try_from(months.div_euclid(12) + 1).ok()?;
        let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
        let days = i64::from(clock.day() - 1) - i64::from(self.days);
        let days = SignedDuration::from_hours(days * 24);
        let date = Date::new(year, month, 1).ok()?.checked_add(days).ok()?;
        let moment = time.offset().to_timestamp(date.to_datetime(clock.time())).ok()?;
        moment.checked_sub(SignedDuration::from_hours(self.hours.into())).ok()
    }
}

/// A text is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a span of time, like `1y5m7d2h`")]
pub struct ParseSpanError {
    text: String,
}

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, ParseSpanError> {
        let wrong = || ParseSpanError { text: text.to_owned() };
        let mut span = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, unit) = rest.split_at(end);
            let small = || number.parse::<u16>().map_err(|_| wrong());
            // No more hours than a timestamp can count.
            let large = || number.parse::<u32>().map_err(|_| wrong());
            match unit.as_bytes()[0] {
                b'y' => span.years = small()?,
                b'm' => span.months = small()?,
                b'd' => span.days = large()?,
                b'h' => span.hours = large()?,
                _ => return Err(wrong()),
            }
            rest = &unit[1..];
        }
        Ok(span)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let years_and_months = [(u32::from(self.years), 'y'), (u32::from(self.months), 'm')];
        for (number, unit) in
            years_and_months.into_iter().chain([(self.days, 'd'), (self.hours, 'h')])
        {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(span: &str, time: &str, hours: i8) -> String {
        let time = SnapshotTime::new(time.parse().unwrap(), jiff::tz::offset(hours));
        span.parse::<Span>().unwrap().before(time).to_string()
    }

    #[test]
    fn spans_are_read_and_shown() {
        for (text, shown) in
            [("1y5m7d2h", "1y5m7d2h"), ("2h1y", "1y2h"), (" 14d ", "14d"), ("", "")]
        {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), shown);
        }
        for wrong in ["1", "d", "1w", "-1d", "1d2", "99999999999h", "1 d", "é"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn days_that_a_month_lacks_count_on() {
        // As Go's AddDate: 31 February is 3 March.
        assert_eq!(before("1m", "2023-03-31T12:00:00Z", 0), "2023-03-03T12:00:00Z");
        assert_eq!(before("1y", "2024-02-29T12:00:00Z", 0), "2023-03-01T12:00:00Z");
        assert_eq!(before("14m", "2023-01-15T00:00:00Z", 0), "2021-11-15T00:00:00Z");
        assert_eq!(before("1d25h", "2023-01-01T00:30:00Z", 0), "2022-12-29T23:30:00Z");
        // 31 March at 01:00 by the host's clock, which is still 30 March in UTC.
        assert_eq!(before("1m", "2023-03-30T23:00:00Z", 2), "2023-03-02T23:00:00Z");
        assert_eq!(before("65000y", "2023-03-30T23:00:00Z", 2), Timestamp::MIN.to_string());
    }
}
