//! `manifest.json`: what a base backup is, and what it has of each file.
//!
//! What the files hold the snapshot's trees tell: they name every piece by its SHA-256. The sum that stands here is
//! for whoever has a restored file and nothing else.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use lifeboat_model::{Lsn, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::BaseError;
use super::inventory::{FileIdentity, Tablespace};
use super::sum::Crc32c;
use crate::control::ServerLimits;
use crate::timeline::TimelineHistory;
use crate::wal::{SegmentSize, TimelineId};

/// The name of the document, in the folder of the asset.
pub const MANIFEST: &str = "manifest.json";

/// The version of the document.
pub const SCHEMA: u32 = 1;

/// Which server was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// One that takes changes.
    Primary,
    /// One that follows another.
    Standby,
}

/// Whether pages had checksums while they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageChecks {
    /// They had, and each was checked.
    On,
    /// They had none; only their heads were looked at.
    Off,
    /// That changed meanwhile, so nothing is said of them.
    Changed,
}

/// Whether the log tells of every change to a page, also of bits that only save work.
///
/// Where it does not, a page's position in the log does not tell whether the page is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HintBits {
    /// It does: with checksums, or with `wal_log_hints`.
    Logged,
    /// It does not.
    Silent,
}

/// A path, whatever bytes it has; what is not UTF-8 is written as `%` and two hex digits a byte, as is `%`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WrittenPath(pub PathBuf);

impl Serialize for WrittenPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&written(&self.0))
    }
}

impl<'de> Deserialize<'de> for WrittenPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let path = unwritten(&text);
        path.map(Self).ok_or_else(|| serde::de::Error::custom("a path has a bad escape"))
    }
}

fn written(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '%' => text.push_str("%25"),
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            write!(text, "%{byte:02X}").expect("a string takes whatever is written");
        }
    }
    text
}

fn unwritten(text: &str) -> Option<PathBuf> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// Numbers beyond 2^53, which many readers of JSON would round.
mod as_text {
    use super::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
    pub fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a backup has of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its path below the asset's folder: `pgdata/base/5/1259`.
    pub path: WrittenPath,
    /// Its size in bytes.
    pub size: u64,
    /// When it was changed last, in seconds since 1970; nobody decides anything by it.
    pub modified: i64,
    /// Which file of its host it was; absent if another one took its place meanwhile.
    #[serde(flatten)]
    pub identity: Option<FileIdentity>,
    /// The sum over what was read of it; absent in backups of before, and of what was not read whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<Crc32c>,
    /// How many pages of a relation it has; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u64>,
    /// The numbers of damaged pages in their relation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<u32>,
    /// How many more are damaged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub damaged_more: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ManifestFile {
    /// Returns how many pages are damaged.
    pub fn damaged_count(&self) -> u64 {
        self.damaged.len() as u64 + self.damaged_more
    }
}

/// A file of settings that lies outside of the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationFile {
    /// What it is.
    pub role: ConfigurationRole,
    /// Where it was.
    pub path: WrittenPath,
}

/// What a file of settings is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigurationRole {
    /// `config_file`.
    Settings,
    /// `hba_file`.
    Access,
    /// `ident_file`.
    Users,
    /// What one of them includes, or what lies beside them for the system's own tools.
    Other,
}

/// What a base backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this document.
    pub schema: u32,
    /// The label that the server was given.
    pub label: String,
    /// Which cluster.
    #[serde(with = "as_text")]
    pub system_id: u64,
    /// The server's version, such as 150008.
    pub server_version: u32,
    /// Which server was copied.
    pub origin: Origin,
    /// On which timeline.
    pub timeline: TimelineId,
    /// Where it starts: replay begins here.
    pub start_lsn: Lsn,
    /// Where it stops: from here on the data make sense.
    pub stop_lsn: Lsn,
    /// When it started, by the server's clock.
    pub started: Timestamp,
    /// When it stopped, by the server's clock.
    pub stopped: Timestamp,
    /// How large segments of the log are, in bytes.
    pub segment_size: u32,
    /// Whether pages had checksums.
    pub checksums: PageChecks,
    /// Whether the log tells of all changes.
    pub hint_bits: HintBits,
    /// What a server that recovers must not go below.
    pub limits: ServerLimits,
    /// Where the data directory was.
    pub data_directory: WrittenPath,
    /// The tablespaces.
    pub tablespaces: Vec<Tablespace>,
    /// The directory in a tablespace that is the server's.
    pub version_directory: String,
    /// The files of settings outside of the data directory; they lie below `etc`, by their whole paths.
    pub configuration: Vec<ConfigurationFile>,
    /// The files, in the order of their paths.
    pub files: Vec<ManifestFile>,
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(document: &[u8]) -> Result<Self, BaseError> {
        let wrong = |what: String| BaseError::Manifest { what };
        let manifest: Self =
            serde_json::from_slice(document).map_err(|error| wrong(error.to_string()))?;
        if manifest.schema > SCHEMA {
            let found = manifest.schema;
            return Err(wrong(format!("it has version {found}, this lifeboat reads {SCHEMA}")));
        }
        if manifest.segment_size().is_none() {
            return Err(wrong(format!("no segment has {} bytes", manifest.segment_size)));
        }
        Ok(manifest)
    }

    /// Writes it.
    pub fn to_document(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("all of it can be written as JSON")
    }

    /// Returns how large segments of the log are.
    pub fn segment_size(&self) -> Option<SegmentSize> {
        SegmentSize::new(self.segment_size)
    }

    /// Returns the server's major version.
    pub const fn major(&self) -> u32 {
        self.server_version / 10_000
    }

    /// Returns how many pages are damaged.
    pub fn damaged_pages(&self) -> u64 {
        self.files.iter().map(ManifestFile::damaged_count).sum()
    }

    /// Sets what there is of a file, in the place of what was told of it, if anything was.
    pub fn set_file(&mut self, file: ManifestFile) {
        match self.files.binary_search_by(|own| own.path.cmp(&file.path)) {
            Ok(at) => self.files[at] = file,
            Err(at) => self.files.insert(at, file),
        }
    }

    /// Tells whether recovery along a timeline can begin here.
    pub fn leads_to(&self, history: &TimelineHistory) -> bool {
        history.contains(self.timeline, self.stop_lsn)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a manifest of two files.
    pub fn sample() -> Manifest {
        let file = |path: &str, inode| ManifestFile {
            path: WrittenPath(path.into()),
            size: 16384,
            modified: 1_700_000_000,
            identity: Some(FileIdentity { device: 7, inode }),
            crc32c: Some(Crc32c(0x0102_0304)),
            pages: Some(2),
            damaged: Vec::new(),
            damaged_more: 0,
        };
        Manifest {
            schema: SCHEMA,
            label: "lifeboat".to_owned(),
            system_id: u64::MAX,
            server_version: 150_008,
            origin: Origin::Primary,
            timeline: TimelineId(2),
            start_lsn: Lsn(0x300_0028),
            stop_lsn: Lsn(0x300_0100),
            started: Timestamp::UNIX_EPOCH,
            stopped: Timestamp::UNIX_EPOCH,
            segment_size: 16 << 20,
            checksums: PageChecks::On,
            hint_bits: HintBits::Logged,
            limits: ServerLimits::default(),
            data_directory: WrittenPath("/var/lib/postgresql/15/main".into()),
            tablespaces: vec![Tablespace {
                oid: 16400,
                name: "fast".to_owned(),
                location: "/ssd".into(),
            }],
            version_directory: "PG_15_202209061".to_owned(),
            configuration: Vec::new(),
            files: vec![
                file("pgdata/base/5/1259", 1),
                file("tblspc/16400/PG_15_202209061/5/16401", 2),
            ],
        }
    }

    #[test]
    fn a_manifest_reads_back() {
        let mut manifest = sample();
        manifest.files[0].damaged = vec![3, 9];
        manifest.files[0].damaged_more = 4;
        manifest.files[1].identity = None;
        manifest.files[1].crc32c = None;
        assert_eq!(Manifest::parse(&manifest.to_document()).unwrap(), manifest);
        assert_eq!(manifest.damaged_pages(), 6);
    }

    #[test]
    fn a_file_is_told_of_once_and_in_its_place() {
        let mut manifest = sample();
        let file = |path: &str, size| ManifestFile {
            path: WrittenPath(path.into()),
            size,
            ..sample().files[0].clone()
        };
        manifest.set_file(file("pgdata/base/5/1259", 1));
        manifest.set_file(file("pgdata/postgresql.conf", 2));
        let told: Vec<_> =
            manifest.files.iter().map(|file| (file.path.0.to_str().unwrap(), file.size)).collect();
        assert_eq!(
            told,
            [
                ("pgdata/base/5/1259", 1),
                ("pgdata/postgresql.conf", 2),
                ("tblspc/16400/PG_15_202209061/5/16401", 16384)
            ]
        );
    }

    #[test]
    fn one_that_is_newer_or_senseless_is_refused() {
        let newer: fn(&mut Manifest) = |manifest| manifest.schema = SCHEMA + 1;
        let senseless: fn(&mut Manifest) = |manifest| manifest.segment_size = 77;
        for change in [newer, senseless] {
            let mut manifest = sample();
            change(&mut manifest);
            assert!(Manifest::parse(&manifest.to_document()).is_err());
        }
        assert!(Manifest::parse(b"{}").is_err());
    }

    proptest! {
        #[test]
        fn every_path_reads_back(bytes in prop::collection::vec(1u8.., 0..40)) {
            let path = PathBuf::from(OsString::from_vec(bytes));
            prop_assert_eq!(unwritten(&written(&path)), Some(path));
        }
    }
}
