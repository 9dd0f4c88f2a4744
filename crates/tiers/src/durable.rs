//! Files that are whole after a crash: the only place that writes files which somebody relies on.
//!
//! [`replace`] and [`write_new`] are what state files, keys and plans are written with; the local
//! tier stores its objects through the same steps.
//!
//! # Crash consistency
//!
//! Bytes go to a temporary name in the same directory, the file is synced, then it takes its name in
//! one step, then the directory is synced. After a kill the name holds the old bytes or the new
//! ones, never a part. What a kill can leave is a temporary file, whose name starts with a dot;
//! the next writer in that directory removes it once it is [`LEFTOVER_AGE`] old.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// How old a temporary file is before it counts as left by a crash; no single write takes a day.
pub const LEFTOVER_AGE: Duration = Duration::from_hours(24);

const TEMPORARY_PREFIX: &str = ".lifeboat-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// Readable and writable by the owner alone.
pub const PRIVATE: u32 = 0o600;

/// Replaces the file at `path`, or creates it, with `contents` and permission bits `mode`.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut file = Temporary::beside(path)?;
    file.fill(contents, mode)?;
    file.take_name(path)
}

/// Creates the file at `path`; one that is there already is left alone and is an
/// [`io::ErrorKind::AlreadyExists`].
pub fn write_new(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut file = Temporary::beside(path)?;
    file.fill(contents, mode)?;
    file.take_free_name(path)
}

/// Removes the file at `path` durably; one that is not there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory(parent(path)?),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates the directory at `path` and its missing parents with permission bits `mode`, each synced
/// into the one above it.
pub fn create_directories(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path)?;
    create_directories(above, mode)?;
    create_directory(path, mode)
}

/// Creates one directory, or takes the one that is there, and makes its name durable.
///
/// One that is there may have been made by another process a moment ago, so it is synced as well.
pub(crate) fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !path.is_dir() {
                return Err(Errno::NOTDIR.into());
            }
        }
        other => other?,
    }
    sync_directory(parent(path)?)
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some network file systems cannot sync a directory; they write names through.
        Err(error) if matches!(errno(&error), Some(Errno::INVAL | Errno::NOTSUP)) => Ok(()),
        other => other,
    }
}

/// Returns a name for an unfinished write that nobody else has.
pub(crate) fn temporary_name() -> String {
    let number: u64 = rand::random();
    format!("{TEMPORARY_PREFIX}{number:016x}{TEMPORARY_SUFFIX}")
}

/// Tells whether a file of this name is an unfinished write.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX)
}

/// Tells whether the error says that the path, or a directory on its way, is not there.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::NOENT | Errno::NOTDIR))
}

pub(crate) fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

/// Returns the directory that holds `path`; that of a bare name is the current one.
pub(crate) fn parent(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(above) => Ok(above),
        None => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    }
}

/// The permission bits of what is written.
///
/// The group gets in where it gets into the root, so that a tier that several users share (restic
/// does the same) stays shared. Nobody else ever does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Modes {
    pub(crate) object: u32,
    pub(crate) directory: u32,
}

impl Modes {
    pub(crate) const fn below(root_mode: u32) -> Self {
        if root_mode & 0o050 == 0o050 {
            Self { object: 0o440, directory: 0o750 | (root_mode & 0o2020) }
        } else {
            Self { object: 0o400, directory: 0o700 }
        }
    }
}

/// A file under a temporary name; removed when dropped before it took its real one.
#[derive(Debug)]
pub(crate) struct Temporary {
    file: File,
    path: PathBuf,
    is_named: bool,
}

impl Temporary {
    /// Creates an empty one in the directory of `target`.
    pub(crate) fn beside(target: &Path) -> io::Result<Self> {
        let path = parent(target)?.join(temporary_name());
        let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&path)?;
        Ok(Self { file, path, is_named: false })
    }

    /// Writes the contents, sets the permission bits and makes both durable.
    pub(crate) fn fill(&mut self, contents: &[u8], mode: u32) -> io::Result<()> {
        self.file.write_all(contents)?;
        match self.file.set_permissions(fs::Permissions::from_mode(mode)) {
            // A file system without permission bits; what it grants is decided by its mount.
            Err(error) if matches!(errno(&error), Some(Errno::PERM | Errno::NOTSUP)) => {}
            other => other?,
        }
        self.file.sync_all()
    }

    /// Takes the name `target`, replacing what has it.
    pub(crate) fn take_name(mut self, target: &Path) -> io::Result<()> {
        rustix::fs::rename(&self.path, target)?;
        self.is_named = true;
        sync_directory(parent(target)?)
    }

    /// Takes the name `target` unless something has it; of several writers exactly one succeeds.
    pub(crate) fn take_free_name(mut self, target: &Path) -> io::Result<()> {
        let moved = renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE);
        let taken = match moved {
            Ok(()) => {
                self.is_named = true;
                Ok(())
            }
            // NFS and older FUSE cannot rename like this, but can link; the drop takes the first
            // name away.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::hard_link(&self.path, target),
            Err(error) => Err(error.into()),
        };
        // Also where another writer was first: the caller may rely on what that one stored.
        sync_directory(parent(target)?)?;
        taken
    }

    /// Removes what crashed writes left in this file's directory long before it was created.
    ///
    /// The age is measured by the file system's own clock, so a server whose clock is wrong does no
    /// harm. Best effort: what cannot be removed now is tried by a later writer.
    pub(crate) fn sweep_leftovers(&self) -> io::Result<()> {
        let now = self.file.metadata()?.mtime();
        let oldest = now.saturating_sub_unsigned(LEFTOVER_AGE.as_secs());
        for entry in fs::read_dir(parent(&self.path)?)? {
            let entry = entry?;
            let is_leftover = entry.file_name().to_str().is_some_and(is_temporary)
                && entry.metadata().is_ok_and(|meta| meta.is_file() && meta.mtime() < oldest);
            if is_leftover && fs::remove_file(entry.path()).is_ok() {
                tracing::info!(path = %entry.path().display(), "removed what a crashed write left");
            }
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_named {
            // Nothing can be done about a failure here; the sweep of a later writer gets it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replacing_leaves_the_new_bytes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        replace(&path, b"old", PRIVATE).unwrap();
        replace(&path, b"new", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(names(folder.path()), ["state.json"]);
    }

    #[test]
    fn a_new_file_never_replaces_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_new(&path, b"first", PRIVATE).unwrap();
        let error = write_new(&path, b"second", PRIVATE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(folder.path()), ["key"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_bytes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        replace(&path, b"bytes", PRIVATE).unwrap_err();
        assert_eq!(names(folder.path()), ["taken"]);
        replace(&folder.path().join("absent/state"), b"bytes", PRIVATE).unwrap_err();
    }

    #[test]
    fn removing_twice_is_harmless() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone");
        replace(&path, b"", PRIVATE).unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn directories_are_made_with_their_parents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        create_directories(&path, 0o700).unwrap();
        create_directories(&path, 0o700).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        replace(&folder.path().join("file"), b"", PRIVATE).unwrap();
        create_directories(&folder.path().join("file/below"), 0o700).unwrap_err();
    }

    #[test]
    fn only_old_leftovers_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, age: Duration| {
            let file = File::create(folder.path().join(name)).unwrap();
            let now = file.metadata().unwrap().modified().unwrap();
            file.set_modified(now - age).unwrap();
        };
        make(".lifeboat-0000000000000001.tmp", Duration::from_hours(25));
        make(".lifeboat-0000000000000002.tmp", Duration::from_hours(23));
        make(".somebody-elses.tmp", LEFTOVER_AGE * 2);
        make("object", LEFTOVER_AGE * 2);
        let file = Temporary::beside(&folder.path().join("x")).unwrap();
        file.sweep_leftovers().unwrap();
        drop(file);
        let kept = [".lifeboat-0000000000000002.tmp", ".somebody-elses.tmp", "object"];
        assert_eq!(names(folder.path()), kept);
    }
}
