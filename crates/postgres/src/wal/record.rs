//! Records of the log, over the ends of pages and segments, each held against its checksum.
//!
//! Records are PostgreSQL's `src/include/access/xlogrecord.h`, and where one may lie and how it goes on
//! is `src/backend/access/transam/xlogreader.c`; versions 13 to 18 agree in both.
//!
//! # Where the log ends
//!
//! The server takes the first thing that is no record for the end. In an archive that would hide damage,
//! so [`RecordReader::read`] tells apart: zeros, where nothing was written yet, from an error, where
//! something stands that belongs to no log or to another part of it. A file that was used before has
//! such remains behind its last record; whole segments from `archive_command` have none.
//!
//! # Limits
//!
//! A record that lies on one page is not copied. One that does not is gathered, in at most as many bytes
//! as were handed in.

use lifeboat_model::{Classify, ErrorKind, Lsn};

use crate::fields::Fields;
use crate::wal::TimelineId;
use crate::wal::page::{PageStart, SegmentFault, SegmentHeader, WalPageFault, WalPageHeader};

/// How many bytes the fixed part of a record has.
const HEADER_LENGTH: usize = 24;

/// Where in it the checksum lies, which covers all but itself.
const CRC_AT: usize = 20;

/// The shortest record: its fixed part.
const RECORD_LENGTH_MIN: u32 = 24;

/// The longest record (`XLogRecordMaxSize`, since 16).
const RECORD_LENGTH_MAX: u32 = 1020 << 20;

/// The fourth record of the log itself, behind which a segment is empty (`XLOG_SWITCH`).
const SWITCH: (u8, u8) = (0, 0x40);

/// As much of a record that two segments share as each of them keeps: enough for whatever
/// recovery can aim at.
pub const CROSSING_LENGTH_MAX: usize = 128;

/// A record, or the start of one.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    start: Lsn,
    end: Lsn,
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Takes the start of a record that was not read whole, and so could not be checked.
    pub(crate) fn cut_off(start: Lsn, end: Lsn, bytes: &'a [u8]) -> Option<Self> {
        (bytes.len() >= HEADER_LENGTH).then_some(Self { start, end, bytes })
    }

    /// Returns its position.
    pub const fn start(&self) -> Lsn {
        self.start
    }

    /// Returns where the next one may begin: what `pg_current_wal_insert_lsn` says behind it.
    pub const fn end(&self) -> Lsn {
        self.end
    }

    /// Returns the transaction that wrote it, or 0.
    pub fn xid(&self) -> u32 {
        Fields(self.bytes).u32(4).unwrap_or_default()
    }

    /// Returns where the one before begins.
    pub fn previous(&self) -> Lsn {
        Lsn(Fields(self.bytes).u64(8).unwrap_or_default())
    }

    /// Returns the flags, whose meaning depends on who wrote it.
    pub fn info(&self) -> u8 {
        Fields(self.bytes).u8(16).unwrap_or_default()
    }

    /// Returns who knows what it means (`rmgrlist.h`).
    pub fn resource_manager(&self) -> u8 {
        Fields(self.bytes).u8(17).unwrap_or_default()
    }

    /// Returns what it says, as much of it as is here; none if it speaks of pages.
    pub fn data(&self) -> Option<&'a [u8]> {
        let fields = Fields(self.bytes);
        let mut at = HEADER_LENGTH;
        while at < self.bytes.len() {
            let (begin, length) = match fields.u8(at)? {
                // `XLR_BLOCK_ID_DATA_SHORT` and `_LONG`.
                255 => (at + 2, usize::from(fields.u8(at + 1)?)),
                254 => (at + 5, usize::try_from(fields.u32(at + 1)?).ok()?),
                // `XLR_BLOCK_ID_ORIGIN` and `_TOPLEVEL_XID`, which come before.
                253 => {
                    at += 3;
                    continue;
                }
                252 => {
                    at += 5;
                    continue;
                }
                _ => return None,
            };
            let rest = self.bytes.get(begin..)?;
            return Some(rest.get(..length).unwrap_or(rest));
        }
        Some(&[])
    }

    fn is_switch(&self) -> bool {
        (self.resource_manager(), self.info() & 0xF0) == SWITCH
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// No record has this length.
    #[error("it has {length} bytes")]
    Length {
        /// The length.
        length: u32,
    },
    /// Its checksum is another's.
    #[error("its checksum is {found:08X}, expected {expected:08X}")]
    Checksum {
        /// What its bytes make.
        expected: u32,
        /// What stands in it.
        found: u32,
    },
    /// It follows another record than the one before it.
    #[error("it follows a record at {found}")]
    Previous {
        /// Which one.
        found: Lsn,
    },
}

/// The log cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// It does not begin as a segment does.
    #[error("the log does not begin with a segment")]
    Segment(#[from] SegmentFault),
    /// It was not handed in page by page.
    #[error("{length} bytes of the log are not whole pages")]
    NotWhole {
        /// How many bytes.
        length: usize,
    },
    /// A page is wrong.
    #[error("the page at {lsn} of the log is wrong")]
    Page {
        /// Which page.
        lsn: Lsn,
        /// What is wrong.
        #[source]
        source: WalPageFault,
    },
    /// A record is wrong.
    #[error("the record at {lsn} of the log is wrong")]
    Record {
        /// Which record.
        lsn: Lsn,
        /// What is wrong.
        #[source]
        source: RecordFault,
    },
}

impl Classify for WalError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotWhole { .. } => ErrorKind::Bug,
            Self::Segment(_) | Self::Page { .. } | Self::Record { .. } => ErrorKind::Corrupt,
        }
    }
}

/// Whether the log goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogState {
    /// All that was handed in is part of it.
    GoesOn,
    /// Zeros follow: nothing was written there yet.
    Ends,
}

/// Reads records from a run of segments that are handed in one after the other, whole pages at a time.
///
/// # Invariants
///
/// Every record that is handed out was held against its checksum, lies where the one before it ends, and
/// names that one as its predecessor. After an error, or at the end of the log, nothing is handed out
/// any more.
#[derive(Debug)]
pub struct RecordReader {
    header: Option<SegmentHeader>,
    /// Where the first segment has to begin.
    expected: Option<Lsn>,
    /// The page that is expected next.
    position: Lsn,
    timeline: TimelineId,
    last: Option<Lsn>,
    records_end: Option<Lsn>,
    unfinished: Unfinished,
    head: Vec<u8>,
    state: Result<LogState, WalError>,
}

/// What reaches over the end of a page.
#[derive(Debug)]
enum Unfinished {
    /// Nothing.
    Nothing,
    /// The end of a record that began before anything was handed in.
    Unknown,
    /// A record.
    Record { start: Lsn, length: u32, bytes: Vec<u8> },
    /// The rest of a segment that was ended early.
    Switched,
}

impl Default for RecordReader {
    fn default() -> Self {
        Self::new()
    }
}

impl RecordReader {
    /// Returns a reader that begins with the first page of whichever segment is handed in first.
    pub const fn new() -> Self {
        Self {
            header: None,
            expected: None,
            position: Lsn(0),
            timeline: TimelineId(0),
            last: None,
            records_end: None,
            unfinished: Unfinished::Nothing,
            head: Vec::new(),
            state: Ok(LogState::GoesOn),
        }
    }

    /// Returns a reader that begins with the first page of the segment at a position, and takes no other.
    pub const fn starting_at(lsn: Lsn) -> Self {
        let mut reader = Self::new();
        reader.expected = Some(lsn);
        reader
    }

    /// Reads on; every record that ends in these pages is handed to `each`, in order.
    pub fn read(
        &mut self,
        pages: &[u8],
        mut each: impl FnMut(&Record<'_>),
    ) -> Result<LogState, WalError> {
        if self.state == Ok(LogState::GoesOn) {
            self.state = self.pages(pages, &mut each);
        }
        self.state
    }

    /// Returns the head of the segment that was handed in first.
    pub const fn header(&self) -> Option<&SegmentHeader> {
        self.header.as_ref()
    }

    /// Returns the timeline of the last page that was read.
    pub const fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// Returns where the last record ends that was handed out.
    pub const fn records_end(&self) -> Option<Lsn> {
        self.records_end
    }

    /// Returns where a record begins that did not end yet, and its first bytes.
    pub fn unfinished(&self) -> Option<(Lsn, &[u8])> {
        match &self.unfinished {
            Unfinished::Record { start, bytes, .. } => Some((*start, bytes)),
            Unfinished::Nothing | Unfinished::Unknown | Unfinished::Switched => None,
        }
    }

    /// Returns the first bytes that belong to a record which began before the first segment.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Tells whether the last segment was ended early.
    pub const fn is_switched(&self) -> bool {
        matches!(self.unfinished, Unfinished::Switched)
    }

    fn pages(
        &mut self,
        pages: &[u8],
        each: &mut dyn FnMut(&Record<'_>),
    ) -> Result<LogState, WalError> {
        let header = match self.header {
            Some(header) => header,
            None => self.begin(pages)?,
        };
        let length = header.page_length as usize;
        if !pages.len().is_multiple_of(length) {
            return Err(WalError::NotWhole { length: pages.len() });
        }
        for page in pages.chunks_exact(length) {
            let is_first_of_segment = header.segment_size.offset_of(self.position) == 0;
            if matches!(self.unfinished, Unfinished::Switched) {
                if is_first_of_segment {
                    self.unfinished = Unfinished::Nothing;
                } else {
                    self.position = Lsn(self.position.0.saturating_add(length as u64));
                    continue;
                }
            }
            if self.page(page, &header, each)? == LogState::Ends {
                return Ok(LogState::Ends);
            }
            self.position = Lsn(self.position.0.saturating_add(length as u64));
        }
        Ok(LogState::GoesOn)
    }

    fn begin(&mut self, pages: &[u8]) -> Result<SegmentHeader, WalError> {
        let header = SegmentHeader::parse(pages)?;
        let found = header.page.lsn;
        if let Some(lsn) = self.expected.filter(|expected| *expected != found) {
            return Err(WalError::Page { lsn, source: WalPageFault::Place { found } });
        }
        self.header = Some(header);
        self.position = header.page.lsn;
        if header.page.start() == PageStart::Continues {
            self.unfinished = Unfinished::Unknown;
        }
        Ok(header)
    }

    fn page(
        &mut self,
        page: &[u8],
        first: &SegmentHeader,
        each: &mut dyn FnMut(&Record<'_>),
    ) -> Result<LogState, WalError> {
        let lsn = self.position;
        let header = match WalPageHeader::parse(page) {
            Err(WalPageFault::Magic { found: 0 }) => return Ok(LogState::Ends),
            header => header.map_err(|source| WalError::Page { lsn, source })?,
        };
        self.belongs(page, &header, first).map_err(|source| WalError::Page { lsn, source })?;
        self.timeline = header.timeline;
        let begin = header.length() as usize;
        let rest = self.rest(&header).map_err(|source| WalError::Page { lsn, source })?;
        let taken = rest.min(page.len() - begin);
        self.go_on(&page[begin..begin + taken], rest == taken, begin, each)?;
        if rest > taken {
            return Ok(LogState::GoesOn);
        }
        self.records(page, (begin + taken).next_multiple_of(8), each)
    }

    /// Checks that a page is the one that comes next.
    fn belongs(
        &self,
        page: &[u8],
        header: &WalPageHeader,
        first: &SegmentHeader,
    ) -> Result<(), WalPageFault> {
        if header.lsn != self.position {
            return Err(WalPageFault::Place { found: header.lsn });
        }
        if header.timeline < self.timeline {
            return Err(WalPageFault::Timeline { found: header.timeline });
        }
        if header.magic != first.page.magic {
            return Err(WalPageFault::Differs { field: "magic number" });
        }
        if first.segment_size.offset_of(self.position) == 0 {
            let is_same = SegmentHeader::parse(page).is_ok_and(|own| {
                own.system_id == first.system_id
                    && own.segment_size == first.segment_size
                    && own.page_length == first.page_length
            });
            if !is_same {
                return Err(WalPageFault::Differs { field: "segment's head" });
            }
        }
        Ok(())
    }

    /// Returns how many bytes of an unfinished record are still to come.
    fn rest(&mut self, header: &WalPageHeader) -> Result<usize, WalPageFault> {
        let found = header.rest;
        let expected = match &self.unfinished {
            Unfinished::Record { length, bytes, .. } => {
                length - u32::try_from(bytes.len()).expect("no more is gathered than its length")
            }
            Unfinished::Unknown => found,
            Unfinished::Nothing | Unfinished::Switched => 0,
        };
        let continues = match header.start() {
            PageStart::Continues => found > 0,
            PageStart::Fresh => found == 0,
            PageStart::GivenUp => {
                self.unfinished = Unfinished::Nothing;
                return Ok(0);
            }
        };
        if found == expected && continues {
            Ok(found as usize)
        } else {
            Err(WalPageFault::Rest { expected, found })
        }
    }

    /// Adds to the unfinished record, and hands it out if that was the last of it.
    fn go_on(
        &mut self,
        part: &[u8],
        is_last: bool,
        begin: usize,
        each: &mut dyn FnMut(&Record<'_>),
    ) -> Result<(), WalError> {
        if let Unfinished::Record { bytes, .. } = &mut self.unfinished {
            bytes.extend_from_slice(part);
        } else {
            let room = CROSSING_LENGTH_MAX - self.head.len();
            self.head.extend_from_slice(&part[..part.len().min(room)]);
        }
        if !is_last {
            return Ok(());
        }
        let finished = std::mem::replace(&mut self.unfinished, Unfinished::Nothing);
        let Unfinished::Record { start, bytes, .. } = finished else { return Ok(()) };
        self.hand_out(start, self.at((begin + part.len()).next_multiple_of(8)), &bytes, each)
    }

    /// Reads the records that begin on a page.
    fn records(
        &mut self,
        page: &[u8],
        mut at: usize,
        each: &mut dyn FnMut(&Record<'_>),
    ) -> Result<LogState, WalError> {
        while at < page.len() && !self.is_switched() {
            let start = self.at(at);
            // Records begin at multiples of eight, so a page has room for the length.
            let length = Fields(page).u32(at).unwrap_or_default();
            if length == 0 {
                return Ok(LogState::Ends);
            }
            if !(RECORD_LENGTH_MIN..=RECORD_LENGTH_MAX).contains(&length) {
                let source = RecordFault::Length { length };
                return Err(WalError::Record { lsn: start, source });
            }
            let Some(bytes) = Fields(page).bytes(at, length as usize) else {
                let bytes = page[at..].to_vec();
                self.unfinished = Unfinished::Record { start, length, bytes };
                break;
            };
            at = (at + bytes.len()).next_multiple_of(8);
            self.hand_out(start, self.at(at), bytes, each)?;
        }
        Ok(LogState::GoesOn)
    }

    /// Returns the position of a place on the page that is being read.
    fn at(&self, offset: usize) -> Lsn {
        Lsn(self.position.0.saturating_add(offset as u64))
    }

    fn hand_out(
        &mut self,
        start: Lsn,
        end: Lsn,
        bytes: &[u8],
        each: &mut dyn FnMut(&Record<'_>),
    ) -> Result<(), WalError> {
        let record = Record { start, end, bytes };
        self.check(&record).map_err(|source| WalError::Record { lsn: start, source })?;
        self.last = Some(start);
        self.records_end = Some(end);
        if record.is_switch() {
            self.unfinished = Unfinished::Switched;
        }
        each(&record);
        Ok(())
    }

    fn check(&self, record: &Record<'_>) -> Result<(), RecordFault> {
        let found = Fields(record.bytes).u32(CRC_AT).unwrap_or_default();
        let data = crc32c::crc32c(&record.bytes[HEADER_LENGTH..]);
        let expected = crc32c::crc32c_append(data, &record.bytes[..CRC_AT]);
        if expected != found {
            return Err(RecordFault::Checksum { expected, found });
        }
        let previous = record.previous();
        let follows = match self.last {
            Some(last) => previous == last,
            None => previous < record.start,
        };
        if follows { Ok(()) } else { Err(RecordFault::Previous { found: previous }) }
    }
}

#[cfg(test)]
pub(crate) mod tests;
