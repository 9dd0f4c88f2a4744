//! `lifeboat repo copy`: copy snapshots into another repository.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use lifeboat_model::{ByteSize, Exit, SnapshotId};
use lifeboat_repository::check::explain;
use lifeboat_repository::copy::{Copier, Cuts, compare_cuts};
use lifeboat_repository::selection::SnapshotName;
use lifeboat_repository::{RepositoryError, StoredObject};
use serde::Serialize;

use super::Access;
use super::choice::{self, Choice};
use crate::failure::Failure;
use crate::render::{Answer, Page, Sort, Table};
use crate::session::Session;

/// The arguments of `lifeboat repo copy`.
#[derive(Debug, Args)]
pub struct Copy {
    #[command(flatten)]
    access: Access,
    /// Copy these snapshots: `latest`, or the first digits of their ids; without any, all
    #[arg(value_name = "SNAPSHOT", value_parser = choice::snapshot_name())]
    snapshots: Vec<SnapshotName>,
    /// Copy into this repository, which must exist
    #[arg(long, value_name = "REPOSITORY")]
    to: String,
    /// Read the other repository's password from the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "to_password_command")]
    to_password_file: Option<PathBuf>,
    /// Take the other repository's password from the first line that this shell command prints
    #[arg(long, value_name = "COMMAND")]
    to_password_command: Option<OsString>,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Serialize)]
struct Copied {
    snapshots: Vec<Entry>,
    /// What was not copied, and why.
    failed: Vec<NotCopied>,
}

#[derive(Serialize)]
struct NotCopied {
    object: String,
    problem: String,
}

impl NotCopied {
    fn new(object: StoredObject, error: &RepositoryError) -> Self {
        Self { object: object.to_string(), problem: explain(error) }
    }
}

#[derive(Serialize)]
struct Entry {
    from: SnapshotId,
    to: SnapshotId,
    was_there: bool,
    packs: u64,
    size_bytes: ByteSize,
}

impl Answer for Copied {
    const SCHEMA: &'static str = "lifeboat.repo.copy/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let word = page.paint.bad("not copied");
        page.lines(&self.failed, 0, |NotCopied { object, problem }| {
            format!("{word}: {object}: {problem}")
        })?;
        if self.snapshots.is_empty() {
            return if self.failed.is_empty() {
                writeln!(page, "no snapshots to copy")
            } else {
                Ok(())
            };
        }
        let mut table = Table::new(["Snapshot", "Copy", ">Packs", ">Size", "Result"]);
        for entry in &self.snapshots {
            table.row([
                entry.from.to_string().into(),
                entry.to.to_string().into(),
                entry.packs.to_string().into(),
                entry.size_bytes.to_string().into(),
                if entry.was_there { "was there" } else { "copied" }.into(),
            ]);
        }
        page.table(&table);
        Ok(())
    }
}

impl Copy {
    /// Copies the oldest snapshot first; what is damaged is named and not copied, and ends with 3.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let other = Access {
            address: self.to,
            password_file: self.to_password_file,
            password_option: "--to-password-file",
            password_command: self.to_password_command,
            no_lock: false,
            no_cache: self.access.no_cache,
            prompt_listing: false,
            bandwidth: self.access.bandwidth,
        };
        let (from, from_lock) = self.access.open(session)?;
        let (to, to_lock) = other.open(session)?;
        let wanted = from.choose_readable(&self.snapshots, &self.choice.filter())?;
        let (events, cancel) = (session.events(), &session.cancel);
        let from = from.load_index(cancel, &*events)?;
        let to = to.load_index(cancel, &*events)?;
        if compare_cuts(&from, &to) == Cuts::Different {
            session.screen.remark(&different_cuts(&self.access.address));
        }
        let mut copied = Copied { snapshots: Vec::new(), failed: damaged(&wanted.damaged) };
        let ids = wanted.snapshots.iter().map(|(id, _)| *id);
        Copier::new(&from, &to, &*events, cancel).copy_all(ids, |id, report| match report {
            Ok(report) => copied.snapshots.push(Entry {
                from: id,
                to: report.snapshot,
                was_there: report.was_there,
                packs: report.packs,
                size_bytes: ByteSize(report.bytes),
            }),
            Err(error) => copied.failed.push(NotCopied::new(StoredObject::Snapshot(id), &error)),
        })?;
        super::end_lock(from_lock)?;
        super::end_lock(to_lock)?;
        let exit = if copied.failed.is_empty() { Exit::Done } else { Exit::Incomplete };
        session.end(&copied, exit)
    }
}

/// Names snapshots that cannot be read.
fn damaged(errors: &[RepositoryError]) -> Vec<NotCopied> {
    let name = |error: &RepositoryError| match error {
        RepositoryError::Corrupt(damage) => {
            Some(NotCopied { object: damage.object.to_string(), problem: explain(&damage.defect) })
        }
        _ => None,
    };
    errors.iter().filter_map(name).collect()
}

fn different_cuts(from: &str) -> String {
    format!(
        "the repositories cut files in different places: what is copied and what is backed up into the \
         other one share no data; one that is made with `lifeboat repo init NEW --from-repo {from} \
         --copy-chunker-params` shares all"
    )
}
