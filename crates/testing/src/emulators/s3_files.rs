//! `s3s-fs`, a compiled server that speaks S3 and keeps objects as files, for whatever is measured.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::Credentials;
use super::server::Server;
use crate::needs;
use crate::program::ProgramError;

/// A server whose buckets are the directories of one directory, each object a file under its own name.
///
/// It checks every signature. It knows neither versions nor locks, and sees of files that are put there
/// past it only those that were there when it started. `dev/s3-server` says how it differs from stock `s3s-fs`.
#[derive(Debug)]
pub struct S3Files(Server);

impl S3Files {
    /// Starts it on the buckets below `root` and waits until it listens.
    pub fn start(root: &Path) -> Result<Self, ProgramError> {
        const REMEDY: &str = "dev/install-needs s3-server";
        let program = needs::find("s3-server", "lifeboat-s3-server", REMEDY)?;
        let mut command = Command::new(program);
        command.arg(root);
        Server::start(&command).map(Self)
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Returns what clients sign with.
    pub fn credentials() -> Credentials {
        Credentials { key_id: "lifeboat".to_owned(), secret: "lifeboat-benchmark".to_owned() }
    }
}
