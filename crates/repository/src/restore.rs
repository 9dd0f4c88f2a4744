//! Restores snapshots: a [`RestorePlan`] says what will be done, [`RestorePlan::perform`] does it;
//! [`restore`] is both, and [`preview`] says what it would do. [`read_file`] streams one file and
//! [`write_tar`] all of them without touching the disk.
//!
//! A file lands below the target at its path in the snapshot, as with restic: `/srv/media/a` of a
//! restore to `/mnt` becomes `/mnt/srv/media/a`, also when only `/srv/media` was asked for. Of
//! the directories on the way, those that lack are made with their recorded metadata; those that
//! are there belong to whoever made them and keep their owner, mode and attributes.
//!
//! # Invariants
//!
//! - Nothing outside the target is touched: no name of a tree and no symbolic link in the target
//!   leads out of it (module [`target`], [`name`]).
//! - No byte is written that did not hash to its blob's id. What cannot be had costs only the files
//!   that need it; each of them is named in [`RestoreReport::failed`].
//! - A file is private to this process' user until it has its recorded owner and mode.
//! - A file has its recorded time only if all of its content was written before.
//!
//! # Crash consistency
//!
//! The repository is only read. A restore that was killed leaves files with mode 0600 and
//! directories with 0700 in the target, some with holes where content is still to come. Restoring
//! again with [`Existing::IfChanged`] goes on: what has its length and time is done, of the rest the
//! pieces that are right are kept. After a power failure the disk may lack what files claim to have;
//! [`Existing::Always`] believes only content. With `durable` the report is returned only after
//! everything was written through to the disk.
//!
//! # Limits
//!
//! - Replacing a file removes the old one first; both exist at no time.
//! - A lost file that has some of its content keeps that, with holes for the rest, and is named.
//! - Runs of zeros that fill whole blobs come back as holes, also if they were none.
//! - The plan holds all entries that are restored in memory, about 100 bytes each and their names,
//!   and 64 bytes for each piece of a file. Each thread holds one range of a pack and one opened blob.

mod content;
pub mod entries;
pub mod files;
pub mod metadata;
pub mod name;
mod parallel;
pub mod plan;
mod reader;
pub mod reads;
mod remove;
pub mod report;
mod run;
pub mod select;
mod stream;
mod survey;
mod tar;
pub mod target;
mod verify;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lifeboat_model::{Cancel, EventSink, PackId};

use crate::error::RepositoryError;
use crate::profile::Profile;
use crate::repository::{Indexed, Repository};
use crate::snapshot::Snapshot;

pub use metadata::Ownership;
pub use plan::{RestorePlan, RestoreTotals};
pub use reader::{FileReader, read_file};
pub use report::{Remark, RestoreReport};
pub use select::Selection;
pub use tar::write_tar;
pub use target::Existing;

use parallel::Parallel;
use target::Target;

/// What happens to what is in the target and not in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unexpected {
    /// It stays.
    #[default]
    Keep,
    /// It is removed, as far as it lies in a restored directory and patterns select it; so is a directory
    /// that stands where the snapshot has something else, and a symbolic link in a directory's place, unless
    /// what is there is never overwritten.
    Remove,
}

/// Whether restored files are read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// They are not.
    #[default]
    Nothing,
    /// All of them are, and compared with the snapshot.
    Content,
}

/// What is restored, where to and how.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The directory below which the snapshot's paths are made; it is created if it lacks.
    pub target: PathBuf,
    /// What of the snapshot: an absolute path in it, `/` for all.
    pub subpath: PathBuf,
    /// What of that.
    pub selection: Selection,
    /// Whose the files become.
    pub ownership: Ownership,
    /// What happens with a target that holds something.
    pub existing: Existing,
    /// What happens with what the snapshot does not have.
    pub unexpected: Unexpected,
    /// Whether what was restored is read back.
    pub verify: Verify,
    /// Whether an owner that could not be set makes the restore incomplete.
    pub strict_owner: bool,
    /// Whether everything is on the disk itself when the restore ends.
    pub durable: bool,
    /// Takes note of what the time goes into while content is restored.
    pub profile: Profile,
}

impl RestoreOptions {
    /// All of a snapshot into an empty directory, with recorded owners by number.
    pub fn new(target: impl Into<PathBuf>) -> Self {
        Self {
            target: target.into(),
            subpath: PathBuf::from("/"),
            selection: Selection::default(),
            ownership: Ownership::default(),
            existing: Existing::default(),
            unexpected: Unexpected::default(),
            verify: Verify::default(),
            strict_owner: false,
            durable: false,
            profile: Profile::off(),
        }
    }

    /// Restores only what lies at and below a path of the snapshot.
    #[must_use]
    pub fn subpath(mut self, path: impl AsRef<Path>) -> Self {
        path.as_ref().clone_into(&mut self.subpath);
        self
    }

    /// Makes a plan for a snapshot.
    fn plan(
        &self,
        repository: &Repository<Indexed>,
        snapshot: &Snapshot,
        cancel: &Cancel,
    ) -> Result<RestorePlan, RepositoryError> {
        let selection = self.selection.clone();
        RestorePlan::new(repository, snapshot, &self.subpath, selection, cancel)
    }
}

/// Restores a snapshot or a part of it.
///
/// What could not be restored is in the report, not an error: look at
/// [`RestoreReport::is_complete`]. An error means that going on made no sense.
pub fn restore(
    repository: &Repository<Indexed>,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<RestoreReport, RepositoryError> {
    target::refuse_occupied(&options.target, options.existing)?;
    let plan = options.plan(repository, snapshot, cancel)?;
    cancel.check_may_write()?;
    plan.perform(repository, options, events, cancel)
}

/// Tells what [`restore`] would do, without doing anything: the report has what it would return if
/// nothing went wrong.
pub fn preview(
    repository: &Repository<Indexed>,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    cancel: &Cancel,
) -> Result<RestoreReport, RepositoryError> {
    let (mut plan, mut report) = foresee(repository, snapshot, options, cancel)?;
    let totals = *plan.totals();
    report.files = totals.files;
    report.directories = totals.directories;
    report.others = totals.others;
    report.bytes = totals.bytes;
    let pieces = reads::in_order_of_packs(&mut plan.pieces);
    report.bytes_written = pieces.iter().map(|piece| u64::from(piece.plaintext_length())).sum();
    let reach = reads::Reach::of(repository.store());
    report.bytes_fetched = reads::ranges(pieces, reach).map(|range| u64::from(range.length)).sum();
    report.sort();
    Ok(report)
}

/// Returns the packs from which [`restore`] would read content: those of directories are left out, and of
/// what is right in the target already.
pub fn packs_needed(
    repository: &Repository<Indexed>,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    cancel: &Cancel,
) -> Result<BTreeSet<PackId>, RepositoryError> {
    Ok(foresee(repository, snapshot, options, cancel)?.0.packs())
}

/// Makes a plan and looks at what of it is in the target.
fn foresee(
    repository: &Repository<Indexed>,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    cancel: &Cancel,
) -> Result<(RestorePlan, RestoreReport), RepositoryError> {
    target::refuse_occupied(&options.target, options.existing)?;
    let mut plan = options.plan(repository, snapshot, cancel)?;
    let mut report = plan.known.clone();
    let target = Target::find(&options.target)?;
    if let Some(target) = &target {
        let parallel = Parallel(crate::walk::readers(repository));
        plan.look_at_target(target, options, &mut report, (parallel, cancel))?;
        if options.unexpected == Unexpected::Remove {
            let unexpected = remove::unexpected(&plan, target, cancel)?;
            report.deleted.extend(unexpected.into_iter().map(|unexpected| unexpected.path));
        }
    }
    plan.foresee_blocked(&mut report);
    Ok((plan, report))
}

impl RestorePlan {
    /// Does what was planned; what `options` select had its effect when the plan was made.
    pub fn perform(
        mut self,
        repository: &Repository<Indexed>,
        options: &RestoreOptions,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<RestoreReport, RepositoryError> {
        let target = Target::open(&options.target, options.existing)?;
        let mut report = self.known.clone();
        report.strict_owner = options.strict_owner;
        let parallel = Parallel(crate::walk::readers(repository));
        let in_the_way = self.look_at_target(&target, options, &mut report, (parallel, cancel))?;
        self.clear_the_way(&target, &in_the_way);
        let mut pieces = std::mem::take(&mut self.pieces);
        let missing = reads::in_order_of_packs(&mut pieces);
        let run =
            run::Run::new(&self, missing, &target, repository, options, report, (events, cancel));
        run.perform(missing, options.unexpected)?;
        if options.verify == Verify::Content {
            reads::in_order_of_files(&mut pieces);
            run.verify(&pieces)?;
        }
        if options.durable {
            target.sync().map_err(|error| target.error("write out", error))?;
        }
        Ok(run.into_report())
    }
}
