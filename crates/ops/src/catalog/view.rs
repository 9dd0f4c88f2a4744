//! The local view of the catalog in SQLite: what queries ask, rebuilt from a tier at any time.
//!
//! It holds nothing that the records do not hold. Readers need no lock; who inserts holds the
//! state directory's.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeboat_model::{AssetName, JobId, TierName, WriterId};
use rusqlite::{Connection, Params, Row, Transaction, TransactionBehavior, params};

use super::body::Body;
use super::record::{Record, RecordName};
use crate::ending::{Ending, JobStage};

/// The version of the tables; another one is thrown away and filled again.
const TABLES_VERSION: i32 = 1;

/// How long a reader waits for a writer, which holds the file for a few records only.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const TABLES: &str = "
    CREATE TABLE records (
        id TEXT PRIMARY KEY,
        writer TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        time_us INTEGER NOT NULL,
        kind TEXT NOT NULL,
        job TEXT,
        plaintext BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX records_by_chain ON records (writer, sequence);
    CREATE INDEX records_by_kind ON records (kind, time_us);
    CREATE INDEX records_by_job ON records (job);
    CREATE TABLE subjects (
        record TEXT NOT NULL REFERENCES records (id),
        kind TEXT NOT NULL,
        time_us INTEGER NOT NULL,
        asset TEXT,
        tier TEXT,
        good INTEGER NOT NULL
    );
    CREATE INDEX subjects_by_name ON subjects (kind, asset, tier, good, time_us);
";

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

/// The local view.
#[derive(Debug)]
pub struct View {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl View {
    /// Opens or makes the view at `path`.
    pub fn open(path: &Path) -> Result<Self, ViewError> {
        let path = path.to_owned();
        // Made here, since SQLite would make it readable for everybody.
        let made =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        made.map_err(|source| ViewError::Create { path: path.clone(), source })?;
        let wrap = |source| ViewError::Sqlite { path: path.clone(), source };
        let mut connection = Connection::open(&path).map_err(wrap)?;
        prepare(&mut connection).map_err(wrap)?;
        Ok(Self { path, connection: Mutex::new(connection) })
    }

    /// Opens the view; one that SQLite cannot read any more begins empty and is filled from the tiers.
    pub(super) fn open_or_begin_anew(path: &Path) -> Result<Self, ViewError> {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match Self::open(path) {
            Err(ViewError::Sqlite { source, .. })
                if matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)) =>
            {
                Self::remove(path)?;
                Self::open(path)
            }
            other => other,
        }
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
            transaction.execute_batch("DELETE FROM subjects; DELETE FROM records;")?;
            insert_all(transaction, records)
        })
    }

    fn transact(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), ViewError> {
        let mut connection = self.connection();
        let done = connection.transaction().and_then(|transaction| {
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

    /// Returns all records, merged by time.
    pub fn all(&self) -> Result<Vec<Record>, ViewError> {
        self.records("SELECT plaintext FROM records ORDER BY time_us, writer, sequence", [])
    }

    /// Returns the newest records that are wanted, newest first.
    pub fn latest(&self, wanted: Wanted<'_>, limit: u32) -> Result<Vec<Record>, ViewError> {
        self.records(
            "SELECT DISTINCT r.plaintext FROM subjects s JOIN records r ON r.id = s.record
             WHERE s.kind = ?1 AND (?2 IS NULL OR s.asset = ?2) AND (?3 IS NULL OR s.tier = ?3)
               AND (s.good OR NOT ?4)
             ORDER BY r.time_us DESC, r.writer DESC, r.sequence DESC LIMIT ?5",
            params![
                wanted.kind,
                wanted.asset.map(AssetName::as_str),
                wanted.tier.map(TierName::as_str),
                wanted.good_only,
                limit
            ],
        )
    }

    /// Returns a job's records, in the order in which they were written.
    pub fn job(&self, job: JobId) -> Result<Vec<Record>, ViewError> {
        let sql = "SELECT plaintext FROM records WHERE job = ?1 ORDER BY time_us, sequence";
        self.records(sql, [job.to_string()])
    }

    /// Returns the starts of a writer's jobs that have no end.
    pub fn open_jobs(&self, writer: WriterId) -> Result<Vec<Record>, ViewError> {
        self.records(
            "SELECT plaintext FROM records started
             WHERE kind = 'job-started' AND writer = ?1 AND NOT EXISTS (
                 SELECT 1 FROM records ended
                 WHERE ended.kind = 'job-ended' AND ended.job = started.job)
             ORDER BY time_us, sequence",
            [writer.to_string()],
        )
    }

    /// Returns the last record of a writer's chain.
    pub fn head(&self, writer: WriterId) -> Result<Option<Record>, ViewError> {
        let sql =
            "SELECT plaintext FROM records WHERE writer = ?1 ORDER BY sequence DESC, id LIMIT 1";
        Ok(self.records(sql, [writer.to_string()])?.pop())
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

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A record that was acknowledged must not be forgotten: its successor would fork the chain.
    connection.pragma_update(None, "synchronous", "FULL")?;
    if tables_version(connection)? == TABLES_VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Asked again under the lock: another process may have made the tables meanwhile.
    if tables_version(&transaction)? == TABLES_VERSION {
        return Ok(());
    }
    transaction.execute_batch("DROP TABLE IF EXISTS subjects; DROP TABLE IF EXISTS records;")?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", TABLES_VERSION)?;
    transaction.commit()
}

fn tables_version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn insert_all(transaction: &Transaction<'_>, records: &[Record]) -> rusqlite::Result<()> {
    let mut record_row = transaction.prepare_cached(
        "INSERT OR IGNORE INTO records (id, writer, sequence, time_us, kind, job, plaintext)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut subject_row = transaction.prepare_cached(
        "INSERT INTO subjects (record, kind, time_us, asset, tier, good) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for record in records {
        let (header, body, id) = (record.header(), record.body(), record.id().to_hex());
        let time_us = header.time.as_microsecond();
        let sequence = i64::try_from(header.sequence).unwrap_or(i64::MAX);
        let job = job_of(body).map(|job| job.to_string());
        let row = params![
            id,
            header.writer.to_string(),
            sequence,
            time_us,
            body.kind(),
            job,
            record.plaintext()
        ];
        if record_row.execute(row)? == 0 {
            continue;
        }
        for subject in subjects_of(body) {
            let (asset, tier) =
                (subject.asset.map(AssetName::as_str), subject.tier.map(TierName::as_str));
            subject_row.execute(params![id, body.kind(), time_us, asset, tier, subject.good])?;
        }
    }
    Ok(())
}

const fn job_of(body: &Body) -> Option<JobId> {
    match body {
        Body::JobStarted(body) => Some(body.job),
        Body::JobEnded(body) => Some(body.job),
        Body::AssetBackedUp(body) => Some(body.job),
        Body::TierVerified(body) => Some(body.job),
        Body::Restored(body) => Some(body.job),
        Body::RestoreVerified(body) => Some(body.job),
        Body::RestoreTested(body) => Some(body.job),
        Body::RetentionDecided(body) => Some(body.job),
        Body::RetentionDone(body) => Some(body.job),
        Body::RetentionHeld(_)
        | Body::RetentionReleased(_)
        | Body::ThawRequested(_)
        | Body::Enrolment(_)
        | Body::PlanAdopted(_)
        | Body::KeyConfirmed(_)
        | Body::TierAdopted(_)
        | Body::RecoveryEnded(_)
        | Body::SnapshotsMissing(_) => None,
    }
}

/// What a record is about, and whether it tells of a success there.
struct Subject<'a> {
    asset: Option<&'a AssetName>,
    tier: Option<&'a TierName>,
    good: bool,
}

fn subjects_of(body: &Body) -> Vec<Subject<'_>> {
    match body {
        Body::AssetBackedUp(body) => {
            let stored = |stage| matches!(stage, JobStage::Store | JobStage::Copy);
            let tiers = body.stages.iter().filter(|outcome| stored(outcome.stage));
            let mut subjects: Vec<_> = tiers
                .map(|outcome| Subject {
                    asset: Some(&body.asset),
                    tier: outcome.tier.as_ref(),
                    good: outcome.ending == Ending::Succeeded && body.captured.is_some(),
                })
                .collect();
            if subjects.is_empty() {
                subjects.push(Subject { asset: Some(&body.asset), tier: None, good: false });
            }
            subjects
        }
        Body::TierVerified(body) => vec![Subject {
            asset: None,
            tier: Some(&body.tier),
            good: body.outcome == lifeboat_model::Outcome::Passed,
        }],
        Body::Restored(body) => vec![Subject {
            asset: Some(&body.asset),
            tier: Some(&body.tier),
            good: body.ending == Ending::Succeeded,
        }],
        Body::ThawRequested(body) => {
            vec![Subject { asset: Some(&body.asset), tier: Some(&body.tier), good: true }]
        }
        Body::RestoreVerified(body) => vec![Subject {
            asset: Some(&body.asset),
            tier: Some(&body.tier),
            good: body.outcome == lifeboat_model::Outcome::Passed,
        }],
        Body::RestoreTested(body) => {
            let good = body.outcome == lifeboat_model::Outcome::Passed;
            let of = |asset| Subject { asset: Some(asset), tier: None, good };
            body.assets.iter().map(|tested| of(&tested.asset)).collect()
        }
        Body::TierAdopted(body) => {
            vec![Subject { asset: None, tier: Some(&body.tier), good: true }]
        }
        Body::SnapshotsMissing(body) => {
            vec![Subject { asset: None, tier: Some(&body.tier), good: false }]
        }
        Body::RetentionDecided(body) => {
            vec![Subject { asset: None, tier: Some(&body.tier), good: true }]
        }
        Body::RetentionDone(body) => vec![Subject {
            asset: None,
            tier: Some(&body.tier),
            good: body.ending == Ending::Succeeded,
        }],
        Body::RecoveryEnded(body) => {
            let good = body.outcome == lifeboat_runbook::Outcome::Succeeded;
            vec![Subject { asset: None, tier: None, good }]
        }
        Body::RetentionHeld(_)
        | Body::RetentionReleased(_)
        | Body::Enrolment(_)
        | Body::PlanAdopted(_)
        | Body::KeyConfirmed(_)
        | Body::JobStarted(_)
        | Body::JobEnded(_) => vec![Subject { asset: None, tier: None, good: true }],
    }
}
