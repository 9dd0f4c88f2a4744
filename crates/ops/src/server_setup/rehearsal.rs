//! Archiving rehearsed by the server's own user, before the server is told to: whether that can run this
//! program, read the plan and write to the tiers. A server whose command fails keeps all of its log.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_postgres::identity;
use lifeboat_postgres::server_command::quoted;
use lifeboat_postgres::setup::{SetupError, WantedArchive};

use super::{Job, ServerSetupError};
use crate::wal::WalLog;

/// What is passed to `wal push` instead of a path.
const CHECK: &str = "--check";

impl Job<'_> {
    /// Lets the server's user rehearse; returns the server's data directory.
    pub(super) fn rehearse(&self, archive: &WantedArchive) -> Result<PathBuf, ServerSetupError> {
        // A tier that is not there is said as such, before somebody else fails at it.
        WalLog::of(self.site, Some(&self.options.asset))?.acknowledging()?;
        let data = self.data_directory()?;
        let owner = |data: &Path| {
            identity::owner_of(data)
                .map_err(|source| SetupError::Process { data: data.display().to_string(), source })
        };
        let user = owner(&data)?;
        let mut words = archive.command.words();
        words.push(CHECK.to_owned());
        if identity::own_name().as_deref() != Some(&user) {
            let as_user = ["runuser", "-u", &user, "--"].map(str::to_owned);
            words.splice(0..0, as_user);
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&data).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        let shown: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        let failed = |message: String| ServerSetupError::Rehearsal {
            user: user.clone(),
            message,
            command: shown.join(" "),
        };
        let output = command.output().map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(data);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(failed(if said.is_empty() { output.status.to_string() } else { said }))
    }
}
