//! Files that are read in pieces of a fixed size, several workers at a time in one file.
//!
//! A worker that begins a span of a file leaves the next one for whoever is free. So a large file
//! keeps all of them busy, at most one span of each file waits, and what is read at once lies together.
//!
//! # Invariants
//!
//! - A piece is taken over from the parent only where these all hold: the reader says that it is the
//!   same; the parent's file is cut as this one is, which the lengths of its blobs prove; the piece is as
//!   long; and the index has every blob of the parent's file. Otherwise it is read, hashed and stored.
//! - A file's node does not depend on who read which piece, nor on what was taken over.
//!
//! # Crash consistency
//!
//! What was stored of a file that vanished meanwhile is referred to by nothing, and removed by a prune.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lifeboat_model::BlobId;

use super::BackupError;
use super::assemble::Slot;
use super::before;
use super::engine::Worker;
use super::file::{Content, FILE_TYPE, Place, Target, Whole};
use crate::blob::BlobKind;
use crate::chunker::is_zero;
use crate::node::NodeKind;
use crate::profile::Activity;
use crate::source::metadata;
use crate::source::paged::{FormerPiece, PagedFile, PieceSize, PieceState};

/// How much of a file a worker reads before the next one looks for work there.
const SPAN: u64 = 4 << 20;

/// A file that is not begun.
pub(super) struct PagedJob {
    pub(super) slot: Slot,
    pub(super) file: Arc<PagedFile>,
}

/// The pieces of a file from `first` on, as many as a span has.
pub(super) struct SpanJob {
    run: Arc<PagedRun>,
    first: u64,
}

/// A file that is being read.
struct PagedRun {
    slot: Slot,
    file: Arc<PagedFile>,
    former: Option<Former>,
    content: Content,
    is_gone: AtomicBool,
}

/// The parent's file, cut as this one is, and all of it there.
#[derive(Debug, PartialEq, Eq)]
struct Former {
    size: u64,
    pieces: Vec<BlobId>,
}

impl Former {
    /// Takes the parent's file, if its blobs have the lengths that pieces of a file of this size have:
    /// then they also stand where those pieces do. `length` tells a blob's, if it is there.
    fn prove(
        (size, content): (u64, Vec<BlobId>),
        piece_size: PieceSize,
        length: impl Fn(&BlobId) -> Option<u32>,
    ) -> Option<Self> {
        let is_piece = |(number, id): (u64, &BlobId)| {
            let wanted = piece_size.length(number, size);
            wanted.is_some() && wanted == length(id).and_then(|length| length.try_into().ok())
        };
        let fits = content.len() as u64 == piece_size.count(size);
        let proven = fits && (0..).zip(&content).all(is_piece);
        proven.then_some(Self { size, pieces: content })
    }

    /// Returns the piece that stands where one of this length does.
    fn piece(&self, piece_size: PieceSize, number: u64, length: usize) -> Option<BlobId> {
        let is_as_long = piece_size.length(number, self.size) == Some(length);
        let number = usize::try_from(number).ok().filter(|_| is_as_long)?;
        self.pieces.get(number).copied()
    }
}

impl Worker<'_> {
    /// Begins a file, with its first span.
    pub(super) fn begin_paged(&mut self, job: PagedJob) -> Result<(), BackupError> {
        let PagedJob { mut slot, file } = job;
        let former = self.former(&mut slot, file.piece_size);
        let content = Content::in_pieces(file.piece_size.count(file.size), file.size);
        let metadata = metadata::described(FILE_TYPE, &file.metadata, &self.engine.owners);
        let place = Place::Slot(slot.clone());
        let whole = content.end(Target { place, metadata });
        let run =
            Arc::new(PagedRun { slot, file, former, content, is_gone: AtomicBool::new(false) });
        match whole {
            Some(whole) => self.finish_paged(&run, whole),
            None => self.read_span(&SpanJob { run, first: 0 }),
        }
    }

    /// Returns what the parent snapshot has of a file, and notes whether that is a file.
    fn former(&self, slot: &mut Slot, piece_size: PieceSize) -> Option<Former> {
        let parent = slot.directory.parent()?;
        let node = before::parse(parent.entry(slot.range.clone()?))?;
        let NodeKind::File { size, content } = node.kind else { return None };
        slot.was_file = true;
        let index = self.engine.index();
        let length = |id: &BlobId| Some(index.get(BlobKind::Data, id)?.plaintext_length());
        Former::prove((size, content), piece_size, length)
    }

    /// Reads a span of a file, and leaves the next one to whoever is free.
    pub(super) fn read_span(&mut self, job: &SpanJob) -> Result<(), BackupError> {
        let SpanJob { run, first } = job;
        let piece_size = run.file.piece_size;
        let count = piece_size.count(run.file.size);
        let end = first + (SPAN / u64::from(piece_size.bytes())).max(1);
        if end < count && !run.is_gone.load(Ordering::Relaxed) {
            self.engine.work.add_span(SpanJob { run: Arc::clone(run), first: end });
        }
        for number in *first..end.min(count) {
            if run.is_gone.load(Ordering::Relaxed) || !self.engine.work.goes_on() {
                return Ok(());
            }
            self.read_paged_piece(run, number)?;
        }
        Ok(())
    }

    fn read_paged_piece(&mut self, run: &PagedRun, number: u64) -> Result<(), BackupError> {
        let PagedFile { piece_size, size, content, .. } = &*run.file;
        let length = piece_size.length(number, *size).expect("the file has this piece");
        let former = run.former.as_ref();
        let former = former.and_then(|former| former.piece(*piece_size, number, length));
        self.piece.resize(length, 0);
        let read = || {
            content.read(piece_size.offset(number), &mut self.piece, former.map(FormerPiece::new))
        };
        let state = self.meter.measure(Activity::Read, length, read);
        let state = state.map_err(|source| BackupError::Paged { path: run.slot.path(), source })?;
        let id = match state {
            PieceState::AsInParent(former) => former.id(),
            PieceState::Read => self.store_paged_piece()?,
            PieceState::Vanished => return self.leave_out(run),
        };
        self.engine.advance(0, length as u64);
        let number = usize::try_from(number).expect("there is an id in memory for each piece");
        match run.content.set_piece(number, id) {
            Some(whole) => self.finish_paged(run, whole),
            None => Ok(()),
        }
    }

    /// Stores the piece that was read.
    fn store_paged_piece(&mut self) -> Result<BlobId, BackupError> {
        let Self { engine, sealer, piece, .. } = self;
        engine.tally.bytes_were_read(piece.len() as u64);
        Ok(if is_zero(piece) {
            engine.sink.store_zeros(sealer, piece.len())?
        } else {
            engine.sink.store(sealer, BlobKind::Data, piece)?
        })
    }

    /// Leaves a file out that is gone; whoever finds that first does.
    fn leave_out(&mut self, run: &PagedRun) -> Result<(), BackupError> {
        if run.is_gone.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.set(&run.slot, None)
    }

    fn finish_paged(&mut self, run: &PagedRun, whole: Whole) -> Result<(), BackupError> {
        let size = run.file.size;
        let former = run.former.as_ref();
        if former.is_some_and(|former| former.size == size && former.pieces == whole.content()) {
            self.engine.tally.files_were_kept(1, size);
        } else {
            self.engine.tally.file_was_read(run.slot.was_file, size);
        }
        self.engine.advance(1, 0);
        let node = whole.into_node(&run.slot.name);
        self.set(&run.slot, Some(&node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u32 = PieceSize::PAGE;

    fn id(number: u8) -> BlobId {
        BlobId::from_bytes([number; 32])
    }

    /// Proves a file of blobs of these lengths; one of none is not there.
    fn prove(size: u32, lengths: &[u32]) -> Option<Former> {
        let content = (0..).take(lengths.len()).map(id).collect();
        let length = |id: &BlobId| {
            let length = lengths[usize::from(id.as_bytes()[0])];
            (length > 0).then_some(length)
        };
        Former::prove((size.into(), content), PieceSize::new(PAGE).unwrap(), length)
    }

    #[test]
    fn a_file_that_is_cut_otherwise_proves_nothing() {
        assert!(prove(2 * PAGE + 7, &[PAGE, PAGE, 7]).is_some());
        assert!(prove(2 * PAGE, &[PAGE, PAGE]).is_some());
        assert!(prove(0, &[]).is_some());
        for (size, lengths) in [
            (2 * PAGE, &[PAGE, 0][..]),
            (2 * PAGE, &[2 * PAGE]),
            (2 * PAGE, &[PAGE, PAGE - 1]),
            (2 * PAGE, &[PAGE + 1, PAGE - 1]),
            (2 * PAGE, &[PAGE - 1, PAGE + 1]),
            (2 * PAGE + 7, &[PAGE, PAGE, 8]),
            (2 * PAGE, &[PAGE]),
            (PAGE, &[PAGE, PAGE]),
        ] {
            assert_eq!(prove(size, lengths), None, "{size} {lengths:?}");
        }
    }

    #[test]
    fn only_a_piece_that_is_as_long_is_offered() {
        let size = PieceSize::new(PAGE).unwrap();
        let former = prove(PAGE + 7, &[PAGE, 7]).unwrap();
        assert_eq!(former.piece(size, 0, PAGE as usize), Some(id(0)));
        assert_eq!(former.piece(size, 1, 7), Some(id(1)));
        assert_eq!(former.piece(size, 1, 8), None, "the file grew");
        assert_eq!(former.piece(size, 0, 7), None, "the file was cut off");
        assert_eq!(former.piece(size, 2, 7), None);
    }
}
