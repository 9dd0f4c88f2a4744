//! The server that is backed up: `pgbench`'s tables, with room for a change in every page.

use lifeboat_testing::interrupt::Interrupt;
use lifeboat_testing::postgres::{Cluster, ClusterOptions, PageChecksums};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::corpus::Recipe;
use crate::failure::{BenchError, system};

/// pgbench's scale at full size: some 3 GB of tables and indexes.
const SCALE: u64 = 200;

/// How many accounts pgbench makes for each unit of its scale.
const ACCOUNTS: u64 = 100_000;

/// How full pages are at first, in percent, so that a changed row stays in its page.
const FILL: u64 = 90;

/// As many bytes as the data directory has for each unit of pgbench's scale, roundly.
const SCALE_BYTES: u64 = 17_000_000;

/// The log that the server keeps beside its data, at most.
const LOG_BYTES_MAX: u64 = 1 << 30;

/// The database.
const NAME: &str = "bench";

/// How many segments of the log are written at full size.
const SEGMENTS: u64 = 64;

/// A share of the pages in thousandths.
const CHANGED_PER_THOUSAND: u64 = 10;

/// Returns how large the data directory becomes, roundly, with its log.
pub fn bytes(recipe: Recipe) -> u64 {
    recipe.scaled(SCALE) * SCALE_BYTES + LOG_BYTES_MAX + (200 << 20)
}

/// Returns how many segments of the log are archived and replayed.
pub fn segments(recipe: Recipe) -> u64 {
    recipe.scaled(SEGMENTS).max(4)
}

/// A server with a database of pgbench's.
#[derive(Debug)]
pub struct Database {
    /// The server.
    pub cluster: Cluster,
    accounts: u64,
    /// How many pages all relations have.
    pub pages: u64,
}

impl Database {
    /// Makes it at `data`.
    pub fn make(data: &Path, recipe: Recipe, interrupt: &Interrupt) -> Result<Self, BenchError> {
        let options = ClusterOptions::default()
            .data(data)
            .checksums(PageChecksums::On)
            .archive_command("/bin/true")
            .setting("full_page_writes", "on")
            .setting("max_wal_size", "1GB")
            .setting("autovacuum", "off")
            .setting("checkpoint_timeout", "1h")
            .setting("maintenance_work_mem", "256MB");
        let cluster = Cluster::start_with(&options)?;
        cluster.create_database(NAME)?;
        let scale = recipe.scaled(SCALE);
        let mut pgbench = cluster.command("pgbench");
        pgbench.args(["--initialize", "--quiet", "--fillfactor", &FILL.to_string()]);
        run(pgbench.args(["--scale", &scale.to_string(), NAME]))?;
        interrupt.check()?;
        cluster.psql(NAME, "CHECKPOINT")?;
        let pages = cluster.psql(NAME, "SELECT sum(relpages) FROM pg_class")?;
        let pages = pages.parse().map_err(|_| BenchError::WrongWork {
            racer: "pgbench",
            what: format!("its tables have `{pages}` pages"),
        })?;
        Ok(Self { cluster, accounts: scale * ACCOUNTS, pages })
    }

    /// Changes a row in each of one page in a hundred of the whole database, at random; returns how many
    /// pages changed.
    pub fn change(&self, seed: u64) -> Result<u64, BenchError> {
        let wanted = (self.pages * CHANGED_PER_THOUSAND / 1000).max(1);
        #[expect(clippy::cast_precision_loss, reason = "any number between -1 and 1 is a seed")]
        let seed = 1.0 / (seed as f64 + 2.0);
        // Of rows that lie in the same page one is taken. Its new version stays there, as there is room.
        let sql = format!(
            "SELECT setseed({seed});
             WITH page AS (
                 SELECT DISTINCT ON ((ctid::text::point)[0]) aid FROM pgbench_accounts
                 WHERE aid IN (SELECT 1 + floor(random() * {accounts})::int FROM generate_series(1, {draws}))
             ), changed AS (
                 UPDATE pgbench_accounts SET abalance = abalance + 1
                 WHERE aid IN (SELECT aid FROM page LIMIT {wanted}) RETURNING 1
             )
             SELECT count(*) FROM changed;
             CHECKPOINT;",
            accounts = self.accounts,
            draws = wanted + wanted / 8 + 8,
        );
        let said = self.cluster.psql(NAME, &sql)?;
        let changed = said.lines().last().and_then(|count| count.parse().ok()).unwrap_or(0);
        if changed < wanted * 9 / 10 || changed > wanted {
            let what = format!("{changed} pages changed instead of {wanted}");
            return Err(BenchError::WrongWork { racer: "pgbench", what });
        }
        Ok(changed)
    }

    /// Has the log archived by a command from now on.
    pub fn archive_by(&self, command: &str) -> Result<(), BenchError> {
        let command = command.replace('\'', "''");
        self.cluster.psql(NAME, &format!("ALTER SYSTEM SET archive_command = '{command}'"))?;
        self.cluster.psql(NAME, "SELECT pg_reload_conf()")?;
        Ok(())
    }

    /// Keeps the log that is written from now on, archived or not.
    pub fn keep_log(&self) -> Result<(), BenchError> {
        self.cluster.psql(NAME, "ALTER SYSTEM SET wal_keep_size = '16GB'")?;
        self.cluster.psql(NAME, "SELECT pg_reload_conf()")?;
        Ok(())
    }

    /// Returns the segment that is written now.
    pub fn segment(&self) -> Result<String, BenchError> {
        Ok(self.cluster.psql(NAME, "SELECT pg_walfile_name(pg_current_wal_lsn())")?)
    }

    /// Lets pgbench run until so many segments of the log were written, and ends the last; returns its name.
    pub fn write_log(&self, segments: u64, interrupt: &Interrupt) -> Result<String, BenchError> {
        let written = || -> Result<u64, BenchError> {
            let sql =
                "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint / (16 * 1024 * 1024)";
            Ok(self.cluster.psql(NAME, sql)?.parse().unwrap_or(0))
        };
        let end = written()? + segments;
        while written()? < end {
            interrupt.check()?;
            let mut pgbench = self.cluster.command("pgbench");
            run(pgbench.args([
                "--no-vacuum",
                "--client=4",
                "--jobs=2",
                "--transactions=2000",
                NAME,
            ]))?;
        }
        Ok(self.cluster.psql(NAME, "SELECT pg_walfile_name(pg_switch_wal())")?)
    }

    /// Waits until the server was told that a segment is archived.
    pub fn wait_for_archive(&self, segment: &str, interrupt: &Interrupt) -> Result<(), BenchError> {
        let sql = format!(
            "SELECT pg_sleep(0.05), coalesce(last_archived_wal >= '{segment}', false) FROM pg_stat_archiver"
        );
        while !self.cluster.psql(NAME, &sql)?.ends_with("|t") {
            interrupt.check()?;
        }
        Ok(())
    }
}

/// Runs a client to its end.
fn run(command: &mut Command) -> Result<(), BenchError> {
    let output = command.stdin(Stdio::null()).output().map_err(system("run pgbench"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(BenchError::Failed {
        command: "pgbench".to_owned(),
        ending: output.status.to_string(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
