//! Durations and instants as people read them, always in the same way.

use std::time::Duration;

use lifeboat_model::Timestamp;
use lifeboat_model::instant::shown_instant;

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];

/// Writes a duration with its two largest units: `450 ms`, `2.3 s`, `3 min 5 s`, `2 d 4 h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds, duration.subsec_millis()) {
        (0, 1..) => return format!("{} ms", duration.as_millis()),
        (0..10, 1..) => return format!("{:.1} s", duration.as_secs_f64()),
        _ => {}
    }
    let largest = UNITS.iter().position(|(_, unit)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let (name, unit) = UNITS[largest];
    let rest = UNITS.get(largest + 1).map(|(name, next)| (name, seconds % unit / next));
    match rest {
        Some((next, count)) if count > 0 => format!("{} {name} {count} {next}", seconds / unit),
        _ => format!("{} {name}", seconds / unit),
    }
}

/// Writes a duration with one unit, such that it has at least two of it: `90 s`, `12 min`, `47 h`, `3 d`.
pub fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fits =
        UNITS.iter().find(|(_, unit)| seconds >= 2 * unit || seconds > 0 && seconds == *unit);
    let (name, unit) = fits.unwrap_or(&UNITS[UNITS.len() - 1]);
    format!("{} {name}", seconds / unit)
}

/// Writes roughly how long it is from one instant to a later one.
pub fn since(from: Timestamp, to: Timestamp) -> String {
    rough(Duration::try_from(to.duration_since(from)).unwrap_or_default())
}

/// Writes an instant: `2026-11-23 02:00:00 UTC`.
pub fn instant(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Writes an instant so that it is read as what it was: with its fraction, if it has one.
pub fn exact(instant: Timestamp) -> String {
    shown_instant(instant)
}

/// Writes how long before `now` an instant is: `3 h 20 min ago`.
pub fn ago(instant: Timestamp, now: Timestamp) -> String {
    match Duration::try_from(now.duration_since(instant)) {
        Ok(elapsed) if elapsed.as_secs() == 0 => "just now".to_owned(),
        Ok(elapsed) => format!("{} ago", duration(elapsed)),
        Err(_) => "in the future".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_largest_units() {
        let cases = [
            (Duration::ZERO, "0 s"),
            (Duration::from_secs(5), "5 s"),
            (Duration::from_millis(450), "450 ms"),
            (Duration::from_millis(2_345), "2.3 s"),
            (Duration::from_secs(59), "59 s"),
            (Duration::from_mins(1), "1 min"),
            (Duration::from_secs(185), "3 min 5 s"),
            (Duration::from_hours(2), "2 h"),
            (Duration::from_secs(187_199), "2 d 3 h"),
        ];
        for (value, text) in cases {
            assert_eq!(duration(value), text);
        }
    }

    #[test]
    fn rough_durations_have_one_unit() {
        let cases = [
            (0, "0 s"),
            (1, "1 s"),
            (60, "1 min"),
            (90, "90 s"),
            (119, "119 s"),
            (120, "2 min"),
            (3600, "1 h"),
            (3700, "61 min"),
            (86_400, "1 d"),
            (100_000, "27 h"),
            (172_800, "2 d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(rough(Duration::from_secs(seconds)), text);
        }
        let now: Timestamp = "2026-11-23T05:20:01Z".parse().unwrap();
        assert_eq!(since(now, "2026-11-23T05:50:01Z".parse().unwrap()), "30 min");
        assert_eq!(since(now, "2026-11-22T05:50:01Z".parse().unwrap()), "0 s");
    }

    #[test]
    fn instants_are_utc_and_have_an_age() {
        let then: Timestamp = "2026-11-23T02:00:00.5Z".parse().unwrap();
        let now: Timestamp = "2026-11-23T05:20:01Z".parse().unwrap();
        assert_eq!(instant(then), "2026-11-23 02:00:00 UTC");
        assert_eq!(ago(then, now), "3 h 20 min ago");
        assert_eq!(ago(now, now), "just now");
        assert_eq!(ago(now, then), "in the future");
    }
}
