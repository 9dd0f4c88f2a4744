//! Why something with PostgreSQL did not work.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use lifeboat_model::{Classify, ErrorKind, Hint};
use tokio_postgres::error::SqlState;

use crate::tools::Tool;

/// An operation on a PostgreSQL server failed.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The text that says where to connect makes no sense.
    #[error("the connect string is wrong: {message}")]
    Conninfo {
        /// What is wrong, without the text itself, since that may hold a password.
        message: String,
    },
    /// A file that the connect string needs could not be used.
    #[error("`{path}` cannot be used: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Nobody answers.
    #[error("no PostgreSQL server answers at {address} (database `{database}`)")]
    Unreachable {
        /// Host and port, or socket.
        address: String,
        /// The database that was asked for.
        database: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server does not let this role in.
    #[error("the server at {address} refuses the role `{role}` for database `{database}`")]
    Refused {
        /// Host and port, or socket.
        address: String,
        /// The role.
        role: String,
        /// The database.
        database: String,
        /// The server's word.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server has no such database.
    #[error("the server at {address} has no database `{database}`")]
    NoDatabase {
        /// Host and port, or socket.
        address: String,
        /// The database.
        database: String,
    },
    /// The server is older than what lifeboat knows.
    #[error(
        "the server at {address} is PostgreSQL {major}, expected {} or newer",
        crate::server::OLDEST_MAJOR
    )]
    TooOld {
        /// Host and port, or socket.
        address: String,
        /// Its major version.
        major: u32,
    },
    /// The server did not do what was asked.
    #[error("the server at {address} failed to {action}")]
    Query {
        /// Host and port, or socket.
        address: String,
        /// What was asked, like `count the rows of public.orders`.
        action: String,
        /// The server's word.
        #[source]
        source: tokio_postgres::Error,
    },
    /// There is already a database of that name.
    #[error("the server at {address} has a database `{database}` already")]
    DatabaseExists {
        /// Host and port, or socket.
        address: String,
        /// The database.
        database: String,
    },
    /// A client program of the server's own version is not installed.
    #[error("`{}` of PostgreSQL {major} was not found; looked in {looked_in}", tool.program())]
    ToolMissing {
        /// The program.
        tool: Tool,
        /// The server's major version.
        major: u32,
        /// Where it was looked for.
        looked_in: String,
    },
    /// A client program could not be run or talked to.
    #[error("`{}` could not be run", tool.program())]
    ToolRun {
        /// The program.
        tool: Tool,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A client program ended with an error.
    #[error("`{}` ended with {status}: {message}", tool.program())]
    ToolFailed {
        /// The program.
        tool: Tool,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error.
        message: String,
    },
    /// The transaction whose snapshot was dumped ended too early.
    #[error("the connection that held the dump's snapshot of `{database}` was lost")]
    SnapshotLost {
        /// The database.
        database: String,
    },
    /// The dump that is restored could not be read.
    #[error("the dump of `{database}` could not be read")]
    DumpUnreadable {
        /// The database.
        database: String,
        /// The reader's word.
        #[source]
        source: io::Error,
    },
    /// A record is not what it should be.
    #[error("the record of `{database}` cannot be read: {message}")]
    Record {
        /// The database, or `?`.
        database: String,
        /// What is wrong.
        message: String,
    },
    /// Others kept connecting to the database that was to be replaced.
    #[error("`{database}` could not be replaced: others kept connecting to it")]
    Busy {
        /// The database.
        database: String,
    },
}

impl Classify for PostgresError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Conninfo { .. } | Self::File { .. } | Self::TooOld { .. } => ErrorKind::Config,
            Self::Unreachable { .. }
            | Self::SnapshotLost { .. }
            | Self::ToolRun { .. }
            | Self::Busy { .. } => ErrorKind::Unavailable,
            Self::Refused { .. } => ErrorKind::Denied,
            Self::NoDatabase { .. } | Self::ToolMissing { .. } => ErrorKind::NotFound,
            Self::DatabaseExists { .. } => ErrorKind::Conflict,
            Self::Query { source, .. } => query_kind(source),
            Self::ToolFailed { message, .. } => tool_kind(message),
            Self::DumpUnreadable { .. } | Self::Record { .. } => ErrorKind::Corrupt,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Unreachable { address, .. } => format!(
                "start the server, or correct `connect` if it is not at {address}; `pg_lsclusters` and `systemctl status postgresql` show what runs here"
            ),
            Self::Refused { role, .. } => format!(
                "give a password (PGPASSWORD, ~/.pgpass), name another `user=` in `connect`, or let this user in: `runuser -u postgres -- createuser --superuser {role}`"
            ),
            Self::NoDatabase { .. } => {
                "`psql -l` lists the databases; correct `dbname=` in `connect`".to_owned()
            }
            Self::ToolMissing { major, .. } => {
                format!("apt-get install postgresql-client-{major}")
            }
            Self::ToolFailed { message, .. } if message.contains("permission denied") => {
                "a dump needs a role that may read everything: a superuser, or `GRANT pg_read_all_data TO …`"
                    .to_owned()
            }
            Self::Busy { .. } => {
                "stop the application that uses the database, then run the command again".to_owned()
            }
            _ => return None,
        };
        Some(Hint::new(text))
    }
}

fn query_kind(error: &tokio_postgres::Error) -> ErrorKind {
    match error.code() {
        None => ErrorKind::Unavailable,
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => ErrorKind::Denied,
        // Class 08 is the connection, 53 a lack of resources, 57 an operator's doing.
        Some(code) if ["08", "53", "57"].iter().any(|class| code.code().starts_with(class)) => {
            ErrorKind::Unavailable
        }
        Some(_) => ErrorKind::Conflict,
    }
}

/// A program tells only by its words whether trying again may help.
fn tool_kind(message: &str) -> ErrorKind {
    const PASSING: [&str; 4] = [
        "terminating connection",
        "server closed the connection",
        "could not connect",
        "connection to server",
    ];
    if message.contains("permission denied") {
        ErrorKind::Denied
    } else if PASSING.iter().any(|words| message.contains(words)) {
        ErrorKind::Unavailable
    } else {
        ErrorKind::Conflict
    }
}
