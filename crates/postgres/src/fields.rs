//! Numbers at fixed places of PostgreSQL's structures, as a little-endian machine of 64 bits lays them out.
//!
//! The files are copies of memory, so a big-endian server's differ; what reads them notices by a
//! version or a magic number that makes no sense, as PostgreSQL itself does.

use lifeboat_model::Timestamp;

/// Seconds from 1970 to 2000, where PostgreSQL's `TimestampTz` begins.
const EPOCH_2000_SECONDS: i64 = 946_684_800;

/// Bytes with numbers in them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// Returns so many bytes from a place on, if they are there.
    pub(crate) fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    pub(crate) fn bytes(self, at: usize, length: usize) -> Option<&'a [u8]> {
        self.0.get(at..)?.get(..length)
    }

    pub(crate) fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    pub(crate) fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(self, at: usize) -> Option<i64> {
        self.array(at).map(i64::from_le_bytes)
    }

    /// Returns a `TimestampTz`: microseconds since 2000.
    pub(crate) fn timestamp(self, at: usize) -> Option<Timestamp> {
        let since_1970 = self.i64(at)?.checked_add(EPOCH_2000_SECONDS * 1_000_000)?;
        Timestamp::from_microsecond(since_1970).ok()
    }

    /// Returns a `pg_time_t`: seconds since 1970.
    pub(crate) fn seconds(self, at: usize) -> Option<Timestamp> {
        Timestamp::from_second(self.i64(at)?).ok()
    }
}
