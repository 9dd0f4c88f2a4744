//! A writer of logs as a server would write them, and what the reader makes of them.

use super::*;
use crate::wal::SegmentSize;
use proptest::prelude::*;

pub const SYSTEM: u64 = 7_000_000_000_000_000_001;
const PAGE: usize = 8192;

/// Writes segments of 1 MiB as PostgreSQL 18 does.
pub struct Writer {
    begin: Lsn,
    bytes: Vec<u8>,
    last: Lsn,
    timeline: u32,
}

impl Writer {
    pub fn new(begin: Lsn) -> Self {
        let mut writer = Self { begin, bytes: Vec::new(), last: Lsn(begin.0 - 8), timeline: 1 };
        writer.page(0, 0);
        writer
    }

    pub fn position(&self) -> Lsn {
        Lsn(self.begin.0 + self.bytes.len() as u64)
    }

    fn page(&mut self, flags: u16, rest: u32) {
        let is_first = SegmentSize::MIN.offset_of(self.position()) == 0;
        let lsn = self.position().0;
        self.bytes.extend(0xD118u16.to_le_bytes());
        // No backup runs, which servers note on every page.
        self.bytes.extend((flags | 4 | if is_first { 2 } else { 0 }).to_le_bytes());
        self.bytes.extend(self.timeline.to_le_bytes());
        self.bytes.extend(lsn.to_le_bytes());
        self.bytes.extend(rest.to_le_bytes());
        self.bytes.extend([0; 4]);
        if is_first {
            self.bytes.extend(SYSTEM.to_le_bytes());
            self.bytes.extend(SegmentSize::MIN.bytes().to_le_bytes());
            self.bytes.extend(8192u32.to_le_bytes());
        }
    }

    fn room(&self) -> usize {
        PAGE - self.bytes.len() % PAGE
    }

    /// Makes the bytes of a record that would be written next.
    fn record(&self, manager: u8, info: u8, xid: u32, data: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        match u8::try_from(data.len()) {
            Ok(0) => {}
            Ok(length) => body.extend([255, length]),
            Err(_) => {
                body.push(254);
                body.extend(long(data.len()).to_le_bytes());
            }
        }
        body.extend(data);
        let mut record = long(HEADER_LENGTH + body.len()).to_le_bytes().to_vec();
        record.extend(xid.to_le_bytes());
        record.extend(self.last.0.to_le_bytes());
        record.extend([info, manager, 0, 0]);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&body), &record);
        record.extend(crc.to_le_bytes());
        record.extend(body);
        record
    }

    /// Writes a record and returns where it begins.
    pub fn write(&mut self, manager: u8, info: u8, xid: u32, data: &[u8]) -> Lsn {
        if self.bytes.len().is_multiple_of(PAGE) {
            self.page(0, 0);
        }
        let record = self.record(manager, info, xid, data);
        let start = self.position();
        self.put(&record);
        self.last = start;
        start
    }

    fn put(&mut self, mut record: &[u8]) {
        loop {
            let (now, later) = record.split_at(record.len().min(self.room()));
            self.bytes.extend(now);
            if later.is_empty() {
                break;
            }
            self.page(1, long(later.len()));
            record = later;
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }

    /// Writes a record of no interest that leaves so many bytes of the segment.
    pub fn fill_up_to(&mut self, left: usize) {
        let size = SegmentSize::MIN.bytes() as usize;
        loop {
            let used = self.bytes.len() % size;
            let missing = size - used - left;
            let fits = missing.min(self.room());
            if missing == 0 {
                break;
            }
            assert!(fits >= 32, "the test leaves no room for a record");
            let length = if missing - fits > 0 && missing - fits < 64 { fits / 2 } else { fits };
            let length = (length / 8 * 8).min(4096);
            let head = if length - 24 - 2 > 255 { 5 } else { 2 };
            self.write(10, 0, 0, &vec![7; length - 24 - head]);
        }
    }

    pub fn switch(&mut self) {
        self.write(0, 0x40, 0, &[]);
        let whole = self.bytes.len().next_multiple_of(SegmentSize::MIN.bytes() as usize);
        self.bytes.resize(whole, 0);
    }

    pub fn finish(mut self) -> Vec<u8> {
        let whole = self.bytes.len().next_multiple_of(SegmentSize::MIN.bytes() as usize);
        self.bytes.resize(whole, 0);
        self.bytes
    }
}

fn long(length: usize) -> u32 {
    u32::try_from(length).unwrap()
}

/// Start, end and data.
type Read = (Lsn, Lsn, Vec<u8>);

fn read_at(begin: Lsn, bytes: &[u8]) -> (Vec<Read>, Result<LogState, WalError>) {
    let mut reader = RecordReader::starting_at(begin);
    let mut records = Vec::new();
    let state = reader.read(bytes, |record| {
        records.push((record.start(), record.end(), record.data().unwrap().to_vec()));
    });
    (records, state)
}

fn read(bytes: &[u8]) -> (Vec<Read>, Result<LogState, WalError>) {
    read_at(BEGIN, bytes)
}

const BEGIN: Lsn = Lsn(0x100_0000);

#[test]
fn records_go_on_over_pages_and_segments() {
    let mut writer = Writer::new(BEGIN);
    let lengths = [0, 1, 255, 256, 9000, 2_500_000, 10];
    let starts = lengths.map(|length| writer.write(10, 0, 5, &vec![9; length]));
    let (records, state) = read(&writer.finish());
    assert_eq!(state, Ok(LogState::Ends));
    let found: Vec<_> = records.iter().map(|(start, _, data)| (*start, data.len())).collect();
    assert_eq!(found, starts.into_iter().zip(lengths).collect::<Vec<_>>());
}

#[test]
fn a_segment_is_read_alone() {
    let mut writer = Writer::new(BEGIN);
    writer.write(10, 0, 5, &vec![9; 1_500_000]);
    let start = writer.write(10, 0, 5, b"second");
    let bytes = writer.finish();
    let (records, state) = read_at(Lsn(BEGIN.0 + (1 << 20)), &bytes[1 << 20..]);
    assert_eq!(state, Ok(LogState::Ends));
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].0, records[0].2.as_slice()), (start, &b"second"[..]));
}

#[test]
fn the_rest_of_a_switched_segment_is_passed_over() {
    let mut writer = Writer::new(BEGIN);
    writer.write(10, 0, 5, b"before");
    writer.switch();
    let start = writer.write(10, 0, 5, b"after");
    let (records, state) = read(&writer.finish());
    assert_eq!((records.len(), state), (3, Ok(LogState::Ends)));
    assert_eq!(records[2].0, start);
    assert_eq!(start, Lsn(BEGIN.0 + (1 << 20) + 40));
}

#[test]
fn a_record_that_a_crash_cut_off_is_given_up() {
    let mut writer = Writer::new(BEGIN);
    writer.write(10, 0, 5, b"before");
    let record = writer.record(10, 0, 5, &vec![9; 20_000]);
    let room = writer.room();
    writer.bytes.extend(&record[..room]);
    writer.page(8, 0);
    let start = writer.write(0, 0xD0, 0, &[0; 16]);
    let (records, state) = read(&writer.finish());
    assert_eq!((records.len(), state), (2, Ok(LogState::Ends)));
    assert_eq!(records[1].0, start);
}

#[test]
fn remains_of_an_earlier_use_are_no_records() {
    let mut writer = Writer::new(BEGIN);
    writer.write(10, 0, 5, &[9; 100]);
    let mut bytes = writer.finish();
    let mut old = Writer::new(Lsn(0x50_0000));
    old.write(10, 0, 5, &vec![9; 20_000]);
    let old = old.finish();
    bytes[PAGE..].copy_from_slice(&old[PAGE..]);
    // The first page is used up, so that the second is looked at.
    let (records, state) = read(&bytes);
    assert_eq!((records.len(), state), (1, Ok(LogState::Ends)));
    let mut writer = Writer::new(BEGIN);
    writer.write(10, 0, 5, &[9; 9000]);
    let mut bytes = writer.finish();
    bytes[PAGE..].copy_from_slice(&old[PAGE..]);
    let (records, state) = read(&bytes);
    let source = WalPageFault::Place { found: Lsn(0x50_2000) };
    assert_eq!((records.len(), state), (0, Err(WalError::Page { lsn: Lsn(0x100_2000), source })));
}

#[test]
fn a_page_of_an_older_timeline_does_not_follow() {
    let mut writer = Writer::new(BEGIN);
    writer.timeline = 2;
    writer.page_end();
    writer.timeline = 1;
    writer.page(0, 0);
    let (_, state) = read(&writer.finish());
    assert!(matches!(state, Err(WalError::Page { lsn: Lsn(0x100_4000), .. })), "{state:?}");
}

impl Writer {
    /// Fills the page and begins the next one, and fills that.
    fn page_end(&mut self) {
        self.write(10, 0, 5, &[9; PAGE]);
        let length = self.room() - 24 - 5;
        self.write(10, 0, 5, &vec![9; length]);
    }
}

#[test]
fn half_a_page_is_not_read() {
    let bytes = Writer::new(BEGIN).finish();
    let (_, state) = read(&bytes[..=PAGE]);
    assert_eq!(state, Err(WalError::NotWhole { length: PAGE + 1 }));
}

proptest! {
    #[test]
    fn however_it_is_handed_in_the_same_is_read(
        lengths in prop::collection::vec(0usize..30_000, 1..40),
        pages in 1usize..9,
    ) {
        let mut writer = Writer::new(BEGIN);
        for length in lengths {
            writer.write(10, 0, 5, &vec![length.to_le_bytes()[0]; length]);
        }
        let bytes = writer.finish();
        let (whole, _) = read(&bytes);
        let (mut reader, mut parts) = (RecordReader::new(), Vec::new());
        for part in bytes.chunks(pages * PAGE) {
            reader.read(part, |record| {
                parts.push((record.start(), record.end(), record.data().unwrap().to_vec()));
            }).unwrap();
        }
        prop_assert_eq!(parts, whole);
    }

    #[test]
    fn a_flipped_bit_never_makes_a_record(
        lengths in prop::collection::vec(0usize..3000, 1..10),
        place in 0usize..20_000,
        bit in 0u8..8,
    ) {
        let mut writer = Writer::new(BEGIN);
        for length in lengths {
            writer.write(10, 0, 5, &vec![9; length]);
        }
        let mut bytes = writer.finish();
        let (whole, _) = read(&bytes);
        bytes[place] ^= 1 << bit;
        let (found, _) = read(&bytes);
        prop_assert!(found.len() <= whole.len());
        prop_assert_eq!(&found[..], &whole[..found.len()]);
    }
}
