//! Opening and listing directories relative to their parent, without following links.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;

/// How much of a directory is listed by one system call; a few hundred entries.
const LISTING_SIZE: usize = 32 << 10;

/// Opens the root directory.
pub(crate) fn open_top() -> Result<OwnedFd, Errno> {
    openat(CWD, c"/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// What to do when a name turns out to be a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// Follow it: it is on the way to a path that the operator gave.
    Follow,
    /// Fail.
    Refuse,
}

/// Opens a directory in another one.
pub(crate) fn open(parent: BorrowedFd<'_>, name: &OsStr, links: Links) -> Result<OwnedFd, Errno> {
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if links == Links::Refuse {
        flags |= OFlags::NOFOLLOW;
    }
    open_quietly(parent, name, flags)
}

/// Opens without touching the access time where that is allowed: to the owner and to root.
pub(crate) fn open_quietly(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    match openat(parent, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(parent, name, flags, Mode::empty()),
        other => other,
    }
}

/// The names in a directory.
#[derive(Debug)]
pub(crate) struct Listing {
    /// In the order of their bytes, which is the order of a tree.
    pub(crate) names: Vec<OsString>,
    /// Why there may be more.
    pub(crate) broken_off: Option<Errno>,
}

/// Lists a directory; what was listed before an error is kept.
pub(crate) fn list(directory: &OwnedFd) -> Listing {
    let mut buffer = vec![MaybeUninit::uninit(); LISTING_SIZE];
    let mut entries = RawDir::new(directory.as_fd(), &mut buffer);
    let mut names = Vec::new();
    let mut broken_off = None;
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => {
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    names.push(OsStr::from_bytes(name).to_owned());
                }
            }
            Err(error) => {
                broken_off = Some(error);
                break;
            }
        }
    }
    names.sort_unstable();
    Listing { names, broken_off }
}
