//! Reading one file: cut it, store the pieces, and see whether it held still.
//!
//! # Invariants
//!
//! - A file's size is the sum of its pieces, also if it grew or shrank while it was read.
//! - Its metadata are those from before it was read; so if it changed later, the next backup sees a
//!   difference and reads it again.
//! - A file that changed while it was read is read once more; if it changed again it is stored as it
//!   was read last, and named.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lifeboat_model::BlobId;
use rustix::fs::{FileType, OFlags, Stat, fstat};
use rustix::io::Errno;

use super::assemble::Slot;
use super::engine::Worker;
use super::{BackupError, SkipReason};
use crate::blob::BlobKind;
use crate::chunker::{Buffer, Input, Piece, ZERO_PIECE};
use crate::error::RepositoryError;
use crate::node::{Metadata, Node, NodeKind};
use crate::profile::Activity;
use crate::source::attributes::Holder;
use crate::source::content::FileContent;
use crate::source::{directory, metadata};

/// A file's sort, in the bits of `st_mode`.
pub(super) const FILE_TYPE: u32 = 0o100_000;

/// How often a file is read that changes meanwhile.
const ATTEMPTS_MAX: usize = 2;

/// A file to read.
pub(super) struct FileJob {
    pub(super) slot: Slot,
    /// What the parent snapshot has at this path, if that is a file.
    pub(super) before: Option<Metadata>,
}

/// A piece to store.
pub(super) struct PieceJob {
    bytes: Buffer,
    number: usize,
    content: Arc<Content>,
}

impl PieceJob {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// The pieces of a file that are not all stored yet.
///
/// If it is given up, nobody sets `target`, and what was stored of it is left to be found again.
#[derive(Debug, Default)]
pub(super) struct Content(Mutex<Pieces>);

#[derive(Debug, Default)]
struct Pieces {
    ids: Vec<Option<BlobId>>,
    size: u64,
    unknown: usize,
    target: Option<Target>,
}

/// Where a file's node goes once its content is known.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) metadata: Metadata,
}

/// What a target belongs to.
#[derive(Debug)]
pub(super) enum Place {
    /// An entry of a directory.
    Slot(Slot),
    /// The stream with this number.
    Stream(usize),
}

/// A file whose content is known.
pub(super) struct Whole {
    target: Target,
    size: u64,
    content: Vec<BlobId>,
}

impl Whole {
    /// Returns the pieces of the file.
    pub(super) fn content(&self) -> &[BlobId] {
        &self.content
    }

    /// Returns the node under a name.
    pub(super) fn into_node(self, name: &OsStr) -> Node {
        let kind = NodeKind::File { size: self.size, content: self.content };
        Node { name: name.to_owned(), kind, metadata: self.target.metadata }
    }
}

impl Content {
    /// Makes room for all pieces of a file that has a known size.
    pub(super) fn in_pieces(count: u64, size: u64) -> Self {
        let unknown = usize::try_from(count).expect("a file that was enumerated has a sane size");
        Self(Mutex::new(Pieces { ids: vec![None; unknown], size, unknown, target: None }))
    }

    fn lock(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for the next piece and returns its number.
    fn begin_piece(&self, length: usize) -> usize {
        let mut pieces = self.lock();
        pieces.ids.push(None);
        pieces.size += length as u64;
        pieces.unknown += 1;
        pieces.ids.len() - 1
    }

    /// Tells of a piece that is stored; returns the file if nothing lacks any more.
    pub(super) fn set_piece(&self, number: usize, id: BlobId) -> Option<Whole> {
        let mut pieces = self.lock();
        pieces.ids[number] = Some(id);
        pieces.unknown -= 1;
        whole(&mut pieces)
    }

    /// Tells that there are no more pieces, and where the node goes.
    pub(super) fn end(&self, target: Target) -> Option<Whole> {
        let mut pieces = self.lock();
        pieces.target = Some(target);
        whole(&mut pieces)
    }
}

fn whole(pieces: &mut Pieces) -> Option<Whole> {
    if pieces.unknown > 0 {
        return None;
    }
    let target = pieces.target.take()?;
    let content = std::mem::take(&mut pieces.ids).into_iter().flatten().collect();
    Some(Whole { target, size: pieces.size, content })
}

/// Why a file was not stored.
pub(super) enum Trouble {
    /// It is left out and named.
    Skip(SkipReason),
    /// Reading on failed.
    Read(io::Error),
    /// The backup failed.
    Fatal(BackupError),
    /// The backup failed elsewhere.
    Stopped,
}

impl From<RepositoryError> for Trouble {
    fn from(error: RepositoryError) -> Self {
        Self::Fatal(error.into())
    }
}

impl Worker<'_> {
    /// Reads a file and stores it, or leaves it out and names it.
    pub(super) fn read_file(&mut self, job: &FileJob) -> Result<(), BackupError> {
        let reason = match self.try_file(job) {
            Ok(()) | Err(Trouble::Stopped) => return Ok(()),
            Err(Trouble::Fatal(error)) => return Err(error),
            Err(Trouble::Skip(reason)) => reason,
            Err(Trouble::Read(error)) => {
                SkipReason::Unreadable { action: "read", error: error.to_string() }
            }
        };
        self.engine.tally.skip(job.slot.path(), reason);
        self.set(&job.slot, None)
    }

    fn try_file(&mut self, job: &FileJob) -> Result<(), Trouble> {
        let meter = self.meter.clone();
        let (file, mut before) = meter.measure(Activity::Inspect, 0, || open(job))?;
        let mut input = FileContent::new(file, metadata::size(&before), metadata::density(&before));
        let mut attempt = 1;
        let content = loop {
            let content = Arc::new(Content::default());
            self.store_pieces(&mut input, &content)?;
            self.engine.witness.file_was_read(&job.slot.path());
            let after = meter.measure(Activity::Inspect, 0, || stat(input.file()))?;
            if metadata::is_untouched(&after, &before) {
                break content;
            }
            if attempt == ATTEMPTS_MAX {
                self.engine.tally.skip(job.slot.path(), SkipReason::Changing);
                break content;
            }
            attempt += 1;
            before = after;
            input.rewind(metadata::size(&before), metadata::density(&before));
        };
        let metadata =
            meter.measure(Activity::Inspect, 0, || self.file_metadata(job, &before, &input));
        let target = Target { place: Place::Slot(job.slot.clone()), metadata };
        self.finish_file(content.end(target)).map_err(Trouble::Fatal)
    }

    fn file_metadata(&self, job: &FileJob, stat: &Stat, input: &FileContent) -> Metadata {
        let mut metadata = self.engine.metadata(stat);
        metadata.extended_attributes = self.engine.attributes(
            Holder::Open(input.file().as_fd()),
            stat,
            job.before.as_ref(),
            || job.slot.path(),
        );
        metadata
    }

    /// Cuts an input to its end and stores the pieces, or hands them over.
    pub(super) fn store_pieces(
        &mut self,
        input: &mut impl Input,
        content: &Arc<Content>,
    ) -> Result<(), Trouble> {
        self.chunker.restart();
        loop {
            if !self.engine.work.goes_on() {
                return Err(Trouble::Stopped);
            }
            let Some(piece) = self.chunker.next_piece(input).map_err(Trouble::Read)? else {
                return Ok(());
            };
            let length = piece.len();
            let number = content.begin_piece(length);
            self.engine.tally.bytes_were_read(length as u64);
            self.engine.advance(0, length as u64);
            match piece {
                Piece::Zeros => {
                    let id = self.engine.sink.store_zeros(&mut self.sealer, ZERO_PIECE)?;
                    // The target is set after the last piece, so nothing can be whole yet.
                    content.set_piece(number, id);
                }
                Piece::Data(bytes) => {
                    let piece = PieceJob { bytes, number, content: Arc::clone(content) };
                    // A file of one piece ends here and now: no other worker is woken for it.
                    let kept = if self.chunker.is_at_end() {
                        Some(piece)
                    } else {
                        self.engine.work.offer(piece)
                    };
                    if let Some(piece) = kept {
                        self.store_piece(piece).map_err(Trouble::Fatal)?;
                    }
                }
            }
        }
    }

    /// Stores a piece, and the node of its file if that was the last one.
    pub(super) fn store_piece(&mut self, piece: PieceJob) -> Result<(), BackupError> {
        let PieceJob { bytes, number, content } = piece;
        let id = self.engine.sink.store(&mut self.sealer, BlobKind::Data, &bytes)?;
        self.chunker.recycle(bytes);
        self.finish_file(content.set_piece(number, id))
    }

    /// Puts the node of a file whose content is known where it belongs.
    pub(super) fn finish_file(&mut self, whole: Option<Whole>) -> Result<(), BackupError> {
        let Some(whole) = whole else { return Ok(()) };
        let met = match &whole.target.place {
            Place::Slot(slot) => Some((slot.clone(), whole)),
            Place::Stream(number) => self.engine.streams.file_is_known(*number, whole),
        };
        met.map_or(Ok(()), |pair| self.finish_met(pair))
    }

    /// Puts a node into its directory.
    pub(super) fn finish_met(&mut self, (slot, whole): (Slot, Whole)) -> Result<(), BackupError> {
        self.engine.tally.file_was_read(slot.was_file, whole.size);
        self.engine.advance(1, 0);
        let node = whole.into_node(&slot.name);
        self.set(&slot, Some(&node))
    }
}

/// Opens a file and returns its state.
fn open(job: &FileJob) -> Result<(OwnedFd, Stat), Trouble> {
    let Some(parent) = &job.slot.directory.handle else { return Err(Trouble::Stopped) };
    // Without `NONBLOCK` a pipe that took the file's name would make us wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = directory::open_quietly(parent.as_fd(), &job.slot.name, flags)
        .map_err(|error| Trouble::Skip(reason("open", error)))?;
    let stat = stat(&file)?;
    Ok((file, stat))
}

/// Returns the state of an open file, unless it is none.
fn stat(file: &OwnedFd) -> Result<Stat, Trouble> {
    let stat = fstat(file).map_err(|error| Trouble::Skip(reason("read", error)))?;
    match metadata::file_type(&stat) {
        FileType::RegularFile => Ok(stat),
        _ => Err(Trouble::Skip(SkipReason::Replaced)),
    }
}

/// Returns what an error means for the path that it happened at.
pub(super) fn reason(action: &'static str, error: Errno) -> SkipReason {
    match error {
        Errno::NOENT => SkipReason::Vanished,
        Errno::LOOP | Errno::NOTDIR | Errno::NXIO => SkipReason::Replaced,
        error => SkipReason::Unreadable { action, error: error.to_string() },
    }
}
