//! What every table of the platform holds, asked of PostgreSQL itself and not of lifeboat.

use std::collections::BTreeMap;

use lifeboat_testing::postgres::Cluster;

use crate::failure::DemoError;
use crate::schema::DATABASE;

/// The platform's tables.
const TABLES: [&str; 5] = ["users_customuser", "services", "orders", "payments", "tickets"];

/// One table: how many rows, and a hash over all of them in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// How many rows.
    pub rows: u64,
    /// The hash.
    pub checksum: String,
}

/// All tables by name.
pub type Tables = BTreeMap<&'static str, Table>;

/// Counts and hashes all tables.
pub fn read(cluster: &Cluster) -> Result<Tables, DemoError> {
    TABLES.into_iter().map(|name| Ok((name, table(cluster, name)?))).collect()
}

/// Counts the rows of all tables.
pub fn count(cluster: &Cluster) -> Result<u64, DemoError> {
    let counts = TABLES.map(|name| format!("(SELECT count(*) FROM {name})"));
    let answer = cluster.psql(DATABASE, &format!("SELECT {}", counts.join(" + ")))?;
    answer.parse().map_err(|_| DemoError::NotProven {
        what: format!("PostgreSQL cannot count its rows: it answers `{answer}`"),
    })
}

/// Adds up the rows of all tables.
pub fn total_rows(tables: &Tables) -> u64 {
    tables.values().map(|table| table.rows).sum()
}

fn table(cluster: &Cluster, name: &str) -> Result<Table, DemoError> {
    let sql = format!(
        "SELECT count(*), md5(coalesce(string_agg(md5(t::text), '' ORDER BY id), '')) FROM {name} t"
    );
    let answer = cluster.psql(DATABASE, &sql)?;
    let parsed = answer.split_once('|').and_then(|(rows, checksum)| {
        Some(Table { rows: rows.parse().ok()?, checksum: checksum.to_owned() })
    });
    parsed.ok_or_else(|| DemoError::NotProven {
        what: format!("PostgreSQL cannot count {name}: it answers `{answer}`"),
    })
}
