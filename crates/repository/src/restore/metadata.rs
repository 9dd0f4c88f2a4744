//! Gives a restored file the owner, extended attributes, mode and times that it had.
//!
//! The order matters: a change of owner clears set-user-id bits and capabilities, writing an
//! attribute needs a writable file, an ACL changes the mode's group bits, and everything touches
//! the times. So: owner, attributes, mode, times.
//!
//! # Limits
//!
//! Files and directories are changed through the descriptor that they were made with. What cannot
//! be opened goes by `/proc/self/fd`, which addresses exactly the file that was found, of any type,
//! without following a link; without `/proc` such files keep what they were made with, and it says
//! so.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Group, User};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid, XattrFlags,
};

use super::entries::{Entry, OwnerNames, Sort};
use crate::node::ExtendedAttribute;
use crate::time::NodeTime;

/// Whose a restored file becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// The recorded numbers; right on the same machine and on a bare one that will be like it.
    #[default]
    ById,
    /// The user and group of the recorded names on this machine; the numbers where there is none.
    ByName,
}

/// Something about a restored file that is not as it was.
#[derive(Debug)]
pub enum Shortfall {
    /// It has another owner or group.
    Owner(io::Error),
    /// Its set-user-id or set-group-id bit was left out, since it has another owner.
    Privilege,
    /// The owner's name is unknown here, so the number was taken.
    UnknownName(String),
    /// An extended attribute is not as it was.
    Xattr(String, io::Error),
    /// Something else is not as it was.
    Other(&'static str, io::Error),
}

impl std::fmt::Display for Shortfall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Owner(error) => write!(f, "owner not set: {error}"),
            Self::Privilege => f.write_str("set-user-id and set-group-id left out: another owner"),
            Self::UnknownName(name) => write!(f, "`{name}` is unknown here: took the number"),
            Self::Xattr(name, error) => write!(f, "attribute {name} not set: {error}"),
            Self::Other(what, error) => write!(f, "{what} not set: {error}"),
        }
    }
}

/// Finds out whose a file becomes; asks the system once for each name.
#[derive(Debug, Default)]
pub struct Owners {
    ownership: Ownership,
    users: Mutex<HashMap<String, Option<u32>>>,
    groups: Mutex<HashMap<String, Option<u32>>>,
}

impl Owners {
    /// Returns a resolver.
    pub fn new(ownership: Ownership) -> Self {
        Self { ownership, ..Self::default() }
    }

    fn resolve(&self, wish: Wish<'_>, shortfalls: &mut Vec<Shortfall>) -> (u32, u32) {
        let (Wish { entry, names, .. }, by_id) = (wish, self.ownership == Ownership::ById);
        if by_id {
            return (entry.uid, entry.gid);
        }
        let mut by_name = |name: &str, number: u32, found: Option<u32>| {
            if found.is_none() && !name.is_empty() {
                shortfalls.push(Shortfall::UnknownName(name.to_owned()));
            }
            found.unwrap_or(number)
        };
        let uid = cached(&self.users, &names.user, |name| {
            Some(User::from_name(name).ok()??.uid.as_raw())
        });
        let gid = cached(&self.groups, &names.group, |name| {
            Some(Group::from_name(name).ok()??.gid.as_raw())
        });
        (by_name(&names.user, entry.uid, uid), by_name(&names.group, entry.gid, gid))
    }
}

fn cached(
    known: &Mutex<HashMap<String, Option<u32>>>,
    name: &str,
    look_up: impl Fn(&str) -> Option<u32>,
) -> Option<u32> {
    if name.is_empty() {
        return None;
    }
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(name.to_owned()).or_insert_with(|| look_up(name))
}

/// What a restored file is to become.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'e> {
    /// Its entry.
    pub entry: &'e Entry,
    /// Whose it was, by name.
    pub names: &'e OwnerNames,
    /// Whether its content is what it was.
    pub content: Content,
}

/// Whether the content of a file is what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It is.
    Whole,
    /// Some of it could not be had. So that nobody takes the file for the recorded one, not the next restore
    /// either, it gets the time of now.
    Broken,
}

/// Whether a file may have attributes that nobody gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inherited {
    /// It was just made in a directory that hands none down.
    Nothing,
    /// It was there, or its directory has a default ACL.
    Maybe,
}

/// A way to a file whose metadata are set.
enum Handle<'f> {
    /// It is open.
    Open(BorrowedFd<'f>),
    /// It is a symbolic link, by its name.
    Link(BorrowedFd<'f>, &'f OsStr),
    /// It was found and cannot be opened: an `O_PATH` descriptor, and the path that leads to it.
    Found(OwnedFd, String),
}

/// Makes an open file or directory what it was, as far as this process may; returns what it could
/// not.
pub fn apply_open(
    fd: impl AsFd,
    wish: Wish<'_>,
    owners: &Owners,
    inherited: Inherited,
) -> Vec<Shortfall> {
    apply_to(&Handle::Open(fd.as_fd()), wish, owners, inherited)
}

/// Makes something what it was by its name, without following or opening it.
pub fn apply_named(
    parent: impl AsFd,
    name: &OsStr,
    wish: Wish<'_>,
    owners: &Owners,
    inherited: Inherited,
) -> Vec<Shortfall> {
    let is_link = matches!(wish.entry.sort, Sort::Symlink(_));
    if is_link && wish.entry.attributes().is_empty() && inherited == Inherited::Nothing {
        return apply_to(&Handle::Link(parent.as_fd(), name), wish, owners, inherited);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(fd) => {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            apply_to(&Handle::Found(fd, path), wish, owners, inherited)
        }
        Err(error) => vec![Shortfall::Other("owner, mode and times", error.into())],
    }
}

fn apply_to(
    handle: &Handle<'_>,
    wish: Wish<'_>,
    owners: &Owners,
    inherited: Inherited,
) -> Vec<Shortfall> {
    let entry = wish.entry;
    let mut shortfalls = Vec::new();
    let (uid, gid) = owners.resolve(wish, &mut shortfalls);
    let owned = handle.set_owner(uid, gid);
    if inherited == Inherited::Maybe {
        handle.remove_attributes(entry.attributes(), &mut shortfalls);
    }
    handle.set_attributes(entry.attributes(), &mut shortfalls);
    // A symbolic link has no mode of its own on Linux.
    if !matches!(entry.sort, Sort::Symlink(_)) {
        let mut mode = u32::from(entry.mode);
        if owned.is_err() && mode & SET_ID != 0 {
            mode &= !SET_ID;
            shortfalls.push(Shortfall::Privilege);
        }
        if let Err(error) = handle.set_mode(Mode::from_raw_mode(mode)) {
            shortfalls.push(Shortfall::Other("mode", error.into()));
        }
    }
    if let Err(error) = owned {
        shortfalls.push(Shortfall::Owner(error.into()));
    }
    let times = match wish.content {
        Content::Whole => Timestamps {
            last_access: timespec(entry.atime),
            last_modification: timespec(entry.mtime),
        },
        Content::Broken => Timestamps { last_access: NOW, last_modification: NOW },
    };
    if let Err(error) = handle.set_times(&times) {
        shortfalls.push(Shortfall::Other("times", error.into()));
    }
    shortfalls
}

/// The set-user-id and set-group-id bits.
const SET_ID: u32 = 0o6000;

impl Handle<'_> {
    /// Sets owner and group; where both are refused, the group alone if that is allowed.
    fn set_owner(&self, uid: u32, gid: u32) -> rustix::io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let set = |uid, gid| match self {
            Self::Open(fd) => rustix::fs::fchown(fd, uid, gid),
            Self::Link(parent, name) => {
                rustix::fs::chownat(parent, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
            Self::Found(fd, _) => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
        };
        set(Some(uid), Some(gid)).inspect_err(|_| {
            // The caller reports the failure; a group that could be set is better than none.
            let _ = set(None, Some(gid));
        })
    }

    fn set_mode(&self, mode: Mode) -> rustix::io::Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Link(..) => Ok(()),
            Self::Found(_, path) => rustix::fs::chmodat(CWD, path, mode, AtFlags::empty()),
        }
    }

    fn set_times(&self, times: &Timestamps) -> rustix::io::Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, times),
            Self::Link(parent, name) => {
                rustix::fs::utimensat(parent, *name, times, AtFlags::SYMLINK_NOFOLLOW)
            }
            Self::Found(_, path) => rustix::fs::utimensat(CWD, path, times, AtFlags::empty()),
        }
    }

    /// Removes attributes that a backup would have recorded and did not: an ACL that the target's
    /// own directory handed down would widen the recorded mode.
    fn remove_attributes(&self, wanted: &[ExtendedAttribute], shortfalls: &mut Vec<Shortfall>) {
        for name in self.recordable_attributes() {
            if wanted.iter().any(|wanted| wanted.name == name) {
                continue;
            }
            let removed = match self {
                Self::Open(fd) => rustix::fs::fremovexattr(fd, &*name),
                Self::Link(..) => Ok(()),
                Self::Found(_, path) => rustix::fs::removexattr(path, &*name),
            };
            note(&name, removed, shortfalls);
        }
    }

    fn set_attributes(&self, wanted: &[ExtendedAttribute], shortfalls: &mut Vec<Shortfall>) {
        for ExtendedAttribute { name, value } in wanted {
            let flags = XattrFlags::empty();
            let set = match self {
                Self::Open(fd) => rustix::fs::fsetxattr(fd, &**name, value, flags),
                Self::Link(..) => Ok(()),
                Self::Found(_, path) => rustix::fs::setxattr(path, &**name, value, flags),
            };
            note(name, set, shortfalls);
        }
    }

    /// Returns the names of attributes that a file has already and that a backup would have
    /// recorded.
    fn recordable_attributes(&self) -> Vec<OsString> {
        let list_into = |list: &mut [u8]| match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, list),
            Self::Link(..) => Ok(0),
            Self::Found(_, path) => rustix::fs::listxattr(path, list),
        };
        let length = match self {
            Self::Open(fd) => rustix::fs::flistxattr_query(fd),
            Self::Link(..) => Ok(0),
            Self::Found(_, path) => rustix::fs::listxattr_query(path),
        };
        let length = length.unwrap_or(0);
        if length == 0 {
            return Vec::new();
        }
        let mut list = vec![0_u8; length.min(XATTR_LIST_MAX)];
        let Ok(length) = list_into(&mut list) else { return Vec::new() };
        list[..length]
            .split(|byte| *byte == 0)
            .filter(|name| name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_"))
            .map(|name| OsString::from_vec(name.to_vec()))
            .collect()
    }
}

fn note(name: &OsStr, result: rustix::io::Result<()>, shortfalls: &mut Vec<Shortfall>) {
    if let Err(error) = result {
        let name = name.to_string_lossy().into_owned();
        shortfalls.push(Shortfall::Xattr(name, error.into()));
    }
}

/// The longest list of attribute names that Linux returns, in bytes.
const XATTR_LIST_MAX: usize = 65_536;

/// The time at which it is set.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };

/// Translates a time; one that nobody knew is left as it is.
pub(super) fn timespec(time: NodeTime) -> Timespec {
    if time.is_same_instant(NodeTime::UNKNOWN) {
        return Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    }
    Timespec { tv_sec: time.seconds(), tv_nsec: time.nanoseconds().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Metadata, Node, NodeKind};
    use crate::restore::entries::Entries;
    use crate::restore::name::Component;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let time = NodeTime::parse("1969-12-31T23:59:58.25Z").unwrap();
        let spec = timespec(time);
        assert_eq!((spec.tv_sec, spec.tv_nsec), (-2, 250_000_000));
        assert_eq!(timespec(NodeTime::UNKNOWN).tv_nsec, UTIME_OMIT);
    }

    #[test]
    fn unknown_names_fall_back_to_numbers_and_say_so() {
        let metadata = Metadata {
            uid: 4711,
            gid: 4712,
            user: "no-such-user-here".to_owned(),
            group: "root".to_owned(),
            ..Metadata::default()
        };
        let node = Node { name: "a".into(), kind: NodeKind::Fifo, metadata };
        let mut entries = Entries::default();
        entries.add(None, &Component::new(&node.name).unwrap(), &node, Sort::Fifo);
        let entry = entries.get(0);
        let names = entries.owner_names(entry);
        let wish = Wish { entry, names, content: Content::Whole };
        let mut shortfalls = Vec::new();
        let owners = Owners::new(Ownership::ByName);
        assert_eq!(owners.resolve(wish, &mut shortfalls), (4711, 0));
        assert_eq!(shortfalls.len(), 1);
        assert_eq!(
            shortfalls[0].to_string(),
            "`no-such-user-here` is unknown here: took the number"
        );
    }
}
