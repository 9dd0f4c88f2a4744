//! `lifeboat repo diff`: show what differs between two snapshots.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{ByteSize, Exit, SnapshotId};
use lifeboat_repository::SnapshotName;
use lifeboat_repository::diff::{self, Change, DiffOptions, Mark, MetadataChanges, Sum, Sums};
use serde::Serialize;

use super::Access;
use super::choice::{Choice, snapshot_name};
use super::unreadable::{self, Unread};
use crate::failure::Failure;
use crate::render::{Answer, Page, ShownPath};
use crate::session::Session;

/// The arguments of `lifeboat repo diff`.
///
/// Each line begins with what happened to an entry: `+` added, `-` removed, `M` other content, `M?`
/// other content but the same size and times (perhaps a rotten disk), `T` another type, `U` other
/// metadata.
#[derive(Debug, Args)]
pub struct Diff {
    #[command(flatten)]
    access: Access,
    /// The first snapshot: `latest`, or the first digits of its id; behind a colon, a directory in it
    #[arg(value_name = "BEFORE", value_parser = snapshot_name())]
    before: SnapshotName,
    /// The second snapshot, named likewise
    #[arg(value_name = "AFTER", value_parser = snapshot_name())]
    after: SnapshotName,
    /// Show changes of owner, mode and times too
    #[arg(long)]
    metadata: bool,
    /// Do not look into what both have in common: quicker, but data that was copied out of there
    /// counts as added
    #[arg(long)]
    changed_only: bool,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Serialize)]
struct Compared {
    before: SnapshotId,
    after: SnapshotId,
    changes: Vec<Shown>,
    changed_files: u64,
    added: Sum,
    removed: Sum,
    unreadable: Vec<Unread>,
}

#[derive(Serialize)]
struct Shown {
    path: ShownPath,
    mark: Mark,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_raw: Option<String>,
}

impl From<Change> for Shown {
    fn from(Change { path, mark, sort }: Change) -> Self {
        let path = ShownPath(path);
        Self { path_raw: path.raw(), path, mark, kind: sort }
    }
}

impl Answer for Compared {
    const SCHEMA: &'static str = "lifeboat.repo.diff/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "comparing snapshot {} to {}:\n", self.before, self.after)?;
        for Shown { path, mark, kind, .. } in &self.changes {
            let slash = if *kind == "dir" { "/" } else { "" };
            writeln!(page, "{:<4} {path}{slash}", mark.letters())?;
        }
        unreadable::write(&self.unreadable, page)?;
        let Self { added, removed, changed_files, .. } = self;
        writeln!(page)?;
        let mut line = |what: &str, new: u64, old: u64, rest: String| {
            writeln!(page, "{:<12} {new:>6} new, {old:>6} removed{rest}", format!("{what}:"))
        };
        let changed = format!(", {changed_files:>6} changed");
        line("Files", added.files, removed.files, changed)?;
        line("Dirs", added.directories, removed.directories, String::new())?;
        line("Others", added.others, removed.others, String::new())?;
        line("Data blobs", added.data_blobs, removed.data_blobs, String::new())?;
        line("Tree blobs", added.tree_blobs, removed.tree_blobs, String::new())?;
        writeln!(page, "  Added:   {}", ByteSize(added.bytes))?;
        writeln!(page, "  Removed: {}", ByteSize(removed.bytes))
    }
}

impl Diff {
    /// Compares the snapshots; 3 if a directory could not be read.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let filter = self.choice.filter();
        let options = DiffOptions {
            metadata: if self.metadata { MetadataChanges::Told } else { MetadataChanges::Ignored },
            sums: if self.changed_only { Sums::OfWhatDiffers } else { Sums::Exact },
        };
        let (before, after, report) = self.access.look(session, |repository| {
            let (before, first) = repository.choose(&self.before, &filter)?;
            let (after, second) = repository.choose(&self.after, &filter)?;
            let repository = repository.load_index(&session.cancel, &*session.events())?;
            let first = repository.enter(first, &self.before.directory)?.tree;
            let second = repository.enter(second, &self.after.directory)?.tree;
            let report = diff::diff(&repository, first, second, options, &session.cancel)?;
            Ok((before, after, report))
        })?;
        let unreadable = unreadable::shown(report.unreadable);
        let exit = unreadable::exit(&unreadable);
        let answer = Compared {
            before,
            after,
            changes: report.changes.into_iter().map(Shown::from).collect(),
            changed_files: report.changed_files,
            added: report.added,
            removed: report.removed,
            unreadable,
        };
        session.end(&answer, exit)
    }
}
