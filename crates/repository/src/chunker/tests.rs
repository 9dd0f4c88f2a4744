//! Properties of the chunker: limits, independence of how the input arrives, resynchronisation.

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const POLYNOMIAL: u64 = 0x003D_A335_8B4D_C173;

/// A run of the content that a test describes.
#[derive(Debug, Clone)]
enum Run {
    Random { seed: u64, length: usize },
    Zeros(usize),
}

fn content(runs: &[Run]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in runs {
        match run {
            Run::Zeros(length) => bytes.resize(bytes.len() + length, 0),
            Run::Random { seed, length } => bytes.extend(noise(*seed, *length)),
        }
    }
    bytes
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Gives bytes in reads of `read` bytes, and whole pages of zeros as holes if `sparse`.
struct Slices<'a> {
    rest: &'a [u8],
    offset: usize,
    read: usize,
    sparse: bool,
}

impl Slices<'_> {
    /// Returns how many bytes up to a page border are zeros that begin on one.
    fn hole(&self) -> usize {
        if !self.sparse || !self.offset.is_multiple_of(PAGE) {
            return 0;
        }
        let pages = self.rest.chunks(PAGE).take_while(|page| page.iter().all(|byte| *byte == 0));
        pages.map(<[u8]>::len).sum()
    }

    /// Returns how many bytes may be read before the next page that could be a hole.
    fn data(&self) -> usize {
        let border = PAGE - self.offset % PAGE;
        if self.sparse { border.min(self.rest.len()) } else { self.rest.len() }
    }
}

impl Input for Slices<'_> {
    fn fill(&mut self, room: &mut [u8]) -> io::Result<Extent> {
        let hole = self.hole();
        let step = if hole > 0 { hole } else { self.data().min(self.read).min(room.len()) };
        if step == 0 {
            return Ok(Extent::End);
        }
        let (now, rest) = self.rest.split_at(step);
        self.rest = rest;
        self.offset += step;
        if hole > 0 {
            return Ok(Extent::Hole(hole as u64));
        }
        room[..step].copy_from_slice(now);
        Ok(Extent::Data(step))
    }
}

fn pieces_by(bytes: &[u8], read: usize, sparse: bool) -> Vec<Piece> {
    let gear = Gear::derive(POLYNOMIAL);
    let mut chunker = Chunker::new(&gear);
    let mut input = Slices { rest: bytes, offset: 0, read, sparse };
    let mut pieces = Vec::new();
    while let Some(piece) = chunker.next_piece(&mut input).unwrap() {
        pieces.push(piece);
    }
    pieces
}

fn pieces(bytes: &[u8]) -> Vec<Piece> {
    pieces_by(bytes, READ_SIZE, false)
}

fn lengths(pieces: &[Piece]) -> Vec<usize> {
    pieces.iter().map(Piece::len).collect()
}

fn joined(pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Data(data) => bytes.extend_from_slice(data),
            Piece::Zeros => bytes.resize(bytes.len() + ZERO_PIECE, 0),
        }
    }
    bytes
}

fn runs() -> impl Strategy<Value = Vec<Run>> {
    let length = prop_oneof![0..9000_usize, 500_000..1_200_000_usize];
    let random =
        (any::<u64>(), length.clone()).prop_map(|(seed, length)| Run::Random { seed, length });
    let zeros = prop_oneof![length.clone(), (0..400_usize).prop_map(|pages| pages * PAGE)];
    prop::collection::vec(prop_oneof![random, zeros.prop_map(Run::Zeros)], 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_pieces_are_the_input_however_it_arrives(
        runs in runs(),
        read in prop_oneof![Just(1_usize << 20), 1000..300_000_usize],
    ) {
        let bytes = content(&runs);
        let whole = pieces(&bytes);
        prop_assert!(joined(&whole) == bytes);
        prop_assert!(lengths(&pieces_by(&bytes, read, false)) == lengths(&whole));
        prop_assert!(pieces_by(&bytes, read, true) == whole);
    }

    #[test]
    fn lengths_keep_their_limits(seed: u64, length in 0..6_000_000_usize) {
        let lengths = lengths(&pieces(&noise(seed, length)));
        prop_assert!(lengths.iter().all(|length| (1..=PIECE_MAX).contains(length)));
        let inner = &lengths[..lengths.len().saturating_sub(1)];
        prop_assert!(inner.iter().all(|length| *length >= PIECE_MIN));
    }
}

proptest! {
    // Each case cuts 32 MB.
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn an_edit_changes_only_the_pieces_around_it(
        seed: u64,
        at in 0..8_000_000_usize,
        inserted in prop::collection::vec(any::<u8>(), 1..5000),
    ) {
        let before = noise(seed, 16_000_000);
        let mut after = before.clone();
        after.splice(at..at, inserted);
        let (before, after) = (pieces(&before), pieces(&after));
        let kept = after.iter().filter(|piece| before.contains(piece)).count();
        prop_assert!(kept + 5 >= after.len(), "{kept} of {}", after.len());
    }
}

#[test]
fn one_byte_at_a_time_cuts_alike() {
    let bytes = content(&[Run::Random { seed: 7, length: 1_500_000 }, Run::Zeros(700_000)]);
    assert_eq!(lengths(&pieces_by(&bytes, 1, false)), lengths(&pieces(&bytes)));
}

#[test]
fn the_average_is_about_a_mebibyte() {
    let count = pieces(&noise(1, 200 << 20)).len();
    assert!((170..=230).contains(&count), "{count} pieces of 200 MiB");
}

#[test]
fn constant_content_ends_at_the_longest_piece() {
    assert_eq!(lengths(&pieces(&vec![1; PIECE_MAX + 5])), [PIECE_MAX, 5]);
}

#[test]
fn zeros_after_data_become_pieces_of_their_own() {
    let bytes =
        content(&[Run::Random { seed: 3, length: 10 * PAGE }, Run::Zeros(3 * ZERO_PIECE + 9)]);
    let expected = [10 * PAGE, ZERO_PIECE, ZERO_PIECE, ZERO_PIECE, 9];
    assert_eq!(lengths(&pieces(&bytes)), expected);
    assert!(matches!(pieces(&bytes)[1..4], [Piece::Zeros, Piece::Zeros, Piece::Zeros]));
}

#[test]
fn an_empty_input_has_no_pieces() {
    assert_eq!(pieces(&[]), []);
}

#[test]
fn a_failing_input_fails() {
    struct Broken;
    impl Input for Broken {
        fn fill(&mut self, _: &mut [u8]) -> io::Result<Extent> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let gear = Gear::derive(POLYNOMIAL);
    let error = Chunker::new(&gear).next_piece(&mut Broken).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_restarted_chunker_cuts_as_a_new_one() {
    let gear = Gear::derive(POLYNOMIAL);
    let mut chunker = Chunker::new(&gear);
    let bytes = noise(5, 3_000_000);
    let mut take_all = || {
        let mut input = Slices { rest: &bytes, offset: 0, read: 70_000, sparse: false };
        chunker.restart();
        let mut lengths = Vec::new();
        while let Some(Piece::Data(piece)) = chunker.next_piece(&mut input).unwrap() {
            lengths.push(piece.len());
            chunker.recycle(piece);
        }
        lengths
    };
    assert_eq!(take_all(), take_all());
}

/// If this fails, data that sites have already stored would be cut elsewhere and stored again.
#[test]
fn cuts_never_change() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(1 << 20)
    .flatten()
    .collect();
    let expected =
        [1_075_354, 527_270, 1_137_437, 537_087, 1_361_456, 1_119_573, 1_006_442, 989_520, 634_469];
    assert_eq!(lengths(&pieces(&bytes)), expected);
}
