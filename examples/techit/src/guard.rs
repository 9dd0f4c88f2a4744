//! Ends what a platform left running and removes its folder, however whoever staged it ends.
//!
//! A shell waits for the end of its input, which the kernel brings about even if its holder is killed. A folder whose
//! shell was killed too is found by the [next run](sweep): nobody holds its lock any more.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::failure::{StageError, file, system};

/// Ends processes by the files in which they say who they are, twice: what was starting meanwhile is seen then.
const GUARD: &str = r#"
cat >/dev/null
for _ in 1 2; do
  for file in "$1"/host/run/techit/*.pid "$1"/host/var/lib/postgresql/main/postmaster.pid; do
    [ -e "$file" ] || continue
    process=$(head -n 1 "$file")
    kill -KILL "$process" $(pgrep -P "$process") 2>/dev/null
    rm -f "$file"
    sleep 0.2
  done
done
[ "$2" = keep ] || until rm -rf "$1" 2>/dev/null; do sleep 0.1; done
"#;

/// Where a folder says that somebody holds it.
const LOCK: &str = "held";

/// Whether a folder outlasts its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// It is removed.
    Goes,
    /// It stays, without anything that runs.
    Stays,
}

/// Watches over a folder; when it is dropped, nothing runs there any more.
#[derive(Debug)]
pub struct Guard {
    shell: Child,
    _held: File,
}

impl Guard {
    /// Watches over a folder from now on.
    pub fn over(root: &Path, folder: Folder) -> Result<Self, StageError> {
        let lock = root.join(LOCK);
        let held = File::create(&lock).map_err(file("make", &lock))?;
        held.try_lock().map_err(|error| file("hold", &lock)(error.into()))?;
        Ok(Self { shell: shell(root, folder, Stdio::piped())?, _held: held })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // There is nobody to tell if it could not be waited for.
        drop(self.shell.wait());
    }
}

fn shell(root: &Path, folder: Folder, input: Stdio) -> Result<Child, StageError> {
    let word = if folder == Folder::Stays { "keep" } else { "remove" };
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", GUARD, "guard"]).arg(root).arg(word).stdin(input);
    // A group of its own, so that Ctrl-C reaches only the program that holds its input.
    shell.process_group(0).spawn().map_err(system("start a shell"))
}

/// Ends and removes what runs that were killed left below a directory under names that begin like this.
pub fn sweep(below: &Path, prefix: &str) -> Result<(), StageError> {
    for root in left(below, prefix)? {
        let mut shell = shell(&root, Folder::Goes, Stdio::null())?;
        shell.wait().map_err(system("wait for a shell"))?;
    }
    Ok(())
}

/// Finds folders that nobody holds.
fn left(below: &Path, prefix: &str) -> Result<Vec<PathBuf>, StageError> {
    let mut left = Vec::new();
    for entry in fs::read_dir(below).map_err(file("list", below))? {
        let entry = entry.map_err(file("list", below))?;
        let lock = File::open(entry.path().join(LOCK));
        let is_ours = entry.file_name().to_string_lossy().starts_with(prefix);
        // One that has no lock yet is being made, or is of somebody else.
        if let (true, Ok(lock)) = (is_ours, lock)
            && lock.try_lock().is_ok()
        {
            left.push(entry.path());
        }
    }
    Ok(left)
}
