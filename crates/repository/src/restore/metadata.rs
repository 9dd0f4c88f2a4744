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
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use nix::unistd::{Group, User};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// Whose a restored file becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// The recorded numbers; right on the same machine and on a bare one that will be like it.
    #[default]
    ById,
    /// The user and group of the recorded names on this machine; the numbers where there is none.
    ByName,
}

/// What is known of a file beside its content.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Owner's name, empty if it had none.
    pub user: &'a str,
    /// Group's name, empty if it had none.
    pub group: &'a str,
    /// Permission bits with set-user-id, set-group-id and sticky; `None` for a symbolic link.
    pub mode: Option<u32>,
    /// When its content changed.
    pub modified: Timestamp,
    /// When it was read.
    pub accessed: Timestamp,
    /// Extended attributes, ACLs among them.
    pub xattrs: Vec<(&'a [u8], &'a [u8])>,
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

    fn resolve(&self, attributes: &Attributes<'_>, shortfalls: &mut Vec<Shortfall>) -> (u32, u32) {
        if self.ownership == Ownership::ById {
            return (attributes.uid, attributes.gid);
        }
        let mut by_name = |name: &str, number: u32, found: Option<u32>| {
            if found.is_none() && !name.is_empty() {
                shortfalls.push(Shortfall::UnknownName(name.to_owned()));
            }
            found.unwrap_or(number)
        };
        let uid = cached(&self.users, attributes.user, |name| {
            Some(User::from_name(name).ok()??.uid.as_raw())
        });
        let gid = cached(&self.groups, attributes.group, |name| {
            Some(Group::from_name(name).ok()??.gid.as_raw())
        });
        (
            by_name(attributes.user, attributes.uid, uid),
            by_name(attributes.group, attributes.gid, gid),
        )
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
pub fn apply(
    parent: &OwnedFd,
    name: &OsStr,
    attributes: &Attributes<'_>,
    owners: &Owners,
) -> Vec<Shortfall> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(fd) => apply_to(&fd, attributes, owners),
        Err(error) => vec![Shortfall::Other("owner, mode and times", error.into())],
    }
}

/// Does the work of [`apply`] on a descriptor that may be a mere `O_PATH` one.
pub fn apply_to(fd: &OwnedFd, attributes: &Attributes<'_>, owners: &Owners) -> Vec<Shortfall> {
    let mut shortfalls = Vec::new();
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let (uid, gid) = owners.resolve(attributes, &mut shortfalls);
    let owned = set_owner(fd, uid, gid);
    set_xattrs(&path, &attributes.xattrs, &mut shortfalls);
    if let Some(mut mode) = attributes.mode {
        if owned.is_err() && mode & 0o6000 != 0 {
            mode &= !0o6000;
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
        last_access: timespec(attributes.accessed),
        last_modification: timespec(attributes.modified),
    };
    if let Err(error) = rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()) {
        shortfalls.push(Shortfall::Other("times", error.into()));
    }
    shortfalls
}

/// Sets owner and group; where both are refused, the group alone if that is allowed.
fn set_owner(fd: &OwnedFd, uid: u32, gid: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let set = |uid, gid| rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH);
    set(Some(uid), Some(gid)).inspect_err(|_| {
        // The caller reports the failure; a group that could be set is better than none.
        let _ = set(None, Some(gid));
    })
}

fn set_xattrs(path: &str, wanted: &[(&[u8], &[u8])], shortfalls: &mut Vec<Shortfall>) {
    for name in inherited(path) {
        if !wanted.iter().any(|(wanted, _)| *wanted == name) {
            // An ACL that the target's own directory handed down would widen the recorded mode.
            if let Err(error) = rustix::fs::removexattr(path, name.as_slice()) {
                let name = String::from_utf8_lossy(&name).into_owned();
                shortfalls.push(Shortfall::Xattr(name, error.into()));
            }
        }
    }
    for (name, value) in wanted {
        if let Err(error) = rustix::fs::setxattr(path, *name, value, XattrFlags::empty()) {
            let name = String::from_utf8_lossy(name).into_owned();
            shortfalls.push(Shortfall::Xattr(name, error.into()));
        }
    }
}

/// The longest list of attribute names that Linux returns, in bytes.
const XATTR_LIST_MAX: usize = 65_536;

/// Returns the names of attributes that a file has already and that a backup would have recorded.
fn inherited(path: &str) -> Vec<Vec<u8>> {
    let length = match rustix::fs::listxattr(path, &mut [0_u8; 0][..]) {
        Ok(length) if length > 0 => length.min(XATTR_LIST_MAX),
        Ok(_) | Err(Errno::NOTSUP | _) => return Vec::new(),
    };
    let mut list = vec![0_u8; length];
    let Ok(length) = rustix::fs::listxattr(path, &mut list[..]) else { return Vec::new() };
    list[..length]
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| Some(CStr::from_bytes_with_nul(name).ok()?.to_bytes().to_vec()))
        .filter(|name| name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_"))
        .collect()
}

/// Splits a time into seconds and nanoseconds after them, also before 1970.
fn timespec(time: Timestamp) -> Timespec {
    const NANOS: i128 = 1_000_000_000;
    let nanos = time.as_nanosecond();
    Timespec {
        tv_sec: i64::try_from(nanos.div_euclid(NANOS)).expect("a timestamp's seconds fit i64"),
        tv_nsec: i64::try_from(nanos.rem_euclid(NANOS)).expect("less than a second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let spec = timespec("1969-12-31T23:59:58.25Z".parse().unwrap());
        assert_eq!((spec.tv_sec, spec.tv_nsec), (-2, 250_000_000));
        let spec = timespec("2026-11-23T12:00:00.123456789Z".parse().unwrap());
        assert_eq!(spec.tv_nsec, 123_456_789);
    }

    #[test]
    fn unknown_names_fall_back_to_numbers_and_say_so() {
        let attributes = Attributes {
            uid: 4711,
            gid: 4712,
            user: "no-such-user-here",
            group: "root",
            mode: Some(0o644),
            modified: Timestamp::UNIX_EPOCH,
            accessed: Timestamp::UNIX_EPOCH,
            xattrs: Vec::new(),
        };
        let mut shortfalls = Vec::new();
        let owners = Owners::new(Ownership::ByName);
        assert_eq!(owners.resolve(&attributes, &mut shortfalls), (4711, 0));
        assert_eq!(shortfalls.len(), 1);
        assert_eq!(
            shortfalls[0].to_string(),
            "`no-such-user-here` is unknown here: took the number"
        );
    }
}
