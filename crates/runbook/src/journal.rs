//! Where a run's entries are kept: only ever added to, each holding the hash of the one before.
//!
//! Several processes add to one journal: one that drives the run, and those of people who give it commands.
//! Each reads first, and adds what is to come next; whoever was outrun reads again and decides anew.
//!
//! # Crash consistency
//!
//! An entry counts once [`Journal::append`] returned. What a kill leaves of one that did not return is a
//! **torn** end: a last line without its end, or of zeros that a file system put there. It never counted, and
//! goes with the next entry. Anything else that does not fit is damage, and refused.

use std::fmt::Debug;

use lifeboat_model::clock::Sleep;
use lifeboat_model::{Classify, Clock, EntryId, ErrorKind};

use crate::entry::{Entry, id_of};

/// An entry is no longer: outputs and notes are bounded, so a longer one is none of ours.
pub const ENTRY_MAX: usize = 1 << 20;

/// Keeps the entries of one run.
pub trait Journal: Debug + Send + Sync {
    /// Returns the entries from place `from` on, which are known to follow the one with the hash `before`.
    fn read(&self, from: u64, before: Option<EntryId>) -> Result<Vec<Entry>, JournalError>;

    /// Adds an entry durably; fails with [`JournalError::Outrun`] if its place is taken.
    fn append(&self, entry: &Entry) -> Result<(), JournalError>;

    /// Waits until there may be more than `seen` entries.
    fn more<'a>(&'a self, seen: u64, clock: &'a dyn Clock) -> Sleep<'a>;
}

/// An entry that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {sequence} {what}")]
pub struct Damage {
    /// Which entry.
    pub sequence: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

/// A journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Somebody else added an entry meanwhile.
    #[error("somebody else added to the journal meanwhile")]
    Outrun,
    /// It is not what was written.
    #[error("the journal is not what was written: {0}")]
    Damaged(Damage),
    /// The system refused.
    #[error("cannot {action} the journal {path}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: String,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
}

impl Classify for JournalError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Outrun => ErrorKind::Conflict,
            Self::Damaged(_) => ErrorKind::Corrupt,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                ErrorKind::Denied
            }
            Self::Io { .. } => ErrorKind::Unavailable,
        }
    }
}

/// The entries of a journal's bytes, and how many of the bytes they take; the rest is torn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the last of them ends.
    pub whole: usize,
}

/// Reads the bytes of a journal, one entry a line.
pub fn parse(bytes: &[u8]) -> Result<Parsed, JournalError> {
    let (mut entries, mut whole, mut before) = (Vec::new(), 0, None);
    while let Some(length) = bytes[whole..].iter().position(|byte| *byte == b'\n') {
        let line = &bytes[whole..whole + length];
        let sequence = entries.len() as u64;
        let damaged = |what| JournalError::Damaged(Damage { sequence, what });
        let is_last = whole + length + 1 == bytes.len();
        if is_last && line.contains(&0) {
            break;
        }
        let text = std::str::from_utf8(line).map_err(|_| damaged("is no text"))?;
        let entry: Entry = serde_json::from_str(text).map_err(|_| damaged("cannot be read"))?;
        check_place(&entry, sequence, before)?;
        before = Some(id_of(text));
        entries.push(entry);
        whole += length + 1;
    }
    Ok(Parsed { entries, whole })
}

/// Checks that an entry belongs where it stands.
pub fn check_place(
    entry: &Entry,
    sequence: u64,
    before: Option<EntryId>,
) -> Result<(), JournalError> {
    let damaged = |what| Err(JournalError::Damaged(Damage { sequence, what }));
    if entry.sequence != sequence {
        return damaged("has another's number");
    }
    if entry.before != before {
        return damaged("does not follow the one before it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lifeboat_model::Timestamp;

    use super::*;
    use crate::Fact;

    fn entries() -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for (sequence, why) in (0..).zip(["one", "two", "three"]) {
            let before = entries.last().map(Entry::id);
            let (by, why) = ("alice".to_owned(), why.to_owned());
            let time = Timestamp::UNIX_EPOCH;
            entries.push(Entry { sequence, time, before, fact: Fact::Paused { by, why } });
        }
        entries
    }

    fn bytes(entries: &[Entry]) -> Vec<u8> {
        entries.iter().flat_map(|entry| format!("{}\n", entry.line()).into_bytes()).collect()
    }

    #[test]
    fn a_journal_that_is_cut_anywhere_has_its_whole_entries() {
        let (entries, mut whole) = (entries(), 0);
        let bytes = bytes(&entries);
        for cut in 0..=bytes.len() {
            let parsed = parse(&bytes[..cut]).unwrap();
            whole = whole.max(parsed.whole);
            assert_eq!(parsed.whole, whole, "cut at {cut}");
            assert_eq!(parsed.entries, entries[..parsed.entries.len()]);
            assert_eq!(super::tests::bytes(&parsed.entries).len(), parsed.whole);
        }
        assert_eq!(whole, bytes.len());
    }

    #[test]
    fn zeros_that_a_power_cut_left_are_torn() {
        let mut bytes = bytes(&entries());
        let whole = bytes.len();
        bytes.extend([0; 40]);
        assert_eq!(parse(&bytes).unwrap().whole, whole);
        bytes.push(b'\n');
        assert_eq!(parse(&bytes).unwrap().whole, whole);
    }

    #[test]
    fn an_altered_entry_is_found() {
        let bytes = bytes(&entries());
        let ends: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').collect();
        for at in 0..ends[1] {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            let error = parse(&altered).map(|parsed| parsed.whole).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}");
        }
    }
}
