//! What the file system says of an entry, as a node keeps it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use lifeboat_model::Timestamp;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::attributes::{self, Holder};
use super::content::Density;
use super::owners::Owners;
use super::paged::EntryMetadata;
use crate::node::{ExtendedAttribute, FileMode, Metadata};
use crate::time::NodeTime;

/// The unit of `st_blocks`, whatever the file system's own blocks are.
const BLOCK_SIZE: u64 = 512;

/// Returns what sort of entry it is.
pub(crate) const fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Returns the size in bytes.
pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Returns the time of the last change of the content.
pub(crate) fn mtime(stat: &Stat) -> NodeTime {
    time(stat.st_mtime, stat.st_mtime_nsec)
}

/// Returns the time of the last change of the inode.
pub(crate) fn ctime(stat: &Stat) -> NodeTime {
    time(stat.st_ctime, stat.st_ctime_nsec)
}

fn time(seconds: i64, nanoseconds: impl TryInto<u32>) -> NodeTime {
    NodeTime::from_unix(seconds, nanoseconds.try_into().unwrap_or(0))
}

/// Tells whether a file may have holes.
pub(crate) fn density(stat: &Stat) -> Density {
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_SIZE);
    if allocated < size(stat) { Density::Sparse } else { Density::Dense }
}

/// Tells whether a file is the one that was seen before, untouched.
pub(crate) fn is_untouched(stat: &Stat, before: &Stat) -> bool {
    (stat.st_dev, stat.st_ino, stat.st_size) == (before.st_dev, before.st_ino, before.st_size)
        && (mtime(stat), ctime(stat)) == (mtime(before), ctime(before))
}

/// Tells whether nobody touched the inode since it was backed up; then its attributes are what
/// they were, since changing one moves the `ctime` on.
pub(crate) fn has_inode_of(stat: &Stat, before: &Metadata) -> bool {
    before.inode == stat.st_ino && before.ctime.is_same_instant(ctime(stat))
}

/// Which time is kept as that of the last access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessTime {
    /// The modification time, as restic does by default: otherwise whoever reads a file would change
    /// its directory's tree.
    #[default]
    AsMtime,
    /// What the file system says.
    Own,
}

/// Returns all but the extended attributes.
pub(crate) fn read(stat: &Stat, owners: &Owners, access_time: AccessTime) -> Metadata {
    Metadata {
        user: owners.user(stat.st_uid),
        group: owners.group(stat.st_gid),
        ..read_numbers(stat, access_time)
    }
}

/// Returns all but the extended attributes and the names of the owners; takes no memory.
pub(crate) fn read_numbers(stat: &Stat, access_time: AccessTime) -> Metadata {
    let links = match file_type(stat) {
        FileType::RegularFile
        | FileType::Symlink
        | FileType::BlockDevice
        | FileType::CharacterDevice => stat.st_nlink,
        _ => 0,
    };
    Metadata {
        mode: FileMode::from_unix(stat.st_mode),
        mtime: mtime(stat),
        atime: match access_time {
            AccessTime::AsMtime => mtime(stat),
            AccessTime::Own => time(stat.st_atime, stat.st_atime_nsec),
        },
        ctime: ctime(stat),
        uid: stat.st_uid,
        gid: stat.st_gid,
        inode: stat.st_ino,
        device_id: stat.st_dev,
        links,
        ..Metadata::default()
    }
}

/// Returns the metadata of an entry that the caller described; `st_type` tells its sort.
///
/// Nothing in it tells when it was described, so that what did not change has the same node.
pub(crate) fn described(st_type: u32, entry: &EntryMetadata, owners: &Owners) -> Metadata {
    Metadata {
        mode: FileMode::from_unix(st_type | (entry.permissions & 0o7777)),
        mtime: entry.mtime,
        atime: entry.mtime,
        ctime: entry.mtime,
        uid: entry.uid,
        gid: entry.gid,
        user: owners.user(entry.uid),
        group: owners.group(entry.gid),
        ..Metadata::default()
    }
}

/// Reads the extended attributes.
pub(crate) fn extended(holder: Holder<'_>) -> Result<Vec<ExtendedAttribute>, Errno> {
    let attributes = attributes::read(holder)?.into_iter();
    Ok(attributes
        .map(|(name, value)| ExtendedAttribute { name: OsString::from_vec(name), value })
        .collect())
}

/// Returns the metadata of something that exists on no disk.
pub(crate) fn made_up(st_mode: u32, now: Timestamp) -> Metadata {
    let now = NodeTime::from(now);
    Metadata {
        mode: FileMode::from_unix(st_mode),
        mtime: now,
        atime: now,
        ctime: now,
        user: "root".to_owned(),
        group: "root".to_owned(),
        ..Metadata::default()
    }
}
