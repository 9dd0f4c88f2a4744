//! Carries a restore plan out.
//!
//! Directories first, then what has no content, then the content pack by pack on several threads,
//! then further names of files, then what the snapshot does not have is removed, and at last the
//! directories' own metadata, deepest first, since everything before it changes their times.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lifeboat_model::{ByteSize, Cancel, Cancelled, Event, EventSink, PackId, Stage, Work};
use rustix::fs::FileType;

use super::entries::{Entry, EntryNumber, Sort, There, Wanted};
use super::files::OpenFiles;
use super::metadata::{self, Content, Inherited, Owners, Shortfall, Wish};
use super::parallel::{Parallel, for_each};
use super::plan::RestorePlan;
use super::reads::Piece;
use super::report::RestoreReport;
use super::target::{self, Directory, Existing, Folder, Target};
use super::{RestoreOptions, Unexpected, remove};
use crate::error::RepositoryError;
use crate::profile::Profile;
use crate::repository::{Indexed, Repository};

/// A restore while it runs.
pub(super) struct Run<'a> {
    pub(super) plan: &'a RestorePlan,
    pub(super) repository: &'a Repository<Indexed>,
    pub(super) target: &'a Target,
    pub(super) files: OpenFiles,
    pub(super) parallel: Parallel,
    /// For each entry, how many pieces are still to come.
    pub(super) outstanding: Vec<AtomicU32>,
    pub(super) events: &'a dyn EventSink,
    pub(super) profile: &'a Profile,
    owners: Owners,
    existing: Existing,
    state: Mutex<State>,
    /// Set when going on makes no sense.
    stop: AtomicBool,
    pub(super) cancel: &'a Cancel,
}

pub(super) struct State {
    pub report: RestoreReport,
    /// Entries that are not there or not whole.
    failed: HashSet<EntryNumber>,
    /// Directories that were there and are not this restore's to change.
    left: HashSet<EntryNumber>,
    fatal: Option<RepositoryError>,
}

/// What one thread did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub files: u64,
    pub file_bytes: u64,
    pub bytes_fetched: u64,
    pub bytes_written: u64,
}

impl Tally {
    /// Counts a file that is whole.
    pub(super) const fn add_file(&mut self, size: u64) {
        self.files += 1;
        self.file_bytes += size;
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        plan: &'a RestorePlan,
        pieces: &[Piece],
        target: &'a Target,
        repository: &'a Repository<Indexed>,
        options: &'a RestoreOptions,
        report: RestoreReport,
        (events, cancel): (&'a dyn EventSink, &'a Cancel),
    ) -> Self {
        let outstanding: Vec<AtomicU32> = plan.entries.iter().map(|_| AtomicU32::new(0)).collect();
        for piece in pieces {
            outstanding[piece.file as usize].fetch_add(1, Ordering::Relaxed);
        }
        Self {
            plan,
            repository,
            target,
            files: OpenFiles::default(),
            parallel: Parallel(crate::walk::readers(repository)),
            outstanding,
            events,
            profile: &options.profile,
            owners: Owners::new(options.ownership),
            existing: options.existing,
            state: Mutex::new(State {
                report,
                failed: plan.lost.clone(),
                left: HashSet::new(),
                fatal: None,
            }),
            stop: AtomicBool::new(false),
            cancel,
        }
    }

    /// Does everything; `pieces` are those that are not in their places.
    pub(super) fn perform(
        &self,
        pieces: &[Piece],
        unexpected: Unexpected,
    ) -> Result<(), RepositoryError> {
        let totals = self.plan.totals();
        let total = Work {
            items: totals.files,
            bytes: pieces.iter().map(|piece| u64::from(piece.plaintext_length())).sum(),
        };
        self.events.emit(Event::Started { stage: Stage::Restore, total: Some(total) });
        self.make_skeleton()?;
        self.write_content(pieces)?;
        self.make_hard_links()?;
        if unexpected == Unexpected::Remove {
            self.remove_unexpected()?;
        }
        self.finish_directories()?;
        self.events.emit(Event::Finished { stage: Stage::Restore });
        Ok(())
    }

    /// Returns what was done.
    pub(super) fn into_report(self) -> RestoreReport {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut report = state.report;
        report.sort();
        report
    }

    /// Does something to all wanted entries of a level, on several threads.
    fn for_level(
        &self,
        level: &std::ops::Range<EntryNumber>,
        action: impl Fn(EntryNumber, &Entry) + Sync,
    ) -> Result<(), RepositoryError> {
        let action = |(): &mut (), number| {
            let entry = self.plan.entries.get(number);
            if entry.wanted != Wanted::No && !self.stops() {
                action(number, entry);
            }
            None::<()>
        };
        for_each(self.parallel, level.clone(), self.cancel, || (), action)?;
        self.check()
    }

    /// Makes everything that needs no content from packs.
    fn make_skeleton(&self) -> Result<(), RepositoryError> {
        for level in &self.plan.levels {
            self.for_level(level, |number, entry| {
                if entry.is_directory() {
                    self.make_directory(number, entry);
                }
            })?;
        }
        for level in &self.plan.levels {
            self.for_level(level, |number, entry| match entry.sort {
                Sort::File { size, .. } if self.needs_nothing(number) => {
                    self.make_file(number, entry, size);
                }
                Sort::File { .. }
                | Sort::Directory { .. }
                | Sort::HardLink { .. }
                | Sort::Socket => {}
                _ => self.make_other(number, entry),
            })?;
        }
        Ok(())
    }

    fn needs_nothing(&self, number: EntryNumber) -> bool {
        self.outstanding[number as usize].load(Ordering::Relaxed) == 0
    }

    fn make_directory(&self, number: EntryNumber, entry: &Entry) {
        let name = self.plan.entries.name(number);
        let made = self
            .parent(entry)
            .and_then(|parent| target::make_directory(&parent, name, self.existing));
        match made {
            Ok(Directory::Made) => {}
            Ok(Directory::Found) => {
                let left = entry.wanted == Wanted::Leads || self.existing == Existing::Never;
                if left {
                    self.state().left.insert(number);
                }
            }
            Err(error) => self.note_failure(number, "make the directory", error),
        }
    }

    /// Makes a file without content, or sees to one of which nothing has to be written: it gets its metadata,
    /// and what stands behind its end is cut off.
    fn make_file(&self, number: EntryNumber, entry: &Entry, size: u64) {
        match entry.there {
            There::Untouched => return,
            There::Content => self.apply_named(number, Inherited::Maybe),
            There::Nothing | There::Part => {
                let name = self.plan.entries.name(number);
                let made = self.parent(entry).and_then(|parent| {
                    if entry.there == There::Part {
                        let file = target::open_to_complete(&parent, name, size)?;
                        return Ok((file, Inherited::Maybe));
                    }
                    let file = target::make_file(&parent, name, size)?;
                    Ok((file, parent.hands_down))
                });
                match made {
                    Ok((file, inherited)) => self.apply_open(&file, number, inherited),
                    Err(error) => return self.note_failure(number, "make the file", error),
                }
            }
        }
        let mut state = self.state();
        if !state.failed.contains(&number) {
            state.report.files += 1;
            state.report.bytes += size;
        }
    }

    fn make_other(&self, number: EntryNumber, entry: &Entry) {
        let entries = &self.plan.entries;
        let name = entries.name(number);
        let inherited = match entry.there {
            There::Untouched => return,
            There::Content => Ok(Inherited::Maybe),
            There::Nothing | There::Part => self.parent(entry).and_then(|parent| {
                let special = |kind, device| target::make_special(&parent, name, kind, device);
                match entry.sort {
                    Sort::Symlink(text) => {
                        target::make_symlink(&parent, name, entries.text(text))?;
                        // Links have no ACL, and nothing else is handed down.
                        return Ok(Inherited::Nothing);
                    }
                    Sort::BlockDevice(device) => special(FileType::BlockDevice, device)?,
                    Sort::CharDevice(device) => special(FileType::CharacterDevice, device)?,
                    _ => special(FileType::Fifo, 0)?,
                }
                Ok(parent.hands_down)
            }),
        };
        match inherited {
            Ok(inherited) => {
                self.apply_named(number, inherited);
                self.state().report.others += 1;
            }
            Err(error) => self.note_failure(number, "make it", error),
        }
    }

    fn make_hard_links(&self) -> Result<(), RepositoryError> {
        for (number, entry) in self.plan.entries.iter() {
            let Sort::HardLink { first } = entry.sort else { continue };
            if entry.there == There::Untouched {
                continue;
            }
            self.check()?;
            let linked = self.make_hard_link(number, entry, first);
            if self.has_failed(first) {
                let first = self.plan.path(first);
                self.fail(number, &format!("it is the same file as {}", first.display()));
                continue;
            }
            match linked {
                Ok(()) => self.state().report.others += 1,
                Err(error) => self.note_failure(number, "make the further name", error),
            }
        }
        Ok(())
    }

    fn make_hard_link(
        &self,
        number: EntryNumber,
        entry: &Entry,
        first: EntryNumber,
    ) -> io::Result<()> {
        let old_parent = self.parent(self.plan.entries.get(first))?;
        let parent = self.parent(entry)?;
        let old = (&*old_parent, self.plan.entries.name(first));
        let new = (&*parent, self.plan.entries.name(number));
        if target::is_same_file(old, new)? {
            return Ok(());
        }
        target::make_hard_link(old, new)
    }

    fn remove_unexpected(&self) -> Result<(), RepositoryError> {
        for unexpected in remove::unexpected(self.plan, self.target, self.cancel)? {
            self.check()?;
            match remove::remove(self.plan, self.target, &unexpected) {
                Ok(()) => self.state().report.deleted.push(unexpected.path),
                Err(error) => {
                    let what =
                        format!("it is not in the snapshot and could not be removed: {error}");
                    self.state().report.fail(unexpected.path, what);
                }
            }
        }
        Ok(())
    }

    fn finish_directories(&self) -> Result<(), RepositoryError> {
        for level in self.plan.levels.iter().rev() {
            self.for_level(level, |number, entry| {
                if entry.is_directory() && self.owns(number) {
                    self.finish_directory(number, entry);
                }
            })?;
        }
        Ok(())
    }

    fn finish_directory(&self, number: EntryNumber, entry: &Entry) {
        let name = self.plan.entries.name(number);
        let opened = self.parent(entry).and_then(|parent| target::open_listable(&parent, name));
        match opened {
            Ok(directory) => self.apply_open(&directory, number, Inherited::Maybe),
            // Whoever may not list it may still change it.
            Err(_) => self.apply_named(number, Inherited::Maybe),
        }
        self.state().report.directories += 1;
    }

    /// Tells whether a directory is there and this restore's to change.
    fn owns(&self, directory: EntryNumber) -> bool {
        let state = self.state();
        !state.failed.contains(&directory) && !state.left.contains(&directory)
    }

    /// Gives an open file or directory its metadata.
    pub(super) fn apply_open(&self, file: impl AsFd, number: EntryNumber, inherited: Inherited) {
        self.apply_open_as(file, number, inherited, Content::Whole);
    }

    /// Gives an open file its metadata, or those that a broken one may have.
    pub(super) fn apply_open_as(
        &self,
        file: impl AsFd,
        number: EntryNumber,
        inherited: Inherited,
        content: Content,
    ) {
        let wish = self.wish(number, content);
        self.warn(number, &metadata::apply_open(file, wish, &self.owners, inherited));
    }

    /// Gives something its metadata that is not open.
    pub(super) fn apply_named(&self, number: EntryNumber, inherited: Inherited) {
        self.apply_named_as(number, inherited, Content::Whole);
    }

    /// Gives a file its metadata that is not open, or those that a broken one may have.
    pub(super) fn apply_named_as(
        &self,
        number: EntryNumber,
        inherited: Inherited,
        content: Content,
    ) {
        let (wish, name) = (self.wish(number, content), self.plan.entries.name(number));
        let shortfalls = self
            .parent(wish.entry)
            .map(|parent| metadata::apply_named(&*parent, name, wish, &self.owners, inherited));
        self.warn(number, &shortfalls.unwrap_or_else(|e| vec![Shortfall::Other("metadata", e)]));
    }

    fn wish(&self, number: EntryNumber, content: Content) -> Wish<'_> {
        let entry = self.plan.entries.get(number);
        Wish { entry, names: self.plan.entries.owner_names(entry), content }
    }

    fn warn(&self, number: EntryNumber, shortfalls: &[Shortfall]) {
        if shortfalls.is_empty() {
            return;
        }
        let path = self.plan.path(number);
        let mut state = self.state();
        for shortfall in shortfalls {
            state.report.owners_not_set += u64::from(matches!(shortfall, Shortfall::Owner(_)));
            state.report.warn(path.clone(), shortfall);
        }
    }

    pub(super) fn parent(&self, entry: &Entry) -> io::Result<std::sync::Arc<Folder>> {
        self.target.directory(&self.plan.entries, entry.parent())
    }

    /// Takes note of a failure on this machine.
    ///
    /// A full or read-only disk ends the restore: every further file would fail as well.
    pub(super) fn note_failure(&self, number: EntryNumber, what: &str, error: io::Error) {
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::ReadOnlyFilesystem
        ) {
            self.stop.store(true, Ordering::Relaxed);
            let path = self
                .target
                .path()
                .join(self.plan.path(number).strip_prefix("/").unwrap_or("".as_ref()));
            let mut state = self.state();
            let done_bytes = state.report.bytes;
            let missing = self.plan.totals().bytes.saturating_sub(done_bytes);
            let fatal = match error.kind() {
                io::ErrorKind::ReadOnlyFilesystem => {
                    RepositoryError::Io { action: "write", path, source: error }
                }
                _ => RepositoryError::NoRoom { path, missing: ByteSize(missing), source: error },
            };
            state.fatal.get_or_insert(fatal);
        } else {
            self.fail(number, &format!("could not {what}: {error}"));
        }
    }

    /// Names an entry as lost, once.
    pub(super) fn fail(&self, number: EntryNumber, what: &str) {
        let mut state = self.state();
        if state.failed.insert(number) {
            let path = self.plan.path(number);
            state.report.fail(path, what);
        }
    }

    /// Takes note of a piece that is damaged on the tier.
    pub(super) fn note_damage(&self, what: String, pack: PackId) {
        self.state().report.note_damage(what, [pack]);
    }

    /// Tells whether an entry is not there or not whole.
    pub(super) fn has_failed(&self, number: EntryNumber) -> bool {
        self.state().failed.contains(&number)
    }

    /// Adds what a thread did.
    pub(super) fn add(&self, tally: Tally) {
        let mut state = self.state();
        state.report.files += tally.files;
        state.report.bytes += tally.file_bytes;
        state.report.bytes_fetched += tally.bytes_fetched;
        state.report.bytes_written += tally.bytes_written;
    }

    /// Tells whether threads should end.
    pub(super) fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    pub(super) fn check(&self) -> Result<(), RepositoryError> {
        if let Some(fatal) = self.state().fatal.take() {
            return Err(fatal);
        }
        Ok(self.cancel.check().map_err(|Cancelled| Cancelled)?)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
