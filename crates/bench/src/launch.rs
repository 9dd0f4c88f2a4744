//! Runs a program and tells what it took: time, processor time, memory.
//!
//! The program runs below a small process of this same binary (`lifeboat-bench launch`), which has no
//! other child. What the kernel counts for the children of that one is what the program took, with
//! everything that it started itself.
//!
//! # Limits
//!
//! The peak of the memory is that of the largest process, not the sum over several. It is never
//! below the few megabytes that the launching process has itself when it forks.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use lifeboat_testing::interrupt::{Interrupt, Watched};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use serde::{Deserialize, Serialize};

use crate::failure::{BenchError, file, system};

/// How many lines of what a program said are shown when it fails.
const LINES_SHOWN: usize = 6;

/// What a program took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// The time from its start to its end.
    pub wall_s: f64,
    /// The processor time, of its own and of the kernel's for it.
    pub cpu_s: f64,
    /// The most memory that was resident at a time.
    pub resident_bytes: u64,
}

/// What the launching process prints.
#[derive(Debug, Serialize, Deserialize)]
struct Launched {
    /// The exit code, unless a signal ended the program.
    exit: Option<i32>,
    usage: Usage,
}

/// A command to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Invocation {
    /// Begins with a program and no arguments.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: Vec::new() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Lets it see a variable as `NAME=VALUE` says, whatever it is for the others.
    #[must_use]
    pub fn with_variable(self, variable: impl Into<OsString>) -> Self {
        let own = [variable.into(), self.program.into_os_string()];
        Self::new("env").arguments(own).arguments(self.arguments)
    }

    /// Returns the command as a person would type it.
    pub fn shown(&self) -> String {
        let program = self.program.to_string_lossy().into_owned();
        let words = self.arguments.iter().map(|word| word.to_string_lossy().into_owned());
        std::iter::once(program).chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// A program that runs beside others; killed when it is dropped.
#[derive(Debug)]
pub struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        // What has ended already can be neither killed nor waited for, and need not be.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs programs in one environment.
#[derive(Debug)]
pub struct Launcher {
    itself: PathBuf,
    log: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    interrupt: Interrupt,
}

impl Launcher {
    /// Returns what runs programs with nothing but `environment`; `itself` is this binary, and what
    /// they say goes to `log`.
    pub const fn new(
        itself: PathBuf,
        log: PathBuf,
        environment: Vec<(&'static str, OsString)>,
        interrupt: Interrupt,
    ) -> Self {
        Self { itself, log, environment, interrupt }
    }

    /// Fails once somebody pressed Ctrl-C.
    pub fn check(&self) -> Result<(), BenchError> {
        Ok(self.interrupt.check()?)
    }

    /// Runs a program to its end; fails unless it ends with 0.
    pub fn run(&self, invocation: &Invocation) -> Result<Usage, BenchError> {
        let launched = self.launch(invocation)?;
        if launched.exit == Some(0) {
            return Ok(launched.usage);
        }
        let ending = match launched.exit {
            Some(code) => format!("exit code {code}"),
            None => "a signal".to_owned(),
        };
        let said = fs::read(&self.log).unwrap_or_default();
        let message = last_lines(&String::from_utf8_lossy(&said));
        Err(BenchError::Failed { command: invocation.shown(), ending, message })
    }

    /// Runs a program and tells whether it ended with 0.
    pub fn succeeds(&self, invocation: &Invocation) -> Result<bool, BenchError> {
        Ok(self.launch(invocation)?.exit == Some(0))
    }

    /// Returns what the program that was run last said, on both of its outputs.
    pub fn said(&self) -> String {
        fs::read(&self.log)
            .map_or_else(|_| String::new(), |said| String::from_utf8_lossy(&said).into_owned())
    }

    /// Returns a command in the environment of all programs.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// Starts a program that runs until it is dropped; what it says goes to `log`.
    pub fn start(&self, invocation: &Invocation, log: &Path) -> Result<Background, BenchError> {
        self.check()?;
        let said = || File::create(log).map_err(file("make", log));
        let mut command = self.command(&invocation.program);
        command.args(&invocation.arguments).process_group(0).stdout(said()?).stderr(said()?);
        let fail = |source| BenchError::Missing { program: invocation.shown(), source };
        command.spawn().map(Background).map_err(fail)
    }

    fn launch(&self, invocation: &Invocation) -> Result<Launched, BenchError> {
        self.check()?;
        let fail = |source| BenchError::Missing { program: invocation.shown(), source };
        let log = File::create(&self.log).map_err(file("make", &self.log))?;
        let mut command = self.command(&self.itself);
        command.arg("launch").arg("--").arg(&invocation.program).args(&invocation.arguments);
        // A group of its own, so that an interrupt reaches the program below it as well.
        command.process_group(0).stdout(Stdio::piped()).stderr(log);
        let child = command.spawn().map_err(system("start this program itself"))?;
        self.interrupt.watch(Some(Watched::Group(child.id())));
        let output = child.wait_with_output();
        self.interrupt.watch(None);
        self.check()?;
        let output = output.map_err(system("wait for a program"))?;
        serde_json::from_slice(&output.stdout).map_err(|_| {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            fail(io::Error::other(last_lines(&said)))
        })
    }
}

/// Runs a program, says on standard output what it took, and sends what it says to standard error.
pub fn launch(words: &[OsString], out: impl io::Write) -> io::Result<()> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(io::stderr());
    let watch = Instant::now();
    let status = command.status()?;
    let wall_s = watch.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let resident_kib = u64::try_from(usage.max_rss()).unwrap_or(0);
    let usage = Usage {
        wall_s,
        cpu_s: seconds(usage.user_time()) + seconds(usage.system_time()),
        resident_bytes: resident_kib << 10,
    };
    Ok(serde_json::to_writer(out, &Launched { exit: status.code(), usage })?)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a year fit a double")]
fn seconds(time: TimeVal) -> f64 {
    time.num_microseconds() as f64 / 1e6
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("; ")
}

/// Returns the first line that a program prints about its version.
pub fn version(program: &Path, argument: &str) -> Result<String, BenchError> {
    let name = program.display().to_string();
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    let output = output.map_err(|source| BenchError::Missing { program: name, source })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or("unknown").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_what_was_said_is_shown() {
        let text = ["1", "2", "", "3", "4", "5", "6", " ", "7", "8"].join("\n");
        assert_eq!(last_lines(&text), "3; 4; 5; 6; 7; 8");
        assert_eq!(last_lines(""), "");
    }

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        let invocation = Invocation::new("cp").argument("-a").arguments(["from", "to"]);
        assert_eq!(invocation.shown(), "cp -a from to");
    }
}
