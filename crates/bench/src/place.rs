//! Where everything lies while it is measured: a directory in memory that is gone afterwards.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lifeboat_model::ByteSize;
use lifeboat_testing::interrupt::Interrupt;
use tempfile::TempDir;

use crate::failure::{BenchError, file};
use crate::machine::memory;

/// How much is written at once when memory is touched.
const TOUCH_LENGTH: usize = 4 << 20;

/// What the programs themselves need beside the files.
const PROGRAMS_BYTES: u64 = 2 << 30;

/// A directory that is removed when it is dropped.
#[derive(Debug)]
pub struct Place(TempDir);

impl Place {
    /// Makes a directory below `below`, if there is room for `needed` bytes.
    pub fn make(below: &Path, needed: u64) -> Result<Self, BenchError> {
        let free = free(below)?;
        if free < needed {
            let (needed, free) = (ByteSize(needed), ByteSize(free));
            return Err(BenchError::NoRoom { path: below.to_owned(), needed, free });
        }
        let directory = tempfile::Builder::new().prefix("lifeboat-bench-").tempdir_in(below);
        let directory = directory.map_err(file("make a directory below", below))?;
        // PostgreSQL's server, which is never root, has to get to its data below.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o711))
            .map_err(file("open", directory.path()))?;
        Ok(Self(directory))
    }

    /// Returns the path of something in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes an empty directory in it, in place of what was there.
    pub fn fresh(&self, name: &str) -> Result<PathBuf, BenchError> {
        let path = self.join(name);
        remove(&path)?;
        fs::create_dir_all(&path).map_err(file("make", &path))?;
        Ok(path)
    }

    /// Writes `bytes` once and removes them: the first use of a page of memory is slow, above all in
    /// a virtual machine, and whoever comes next would pay for it.
    pub fn touch(&self, bytes: u64, interrupt: &Interrupt) -> Result<(), BenchError> {
        let path = self.join("touched");
        let mut touched = File::create(&path).map_err(file("make", &path))?;
        let block = vec![0xa5; TOUCH_LENGTH];
        for _ in 0..bytes / TOUCH_LENGTH as u64 {
            interrupt.check()?;
            touched.write_all(&block).map_err(file("write", &path))?;
        }
        remove(&path)
    }
}

/// Removes whatever is at `path`, if anything is.
pub fn remove(path: &Path) -> Result<(), BenchError> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    let removed = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(file("remove", path))
}

/// Returns how much can be written below `directory`; in memory, some is left for the programs.
fn free(directory: &Path) -> Result<u64, BenchError> {
    let fail = |error: rustix::io::Errno| file("look at", directory)(error.into());
    let statistics = rustix::fs::statvfs(directory).map_err(fail)?;
    let free = statistics.f_bavail * statistics.f_frsize;
    let memory = memory("MemAvailable").saturating_sub(PROGRAMS_BYTES);
    Ok(free.min(memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_refused_without_room_and_gone_after_use() {
        let below = tempfile::tempdir().unwrap();
        let error = Place::make(below.path(), u64::MAX).unwrap_err();
        assert!(error.to_string().starts_with("16777216.0 TiB are needed"), "{error}");
        let place = Place::make(below.path(), 1 << 20).unwrap();
        let inner = place.fresh("a").unwrap();
        File::create(inner.join("file")).unwrap();
        assert_eq!(fs::read_dir(place.fresh("a").unwrap()).unwrap().count(), 0);
        place.touch(9 << 20, &Interrupt::default()).unwrap();
        assert!(!place.join("touched").exists());
        let path = place.path().to_owned();
        drop(place);
        assert!(!path.exists());
    }
}
