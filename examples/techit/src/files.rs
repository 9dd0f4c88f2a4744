//! Files as a platform has them: with an owner, a mode and a time in the past.

use std::fs::{File, FileTimes, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::failure::{DemoError, file};

/// When the oldest of the platform's files was written: 2023-11-14.
const LONG_AGO: Duration = Duration::from_secs(1_700_000_000);

/// The user and group of Debian's web servers.
const WWW_DATA: u32 = 33;

/// How a file is to look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Its permissions.
    pub mode: u32,
    /// Whether it belongs to the web server; else to whoever runs the demo.
    pub is_web: bool,
    /// How many seconds and nanoseconds after the oldest file it was written.
    pub age: Duration,
}

/// Writes a file, or replaces it.
pub fn write(path: &Path, content: &[u8], look: Look) -> Result<(), DemoError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(file("make", parent))?;
    }
    let written = OpenOptions::new().write(true).create(true).truncate(true).open(path);
    written
        .and_then(|mut out| out.write_all(content).map(|()| out))
        .and_then(|out| dress(path, &out, look))
        .map_err(file("write", path))
}

fn dress(path: &Path, out: &File, look: Look) -> std::io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(look.mode))?;
    if look.is_web && nix::unistd::geteuid().is_root() {
        chown(path, Some(WWW_DATA), Some(WWW_DATA))?;
    }
    let time = SystemTime::UNIX_EPOCH + LONG_AGO + look.age;
    out.set_times(FileTimes::new().set_modified(time))
}
