//! The data directory of a PostgreSQL server that was stopped: tables, indexes, a little log.

use std::path::Path;

use lifeboat_testing::interrupt::Interrupt;
use lifeboat_testing::postgres::{Cluster, ClusterOptions};

use super::{Corpus, Recipe};
use crate::failure::BenchError;

/// How many rows it has at full scale.
const ROWS: u64 = 1_500_000;

/// How much room it needs at most, at full scale.
pub const BYTES_MAX: u64 = 1_000_000_000;

/// How many rows are inserted at once.
const ROWS_AT_ONCE: u64 = 100_000;

/// Orders, as a shop has them: numbers, times, texts that compress and ids that do not.
const TABLE: &str = "
CREATE TABLE orders (
    id bigint PRIMARY KEY,
    customer integer NOT NULL,
    placed timestamptz NOT NULL,
    amount numeric(10, 2) NOT NULL,
    reference text NOT NULL,
    note text NOT NULL
);
CREATE INDEX ON orders (customer);
CREATE INDEX ON orders (placed);
";

/// Makes it at `data`.
pub fn make(data: &Path, recipe: Recipe, interrupt: &Interrupt) -> Result<Corpus, BenchError> {
    // Without replicas the log of what was just loaded is not needed, and would outweigh the rest.
    let options = ClusterOptions::default()
        .data(data)
        .setting("wal_level", "minimal")
        .setting("max_wal_senders", "0")
        .setting("max_wal_size", "128MB")
        .setting("autovacuum", "off");
    let mut cluster = Cluster::start_with(&options)?;
    cluster.create_database("shop")?;
    cluster.psql("shop", TABLE)?;
    let rows = recipe.scaled(ROWS);
    for first in (0..rows).step_by(usize::try_from(ROWS_AT_ONCE).expect("it is small")) {
        interrupt.check()?;
        let last = (first + ROWS_AT_ONCE).min(rows) - 1;
        cluster.psql("shop", &insert(recipe.seed, first, last))?;
    }
    cluster.psql("shop", "CHECKPOINT")?;
    cluster.stop()?;
    Corpus::look(data.to_owned(), None, Vec::new())
}

/// Returns the statement that inserts the rows with these ids; every value follows from the seed.
fn insert(seed: u64, first: u64, last: u64) -> String {
    format!(
        "INSERT INTO orders
         SELECT i, abs(hashint8(i + {seed})::bigint) % 50000,
                '2024-01-01'::timestamptz + make_interval(secs => i * 37 % 63072000),
                (abs(hashint8(i * 7 + {seed})::bigint) % 100000) / 100.0,
                md5((i + {seed})::text),
                repeat('delivered to the door; ', (i % 5)::int) || md5((i / 3 + {seed})::text)
         FROM generate_series({first}::bigint, {last}::bigint) AS i;"
    )
}
