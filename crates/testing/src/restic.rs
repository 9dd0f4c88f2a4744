//! The stock `restic`, run on a repository: the judge of what lifeboat writes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::program::{self, ProgramError};

/// A repository, seen through the stock `restic` binary; no cache is used.
///
/// ```no_run
/// let restic = lifeboat_testing::restic::Restic::new("/tmp/repo", "correct horse");
/// restic.init()?;
/// restic.backup("/etc")?;
/// restic.check_read_data()?;
/// # Ok::<(), lifeboat_testing::program::ProgramError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Restic {
    repository: PathBuf,
    password: String,
}

impl Restic {
    /// Names the repository at `repository` that `password` opens.
    pub fn new(repository: impl Into<PathBuf>, password: impl Into<String>) -> Self {
        Self { repository: repository.into(), password: password.into() }
    }

    /// Returns where the repository is.
    pub fn path(&self) -> &Path {
        &self.repository
    }

    /// Returns a command `restic`, ready for its subcommand and arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new("restic");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nonexistent")
            .env("RESTIC_REPOSITORY", &self.repository)
            .env("RESTIC_PASSWORD", &self.password)
            .arg("--no-cache");
        command
    }

    /// Runs `restic` with these arguments; fails unless it ends with 0.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Output, ProgramError> {
        program::run(self.command().args(arguments), b"").map_err(|error| match error {
            ProgramError::Run { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ProgramError::Missing {
                    program: "restic".to_owned(),
                    remedy: "apt-get install restic",
                }
            }
            other => other,
        })
    }

    /// Creates the repository in format version 2.
    pub fn init(&self) -> Result<(), ProgramError> {
        self.run(["init", "--repository-version", "2"]).map(drop)
    }

    /// Backs `path` up and returns the new snapshot's id.
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<String, ProgramError> {
        let arguments = [OsStr::new("backup"), OsStr::new("--json"), path.as_ref().as_os_str()];
        let output = self.run(arguments)?;
        let mut summary = output.stdout.split(|b| *b == b'\n').filter_map(|line| {
            let message: Value = serde_json::from_slice(line).ok()?;
            message["snapshot_id"].as_str().map(str::to_owned)
        });
        summary.next_back().ok_or_else(|| unexpected("backup", "no snapshot_id in its answer"))
    }

    /// Checks the repository and reads all of its data.
    pub fn check_read_data(&self) -> Result<(), ProgramError> {
        self.run(["check", "--read-data"]).map(drop)
    }

    /// Restores `snapshot` (an id or `latest`) below `target`.
    pub fn restore(&self, snapshot: &str, target: impl AsRef<Path>) -> Result<(), ProgramError> {
        let target = target.as_ref().as_os_str();
        self.run([OsStr::new("restore"), snapshot.as_ref(), OsStr::new("--target"), target])
            .map(drop)
    }

    /// Returns the snapshots as restic describes them.
    pub fn snapshots(&self) -> Result<Vec<Value>, ProgramError> {
        let output = self.run(["snapshots", "--json"])?;
        serde_json::from_slice(&output.stdout)
            .map_err(|error| unexpected("snapshots", &error.to_string()))
    }

    /// Returns the entries of `snapshot` as restic describes them, without the snapshot itself.
    pub fn ls(&self, snapshot: &str) -> Result<Vec<Value>, ProgramError> {
        let output = self.run(["ls", "--json", snapshot])?;
        let lines = output.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let entries = lines.map(serde_json::from_slice).collect::<Result<Vec<Value>, _>>();
        let entries = entries.map_err(|error| unexpected("ls", &error.to_string()))?;
        Ok(entries.into_iter().filter(|entry| entry["struct_type"] == "node").collect())
    }

    /// Returns what `restic cat` prints, for instance of `["snapshot", id]` or `["blob", id]`.
    pub fn cat<S: AsRef<OsStr>>(
        &self,
        what: impl IntoIterator<Item = S>,
    ) -> Result<Vec<u8>, ProgramError> {
        let mut arguments = vec![OsStr::new("cat").to_owned()];
        arguments.extend(what.into_iter().map(|word| word.as_ref().to_owned()));
        Ok(self.run(arguments)?.stdout)
    }

    /// Returns the bytes of the file at `path` in `snapshot`.
    pub fn dump(&self, snapshot: &str, path: &str) -> Result<Vec<u8>, ProgramError> {
        Ok(self.run(["dump", snapshot, path])?.stdout)
    }
}

fn unexpected(subcommand: &str, message: &str) -> ProgramError {
    ProgramError::Unexpected {
        program: format!("restic {subcommand}"),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{self, Sample};

    #[test]
    fn restic_gives_back_what_it_was_given() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        Sample::everything(7).build(&source).unwrap();
        let before = tree::capture(&source).unwrap();

        let restic = Restic::new(dir.path().join("repo"), "correct horse");
        restic.init().unwrap();
        let id = restic.backup(&source).unwrap();
        restic.check_read_data().unwrap();
        assert_eq!(restic.snapshots().unwrap().len(), 1);
        assert!(!restic.ls(&id).unwrap().is_empty());
        restic.restore(&id, &target).unwrap();

        let restored = target.join(source.strip_prefix("/").unwrap());
        // restic 0.14 does not restore sparseness unless asked.
        let after = tree::capture(&restored).unwrap();
        assert_eq!(before.differences(&after, &[tree::Aspect::Holes]), []);
    }

    #[test]
    fn a_wrong_password_is_an_error_with_restics_words() {
        let dir = tempfile::tempdir().unwrap();
        let restic = Restic::new(dir.path(), "right");
        restic.init().unwrap();
        let error = Restic::new(dir.path(), "wrong").snapshots().unwrap_err();
        assert!(error.to_string().contains("wrong password"), "{error}");
    }
}
