//! Whether the tablespaces that a segment of the log makes may be made on this host: their paths may be another server's.
//!
//! A server that replays `CREATE TABLESPACE` takes the directory at its path for its own: it removes what lies there, or
//! goes on with it (`create_tablespace_directories` in `src/backend/commands/tablespace.c`). On a host on which the server
//! still lives that the log is of, that is the data of this one. So a segment is not handed over that would do that.
//!
//! # Limits
//!
//! A record that begins in one segment and ends in the next is not seen: it has a hundred bytes to a kilobyte, as its path is long.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::ArchiveError;
use crate::fields::Fields;
use crate::wal::{Record, RecordReader};

/// `RM_TBLSPC_ID`: records of tablespaces.
const OF_TABLESPACES: u8 = 5;
/// `XLOG_TBLSPC_CREATE` (`commands/tablespace.h`), and which bits tell the sort.
const CREATE: u8 = 0x00;
const SORT_MASK: u8 = 0xF0;

/// The directories of a tablespace, one for each version of the server, begin so.
const VERSION_DIRECTORY: &str = "PG_";

/// A tablespace that the log makes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Created {
    oid: u32,
    path: PathBuf,
}

impl Created {
    /// Reads a record (`xl_tblspc_create_rec`): a number, and a path that ends with a zero.
    fn of(record: &Record<'_>) -> Option<Self> {
        if record.resource_manager() != OF_TABLESPACES || record.info() & SORT_MASK != CREATE {
            return None;
        }
        let data = Fields(record.data()?);
        let path = data.0.get(4..)?.split(|byte| *byte == 0).next()?;
        Some(Self { oid: data.u32(0)?, path: PathBuf::from(std::str::from_utf8(path).ok()?) })
    }

    /// Tells whether somebody else has the directory: data lie there, and they are not those of the cluster in `data`.
    fn is_taken(&self, data: &Path) -> Result<bool, ArchiveError> {
        // One in the data directory itself has no path.
        if !self.path.is_absolute() {
            return Ok(false);
        }
        let link = data.join("pg_tblspc").join(self.oid.to_string());
        if fs::read_link(link).is_ok_and(|target| target == self.path) {
            return Ok(false);
        }
        let looked =
            |source| ArchiveError::Io { action: "look at", path: self.path.clone(), source };
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(looked)?,
        };
        for entry in entries {
            let name = entry.map_err(looked)?.file_name();
            if name.as_encoded_bytes().starts_with(VERSION_DIRECTORY.as_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Refuses a segment that would have the cluster in `data` take the directory of another one.
pub(super) fn expect_free(segment: &[u8], data: &Path) -> Result<(), ArchiveError> {
    let mut made = Vec::new();
    // What is no log is the server's to find.
    let _ = RecordReader::new().read(segment, |record| made.extend(Created::of(record)));
    for created in made {
        if created.is_taken(data)? {
            return Err(ArchiveError::TablespaceTaken { oid: created.oid, path: created.path });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use lifeboat_model::Lsn;

    use super::*;
    use crate::wal::record::tests::Writer;

    /// A segment that makes a tablespace.
    fn segment(oid: u32, path: &Path) -> Vec<u8> {
        let mut writer = Writer::new(Lsn(3 << 20));
        let mut data = oid.to_le_bytes().to_vec();
        data.extend(path.as_os_str().as_encoded_bytes());
        data.push(0);
        writer.write(OF_TABLESPACES, CREATE, 700, &data);
        writer.switch();
        writer.finish()
    }

    #[test]
    fn a_directory_that_holds_data_is_taken_unless_they_are_its_own() {
        let home = tempfile::tempdir().unwrap();
        let (data, space) = (home.path().join("data"), home.path().join("space"));
        fs::create_dir_all(data.join("pg_tblspc")).unwrap();
        let segment = segment(16_400, &space);
        assert!(expect_free(&segment, &data).is_ok(), "it is not there");
        fs::create_dir(&space).unwrap();
        assert!(expect_free(&segment, &data).is_ok(), "it is empty");
        fs::create_dir(space.join("PG_15_202209061")).unwrap();
        let taken = expect_free(&segment, &data).unwrap_err();
        assert!(
            matches!(&taken, ArchiveError::TablespaceTaken { oid: 16_400, path } if *path == space)
        );
        symlink(home.path(), data.join("pg_tblspc/16400")).unwrap();
        assert!(expect_free(&segment, &data).is_err(), "its own lies elsewhere");
        fs::remove_file(data.join("pg_tblspc/16400")).unwrap();
        symlink(&space, data.join("pg_tblspc/16400")).unwrap();
        assert!(expect_free(&segment, &data).is_ok(), "it replayed this before");
    }

    #[test]
    fn what_makes_no_tablespace_is_handed_over() {
        let home = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], &[0; 8192], &[0xff; 8192]] {
            assert!(expect_free(bytes, home.path()).is_ok());
        }
        assert!(expect_free(&segment(16_400, Path::new("")), home.path()).is_ok());
    }
}
