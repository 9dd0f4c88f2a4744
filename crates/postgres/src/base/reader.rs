//! Reads a file of a running server, piece by piece: pages that were torn are read again, and those
//! that are damaged are named.
//!
//! # Invariants
//!
//! - A piece is as long as was asked for: what was cut off meanwhile is filled up with zeros, and what
//!   was added is not read. The log does the rest.
//! - A piece is called the same as before only if every page of it was whole, was written by the log, and
//!   was changed by no record from the start of the former backup on. A page of zeros never is: a
//!   relation that was cut off and grew again has them where others were, and no record's position.
//!   ADR 0022 has the reasons.
//! - A damaged page is kept as it is. Whoever restores gets what was there, and knows of it.
//! - The sum of a file is over what was read of it. Of a piece that is called the same as before that is
//!   what the former backup has to have: a restored file tells whether it has.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::Lsn;
use lifeboat_repository::source::{FormerPiece, PagedContent, PieceState};

use super::findings::{BadPage, Findings};
use super::inventory::FileIdentity;
use super::relation::RelationFile;
use super::sum::{Crc32c, PieceSums, Shift};
use crate::page::{BlockNumber, Checksums, PAGE_LENGTH, PageHeader, PageVerdict, judge};

/// What keeps the server from forgetting the log that a backup needs.
pub trait BackupHold: Debug + Send + Sync {
    /// Tells whether it is lost, and the backup with it.
    fn is_lost(&self) -> bool;
}

/// What all files of one backup are read with.
#[derive(Debug)]
pub struct Reading {
    /// Where the backup starts.
    pub start: Lsn,
    /// Whether pages have checksums.
    pub checksums: Checksums,
    /// Below this no record can be: the first segment of a log is never used.
    pub log_begin: Lsn,
    /// What is found.
    pub findings: Findings,
    /// What holds the backup open.
    pub hold: Arc<dyn BackupHold>,
    /// How the sums of pieces are put together.
    pub shift: Arc<Shift>,
}

/// A file of a running server.
#[derive(Debug)]
pub struct LiveFile {
    /// Where it is.
    pub source: PathBuf,
    /// Its name in the manifest.
    pub path: PathBuf,
    /// Which file it is.
    pub identity: FileIdentity,
    /// Which pages it has, if it has pages.
    pub relation: Option<RelationFile>,
    /// Pages that a record before this changed last are as the parent has them; absent where the parent
    /// says nothing of them.
    pub unchanged_before: Option<Lsn>,
    reading: Arc<Reading>,
    state: Mutex<State>,
}

/// What is known of a file that is being read.
#[derive(Debug)]
struct State {
    open: Open,
    /// How many pieces are still to be read.
    left: u64,
    /// The sum of what was read so far.
    sums: PieceSums,
    /// Up to where the file was read.
    size: u64,
}

#[derive(Debug, Clone)]
enum Open {
    NotYet,
    File(Arc<File>, Place),
    Gone,
}

/// Which file has the place of the one that was enumerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Same,
    Another,
}

impl LiveFile {
    /// Takes a file that is to be read in so many pieces.
    pub fn new(
        (source, path): (PathBuf, PathBuf),
        identity: FileIdentity,
        relation: Option<RelationFile>,
        pieces: u64,
        reading: Arc<Reading>,
    ) -> Self {
        let sums = PieceSums::new(Arc::clone(&reading.shift));
        let state = Mutex::new(State { open: Open::NotYet, left: pieces, sums, size: 0 });
        Self { source, path, identity, relation, unchanged_before: None, reading, state }
    }

    /// Opens the file, or tells that it is gone.
    fn open(&self) -> io::Result<Option<(Arc<File>, Place)>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(state.open, Open::NotYet) {
            state.open = self.open_first()?;
        }
        Ok(match &state.open {
            Open::File(file, place) => Some((Arc::clone(file), *place)),
            Open::NotYet | Open::Gone => None,
        })
    }

    fn open_first(&self) -> io::Result<Open> {
        let file = match File::open(&self.source) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.reading.findings.note_gone(&self.path);
                return Ok(Open::Gone);
            }
            other => other?,
        };
        let metadata = file.metadata()?;
        let found = FileIdentity { device: metadata.dev(), inode: metadata.ino() };
        let place = if found == self.identity { Place::Same } else { Place::Another };
        if place == Place::Another {
            self.reading.findings.note_replaced(&self.path);
        }
        Ok(Open::File(Arc::new(file), place))
    }

    /// Takes the sum of a piece, of what is stored of it or of what the parent has there; and closes the file
    /// after its last one: a cluster has more files than a process may have open.
    fn end_piece(&self, offset: u64, piece: &[u8]) {
        let (sum, length) = (Crc32c::of(piece), piece.len() as u64);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sums.add(offset, sum, length);
        state.size = state.size.max(offset + length);
        state.left = state.left.saturating_sub(1);
        if state.left == 0 {
            state.open = Open::NotYet;
            if let Some(sum) = state.sums.whole(state.size) {
                self.reading.findings.note_sum(&self.path, sum);
            }
        }
    }

    /// Looks at the pages of a piece, reads again what was torn, and tells whether all of them are as the
    /// parent has them.
    fn look_at_pages(
        &self,
        file: &File,
        relation: RelationFile,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        let first = offset / PAGE_LENGTH as u64;
        let mut is_unchanged = buffer.len().is_multiple_of(PAGE_LENGTH);
        for (number, page) in (first..).zip(buffer.chunks_exact_mut(PAGE_LENGTH)) {
            let number = u32::try_from(number).ok();
            let block = number.and_then(|page| BlockNumber::in_file(relation.segment, page));
            // No relation is that long, so nobody can say what its page should be.
            let Some(block) = block else { return Ok(false) };
            is_unchanged &= self.look_at_page(file, block, page)?;
        }
        Ok(is_unchanged)
    }

    fn look_at_page(&self, file: &File, block: BlockNumber, page: &mut [u8]) -> io::Result<bool> {
        match judge(page, block, self.reading.checksums) {
            PageVerdict::New => Ok(false),
            PageVerdict::Valid => Ok(self.is_unchanged(page)),
            PageVerdict::Invalid(_) => {
                self.read_again(file, block, page)?;
                Ok(false)
            }
        }
    }

    fn is_unchanged(&self, page: &[u8]) -> bool {
        let lsn = PageHeader::parse(page).map_or(Lsn(0), |header| header.lsn);
        let before = self.unchanged_before;
        before.is_some_and(|before| lsn >= self.reading.log_begin && lsn < before)
    }

    /// Reads a page again that was torn or is damaged; only what does not change is damaged.
    fn read_again(&self, file: &File, block: BlockNumber, page: &mut [u8]) -> io::Result<()> {
        let mut again = [0; PAGE_LENGTH];
        let offset = u64::from(block.0 % crate::page::FILE_PAGES) * PAGE_LENGTH as u64;
        read_padded(file, offset, &mut again)?;
        let is_whole =
            !matches!(judge(&again, block, self.reading.checksums), PageVerdict::Invalid(_));
        if is_whole || again != *page {
            // Being written now, so it was changed after the start, and the log has all of it.
            page.copy_from_slice(&again);
            return Ok(());
        }
        let lsn = PageHeader::parse(page).map_or(Lsn(0), |header| header.lsn);
        self.reading.findings.note_page(&self.path, BadPage { block, lsn });
        Ok(())
    }
}

impl PagedContent for LiveFile {
    fn read(
        &self,
        offset: u64,
        buffer: &mut [u8],
        former: Option<FormerPiece>,
    ) -> io::Result<PieceState> {
        if self.reading.hold.is_lost() {
            return Err(io::Error::other("the session that held the backup open was lost"));
        }
        let Some((file, place)) = self.open()? else { return Ok(PieceState::Vanished) };
        read_padded(&file, offset, buffer)?;
        let is_unchanged = match self.relation {
            Some(relation) => self.look_at_pages(&file, relation, offset, buffer)?,
            None => false,
        };
        self.end_piece(offset, buffer);
        Ok(match former {
            Some(former) if is_unchanged && place == Place::Same => PieceState::AsInParent(former),
            _ => PieceState::Read,
        })
    }
}

/// Reads into all of a buffer; what lies behind the file's end is zeros.
fn read_padded(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer[done..].fill(0);
    Ok(())
}

#[cfg(test)]
mod tests;
