//! Neighbouring blobs of a pack, fetched in one request.
//!
//! # Limits
//!
//! A range is at most [`RANGE_MAX`] long, or one blob.

use std::ops::Range;

/// Bytes between two wanted blobs that are fetched and thrown away rather than asked around: a
/// request to an object store costs as long as this many bytes take.
const GAP_MAX: u64 = 256 << 10;

/// The longest range that several blobs are fetched in; a worker holds one.
const RANGE_MAX: u64 = 8 << 20;

/// Bytes of a pack that are fetched at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// Which of the blobs lie in it.
    pub blobs: Range<usize>,
}

/// Divides blobs, given as offset and length in ascending order, into the ranges to fetch.
pub(crate) fn runs(blobs: impl Iterator<Item = (u32, u32)>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (number, (offset, length)) in blobs.enumerate() {
        let (begin, end) = (u64::from(offset), u64::from(offset) + u64::from(length));
        match runs.last_mut() {
            Some(run)
                if begin >= run.offset + run.length
                    && begin - (run.offset + run.length) <= GAP_MAX
                    && end - run.offset <= RANGE_MAX =>
            {
                run.length = end - run.offset;
                run.blobs.end = number + 1;
            }
            _ => runs.push(Run { offset: begin, length: end - begin, blobs: number..number + 1 }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_fetched_together_and_what_is_far_apart_is_not() {
        let gap = u32::try_from(GAP_MAX).unwrap();
        let far = 30 + gap + 1;
        let found = runs([(0, 10), (10, 5), (20, 10), (far, 7)].into_iter());
        let expected = [
            Run { offset: 0, length: 30, blobs: 0..3 },
            Run { offset: far.into(), length: 7, blobs: 3..4 },
        ];
        assert_eq!(found, expected);
        let large = u32::try_from(RANGE_MAX).unwrap();
        assert_eq!(runs([(0, 5), (5, large), (5 + large, 5)].into_iter()).len(), 3);
    }
}
