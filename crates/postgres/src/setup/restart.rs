//! Starting a server again in the way in which it was started: by its systemd unit, else by `pg_ctl` with
//! the options and the log that it has.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use super::error::SetupError;

/// How long `pg_ctl` waits: a shutdown makes a checkpoint, which may be large.
const WAIT_MAX_S: &str = "600";

/// The command that starts a server again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    words: Vec<String>,
    /// Whose the server is, where root acts for them.
    user: Option<(u32, u32)>,
}

impl Restart {
    /// Finds out how the server of a data directory was started.
    pub fn find(data: &Path) -> Result<Self, SetupError> {
        let failed = |source| SetupError::Process { data: data.display().to_string(), source };
        let metadata = fs::metadata(data).map_err(failed)?;
        let file = fs::read_to_string(data.join("postmaster.pid")).map_err(failed)?;
        let process = Path::new("/proc").join(file.lines().next().unwrap_or_default().trim());
        let is_root = geteuid().is_root();
        let unit = fs::read_to_string(process.join("cgroup")).ok().and_then(|text| unit_of(&text));
        if let (Some(unit), true) = (unit, is_root) {
            let words = ["systemctl", "restart", &unit].map(str::to_owned).to_vec();
            return Ok(Self { words, user: None });
        }
        let log = fs::read_link(process.join("fd/2")).ok().filter(|log| log.is_file());
        let log = log.unwrap_or_else(|| PathBuf::from("/dev/null"));
        let server = fs::read_link(process.join("exe")).map_err(failed)?;
        let program = server.with_file_name("pg_ctl").display().to_string();
        let mut words = vec![program];
        words.extend(["restart", "--silent", "--wait", "--mode=fast"].map(str::to_owned));
        words.extend(["--timeout".to_owned(), WAIT_MAX_S.to_owned()]);
        words.extend(["--pgdata".to_owned(), data.display().to_string()]);
        words.extend(["--log".to_owned(), log.display().to_string()]);
        Ok(Self { words, user: is_root.then(|| (metadata.uid(), metadata.gid())) })
    }

    /// Returns the command as a person types it.
    pub fn command(&self) -> String {
        self.words.join(" ")
    }

    /// Starts the server again; returns when it takes connections.
    pub fn run(&self) -> Result<(), SetupError> {
        let failed = |problem: String| SetupError::Restart { command: self.command(), problem };
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).current_dir("/").stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        let output = command.output().map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(failed(format!("ended with {}: {said}", output.status)))
    }
}

/// Reads the unit of a server from the control group of its process.
///
/// Only one that is called after PostgreSQL: a server that a person or a test started is in whatever unit
/// they are.
fn unit_of(cgroup: &str) -> Option<String> {
    let group = cgroup.lines().find_map(|line| line.strip_prefix("0::")).or_else(|| {
        let mut lines = cgroup.lines();
        lines.find_map(|line| line.split_once(":name=systemd:").map(|(_, group)| group))
    })?;
    let unit = group.rsplit('/').next()?;
    (unit.starts_with("postgres") && unit.ends_with(".service")).then(|| unit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_known_by_its_control_group() {
        let debian = "0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n";
        assert_eq!(unit_of(debian).unwrap(), "postgresql@15-main.service");
        let elder = "3:cpu:/x\n1:name=systemd:/system.slice/postgresql-13.service\n";
        assert_eq!(unit_of(elder).unwrap(), "postgresql-13.service");
        for other in [
            "0::/system.slice/runner.service",
            "0::/user.slice/user-0.slice/session-1.scope",
            "0::/",
            "",
        ] {
            assert_eq!(unit_of(other), None, "{other}");
        }
    }
}
