//! A box around a server that must reach nothing, made by having this very program run itself again.
//!
//! What runs inside has namespaces of its own: no network interface but a loopback that is down, no process
//! but its own, no socket, no shared memory, and a file system of what [`Enclosure`] names and what a program needs
//! to run (`/usr` and the like, read-only). It runs as an unprivileged user without capabilities, and
//! nothing it executes can gain any. ADR 0025 says why it is built by hand.
//!
//! # Invariants
//!
//! - Nothing inside outlives the [`Inmate`]: its first process is the `init` of a process namespace and
//!   ends when its standard input does, which the kernel closes however this process dies. With `init` the kernel
//!   ends all others.
//! - Whoever asks for [`Walls::Namespaces`] gets them or an error, never something weaker.
//!
//! # Limits
//!
//! The kernel itself is not shielded: there is no filter of system calls. What can be read below `/usr` by
//! that user can be read inside.

pub(crate) mod inside;
pub(crate) mod mounts;

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use lifeboat_model::{Classify, ErrorKind, Hint};
use serde::{Deserialize, Serialize};

pub use inside::enter;

/// The longest that is read of what the inside says of itself.
pub(crate) const WORD_BYTES_MAX: u64 = 4096;

/// What the inside says once it is closed off.
pub(crate) const CLOSED: &str = "closed";

/// The word that asks the program inside to end by itself.
const STOP: &[u8] = b"s";

/// How well something is kept from reaching anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "level", rename_all = "kebab-case")]
pub enum Isolation {
    /// It has namespaces of its own, and sees nothing but itself.
    Namespaces,
    /// It was only told to reach nothing. Whoever may run any SQL on it as a superuser gets out.
    SettingsOnly {
        /// Why it has no namespaces.
        why: String,
    },
}

/// What a program is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Walls {
    /// Namespaces of its own.
    Namespaces,
    /// Nothing: it only ends with this process.
    None,
}

/// What a program sees of the host, and as whom it runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Enclosure {
    /// This program's own file, which is run inside.
    pub own_program: PathBuf,
    /// A directory that becomes `/` inside.
    pub root: PathBuf,
    /// Directories that are seen at their own paths and may be written to.
    pub writable: Vec<PathBuf>,
    /// Files and directories that are seen at their own paths and can only be read.
    pub readable: Vec<PathBuf>,
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A program and its arguments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Errand {
    /// Where it is.
    pub program: PathBuf,
    /// What it is told.
    pub arguments: Vec<String>,
}

/// What the inside is told on its command line.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    walls: Walls,
    enclosure: Enclosure,
    errand: Errand,
}

/// Something could not be enclosed.
#[derive(Debug, thiserror::Error)]
pub enum EnclosureError {
    /// This host or this user may make no namespaces.
    #[error("this host gives no namespaces: {why}")]
    NoNamespaces {
        /// What was refused.
        why: String,
    },
    /// This program could not run itself.
    #[error("`{}` could not be run", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

impl Classify for EnclosureError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoNamespaces { .. } => ErrorKind::Denied,
            Self::Run { .. } => ErrorKind::Unavailable,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::NoNamespaces { .. } => Some(Hint::new(
                "run it as root, outside of a container; or allow user namespaces (`sysctl user.max_user_namespaces kernel.apparmor_restrict_unprivileged_userns`); `--weak` goes on without",
            )),
            Self::Run { .. } => None,
        }
    }
}

impl Enclosure {
    /// Runs a program inside; what it says goes to `log`.
    pub fn run(&self, walls: Walls, errand: &Errand, log: File) -> Result<Inmate, EnclosureError> {
        let failed = |source| EnclosureError::Run { program: self.own_program.clone(), source };
        let orders = Orders { walls, enclosure: self.clone(), errand: errand.clone() };
        let orders = serde_json::to_string(&orders).map_err(|error| failed(error.into()))?;
        let mut command = Command::new(&self.own_program);
        command.args([inside::ENCLOSE, &orders]).env_clear().current_dir("/");
        // A group of its own, so that a Ctrl-C at the terminal is for this process to answer.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(failed)?;
        let (lifeline, stdout) = (child.stdin.take(), child.stdout.take());
        let mut inmate = Inmate { child, lifeline };
        let mut word = String::new();
        let stdout = stdout.expect("standard output was piped");
        BufReader::new(stdout.take(WORD_BYTES_MAX)).read_line(&mut word).map_err(failed)?;
        let word = word.trim_end();
        if word == CLOSED {
            return Ok(inmate);
        }
        let status = inmate.end().map_err(failed)?;
        let why = if word.is_empty() { format!("it ended with {status}") } else { word.to_owned() };
        Err(EnclosureError::NoNamespaces { why })
    }
}

/// A program that runs inside. Dropping it ends it and everything that it began.
#[derive(Debug)]
pub struct Inmate {
    child: Child,
    /// The end of this ends what is inside.
    lifeline: Option<ChildStdin>,
}

impl Inmate {
    /// Returns how it ended, if it did.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        // Not `Child::wait`, which would close the lifeline; that was taken out, though.
        self.child.wait()
    }

    /// Asks a server to shut down, and waits until it did.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(lifeline) = &mut self.lifeline {
            match lifeline.write_all(STOP) {
                // It has ended already.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        self.child.wait()
    }

    /// Ends it at once.
    fn end(&mut self) -> io::Result<ExitStatus> {
        drop(self.lifeline.take());
        self.child.wait()
    }
}

impl Drop for Inmate {
    fn drop(&mut self) {
        // Who cannot be waited for has ended.
        drop(self.end());
    }
}

/// Returns the directory of the installation that a program is part of: the one above its `bin`.
pub fn installation(program: &Path) -> PathBuf {
    let above = program.parent().and_then(Path::parent);
    above.unwrap_or(program).to_owned()
}
