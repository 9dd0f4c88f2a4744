//! Has a server hand over the history of its timeline that it never did.
//!
//! A server that recovers with `archive_mode = off`, as one does beside another, marks nothing for its
//! archiver when it is promoted. Once it takes the other's place its segments are archived, and the file
//! that tells where its timeline comes from never is: nobody could recover along it. The mark is an empty file,
//! `pg_wal/archive_status/<file>.ready` (`XLogArchiveNotify` of PostgreSQL's `xlogarchive.c`), and the archiver
//! takes histories before segments.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use super::error::BaseError;
use crate::wal::{TimelineId, WalFileName};

/// Marks the history of a timeline for the archiver, if there is one and it was never marked.
pub fn hand_over(data: &Path, timeline: TimelineId) -> Result<(), BaseError> {
    let file = WalFileName::History(timeline).to_string();
    let status = data.join("pg_wal").join("archive_status");
    let mark = |state: &str| status.join(format!("{file}.{state}"));
    let is_marked = mark("ready").exists() || mark("done").exists();
    if is_marked || !data.join("pg_wal").join(&file).exists() {
        return Ok(());
    }
    let ready = mark("ready");
    let marked = || -> io::Result<()> {
        let owner = fs::metadata(&status)?;
        let file = File::create_new(&ready)?;
        if file.metadata()?.uid() != owner.uid() {
            chown(&ready, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(())
    };
    marked().map_err(|source| BaseError::io("mark for the archiver", &ready, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_history_that_was_never_marked_is() {
        let home = tempfile::tempdir().unwrap();
        let status = home.path().join("pg_wal/archive_status");
        fs::create_dir_all(&status).unwrap();
        let marks = || fs::read_dir(&status).unwrap().count();
        hand_over(home.path(), TimelineId(2)).unwrap();
        assert_eq!(marks(), 0, "there is none");
        File::create(home.path().join("pg_wal/00000002.history")).unwrap();
        hand_over(home.path(), TimelineId(2)).unwrap();
        let (ready, done) =
            (status.join("00000002.history.ready"), status.join("00000002.history.done"));
        assert!(ready.exists());
        fs::remove_file(&ready).unwrap();
        File::create(&done).unwrap();
        hand_over(home.path(), TimelineId(2)).unwrap();
        assert!(!ready.exists(), "it was archived");
    }
}
