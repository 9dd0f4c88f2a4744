//! The paths of archived files on a tier, and what can be known from a path alone.
//!
//! ```text
//! wal/<system id>/<timeline>/<log>-<size>M/<file>-<digest>.zst.age
//! wal/<system id>/history/<timeline>.history-<digest>.zst.age
//! ```
//!
//! `<log>` is the middle part of a segment's name and `<size>` the size of the cluster's segments in
//! MiB, so that a listing says which segments follow each other, and a folder never has more than
//! 4096 of them. `<digest>` is the first quarter of the plain bytes' SHA-256: who holds the
//! plain bytes and cannot read the archive still sees whether they are there.

use std::fmt;
use std::str::FromStr;

use lifeboat_tiers::{ObjectPath, ObjectPrefix};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::wal::{SegmentSize, TimelineId, WalFileName};

/// The folder of every archive on a tier.
pub const ROOT: &str = "wal";

/// The folder of the files that tell where timelines come from.
const HISTORIES: &str = "history";

/// What follows the name of an archived file: it is compressed, then sealed.
const SUFFIX: &str = ".zst.age";

/// Which cluster a log belongs to: the number that `initdb` draws.
///
/// Documents hold it as a text: it has more digits than many a reader of numbers keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SystemId(pub u64);

impl Serialize for SystemId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SystemId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl SystemId {
    /// Returns the folder of a cluster's archive.
    pub fn folder(self) -> ObjectPrefix {
        prefix(&format!("{ROOT}/{self}"))
    }

    /// Returns where the histories of its timelines lie.
    pub fn histories(self) -> ObjectPrefix {
        prefix(&format!("{ROOT}/{self}/history"))
    }
}

/// How many bytes of a SHA-256 stand in a path.
const DIGEST_LENGTH: usize = 8;

/// The first 16 hex digits of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortDigest([u8; DIGEST_LENGTH]);

impl ShortDigest {
    /// Returns that of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::shorten(Sha256::digest(bytes).as_ref())
    }

    /// Shortens a whole SHA-256.
    pub(super) fn shorten(sha256: &[u8; 32]) -> Self {
        let (first, _) = sha256.split_first_chunk().expect("32 bytes begin with 8");
        Self(*first)
    }
}

impl fmt::Display for ShortDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for ShortDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for ShortDigest {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digest = [0; DIGEST_LENGTH];
        hex::decode_to_slice(text, &mut digest)?;
        Ok(Self(digest))
    }
}

/// A file of a cluster's log, whatever its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WalAddress {
    /// Whose log.
    pub system: SystemId,
    /// How large the cluster's segments are.
    pub size: SegmentSize,
    /// Which file.
    pub file: WalFileName,
}

impl WalAddress {
    /// Returns the folder that the file lies in, with few others.
    pub fn folder(&self) -> ObjectPrefix {
        prefix(&self.folder_text())
    }

    fn folder_text(&self) -> String {
        let Self { system, size, file } = self;
        match file.segment() {
            None => format!("{ROOT}/{system}/{HISTORIES}"),
            Some(segment) => {
                let name = segment.to_string();
                let (timeline, log) = (&name[..8], &name[8..16]);
                let mebibytes = size.bytes() >> 20;
                format!("{ROOT}/{system}/{timeline}/{log}-{mebibytes}M")
            }
        }
    }
}

/// An archived file: which one, and which bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArchivedFile {
    /// Which file.
    pub file: WalFileName,
    /// Whose log it is part of.
    pub system: SystemId,
    /// How large the cluster's segments are; a history does not tell.
    pub size: Option<SegmentSize>,
    /// What its bytes are known by.
    pub digest: ShortDigest,
}

impl ArchivedFile {
    /// Returns the file at an address that holds these bytes.
    pub fn of(address: WalAddress, plain: &[u8]) -> Self {
        Self::with_digest(address, ShortDigest::of(plain))
    }

    pub(super) fn with_digest(address: WalAddress, digest: ShortDigest) -> Self {
        let WalAddress { system, size, file } = address;
        Self { file, system, size: file.segment().map(|_| size), digest }
    }

    /// Returns where it lies.
    pub fn path(&self) -> ObjectPath {
        let Self { file, system, size, digest } = *self;
        // A history lies where it does whatever the size.
        let address = WalAddress { system, file, size: size.unwrap_or_default() };
        let text = format!("{}/{file}-{digest}{SUFFIX}", address.folder_text());
        text.parse().expect("names and numbers make a path")
    }

    /// Reads a path; `None` if nothing archived lies at such a path.
    pub fn parse(path: &ObjectPath) -> Option<Self> {
        let rest = path.as_str().strip_prefix(ROOT)?.strip_prefix('/')?;
        let (system, _) = rest.split_once('/')?;
        let (file, digest) = path.file_name().strip_suffix(SUFFIX)?.rsplit_once('-')?;
        let folder = path.as_str().rsplit('/').nth(1)?;
        let size = folder.split_once('-').and_then(|(_, size)| size_of(size));
        let parsed = Self {
            file: file.parse().ok()?,
            system: SystemId(system.parse().ok()?),
            size,
            digest: digest.parse().ok()?,
        };
        // Every spelling but the one that is written would be a second path for one file.
        (parsed.size.is_some() == parsed.file.segment().is_some() && parsed.path() == *path)
            .then_some(parsed)
    }
}

fn size_of(text: &str) -> Option<SegmentSize> {
    let mebibytes: u32 = text.strip_suffix('M')?.parse().ok()?;
    SegmentSize::new(mebibytes.checked_mul(1 << 20)?)
}

fn prefix(text: &str) -> ObjectPrefix {
    text.parse().expect("names and numbers make a path")
}

/// Returns the folder of one timeline of a cluster's archive.
pub fn timeline_folder(system: SystemId, timeline: TimelineId) -> ObjectPrefix {
    prefix(&format!("{ROOT}/{system}/{:08X}", timeline.0))
}

/// Returns the folder of every archive on a tier.
pub fn root() -> ObjectPrefix {
    prefix(ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(file: &str) -> WalAddress {
        let size = SegmentSize::default();
        WalAddress {
            system: SystemId(7_000_000_000_000_000_001),
            size,
            file: file.parse().unwrap(),
        }
    }

    #[test]
    fn each_kind_of_file_has_its_place() {
        let paths: Vec<String> = [
            "0000000A00000001000000FE",
            "0000000A00000001000000FE.partial",
            "0000000A00000001000000FE.00000028.backup",
            "0000000A.history",
        ]
        .iter()
        .map(|file| ArchivedFile::of(address(file), b"abc").path().to_string())
        .collect();
        let folder = "wal/7000000000000000001/0000000A/00000001-16M";
        assert_eq!(
            paths,
            [
                format!("{folder}/0000000A00000001000000FE-ba7816bf8f01cfea.zst.age"),
                format!("{folder}/0000000A00000001000000FE.partial-ba7816bf8f01cfea.zst.age"),
                format!(
                    "{folder}/0000000A00000001000000FE.00000028.backup-ba7816bf8f01cfea.zst.age"
                ),
                "wal/7000000000000000001/history/0000000A.history-ba7816bf8f01cfea.zst.age"
                    .to_owned(),
            ]
        );
    }

    #[test]
    fn a_file_lies_in_the_folder_that_is_listed_for_it() {
        for file in ["0000000A00000001000000FE", "0000000A.history"] {
            let address = address(file);
            let path = ArchivedFile::of(address, b"").path();
            assert!(address.folder().contains(&path) && address.system.folder().contains(&path));
        }
    }

    #[test]
    fn other_paths_are_no_archived_files() {
        let right = "wal/7/0000000A/00000001-16M/0000000A00000001000000FE-ba7816bf8f01cfea.zst.age";
        assert!(ArchivedFile::parse(&right.parse().unwrap()).is_some());
        for (part, other) in [
            ("wal/7", "wal/07"),
            ("wal/7", "repo/7"),
            ("/0000000A/", "/0000000B/"),
            ("00000001-16M", "00000002-16M"),
            ("-16M", "-3M"),
            ("-16M", "-016M"),
            ("-16M", ""),
            ("ba78", "BA78"),
            ("cfea", "cf"),
            (".age", ""),
            ("000000FE-", "000000FG-"),
        ] {
            let wrong = right.replace(part, other);
            assert_ne!(wrong, right);
            assert_eq!(ArchivedFile::parse(&wrong.parse().unwrap()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_path_reads_back(timeline: u32, lsn: u64, system: u64, bits in 20..=30_u32, plain: Vec<u8>) {
            let size = SegmentSize::new(1 << bits).unwrap();
            let timeline = TimelineId(timeline);
            let segment = crate::wal::SegmentName::of(timeline, lifeboat_model::Lsn(lsn), size);
            for file in [
                WalFileName::Segment(segment),
                WalFileName::Partial(segment),
                WalFileName::History(timeline),
                WalFileName::of_backup(timeline, lifeboat_model::Lsn(lsn), size),
            ] {
                let archived = ArchivedFile::of(WalAddress { system: SystemId(system), size, file }, &plain);
                prop_assert_eq!(ArchivedFile::parse(&archived.path()), Some(archived));
            }
        }
    }
}
