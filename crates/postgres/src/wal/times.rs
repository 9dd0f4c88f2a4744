//! Up to when a segment leads: which times, names and positions a recovery can aim at in it.
//!
//! A summary is made of one segment alone, when it is archived, and kept beside it; so what can be
//! reached is known before anything is fetched.
//!
//! # Records that two segments share
//!
//! A record counts in the segment in which it ends: only with that one can it be replayed. But there its
//! head is missing, so a segment that is summarised alone leaves such a record out, and
//! each of the two keeps its first bytes ([`CROSSING_LENGTH_MAX`]). [`SegmentSummary::after`] puts them
//! together and adds what the record says. Its checksum is not looked at again: whether the bytes are
//! those that the server wrote is for the hash of the whole segment to say.
//!
//! # Limits
//!
//! At most [`RESTORE_POINTS_MAX`] restore points are kept, and how many more there are. A record that is
//! longer than a whole segment is never one that recovery can aim at.

use lifeboat_model::{Lsn, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::wal::event::RestorePoint;
use crate::wal::page::{LONG_LENGTH, SegmentFault, SegmentHeader, WalPageFault};
use crate::wal::record::{CROSSING_LENGTH_MAX, LogState};
use crate::wal::{Event, Record, RecordReader, SegmentName, WalError};

/// How many restore points of a segment are kept.
pub const RESTORE_POINTS_MAX: usize = 1000;

/// When transactions ended. They need not end in the order of their times: the clock is read
/// before the record is written, and may be set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndTimes {
    /// How many there are.
    pub count: u64,
    /// The time of the first in the log.
    pub first: Timestamp,
    /// The time of the last in the log.
    pub last: Timestamp,
    /// The smallest time.
    pub earliest: Timestamp,
    /// The largest time.
    pub latest: Timestamp,
}

/// What follows the last record of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentEnd {
    /// The next segment: it is full.
    Full,
    /// The next segment, since this one was ended early.
    Switched,
    /// Nothing yet.
    Open,
}

/// What can be reached with a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentSummary {
    /// Which segment.
    pub segment: SegmentName,
    /// Whose log it is.
    pub system_id: u64,
    /// The major version of the server that wrote it.
    pub major: u32,
    /// Where it begins.
    pub start: Lsn,
    /// Where the last record that ends in it ends.
    pub records_end: Option<Lsn>,
    /// What follows that.
    pub end: SegmentEnd,
    /// When transactions were committed.
    pub commits: Option<EndTimes>,
    /// When transactions were given up; a recovery to a time may stop there too.
    pub aborts: Option<EndTimes>,
    /// Named places, the first ones.
    pub restore_points: Vec<RestorePoint>,
    /// How many more there are.
    pub restore_points_left_off: u64,
    /// What is here of a record that began in the segment before.
    head: Crossing,
    /// What is here of a record that ends in the segment behind.
    tail: Crossing,
}

/// Where something belongs among what was already found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Front,
    Back,
}

/// The first bytes of a part of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Crossing(Vec<u8>);

impl Serialize for Crossing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Crossing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl EndTimes {
    fn add(times: &mut Option<Self>, time: Timestamp, place: Place) {
        let alone = Self { count: 0, first: time, last: time, earliest: time, latest: time };
        let times = times.get_or_insert(alone);
        times.count += 1;
        match place {
            Place::Front => times.first = time,
            Place::Back => times.last = time,
        }
        times.earliest = times.earliest.min(time);
        times.latest = times.latest.max(time);
    }
}

impl SegmentSummary {
    /// Summarises one whole segment, or the part of one that is there, in whole pages.
    ///
    /// # Errors
    ///
    /// Where the file is another segment than its name says, or of a younger timeline; and where something stands that is neither a record nor empty: a segment from `archive_command` is
    /// damaged then. Of a `.partial` one that may be what was in the file before; use
    /// [`SegmentSummary::of_partial`].
    pub fn of(name: SegmentName, segment: &[u8]) -> Result<Self, WalError> {
        Self::read(name, segment).and_then(|(summary, state)| state.map(|()| summary))
    }

    /// Summarises a segment up to the first thing that is no record, as the server would.
    pub fn of_partial(name: SegmentName, segment: &[u8]) -> Result<Self, WalError> {
        Self::read(name, segment).map(|(summary, _)| summary)
    }

    fn read(name: SegmentName, segment: &[u8]) -> Result<(Self, Result<(), WalError>), WalError> {
        let header = SegmentHeader::parse(segment)?;
        let major = header.page.magic.major();
        let size = header.segment_size;
        let start = name.start(size).ok_or(SegmentFault::NotFirst)?;
        let mut summary = Self {
            segment: name,
            system_id: header.system_id,
            major,
            start,
            records_end: None,
            end: SegmentEnd::Open,
            commits: None,
            aborts: None,
            restore_points: Vec::new(),
            restore_points_left_off: 0,
            head: Crossing::default(),
            tail: Crossing::default(),
        };
        let mut reader = RecordReader::starting_at(start);
        let length = segment.len().min(size.bytes() as usize);
        let state = reader.read(&segment[..length], |record| {
            if let Some(event) = Event::of(record, major) {
                summary.add(event, Place::Back);
            }
        });
        let found = reader.timeline();
        if found > name.timeline() {
            let source = WalPageFault::Timeline { found };
            return Err(WalError::Page { lsn: start, source });
        }
        summary.records_end = reader.records_end();
        summary.head = Crossing(reader.head().to_vec());
        let tail = reader.unfinished().map(|(_, bytes)| bytes).unwrap_or_default();
        summary.tail = Crossing(tail[..tail.len().min(CROSSING_LENGTH_MAX)].to_vec());
        let is_whole = length == size.bytes() as usize;
        summary.end = match state {
            Ok(LogState::GoesOn) if reader.is_switched() => SegmentEnd::Switched,
            Ok(LogState::GoesOn) if is_whole => SegmentEnd::Full,
            _ => SegmentEnd::Open,
        };
        Ok((summary, state.map(drop)))
    }

    /// Adds the record that the segment before began and that ends in this one.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        let (begun, rest) = (&before.tail.0, &self.head.0);
        if begun.is_empty() || rest.is_empty() {
            return self;
        }
        let mut bytes = begun.clone();
        if begun.len() < CROSSING_LENGTH_MAX {
            bytes.extend(rest);
        }
        // Right unless the rest was too long to be kept whole, and then nothing asks for it: a
        // restore point is short.
        let end = self.start.0 + u64::from(LONG_LENGTH) + rest.len().next_multiple_of(8) as u64;
        let record = Record::cut_off(before.start, Lsn(end), &bytes);
        if let Some(event) = record.and_then(|record| Event::of(&record, self.major)) {
            self.add(event, Place::Front);
        }
        self
    }

    fn add(&mut self, event: Event, place: Place) {
        match event {
            Event::Commit(transaction) => EndTimes::add(&mut self.commits, transaction.time, place),
            Event::Abort(transaction) => EndTimes::add(&mut self.aborts, transaction.time, place),
            Event::RestorePoint(point) => {
                let at = if place == Place::Front { 0 } else { self.restore_points.len() };
                self.restore_points.insert(at, point);
                if self.restore_points.len() > RESTORE_POINTS_MAX {
                    self.restore_points.pop();
                    self.restore_points_left_off += 1;
                }
            }
            Event::Prepare(_)
            | Event::Checkpoint(_)
            | Event::EndOfRecovery { .. }
            | Event::Switch => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::record::tests::Writer;
    use crate::wal::{SegmentSize, TimelineId};
    use proptest::prelude::*;

    const BEGIN: Lsn = Lsn(0x100_0000);
    const SEGMENT: usize = 1 << 20;

    fn name() -> SegmentName {
        SegmentName::of(TimelineId(1), BEGIN, SegmentSize::MIN)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(946_684_800 + second).unwrap()
    }

    fn commit(writer: &mut Writer, second: i64) {
        writer.write(1, 0, 700, &(second * 1_000_000).to_le_bytes());
    }

    fn restore_point(writer: &mut Writer, name: &str) {
        let mut data = 5_000_000i64.to_le_bytes().to_vec();
        data.extend(name.as_bytes());
        data.resize(72, 0);
        writer.write(0, 0x70, 0, &data);
    }

    #[test]
    fn the_clock_need_not_run_forward() {
        let mut writer = Writer::new(BEGIN);
        for second in [30, 10, 50, 20] {
            commit(&mut writer, second);
        }
        writer.write(1, 0x20, 701, &60_000_000i64.to_le_bytes());
        restore_point(&mut writer, "before");
        let end = writer.position();
        writer.switch();
        let summary = SegmentSummary::of(name(), &writer.finish()).unwrap();
        let times = summary.commits.unwrap();
        assert_eq!((times.count, times.first, times.last), (4, at(30), at(20)));
        assert_eq!((times.earliest, times.latest), (at(10), at(50)));
        assert_eq!(summary.aborts.unwrap().latest, at(60));
        let point = RestorePoint { name: "before".to_owned(), time: at(5), lsn: end };
        assert_eq!(summary.restore_points, [point]);
        assert_eq!(summary.end, SegmentEnd::Switched);
    }

    #[test]
    fn a_segment_under_another_name_is_refused() {
        let bytes = Writer::new(BEGIN).finish();
        for other in
            ["000000010000000000000011", "000000000000000000000010", "00000001FFFFFFFFFFFFFFFF"]
        {
            assert!(SegmentSummary::of(other.parse().unwrap(), &bytes).is_err(), "{other}");
        }
        let younger = "000000020000000000000010".parse().unwrap();
        assert!(SegmentSummary::of(younger, &bytes).is_ok());
    }

    #[test]
    fn an_open_segment_says_where_its_records_end() {
        let mut writer = Writer::new(BEGIN);
        commit(&mut writer, 1);
        let end = writer.position();
        let summary = SegmentSummary::of(name(), &writer.finish()).unwrap();
        assert_eq!((summary.end, summary.records_end), (SegmentEnd::Open, Some(end)));
        let text = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<SegmentSummary>(&text).unwrap(), summary);
    }

    #[test]
    fn remains_of_an_earlier_use_end_a_partial_segment_only() {
        let mut writer = Writer::new(BEGIN);
        commit(&mut writer, 1);
        let mut bytes = writer.finish();
        bytes[80] = 1;
        let error = SegmentSummary::of(name(), &bytes);
        assert!(matches!(error, Err(WalError::Record { .. })), "{error:?}");
        let summary = SegmentSummary::of_partial(name(), &bytes).unwrap();
        assert_eq!(summary.commits.unwrap().count, 1);
        assert_eq!(summary.end, SegmentEnd::Open);
    }

    /// Wherever the border between two segments cuts it.
    #[test]
    fn a_shared_record_counts_where_it_ends() {
        for left in (8..104).step_by(8) {
            let mut writer = Writer::new(BEGIN);
            writer.fill_up_to(left);
            if left < 34 {
                commit(&mut writer, 40);
            }
            restore_point(&mut writer, "shared");
            let end = writer.position();
            commit(&mut writer, 50);
            let bytes = writer.finish();
            let second = name().next(SegmentSize::MIN).unwrap();
            let first = SegmentSummary::of(name(), &bytes[..SEGMENT]).unwrap();
            let alone = SegmentSummary::of(second, &bytes[SEGMENT..]).unwrap();
            assert_eq!(first.end, SegmentEnd::Full, "{left}");
            let both = alone.after(&first);
            assert_eq!(both.restore_points.len(), 1, "{left}");
            assert_eq!(both.restore_points[0].lsn, end, "{left}");
            let first_commit = if left < 34 { 40 } else { 50 };
            assert_eq!(both.commits.unwrap().first, at(first_commit), "{left}");
            assert_eq!(first.commits, None, "{left}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(changes in prop::collection::vec((0usize..20_000, any::<u8>()), 0..20)) {
            let mut writer = Writer::new(BEGIN);
            for second in 0..200 {
                commit(&mut writer, second);
                restore_point(&mut writer, "name");
            }
            let mut bytes = writer.finish();
            for (place, byte) in changes {
                bytes[place] = byte;
            }
            let _ = SegmentSummary::of(name(), &bytes);
        }
    }
}
