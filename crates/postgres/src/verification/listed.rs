//! `backup_manifest`, as PostgreSQL's `pg_verifybackup` reads it.
//!
//! The rules are those of PostgreSQL's `src/common/parse_manifest.c` and of `parse_manifest_file` in
//! `src/bin/pg_verifybackup/pg_verifybackup.c`: whatever is wrong with the document makes all of it useless. The
//! document seals itself: its last line is the SHA-256 of all lines before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use lifeboat_model::Lsn;
use serde::Deserialize;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

use crate::base::sum::Crc32c;
use crate::wal::TimelineId;

/// The versions of the document that there are; the second names the cluster.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;

/// How a file's bytes are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// What PostgreSQL takes if nobody says otherwise.
    Crc32c,
    /// SHA-2 of this many bits: 224, 256, 384 or 512.
    Sha2(u16),
}

/// The sum of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// How it is computed.
    pub algorithm: Algorithm,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A file that the document names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Its size in bytes.
    pub size: u64,
    /// Its sum, unless it has none.
    pub checksum: Option<Checksum>,
}

/// A part of the log without which the backup is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// On which timeline.
    pub timeline: TimelineId,
    /// Where it begins.
    pub start: Lsn,
    /// Where it ends.
    pub end: Lsn,
}

/// What the document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFiles {
    /// The cluster, since version 2.
    pub system_id: Option<u64>,
    /// The files, by their paths below the data directory.
    pub files: BTreeMap<PathBuf, ListedFile>,
    /// The log that belongs to them.
    pub log: Vec<LogRange>,
}

/// The document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListedError {
    /// It has no last line that seals it.
    #[error("it does not end with its own checksum")]
    Unsealed,
    /// It is not what was written.
    #[error("its own checksum is {found}, expected {expected}")]
    Sealed {
        /// What stands in it.
        found: String,
        /// What its bytes make.
        expected: String,
    },
    /// It is no document of its kind.
    #[error("it cannot be read: {0}")]
    Shape(String),
    /// Its version is unknown.
    #[error("it has version {0}")]
    Version(u32),
    /// A file is named in no way or in two.
    #[error("a file has no path, or two")]
    Path,
    /// A file is named twice.
    #[error("`{}` is named twice", .0.display())]
    Twice(PathBuf),
    /// A sum is of no known kind, or has no bytes of that kind.
    #[error("`{}` has no checksum of a known kind", .0.display())]
    Checksum(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "PostgreSQL-Backup-Manifest-Version")]
    version: u32,
    #[serde(rename = "System-Identifier")]
    system_id: Option<u64>,
    #[serde(rename = "Files")]
    files: Vec<DocumentFile>,
    #[serde(rename = "WAL-Ranges")]
    log: Vec<DocumentRange>,
    #[serde(rename = "Manifest-Checksum")]
    checksum: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentFile {
    #[serde(rename = "Path")]
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Last-Modified")]
    _modified: Option<String>,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    #[serde(rename = "Checksum")]
    checksum: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentRange {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: Lsn,
    #[serde(rename = "End-LSN")]
    end: Lsn,
}

impl ListedFiles {
    /// Reads the document.
    pub fn parse(bytes: &[u8]) -> Result<Self, ListedError> {
        let sealed = sealed_part(bytes).ok_or(ListedError::Unsealed)?;
        let shape = |error: serde_json::Error| ListedError::Shape(error.to_string());
        let document: Document = serde_json::from_slice(bytes).map_err(shape)?;
        let expected = hex::encode(Sha256::digest(sealed));
        if !document.checksum.eq_ignore_ascii_case(&expected) {
            return Err(ListedError::Sealed { found: document.checksum, expected });
        }
        if !VERSIONS.contains(&document.version) {
            return Err(ListedError::Version(document.version));
        }
        let mut files = BTreeMap::new();
        for file in document.files {
            let (path, listed) = file.listed()?;
            if files.insert(path.clone(), listed).is_some() {
                return Err(ListedError::Twice(path));
            }
        }
        let log = document.log.into_iter().map(|range| LogRange {
            timeline: TimelineId(range.timeline),
            start: range.start,
            end: range.end,
        });
        let system_id = document.system_id.filter(|_| document.version > *VERSIONS.start());
        Ok(Self { system_id, files, log: log.collect() })
    }
}

/// Returns what the seal covers: all but the last line, which has to be ended too.
fn sealed_part(bytes: &[u8]) -> Option<&[u8]> {
    let lines = bytes.strip_suffix(b"\n")?;
    let end = lines.iter().rposition(|byte| *byte == b'\n')?;
    Some(&bytes[..=end])
}

impl DocumentFile {
    fn listed(self) -> Result<(PathBuf, ListedFile), ListedError> {
        let path = match (self.path, self.encoded_path) {
            (Some(path), None) => PathBuf::from(path),
            (None, Some(encoded)) => {
                let bytes = hex::decode(encoded).map_err(|_| ListedError::Path)?;
                PathBuf::from(OsString::from_vec(bytes))
            }
            _ => return Err(ListedError::Path),
        };
        let wrong = || ListedError::Checksum(path.clone());
        let checksum = match (self.algorithm.as_deref(), self.checksum) {
            (None, None) => None,
            (Some(name), Some(text)) if !name.eq_ignore_ascii_case("none") => {
                Some(Checksum::parse(name, &text).ok_or_else(wrong)?)
            }
            (Some(name), _) if name.eq_ignore_ascii_case("none") => None,
            _ => return Err(wrong()),
        };
        Ok((path, ListedFile { size: self.size, checksum }))
    }
}

impl Checksum {
    fn parse(name: &str, text: &str) -> Option<Self> {
        let algorithm = match name.to_ascii_uppercase().as_str() {
            "CRC32C" => Algorithm::Crc32c,
            "SHA224" => Algorithm::Sha2(224),
            "SHA256" => Algorithm::Sha2(256),
            "SHA384" => Algorithm::Sha2(384),
            "SHA512" => Algorithm::Sha2(512),
            _ => return None,
        };
        let bytes = hex::decode(text).ok()?;
        (bytes.len() == algorithm.length()).then_some(Self { algorithm, bytes })
    }
}

impl Algorithm {
    const fn length(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::Sha2(bits) => bits as usize / 8,
        }
    }

    /// Begins to sum a file.
    pub fn begin(self) -> Summing {
        match self {
            Self::Sha2(224) => Summing::Sha224(Sha224::new()),
            Self::Sha2(256) => Summing::Sha256(Sha256::new()),
            Self::Sha2(384) => Summing::Sha384(Sha384::new()),
            Self::Sha2(_) => Summing::Sha512(Sha512::new()),
            Self::Crc32c => Summing::Crc32c(Crc32c::default()),
        }
    }
}

/// The sum of a file that is being read from its beginning to its end.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each is the state of the algorithm that it is named for")]
pub enum Summing {
    Crc32c(Crc32c),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Summing {
    /// Goes on with further bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32c(sum) => *sum = sum.append(bytes),
            Self::Sha224(sum) => sum.update(bytes),
            Self::Sha256(sum) => sum.update(bytes),
            Self::Sha384(sum) => sum.update(bytes),
            Self::Sha512(sum) => sum.update(bytes),
        }
    }

    /// Returns the sum.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc32c(sum) => sum.0.to_le_bytes().to_vec(),
            Self::Sha224(sum) => sum.finalize().to_vec(),
            Self::Sha256(sum) => sum.finalize().to_vec(),
            Self::Sha384(sum) => sum.finalize().to_vec(),
            Self::Sha512(sum) => sum.finalize().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::base::manifest::tests::sample;
    use crate::base::verification_manifest::verification_manifest;
    use proptest::prelude::*;

    /// Seals a document of some entries as a server would.
    fn document(version: u32, files: &str) -> Vec<u8> {
        let mut text = format!(
            "{{ \"PostgreSQL-Backup-Manifest-Version\": {version},\n\"Files\": [\n{files}\n],\n\
             \"WAL-Ranges\": [\n{{ \"Timeline\": 1, \"Start-LSN\": \"0/28\", \"End-LSN\": \"0/100\" }}\n],\n"
        );
        let sum = hex::encode(Sha256::digest(text.as_bytes()));
        writeln!(text, "\"Manifest-Checksum\": \"{sum}\"}}").unwrap();
        text.into_bytes()
    }

    #[test]
    fn what_is_written_here_is_read() {
        let mut manifest = sample();
        manifest.server_version = 180_000;
        manifest.files[1].crc32c = None;
        let listed = ListedFiles::parse(&verification_manifest(&manifest)).unwrap();
        assert_eq!(listed.system_id, Some(u64::MAX));
        let file = &listed.files[&PathBuf::from("base/5/1259")];
        assert_eq!(file.size, 16384);
        let checksum = Checksum { algorithm: Algorithm::Crc32c, bytes: vec![4, 3, 2, 1] };
        assert_eq!(file.checksum, Some(checksum));
        let placed = PathBuf::from("pg_tblspc/16400/PG_15_202209061/5/16401");
        assert_eq!(listed.files[&placed].checksum, None);
        let range =
            LogRange { timeline: TimelineId(2), start: manifest.start_lsn, end: manifest.stop_lsn };
        assert_eq!(listed.log, [range]);
    }

    #[test]
    fn a_document_that_is_not_whole_is_of_no_use() {
        let entry = r#"{ "Path": "a", "Size": 1 }"#;
        let whole = document(1, entry);
        assert!(ListedFiles::parse(&whole).is_ok());
        let is = |bytes: &[u8]| ListedFiles::parse(bytes).unwrap_err();
        assert_eq!(is(&whole[..whole.len() - 1]), ListedError::Unsealed);
        assert_eq!(is(b""), ListedError::Unsealed);
        let mut changed = whole.clone();
        let at = whole.windows(9).position(|part| part == b"\"Size\": 1").unwrap();
        changed[at + 8] = b'2';
        assert!(matches!(is(&changed), ListedError::Sealed { .. }));
        assert!(matches!(is(&whole[10..]), ListedError::Shape(_)));
        assert_eq!(is(&document(3, entry)), ListedError::Version(3));
        for (files, expected) in [
            (r#"{ "Size": 1 }"#, ListedError::Path),
            (r#"{ "Path": "a", "Encoded-Path": "61", "Size": 1 }"#, ListedError::Path),
            (r#"{ "Encoded-Path": "6", "Size": 1 }"#, ListedError::Path),
            (
                r#"{ "Path": "a", "Size": 1 }, { "Encoded-Path": "61", "Size": 1 }"#,
                ListedError::Twice("a".into()),
            ),
            (
                r#"{ "Path": "a", "Size": 1, "Checksum": "00000000" }"#,
                ListedError::Checksum("a".into()),
            ),
            (
                r#"{ "Path": "a", "Size": 1, "Checksum-Algorithm": "MD5", "Checksum": "00000000" }"#,
                ListedError::Checksum("a".into()),
            ),
            (
                r#"{ "Path": "a", "Size": 1, "Checksum-Algorithm": "SHA256", "Checksum": "00000000" }"#,
                ListedError::Checksum("a".into()),
            ),
        ] {
            assert_eq!(is(&document(1, files)), expected, "{files}");
        }
        assert!(matches!(
            is(&document(1, r#"{ "Path": "a", "Size": -1 }"#)),
            ListedError::Shape(_)
        ));
        assert!(matches!(
            is(&document(1, r#"{ "Path": "a", "Size": 1, "Colour": "red" }"#)),
            ListedError::Shape(_)
        ));
    }

    #[test]
    fn every_algorithm_sums_as_it_is_known_to() {
        for (algorithm, expected) in [
            (Algorithm::Crc32c, "b73f4b36"),
            (Algorithm::Sha2(224), "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            (
                Algorithm::Sha2(256),
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                Algorithm::Sha2(384),
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                Algorithm::Sha2(512),
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            let mut summing = algorithm.begin();
            summing.add(b"a");
            summing.add(b"bc");
            assert_eq!(hex::encode(summing.finish()), expected, "{algorithm:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            prop_assert!(ListedFiles::parse(&bytes).is_err());
        }
    }
}
