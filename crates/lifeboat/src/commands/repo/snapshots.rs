//! `lifeboat repo snapshots`: list the snapshots of a repository.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{BlobId, Exit, SnapshotId, Timestamp};
use lifeboat_repository::Snapshot;
use serde::Serialize;

use super::Access;
use crate::failure::Failure;
use crate::render::{Answer, Page, Table, time};
use crate::session::Session;

/// The arguments of `lifeboat repo snapshots`.
#[derive(Debug, Args)]
pub struct Snapshots {
    #[command(flatten)]
    access: Access,
    /// Show only snapshots of this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Show only snapshots with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    snapshots: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    id: SnapshotId,
    time: Timestamp,
    hostname: String,
    tags: Vec<String>,
    paths: Vec<String>,
    tree: BlobId,
}

impl Answer for Listed {
    const SCHEMA: &'static str = "lifeboat.repo.snapshots/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        if self.snapshots.is_empty() {
            return writeln!(page, "no snapshots");
        }
        let mut table = Table::new(["Id", "Time", "Host", "Tags", "Paths"]);
        for entry in &self.snapshots {
            table.row([
                entry.id.to_string().into(),
                time::instant(entry.time).into(),
                entry.hostname.as_str().into(),
                entry.tags.join(", ").into(),
                entry.paths.join(", ").into(),
            ]);
        }
        page.table(&table);
        Ok(())
    }
}

impl Snapshots {
    /// Lists the snapshots, the oldest first.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (repository, lock) = self.access.open(session)?;
        let snapshots: Vec<Entry> = repository
            .snapshots()?
            .into_iter()
            .map(|(id, snapshot)| Entry::new(id, snapshot))
            .filter(|entry| self.wants(entry))
            .collect();
        super::end_lock(lock)?;
        session.done(&Listed { snapshots })
    }

    fn wants(&self, entry: &Entry) -> bool {
        self.host.as_ref().is_none_or(|host| *host == entry.hostname)
            && self.tag.as_ref().is_none_or(|tag| entry.tags.contains(tag))
    }
}

impl Entry {
    fn new(id: SnapshotId, snapshot: Snapshot) -> Self {
        Self {
            id,
            time: snapshot.time.instant(),
            hostname: snapshot.hostname,
            tags: snapshot.tags,
            paths: snapshot.paths,
            tree: snapshot.tree,
        }
    }
}
