//! Extended attributes, ACLs among them, of a file that was not opened.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

/// The kernel's own limit for a list of names and for a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const ATTRIBUTE_SIZE_MAX: usize = 64 << 10;

/// An attribute's name and value.
pub(crate) type Attribute = (Vec<u8>, Vec<u8>);

/// What has attributes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Holder<'a> {
    /// An entry of a directory; a symbolic link's own attributes are meant.
    Entry(BorrowedFd<'a>, &'a OsStr),
    /// Something that is open.
    Open(BorrowedFd<'a>),
}

/// Reads all attributes in the order in which the file system lists them.
///
/// A file system without attributes has none. An attribute that vanishes meanwhile is left out.
pub(crate) fn read(holder: Holder<'_>) -> Result<Vec<Attribute>, Errno> {
    let path = match holder {
        Holder::Open(_) => CString::default(),
        Holder::Entry(directory, name) => entry_path(directory, name)?,
    };
    let names = match grow(|buffer| list(holder, &path, buffer)) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut attributes = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(|_| Errno::INVAL)?;
        match grow(|buffer| get(holder, &path, name, buffer)) {
            Ok(value) => attributes.push((name.to_bytes().to_vec(), value)),
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(attributes)
}

/// Names an entry by its directory's descriptor, so that a renamed directory leads nowhere else and
/// no path is too long.
fn entry_path(directory: BorrowedFd<'_>, name: &OsStr) -> Result<CString, Errno> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    CString::new(path).map_err(|_| Errno::INVAL)
}

fn list(holder: Holder<'_>, path: &CStr, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
    match holder {
        Holder::Open(fd) => rustix::fs::flistxattr(fd, buffer.as_mut_slice()),
        Holder::Entry(..) => rustix::fs::llistxattr(path, buffer.as_mut_slice()),
    }
}

fn get(holder: Holder<'_>, path: &CStr, name: &CStr, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
    match holder {
        Holder::Open(fd) => rustix::fs::fgetxattr(fd, name, buffer.as_mut_slice()),
        Holder::Entry(..) => rustix::fs::lgetxattr(path, name, buffer.as_mut_slice()),
    }
}

/// Reads into a buffer that usually suffices, else into one of the largest size there can be.
fn grow(read: impl Fn(&mut Vec<u8>) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    let length = match read(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(ATTRIBUTE_SIZE_MAX, 0);
            read(&mut buffer)?
        }
        other => other?,
    };
    buffer.truncate(length);
    Ok(buffer)
}
