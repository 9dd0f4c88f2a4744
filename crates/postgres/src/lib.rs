//! What only PostgreSQL needs: servers, setting them up, dumps, restores, row counts.
//!
//! A dump, in the words of this crate:
//!
//! ```no_run
//! # async fn dump() -> Result<(), lifeboat_postgres::PostgresError> {
//! use lifeboat_postgres::{ClientEnvironment, Conninfo, Server, SnapshotDump};
//!
//! let environment = ClientEnvironment::new("/usr/bin:/bin");
//! let conninfo = Conninfo::parse("host=/var/run/postgresql dbname=shop", &environment)?;
//! let server = Server::connect(&conninfo, &environment).await?;
//! let dump = SnapshotDump::begin(&server).await?;
//! let stream = dump.stream()?; // read it to its end, then `finish` it
//! let record = dump.record().await?; // rows and checksums of the same moment
//! # Ok(()) }
//! ```
//!
//! and a restore is [`Beside`]: a new database beside the old one, loaded, compared, swapped in.
//!
//! # Who talks to the server
//!
//! Passwords travel in the environment of a child (`PGPASSWORD`), never in its arguments, and in no
//! log. Where root meets a socket with peer authentication, connections and children take on the
//! operating system user that the server expects; [`identity`] says how.

pub mod archive;
pub mod base;
pub mod beside;
pub mod conninfo;
pub mod console;
pub mod control;
pub mod dump;
pub mod dumped_table;
pub mod enclosure;
pub mod environment;
pub mod error;
mod fields;
pub mod globals;
pub mod identity;
pub mod name;
pub mod page;
mod process;
pub mod properties;
pub mod record;
pub mod recovery;
pub mod running;
pub mod server;
pub mod server_command;
mod session;
pub mod setup;
pub mod stillness;
pub mod table;
pub mod timeline;
pub mod tools;
pub mod verification;
pub mod wal;
pub mod yard;

pub use beside::{Beside, Swapped, Tablespaces};
pub use conninfo::Conninfo;
pub use dump::{DumpStream, SnapshotDump};
pub use environment::ClientEnvironment;
pub use error::PostgresError;
pub use globals::{AppliedGlobals, Globals};
pub use name::DatabaseName;
pub use properties::DatabaseProperties;
pub use record::{DatabaseRecord, TableDifference, TableRecord};
pub use server::{Facts, Server, ServerVersion};
pub use tools::{Tool, Tools};
