//! Files of a log for the tests of the archive, and the archive before tiers that fail.

use std::sync::Arc;

use age::secrecy::ExposeSecret as _;
use bytes::Bytes;
use lifeboat_model::{Lsn, Secret, SimClock, Timestamp};
use lifeboat_tiers::envelope::Opener;

use super::*;
use crate::wal::record::tests::Writer;
use crate::wal::{SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};

mod fetching;
mod object;
mod pushing;
mod times;

/// The system id of the writer of logs.
pub const SYSTEM: SystemId = SystemId(crate::wal::record::tests::SYSTEM);
/// The size of its segments.
pub const SIZE: SegmentSize = SegmentSize::MIN;

/// Returns the address of a segment of timeline 1.
pub fn address(number: u64) -> WalAddress {
    address_on(1, number)
}

pub fn name(timeline: u32, number: u64) -> SegmentName {
    SegmentName::new(TimelineId(timeline), SegmentNumber(number), SIZE).unwrap()
}

pub fn address_on(timeline: u32, number: u64) -> WalAddress {
    of(WalFileName::Segment(name(timeline, number)))
}

pub fn of(file: WalFileName) -> WalAddress {
    WalAddress { system: SYSTEM, size: SIZE, file }
}

/// Returns a segment with a commit in it.
pub fn segment(number: u64) -> Vec<u8> {
    segment_with(number, number)
}

/// Returns a segment with a commit so many seconds after PostgreSQL's year zero.
pub fn segment_with(number: u64, second: u64) -> Vec<u8> {
    let mut writer = Writer::new(Lsn(number * u64::from(SIZE.bytes())));
    writer.write(1, 0, 700, &(second * 1_000_000).to_le_bytes());
    writer.switch();
    writer.finish()
}

pub fn file(address: WalAddress, bytes: Vec<u8>) -> WalFile {
    WalFile::check(address, Bytes::from(bytes)).unwrap()
}

/// Returns the file of a segment.
pub fn segment_file(timeline: u32, number: u64) -> WalFile {
    file(address_on(timeline, number), segment(number))
}

pub fn history(timeline: u32, text: &str) -> WalFile {
    file(of(WalFileName::History(TimelineId(timeline))), text.as_bytes().to_vec())
}

pub fn opener() -> Opener {
    let identity = age::x25519::Identity::generate().to_string();
    Opener::from_age_identity(&Secret::new(identity.expose_secret().to_owned())).unwrap()
}

pub fn clock() -> Arc<SimClock> {
    Arc::new(SimClock::new(Timestamp::UNIX_EPOCH))
}
