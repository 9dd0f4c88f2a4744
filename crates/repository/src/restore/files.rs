//! The files of a restore that are open for writing, a bounded number at a time.
//!
//! Pieces of one file come from several packs and on several threads. The first piece creates the
//! file, all pieces share one descriptor while it is kept, the last piece closes it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entries::EntryNumber;

/// Locks between which the files are divided, so that threads seldom wait for each other's opening.
const SHARDS: usize = 16;

/// Open files a shard, 256 in all: with the parents of the target and the process' own well below
/// the usual limit of 1024.
const OPEN_MAX: usize = 16;

/// A file that got its last piece.
#[derive(Debug)]
pub enum Finished {
    /// It is still open.
    Open(Arc<File>),
    /// It was put away in favour of another.
    PutAway,
    /// None of its pieces could be had.
    NeverMade,
}

/// Opens and keeps files, by their entries.
#[derive(Debug, Default)]
pub struct OpenFiles {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    open: HashMap<EntryNumber, Arc<File>>,
    created: HashSet<EntryNumber>,
}

impl OpenFiles {
    /// Returns the file of this number: creates it the first time, opens it again if need be.
    pub fn get(
        &self,
        number: EntryNumber,
        create: impl FnOnce() -> io::Result<OwnedFd>,
        reopen: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> io::Result<Arc<File>> {
        let mut shard = self.shard(number);
        if let Some(file) = shard.open.get(&number) {
            return Ok(Arc::clone(file));
        }
        let fd = if shard.created.contains(&number) { reopen()? } else { create()? };
        shard.created.insert(number);
        if shard.open.len() >= OPEN_MAX {
            // Any will do: the order of packs is close to the order of files.
            let victim = shard.open.keys().next().copied();
            victim.and_then(|victim| shard.open.remove(&victim));
        }
        let file = Arc::new(File::from(fd));
        shard.open.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Lets go of a file that gets no more pieces.
    pub fn finish(&self, number: EntryNumber) -> Finished {
        let mut shard = self.shard(number);
        match (shard.created.remove(&number), shard.open.remove(&number)) {
            (_, Some(file)) => Finished::Open(file),
            (true, None) => Finished::PutAway,
            (false, None) => Finished::NeverMade,
        }
    }

    fn shard(&self, number: EntryNumber) -> MutexGuard<'_, Shard> {
        self.shards[number as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_file_is_created_once_and_reopened_when_it_was_put_away() {
        let dir = tempfile::tempdir().unwrap();
        let files = OpenFiles::default();
        let (created, reopened) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let open = |number: EntryNumber| {
            let path = dir.path().join(number.to_string());
            let create = || {
                created.fetch_add(1, Ordering::Relaxed);
                File::create_new(&path).map(OwnedFd::from)
            };
            let reopen = || {
                reopened.fetch_add(1, Ordering::Relaxed);
                File::options().write(true).open(&path).map(OwnedFd::from)
            };
            files.get(number, create, reopen).unwrap()
        };
        let count = u32::try_from(SHARDS * (OPEN_MAX + 1)).unwrap();
        (0..count).for_each(|number| drop(open(number)));
        (0..count).for_each(|number| drop(open(number)));
        assert_eq!(created.load(Ordering::Relaxed), count as usize);
        assert!(reopened.load(Ordering::Relaxed) > 0, "more files than may be open at once");
        let open_now: usize = files.shards.iter().map(|s| s.lock().unwrap().open.len()).sum();
        assert!(open_now <= SHARDS * OPEN_MAX);
        assert!(!matches!(files.finish(0), Finished::NeverMade));
        assert!(matches!(files.finish(0), Finished::NeverMade), "finished files are forgotten");
    }
}
