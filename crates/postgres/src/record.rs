//! What a database held at one moment, table by table: how many rows, and a sum over them.
//!
//! The record goes beside the dump; after a restore a second one is read from the new database, and
//! [`DatabaseRecord::differences`] names each table that is not what it was.
//!
//! # The sum
//!
//! Each row is written as text under fixed settings, hashed with SHA-256, and the first two 64-bit words
//! of all hashes are added up, each for itself. Addition knows no order, so the sum is the same whatever
//! order rows are read in, and rows that occur twice count twice. It finds accidents, not forgeries: whoever
//! may write rows could craft some that add up alike.
//!
//! # What is summed
//!
//! Tables, partitions and inheritance children, each with its own rows. Left out: tables that belong to
//! an extension, which makes them anew; foreign tables and materialized views, whose rows live elsewhere;
//! sequences, which no snapshot holds still. Large objects are summed where this role may read them.

use std::collections::BTreeMap;
use std::fmt;

use lifeboat_model::{Lsn, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::PostgresError;
use crate::name::DatabaseName;
use crate::properties::DatabaseProperties;
use crate::server::ServerVersion;
use crate::session::Session;

/// The version of the record's shape.
pub const FORMAT: u32 = 1;

/// The name under which large objects stand among the differences.
const LARGE_OBJECTS: &str = "pg_largeobject";

/// Rows of one table: how many, and the sum over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    /// How many rows.
    pub rows: u64,
    /// The sum over them, as 32 hex digits.
    pub checksum: String,
}

/// What a database held at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRecord {
    /// The version of this shape.
    pub format: u32,
    /// Which database.
    pub database: DatabaseName,
    /// The server's version, like 150008.
    pub server_version: u32,
    /// When, by the server's clock.
    pub taken: Timestamp,
    /// The server's place in its log at that moment.
    pub lsn: Option<Lsn>,
    /// What the database itself is.
    pub properties: DatabaseProperties,
    /// Each table by its name as SQL writes it, like `public."Order Items"`.
    pub tables: BTreeMap<String, TableRecord>,
    /// Large objects, where they could be read.
    pub large_objects: Option<TableRecord>,
}

/// One way in which a table is not what was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableDifference {
    /// The table.
    pub table: String,
    /// What differs.
    #[serde(flatten)]
    pub change: TableChange,
}

/// What of a table differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum TableChange {
    /// It was recorded and is not there.
    Missing {
        /// How many rows it had.
        rows: u64,
    },
    /// It is there and was not recorded.
    Added {
        /// How many rows it has.
        rows: u64,
    },
    /// It has another number of rows.
    Rows {
        /// How many were recorded.
        expected: u64,
        /// How many there are.
        actual: u64,
    },
    /// It has as many rows, of which some are others.
    Content {
        /// How many rows.
        rows: u64,
    },
}

impl fmt::Display for TableDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        match &self.change {
            TableChange::Missing { rows } => write!(f, "{table} is missing, with {rows} rows"),
            TableChange::Added { rows } => write!(f, "{table} was not recorded, has {rows} rows"),
            TableChange::Rows { expected, actual } => {
                write!(f, "{table} has {actual} rows, expected {expected}")
            }
            TableChange::Content { rows } => {
                write!(f, "{table} has {rows} rows as expected, but other ones")
            }
        }
    }
}

impl DatabaseRecord {
    /// Writes the record as the document that goes beside the dump.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("the record has only text keys");
        json.push(b'\n');
        json
    }

    /// Reads such a document.
    pub fn from_json(json: &[u8]) -> Result<Self, PostgresError> {
        let fail = |message: String| PostgresError::Record { database: "?".to_owned(), message };
        let record: Self = serde_json::from_slice(json).map_err(|error| fail(error.to_string()))?;
        if record.format == FORMAT {
            Ok(record)
        } else {
            Err(fail(format!("format is {}, expected {FORMAT}", record.format)))
        }
    }

    /// Returns how many rows all tables have together.
    pub fn total_rows(&self) -> u64 {
        self.tables.values().map(|table| table.rows).sum()
    }

    /// Names each table that is not in `actual` as it is here.
    pub fn differences(&self, actual: &Self) -> Vec<TableDifference> {
        let difference = |table: &str, change| TableDifference { table: table.to_owned(), change };
        let added = actual.tables.iter().filter(|(name, _)| !self.tables.contains_key(*name));
        let added =
            added.map(|(name, table)| difference(name, TableChange::Added { rows: table.rows }));
        let changed = self.tables.iter().filter_map(|(name, expected)| {
            change(expected, actual.tables.get(name)).map(|change| difference(name, change))
        });
        let objects = self.large_objects.as_ref().zip(actual.large_objects.as_ref());
        let objects = objects.and_then(|(expected, actual)| change(expected, Some(actual)));
        let objects = objects.map(|change| difference(LARGE_OBJECTS, change));
        changed.chain(added).chain(objects).collect()
    }

    /// Reads the record through a session, whose transaction decides of which moment it is.
    pub(crate) async fn read(
        session: &Session,
        version: ServerVersion,
    ) -> Result<Self, PostgresError> {
        let mut tables = BTreeMap::new();
        for name in table_names(session).await? {
            let rows = format!("SELECT ({ROW}.*)::text AS content FROM ONLY {name} AS {ROW}");
            let sum = sum(session, &rows, &name).await?;
            tables.insert(name, sum);
        }
        Ok(Self {
            format: FORMAT,
            database: session.database().clone(),
            server_version: version.0,
            taken: Timestamp::UNIX_EPOCH,
            lsn: None,
            properties: DatabaseProperties::read(session).await?,
            tables,
            large_objects: large_objects(session).await?,
        })
    }
}

/// Compares one table with what was recorded of it.
fn change(expected: &TableRecord, actual: Option<&TableRecord>) -> Option<TableChange> {
    let Some(actual) = actual else { return Some(TableChange::Missing { rows: expected.rows }) };
    if expected.rows != actual.rows {
        Some(TableChange::Rows { expected: expected.rows, actual: actual.rows })
    } else if expected.checksum != actual.checksum {
        Some(TableChange::Content { rows: expected.rows })
    } else {
        None
    }
}

/// The alias of a summed row; a column of this very name would be summed in the row's place.
const ROW: &str = "\"lifeboat: a row\"";

async fn table_names(session: &Session) -> Result<Vec<String>, PostgresError> {
    const NAMES: &str = "
        SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relpersistence <> 't'
          AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                            AND d.objid = c.oid AND d.deptype = 'e')";
    let rows = session.client().query(NAMES, &[]).await;
    let rows = rows.map_err(|source| session.failed("list its tables".to_owned(), source))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Counts and sums what a query returns as its column `content`.
async fn sum(session: &Session, rows: &str, what: &str) -> Result<TableRecord, PostgresError> {
    // `OFFSET 0` keeps the planner from computing each hash twice.
    let sql = format!(
        "SELECT pg_catalog.count(*),
                pg_catalog.sum(('x' || pg_catalog.substr(digest, 1, 16))::bit(64)::bigint)::text,
                pg_catalog.sum(('x' || pg_catalog.substr(digest, 17, 16))::bit(64)::bigint)::text
         FROM (SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(content,
                          pg_catalog.getdatabaseencoding()::name)), 'hex') AS digest
               FROM ({rows}) AS listed OFFSET 0) AS hashed"
    );
    let row = session.client().query_one(&sql, &[]).await;
    let row = row.map_err(|source| session.failed(format!("sum the rows of {what}"), source))?;
    Ok(TableRecord {
        rows: row.get::<_, i64>(0).cast_unsigned(),
        checksum: format!("{:016x}{:016x}", word(row.get(1)), word(row.get(2))),
    })
}

/// Reads a sum and keeps its lowest 64 bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the sum is meant modulo 2^64"
)]
fn word(sum: Option<&str>) -> u64 {
    // 2^64 rows of 2^63 each fit into 128 bits.
    sum.map_or(0, |text| text.parse::<i128>().expect("the server writes a whole number")) as u64
}

async fn large_objects(session: &Session) -> Result<Option<TableRecord>, PostgresError> {
    // Read in pieces, since `lo_get` of a whole one is limited to a gigabyte.
    const ROWS: &str = "
        SELECT m.oid::text || ' ' || page::text || ' ' ||
               pg_catalog.encode(pg_catalog.lo_get(m.oid, page * 2048, 1048576), 'hex') AS content
        FROM pg_catalog.pg_largeobject_metadata m,
        LATERAL pg_catalog.generate_series(0, coalesce(
            (SELECT pg_catalog.max(l.pageno) FROM pg_catalog.pg_largeobject l
             WHERE l.loid = m.oid), 0)::bigint, 512) AS page";
    const READABLE: &str =
        "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_largeobject', 'SELECT')";
    let readable = session.client().query_one(READABLE, &[]).await;
    let readable =
        readable.map_err(|source| session.failed("tell its rights".to_owned(), source))?;
    if readable.get(0) { Ok(Some(sum(session, ROWS, LARGE_OBJECTS).await?)) } else { Ok(None) }
}
