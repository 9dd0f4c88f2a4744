//! What a restore did, and what it could not.

use std::collections::BTreeSet;
use std::path::PathBuf;

use lifeboat_model::{Exit, PackId};
use serde::Serialize;

/// Something of a restore that did not come out as it was, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// Which file, by its path in the snapshot.
    pub path: PathBuf,
    /// What is the matter.
    pub what: String,
}

/// A report names at most this many warnings, so that a restore without root of a million files of
/// other owners stays readable; failures are named without limit.
pub const WARNINGS_MAX: usize = 1000;

/// What a restore did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// How many files are whole.
    pub files: u64,
    /// How many directories were made or taken over.
    pub directories: u64,
    /// How many links, devices and fifos were made.
    pub others: u64,
    /// How many bytes the whole files have, holes included.
    pub bytes: u64,
    /// How many bytes were fetched.
    pub bytes_fetched: u64,
    /// How many bytes of files' content were written.
    pub bytes_written: u64,
    /// How many bytes of files that were there were read and compared with the snapshot.
    pub bytes_compared: u64,
    /// How many bytes of files' content were there already.
    pub bytes_there: u64,
    /// How many files, links and devices were there already, as they should be.
    pub unchanged: u64,
    /// How many were there and were replaced or completed.
    pub replaced: u64,
    /// How many were there and were left alone, since nothing may be overwritten.
    pub untouched: u64,
    /// What was there, is not in the snapshot, and was removed.
    pub deleted: Vec<PathBuf>,
    /// How many files were read back and are as they should be, if that was asked for.
    pub verified: Option<u64>,
    /// What is whole but not in all as it was, up to a limit.
    pub warnings: Vec<Remark>,
    /// How many more warnings there were.
    pub warnings_more: u64,
    /// How many files have another owner than they had.
    pub owners_not_set: u64,
    /// What is not there or not whole, all of it.
    pub failed: Vec<Remark>,
    /// Whether an owner that could not be set makes the restore incomplete.
    pub strict_owner: bool,
    /// What the repository should hold and does not, or not as it was stored, up to a limit.
    pub damage: Vec<String>,
    /// The packs that this lies in, as far as that is known; all of them.
    pub damaged_packs: BTreeSet<PackId>,
}

impl RestoreReport {
    /// Adds what a second restore did, of other files to another place.
    pub fn add(&mut self, other: Self) {
        // Taken apart, so that whoever adds a field has to think of it here.
        let Self {
            files,
            directories,
            others,
            bytes,
            bytes_fetched,
            bytes_written,
            bytes_compared,
            bytes_there,
            unchanged,
            replaced,
            untouched,
            deleted,
            verified,
            warnings,
            warnings_more,
            owners_not_set,
            failed,
            strict_owner,
            damage,
            damaged_packs,
        } = other;
        self.files += files;
        self.directories += directories;
        self.others += others;
        self.bytes += bytes;
        self.bytes_fetched += bytes_fetched;
        self.bytes_written += bytes_written;
        self.bytes_compared += bytes_compared;
        self.bytes_there += bytes_there;
        self.unchanged += unchanged;
        self.replaced += replaced;
        self.untouched += untouched;
        self.deleted.extend(deleted);
        if let Some(verified) = verified {
            *self.verified.get_or_insert_default() += verified;
        }
        self.warnings.extend(warnings);
        self.warnings_more += warnings_more;
        self.owners_not_set += owners_not_set;
        self.failed.extend(failed);
        self.strict_owner |= strict_owner;
        let room = WARNINGS_MAX.saturating_sub(self.damage.len());
        self.damage.extend(damage.into_iter().take(room));
        self.damaged_packs.extend(damaged_packs);
    }

    /// Tells whether the repository was found damaged.
    pub fn met_damage(&self) -> bool {
        !self.damage.is_empty()
    }

    /// Tells whether everything is there, as far as was asked.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && !(self.strict_owner && self.owners_not_set > 0)
    }

    /// Returns how a command that did this ends.
    pub fn exit(&self) -> Exit {
        if self.is_complete() { Exit::Done } else { Exit::Incomplete }
    }

    /// Puts what is named into the order of paths.
    pub(super) fn sort(&mut self) {
        self.failed.sort_by(|a, b| a.path.cmp(&b.path));
        self.warnings.sort_by(|a, b| a.path.cmp(&b.path));
        self.deleted.sort();
    }

    pub(super) fn warn(&mut self, path: PathBuf, what: impl std::fmt::Display) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(Remark { path, what: what.to_string() });
        } else {
            self.warnings_more += 1;
        }
    }

    /// Takes note of damage, which is no matter of where things are restored to.
    pub(super) fn note_damage(&mut self, what: String, packs: impl IntoIterator<Item = PackId>) {
        if self.damage.len() < WARNINGS_MAX {
            self.damage.push(what);
        }
        self.damaged_packs.extend(packs);
    }

    pub(super) fn fail(&mut self, path: PathBuf, what: impl std::fmt::Display) {
        self.failed.push(Remark { path, what: what.to_string() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_make_it_incomplete_only_when_asked() {
        let mut report = RestoreReport { owners_not_set: 3, ..RestoreReport::default() };
        assert_eq!(report.exit(), Exit::Done);
        report.strict_owner = true;
        assert_eq!(report.exit(), Exit::Incomplete);
    }

    #[test]
    fn warnings_are_bounded_and_failures_are_not() {
        let mut report = RestoreReport::default();
        for _ in 0..=WARNINGS_MAX {
            report.warn("/a".into(), "odd");
            report.fail("/a".into(), "lost");
        }
        for number in 0..=WARNINGS_MAX {
            let pack = PackId::from_bytes([u8::try_from(number % 2).unwrap(); 32]);
            report.note_damage("cut off".to_owned(), [pack]);
        }
        assert!(report.met_damage());
        assert_eq!((report.damage.len(), report.damaged_packs.len()), (WARNINGS_MAX, 2));
        assert_eq!((report.warnings.len(), report.warnings_more), (WARNINGS_MAX, 1));
        assert_eq!(report.failed.len(), WARNINGS_MAX + 1);
    }
}
