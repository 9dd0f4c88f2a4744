//! Five-field cron: `0 2 * * SAT#1` is two o'clock on the first Saturday.
//!
//! Fields: minute, hour, day of month, month, day of week. Each is a list of `*`, values, ranges
//! and steps; months and days of the week also go by their first three letters, 0 and 7 are both
//! Sunday. `L` as a day of the month is its last, `FRI#2` its second Friday, `FRI#L` its last.
//! As Vixie's cron does, a day must satisfy both day fields if one of them begins with `*`, and
//! either of them if none does.
//!
//! Written here and not taken from a crate: `cronexpr` 1.7 never matches `L` in December, panics
//! near the end of its calendar and leaves clock changes to chance.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::{ToSpan, tz::TimeZone};

use crate::value::text_value;

/// When something is due, on the clock of some time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: Set,
    hours: Set,
    days: Set,
    last_day: bool,
    months: Set,
    weekdays: Set,
    /// Bit `7 * (n - 1) + weekday` for the n-th such weekday of a month.
    nth_weekdays: Set,
    last_weekdays: Set,
    both_day_fields: bool,
    every_hour: bool,
}

/// A set of small numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Set(u64);

impl Set {
    fn add(&mut self, value: u8) {
        self.0 |= 1 << value;
    }

    fn has(self, value: u8) -> bool {
        self.0 >> value & 1 == 1
    }

    fn first_from(self, value: u8) -> Option<u8> {
        (value < 64)
            .then(|| (self.0 >> value << value).trailing_zeros())
            .and_then(|first| if first < 64 { u8::try_from(first).ok() } else { None })
    }
}

/// A text is not a cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseCronError {
    /// Not five fields.
    #[error(
        "`{text}` has {found} fields: cron has five: minute, hour, day of month, month, day of week"
    )]
    Fields {
        /// What was written.
        text: String,
        /// How many fields it has.
        found: usize,
    },
    /// A field that cannot be read.
    #[error("`{item}` cannot be the {field}: expected {expected}")]
    Item {
        /// The part that is wrong.
        item: String,
        /// The field it stands in.
        field: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// No day is ever meant.
    #[error("`{text}` never comes: no month has such a day")]
    Never {
        /// What was written.
        text: String,
    },
}

/// What one field may hold.
struct Field {
    name: &'static str,
    expected: &'static str,
    min: u8,
    max: u8,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", expected: "0 to 59", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { name: "hour", expected: "0 to 23", min: 0, max: 23, names: &[] };
const DAY: Field =
    Field { name: "day of month", expected: "1 to 31, or L", min: 1, max: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    expected: "1 to 12, or JAN to DEC",
    min: 1,
    max: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
const WEEKDAY: Field = Field {
    name: "day of week",
    expected: "0 to 7, SUN to SAT, or one of them with #1 to #5 or #L",
    min: 0,
    max: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
};

impl Field {
    fn error(&self, item: &str) -> ParseCronError {
        ParseCronError::Item { item: item.to_owned(), field: self.name, expected: self.expected }
    }

    fn value(&self, text: &str) -> Option<u8> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return u8::try_from(at).ok().map(|at| at + self.min);
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let value: u8 = digits.then(|| text.parse().ok())??;
        (self.min..=self.max).contains(&value).then_some(value)
    }

    /// Adds a value, a range or a step to `set`.
    fn add(&self, item: &str, set: &mut Set) -> Option<()> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step.parse().ok().filter(|step| *step > 0u8)?)),
            None => (item, None),
        };
        let (first, last) = match (range, range.split_once('-')) {
            ("*", _) => (self.min, self.max),
            (_, Some((first, last))) => (self.value(first)?, self.value(last)?),
            (single, None) => {
                let value = self.value(single)?;
                (value, if step.is_some() { self.max } else { value })
            }
        };
        if first > last || item.starts_with('+') {
            return None;
        }
        (first..=last).step_by(usize::from(step.unwrap_or(1))).for_each(|value| set.add(value));
        Some(())
    }

    fn set(&self, text: &str) -> Result<Set, ParseCronError> {
        let mut set = Set::default();
        for item in text.split(',') {
            self.add(item, &mut set).ok_or_else(|| self.error(item))?;
        }
        Ok(set)
    }
}

impl FromStr for Cron {
    type Err = ParseCronError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fields: Vec<_> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(ParseCronError::Fields { text: text.to_owned(), found: fields.len() });
        };
        let mut cron = Self {
            text: fields.join(" "),
            minutes: MINUTE.set(minute)?,
            hours: HOUR.set(hour)?,
            days: Set::default(),
            last_day: false,
            months: MONTH.set(month)?,
            weekdays: Set::default(),
            nth_weekdays: Set::default(),
            last_weekdays: Set::default(),
            both_day_fields: day.starts_with('*') || weekday.starts_with('*'),
            every_hour: hour.starts_with('*'),
        };
        for item in day.split(',') {
            cron.add_day(item)?;
        }
        for item in weekday.split(',') {
            cron.add_weekday(item)?;
        }
        if cron.ever() { Ok(cron) } else { Err(ParseCronError::Never { text: text.to_owned() }) }
    }
}

impl Cron {
    fn every_minute() -> Self {
        "* * * * *".parse().expect("five stars are cron")
    }

    fn add_day(&mut self, item: &str) -> Result<(), ParseCronError> {
        if item.eq_ignore_ascii_case("l") {
            self.last_day = true;
            return Ok(());
        }
        DAY.add(item, &mut self.days).ok_or_else(|| DAY.error(item))
    }

    fn add_weekday(&mut self, item: &str) -> Result<(), ParseCronError> {
        let error = || WEEKDAY.error(item);
        let Some((day, nth)) = item.split_once('#') else {
            WEEKDAY.add(item, &mut self.weekdays).ok_or_else(error)?;
            if self.weekdays.has(7) {
                self.weekdays.add(0);
            }
            return Ok(());
        };
        let day = WEEKDAY.value(day).ok_or_else(error)? % 7;
        match nth {
            "l" | "L" => self.last_weekdays.add(day),
            "1" | "2" | "3" | "4" | "5" => {
                let nth: u8 = nth.parse().map_err(|_| error())?;
                self.nth_weekdays.add(7 * (nth - 1) + day);
            }
            _ => return Err(error()),
        }
        Ok(())
    }

    /// Tells whether some day is meant; the calendar of the Gregorian year repeats after 400 years,
    /// but every combination of date, weekday and leap day occurs within 40.
    fn ever(&self) -> bool {
        let start = jiff::civil::date(2000, 1, 1);
        self.first_day_from(start, start.saturating_add(40.years())).is_some()
    }

    /// Returns whether `date` is one of the days.
    fn is_day(&self, date: Date) -> bool {
        let number = |value: i8| u8::try_from(value).unwrap_or_default();
        let weekday = number(date.weekday().to_sunday_zero_offset());
        let nth = (number(date.day()) - 1) / 7;
        let last = date.days_in_month();
        let by_month = self.days.has(number(date.day())) || (self.last_day && date.day() == last);
        let by_week = self.weekdays.has(weekday)
            || self.nth_weekdays.has(7 * nth + weekday)
            || (self.last_weekdays.has(weekday) && date.day() + 7 > last);
        self.months.has(number(date.month()))
            && if self.both_day_fields { by_month && by_week } else { by_month || by_week }
    }

    fn first_day_from(&self, start: Date, end: Date) -> Option<Date> {
        let mut date = start;
        while date <= end {
            let month = u8::try_from(date.month()).ok()?;
            if self.is_day(date) {
                return Some(date);
            }
            date = if self.months.has(month) {
                date.tomorrow().ok()?
            } else {
                date.last_of_month().tomorrow().ok()?
            };
        }
        None
    }

    /// Returns the first time on the clock that is at or after `from`.
    pub(crate) fn first_from(&self, from: DateTime) -> Option<DateTime> {
        let end = from.date().saturating_add(40.years());
        let mut date = self.first_day_from(from.date(), end)?;
        let mut earliest = if date == from.date() { (from.hour(), from.minute()) } else { (0, 0) };
        loop {
            if let Some((hour, minute)) = self.time_from(earliest.0, earliest.1) {
                return Some(date.at(hour, minute, 0, 0));
            }
            date = self.first_day_from(date.tomorrow().ok()?, end)?;
            earliest = (0, 0);
        }
    }

    fn time_from(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        let number = |value: i8| u8::try_from(value).unwrap_or_default();
        let signed = |value: u8| i8::try_from(value).unwrap_or_default();
        let first = self.hours.first_from(number(hour))?;
        if first == number(hour)
            && let Some(minute) = self.minutes.first_from(number(minute))
        {
            return Some((hour, signed(minute)));
        }
        let start = if first == number(hour) { first + 1 } else { first };
        let hour = self.hours.first_from(start)?;
        Some((signed(hour), signed(self.minutes.first_from(0)?)))
    }

    /// Tells whether it follows the passing of hours, not the hours of the day.
    pub(crate) fn is_every_hour(&self) -> bool {
        self.every_hour
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// A time zone by its name in the IANA database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A text does not name a time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a time zone: expected a name like UTC or Europe/Berlin")]
pub struct ParseZoneError {
    text: String,
}

impl Zone {
    /// Universal time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// Returns the rules of the zone.
    pub fn rules(&self) -> &TimeZone {
        &self.0
    }
}

impl FromStr for Zone {
    type Err = ParseZoneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match TimeZone::get(text) {
            Ok(zone) if zone.iana_name().is_some() => Ok(Self(zone)),
            _ => Err(ParseZoneError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.iana_name().unwrap_or("UTC"))
    }
}

text_value! {
    Cron: "bad-cron", { "pattern": "^\\S+( +\\S+){4}$", "examples": ["0 2 * * *", "0 2 * * SAT#1"] }, or Cron::every_minute();
    Zone: "bad-time-zone", { "minLength": 1, "examples": ["UTC", "Europe/Berlin"] };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(cron: &str, from: &str) -> String {
        let cron: Cron = cron.parse().unwrap();
        cron.first_from(from.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn the_first_time_is_found() {
        let cases = [
            ("0 * * * *", "2026-11-23T15:33", "2026-11-23T16:00:00"),
            ("0 * * * *", "2026-11-23T16:00", "2026-11-23T16:00:00"),
            ("*/15 9-17 * * MON-FRI", "2026-11-20T17:46", "2026-11-23T09:00:00"),
            ("0 2 * * SAT#1", "2026-11-08T00:00", "2026-12-05T02:00:00"),
            ("0 2 * * FRI#L", "2026-11-01T00:00", "2026-11-27T02:00:00"),
            ("0 3 * * 7", "2026-11-23T00:00", "2026-11-29T03:00:00"),
            ("59 23 L * *", "2026-12-01T00:00", "2026-12-31T23:59:00"),
            ("0 0 29 2 *", "2025-01-01T00:00", "2028-02-29T00:00:00"),
            ("0 0 29 FEB *", "2097-01-01T00:00", "2104-02-29T00:00:00"),
            ("0 0 13 * FRI", "2026-11-01T00:00", "2026-11-06T00:00:00"),
            ("0 0 */2 * FRI", "2026-11-07T00:00", "2026-11-13T00:00:00"),
            ("5/20 0 1 1,7 *", "2026-01-02T00:00", "2026-07-01T00:05:00"),
        ];
        for (cron, from, expected) in cases {
            assert_eq!(first(cron, from), expected, "{cron} from {from}");
        }
    }

    #[test]
    fn what_is_not_cron_is_refused() {
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "* * * * MON#6",
            "* * * * #1",
            "-1 * * * *",
            "+1 * * * *",
            "1, * * * *",
            "@daily",
        ] {
            assert!(bad.parse::<Cron>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_day_that_never_comes_is_refused() {
        assert!(matches!("0 0 30 2 *".parse::<Cron>(), Err(ParseCronError::Never { .. })));
        assert!("0 0 31 4 *".parse::<Cron>().is_err());
    }

    #[test]
    fn zones_are_known_by_name() {
        assert_eq!("Europe/Berlin".parse::<Zone>().unwrap().to_string(), "Europe/Berlin");
        for bad in ["", "Mars/Olympus", "+02:00"] {
            assert!(bad.parse::<Zone>().is_err(), "{bad}");
        }
    }
}
