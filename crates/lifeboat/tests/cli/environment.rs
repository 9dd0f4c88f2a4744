//! Runs the real binary with a cleared environment and a home of its own.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A home directory and the environment in which `lifeboat` runs.
pub struct Environment {
    home: TempDir,
    variables: Vec<(String, String)>,
}

impl Environment {
    /// Makes an empty home.
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    /// Makes an empty home below a directory.
    pub fn below(directory: &Path) -> Self {
        Self { home: tempfile::tempdir_in(directory).unwrap(), variables: Vec::new() }
    }

    /// Sets an environment variable.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Returns a path below the home, which is also the working directory.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.home.path().join(relative)
    }

    /// Writes a file below the home and returns its path.
    pub fn write(&self, relative: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        let mode = 0o600;
        lifeboat_tiers::durable::create_directories(path.parent().unwrap(), 0o755).unwrap();
        lifeboat_tiers::durable::replace(&path, contents.as_ref(), mode).unwrap();
        path
    }

    /// Returns the command, ready for its arguments, without a terminal.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        self.dress(&mut command);
        command
    }

    /// Returns a command that runs `lifeboat` with these arguments at a terminal of its own.
    pub fn at_terminal(&self, arguments: &str) -> Command {
        let mut command = Command::new("script");
        let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_lifeboat"));
        self.dress(&mut command);
        command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// Gives a command the environment in which `lifeboat` runs.
    pub fn dress(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path())
            .stdin(Stdio::null());
    }

    /// Runs `lifeboat` with these arguments.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        let output = self.command().args(arguments).output().unwrap();
        Ended { output, home: self.home.path().display().to_string() }
    }

    /// Starts `lifeboat` with these arguments and leaves it running.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Child {
        let mut command = self.command();
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }
}

/// How a run ended.
#[must_use = "look at how the run ended"]
pub struct Ended {
    output: Output,
    home: String,
}

impl Ended {
    /// Takes what a run at home in a folder ended with.
    pub fn of(output: Output, home: &Path) -> Self {
        Self { output, home: home.display().to_string() }
    }

    /// Returns the exit code.
    pub fn code(&self) -> i32 {
        self.output.status.code().expect("it ended by itself")
    }

    /// Returns standard output.
    pub fn stdout(&self) -> String {
        self.normalised(&self.output.stdout)
    }

    /// Returns standard error.
    pub fn stderr(&self) -> String {
        self.normalised(&self.output.stderr)
    }

    /// Asserts that all went well and nothing was warned of; returns standard output.
    #[track_caller]
    pub fn success(&self) -> String {
        assert_eq!(self.code(), 0, "{self}");
        assert!(!self.stderr().contains("WARN") && !self.stderr().contains("ERROR"), "{self}");
        self.stdout()
    }

    /// Asserts the exit code of a failure and that it is explained; returns standard error.
    #[track_caller]
    pub fn failure(&self, code: i32) -> String {
        assert_eq!(self.code(), code, "{self}");
        assert!(self.stderr().contains("error"), "{self}");
        self.stderr()
    }

    /// Returns the one JSON document on standard output.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.output.stdout)
            .unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    fn normalised(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).replace(&self.home, "[HOME]")
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.output.status;
        write!(f, "{status}\nstdout:\n{}\nstderr:\n{}", self.stdout(), self.stderr())
    }
}
