//! Test support: private PostgreSQL clusters, stock restic, file trees; for tests and the demo only.
//!
//! - [`postgres::Cluster`] is a PostgreSQL server of one's own, stopped when it is dropped.
//! - [`restic::Restic`] runs the stock `restic` on a repository.
//! - [`tree`] makes a directory tree with everything a Linux file system can hold, captures what
//!   lies in a directory, and names each difference between two captures.
//! - [`unprivileged`] runs a test's body as a user who owns nothing.

pub mod postgres;
pub mod program;
pub mod restic;
pub mod tree;
pub mod unprivileged;
