//! What calls an archive command: a stand-in for PostgreSQL's archiver, over a directory that has of a cluster
//! only what archiving looks at.
//!
//! The archiver (`src/backend/postmaster/pgarch.c`) hands over one file after the other, each by `system()`, and
//! renames its mark from `.ready` to `.done`. So does this; the server itself would be one more thing that runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::engine::{give_away, make_directory};
use crate::failure::{BenchError, file, system};
use crate::launch::Launcher;
use crate::place::remove;

/// What archiving looks at beside the log.
const OF_A_CLUSTER: [&str; 2] = ["PG_VERSION", "global/pg_control"];

/// A directory with segments of a log that wait for being archived.
#[derive(Debug)]
pub struct StandIn {
    directory: PathBuf,
    segments: Vec<String>,
}

impl StandIn {
    /// Makes it at `directory` from the cluster in `data`: the last segments before `end`, and that.
    pub fn make(
        directory: PathBuf,
        data: &Path,
        (count, end): (usize, &str),
    ) -> Result<Self, BenchError> {
        remove(&directory)?;
        for name in ["global", "pg_wal/archive_status"] {
            make_directory(&directory.join(name))?;
        }
        for name in OF_A_CLUSTER {
            copy(&data.join(name), &directory.join(name))?;
        }
        let log = data.join("pg_wal");
        let mut segments = Vec::new();
        for entry in fs::read_dir(&log).map_err(file("look into", &log))? {
            let name = entry.map_err(file("look into", &log))?.file_name();
            let name = name.to_string_lossy().into_owned();
            let is_segment = name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            segments.extend((is_segment && name.as_str() <= end).then_some(name));
        }
        segments.sort_unstable();
        let surplus = segments.len().checked_sub(count).ok_or_else(|| BenchError::WrongWork {
            racer: "the server",
            what: format!("it kept {} segments of its log, not {count}", segments.len()),
        })?;
        segments.drain(..surplus);
        for segment in &segments {
            copy(&log.join(segment), &directory.join("pg_wal").join(segment))?;
        }
        give_away(&directory)?;
        Ok(Self { directory, segments })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Returns how many segments there are.
    pub const fn count(&self) -> usize {
        self.segments.len()
    }

    fn mark(&self, segment: &str, mark: &str) -> PathBuf {
        self.directory.join(format!("pg_wal/archive_status/{segment}.{mark}"))
    }

    /// Marks the first `count` segments as ready, as if none were archived.
    pub fn make_ready(&self, count: usize) -> Result<(), BenchError> {
        for (index, segment) in self.segments.iter().enumerate() {
            remove(&self.mark(segment, "done"))?;
            let ready = self.mark(segment, "ready");
            if index < count {
                fs::File::create(&ready).map_err(file("make", &ready))?;
            } else {
                remove(&ready)?;
            }
        }
        give_away(&self.directory.join("pg_wal/archive_status"))
    }

    /// Archives the first `count` segments by a command; returns what each call took.
    pub fn archive(
        &self,
        command: &str,
        (count, log): (usize, &Path),
        launcher: &Launcher,
    ) -> Result<Vec<Duration>, BenchError> {
        let mut took = Vec::new();
        for segment in &self.segments[..count] {
            launcher.check()?;
            let command = command.replace("%p", &format!("pg_wal/{segment}"));
            let said = fs::File::create(log).map_err(file("make", log))?;
            let mut shell = launcher.command("/bin/sh");
            shell.args(["-c", &command]).current_dir(&self.directory);
            shell.stdout(Stdio::null()).stderr(said);
            let watch = Instant::now();
            let status = shell.status().map_err(system("run a shell"))?;
            took.push(watch.elapsed());
            if !status.success() {
                let message = fs::read_to_string(log).unwrap_or_default();
                return Err(BenchError::Failed { command, ending: status.to_string(), message });
            }
            let (ready, done) = (self.mark(segment, "ready"), self.mark(segment, "done"));
            rustix::fs::rename(&ready, &done)
                .map_err(|error| file("rename", &ready)(error.into()))?;
        }
        Ok(took)
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), BenchError> {
    fs::copy(from, to).map(drop).map_err(file("copy", from))
}
