//! The ways in which a person writes an instant: RFC 3339, `YYYYMMDD_HHMMSS`, and as it is shown: `2026-11-23 02:00:00.5 UTC`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A text is no instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a time: expected RFC 3339 (2026-11-23T02:00:00Z) or YYYYMMDD_HHMMSS, which is UTC"
)]
pub struct ParseInstantError {
    text: String,
}

const COMPACT: &str = "%Y%m%d_%H%M%S";

/// Parses an instant; `YYYYMMDD_HHMMSS` is UTC.
pub fn parse_instant(text: &str) -> Result<Timestamp, ParseInstantError> {
    let compact = || {
        let civil = DateTime::strptime(COMPACT, text).ok()?;
        Some(TimeZone::UTC.to_zoned(civil).ok()?.timestamp())
    };
    let shown = || {
        let (date, time) = text.strip_suffix(" UTC")?.split_once(' ')?;
        format!("{date}T{time}Z").parse().ok()
    };
    text.parse()
        .ok()
        .or_else(compact)
        .or_else(shown)
        .ok_or_else(|| ParseInstantError { text: text.to_owned() })
}

/// Writes an instant to be read, with all of its fraction: `2026-11-23 02:00:00.5 UTC`.
pub fn shown_instant(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M:%S%.f UTC").to_string()
}

/// Writes an instant as `YYYYMMDD_HHMMSS` in UTC, dropping fractions of a second.
pub fn compact_instant(instant: Timestamp) -> String {
    instant.strftime(COMPACT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_same_instant() {
        let rfc = parse_instant("2024-10-23T02:00:00Z").unwrap();
        assert_eq!(parse_instant("20241023_020000"), Ok(rfc));
        assert_eq!(compact_instant(rfc), "20241023_020000");
    }

    #[test]
    fn what_is_shown_is_read_as_what_it_was() {
        for text in
            ["2026-11-23T02:00:00Z", "2026-11-23T02:00:00.734Z", "2026-11-23T02:00:00.000000001Z"]
        {
            let instant = parse_instant(text).unwrap();
            assert_eq!(parse_instant(&shown_instant(instant)), Ok(instant), "{text}");
        }
        let half = parse_instant("2026-11-23T02:00:00.5Z").unwrap();
        assert_eq!(shown_instant(half), "2026-11-23 02:00:00.5 UTC");
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "yesterday",
            "20241323_020000",
            "20241023",
            "20241023_0200000",
            "2024-10-23 UTC",
            "x y UTC",
        ] {
            assert!(parse_instant(bad).is_err(), "{bad}");
        }
    }
}
