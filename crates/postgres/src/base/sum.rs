//! The CRC-32C of a file whose pieces are read by several threads, in no particular order.
//!
//! It is the checksum that PostgreSQL's own base backups have by default, and the only one of those that
//! `backup_manifest` may name which can be put together from the checksums of pieces. ADR 0026 has the
//! reasons.
//!
//! # Limits
//!
//! Of each file that is being read, the checksums of those pieces are kept that lie behind one which was
//! not read yet: as many as the threads are apart.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A CRC-32C over all of a file; written as PostgreSQL writes it, the lowest byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Crc32c(pub u32);

impl Crc32c {
    /// Computes it over some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(crc32c::crc32c(bytes))
    }

    /// Goes on with further bytes.
    #[must_use]
    pub fn append(self, bytes: &[u8]) -> Self {
        Self(crc32c::crc32c_append(self.0, bytes))
    }
}

impl fmt::Display for Crc32c {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.to_le_bytes()))
    }
}

impl Serialize for Crc32c {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Crc32c {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bytes = [0; 4];
        let text = String::deserialize(deserializer)?;
        hex::decode_to_slice(text, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(u32::from_le_bytes(bytes)))
    }
}

/// What so many zeros behind some bytes make of their sum, as a matrix of bits: putting the sums of two
/// pieces together by it takes some 30 additions, computing it takes a thousand times that.
#[derive(Debug)]
pub struct Shift {
    length: u64,
    columns: [u32; 32],
}

impl Shift {
    /// Computes the matrix for pieces of a length.
    pub fn by(length: u64) -> Self {
        let columns = std::array::from_fn(|bit| combine(1 << bit, 0, length));
        Self { length, columns }
    }

    /// Puts the sum of some bytes and that of those behind them together.
    fn join(&self, first: u32, second: u32, second_length: u64) -> u32 {
        if second_length != self.length {
            return combine(first, second, second_length);
        }
        let bits = (0..).zip(&self.columns).filter(|(bit, _)| first >> bit & 1 == 1);
        bits.fold(second, |sum, (_, column)| sum ^ column)
    }
}

fn combine(first: u32, second: u32, second_length: u64) -> u32 {
    let length = usize::try_from(second_length).expect("a piece lies in memory");
    crc32c::crc32c_combine(first, second, length)
}

/// The sum of a file, as far as its pieces are known.
#[derive(Debug)]
pub struct PieceSums {
    shift: Arc<Shift>,
    /// Up to where there is no piece missing.
    known_to: u64,
    /// The sum up to there.
    sum: u32,
    /// Pieces behind it, by where they begin: sum and length.
    apart: BTreeMap<u64, (u32, u64)>,
}

impl PieceSums {
    /// Begins with nothing.
    pub const fn new(shift: Arc<Shift>) -> Self {
        Self { shift, known_to: 0, sum: 0, apart: BTreeMap::new() }
    }

    /// Adds a piece; each is added once.
    pub fn add(&mut self, offset: u64, sum: Crc32c, length: u64) {
        self.apart.insert(offset, (sum.0, length));
        while let Some(first) = self.apart.first_entry() {
            if *first.key() != self.known_to {
                break;
            }
            let (sum, length) = first.remove();
            self.sum = self.shift.join(self.sum, sum, length);
            self.known_to += length;
        }
    }

    /// Returns the sum over a file of this size, if all of it is known.
    pub fn whole(&self, size: u64) -> Option<Crc32c> {
        (self.known_to == size && self.apart.is_empty()).then_some(Crc32c(self.sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_written_as_postgresql_does() {
        // The check value of CRC-32C is E3069283.
        let sum = Crc32c::of(b"123456789");
        assert_eq!(sum.to_string(), "839206e3");
        let text = serde_json::to_string(&sum).unwrap();
        assert_eq!(serde_json::from_str::<Crc32c>(&text).unwrap(), sum);
        for bad in ["\"\"", "\"83920\"", "\"zz9206e3\""] {
            assert!(serde_json::from_str::<Crc32c>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_with_a_piece_missing_has_no_sum() {
        let mut sums = PieceSums::new(Arc::new(Shift::by(4)));
        assert_eq!(sums.whole(0), Some(Crc32c(0)));
        sums.add(4, Crc32c::of(b"efgh"), 4);
        assert_eq!(sums.whole(8), None);
        sums.add(0, Crc32c::of(b"abcd"), 4);
        assert_eq!(sums.whole(8), Some(Crc32c::of(b"abcdefgh")));
        assert_eq!(sums.whole(9), None);
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_make_the_sum_of_the_whole(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            piece in 1usize..64,
            seed: u64,
        ) {
            let mut pieces: Vec<_> = (0..).step_by(piece).zip(bytes.chunks(piece)).collect();
            pieces.sort_by_key(|(at, _): &(u64, _)| at.wrapping_mul(seed | 1));
            let mut sums = PieceSums::new(Arc::new(Shift::by(piece as u64)));
            for (offset, bytes) in pieces {
                sums.add(offset, Crc32c::of(bytes), bytes.len() as u64);
            }
            prop_assert_eq!(sums.whole(bytes.len() as u64), Some(Crc32c::of(&bytes)));
        }
    }
}
