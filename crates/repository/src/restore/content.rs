//! The content of files: read, opened, and written to where it goes, unit by unit on several threads.
//!
//! A file of one piece, as most are, is made, written, given its metadata and closed in one go. One
//! of several pieces is open while they come; the last of them finishes it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lifeboat_model::{Event, Stage, Work};
use lifeboat_tiers::TierError;
use rustix::fs::FallocateFlags;

use super::entries::{DirNumber, EntryNumber, Sort, There};
use super::files::Finished;
use super::metadata::{Content, Inherited};
use super::reads::{Piece, RangeRead, Reach, ranges, units};
use super::run::{Run, Tally};
use super::target::{self, Folder};
use crate::blob::{BlobKind, BlobLocation, BlobOpener};
use crate::check::explain;
use crate::error::RepositoryError;
use crate::profile::{Activity, Meter};

impl Run<'_> {
    /// Reads and writes pieces, which are in the order of packs.
    pub(super) fn write_content(&self, pieces: &[Piece]) -> Result<(), RepositoryError> {
        let reach = Reach::of(self.repository.store());
        let units = units(pieces, reach);
        let threads = self.parallel.0.min(units.len()).max(1);
        let shares = Shares::new(units.len(), threads);
        let work = |thread: usize| {
            let mut reader = Reader::new(self);
            let mut writer = Writer::new(self);
            while !self.stops() {
                let Some(unit) = shares.take(thread).and_then(|number| units.get(number)) else {
                    break;
                };
                let pieces = &pieces[unit.clone()];
                for range in ranges(pieces, reach) {
                    reader.restore(&range, pieces, &mut writer);
                }
            }
            self.add(writer.tally);
        };
        thread::scope(|scope| {
            let work = &work;
            for other in 1..threads {
                scope.spawn(move || work(other));
            }
            work(0);
        });
        self.check()
    }
}

/// Hands out units: to each thread those of its own share, one after the other, and then what others have left.
///
/// Neighbouring units are mostly of one file. The kernel lets one thread at a time write into a file, so
/// threads that took turns would wait for each other.
#[derive(Debug)]
struct Shares {
    next: Vec<AtomicUsize>,
    ends: Vec<usize>,
}

impl Shares {
    fn new(units: usize, threads: usize) -> Self {
        let border = |share: usize| units * share / threads;
        Self {
            next: (0..threads).map(|share| AtomicUsize::new(border(share))).collect(),
            ends: (1..=threads).map(border).collect(),
        }
    }

    fn take(&self, thread: usize) -> Option<usize> {
        let shares = (thread..self.ends.len()).chain(0..thread);
        shares.into_iter().find_map(|share| {
            let number = self.next[share].fetch_add(1, Ordering::Relaxed);
            (number < self.ends[share]).then_some(number)
        })
    }
}

/// Why a piece could not be had.
#[derive(Debug, Clone)]
enum Problem {
    /// What should be on the tier is not, or not as it was stored.
    Damage(String),
    /// It could not be read; what is there is not known.
    Trouble(String),
}

impl From<TierError> for Problem {
    fn from(error: TierError) -> Self {
        let why = explain(&error);
        match error {
            TierError::NotFound { .. } | TierError::OutOfRange { .. } => Self::Damage(why),
            _ => Self::Trouble(why),
        }
    }
}

/// Reads ranges and opens the blobs in them, in memory that is used again.
struct Reader<'w> {
    run: &'w Run<'w>,
    opener: BlobOpener<'w>,
    sealed: Vec<u8>,
    meter: Meter,
}

impl<'w> Reader<'w> {
    fn new(run: &'w Run<'w>) -> Self {
        let (opener, meter) = (BlobOpener::new(run.repository.key()), run.profile.meter());
        Self { run, opener, sealed: Vec::new(), meter }
    }

    /// Reads one range and has every piece in it written to all of its places.
    fn restore(&mut self, range: &RangeRead, all: &[Piece], writer: &mut Writer<'_>) {
        let pieces = range.pieces(all);
        let before = writer.tally;
        let pack = self.run.plan.packs.pack(&pieces[0]);
        let store = self.run.repository.store();
        let sealed = &mut self.sealed;
        let get = || store.get_into(&pack, range.range(), sealed);
        let read = self.meter.measure(Activity::Fetch, range.length as usize, get);
        let problem = read.err().map(Problem::from);
        if problem.is_none() {
            writer.tally.bytes_fetched += self.sealed.len() as u64;
        }
        for same in pieces.chunk_by(Piece::is_same_blob) {
            if self.run.stops() {
                break;
            }
            let problem = problem.clone();
            self.restore_blob(same, range, problem, writer);
        }
        let done = Work {
            items: writer.tally.files - before.files,
            bytes: writer.tally.bytes_written - before.bytes_written,
        };
        self.run.events.emit(Event::Advanced { stage: Stage::Restore, work: done });
    }

    /// Opens a blob and has it written to all of its places.
    fn restore_blob(
        &mut self,
        same: &[Piece],
        range: &RangeRead,
        problem: Option<Problem>,
        writer: &mut Writer<'_>,
    ) {
        let piece = &same[0];
        // What came and does not open may have been altered on its way.
        let may_differ = problem.is_none() && !self.run.repository.store().reads_here();
        let problem = match (problem, self.sealed.get_mut(range.bytes_of(piece))) {
            (Some(problem), _) => problem,
            (None, None) => {
                Problem::Damage("the tier returned fewer bytes than asked for".to_owned())
            }
            (None, Some(sealed)) => {
                let length = piece.uncompressed_length();
                let (opener, bytes) = (&mut self.opener, piece.plaintext_length() as usize);
                let plaintext = self.meter.measure(Activity::Open, bytes, move || {
                    opener.open_in_place(&piece.id, sealed, length)
                });
                match plaintext {
                    Ok(plaintext) => return writer.write(same, plaintext),
                    Err(defect) => Problem::Damage(explain(&defect)),
                }
            }
        };
        match self.fetch_alone(piece, may_differ) {
            Some(plaintext) => writer.write(same, &plaintext),
            None => writer.lose(same, &problem),
        }
    }

    /// Reads a blob once more, if it may come otherwise, and from other packs, if it lies in several.
    fn fetch_alone(&mut self, piece: &Piece, may_differ: bool) -> Option<Vec<u8>> {
        let known = self.run.plan.packs.location(piece);
        let others: Vec<BlobLocation> = {
            let index = self.run.repository.index();
            let all = index.locations(BlobKind::Data, &piece.id);
            all.filter(|location| may_differ || *location != known).collect()
        };
        let opener = &mut self.opener;
        others.iter().find_map(|location| {
            self.run.repository.read_blob_at(opener, BlobKind::Data, &piece.id, location).ok()
        })
    }
}

/// Writes pieces into files.
struct Writer<'w> {
    run: &'w Run<'w>,
    /// The directory that was used last.
    folder: Option<(DirNumber, Arc<Folder>)>,
    tally: Tally,
    meter: Meter,
}

impl<'w> Writer<'w> {
    fn new(run: &'w Run<'w>) -> Self {
        Self { run, folder: None, tally: Tally::default(), meter: run.profile.meter() }
    }

    /// Writes a piece to all of its places; one of zeros is left as the hole that is there.
    fn write(&mut self, same: &[Piece], plaintext: &[u8]) {
        let is_hole = plaintext.iter().all(|byte| *byte == 0);
        for piece in same {
            let entry = self.run.plan.entries.get(piece.file);
            let Sort::File { size, count, .. } = entry.sort else { continue };
            let alone =
                count == 1 && entry.there == There::Nothing && size == plaintext.len() as u64;
            let meter = self.meter.clone();
            meter.measure(Activity::Write, plaintext.len(), || {
                if alone {
                    self.write_whole(piece.file, plaintext, is_hole);
                } else {
                    self.write_part(piece, size, plaintext, is_hole);
                }
            });
            self.tally.bytes_written += plaintext.len() as u64;
        }
    }

    /// Makes a file that is this piece.
    fn write_whole(&mut self, number: EntryNumber, plaintext: &[u8], is_hole: bool) {
        let run = self.run;
        let made = self.folder_of(number).and_then(|folder| {
            let length = if is_hole { plaintext.len() as u64 } else { 0 };
            let file = target::make_file(&folder, run.plan.entries.name(number), length)?;
            let file = File::from(file);
            if !is_hole {
                file.write_all_at(plaintext, 0)?;
            }
            Ok((file, folder.hands_down))
        });
        match made {
            Ok((file, inherited)) => {
                run.apply_open(&file, number, inherited);
                self.tally.add_file(plaintext.len() as u64);
            }
            Err(error) => run.note_failure(number, "write the file", error),
        }
    }

    /// Writes a piece into a file that has others.
    fn write_part(&mut self, piece: &Piece, size: u64, plaintext: &[u8], is_hole: bool) {
        let (run, number) = (self.run, piece.file);
        let there = run.plan.entries.get(number).there;
        let written = self.folder_of(number).and_then(|folder| {
            let name = run.plan.entries.name(number);
            let create = || match there {
                There::Part => target::open_to_complete(&folder, name, size),
                _ => target::make_file(&folder, name, size),
            };
            let file = run.files.get(number, create, || target::reopen_file(&folder, name))?;
            match (is_hole, there) {
                (false, _) => file.write_all_at(plaintext, piece.place),
                (true, There::Part) => punch(&file, piece.place, plaintext),
                (true, _) => Ok(()),
            }
        });
        if let Err(error) = written {
            run.note_failure(number, "write the file", error);
        }
        self.piece_done(number, size);
    }

    fn lose(&mut self, same: &[Piece], problem: &Problem) {
        let run = self.run;
        for (number, piece) in same.iter().enumerate() {
            let (pack, offset) = (run.plan.packs.pack(piece), piece.offset);
            let (id, Problem::Damage(why) | Problem::Trouble(why)) = (piece.id.to_hex(), problem);
            let what = format!("data blob {id} in pack {} at {offset}: {why}", pack.to_hex());
            run.fail(piece.file, &what);
            if number == 0 && matches!(problem, Problem::Damage(_)) {
                run.note_damage(what, pack);
            }
            if let Sort::File { size, .. } = run.plan.entries.get(piece.file).sort {
                self.piece_done(piece.file, size);
            }
        }
    }

    /// Counts a piece down; the last one finishes the file. A file that is not whole gets its
    /// metadata, too, but for its times, if any of it could be had.
    fn piece_done(&mut self, number: EntryNumber, size: u64) {
        let run = self.run;
        // Release what this thread wrote, acquire what the others wrote.
        if run.outstanding[number as usize].fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let content = if run.has_failed(number) { Content::Broken } else { Content::Whole };
        match run.files.finish(number) {
            Finished::Open(file) => run.apply_open_as(&*file, number, Inherited::Maybe, content),
            Finished::PutAway => run.apply_named_as(number, Inherited::Maybe, content),
            Finished::NeverMade => return,
        }
        if content == Content::Whole {
            self.tally.add_file(size);
        }
    }

    fn folder_of(&mut self, number: EntryNumber) -> io::Result<Arc<Folder>> {
        let parent = self.run.plan.entries.get(number).parent();
        if let Some((known, folder)) = &self.folder
            && *known == parent
        {
            return Ok(Arc::clone(folder));
        }
        let folder = self.run.target.directory(&self.run.plan.entries, parent)?;
        self.folder = Some((parent, Arc::clone(&folder)));
        Ok(folder)
    }
}

/// Makes a hole in a file that may have something there.
fn punch(file: &File, place: u64, zeros: &[u8]) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, flags, place, zeros.len() as u64) {
        Ok(()) => Ok(()),
        Err(_) => file.write_all_at(zeros, place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_is_taken_once_and_a_threads_own_first() {
        for (units, threads) in [(0, 1), (1, 1), (7, 2), (3, 3), (100, 8)] {
            let shares = Shares::new(units, threads);
            let first = shares.take(threads - 1);
            assert_eq!(first, (units > 0).then(|| units * (threads - 1) / threads));
            let rest = std::iter::from_fn(|| shares.take(0));
            let mut taken: Vec<_> = rest.chain(first).collect();
            taken.sort_unstable();
            assert_eq!(taken, (0..units).collect::<Vec<_>>());
        }
    }
}
