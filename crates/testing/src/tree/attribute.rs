//! Extended attributes, of which ACLs are some.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, lgetxattr_query, llistxattr, llistxattr_query, lsetxattr};

/// The attribute in which Linux keeps a file's access ACL.
pub(super) const ACL_ACCESS: &str = "system.posix_acl_access";
/// The attribute in which Linux keeps the ACL that a directory's new files get.
pub(super) const ACL_DEFAULT: &str = "system.posix_acl_default";

/// Reads all extended attributes of `path` itself, not of what a symlink points to.
pub(super) fn read(path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    let names = match llistxattr_query(path) {
        Ok(0) | Err(rustix::io::Errno::NOTSUP) => return Ok(BTreeMap::new()),
        Ok(size) => size,
        Err(error) => return Err(error.into()),
    };
    let mut list = vec![0_u8; names];
    let length = llistxattr(path, list.as_mut_slice())?;
    list.truncate(length);
    let names = list.split(|b| *b == 0).filter(|name| !name.is_empty());
    names.map(|name| Ok((OsString::from_vec(name.to_vec()), value(path, name)?))).collect()
}

fn value(path: &Path, name: &[u8]) -> io::Result<Vec<u8>> {
    let name = OsStr::from_bytes(name);
    let mut value = vec![0_u8; lgetxattr_query(path, name)?];
    if !value.is_empty() {
        let length = lgetxattr(path, name, value.as_mut_slice())?;
        value.truncate(length);
    }
    Ok(value)
}

/// Sets an extended attribute of `path` itself.
pub(super) fn write(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    Ok(lsetxattr(path, name, value, XattrFlags::empty())?)
}

/// Encodes an ACL that grants `user` these permissions beside owner, group and others.
///
/// The kernel's form (`linux/posix_acl_xattr.h`): version 2, then tag, permissions and id of each
/// entry, in the order of the tags.
pub(super) fn acl_granting(user: u32, permissions: u16) -> Vec<u8> {
    const ANYONE: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, ANYONE),
        (0x02, permissions, user),
        (0x04, 4, ANYONE),
        (0x10, 6, ANYONE),
        (0x20, 4, ANYONE),
    ];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}
