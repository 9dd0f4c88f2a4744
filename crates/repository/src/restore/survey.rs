//! What of a plan is in the target already.
//!
//! A file's content counts as there if it hashes to the ids of its pieces, or, where that was asked
//! for, if the file has the recorded length and time. A restore sets a file's time last, after all
//! of its content was written, so what an interrupted one left half done is never mistaken for done;
//! of such a file the pieces that are right are kept. A large file is compared by several threads.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use lifeboat_model::{Cancel, Cancelled};
use rustix::fs::{FileType, Stat};
use sha2::{Digest, Sha256};

use super::entries::{Entry, EntryNumber, Sort, There, Wanted};
use super::parallel::{Parallel, for_each, for_each_in_steps};
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
    /// What has the name of a file and is to be compared with it.
    candidate: Option<Candidate>,
}

impl Found {
    const fn new(number: EntryNumber) -> Self {
        let right = Vec::new();
        Self { number, there: There::Nothing, holder: Holder::File, right, candidate: None }
    }
}

/// A file that may have the right content.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// Its length in bytes.
    size: u64,
    has_other_names: bool,
}

/// What has the name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Something that is replaced.
    File,
    /// Something that holds, or leads to, what no snapshot may have: a directory, or a link in the place
    /// of one.
    Obstacle,
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
    /// How many bytes of files were read.
    bytes_compared: u64,
    /// How many bytes of files' content are there.
    bytes_there: u64,
    /// Entries in whose place something stands that is not simply replaced.
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
    let look = |(): &mut (), number| look_at(plan, target, existing, number);
    let end = EntryNumber::try_from(plan.entries.count()).unwrap_or(EntryNumber::MAX);
    let mut found = for_each(parallel, 0..end, cancel, || (), look)?;
    let bytes_compared = compare(plan, target, &mut found, parallel, cancel)?;
    let mut survey = Survey { bytes_compared, ..Survey::default() };
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
            There::Untouched => {
                survey.untouched += 1;
                plan.totals.leave_out(plan.entries.get(found.number).sort);
            }
            There::Part | There::Nothing => match found.holder {
                Holder::File => survey.replaced += 1,
                Holder::Obstacle => survey.in_the_way.push(found.number),
            },
        }
    }
    Ok(survey)
}

fn look_at(
    plan: &RestorePlan,
    target: &Target,
    existing: Existing,
    number: EntryNumber,
) -> Option<Found> {
    let entry = plan.entries.get(number);
    if entry.wanted == Wanted::No || entry.sort == Sort::Socket {
        return None;
    }
    let name = plan.entries.name(number);
    let parent = target.directory(&plan.entries, entry.parent()).ok()?;
    let stat = target::look(&parent, name).ok()??;
    let mut found = Found::new(number);
    if entry.is_directory() {
        return match target::sort_of(&stat) {
            FileType::Directory => None,
            FileType::Symlink => Some(Found { holder: Holder::Obstacle, ..found }),
            _ if existing == Existing::Never => Some(Found { holder: Holder::Obstacle, ..found }),
            _ => Some(found),
        };
    }
    if existing == Existing::Never {
        found.there = There::Untouched;
        return Some(found);
    }
    match (entry.sort, target::sort_of(&stat)) {
        (_, FileType::Directory) => found.holder = Holder::Obstacle,
        (Sort::HardLink { first }, FileType::RegularFile)
            if is_name_of(plan, target, first, (&parent, name)) =>
        {
            found.there = There::Content;
        }
        (Sort::File { size, first, count }, FileType::RegularFile) => {
            let is_known = existing == Existing::IfChanged && !plan.lost.contains(&number);
            if is_known && is_unchanged(entry, size, &stat) {
                found.right = (first..first + count).collect();
                found.there = There::Content;
            } else {
                let has_other_names = stat.st_nlink > 1;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                found.candidate = Some(Candidate { size, has_other_names });
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

/// Tells whether a name in the target is one of the same file as that of an entry.
fn is_name_of(
    plan: &RestorePlan,
    target: &Target,
    first: EntryNumber,
    name: (&Folder, &std::ffi::OsStr),
) -> bool {
    let parent = target.directory(&plan.entries, plan.entries.get(first).parent());
    let is_same =
        parent.and_then(|parent| target::is_same_file((&parent, plan.entries.name(first)), name));
    is_same.unwrap_or(false)
}

fn has_size(stat: &Stat, size: u64) -> bool {
    u64::try_from(stat.st_size) == Ok(size)
}

fn is_unchanged(entry: &Entry, size: u64, stat: &Stat) -> bool {
    let mtime = (entry.mtime.seconds(), u64::from(entry.mtime.nanoseconds()));
    has_size(stat, size) && (stat.st_mtime, stat.st_mtime_nsec) == mtime
}

/// Pieces of a file that one thread compares at a time.
#[derive(Debug)]
struct Span {
    /// Which of the entries that were found.
    found: usize,
    pieces: Range<u32>,
}

/// How many bytes of a file a thread compares at a time: several threads work on a large file, and a
/// file is opened seldom.
const SPAN: u64 = 4 << 20;

/// The file that a thread compares, and memory for a piece of it.
#[derive(Debug, Default)]
struct Comparison {
    open: Option<(EntryNumber, Option<File>)>,
    buffer: Vec<u8>,
}

impl Comparison {
    /// Returns a file that is there; the one that was asked for last is still open.
    fn file(&mut self, plan: &RestorePlan, target: &Target, number: EntryNumber) -> Option<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            let parent = target.directory(&plan.entries, plan.entries.get(number).parent());
            let name = plan.entries.name(number);
            let file = parent.and_then(|parent| target::open_to_read(&parent, name));
            self.open = Some((number, file.ok().map(File::from)));
        }
        self.open.as_ref().and_then(|(_, file)| file.as_ref())
    }
}

/// Compares the files that may have the right content, piece by piece, and notes what is there of them;
/// returns how many bytes were read.
fn compare(
    plan: &RestorePlan,
    target: &Target,
    found: &mut [Found],
    parallel: Parallel,
    cancel: &Cancel,
) -> Result<u64, Cancelled> {
    let spans = spans(plan, found);
    let count = u32::try_from(spans.len()).unwrap_or(u32::MAX);
    let look = |state: &mut Comparison, index: u32| {
        let span = &spans[index as usize];
        let right = right_pieces(plan, target, state, found[span.found].number, &span.pieces)?;
        Some((span.found, right, span.pieces.clone()))
    };
    // A span is much: each is taken alone.
    let compared = for_each_in_steps((parallel, 1), 0..count, cancel, Comparison::default, look)?;
    let mut bytes = 0;
    for (index, right, pieces) in compared {
        found[index].right.extend(right);
        let end = found[index].candidate.map_or(0, |candidate| candidate.size);
        bytes += pieces.map(|number| length_up_to(plan, number, end)).sum::<u64>();
    }
    for found in found {
        settle(plan, target, found);
    }
    Ok(bytes)
}

fn length(plan: &RestorePlan, piece: u32) -> u64 {
    plan.pieces[piece as usize].plaintext_length().into()
}

/// Returns how much of a piece a file of this length has.
fn length_up_to(plan: &RestorePlan, piece: u32, end: u64) -> u64 {
    length(plan, piece).min(end.saturating_sub(plan.pieces[piece as usize].place))
}

/// Cuts the files that are to be compared into what a thread takes at a time.
fn spans(plan: &RestorePlan, found: &[Found]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (index, entry) in found.iter().enumerate().filter(|(_, found)| found.candidate.is_some()) {
        let Sort::File { first, count, .. } = plan.entries.get(entry.number).sort else { continue };
        let mut bytes = SPAN;
        for number in first..first + count {
            if bytes >= SPAN {
                spans.push(Span { found: index, pieces: number..number });
                bytes = 0;
            }
            if let Some(span) = spans.last_mut() {
                span.pieces.end = number + 1;
            }
            bytes += length(plan, number);
        }
    }
    spans
}

/// Returns which of these pieces a file has in their places; nothing if it cannot be read.
fn right_pieces(
    plan: &RestorePlan,
    target: &Target,
    state: &mut Comparison,
    number: EntryNumber,
    pieces: &Range<u32>,
) -> Option<Vec<u32>> {
    let mut buffer = std::mem::take(&mut state.buffer);
    let file = state.file(plan, target, number)?;
    let is_right = |number: &u32| is_in_place(file, &plan.pieces[*number as usize], &mut buffer);
    let right = pieces.clone().filter(is_right).collect();
    state.buffer = buffer;
    Some(right)
}

/// Decides over a file of which is known what pieces are right.
fn settle(plan: &RestorePlan, target: &Target, found: &mut Found) {
    let Some(candidate) = found.candidate else { return };
    let Sort::File { size, count, .. } = plan.entries.get(found.number).sort else { return };
    let whole = !plan.lost.contains(&found.number);
    found.there = if whole && found.right.len() == count as usize && candidate.size == size {
        There::Content
    } else if found.right.is_empty() || !can_be_completed(plan, target, found.number, candidate) {
        found.right.clear();
        There::Nothing
    } else {
        There::Part
    };
}

/// A file with further names elsewhere is not written into: they would change as well.
fn can_be_completed(
    plan: &RestorePlan,
    target: &Target,
    number: EntryNumber,
    candidate: Candidate,
) -> bool {
    let parent = target.directory(&plan.entries, plan.entries.get(number).parent());
    let open = |parent: Arc<Folder>| target::reopen_file(&parent, plan.entries.name(number));
    !candidate.has_other_names && parent.and_then(open).is_ok()
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
        report.bytes_compared = survey.bytes_compared;
        let clears =
            options.unexpected == Unexpected::Remove && options.existing != Existing::Never;
        let goes = |number: &EntryNumber| clears && self.entries.get(*number).wanted == Wanted::Yes;
        let (goes, blocked): (Vec<_>, Vec<_>) = survey.in_the_way.into_iter().partition(goes);
        report.deleted.extend(goes.iter().map(|number| self.path(*number)));
        self.blocked.extend(blocked);
        Ok(goes)
    }

    /// Names what cannot be made since something is in its way, and takes it for done.
    pub(super) fn foresee_blocked(&mut self, report: &mut RestoreReport) {
        if self.blocked.is_empty() {
            return;
        }
        let mut blocked = std::mem::take(&mut self.blocked);
        for number in 0..EntryNumber::try_from(self.entries.count()).unwrap_or(EntryNumber::MAX) {
            let entry = self.entries.get(number);
            let lies_in = entry.parent().is_some_and(|parent| blocked.contains(&parent));
            let what = match (blocked.contains(&number), lies_in) {
                (_, true) => "its directory cannot be made",
                (true, false) if entry.is_directory() => "something else stands in its place",
                (true, false) => "a directory stands in its place",
                (false, false) => continue,
            };
            let (wanted, sort) = (entry.wanted, entry.sort);
            blocked.insert(number);
            if wanted == Wanted::No || sort == Sort::Socket {
                continue;
            }
            self.totals.leave_out(sort);
            if let Sort::File { first, count, .. } = sort {
                let pieces = first as usize..(first + count) as usize;
                self.pieces[pieces].iter_mut().for_each(|piece| piece.is_there = true);
            }
            report.fail(self.path(number), what);
        }
        self.blocked = blocked;
    }

    /// Removes what stands where the snapshot has something else and is not simply replaced.
    pub(super) fn clear_the_way(&self, target: &Target, in_the_way: &[EntryNumber]) {
        for number in in_the_way {
            let parent = target.directory(&self.entries, self.entries.get(*number).parent());
            // What cannot be removed is in the way of what is made there, and named then.
            let _ =
                parent.and_then(|parent| target::remove_all(&parent, self.entries.name(*number)));
        }
    }
}

/// Tells whether a file has a piece in its place.
pub(super) fn is_in_place(file: &File, piece: &Piece, buffer: &mut Vec<u8>) -> bool {
    buffer.resize(piece.plaintext_length() as usize, 0);
    let read = file.read_exact_at(buffer, piece.place);
    read.is_ok() && *piece.id.as_bytes() == <[u8; 32]>::from(Sha256::digest(&buffer[..]))
}
