//! What a backup did, and what it had to leave out.

use std::fmt;
use std::path::{Path, PathBuf};

use lifeboat_model::{BlobId, SnapshotId, Timestamp};
use serde::{Serialize, Serializer};

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// The snapshot that was made.
    pub snapshot: SnapshotId,
    /// Its root.
    pub tree: BlobId,
    /// The snapshot whose unchanged files were not read again.
    pub parent: Option<SnapshotId>,
    /// What was counted.
    pub counts: Counts,
    /// What is not in the snapshot, or not as it should be; in the order of the paths.
    pub skipped: Vec<Skipped>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

impl BackupReport {
    /// Tells whether the snapshot holds all that was asked for.
    pub fn is_complete(&self) -> bool {
        self.skipped.is_empty()
    }
}

/// What a backup would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupPreview {
    /// The snapshot whose unchanged files were not read again.
    pub parent: Option<SnapshotId>,
    /// What was counted.
    pub counts: Counts,
    /// What would not be in the snapshot, or not as it should be; in the order of the paths.
    pub skipped: Vec<Skipped>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

/// What a backup counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Files that the parent does not have; streams among them.
    pub files_new: u64,
    /// Files that are not as in the parent.
    pub files_changed: u64,
    /// Files that were taken over from the parent without being read.
    pub files_unmodified: u64,
    /// Directories that the parent does not have.
    pub directories_new: u64,
    /// Directories whose tree is not as in the parent.
    pub directories_changed: u64,
    /// Directories whose tree is as in the parent.
    pub directories_unmodified: u64,
    /// The size of all files, read or not.
    pub bytes_total: u64,
    /// Bytes of content that were read, holes included.
    pub bytes_read: u64,
    /// Bytes that were new to the repository, before compression; directories among them.
    pub bytes_added: u64,
    /// Bytes that were new to the repository, as they are stored.
    pub bytes_stored: u64,
    /// New blobs of data.
    pub data_blobs: u64,
    /// New blobs of directories.
    pub tree_blobs: u64,
    /// Packs that an interrupted run had stored, and that were found to be whole and listed.
    pub packs_adopted: u64,
    /// The bytes of those packs.
    pub bytes_adopted: u64,
}

impl Counts {
    /// Returns how many files the snapshot has.
    pub const fn files(&self) -> u64 {
        self.files_new + self.files_changed + self.files_unmodified
    }

    /// Returns how many directories the snapshot has.
    pub const fn directories(&self) -> u64 {
        self.directories_new + self.directories_changed + self.directories_unmodified
    }
}

/// A path that is not in the snapshot, or not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The path.
    #[serde(serialize_with = "as_shown")]
    pub path: PathBuf,
    /// Why.
    pub reason: SkipReason,
}

/// Writes a path as it is shown: serde itself refuses one that is not UTF-8.
fn as_shown<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// Why a path is not in the snapshot, or not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum SkipReason {
    /// A path that was given is not there.
    Missing,
    /// It was there when its directory was listed, and was gone when it was to be read.
    Vanished,
    /// It became something else between being listed and being read.
    Replaced,
    /// It cannot be read.
    Unreadable {
        /// What was attempted, like `open`.
        action: &'static str,
        /// The system's word.
        error: String,
    },
    /// Its extended attributes cannot be read; it is stored without them.
    Attributes {
        /// The system's word.
        error: String,
    },
    /// It was written to each time that it was read; the snapshot has what was read last.
    Changing,
    /// It may say what of its directory is left out, but cannot be read; nothing was left out by it.
    NotHeeded {
        /// What is wrong with it.
        error: String,
    },
    /// A path that was given is a symbolic link; the link is stored, what it points to is not.
    OnlyLink {
        /// Where it points.
        target: PathBuf,
    },
}

impl SkipReason {
    /// Tells whether the snapshot has something at the path nevertheless.
    pub const fn is_stored(&self) -> bool {
        matches!(
            self,
            Self::Changing
                | Self::OnlyLink { .. }
                | Self::Attributes { .. }
                | Self::NotHeeded { .. }
        )
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is not there"),
            Self::Vanished => f.write_str("it vanished before it could be read"),
            Self::Replaced => f.write_str("it became something else before it could be read"),
            Self::Unreadable { action, error } => write!(f, "cannot {action} it: {error}"),
            Self::Attributes { error } => write!(f, "cannot read its attributes: {error}"),
            Self::Changing => f.write_str("it changed each time that it was read"),
            Self::NotHeeded { error } => {
                write!(f, "cannot read what it says of its directory, which is all stored: {error}")
            }
            Self::OnlyLink { target } => write!(
                f,
                "it is a link, and {} is not backed up; give that path itself",
                target.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_name_that_is_no_text_is_reported_all_the_same() {
        let path = PathBuf::from(OsStr::from_bytes(b"/srv/\xff"));
        let skipped = Skipped { path, reason: SkipReason::Vanished };
        let json = serde_json::to_string(&skipped).unwrap();
        assert!(json.contains("/srv/\u{fffd}"), "{json}");
    }
}
