//! Test support: private PostgreSQL clusters, stock restic, file trees; for what stands beside the
//! house only: tests, the benchmark, the demo.
//!
//! - [`certificate::Authority`] vouches for servers, and nobody knows it.
//! - [`emulators`] are servers that speak S3 and Azure Blob Storage, stopped when they are dropped.
//! - [`interrupt::Interrupt`] hears Ctrl-C, so that whatever was made can be removed.
//! - [`line::Line`] is a proxy in front of a server, with delay, cuts, altered bytes, silence and storms.
//! - [`postgres::Cluster`] is a PostgreSQL server of one's own, stopped when it is dropped.
//! - [`power::PowerDisk`] is a file system that forgets what was not synced when its power is cut.
//! - [`recorded::Recorded`] is a server that plays exchanges from a script, where no emulator knows them.
//! - [`restic::Restic`] runs the stock `restic` on a repository.
//! - [`promtool::Promtool`] parses metrics and alert rules with Prometheus' own tool.
//! - [`sshd::Sshd`] is OpenSSH's server with keys of its own, stopped when it is dropped.
//! - [`tree`] makes a directory tree with everything a Linux file system can hold, captures what
//!   lies in a directory, and names each difference between two captures.
//! - [`unprivileged`] runs a test's body as a user who owns nothing.

pub mod certificate;
pub mod emulators;
pub mod interrupt;
pub mod line;
mod needs;
pub mod platform;
pub mod postgres;
pub mod power;
pub mod program;
pub mod promtool;
pub mod recorded;
pub mod restic;
pub mod sshd;
pub mod tree;
pub mod unprivileged;
