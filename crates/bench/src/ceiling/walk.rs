//! A bare walk: every name of a tree looked at once, by all cores, and nothing else.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags, openat, statx};

/// What a walk came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Walked {
    /// Everything that has a name, directories included.
    pub entries: u64,
    /// The ordinary files among them.
    pub files: u64,
    /// What the files hold together.
    pub bytes: u64,
}

/// The directories that were found and not read yet.
#[derive(Debug, Default)]
struct Waiting {
    directories: Vec<PathBuf>,
    /// How many threads are reading one, and may yet find more.
    busy: usize,
    failed: Option<io::Error>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// Looks at everything below `root` with `threads` threads.
pub fn walk(root: &Path, threads: usize) -> io::Result<Walked> {
    let queue = Queue::default();
    queue.lock().directories.push(root.to_owned());
    let walked = thread::scope(|scope| {
        let walkers: Vec<_> = (0..threads).map(|_| scope.spawn(|| queue.work())).collect();
        let walked = walkers.into_iter().map(|walker| walker.join().expect("a walk cannot panic"));
        walked.fold(Walked::default(), Walked::and)
    });
    let failed = queue.lock().failed.take();
    failed.map_or(Ok(walked), Err)
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> Walked {
        let mut walked = Walked::default();
        while let Some(directory) = self.next() {
            let mut found = Vec::new();
            let read = look_into(&directory, &mut found, &mut walked);
            let mut waiting = self.lock();
            waiting.busy -= 1;
            waiting.directories.append(&mut found);
            if let Err(error) = read {
                waiting.failed.get_or_insert(error);
            }
            drop(waiting);
            self.changed.notify_all();
        }
        walked
    }

    /// Waits for a directory; there is none any more once nobody can find one.
    fn next(&self) -> Option<PathBuf> {
        let mut waiting = self.lock();
        loop {
            if waiting.failed.is_some() {
                return None;
            }
            if let Some(directory) = waiting.directories.pop() {
                waiting.busy += 1;
                return Some(directory);
            }
            if waiting.busy == 0 {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Walked {
    const fn and(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            files: self.files + other.files,
            bytes: self.bytes + other.bytes,
        }
    }
}

fn look_into(path: &Path, found: &mut Vec<PathBuf>, walked: &mut Walked) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(CWD, path, flags, Mode::empty())?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let state = statx(&directory, name, flags, StatxFlags::BASIC_STATS)?;
        walked.entries += 1;
        match FileType::from_raw_mode(state.stx_mode.into()) {
            FileType::Directory => {
                let name = std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes());
                found.push(path.join::<&std::ffi::OsStr>(name));
            }
            FileType::RegularFile => {
                walked.files += 1;
                walked.bytes += state.stx_size;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;

    use super::*;

    #[test]
    fn every_name_is_looked_at_once() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..40 {
            let below = directory.path().join(format!("{}/{number}", number % 7));
            fs::create_dir_all(&below).unwrap();
            File::create(below.join("file")).unwrap().write_all(&[0; 10]).unwrap();
            std::os::unix::fs::symlink("file", below.join("link")).unwrap();
        }
        for threads in [1, 4] {
            let walked = walk(directory.path(), threads).unwrap();
            assert_eq!(walked, Walked { entries: 7 + 3 * 40, files: 40, bytes: 400 });
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_for_all() {
        assert!(walk(Path::new("/nonexistent"), 3).is_err());
    }
}
