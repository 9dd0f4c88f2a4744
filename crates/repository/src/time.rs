//! Times as Go reads and writes them: RFC 3339 with nanoseconds, trailing zeros trimmed, in the zone
//! they were written in.
//!
//! restic writes a node's times in the zone of its host, and writes the same zone again when it
//! re-encodes a tree; so a [`NodeTime`] keeps the offset. Ours are always UTC.
//!
//! Sources: Go `time/format_rfc3339.go`; restic `internal/data/node.go` (`FixTime`); the calendar is
//! H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".

use std::fmt;

use lifeboat_model::Timestamp;

const DAY_SECONDS: i64 = 86_400;
const NANOSECONDS: u32 = 1_000_000_000;
const YEAR_MAX: i64 = 9999;

/// A point in time and the offset from UTC that it is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeTime {
    seconds: i64,
    nanoseconds: u32,
    offset_minutes: i16,
}

impl NodeTime {
    /// Go's zero time, which stands for "not known": the beginning of the year 1.
    pub const UNKNOWN: Self = Self { seconds: -62_135_596_800, nanoseconds: 0, offset_minutes: 0 };

    /// Makes a time in UTC from what a file system tells: seconds since 1970 and nanoseconds, which
    /// are below a second.
    pub const fn from_unix(seconds: i64, nanoseconds: u32) -> Self {
        Self { seconds, nanoseconds: nanoseconds % NANOSECONDS, offset_minutes: 0 }
    }

    /// Returns the seconds since 1970.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Returns the nanoseconds within the second.
    pub const fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }

    /// Tells whether both are the same point in time, whatever zones they are written in.
    pub const fn is_same_instant(self, other: Self) -> bool {
        self.seconds == other.seconds && self.nanoseconds == other.nanoseconds
    }

    /// Returns the instant, if it lies in the years that a timestamp can hold.
    pub fn to_timestamp(self) -> Option<Timestamp> {
        let nanoseconds = i32::try_from(self.nanoseconds).ok()?;
        Timestamp::new(self.seconds, nanoseconds).ok()
    }

    /// Reads a time as Go writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let (date_time, rest) = text.split_at_checked(19)?;
        let number = |range: std::ops::Range<usize>| digits(date_time.get(range)?);
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if separators.iter().any(|(at, separator)| date_time.as_bytes()[*at] != *separator) {
            return None;
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        let days = days_from_civil(year, month, day);
        let valid = hour < 24 && minute < 60 && second < 60;
        if !valid || civil_from_days(days) != (year, month, day) {
            return None;
        }
        let (nanoseconds, zone) = parse_fraction(rest)?;
        let offset_minutes = parse_zone(zone)?;
        let local = days * DAY_SECONDS + hour * 3600 + minute * 60 + second;
        let seconds = local - i64::from(offset_minutes) * 60;
        Some(Self { seconds, nanoseconds, offset_minutes })
    }
}

impl NodeTime {
    /// Writes the time as RFC 3339; years that it cannot hold become the nearest that it can.
    pub(crate) fn write(self, buffer: &mut Vec<u8>) {
        let local = self.seconds.saturating_add(i64::from(self.offset_minutes) * 60);
        let (year, month, day) = match civil_from_days(local.div_euclid(DAY_SECONDS)) {
            // As Go does when it takes years off a leap day.
            (YEAR_MAX.., 2, 29) => (YEAR_MAX, 3, 1),
            (year, month, day) => (year.clamp(0, YEAR_MAX), month, day),
        };
        let second = local.rem_euclid(DAY_SECONDS);
        write_digits(buffer, year, 4);
        for (mark, number) in [
            (b'-', month),
            (b'-', day),
            (b'T', second / 3600),
            (b':', second / 60 % 60),
            (b':', second % 60),
        ] {
            buffer.push(mark);
            write_digits(buffer, number, 2);
        }
        if self.nanoseconds != 0 {
            buffer.push(b'.');
            write_digits(buffer, self.nanoseconds.into(), 9);
            while buffer.pop_if(|digit| *digit == b'0').is_some() {}
        }
        if self.offset_minutes == 0 {
            return buffer.push(b'Z');
        }
        buffer.push(if self.offset_minutes < 0 { b'-' } else { b'+' });
        let minutes = self.offset_minutes.unsigned_abs();
        write_digits(buffer, (minutes / 60).into(), 2);
        buffer.push(b':');
        write_digits(buffer, (minutes % 60).into(), 2);
    }
}

/// Writes a number, which is not negative and not longer than that, with this many digits.
fn write_digits(buffer: &mut Vec<u8>, mut number: i64, digits: usize) {
    let begin = buffer.len();
    buffer.resize(begin + digits, b'0');
    for place in buffer[begin..].iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).expect("one digit");
        number /= 10;
    }
}

impl fmt::Display for NodeTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text);
        f.write_str(str::from_utf8(&text).expect("digits and marks"))
    }
}

impl From<Timestamp> for NodeTime {
    fn from(instant: Timestamp) -> Self {
        let since_second = instant.as_nanosecond().rem_euclid(i128::from(NANOSECONDS));
        let seconds = instant.as_nanosecond().div_euclid(i128::from(NANOSECONDS));
        Self::from_unix(
            i64::try_from(seconds).expect("a timestamp's seconds fit into 64 bits"),
            u32::try_from(since_second).expect("less than a second"),
        )
    }
}

fn digits(text: &str) -> Option<i64> {
    let all_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if all_digits { text.parse().ok() } else { None }
}

/// Takes `.123` off the front, if it is there; digits after the ninth are dropped, as Go does.
fn parse_fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (fraction, rest) = rest.split_at(end);
    let nine = format!("{:0<9}", &fraction[..end.min(9)]);
    if fraction.is_empty() { None } else { Some((nine.parse().ok()?, rest)) }
}

/// Reads `Z` or `+hh:mm`.
fn parse_zone(zone: &str) -> Option<i16> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, hours_minutes) = zone.split_at_checked(1)?;
    let (hours, minutes) = hours_minutes.split_once(':')?;
    let (hours, minutes) = match (hours.len(), minutes.len()) {
        (2, 2) => (digits(hours)?, digits(minutes)?),
        _ => return None,
    };
    let offset = i16::try_from(hours * 60 + minutes).ok().filter(|_| hours < 24 && minutes < 60)?;
    match sign {
        "+" => Some(offset),
        "-" => Some(-offset),
        _ => None,
    }
}

/// Returns the day since 1970-01-01 of a date in the Gregorian calendar.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Returns year, month and day of a day since 1970-01-01.
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1_729_648_800, 120_000_000, "2024-10-23T02:00:00.12Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
        ] {
            let time = NodeTime::from_unix(seconds, nanoseconds);
            assert_eq!(time.to_string(), text);
            assert_eq!(NodeTime::parse(text), Some(time));
        }
    }

    #[test]
    fn years_that_cannot_be_written_become_the_nearest() {
        for (seconds, text) in
            [(253_402_300_800, "9999-01-01T00:00:00Z"), (-62_167_219_201, "0000-12-31T23:59:59Z")]
        {
            assert_eq!(NodeTime::from_unix(seconds, 0).to_string(), text);
        }
        for seconds in [i64::MIN, i64::MAX] {
            assert!(NodeTime::parse(&NodeTime::from_unix(seconds, 0).to_string()).is_some());
        }
    }

    #[test]
    fn the_zone_is_kept() {
        for text in [
            "2024-10-23T02:00:00.5+02:00",
            "2024-10-23T02:00:00-03:30",
            "2024-02-29T23:59:59.000000001+14:00",
        ] {
            let time = NodeTime::parse(text).unwrap();
            assert_eq!(time.to_string(), text);
            assert_eq!(time.to_timestamp(), Some(text.parse().unwrap()));
        }
        let utc = NodeTime::parse("2024-10-23T00:00:00Z").unwrap();
        let local = NodeTime::parse("2024-10-23T02:00:00+02:00").unwrap();
        assert!(utc != local && utc.is_same_instant(local));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "2024-10-23",
            "2024-10-23T02:00:00",
            "2024-13-23T02:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-10-23T24:00:00Z",
            "2024-10-23T02:60:00Z",
            "2024-10-23 02:00:00Z",
            "2024-10-23T02:00:00.Z",
            "2024-10-23T02:00:00+2:00",
            "2024-10-23T02:00:00+02:60",
            "2024-10-23T02:00:00x02:00",
            "+024-10-23T02:00:00Z",
            "2024-10-23T02:00:00ZZ",
            "2024-00-10T02:00:00Z",
            "2024-01-00T02:00:00Z",
            "2024-10-23T02:00:0éZ",
        ] {
            assert_eq!(NodeTime::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_calendar_is_that_of_the_library(
            seconds in -62_135_596_800..253_370_000_000_i64,
            nanoseconds in 0..NANOSECONDS,
        ) {
            let time = NodeTime::from_unix(seconds, nanoseconds);
            let timestamp = time.to_timestamp().unwrap();
            prop_assert_eq!(time.to_string(), timestamp.to_string());
            prop_assert_eq!(NodeTime::from(timestamp), time);
        }

        #[test]
        fn every_time_survives(seconds: i64, nanoseconds in 0..NANOSECONDS) {
            let text = NodeTime::from_unix(seconds, nanoseconds).to_string();
            prop_assert_eq!(NodeTime::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-0-9T:.Z+é]{0,40}") {
            let _ = NodeTime::parse(&text);
        }
    }
}
