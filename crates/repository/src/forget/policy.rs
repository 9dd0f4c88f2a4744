//! The policy: how many of which snapshots are kept, and for how long.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use lifeboat_model::{SnapshotId, Timestamp};

use super::span::Span;
use crate::selection::TagList;
use crate::snapshot::{Snapshot, SnapshotTime};

/// How many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// At most so many.
    AtMost(u32),
    /// All.
    Unlimited,
}

impl Default for Count {
    fn default() -> Self {
        Self::AtMost(0)
    }
}

/// A text is no count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a number of snapshots, nor `unlimited`")]
pub struct ParseCountError {
    text: String,
}

impl FromStr for Count {
    type Err = ParseCountError;

    fn from_str(text: &str) -> Result<Self, ParseCountError> {
        match text {
            "unlimited" | "-1" => Ok(Self::Unlimited),
            _ => match text.parse() {
                Ok(number) => Ok(Self::AtMost(number)),
                Err(_) => Err(ParseCountError { text: text.to_owned() }),
            },
        }
    }
}

/// Which snapshots of a group are kept: those that any of these words keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest.
    pub last: Count,
    /// The newest of each hour, for as many hours.
    pub hourly: Count,
    /// The newest of each day.
    pub daily: Count,
    /// The newest of each week, which begins on Monday.
    pub weekly: Count,
    /// The newest of each month.
    pub monthly: Count,
    /// The newest of each year.
    pub yearly: Count,
    /// All that are younger than this; ages are counted from the newest of the group.
    pub within: Span,
    /// The newest of each hour that are younger than this.
    pub within_hourly: Span,
    /// The newest of each day that are younger than this.
    pub within_daily: Span,
    /// The newest of each week that are younger than this.
    pub within_weekly: Span,
    /// The newest of each month that are younger than this.
    pub within_monthly: Span,
    /// The newest of each year that are younger than this.
    pub within_yearly: Span,
    /// All that have all tags of one of these lists.
    pub tags: Vec<TagList>,
}

/// A snapshot that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its id.
    pub id: SnapshotId,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Why, in restic's words.
    pub reasons: Vec<String>,
}

/// Periods of which the newest snapshot is kept.
#[derive(Debug, Clone, Copy)]
enum Period {
    /// Each snapshot by itself.
    Snapshot,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    const fn adjective(self) -> &'static str {
        match self {
            Self::Snapshot => "last",
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// Returns the period that a snapshot lies in, by the clock of its host.
    fn of(self, time: SnapshotTime, number: usize) -> (i64, i64) {
        let clock = time.offset().to_datetime(time.instant());
        let (year, month) = (i64::from(clock.year()), i64::from(clock.month()));
        let day = month * 100 + i64::from(clock.day());
        match self {
            Self::Snapshot => (0, i64::try_from(number).unwrap_or(i64::MAX)),
            Self::Hour => (year, day * 100 + i64::from(clock.hour())),
            Self::Day => (year, day),
            Self::Week => {
                let week = clock.date().iso_week_date();
                (week.year().into(), week.week().into())
            }
            Self::Month => (year, month),
            Self::Year => (year, 0),
        }
    }
}

/// How long a rule goes on to keep snapshots.
#[derive(Debug, Clone, Copy)]
enum Extent {
    Count(Count),
    /// Those after the moment; the span is for the reason.
    After(Timestamp, Span),
}

/// Keeps the newest snapshot of each period.
#[derive(Debug, Clone, Copy)]
struct Rule {
    period: Period,
    extent: Extent,
    /// The period of the snapshot that was kept last.
    last: Option<(i64, i64)>,
}

/// Where a snapshot stands in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Others are older.
    Newer,
    /// None is older.
    Oldest,
}

impl Rule {
    /// Says why the rule keeps the snapshot, if it does.
    fn keeps(&mut self, time: SnapshotTime, number: usize, place: Place) -> Option<String> {
        let goes_on = match self.extent {
            Extent::Count(Count::AtMost(left)) => left > 0,
            Extent::Count(Count::Unlimited) => true,
            Extent::After(moment, _) => time.instant() > moment,
        };
        if !goes_on {
            return None;
        }
        let period = self.period.of(time, number);
        let is_new = self.last != Some(period);
        // The oldest is kept while there is room, so that the history reaches back as far as it can.
        if !is_new && place == Place::Newer {
            return None;
        }
        self.last = Some(period);
        if let Extent::Count(Count::AtMost(left)) = &mut self.extent {
            *left -= 1;
        }
        let oldest = if is_new { "" } else { "oldest " };
        let adjective = self.period.adjective();
        Some(match self.extent {
            Extent::Count(_) => format!("{oldest}{adjective} snapshot"),
            Extent::After(_, span) => format!("{oldest}{adjective} within {span}"),
        })
    }
}

impl Policy {
    /// Tells whether the policy has no word at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Decides over the snapshots of one group; what is kept and what is not, the newest first.
    pub fn apply(
        &self,
        mut snapshots: Vec<(SnapshotId, Snapshot)>,
        now: Timestamp,
    ) -> (Vec<Kept>, Vec<(SnapshotId, Snapshot)>) {
        snapshots.sort_by_key(|(id, snapshot)| (Reverse(snapshot.time.instant()), *id));
        // A snapshot of the future, by a clock that was wrong, must not make all others old.
        let past = snapshots.iter().map(|(_, snapshot)| snapshot.time);
        let latest = past.filter(|time| time.instant() < now).max_by_key(|time| time.instant());
        let mut rules = self.rules(latest);
        let since = (!self.within.is_zero()).then(|| limit(self.within, latest));
        let oldest = snapshots.len().saturating_sub(1);
        let (mut keep, mut remove) = (Vec::new(), Vec::new());
        for (number, (id, snapshot)) in snapshots.into_iter().enumerate() {
            let tags = self.tags.iter().filter(|list| list.matches(&snapshot));
            let mut reasons: Vec<String> = tags.map(has_tags).collect();
            if since.is_some_and(|since| snapshot.time.instant() > since) {
                reasons.push(format!("within {}", self.within));
            }
            let place = if number == oldest { Place::Oldest } else { Place::Newer };
            let kept = rules.iter_mut().filter_map(|rule| rule.keeps(snapshot.time, number, place));
            reasons.extend(kept);
            if reasons.is_empty() {
                remove.push((id, snapshot));
            } else {
                keep.push(Kept { id, snapshot, reasons });
            }
        }
        (keep, remove)
    }

    fn rules(&self, latest: Option<SnapshotTime>) -> Vec<Rule> {
        let counts = [
            (Period::Snapshot, self.last),
            (Period::Hour, self.hourly),
            (Period::Day, self.daily),
            (Period::Week, self.weekly),
            (Period::Month, self.monthly),
            (Period::Year, self.yearly),
        ];
        let spans = [
            (Period::Hour, self.within_hourly),
            (Period::Day, self.within_daily),
            (Period::Week, self.within_weekly),
            (Period::Month, self.within_monthly),
            (Period::Year, self.within_yearly),
        ];
        let counts = counts.into_iter().map(|(period, count)| (period, Extent::Count(count)));
        let spans = spans.into_iter().filter(|(_, span)| !span.is_zero());
        let spans = spans.map(|(period, span)| (period, Extent::After(limit(span, latest), span)));
        counts.chain(spans).map(|(period, extent)| Rule { period, extent, last: None }).collect()
    }
}

/// Names tags as restic does.
fn has_tags(list: &TagList) -> String {
    format!("has tags [{}]", list.tags().collect::<Vec<_>>().join(", "))
}

/// Returns the moment after which snapshots lie within a span of the newest; without a newest one,
/// all do.
fn limit(span: Span, latest: Option<SnapshotTime>) -> Timestamp {
    latest.map_or(Timestamp::MIN, |latest| span.before(latest))
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("last", self.last),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("yearly", self.yearly),
        ];
        let mut parts: Vec<String> = Vec::new();
        for (name, count) in counts {
            match count {
                Count::AtMost(0) => {}
                Count::AtMost(number) => parts.push(format!("{number} {name}")),
                Count::Unlimited => parts.push(format!("all {name}")),
            }
        }
        let spans = [
            ("all", self.within),
            ("hourly", self.within_hourly),
            ("daily", self.within_daily),
            ("weekly", self.within_weekly),
            ("monthly", self.within_monthly),
            ("yearly", self.within_yearly),
        ];
        let spans = spans.iter().filter(|(_, span)| !span.is_zero());
        parts.extend(spans.map(|(name, span)| format!("{name} within {span}")));
        parts.extend(self.tags.iter().map(|list| format!("all with tags {list}")));
        f.write_str(&if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use lifeboat_model::BlobId;

    use super::*;

    fn snapshots(times: &[&str]) -> Vec<(SnapshotId, Snapshot)> {
        let tree = BlobId::from_bytes([1; 32]);
        let number = |number: usize| u8::try_from(number).unwrap();
        let snapshot = |time: &str| {
            let document = format!(r#"{{"time":"{time}","tree":"{}"}}"#, tree.to_hex());
            Snapshot::parse(document.as_bytes()).unwrap()
        };
        let times = times.iter().enumerate();
        times.map(|(n, time)| (SnapshotId::from_bytes([number(n); 32]), snapshot(time))).collect()
    }

    fn kept(policy: &Policy, times: &[&str]) -> Vec<(String, String)> {
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        let (keep, remove) = policy.apply(snapshots(times), now);
        assert_eq!(keep.len() + remove.len(), times.len());
        keep.into_iter().map(|k| (k.snapshot.time.to_string(), k.reasons.join("; "))).collect()
    }

    #[test]
    fn a_day_is_one_of_the_hosts_clock() {
        let policy = Policy { daily: Count::AtMost(9), ..Policy::default() };
        // One day in UTC, two by the clock of the host.
        let times = ["2024-05-02T00:30:00+02:00", "2024-05-01T23:30:00+02:00"];
        assert_eq!(kept(&policy, &times).len(), 2);
        let times = ["2024-05-01T22:30:00Z", "2024-05-01T21:30:00Z", "2024-05-01T20:00:00Z"];
        let why: Vec<_> = kept(&policy, &times).into_iter().map(|(_, why)| why).collect();
        assert_eq!(why, ["daily snapshot", "oldest daily snapshot"]);
    }

    #[test]
    fn the_oldest_stays_only_while_a_count_is_left() {
        let times = ["2024-05-03T01:00:00Z", "2024-05-02T01:00:00Z", "2024-05-02T00:00:00Z"];
        let policy = Policy { daily: Count::AtMost(2), ..Policy::default() };
        assert_eq!(kept(&policy, &times).len(), 2);
        let policy = Policy { daily: Count::AtMost(3), ..Policy::default() };
        assert_eq!(kept(&policy, &times)[2].1, "oldest daily snapshot");
        let policy = Policy { daily: Count::Unlimited, ..Policy::default() };
        assert_eq!(kept(&policy, &times).len(), 3);
    }

    #[test]
    fn a_snapshot_of_the_future_makes_no_other_old() {
        let policy = Policy { within: "1d".parse().unwrap(), ..Policy::default() };
        let times = ["2031-01-01T00:00:00Z", "2024-05-02T01:00:00Z", "2024-05-01T02:00:00Z"];
        assert_eq!(kept(&policy, &times).len(), 3);
        let only_future = ["2031-01-01T00:00:00Z", "2030-05-02T01:00:00Z"];
        assert_eq!(kept(&policy, &only_future).len(), 2);
    }

    #[test]
    fn counts_are_read() {
        assert_eq!("7".parse(), Ok(Count::AtMost(7)));
        assert_eq!("unlimited".parse(), Ok(Count::Unlimited));
        assert_eq!("-1".parse(), Ok(Count::Unlimited));
        assert!("-2".parse::<Count>().is_err() && "x".parse::<Count>().is_err());
    }

    #[test]
    fn a_policy_says_what_it_keeps() {
        let policy = Policy {
            last: Count::AtMost(3),
            monthly: Count::Unlimited,
            within_daily: "14d".parse().unwrap(),
            tags: vec!["a,b".parse().unwrap()],
            ..Policy::default()
        };
        let expected = "3 last, all monthly, daily within 14d, all with tags a,b";
        assert_eq!(policy.to_string(), expected);
    }
}
