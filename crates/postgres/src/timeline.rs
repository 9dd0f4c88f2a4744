//! Which timelines a timeline comes from: `.history` files, and what lies on whose past.
//!
//! The format and the rules are PostgreSQL's `src/backend/access/transam/timeline.c`, the same in
//! versions 13 to 18: a line for each timeline that was left, oldest first, with the position at which
//! it was left and why. The timeline itself is not listed; it goes on from the last of those positions.
//!
//! ```
//! use lifeboat_model::Lsn;
//! use lifeboat_postgres::timeline::TimelineHistory;
//! use lifeboat_postgres::wal::TimelineId;
//!
//! let file = b"1\t0/3000158\tno recovery target specified\n";
//! let history = TimelineHistory::parse(TimelineId(2), file)?;
//! assert_eq!(history.timeline_at(Lsn(0x300_0157)), TimelineId(1));
//! assert_eq!(history.timeline_at(Lsn(0x300_0158)), TimelineId(2));
//! # Ok::<(), lifeboat_postgres::timeline::HistoryError>(())
//! ```

use lifeboat_model::{Classify, ErrorKind, Lsn};

use crate::wal::{SegmentNumber, SegmentSize, TimelineId};

/// As large as a file may be: some ten thousand promotions.
pub const HISTORY_LENGTH_MAX: usize = 1 << 20;

/// A timeline that was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// Which one.
    pub timeline: TimelineId,
    /// Where it was left: the first position that is not its own any more.
    pub end: Lsn,
    /// Why, in the words of the server that left it.
    pub reason: String,
}

/// The past of a timeline.
///
/// Numbers and positions never fall from one ancestor to the next, and the timeline's own number is the
/// largest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineHistory {
    timeline: TimelineId,
    ancestors: Vec<Ancestor>,
}

/// A `.history` file makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// It is larger than any could be.
    #[error(
        "the history of timeline {timeline} has {length} bytes, expected at most {HISTORY_LENGTH_MAX}"
    )]
    TooLong {
        /// Whose history.
        timeline: TimelineId,
        /// How many bytes.
        length: usize,
    },
    /// A line is not a number, a position and a reason.
    #[error(
        "line {line} of the history of timeline {timeline} is not `<timeline> <position> <reason>`"
    )]
    Malformed {
        /// Whose history.
        timeline: TimelineId,
        /// The line, counted from 1.
        line: usize,
    },
    /// A line goes back in numbers or positions.
    #[error("line {line} of the history of timeline {timeline} goes back")]
    Unordered {
        /// Whose history.
        timeline: TimelineId,
        /// The line, counted from 1.
        line: usize,
    },
}

impl Classify for HistoryError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Corrupt
    }
}

impl TimelineHistory {
    /// Returns the history of a timeline that no file tells about: it comes from none, as the first does.
    pub const fn without_ancestors(timeline: TimelineId) -> Self {
        Self { timeline, ancestors: Vec::new() }
    }

    /// Reads the `.history` file of a timeline.
    pub fn parse(timeline: TimelineId, file: &[u8]) -> Result<Self, HistoryError> {
        if file.len() > HISTORY_LENGTH_MAX {
            return Err(HistoryError::TooLong { timeline, length: file.len() });
        }
        let mut ancestors: Vec<Ancestor> = Vec::new();
        for (index, line) in file.split(|byte| *byte == b'\n').enumerate() {
            // A reason is in the server's encoding, which nobody tells; it is for people only.
            let text = String::from_utf8_lossy(line);
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let line = index + 1;
            let ancestor = ancestor(text).ok_or(HistoryError::Malformed { timeline, line })?;
            let goes_on = ancestors
                .last()
                .is_none_or(|last| last.timeline < ancestor.timeline && last.end <= ancestor.end);
            if !goes_on || ancestor.timeline >= timeline {
                return Err(HistoryError::Unordered { timeline, line });
            }
            ancestors.push(ancestor);
        }
        Ok(Self { timeline, ancestors })
    }

    /// Returns whose history it is.
    pub const fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// Returns the timelines that were left, oldest first.
    pub fn ancestors(&self) -> &[Ancestor] {
        &self.ancestors
    }

    /// Returns the timeline from which this one was begun.
    pub fn parent(&self) -> Option<&Ancestor> {
        self.ancestors.last()
    }

    /// Returns whose byte lies at a position (`tliOfPointInHistory`).
    pub fn timeline_at(&self, lsn: Lsn) -> TimelineId {
        let left = self.ancestors.partition_point(|ancestor| ancestor.end <= lsn);
        self.ancestors.get(left).map_or(self.timeline, |ancestor| ancestor.timeline)
    }

    /// Returns where a timeline of this past was left (`tliSwitchPoint`).
    pub fn end_of(&self, timeline: TimelineId) -> Option<Lsn> {
        self.ancestor(timeline).map(|ancestor| ancestor.end)
    }

    /// Returns where a timeline of this past, or the timeline itself, began.
    pub fn begin_of(&self, timeline: TimelineId) -> Option<Lsn> {
        let index = self.ancestors.partition_point(|ancestor| ancestor.timeline < timeline);
        let is_listed = self.ancestors.get(index).is_some_and(|found| found.timeline == timeline);
        (is_listed || timeline == self.timeline)
            .then(|| index.checked_sub(1).map_or(Lsn(0), |before| self.ancestors[before].end))
    }

    /// Tells whether everything that a timeline held *before* a position is part of this past: whether
    /// what was backed up there, and ended there, can be recovered along this timeline.
    pub fn contains(&self, timeline: TimelineId, end: Lsn) -> bool {
        timeline == self.timeline
            || self.end_of(timeline).is_some_and(|timeline_end| end <= timeline_end)
    }

    /// Tells whether another history ends in this one: it has the same ancestors up to that timeline,
    /// left at the same positions. Two clusters of one origin that were promoted apart do not.
    pub fn descends_from(&self, other: &Self) -> bool {
        let shared = other.ancestors.len();
        let is_same = |(mine, theirs): (&Ancestor, &Ancestor)| {
            mine.timeline == theirs.timeline && mine.end == theirs.end
        };
        let next = self.ancestors.get(shared).map_or(self.timeline, |ancestor| ancestor.timeline);
        self.ancestors.len() >= shared
            && self.ancestors.iter().zip(&other.ancestors).all(is_same)
            && next == other.timeline
    }

    /// Returns the timelines under whose name a segment of this past may lie, the right one first.
    ///
    /// A segment in which a timeline was left is whole only under the name of the timeline that
    /// follows; the servers look for the newest first (`XLogFileReadAnyTLI`). What a timeline holds behind
    /// the place where it was left is of no past: a server that did not know wrote it.
    pub fn timelines_of(
        &self,
        segment: SegmentNumber,
        size: SegmentSize,
    ) -> impl Iterator<Item = TimelineId> + '_ {
        let own = std::iter::once(self.timeline);
        let all = own.chain(self.ancestors.iter().rev().map(|ancestor| ancestor.timeline));
        all.filter(move |timeline| {
            let begin = self.begin_of(*timeline).unwrap_or_default();
            let end = self.end_of(*timeline);
            SegmentNumber::of(begin, size) <= segment
                && end.is_none_or(|end| segment <= SegmentNumber::before(end, size))
        })
    }

    fn ancestor(&self, timeline: TimelineId) -> Option<&Ancestor> {
        let found = self.ancestors.binary_search_by_key(&timeline, |ancestor| ancestor.timeline);
        self.ancestors.get(found.ok()?)
    }
}

/// Reads a line that is not empty.
fn ancestor(line: &str) -> Option<Ancestor> {
    let (number, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (position, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = is_number.then(|| number.parse().ok()).flatten()?;
    Some(Ancestor {
        timeline: TimelineId((number > 0).then_some(number)?),
        end: position.parse().ok()?,
        reason: reason.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write as _;

    /// Timeline 5 comes from 3, which comes from 1; 2 and 4 were given up.
    const FIVE: &str = "1\t0/3000158\tno recovery target specified\n\
        \n# a comment\n3\t0/5000060\tat restore point \"before the migration\"\n";

    fn five() -> TimelineHistory {
        TimelineHistory::parse(TimelineId(5), FIVE.as_bytes()).unwrap()
    }

    #[test]
    fn each_position_is_of_one_timeline() {
        let history = five();
        for (lsn, timeline) in
            [(0, 1), (0x300_0157, 1), (0x300_0158, 3), (0x500_005F, 3), (0x500_0060, 5)]
        {
            assert_eq!(history.timeline_at(Lsn(lsn)), TimelineId(timeline), "{lsn:X}");
        }
        assert_eq!(history.parent().unwrap().reason, "at restore point \"before the migration\"");
    }

    #[test]
    fn what_was_written_after_a_timeline_was_left_is_not_of_the_past() {
        let history = five();
        assert!(history.contains(TimelineId(1), Lsn(0x300_0158)));
        assert!(!history.contains(TimelineId(1), Lsn(0x300_0159)));
        assert!(!history.contains(TimelineId(2), Lsn(1)));
        assert!(!history.contains(TimelineId(6), Lsn(1)));
        assert!(history.contains(TimelineId(5), Lsn(u64::MAX)));
    }

    #[test]
    fn timelines_begin_where_the_one_before_was_left() {
        let begins = [1, 2, 3, 5].map(|timeline| five().begin_of(TimelineId(timeline)));
        assert_eq!(begins, [Some(Lsn(0)), None, Some(Lsn(0x300_0158)), Some(Lsn(0x500_0060))]);
        assert_eq!(five().end_of(TimelineId(3)), Some(Lsn(0x500_0060)));
        assert_eq!(five().end_of(TimelineId(5)), None);
    }

    #[test]
    fn a_history_descends_from_its_own_start_only() {
        let three = TimelineHistory::parse(TimelineId(3), b"1\t0/3000158\tx\n").unwrap();
        let other = TimelineHistory::parse(TimelineId(3), b"1\t0/3000150\tx\n").unwrap();
        let one = TimelineHistory::without_ancestors(TimelineId(1));
        assert!(five().descends_from(&three) && five().descends_from(&one));
        assert!(five().descends_from(&five()));
        assert!(!five().descends_from(&other) && !three.descends_from(&five()));
        assert!(!five().descends_from(&TimelineHistory::without_ancestors(TimelineId(3))));
    }

    #[test]
    fn a_segment_is_looked_for_under_the_newest_name_first() {
        let timelines = |number| -> Vec<u32> {
            let size = SegmentSize::default();
            five().timelines_of(SegmentNumber(number), size).map(|timeline| timeline.0).collect()
        };
        assert_eq!(timelines(2), [1]);
        assert_eq!(timelines(3), [3, 1]);
        assert_eq!(timelines(4), [3], "1 was left before");
        assert_eq!(timelines(5), [5, 3]);
        assert_eq!(timelines(6), [5]);
    }

    #[test]
    fn a_timeline_that_was_left_between_two_segments_has_none_of_the_second() {
        let history = TimelineHistory::parse(TimelineId(2), b"1\t0/4000000\tx\n").unwrap();
        let timelines = |number| -> Vec<u32> {
            let size = SegmentSize::default();
            history.timelines_of(SegmentNumber(number), size).map(|timeline| timeline.0).collect()
        };
        assert_eq!((timelines(3), timelines(4)), (vec![1], vec![2]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let malformed = ["1", "1\n", "x\t0/1\ty", "0\t0/1\ty", "-1\t0/1\ty", "1\t01\ty", "\u{1}"];
        for text in malformed {
            let error = TimelineHistory::parse(TimelineId(9), text.as_bytes()).unwrap_err();
            assert_eq!(
                error,
                HistoryError::Malformed { timeline: TimelineId(9), line: 1 },
                "{text}"
            );
        }
        for text in ["9\t0/1\tx", "1\t0/2\tx\n1\t0/3\tx", "1\t0/2\tx\n2\t0/1\tx"] {
            let error = TimelineHistory::parse(TimelineId(9), text.as_bytes()).unwrap_err();
            assert!(matches!(error, HistoryError::Unordered { .. }), "{text}");
        }
        let long = vec![b'\n'; HISTORY_LENGTH_MAX + 1];
        assert!(TimelineHistory::parse(TimelineId(9), &long).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(file: Vec<u8>, timeline: u32, lsn: u64) {
            if let Ok(history) = TimelineHistory::parse(TimelineId(timeline), &file) {
                history.timeline_at(Lsn(lsn));
            }
        }

        #[test]
        fn the_timeline_at_a_position_contains_it(
            steps in prop::collection::vec((1u32..5, 0u64..1000), 0..10),
            lsn in 0u64..5000,
        ) {
            let (mut timeline, mut end, mut text) = (0, 0, String::new());
            for (number, length) in steps {
                timeline += number;
                end += length;
                writeln!(text, "{timeline}\t{}\twhy", Lsn(end)).unwrap();
            }
            let history = TimelineHistory::parse(TimelineId(timeline + 1), text.as_bytes()).unwrap();
            let at = history.timeline_at(Lsn(lsn));
            prop_assert!(history.contains(at, Lsn(lsn + 1)));
            prop_assert!(history.begin_of(at).unwrap() <= Lsn(lsn));
        }
    }
}
