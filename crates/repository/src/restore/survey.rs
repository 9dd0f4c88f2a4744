//! What of a plan is in the target already.
//!
//! A file's content counts as there if it hashes to the ids of its pieces, or, where that was asked
//! for, if the file has the recorded length and time. A restore sets a file's time last, after all
//! of its content was written, so what an interrupted one left half done is never mistaken for done;
//! of such a file the pieces that are right are kept.

use std::fs::File;
use std::os::unix::fs::FileExt;

use lifeboat_model::{Cancel, Cancelled};
use rustix::fs::{FileType, Stat};
use sha2::{Digest, Sha256};

use super::entries::{Entry, EntryNumber, Sort, There, Wanted};
use super::parallel::{Parallel, for_each};
use super::plan::RestorePlan;
use super::reads::Piece;
use super::report::RestoreReport;
use super::target::{self, Existing, Folder, Target};
use super::{RestoreOptions, Unexpected};
use crate::error::RepositoryError;

/// What was found of one entry.
#[derive(Debug)]
struct Found {
    number: EntryNumber,
    there: There,
    holder: Holder,
    /// Which pieces are right, by their places in the plan.
    right: Vec<u32>,
}

/// What has the name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Something that can be replaced.
    File,
    /// A directory, which is not.
    Directory,
}

/// What a look at the target showed.
#[derive(Debug, Default)]
struct Survey {
    /// How many files have their content.
    unchanged: u64,
    /// How many things will be replaced or completed.
    replaced: u64,
    /// How many things are left alone.
    untouched: u64,
    /// How many bytes of files' content are there.
    bytes_there: u64,
    /// Entries in whose place a directory stands.
    in_the_way: Vec<EntryNumber>,
}

/// Looks at the target and notes in the plan what is there of it.
fn survey(
    plan: &mut RestorePlan,
    target: &Target,
    existing: Existing,
    parallel: Parallel,
    cancel: &Cancel,
) -> Result<Survey, Cancelled> {
    let look = |buffer: &mut Vec<u8>, number| look_at(plan, target, existing, buffer, number);
    let end = EntryNumber::try_from(plan.entries.count()).unwrap_or(EntryNumber::MAX);
    let found = for_each(parallel, 0..end, cancel, Vec::new, look)?;
    let mut survey = Survey::default();
    for found in found {
        plan.entries.get_mut(found.number).there = found.there;
        for number in &found.right {
            let piece = &mut plan.pieces[*number as usize];
            piece.is_there = true;
            survey.bytes_there += u64::from(piece.plaintext_length());
        }
        if let (There::Untouched, Sort::File { first, count, .. }) =
            (found.there, plan.entries.get(found.number).sort)
        {
            let pieces = first as usize..(first + count) as usize;
            plan.pieces[pieces].iter_mut().for_each(|piece| piece.is_there = true);
        }
        match found.there {
            There::Content => survey.unchanged += 1,
            There::Untouched => survey.untouched += 1,
            There::Part | There::Nothing => match found.holder {
                Holder::File => survey.replaced += 1,
                Holder::Directory => survey.in_the_way.push(found.number),
            },
        }
    }
    Ok(survey)
}

fn look_at(
    plan: &RestorePlan,
    target: &Target,
    existing: Existing,
    buffer: &mut Vec<u8>,
    number: EntryNumber,
) -> Option<Found> {
    let entry = plan.entries.get(number);
    if entry.wanted == Wanted::No || entry.is_directory() || entry.sort == Sort::Socket {
        return None;
    }
    let name = plan.entries.name(number);
    let parent = target.directory(&plan.entries, entry.parent()).ok()?;
    let stat = target::look(&parent, name).ok()??;
    let mut found = Found { number, there: There::Nothing, holder: Holder::File, right: vec![] };
    if existing == Existing::Never {
        found.there = There::Untouched;
        return Some(found);
    }
    match (entry.sort, target::sort_of(&stat)) {
        (_, FileType::Directory) => found.holder = Holder::Directory,
        (Sort::File { size, first, count }, FileType::RegularFile) => {
            let pieces = first..first + count;
            let whole = !plan.lost.contains(&number);
            if existing == Existing::IfChanged && whole && is_unchanged(entry, size, &stat) {
                found.right = pieces.collect();
                found.there = There::Content;
            } else {
                let all = &plan.pieces[first as usize..(first + count) as usize];
                let is_right = right_pieces(&parent, name, all, buffer);
                found.right = pieces.zip(is_right).filter(|(_, r)| *r).map(|(n, _)| n).collect();
                found.there = if whole && found.right.len() == all.len() && has_size(&stat, size) {
                    There::Content
                } else if found.right.is_empty() || !can_be_completed(&parent, name, &stat) {
                    found.right.clear();
                    There::Nothing
                } else {
                    There::Part
                };
            }
        }
        (Sort::Symlink(text), FileType::Symlink) => {
            let wanted = plan.entries.text(text);
            let is = rustix::fs::readlinkat(&*parent, name, Vec::new());
            if is.is_ok_and(|is| is.to_bytes() == std::os::unix::ffi::OsStrExt::as_bytes(wanted)) {
                found.there = There::Content;
            }
        }
        (Sort::BlockDevice(device), FileType::BlockDevice)
        | (Sort::CharDevice(device), FileType::CharacterDevice)
            if stat.st_rdev == device =>
        {
            found.there = There::Content;
        }
        (Sort::Fifo, FileType::Fifo) => found.there = There::Content,
        _ => {}
    }
    Some(found)
}

fn has_size(stat: &Stat, size: u64) -> bool {
    u64::try_from(stat.st_size) == Ok(size)
}

fn is_unchanged(entry: &Entry, size: u64, stat: &Stat) -> bool {
    let mtime = (entry.mtime.seconds(), u64::from(entry.mtime.nanoseconds()));
    has_size(stat, size) && (stat.st_mtime, stat.st_mtime_nsec) == mtime
}

/// A file with further names elsewhere is not written into: they would change as well.
fn can_be_completed(parent: &Folder, name: &std::ffi::OsStr, stat: &Stat) -> bool {
    stat.st_nlink == 1 && target::reopen_file(parent, name).is_ok()
}

impl RestorePlan {
    /// Looks at what is in the target, unless nothing is.
    pub(super) fn look_at_target(
        &mut self,
        target: &Target,
        options: &RestoreOptions,
        report: &mut RestoreReport,
        (parallel, cancel): (Parallel, &Cancel),
    ) -> Result<Vec<EntryNumber>, RepositoryError> {
        if target.is_empty().map_err(|error| target.error("look into", error))? {
            return Ok(Vec::new());
        }
        if options.unexpected == Unexpected::Remove
            && target.is_system_root()
            && self.selection.is_everything()
        {
            return Err(RepositoryError::WouldDeleteSystem { path: target.path().to_owned() });
        }
        let survey = survey(self, target, options.existing, parallel, cancel)?;
        report.unchanged = survey.unchanged;
        report.replaced = survey.replaced;
        report.untouched = survey.untouched;
        report.bytes_there = survey.bytes_there;
        if options.unexpected == Unexpected::Keep {
            return Ok(Vec::new());
        }
        let paths = survey.in_the_way.iter().map(|number| self.path(*number));
        report.deleted.extend(paths);
        Ok(survey.in_the_way)
    }

    /// Removes directories that stand where the snapshot has something else.
    pub(super) fn clear_the_way(&self, target: &Target, in_the_way: &[EntryNumber]) {
        for number in in_the_way {
            let parent = target.directory(&self.entries, self.entries.get(*number).parent());
            // What cannot be removed is in the way of what is made there, and named then.
            let _ =
                parent.and_then(|parent| target::remove_all(&parent, self.entries.name(*number)));
        }
    }
}

/// Tells for each piece whether the file has it in its place.
fn right_pieces(
    parent: &Folder,
    name: &std::ffi::OsStr,
    pieces: &[Piece],
    buffer: &mut Vec<u8>,
) -> Vec<bool> {
    let Ok(file) = target::open_to_read(parent, name).map(File::from) else {
        return vec![false; pieces.len()];
    };
    pieces.iter().map(|piece| is_in_place(&file, piece, buffer)).collect()
}

/// Tells whether a file has a piece in its place.
pub(super) fn is_in_place(file: &File, piece: &Piece, buffer: &mut Vec<u8>) -> bool {
    buffer.resize(piece.plaintext_length() as usize, 0);
    let read = file.read_exact_at(buffer, piece.place);
    read.is_ok() && *piece.id.as_bytes() == <[u8; 32]>::from(Sha256::digest(&buffer[..]))
}
