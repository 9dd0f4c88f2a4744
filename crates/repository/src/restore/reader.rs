//! Streams one file out of a snapshot, fetching ahead of whoever reads.
//!
//! A dump goes from the tier into `pg_restore` this way without ever being a file.

use std::io::{self, Read};
use std::path::Path;

use lifeboat_model::BlobId;

use super::reads::PackTable;
use super::stream::PieceStream;
use crate::blob::BlobKind;
use crate::error::{Defect, RepositoryError, StoredObject};
use crate::listing::find;
use crate::node::{Node, NodeKind};
use crate::repository::{Indexed, Repository};
use crate::snapshot::Snapshot;

/// Opens a file of a snapshot for reading from its start.
pub fn read_file<'r>(
    repository: &'r Repository<Indexed>,
    snapshot: &Snapshot,
    path: &Path,
) -> Result<FileReader<'r>, RepositoryError> {
    match find(repository, snapshot, path)? {
        Some(Node { kind: NodeKind::File { size, content }, .. }) => {
            FileReader::new(repository, size, &content)
        }
        _ => Err(RepositoryError::NotAFile { path: path.to_owned() }),
    }
}

/// A file of a snapshot, as a stream.
///
/// Every byte that it hands out belongs to a blob that hashed to its id. A read error carries a
/// [`RepositoryError`] as its source.
#[derive(Debug)]
pub struct FileReader<'r> {
    size: u64,
    pieces: PieceStream<'r>,
    /// How much of the current piece was handed out.
    taken: usize,
}

impl<'r> FileReader<'r> {
    fn new(
        repository: &'r Repository<Indexed>,
        size: u64,
        content: &[BlobId],
    ) -> Result<Self, RepositoryError> {
        let mut packs = PackTable::default();
        let mut pieces = Vec::with_capacity(content.len());
        let mut place = 0;
        for id in content {
            let location = repository.locate(BlobKind::Data, id).ok_or_else(|| {
                let object = StoredObject::Blob { kind: BlobKind::Data, id: *id, at: None };
                repository.corrupt(object, Defect::NotIndexed)
            })?;
            pieces.push(packs.piece(*id, &location, 0, place));
            place += u64::from(location.plaintext_length());
        }
        Ok(Self { size, pieces: PieceStream::new(repository, packs, pieces), taken: 0 })
    }

    /// Returns the size of the file as the snapshot has it, in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.pieces.plaintext().len() {
            self.taken = 0;
            if !self.pieces.advance().map_err(io::Error::other)? {
                self.taken = self.pieces.plaintext().len();
                return Ok(0);
            }
        }
        let rest = &self.pieces.plaintext()[self.taken..];
        let length = buffer.len().min(rest.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}
