//! Restoring files.

use std::path::{Path, PathBuf};

use lifeboat_model::instant::compact_instant;
use lifeboat_repository::Snapshot;
use lifeboat_repository::restore::{self, Existing, Remark, RestoreOptions, RestoreReport};
use lifeboat_tiers::durable;

use super::{Done, Restoration};
use crate::error::OpsError;

/// Says what a restore in place replaces.
pub(super) fn replaced(snapshot: &Snapshot) -> (String, Vec<String>) {
    let there = snapshot.paths.iter().filter(|path| Path::new(path).symlink_metadata().is_ok());
    (snapshot.paths.join(", "), there.cloned().collect())
}

impl Restoration<'_> {
    pub(super) fn files_into(&self, directory: &Path) -> Result<Done, OpsError> {
        let options = RestoreOptions {
            strict_owner: self.options.strict_owner,
            ..RestoreOptions::new(directory)
        };
        Ok(Done { files: Some(self.restore(&options)?), ..Done::default() })
    }

    fn restore(&self, options: &RestoreOptions) -> Result<RestoreReport, OpsError> {
        let (tier, snapshot) = (self.chosen.tier, &self.chosen.snapshot);
        let (events, cancel) = (self.events, self.cancel);
        Ok(restore::restore(&tier.repository, snapshot, options, events, cancel)?)
    }

    /// Moves what is there aside, all of it or nothing, then restores in its place.
    pub(super) fn files_in_place(&self) -> Result<Done, OpsError> {
        let suffix = format!(".before-{}", compact_instant(self.started));
        let paths: Vec<PathBuf> = self.chosen.snapshot.paths.iter().map(PathBuf::from).collect();
        if paths.iter().any(|path| path.parent().is_none()) {
            let what = "restoring `/` in place; restore it to a directory, which".to_owned();
            return Err(OpsError::NotBuilt { what });
        }
        let kept_aside = move_aside(&paths, &suffix)?;
        let mut all = RestoreReport::default();
        for path in &paths {
            let options = RestoreOptions {
                existing: Existing::Overwrite,
                strict_owner: self.options.strict_owner,
                durable: true,
                ..RestoreOptions::new("/").subpath(path)
            };
            match self.restore(&options) {
                Ok(report) => add(&mut all, report),
                // A path that was not there at the backup is not in the snapshot.
                Err(OpsError::Repository(lifeboat_repository::RepositoryError::NoSuchPath {
                    ..
                })) => all.failed.push(Remark {
                    path: path.clone(),
                    what: "it is not in the snapshot".to_owned(),
                }),
                Err(error) => return Err(error),
            }
        }
        Ok(Done { files: Some(all), kept_aside, ..Done::default() })
    }
}

fn add(all: &mut RestoreReport, one: RestoreReport) {
    all.files += one.files;
    all.directories += one.directories;
    all.others += one.others;
    all.bytes += one.bytes;
    all.bytes_fetched += one.bytes_fetched;
    all.warnings.extend(one.warnings);
    all.warnings_more += one.warnings_more;
    all.owners_not_set += one.owners_not_set;
    all.failed.extend(one.failed);
    all.strict_owner = one.strict_owner;
}

/// Renames paths to names with a suffix; if one cannot be, those before it get their names back.
fn move_aside(paths: &[PathBuf], suffix: &str) -> Result<Vec<PathBuf>, OpsError> {
    let mut moved: Vec<(PathBuf, PathBuf)> = Vec::new();
    for path in paths {
        if path.symlink_metadata().is_err() {
            continue;
        }
        let mut aside = path.clone().into_os_string();
        aside.push(suffix);
        let aside = PathBuf::from(aside);
        match rename(path, &aside) {
            Ok(()) => moved.push((path.clone(), aside)),
            Err(source) => {
                for (path, aside) in moved.iter().rev() {
                    rename(aside, path).map_err(failed("put back", path))?;
                }
                return Err(failed("move aside", path)(source));
            }
        }
    }
    Ok(moved.into_iter().map(|(_, aside)| aside).collect())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> OpsError {
    let path = path.to_owned();
    move |source| OpsError::Io { action, path, source }
}

/// Renames durably, and never onto something that is there.
fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?;
    durable::sync_directory(to.parent().unwrap_or(Path::new("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn all_are_moved_or_none() {
        let home = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "missing"].map(|name| home.path().join(name));
        fs::create_dir(&paths[0]).unwrap();
        fs::create_dir(&paths[1]).unwrap();
        fs::create_dir(home.path().join("b.old")).unwrap();
        assert!(move_aside(&paths, ".old").is_err());
        assert!(paths[0].exists() && paths[1].exists());
        fs::remove_dir(home.path().join("b.old")).unwrap();
        let aside = move_aside(&paths, ".old").unwrap();
        assert_eq!(aside, [home.path().join("a.old"), home.path().join("b.old")]);
        assert!(!paths[0].exists() && aside[1].exists());
    }
}
