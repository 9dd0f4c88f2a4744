//! The directory of a sandbox, which is removed with it.
//!
//! # Invariants
//!
//! - A directory belongs to whoever holds the lock on the file beside it. The lock is the system's, so it is gone
//!   with the process, however that ended.
//!
//! # Crash consistency
//!
//! What a kill leaves is a directory and a lock file that nobody holds; the next sandbox in the same
//! folder removes both. Processes are none left by then (see [`lifeboat_postgres::enclosure`]).

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use lifeboat_model::{ByteSize, Classify, ErrorKind, Hint};
use lifeboat_tiers::durable;

/// What the name of a lock file ends with.
const LOCK: &str = ".lock";

/// What the names of sandboxes begin with: nothing else is ever removed.
const PREFIX: &str = "sandbox-";

/// Others may pass through to what they know is there, and see nothing: a server's user has to.
const PASSAGE: u32 = 0o711;

/// As long as the path of a socket may be (`sockaddr_un`, less the end).
const SOCKET_PATH_LENGTH_MAX: usize = 107;

/// The longest name of a socket in a sandbox.
const SOCKET_NAME: &str = "socket/.s.PGSQL.5432";

/// How often a name is tried that is taken, or that somebody sweeps away in the same moment.
const ATTEMPTS_MAX: usize = 8;

/// The part of the log that may lie there at once beside the data: the server removes what it replayed.
const LOG_BYTES_MAX: u64 = 1 << 30;

/// Room for what else a server writes.
const SLACK_BYTES: u64 = 64 << 20;

/// A sandbox could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The disk is too small.
    #[error(
        "a sandbox in {} needs {}, and {} are free there", folder.display(),
        ByteSize(*needed), ByteSize(*free)
    )]
    NoRoom {
        /// Where.
        folder: PathBuf,
        /// How many bytes it needs.
        needed: u64,
        /// How many are free.
        free: u64,
    },
    /// A socket cannot have so long a path.
    #[error("{} is too long a path for a socket", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// The copy on the tier is damaged.
    #[error("{files} of the cluster's files could not be restored")]
    Incomplete {
        /// How many.
        files: usize,
    },
    /// The system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

impl Classify for SandboxError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::PathTooLong { .. } => ErrorKind::Usage,
            Self::Incomplete { .. } => ErrorKind::Incomplete,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::Denied
            }
            Self::NoRoom { .. } | Self::Io { .. } => ErrorKind::Unavailable,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::NoRoom { .. } | Self::PathTooLong { .. } => {
                Some(Hint::new("name another directory with --scratch"))
            }
            Self::Incomplete { .. } => Some(Hint::new(
                "`lifeboat verify` says what is damaged; give another tier with --tier",
            )),
            Self::Io { .. } => None,
        }
    }
}

/// A directory that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    directory: PathBuf,
    lock_path: PathBuf,
    /// Held as long as the directory is there.
    _lock: File,
}

impl Place {
    /// Makes a new directory in a folder, after it removed what killed processes left there.
    pub(super) fn claim(
        folder: &Path,
        mut new_name: impl FnMut() -> String,
    ) -> Result<Self, SandboxError> {
        durable::create_directories(folder, PASSAGE).map_err(failed("make", folder))?;
        sweep(folder)?;
        for _ in 0..ATTEMPTS_MAX {
            let name = format!("{PREFIX}{}", new_name());
            let (directory, lock_path) = (folder.join(&name), folder.join(name + LOCK));
            let lock = match File::create_new(&lock_path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(failed("make", &lock_path))?,
            };
            // Somebody who sweeps may have been quicker than the lock.
            if lock.try_lock().is_err() || !is_at(&lock, &lock_path) {
                continue;
            }
            let place = Self { directory, lock_path, _lock: lock };
            place.make("", PASSAGE, None)?;
            return Ok(place);
        }
        let source = io::Error::from(io::ErrorKind::WouldBlock);
        Err(failed("lock a directory in", folder)(source))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes a directory in it.
    pub(crate) fn make(
        &self,
        name: &str,
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> Result<PathBuf, SandboxError> {
        let path = self.path(name);
        fs::create_dir(&path).map_err(failed("make", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(failed("close", &path))?;
        if let Some((uid, gid)) = owner {
            chown(&path, Some(uid), Some(gid)).map_err(failed("give away", &path))?;
        }
        Ok(path)
    }

    /// Removes all of it.
    pub(crate) fn remove(&mut self) -> Result<(), SandboxError> {
        match fs::remove_dir_all(&self.directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &self.directory)(source))
            }
            _ => match fs::remove_file(&self.lock_path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    Err(failed("remove", &self.lock_path)(source))
                }
                _ => Ok(()),
            },
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "A sandbox was not removed; the next one tries again.");
        }
    }
}

/// Removes what killed processes left in a folder.
fn sweep(folder: &Path) -> Result<(), SandboxError> {
    for entry in fs::read_dir(folder).map_err(failed("list", folder))? {
        let name = entry.map_err(failed("list", folder))?.file_name();
        let name = name.to_str().filter(|name| name.starts_with(PREFIX));
        let Some(name) = name.and_then(|name| name.strip_suffix(LOCK)) else { continue };
        let lock_path = folder.join(format!("{name}{LOCK}"));
        // Another one may be sweeping, too.
        let Ok(lock) = File::open(&lock_path) else { continue };
        if lock.try_lock().is_ok() && is_at(&lock, &lock_path) {
            tracing::info!(name, "The sandbox of a process that was killed is removed.");
            drop(Place { directory: folder.join(name), lock_path, _lock: lock });
        }
    }
    Ok(())
}

/// Tells whether a path is still that of a file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(file), Ok(path)) = (file.metadata(), fs::metadata(path)) else { return false };
    (file.dev(), file.ino()) == (path.dev(), path.ino())
}

/// Fails if a folder lacks the room for a cluster and the log that is replayed.
pub(super) fn check_room(place: &Place, data: u64, log: u64) -> Result<(), SandboxError> {
    let folder = place.directory.as_path();
    let room =
        rustix::fs::statvfs(folder).map_err(|error| failed("look at", folder)(error.into()))?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let needed = data.saturating_add(log.min(LOG_BYTES_MAX)).saturating_add(SLACK_BYTES);
    if free < needed {
        let folder = folder.to_owned();
        return Err(SandboxError::NoRoom { folder, needed, free });
    }
    Ok(())
}

/// Fails if the sockets of a sandbox would have paths that are too long.
pub(super) fn check_length(place: &Place) -> Result<(), SandboxError> {
    let path = place.path(SOCKET_NAME);
    if path.as_os_str().len() > SOCKET_PATH_LENGTH_MAX {
        return Err(SandboxError::PathTooLong { path });
    }
    Ok(())
}

fn failed<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> SandboxError + 'p {
    move |source| SandboxError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_kill_left_is_removed_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("sandboxes");
        let held = Place::claim(&folder, || "held".to_owned()).unwrap();
        held.make("data", 0o700, None).unwrap();
        // As a killed process leaves it: the same, with nobody to hold the lock.
        fs::create_dir_all(folder.join("sandbox-left/data")).unwrap();
        File::create(folder.join("sandbox-left.lock")).unwrap();
        fs::create_dir(folder.join("somebody's")).unwrap();
        File::create(folder.join("somebody's.lock")).unwrap();
        let next = Place::claim(&folder, || "next".to_owned()).unwrap();
        assert_eq!(
            names(&folder),
            [
                "sandbox-held",
                "sandbox-held.lock",
                "sandbox-next",
                "sandbox-next.lock",
                "somebody's",
                "somebody's.lock"
            ]
        );
        drop((held, next));
        assert_eq!(names(&folder), ["somebody's", "somebody's.lock"]);
    }

    #[test]
    fn a_disk_without_room_is_told_of_before_anything_is_written() {
        let home = tempfile::tempdir().unwrap();
        let place = Place::claim(home.path(), || "x".to_owned()).unwrap();
        assert!(check_room(&place, 0, 0).is_ok());
        let error = check_room(&place, u64::MAX / 2, 0).unwrap_err();
        assert!(matches!(error, SandboxError::NoRoom { .. }), "{error}");
        assert!(error.hint().unwrap().to_string().contains("--scratch"));
    }
}
