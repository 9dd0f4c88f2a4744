//! What stands in front of each archived file: what it is, and what recovery can aim at in it.
//!
//! It is a skippable frame of zstd (RFC 8878, section 3.1.2), which every decompressor passes over. So
//! it is stored in one step with the file that it tells about, and `age -d | zstd -d` gives the file
//! and nothing else.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::name::{ShortDigest, SystemId, WalAddress};
use crate::wal::{SegmentSummary, WalFileName};

/// The format of what follows.
const FORMAT: u32 = 1;

/// One of the sixteen numbers with which a skippable frame may begin.
const MAGIC: u32 = 0x184D_2A5B;

/// How many bytes stand before the summary itself: the number, and how long it is.
const HEAD_LENGTH: usize = 8;

/// As long as a summary may be, so that it is in what age seals first.
const LENGTH_MAX: usize = (64 << 10) - HEAD_LENGTH;

/// The bytes of an archived file in which its summary is.
pub(super) const READ_LENGTH: u64 = (HEAD_LENGTH + LENGTH_MAX) as u64;

/// A whole SHA-256, in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sha256Sum(pub [u8; 32]);

impl Serialize for Sha256Sum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Sha256Sum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut sum = [0; 32];
        hex::decode_to_slice(text, &mut sum).map_err(serde::de::Error::custom)?;
        Ok(Self(sum))
    }
}

/// What an archived file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    format: u32,
    /// Which file it is.
    pub file: WalFileName,
    /// Whose log it is part of.
    pub system: SystemId,
    /// How many plain bytes it has.
    pub length: u64,
    /// What they hash to.
    pub sha256: Sha256Sum,
    /// What recovery can aim at in a segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<SegmentSummary>,
    /// What in the segment is no record, so that nothing behind it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flaw: Option<String>,
}

impl Summary {
    /// Looks through a file.
    ///
    /// A segment with something in it that is no record is archived all the same: it is what the
    /// server wrote, and refusing it would only fill the server's disk.
    pub fn of(address: WalAddress, plain: &[u8]) -> Self {
        let (segment, flaw) = match address.file {
            WalFileName::Segment(name) => match SegmentSummary::of(name, plain) {
                Ok(segment) => (Some(segment), None),
                Err(error) => {
                    (SegmentSummary::of_partial(name, plain).ok(), Some(error.to_string()))
                }
            },
            WalFileName::Partial(name) => (SegmentSummary::of_partial(name, plain).ok(), None),
            WalFileName::History(_) | WalFileName::BackupHistory { .. } => (None, None),
        };
        Self {
            format: FORMAT,
            file: address.file,
            system: address.system,
            length: plain.len() as u64,
            sha256: Sha256Sum(Sha256::digest(plain).into()),
            segment,
            flaw,
        }
    }

    /// Returns what the file is known by.
    pub fn digest(&self) -> ShortDigest {
        ShortDigest::shorten(&self.sha256.0)
    }

    /// Returns the frame, with as many restore points as have room in it.
    pub(super) fn frame(&self) -> Vec<u8> {
        let mut summary = self.clone();
        let mut text = summary.text();
        while text.len() > LENGTH_MAX && summary.leave_off_restore_points() {
            text = summary.text();
        }
        let length = u32::try_from(text.len()).expect("all else in a summary is short");
        [&MAGIC.to_le_bytes()[..], &length.to_le_bytes(), &text].concat()
    }

    fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a summary is JSON")
    }

    /// Leaves off the last half of the restore points; tells whether there were any.
    fn leave_off_restore_points(&mut self) -> bool {
        let Some(segment) = &mut self.segment else { return false };
        let count = segment.restore_points.len();
        segment.restore_points.truncate(count / 2);
        segment.restore_points_left_off += (count - count / 2) as u64;
        count > 0
    }

    /// Reads the frame at the beginning of `bytes` and returns what follows it.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, &[u8]), String> {
        let short = || "it ends within its summary".to_owned();
        let (magic, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
        if u32::from_le_bytes(*magic) != MAGIC {
            return Err("it does not begin with a summary".to_owned());
        }
        let length = u32::from_le_bytes(*length) as usize;
        if length > LENGTH_MAX {
            return Err(format!("its summary has {length} bytes, expected at most {LENGTH_MAX}"));
        }
        let (text, rest) = rest.split_at_checked(length).ok_or_else(short)?;
        let summary: Self = serde_json::from_slice(text)
            .map_err(|error| format!("its summary cannot be read: {error}"))?;
        if summary.format > FORMAT {
            return Err(format!("its summary has format {}, later than {FORMAT}", summary.format));
        }
        Ok((summary, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_model::{Lsn, Timestamp};

    use crate::archive::tests::{SYSTEM, address, segment};
    use crate::wal::event::RestorePoint;

    #[test]
    fn a_summary_reads_back_and_what_follows_is_left() {
        let plain = segment(3);
        let summary = Summary::of(address(3), &plain);
        assert_eq!((summary.system, summary.length), (SYSTEM, plain.len() as u64));
        let mut bytes = summary.frame();
        bytes.extend(b"rest");
        assert_eq!(Summary::read(&bytes), Ok((summary, &b"rest"[..])));
    }

    #[test]
    fn no_part_of_a_summary_makes_it_panic_or_passes_for_one() {
        let frame = Summary::of(address(3), &segment(3)).frame();
        for length in 0..frame.len() {
            assert!(Summary::read(&frame[..length]).is_err(), "{length}");
        }
        let mut longer = frame.clone();
        longer[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Summary::read(&longer).unwrap_err().contains("at most"));
    }

    #[test]
    fn many_restore_points_are_left_off_and_counted() {
        let mut summary = Summary::of(address(3), &segment(3));
        let point = RestorePoint {
            name: "\u{1}".repeat(63),
            time: Timestamp::UNIX_EPOCH,
            lsn: Lsn(0x30_0000),
        };
        summary.segment.as_mut().unwrap().restore_points = vec![point; 1000];
        let frame = summary.frame();
        assert!(frame.len() as u64 <= READ_LENGTH);
        let (read, _) = Summary::read(&frame).unwrap();
        let segment = read.segment.unwrap();
        let kept = segment.restore_points.len() as u64;
        assert!(kept > 0);
        assert_eq!(kept + segment.restore_points_left_off, 1000);
    }
}
