//! `lifeboat wal`: what PostgreSQL calls to archive its write-ahead log and to have it back.

mod catch_up;
mod get;
mod push;
mod serve;
mod status;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use lifeboat_model::Exit;
use lifeboat_ops::wal::client::{self, Answered};
use lifeboat_ops::wal::protocol::Wish;
use lifeboat_postgres::wal::WalFileName;

use super::unbuilt::Anything;
use crate::failure::{CommandError, Failure};
use crate::session::Session;
use crate::surroundings;

/// Where the log is served unless said otherwise.
const SOCKET: &str = "/run/lifeboat/lifeboat.sock";

/// Where `wal serve` listens.
#[derive(Debug, Args)]
struct Served {
    /// Ask whoever serves the log on this socket first
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
}

impl Served {
    /// Asks for a file of the cluster whose `pg_wal` holds `path`; `None` if it has to be done here.
    ///
    /// Before the plan is read: a file that was shipped ahead is acknowledged in no time.
    fn ask(
        &self,
        wish: Wish,
        file: WalFileName,
        path: &Path,
        session: &Session,
    ) -> Option<Answered> {
        let path = surroundings::absolute(path).ok()?;
        let directory = path.parent()?.parent()?;
        let asked = client::ask(&self.socket, wish, file, directory, &*session.clock);
        session.runtime.block_on(asked)
    }
}

/// The commands of `lifeboat wal`.
#[derive(Debug, Subcommand)]
pub enum Wal {
    /// Archive a file: archive_command = 'lifeboat wal push %p'
    Push(push::Push),
    /// Fetch a file: restore_command = 'lifeboat wal get %f %p'
    Get(get::Get),
    /// Archive and fetch before PostgreSQL asks for it, until it is stopped
    Serve(serve::Serve),
    /// Bring tiers up to date that lack what others hold
    CatchUp(catch_up::CatchUp),
    /// Receive the log as it is written (not built yet, exit 5)
    Receive(Anything),
    /// Show what each tier holds: ranges, holes, reachable times, what is behind
    Status(status::Status),
}

impl Wal {
    /// Runs the command.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self {
            Self::Push(command) => command.run(session),
            Self::Get(command) => command.run(session),
            Self::Serve(command) => command.run(session),
            Self::CatchUp(command) => command.run(session),
            Self::Status(command) => command.run(session),
            Self::Receive(_) => {
                let feature = "receiving the write-ahead log as it is written";
                Err(CommandError::NotBuilt { command: "wal receive", feature }.into())
            }
        }
    }
}
