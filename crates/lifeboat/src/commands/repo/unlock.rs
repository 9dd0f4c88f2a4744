//! `lifeboat repo unlock`: remove locks that nobody holds any more.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{Exit, LockId, Timestamp};
use lifeboat_repository::lock::{self, FoundLock, LockRecord, Removal, Standing};
use serde::Serialize;

use super::Access;
use crate::failure::Failure;
use crate::render::{Answer, Page, Sort};
use crate::session::Session;

/// The arguments of `lifeboat repo unlock`.
#[derive(Debug, Args)]
#[command(mut_arg("no_lock", super::unmentioned))]
pub struct Unlock {
    #[command(flatten)]
    access: Access,
    /// Remove locks too whose holders may still be at work: only when you know that none is
    #[arg(long)]
    remove_all: bool,
}

#[derive(Serialize)]
struct Unlocked {
    removed: Vec<Entry>,
    kept: Vec<Entry>,
    #[serde(skip)]
    now: Timestamp,
}

#[derive(Serialize)]
struct Entry {
    id: LockId,
    stale: bool,
    #[serde(flatten)]
    record: Option<LockRecord>,
}

impl From<FoundLock> for Entry {
    fn from(FoundLock { id, record, standing }: FoundLock) -> Self {
        Self { id, record, stale: standing == Standing::Stale }
    }
}

impl Answer for Unlocked {
    const SCHEMA: &'static str = "lifeboat.repo.unlock/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        if self.removed.is_empty() && self.kept.is_empty() {
            return writeln!(page, "no locks");
        }
        for (word, entries) in [("removed", &self.removed), ("kept", &self.kept)] {
            for Entry { id, record, .. } in entries {
                let holder = record.as_ref().map_or_else(
                    || "it cannot be read".to_owned(),
                    |record| record.describe(self.now),
                );
                writeln!(page, "{word} {id}: {holder}")?;
            }
        }
        Ok(())
    }
}

impl Unlock {
    /// Removes locks; those that somebody holds are named and kept.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let repository = self.access.open_without_lock(session)?;
        let removal = if self.remove_all { Removal::All } else { Removal::Stale };
        let (removed, kept) = lock::unlock(&repository, removal, &*session.clock)?;
        let entries = |locks: Vec<FoundLock>| locks.into_iter().map(Entry::from).collect();
        let now = session.clock.now();
        session.done(&Unlocked { removed: entries(removed), kept: entries(kept), now })
    }
}
