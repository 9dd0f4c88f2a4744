//! The tables of the view: the records, and what is derived of each so that questions are answered by an index.
//!
//! `subjects` tells which records are about which asset and tier, `captures` which complete snapshots were recorded on which
//! tier, and when it was stored there last, `let_go` which of them retention decided to remove, `gone` which of them somebody else
//! did, and when that was found last, `jobs` which jobs began and which ended.
//!
//! # Invariants
//!
//! - A derived row is written in the transaction of its record, so neither is there without the other.
//! - What is derived of a record depends on that record alone, or is the latest of several, so that the order in which records
//!   arrive does not matter.
//!
//! # Crash consistency
//!
//! SQLite's. Tables of an earlier version are derived anew from the records, in one transaction: a kill leaves the
//! earlier version, and the next to open it begins again.

use lifeboat_model::{AssetName, JobId, Outcome, SnapshotId, TierName};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::BUSY_TIMEOUT;
use crate::catalog::body::{AssetBackedUp, Body};
use crate::catalog::record::Record;
use crate::ending::{Ending, JobStage};

/// The version of the tables; what is derived is made anew from the records of an earlier one.
const TABLES_VERSION: i32 = 3;

/// The first version whose table of records is that of today.
const RECORDS_VERSION: i32 = 1;

const RECORDS: &str = "
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
";

const DERIVED: &str = "
    DROP TABLE IF EXISTS subjects;
    DROP TABLE IF EXISTS captures;
    DROP TABLE IF EXISTS gone;
    DROP TABLE IF EXISTS let_go;
    DROP TABLE IF EXISTS jobs;
    CREATE TABLE subjects (
        record TEXT NOT NULL REFERENCES records (id),
        kind TEXT NOT NULL,
        time_us INTEGER NOT NULL,
        asset TEXT,
        tier TEXT,
        good INTEGER NOT NULL
    );
    CREATE INDEX subjects_by_name ON subjects (kind, asset, tier, time_us, good);
    CREATE INDEX subjects_by_tier ON subjects (kind, tier, time_us, good);
    CREATE INDEX subjects_by_verdict ON subjects (kind, tier, good, time_us);
    CREATE TABLE captures (
        tier TEXT NOT NULL,
        asset TEXT NOT NULL,
        captured_us INTEGER NOT NULL,
        snapshot TEXT NOT NULL,
        base TEXT,
        size_bytes INTEGER,
        stored_us INTEGER NOT NULL,
        PRIMARY KEY (tier, asset, captured_us, snapshot)
    ) WITHOUT ROWID;
    CREATE TABLE gone (
        tier TEXT NOT NULL,
        snapshot TEXT NOT NULL,
        found_us INTEGER NOT NULL,
        PRIMARY KEY (tier, snapshot)
    ) WITHOUT ROWID;
    CREATE TABLE let_go (
        tier TEXT NOT NULL,
        snapshot TEXT NOT NULL,
        PRIMARY KEY (tier, snapshot)
    ) WITHOUT ROWID;
    CREATE TABLE jobs (
        job TEXT PRIMARY KEY,
        writer TEXT,
        started TEXT,
        has_ended INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE INDEX jobs_open ON jobs (writer) WHERE started IS NOT NULL AND has_ended = 0;
";

/// How much a record says for what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// It tells that nothing is known.
    Unknown = -1,
    /// It tells of no success.
    Bad = 0,
    /// It tells of a success.
    Good = 1,
    /// It tells of one that takes back what failed before.
    Settles = 2,
}

pub(super) fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A record that was acknowledged must not be forgotten: its successor would fork the chain.
    connection.pragma_update(None, "synchronous", "FULL")?;
    if tables_version(connection)? == TABLES_VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Asked again under the lock: another process may have made the tables meanwhile.
    match tables_version(&transaction)? {
        TABLES_VERSION => return Ok(()),
        RECORDS_VERSION..TABLES_VERSION => {
            transaction.execute_batch(DERIVED)?;
            derive_all(&transaction)?;
        }
        _ => {
            transaction.execute_batch("DROP TABLE IF EXISTS records;")?;
            transaction.execute_batch(RECORDS)?;
            transaction.execute_batch(DERIVED)?;
        }
    }
    transaction.pragma_update(None, "user_version", TABLES_VERSION)?;
    transaction.commit()
}

fn tables_version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Derives what is derived from all records that are there.
fn derive_all(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut rows = transaction.prepare("SELECT plaintext FROM records")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let plaintext: Vec<u8> = row.get(0)?;
        // What is no record any more is found damaged by whoever reads it.
        if let Ok(record) = Record::read(&plaintext) {
            derive(transaction, &record)?;
        }
    }
    Ok(())
}

/// Removes all records and what is derived of them.
pub(super) fn clear(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "DELETE FROM subjects; DELETE FROM captures; DELETE FROM let_go; DELETE FROM gone;
         DELETE FROM jobs; DELETE FROM records;",
    )
}

pub(super) fn insert_all(
    transaction: &Transaction<'_>,
    records: &[Record],
) -> rusqlite::Result<()> {
    let mut record_row = transaction.prepare_cached(
        "INSERT OR IGNORE INTO records (id, writer, sequence, time_us, kind, job, plaintext)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for record in records {
        let (header, body) = (record.header(), record.body());
        let sequence = i64::try_from(header.sequence).unwrap_or(i64::MAX);
        let row = params![
            record.id().to_hex(),
            header.writer.to_string(),
            sequence,
            header.time.as_microsecond(),
            body.kind(),
            job_of(body).map(|job| job.to_string()),
            record.plaintext()
        ];
        if record_row.execute(row)? > 0 {
            derive(transaction, record)?;
        }
    }
    Ok(())
}

/// Writes the rows that are derived of a record.
fn derive(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<()> {
    let (body, id) = (record.body(), record.id().to_hex());
    let time_us = record.header().time.as_microsecond();
    let mut row = transaction.prepare_cached(
        "INSERT INTO subjects (record, kind, time_us, asset, tier, good) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for Subject { asset, tier, weight } in subjects_of(body) {
        let (asset, tier) = (asset.map(AssetName::as_str), tier.map(TierName::as_str));
        row.execute(params![id, body.kind(), time_us, asset, tier, weight as i32])?;
    }
    match body {
        Body::JobStarted(body) => {
            let sql = "INSERT INTO jobs (job, writer, started) VALUES (?1, ?2, ?3)
                 ON CONFLICT (job) DO UPDATE SET writer = excluded.writer, started = excluded.started";
            let writer = record.header().writer.to_string();
            let mut row = transaction.prepare_cached(sql)?;
            row.execute(params![body.job.to_string(), writer, id]).map(drop)
        }
        // It may come in before the start.
        Body::JobEnded(body) => {
            let sql = "INSERT INTO jobs (job, has_ended) VALUES (?1, 1)
                 ON CONFLICT (job) DO UPDATE SET has_ended = 1";
            transaction.prepare_cached(sql)?.execute([body.job.to_string()]).map(drop)
        }
        Body::AssetBackedUp(body) => derive_captures(transaction, body, time_us),
        Body::RetentionDecided(body) => {
            let sql = "INSERT OR IGNORE INTO let_go (tier, snapshot) VALUES (?1, ?2)";
            let mut row = transaction.prepare_cached(sql)?;
            for snapshot in &body.snapshots {
                row.execute(params![body.tier.as_str(), snapshot.to_hex()])?;
            }
            Ok(())
        }
        Body::SnapshotsMissing(body) => {
            derive_gone(transaction, &body.tier, &body.snapshots, time_us)
        }
        _ => Ok(()),
    }
}

/// Of several records the last counts, in whichever order they arrive.
fn derive_gone(
    transaction: &Transaction<'_>,
    tier: &TierName,
    snapshots: &[SnapshotId],
    found_us: i64,
) -> rusqlite::Result<()> {
    let mut row = transaction.prepare_cached(
        "INSERT INTO gone (tier, snapshot, found_us) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET found_us = max(found_us, excluded.found_us)",
    )?;
    for snapshot in snapshots {
        row.execute(params![tier.as_str(), snapshot.to_hex(), found_us])?;
    }
    Ok(())
}

fn derive_captures(
    transaction: &Transaction<'_>,
    body: &AssetBackedUp,
    stored_us: i64,
) -> rusqlite::Result<()> {
    let Some(captured) = body.captured else { return Ok(()) };
    let succeeded: Vec<_> = subjects_of_backup(body)
        .into_iter()
        .filter(|subject| subject.weight > Weight::Bad)
        .filter_map(|subject| subject.tier)
        .collect();
    let base = body.base.as_ref().map(|base| serde_json::to_string(base).expect("a base is JSON"));
    let size = body.size_bytes.map(|size| i64::try_from(size).unwrap_or(i64::MAX));
    let mut row = transaction.prepare_cached(
        "INSERT INTO captures (tier, asset, captured_us, snapshot, base, size_bytes, stored_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT DO UPDATE SET stored_us = max(stored_us, excluded.stored_us)",
    )?;
    for there in body.snapshots.iter().filter(|there| succeeded.contains(&&there.tier)) {
        row.execute(params![
            there.tier.as_str(),
            body.asset.as_str(),
            captured.as_microsecond(),
            there.snapshot.to_hex(),
            base,
            size,
            stored_us
        ])?;
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
        | Body::RecoveryDeclared(_)
        | Body::PlaceTaken(_)
        | Body::PlaceLeft(_)
        | Body::PlaceSought(_)
        | Body::PlaceForgone(_)
        | Body::ThawRequested(_)
        | Body::Enrolment(_)
        | Body::PlanAdopted(_)
        | Body::KeyConfirmed(_)
        | Body::TierAdopted(_)
        | Body::RecoveryEnded(_)
        | Body::Evidence(_)
        | Body::DrillEnded(_)
        | Body::SnapshotsMissing(_) => None,
    }
}

/// What a record is about, and how much it says for it.
struct Subject<'a> {
    asset: Option<&'a AssetName>,
    tier: Option<&'a TierName>,
    weight: Weight,
}

impl<'a> Subject<'a> {
    fn new(
        asset: impl Into<Option<&'a AssetName>>,
        tier: impl Into<Option<&'a TierName>>,
        weight: impl Into<Weight>,
    ) -> Self {
        Self { asset: asset.into(), tier: tier.into(), weight: weight.into() }
    }
}

impl From<bool> for Weight {
    fn from(is_good: bool) -> Self {
        if is_good { Self::Good } else { Self::Bad }
    }
}

impl From<Outcome> for Weight {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self::Good,
            Outcome::CouldNotVerify => Self::Unknown,
            Outcome::Failed => Self::Bad,
        }
    }
}

impl From<Ending> for Weight {
    fn from(ending: Ending) -> Self {
        (ending == Ending::Succeeded).into()
    }
}

/// Returns on which tiers a backup was to be stored, each once, and whether it was.
fn subjects_of_backup(body: &AssetBackedUp) -> Vec<Subject<'_>> {
    let stored = |stage| matches!(stage, JobStage::Store | JobStage::Copy);
    let mut subjects: Vec<Subject<'_>> = Vec::new();
    for outcome in body.stages.iter().filter(|outcome| stored(outcome.stage)) {
        let good = outcome.ending == Ending::Succeeded && body.captured.is_some();
        let (tier, weight) = (outcome.tier.as_ref(), Weight::from(good));
        match subjects.iter_mut().find(|subject| subject.tier == tier) {
            Some(subject) => subject.weight = subject.weight.max(weight),
            None => subjects.push(Subject::new(&body.asset, tier, weight)),
        }
    }
    if subjects.is_empty() {
        subjects.push(Subject::new(&body.asset, None, Weight::Bad));
    }
    subjects
}

fn subjects_of(body: &Body) -> Vec<Subject<'_>> {
    match body {
        Body::AssetBackedUp(body) => subjects_of_backup(body),
        Body::TierVerified(body) => {
            let settles = body.outcome == Outcome::Passed && body.all_data;
            let weight = if settles { Weight::Settles } else { body.outcome.into() };
            vec![Subject::new(None, &body.tier, weight)]
        }
        Body::Restored(body) => vec![Subject::new(&body.asset, &body.tier, body.ending)],
        Body::ThawRequested(body) => vec![Subject::new(&body.asset, &body.tier, true)],
        Body::RestoreVerified(body) => vec![Subject::new(&body.asset, &body.tier, body.outcome)],
        Body::RestoreTested(body) => {
            let of = |asset| Subject::new(asset, None, body.outcome);
            body.assets.iter().map(|tested| of(&tested.asset)).collect()
        }
        Body::TierAdopted(body) => vec![Subject::new(None, &body.tier, true)],
        Body::SnapshotsMissing(body) => vec![Subject::new(None, &body.tier, false)],
        Body::RetentionDecided(body) => vec![Subject::new(None, &body.tier, true)],
        Body::RetentionDone(body) => vec![Subject::new(None, &body.tier, body.ending)],
        Body::RecoveryEnded(body) => {
            let good = body.outcome == lifeboat_runbook::Outcome::Succeeded;
            vec![Subject::new(None, None, good)]
        }
        Body::Evidence(body) => vec![Subject::new(None, None, body.facts.outcome)],
        Body::DrillEnded(body) => vec![Subject::new(None, None, body.outcome)],
        Body::RetentionHeld(_)
        | Body::RetentionReleased(_)
        | Body::RecoveryDeclared(_)
        | Body::PlaceTaken(_)
        | Body::PlaceLeft(_)
        | Body::PlaceSought(_)
        | Body::PlaceForgone(_)
        | Body::Enrolment(_)
        | Body::PlanAdopted(_)
        | Body::KeyConfirmed(_)
        | Body::JobStarted(_)
        | Body::JobEnded(_) => vec![Subject::new(None, None, true)],
    }
}
