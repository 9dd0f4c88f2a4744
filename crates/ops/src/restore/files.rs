//! Restoring files.

use std::path::{Path, PathBuf};

use lifeboat_model::instant::compact_instant;
use lifeboat_repository::restore::{self, Existing, Remark, RestoreOptions, RestoreReport};
use lifeboat_repository::{RepositoryError, Snapshot};

use super::stage::Stage;
use super::{Done, Restoration};
use crate::error::OpsError;

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
        let suffix = format!(".before-{}", compact_instant(self.started));
        let paths: Vec<PathBuf> = self.chosen.snapshot.paths.iter().map(PathBuf::from).collect();
        if paths.iter().any(|path| path.parent().is_none()) {
            let what = "restoring `/` in place; restore it to a directory, which".to_owned();
            return Err(OpsError::NotBuilt { what });
        }
        let stage = Stage::prepare(&paths, self.site.name(), &suffix)?;
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
}
