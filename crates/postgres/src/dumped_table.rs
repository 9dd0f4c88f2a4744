//! One table out of a logical dump, as SQL that stock `psql` loads.
//!
//! The dump is read once and streamed through `pg_restore`, which writes the table with its columns, defaults and
//! rows. The rows are counted on the way and held against what was recorded when the dump was made.
//!
//! # Limits
//!
//! What lies outside of the table itself is left out, as `pg_restore --table` has it: indexes, constraints,
//! triggers, grants. The rows of a partitioned table are those of its partitions, which are tables of their own.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::thread;

use lifeboat_model::{Classify, ErrorKind, Hint};

use crate::beside::feed;
use crate::environment::ClientEnvironment;
use crate::error::PostgresError;
use crate::name::{DatabaseName, split_name};
use crate::process::ToolProcess;
use crate::record::DatabaseRecord;
use crate::tools::{Tool, Tools};

/// How many names of tables an error lists.
const NAMES_MAX: usize = 10;

/// The line after the last row.
const END_OF_ROWS: &[u8] = b"\\.\n";

/// A table that a dump holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpedTable {
    schema: String,
    table: String,
    name: String,
    database: DatabaseName,
    rows: u64,
}

/// A table was not taken out of a dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpedTableError {
    /// The dump has no such table.
    #[error("the dump of `{database}` has no table {name}; it has {tables}")]
    NoTable {
        /// Which database.
        database: DatabaseName,
        /// What was asked for.
        name: String,
        /// Some of those that it has.
        tables: String,
    },
    /// Several tables have that name.
    #[error("several tables of `{database}` are called {name}: {tables}")]
    Ambiguous {
        /// Which database.
        database: DatabaseName,
        /// What was asked for.
        name: String,
        /// Those that it may mean.
        tables: String,
    },
    /// Another number of rows came out than went in.
    #[error("{name} has {actual} rows in the dump, {expected} were recorded")]
    Rows {
        /// Which table.
        name: String,
        /// How many were recorded.
        expected: u64,
        /// How many there are.
        actual: u64,
    },
    /// The dump could not be read by `pg_restore`.
    #[error(transparent)]
    Dump(#[from] PostgresError),
    /// The SQL could not be written.
    #[error("the rows of {name} could not be written")]
    Write {
        /// Which table.
        name: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

impl Classify for DumpedTableError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoTable { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. } => ErrorKind::Usage,
            Self::Rows { .. } => ErrorKind::Corrupt,
            Self::Dump(error) => error.kind(),
            Self::Write { .. } => ErrorKind::Unavailable,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::NoTable { .. } | Self::Ambiguous { .. } => {
                Some(Hint::new("name it with its schema, as SQL does: `--table public.orders`"))
            }
            Self::Rows { .. } => {
                Some(Hint::new("take an older point with `--at`, and run `lifeboat verify`"))
            }
            Self::Dump(error) => error.hint(),
            Self::Write { .. } => None,
        }
    }
}

impl fmt::Display for DumpedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl DumpedTable {
    /// Finds a table by its name as SQL writes it, with its schema or, if no other is called so, without.
    pub fn find(record: &DatabaseRecord, wanted: &str) -> Result<Self, DumpedTableError> {
        let asked = split_name(wanted).unwrap_or_default();
        let tables = record.tables.iter().filter_map(|(name, table)| {
            let [schema, relation] = <[String; 2]>::try_from(split_name(name)?).ok()?;
            let fits = match asked.as_slice() {
                [only] => *only == relation,
                [within, only] => *within == schema && *only == relation,
                _ => false,
            };
            let database = record.database.clone();
            fits.then_some(Self {
                schema,
                table: relation,
                name: name.clone(),
                database,
                rows: table.rows,
            })
        });
        let mut found: Vec<_> = tables.collect();
        let (database, name) = (record.database.clone(), wanted.to_owned());
        match (found.pop(), found.is_empty()) {
            (Some(table), true) => Ok(table),
            (Some(last), false) => {
                let tables = listed(found.iter().chain([&last]).map(|table| table.name.as_str()));
                Err(DumpedTableError::Ambiguous { database, name, tables })
            }
            (None, _) => {
                let tables = listed(record.tables.keys().map(String::as_str));
                Err(DumpedTableError::NoTable { database, name, tables })
            }
        }
    }

    /// Returns how many rows were recorded.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Streams a dump through `pg_restore` and writes the table; fails unless all of its rows came.
    pub fn write(
        &self,
        tools: &Tools,
        environment: &ClientEnvironment,
        dump: &mut (dyn Read + Send),
        out: &mut dyn Write,
    ) -> Result<(), DumpedTableError> {
        let mut command = tools.command(Tool::Restore, environment);
        command
            .args(["--file=-", "--strict-names", "--no-owner"])
            .arg(format!("--schema={}", self.schema))
            .arg(format!("--table={}", self.table))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = ToolProcess::spawn(Tool::Restore, &mut command)?;
        let stdin = process.child().stdin.take().expect("standard input was piped");
        let stdout = process.child().stdout.take().expect("standard output was piped");
        let (fed, written) = thread::scope(|scope| {
            let feeding = scope.spawn(|| feed(dump, stdin));
            let written = copy_and_count(BufReader::new(stdout), out);
            (feeding.join(), written)
        });
        let fed = fed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let database = || self.database.to_string();
        fed.map_err(|source| PostgresError::DumpUnreadable { database: database(), source })?;
        let name = || self.name.clone();
        let actual = written.map_err(|source| DumpedTableError::Write { name: name(), source })?;
        process.wait()?;
        if actual != self.rows {
            return Err(DumpedTableError::Rows { name: name(), expected: self.rows, actual });
        }
        Ok(())
    }
}

/// Copies what `pg_restore` writes, and counts the rows: between `COPY … FROM stdin;` and `\.`, a line each.
fn copy_and_count(mut sql: impl BufRead, out: &mut dyn Write) -> io::Result<u64> {
    let (mut line, mut rows, mut in_rows) = (Vec::new(), 0, false);
    loop {
        line.clear();
        if sql.read_until(b'\n', &mut line)? == 0 {
            out.flush()?;
            return Ok(rows);
        }
        out.write_all(&line)?;
        if !in_rows {
            in_rows = line.starts_with(b"COPY ") && line.ends_with(b" FROM stdin;\n");
        } else if line == END_OF_ROWS {
            in_rows = false;
        } else {
            rows += 1;
        }
    }
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.collect();
    let text = names[..names.len().min(NAMES_MAX)].join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 if names.is_empty() => "none".to_owned(),
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_stands_between_copy_and_its_end() {
        let sql = b"SET x = 1;\nCREATE TABLE t (a text);\nCOPY public.t (a) FROM stdin;\nCOPY x FROM stdin;\n\\\\.\n\n\\.\n\n-- done\n";
        let mut out = Vec::new();
        assert_eq!(copy_and_count(&sql[..], &mut out).unwrap(), 3);
        assert_eq!(out, sql);
        assert_eq!(copy_and_count(&b"no rows"[..], &mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn few_names_are_listed_and_many_are_cut() {
        assert_eq!(listed([].into_iter()), "none");
        assert_eq!(listed(["a", "b"].into_iter()), "a, b");
        assert!(listed(["t"; 12].into_iter()).ends_with("t and 2 more"));
    }
}
