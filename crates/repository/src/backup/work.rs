//! What is left to do, shared by all workers.
//!
//! All workers are alike: each takes the next job, whatever it is, and does it to its end, so that
//! the bytes of a file stay in the cache of one core from reading to sealing. There is no stage that
//! could starve another.
//!
//! # Limits
//!
//! - Pieces come first, then files, begun ones before the others, then directories, the one found
//!   last before the others. So at most one directory's files a worker are waiting, and the directories
//!   that wait are those beside the way down to the current one.
//! - A piece is handed to another worker only if there is nothing else for that one to do, and while
//!   fewer than [`PIECES_AHEAD_BYTES`] are waiting; else whoever read it goes on with it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use lifeboat_model::{Cancel, Cancelled};

use super::BackupError;
use super::file::{FileJob, PieceJob};
use super::paged::{PagedJob, SpanJob};
use super::walk::DirectoryJob;

/// Pieces of large files that wait for a worker: two of the largest, so that one who reads a huge
/// file alone keeps the others busy while it reads on.
const PIECES_AHEAD_BYTES: usize = 16 << 20;

/// Something to do.
pub(super) enum Job {
    /// Store a piece of a file.
    Piece(PieceJob),
    /// Read a file.
    File(FileJob),
    /// Begin a file that is read in pieces of a fixed size.
    Paged(PagedJob),
    /// Go on with such a file.
    Span(SpanJob),
    /// List a directory.
    Directory(DirectoryJob),
}

#[derive(Default)]
struct State {
    pieces: VecDeque<PieceJob>,
    piece_bytes: usize,
    files: VecDeque<FileJob>,
    paged: VecDeque<PagedJob>,
    spans: VecDeque<SpanJob>,
    directories: Vec<DirectoryJob>,
    /// Jobs that wait or run, and streams that are not at their end.
    open: usize,
    failure: Option<BackupError>,
}

impl State {
    /// Tells whether whoever has nothing to do would find something.
    fn has_jobs(&self) -> bool {
        !(self.files.is_empty()
            && self.paged.is_empty()
            && self.spans.is_empty()
            && self.directories.is_empty())
    }
}

/// The jobs of one backup, and its first failure.
pub(super) struct Work<'a> {
    state: Mutex<State>,
    changed: Condvar,
    /// Whoever waits for the others is not taken for somebody who would do something.
    settled: Condvar,
    cancel: &'a Cancel,
}

/// A job that runs; when it is dropped the job is done.
pub(super) struct Running<'w, 'a>(&'w Work<'a>);

impl<'a> Work<'a> {
    /// Begins with nothing to do.
    pub(super) fn new(cancel: &'a Cancel) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), settled: Condvar::new(), cancel }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces work that comes from outside, so that nobody leaves before it is done.
    pub(super) fn announce(&self) -> Running<'_, 'a> {
        self.lock().open += 1;
        Running(self)
    }

    /// Adds the jobs that a directory led to.
    pub(super) fn add(
        &self,
        files: impl IntoIterator<Item = FileJob>,
        directories: impl IntoIterator<Item = DirectoryJob>,
    ) {
        let mut state = self.lock();
        let before = state.files.len() + state.directories.len();
        state.files.extend(files);
        state.directories.extend(directories);
        state.open += state.files.len() + state.directories.len() - before;
        drop(state);
        self.changed.notify_all();
    }

    /// Adds files that are read in pieces of a fixed size.
    pub(super) fn add_paged(&self, files: impl IntoIterator<Item = PagedJob>) {
        let mut state = self.lock();
        let before = state.paged.len();
        state.paged.extend(files);
        state.open += state.paged.len() - before;
        drop(state);
        self.changed.notify_all();
    }

    /// Leaves a span of a file to whoever is free.
    pub(super) fn add_span(&self, span: SpanJob) {
        let mut state = self.lock();
        state.spans.push_back(span);
        state.open += 1;
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until nothing is left to do but what was announced, or something failed.
    pub(super) fn wait_for_the_others(&self) {
        let mut state = self.lock();
        while state.open > 1 && state.failure.is_none() {
            state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands a piece to whoever has nothing else to do; gives it back if nobody will.
    pub(super) fn offer(&self, piece: PieceJob) -> Option<PieceJob> {
        let mut state = self.lock();
        if state.has_jobs() || state.piece_bytes + piece.len() > PIECES_AHEAD_BYTES {
            return Some(piece);
        }
        state.piece_bytes += piece.len();
        state.pieces.push_back(piece);
        state.open += 1;
        drop(state);
        self.changed.notify_one();
        None
    }

    /// Waits for the next job; there is none once all is done or something failed, but for pieces:
    /// what was read already is stored, so that the next backup finds it.
    pub(super) fn next(&self) -> Option<(Job, Running<'_, 'a>)> {
        let mut state = self.lock();
        loop {
            let job = match state.failure {
                None => take(&mut state),
                Some(_) => Some(take_piece(&mut state)?),
            };
            if let Some(job) = job {
                return Some((job, Running(self)));
            }
            if state.open == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Fails the backup; the first failure is the one that is told.
    pub(super) fn fail(&self, error: impl Into<BackupError>) {
        self.lock().failure.get_or_insert(error.into());
        self.changed.notify_all();
        self.settled.notify_all();
    }

    /// Tells whether to go on; being asked to stop is a failure like any other.
    pub(super) fn goes_on(&self) -> bool {
        if let Err(cancelled) = self.cancel.check() {
            self.fail(cancelled);
        }
        self.lock().failure.is_none()
    }

    /// Returns the flag that asks the work to stop.
    pub(super) const fn cancel(&self) -> &Cancel {
        self.cancel
    }

    /// Fails once nothing may be written any more, not even what was done.
    pub(super) fn check_may_write(&self) -> Result<(), Cancelled> {
        self.cancel.check_may_write()
    }

    /// Returns the first failure, once.
    pub(super) fn result(&self) -> Result<(), BackupError> {
        self.lock().failure.take().map_or(Ok(()), Err)
    }
}

fn take_piece(state: &mut State) -> Option<Job> {
    let piece = state.pieces.pop_front()?;
    state.piece_bytes -= piece.len();
    Some(Job::Piece(piece))
}

fn take(state: &mut State) -> Option<Job> {
    if let Some(piece) = take_piece(state) {
        return Some(piece);
    }
    if let Some(file) = state.files.pop_front() {
        return Some(Job::File(file));
    }
    if let Some(span) = state.spans.pop_front() {
        return Some(Job::Span(span));
    }
    if let Some(file) = state.paged.pop_front() {
        return Some(Job::Paged(file));
    }
    state.directories.pop().map(Job::Directory)
}

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        // A worker that panics takes its job with it; the others must not wait for the rest of it.
        state.open = if std::thread::panicking() { 0 } else { state.open.saturating_sub(1) };
        let open = state.open;
        drop(state);
        if open == 0 {
            self.0.changed.notify_all();
        }
        if open <= 1 {
            self.0.settled.notify_all();
        }
    }
}
