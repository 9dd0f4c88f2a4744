//! zstd with one context a worker, and decompression that never gives more than was promised.
//!
//! # Limits
//!
//! - The window is 512 KiB, restic's own, so that its decoder needs no more memory for our frames.
//! - A blob decompresses to exactly the length that its header or index declares.
//! - A document (index, snapshot, lock) declares no length; it is held to [`DOCUMENT_LENGTH_MAX`].
//!
//! Source: restic `internal/repository/repository.go` (`getZstdEncoder`).

mod probe;

use std::fmt;
use std::io::{self, Read};

use zstd::zstd_safe::{CParameter, DParameter};

use probe::Probe;

/// The longest document that is decompressed, in bytes: restic closes an index file at 50,000
/// blobs, about 10 MB; what is fifty times as long is no index but a bomb.
pub const DOCUMENT_LENGTH_MAX: u64 = 512 << 20;

/// The logarithm of the window, restic's 512 KiB.
const WINDOW_LOG: u32 = 19;

/// From which length on level 3 gets [`SMALL_TABLES`]; for less, zstd's own tables are small enough.
const SMALL_TABLES_FROM: usize = 16 << 10;

/// Tables of 128 KiB each instead of up to 512, with matches from five bytes on: they stay in the cache of
/// the core beside what is compressed. Over the files of a system that makes level 3 a sixth faster, and
/// what comes out 0.7 % larger; `docs/performance.md` has what else was tried.
const SMALL_TABLES: [CParameter; 3] =
    [CParameter::HashLog(15), CParameter::ChainLog(15), CParameter::MinMatch(5)];

/// Leaves the tables to zstd's level: each of these means "as the level has it".
const LEVELS_TABLES: [CParameter; 3] =
    [CParameter::HashLog(0), CParameter::ChainLog(0), CParameter::MinMatch(0)];

/// The logarithm of the largest window that is read; restic's and rustic's are far smaller.
const WINDOW_LOG_READ_MAX: u32 = 27;

/// Compressed bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    /// The bytes are no zstd frame, or hold more than was promised.
    #[error("its compressed bytes do not decompress")]
    Invalid(#[source] io::Error),
    /// They decompress to another length than was promised.
    #[error("it decompresses to {actual} bytes instead of {expected}")]
    Length {
        /// What was promised, in bytes.
        expected: u64,
        /// What came out, in bytes; for a bomb, where reading stopped.
        actual: u64,
    },
}

/// How much effort goes into compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Data as it is; trees and documents are compressed even so, as the format wants.
    Off,
    /// zstd's level 1.
    Fastest,
    /// zstd's level 3, for all but the shortest pieces with smaller tables.
    #[default]
    Auto,
    /// zstd's level 11.
    Better,
    /// zstd's level 19.
    Max,
}

impl Compression {
    const fn level(self) -> i32 {
        match self {
            Self::Fastest => 1,
            Self::Off | Self::Auto => 3,
            Self::Better => 11,
            Self::Max => 19,
        }
    }
}

/// A compression context with the memory that it compresses into; a worker makes one and uses it
/// for all its blobs.
pub struct Compressor {
    context: zstd::bulk::Compressor<'static>,
    compression: Compression,
    tables: Tables,
    probe: Probe,
    target: Vec<u8>,
}

/// Which tables a context works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tables {
    /// Those that zstd's level has for the length.
    OfLevel,
    /// [`SMALL_TABLES`].
    Small,
}

impl Tables {
    /// Returns those that suit so many bytes.
    fn fitting(compression: Compression, length: usize) -> Self {
        let is_default = matches!(compression, Compression::Off | Compression::Auto);
        if is_default && length >= SMALL_TABLES_FROM { Self::Small } else { Self::OfLevel }
    }

    const fn parameters(self) -> &'static [CParameter] {
        match self {
            Self::OfLevel => &LEVELS_TABLES,
            Self::Small => &SMALL_TABLES,
        }
    }
}

impl Compressor {
    /// Makes a context.
    pub fn new(compression: Compression) -> Self {
        let mut context = zstd::bulk::Compressor::new(compression.level())
            .expect("zstd refuses a context only when memory is exhausted");
        context
            .set_parameter(CParameter::WindowLog(WINDOW_LOG))
            .expect("zstd knows windows of 512 KiB");
        let tables = Tables::OfLevel;
        Self { context, compression, tables, probe: Probe::new(), target: Vec::new() }
    }

    /// Compresses something, even if it becomes longer by that.
    pub fn compress(&mut self, plaintext: &[u8]) -> &[u8] {
        let room = zstd::zstd_safe::compress_bound(plaintext.len());
        self.compress_within(plaintext, room).expect("there is room for the worst case")
    }

    /// Compresses data if that is wanted and makes it shorter.
    pub fn shorten(&mut self, data: &[u8]) -> Option<&[u8]> {
        let in_vain = match self.compression {
            Compression::Off => true,
            Compression::Fastest | Compression::Auto => self.probe.finds_noise(data),
            Compression::Better | Compression::Max => false,
        };
        if in_vain { None } else { self.compress_within(data, data.len().saturating_sub(1)) }
    }

    /// Compresses into at most `room` bytes, or gives up.
    fn compress_within(&mut self, plaintext: &[u8], room: usize) -> Option<&[u8]> {
        if self.target.len() < room {
            self.target.resize(room, 0);
        }
        self.use_tables(Tables::fitting(self.compression, plaintext.len()));
        let target = &mut self.target[..room];
        let length = self.context.compress_to_buffer(plaintext, target).ok()?;
        Some(&self.target[..length])
    }

    fn use_tables(&mut self, tables: Tables) {
        if self.tables == tables {
            return;
        }
        for parameter in tables.parameters() {
            self.context.set_parameter(*parameter).expect("zstd knows such tables");
        }
        self.tables = tables;
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("compression", &self.compression).finish_non_exhaustive()
    }
}

/// A decompression context; a worker makes one and uses it for all its blobs.
pub struct Decompressor(zstd::bulk::Decompressor<'static>);

impl Decompressor {
    /// Makes a context.
    pub fn new() -> Self {
        let mut context = zstd::bulk::Decompressor::new()
            .expect("zstd refuses a context only when memory is exhausted");
        context
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_READ_MAX))
            .expect("zstd knows windows of 128 MiB");
        Self(context)
    }

    /// Decompresses what must become exactly `length` bytes.
    pub fn decompress(&mut self, stored: &[u8], length: u32) -> Result<Vec<u8>, CompressionError> {
        let mut plaintext = Vec::new();
        self.decompress_into(stored, length, &mut plaintext)?;
        Ok(plaintext)
    }

    /// Decompresses what must become exactly `length` bytes, in place of what the buffer holds.
    pub fn decompress_into(
        &mut self,
        stored: &[u8],
        length: u32,
        plaintext: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        let expected = length as usize;
        plaintext.clear();
        plaintext
            .try_reserve_exact(expected)
            .map_err(|_| CompressionError::Invalid(io::ErrorKind::OutOfMemory.into()))?;
        let actual =
            self.0.decompress_to_buffer(stored, plaintext).map_err(CompressionError::Invalid)?;
        if actual == expected {
            Ok(())
        } else {
            Err(CompressionError::Length { expected: expected as u64, actual: actual as u64 })
        }
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompressor")
    }
}

/// Returns what compresses text that comes in parts, as a [`Compressor`] compresses it at once.
pub(crate) fn encoder<W: io::Write>(
    compression: Compression,
    target: W,
) -> zstd::stream::write::Encoder<'static, W> {
    let mut encoder = zstd::stream::write::Encoder::new(target, compression.level())
        .expect("zstd refuses a context only when memory is exhausted");
    encoder
        .set_parameter(CParameter::WindowLog(WINDOW_LOG))
        .expect("zstd knows windows of 512 KiB");
    encoder
}

/// Compresses a document.
pub fn compress_document(document: &[u8]) -> Vec<u8> {
    Compressor::new(Compression::Auto).compress(document).to_vec()
}

/// Returns what decompresses as it is read, without an end of its own.
pub(crate) fn decoder(stored: &[u8]) -> io::Result<zstd::stream::read::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(stored)?;
    decoder.window_log_max(WINDOW_LOG_READ_MAX)?;
    Ok(decoder)
}

/// Decompresses a document, which declares no length.
pub fn decompress_document(stored: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let mut document = Vec::new();
    decoder(stored)
        .map_err(CompressionError::Invalid)?
        .take(DOCUMENT_LENGTH_MAX + 1)
        .read_to_end(&mut document)
        .map_err(CompressionError::Invalid)?;
    let actual = document.len() as u64;
    if actual > DOCUMENT_LENGTH_MAX {
        return Err(CompressionError::Length { expected: DOCUMENT_LENGTH_MAX, actual });
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_gives_the_same_whatever_it_compressed_before() {
        let text: Vec<u8> = (0..60_000_u32).flat_map(|i| (i / 3).to_le_bytes()).collect();
        let lengths = [100, SMALL_TABLES_FROM - 1, SMALL_TABLES_FROM, text.len()];
        let alone = lengths
            .map(|length| Compressor::new(Compression::Auto).compress(&text[..length]).to_vec());
        let mut used = Compressor::new(Compression::Auto);
        for (length, alone) in lengths.iter().zip(&alone).chain(lengths.iter().zip(&alone).rev()) {
            assert_eq!(used.compress(&text[..*length]), alone, "{length}");
        }
    }

    #[test]
    fn a_blob_decompresses_to_the_promised_length_or_not_at_all() {
        let text = vec![7; 100_000];
        let stored = compress_document(&text);
        let mut decompressor = Decompressor::new();
        assert_eq!(decompressor.decompress(&stored, 100_000).unwrap(), text);
        let error = decompressor.decompress(&stored, 100_001).unwrap_err();
        assert!(matches!(error, CompressionError::Length { expected: 100_001, actual: 100_000 }));
        assert!(decompressor.decompress(&stored, 99_999).is_err());
        assert!(decompressor.decompress(&stored, 0).is_err());
        assert!(decompressor.decompress(&stored[..stored.len() - 1], 100_000).is_err());
        assert_eq!(decompressor.decompress(&stored, 100_000).unwrap(), text);
    }

    /// Changes the length that a frame says its content has.
    ///
    /// Source: RFC 8878, section 3.1.1.1, "Frame Header".
    fn with_declared_length(frame: &[u8], length: u32) -> Vec<u8> {
        let descriptor = frame[4];
        assert_eq!((descriptor >> 6, descriptor & 3), (2, 0), "four bytes, and no dictionary");
        let begin = if descriptor & (1 << 5) == 0 { 6 } else { 5 };
        let mut frame = frame.to_vec();
        frame[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
        frame
    }

    #[test]
    fn a_frame_that_declares_another_length_gives_nothing_and_takes_no_more_memory() {
        let text = vec![7; 100_000];
        let frame = compress_document(&text);
        let mut decompressor = Decompressor::new();
        let mut plaintext = Vec::new();
        for declared in [0, 1, 99_999, 100_001, 200_000, u32::MAX] {
            let lying = with_declared_length(&frame, declared);
            for promised in [0, 1, 99_999, 100_000, 100_001, 200_000] {
                let result = decompressor.decompress_into(&lying, promised, &mut plaintext);
                assert!(result.is_err(), "declared {declared}, promised {promised}");
                assert!(plaintext.capacity() <= 200_000, "{}", plaintext.capacity());
            }
            assert!(decompress_document(&lying).is_err(), "declared {declared}");
        }
    }

    #[test]
    fn a_frame_that_declares_no_length_is_held_to_the_promise() {
        let text = vec![7; 100_000];
        // A stream that does not know how long it will be.
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        std::io::Write::write_all(&mut encoder, &text).unwrap();
        let frame = encoder.finish().unwrap();
        assert!(zstd::zstd_safe::get_frame_content_size(&frame).unwrap().is_none());
        let mut decompressor = Decompressor::new();
        assert_eq!(decompressor.decompress(&frame, 100_000).unwrap(), text);
        let mut plaintext = Vec::new();
        for promised in [0, 1, 10, 99_999, 100_001] {
            let result = decompressor.decompress_into(&frame, promised, &mut plaintext);
            assert!(result.is_err(), "promised {promised}");
        }
        assert_eq!(decompress_document(&frame).unwrap(), text);
    }

    #[test]
    fn a_document_that_is_a_bomb_is_given_up() {
        let mut bomb = Vec::new();
        let mut encoder = zstd::stream::write::Encoder::new(&mut bomb, 1).unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..=DOCUMENT_LENGTH_MAX >> 20 {
            std::io::Write::write_all(&mut encoder, &zeros).unwrap();
        }
        encoder.finish().unwrap();
        let error = decompress_document(&bomb).unwrap_err();
        assert!(matches!(error, CompressionError::Length { .. }), "{error}");
    }

    #[test]
    fn frames_need_no_larger_window_than_restics() {
        let text: Vec<u8> = (0..3_000_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for compression in [Compression::Fastest, Compression::Auto, Compression::Max] {
            let mut compressor = Compressor::new(compression);
            let mut decoder = zstd::stream::read::Decoder::new(compressor.compress(&text)).unwrap();
            decoder.window_log_max(WINDOW_LOG).unwrap();
            let mut back = Vec::new();
            decoder.take(text.len() as u64).read_to_end(&mut back).unwrap();
            assert!(back == text, "{compression:?}");
        }
    }
}
