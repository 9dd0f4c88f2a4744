//! The heads of the log's pages: which server wrote them, for which cluster, timeline and position.
//!
//! The structures are `XLogPageHeaderData` and `XLogLongPageHeaderData` of PostgreSQL's
//! `src/include/access/xlog_internal.h`. Versions 13 to 18 differ in the magic number alone.

use lifeboat_model::{Classify, ErrorKind, Lsn};

use crate::fields::Fields;
use crate::wal::{SegmentSize, TimelineId};

/// `XLP_FIRST_IS_CONTRECORD`: the page begins with the rest of a record.
const CONTINUES: u16 = 0x0001;
/// `XLP_LONG_HEADER`: the head is the long one, as on the first page of a segment.
const LONG: u16 = 0x0002;
/// `XLP_FIRST_IS_OVERWRITE_CONTRECORD`: the record that should go on here was given up after a crash. What
/// comes after 18 has another number for it.
const GIVEN_UP: u16 = 0x0008;
/// All flags; the third, `XLP_BKP_REMOVABLE`, says only whether a backup was running.
const FLAGS: u16 = 0x000F;

/// How many bytes a short head has.
pub(crate) const SHORT_LENGTH: u32 = 24;
/// How many bytes a long head has.
pub(crate) const LONG_LENGTH: u32 = 40;

/// The number at the start of each page, a new one for each major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WalMagic(u16);

/// The magic numbers of versions 13 to 18.
const MAGICS: [(u16, u32); 6] =
    [(0xD106, 13), (0xD10D, 14), (0xD110, 15), (0xD113, 16), (0xD116, 17), (0xD118, 18)];

impl WalMagic {
    /// Takes the number of a known version.
    pub fn new(magic: u16) -> Option<Self> {
        MAGICS.iter().any(|known| known.0 == magic).then_some(Self(magic))
    }

    /// Returns the major version of PostgreSQL that writes it.
    pub fn major(self) -> u32 {
        let known = MAGICS.iter().find(|known| known.0 == self.0);
        known.expect("only known numbers are taken").1
    }
}

/// What is wrong with the head of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalPageFault {
    /// There are not enough bytes.
    #[error("it ends before its head does")]
    Short,
    /// The magic number is of no known version; zero where nothing was written.
    #[error("its magic number is {found:04X}, expected one of PostgreSQL 13 to 18")]
    Magic {
        /// What stands there.
        found: u16,
    },
    /// The magic number, the flags or the sizes differ from those at the start of the log.
    #[error("its {field} differs from what this log has")]
    Differs {
        /// What differs.
        field: &'static str,
    },
    /// The page is one of another place: what was there before the file was used again.
    #[error("it is the page of {found}")]
    Place {
        /// Which page it is.
        found: Lsn,
    },
    /// The timeline is older than that of the page before.
    #[error("it is of timeline {found}, which is older than that before it")]
    Timeline {
        /// Whose page it is.
        found: TimelineId,
    },
    /// How much of a record goes on here does not fit what the pages before began.
    #[error("it says that {found} bytes of a record go on, expected {expected}")]
    Rest {
        /// What is missing of the record.
        expected: u32,
        /// What the page says.
        found: u32,
    },
}

/// What stands at the start of every page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalPageHeader {
    /// Which version wrote it.
    pub magic: WalMagic,
    info: u16,
    /// The timeline on which the page's first record was written.
    pub timeline: TimelineId,
    /// The page's own position.
    pub lsn: Lsn,
    /// How many bytes of a record that began before are still to come, from this page on.
    pub rest: u32,
}

/// What a page says about the record that the page before began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageStart {
    /// Nothing: a record begins here.
    Fresh,
    /// It goes on here.
    Continues,
    /// A crash cut it off; a record begins here which says so (since 15, and in minor releases of older
    /// ones).
    GivenUp,
}

impl WalPageHeader {
    /// Reads the head of a page.
    pub fn parse(page: &[u8]) -> Result<Self, WalPageFault> {
        Self::read(Fields(page)).ok_or(WalPageFault::Short)?
    }

    fn read(fields: Fields<'_>) -> Option<Result<Self, WalPageFault>> {
        let found = fields.u16(0)?;
        let Some(magic) = WalMagic::new(found) else {
            return Some(Err(WalPageFault::Magic { found }));
        };
        let header = Self {
            magic,
            info: fields.u16(2)?,
            timeline: TimelineId(fields.u32(4)?),
            lsn: Lsn(fields.u64(8)?),
            rest: fields.u32(16)?,
        };
        fields.bytes(0, header.length() as usize)?;
        let is_known = header.info & !FLAGS == 0;
        Some(is_known.then_some(header).ok_or(WalPageFault::Differs { field: "set of flags" }))
    }

    /// Returns how many bytes the head has.
    pub const fn length(&self) -> u32 {
        if self.info & LONG == 0 { SHORT_LENGTH } else { LONG_LENGTH }
    }

    /// Returns what the page begins with.
    pub const fn start(&self) -> PageStart {
        if self.info & GIVEN_UP != 0 {
            PageStart::GivenUp
        } else if self.info & CONTINUES != 0 {
            PageStart::Continues
        } else {
            PageStart::Fresh
        }
    }
}

/// What the first page of a segment says about the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// What stands at the start of every page.
    pub page: WalPageHeader,
    /// Whose log it is.
    pub system_id: u64,
    /// How large the cluster's segments are.
    pub segment_size: SegmentSize,
    /// How large the log's pages are, in bytes.
    pub page_length: u32,
}

impl SegmentHeader {
    /// Reads the head of a segment.
    pub fn parse(segment: &[u8]) -> Result<Self, SegmentFault> {
        let page = WalPageHeader::parse(segment)?;
        if page.info & LONG == 0 {
            return Err(SegmentFault::NotFirst);
        }
        let fields = Fields(segment);
        let size = fields.u32(32).ok_or(WalPageFault::Short)?;
        let page_length = fields.u32(36).ok_or(WalPageFault::Short)?;
        let header = Self {
            page,
            system_id: fields.u64(24).ok_or(WalPageFault::Short)?,
            segment_size: SegmentSize::new(size).ok_or(SegmentFault::Size { bytes: size })?,
            page_length,
        };
        // The bounds of `configure --with-wal-blocksize`.
        if !page_length.is_power_of_two() || !(1 << 10..=1 << 16).contains(&page_length) {
            return Err(SegmentFault::Size { bytes: page_length });
        }
        if header.segment_size.offset_of(page.lsn) != 0 {
            return Err(SegmentFault::NotFirst);
        }
        Ok(header)
    }
}

/// The head of a segment cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentFault {
    /// Its first page has no head.
    #[error("the segment's first page is wrong: {0}")]
    Page(#[from] WalPageFault),
    /// The page is not the first of a segment.
    #[error("the file does not begin as a segment does")]
    NotFirst,
    /// No cluster has segments or pages of this size.
    #[error("the segment says that segments or pages have {bytes} bytes")]
    Size {
        /// The size.
        bytes: u32,
    },
}

impl Classify for SegmentFault {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Corrupt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::record::tests::{SYSTEM, Writer};
    use proptest::prelude::*;

    #[test]
    fn a_segment_says_whose_it_is() {
        let segment = Writer::new(Lsn(0x100_0000)).finish();
        let header = SegmentHeader::parse(&segment).unwrap();
        assert_eq!((header.system_id, header.page_length), (SYSTEM, 8192));
        assert_eq!(header.segment_size, SegmentSize::MIN);
        assert_eq!((header.page.magic.major(), header.page.lsn), (18, Lsn(0x100_0000)));
        assert_eq!(header.page.start(), PageStart::Fresh);
    }

    #[test]
    fn a_file_that_begins_otherwise_is_no_segment() {
        let mut writer = Writer::new(Lsn(0x100_0000));
        writer.write(10, 0, 5, &[9; 9000]);
        let segment = writer.finish();
        assert_eq!(SegmentHeader::parse(&segment[8192..]), Err(SegmentFault::NotFirst));
        let short = SegmentHeader::parse(&segment[..39]);
        assert_eq!(short, Err(SegmentFault::Page(WalPageFault::Short)));
        let empty = SegmentHeader::parse(&[0; 8192]);
        assert_eq!(empty, Err(SegmentFault::Page(WalPageFault::Magic { found: 0 })));
        for (at, byte) in [(32, 1), (36, 1), (9, 0x20)] {
            let mut wrong = segment.clone();
            wrong[at] = byte;
            assert!(SegmentHeader::parse(&wrong).is_err(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(magic in prop::sample::select(&MAGICS[..]), bytes: Vec<u8>) {
            let mut page = magic.0.to_le_bytes().to_vec();
            page.extend(bytes);
            let _ = SegmentHeader::parse(&page);
        }
    }
}
