//! Files of a test that a server of another user has to read.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use nix::unistd::User;

/// Gives a path and all below it to whoever runs servers.
pub fn give_away(path: &Path) {
    if let (true, Ok(Some(user))) = (nix::unistd::geteuid().is_root(), User::from_name("postgres"))
    {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                give_away(&entry.unwrap().path());
            }
        }
    }
}

/// Writes a file with this mode.
pub fn write(path: &Path, text: &str, mode: u32) {
    lifeboat_tiers::durable::replace(path, text.as_bytes(), mode).unwrap();
}
