//! `lifeboat repo copy`: copy snapshots into another repository.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use lifeboat_model::{ByteSize, Exit, SnapshotId};
use lifeboat_repository::copy::{Copier, Cuts, compare_cuts};
use lifeboat_repository::selection::SnapshotName;
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
        if self.snapshots.is_empty() {
            return writeln!(page, "no snapshots to copy");
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
    /// Copies the oldest snapshot first; what was copied stays when a later one fails.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let other = Access {
            address: self.to,
            password_file: self.to_password_file,
            password_command: self.to_password_command,
            no_lock: false,
            no_cache: self.access.no_cache,
            bandwidth: self.access.bandwidth,
        };
        let (from, from_lock) = self.access.open(session)?;
        let (to, to_lock) = other.open(session)?;
        let wanted = from.choose_all(&self.snapshots, &self.choice.filter())?;
        let (events, cancel) = (session.events(), &session.cancel);
        let from = from.load_index(cancel, &*events)?;
        let to = to.load_index(cancel, &*events)?;
        if compare_cuts(&from, &to) == Cuts::Different {
            session.screen.remark(
                "the repositories cut files in different places: what is copied and what is backed \
                 up into the other one share no data",
            );
        }
        let mut copier = Copier::new(&from, &to, &*events, cancel);
        let mut snapshots = Vec::new();
        for (id, _) in wanted {
            let report = copier.copy(&id)?;
            snapshots.push(Entry {
                from: id,
                to: report.snapshot,
                was_there: report.was_there,
                packs: report.packs,
                size_bytes: ByteSize(report.bytes),
            });
        }
        super::end_lock(from_lock)?;
        super::end_lock(to_lock)?;
        session.done(&Copied { snapshots })
    }
}
