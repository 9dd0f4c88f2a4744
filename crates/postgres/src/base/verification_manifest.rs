//! `backup_manifest` in PostgreSQL's own format, so that `pg_verifybackup` accepts a restored directory.
//!
//! The format is the chapter "Backup Manifest Format" of PostgreSQL's documentation. The checksums are CRC-32C over
//! what was read of each file; one that has none, in a backup of before, is named by its size alone, which the
//! format allows. [`crate::verification::listed`] reads the document.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lifeboat_model::Timestamp;
use sha2::{Digest as _, Sha256};

use super::inventory::{DATA_FOLDER, TABLESPACE_FOLDER};
use super::manifest::Manifest;

/// The major version from which on a manifest names the cluster.
const NAMES_CLUSTER: u32 = 17;

/// The name of the document in a data directory.
pub const VERIFICATION_MANIFEST: &str = "backup_manifest";

/// Writes the document for a backup.
pub fn verification_manifest(manifest: &Manifest) -> Vec<u8> {
    let mut text = String::new();
    write_all(&mut text, manifest).expect("a string takes whatever is written");
    let sum = Sha256::digest(text.as_bytes());
    text.push_str("\"Manifest-Checksum\": \"");
    text.push_str(&hex::encode(sum));
    text.push_str("\"}\n");
    text.into_bytes()
}

fn write_all(text: &mut String, manifest: &Manifest) -> std::fmt::Result {
    if manifest.major() >= NAMES_CLUSTER {
        write!(
            text,
            "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": {},",
            manifest.system_id
        )?;
    } else {
        write!(text, "{{ \"PostgreSQL-Backup-Manifest-Version\": 1,")?;
    }
    write!(text, "\n\"Files\": [")?;
    let files = manifest.files.iter().filter_map(|file| Some((placed(&file.path.0)?, file)));
    for (number, (path, file)) in files.enumerate() {
        let separator = if number == 0 { "\n" } else { ",\n" };
        write!(text, "{separator}{{ {}, \"Size\": {}, ", path_field(&path), file.size)?;
        write!(text, "\"Last-Modified\": \"{}\"", in_gmt(file.modified))?;
        if let Some(sum) = file.crc32c {
            write!(text, ", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{sum}\"")?;
        }
        write!(text, " }}")?;
    }
    let Manifest { timeline, start_lsn, stop_lsn, .. } = manifest;
    write!(text, "\n],\n\"WAL-Ranges\": [\n{{ \"Timeline\": {timeline}, ")?;
    write!(text, "\"Start-LSN\": \"{start_lsn}\", \"End-LSN\": \"{stop_lsn}\" }}\n],\n")
}

/// Returns where a file of the snapshot lies in a data directory, if it does.
pub fn placed(path: &Path) -> Option<PathBuf> {
    if let Ok(below) = path.strip_prefix(DATA_FOLDER) {
        return Some(below.to_owned());
    }
    let below = path.strip_prefix(TABLESPACE_FOLDER).ok()?;
    Some(Path::new("pg_tblspc").join(below))
}

fn path_field(path: &Path) -> String {
    match path.to_str() {
        Some(text) => format!("\"Path\": {}", serde_json::Value::from(text)),
        None => format!("\"Encoded-Path\": \"{}\"", hex::encode(path.as_os_str().as_bytes())),
    }
}

fn in_gmt(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::sample;
    use super::*;

    #[test]
    fn it_names_every_file_where_it_lies_and_seals_itself() {
        for (version, has_id) in [(150_008, false), (180_003, true)] {
            let mut manifest = Manifest { server_version: version, ..sample() };
            manifest.files[1].crc32c = None;
            let document = verification_manifest(&manifest);
            let parsed: serde_json::Value = serde_json::from_slice(&document).unwrap();
            assert_eq!(parsed["Files"][0]["Path"], "base/5/1259");
            assert_eq!(parsed["Files"][0]["Last-Modified"], "2023-11-14 22:13:20 GMT");
            assert_eq!(parsed["Files"][0]["Checksum-Algorithm"], "CRC32C");
            assert_eq!(parsed["Files"][0]["Checksum"], "04030201");
            assert!(parsed["Files"][1].get("Checksum").is_none());
            assert_eq!(parsed["Files"][1]["Path"], "pg_tblspc/16400/PG_15_202209061/5/16401");
            assert_eq!(parsed["WAL-Ranges"][0]["End-LSN"], "0/3000100");
            assert_eq!(parsed["System-Identifier"].is_u64(), has_id);
            let text = String::from_utf8(document).unwrap();
            let (sealed, _) = text.split_at(text.find("\"Manifest-Checksum\"").unwrap());
            assert_eq!(parsed["Manifest-Checksum"], hex::encode(Sha256::digest(sealed)));
        }
    }

    #[test]
    fn odd_names_are_written_as_the_format_wants_them() {
        use std::ffi::OsStr;
        assert_eq!(path_field(Path::new("a\"b")), r#""Path": "a\"b""#);
        let odd = Path::new(OsStr::from_bytes(b"\xFF"));
        assert_eq!(path_field(odd), r#""Encoded-Path": "ff""#);
    }
}
