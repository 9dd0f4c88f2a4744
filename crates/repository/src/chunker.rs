//! Cuts a stream of bytes into pieces whose borders depend on the content alone, so that an
//! insertion in a large file changes the pieces around it and no others.
//!
//! [`Gear`] is the keyed hash, [`Chunker`] pulls pieces out of an [`Input`].
//!
//! # Invariants
//!
//! - The pieces, one after the other, are the input; none is empty.
//! - Where a piece ends depends on the [`Gear`] and on the bytes from its start on, never on how
//!   the input arrived: in large or small reads, or as a hole of a sparse file that was not read.
//! - A piece is at least [`PIECE_MIN`] long unless the input or a run of zeros ends or begins there,
//!   and at most [`PIECE_MAX`].
//! - [`ZERO_PIECE`] zeros in a row (from the piece's start, or from a page border of the file on)
//!   become a piece of their own: restic punches a hole exactly where it finds that blob.
//!
//! # Limits
//!
//! The table is derived from the repository's secret polynomial, so an outsider cannot compute
//! where known content is cut. Whoever sees the lengths of stored blobs and can have files of his
//! choice backed up learns something about the key, as with every engine of this kind.

mod buffer;
mod gear;

use std::io;

pub use buffer::Buffer;
pub use gear::Gear;

use crate::profile::{Activity, Meter};

/// The shortest ordinary piece; restic's own minimum.
pub const PIECE_MIN: usize = 512 << 10;

/// The longest piece; restic's own maximum, up to which its buffers are made.
pub const PIECE_MAX: usize = 8 << 20;

/// The length of a piece of zeros that restic restores as a hole.
pub const ZERO_PIECE: usize = 512 << 10;

/// From here on a looser mask makes a cut likelier, which narrows the spread of lengths around
/// 1 MiB: with 2⁻²⁰ a byte before and 2⁻¹⁸ after, the mean is `512 + 0.31·188 + 0.69·(384 + 256)`
/// KiB ≈ 1 MiB.
const LOOSE_FROM: usize = 896 << 10;

/// A cut before [`LOOSE_FROM`] wants this many zero bits.
const STRICT_BITS: u32 = 20;

/// A cut after [`LOOSE_FROM`] wants this many zero bits.
const LOOSE_BITS: u32 = 18;

/// Zero runs are looked for at page borders, where the holes of files begin and end.
const PAGE: usize = 4096;

/// How much is read at once: large enough that system calls do not count, small enough that the
/// bytes are still in the cache of the core when they are hashed.
const READ_SIZE: usize = 256 << 10;

/// What an [`Input`] gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// This many bytes were read; at least one.
    Data(usize),
    /// This many zeros follow that were not read; at least one.
    Hole(u64),
    /// There is no more.
    End,
}

/// Where the bytes come from.
pub trait Input {
    /// Reads into the beginning of `room`, which is not empty, or tells of a hole or of the end.
    fn fill(&mut self, room: &mut [u8]) -> io::Result<Extent>;
}

/// A piece of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Its bytes.
    Data(Buffer),
    /// [`ZERO_PIECE`] zeros.
    Zeros,
}

impl Piece {
    /// Returns how many bytes of the input it stands for.
    pub fn len(&self) -> usize {
        match self {
            Self::Data(bytes) => bytes.len(),
            Self::Zeros => ZERO_PIECE,
        }
    }

    /// Tells whether it stands for nothing, which no piece of a [`Chunker`] does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How far the piece that is being built has been looked at.
#[derive(Debug, Default)]
struct Scan {
    /// Bytes of the buffer that were looked at.
    done: usize,
    /// The gear hash over the last of them.
    hash: u64,
    /// Where the zeros begin that the looked-at bytes end with.
    zeros_from: Option<usize>,
}

/// Where the buffer is to be cut.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    /// A piece of this many bytes of data.
    Data(usize),
    /// A piece of zeros.
    Zeros,
}

/// Pulls pieces out of one input after the other, reusing its buffer.
#[derive(Debug)]
pub struct Chunker<'g> {
    gear: &'g Gear,
    /// The piece that is being built and what was read beyond it.
    buffer: Buffer,
    /// A buffer that came back, for the next piece.
    spare: Option<Buffer>,
    scan: Scan,
    /// The offset of the buffer's start in the input, modulo [`PAGE`].
    phase: usize,
    /// Zeros that follow the buffer and were not written into it.
    hole: u64,
    ended: bool,
    meter: Meter,
}

impl<'g> Chunker<'g> {
    /// Returns a chunker that stands before its first input.
    pub fn new(gear: &'g Gear) -> Self {
        Self {
            gear,
            buffer: Buffer::default(),
            spare: None,
            scan: Scan::default(),
            phase: 0,
            hole: 0,
            ended: false,
            meter: Meter::off(),
        }
    }

    /// Measures reading and cutting with `meter`.
    #[must_use]
    pub fn measured_by(self, meter: Meter) -> Self {
        Self { meter, ..self }
    }

    /// Forgets the input so far and stands before the next one.
    pub fn restart(&mut self) {
        self.buffer.truncate(0);
        self.scan = Scan::default();
        self.phase = 0;
        self.hole = 0;
        self.ended = false;
    }

    /// Gives a buffer back, so that the next piece needs no new memory.
    pub fn recycle(&mut self, buffer: Buffer) {
        self.spare.get_or_insert(buffer).truncate(0);
    }

    /// Tells whether the piece that was returned last is known to be the last one.
    pub fn is_at_end(&self) -> bool {
        self.ended && self.buffer.is_empty() && self.hole == 0
    }

    /// Returns the next piece, or none at the end of the input.
    pub fn next_piece(&mut self, input: &mut impl Input) -> io::Result<Option<Piece>> {
        loop {
            if self.buffer.is_empty() && self.hole >= (ZERO_PIECE + PAGE) as u64 {
                // As the bytes would be cut, without writing them out first.
                self.hole -= ZERO_PIECE as u64;
                return Ok(Some(Piece::Zeros));
            }
            if let Some(cut) = self.find_cut_measured() {
                return Ok(Some(self.take(&cut)));
            }
            if self.hole > 0 {
                self.fill_from_hole();
            } else if self.ended {
                let rest = self.buffer.len();
                return Ok((rest > 0).then(|| self.take(&Cut::Data(rest))));
            } else {
                self.read(input)?;
            }
        }
    }

    /// Reads once.
    fn read(&mut self, input: &mut impl Input) -> io::Result<()> {
        let length = |extent: &io::Result<Extent>| match extent {
            Ok(Extent::Data(length)) => *length,
            _ => 0,
        };
        let room = self.buffer.room(READ_SIZE);
        match self.meter.measure_result(Activity::Read, length, || input.fill(room))? {
            Extent::Data(length) => self.buffer.extend_from_room(length),
            Extent::Hole(length) => self.hole = length,
            Extent::End => self.ended = true,
        }
        Ok(())
    }

    fn find_cut_measured(&mut self) -> Option<Cut> {
        let meter = self.meter.clone();
        let unseen = self.buffer.len() - self.scan.done;
        meter.measure(Activity::Cut, unseen, || self.find_cut())
    }

    /// Writes zeros of the hole into the buffer, no more than settle the next cut.
    fn fill_from_hole(&mut self) {
        let step = self.hole.min(ZERO_PIECE as u64);
        self.hole -= step;
        let step = usize::try_from(step).expect("a step is at most a piece");
        self.buffer.room(step).fill(0);
        self.buffer.extend_from_room(step);
    }

    /// Looks at the bytes that were not looked at yet, page by page.
    ///
    /// Only whole pages are looked at before the end of the input is known, so that every decision
    /// is made from the same bytes however they arrived.
    fn find_cut(&mut self) -> Option<Cut> {
        loop {
            let from = self.scan.done;
            let border = from + PAGE - (self.phase + from) % PAGE;
            let to = match border.cmp(&self.buffer.len()) {
                std::cmp::Ordering::Greater if !self.ended || self.hole > 0 => return None,
                std::cmp::Ordering::Greater => self.buffer.len(),
                _ => border,
            };
            if from == to {
                return None;
            }
            if let Some(cut) = self.look_at_page(from, to) {
                return Some(cut);
            }
            self.scan.done = to;
        }
    }

    /// Looks at one page or a part of one; zeros come first, so that a run of them never depends
    /// on the table.
    fn look_at_page(&mut self, from: usize, to: usize) -> Option<Cut> {
        let page = &self.buffer[from..to];
        if is_zero(page) {
            let start = *self.scan.zeros_from.get_or_insert(from);
            if to - start >= ZERO_PIECE {
                return Some(if start == 0 { Cut::Zeros } else { Cut::Data(start) });
            }
        } else {
            self.scan.zeros_from = None;
        }
        let (hash, found) = self.gear.scan(self.scan.hash, &self.buffer, from..to);
        self.scan.hash = hash;
        found.map(Cut::Data)
    }

    /// Takes the piece out of the buffer and leaves the rest as the start of the next one.
    fn take(&mut self, cut: &Cut) -> Piece {
        let length = match *cut {
            Cut::Data(length) => length,
            Cut::Zeros => ZERO_PIECE,
        };
        self.phase = (self.phase + length) % PAGE;
        self.scan = Scan::default();
        let mut rest = self.spare.take().unwrap_or_default();
        let beyond = &self.buffer[length..];
        rest.room(beyond.len())[..beyond.len()].copy_from_slice(beyond);
        rest.extend_from_room(beyond.len());
        let mut piece = std::mem::replace(&mut self.buffer, rest);
        if *cut == Cut::Zeros {
            self.recycle(piece);
            return Piece::Zeros;
        }
        piece.truncate(length);
        Piece::Data(piece)
    }
}

/// Tells whether all bytes are zero; ordinary content is told by its first bytes.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
