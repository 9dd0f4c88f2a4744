//! Which bytes of which packs are read, and where each piece of them goes.
//!
//! Neighbouring blobs are read together, packs in about the order in which the files that need them
//! stand in the snapshot, so that few files are open at a time.
//!
//! # Limits
//!
//! A [`Piece`] takes 64 bytes, and there is one for each place where a blob goes.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::Range;

use lifeboat_model::{BlobId, PackId};
use lifeboat_tiers::ReadRange;

use super::entries::EntryNumber;
use crate::blob::{BlobLocation, plaintext_length};
use crate::store::Store;

/// How much is read at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Bytes between two wanted blobs that are read and thrown away rather than asked around.
    pub gap_max: u32,
    /// The longest range that several blobs are read in. A worker holds one range and one opened
    /// blob, so this bounds the memory of a restore.
    pub range_max: u32,
}

impl Reach {
    /// For a disk: what is read stays in the processor's cache until it is opened. A gap costs as much as
    /// asking around it; one that is longer would be a blob of a small piece, of which a restore over
    /// files that are nearly right would read twice what it needs.
    pub const NEAR: Self = Self { gap_max: 4 << 10, range_max: 512 << 10 };

    /// For an object store, where a request costs as long as the gap takes.
    pub const FAR: Self = Self { gap_max: 256 << 10, range_max: 8 << 20 };

    /// Returns what suits a store.
    pub fn of(store: &Store) -> Self {
        if store.reads_here() { Self::NEAR } else { Self::FAR }
    }
}

/// What one thread takes at a time, unless one range is longer: enough to stay within a few files,
/// little enough that all threads end at about the same time.
const UNIT_MAX: u64 = 8 << 20;

/// As much as that may become when it is opened: tables of a database may be twenty times as long.
const UNIT_PLAINTEXT_MAX: u64 = 32 << 20;

/// A piece of a file: the blob that it is, where that lies, and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The blob.
    pub id: BlobId,
    /// Its pack, by its number in the [`PackTable`].
    pub pack: u32,
    /// Where its sealed bytes begin in the pack.
    pub offset: u32,
    /// How many sealed bytes there are.
    pub length: u32,
    uncompressed_length: u32,
    /// The file.
    pub file: EntryNumber,
    /// Whether it is in its place already.
    pub is_there: bool,
    /// Where in the file it goes, in bytes.
    pub place: u64,
}

impl Piece {
    /// Returns how many bytes it has in the file.
    pub fn plaintext_length(&self) -> u32 {
        plaintext_length(self.length, self.uncompressed_length())
    }

    /// Returns the length before compression, in bytes, if it is compressed.
    pub const fn uncompressed_length(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.uncompressed_length)
    }

    /// Tells whether another piece is the same blob at the same place of the repository.
    pub const fn is_same_blob(&self, other: &Self) -> bool {
        self.pack == other.pack && self.offset == other.offset && self.length == other.length
    }
}

/// The packs that pieces lie in, numbered as they were needed first.
#[derive(Debug, Clone, Default)]
pub struct PackTable {
    packs: Vec<PackId>,
    numbers: HashMap<PackId, u32>,
}

impl PackTable {
    /// Makes a piece of what an index says.
    pub fn piece(
        &mut self,
        id: BlobId,
        location: &BlobLocation,
        file: EntryNumber,
        place: u64,
    ) -> Piece {
        let next = u32::try_from(self.packs.len()).expect("packs of 4 billion do not fit a memory");
        let pack = *self.numbers.entry(location.pack).or_insert(next);
        if pack == next {
            self.packs.push(location.pack);
        }
        Piece {
            id,
            pack,
            offset: location.offset,
            length: location.length,
            uncompressed_length: location.uncompressed_length.map_or(0, NonZeroU32::get),
            file,
            is_there: false,
            place,
        }
    }

    /// Returns the pack of a piece.
    pub fn pack(&self, piece: &Piece) -> PackId {
        self.packs[piece.pack as usize]
    }

    /// Returns where the blob of a piece lies.
    pub fn location(&self, piece: &Piece) -> BlobLocation {
        BlobLocation {
            pack: self.pack(piece),
            offset: piece.offset,
            length: piece.length,
            uncompressed_length: piece.uncompressed_length(),
        }
    }
}

/// Puts pieces into the order in which they are read, and those that need not be behind them;
/// returns the former.
pub fn in_order_of_packs(pieces: &mut [Piece]) -> &[Piece] {
    pieces.sort_unstable_by_key(|p| (p.is_there, p.pack, p.offset, p.file, p.place));
    &pieces[..pieces.partition_point(|piece| !piece.is_there)]
}

/// Puts pieces into the order of files.
pub fn in_order_of_files(pieces: &mut [Piece]) {
    pieces.sort_unstable_by_key(|p| (p.file, p.place));
}

/// Bytes of a pack that are read at once, and the pieces in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeRead {
    /// The first of its pieces, in the slice that was cut up.
    pub first: usize,
    /// How many pieces there are.
    pub count: usize,
    /// Where the range begins.
    pub offset: u32,
    /// How long it is, in bytes.
    pub length: u32,
}

impl RangeRead {
    /// Returns the pieces in it.
    pub fn pieces<'p>(&self, all: &'p [Piece]) -> &'p [Piece] {
        &all[self.first..self.first + self.count]
    }

    /// Returns what to ask the tier for.
    pub fn range(&self) -> ReadRange {
        ReadRange::Bounded { offset: self.offset.into(), length: self.length.into() }
    }

    /// Returns where the sealed bytes of a piece are among those that were read.
    pub fn bytes_of(&self, piece: &Piece) -> Range<usize> {
        let begin = (piece.offset - self.offset) as usize;
        begin..begin + piece.length as usize
    }

    /// Takes a further piece in, if it should be read with those before.
    fn join(&mut self, piece: &Piece, reach: Reach) -> bool {
        let Some((end, piece_end)) = self
            .offset
            .checked_add(self.length)
            .zip(piece.offset.checked_add(piece.length))
            .filter(|_| piece.offset >= self.offset)
        else {
            return false;
        };
        let length = end.max(piece_end) - self.offset;
        let joins = piece.offset.saturating_sub(end) <= reach.gap_max
            && (length <= reach.range_max || length == self.length);
        if joins {
            (self.length, self.count) = (length, self.count + 1);
        }
        joins
    }
}

/// Returns the range that begins at a piece: as many of those behind it as should be read with it.
pub fn range_at(pieces: &[Piece], first: usize, reach: Reach) -> Option<RangeRead> {
    let begin = pieces.get(first)?;
    let mut range = RangeRead { first, count: 1, offset: begin.offset, length: begin.length };
    for piece in &pieces[first + 1..] {
        if piece.pack != begin.pack || !range.join(piece, reach) {
            break;
        }
    }
    Some(range)
}

/// Cuts pieces into ranges; keeps their order.
pub fn ranges(pieces: &[Piece], reach: Reach) -> impl Iterator<Item = RangeRead> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let range = range_at(pieces, next, reach)?;
        next = range.first + range.count;
        Some(range)
    })
}

/// Cuts pieces into what one thread takes at a time: neighbours in one pack.
pub fn units(pieces: &[Piece], reach: Reach) -> Vec<Range<usize>> {
    let mut units: Vec<Range<usize>> = Vec::new();
    let (mut pack, mut size, mut plaintext) = (None, 0, 0);
    for range in ranges(pieces, reach) {
        let (begin, end) = (range.first, range.first + range.count);
        let length = u64::from(range.length);
        let opened =
            pieces[begin..end].iter().map(|p| u64::from(p.plaintext_length())).sum::<u64>();
        let has_room = size + length <= UNIT_MAX && plaintext + opened <= UNIT_PLAINTEXT_MAX;
        match units.last_mut() {
            Some(unit) if has_room && pack == Some(pieces[begin].pack) => {
                unit.end = end;
                (size, plaintext) = (size + length, plaintext + opened);
            }
            _ => {
                units.push(begin..end);
                (pack, size, plaintext) = (Some(pieces[begin].pack), length, opened);
            }
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACH: Reach = Reach::FAR;

    fn plan(needs: &[(u8, u32, u32, u32)]) -> Vec<Piece> {
        let mut packs = PackTable::default();
        let piece = |&(pack, offset, length, file): &(u8, u32, u32, u32)| {
            let pack = PackId::from_bytes([pack; 32]);
            let location = BlobLocation { pack, offset, length, uncompressed_length: None };
            packs.piece(BlobId::from_bytes([1; 32]), &location, file, 0)
        };
        let mut pieces: Vec<Piece> = needs.iter().map(piece).collect();
        in_order_of_packs(&mut pieces);
        pieces
    }

    fn shape(pieces: &[Piece]) -> Vec<(u32, u32, u32, usize)> {
        let shape = |r: RangeRead| (pieces[r.first].pack, r.offset, r.length, r.count);
        ranges(pieces, REACH).map(shape).collect()
    }

    #[test]
    fn a_piece_takes_64_bytes() {
        assert_eq!(size_of::<Piece>(), 64);
    }

    #[test]
    fn neighbours_are_read_together_in_the_order_of_files() {
        let gap = REACH.gap_max;
        let pieces =
            plan(&[(9, 500, 100, 0), (3, 0, 100, 1), (9, 0, 400, 2), (9, 601 + gap, 10, 3)]);
        assert_eq!(shape(&pieces), [(0, 0, 600, 2), (0, 601 + gap, 10, 1), (1, 0, 100, 1)]);
        assert_eq!(units(&pieces, REACH), [0..3, 3..4]);
    }

    #[test]
    fn ranges_are_bounded_unless_one_blob_is_longer() {
        let max = REACH.range_max;
        let pieces = plan(&[(1, 0, max, 0), (1, max, max + 7, 0), (1, 2 * max + 7, 1, 0)]);
        let shape = shape(&pieces);
        assert_eq!(shape.len(), 3);
        assert_eq!(shape[1].2, max + 7);
        assert_eq!(units(&pieces, REACH).len(), 3);
    }

    #[test]
    fn a_blob_that_many_files_share_is_read_once() {
        let pieces = plan(&[(1, 0, 10, 5), (1, 10, 10, 1), (1, 0, 10, 0)]);
        assert_eq!(shape(&pieces), [(0, 0, 20, 3)]);
        assert_eq!(pieces.iter().map(|piece| piece.file).collect::<Vec<_>>(), [0, 5, 1]);
        assert!(pieces[0].is_same_blob(&pieces[1]) && !pieces[1].is_same_blob(&pieces[2]));
    }

    #[test]
    fn offsets_at_the_end_of_the_number_range_do_not_overflow() {
        let pieces = plan(&[(1, u32::MAX - 1, 5, 0), (1, u32::MAX, u32::MAX, 0)]);
        assert_eq!(shape(&pieces).len(), 2);
    }
}
