//! One table, taken out of a server as SQL that stock `psql` loads.
//!
//! Where `pg_dump` of the server's own version is installed it writes the table and its data. Else a
//! session of our own writes the data alone, as `COPY … FROM stdin`, since a `pg_dump` of another version
//! refuses the server or writes what that cannot read back.

use std::io::{self, Read, Write};
use std::process::{ChildStdout, Stdio};

use futures::TryStreamExt as _;
use lifeboat_model::{Classify, ErrorKind, Hint};

use crate::error::PostgresError;
use crate::name::DatabaseName;
use crate::process::ToolProcess;
use crate::server::Server;
use crate::session::Session;
use crate::tools::Tool;

/// What makes the text mean the same wherever it is loaded.
const PREAMBLE: &str = "SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n";

/// A table that is there.
#[derive(Debug)]
pub struct Table {
    server: Server,
    session: Session,
    /// Its name with its schema, as SQL wants it.
    name: String,
    /// The columns that have values of their own, as SQL wants them.
    columns: String,
}

/// What `pg_dump` writes of a table.
#[derive(Debug)]
pub struct TableStream {
    stdout: ChildStdout,
    process: ToolProcess,
}

/// The data of a table were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteTableError {
    /// The server did not give them.
    #[error(transparent)]
    Server(#[from] PostgresError),
    /// They could not be written.
    #[error("the data cannot be written")]
    Write(#[source] io::Error),
}

impl Table {
    /// Finds a table by its name, with or without its schema, as SQL wants it.
    pub async fn find(
        server: &Server,
        database: &DatabaseName,
        name: &str,
    ) -> Result<Self, PostgresError> {
        const FIND: &str = "
            SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
                   (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum)
                      FROM pg_catalog.pg_attribute a
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                       AND a.attgenerated = '')
              FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = $1::text::pg_catalog.regclass";
        let session = server.session(database).await?;
        let action = || format!("find the table {name}");
        // Where names are looked up is the database's to say.
        session.run("RESET search_path", action).await?;
        let row = session.client().query_one(FIND, &[&name]).await;
        let row = row.map_err(|source| session.failed(action(), source))?;
        let columns = row.get::<_, Option<String>>(1).unwrap_or_default();
        Ok(Self { server: server.clone(), session, name: row.get(0), columns })
    }

    /// Returns its name with its schema.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts `pg_dump`, which writes the table and its data; fails where there is none of the server's version.
    pub fn stream(&self) -> Result<TableStream, PostgresError> {
        let conninfo = self.server.conninfo().with_database(self.session.database());
        let mut command = self.server.tools()?.command(Tool::Dump, self.server.environment());
        command
            // What is not logged cannot be read on a server that still recovers, and is empty afterwards.
            .args(["--format=plain", "--no-password", "--no-unlogged-table-data"])
            .arg(format!("--table={}", self.name))
            .arg(format!("--dbname={}", conninfo.argument()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        self.server.identity().apply(&mut command);
        let mut process = ToolProcess::spawn(Tool::Dump, &mut command)?;
        let stdout = process.child().stdout.take().expect("standard output was piped");
        Ok(TableStream { stdout, process })
    }

    /// Writes the data alone.
    pub async fn write_data(&self, out: &mut (dyn Write + Send)) -> Result<(), WriteTableError> {
        let Self { name, columns, session, .. } = self;
        let head = format!("{PREAMBLE}COPY {name} ({columns}) FROM stdin;\n");
        out.write_all(head.as_bytes()).map_err(WriteTableError::Write)?;
        let failed = |source| session.failed(format!("read {name}"), source);
        let copy = format!("COPY (SELECT {columns} FROM {name}) TO STDOUT");
        let rows = session.client().copy_out(&copy).await.map_err(failed)?;
        let mut rows = std::pin::pin!(rows);
        while let Some(bytes) = rows.try_next().await.map_err(failed)? {
            out.write_all(&bytes).map_err(WriteTableError::Write)?;
        }
        out.write_all(b"\\.\n").and_then(|()| out.flush()).map_err(WriteTableError::Write)
    }
}

impl Read for TableStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stdout.read(buffer)
    }
}

impl TableStream {
    /// Tells whether all of it was written; to be called after it was read to its end.
    pub fn finish(self) -> Result<(), PostgresError> {
        let Self { stdout, process } = self;
        drop(stdout);
        process.wait()
    }
}

impl Classify for WriteTableError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(error) => error.kind(),
            Self::Write(_) => ErrorKind::Unavailable,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Write(_) => None,
        }
    }
}
