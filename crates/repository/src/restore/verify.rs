//! Reads restored files back and compares them with the snapshot.
//!
//! Everything was written through to the disk before, and is dropped from memory as far as the system
//! does what it is asked, so that the disk itself is what is read.

use std::fs::File;

use lifeboat_model::{Event, Stage, Work};
use rustix::fs::Advice;

use super::entries::{EntryNumber, Sort, There, Wanted};
use super::parallel::for_each_in_steps;
use super::reads::Piece;
use super::run::Run;
use super::survey::is_in_place;
use super::target;
use crate::error::RepositoryError;

impl Run<'_> {
    /// Compares every restored file, by pieces in the order of files; names those that differ.
    pub(super) fn verify(&self, pieces: &[Piece]) -> Result<(), RepositoryError> {
        self.target.sync().map_err(|error| self.target.error("write out", error))?;
        let totals = self.plan.totals();
        let total = Some(Work { items: totals.files, bytes: totals.bytes });
        self.events.emit(Event::Started { stage: Stage::Data, total });
        let files: Vec<EntryNumber> = self
            .plan
            .entries
            .iter()
            .filter_map(|(number, entry)| {
                let restored = entry.wanted != Wanted::No && entry.there != There::Untouched;
                (restored && matches!(entry.sort, Sort::File { .. })).then_some(number)
            })
            .collect();
        let verify = |buffer: &mut Vec<u8>, index: u32| {
            let number = files[index as usize];
            if self.has_failed(number) {
                return None;
            }
            let begin = pieces.partition_point(|piece| piece.file < number);
            let end = begin + pieces[begin..].partition_point(|piece| piece.file == number);
            let problem = self.compare(number, &pieces[begin..end], buffer);
            if let Some(problem) = &problem {
                self.fail(number, &format!("it was restored, but {problem}"));
            }
            let bytes = pieces[begin..end].iter().map(|p| u64::from(p.plaintext_length())).sum();
            self.events
                .emit(Event::Advanced { stage: Stage::Data, work: Work { items: 1, bytes } });
            problem.is_none().then_some(())
        };
        let count = u32::try_from(files.len()).unwrap_or(u32::MAX);
        // A file may be large: each is taken alone.
        let parallel = (self.parallel, 1);
        let good = for_each_in_steps(parallel, 0..count, self.cancel, Vec::new, verify)?;
        self.events.emit(Event::Finished { stage: Stage::Data });
        self.state().report.verified = Some(good.len() as u64);
        Ok(())
    }

    /// Returns what is the matter with a restored file.
    fn compare(
        &self,
        number: EntryNumber,
        pieces: &[Piece],
        buffer: &mut Vec<u8>,
    ) -> Option<String> {
        let entry = self.plan.entries.get(number);
        let Sort::File { size, .. } = entry.sort else { return None };
        let opened = self.parent(entry).and_then(|parent| {
            let file = File::from(target::open_to_read(&parent, self.plan.entries.name(number))?);
            let length = file.metadata()?.len();
            Ok((file, length))
        });
        let (file, length) = match opened {
            Ok(opened) => opened,
            Err(error) => return Some(format!("it cannot be read back: {error}")),
        };
        if length != size {
            return Some(format!("it has {length} bytes instead of {size}"));
        }
        // If the system does not listen, memory is compared.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        let bad = pieces.iter().find(|piece| !is_in_place(&file, piece, buffer))?;
        Some(format!("it differs from {} on", bad.place))
    }
}
