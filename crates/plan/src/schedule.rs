//! Schedule arithmetic: when something is due next, and how long it can take until it is.
//!
//! Clock changes are where schedulers go wrong, so the rules are stated. What runs at given hours
//! runs once on each of its days: a time that the clocks skip runs as much later as they were put
//! forward, a time that comes twice runs the first time. What runs every hour, or every few
//! minutes, follows the passing of time: it runs in both of the two equal hours, and nothing is
//! made up for an hour that does not exist.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

use crate::value::cron::{Cron, Zone};

/// A cron expression with the time zone whose clock it follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    /// The expression.
    pub cron: Cron,
    /// The time zone.
    pub zone: Zone,
}

/// How far back a clock is looked at: no zone was ever put back by more than a day.
const LARGEST_CLOCK_CHANGE_HOURS: i64 = 25;

impl Timetable {
    /// Returns the first time after `now`; `None` at the end of the calendar.
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        next_after(&self.cron, self.zone.rules(), now)
    }

    /// Returns the last time up to `now`, itself included; `None` if there is none after `since`.
    pub fn last_until(&self, now: Timestamp, since: Timestamp) -> Option<Timestamp> {
        // Looked for further and further back, since only what comes next can be computed.
        let mut back = FIRST_LOOK_BACK;
        loop {
            let from = now.saturating_sub(back).unwrap_or(Timestamp::MIN).max(since);
            let mut found = self.next_after(from).filter(|first| *first <= now);
            while let Some(later) = found.and_then(|at| self.next_after(at)).filter(|at| *at <= now)
            {
                found = Some(later);
            }
            if found.is_some() || from <= since {
                return found;
            }
            back = back.saturating_mul(2);
        }
    }

    /// Returns the end of the hours that begin at these times and last so long, if `now` lies in them.
    ///
    /// Hours that begin before others end make one stretch; one without an end within the horizon ends at the
    /// end of time.
    pub fn covered_until(&self, lasts: Duration, now: Timestamp) -> Option<Timestamp> {
        let earliest = now.saturating_sub(lasts).unwrap_or(Timestamp::MIN);
        let mut begun = self.last_until(now, earliest)?;
        for _ in 0..RUNS_MAX {
            let end = begun.saturating_add(lasts).unwrap_or(Timestamp::MAX);
            match self.next_after(begun).filter(|next| *next <= end) {
                Some(next) => begun = next,
                None => return (end > now).then_some(end),
            }
        }
        Some(Timestamp::MAX)
    }
}

/// How far back the last run is looked for at first.
const FIRST_LOOK_BACK: Duration = Duration::from_mins(1);

/// Returns the first time after `now` at which `cron` is due on the clock of `zone`.
pub fn next_after(cron: &Cron, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let around = LARGEST_CLOCK_CHANGE_HOURS.hours();
    let mut wall = zone.to_datetime(now);
    if !keeps_offset(zone, now) {
        // The clock was or will be changed: equal wall times may lie on both sides of `now`.
        wall = wall.saturating_sub(around);
    }
    let mut best: Option<Timestamp> = None;
    while let Some(due) = cron.first_from(wall) {
        for instant in instants(cron, zone, due).into_iter().flatten() {
            if instant > now && best.is_none_or(|best| instant < best) {
                best = Some(instant);
            }
        }
        if best.is_some_and(|best| {
            keeps_offset(zone, best) || due > zone.to_datetime(best).saturating_add(around)
        }) {
            break;
        }
        wall = due.checked_add(1.minute()).ok()?;
    }
    best
}

/// Tells whether the clock is not changed anywhere near `instant`, so that wall times and instants
/// go side by side.
fn keeps_offset(zone: &TimeZone, instant: Timestamp) -> bool {
    let offset_after =
        |hours: i64| zone.to_offset(instant.saturating_add(hours.hours()).unwrap_or(instant));
    let offset = zone.to_offset(instant);
    offset_after(-LARGEST_CLOCK_CHANGE_HOURS) == offset
        && offset_after(LARGEST_CLOCK_CHANGE_HOURS) == offset
}

/// The instants at which the wall clock shows `due` and it counts.
fn instants(cron: &Cron, zone: &TimeZone, due: DateTime) -> [Option<Timestamp>; 2] {
    let every_hour = cron.is_every_hour();
    match zone.to_ambiguous_timestamp(due).offset() {
        AmbiguousOffset::Unambiguous { offset } => [offset.to_timestamp(due).ok(), None],
        // Before the gap the clock ran on `before`: counting on with it lands behind the gap.
        AmbiguousOffset::Gap { .. } if every_hour => [None, None],
        AmbiguousOffset::Gap { before, .. } => [before.to_timestamp(due).ok(), None],
        AmbiguousOffset::Fold { before, after } => {
            let second = every_hour.then(|| after.to_timestamp(due).ok()).flatten();
            [before.to_timestamp(due).ok(), second]
        }
    }
}

/// How many runs are looked at for the longest gap: more than a week of every five minutes, and
/// years of anything daily.
const RUNS_MAX: usize = 3_000;
/// How far they reach: a little over a year, so that monthly and yearly rules show.
const HORIZON_HOURS: i64 = 24 * 400;

/// Returns the longest time between two neighbouring runs of any of `timetables`, from `from` on.
///
/// `None` if there is no second run within the horizon.
pub fn longest_interval(timetables: &[Timetable], from: Timestamp) -> Option<Duration> {
    let end = from.saturating_add(HORIZON_HOURS.hours()).unwrap_or(Timestamp::MAX);
    let mut last: Option<Timestamp> = None;
    let mut longest: Option<Duration> = None;
    let mut due: Vec<_> = timetables.iter().map(|table| table.next_after(from)).collect();
    for _ in 0..RUNS_MAX {
        let Some(next) = due.iter().flatten().min().copied().filter(|next| *next <= end) else {
            break;
        };
        if let Some(last) = last {
            let gap = Duration::try_from(next.duration_since(last)).unwrap_or_default();
            longest = longest.max(Some(gap));
        }
        last = Some(next);
        for (slot, table) in due.iter_mut().zip(timetables) {
            if *slot == Some(next) {
                *slot = table.next_after(next);
            }
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timetable(cron: &str, zone: &str) -> Timetable {
        Timetable { cron: cron.parse().unwrap(), zone: zone.parse().unwrap() }
    }

    fn runs(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let table = timetable(cron, zone);
        let mut now: Timestamp = from.parse().unwrap();
        let mut runs = Vec::new();
        for _ in 0..count {
            now = table.next_after(now).unwrap();
            runs.push(now.to_string());
        }
        runs
    }

    #[test]
    fn the_next_run_is_after_now() {
        assert_eq!(
            runs("0 2 * * *", "UTC", "2026-11-23T02:00:00Z", 2),
            ["2026-11-24T02:00:00Z", "2026-11-25T02:00:00Z"]
        );
        assert_eq!(runs("0 * * * *", "UTC", "2026-11-23T01:59:59.5Z", 1), ["2026-11-23T02:00:00Z"]);
    }

    #[test]
    fn leap_days_come_when_they_come() {
        assert_eq!(runs("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00Z"]);
        assert_eq!(runs("0 4 L 2 *", "UTC", "2027-06-01T00:00:00Z", 1), ["2028-02-29T04:00:00Z"]);
    }

    #[test]
    fn a_time_that_the_clocks_skip_runs_later_that_day() {
        // In Berlin on 2026-03-29 the clock goes from 02:00 to 03:00.
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-03-28T02:00:00Z", 2),
            ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn a_time_that_comes_twice_runs_once() {
        // In Berlin on 2026-10-25 the clock goes from 03:00 back to 02:00.
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn hourly_runs_follow_the_passing_of_time() {
        let back = runs("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 4);
        let expected = ["00", "01", "02", "03"].map(|h| format!("2026-10-25T{h}:00:00Z"));
        assert_eq!(back, expected);
        let forward = runs("30 * * * *", "Europe/Berlin", "2026-03-28T23:45:00Z", 3);
        let expected = ["00", "01", "02"].map(|h| format!("2026-03-29T{h}:30:00Z"));
        assert_eq!(forward, expected);
        let minutes = runs("*/20 * * * *", "America/New_York", "2026-11-01T05:30:00Z", 5);
        assert_eq!(minutes.last().unwrap(), "2026-11-01T07:00:00Z");
    }

    #[test]
    fn half_hour_changes_work_too() {
        // Lord Howe Island puts its clock back by half an hour, from 02:00 to 01:30.
        let runs = runs("45 1 * * *", "Australia/Lord_Howe", "2026-04-03T20:00:00Z", 2);
        assert_eq!(runs, ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]);
    }

    #[test]
    fn the_longest_interval_sees_weekends_months_and_clock_changes() {
        let from = "2026-01-01T00:00:00Z".parse().unwrap();
        let hours = |tables: &[Timetable]| longest_interval(tables, from).unwrap().as_secs() / 3600;
        assert_eq!(hours(&[timetable("0 * * * *", "UTC")]), 1);
        assert_eq!(hours(&[timetable("0 9-17 * * MON-FRI", "UTC")]), 64);
        assert_eq!(hours(&[timetable("0 4 1 * *", "UTC")]), 31 * 24);
        assert_eq!(hours(&[timetable("0 2 * * *", "UTC"), timetable("0 14 * * *", "UTC")]), 12);
        assert_eq!(hours(&[timetable("0 12 * * *", "Europe/Berlin")]), 25);
        assert_eq!(longest_interval(&[], from), None);
    }

    #[test]
    fn the_last_run_is_the_one_before_the_next() {
        let last = |cron: &str, now: &str, since: &str| {
            let (now, since) = (now.parse().unwrap(), since.parse().unwrap());
            timetable(cron, "Europe/Berlin").last_until(now, since).map(|at| at.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        let long_ago = "2020-01-01T00:00:00Z";
        assert_eq!(
            last("0 2 * * *", "2026-07-01T00:00:00Z", long_ago),
            some("2026-07-01T00:00:00Z")
        );
        assert_eq!(
            last("0 2 * * *", "2026-06-30T23:59:59Z", long_ago),
            some("2026-06-30T00:00:00Z")
        );
        assert_eq!(
            last("0 4 29 2 *", "2027-06-01T00:00:00Z", long_ago),
            some("2024-02-29T03:00:00Z")
        );
        assert_eq!(last("0 4 1 1 *", "2026-06-01T00:00:00Z", "2026-01-01T03:00:00Z"), None);
        assert_eq!(
            last("* * * * *", "2026-06-01T00:00:30Z", "2026-05-01T00:00:00Z"),
            some("2026-06-01T00:00:00Z")
        );
    }

    #[test]
    fn hours_that_touch_are_one_stretch() {
        let covered = |cron: &str, hours: u64, now: &str| {
            let lasts = Duration::from_hours(hours);
            timetable(cron, "UTC")
                .covered_until(lasts, now.parse().unwrap())
                .map(|at| at.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(covered("0 8 * * *", 2, "2026-06-01T08:00:00Z"), some("2026-06-01T10:00:00Z"));
        assert_eq!(covered("0 8 * * *", 2, "2026-06-01T09:59:59Z"), some("2026-06-01T10:00:00Z"));
        assert_eq!(covered("0 8 * * *", 2, "2026-06-01T10:00:00Z"), None);
        assert_eq!(covered("0 8 * * *", 2, "2026-06-01T07:59:59Z"), None);
        assert_eq!(covered("0 8,9 * * *", 1, "2026-06-01T08:30:00Z"), some("2026-06-01T10:00:00Z"));
        let end = Timestamp::MAX.to_string();
        assert_eq!(covered("0 * * * *", 1, "2026-06-01T08:30:00Z"), Some(end), "it never ends");
    }

    #[test]
    fn the_end_of_the_calendar_ends_the_schedule() {
        assert_eq!(timetable("0 2 * * *", "UTC").next_after(Timestamp::MAX), None);
        assert!(timetable("* * * * *", "UTC").next_after(Timestamp::MIN).is_some());
    }
}
