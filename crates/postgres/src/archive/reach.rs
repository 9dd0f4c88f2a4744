//! Up to which times one can recover, told from the summaries of few segments, and where in the log a
//! restore point or the end of a transaction lies.
//!
//! The times at which transactions ended grow with the log. So the segment that holds a time is found
//! by halving, and the first and last times of a range by reading from its ends. Names stand in the
//! summaries, in any order, so that all of them are read. No summary lists transactions: for one of them the
//! segments themselves are.
//!
//! # Limits
//!
//! A server's clock may be set back. Then times do not grow for a while, and halving may find a
//! segment beside the right one: what it gives is where recovery would stop first, as far as the
//! segments that were read show, and a later one may have an earlier time. `archive_timeout` makes
//! segments without transactions; at each end at most [`LOOKS_MAX`] of them are passed over.

use std::collections::BTreeMap;

use lifeboat_model::{Lsn, Timestamp};
use lifeboat_tiers::envelope::{Opener, sealed_length_max};
use lifeboat_tiers::{ReadRange, Tier};

use super::copies::Copies;
use super::error::ArchiveError;
use super::file::WalFile;
use super::inventory::Listed;
use super::object;
use super::summary::{READ_LENGTH, Summary};
use crate::wal::record::LogState;
use crate::wal::{Event, RecordReader, SegmentHeader, SegmentSummary, TimelineId, WalError};

/// How many segments are looked at from either end of a range for one in which a transaction ended.
pub const LOOKS_MAX: usize = 200;

/// Reads the summary of an archived file, and no more of it than that takes.
pub async fn read_summary(
    tier: &dyn Tier,
    listed: &Listed,
    opener: &Opener,
) -> Result<Summary, ArchiveError> {
    let length = listed.size.min(sealed_length_max(READ_LENGTH));
    let range = ReadRange::Bounded { offset: 0, length };
    let beginning = tier.get(&listed.name.path(), range).await?;
    object::open_summary(&listed.name, &beginning, opener)
}

async fn read(copies: &Copies<'_>, opener: &Opener) -> Result<WalFile, ArchiveError> {
    let read = async |tier: &dyn Tier, listed: &Listed| {
        let sealed = tier.get(&listed.name.path(), ReadRange::Full).await?;
        object::open(&listed.name, &sealed, opener).map(|(_, file)| file)
    };
    copies.read(read).await
}

/// Reads on in the log; returns the end of the first record behind a position that says what is looked
/// for, and whether anything can follow.
fn search(
    reader: &mut RecordReader,
    bytes: &[u8],
    from: Lsn,
    is_wanted: impl Fn(&Event) -> bool,
) -> (Option<(Lsn, Event)>, Result<LogState, WalError>) {
    let major = SegmentHeader::parse(bytes).map_or(0, |header| header.page.magic.major());
    let mut found = None;
    let state = reader.read(bytes, |record| {
        if found.is_none() && record.end() > from {
            let event = Event::of(record, major).filter(&is_wanted);
            found = event.map(|event| (record.end(), event));
        }
    });
    (found, state)
}

/// Returns when a timeline was begun, by the log of its first segment: what a server writes first when
/// its recovery ended tells of both timelines.
pub async fn begun(
    first: &Copies<'_>,
    timeline: TimelineId,
    opener: &Opener,
) -> Result<Option<Timestamp>, ArchiveError> {
    let file = read(first, opener).await?;
    let begins = |event: &Event| match event {
        Event::EndOfRecovery { timeline: begun, .. } => *begun == timeline,
        Event::Checkpoint(made) => made.timeline == timeline && made.previous_timeline != timeline,
        _ => false,
    };
    let (found, _) = search(&mut RecordReader::new(), file.bytes(), Lsn(0), begins);
    Ok(found.and_then(|(_, event)| match event {
        Event::EndOfRecovery { time, .. } => Some(time),
        Event::Checkpoint(made) => Some(made.time),
        _ => None,
    }))
}

/// The times of segments that follow each other.
#[derive(Debug)]
pub struct TimeIndex<'a> {
    opener: &'a Opener,
    segments: &'a [Copies<'a>],
    read: BTreeMap<usize, Option<SegmentSummary>>,
}

impl<'a> TimeIndex<'a> {
    /// Looks at `segments`, which are in their order.
    pub const fn new(opener: &'a Opener, segments: &'a [Copies<'a>]) -> Self {
        Self { opener, segments, read: BTreeMap::new() }
    }

    /// Returns how many summaries were read.
    pub fn reads(&self) -> usize {
        self.read.len()
    }

    /// Returns the time of the first commit.
    pub async fn first(&mut self) -> Result<Option<Timestamp>, ArchiveError> {
        for at in 0..self.segments.len().min(LOOKS_MAX) {
            if let Some(times) = self.whole(at).await?.and_then(|segment| segment.commits) {
                return Ok(Some(times.first));
            }
        }
        Ok(None)
    }

    /// Returns the time of the last commit.
    pub async fn last(&mut self) -> Result<Option<Timestamp>, ArchiveError> {
        for at in (0..self.segments.len()).rev().take(LOOKS_MAX) {
            if let Some(times) = self.whole(at).await?.and_then(|segment| segment.commits) {
                return Ok(Some(times.last));
            }
        }
        Ok(None)
    }

    /// Returns the place of the first segment with a transaction that ended at `time` or later: the
    /// last one that recovery to that time needs. `None` if the log does not lead so far.
    pub async fn place_of(&mut self, time: Timestamp) -> Result<Option<usize>, ArchiveError> {
        let (mut low, mut high) = (0, self.segments.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.next_time(middle, high).await? {
                Some((at, latest)) if latest < time => low = at + 1,
                // In none of those that say something does the log lead too short.
                _ => high = middle,
            }
        }
        Ok(self.next_time(low, self.segments.len()).await?.map(|(at, _)| at))
    }

    /// Returns the end of the first restore point of this name behind a position.
    pub async fn restore_point(
        &mut self,
        name: &str,
        from: Lsn,
    ) -> Result<Option<Lsn>, ArchiveError> {
        for at in 0..self.segments.len() {
            let Some(segment) = self.whole(at).await? else { continue };
            let mut points = segment.restore_points.iter();
            if let Some(point) = points.find(|point| point.name == name && point.lsn > from) {
                return Ok(Some(point.lsn));
            }
            if segment.restore_points_left_off > 0
                && let Some(lsn) = self.restore_point_in(at, name, from).await?
            {
                return Ok(Some(lsn));
            }
        }
        Ok(None)
    }

    /// Looks for a restore point in a segment with more of them than its summary lists.
    async fn restore_point_in(
        &self,
        at: usize,
        name: &str,
        from: Lsn,
    ) -> Result<Option<Lsn>, ArchiveError> {
        let file = read(&self.segments[at], self.opener).await?;
        let is_named = |event: &Event| matches!(event, Event::RestorePoint(p) if p.name == name);
        let (found, _) = search(&mut RecordReader::new(), file.bytes(), from, is_named);
        Ok(found.map(|(end, _)| end))
    }

    /// Returns the end of the record behind a position by which a transaction was committed or given up;
    /// reads the segments one after the other.
    pub async fn transaction(&self, xid: u32, from: Lsn) -> Result<Option<Lsn>, ArchiveError> {
        let ends = |event: &Event| matches!(event, Event::Commit(ended) | Event::Abort(ended) if ended.xid == Some(xid));
        let mut reader = RecordReader::new();
        for copies in self.segments {
            let file = read(copies, self.opener).await?;
            let (found, state) = search(&mut reader, file.bytes(), from, ends);
            if found.is_some() || state != Ok(LogState::GoesOn) {
                // What is no record ends the log for the server too.
                return Ok(found.map(|(end, _)| end));
            }
        }
        Ok(None)
    }

    /// Returns the first segment of `from..to` in which a transaction ended, and the latest of its times.
    async fn next_time(
        &mut self,
        from: usize,
        to: usize,
    ) -> Result<Option<(usize, Timestamp)>, ArchiveError> {
        for at in from..to {
            let Some(segment) = self.summary(at).await? else { continue };
            let ends = [segment.commits, segment.aborts];
            if let Some(latest) = ends.into_iter().flatten().map(|times| times.latest).max() {
                return Ok(Some((at, latest)));
            }
        }
        Ok(None)
    }

    /// Returns what can be reached with a segment, with the record that the one before began.
    async fn whole(&mut self, at: usize) -> Result<Option<SegmentSummary>, ArchiveError> {
        let Some(segment) = self.summary(at).await? else { return Ok(None) };
        let before = match at.checked_sub(1) {
            Some(before) => self.summary(before).await?,
            None => None,
        };
        Ok(Some(match before {
            Some(before) => segment.after(&before),
            None => segment,
        }))
    }

    async fn summary(&mut self, at: usize) -> Result<Option<SegmentSummary>, ArchiveError> {
        if let Some(read) = self.read.get(&at) {
            return Ok(read.clone());
        }
        let opener = self.opener;
        let read =
            async |tier: &dyn Tier, listed: &Listed| read_summary(tier, listed, opener).await;
        let summary = self.segments[at].read(read).await?.segment;
        self.read.insert(at, summary.clone());
        Ok(summary)
    }
}
