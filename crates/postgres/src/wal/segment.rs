//! Names of the files that `archive_command` hands over, and which part of the log each holds.
//!
//! The names and the arithmetic are PostgreSQL's `src/include/access/xlog_internal.h`, the same in
//! versions 13 to 18. The log is one run of bytes; a segment is its *n*th piece of equal size, and its
//! name has the timeline and the two halves of *n*, each in eight upper-case hex digits:
//!
//! ```
//! use lifeboat_model::Lsn;
//! use lifeboat_postgres::wal::{SegmentName, SegmentSize, TimelineId};
//!
//! let size = SegmentSize::default();
//! let name = SegmentName::of(TimelineId(1), Lsn(0x16_B374_D848), size);
//! assert_eq!(name.to_string(), "0000000100000016000000B3");
//! assert_eq!(name.start(size), Some(Lsn(0x16_B300_0000)));
//! ```
//!
//! A name alone does not say how large segments are: `000000010000000000000100` is none at 16 MiB and
//! one at 1 MiB. So whatever turns a name into a position takes the size and may answer with nothing.

use std::fmt;
use std::str::FromStr;

use lifeboat_model::Lsn;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One line of history of a cluster; each recovery that ends with a promotion begins a new one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TimelineId(pub u32);

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How large the segments of a cluster are: a power of two from 1 MiB to 1 GiB, chosen by `initdb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSize(u32);

impl SegmentSize {
    /// The smallest, 1 MiB.
    pub const MIN: Self = Self(1 << 20);
    /// The largest, 1 GiB.
    pub const MAX: Self = Self(1 << 30);

    /// Takes a number of bytes, unless no cluster can have such segments.
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= Self::MIN.0 && bytes <= Self::MAX.0 {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// Returns the number of bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// Returns how many segments share the first half of a name's number, which is the first half of a
    /// position too.
    const fn per_high_half(self) -> u64 {
        (1 << 32) / self.0 as u64
    }

    /// Returns how far a position lies behind its segment's first byte.
    pub const fn offset_of(self, lsn: Lsn) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below 2^30")]
        let offset = (lsn.0 % self.0 as u64) as u32;
        offset
    }
}

impl Default for SegmentSize {
    /// 16 MiB, as `initdb` has it unless told otherwise.
    fn default() -> Self {
        Self(16 << 20)
    }
}

/// Which piece of the log a segment is, counted from the log's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// Returns the segment that holds the byte at a position.
    pub const fn of(lsn: Lsn, size: SegmentSize) -> Self {
        Self(lsn.0 / size.0 as u64)
    }

    /// Returns the segment that holds the last byte *before* a position: what has to be there when
    /// the log is wanted up to that position (`XLByteToPrevSeg`).
    pub const fn before(lsn: Lsn, size: SegmentSize) -> Self {
        Self::of(Lsn(lsn.0.saturating_sub(1)), size)
    }

    /// Returns the position of the first byte, unless the log cannot be that long.
    pub fn start(self, size: SegmentSize) -> Option<Lsn> {
        self.0.checked_mul(size.0.into()).map(Lsn)
    }

    /// Returns the position behind the last byte, unless the log cannot be that long.
    pub fn end(self, size: SegmentSize) -> Option<Lsn> {
        self.next().start(size)
    }

    /// Returns the one that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The name of a segment, like `000000010000000000000001`.
///
/// Names order as their texts do: by timeline, then by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    timeline: TimelineId,
    high: u32,
    low: u32,
}

/// How many characters the name of a segment has.
const SEGMENT_NAME_LENGTH: usize = 24;

impl SegmentName {
    /// Returns the name of a segment of a timeline, unless the log cannot be that long.
    pub fn new(timeline: TimelineId, number: SegmentNumber, size: SegmentSize) -> Option<Self> {
        let high = u32::try_from(number.0 / size.per_high_half()).ok()?;
        let low = u32::try_from(number.0 % size.per_high_half()).ok()?;
        Some(Self { timeline, high, low })
    }

    /// Returns the name of the segment that holds the byte at a position.
    pub fn of(timeline: TimelineId, lsn: Lsn, size: SegmentSize) -> Self {
        Self::new(timeline, SegmentNumber::of(lsn, size), size)
            .expect("a position of 64 bits lies in a segment that has a name")
    }

    /// Returns the timeline.
    pub const fn timeline(self) -> TimelineId {
        self.timeline
    }

    /// Returns which piece of the log it is, or nothing if no segment of this size has this name.
    pub fn number(self, size: SegmentSize) -> Option<SegmentNumber> {
        let per_half = size.per_high_half();
        (u64::from(self.low) < per_half)
            .then(|| SegmentNumber(u64::from(self.high) * per_half + u64::from(self.low)))
    }

    /// Returns the position of the first byte, or nothing if no segment of this size has this name.
    pub fn start(self, size: SegmentSize) -> Option<Lsn> {
        self.number(size)?.start(size)
    }

    /// Returns the position behind the last byte, or nothing if no segment of this size has this name
    /// (or it is the very last of all).
    pub fn end(self, size: SegmentSize) -> Option<Lsn> {
        self.number(size)?.end(size)
    }

    /// Returns the name of the segment that follows on the same timeline.
    pub fn next(self, size: SegmentSize) -> Option<Self> {
        Self::new(self.timeline, self.number(size)?.next(), size)
    }

    /// Returns the name of the same piece of the log on another timeline.
    #[must_use]
    pub const fn on(self, timeline: TimelineId) -> Self {
        Self { timeline, ..self }
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline.0, self.high, self.low)
    }
}

impl FromStr for SegmentName {
    type Err = ParseWalNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        segment(text).ok_or_else(|| ParseWalNameError::of(text))
    }
}

/// The name of a file that PostgreSQL hands to `archive_command`, or asks `restore_command` for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalFileName {
    /// A whole segment.
    Segment(SegmentName),
    /// What a timeline holds of the segment in which it was left at a promotion: `….partial`. Its
    /// bytes up to there are also in the same segment of the timeline that follows.
    Partial(SegmentName),
    /// From which timelines a timeline comes: `00000002.history`.
    History(TimelineId),
    /// What `pg_backup_stop` says about a backup: `<segment>.<offset>.backup`.
    BackupHistory {
        /// The segment in which the backup starts.
        segment: SegmentName,
        /// How far into it the backup starts.
        offset: u32,
    },
}

impl WalFileName {
    /// Returns the timeline that the file speaks of.
    pub const fn timeline(self) -> TimelineId {
        match self {
            Self::Segment(segment)
            | Self::Partial(segment)
            | Self::BackupHistory { segment, .. } => segment.timeline,
            Self::History(timeline) => timeline,
        }
    }

    /// Returns the segment that it is, is part of, or starts in.
    pub const fn segment(self) -> Option<SegmentName> {
        match self {
            Self::Segment(segment)
            | Self::Partial(segment)
            | Self::BackupHistory { segment, .. } => Some(segment),
            Self::History(_) => None,
        }
    }

    /// Returns the name of the file that tells about a backup which starts at a position.
    pub fn of_backup(timeline: TimelineId, start: Lsn, size: SegmentSize) -> Self {
        let segment = SegmentName::of(timeline, start, size);
        Self::BackupHistory { segment, offset: size.offset_of(start) }
    }
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(segment) => segment.fmt(f),
            Self::Partial(segment) => write!(f, "{segment}.partial"),
            Self::History(timeline) => write!(f, "{:08X}.history", timeline.0),
            Self::BackupHistory { segment, offset } => write!(f, "{segment}.{offset:08X}.backup"),
        }
    }
}

impl FromStr for WalFileName {
    type Err = ParseWalNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        file(text).ok_or_else(|| ParseWalNameError::of(text))
    }
}

impl From<SegmentName> for WalFileName {
    fn from(segment: SegmentName) -> Self {
        Self::Segment(segment)
    }
}

/// A text is not the name of a file of the write-ahead log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of a file of the write-ahead log")]
pub struct ParseWalNameError {
    text: String,
}

impl ParseWalNameError {
    /// As much of a text as an error quotes; a right name has at most 40 characters.
    const CHARACTERS_MAX: usize = 64;

    fn of(text: &str) -> Self {
        Self { text: text.chars().take(Self::CHARACTERS_MAX).collect() }
    }
}

/// Reads eight hex digits as PostgreSQL writes them; it takes no lower-case ones for a name.
fn eight_digits(text: &str) -> Option<u32> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    let is_number = text.len() == 8 && text.bytes().all(is_digit);
    is_number.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

fn segment(text: &str) -> Option<SegmentName> {
    if text.len() != SEGMENT_NAME_LENGTH {
        return None;
    }
    Some(SegmentName {
        timeline: TimelineId(eight_digits(text.get(..8)?)?),
        high: eight_digits(text.get(8..16)?)?,
        low: eight_digits(text.get(16..)?)?,
    })
}

fn file(text: &str) -> Option<WalFileName> {
    let Some((stem, ending)) = text.split_once('.') else {
        return segment(text).map(WalFileName::Segment);
    };
    match ending {
        "partial" => segment(stem).map(WalFileName::Partial),
        "history" => eight_digits(stem).map(|number| WalFileName::History(TimelineId(number))),
        _ => Some(WalFileName::BackupHistory {
            segment: segment(stem)?,
            offset: eight_digits(ending.strip_suffix(".backup")?)?,
        }),
    }
}

/// Documents hold names as texts.
macro_rules! serialized_as_text {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

serialized_as_text!(SegmentName);
serialized_as_text!(WalFileName);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sizes() -> impl Strategy<Value = SegmentSize> {
        (20..=30u32).prop_map(|bits| SegmentSize::new(1 << bits).unwrap())
    }

    proptest! {
        #[test]
        fn a_position_lies_in_its_segment(timeline: u32, lsn: u64, size in sizes()) {
            let lsn = Lsn(lsn);
            let name = SegmentName::of(TimelineId(timeline), lsn, size);
            let start = name.start(size).unwrap();
            prop_assert!(start <= lsn && lsn.0 - start.0 < u64::from(size.bytes()));
            prop_assert_eq!(start.0 + u64::from(size.offset_of(lsn)), lsn.0);
            prop_assert_eq!(name.to_string().parse::<SegmentName>(), Ok(name));
            prop_assert_eq!(name.number(size), Some(SegmentNumber::of(lsn, size)));
            if let Some(end) = name.end(size) {
                prop_assert_eq!(end.0 - start.0, u64::from(size.bytes()));
                prop_assert_eq!(name.next(size).unwrap().start(size), Some(end));
                prop_assert_eq!(SegmentNumber::before(end, size), SegmentNumber::of(lsn, size));
                prop_assert!(name < name.next(size).unwrap());
            }
        }

        #[test]
        fn whatever_is_accepted_is_written_the_same(text in "[0-9A-Fa-f]{8,24}(\\.(partial|history|[0-9A-F]{8}\\.backup))?") {
            if let Ok(name) = text.parse::<WalFileName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", size in sizes()) {
            if let Ok(name) = text.parse::<WalFileName>() {
                let _ = name.segment().and_then(|segment| segment.next(size));
            }
        }
    }

    #[test]
    fn the_last_segment_has_none_behind_it() {
        let size = SegmentSize::default();
        let last = SegmentName::of(TimelineId(1), Lsn(u64::MAX), size);
        assert_eq!(last.to_string(), "00000001FFFFFFFF000000FF");
        assert_eq!((last.end(size), last.next(size)), (None, None));
    }

    #[test]
    fn a_name_may_be_of_no_segment_at_a_size() {
        let name: SegmentName = "000000010000000000000100".parse().unwrap();
        assert_eq!(name.start(SegmentSize::default()), None);
        assert_eq!(name.next(SegmentSize::default()), None);
        assert_eq!(name.start(SegmentSize::MIN), Some(Lsn(0x1000_0000)));
    }

    #[test]
    fn the_end_of_a_segment_belongs_to_it() {
        let size = SegmentSize::default();
        let border = Lsn(0x300_0000);
        assert_eq!(SegmentNumber::of(border, size), SegmentNumber(3));
        assert_eq!(SegmentNumber::before(border, size), SegmentNumber(2));
        assert_eq!(SegmentNumber::before(Lsn(0), size), SegmentNumber(0));
    }

    #[test]
    fn sizes_that_no_cluster_has_are_refused() {
        for bytes in [0, 1, 1 << 19, (1 << 20) + 1, 3 << 20, 1 << 31, u32::MAX] {
            assert_eq!(SegmentSize::new(bytes), None, "{bytes}");
        }
    }

    #[test]
    fn each_kind_of_file_is_told_by_its_name() {
        let segment: SegmentName = "0000000A00000000000000FE".parse().unwrap();
        let cases = [
            ("0000000A00000000000000FE", WalFileName::Segment(segment)),
            ("0000000A00000000000000FE.partial", WalFileName::Partial(segment)),
            ("0000000A.history", WalFileName::History(TimelineId(10))),
            (
                "0000000A00000000000000FE.00000028.backup",
                WalFileName::of_backup(TimelineId(10), Lsn(0xFE00_0028), SegmentSize::default()),
            ),
        ];
        for (text, name) in cases {
            assert_eq!(text.parse(), Ok(name));
            assert_eq!(name.to_string(), text);
            assert_eq!(name.timeline(), TimelineId(10));
        }
    }

    #[test]
    fn other_names_are_refused() {
        for text in [
            "",
            "0000000a00000000000000fe",
            "0000000A00000000000000F",
            "0000000A00000000000000FE0",
            "0000000A00000000000000FE.",
            "0000000A00000000000000FE.partial.partial",
            "0000000A00000000000000FE.28.backup",
            "0000000A00000000000000FE.00000028",
            "0000000A.partial",
            ".history",
            "+000000A.history",
            "0000000A00000000000000FÄ",
            "archive_status",
        ] {
            assert!(text.parse::<WalFileName>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_quotes_no_more_than_a_name_could_have() {
        let error = "x".repeat(100_000).parse::<WalFileName>().unwrap_err();
        assert!(error.to_string().len() < 150);
    }
}
