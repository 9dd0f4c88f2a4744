//! `lifeboat wal serve`: archives and fetches before PostgreSQL asks for it.

use std::path::PathBuf;

use clap::Args;
use lifeboat_model::{AssetName, Exit};
use lifeboat_ops::wal::WalLog;
use lifeboat_ops::wal::serve::{LogService, ServeOptions, Service};

use super::SOCKET;
use crate::failure::Failure;
use crate::session::Session;

/// The arguments of `lifeboat wal serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Serve the cluster in this directory (data_directory)
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// Listen on this socket
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Keep segments that were fetched ahead in this directory [default: in the cache directory]
    #[arg(long, value_name = "DIRECTORY")]
    spool: Option<PathBuf>,
    /// Serve the log of this asset [default: the only one whose log is archived]
    #[arg(long, value_name = "ASSET")]
    asset: Option<AssetName>,
}

impl Serve {
    /// Serves until Ctrl-C or SIGTERM.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let asset = WalLog::of(&site, self.asset.as_ref())?.asset().clone();
        let in_cache = || site.surroundings().cache_directory.join("wal");
        let options = ServeOptions {
            service: Service::Both,
            socket: self.socket,
            directory: self.directory,
            spool: self.spool.unwrap_or_else(in_cache),
        };
        let socket = options.socket.display();
        session.screen.remark(&format!("serving the log of `{asset}` on {socket}"));
        LogService::bind(&site, &asset, &options, &session.cancel)?.run()?;
        Ok(Exit::Done)
    }
}
