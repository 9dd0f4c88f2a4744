//! Commands that reach a cluster, for whoever uses it while somebody else stops or kills it.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::User;

use super::SUPERUSER;

/// How a cluster is reached.
#[derive(Debug, Clone)]
pub struct Access {
    pub(super) bin: PathBuf,
    pub(super) clients: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) port: u16,
    pub(super) server_user: Option<User>,
}

impl Access {
    /// Returns a command as [`Cluster::command`](super::Cluster::command) does.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let own = self.bin.join(program.as_ref());
        let path = if own.is_file() { own } else { self.clients.join(program.as_ref()) };
        let mut command = Command::new(path);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C.UTF-8")
            .env("PGHOST", &self.socket_dir)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", SUPERUSER)
            .current_dir("/");
        if let Some(user) = &self.server_user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}
