//! Sealed blocks: what the atlas and the runs that it is merged from consist of.
//!
//! A block holds a few items of one section. It is sealed with the repository's master key, and
//! what it seals begins with its place: the file that it belongs to, its section, its number. So
//! neither a flipped bit, nor a block of another file or place, nor one of another repository is
//! ever taken for what was written.
//!
//! # Limits
//!
//! A block is small, since a look-up opens one: about a microsecond.

use std::io::{self, Write};

use crate::crypto::{MasterKey, NONCE_LENGTH, OVERHEAD};
use crate::index::table::SLOT_LENGTH;

/// How long a block is as it is stored.
pub(super) const BLOCK_LENGTH: usize = 1024;

/// How long a place is.
const PLACE_LENGTH: usize = 16;

/// How many bytes of items a block holds.
const PAYLOAD_LENGTH: usize = BLOCK_LENGTH - OVERHEAD - PLACE_LENGTH;

/// What a block holds items of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// What the file is; one block.
    Header,
    /// Blobs of data, ordered.
    Data,
    /// Directories, ordered.
    Trees,
    /// Packs, ordered by id.
    Packs,
    /// Index files that are covered, ordered.
    Files,
    /// The beginning of the first item of each block of [`Section::Data`].
    DataKeys,
    /// The same of [`Section::Trees`].
    TreeKeys,
    /// The same of [`Section::Packs`].
    PackKeys,
}

impl Section {
    /// All sections but the header, in their order in the file.
    pub(super) const BODY: [Self; 7] = [
        Self::Data,
        Self::Trees,
        Self::Packs,
        Self::Files,
        Self::DataKeys,
        Self::TreeKeys,
        Self::PackKeys,
    ];

    /// Returns how long an item is.
    pub(super) const fn item_length(self) -> usize {
        match self {
            Self::Header => PAYLOAD_LENGTH,
            Self::Data | Self::Trees => SLOT_LENGTH,
            Self::Packs => 40,
            Self::Files => 32,
            Self::DataKeys | Self::TreeKeys | Self::PackKeys => 8,
        }
    }

    /// Returns how many items a block holds.
    pub(super) const fn items_per_block(self) -> usize {
        PAYLOAD_LENGTH / self.item_length()
    }

    /// Returns how many blocks this many items take.
    pub(super) const fn blocks(self, items: u64) -> u64 {
        items.div_ceil(self.items_per_block() as u64)
    }
}

/// Which file a block belongs to; made at random for each.
pub(super) type FileMark = [u8; 8];

/// Where a block belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) file: FileMark,
    pub(super) section: Section,
    pub(super) number: u32,
}

impl Place {
    fn to_bytes(self) -> [u8; PLACE_LENGTH] {
        let mut bytes = [0; PLACE_LENGTH];
        bytes[..8].copy_from_slice(&self.file);
        bytes[8] = self.section as u8;
        bytes[12..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }
}

/// Seals a block of at most as many items as it can hold.
pub(super) fn seal(key: &MasterKey, place: Place, items: &[u8], block: &mut Vec<u8>) {
    let mut text = [0; PLACE_LENGTH + PAYLOAD_LENGTH];
    let (head, payload) = text.split_at_mut(PLACE_LENGTH);
    head.copy_from_slice(&place.to_bytes());
    payload[..items.len()].copy_from_slice(items);
    block.clear();
    key.seal_onto(&text, block);
}

/// Opens a block where it lies and returns its items, if it is the one that belongs there.
pub(super) fn open<'b>(key: &MasterKey, place: Place, block: &'b mut [u8]) -> Option<&'b [u8]> {
    let opened: &[u8] = key.open_in_place(block).ok()?;
    opened.strip_prefix(&place.to_bytes())
}

/// Opens the first block of a file, which tells the mark of all others.
pub(super) fn open_first<'b>(key: &MasterKey, block: &'b mut [u8]) -> Option<(FileMark, &'b [u8])> {
    let opened: &[u8] = key.open_in_place(block).ok()?;
    let mark = *opened.first_chunk()?;
    let place = Place { file: mark, section: Section::Header, number: 0 };
    Some((mark, opened.strip_prefix(&place.to_bytes())?))
}

/// Returns the items of a block that was opened where it lies.
pub(super) fn items_of(opened: &[u8]) -> &[u8] {
    &opened[NONCE_LENGTH + PLACE_LENGTH..][..PAYLOAD_LENGTH]
}

/// Writes items one after the other as blocks.
pub(super) struct BlockWriter<'k, W> {
    key: &'k MasterKey,
    out: W,
    place: Place,
    items: Vec<u8>,
    block: Vec<u8>,
}

impl<'k, W: Write> BlockWriter<'k, W> {
    /// Begins with the first block of a section.
    pub(super) fn new(key: &'k MasterKey, out: W, file: FileMark, section: Section) -> Self {
        let place = Place { file, section, number: 0 };
        Self { key, out, place, items: Vec::with_capacity(PAYLOAD_LENGTH), block: Vec::new() }
    }

    /// Writes an item; tells whether it is the first one of its block.
    pub(super) fn write(&mut self, item: &[u8]) -> io::Result<bool> {
        debug_assert_eq!(item.len(), self.place.section.item_length());
        if self.items.len() + item.len() > PAYLOAD_LENGTH {
            self.end_block()?;
        }
        self.items.extend_from_slice(item);
        Ok(self.items.len() == item.len())
    }

    /// Ends the section and begins another one.
    pub(super) fn begin(&mut self, section: Section) -> io::Result<()> {
        self.end_block()?;
        self.place = Place { section, number: 0, ..self.place };
        Ok(())
    }

    /// Ends the last block.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.end_block()?;
        Ok(self.out)
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.items.is_empty() {
            return Ok(());
        }
        seal(self.key, self.place, &self.items, &mut self.block);
        self.out.write_all(&self.block)?;
        self.items.clear();
        self.place.number = self.place.number.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { file: [1; 8], section: Section::Data, number: 3 };

    #[test]
    fn a_block_opens_only_where_it_belongs() {
        let key = MasterKey::generate();
        let mut block = Vec::new();
        seal(&key, PLACE, &[9; SLOT_LENGTH], &mut block);
        assert_eq!(block.len(), BLOCK_LENGTH);
        let opens = |place| open(&key, place, &mut block.clone()).map(<[u8]>::len);
        assert_eq!(opens(PLACE), Some(PAYLOAD_LENGTH));
        assert_eq!(opens(Place { number: 4, ..PLACE }), None);
        assert_eq!(opens(Place { section: Section::Trees, ..PLACE }), None);
        assert_eq!(opens(Place { file: [2; 8], ..PLACE }), None);
        let other = MasterKey::generate();
        assert_eq!(open(&other, PLACE, &mut block.clone()), None);
        for byte in 0..block.len() {
            let mut block = block.clone();
            block[byte] ^= 1;
            assert_eq!(open(&key, PLACE, &mut block), None, "byte {byte}");
        }
    }

    #[test]
    fn items_fill_blocks_and_sections_begin_anew() {
        let key = MasterKey::generate();
        let mut writer = BlockWriter::new(&key, Vec::new(), [1; 8], Section::Data);
        let per_block = Section::Data.items_per_block();
        assert_eq!(per_block, 20);
        let firsts = (0..=per_block).filter(|_| writer.write(&[5; SLOT_LENGTH]).unwrap()).count();
        assert_eq!(firsts, 2);
        writer.begin(Section::Files).unwrap();
        assert!(writer.write(&[6; 32]).unwrap());
        let mut file = writer.finish().unwrap();
        assert_eq!(file.len(), 3 * BLOCK_LENGTH);
        let place = Place { file: [1; 8], section: Section::Files, number: 0 };
        let items = open(&key, place, &mut file[2 * BLOCK_LENGTH..]).unwrap();
        assert_eq!(&items[..33], &[&[6; 32][..], &[0]].concat());
    }
}
