//! A yard: a private view of this host in which a platform can be lost and brought back, while the real one runs on.
//!
//! What is inside sees the host's files, at their own paths, through layers that keep what is written in a directory of
//! the yard's own. It sees no process, no socket, no device and no network of the host. The keeper, who restores into the
//! yard, sees the same files and, besides, what is named for him alone; he has the host's network, as copies lie there.
//! ADR 61 says why it is built this way.
//!
//! # Invariants
//!
//! - Nothing in a yard outlives the [`Yard`]: its first process ends when its standard input does, which the kernel closes
//!   however this process dies, and all others end with it.
//! - Nothing that is written in a yard lies outside of its place, but for what the keeper writes where he may.
//!
//! # Limits
//!
//! The kernel is not shielded, and disk, memory and processors are shared with the host. A yard wants root.

mod join;
mod keep;
mod loopback;
mod tree;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde::{Deserialize, Serialize};

use crate::enclosure::inside::{FAILED, Refused, close_inherited, refused};
use crate::enclosure::{CLOSED, EnclosureError, Errand, WORD_BYTES_MAX};

pub use join::{Inside, Runner};

/// The first argument of each of this program's later lives.
const BUILD: &str = "yard:build";
const KEEP: &str = "yard:keep";
const INSIDE: &str = "yard:inside";
const HOLD: &str = "yard:hold";
const JOIN: &str = "yard:join";

/// What is said once the keeper ended, with his exit code.
const ENDED: &str = "ended";

/// Asks the keeper to end by himself.
const STOP: &[u8] = b"s";

/// Something of the host's that only the keeper sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperView {
    /// Where it is on the host.
    pub from: PathBuf,
    /// Where the keeper sees it.
    pub at: PathBuf,
    /// Whether he may write there.
    pub access: KeeperAccess,
}

/// What the keeper may do with what only he sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeeperAccess {
    /// He may read it.
    Read,
    /// He may write to it.
    Write,
}

/// What a yard is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ground {
    /// This program's own file, which runs itself inside.
    pub own_program: PathBuf,
    /// An empty directory in which everything of the yard lies.
    pub place: PathBuf,
    /// What is not there inside, though it is on the host.
    pub absent: Vec<PathBuf>,
    /// What only the keeper sees.
    pub keeper_sees: Vec<KeeperView>,
    /// Names that lead to the yard itself.
    pub names: Vec<String>,
    /// What the keeper does.
    pub keeper: Errand,
    /// What the keeper's environment holds beyond this process's own.
    pub environment: Vec<(String, String)>,
}

/// A yard with its keeper at work. Dropping it ends everything in it.
#[derive(Debug)]
pub struct Yard {
    child: Child,
    /// The end of this ends what is in the yard.
    lifeline: Option<ChildStdin>,
    /// Hears how the keeper ended.
    word: Receiver<String>,
}

impl Yard {
    /// Builds a yard and sets its keeper to work; what goes wrong is written to `log`.
    pub fn open(ground: &Ground, log: File) -> Result<Self, EnclosureError> {
        let failed = |source| EnclosureError::Run { program: ground.own_program.clone(), source };
        let orders = serde_json::to_string(ground).map_err(|error| failed(error.into()))?;
        let mut command = Command::new(&ground.own_program);
        command.args([BUILD, &orders]).current_dir("/");
        command.envs(ground.environment.iter().map(|(name, value)| (name, value)));
        // A group of its own, so that a Ctrl-C at the terminal is for this process to answer.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(failed)?;
        let (lifeline, stdout) = (child.stdin.take(), child.stdout.take());
        let mut stdout = BufReader::new(stdout.expect("standard output was piped"));
        let mut word = String::new();
        stdout.by_ref().take(WORD_BYTES_MAX).read_line(&mut word).map_err(failed)?;
        let (tell, hear) = channel();
        std::thread::spawn(move || {
            let mut word = String::new();
            if stdout.take(WORD_BYTES_MAX).read_line(&mut word).is_ok() {
                // Nobody hears it who has ended the yard already.
                drop(tell.send(word));
            }
        });
        let mut yard = Self { child, lifeline, word: hear };
        match word.trim_end() {
            CLOSED => Ok(yard),
            "" => {
                let status = yard.end().map_err(failed)?;
                Err(EnclosureError::NoNamespaces { why: format!("it ended with {status}") })
            }
            why => Err(EnclosureError::NoNamespaces { why: why.to_owned() }),
        }
    }

    /// Returns how the keeper ended, if he did; what else runs in the yard still does.
    pub fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        let Ok(word) = self.word.try_recv() else { return self.child.try_wait() };
        Ok(Some(status_of(&word)))
    }

    /// Waits until the keeper ended; what else runs in the yard still does.
    pub fn wait(&mut self) -> std::io::Result<ExitStatus> {
        match self.word.recv() {
            Ok(word) => Ok(status_of(&word)),
            // It ended without a word.
            Err(_) => self.child.wait(),
        }
    }

    /// Returns the number of the yard's first process on the host.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Asks the keeper to end by himself.
    pub fn stop(&mut self) {
        if let Some(lifeline) = &mut self.lifeline {
            // Who does not hear it has ended.
            drop(lifeline.write_all(STOP));
        }
    }

    /// Ends everything in the yard, and waits until it has.
    pub fn end(&mut self) -> std::io::Result<ExitStatus> {
        drop(self.lifeline.take());
        self.child.wait()
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        // Who cannot be waited for has ended.
        drop(self.end());
    }
}

/// Reads how the keeper ended, as it is told.
fn status_of(word: &str) -> ExitStatus {
    let code = word.trim_end().strip_prefix(ENDED).and_then(|code| code.trim().parse().ok());
    ExitStatus::from_raw(code.unwrap_or(i32::from(FAILED)) << 8)
}

/// Lives one of the lives in a yard, if the command line says so; else returns at once.
pub(crate) fn enter(arguments: &[OsString]) -> Option<ExitCode> {
    let [_, life, orders, rest @ ..] = arguments else { return None };
    let life = life.to_str().filter(|life| [BUILD, KEEP, INSIDE, HOLD, JOIN].contains(life))?;
    let ended = match (life, ground_of(orders)) {
        (JOIN, _) => join::join(orders, rest),
        (HOLD, _) => keep::hold(),
        (_, Err(refused)) => Err(refused),
        (BUILD, Ok(ground)) => keep::build(&ground),
        (KEEP, Ok(ground)) => keep::keep(&ground),
        (_, Ok(ground)) => keep::inside(&ground),
    };
    Some(ended.unwrap_or_else(|refused| {
        _ = writeln!(std::io::stderr(), "lifeboat: {refused}");
        ExitCode::from(FAILED)
    }))
}

fn ground_of(orders: &OsString) -> Result<Ground, Refused> {
    serde_json::from_str(orders.to_str().unwrap_or_default()).map_err(refused("read the orders"))
}

/// Returns the command for another life of this program.
fn myself(ground: &Ground, life: &str) -> Result<Command, Refused> {
    let text = serde_json::to_string(ground).map_err(refused("pass the orders on"))?;
    let mut command = Command::new(&ground.own_program);
    command.args([life, &text]);
    Ok(command)
}

/// Says a word on standard output, for whoever started this life.
fn say(word: &str) -> Result<(), Refused> {
    let mut out = std::io::stdout();
    writeln!(out, "{word}").and_then(|()| out.flush()).map_err(refused("answer"))
}

/// Returns a path of the host below another root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
