//! Starts a restored cluster beside others, and waits until it is consistent or promoted.
//!
//! It listens on a socket in its own data directory and nowhere else, and is given no less of anything
//! than the server had that was backed up, which a recovery wants.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lifeboat_model::{Classify, Clock, ErrorKind, Hint, Lsn, Timestamp};

use super::settings::limits;
use crate::base::control_copy::copy_control;
use crate::base::inventory::CONTROL_FILE;
use crate::conninfo::Conninfo;
use crate::control::ServerLimits;
use crate::enclosure::EnclosureError;
use crate::environment::ClientEnvironment;
use crate::error::PostgresError;
use crate::server::Server;
use crate::yard::Runner;

/// How often a server is asked how far it is.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How many looks in a row may find no server: it has to begin before it leaves its mark.
const ABSENT_MAX: u32 = 25;

/// The port of a server that listens on a socket only; there it is a part of a file's name.
pub(super) const PORT: &str = "5432";

/// How long a server may take to write out what it has in memory when it is shut down, in seconds.
const STOP_SECONDS: &str = "3600";

/// How much of a server's log an error shows.
const LOG_LINES_MAX: usize = 12;

/// The server's log, in its data directory.
const LOG: &str = "lifeboat-recovery.log";

/// The programs of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPrograms {
    directory: PathBuf,
    /// What runs them elsewhere, if not simply here.
    runner: Option<Runner>,
}

/// How far a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Up to where it has replayed.
    pub lsn: Option<Lsn>,
    /// When the last transaction was committed that it replayed.
    pub committed: Option<Timestamp>,
    /// Whether it takes changes.
    pub is_promoted: bool,
    /// Whether it reached its target and waits.
    pub is_paused: bool,
}

/// A cluster did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The programs are not installed.
    #[error("`postgres` of PostgreSQL {major} was not found; looked in {looked_in}")]
    NoPrograms {
        /// The version.
        major: u32,
        /// Where it was looked for.
        looked_in: String,
    },
    /// A program could not be run.
    #[error("`pg_ctl` could not be run")]
    Run(#[source] std::io::Error),
    /// `initdb` made none.
    #[error("no empty cluster could be made: {log}")]
    NoCluster {
        /// The last words of its log.
        log: String,
    },
    /// The server ended.
    #[error("the server ended: {log}")]
    Ended {
        /// The last words of its log.
        log: String,
    },
    /// It does not shut down.
    #[error("the server could not be shut down: {why}")]
    Stop {
        /// What `pg_ctl` said.
        why: String,
    },
    /// It waits before its target.
    #[error("the server stopped replaying before its target: {log}")]
    Stalled {
        /// The last words of its log.
        log: String,
    },
    /// It answers, and nobody is let in who could ask how far it is.
    #[error("the server answers, but lets nobody in who could ask how far it is")]
    NoEntry {
        /// The server's word.
        #[source]
        source: PostgresError,
    },
    /// It could not be asked.
    #[error(transparent)]
    Server(#[from] PostgresError),
    /// It could not be enclosed.
    #[error(transparent)]
    Enclosure(#[from] EnclosureError),
}

impl Classify for StartError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoPrograms { .. } => ErrorKind::NotFound,
            Self::Run(_) | Self::Stop { .. } | Self::NoCluster { .. } => ErrorKind::Unavailable,
            Self::Ended { .. } | Self::Stalled { .. } => ErrorKind::Conflict,
            Self::Server(source) | Self::NoEntry { source } => source.kind(),
            Self::Enclosure(source) => source.kind(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::NoPrograms { major, .. } => {
                Some(Hint::new(format!("apt-get install postgresql-{major}")))
            }
            Self::NoEntry { .. } => Some(Hint::new(
                "let the data directory's owner in as the role of the same name, by a line `local all all peer` in the pg_hba.conf that is backed up; or restore without `--start`, and serve its log and start it as that says",
            )),
            Self::Server(source) => source.hint(),
            Self::Enclosure(source) => source.hint(),
            _ => None,
        }
    }
}

impl ServerPrograms {
    /// Finds the programs of a major version: where distributions put them, then on the search path.
    pub fn find(major: u32, environment: &ClientEnvironment) -> Result<Self, StartError> {
        let debian = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
        let red_hat = PathBuf::from(format!("/usr/pgsql-{major}/bin"));
        let on_path: Vec<_> = std::env::split_paths(&environment.path).collect();
        let candidates: Vec<_> = [debian, red_hat].into_iter().chain(on_path).collect();
        let fits = |directory: &&PathBuf| {
            let version = Command::new(directory.join("postgres")).arg("--version").output();
            let text = version.map(|output| output.stdout).unwrap_or_default();
            is_major(&String::from_utf8_lossy(&text), major)
        };
        if let Some(directory) = candidates.iter().find(fits) {
            return Ok(Self { directory: directory.clone(), runner: None });
        }
        let looked_in: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
        Err(StartError::NoPrograms { major, looked_in: looked_in.join(", ") })
    }

    /// Has a server run inside of a yard.
    #[must_use]
    pub fn run_by(mut self, runner: Option<Runner>) -> Self {
        self.runner = runner;
        self
    }

    /// Returns the path of one of them, without links on the way.
    pub fn path(&self, program: &str) -> PathBuf {
        let path = self.directory.join(program);
        path.canonicalize().unwrap_or(path)
    }

    /// Starts the server of a data directory, as the user whose it is.
    pub fn start(&self, data: &Path, wanted: &ServerLimits) -> Result<RestoredServer, StartError> {
        let log = data.join(LOG);
        let mut options = format!(
            // On a socket there is no TLS, and certificates may be on another machine.
            "-c listen_addresses='' -c ssl=off -c port={PORT} -c unix_socket_directories='{}'",
            data.display()
        );
        for (name, value) in limits(wanted) {
            write!(options, " -c {name}={value}").expect("a string takes whatever is written");
        }
        let mut command = self.control(data)?;
        command.args(["start", "--no-wait", "--silent", "--pgdata"]).arg(data);
        command.arg("--log").arg(&log).arg("--options").arg(options);
        let output = command.output().map_err(StartError::Run)?;
        if output.status.success() {
            let processes = self.runner.as_ref().map(|runner| runner.processes.clone());
            let processes = processes.unwrap_or_else(|| PathBuf::from("/proc"));
            return Ok(RestoredServer { data: data.to_owned(), log, processes });
        }
        Err(StartError::Ended { log: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }

    /// Shuts the server of a data directory down and waits until it has ended; none need run.
    pub fn stop(&self, data: &Path) -> Result<(), StartError> {
        if !data.join("postmaster.pid").exists() {
            return Ok(());
        }
        let mut command = self.control(data)?;
        command.args(["stop", "--wait", "--silent", "--mode", "fast", "--timeout", STOP_SECONDS]);
        let output = command.arg("--pgdata").arg(data).output().map_err(StartError::Run)?;
        if output.status.success() {
            return Ok(());
        }
        Err(StartError::Stop { why: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }

    /// Returns `pg_ctl`, as the user whose the data directory is.
    fn control(&self, data: &Path) -> Result<Command, StartError> {
        let metadata = fs::metadata(data).map_err(StartError::Run)?;
        let program = self.directory.join("pg_ctl");
        let owner = (metadata.uid(), metadata.gid());
        let mut command = match &self.runner {
            Some(runner) => runner.command(program.as_os_str(), owner),
            None => Command::new(program),
        };
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").current_dir("/");
        command.stdin(Stdio::null());
        if self.runner.is_none() && nix::unistd::geteuid().is_root() {
            command.uid(metadata.uid()).gid(metadata.gid());
        }
        Ok(command)
    }
}

/// Reads `postgres (PostgreSQL) 15.8 (Debian …)`.
fn is_major(version: &str, major: u32) -> bool {
    let number = version.split("(PostgreSQL) ").nth(1).unwrap_or_default();
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse() == Ok(major)
}

/// A server that was started on a restored cluster.
#[derive(Debug)]
pub struct RestoredServer {
    data: PathBuf,
    log: PathBuf,
    /// Where its processes are seen.
    processes: PathBuf,
}

impl RestoredServer {
    /// Returns how to connect to it.
    pub fn connect_string(&self) -> String {
        format!("host={} port={PORT} dbname=postgres", self.data.display())
    }

    /// Waits until the server takes changes, which it does once it reached its target; tells `note` how far it is.
    pub async fn wait(
        &self,
        environment: &ClientEnvironment,
        clock: &dyn Clock,
        note: &mut (dyn FnMut(Progress) + Send),
        goes_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Progress>, StartError> {
        let conninfo = Conninfo::parse(&self.connect_string(), environment)?;
        let mut absent = 0;
        while goes_on() {
            match Server::connect(&conninfo, environment).await {
                Ok(server) => {
                    let progress = progress(&server).await?;
                    note(progress);
                    if progress.is_promoted {
                        return Ok(Some(progress));
                    }
                    if progress.is_paused {
                        return Err(StartError::Stalled { log: self.last_words() });
                    }
                }
                // It says so only once it lets somebody in at all.
                Err(source) if is_no_entry(&source) => return Err(StartError::NoEntry { source }),
                Err(_) if self.runs() => absent = 0,
                Err(_) if absent < ABSENT_MAX => absent += 1,
                Err(_) => return Err(StartError::Ended { log: self.last_words() }),
            }
            clock.sleep(LOOK_EVERY).await;
        }
        Ok(None)
    }

    /// Tells whether the server still runs: it removes its mark when it ends.
    fn runs(&self) -> bool {
        let mark = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let process = mark.lines().next().and_then(|line| line.trim().parse::<u32>().ok());
        process.is_some_and(|process| self.processes.join(process.to_string()).exists())
    }

    fn last_words(&self) -> String {
        last_words(&self.log)
    }
}

/// Tells whether a server answers and lets nobody in as who asks.
const fn is_no_entry(error: &PostgresError) -> bool {
    matches!(error, PostgresError::Refused { .. } | PostgresError::NoDatabase { .. })
}

/// Returns what a server has to be given that ended or stopped replaying, if that was since the one which wrote the log was
/// given more of something meanwhile. It notes that in its control file before it stops (`xlog_redo` of `XLOG_PARAMETER_CHANGE`).
pub async fn raised(
    error: &StartError,
    data: &Path,
    given: ServerLimits,
    clock: &dyn Clock,
) -> Option<ServerLimits> {
    if !matches!(error, StartError::Ended { .. } | StartError::Stalled { .. }) {
        return None;
    }
    let (_, control) = copy_control(&data.join(CONTROL_FILE), clock).await.ok()?;
    Some(given.or_more(control.limits)).filter(|wanted| *wanted != given)
}

/// Returns the last lines of a server's log.
pub(super) fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<_> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES_MAX);
    lines[first..].join("; ")
}

/// Asks a server how far it is.
pub(super) async fn progress(server: &Server) -> Result<Progress, StartError> {
    const PROGRESS: &str = "
        SELECT pg_catalog.pg_is_in_recovery(),
               pg_catalog.pg_last_wal_replay_lsn()::text,
               (extract(epoch FROM pg_catalog.pg_last_xact_replay_timestamp()) * 1000000)::bigint,
               CASE WHEN pg_catalog.pg_is_in_recovery()
                    THEN pg_catalog.pg_is_wal_replay_paused() ELSE false END";
    let session = server.maintenance_session().await?;
    let row = session.client().query_one(PROGRESS, &[]).await;
    let row = row.map_err(|source| session.failed("tell how far it is".to_owned(), source))?;
    let committed = row.get::<_, Option<i64>>(2);
    Ok(Progress {
        lsn: row.get::<_, Option<String>>(1).and_then(|text| text.parse().ok()),
        committed: committed.and_then(|time| Timestamp::from_microsecond(time).ok()),
        is_promoted: !row.get::<_, bool>(0),
        is_paused: row.get(3),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        assert!(is_major("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)\n", 15));
        assert!(is_major("postgres (PostgreSQL) 18beta1\n", 18));
        assert!(!is_major("postgres (PostgreSQL) 15.8\n", 18));
        assert!(!is_major("", 18));
    }
}
