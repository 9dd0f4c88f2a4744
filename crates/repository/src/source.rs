//! What is backed up: paths of this host, and streams that become files.
//!
//! A [`FilesSource`] names absolute paths; they are stored as they are on the host, below the
//! directories that lead to them. A [`StreamSource`] is read once, like the output of `pg_dump`,
//! and becomes a file at a path that need not exist. A [`PagedSource`] names entries that the caller
//! enumerated, and files that he reads in pieces; see [`paged`].
//!
//! # Invariants
//!
//! - Below a path that was given, no symbolic link is ever followed: directories are opened relative
//!   to their parent, so that nobody who can rename there can lead the walk elsewhere. Links on the
//!   way *to* a given path are followed, as the operator who wrote it meant.
//! - A file is read through one descriptor; its metadata are those of that descriptor.
//! - Holes are told from the file system and never read.
//!
//! # Limits
//!
//! Sockets are left out, as restic leaves them out: whoever listens makes them anew. Extended
//! attributes are read through `/proc/self/fd`, so `/proc` must be mounted.

pub(crate) mod attributes;
pub(crate) mod content;
pub(crate) mod directory;
pub mod exclude;
pub mod layout;
pub(crate) mod metadata;
pub(crate) mod owners;
pub mod paged;

use std::fmt;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;

pub use exclude::{ExcludeError, Excludes, Notice};
pub use layout::LayoutError;
pub use metadata::AccessTime;
pub use paged::{
    EntryMetadata, FormerPiece, PagedContent, PagedEntry, PagedKind, PagedSource, PieceSize,
    PieceState,
};

/// Something to back up.
#[derive(Debug)]
pub enum Source {
    /// Paths of this host.
    Files(FilesSource),
    /// A stream that becomes a file.
    Stream(StreamSource),
    /// Entries that the caller enumerates and reads.
    Paged(PagedSource),
}

/// Paths of this host.
#[derive(Debug, Clone, Default)]
pub struct FilesSource {
    /// Absolute paths; one that lies in another one is backed up as part of it, by its own rules.
    pub paths: Vec<PathBuf>,
    /// What to leave out below the paths; never the paths themselves.
    pub exclude: Excludes,
    /// Whether to leave out what other file systems have mounted below a path; the mount points
    /// themselves stay, as empty directories.
    pub one_file_system: bool,
}

/// Opens a stream when its turn comes.
pub type OpenStream = Box<dyn FnOnce() -> io::Result<Box<dyn StreamReader>> + Send>;

/// When a stream is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Turn {
    /// While everything else is read.
    #[default]
    Beside,
    /// After everything else was read to its end: for what must not be older than the rest, and for
    /// documents about what was read.
    Last,
}

/// A stream that becomes a file.
///
/// The streams of a backup are opened and read one after the other, in the order in which they were
/// given, those of the last [`Turn`] after the others.
pub struct StreamSource {
    /// The absolute path of the file that it becomes, like `/lifeboat/database/dump/shop.dump`.
    pub path: PathBuf,
    /// Opens it.
    pub open: OpenStream,
    /// When it is opened.
    pub turn: Turn,
    /// The metadata of the file; of one that only root may read, and that is new, if absent.
    pub metadata: Option<EntryMetadata>,
}

impl StreamSource {
    /// Names a stream.
    pub fn new(
        path: impl Into<PathBuf>,
        open: impl FnOnce() -> io::Result<Box<dyn StreamReader>> + Send + 'static,
    ) -> Self {
        let (path, open) = (path.into(), Box::new(open));
        Self { path, open, turn: Turn::Beside, metadata: None }
    }

    /// Lets it be opened only after everything else was read to its end.
    #[must_use]
    pub fn last(self) -> Self {
        Self { turn: Turn::Last, ..self }
    }

    /// Gives the file metadata.
    #[must_use]
    pub fn with_metadata(self, metadata: EntryMetadata) -> Self {
        Self { metadata: Some(metadata), ..self }
    }

    /// Names a document that is in memory already.
    pub fn document(path: impl Into<PathBuf>, bytes: Vec<u8>) -> Self {
        Self::new(path, || Ok(Box::new(Document(Cursor::new(bytes)))))
    }
}

impl fmt::Debug for StreamSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("StreamSource");
        shown.field("path", &self.path).field("turn", &self.turn).finish_non_exhaustive()
    }
}

/// A stream whose end must be asked whether all went well.
pub trait StreamReader: Read + Send {
    /// Tells, after the last byte was read, whether the stream is whole.
    ///
    /// A program that fails half-way also closes its output; only its exit code tells. An error
    /// here means that no snapshot is made.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// A document in memory as a stream.
struct Document(Cursor<Vec<u8>>);

impl Read for Document {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl StreamReader for Document {
    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}
