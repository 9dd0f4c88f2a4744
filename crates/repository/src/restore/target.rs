//! The directory that a restore writes below, and the only way to reach anything in it.
//!
//! # Invariants
//!
//! - Every path is walked component by component from a descriptor of the root, with `O_NOFOLLOW`:
//!   a symbolic link inside the target, restored or planted while the restore runs, is never
//!   followed, so nothing outside the target is ever opened, changed or removed.
//! - What is created is readable by its owner alone until its recorded mode is set, last.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::entries::{DirNumber, Entries, EntryNumber};
use super::metadata::Inherited;
use crate::error::RepositoryError;

/// What a restore does with a target that already holds something.
///
/// Whatever it is, nothing is written through a symbolic link, and what the snapshot does not name
/// stays. Where a directory of the snapshot is a symbolic link in the target, or something else of it a
/// directory, that part fails and what is there stays, unless what is unexpected is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Refuses a target directory that is not empty, before anything is written.
    #[default]
    Refuse,
    /// Every file becomes as it was. One that is there is read; of its content only what differs is
    /// fetched and written.
    Always,
    /// As always, but a file of the recorded length and time is taken to have its content, unread.
    IfChanged,
    /// What is there stays as it is.
    Never,
}

/// Descriptors of parent directories kept open; deep trees are restored parent by parent, so few
/// are in use at once, and a process may usually open 1024 files.
const OPEN_PARENTS_MAX: usize = 128;

/// A directory of the target, open.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    /// What is made in it gets attributes that nobody asked for, if it has a default ACL.
    pub hands_down: Inherited,
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Folder {
    /// Opens a directory in another one, without following a link.
    pub fn open(parent: impl AsFd, name: &OsStr) -> io::Result<Self> {
        match rustix::fs::openat(&parent, name, LISTABLE, Mode::empty()) {
            Ok(fd) => Ok(Self::new(fd)),
            // Whoever may not list a directory may still reach what is in it.
            Err(Errno::ACCESS) => {
                let fd = rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())?;
                Ok(Self { fd, hands_down: Inherited::Maybe })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn new(fd: OwnedFd) -> Self {
        let default_acl =
            rustix::fs::fgetxattr(&fd, c"system.posix_acl_default", &mut [0_u8; 0][..]);
        let hands_down = match default_acl {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Inherited::Nothing,
            _ => Inherited::Maybe,
        };
        Self { fd, hands_down }
    }

    /// Returns the names in it.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(self)? {
            let entry = entry?;
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => names.push(OsStr::from_bytes(name).to_owned()),
            }
        }
        Ok(names)
    }
}

/// The directory below which everything is restored.
#[derive(Debug)]
pub struct Target {
    root: Arc<Folder>,
    path: PathBuf,
    parents: Mutex<HashMap<EntryNumber, Arc<Folder>>>,
}

const LISTABLE: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

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
        Ok(Self::at(root, path))
    }

    /// Opens the directory at `path` if it is there, for a look.
    pub fn find(path: &Path) -> Result<Option<Self>, RepositoryError> {
        match open_root(path) {
            Ok(root) => Ok(Some(Self::at(root, path))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("look into", path, error)),
        }
    }

    fn at(root: OwnedFd, path: &Path) -> Self {
        let parents = Mutex::new(HashMap::new());
        Self { root: Arc::new(Folder::new(root)), path: path.to_owned(), parents }
    }

    /// Tells whether nothing is in it.
    pub fn is_empty(&self) -> io::Result<bool> {
        is_empty(&self.root.fd)
    }

    /// Tells whether it is the root of the file system.
    pub fn is_system_root(&self) -> bool {
        let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
        let root = rustix::fs::statat(CWD, "/", AtFlags::empty()).map(identity);
        root.is_err() || root == rustix::fs::fstat(&self.root.fd).map(identity)
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
    pub fn directory(&self, entries: &Entries, number: DirNumber) -> io::Result<Arc<Folder>> {
        let mut missing = Vec::new();
        let mut at = number;
        let mut folder = loop {
            let Some(number) = at else { break Arc::clone(&self.root) };
            if let Some(open) = self.parents().get(&number) {
                break Arc::clone(open);
            }
            missing.push(number);
            at = entries.get(number).parent();
        };
        for number in missing.into_iter().rev() {
            folder = Arc::new(Folder::open(&*folder, entries.name(number))?);
            let mut parents = self.parents();
            if parents.len() >= OPEN_PARENTS_MAX {
                // All at once: simpler than an order of use, and refilled within one file.
                parents.clear();
            }
            parents.insert(number, Arc::clone(&folder));
        }
        Ok(folder)
    }

    fn parents(&self) -> std::sync::MutexGuard<'_, HashMap<EntryNumber, Arc<Folder>>> {
        self.parents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes everything through to the disk that holds the target.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root.fd)?)
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

/// Makes a directory, or takes the one that is there; a file in its place is removed, unless what is
/// there stays.
///
/// A symbolic link is neither followed, since it leads out of the target, nor removed here, since a
/// platform whose `/srv` lies elsewhere would lose sight of all that is there.
pub fn make_directory(parent: &Folder, name: &OsStr, existing: Existing) -> io::Result<Directory> {
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
        _ if existing == Existing::Never => {
            Err(io::Error::new(io::ErrorKind::NotADirectory, "something else stands in its place"))
        }
        _ => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            rustix::fs::mkdirat(parent, name, PRIVATE_DIRECTORY)?;
            Ok(Directory::Made)
        }
    }
}

/// Makes an empty file of `size` that is one hole; whatever had the name is removed.
pub fn make_file(parent: &Folder, name: &OsStr, size: u64) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = replacing(parent, name, || rustix::fs::openat(parent, name, flags, PRIVATE_FILE))?;
    if size > 0 {
        rustix::fs::ftruncate(&file, size)?;
    }
    Ok(file)
}

/// Opens a file that this restore made, for writing.
pub fn reopen_file(parent: &Folder, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Opens a regular file to be read; whatever else has the name is not opened.
pub fn open_to_read(parent: &Folder, name: &OsStr) -> io::Result<OwnedFd> {
    // Opening a fifo would wait for its writer without NONBLOCK; files ignore it.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Opens a file that was there, to write pieces of the recorded content into it: nobody else gets
/// at it from now on, and it has the recorded length.
pub fn open_to_complete(parent: &Folder, name: &OsStr, size: u64) -> io::Result<OwnedFd> {
    let file = reopen_file(parent, name)?;
    // Only root can; for anybody else the file is theirs already.
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let _ = rustix::fs::fchown(&file, Some(uid), Some(gid));
    rustix::fs::fchmod(&file, PRIVATE_FILE)?;
    rustix::fs::ftruncate(&file, size)?;
    Ok(file)
}

/// Opens a directory, so that its metadata can be set.
pub fn open_listable(parent: &Folder, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(parent, name, LISTABLE, Mode::empty())?)
}

/// Tells whether two names are of the same file.
pub fn is_same_file(a: (&Folder, &OsStr), b: (&Folder, &OsStr)) -> io::Result<bool> {
    let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
    let (a, b) = (look(a.0, a.1)?.map(identity), look(b.0, b.1)?.map(identity));
    Ok(a.is_some() && a == b)
}

/// Returns what has a name, if anything has.
pub fn look(parent: &Folder, name: &OsStr) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the sort of a file.
pub fn sort_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Removes a name and all that is in it, without following a link and without leaving the file
/// system that `parent` is on: what is mounted inside is somebody else's.
pub fn remove_all(parent: &Folder, name: &OsStr) -> io::Result<()> {
    let device = rustix::fs::fstat(parent)?.st_dev;
    remove_below(parent, name, device, 0)
}

/// Directories deeper than this are not removed: each level keeps one open.
const REMOVED_DEPTH_MAX: usize = 256;

fn remove_below(parent: &Folder, name: &OsStr, device: u64, depth: usize) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let folder = Folder::open(parent, name)?;
    if rustix::fs::fstat(&folder)?.st_dev != device {
        return Err(io::Error::other("another file system is mounted there"));
    }
    if depth >= REMOVED_DEPTH_MAX {
        return Err(io::Error::other("it lies too deep to be removed"));
    }
    for name in folder.names()? {
        remove_below(&folder, &name, device, depth + 1)?;
    }
    drop(folder);
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Makes a symbolic link; whatever had the name is removed.
pub fn make_symlink(parent: &Folder, name: &OsStr, text: &OsStr) -> io::Result<()> {
    replacing(parent, name, || rustix::fs::symlinkat(text, parent, name))
}

/// Makes a device or fifo; whatever had the name is removed.
pub fn make_special(
    parent: &Folder,
    name: &OsStr,
    file_type: FileType,
    device: u64,
) -> io::Result<()> {
    replacing(parent, name, || rustix::fs::mknodat(parent, name, file_type, PRIVATE_FILE, device))
}

/// Makes a further name of a file that was restored before; whatever had the name is removed.
pub fn make_hard_link(
    (old_parent, old_name): (&Folder, &OsStr),
    (parent, name): (&Folder, &OsStr),
) -> io::Result<()> {
    replacing(parent, name, || {
        rustix::fs::linkat(old_parent, old_name, parent, name, AtFlags::empty())
    })
}

/// Creates something under a name; removes a file that has it and tries again.
///
/// A directory is never removed for a file: it may hold what no snapshot has.
fn replacing<T>(
    parent: &Folder,
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
