//! `lifeboat repo ls`: list what a snapshot contains.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use lifeboat_model::{Exit, SnapshotId};
use lifeboat_repository::listing::{self, Depth, Listed};
use lifeboat_repository::{Node, NodeKind, SnapshotName};
use serde::Serialize;

use super::Access;
use super::choice::{Choice, snapshot_name};
use crate::failure::{Failure, Interrupted};
use crate::render::{Answer, Page, ShownPath};
use crate::session::Session;

/// The arguments of `lifeboat repo ls`.
#[derive(Debug, Args)]
pub struct Ls {
    #[command(flatten)]
    access: Access,
    /// The snapshot: `latest`, or the first digits of its id; behind a colon, a directory to take
    /// for its root
    #[arg(value_name = "SNAPSHOT", default_value = "latest", value_parser = snapshot_name())]
    snapshot: SnapshotName,
    /// List only what is at or below this path
    #[arg(value_name = "PATH", default_value = "/")]
    path: PathBuf,
    /// Show mode, owner, size and time too
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Serialize)]
struct Contents {
    snapshot: SnapshotId,
    entries: Vec<Entry>,
    #[serde(skip)]
    long: bool,
}

/// An entry of a snapshot, as it is listed.
#[derive(Serialize)]
pub struct Entry {
    path: ShownPath,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_raw: Option<String>,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    user: String,
    group: String,
    size_bytes: u64,
    modified: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<ShownPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_raw: Option<String>,
}

impl From<Listed> for Entry {
    fn from(Listed { path, node }: Listed) -> Self {
        let Node { kind, metadata, .. } = node;
        let (size_bytes, target) = match &kind {
            NodeKind::File { size, .. } => (*size, None),
            NodeKind::Symlink { target } => (0, Some(ShownPath(target.into()))),
            _ => (0, None),
        };
        let path = ShownPath(path);
        Self {
            path_raw: path.raw(),
            path,
            kind: kind.name(),
            mode: format!("{:04o}", metadata.mode.permissions()),
            uid: metadata.uid,
            gid: metadata.gid,
            user: metadata.user,
            group: metadata.group,
            size_bytes,
            modified: metadata.mtime.to_string(),
            target_raw: target.as_ref().and_then(ShownPath::raw),
            target,
        }
    }
}

impl Answer for Contents {
    const SCHEMA: &'static str = "lifeboat.repo.ls/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        self.entries.iter().try_for_each(|entry| entry.write(self.long, page))
    }
}

impl Entry {
    /// Writes it in one line, with its details if they are wanted.
    pub fn write(&self, long: bool, page: &mut Page) -> fmt::Result {
        if long {
            self.write_details(page)?;
        }
        write!(page, "{}", self.path)?;
        match &self.target {
            Some(target) if long => writeln!(page, " -> {target}"),
            _ => writeln!(page),
        }
    }

    fn write_details(&self, page: &mut Page) -> fmt::Result {
        let owner = |name: &str, id: u32| {
            if name.is_empty() { id.to_string() } else { name.to_owned() }
        };
        write!(
            page,
            "{:<7} {} {:>8} {:>8} {:>12} {}  ",
            self.kind,
            self.mode,
            owner(&self.user, self.uid),
            owner(&self.group, self.gid),
            self.size_bytes,
            self.modified,
        )
    }
}

impl Ls {
    /// Lists the entries in the order of the tree.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (id, entries) = self.access.look(session, |repository| {
            let (id, snapshot) = repository.choose(&self.snapshot, &self.choice.filter())?;
            let repository = repository.load_index(&session.cancel, &*session.events())?;
            let snapshot = repository.enter(snapshot, &self.snapshot.directory)?;
            let mut entries = Vec::new();
            for listed in listing::list(&repository, &snapshot, &self.path, Depth::All)? {
                session.cancel.check().map_err(Interrupted::from)?;
                entries.push(Entry::from(listed?));
            }
            Ok((id, entries))
        })?;
        session.done(&Contents { snapshot: id, entries, long: self.long })
    }
}
