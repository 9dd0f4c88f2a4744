//! A PostgreSQL server of one's own.
//!
//! ```no_run
//! let cluster = lifeboat_testing::postgres::Cluster::start()?;
//! cluster.psql("postgres", "CREATE TABLE t (n int)")?;
//! println!("{}", cluster.connect_string("postgres"));
//! # Ok::<(), lifeboat_testing::program::ProgramError>(())
//! ```
//!
//! PostgreSQL refuses to run as root, so a cluster of root's runs as the user `postgres`.
//!
//! # What is left behind
//!
//! Nothing: the server is stopped and its directory removed when the [`Cluster`] is dropped, also
//! while a panic unwinds. When the whole process is killed, the [lifeline](Lifeline) stops the server
//! all the same; then only the directory stays.

mod access;
mod crash;
mod programs;
mod standby;

pub use access::Access;
pub use programs::Release;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::{User, geteuid};
use tempfile::TempDir;

use crate::program::{self, ProgramError};

/// The role that owns the cluster.
pub const SUPERUSER: &str = "postgres";

/// The port of a cluster that listens on its socket only; there it is just a part of a file name.
const SOCKET_PORT: u16 = 5432;

/// Speed instead of durability: a test's data need not outlive a crash of the machine.
const SETTINGS: &str = "
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 40
shared_buffers = 64MB
max_wal_size = 4GB
timezone = 'UTC'
log_timezone = 'UTC'
";

/// Starts the server, says so, waits for a word or for the end of its input, stops the server.
const LIFELINE: &str = r#"
"$1/pg_ctl" start --wait --silent --pgdata "$2" --log "$3" >&2 || exit 1
echo ready
read -r mode || mode=immediate
exec "$1/pg_ctl" stop --wait --silent --pgdata "$2" --mode "$mode" >&2
"#;

/// Where a cluster listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listen {
    /// On a unix socket in a directory of its own.
    #[default]
    Socket,
    /// On the socket and on a free port of 127.0.0.1.
    Loopback,
}

/// How a client proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Authentication {
    /// It need not.
    #[default]
    Trust,
    /// By the password of its role, which this is for the superuser.
    Password(String),
    /// By its operating system user, as Debian's clusters want it.
    Peer,
}

/// Whether pages get checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PageChecksums {
    /// As `initdb` has it: none until 17, some since 18.
    #[default]
    AsUsual,
    /// They do.
    On,
    /// They do not.
    Off,
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its sessions are ended, and a checkpoint is made.
    Fast,
    /// At once, so that it has to recover when it starts.
    Immediate,
}

/// How a cluster is made.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    release: Release,
    checksums: PageChecksums,
    segment_size_mib: Option<u32>,
    data: Option<PathBuf>,
    listen: Listen,
    authentication: Authentication,
    settings: Vec<(String, String)>,
}

impl ClusterOptions {
    /// Sets which server it is.
    #[must_use]
    pub const fn release(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    /// Sets whether pages get checksums.
    #[must_use]
    pub const fn checksums(mut self, checksums: PageChecksums) -> Self {
        self.checksums = checksums;
        self
    }

    /// Sets how large segments of the log are; else they have 16 MiB.
    #[must_use]
    pub const fn segment_size_mib(mut self, size_mib: u32) -> Self {
        self.segment_size_mib = Some(size_mib);
        self
    }

    /// Archives the log by a command.
    #[must_use]
    pub fn archive_command(self, command: &str) -> Self {
        self.setting("archive_mode", "on").setting("archive_command", command)
    }

    /// Puts the data directory at `path`, where it stays; else it is temporary.
    #[must_use]
    pub fn data(mut self, path: impl Into<PathBuf>) -> Self {
        self.data = Some(path.into());
        self
    }

    /// Sets where the cluster listens.
    #[must_use]
    pub const fn listen(mut self, listen: Listen) -> Self {
        self.listen = listen;
        self
    }

    /// Sets how clients prove who they are.
    #[must_use]
    pub fn authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = authentication;
        self
    }

    /// Adds a line to `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A private PostgreSQL cluster.
#[derive(Debug)]
pub struct Cluster {
    bin: PathBuf,
    clients: PathBuf,
    data: PathBuf,
    port: u16,
    server_user: Option<User>,
    options: ClusterOptions,
    lifeline: Option<Lifeline>,
    /// Holds the socket, the log and, unless put elsewhere, the data.
    directory: TempDir,
}

/// A shell that runs beside a server and stops it once its input ends: the kernel closes that pipe
/// however the process at its other end dies.
#[derive(Debug)]
struct Lifeline(Child);

impl Cluster {
    /// Makes and starts a temporary cluster on a socket which trusts everybody.
    pub fn start() -> Result<Self, ProgramError> {
        Self::start_with(&ClusterOptions::default())
    }

    /// Makes and starts a cluster.
    pub fn start_with(options: &ClusterOptions) -> Result<Self, ProgramError> {
        let bin = options.release.programs()?;
        let clients = programs::system()?;
        let prepare = |source| ProgramError::Run { program: "initdb".to_owned(), source };
        let server_user = server_user()?;
        // Not below TMPDIR: the path of a unix socket has at most 107 bytes.
        let directory = tempfile::Builder::new().prefix("lifeboat-pg-").tempdir_in("/tmp");
        let directory = directory.map_err(prepare)?;
        let data = options.data.clone().unwrap_or_else(|| directory.path().join("data"));
        for path in [directory.path(), &directory.path().join("socket")] {
            make_private(path, server_user.as_ref()).map_err(prepare)?;
        }
        let port = match options.listen {
            Listen::Socket => SOCKET_PORT,
            Listen::Loopback => free_port().map_err(prepare)?,
        };
        let options = options.clone();
        let mut cluster =
            Self { bin, clients, data, port, server_user, options, lifeline: None, directory };
        cluster.make_anew()?;
        Ok(cluster)
    }

    /// Makes and starts an empty cluster at the place of one that was destroyed.
    pub fn make_anew(&mut self) -> Result<(), ProgramError> {
        self.initialise()?;
        self.start_again()
    }

    fn initialise(&self) -> Result<(), ProgramError> {
        let fail = |source| ProgramError::Run { program: "initdb".to_owned(), source };
        make_private(&self.data, self.server_user.as_ref()).map_err(fail)?;
        let password = self.directory.path().join("password");
        let mut initdb = self.command("initdb");
        initdb.arg("--pgdata").arg(&self.data).args([
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--username",
            SUPERUSER,
        ]);
        match self.options.checksums {
            PageChecksums::AsUsual => &mut initdb,
            PageChecksums::On => initdb.arg("--data-checksums"),
            // Until 17 nobody has to say so, or can.
            PageChecksums::Off if self.options.release == Release::System => &mut initdb,
            PageChecksums::Off => initdb.arg("--no-data-checksums"),
        };
        if let Some(size) = self.options.segment_size_mib {
            initdb.arg(format!("--wal-segsize={size}"));
        }
        match &self.options.authentication {
            Authentication::Trust => initdb.arg("--auth=trust"),
            Authentication::Peer => initdb.args(["--auth-local=peer", "--auth-host=reject"]),
            Authentication::Password(text) => {
                let mut file = File::create(&password).map_err(fail)?;
                file.write_all(text.as_bytes()).map_err(fail)?;
                initdb.arg("--auth=scram-sha-256").arg("--pwfile").arg(&password)
            }
        };
        program::run(&mut initdb, b"")?;
        self.append_settings().map_err(fail)
    }

    /// Adds this cluster's settings; of those that are given twice the server takes the last.
    fn append_settings(&self) -> io::Result<()> {
        let mut file = File::options().append(true).open(self.data.join("postgresql.conf"))?;
        file.write_all(self.settings().as_bytes())
    }

    fn settings(&self) -> String {
        let mut text = SETTINGS.to_owned();
        let listen = match self.options.listen {
            Listen::Socket => "",
            Listen::Loopback => "127.0.0.1",
        };
        let socket = self.socket_dir();
        let own = [
            ("listen_addresses", listen),
            ("port", &self.port.to_string()),
            ("unix_socket_directories", &socket.to_string_lossy()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (name, value) in own.iter().chain(&self.options.settings) {
            writeln!(text, "{name} = '{}'", value.replace('\'', "''"))
                .expect("a string takes whatever is written");
        }
        text
    }

    /// Starts the server of a cluster that was stopped.
    pub fn start_again(&mut self) -> Result<(), ProgramError> {
        let mut shell = self.command("/bin/sh");
        shell.args(["-c", LIFELINE, "lifeline"]).arg(&self.bin).arg(&self.data).arg(self.log());
        // A group of its own, so that Ctrl-C reaches only the program that holds the lifeline.
        shell.process_group(0);
        self.lifeline = Some(Lifeline::hold(&mut shell)?);
        Ok(())
    }

    /// Stops the server as an operator would; the data stays.
    pub fn stop(&mut self) -> Result<(), ProgramError> {
        self.stop_by(Stop::Fast)
    }

    /// Stops the server; the data stays.
    pub fn stop_by(&mut self, stop: Stop) -> Result<(), ProgramError> {
        let mode = match stop {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        self.lifeline.take().map_or(Ok(()), |lifeline| lifeline.release(mode))
    }

    /// Stops the server and starts it again, so that settings hold which need that.
    pub fn restart(&mut self) -> Result<(), ProgramError> {
        self.stop()?;
        self.start_again()
    }

    /// Kills all processes of the server at once; the data stays as the crash left it.
    pub fn crash(&mut self) -> Result<(), ProgramError> {
        let fail = |source| ProgramError::Run { program: "kill".to_owned(), source };
        crash::kill(&self.data).map_err(fail)?;
        drop(self.lifeline.take());
        Ok(())
    }

    /// Makes an empty directory that belongs to the server's user: for a tablespace, or an archive.
    pub fn make_directory(&self, name: &str) -> Result<PathBuf, ProgramError> {
        let fail = |source| ProgramError::Run { program: "mkdir".to_owned(), source };
        let path = self.directory.path().join(name);
        make_private(&path, self.server_user.as_ref()).map_err(fail)?;
        Ok(path)
    }

    /// Kills the server and removes its data, as a broken disk would.
    pub fn destroy(&mut self) -> Result<(), ProgramError> {
        drop(self.lifeline.take());
        std::fs::remove_dir_all(&self.data)
            .map_err(|source| ProgramError::Run { program: "rm".to_owned(), source })
    }

    /// Tells whether the server was started and not stopped since.
    pub const fn is_running(&self) -> bool {
        self.lifeline.is_some()
    }

    /// Returns the directory of the socket, which is also the `host` to connect to.
    pub fn socket_dir(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Returns the port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns where the data is.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Returns where the server's own programs are.
    pub fn bin_dir(&self) -> &Path {
        &self.bin
    }

    /// Returns where the server's log is.
    pub fn log(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    /// Returns the operating system user that the server runs as, if it is not the caller's.
    pub fn os_user(&self) -> Option<&str> {
        self.server_user.as_ref().map(|user| user.name.as_str())
    }

    /// Returns libpq keywords that connect to `database` as the superuser.
    pub fn connect_string(&self, database: &str) -> String {
        self.connect_string_as(database, SUPERUSER)
    }

    /// Returns libpq keywords that connect to `database` as `role`.
    pub fn connect_string_as(&self, database: &str, role: &str) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
        format!(
            "host={} port={} user={} dbname={}",
            quoted(&self.socket_dir().to_string_lossy()),
            self.port,
            quoted(role),
            quoted(database)
        )
    }

    /// Returns a command, as the server's user, for one of the server's own programs or any path.
    ///
    /// A program that the server does not bring along is the system's. The environment holds what a client
    /// needs to reach this cluster and nothing else.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.access().command(program)
    }

    /// Returns what makes such commands, also while the cluster is being stopped or killed.
    pub fn access(&self) -> Access {
        Access {
            bin: self.bin.clone(),
            clients: self.clients.clone(),
            socket_dir: self.socket_dir(),
            port: self.port,
            server_user: self.server_user.clone(),
        }
    }

    /// Runs SQL in `database` and returns the rows: columns parted by `|`, a line each.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, ProgramError> {
        let mut psql = self.command("psql");
        psql.env("PGDATABASE", database)
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
            .args(["--set", "ON_ERROR_STOP=1", "--file", "-"]);
        let output = program::run(&mut psql, sql.as_bytes())?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Creates an empty database.
    pub fn create_database(&self, name: &str) -> Result<(), ProgramError> {
        self.psql(SUPERUSER, &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")))
            .map(drop)
    }
}

impl Lifeline {
    /// Runs the shell and waits until the server is ready.
    fn hold(shell: &mut Command) -> Result<Self, ProgramError> {
        let fail = |source| ProgramError::Run { program: "pg_ctl start".to_owned(), source };
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.spawn().map_err(fail)?;
        let stdout = child.stdout.take().expect("standard output was piped");
        let mut word = String::new();
        BufReader::new(stdout).read_line(&mut word).map_err(fail)?;
        if word.trim_end() == "ready" {
            return Ok(Self(child));
        }
        let output = child.wait_with_output().map_err(fail)?;
        Err(ProgramError::Failed {
            program: "pg_ctl start".to_owned(),
            status: output.status,
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    fn release(mut self, mode: &str) -> Result<(), ProgramError> {
        let fail = |source| ProgramError::Run { program: "pg_ctl stop".to_owned(), source };
        let stdin = self.0.stdin.as_mut().expect("standard input was piped and is taken only here");
        writeln!(stdin, "{mode}").map_err(fail)?;
        self.0.wait().map(drop).map_err(fail)
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Nobody is left to tell; a shell that cannot be waited for has ended already.
        drop(self.0.wait());
    }
}

/// Returns who runs the server: root cannot, so then it is `postgres`.
fn server_user() -> Result<Option<User>, ProgramError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    match User::from_name("postgres") {
        Ok(Some(user)) => Ok(Some(user)),
        _ => Err(ProgramError::Missing {
            program: "the user postgres".to_owned(),
            remedy: "apt-get install postgresql",
        }),
    }
}

fn make_private(path: &Path, owner: Option<&User>) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    match owner {
        Some(user) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())),
        None => Ok(()),
    }
}

/// Asks the kernel for a port that nobody uses.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_answers_and_leaves_nothing() {
        let cluster = Cluster::start().unwrap();
        assert_eq!(cluster.psql("postgres", "SELECT 1 + 1, 'a'").unwrap(), "2|a");
        let directory = cluster.directory.path().to_owned();
        let pid = server_pid(&cluster);
        drop(cluster);
        assert!(!directory.exists());
        assert!(!is_alive(&pid));
    }

    #[test]
    fn each_release_keeps_what_was_committed_through_a_crash() {
        for (release, major) in [(Release::System, "15"), (Release::Eighteen, "18")] {
            let options = ClusterOptions::default().release(release).segment_size_mib(1);
            let options = options.checksums(PageChecksums::Off).setting("synchronous_commit", "on");
            let mut cluster = Cluster::start_with(&options).unwrap();
            assert!(cluster.psql("postgres", "SHOW server_version").unwrap().starts_with(major));
            assert_eq!(cluster.psql("postgres", "SHOW wal_segment_size").unwrap(), "1MB");
            assert_eq!(cluster.psql("postgres", "SHOW data_checksums").unwrap(), "off");
            cluster.psql("postgres", "CREATE TABLE t AS SELECT 42 AS n").unwrap();
            let pid = server_pid(&cluster);
            cluster.crash().unwrap();
            assert!(!is_alive(&pid) && !cluster.is_running());
            cluster.start_again().unwrap();
            assert_eq!(cluster.psql("postgres", "SELECT n FROM t").unwrap(), "42");
            cluster.psql("postgres", "CREATE EXTENSION amcheck").unwrap();
            cluster.stop_by(Stop::Immediate).unwrap();
            cluster.start_again().unwrap();
            cluster.restart().unwrap();
            let log = std::fs::read_to_string(cluster.log()).unwrap();
            assert_eq!(log.matches("automatic recovery in progress").count(), 2, "{log}");
        }
    }

    #[test]
    fn a_panic_stops_the_server_too() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let panicked = std::thread::spawn(move || {
            let cluster = Cluster::start().unwrap();
            sender.send(server_pid(&cluster)).unwrap();
            panic!("on purpose");
        });
        let pid = receiver.recv().unwrap();
        assert!(panicked.join().is_err());
        assert!(!is_alive(&pid));
    }

    #[test]
    fn data_survives_a_stop_but_not_a_disaster() {
        let mut cluster = Cluster::start().unwrap();
        cluster.psql("postgres", "CREATE TABLE t AS SELECT 42 AS n").unwrap();
        cluster.stop().unwrap();
        assert!(cluster.psql("postgres", "SELECT 1").is_err());
        cluster.start_again().unwrap();
        assert_eq!(cluster.psql("postgres", "SELECT n FROM t").unwrap(), "42");
        cluster.destroy().unwrap();
        assert!(cluster.start_again().is_err());
        cluster.make_anew().unwrap();
        assert!(cluster.psql("postgres", "SELECT n FROM t").is_err());
    }

    #[test]
    fn a_password_is_asked_for() {
        let options = ClusterOptions::default()
            .listen(Listen::Loopback)
            .authentication(Authentication::Password("correct horse".to_owned()));
        let cluster = Cluster::start_with(&options).unwrap();
        assert!(cluster.psql("postgres", "SELECT 1").is_err());
        let mut psql = cluster.command("psql");
        psql.env("PGPASSWORD", "correct horse").args(["--host=127.0.0.1", "-Atc", "SELECT 1"]);
        assert_eq!(program::run(&mut psql, b"").unwrap().stdout, b"1\n");
    }

    /// A process that ended but was not waited for by its new parent has no command line left.
    fn is_alive(pid: &str) -> bool {
        let line = std::fs::read(Path::new("/proc").join(pid).join("cmdline"));
        line.is_ok_and(|line| !line.is_empty())
    }

    fn server_pid(cluster: &Cluster) -> String {
        let file = std::fs::read_to_string(cluster.data_dir().join("postmaster.pid")).unwrap();
        file.lines().next().unwrap().to_owned()
    }
}
