//! Pieces of files in the order in which somebody wants them, fetched ahead of whoever reads.
//!
//! # Limits
//!
//! From a tier that is far up to [`AHEAD_MAX`] ranges of 8 MiB are in memory, from one that is near
//! one range; and one opened blob.

use std::collections::VecDeque;

use bytes::Bytes;
use lifeboat_tiers::TierError;
use tokio::task::JoinHandle;

use super::reads::{PackTable, Piece, RangeRead, Reach, range_at};
use crate::blob::{BlobKind, BlobOpener};
use crate::error::RepositoryError;
use crate::repository::{Indexed, Repository};

/// Ranges that are being fetched ahead.
const AHEAD_MAX: usize = 3;

/// Opens pieces one after the other.
#[derive(Debug)]
pub(super) struct PieceStream<'r> {
    repository: &'r Repository<Indexed>,
    opener: BlobOpener<'r>,
    reach: Reach,
    packs: PackTable,
    pieces: Vec<Piece>,
    /// The piece that comes next.
    next: usize,
    /// The first piece that is not being fetched.
    unfetched: usize,
    ahead: VecDeque<Ahead>,
    /// The range that is being read. Without its bytes each piece is fetched by itself, and tells
    /// what went wrong.
    range: Option<RangeRead>,
    sealed: Vec<u8>,
    plaintext: Vec<u8>,
    bytes_fetched: u64,
}

#[derive(Debug)]
struct Ahead {
    range: RangeRead,
    fetch: JoinHandle<Result<Bytes, TierError>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.fetch.abort();
    }
}

impl<'r> PieceStream<'r> {
    /// Makes a stream of pieces, in their order.
    pub(super) fn new(
        repository: &'r Repository<Indexed>,
        packs: PackTable,
        pieces: Vec<Piece>,
    ) -> Self {
        Self {
            repository,
            opener: BlobOpener::new(repository.key()),
            reach: Reach::of(repository.store()),
            packs,
            pieces,
            next: 0,
            unfetched: 0,
            ahead: VecDeque::new(),
            range: None,
            sealed: Vec::new(),
            plaintext: Vec::new(),
            bytes_fetched: 0,
        }
    }

    /// Opens the next piece; its content is in [`PieceStream::plaintext`] then. Tells whether there
    /// was one. One that cannot be had is passed over by the next call.
    pub(super) fn advance(&mut self) -> Result<bool, RepositoryError> {
        let Some(piece) = self.pieces.get(self.next).copied() else { return Ok(false) };
        // A sparse file has the same blob over and over.
        let again = self.next > 0 && self.pieces[self.next - 1].is_same_blob(&piece);
        self.next += 1;
        if again && self.plaintext.len() == piece.plaintext_length() as usize {
            return Ok(true);
        }
        self.plaintext.clear();
        if self.range.is_none_or(|range| self.next > range.first + range.count) {
            self.next_range(self.next - 1);
            self.bytes_fetched += self.sealed.len() as u64;
        }
        if self.open_fetched(&piece).is_none() {
            let repository = self.repository;
            let blob = repository.read_blob_with(&mut self.opener, BlobKind::Data, &piece.id)?;
            self.plaintext.extend_from_slice(&blob);
            self.bytes_fetched += u64::from(piece.length);
        }
        Ok(true)
    }

    /// Returns the content of the piece that was opened last.
    pub(super) fn plaintext(&self) -> &[u8] {
        &self.plaintext
    }

    /// Returns how many bytes came from the repository so far.
    pub(super) const fn bytes_fetched(&self) -> u64 {
        self.bytes_fetched
    }

    /// Returns how long the piece is that was to be opened last, also if it could not be had.
    pub(super) fn piece_length(&self) -> u32 {
        let last = self.next.checked_sub(1).and_then(|last| self.pieces.get(last));
        last.map_or(0, Piece::plaintext_length)
    }

    fn open_fetched(&mut self, piece: &Piece) -> Option<()> {
        let sealed = self.sealed.get_mut(self.range?.bytes_of(piece))?;
        let opened = self.opener.open_in_place(&piece.id, sealed, piece.uncompressed_length());
        self.plaintext.extend_from_slice(opened.ok()?);
        Some(())
    }

    /// Gets the range that begins at a piece.
    fn next_range(&mut self, first: usize) {
        self.sealed.clear();
        if self.repository.store().reads_here() {
            self.range = range_at(&self.pieces, first, self.reach);
            let Some(range) = self.range else { return };
            let pack = self.packs.pack(&self.pieces[first]);
            let read = self.repository.store().get_into(&pack, range.range(), &mut self.sealed);
            if read.is_err() {
                self.sealed.clear();
            }
            return;
        }
        self.fetch_ahead();
        self.range = None;
        if let Some(mut ahead) = self.ahead.pop_front() {
            self.range = Some(ahead.range);
            let fetched = self.repository.store().runtime().block_on(&mut ahead.fetch);
            if let Ok(Ok(bytes)) = fetched {
                self.sealed.extend_from_slice(&bytes);
            }
        }
        self.fetch_ahead();
    }

    fn fetch_ahead(&mut self) {
        while self.ahead.len() < AHEAD_MAX {
            let Some(range) = range_at(&self.pieces, self.unfetched, self.reach) else { return };
            let pack = self.packs.pack(&self.pieces[range.first]);
            let fetch = self.repository.store().begin_get_range(&pack, range.range());
            self.ahead.push_back(Ahead { range, fetch });
            self.unfetched = range.first + range.count;
        }
    }
}
