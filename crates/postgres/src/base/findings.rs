//! What was found of pages and files while they were read.
//!
//! # Limits
//!
//! Of each file at most [`PAGES_NAMED_MAX`] bad pages are named; all are counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lifeboat_model::Lsn;

use super::sum::Crc32c;
use crate::page::BlockNumber;

/// How many pages of one file are named: whoever has more needs the file, not its pages.
pub const PAGES_NAMED_MAX: usize = 1000;

/// A page that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadPage {
    /// Which page of the relation.
    pub block: BlockNumber,
    /// Which record it says changed it last.
    pub lsn: Lsn,
}

/// What was found of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFinding {
    /// Whether it was gone when it was to be read.
    pub is_gone: bool,
    /// Whether another file had its place when it was to be read.
    pub is_replaced: bool,
    /// Pages that are damaged, or that the log repairs.
    pages: Vec<BadPage>,
    /// How many more there are.
    more: u64,
    /// The sum over all of it, once all of it was read.
    pub sum: Option<Crc32c>,
}

/// What the server says of the pages that a backup read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSpan {
    /// Where the backup starts: what was changed from there on, the log repairs.
    pub start: Lsn,
    /// Where it stops: nothing can have been changed behind that.
    pub stop: Lsn,
}

impl FileFinding {
    /// Returns the damaged pages, those left out that the log repairs, and how many more there are.
    pub fn damaged(&self, span: LogSpan) -> (Vec<BlockNumber>, u64) {
        let is_repaired = |page: &&BadPage| page.lsn >= span.start && page.lsn <= span.stop;
        let damaged = self.pages.iter().filter(|page| !is_repaired(page));
        let mut blocks: Vec<_> = damaged.map(|page| page.block).collect();
        blocks.sort_unstable();
        (blocks, self.more)
    }
}

/// What was found of all files, gathered by all who read.
#[derive(Debug, Default)]
pub struct Findings(Mutex<BTreeMap<PathBuf, FileFinding>>);

impl Findings {
    fn note(&self, path: &Path, change: impl FnOnce(&mut FileFinding)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(path.to_owned()).or_default());
    }

    /// Notes that a file is gone.
    pub fn note_gone(&self, path: &Path) {
        self.note(path, |file| file.is_gone = true);
    }

    /// Notes that a file is not the one that was enumerated.
    pub fn note_replaced(&self, path: &Path) {
        self.note(path, |file| file.is_replaced = true);
    }

    /// Notes the sum over all of a file.
    pub fn note_sum(&self, path: &Path, sum: Crc32c) {
        self.note(path, |file| file.sum = Some(sum));
    }

    /// Notes a page.
    pub fn note_page(&self, path: &Path, page: BadPage) {
        self.note(path, |file| {
            if file.pages.len() < PAGES_NAMED_MAX {
                file.pages.push(page);
            } else {
                file.more += 1;
            }
        });
    }

    /// Returns what was found of a file.
    pub fn of(&self, path: &Path) -> FileFinding {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(path).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: LogSpan = LogSpan { start: Lsn(0x300_0028), stop: Lsn(0x400_0000) };

    #[test]
    fn what_the_log_repairs_is_no_damage_and_what_comes_from_the_future_is() {
        let findings = Findings::default();
        let path = Path::new("base/5/1259");
        for (block, lsn) in [(9, 0x200_0000), (3, 0x300_0028), (4, 0x400_0000), (5, 0x400_0001)] {
            findings.note_page(path, BadPage { block: BlockNumber(block), lsn: Lsn(lsn) });
        }
        assert_eq!(findings.of(path).damaged(SPAN), (vec![BlockNumber(5), BlockNumber(9)], 0));
        assert_eq!(findings.of(Path::new("base/5/1")), FileFinding::default());
    }

    #[test]
    fn a_bounded_number_is_named_and_all_are_counted() {
        let findings = Findings::default();
        let path = Path::new("x");
        for block in 0..1007 {
            findings.note_page(path, BadPage { block: BlockNumber(block), lsn: Lsn(0) });
        }
        let (named, more) = findings.of(path).damaged(SPAN);
        assert_eq!((named.len(), more), (PAGES_NAMED_MAX, 7));
    }
}
