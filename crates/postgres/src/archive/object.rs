//! An archived file as it lies on a tier: a summary, the file in frames of zstd, all of it in an envelope.
//!
//! Each frame holds at most [`FRAME_LENGTH`] plain bytes and their checksum, and can be decompressed
//! without the others.
//!
//! # Limits
//!
//! A file is in memory as a whole, plain and compressed; segments have at most 1 GiB.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use lifeboat_tiers::envelope::{Opener, Recipient, may_be_whole};
use sha2::{Digest as _, Sha256};
use zstd::zstd_safe::CParameter;

use super::error::ArchiveError;
use super::file::WalFile;
use super::name::{ArchivedFile, WalAddress};
use super::summary::Summary;
use crate::wal::SegmentSize;

/// How many plain bytes a frame holds.
pub const FRAME_LENGTH: usize = 1 << 20;

/// zstd's own choice: on logs, lower levels save little time and cost a fifth more room.
const LEVEL: i32 = 3;

/// More threads than this compress a segment of 16 frames no faster.
const THREADS_MAX: usize = 8;

/// A file of the log, ready to be stored.
#[derive(Debug, Clone)]
pub struct SealedFile {
    /// Which file, and which bytes.
    pub name: ArchivedFile,
    /// What is stored.
    pub body: Bytes,
    /// How long it was before it was sealed.
    compressed: u64,
}

impl SealedFile {
    /// Compresses and seals a file.
    pub fn new(file: &WalFile, recipient: &Recipient) -> Self {
        let plain = file.bytes();
        let (summary, frames) = compress(plain, || Summary::of(file.address(), plain));
        if let Some(flaw) = &summary.flaw {
            tracing::warn!(file = %summary.file, flaw, "A segment holds something that is no record.");
        }
        let mut compressed = summary.frame();
        for frame in &frames {
            compressed.extend_from_slice(frame);
        }
        Self {
            name: ArchivedFile::with_digest(file.address(), summary.digest()),
            body: Bytes::from(recipient.seal(&compressed)),
            compressed: compressed.len() as u64,
        }
    }

    /// Tells whether an object of so many bytes can be what would be stored. One that was cut off, by
    /// a disk that lost what it had promised to keep, is not.
    pub const fn may_be(&self, size: u64) -> bool {
        may_be_whole(size, self.compressed)
    }
}

/// Makes the frames of `plain` by several threads, one of which does something else with it before: one
/// thread alone can hash it, which takes more than half as long as compressing it.
fn compress<S>(plain: &[u8], meanwhile: impl FnOnce() -> S) -> (S, Vec<Vec<u8>>) {
    // A file without bytes is a frame without bytes, so that zstd takes it for a file of its own.
    let pieces: Vec<_> =
        if plain.is_empty() { vec![plain] } else { plain.chunks(FRAME_LENGTH).collect() };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let others = threads.min(THREADS_MAX).min(pieces.len()) - 1;
    let next = AtomicUsize::new(0);
    let work = || {
        // Where there is nothing left, no context is made.
        let mut compressor = None;
        let mut frames = Vec::new();
        while let Some((number, piece)) = take(&pieces, &next) {
            frames.push((number, compressor.get_or_insert_with(Compressor::new).frame(piece)));
        }
        frames
    };
    let (done, mut frames) = thread::scope(|scope| {
        let others: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
        let done = meanwhile();
        let mut frames = work();
        for other in others {
            frames.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        (done, frames)
    });
    frames.sort_unstable_by_key(|(number, _)| *number);
    (done, frames.into_iter().map(|(_, frame)| frame).collect())
}

/// Takes the next piece that nobody has taken.
fn take<'p>(pieces: &[&'p [u8]], next: &AtomicUsize) -> Option<(usize, &'p [u8])> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    pieces.get(number).map(|piece| (number, *piece))
}

/// Makes frames, one after the other, in memory that it keeps.
struct Compressor {
    context: zstd::bulk::Compressor<'static>,
    frame: Vec<u8>,
}

impl Compressor {
    fn new() -> Self {
        let mut context = zstd::bulk::Compressor::new(LEVEL)
            .expect("zstd refuses a context only when memory is exhausted");
        context.set_parameter(CParameter::ChecksumFlag(true)).expect("zstd knows checksums");
        let frame = Vec::with_capacity(zstd::zstd_safe::compress_bound(FRAME_LENGTH));
        Self { context, frame }
    }

    fn frame(&mut self, piece: &[u8]) -> Vec<u8> {
        self.frame.clear();
        let made = self.context.compress_to_buffer(piece, &mut self.frame);
        made.expect("there is room for the worst case");
        self.frame.clone()
    }
}

/// Opens an archived file and holds it against its name and its summary.
pub fn open(
    name: &ArchivedFile,
    sealed: &[u8],
    opener: &Opener,
) -> Result<(Summary, WalFile), ArchiveError> {
    let what = name.path().to_string();
    let compressed = opener.open(&what, sealed)?;
    let damaged = |problem: String| ArchiveError::Damaged { what: what.clone(), problem };
    let (summary, frames) = Summary::read(&compressed).map_err(damaged)?;
    hold_against(name, &summary).map_err(damaged)?;
    let plain = decompress(frames, summary.length).map_err(damaged)?;
    if <[u8; 32]>::from(Sha256::digest(&plain)) != summary.sha256.0 {
        return Err(damaged("its bytes do not have the SHA-256 that it names".to_owned()));
    }
    let address =
        WalAddress { system: name.system, size: name.size.unwrap_or_default(), file: name.file };
    let file = WalFile::check(address, Bytes::from(plain))?;
    Ok((summary, file))
}

/// Reads the summary of an archived file from its beginning.
pub(super) fn open_summary(
    name: &ArchivedFile,
    beginning: &[u8],
    opener: &Opener,
) -> Result<Summary, ArchiveError> {
    let what = name.path().to_string();
    let first = opener.open_first(&what, beginning, super::summary::READ_LENGTH)?;
    let damaged = |problem: String| ArchiveError::Damaged { what: what.clone(), problem };
    let (summary, _) = Summary::read(&first).map_err(damaged)?;
    hold_against(name, &summary).map_err(damaged)?;
    Ok(summary)
}

/// Refuses a file that was put under another one's name.
fn hold_against(name: &ArchivedFile, summary: &Summary) -> Result<(), String> {
    let is_named = summary.file == name.file
        && summary.system == name.system
        && summary.digest() == name.digest;
    is_named.then_some(()).ok_or_else(|| format!("it is {} of {}", summary.file, summary.system))
}

/// Decompresses frames to exactly `length` bytes, never taking memory for more.
fn decompress(mut frames: &[u8], length: u64) -> Result<Vec<u8>, String> {
    let room = u64::from(SegmentSize::MAX.bytes());
    let length = usize::try_from(length.min(room + 1)).unwrap_or(usize::MAX);
    if length as u64 > room {
        return Err(format!("it claims to have more than {room} bytes"));
    }
    let mut plain = Vec::new();
    let mut context = zstd::bulk::Decompressor::new()
        .map_err(|error| format!("it cannot be decompressed: {error}"))?;
    while !frames.is_empty() {
        let size = zstd::zstd_safe::find_frame_compressed_size(frames)
            .map_err(|_| "it ends within a frame".to_owned())?;
        let (frame, rest) = frames.split_at_checked(size).ok_or("it ends within a frame")?;
        let piece = context
            .decompress(frame, FRAME_LENGTH)
            .map_err(|error| format!("a frame cannot be decompressed: {error}"))?;
        if piece.len() > length - plain.len() {
            return Err(format!("it has more than the {length} bytes that it claims"));
        }
        plain.extend(piece);
        frames = rest;
    }
    if plain.len() == length {
        Ok(plain)
    } else {
        Err(format!("it has {} bytes, not the {length} that it claims", plain.len()))
    }
}
