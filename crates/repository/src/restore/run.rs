//! Carries a restore plan out.
//!
//! Directories first, then what has no content, then the content pack by pack on several threads,
//! then further names of files, and at last the directories' own metadata, deepest first, since
//! everything before it changes their times.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::Bytes;
use lifeboat_model::{Cancel, Cancelled, Event, EventSink, Stage, Work};
use lifeboat_tiers::ReadRange;
use rustix::fs::FileType;

use super::files::OpenFiles;
use super::metadata::{self, Owners, Shortfall};
use super::plan::{Action, PlanEntry, RestorePlan};
use super::reads::{BlobRead, RangeRead};
use super::report::RestoreReport;
use super::target::{self, Directory, Target};
use super::{RestoreOptions, WORKERS};
use crate::blob::{BlobKind, BlobLocation, BlobOpener};
use crate::check::explain;
use crate::error::RepositoryError;
use crate::node::NodeKind;
use crate::repository::{Indexed, Repository};

/// A restore while it runs.
pub(super) struct Run<'a> {
    plan: &'a RestorePlan,
    repository: &'a Repository<Indexed>,
    target: Target,
    owners: Owners,
    files: OpenFiles,
    /// For each entry, how many pieces are still to come.
    outstanding: Vec<AtomicU32>,
    state: Mutex<State>,
    /// Set when going on makes no sense.
    stop: AtomicBool,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
}

struct State {
    report: RestoreReport,
    /// Entries that are not there or not whole.
    failed: HashSet<usize>,
    /// Directories above what was asked for that were there already: they are not this restore's.
    left: HashSet<usize>,
    fatal: Option<RepositoryError>,
}

impl State {
    /// Tells whether a directory is there and this restore's to change.
    fn owns(&self, directory: usize) -> bool {
        !self.failed.contains(&directory) && !self.left.contains(&directory)
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        plan: &'a RestorePlan,
        repository: &'a Repository<Indexed>,
        options: &RestoreOptions,
        events: &'a dyn EventSink,
        cancel: &'a Cancel,
    ) -> Result<Self, RepositoryError> {
        let target = Target::open(&options.target, options.existing)?;
        let pieces = |entry: &PlanEntry| match entry.action {
            Action::File { pieces, .. } => AtomicU32::new(pieces),
            _ => AtomicU32::new(0),
        };
        let mut report = plan.known.clone();
        report.strict_owner = options.strict_owner;
        Ok(Self {
            plan,
            repository,
            target,
            owners: Owners::new(options.ownership),
            files: OpenFiles::default(),
            outstanding: plan.entries.iter().map(pieces).collect(),
            state: Mutex::new(State {
                report,
                failed: plan.lost.clone(),
                left: HashSet::new(),
                fatal: None,
            }),
            stop: AtomicBool::new(false),
            events,
            cancel,
        })
    }

    pub(super) fn perform(self, durable: bool) -> Result<RestoreReport, RepositoryError> {
        let totals = self.plan.totals();
        let total = Work { items: totals.files, bytes: totals.bytes };
        self.events.emit(Event::Started { stage: Stage::Restore, total: Some(total) });
        self.make_skeleton()?;
        self.fetch_content()?;
        self.make_hard_links()?;
        self.finish_directories()?;
        if durable {
            self.target.sync().map_err(|error| self.target.error("write out", error))?;
        }
        self.events.emit(Event::Finished { stage: Stage::Restore });
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.report.failed.sort_by(|a, b| a.path.cmp(&b.path));
        state.report.warnings.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(state.report)
    }

    /// Makes everything that needs no content from packs.
    fn make_skeleton(&self) -> Result<(), RepositoryError> {
        for (index, entry) in self.plan.entries.iter().enumerate() {
            self.check()?;
            match entry.action {
                Action::Directory => {
                    let made = self.in_parent(entry, |parent| {
                        target::make_directory(parent, entry.name.as_os_str())
                    });
                    if entry.above && matches!(made, Ok(Directory::Found)) {
                        self.state().left.insert(index);
                    }
                    self.note(index, "make the directory", made.map(drop));
                }
                Action::File { size, pieces: 0 } => {
                    let made = self.in_parent(entry, |parent| {
                        target::make_file(parent, entry.name.as_os_str(), size).map(drop)
                    });
                    self.note(index, "make the file", made);
                    self.finish_file(index, size);
                }
                Action::Other => self.make_other(index, entry),
                Action::File { .. } | Action::HardLink { .. } | Action::Nothing => {}
            }
        }
        Ok(())
    }

    fn make_other(&self, index: usize, entry: &PlanEntry) {
        let name = entry.name.as_os_str();
        let special =
            |parent: &OwnedFd, kind, device| target::make_special(parent, name, kind, device);
        let made = self.in_parent(entry, |parent| match &entry.node.kind {
            NodeKind::Symlink { target } => target::make_symlink(parent, name, target),
            NodeKind::BlockDevice { device } => special(parent, FileType::BlockDevice, *device),
            NodeKind::CharDevice { device } => special(parent, FileType::CharacterDevice, *device),
            NodeKind::Fifo => special(parent, FileType::Fifo, 0),
            NodeKind::File { .. } | NodeKind::Directory { .. } | NodeKind::Socket => Ok(()),
        });
        if self.note(index, "make it", made) {
            self.apply_metadata(index);
            self.state().report.others += 1;
        }
    }

    fn fetch_content(&self) -> Result<(), RepositoryError> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut opener = BlobOpener::new(self.repository.key());
            while !self.stop.load(Ordering::Relaxed) && !self.cancel.is_cancelled() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(range) = self.plan.reads.get(number) else { break };
                self.fetch_range(&mut opener, range);
            }
        };
        thread::scope(|scope| {
            for _ in 0..WORKERS.min(self.plan.reads.len()) {
                scope.spawn(work);
            }
        });
        self.check()
    }

    /// Fetches one range and writes every piece of it to all of its places.
    fn fetch_range(&self, opener: &mut BlobOpener<'_>, range: &RangeRead) {
        let wanted =
            ReadRange::Bounded { offset: range.offset.into(), length: range.length.into() };
        let fetched = self.repository.store().get_range(&range.pack, wanted);
        if let Ok(bytes) = &fetched {
            self.state().report.bytes_fetched += bytes.len() as u64;
        }
        for blob in &range.blobs {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let plaintext = match &fetched {
                Ok(bytes) => Self::open(opener, blob, range, bytes),
                Err(error) => Err(explain(error)),
            };
            match plaintext.or_else(|problem| self.fetch_elsewhere(opener, blob, problem)) {
                Ok(plaintext) => self.write(blob, &plaintext),
                Err(problem) => self.lose(blob, &problem),
            }
        }
    }

    fn open(
        opener: &mut BlobOpener<'_>,
        blob: &BlobRead,
        range: &RangeRead,
        bytes: &Bytes,
    ) -> Result<Vec<u8>, String> {
        let begin = (blob.location.offset - range.offset) as usize;
        let sealed = bytes.get(begin..begin + blob.location.length as usize);
        let mut sealed = sealed.ok_or("the tier returned fewer bytes than asked for")?.to_vec();
        opener
            .open(&blob.id, &mut sealed, blob.location.uncompressed_length)
            .map_err(|defect| explain(&defect))
    }

    /// Reads a blob from another pack, if it lies in several.
    fn fetch_elsewhere(
        &self,
        opener: &mut BlobOpener<'_>,
        blob: &BlobRead,
        problem: String,
    ) -> Result<Vec<u8>, String> {
        let others: Vec<BlobLocation> = {
            let index = self.repository.index();
            let all = index.locations(BlobKind::Data, &blob.id);
            all.filter(|location| *location != blob.location).collect()
        };
        let read = |location| {
            self.repository.read_blob_at(opener, BlobKind::Data, &blob.id, location).ok()
        };
        others.iter().find_map(read).ok_or(problem)
    }

    /// Writes a piece to all of its places; one of zeros is left as the hole that is there.
    fn write(&self, blob: &BlobRead, plaintext: &[u8]) {
        let hole = plaintext.iter().all(|byte| *byte == 0);
        for place in &blob.uses {
            let entry = &self.plan.entries[place.file];
            let Action::File { size, .. } = entry.action else { continue };
            let name = entry.name.as_os_str();
            let written = self.in_parent(entry, |parent| {
                let create = || target::make_file(parent, name, size);
                let reopen = || target::reopen_file(parent, name);
                let file = self.files.get(place.file, create, reopen)?;
                if hole { Ok(()) } else { file.write_all_at(plaintext, place.offset) }
            });
            self.note(place.file, "write the file", written);
            self.events.emit(Event::Advanced {
                stage: Stage::Restore,
                work: Work { items: 0, bytes: plaintext.len() as u64 },
            });
            self.piece_done(place.file, size);
        }
    }

    fn lose(&self, blob: &BlobRead, problem: &str) {
        let (pack, offset) = (blob.location.pack.to_hex(), blob.location.offset);
        let what = format!("data blob {} in pack {pack} at {offset}: {problem}", blob.id.to_hex());
        for place in &blob.uses {
            self.fail(place.file, &what);
            if let Action::File { size, .. } = self.plan.entries[place.file].action {
                self.piece_done(place.file, size);
            }
        }
    }

    /// Counts a piece down; the last one finishes the file.
    fn piece_done(&self, index: usize, size: u64) {
        // Release what this thread wrote, acquire what the others wrote.
        if self.outstanding[index].fetch_sub(1, Ordering::AcqRel) == 1 {
            let created = self.files.finish(index);
            if created {
                self.finish_file(index, size);
            }
        }
    }

    /// Gives a file its metadata, also one that is not whole, and counts it if it is.
    fn finish_file(&self, index: usize, size: u64) {
        self.apply_metadata(index);
        let mut state = self.state();
        if !state.failed.contains(&index) {
            state.report.files += 1;
            state.report.bytes += size;
        }
        drop(state);
        let work = Work { items: 1, bytes: 0 };
        self.events.emit(Event::Advanced { stage: Stage::Restore, work });
    }

    fn make_hard_links(&self) -> Result<(), RepositoryError> {
        for (index, entry) in self.plan.entries.iter().enumerate() {
            let Action::HardLink { first } = entry.action else { continue };
            self.check()?;
            let original = &self.plan.entries[first];
            let made = self.target.directory(self.plan, original.parent).and_then(|old_parent| {
                let old = (&*old_parent, original.name.as_os_str());
                self.in_parent(entry, |parent| {
                    target::make_hard_link(old, (parent, entry.name.as_os_str()))
                })
            });
            let linked = self.note(index, "make the further name", made);
            if self.state().failed.contains(&first) {
                let first = self.plan.path(first);
                self.fail(index, &format!("it is the same file as {}", first.display()));
            } else if linked {
                self.state().report.others += 1;
            }
        }
        Ok(())
    }

    fn finish_directories(&self) -> Result<(), RepositoryError> {
        for (index, entry) in self.plan.entries.iter().enumerate().rev() {
            if entry.action != Action::Directory || !self.state().owns(index) {
                continue;
            }
            self.check()?;
            self.apply_metadata(index);
            self.state().report.directories += 1;
        }
        Ok(())
    }

    fn apply_metadata(&self, index: usize) {
        let entry = &self.plan.entries[index];
        let shortfalls = self.in_parent(entry, |parent| {
            Ok(metadata::apply(parent, entry.name.as_os_str(), &entry.node, &self.owners))
        });
        let shortfalls = shortfalls.unwrap_or_else(|e| vec![Shortfall::Other("metadata", e)]);
        if shortfalls.is_empty() {
            return;
        }
        let path = self.plan.path(index);
        let mut state = self.state();
        for shortfall in &shortfalls {
            state.report.owners_not_set += u64::from(matches!(shortfall, Shortfall::Owner(_)));
            state.report.warn(path.clone(), shortfall);
        }
    }

    fn in_parent<T>(
        &self,
        entry: &PlanEntry,
        action: impl FnOnce(&OwnedFd) -> io::Result<T>,
    ) -> io::Result<T> {
        let parent: Arc<OwnedFd> = self.target.directory(self.plan, entry.parent)?;
        action(&parent)
    }

    /// Takes note of a failure on this machine; tells whether there was none.
    ///
    /// A full or read-only disk ends the restore: every further file would fail as well.
    fn note(&self, index: usize, what: &str, result: io::Result<()>) -> bool {
        let Err(error) = result else { return true };
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
                .join(self.plan.path(index).strip_prefix("/").unwrap_or("".as_ref()));
            let fatal = RepositoryError::Io { action: "write", path, source: error };
            self.state().fatal.get_or_insert(fatal);
        } else {
            self.fail(index, &format!("could not {what}: {error}"));
        }
        false
    }

    /// Names an entry as lost, once.
    fn fail(&self, index: usize, what: &str) {
        let mut state = self.state();
        if state.failed.insert(index) {
            let path = self.plan.path(index);
            state.report.fail(path, what);
        }
    }

    fn check(&self) -> Result<(), RepositoryError> {
        if let Some(fatal) = self.state().fatal.take() {
            return Err(fatal);
        }
        Ok(self.cancel.check().map_err(|Cancelled| Cancelled)?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
