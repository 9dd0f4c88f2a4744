//! lifeboat beside pgBackRest, on a server of `pgbench`'s, everything in memory: `make bench-postgres`.
//!
//! - [`database`] is the server; [`engine`] knows what to tell the programs.
//! - [`log`](mod@log) hands over segments of the log as the server's archiver does.
//! - [`work`] names the works and what is wanted; [`contest`] has them done, in turns.
//! - [`report`] writes it all down.

pub mod contest;
pub mod database;
pub mod engine;
pub mod log;
pub mod report;
pub mod work;
