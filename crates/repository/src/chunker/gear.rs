//! The keyed gear hash: one shift, one add and one table look-up a byte, over a window of 64 bytes.

use std::fmt;
use std::ops::Range;

use sha2::{Digest, Sha256};

use super::{LOOSE_BITS, LOOSE_FROM, PIECE_MAX, PIECE_MIN, STRICT_BITS};

/// What the table is derived for; another label would cut everything elsewhere, so it never changes.
const LABEL: &[u8] = b"lifeboat gear chunker v1";

/// The hash forgets a byte after this many further ones.
const WINDOW: usize = 64;

/// The parts of a piece that are hashed, and below which hash a cut is made after a byte of each:
/// nowhere while the window fills, then as likely as the bits say.
const PARTS: [(Range<usize>, u64); 3] = [
    (PIECE_MIN - WINDOW..PIECE_MIN - 1, 0),
    (PIECE_MIN - 1..LOOSE_FROM, 1 << (u64::BITS - STRICT_BITS)),
    (LOOSE_FROM..PIECE_MAX, 1 << (u64::BITS - LOOSE_BITS)),
];

/// The secret table of the hash.
///
/// Derived from the chunker polynomial of the repository's config. All repositories of a site share
/// it, so what is cut for one is found again in another.
pub struct Gear {
    table: [u64; 256],
}

impl Gear {
    /// Derives the table: four entries from each SHA-256 of label, polynomial and counter.
    pub fn derive(polynomial: u64) -> Self {
        let mut table = [0; 256];
        for (counter, entries) in (0_u64..).zip(table.chunks_exact_mut(4)) {
            let digest = Sha256::new()
                .chain_update(LABEL)
                .chain_update(polynomial.to_be_bytes())
                .chain_update(counter.to_be_bytes())
                .finalize();
            let (words, _) = digest.as_chunks::<8>();
            for (entry, word) in entries.iter_mut().zip(words) {
                *entry = u64::from_be_bytes(*word);
            }
        }
        Self { table }
    }

    /// Hashes `range` of a piece that begins at `buffer[0]` and tells where it is to end, if there.
    ///
    /// Takes and returns the hash over what comes before. What lies more than a window before the
    /// shortest legal end cannot matter and is not hashed.
    pub(super) fn scan(
        &self,
        mut hash: u64,
        buffer: &[u8],
        range: Range<usize>,
    ) -> (u64, Option<usize>) {
        for (part, bound) in PARTS {
            let (from, to) = (part.start.max(range.start), part.end.min(range.end));
            if from < to {
                let found;
                (hash, found) = self.step(hash, &buffer[from..to], bound);
                if let Some(length) = found {
                    return (hash, Some(from + length));
                }
            }
        }
        (hash, (range.end >= PIECE_MAX).then_some(PIECE_MAX))
    }

    /// Hashes bytes until the hash is below `bound`; returns how many that took.
    #[inline]
    fn step(&self, mut hash: u64, bytes: &[u8], bound: u64) -> (u64, Option<usize>) {
        for (at, byte) in bytes.iter().enumerate() {
            hash = self.roll(hash, *byte);
            if hash < bound {
                return (hash, Some(at + 1));
            }
        }
        (hash, None)
    }

    #[inline]
    fn roll(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.table[usize::from(byte)])
    }
}

impl fmt::Debug for Gear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gear(…)")
    }
}
