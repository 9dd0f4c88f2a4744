//! The position in the log at which a server holds exactly what a snapshot of its transactions saw. Pure.
//!
//! A snapshot is no position: a transaction writes its commit into the log first, and others see it a moment later,
//! or much later where it waits for a standby. So a count that was made through a snapshot is true at a position
//! only if every commit before it was seen, and none behind it was. The log tells the order of commits, and
//! the server told which it saw; what they say together is this module's.
//!
//! Transactions that were seen as running and were committed before the first record that is looked at stay
//! unknown here: whoever recovers to the position asks the server ([`Seen::running`]).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use lifeboat_model::Lsn;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::wal::event::Event;
use crate::wal::page::{LONG_LENGTH, SegmentHeader};
use crate::wal::{Record, RecordReader, SegmentNumber, SegmentSize, WalError};

/// Which transactions a snapshot sees, as `pg_current_snapshot()` writes it: `xmin:xmax:running,…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// All before this one had ended.
    first_running: u64,
    /// This one and all behind it had not begun.
    next: u64,
    /// Those between the two that had not ended.
    running: BTreeSet<u64>,
}

impl Seen {
    /// Returns the transactions that were running.
    pub const fn running(&self) -> &BTreeSet<u64> {
        &self.running
    }

    /// Tells whether what a transaction did is seen, if it was committed; the log names it by the lower half of
    /// its number.
    pub fn sees(&self, xid: u32) -> bool {
        let xid = self.whole(xid);
        xid < self.first_running || (xid < self.next && !self.running.contains(&xid))
    }

    /// Returns the whole number: no transaction is further than half of the smaller numbers away.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "what is wanted is the distance of the lower halves, with its sign"
    )]
    fn whole(&self, xid: u32) -> u64 {
        let distance = xid.wrapping_sub(self.next as u32) as i32;
        self.next.saturating_add_signed(i64::from(distance))
    }
}

/// A text is not what `pg_current_snapshot()` writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no snapshot of transactions")]
pub struct ParseSeenError(String);

impl FromStr for Seen {
    type Err = ParseSeenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseSeenError(text.to_owned());
        let mut parts = text.splitn(3, ':');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (first_running, next) = number().zip(number()).ok_or_else(wrong)?;
        let running = parts.next().ok_or_else(wrong)?;
        let running = running.split(',').filter(|number| !number.is_empty());
        let running = running.map(|number| number.parse().map_err(|_| wrong()));
        Ok(Self { first_running, next, running: running.collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.first_running, self.next)?;
        let running: Vec<_> = self.running.iter().map(ToString::to_string).collect();
        f.write_str(&running.join(","))
    }
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A commit in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Where its record begins.
    pub start: Lsn,
    /// Where the record before it begins.
    pub previous: Lsn,
    /// The transaction; none where that cannot be read.
    pub xid: Option<u32>,
}

/// The commits between two positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commits {
    /// From where on.
    from: Lsn,
    /// Up to where.
    to: Lsn,
    /// In the order of the log.
    found: Vec<Commit>,
    /// Where the last record begins.
    last: Option<Lsn>,
}

/// No position is what a snapshot saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Inexact {
    /// Commits were seen in another order than they stand in the log.
    #[error("transactions became visible in another order than they were committed in")]
    Order,
    /// It would lie before the first position at which the data make sense.
    #[error("a transaction that was not counted was committed right behind the base backup")]
    TooEarly,
    /// A commit cannot be read.
    #[error("a commit in the log does not tell its transaction")]
    Unknown,
}

impl Commits {
    /// Begins to look at the log from a position on, up to another.
    pub const fn between(from: Lsn, to: Lsn) -> Self {
        Self { from, to, found: Vec::new(), last: None }
    }

    /// Returns the first and the last segment that have to be read.
    pub const fn segments(&self, size: SegmentSize) -> (SegmentNumber, SegmentNumber) {
        let last = Lsn(self.end(size).0.saturating_sub(1));
        (SegmentNumber::of(self.from, size), SegmentNumber::of(last, size))
    }

    /// Returns the last position, or where its segment begins if no record comes before it there.
    const fn end(&self, size: SegmentSize) -> Lsn {
        let offset = self.to.0 % size.bytes() as u64;
        if offset <= LONG_LENGTH as u64 { Lsn(self.to.0 - offset) } else { self.to }
    }

    /// Reads segments, one after the other, the first of which holds the first position; returns whether
    /// the last position was reached.
    pub fn read<'s>(
        &mut self,
        size: SegmentSize,
        segments: impl IntoIterator<Item = &'s [u8]>,
    ) -> Result<bool, WalError> {
        let mut begin = Lsn(self.from.0 - u64::from(size.offset_of(self.from)));
        let mut reader = RecordReader::starting_at(begin);
        for segment in segments {
            let major = SegmentHeader::parse(segment)?.page.magic.major();
            reader.read(segment, |record| self.add(record, major))?;
            begin = Lsn(begin.0 + u64::from(size.bytes()));
        }
        let end = self.end(size);
        // Behind a segment that was ended early nothing is left of it.
        let is_over = reader.is_switched() && begin >= end;
        Ok(is_over || reader.records_end().is_some_and(|reached| reached >= end))
    }

    fn add(&mut self, record: &Record<'_>, major: u32) {
        let start = record.start();
        if start < self.from || start >= self.to {
            return;
        }
        self.last = Some(start);
        if let Some(Event::Commit(transaction)) = Event::of(record, major) {
            self.found.push(Commit { start, previous: record.previous(), xid: transaction.xid });
        }
    }

    /// Returns the position at which the server holds what a snapshot saw that was taken at `taken`: that of the
    /// last record to be replayed.
    pub fn position(&self, seen: &Seen, taken: Lsn) -> Result<Lsn, Inexact> {
        let before = |commit: &&Commit| commit.start < taken;
        let mut unseen = None;
        for commit in self.found.iter().filter(before) {
            let xid = commit.xid.ok_or(Inexact::Unknown)?;
            match (seen.sees(xid), unseen) {
                (true, Some(_)) => return Err(Inexact::Order),
                (false, None) => unseen = Some(commit.previous),
                _ => {}
            }
        }
        let last = self.found.iter().find(|commit| commit.start >= taken);
        let last = last.map(|commit| commit.previous).or(self.last);
        let position = unseen.or(last).unwrap_or(self.from);
        if position < self.from { Err(Inexact::TooEarly) } else { Ok(position) }
    }

    /// Tells whether the server holds what a snapshot saw once the record at a position was replayed.
    pub fn is_exact(&self, seen: &Seen, position: Lsn) -> bool {
        let is_seen = |xid| seen.sees(xid);
        self.found.iter().all(|commit| commit.xid.map(is_seen) == Some(commit.start <= position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn commits(to: u64, found: &[(u64, u32)]) -> Commits {
        let commit = |(start, xid): &(u64, u32)| Commit {
            start: Lsn(*start),
            previous: Lsn(start - 1),
            xid: Some(*xid),
        };
        let found = found.iter().map(commit).collect();
        Commits { from: Lsn(100), to: Lsn(to), found, last: Some(Lsn(to - 1)) }
    }

    fn seen(text: &str) -> Seen {
        text.parse().unwrap()
    }

    #[test]
    fn a_snapshot_reads_back() {
        for text in ["731:731:", "731:740:731,735", "4294967296:4294967300:4294967297"] {
            assert_eq!(seen(text).to_string(), text);
        }
        for bad in ["", "731", "731:740", "a:b:", "731:740:x", "731:740:7:8"] {
            assert!(bad.parse::<Seen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_that_came_round_are_told_apart() {
        let seen = seen("4294967290:4294967300:4294967295");
        for (xid, expected) in [
            (4_294_967_289, true),
            (4_294_967_290, true),
            (4_294_967_295, false),
            (0, true),
            (3, true),
            (4, false),
            (900, false),
        ] {
            assert_eq!(seen.sees(xid), expected, "{xid}");
        }
    }

    #[test]
    fn the_position_lies_before_the_first_commit_that_was_not_seen() {
        let seen = seen("10:20:12,15");
        for (found, expected) in [
            (&[][..], Ok(Lsn(199))),
            (&[(110, 10), (120, 11)], Ok(Lsn(199))),
            (&[(110, 10), (120, 12), (130, 15)], Ok(Lsn(119))),
            (&[(110, 10), (120, 20)], Ok(Lsn(119))),
            // Committed at the same moment, and seen the other way round.
            (&[(110, 12), (120, 11)], Err(Inexact::Order)),
            (&[(100, 12)], Err(Inexact::TooEarly)),
        ] {
            let commits = commits(200, found);
            let position = commits.position(&seen, Lsn(200));
            assert_eq!(position, expected, "{found:?}");
            if let Ok(position) = position {
                assert!(commits.is_exact(&seen, position));
            }
        }
    }

    #[test]
    fn what_was_committed_later_ends_it_too() {
        let commits = commits(300, &[(110, 10), (250, 21)]);
        assert_eq!(commits.position(&seen("20:20:"), Lsn(200)), Ok(Lsn(249)));
        assert!(commits.is_exact(&seen("20:20:"), Lsn(110)));
        assert!(!commits.is_exact(&seen("20:20:"), Lsn(109)));
        assert!(!commits.is_exact(&seen("20:20:"), Lsn(250)));
        let unknown = Commit { start: Lsn(120), previous: Lsn(119), xid: None };
        let commits = Commits { found: vec![unknown], ..commits };
        assert_eq!(commits.position(&seen("20:20:"), Lsn(200)), Err(Inexact::Unknown));
        assert!(!commits.is_exact(&seen("20:20:"), Lsn(200)));
    }

    proptest! {
        #[test]
        fn a_position_that_is_found_is_exact(
            order in Just((10u32..30).collect::<Vec<_>>()).prop_shuffle(),
            visible in 0usize..20,
            swapped in 0usize..20,
        ) {
            // Transactions become visible in the order of their commits, but for one.
            let mut shown = order.clone();
            shown.swap(swapped, (swapped + 1) % 20);
            let running: Vec<_> = shown[visible..].iter().map(ToString::to_string).collect();
            let seen = seen(&format!("10:30:{}", running.join(",")));
            let found: Vec<_> = (11u64..).map(|at| at * 10).zip(order).collect();
            let commits = commits(400, &found);
            if let Ok(position) = commits.position(&seen, Lsn(400)) {
                prop_assert!(commits.is_exact(&seen, position));
            }
        }
    }
}
