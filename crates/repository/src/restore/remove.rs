//! What is in the target and not in the snapshot.
//!
//! # Invariants
//!
//! - Only what was asked for is removed: below the restored path, and as far as patterns select it.
//! - A directory of which the snapshot's entries are not all known loses nothing.
//! - No symbolic link is followed, and nothing on another file system is touched.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use lifeboat_model::pattern::EntryKind;
use lifeboat_model::{Cancel, Cancelled};
use rustix::fs::FileType;

use super::entries::{DirNumber, Sort, Wanted};
use super::plan::RestorePlan;
use super::select::{Verdict, Within};
use super::target::{self, Folder, Target};

/// Something that the snapshot does not have.
#[derive(Debug)]
pub(super) struct Unexpected {
    pub directory: DirNumber,
    pub name: OsString,
    /// Its path, as it would be in the snapshot.
    pub path: PathBuf,
}

/// Looks for what the snapshot does not have.
pub(super) fn unexpected(
    plan: &RestorePlan,
    target: &Target,
    cancel: &Cancel,
) -> Result<Vec<Unexpected>, Cancelled> {
    let mut found = Vec::new();
    for (directory, within) in restored_directories(plan) {
        cancel.check()?;
        if plan.unclear.contains(&directory) {
            continue;
        }
        // One that is not there, or that is a link, holds nothing of ours.
        let Ok(folder) = target.directory(&plan.entries, directory) else { continue };
        let Ok(names) = folder.names() else { continue };
        let expected = children(plan, directory);
        let path = plan.entries.path(directory);
        for name in names {
            if expected.contains(name.as_os_str()) {
                continue;
            }
            let path = path.join(&name);
            let selected = plan.selection.judge(&path, kind(&folder, &name), within);
            if selected == Verdict::Restore {
                found.push(Unexpected { directory, name, path });
            }
        }
    }
    Ok(found)
}

/// Removes something; what is gone already is no failure.
pub(super) fn remove(
    plan: &RestorePlan,
    target: &Target,
    unexpected: &Unexpected,
) -> std::io::Result<()> {
    let folder = target.directory(&plan.entries, unexpected.directory)?;
    target::remove_all(&folder, &unexpected.name)
}

/// Returns the directories at and below what is restored, and how each was looked into.
fn restored_directories(plan: &RestorePlan) -> impl Iterator<Item = (DirNumber, Within)> {
    let within = |wanted| match wanted {
        Wanted::Yes => Within::Selected,
        Wanted::Leads | Wanted::No => Within::Searched,
    };
    let root = (plan.depth == 0).then_some((None, within(plan.root)));
    let levels = plan.levels.iter().skip(plan.depth.saturating_sub(1)).cloned();
    let below = levels.flatten().filter_map(move |number| {
        let entry = plan.entries.get(number);
        let restored = entry.is_directory() && entry.wanted != Wanted::No;
        restored.then_some((Some(number), within(entry.wanted)))
    });
    root.into_iter().chain(below)
}

/// Returns the names that the snapshot has in a directory.
fn children(plan: &RestorePlan, directory: DirNumber) -> HashSet<&OsStr> {
    let range = match directory.map(|number| plan.entries.get(number).sort) {
        None => plan.levels.first().cloned().unwrap_or(0..0),
        Some(Sort::Directory { first, count }) => first..first + count,
        Some(_) => 0..0,
    };
    range.map(|number| plan.entries.name(number)).collect()
}

fn kind(folder: &Folder, name: &OsStr) -> EntryKind {
    match target::look(folder, name) {
        Ok(Some(stat)) if target::sort_of(&stat) == FileType::Directory => EntryKind::Directory,
        _ => EntryKind::Other,
    }
}
