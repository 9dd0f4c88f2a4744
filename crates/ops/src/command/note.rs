//! Notes of the commands that run, so that whoever comes after a process that was killed finds what it left running.
//!
//! # Crash consistency
//!
//! A note is written once its command began and removed once it ended. It need not survive the system, which no command does
//! either. A kill in the moment between the beginning and the note leaves a command that nobody knows of.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use lifeboat_tiers::durable;
use serde::{Deserialize, Serialize};

use crate::process::ProcessMark;
use crate::surroundings::Surroundings;

/// Only the owner of the state may look.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// Where it is noted which commands run that belong to one step or service.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    /// A directory that holds nothing else; it need not be there.
    pub(crate) directory: PathBuf,
    /// Whose commands they are.
    pub(crate) of: String,
}

/// A command that ran when it was noted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Noted {
    /// Of which step or service.
    pub(crate) of: String,
    /// What it is called.
    pub(crate) program: String,
    /// Its process, which leads a group of its own.
    pub(crate) process: ProcessMark,
}

/// A note of a command that runs; removed when dropped.
#[derive(Debug)]
pub(crate) struct Note(PathBuf);

impl Drop for Note {
    fn drop(&mut self) {
        // One that stays tells of a process that is not there any more, and does no harm.
        let _ = fs::remove_file(&self.0);
    }
}

impl Notes {
    /// Takes note of a command that began.
    pub(super) fn take(&self, process: u32, program: &str) -> io::Result<Note> {
        let (of, program) = (self.of.clone(), program.to_owned());
        let noted = Noted { of, program, process: ProcessMark::of(process)? };
        let bytes = serde_json::to_vec(&noted)?;
        let path = self.directory.join(process.to_string());
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(durable::PRIVATE);
        let mut file = match options.open(&path) {
            // Whoever made the directory before notes sooner.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                durable::create_directories(&self.directory, PRIVATE_DIRECTORY)?;
                options.open(&path)?
            }
            other => other?,
        };
        file.write_all(&bytes)?;
        Ok(Note(path))
    }
}

/// Why what a killed process left running goes on.
#[derive(Debug)]
pub(crate) enum Left {
    /// What was noted cannot be read.
    Unread(io::Error),
    /// It cannot be ended; its note stays.
    Hangs(Noted),
}

/// Ends what was noted below a directory and still runs, with all that it started; returns what that was. A note that was
/// cut short by a kill is told of, and ends nothing: its process number alone may be another's by now.
pub(crate) fn end_left(directory: &Path, surroundings: &Surroundings) -> Result<Vec<Noted>, Left> {
    let pause = |length| {
        // A clock of the system sleeps by the runtime in which it is asked to.
        surroundings.runtime.block_on(async { surroundings.clock.sleep(length).await });
    };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Left::Unread)?,
    };
    let mut ended = Vec::new();
    for entry in entries {
        let path = entry.map_err(Left::Unread)?.path();
        let bytes = fs::read(&path).map_err(Left::Unread)?;
        match serde_json::from_slice::<Noted>(&bytes) {
            Ok(noted) if noted.process.runs() => {
                if !noted.process.end_group(pause) {
                    return Err(Left::Hangs(noted));
                }
                ended.push(noted);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error, note = %path.display(),
                "A kill cut the note of a command short: whether that still runs is not known. Its process had the number that the note is called by."
            ),
        }
        drop(Note(path));
    }
    Ok(ended)
}
