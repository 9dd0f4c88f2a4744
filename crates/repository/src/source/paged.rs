//! Entries that the caller enumerates, and files whose content he reads himself, in pieces of a fixed
//! size.
//!
//! For files that somebody changes in place, page by page, while they are backed up. What was
//! enumerated decides: a file has the size that it had then. Whoever reads it fills up what was cut off
//! meanwhile, leaves what was added, and reads again what was torn.
//!
//! # Invariants
//!
//! - A file of `n` bytes has `n` divided by the [`PieceSize`] pieces, rounded up; all but the last are of
//!   that size. Nobody asks the content where to cut.
//! - Only of a piece that the parent snapshot has, at the same place and as long, can a reader say that
//!   it is the same: it takes a [`FormerPiece`] to say so, and that is handed out for no other.
//!
//! # Limits
//!
//! Extended attributes are not stored. The ids of all pieces of a file are in memory while it is read,
//! 33 bytes each, and its node, 67 bytes a piece, until its directory is complete.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_model::{BlobId, Timestamp};

use crate::chunker::PIECE_MAX;
use crate::time::NodeTime;

/// How long the pieces of a paged file are, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PieceSize(u32);

impl PieceSize {
    /// A piece is a multiple of this, so that no page of a database lies in two.
    pub const PAGE: u32 = 8 << 10;

    /// What a size must be if [`PieceSize::new`] is not to refuse it.
    const MAX: u32 = 8 << 20;

    /// Returns a size of `bytes`, which has to be a multiple of [`PieceSize::PAGE`] and no longer than
    /// restic's longest piece.
    pub const fn new(bytes: u32) -> Option<Self> {
        let is_whole = bytes > 0 && bytes.is_multiple_of(Self::PAGE);
        if is_whole && bytes <= Self::MAX { Some(Self(bytes)) } else { None }
    }

    /// Returns the size in bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// Returns how many pieces a file has.
    pub const fn count(self, file_size: u64) -> u64 {
        file_size.div_ceil(self.0 as u64)
    }

    /// Returns where a piece of a file begins.
    pub(crate) const fn offset(self, number: u64) -> u64 {
        number * self.0 as u64
    }

    /// Returns how long a piece of a file is; nothing if the file ends before it.
    pub(crate) fn length(self, number: u64, file_size: u64) -> Option<usize> {
        let rest = file_size.checked_sub(self.offset(number)).filter(|rest| *rest > 0)?;
        usize::try_from(rest.min(self.0.into())).ok()
    }
}

/// 64 KiB: where one page in a hundred changes at random, one piece in thirteen does.
impl Default for PieceSize {
    fn default() -> Self {
        Self(64 << 10)
    }
}

const _: () = assert!(PieceSize::MAX as usize == PIECE_MAX);

/// A piece that the parent snapshot has; handed out where a reader may say that it is still the same.
#[derive(Debug)]
pub struct FormerPiece(BlobId);

impl FormerPiece {
    pub(crate) const fn new(id: BlobId) -> Self {
        Self(id)
    }

    pub(crate) const fn id(&self) -> BlobId {
        self.0
    }
}

/// What became of a piece.
#[derive(Debug)]
pub enum PieceState {
    /// All of the buffer was filled with its bytes.
    Read,
    /// It is what the parent snapshot has there; what the buffer holds does not matter.
    AsInParent(FormerPiece),
    /// The whole file is gone, as may be. It is left out, and nobody is told.
    Vanished,
}

/// Reads a file that is changed in place.
pub trait PagedContent: Send + Sync {
    /// Reads the piece at `offset` into all of `buffer`.
    ///
    /// With `former`, the parent snapshot has a piece at the same place that is as long, and the reader
    /// may answer that it is still the same without having read it. The parent is the snapshot that
    /// [`ParentChoice`](crate::ParentChoice) chose: whoever answers so has to know which that is.
    ///
    /// Pieces of one file are read by several threads, in no particular order. An error fails the
    /// backup.
    fn read(
        &self,
        offset: u64,
        buffer: &mut [u8],
        former: Option<FormerPiece>,
    ) -> io::Result<PieceState>;
}

/// Whose an entry is, who may use it, and since when it is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryMetadata {
    /// Permissions, in the twelve bits of Unix.
    pub permissions: u32,
    /// The number of its owner.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// When its content changed last.
    pub mtime: NodeTime,
}

impl EntryMetadata {
    /// Describes something that exists on no disk.
    pub fn new(permissions: u32, (uid, gid): (u32, u32), mtime: Timestamp) -> Self {
        Self { permissions, uid, gid, mtime: NodeTime::from(mtime) }
    }
}

/// What the file system says.
impl From<&std::fs::Metadata> for EntryMetadata {
    fn from(metadata: &std::fs::Metadata) -> Self {
        let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        Self {
            permissions: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: NodeTime::from_unix(metadata.mtime(), nanoseconds),
        }
    }
}

/// What sort of entry it is.
#[derive(Clone)]
pub enum PagedKind {
    /// A directory; what is in it are entries of their own.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: OsString,
    },
    /// A file.
    File {
        /// Its size in bytes, whatever becomes of it.
        size: u64,
        /// How it is cut; a parent that has it cut otherwise is of no use.
        piece_size: PieceSize,
        /// Its content.
        content: Arc<dyn PagedContent>,
    },
}

impl fmt::Debug for PagedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("Directory"),
            Self::Symlink { target } => f.debug_struct("Symlink").field("target", target).finish(),
            Self::File { size, .. } => {
                f.debug_struct("File").field("size", size).finish_non_exhaustive()
            }
        }
    }
}

/// An entry that the caller enumerated.
#[derive(Debug, Clone)]
pub struct PagedEntry {
    /// Its path below the source's own.
    pub path: PathBuf,
    /// Its metadata.
    pub metadata: EntryMetadata,
    /// What it is.
    pub kind: PagedKind,
}

/// A directory whose content the caller enumerates.
#[derive(Debug, Clone)]
pub struct PagedSource {
    /// The absolute path of the directory that it becomes, like `/lifeboat/database/pgdata`.
    pub path: PathBuf,
    /// That directory's metadata.
    pub metadata: EntryMetadata,
    /// What is in it, in any order. A directory that leads to an entry and is none itself is made up.
    pub entries: Vec<PagedEntry>,
}

/// A file of a paged source, in its place.
#[derive(Clone)]
pub(crate) struct PagedFile {
    pub(crate) metadata: EntryMetadata,
    pub(crate) size: u64,
    pub(crate) piece_size: PieceSize,
    pub(crate) content: Arc<dyn PagedContent>,
}

impl fmt::Debug for PagedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagedFile").field("size", &self.size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_pages_and_no_longer_than_restic_reads() {
        for bytes in [0, 4096, (8 << 10) + 1, (8 << 20) + (8 << 10)] {
            assert_eq!(PieceSize::new(bytes), None, "{bytes}");
        }
        for bytes in [8 << 10, 24 << 10, 64 << 10, 8 << 20] {
            assert_eq!(PieceSize::new(bytes).map(PieceSize::bytes), Some(bytes));
        }
    }

    #[test]
    fn a_file_is_its_pieces() {
        let size = PieceSize::default();
        let lengths = |file: u64| -> Vec<_> {
            (0..size.count(file)).map(|number| size.length(number, file).unwrap()).collect()
        };
        assert_eq!(lengths(0), [0; 0]);
        assert_eq!(lengths(1), [1]);
        assert_eq!(lengths(64 << 10), [64 << 10]);
        assert_eq!(lengths((128 << 10) + 5), [64 << 10, 64 << 10, 5]);
        assert_eq!((size.length(3, (128 << 10) + 5), size.offset(2)), (None, 128 << 10));
    }
}
