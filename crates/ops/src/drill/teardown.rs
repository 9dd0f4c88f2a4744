//! Whether anything of a drill is left.
//!
//! Whoever is in a yard has mounts of it, so that its processes are found by their mounts, whatever they are called and
//! whoever started them. Ports are those of a network of its own, which ends with the last process in it.
//!
//! The kernel gives the number of a namespace that ended to the next one. So it counts as left only if somebody is in it who was
//! there before, or is in the yard.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lifeboat_model::{Outcome, Timestamp};
use serde::{Deserialize, Serialize};

/// How many of what is left are named.
const NAMED_MAX: usize = 20;

/// How often it is tried to remove what a process that is ending may still write to.
const ATTEMPTS_MAX: u32 = 20;

/// The namespaces by which somebody would still be in a yard.
const NAMESPACES: [&str; 3] = ["mnt", "net", "pid"];

/// Who was in a yard, and in which namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    processes: BTreeSet<u32>,
    namespaces: BTreeSet<PathBuf>,
    /// Everybody on the host then.
    alive: BTreeSet<Process>,
}

/// A process, told from a later one of its number by when it began, in the kernel's ticks.
type Process = (u32, u64);

/// What was looked for once a drill was over, and what was found. It is only had by looking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teardown {
    /// When it was looked.
    looked: Timestamp,
    /// How many processes were in the yard when it was ended.
    processes: u64,
    /// How many namespaces they had.
    namespaces: u64,
    /// What is still there: processes, namespaces, mounts, files.
    left: Vec<String>,
}

impl Teardown {
    /// Looks what of a yard is left.
    pub(crate) fn look(place: &Path, before: &Seen, now: Timestamp) -> Self {
        let after = Seen::in_yard(place);
        let mut left: Vec<_> =
            after.processes.iter().map(|process| format!("process {process}")).collect();
        let remains = |process: &u32| {
            after.processes.contains(process)
                || begun(*process).is_some_and(|begun| before.alive.contains(&(*process, begun)))
        };
        let remaining = processes().into_iter().filter(remains);
        let used: BTreeSet<_> = remaining.flat_map(namespaces_of).collect();
        let kept = before.namespaces.union(&after.namespaces).filter(|it| used.contains(*it));
        left.extend(kept.map(|namespace| format!("namespace {}", namespace.display())));
        let place_text = place.display().to_string();
        match fs::read_to_string("/proc/self/mountinfo") {
            Ok(mounts) => {
                let mounts = mounts.lines().filter(|line| line.contains(&place_text));
                left.extend(mounts.map(|line| format!("mount {line}")));
            }
            // What cannot be looked for is not known to be gone.
            Err(error) => left.push(format!("mount of it, perhaps: nobody can look: {error}")),
        }
        if place.symlink_metadata().is_ok() {
            left.push(format!("files in {}", place.display()));
        }
        left.truncate(NAMED_MAX);
        let (processes, namespaces) = (before.processes.len(), before.namespaces.len());
        let (processes, namespaces) = (processes as u64, namespaces as u64);
        Self { looked: now, processes, namespaces, left }
    }

    /// Returns when it was looked.
    pub const fn looked(&self) -> Timestamp {
        self.looked
    }

    /// Returns how many processes and namespaces were there before.
    pub const fn ended(&self) -> (u64, u64) {
        (self.processes, self.namespaces)
    }

    /// Returns what is still there.
    pub fn left(&self) -> &[String] {
        &self.left
    }

    /// Returns whether nothing is left.
    pub const fn outcome(&self) -> Outcome {
        if self.left.is_empty() { Outcome::Passed } else { Outcome::Failed }
    }
}

impl Seen {
    /// Looks who is in a yard.
    pub(crate) fn in_yard(place: &Path) -> Self {
        let place = place.display().to_string();
        let mut seen = Self::default();
        for process in processes() {
            seen.alive.extend(begun(process).map(|begun| (process, begun)));
            let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo"));
            if mounts.is_ok_and(|mounts| mounts.contains(&place)) {
                seen.processes.insert(process);
                seen.namespaces.extend(namespaces_of(process));
            }
        }
        for own in namespaces_of(std::process::id()) {
            seen.namespaces.remove(&own);
        }
        seen
    }
}

/// Removes the place of a yard in which nothing runs any more; looking tells whether it is gone.
pub(crate) fn remove(place: &Path) {
    for _ in 0..ATTEMPTS_MAX {
        match fs::remove_dir_all(place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::yield_now(),
            _ => return,
        }
    }
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn namespaces_of(process: u32) -> Vec<PathBuf> {
    let link = |name: &&str| fs::read_link(format!("/proc/{process}/ns/{name}")).ok();
    NAMESPACES.iter().filter_map(link).collect()
}

/// Returns when a process began: the twenty-second field of its `stat`, see proc_pid_stat(5). Its name, which may hold anything,
/// ends at the last bracket.
fn begun(process: u32) -> Option<u64> {
    const AFTER_NAME: usize = 19;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(AFTER_NAME)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_left_are_named() {
        let home = tempfile::tempdir().unwrap();
        let (place, now) = (home.path().join("place"), Timestamp::UNIX_EPOCH);
        let clean = Teardown::look(&place, &Seen::default(), now);
        assert_eq!((clean.outcome(), clean.left()), (Outcome::Passed, &[][..]));
        fs::create_dir(&place).unwrap();
        let left = Teardown::look(&place, &Seen::default(), now);
        assert_eq!(left.outcome(), Outcome::Failed);
        assert_eq!(left.left(), [format!("files in {}", place.display())]);
    }

    #[test]
    fn a_namespace_that_somebody_is_still_in_is_named() {
        let home = tempfile::tempdir().unwrap();
        let own = std::process::id();
        let seen = |began: u64| Seen {
            processes: BTreeSet::from([1]),
            namespaces: BTreeSet::from([namespaces_of(own).remove(0)]),
            alive: BTreeSet::from([(own, began)]),
        };
        let look =
            |seen: &Seen| Teardown::look(&home.path().join("place"), seen, Timestamp::UNIX_EPOCH);
        let began = begun(own).unwrap();
        let looked = look(&seen(began));
        assert_eq!((looked.ended(), looked.left().len()), ((1, 1), 1));
        let later = look(&seen(began + 1));
        assert_eq!(later.left().len(), 0, "whoever came later is in another one of that number");
    }
}
