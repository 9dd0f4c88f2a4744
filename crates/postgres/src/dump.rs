//! A logical dump of one database, at one moment, as a stream.
//!
//! [`SnapshotDump::begin`] opens a transaction and exports its snapshot; `pg_dump` and the session that
//! counts and sums the rows both read through it, so that dump and record speak of the same moment
//! however busy the database is.
//!
//! # What never looks whole
//!
//! A dump is whole only when [`DumpStream::finish`] returned `Ok`: the program ended with 0 after all
//! of its output was read, and the transaction that held the snapshot was still there. A stream that is
//! dropped before kills the program.

use std::io::{self, Read};
use std::process::{ChildStdout, Stdio};
use std::sync::Arc;

use lifeboat_model::{Lsn, Timestamp};
use lifeboat_repository::source::StreamReader;

use crate::error::PostgresError;
use crate::name::{DatabaseName, quote_literal};
use crate::process::ToolProcess;
use crate::record::DatabaseRecord;
use crate::server::{Server, moment};
use crate::session::Session;
use crate::tools::Tool;

/// How long `pg_dump` waits for tables that somebody locks, before it fails and names them.
const LOCK_WAIT_MS_MAX: u32 = 5 * 60 * 1000;

/// A moment of a database, held until all of its readers are gone.
#[derive(Debug)]
pub struct SnapshotDump {
    server: Server,
    session: Arc<Session>,
    snapshot: String,
    taken: Timestamp,
    lsn: Option<Lsn>,
}

impl SnapshotDump {
    /// Takes the snapshot of the database that the server's `connect` names.
    pub async fn begin(server: &Server) -> Result<Self, PostgresError> {
        Self::begin_of(server, &server.database()).await
    }

    /// Takes the snapshot of a database.
    pub async fn begin_of(server: &Server, database: &DatabaseName) -> Result<Self, PostgresError> {
        let action = || format!("export a snapshot of `{database}`");
        let session = server.session(database).await?;
        session.run("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", action).await?;
        let row = session.client().query_one("SELECT pg_catalog.pg_export_snapshot()", &[]).await;
        let snapshot = row.map_err(|source| session.failed(action(), source))?.get(0);
        let (taken, lsn, _) = moment(&session).await?;
        Ok(Self { server: server.clone(), session: Arc::new(session), snapshot, taken, lsn })
    }

    /// Returns which database.
    pub fn database(&self) -> &DatabaseName {
        self.session.database()
    }

    /// Returns the moment, by the server's clock.
    pub const fn taken(&self) -> Timestamp {
        self.taken
    }

    /// Returns the server's place in its log at that moment.
    pub const fn lsn(&self) -> Option<Lsn> {
        self.lsn
    }

    /// Starts `pg_dump`, which writes its custom format without compression: so equal rows stay equal
    /// bytes, and what did not change since the last dump is not stored again.
    pub fn stream(&self) -> Result<DumpStream, PostgresError> {
        let conninfo = self.server.conninfo().with_database(self.database());
        let mut command = self.server.tools()?.command(Tool::Dump, self.server.environment());
        command
            .args(["--format=custom", "--compress=0", "--no-password"])
            .arg(format!("--lock-wait-timeout={LOCK_WAIT_MS_MAX}"))
            .arg(format!("--snapshot={}", self.snapshot))
            .arg(format!("--dbname={}", conninfo.argument()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(password) = conninfo.password()? {
            command.env("PGPASSWORD", password.expose());
        }
        self.server.identity().apply(&mut command);
        let mut process = ToolProcess::spawn(Tool::Dump, &mut command)?;
        let stdout = process.child().stdout.take().expect("standard output was piped");
        Ok(DumpStream { stdout, process, session: Arc::clone(&self.session) })
    }

    /// Counts and sums the rows of every table, and notes what the database itself is.
    ///
    /// It reads through a session of its own, and may run while a stream is read.
    pub async fn record(&self) -> Result<DatabaseRecord, PostgresError> {
        let session = self.server.session(self.database()).await?;
        let import = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
             SET TRANSACTION SNAPSHOT {}",
            quote_literal(&self.snapshot)
        );
        session.run(&import, || "import the dump's snapshot".to_owned()).await?;
        let mut record = DatabaseRecord::read(&session, self.server.version()).await?;
        record.taken = self.taken;
        record.lsn = self.lsn;
        Ok(record)
    }
}

/// What `pg_dump` writes, while it runs.
#[derive(Debug)]
pub struct DumpStream {
    stdout: ChildStdout,
    process: ToolProcess,
    /// Holds the transaction whose snapshot the program reads through.
    session: Arc<Session>,
}

impl Read for DumpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stdout.read(buffer)
    }
}

impl DumpStream {
    /// Tells whether the dump is whole; to be called after all of it was read.
    pub fn finish(self) -> Result<(), PostgresError> {
        let Self { stdout, process, session } = self;
        // Whoever did not read to the end makes the program fail here instead of hang.
        drop(stdout);
        process.wait()?;
        if session.client().is_closed() {
            return Err(PostgresError::SnapshotLost { database: session.database().to_string() });
        }
        Ok(())
    }
}

impl StreamReader for DumpStream {
    fn finish(self: Box<Self>) -> io::Result<()> {
        Self::finish(*self).map_err(io::Error::other)
    }
}
