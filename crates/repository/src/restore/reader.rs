//! Streams one file out of a snapshot, fetching ahead of whoever reads.
//!
//! A dump goes from the tier into `pg_restore` this way without ever being a file.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use lifeboat_model::BlobId;
use lifeboat_tiers::{ReadRange, TierError};
use tokio::task::JoinHandle;

use super::reads::{BlobRead, RangeRead, coalesce};
use crate::blob::{BlobKind, BlobOpener};
use crate::error::{Defect, RepositoryError, StoredObject};
use crate::listing::find;
use crate::node::{Node, NodeKind};
use crate::repository::{Indexed, Repository};
use crate::snapshot::Snapshot;

/// Ranges that are being fetched ahead, at most 8 MiB each.
const AHEAD_MAX: usize = 3;

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
    repository: &'r Repository<Indexed>,
    opener: BlobOpener<'r>,
    size: u64,
    ranges: std::vec::IntoIter<RangeRead>,
    ahead: VecDeque<Ahead>,
    /// The range that is being read: its bytes, or why there are none, and its blobs to come.
    current: Option<Current>,
    plaintext: Bytes,
    /// How often each blob to come follows itself: a sparse file has the same one over and over.
    repeats: VecDeque<usize>,
    /// How often the last blob is still to be repeated.
    again: usize,
    last: Bytes,
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

#[derive(Debug)]
struct Current {
    bytes: Option<Bytes>,
    offset: u32,
    blobs: std::vec::IntoIter<BlobRead>,
}

impl<'r> FileReader<'r> {
    fn new(
        repository: &'r Repository<Indexed>,
        size: u64,
        content: &[BlobId],
    ) -> Result<Self, RepositoryError> {
        let mut blobs = Vec::new();
        let mut repeats = VecDeque::new();
        for run in content.chunk_by(|a, b| a == b) {
            let id = &run[0];
            let location = repository.locate(BlobKind::Data, id).ok_or_else(|| {
                let object = StoredObject::Blob { kind: BlobKind::Data, id: *id, at: None };
                repository.corrupt(object, Defect::NotIndexed)
            })?;
            blobs.push(BlobRead { id: *id, location, uses: Vec::new() });
            repeats.push_back(run.len() - 1);
        }
        Ok(Self {
            repository,
            opener: BlobOpener::new(repository.key()),
            size,
            ranges: coalesce(blobs).into_iter(),
            ahead: VecDeque::new(),
            current: None,
            plaintext: Bytes::new(),
            repeats,
            again: 0,
            last: Bytes::new(),
        })
    }

    /// Returns the size of the file as the snapshot has it, in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the next piece; an empty one at the end.
    fn next_piece(&mut self) -> Result<Bytes, RepositoryError> {
        if self.again > 0 {
            self.again -= 1;
            return Ok(self.last.clone());
        }
        loop {
            if let Some(current) = &mut self.current
                && let Some(blob) = current.blobs.next()
            {
                let sealed = current.bytes.as_ref().and_then(|bytes| {
                    let begin = (blob.location.offset - current.offset) as usize;
                    bytes.get(begin..begin + blob.location.length as usize)
                });
                let sealed = sealed.map(<[u8]>::to_vec);
                return self.open(&blob, sealed);
            }
            self.fetch_ahead();
            let Some(mut next) = self.ahead.pop_front() else { return Ok(Bytes::new()) };
            let fetched = self.repository.store().runtime().block_on(&mut next.fetch);
            // What went wrong is told by the single read that follows for each blob.
            let bytes = fetched.ok().and_then(Result::ok);
            let blobs = std::mem::take(&mut next.range.blobs).into_iter();
            self.current = Some(Current { bytes, offset: next.range.offset, blobs });
            self.fetch_ahead();
        }
    }

    fn open(&mut self, blob: &BlobRead, sealed: Option<Vec<u8>>) -> Result<Bytes, RepositoryError> {
        let opened = sealed.and_then(|mut sealed| {
            self.opener.open(&blob.id, &mut sealed, blob.location.uncompressed_length).ok()
        });
        let plaintext = match opened {
            Some(plaintext) => Bytes::from(plaintext),
            None => self.repository.read_blob_with(&mut self.opener, BlobKind::Data, &blob.id)?,
        };
        self.again = self.repeats.pop_front().unwrap_or_default();
        self.last = plaintext.clone();
        Ok(plaintext)
    }

    fn fetch_ahead(&mut self) {
        while self.ahead.len() < AHEAD_MAX {
            let Some(range) = self.ranges.next() else { return };
            let wanted =
                ReadRange::Bounded { offset: range.offset.into(), length: range.length.into() };
            let fetch = self.repository.store().begin_get_range(&range.pack, wanted);
            self.ahead.push_back(Ahead { range, fetch });
        }
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.plaintext.is_empty() {
            self.plaintext = self.next_piece().map_err(io::Error::other)?;
        }
        let length = buffer.len().min(self.plaintext.len());
        buffer[..length].copy_from_slice(&self.plaintext.split_to(length));
        Ok(length)
    }
}
