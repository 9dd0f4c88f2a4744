//! Looking at all entries of an asset: one fingerprint of what the system tells of each.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::pattern::{Case, Decision, Dialect, EntryKind, Patterns, Progress};
use lifeboat_model::{Clock, Timestamp};
use lifeboat_plan::plan::asset::FileSet;
use sha2::{Digest as _, Sha256};

use super::{Fingerprint, Freshness, Sweep};
use crate::backup::left_out;
use crate::error::OpsError;
use crate::wire::Site;

/// How long before a look a change may lie and still share its time with one that comes after: the kernel
/// takes times from its last tick, of which there are at least a hundred a second.
const TICK: Duration = Duration::from_millis(100);

/// How long after the beginning of a look a change can lie that the look sees; times beyond are a clock's that was wrong.
const LOOK_MAX: Duration = Duration::from_mins(10);

/// What of a host is looked at.
#[derive(Debug)]
pub(crate) struct Territory {
    paths: Vec<PathBuf>,
    patterns: Patterns,
    devices: Devices,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Devices {
    All,
    OfThePath,
}

impl Territory {
    /// Returns what a backup of these files reads.
    pub(crate) fn of(site: &Site, files: &FileSet) -> Result<Self, OpsError> {
        let patterns = Patterns::new(Dialect::Plan, Case::Matters, left_out(site, files))?;
        let paths = files.paths.iter().map(|path| path.as_path().to_owned()).collect();
        let devices = if files.one_file_system { Devices::OfThePath } else { Devices::All };
        Ok(Self { paths, patterns, devices })
    }

    /// Returns these paths without what the patterns leave out.
    #[cfg(test)]
    pub(crate) const fn of_paths(paths: Vec<PathBuf>, patterns: Patterns) -> Self {
        Self { paths, patterns, devices: Devices::All }
    }
}

/// Where changes are to be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// Anything in this directory.
    Directory(&'a Path),
    /// This entry of its directory alone.
    Entry(&'a Path),
}

/// Looks at everything; each place is told before it is looked into, so that nothing comes between.
pub(crate) fn sweep(
    territory: &Territory,
    clock: &dyn Clock,
    tell: &mut dyn FnMut(Place<'_>),
) -> Sweep {
    let started = clock.now();
    let mut look = Look { territory, started, digest: Sha256::new(), fresh: false, tell };
    for path in &territory.paths {
        look.path(path);
    }
    let freshness = if look.fresh { Freshness::Fresh } else { Freshness::Settled };
    let fingerprint = Fingerprint(hex::encode(look.digest.finalize()));
    let took = Duration::try_from(clock.now().duration_since(started)).unwrap_or_default();
    Sweep { started, took, fingerprint, freshness }
}

struct Look<'a> {
    territory: &'a Territory,
    started: Timestamp,
    digest: Sha256,
    fresh: bool,
    tell: &'a mut dyn FnMut(Place<'_>),
}

impl Look<'_> {
    /// Looks at a path of the plan, which nothing leaves out.
    fn path(&mut self, path: &Path) {
        // What replaces it by a rename is seen in its directory alone.
        (self.tell)(Place::Entry(path));
        let Some(found) = self.entry(path) else { return };
        if found.is_dir() {
            let progress = self.territory.patterns.progress_to(path);
            self.directory(path, &progress, found.dev());
        }
    }

    /// Looks into a directory, and all below it.
    fn directory(&mut self, path: &Path, progress: &Progress, device: u64) {
        (self.tell)(Place::Directory(path));
        let Ok(entries) = fs::read_dir(path) else {
            self.digest.update(b"unreadable");
            return;
        };
        let mut names: Vec<OsString> =
            entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        names.sort_unstable();
        for name in names {
            let child = path.join(&name);
            let Ok(found) = fs::symlink_metadata(&child) else { continue };
            let kind = if found.is_dir() { EntryKind::Directory } else { EntryKind::Other };
            let patterns = &self.territory.patterns;
            if patterns.judge(progress, &name, kind) == Some(Decision::Matches) {
                continue;
            }
            self.add(&child, &found);
            let stays = self.territory.devices == Devices::All || found.dev() == device;
            if found.is_dir() && stays {
                self.directory(&child, &patterns.enter(progress, &name), device);
            }
        }
        self.digest.update(b"end");
    }

    /// Looks at one entry.
    fn entry(&mut self, path: &Path) -> Option<Metadata> {
        if let Ok(found) = fs::symlink_metadata(path) {
            self.add(path, &found);
            return Some(found);
        }
        self.digest.update(b"missing");
        None
    }

    fn add(&mut self, path: &Path, found: &Metadata) {
        let path = path.as_os_str().as_bytes();
        self.digest.update((path.len() as u64).to_le_bytes());
        self.digest.update(path);
        for number in [found.ino(), u64::from(found.mode()), found.size()] {
            self.digest.update(number.to_le_bytes());
        }
        for number in [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()] {
            self.digest.update(number.to_le_bytes());
        }
        self.digest.update(found.uid().to_le_bytes());
        self.digest.update(found.gid().to_le_bytes());
        self.fresh |= self.is_fresh(found);
    }

    fn is_fresh(&self, found: &Metadata) -> bool {
        let nanoseconds = i32::try_from(found.ctime_nsec()).unwrap_or(0);
        let Ok(changed) = Timestamp::new(found.ctime(), nanoseconds) else { return false };
        let first = self.started.saturating_sub(TICK).unwrap_or(Timestamp::MIN);
        let last = self.started.saturating_add(LOOK_MAX).unwrap_or(Timestamp::MAX);
        (first..last).contains(&changed)
    }
}
