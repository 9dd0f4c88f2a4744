//! The directory that a restore writes below, and the only way to reach anything in it.
//!
//! # Invariants
//!
//! - Every path is walked component by component from a descriptor of the root, with `O_NOFOLLOW`:
//!   a symbolic link inside the target, restored or planted while the restore runs, is never
//!   followed, so nothing outside the target is ever opened, changed or removed.
//! - What is created is readable by its owner alone until its recorded mode is set, last.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::name::Component;
use crate::error::RepositoryError;

/// What a restore does with a target that already holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Refuses a target directory that is not empty, before anything is written.
    #[default]
    Refuse,
    /// Replaces files of the same name; keeps directories and whatever the snapshot does not name.
    /// Where a directory of the snapshot is a symbolic link in the target, or a file of the
    /// snapshot a directory, that part fails and what is there stays.
    Overwrite,
}

/// Descriptors of parent directories kept open; deep trees are restored parent by parent, so few
/// are in use at once, and a process may usually open 1024 files.
const OPEN_PARENTS_MAX: usize = 128;

/// A directory of the target, by its place in the plan; `None` is the target itself.
pub type DirIndex = Option<usize>;

/// How the directories of a plan hang together.
pub trait Hierarchy: Sync {
    /// Returns the parent and the name of a directory.
    fn directory(&self, index: usize) -> (DirIndex, &Component);
}

/// The directory below which everything is restored.
#[derive(Debug)]
pub struct Target {
    root: Arc<OwnedFd>,
    path: PathBuf,
    parents: Mutex<HashMap<usize, Arc<OwnedFd>>>,
}

const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A mode for what is not finished: nobody but the owner looks in.
const PRIVATE_DIRECTORY: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

impl Target {
    /// Opens the directory at `path`, making it and its parents where they lack.
    ///
    /// The path itself is the operator's word and may lead through symbolic links.
    pub fn open(path: &Path, existing: Existing) -> Result<Self, RepositoryError> {
        let failed = |source| io_error("restore into", path, source);
        make_with_parents(path).map_err(failed)?;
        let root = open_root(path).map_err(failed)?;
        if existing == Existing::Refuse && !is_empty(&root).map_err(failed)? {
            return Err(RepositoryError::TargetNotEmpty { path: path.to_owned() });
        }
        let parents = Mutex::new(HashMap::new());
        Ok(Self { root: Arc::new(root), path: path.to_owned(), parents })
    }

    /// Returns the target's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the error that names the target.
    pub fn error(&self, action: &'static str, source: io::Error) -> RepositoryError {
        io_error(action, &self.path, source)
    }

    /// Opens a directory of the plan.
    pub fn directory(&self, tree: &dyn Hierarchy, index: DirIndex) -> io::Result<Arc<OwnedFd>> {
        let mut missing = Vec::new();
        let mut at = index;
        let mut fd = loop {
            let Some(index) = at else { break Arc::clone(&self.root) };
            if let Some(open) = self.parents().get(&index) {
                break Arc::clone(open);
            }
            missing.push(index);
            at = tree.directory(index).0;
        };
        for index in missing.into_iter().rev() {
            let name = tree.directory(index).1.as_os_str();
            fd = Arc::new(rustix::fs::openat(&fd, name, DIRECTORY, Mode::empty())?);
            let mut parents = self.parents();
            if parents.len() >= OPEN_PARENTS_MAX {
                // All at once: simpler than an order of use, and refilled within one file.
                parents.clear();
            }
            parents.insert(index, Arc::clone(&fd));
        }
        Ok(fd)
    }

    fn parents(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Arc<OwnedFd>>> {
        self.parents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes everything through to the disk that holds the target.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&*self.root)?)
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> RepositoryError {
    RepositoryError::Io { action, path: path.to_owned(), source }
}

fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Refuses a target that holds something, if that is wanted, without making it.
pub fn refuse_occupied(path: &Path, existing: Existing) -> Result<(), RepositoryError> {
    let occupied = match open_root(path) {
        Ok(root) => is_empty(&root).map(|empty| !empty),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    let occupied = occupied.map_err(|source| io_error("restore into", path, source))?;
    if occupied && existing == Existing::Refuse {
        return Err(RepositoryError::TargetNotEmpty { path: path.to_owned() });
    }
    Ok(())
}

fn make_with_parents(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_with_parents(parent)?;
    }
    match rustix::fs::mkdirat(CWD, path, PRIVATE_DIRECTORY) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_empty(dir: &OwnedFd) -> io::Result<bool> {
    for entry in Dir::read_from(dir)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a directory was made or was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directory {
    /// It was made.
    Made,
    /// It was there.
    Found,
}

/// Makes a directory, or takes the one that is there; a file in its place is removed.
///
/// A symbolic link is neither followed, since it leads out of the target, nor removed, since a
/// platform whose `/srv` lies elsewhere would lose sight of all that is there.
pub fn make_directory(parent: &OwnedFd, name: &OsStr) -> io::Result<Directory> {
    match rustix::fs::mkdirat(parent, name, PRIVATE_DIRECTORY) {
        Ok(()) => return Ok(Directory::Made),
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    match file_type(parent, name)? {
        FileType::Directory => Ok(Directory::Found),
        FileType::Symlink => Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            "a symbolic link stands in its place, which is neither followed nor replaced",
        )),
        _ => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            rustix::fs::mkdirat(parent, name, PRIVATE_DIRECTORY)?;
            Ok(Directory::Made)
        }
    }
}

/// Makes an empty file of `size` that is one hole; whatever had the name is removed.
pub fn make_file(parent: &OwnedFd, name: &OsStr, size: u64) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = replacing(parent, name, || rustix::fs::openat(parent, name, flags, PRIVATE_FILE))?;
    if size > 0 {
        rustix::fs::ftruncate(&file, size)?;
    }
    Ok(file)
}

/// Opens a file that this restore made, for writing.
pub fn reopen_file(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Makes a symbolic link; whatever had the name is removed.
pub fn make_symlink(parent: &OwnedFd, name: &OsStr, text: &OsStr) -> io::Result<()> {
    replacing(parent, name, || rustix::fs::symlinkat(text, parent, name))
}

/// Makes a device or fifo; whatever had the name is removed.
pub fn make_special(
    parent: &OwnedFd,
    name: &OsStr,
    file_type: FileType,
    device: u64,
) -> io::Result<()> {
    replacing(parent, name, || rustix::fs::mknodat(parent, name, file_type, PRIVATE_FILE, device))
}

/// Makes a further name of a file that was restored before; whatever had the name is removed.
pub fn make_hard_link(
    (old_parent, old_name): (&OwnedFd, &OsStr),
    (parent, name): (&OwnedFd, &OsStr),
) -> io::Result<()> {
    replacing(parent, name, || {
        rustix::fs::linkat(old_parent, old_name, parent, name, AtFlags::empty())
    })
}

/// Creates something under a name; removes a file that has it and tries again.
///
/// A directory is never removed for a file: it may hold what no snapshot has.
fn replacing<T>(
    parent: &OwnedFd,
    name: &OsStr,
    create: impl Fn() -> rustix::io::Result<T>,
) -> io::Result<T> {
    match create() {
        Err(Errno::EXIST) if file_type(parent, name)? == FileType::Directory => {
            Err(io::Error::new(io::ErrorKind::IsADirectory, "a directory stands in its place"))
        }
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            Ok(create()?)
        }
        other => Ok(other?),
    }
}

fn file_type(parent: impl AsFd, name: &OsStr) -> io::Result<FileType> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}
