//! How many rows the tables of a server have: counted at a base backup, and again once that was recovered.
//!
//! Counting begins when the base backup has stopped, so that every count is of a position that a recovery can
//! reach; [`super::moment`] tells which that is. All databases are counted as of one moment where that can be
//! had, each through a snapshot of its own.
//!
//! # What is counted
//!
//! Tables, partitions, inheritance children and materialized views, each with its own rows; not those of the system,
//! and not unlogged ones, which no recovery brings back.
//!
//! # Limits
//!
//! Counting reads every row. It takes as long as the plan allows, the smallest tables first; those that were not
//! counted are named, each with the reason. The log is ended at a segment once, so that the position gets archived.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use lifeboat_model::{Lsn, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;

use super::moment::Seen;
use crate::error::PostgresError;
use crate::name::{DatabaseName, quote_literal};
use crate::record::{TableChange, TableDifference};
use crate::server::{Server, moment};
use crate::session::Session;

/// The name of the document, in the folder of the asset.
pub const ROWS: &str = "rows.json";

/// The version of the document.
const SCHEMA: u32 = 1;

/// How often all databases are asked for one moment: each try takes a millisecond or two.
const TRIES: u32 = 50;

/// How long a table may be locked by others before it is passed over.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// How many rows the tables of one database had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRows {
    /// Which database.
    pub database: DatabaseName,
    /// Where the log ended when the snapshot had been taken.
    pub lsn: Lsn,
    /// Which transactions it saw.
    pub seen: Seen,
    /// Rows, by the tables' names as SQL writes them.
    pub tables: BTreeMap<String, u64>,
    /// Tables that were not counted, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub uncounted: BTreeMap<String, String>,
}

/// How many rows a server had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// The version of this document.
    pub schema: u32,
    /// When, by the server's clock; absent where nothing was counted.
    pub taken: Option<Timestamp>,
    /// The databases, that of the plan first.
    pub databases: Vec<DatabaseRows>,
    /// Why nothing was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl RowCounts {
    /// Says why nothing was counted.
    pub const fn none(why: String) -> Self {
        Self { schema: SCHEMA, taken: None, databases: Vec::new(), trouble: Some(why) }
    }

    /// Reads the document.
    pub fn parse(document: &[u8]) -> Result<Self, PostgresError> {
        let fail = |message: String| PostgresError::Record { database: ROWS.to_owned(), message };
        let counts: Self =
            serde_json::from_slice(document).map_err(|error| fail(error.to_string()))?;
        if counts.schema > SCHEMA {
            return Err(fail(format!("schema is {}, expected {SCHEMA}", counts.schema)));
        }
        Ok(counts)
    }

    /// Writes it.
    pub fn to_document(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("all keys are texts")
    }

    /// Counts all databases of a server for at most so long. What goes wrong is told in the document: a
    /// backup is none the worse for it.
    pub async fn take(server: &Server, limit: Duration) -> Self {
        match Self::count(server, limit).await {
            Ok(counts) => counts,
            Err(error) => Self::none(explain(&error)),
        }
    }

    async fn count(server: &Server, limit: Duration) -> Result<Self, PostgresError> {
        let own = server.database();
        let mut names = server.databases().await?;
        // The plan's database decides which position it is.
        names.sort_by_key(|name| *name != own);
        let sessions = try_join_all(names.iter().map(|name| server.session(name))).await?;
        let Some(moments) = moments(&sessions).await? else {
            return Ok(Self::none("rows are not counted on a standby".to_owned()));
        };
        let maintenance = server.maintenance_session().await?;
        let (taken, _, _) = moment(&maintenance).await?;
        end_segment(&maintenance).await;
        let end = Instant::now() + limit;
        let mut databases = Vec::new();
        for (session, (seen, lsn)) in sessions.iter().zip(moments) {
            let (tables, uncounted) = count_tables(session, end).await?;
            session.run("ROLLBACK", || "end counting rows".to_owned()).await?;
            let database = session.database().clone();
            databases.push(DatabaseRows { database, lsn, seen, tables, uncounted });
        }
        Ok(Self { schema: SCHEMA, taken: Some(taken), databases, trouble: None })
    }
}

fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(below) = source {
        text.push_str(": ");
        text.push_str(&below.to_string());
        source = below.source();
    }
    text
}

/// Takes a snapshot in each session, of one moment if that can be had; none on a standby.
async fn moments(sessions: &[Session]) -> Result<Option<Vec<(Seen, Lsn)>>, PostgresError> {
    let mut found = Vec::new();
    for tries_left in (0..TRIES).rev() {
        let asked = join_all(sessions.iter().map(snapshot)).await;
        let Some(moments) = asked.into_iter().collect::<Result<Option<Vec<_>>, _>>()? else {
            return Ok(None);
        };
        let are_same = moments.windows(2).all(|pair| pair[0].0 == pair[1].0);
        found = moments;
        if are_same || tries_left == 0 {
            break;
        }
        for session in sessions {
            session.run("ROLLBACK", || "look again".to_owned()).await?;
        }
    }
    Ok(Some(found))
}

/// Begins a transaction and tells which others it sees, and where the log ends behind that.
async fn snapshot(session: &Session) -> Result<Option<(Seen, Lsn)>, PostgresError> {
    // The first statement takes the snapshot, before it is evaluated.
    const MOMENT: &str = "
        SELECT pg_catalog.pg_current_snapshot()::text,
               CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL
                    ELSE pg_catalog.pg_current_wal_insert_lsn() END::text";
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    session.run(begin, || "begin to count rows".to_owned()).await?;
    let row = session.client().query_one(MOMENT, &[]).await;
    let row = row.map_err(|source| session.failed("tell its moment".to_owned(), source))?;
    let Some(lsn) = row.get::<_, Option<String>>(1) else { return Ok(None) };
    let wrong = |message: String| PostgresError::Record {
        database: session.database().to_string(),
        message,
    };
    let seen = row.get::<_, String>(0).parse();
    let seen = seen.map_err(|error: super::moment::ParseSeenError| wrong(error.to_string()))?;
    let lsn = lsn.parse();
    let lsn = lsn.map_err(|error: lifeboat_model::lsn::ParseLsnError| wrong(error.to_string()))?;
    Ok(Some((seen, lsn)))
}

/// Ends the segment of the log, so that it is archived soon. A role that may not does without.
async fn end_segment(session: &Session) {
    if let Err(error) = session.client().simple_query("SELECT pg_catalog.pg_switch_wal()").await {
        let error: &dyn std::error::Error = &error;
        tracing::debug!(error, "The log could not be ended at a segment.");
    }
}

/// Rows are counted in the tables themselves: an index may know rows that its table lost.
const READ_TABLES: &str = "
    SET enable_indexscan = off;
    SET enable_indexonlyscan = off;
    SET enable_bitmapscan = off";

type Counted = (BTreeMap<String, u64>, BTreeMap<String, String>);

/// Counts the tables that a transaction sees, the smallest first, until a moment.
async fn count_tables(session: &Session, end: Instant) -> Result<Counted, PostgresError> {
    let (mut tables, mut uncounted) = Counted::default();
    for table in table_names(session).await? {
        let left = end.saturating_duration_since(Instant::now());
        match count_within(session, &table, left).await? {
            Ok(rows) => drop(tables.insert(table, rows)),
            Err(why) => drop(uncounted.insert(table, why)),
        }
    }
    Ok((tables, uncounted))
}

async fn table_names(session: &Session) -> Result<Vec<String>, PostgresError> {
    const NAMES: &str = "
        SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p'
          AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
        ORDER BY c.relpages, 1";
    let rows = session.client().query(NAMES, &[]).await;
    let rows = rows.map_err(|source| session.failed("list its tables".to_owned(), source))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Counts a table, or says why it was not counted.
async fn count_within(
    session: &Session,
    table: &str,
    left: Duration,
) -> Result<Result<u64, String>, PostgresError> {
    const LATE: &str = "there was no time left";
    if left.as_millis() == 0 {
        return Ok(Err(LATE.to_owned()));
    }
    // After an error only what came after the savepoint is lost, not the snapshot.
    let begin = format!(
        "SAVEPOINT counting; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}",
        left.as_millis().min(i32::MAX as u128),
        LOCK_WAIT.as_millis()
    );
    session.run(&begin, || "begin to count a table".to_owned()).await?;
    let counted = session.client().query_one(&count_sql(table), &[]).await;
    let counted = match counted {
        Ok(row) => Ok(row.get::<_, i64>(0).cast_unsigned()),
        Err(source) if session.client().is_closed() => {
            return Err(session.failed(format!("count {table}"), source));
        }
        Err(source) if source.code() == Some(&SqlState::QUERY_CANCELED) => Err(LATE.to_owned()),
        Err(source) => Err(explain(&source)),
    };
    let end = "ROLLBACK TO SAVEPOINT counting; RELEASE SAVEPOINT counting";
    session.run(end, || "end counting a table".to_owned()).await?;
    Ok(counted)
}

fn count_sql(table: &str) -> String {
    format!("SELECT pg_catalog.count(*) FROM ONLY {table}")
}

/// How a database compares with what was counted of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowComparison {
    /// How many tables were compared.
    pub tables: u64,
    /// How many rows they have.
    pub rows: u64,
    /// Those that are not as they were.
    pub differences: Vec<TableDifference>,
}

impl DatabaseRows {
    /// Counts the tables again, on a server that was recovered to the position of the counts.
    pub async fn compare(&self, server: &Server) -> Result<RowComparison, PostgresError> {
        let session = server.session(&self.database).await?;
        session.run(READ_TABLES, || "set up the connection".to_owned()).await?;
        let there = table_names(&session).await?;
        let mut comparison = RowComparison::default();
        for table in &there {
            let expected = self.tables.get(table);
            if expected.is_none() && self.uncounted.contains_key(table) {
                continue;
            }
            let rows = count(&session, table).await?;
            comparison.tables += 1;
            comparison.rows += rows;
            let change = match expected {
                None => TableChange::Added { rows },
                Some(expected) if *expected != rows => {
                    TableChange::Rows { expected: *expected, actual: rows }
                }
                Some(_) => continue,
            };
            comparison.differences.push(TableDifference { table: table.clone(), change });
        }
        let missing = self.tables.iter().filter(|(name, _)| !there.contains(name));
        comparison.differences.extend(missing.map(|(table, rows)| {
            let change = TableChange::Missing { rows: *rows };
            TableDifference { table: table.clone(), change }
        }));
        Ok(comparison)
    }

    /// Returns those transactions that were not seen by the counts and are committed on a server all the same.
    pub async fn committed_unseen(&self, server: &Server) -> Result<Vec<u64>, PostgresError> {
        let session = server.maintenance_session().await?;
        let mut committed = Vec::new();
        for xid in self.seen.running() {
            let xid_text = quote_literal(&xid.to_string());
            let sql = format!("SELECT pg_catalog.pg_xact_status({xid_text}::pg_catalog.xid8)");
            let row = session.client().query_one(&sql, &[]).await;
            let row = row.map_err(|source| {
                session.failed(format!("tell how transaction {xid} ended"), source)
            })?;
            if row.get::<_, Option<&str>>(0) == Some("committed") {
                committed.push(*xid);
            }
        }
        Ok(committed)
    }
}

async fn count(session: &Session, table: &str) -> Result<u64, PostgresError> {
    let row = session.client().query_one(&count_sql(table), &[]).await;
    let row = row.map_err(|source| session.failed(format!("count {table}"), source))?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}
