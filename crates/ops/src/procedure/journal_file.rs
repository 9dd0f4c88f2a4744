//! The journal of a run as a file: one line an entry, each synced before it counts.
//!
//! # Crash consistency
//!
//! See [`lifeboat_runbook::journal`]. Whoever adds an entry holds the file's lock for that moment, has read all of
//! it, and cuts off first what a kill left of an entry that never counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::clock::Sleep;
use lifeboat_model::{Clock, EntryId};
use lifeboat_runbook::journal::{Damage, ENTRY_MAX, Parsed, parse};
use lifeboat_runbook::{Entry, Journal, JournalError};
use lifeboat_tiers::durable;
use rustix::fs::{FlockOperation, flock};

/// How often it is looked whether somebody else added an entry: people do not notice a second.
const POLL: Duration = Duration::from_secs(1);

/// No journal is larger: a run has some hundred entries, most of them short.
const SIZE_MAX: u64 = 64 << 20;

/// A journal in a file.
#[derive(Debug, Clone)]
pub struct JournalFile {
    path: PathBuf,
}

impl JournalFile {
    /// Names the file, which need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> JournalError {
        let path = self.path.display().to_string();
        move |source| JournalError::Io { action, path, source }
    }

    fn parsed(&self, file: &File) -> Result<Parsed, JournalError> {
        let mut bytes = Vec::new();
        file.take(SIZE_MAX).read_to_end(&mut bytes).map_err(self.failed("read"))?;
        parse(&bytes)
    }

    /// Adds an entry under the file's lock.
    fn add(&self, entry: &Entry) -> Result<(), JournalError> {
        let line = format!("{}\n", entry.line());
        if line.len() > ENTRY_MAX {
            let source = io::Error::from(io::ErrorKind::FileTooLarge);
            return Err(self.failed("add so long an entry to")(source));
        }
        let mut file = self.open().map_err(self.failed("open"))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|e| self.failed("lock")(e.into()))?;
        let Parsed { entries, whole } = self.parsed(&file)?;
        if entries.len() as u64 != entry.sequence || entries.last().map(Entry::id) != entry.before {
            return Err(JournalError::Outrun);
        }
        let write = |file: &mut File| -> io::Result<()> {
            file.set_len(whole as u64)?;
            file.seek(SeekFrom::Start(whole as u64))?;
            file.write_all(line.as_bytes())?;
            file.sync_all()?;
            // Its name has to be durable too, with its first entry.
            if entries.is_empty() {
                durable::sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
            }
            Ok(())
        };
        write(&mut file).map_err(self.failed("add to"))
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(durable::PRIVATE);
        options.open(&self.path)
    }
}

impl Journal for JournalFile {
    fn read(&self, from: u64, before: Option<EntryId>) -> Result<Vec<Entry>, JournalError> {
        let file = match File::open(&self.path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(self.failed("read"))?,
        };
        let mut entries = self.parsed(&file)?.entries;
        let from_index = usize::try_from(from).unwrap_or(usize::MAX);
        let last_seen = from_index.checked_sub(1).map(|index| entries.get(index).map(Entry::id));
        if let Some(found) = last_seen
            && found != before
        {
            let what = "is not the one that was read before";
            let sequence = from.saturating_sub(1);
            return Err(JournalError::Damaged(Damage { sequence, what }));
        }
        Ok(entries.split_off(from_index.min(entries.len())))
    }

    fn append(&self, entry: &Entry) -> Result<(), JournalError> {
        self.add(entry)
    }

    fn more<'a>(&'a self, _: u64, clock: &'a dyn Clock) -> Sleep<'a> {
        clock.sleep(POLL)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lifeboat_model::{RunId, RunbookId, Timestamp};
    use lifeboat_runbook::Fact;
    use lifeboat_runbook::entry::{Began, FORMAT};
    use uuid::Uuid;

    use super::*;

    fn first() -> Entry {
        let (run, about) = (RunId::from_uuid(Uuid::from_u128(7)), BTreeMap::new());
        let runbook = RunbookId::from_bytes([7; 32]);
        let declared = Timestamp::UNIX_EPOCH;
        let fact = Fact::Began(Began { format: FORMAT, run, runbook, declared, about });
        Entry { sequence: 0, time: Timestamp::UNIX_EPOCH, before: None, fact }
    }

    fn second(by: &str) -> Entry {
        let fact = Fact::Resumed { by: by.to_owned() };
        let before = Some(first().id());
        Entry { sequence: 1, time: Timestamp::UNIX_EPOCH, before, fact }
    }

    #[test]
    fn a_torn_end_goes_with_the_next_entry() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("journal");
        let journal = JournalFile::new(path.clone());
        assert_eq!(journal.read(0, None).unwrap(), []);
        journal.append(&first()).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"sequence\":1,\"ti").unwrap();
        assert_eq!(journal.read(0, None).unwrap(), [first()]);
        journal.append(&second("alice")).unwrap();
        assert_eq!(journal.read(1, Some(first().id())).unwrap(), [second("alice")]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn of_two_who_add_at_once_one_is_outrun() {
        let home = tempfile::tempdir().unwrap();
        let journal = JournalFile::new(home.path().join("journal"));
        journal.append(&first()).unwrap();
        journal.append(&second("alice")).unwrap();
        let outrun = journal.append(&second("bob")).unwrap_err();
        assert!(matches!(outrun, JournalError::Outrun));
        assert_eq!(journal.read(0, None).unwrap(), [first(), second("alice")]);
    }
}
