//! Which bytes of which packs a restore fetches, and where each piece of them goes.
//!
//! Neighbouring blobs are fetched in one request, packs in about the order in which the files that
//! need them stand in the snapshot, so that few files are open at a time.

use std::collections::HashMap;

use lifeboat_model::{BlobId, PackId};

use crate::blob::BlobLocation;

/// Bytes between two wanted blobs that are fetched and thrown away rather than asked around: a
/// request to an object store costs as long as this many bytes take.
const GAP_MAX: u32 = 256 << 10;

/// The longest range that several blobs are fetched in. A worker holds one range and one opened
/// blob, so this bounds the memory of a restore.
const RANGE_MAX: u32 = 8 << 20;

/// Where a piece goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// Which entry of the plan.
    pub file: usize,
    /// Where in the file, in bytes.
    pub offset: u64,
}

/// A blob to be fetched, and everywhere it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRead {
    /// The blob.
    pub id: BlobId,
    /// Where it lies.
    pub location: BlobLocation,
    /// Where it goes.
    pub uses: Vec<Use>,
}

/// Bytes of a pack that are fetched at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRead {
    /// The pack.
    pub pack: PackId,
    /// Where the range begins.
    pub offset: u32,
    /// How long it is, in bytes.
    pub length: u32,
    /// The wanted blobs in it, in the order of their offsets.
    pub blobs: Vec<BlobRead>,
}

/// Collects what the files of a plan need.
#[derive(Debug, Default)]
pub struct ReadPlanner {
    blobs: Vec<BlobRead>,
    known: HashMap<BlobId, usize>,
}

impl ReadPlanner {
    /// Notes that a blob is needed, which lies at `location`.
    pub fn need(&mut self, id: BlobId, location: BlobLocation, place: Use) {
        let number = *self.known.entry(id).or_insert_with(|| {
            self.blobs.push(BlobRead { id, location, uses: Vec::new() });
            self.blobs.len() - 1
        });
        self.blobs[number].uses.push(place);
    }

    /// Returns the ranges to fetch, in the best order.
    pub fn finish(self) -> Vec<RangeRead> {
        let mut order: HashMap<PackId, usize> = HashMap::new();
        for blob in &self.blobs {
            let next = order.len();
            order.entry(blob.location.pack).or_insert(next);
        }
        let mut blobs = self.blobs;
        blobs.sort_by_key(|blob| (order[&blob.location.pack], blob.location.offset));
        coalesce(blobs)
    }
}

/// Joins neighbours; keeps the given order.
pub fn coalesce(blobs: Vec<BlobRead>) -> Vec<RangeRead> {
    let mut ranges: Vec<RangeRead> = Vec::new();
    for blob in blobs {
        let at = blob.location;
        match ranges.last_mut().and_then(|range| Some((joined_length(range, &at)?, range))) {
            Some((length, range)) => {
                range.length = length;
                range.blobs.push(blob);
            }
            None => ranges.push(RangeRead {
                pack: at.pack,
                offset: at.offset,
                length: at.length,
                blobs: vec![blob],
            }),
        }
    }
    ranges
}

/// Returns the length of a range with a further blob at its end, if it should be joined.
fn joined_length(range: &RangeRead, next: &BlobLocation) -> Option<u32> {
    let end = range.offset.checked_add(range.length)?;
    let gap = next.offset.checked_sub(end)?;
    let length = next.offset.checked_add(next.length)? - range.offset;
    (range.pack == next.pack && gap <= GAP_MAX && length <= RANGE_MAX).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(pack: u8, offset: u32, length: u32) -> BlobLocation {
        let pack = PackId::from_bytes([pack; 32]);
        BlobLocation { pack, offset, length, uncompressed_length: None }
    }

    fn plan(needs: &[(u8, BlobLocation, usize)]) -> Vec<RangeRead> {
        let mut planner = ReadPlanner::default();
        for (id, location, file) in needs {
            let place = Use { file: *file, offset: 0 };
            planner.need(BlobId::from_bytes([*id; 32]), *location, place);
        }
        planner.finish()
    }

    fn shape(ranges: &[RangeRead]) -> Vec<(u8, u32, u32, usize)> {
        let shape = |r: &RangeRead| (r.pack.as_bytes()[0], r.offset, r.length, r.blobs.len());
        ranges.iter().map(shape).collect()
    }

    #[test]
    fn neighbours_are_fetched_together_in_the_order_of_files() {
        let ranges = plan(&[
            (1, location(9, 500, 100), 0),
            (2, location(3, 0, 100), 1),
            (3, location(9, 0, 400), 2),
            (4, location(9, 600 + GAP_MAX + 1, 10), 3),
        ]);
        assert_eq!(shape(&ranges), [(9, 0, 600, 2), (9, 600 + GAP_MAX + 1, 10, 1), (3, 0, 100, 1)]);
    }

    #[test]
    fn ranges_are_bounded_unless_one_blob_is_longer() {
        let ranges = plan(&[
            (1, location(1, 0, RANGE_MAX), 0),
            (2, location(1, RANGE_MAX, RANGE_MAX + 7), 0),
            (3, location(1, 2 * RANGE_MAX + 7, 1), 0),
        ]);
        assert_eq!(shape(&ranges).len(), 3);
        assert_eq!(ranges[1].length, RANGE_MAX + 7);
    }

    #[test]
    fn a_blob_that_many_files_share_is_fetched_once() {
        let ranges = plan(&[(1, location(1, 0, 10), 0), (1, location(1, 0, 10), 5)]);
        assert_eq!(ranges.len(), 1);
        assert_eq!(ranges[0].blobs[0].uses.iter().map(|u| u.file).collect::<Vec<_>>(), [0, 5]);
    }

    #[test]
    fn offsets_at_the_end_of_the_number_range_do_not_overflow() {
        let ranges =
            plan(&[(1, location(1, u32::MAX - 1, 5), 0), (2, location(1, u32::MAX, u32::MAX), 0)]);
        assert_eq!(ranges.len(), 2);
    }
}
