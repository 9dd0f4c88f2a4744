//! Gives a restored file the owner, extended attributes, mode and times that it had.
//!
//! The order matters: a change of owner clears set-user-id bits and capabilities, writing an
//! attribute needs a writable file, an ACL changes the mode's group bits, and everything touches
//! the times. So: owner, attributes, mode, times.
//!
//! # Limits
//!
//! Works through `/proc/self/fd`, which addresses exactly the file that was opened, of any type,
//! without following a link; without `/proc` nothing but the content is restored, and it says so.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Group, User};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};

use crate::node::{ExtendedAttribute, Metadata, Node, NodeKind};
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

    fn resolve(&self, metadata: &Metadata, shortfalls: &mut Vec<Shortfall>) -> (u32, u32) {
        if self.ownership == Ownership::ById {
            return (metadata.uid, metadata.gid);
        }
        let mut by_name = |name: &str, number: u32, found: Option<u32>| {
            if found.is_none() && !name.is_empty() {
                shortfalls.push(Shortfall::UnknownName(name.to_owned()));
            }
            found.unwrap_or(number)
        };
        let uid = cached(&self.users, &metadata.user, |name| {
            Some(User::from_name(name).ok()??.uid.as_raw())
        });
        let gid = cached(&self.groups, &metadata.group, |name| {
            Some(Group::from_name(name).ok()??.gid.as_raw())
        });
        (by_name(&metadata.user, metadata.uid, uid), by_name(&metadata.group, metadata.gid, gid))
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

/// Makes one restored file what it was, as far as this process may; returns what it could not.
pub fn apply(parent: &OwnedFd, name: &OsStr, node: &Node, owners: &Owners) -> Vec<Shortfall> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(fd) => apply_to(&fd, node, owners),
        Err(error) => vec![Shortfall::Other("owner, mode and times", error.into())],
    }
}

/// Does the work of [`apply`] on a descriptor, which may be a mere `O_PATH` one.
fn apply_to(fd: &OwnedFd, node: &Node, owners: &Owners) -> Vec<Shortfall> {
    let metadata = &node.metadata;
    let mut shortfalls = Vec::new();
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let (uid, gid) = owners.resolve(metadata, &mut shortfalls);
    let owned = set_owner(fd, uid, gid);
    set_xattrs(&path, &metadata.extended_attributes, &mut shortfalls);
    // A symbolic link has no mode of its own on Linux.
    if !matches!(node.kind, NodeKind::Symlink { .. }) {
        let mut mode = metadata.mode.permissions();
        if owned.is_err() && mode & SET_ID != 0 {
            mode &= !SET_ID;
            shortfalls.push(Shortfall::Privilege);
        }
        let mode = Mode::from_raw_mode(mode);
        if let Err(error) = rustix::fs::chmodat(CWD, &path, mode, AtFlags::empty()) {
            shortfalls.push(Shortfall::Other("mode", error.into()));
        }
    }
    if let Err(error) = owned {
        shortfalls.push(Shortfall::Owner(error.into()));
    }
    let times = Timestamps {
        last_access: timespec(metadata.atime),
        last_modification: timespec(metadata.mtime),
    };
    if let Err(error) = rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()) {
        shortfalls.push(Shortfall::Other("times", error.into()));
    }
    shortfalls
}

/// The set-user-id and set-group-id bits.
const SET_ID: u32 = 0o6000;

/// Sets owner and group; where both are refused, the group alone if that is allowed.
fn set_owner(fd: &OwnedFd, uid: u32, gid: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let set = |uid, gid| rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH);
    set(Some(uid), Some(gid)).inspect_err(|_| {
        // The caller reports the failure; a group that could be set is better than none.
        let _ = set(None, Some(gid));
    })
}

fn set_xattrs(path: &str, wanted: &[ExtendedAttribute], shortfalls: &mut Vec<Shortfall>) {
    let mut note = |name: &OsStr, result: rustix::io::Result<()>| {
        if let Err(error) = result {
            let name = name.to_string_lossy().into_owned();
            shortfalls.push(Shortfall::Xattr(name, error.into()));
        }
    };
    for name in inherited(path) {
        if !wanted.iter().any(|wanted| wanted.name == name) {
            // An ACL that the target's own directory handed down would widen the recorded mode.
            note(&name, rustix::fs::removexattr(path, &*name));
        }
    }
    for ExtendedAttribute { name, value } in wanted {
        note(name, rustix::fs::setxattr(path, &**name, value, XattrFlags::empty()));
    }
}

/// The longest list of attribute names that Linux returns, in bytes.
const XATTR_LIST_MAX: usize = 65_536;

/// Returns the names of attributes that a file has already and that a backup would have recorded.
fn inherited(path: &str) -> Vec<OsString> {
    let length = rustix::fs::listxattr_query(path).unwrap_or(0);
    if length == 0 {
        return Vec::new();
    }
    let mut list = vec![0_u8; length.min(XATTR_LIST_MAX)];
    let Ok(length) = rustix::fs::listxattr(path, &mut list[..]) else { return Vec::new() };
    list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_"))
        .map(|name| OsString::from_vec(name.to_vec()))
        .collect()
}

/// Translates a time; one that nobody knew is left as it is.
fn timespec(time: NodeTime) -> Timespec {
    if time.is_same_instant(NodeTime::UNKNOWN) {
        return Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    }
    Timespec { tv_sec: time.seconds(), tv_nsec: time.nanoseconds().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut shortfalls = Vec::new();
        let owners = Owners::new(Ownership::ByName);
        assert_eq!(owners.resolve(&metadata, &mut shortfalls), (4711, 0));
        assert_eq!(shortfalls.len(), 1);
        assert_eq!(
            shortfalls[0].to_string(),
            "`no-such-user-here` is unknown here: took the number"
        );
    }
}
