//! Taking evidence: files, folders and devices copied as they are, each with its hash, before anything is changed.
//!
//! ```text
//! <to>/<path as it was>   the copies
//! <to>/SHA256SUMS         what `sha256sum -c` checks; its own hash stands in the run's journal
//! ```
//!
//! # Crash consistency
//!
//! `SHA256SUMS` is written last, and nothing is ever written over: a kill leaves copies without it, and the next attempt
//! goes to a place of its own beside.
//!
//! # Limits
//!
//! Links are named and not followed, other file systems are entered. Sockets and pipes hold nothing and are left out. Owners are not
//! kept; whoever needs them takes the device.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lifeboat_model::{Cancel, Cancelled, Classify, ErrorKind, Hint};
use lifeboat_tiers::durable;
use sha2::{Digest as _, Sha256};

/// Only who took it may look at it.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// The list of what was taken.
const SUMS: &str = "SHA256SUMS";

/// How much is read at a time.
const CHUNK: usize = 1 << 20;

/// In how many places beside each other it is tried to take something.
const PLACES_MAX: u32 = 1000;

/// What was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// Where it is.
    pub(super) to: PathBuf,
    /// The hash of the list of all hashes, which holds all of it.
    pub(super) digest: String,
    /// How many files.
    pub(super) files: u64,
    /// How many bytes they have.
    pub(super) bytes: u64,
}

/// Evidence could not be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakingError {
    /// A path cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Where it should go is full of what was taken before.
    #[error("{} and {PLACES_MAX} places beside it hold something already", to.display())]
    Full { to: PathBuf },
    /// The place lies inside what is taken, which would never end.
    #[error("{} lies inside {}, which is to be taken", to.display(), from.display())]
    Inside { to: PathBuf, from: PathBuf },
    /// The work was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Classify for TakingError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Unavailable,
            },
            Self::Full { .. } => ErrorKind::Conflict,
            Self::Inside { .. } => ErrorKind::Config,
            Self::Cancelled(_) => ErrorKind::Cancelled,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Io { .. } => {
                "what was taken before is kept; mend it, then `lifeboat recover retry STEP`"
            }
            Self::Full { .. } | Self::Inside { .. } => "name another place with `to`",
            Self::Cancelled(_) => return None,
        };
        Some(Hint::new(text))
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TakingError {
    let path = path.to_owned();
    move |source| TakingError::Io { action, path, source }
}

/// Copies all of `from` to below `to`, or to a place beside it if something is there.
pub(super) fn take(from: &[PathBuf], to: &Path, cancel: &Cancel) -> Result<Taken, TakingError> {
    if let Some(from) = from.iter().find(|from| to.starts_with(from)) {
        return Err(TakingError::Inside { to: to.to_owned(), from: from.clone() });
    }
    let mut taking =
        Taking { to: empty_place(to)?, sums: String::new(), files: 0, bytes: 0, cancel };
    for path in from {
        taking.take(path)?;
    }
    taking.end()
}

/// Makes a directory that is new or empty.
fn empty_place(to: &Path) -> Result<PathBuf, TakingError> {
    let beside = (2..=PLACES_MAX).map(|number| {
        let mut name = to.as_os_str().to_owned();
        name.push(format!("-{number}"));
        PathBuf::from(name)
    });
    for place in std::iter::once(to.to_owned()).chain(beside) {
        durable::create_directories(&place, PRIVATE_DIRECTORY).map_err(failed("create", &place))?;
        if fs::read_dir(&place).map_err(failed("read", &place))?.next().is_none() {
            return Ok(place);
        }
    }
    Err(TakingError::Full { to: to.to_owned() })
}

struct Taking<'a> {
    to: PathBuf,
    sums: String,
    files: u64,
    bytes: u64,
    cancel: &'a Cancel,
}

impl Taking<'_> {
    fn take(&mut self, path: &Path) -> Result<(), TakingError> {
        let kind = path.symlink_metadata().map_err(failed("look at", path))?.file_type();
        if kind.is_dir() {
            let entries = fs::read_dir(path).map_err(failed("read", path))?;
            let mut names: Vec<_> =
                entries.collect::<Result<_, _>>().map_err(failed("read", path))?;
            names.sort_unstable_by_key(fs::DirEntry::file_name);
            return names.iter().try_for_each(|entry| self.take(&entry.path()));
        }
        if kind.is_symlink() {
            let target = fs::read_link(path).map_err(failed("read", path))?;
            let text = target.display().to_string();
            let (digest, bytes) = self.copy(path, text.as_bytes(), "link")?;
            self.note(path, "link", &digest, bytes);
        } else if kind.is_file() || kind.is_block_device() || kind.is_char_device() {
            let file = File::open(path).map_err(failed("open", path))?;
            let (digest, bytes) = self.copy(path, file, "")?;
            self.note(path, "", &digest, bytes);
        }
        Ok(())
    }

    /// Copies what can be read; returns its hash and its length.
    fn copy(
        &self,
        path: &Path,
        mut from: impl io::Read,
        suffix: &str,
    ) -> Result<(String, u64), TakingError> {
        let to = self.to.join(below(path, suffix));
        let above = to.parent().unwrap_or(&self.to);
        durable::create_directories(above, PRIVATE_DIRECTORY).map_err(failed("create", above))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(durable::PRIVATE);
        let mut file = options.open(&to).map_err(failed("create", &to))?;
        let (mut hash, mut length, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
        loop {
            self.cancel.check()?;
            let count = match from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(failed("read", path))?,
            };
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            length += count as u64;
            file.write_all(&buffer[..count]).map_err(failed("write", &to))?;
        }
        file.sync_all().map_err(failed("write", &to))?;
        Ok((hex::encode(hash.finalize()), length))
    }

    fn note(&mut self, path: &Path, suffix: &str, digest: &str, bytes: u64) {
        // As `sha256sum` writes it, so that it can be checked without lifeboat.
        let name = below(path, suffix).display().to_string();
        let escaped = name.replace('\\', "\\\\").replace('\n', "\\n");
        let mark = if escaped == name { "" } else { "\\" };
        _ = writeln!(self.sums, "{mark}{digest}  {escaped}");
        self.files += 1;
        self.bytes += bytes;
    }

    fn end(self) -> Result<Taken, TakingError> {
        let list = self.to.join(SUMS);
        durable::write_new(&list, self.sums.as_bytes(), durable::PRIVATE)
            .map_err(failed("write", &list))?;
        let digest = hex::encode(Sha256::digest(self.sums.as_bytes()));
        Ok(Taken { to: self.to, digest, files: self.files, bytes: self.bytes })
    }
}

/// Returns where a path goes below the place; a link's own text goes beside with a suffix.
fn below(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.strip_prefix("/").unwrap_or(path).as_os_str().to_owned();
    if !suffix.is_empty() {
        name.push(".");
        name.push(suffix);
    }
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn write(path: &Path, text: &str) {
        durable::create_directories(path.parent().unwrap(), 0o700).unwrap();
        durable::write_new(path, text.as_bytes(), 0o600).unwrap();
    }

    #[test]
    fn what_is_taken_is_copied_hashed_and_checked_by_stock_tools() {
        let home = tempfile::tempdir().unwrap();
        let (from, to) = (home.path().join("log"), home.path().join("kept/run"));
        write(&from.join("a/one"), "one");
        write(&from.join("two"), "two!");
        std::os::unix::fs::symlink("two", from.join("three")).unwrap();
        let taken = take(std::slice::from_ref(&from), &to, &Cancel::new()).unwrap();
        assert_eq!((taken.files, taken.bytes, &taken.to), (3, 3 + 4 + 3, &to));
        let copied = to.join(from.strip_prefix("/").unwrap()).join("a/one");
        assert_eq!(fs::read_to_string(copied).unwrap(), "one");
        let mut check = Command::new("sha256sum");
        let check = check.args(["-c", "--strict", SUMS]).current_dir(&to).output().unwrap();
        assert!(check.status.success(), "{check:?}");
        let list = fs::read(to.join(SUMS)).unwrap();
        assert_eq!(hex::encode(Sha256::digest(&list)), taken.digest);
    }

    #[test]
    fn nothing_is_taken_over_what_was_taken_before_nor_into_itself() {
        let home = tempfile::tempdir().unwrap();
        let (from, to) = (home.path().join("log"), home.path().join("kept"));
        write(&from.join("one"), "one");
        write(&to.join("before"), "before");
        let taken = take(std::slice::from_ref(&from), &to, &Cancel::new()).unwrap();
        assert_eq!(taken.to, home.path().join("kept-2"));
        assert_eq!(fs::read_to_string(to.join("before")).unwrap(), "before");
        let inside =
            take(std::slice::from_ref(&from), &from.join("kept"), &Cancel::new()).unwrap_err();
        assert_eq!(inside.kind(), ErrorKind::Config);
        let gone = take(&[home.path().join("nothing")], &to, &Cancel::new()).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }
}
