//! Proving that a cluster that was brought back is what was backed up, and that it works.
//!
//! - [`listed`]: `backup_manifest`, as PostgreSQL's `pg_verifybackup` reads it.
//! - [`directory`]: the files of a cluster that was not started yet, held against it, and the pages in them.
//! - [`moment`]: the position in the log at which rows were counted.
//! - [`rows`]: how many rows there were, and are.
//! - [`amcheck`]: tables and indexes, looked through by the server itself.
//! - [`naming`]: what a damaged file belongs to.
//! - [`sql`]: a question of the plan, asked as the application.
//!
//! No program beside the server is needed: clients of one major version refuse a younger server.

pub mod amcheck;
pub mod directory;
pub mod listed;
pub mod moment;
pub mod naming;
pub mod rows;
pub mod sql;
