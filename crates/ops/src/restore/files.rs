//! Restoring files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lifeboat_plan::plan::runbook::Extent;
use lifeboat_repository::restore::{self, Existing, Remark, RestoreOptions, RestoreReport};
use lifeboat_repository::{RepositoryError, Snapshot};
use lifeboat_tiers::durable;

use super::stage::{Stage, suffix_of};
use super::{Done, Restoration};
use crate::command::{CommandLine, NO_LIMIT};
use crate::error::OpsError;

/// Directories above what is prepared, which stay where they are made.
const PRIVATE: u32 = 0o700;

/// Says what a restore in place replaces.
pub(super) fn replaced(snapshot: &Snapshot) -> (String, Vec<String>) {
    let there = snapshot.paths.iter().filter(|path| Path::new(path).symlink_metadata().is_ok());
    (snapshot.paths.join(", "), there.cloned().collect())
}

/// Returns how files are restored below a directory.
pub(super) fn below(directory: &Path, options: &super::RestoreOptions) -> RestoreOptions {
    RestoreOptions {
        strict_owner: options.strict_owner,
        selection: options.selection.clone(),
        ..RestoreOptions::new(directory)
    }
}

impl Restoration<'_> {
    pub(super) fn files_into(&self, directory: &Path) -> Result<Done, OpsError> {
        let options = below(directory, self.options);
        Ok(Done { files: Some(self.restore(&options)?), ..Done::default() })
    }

    fn restore(&self, options: &RestoreOptions) -> Result<RestoreReport, OpsError> {
        let (tier, snapshot) = (self.chosen.tier, &self.chosen.snapshot);
        let (events, cancel) = (self.events, self.cancel);
        Ok(restore::restore(&tier.repository, snapshot, options, events, cancel)?)
    }

    /// Restores beside the live paths, then swaps; until then they are untouched.
    pub(super) fn files_in_place(&self) -> Result<Done, OpsError> {
        let suffix = suffix_of(self.started);
        let paths: Vec<PathBuf> = self.chosen.snapshot.paths.iter().map(PathBuf::from).collect();
        if paths.iter().any(|path| path.parent().is_none()) {
            let what = "restoring `/` in place; restore it to a directory, which".to_owned();
            return Err(OpsError::NotBuilt { what });
        }
        let stage = Stage::prepare(&paths, self.site.name(), &suffix)?;
        if self.options.extent == Extent::Missing {
            paths.iter().try_for_each(|path| self.begin_with_what_is_there(path, &stage))?;
        }
        let mut all = RestoreReport::default();
        for path in &paths {
            let options = RestoreOptions {
                existing: Existing::Always,
                strict_owner: self.options.strict_owner,
                durable: true,
                ..RestoreOptions::new(stage.root_of(path)).subpath(path)
            };
            match self.restore(&options) {
                Ok(report) => all.add(report),
                // A path that was not there at the backup is not in the snapshot.
                Err(OpsError::Repository(RepositoryError::NoSuchPath { .. })) => {
                    let what = "it is not in the snapshot".to_owned();
                    all.failed.push(Remark { path: path.clone(), what });
                }
                Err(error) => return Err(error),
            }
        }
        let kept_aside = stage.swap()?;
        Ok(Done { files: Some(all), kept_aside, ..Done::default() })
    }

    /// Copies what is at a live path to where it is prepared, so that only what is missing or differs is fetched, and what
    /// is there besides stays. A copy, as what differs is written into the file, and the old state has to stay as it is.
    fn begin_with_what_is_there(&self, path: &Path, stage: &Stage) -> Result<(), OpsError> {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        let prepared = stage.root_of(path).join(path.strip_prefix("/").unwrap_or(path));
        let above = prepared.parent().unwrap_or(Path::new("/"));
        let failed = |source| OpsError::Io { action: "make", path: above.to_owned(), source };
        durable::create_directories(above, PRIVATE).map_err(failed)?;
        // Owners, modes, times, attributes, links and holes as they are; blocks are shared where the file system can.
        let words = ["cp", "--archive", "--reflink=auto", "--no-target-directory", "--"];
        let words = words.map(OsString::from).into_iter();
        let words = words.chain([path.as_os_str().to_owned(), prepared.into_os_string()]);
        CommandLine::new(words, NO_LIMIT).run(self.cancel)?;
        Ok(())
    }
}
