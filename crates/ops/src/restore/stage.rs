//! Directories beside the live paths in which a restore in place is prepared, and the swap.
//!
//! # Invariants
//!
//! - A live path holds its old state or the restored one, never a part of either; between the two
//!   renames of its swap it is absent.
//! - What a live path held keeps its bytes under its name with a suffix; nothing is replaced, and
//!   nothing that was live is ever in a prepared directory, so those can be removed at any time.
//!
//! # Crash consistency
//!
//! A kill before the swap leaves the live paths as they were, and hidden directories beside them
//! which the next restore in place of the same site removes. A kill within the swap leaves each path
//! old, restored, or absent with its old state aside; the next restore in place completes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use lifeboat_model::instant::compact_instant;
use lifeboat_model::{SiteName, Timestamp};
use lifeboat_tiers::durable;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::OpsError;

/// Where the paths of a restore in place are prepared; removed when dropped.
#[derive(Debug)]
pub(super) struct Stage {
    places: BTreeMap<PathBuf, Place>,
    suffix: String,
}

/// Where one path is prepared.
#[derive(Debug)]
struct Place {
    /// The name that is swapped: the path itself, or the topmost directory above it that is missing.
    top: PathBuf,
    /// The prepared directory, which stands for the root.
    root: PathBuf,
}

impl Place {
    fn of(path: &Path, site: &SiteName) -> Self {
        let mut top = path;
        let mut above = top.parent().unwrap_or(top);
        while !above.is_dir() && above.parent().is_some() {
            top = above;
            above = top.parent().unwrap_or(top);
        }
        let root = above.join(format!(".lifeboat-restoring-{site}"));
        Self { top: top.to_owned(), root }
    }

    /// Returns where the name lies once it is restored.
    fn restored(&self) -> PathBuf {
        self.root.join(self.top.strip_prefix("/").unwrap_or(&self.top))
    }
}

impl Stage {
    /// Makes the directories for `paths`; what is there is to be kept under its name and `suffix`.
    pub(super) fn prepare(
        paths: &[PathBuf],
        site: &SiteName,
        suffix: &str,
    ) -> Result<Self, OpsError> {
        let places: BTreeMap<_, _> =
            paths.iter().map(|path| (path.clone(), Place::of(path, site))).collect();
        let stage = Self { places, suffix: suffix.to_owned() };
        for root in stage.roots() {
            begin_anew(root).map_err(failed("prepare", root))?;
        }
        Ok(stage)
    }

    fn roots(&self) -> BTreeSet<&Path> {
        self.places.values().map(|place| place.root.as_path()).collect()
    }

    /// Returns the directory that stands for the root while one of the paths is restored.
    pub(super) fn root_of(&self, path: &Path) -> &Path {
        self.places.get(path).map_or(Path::new("/"), |place| &place.root)
    }

    /// Swaps what was restored into place, all of it or nothing, and returns what was kept aside.
    /// A path of which nothing was restored stays as it is.
    pub(super) fn swap(&self) -> Result<Vec<PathBuf>, OpsError> {
        let tops: BTreeMap<_, _> =
            self.places.values().map(|place| (&place.top, place.restored())).collect();
        let mut swapped: Vec<Swapped> = Vec::new();
        for (top, restored) in tops {
            if restored.symlink_metadata().is_err() {
                continue;
            }
            match swap_one(top, &restored, &self.suffix) {
                Ok(done) => swapped.push(done),
                Err(source) => {
                    for done in swapped.iter().rev() {
                        done.undo().map_err(failed("put back", &done.live))?;
                    }
                    return Err(failed("swap", top)(source));
                }
            }
        }
        Ok(swapped.into_iter().filter_map(|done| done.aside).collect())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for root in self.roots() {
            if let Err(error) = std::fs::remove_dir_all(root) {
                tracing::warn!(path = %root.display(), %error, "It could not be removed.");
            }
        }
    }
}

/// A live path that holds its restored state.
struct Swapped {
    live: PathBuf,
    restored: PathBuf,
    aside: Option<PathBuf>,
}

impl Swapped {
    fn undo(&self) -> io::Result<()> {
        rename(&self.live, &self.restored)?;
        self.aside.as_ref().map_or(Ok(()), |aside| rename(aside, &self.live))
    }
}

/// Gives a live path its restored state and keeps the old one aside.
fn swap_one(live: &Path, restored: &Path, suffix: &str) -> io::Result<Swapped> {
    let aside = set_aside(live, suffix)?;
    if let Err(error) = rename(restored, live) {
        if let Some(aside) = &aside {
            rename(aside, live)?;
        }
        return Err(error);
    }
    Ok(Swapped { live: live.to_owned(), restored: restored.to_owned(), aside })
}

/// Keeps what is at a path, if anything is, under its name and `suffix`; returns where that is.
pub(crate) fn set_aside(live: &Path, suffix: &str) -> io::Result<Option<PathBuf>> {
    if live.symlink_metadata().is_err() {
        return Ok(None);
    }
    let mut name = live.as_os_str().to_owned();
    name.push(suffix);
    rename(live, Path::new(&name))?;
    Ok(Some(PathBuf::from(name)))
}

/// Returns what the names of what a restore keeps aside end with.
pub(crate) fn suffix_of(started: Timestamp) -> String {
    format!(".before-{}", compact_instant(started))
}

/// Makes an empty directory, removing what a killed restore left.
fn begin_anew(directory: &Path) -> io::Result<()> {
    if directory.symlink_metadata().is_ok() {
        std::fs::remove_dir_all(directory)?;
    }
    DirBuilder::new().mode(0o700).create(directory)
}

/// Renames durably, and never onto something that is there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?;
    durable::sync_directory(to.parent().unwrap_or(Path::new("/")))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpsError {
    let path = path.to_owned();
    move |source| OpsError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SUFFIX: &str = ".before";

    fn site() -> SiteName {
        "shop".parse().unwrap()
    }

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        durable::replace(path, text.as_bytes(), 0o600).unwrap();
    }

    /// Returns where a path lies while it is restored.
    fn prepared(stage: &Stage, path: &Path) -> PathBuf {
        stage.root_of(path).join(path.strip_prefix("/").unwrap())
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn what_is_there_is_exchanged_and_kept() {
        let home = tempfile::tempdir().unwrap();
        let (live, missing) = (home.path().join("media"), home.path().join("www/app/static"));
        put(&live.join("a"), "spoilt");
        let paths = [live.clone(), missing.clone()];
        let stage = Stage::prepare(&paths, &site(), SUFFIX).unwrap();
        assert_eq!(stage.root_of(&live), stage.root_of(&missing));
        put(&prepared(&stage, &live).join("a"), "good");
        put(&prepared(&stage, &missing).join("b"), "new");
        assert_eq!(read(&live.join("a")), "spoilt", "nothing is touched before the swap");
        let aside = stage.swap().unwrap();
        drop(stage);
        assert_eq!(aside, [home.path().join("media.before")]);
        assert_eq!(read(&live.join("a")), "good");
        assert_eq!(read(&missing.join("b")), "new");
        assert_eq!(read(&aside[0].join("a")), "spoilt");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3);
    }

    #[test]
    fn all_are_swapped_or_none() {
        let home = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| home.path().join(name));
        for path in &paths {
            put(path, "old");
        }
        put(&home.path().join("b.before"), "older");
        let stage = Stage::prepare(&paths, &site(), SUFFIX).unwrap();
        for path in &paths {
            put(&prepared(&stage, path), "new");
        }
        assert!(stage.swap().is_err());
        drop(stage);
        for path in &paths {
            assert_eq!(read(path), "old");
        }
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_path_of_which_nothing_was_restored_stays() {
        let home = tempfile::tempdir().unwrap();
        let paths = [home.path().join("a")];
        put(&paths[0], "old");
        let stage = Stage::prepare(&paths, &site(), SUFFIX).unwrap();
        assert!(stage.swap().unwrap().is_empty());
        assert_eq!(read(&paths[0]), "old");
    }

    #[test]
    fn what_a_killed_restore_left_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let paths = [home.path().join("a")];
        put(&home.path().join(".lifeboat-restoring-shop/half"), "half");
        drop(Stage::prepare(&paths, &site(), SUFFIX).unwrap());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
