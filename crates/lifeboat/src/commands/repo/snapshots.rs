//! `lifeboat repo snapshots`: list the snapshots of a repository.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{BlobId, Exit, SnapshotId, Timestamp, counted};
use lifeboat_repository::selection::{self, Group, GroupBy};
use lifeboat_repository::{Snapshot, SnapshotName};
use serde::Serialize;

use super::Access;
use super::choice::{Choice, snapshot_name};
use crate::failure::Failure;
use crate::render::{Answer, Page, Table, time};
use crate::session::Session;

/// The arguments of `lifeboat repo snapshots`.
#[derive(Debug, Args)]
pub struct Snapshots {
    #[command(flatten)]
    access: Access,
    /// Show these: `latest`, or the first digits of their ids; without any, all
    #[arg(value_name = "SNAPSHOT", value_parser = snapshot_name())]
    names: Vec<SnapshotName>,
    /// Show only the newest of each host and paths, this many
    #[arg(long, value_name = "N")]
    latest: Option<usize>,
    /// Put together what has the same host, paths or tags, separated by commas
    #[arg(short, long, value_name = "TRAITS")]
    group_by: Option<GroupBy>,
    /// Leave the paths out
    #[arg(short, long)]
    compact: bool,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Serialize)]
struct Listed {
    snapshots: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Grouped>>,
    #[serde(skip)]
    width: Width,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Compact,
    Full,
}

#[derive(Serialize)]
struct Grouped {
    #[serde(flatten)]
    group: Group,
    snapshots: Vec<SnapshotId>,
}

#[derive(Serialize)]
struct Entry {
    id: SnapshotId,
    time: Timestamp,
    hostname: String,
    username: String,
    tags: Vec<String>,
    paths: Vec<String>,
    tree: BlobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<SnapshotId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<SnapshotId>,
    program_version: String,
}

impl Answer for Listed {
    const SCHEMA: &'static str = "lifeboat.repo.snapshots/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        if self.snapshots.is_empty() {
            return writeln!(page, "no snapshots");
        }
        match &self.groups {
            None => self.write_table(self.snapshots.iter().collect(), page),
            Some(groups) => {
                let entries: BTreeMap<SnapshotId, &Entry> =
                    self.snapshots.iter().map(|entry| (entry.id, entry)).collect();
                for Grouped { group, snapshots } in groups {
                    writeln!(page, "{}", page.paint.strong(&group.to_string()))?;
                    self.write_table(snapshots.iter().map(|id| entries[id]).collect(), page);
                    writeln!(page)?;
                }
            }
        }
        writeln!(page, "{}", counted(self.snapshots.len(), "snapshot"))
    }
}

impl Listed {
    fn write_table(&self, entries: Vec<&Entry>, page: &mut Page) {
        let common = |entry: &Entry| {
            [
                entry.id.to_string().into(),
                time::instant(entry.time).into(),
                entry.hostname.as_str().into(),
                entry.tags.join(", ").into(),
            ]
        };
        if self.width == Width::Compact {
            let mut table = Table::new(["Id", "Time", "Host", "Tags"]);
            for entry in entries {
                table.row(common(entry));
            }
            page.table(&table);
            return;
        }
        let mut table = Table::new(["Id", "Time", "Host", "Tags", "Paths"]);
        for entry in entries {
            let [id, time, host, tags] = common(entry);
            table.row([id, time, host, tags, entry.paths.join(", ").into()]);
        }
        page.table(&table);
    }
}

impl Snapshots {
    /// Lists the snapshots, the oldest first.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let filter = self.choice.filter();
        let mut chosen = self
            .access
            .look(session, |repository| Ok(repository.choose_all(&self.names, &filter)?))?;
        chosen.sort_by_key(|(id, snapshot)| (snapshot.time, *id));
        if let Some(count) = self.latest {
            chosen = selection::newest(chosen, count);
        }
        let groups = self.group_by.filter(|by| !by.is_empty()).map(|by| {
            let groups = by.groups(chosen.clone()).into_iter();
            let ids = |members: Vec<(SnapshotId, Snapshot)>| {
                members.into_iter().map(|(id, _)| id).collect()
            };
            groups.map(|(group, members)| Grouped { group, snapshots: ids(members) }).collect()
        });
        let snapshots = chosen.into_iter().map(|(id, snapshot)| Entry::new(id, snapshot)).collect();
        let width = if self.compact { Width::Compact } else { Width::Full };
        session.done(&Listed { snapshots, groups, width })
    }
}

impl Entry {
    fn new(id: SnapshotId, snapshot: Snapshot) -> Self {
        Self {
            id,
            time: snapshot.time.instant(),
            hostname: snapshot.hostname,
            username: snapshot.username,
            tags: snapshot.tags,
            paths: snapshot.paths,
            tree: snapshot.tree,
            parent: snapshot.parent,
            original: snapshot.original,
            program_version: snapshot.program_version,
        }
    }
}
