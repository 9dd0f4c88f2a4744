//! The local view of the catalog in SQLite: what queries ask, rebuilt from a tier at any time.
//!
//! It holds nothing that the records do not hold. Readers need no lock; who inserts holds the
//! state directory's.
//!
//! What a status asks is answered by an index, however many records there are: [`View::latest`] of what is about
//! one tier, [`View::captures`], [`View::verifications`], [`View::open_jobs`].

mod tables;

use std::collections::{BTreeSet, HashSet};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeboat_model::{AssetName, JobId, SnapshotId, TierName, Timestamp, WriterId};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Params, Row, Transaction, TransactionBehavior, params};

use super::body::BaseRecord;
use super::record::{Record, RecordName};
use tables::{Weight, clear, insert_all, prepare};

/// How long a reader waits for a writer, which holds the file for a few records only.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The view could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// SQLite failed.
    #[error("cannot use the catalog's local view {}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's word.
        #[source]
        source: rusqlite::Error,
    },
    /// The file could not be made.
    #[error("cannot create {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// A row is no record.
    #[error("the catalog's local view {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl ViewError {
    /// Tells whether SQLite cannot read any more what is there.
    pub(super) fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let Self::Sqlite { source, .. } = self else { return false };
        matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
    }
}

/// Which records a query wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Of this kind.
    pub kind: &'a str,
    /// About this asset.
    pub asset: Option<&'a AssetName>,
    /// About this tier.
    pub tier: Option<&'a TierName>,
    /// Only those that tell of a success there.
    pub good_only: bool,
}

/// How much of the catalog was known here at a moment; what came since lies beyond it. The default lies before everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark(i64);

/// A complete capture that was recorded on a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCapture {
    /// Up to when every change is in it.
    pub captured: Timestamp,
    /// Its snapshot there.
    pub snapshot: SnapshotId,
    /// When it was recorded there last.
    pub stored: Timestamp,
    /// Where in a server's log it lies, if it is a base backup.
    pub base: Option<BaseRecord>,
    /// How large all that is in it is, where that was recorded.
    pub size_bytes: Option<u64>,
    /// Whether it was found gone since it was stored there last, and nobody had decided that.
    pub is_gone: bool,
}

/// The local view.
#[derive(Debug)]
pub struct View {
    path: PathBuf,
    connection: Mutex<Connection>,
}

/// Opens or makes the file.
fn connect(path: &Path) -> Result<Connection, ViewError> {
    // Made here, since SQLite would make it readable for everybody.
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map_err(|source| ViewError::Create { path: path.to_owned(), source })?;
    let wrap = |source| ViewError::Sqlite { path: path.to_owned(), source };
    let mut connection = Connection::open(path).map_err(wrap)?;
    prepare(&mut connection).map_err(wrap)?;
    Ok(connection)
}

/// Empties a database that may be damaged, as SQLite's documentation says (`SQLITE_DBCONFIG_RESET_DATABASE`).
fn reset(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, true)?;
    let emptied = connection.execute_batch("VACUUM");
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, false)?;
    emptied?;
    prepare(connection)
}

/// When it was captured in microseconds, its snapshot, its base as JSON, its size in bytes, whether somebody removed it, and
/// when it was stored in microseconds.
type CaptureRow = (i64, String, Option<String>, Option<i64>, bool, i64);

impl View {
    /// Opens or makes the view at `path`.
    pub fn open(path: &Path) -> Result<Self, ViewError> {
        let connection = Mutex::new(connect(path)?);
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Opens the view; one that SQLite cannot read any more begins empty and is filled from the tiers.
    pub(super) fn open_or_begin_anew(path: &Path) -> Result<Self, ViewError> {
        match Self::open(path) {
            Err(error) if error.is_damage() => {
                Self::remove(path)?;
                Self::open(path)
            }
            other => other,
        }
    }

    /// Begins empty: what was there cannot be read. That is so for all who have it open, each of whom would otherwise take the
    /// new file's log along when he closes the old one.
    pub(super) fn begin_anew(&self) -> Result<(), ViewError> {
        reset(&mut self.connection()).map_err(|source| self.wrap(source))
    }

    /// Removes the view's files; the records stay where they are.
    pub(super) fn remove(path: &Path) -> Result<(), ViewError> {
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(suffix);
            match std::fs::remove_file(&file) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ViewError::Create { path: file.into(), source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrap(&self, source: rusqlite::Error) -> ViewError {
        ViewError::Sqlite { path: self.path.clone(), source }
    }

    /// Adds records; those that are there already stay as they are.
    pub(super) fn insert(&self, records: &[Record]) -> Result<(), ViewError> {
        self.transact(|transaction| insert_all(transaction, records))
    }

    /// Replaces everything by these records, or changes nothing.
    pub(super) fn replace(&self, records: &[Record]) -> Result<(), ViewError> {
        self.transact(|transaction| {
            clear(transaction)?;
            insert_all(transaction, records)
        })
    }

    fn transact(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), ViewError> {
        let mut connection = self.connection();
        // One that became a writer's only later would fail where another one wrote meanwhile.
        let opened = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let done = opened.and_then(|transaction| {
            work(&transaction)?;
            transaction.commit()
        });
        done.map_err(|source| self.wrap(source))
    }

    fn query<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, ViewError> {
        let connection = self.connection();
        let rows = connection.prepare_cached(sql).and_then(|mut statement| {
            statement.query_map(params, read)?.collect::<rusqlite::Result<Vec<T>>>()
        });
        rows.map_err(|source| self.wrap(source))
    }

    fn records(&self, sql: &str, params: impl Params) -> Result<Vec<Record>, ViewError> {
        let rows: Vec<Vec<u8>> = self.query(sql, params, |row| row.get(0))?;
        rows.iter()
            .map(|plaintext| Record::read(plaintext))
            .collect::<Result<_, _>>()
            .map_err(|_| ViewError::Damaged { path: self.path.clone() })
    }

    /// Tells whether it holds no record at all, as on a host whose state is new or was lost.
    pub fn is_empty(&self) -> Result<bool, ViewError> {
        let asked =
            self.connection()
                .query_row("SELECT NOT EXISTS (SELECT 1 FROM records)", [], |row| row.get(0));
        asked.map_err(|source| self.wrap(source))
    }

    /// Returns all records, merged by time.
    pub fn all(&self) -> Result<Vec<Record>, ViewError> {
        self.records("SELECT plaintext FROM records ORDER BY time_us, writer, sequence", [])
    }

    /// Returns the newest records that are wanted, newest first.
    pub fn latest(&self, wanted: Wanted<'_>, limit: u32) -> Result<Vec<Record>, ViewError> {
        if wanted.asset.is_none() && wanted.tier.is_none() && !wanted.good_only {
            return self.latest_of_kind(wanted.kind, limit);
        }
        // Conditions that do not hold for all would keep an index from being used; a record has only one row for a
        // tier, so that those of one tier are in the index's order.
        let once = if wanted.tier.is_some() { "" } else { "DISTINCT" };
        let asset = if wanted.asset.is_some() { "AND s.asset = ?2" } else { "AND ?2 IS NULL" };
        let tier = if wanted.tier.is_some() { "AND s.tier = ?3" } else { "AND ?3 IS NULL" };
        let good = if wanted.good_only { "AND s.good > 0" } else { "" };
        self.records(
            &format!(
                "SELECT {once} r.plaintext FROM subjects s CROSS JOIN records r ON r.id = s.record
                 WHERE s.kind = ?1 {asset} {tier} {good}
                 ORDER BY s.time_us DESC, r.writer DESC, r.sequence DESC LIMIT ?4"
            ),
            params![
                wanted.kind,
                wanted.asset.map(AssetName::as_str),
                wanted.tier.map(TierName::as_str),
                limit
            ],
        )
    }

    /// Returns the newest records of a kind, newest first: what they are about has no index by time alone.
    fn latest_of_kind(&self, kind: &str, limit: u32) -> Result<Vec<Record>, ViewError> {
        self.records(
            "SELECT plaintext FROM records WHERE kind = ?1
             ORDER BY time_us DESC, writer DESC, sequence DESC LIMIT ?2",
            params![kind, limit],
        )
    }

    /// Marks how much is known now.
    pub fn mark(&self) -> Result<Mark, ViewError> {
        let sql = "SELECT COALESCE(max(rowid), 0) FROM subjects";
        let found = self.query(sql, [], |row| row.get(0))?;
        Ok(Mark(found.first().copied().unwrap_or_default()))
    }

    /// Returns the backups of a tier that were known at a mark, newest first.
    pub fn backups_until(&self, tier: &TierName, mark: Mark) -> Result<Vec<Record>, ViewError> {
        self.records(
            "SELECT r.plaintext FROM subjects s CROSS JOIN records r ON r.id = s.record
             WHERE s.kind = 'asset-backed-up' AND s.tier = ?1 AND s.rowid <= ?2
             ORDER BY s.time_us DESC, r.writer DESC, r.sequence DESC",
            params![tier.as_str(), mark.0],
        )
    }

    /// Returns the newest complete captures of an asset that were recorded on a tier and that retention did not let go,
    /// the newest first.
    pub fn captures(
        &self,
        asset: &AssetName,
        tier: &TierName,
        limit: u32,
    ) -> Result<Vec<RecordedCapture>, ViewError> {
        let rows: Vec<CaptureRow> = self.query(
            "SELECT captured_us, snapshot, base, size_bytes, EXISTS (
                 SELECT 1 FROM gone g WHERE g.tier = c.tier AND g.snapshot = c.snapshot
                   AND g.found_us >= c.stored_us), stored_us
             FROM captures c WHERE tier = ?1 AND asset = ?2
               AND NOT EXISTS (SELECT 1 FROM let_go l WHERE l.tier = c.tier AND l.snapshot = c.snapshot)
             ORDER BY captured_us DESC, snapshot DESC LIMIT ?3",
            params![tier.as_str(), asset.as_str(), limit],
            |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
            },
        )?;
        let damaged = || ViewError::Damaged { path: self.path.clone() };
        rows.into_iter()
            .map(|(captured_us, snapshot, base, size, is_gone, stored_us)| {
                let captured = Timestamp::from_microsecond(captured_us).map_err(|_| damaged())?;
                let stored = Timestamp::from_microsecond(stored_us).map_err(|_| damaged())?;
                let snapshot = snapshot.parse().map_err(|_| damaged())?;
                let size_bytes = size.and_then(|size| u64::try_from(size).ok());
                let base = base.map(|base| serde_json::from_str(&base)).transpose();
                let base = base.map_err(|_| damaged())?;
                Ok(RecordedCapture { captured, snapshot, stored, base, size_bytes, is_gone })
            })
            .collect()
    }

    /// Returns the verifications of a tier that tell how it stands, the oldest first: the last that settled it, those since
    /// that did not pass, and the last of all.
    pub fn verifications(&self, tier: &TierName) -> Result<Vec<Record>, ViewError> {
        let of = |sql: &str, since_us: i64| {
            let sql = format!(
                "SELECT r.plaintext FROM subjects s CROSS JOIN records r ON r.id = s.record
                 WHERE s.kind = 'tier-verified' AND s.tier = ?1 AND s.time_us >= ?2 {sql}"
            );
            self.records(&sql, params![tier.as_str(), since_us])
        };
        let settled =
            format!("AND s.good = {} ORDER BY s.time_us DESC LIMIT 1", Weight::Settles as i32);
        let mut told = of(&settled, i64::MIN)?;
        let since_us =
            told.first().map_or(i64::MIN, |record| record.header().time.as_microsecond());
        told.extend(of(
            &format!("AND s.good = {} ORDER BY s.time_us", Weight::Bad as i32),
            since_us,
        )?);
        told.extend(of("ORDER BY s.time_us DESC LIMIT 1", since_us)?);
        told.sort_by_key(|record| (record.header().time, record.header().sequence));
        told.dedup_by_key(|record| record.id());
        Ok(told)
    }

    /// Returns a job's records, in the order in which they were written.
    pub fn job(&self, job: JobId) -> Result<Vec<Record>, ViewError> {
        let sql = "SELECT plaintext FROM records WHERE job = ?1 ORDER BY time_us, sequence";
        self.records(sql, [job.to_string()])
    }

    /// Returns the starts of a writer's jobs that have no end.
    pub fn open_jobs(&self, writer: WriterId) -> Result<Vec<Record>, ViewError> {
        self.records(
            "SELECT r.plaintext FROM jobs j CROSS JOIN records r ON r.id = j.started
             WHERE j.writer = ?1 AND j.started IS NOT NULL AND j.has_ended = 0
             ORDER BY r.time_us, r.sequence",
            [writer.to_string()],
        )
    }

    /// Returns the last record of a writer's chain.
    pub fn head(&self, writer: WriterId) -> Result<Option<Record>, ViewError> {
        let sql =
            "SELECT plaintext FROM records WHERE writer = ?1 ORDER BY sequence DESC, id LIMIT 1";
        Ok(self.records(sql, [writer.to_string()])?.pop())
    }

    /// Returns what a writer wrote of a kind, the newest first.
    pub fn of_writer(&self, writer: WriterId, kind: &str) -> Result<Vec<Record>, ViewError> {
        // There are far fewer of such a kind than of a writer, whose index would otherwise be gone through for its order.
        self.records(
            "SELECT plaintext FROM records WHERE kind = ?1 AND +writer = ?2 ORDER BY sequence DESC",
            params![kind, writer.to_string()],
        )
    }

    /// Returns the records to which those are held that are to come in: their writers' enrolments, and their neighbours.
    pub(super) fn beside(&self, new: &[Record]) -> Result<Vec<Record>, ViewError> {
        let writers: BTreeSet<_> = new.iter().map(|record| record.header().writer).collect();
        let mut beside = Vec::new();
        for writer in writers {
            beside.extend(self.of_writer(writer, "enrolment")?);
        }
        for record in new {
            let sequence = i64::try_from(record.header().sequence).unwrap_or(i64::MAX);
            beside.extend(self.records(
                "SELECT plaintext FROM records WHERE writer = ?1 AND sequence BETWEEN ?2 AND ?3",
                params![
                    record.header().writer.to_string(),
                    sequence.saturating_sub(1),
                    sequence.saturating_add(1)
                ],
            )?);
        }
        Ok(beside)
    }

    /// Returns the records of these names, in the order of their chains.
    pub(super) fn named<'n>(
        &self,
        names: impl Iterator<Item = &'n RecordName>,
    ) -> Result<Vec<Record>, ViewError> {
        let names: BTreeSet<_> = names.collect();
        let mut found = Vec::new();
        for name in names {
            let sequence = i64::try_from(name.sequence).unwrap_or(i64::MAX);
            found.extend(self.records(
                "SELECT plaintext FROM records
                 WHERE writer = ?1 AND sequence = ?2 AND substr(id, 1, 16) = ?3",
                params![name.writer.to_string(), sequence, name.hash],
            )?);
        }
        Ok(found)
    }

    /// Returns the names of all records.
    pub(super) fn names(&self) -> Result<HashSet<RecordName>, ViewError> {
        let rows: Vec<(String, i64, String)> =
            self.query("SELECT writer, sequence, substr(id, 1, 16) FROM records", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let damaged = || ViewError::Damaged { path: self.path.clone() };
        rows.into_iter()
            .map(|(writer, sequence, hash)| {
                let writer = writer.parse().map_err(|_| damaged())?;
                let sequence = u64::try_from(sequence).map_err(|_| damaged())?;
                Ok(RecordName { writer, sequence, hash })
            })
            .collect()
    }
}
