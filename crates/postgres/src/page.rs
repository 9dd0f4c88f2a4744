//! Pages of tables and indexes: their header, their checksum, and whether they are what was written.
//!
//! The header is PostgreSQL's `src/include/storage/bufpage.h` with layout version 4, which versions 13
//! to 18 share; what counts as valid is `PageIsVerified` of `src/backend/storage/page/bufpage.c`.

mod checksum;

pub use checksum::page_checksum;

use lifeboat_model::Lsn;

use crate::fields::Fields;

/// How large pages are, unless the server was built otherwise.
pub const PAGE_LENGTH: usize = 8192;

/// How many pages a file of a relation has before the next is begun: 1 GiB, unless the server was
/// built otherwise.
pub const FILE_PAGES: u32 = 131_072;

/// How many bytes the header has.
const HEADER_LENGTH: u16 = 24;

/// `PD_HAS_FREE_LINES`, `PD_PAGE_FULL` and `PD_ALL_VISIBLE`: the flags that exist.
const FLAGS: u16 = 0x0007;

/// Which page of a relation, counted over all of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNumber(pub u32);

impl BlockNumber {
    /// Returns the number of a page in the *n*th file of a relation, such as `16384.3`; none if no
    /// relation is that large.
    pub fn in_file(file: u32, page: u32) -> Option<Self> {
        file.checked_mul(FILE_PAGES)?.checked_add(page).map(Self)
    }
}

/// Whether the cluster writes checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// Every page has one.
    On,
    /// The field means nothing.
    Off,
}

/// The head of a page that was written at least once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// The end of the record that changed the page last.
    pub lsn: Lsn,
    /// The checksum, if the cluster writes them.
    pub checksum: u16,
    /// Flags, see `bufpage.h`.
    pub flags: u16,
    /// Where free space begins.
    pub lower: u16,
    /// Where free space ends; 0 on a page that was never used.
    pub upper: u16,
    /// Where the index's own data begin.
    pub special: u16,
    /// The page's length, as written in it.
    pub length: u16,
    /// The version of the layout; 4 since PostgreSQL 8.3.
    pub version: u8,
}

impl PageHeader {
    /// Reads the head of a page; none if there are not enough bytes.
    pub fn parse(page: &[u8]) -> Option<Self> {
        let fields = Fields(page);
        fields.bytes(0, HEADER_LENGTH.into())?;
        let length_and_version = fields.u16(18)?;
        Some(Self {
            // Two halves, the upper one first, whatever the machine.
            lsn: Lsn(u64::from(fields.u32(0)?) << 32 | u64::from(fields.u32(4)?)),
            checksum: fields.u16(8)?,
            flags: fields.u16(10)?,
            lower: fields.u16(12)?,
            upper: fields.u16(14)?,
            special: fields.u16(16)?,
            length: length_and_version & 0xFF00,
            version: length_and_version.to_le_bytes()[0],
        })
    }

    /// Tells whether the page was made but never used (`PageIsNew`).
    pub const fn is_new(&self) -> bool {
        self.upper == 0
    }

    fn is_sane(&self, page_length: usize) -> bool {
        self.flags & !FLAGS == 0
            && self.lower >= HEADER_LENGTH
            && self.lower <= self.upper
            && self.upper <= self.special
            && usize::from(self.special) <= page_length
            && self.special.is_multiple_of(8)
    }
}

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageVerdict {
    /// It was made and never used: all zeros.
    New,
    /// It is what was written, as far as can be told.
    Valid,
    /// It is not what was written, or was written halfway.
    Invalid(PageFault),
}

/// What is wrong with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageFault {
    /// It has another length than pages have.
    #[error("it has {length} bytes")]
    Length {
        /// How many bytes.
        length: usize,
    },
    /// Its head says that it is new, and it is not empty.
    #[error("its head is empty and the rest is not")]
    NotEmpty,
    /// Its checksum is another's.
    #[error("its checksum is {found:04X}, expected {expected:04X}")]
    Checksum {
        /// What its bytes make.
        expected: u16,
        /// What stands in it.
        found: u16,
    },
    /// Its head points to places that it does not have.
    #[error("its head makes no sense")]
    Header,
}

/// Judges a page as the server does when it reads it.
///
/// A page that was torn, by a write that happened during the read, is [`PageVerdict::Invalid`]: read it
/// again. A page that a record after the start of a backup changed is replayed over anyway; its
/// [`PageHeader::lsn`] tells.
pub fn judge(page: &[u8], block: BlockNumber, checksums: Checksums) -> PageVerdict {
    let whole: Option<&[u8; PAGE_LENGTH]> = page.try_into().ok();
    let (Some(whole), Some(header)) = (whole, PageHeader::parse(page)) else {
        return PageVerdict::Invalid(PageFault::Length { length: page.len() });
    };
    if header.is_new() {
        return if is_empty(whole) {
            PageVerdict::New
        } else {
            PageVerdict::Invalid(PageFault::NotEmpty)
        };
    }
    if checksums == Checksums::On {
        let expected = page_checksum(whole, block);
        if expected != header.checksum {
            let found = header.checksum;
            return PageVerdict::Invalid(PageFault::Checksum { expected, found });
        }
    }
    if header.is_sane(PAGE_LENGTH) {
        PageVerdict::Valid
    } else {
        PageVerdict::Invalid(PageFault::Header)
    }
}

fn is_empty(page: &[u8; PAGE_LENGTH]) -> bool {
    page.chunks_exact(128).all(|part| part.iter().fold(0, |any, byte| any | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn used(fill: u8, block: BlockNumber) -> [u8; PAGE_LENGTH] {
        let mut page = [fill; PAGE_LENGTH];
        page[..24].fill(0);
        page[4..8].copy_from_slice(&0x300_0158u32.to_le_bytes());
        page[12..14].copy_from_slice(&28u16.to_le_bytes());
        page[14..16].copy_from_slice(&8000u16.to_le_bytes());
        page[16..18].copy_from_slice(&8192u16.to_le_bytes());
        page[18..20].copy_from_slice(&(8192u16 | 4).to_le_bytes());
        let checksum = page_checksum(&page, block);
        page[8..10].copy_from_slice(&checksum.to_le_bytes());
        page
    }

    #[test]
    fn the_head_is_read() {
        let header = PageHeader::parse(&used(7, BlockNumber(1))).unwrap();
        assert_eq!(header.lsn, Lsn(0x300_0158));
        assert_eq!((header.lower, header.upper, header.special), (28, 8000, 8192));
        assert_eq!((header.length, header.version), (8192, 4));
    }

    #[test]
    fn zeros_are_a_new_page_and_nothing_else_is() {
        let mut page = [0; PAGE_LENGTH];
        assert_eq!(judge(&page, BlockNumber(0), Checksums::On), PageVerdict::New);
        page[8191] = 1;
        let verdict = judge(&page, BlockNumber(0), Checksums::On);
        assert_eq!(verdict, PageVerdict::Invalid(PageFault::NotEmpty));
    }

    #[test]
    fn a_page_belongs_to_its_place() {
        let page = used(7, BlockNumber(131_072));
        assert_eq!(BlockNumber::in_file(1, 0), Some(BlockNumber(131_072)));
        assert_eq!(judge(&page, BlockNumber(131_072), Checksums::On), PageVerdict::Valid);
        let elsewhere = judge(&page, BlockNumber(0), Checksums::On);
        assert!(matches!(elsewhere, PageVerdict::Invalid(PageFault::Checksum { .. })));
        assert_eq!(judge(&page, BlockNumber(0), Checksums::Off), PageVerdict::Valid);
        assert_eq!(BlockNumber::in_file(u32::MAX, 0), None);
    }

    #[test]
    fn a_head_that_points_outside_is_wrong_even_without_checksums() {
        let mut page = used(7, BlockNumber(0));
        page[16..18].copy_from_slice(&9000u16.to_le_bytes());
        let verdict = judge(&page, BlockNumber(0), Checksums::Off);
        assert_eq!(verdict, PageVerdict::Invalid(PageFault::Header));
    }

    #[test]
    fn a_page_cut_short_is_no_page() {
        let verdict = judge(&[1; 100], BlockNumber(0), Checksums::On);
        assert_eq!(verdict, PageVerdict::Invalid(PageFault::Length { length: 100 }));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_noticed(fill: u8, bit in 0..PAGE_LENGTH * 8, block: u32) {
            let mut page = used(fill, BlockNumber(block));
            page[bit / 8] ^= 1 << (bit % 8);
            let verdict = judge(&page, BlockNumber(block), Checksums::On);
            prop_assert!(matches!(verdict, PageVerdict::Invalid(_)), "{:?}", verdict);
        }

        #[test]
        fn no_bytes_make_it_panic(page: Vec<u8>, block: u32) {
            judge(&page, BlockNumber(block), Checksums::On);
        }
    }
}
