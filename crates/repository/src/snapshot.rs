//! Snapshots: one tree, and what is known of how it came to be.
//!
//! # Crash consistency
//!
//! A snapshot is stored after the indexes of all packs that its tree refers to. What can be seen is
//! whole.
//!
//! Source: restic `internal/data/snapshot.go`, whose order of fields this is.

use std::fmt;

use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;
use lifeboat_model::{BlobId, SnapshotId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// When a backup began: the instant, and how far the host's clock was from UTC, since an hour or a
/// day of a snapshot is one of its own host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotTime {
    instant: Timestamp,
    offset: Offset,
}

impl SnapshotTime {
    /// Makes a time as a clock at this offset showed it.
    pub const fn new(instant: Timestamp, offset: Offset) -> Self {
        Self { instant, offset }
    }

    /// Returns the instant.
    pub const fn instant(self) -> Timestamp {
        self.instant
    }

    /// Returns how far the host's clock was from UTC.
    pub const fn offset(self) -> Offset {
        self.offset
    }

    fn parse(text: &str) -> Result<Self, jiff::Error> {
        let instant = text.parse()?;
        let offset = Pieces::parse(text)?.to_numeric_offset().unwrap_or(Offset::UTC);
        Ok(Self { instant, offset })
    }
}

impl From<Timestamp> for SnapshotTime {
    fn from(instant: Timestamp) -> Self {
        Self { instant, offset: Offset::UTC }
    }
}

impl fmt::Display for SnapshotTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.offset == Offset::UTC {
            self.instant.fmt(f)
        } else {
            self.instant.display_with_offset(self.offset).fmt(f)
        }
    }
}

impl Serialize for SnapshotTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SnapshotTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When the backup began.
    pub time: SnapshotTime,
    /// The snapshot whose unchanged files were not read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SnapshotId>,
    /// The root of what was backed up.
    pub tree: BlobId,
    /// What was backed up, as absolute paths.
    #[serde(default, deserialize_with = "null_is_default")]
    pub paths: Vec<String>,
    /// The host, or with lifeboat the site.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Who made the backup.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The number of who made the backup.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// The group's number of who made the backup.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// What was left out, as patterns.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub excludes: Vec<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
    /// The snapshot that this one was copied or rewritten from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<SnapshotId>,
    /// What made the backup, like `restic 0.18.0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
    /// What the backup did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<SnapshotSummary>,
}

/// What a backup did; the numbers mean what they mean in restic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotSummary {
    /// When it began.
    pub backup_start: Timestamp,
    /// When it ended.
    pub backup_end: Timestamp,
    /// Files that the parent did not have.
    #[serde(default)]
    pub files_new: u64,
    /// Files that differ from the parent's.
    #[serde(default)]
    pub files_changed: u64,
    /// Files that were taken over from the parent.
    #[serde(default)]
    pub files_unmodified: u64,
    /// Directories that the parent did not have.
    #[serde(default)]
    pub dirs_new: u64,
    /// Directories that differ from the parent's.
    #[serde(default)]
    pub dirs_changed: u64,
    /// Directories that are as in the parent.
    #[serde(default)]
    pub dirs_unmodified: u64,
    /// New data blobs.
    #[serde(default)]
    pub data_blobs: u64,
    /// New tree blobs.
    #[serde(default)]
    pub tree_blobs: u64,
    /// The length of new blobs before compression, in bytes.
    #[serde(default)]
    pub data_added: u64,
    /// The length of new blobs as they are stored, in bytes.
    #[serde(default)]
    pub data_added_packed: u64,
    /// All files that were looked at.
    #[serde(default)]
    pub total_files_processed: u64,
    /// The length of all files that were looked at, in bytes.
    #[serde(default)]
    pub total_bytes_processed: u64,
}

impl Snapshot {
    /// Begins a snapshot of a tree; what else is known is filled in by the caller.
    pub fn new(time: Timestamp, tree: BlobId, paths: Vec<String>) -> Self {
        Self {
            time: time.into(),
            parent: None,
            tree,
            paths,
            hostname: String::new(),
            username: String::new(),
            uid: 0,
            gid: 0,
            excludes: Vec::new(),
            tags: Vec::new(),
            original: None,
            program_version: String::new(),
            summary: None,
        }
    }

    /// Parses an opened and decompressed snapshot.
    pub fn parse(document: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(document)
    }

    /// Writes the snapshot as it is to be compressed and sealed.
    pub fn to_document(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a snapshot is plain data")
    }
}

fn null_is_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = concat!(
        r#"{"time":"2024-10-23T02:00:00.123456789Z","parent":"1111111111111111111111111111111111111111111111111111111111111111","#,
        r#""tree":"2222222222222222222222222222222222222222222222222222222222222222","paths":["/srv/media"],"hostname":"shop","username":"root","uid":1,"gid":2,"#,
        r#""excludes":["*.tmp"],"tags":["asset=media"],"original":"3333333333333333333333333333333333333333333333333333333333333333","program_version":"restic 0.18.0","#,
        r#""summary":{"backup_start":"2024-10-23T02:00:00Z","backup_end":"2024-10-23T02:00:09Z","files_new":1,"files_changed":2,"files_unmodified":3,"dirs_new":4,"dirs_changed":5,"dirs_unmodified":6,"data_blobs":7,"tree_blobs":8,"data_added":9,"data_added_packed":10,"total_files_processed":11,"total_bytes_processed":12}}"#
    );

    #[test]
    fn fields_stand_in_restics_order() {
        let snapshot = Snapshot::parse(DOCUMENT.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(snapshot.to_document()).unwrap(), DOCUMENT);
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let tree = BlobId::from_bytes([0x22; 32]);
        let snapshot = Snapshot::new(Timestamp::UNIX_EPOCH, tree, vec!["/a".to_owned()]);
        assert_eq!(
            String::from_utf8(snapshot.to_document()).unwrap(),
            format!(
                r#"{{"time":"1970-01-01T00:00:00Z","tree":"{}","paths":["/a"]}}"#,
                tree.to_hex()
            )
        );
        assert_eq!(Snapshot::parse(&snapshot.to_document()).unwrap(), snapshot);
    }

    #[test]
    fn a_snapshot_of_a_host_in_another_zone_is_read() {
        let tree = "2".repeat(64);
        let document = format!(
            r#"{{"time":"2024-10-23T04:00:00.5+02:00","tree":"{tree}","paths":null,"tags":null,"label":"x"}}"#
        );
        let snapshot = Snapshot::parse(document.as_bytes()).unwrap();
        assert_eq!(snapshot.time.instant(), "2024-10-23T02:00:00.5Z".parse().unwrap());
        assert_eq!(snapshot.time.offset(), jiff::tz::offset(2));
        assert!(snapshot.paths.is_empty() && snapshot.tags.is_empty());
        let written = String::from_utf8(snapshot.to_document()).unwrap();
        assert!(written.starts_with(r#"{"time":"2024-10-23T04:00:00.5+02:00","#), "{written}");
    }
}
