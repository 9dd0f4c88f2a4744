//! A restore: a new database beside the old one, loaded, compared, and only then put in its place.
//!
//! # Crash consistency
//!
//! Until [`Beside::swap`] the old database is not touched; a kill leaves the new one beside it, under a
//! name with the time, to be dropped by hand. The swap renames both databases in one transaction, so that
//! at any instant the name leads to the whole old or to the whole new one. The old one stays, under a name
//! with the time.
//!
//! # Why `--exit-on-error` and not `--single-transaction`
//!
//! The new database is thrown away when its load fails, so a transaction would protect nothing; it would
//! hold a lock for every object at once, which large schemas do not survive with PostgreSQL's defaults.
//! Without either, `pg_restore` goes on after an error, and what it left out would have to be guessed.

use std::io::{self, Read, Write};
use std::process::Stdio;

use lifeboat_model::Timestamp;
use lifeboat_model::instant::compact_instant;
use tokio_postgres::error::SqlState;

use crate::error::PostgresError;
use crate::name::{DatabaseName, quote_literal};
use crate::process::ToolProcess;
use crate::properties::DatabaseProperties;
use crate::record::{DatabaseRecord, TableDifference};
use crate::server::Server;
use crate::session::Session;
use crate::tools::Tool;

/// How often a swap is tried while others keep connecting; the server itself waits 5 s in each try.
const SWAP_ATTEMPTS_MAX: u32 = 5;

/// How many bytes are handed to `pg_restore` at once.
const COPY_BYTES: usize = 256 * 1024;

/// What becomes of the tablespaces that a dump names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tablespaces {
    /// What lay in one lies in it again.
    AsDumped,
    /// All lies where the cluster does: a throwaway server must not write where another's files lie.
    LeftOut,
}

/// A new database that is to take another's place.
#[derive(Debug)]
pub struct Beside {
    server: Server,
    name: DatabaseName,
    takes_place_of: DatabaseName,
    properties: DatabaseProperties,
}

/// What a swap did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swapped {
    /// The database that now is what was restored.
    pub database: DatabaseName,
    /// Where the one before is kept, if there was one.
    pub kept_as: Option<DatabaseName>,
}

impl Beside {
    /// Makes an empty database like the recorded one; `now` becomes part of its name.
    ///
    /// Its owner and whoever has grants must exist: see [`crate::globals::apply`].
    pub async fn create(
        server: &Server,
        takes_place_of: &DatabaseName,
        properties: &DatabaseProperties,
        now: Timestamp,
    ) -> Result<Self, PostgresError> {
        let name = takes_place_of.with_suffix(&format!("_restored_{}", compact_instant(now)));
        let session = server.maintenance_session().await?;
        let created = session.client().batch_execute(&properties.create_statement(&name)).await;
        created.map_err(|source| match source.code() {
            Some(code) if *code == SqlState::DUPLICATE_DATABASE => PostgresError::DatabaseExists {
                address: server.address(),
                database: name.to_string(),
            },
            _ => session.failed(format!("create the database `{name}`"), source),
        })?;
        Ok(Self {
            server: server.clone(),
            name,
            takes_place_of: takes_place_of.clone(),
            properties: properties.clone(),
        })
    }

    /// Returns the new database's name.
    pub const fn name(&self) -> &DatabaseName {
        &self.name
    }

    /// Feeds a dump to `pg_restore`, straight from the reader; it blocks until all is loaded.
    pub fn load(&self, dump: &mut dyn Read, tablespaces: Tablespaces) -> Result<(), PostgresError> {
        let conninfo = self.server.conninfo().with_database(&self.name);
        let mut command = self.server.tools()?.command(Tool::Restore, self.server.environment());
        command
            .args(["--exit-on-error", "--no-password"])
            .arg(format!("--dbname={}", conninfo.argument()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        if tablespaces == Tablespaces::LeftOut {
            command.arg("--no-tablespaces");
        }
        if let Some(password) = conninfo.password()? {
            command.env("PGPASSWORD", password.expose());
        }
        self.server.identity().apply(&mut command);
        let mut process = ToolProcess::spawn(Tool::Restore, &mut command)?;
        let stdin = process.child().stdin.take().expect("standard input was piped");
        match feed(dump, stdin) {
            // A program that stopped reading has a reason, which its end tells.
            Ok(()) => process.wait(),
            // Dropping the process kills it: half a dump must not look like a short one.
            Err(source) => {
                Err(PostgresError::DumpUnreadable { database: self.name.to_string(), source })
            }
        }
    }

    /// Gives the new database its grants, settings and comment, and gathers statistics, so that its first
    /// queries are planned as well as its last were.
    pub async fn complete(&self) -> Result<(), PostgresError> {
        let action = || format!("complete the database `{}`", self.name);
        let session = self.server.session(&self.name).await?;
        session.run("ANALYZE", action).await?;
        session.run(&self.properties.adorn_statements(&self.name), action).await
    }

    /// Reads what the new database holds and names what differs from the record.
    pub async fn compare(
        &self,
        expected: &DatabaseRecord,
    ) -> Result<Vec<TableDifference>, PostgresError> {
        let session = self.server.session(&self.name).await?;
        let actual = DatabaseRecord::read(&session, self.server.version()).await?;
        Ok(expected.differences(&actual))
    }

    /// Puts the new database in the other's place, and keeps that one aside.
    ///
    /// Whoever is connected to either is disconnected.
    pub async fn swap(self, now: Timestamp) -> Result<Swapped, PostgresError> {
        let Self { server, name, takes_place_of: database, .. } = self;
        let kept = database.with_suffix(&format!("_before_{}", compact_instant(now)));
        let renaming = server.session_outside(&database).await?;
        let terminating = server.session_outside(&database).await?;
        let action = || format!("put `{name}` in the place of `{database}`");
        let exists = exists(&renaming, &database).await?;
        let sql = rename_statements(&name, &database, exists.then_some(&kept));
        let disconnect = disconnect_statement(&[&name, &database]);
        for _ in 0..SWAP_ATTEMPTS_MAX {
            // While the rename holds its lock nobody new gets in, so the others are sent away meanwhile.
            let (renamed, disconnected) = tokio::join!(
                renaming.client().batch_execute(&sql),
                terminating.client().batch_execute(&disconnect)
            );
            disconnected.map_err(|source| terminating.failed(action(), source))?;
            match renamed {
                Ok(()) => return Ok(Swapped { database, kept_as: exists.then_some(kept) }),
                Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {
                    renaming.run("ROLLBACK", action).await?;
                }
                Err(source) => return Err(renaming.failed(action(), source)),
            }
        }
        Err(PostgresError::Busy { database: database.to_string() })
    }

    /// Drops the new database.
    pub async fn discard(self) -> Result<(), PostgresError> {
        let session = self.server.maintenance_session().await?;
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name.quoted());
        session.run(&sql, || format!("drop the database `{}`", self.name)).await
    }
}

async fn exists(session: &Session, database: &DatabaseName) -> Result<bool, PostgresError> {
    const EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)";
    let row = session.client().query_one(EXISTS, &[&database.as_str()]).await;
    let row = row.map_err(|source| session.failed(format!("look for `{database}`"), source))?;
    Ok(row.get(0))
}

/// Renames both in one transaction.
fn rename_statements(
    new: &DatabaseName,
    database: &DatabaseName,
    kept: Option<&DatabaseName>,
) -> String {
    let rename = |from: &DatabaseName, to: &DatabaseName| {
        format!("ALTER DATABASE {} RENAME TO {};\n", from.quoted(), to.quoted())
    };
    let aside = kept.map(|kept| rename(database, kept)).unwrap_or_default();
    format!("BEGIN;\n{aside}{}COMMIT;", rename(new, database))
}

fn disconnect_statement(databases: &[&DatabaseName]) -> String {
    let names: Vec<_> = databases.iter().map(|name| quote_literal(name.as_str())).collect();
    format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
         WHERE datname IN ({})",
        names.join(", ")
    )
}

/// Copies the dump into the pipe; a pipe that was closed by its reader is not an error here.
pub(crate) fn feed(dump: &mut dyn Read, mut pipe: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = match dump.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        match pipe.write_all(&buffer[..read]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_renames_are_one_transaction() {
        let [new, old, kept] = ["new", "shop", "kept"].map(DatabaseName::new);
        assert_eq!(
            rename_statements(&new, &old, Some(&kept)),
            "BEGIN;\nALTER DATABASE \"shop\" RENAME TO \"kept\";\nALTER DATABASE \"new\" RENAME TO \"shop\";\nCOMMIT;"
        );
        assert_eq!(
            rename_statements(&new, &old, None),
            "BEGIN;\nALTER DATABASE \"new\" RENAME TO \"shop\";\nCOMMIT;"
        );
    }
}
