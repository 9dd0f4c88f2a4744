//! Servers on this machine that speak what clouds speak: [`Moto`] S3, [`Azurite`] Azure Blob Storage.
//!
//! ```no_run
//! use lifeboat_testing::emulators::{Bucket, Moto};
//!
//! let moto = Moto::start()?;
//! moto.make_bucket("backups", Bucket::Locking)?;
//! println!("{}", moto.endpoint());
//! # Ok::<(), lifeboat_testing::program::ProgramError>(())
//! ```
//!
//! They come from `dev/install-needs moto azurite`. Each takes about a second to start, and every test is
//! a process of its own, so tests of one emulator belong together.
//!
//! # What is left behind
//!
//! Nothing, not even files: what is stored lies in the server's memory. A server ends when its guard is
//! dropped, also while a panic unwinds, and when the process that holds it is killed.

mod azurite;
mod moto;
mod request;
mod s3_files;
pub(crate) mod server;

pub use azurite::Azurite;
pub use moto::{Bucket, Credentials, Moto};
pub use s3_files::S3Files;
