//! What a restore is going to do, before it does anything.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lifeboat_model::{BlobId, Cancel};

use super::name::Component;
use super::reads::{RangeRead, ReadPlanner, Use};
use super::report::{Remark, RestoreReport};
use super::target::{DirIndex, Hierarchy};
use crate::blob::BlobKind;
use crate::error::RepositoryError;
use crate::listing::{path_components, shown_path};
use crate::node::{Node, NodeKind};
use crate::repository::{Indexed, Repository};
use crate::snapshot::Snapshot;

/// Directories deeper than this are refused; Linux itself reaches no path of half as many.
const DEPTH_MAX: usize = 4096;

/// How one entry comes into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// A directory.
    Directory,
    /// A file of this size, put together from this many pieces.
    File { size: u64, pieces: u32 },
    /// A further name of an entry before it.
    HardLink { first: usize },
    /// A symbolic link, device or fifo.
    Other,
    /// A socket: its process makes it.
    Nothing,
}

/// One entry, in an order in which directories come before what is in them.
#[derive(Debug)]
pub(super) struct PlanEntry {
    pub parent: DirIndex,
    pub name: Component,
    pub node: Node,
    pub action: Action,
    /// Whether it only leads to what was asked for.
    pub above: bool,
}

/// What a restore is going to do.
///
/// It holds all entries of what is restored, about half a kilobyte each, and all their pieces.
#[derive(Debug)]
pub struct RestorePlan {
    pub(super) entries: Vec<PlanEntry>,
    pub(super) reads: Vec<RangeRead>,
    /// Entries that cannot become whole.
    pub(super) lost: HashSet<usize>,
    /// What planning already knows: failures and warnings.
    pub(super) known: RestoreReport,
    totals: RestoreTotals,
}

/// How much a restore is going to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct RestoreTotals {
    /// Files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, devices, fifos.
    pub others: u64,
    /// The length of all files, in bytes, holes included.
    pub bytes: u64,
    /// What will be fetched, in bytes.
    pub bytes_to_fetch: u64,
    /// From how many ranges of packs.
    pub requests: u64,
}

impl RestorePlan {
    /// Looks at what is to be restored: all of a snapshot or what lies at and below `subpath`.
    pub fn new(
        repository: &Repository<Indexed>,
        snapshot: &Snapshot,
        subpath: &Path,
        cancel: &Cancel,
    ) -> Result<Self, RepositoryError> {
        let mut planner = Planner::new(repository, path_components(subpath));
        planner.walk(snapshot.tree, cancel)?;
        if !planner.found {
            let path = subpath.to_owned();
            return Err(RepositoryError::NoSuchPath { path, tree: snapshot.tree });
        }
        Ok(planner.finish())
    }

    /// Returns how much there is to do.
    pub const fn totals(&self) -> &RestoreTotals {
        &self.totals
    }

    /// Returns what is known beforehand to fail.
    pub fn failures(&self) -> &[Remark] {
        &self.known.failed
    }

    /// Returns the paths that the restore will make, in order.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.entries.len()).map(|index| self.path(index))
    }

    /// Returns the path of an entry in the snapshot.
    pub(super) fn path(&self, index: usize) -> PathBuf {
        path_of(&self.entries, Some(index))
    }
}

impl Hierarchy for RestorePlan {
    fn directory(&self, index: usize) -> (DirIndex, &Component) {
        let entry = &self.entries[index];
        (entry.parent, &entry.name)
    }
}

fn path_of(entries: &[PlanEntry], index: DirIndex) -> PathBuf {
    let mut names = Vec::new();
    let mut at = index;
    while let Some(index) = at {
        names.push(entries[index].name.as_os_str());
        at = entries[index].parent;
    }
    shown_path(names.into_iter().rev())
}

/// A directory that is still to be looked into.
struct Visit {
    directory: DirIndex,
    tree: BlobId,
    depth: usize,
}

struct Planner<'r> {
    repository: &'r Repository<Indexed>,
    /// The components of the path that is restored; all of the snapshot if there are none.
    wanted: Vec<OsString>,
    found: bool,
    entries: Vec<PlanEntry>,
    lost: HashSet<usize>,
    known: RestoreReport,
    totals: RestoreTotals,
    reads: ReadPlanner,
    /// Files with several names, by device and inode: the first name and its content.
    links: HashMap<(u64, u64), (usize, NodeKind)>,
}

impl<'r> Planner<'r> {
    fn new(repository: &'r Repository<Indexed>, wanted: Vec<OsString>) -> Self {
        Self {
            repository,
            found: wanted.is_empty(),
            wanted,
            entries: Vec::new(),
            lost: HashSet::new(),
            known: RestoreReport::default(),
            totals: RestoreTotals::default(),
            reads: ReadPlanner::default(),
            links: HashMap::new(),
        }
    }

    fn walk(&mut self, root: BlobId, cancel: &Cancel) -> Result<(), RepositoryError> {
        let mut visits = vec![Visit { directory: None, tree: root, depth: 0 }];
        while let Some(visit) = visits.pop() {
            cancel.check()?;
            let tree = match self.repository.tree(&visit.tree) {
                Ok(tree) => tree,
                // Without its root nothing of the snapshot is known.
                Err(error) if visit.depth == 0 => return Err(error),
                Err(error) => {
                    self.fail(visit.directory, crate::check::explain(&error));
                    continue;
                }
            };
            if visit.depth >= DEPTH_MAX {
                self.fail(visit.directory, "it lies too deep to be restored");
                continue;
            }
            let begin = visits.len();
            self.add_nodes(&visit, tree.nodes, &mut visits);
            // The stack gives back the last first; this keeps the order of names.
            visits[begin..].reverse();
        }
        Ok(())
    }

    fn add_nodes(&mut self, visit: &Visit, nodes: Vec<Node>, visits: &mut Vec<Visit>) {
        let mut names = HashSet::new();
        for node in nodes {
            if self.wanted.get(visit.depth).is_some_and(|wanted| *wanted != node.name) {
                continue;
            }
            self.found |= visit.depth + 1 >= self.wanted.len();
            let name = match Component::new(&node.name) {
                Ok(name) => name,
                Err(error) => {
                    self.fail(visit.directory, error);
                    continue;
                }
            };
            if !names.insert(name.clone()) {
                let what = format!("it has two entries named `{}`", name.as_os_str().display());
                self.fail(visit.directory, what);
                continue;
            }
            let above = visit.depth + 1 < self.wanted.len();
            let subtree = match &node.kind {
                NodeKind::Directory { subtree } => Some(*subtree),
                _ if above => {
                    // The path leads through something that is no directory.
                    continue;
                }
                _ => None,
            };
            let index = self.add_entry(visit.directory, name, node, above);
            if let Some(tree) = subtree {
                visits.push(Visit { directory: Some(index), tree, depth: visit.depth + 1 });
            }
        }
    }

    fn add_entry(
        &mut self,
        parent: DirIndex,
        name: Component,
        mut node: Node,
        above: bool,
    ) -> usize {
        let index = self.entries.len();
        let linked = self.linked_to(index, &node);
        let action = match (&mut node.kind, linked) {
            (_, Some(first)) => Action::HardLink { first },
            (NodeKind::Directory { .. }, None) => Action::Directory,
            (NodeKind::File { .. }, None) => Action::File { size: 0, pieces: 0 },
            (NodeKind::Socket, None) => Action::Nothing,
            _ => Action::Other,
        };
        let file = match &mut node.kind {
            NodeKind::File { size, content } if linked.is_none() => {
                Some((*size, std::mem::take(content)))
            }
            _ => None,
        };
        self.entries.push(PlanEntry { parent, name, node, action, above });
        match action {
            Action::Directory => self.totals.directories += 1,
            Action::File { .. } => self.totals.files += 1,
            Action::HardLink { .. } | Action::Other => self.totals.others += 1,
            Action::Nothing => {
                let path = path_of(&self.entries, Some(index));
                self.known.warn(path, "a socket is made by its process and was left out");
            }
        }
        if let Some((size, content)) = file {
            self.add_content(index, size, &content);
        }
        index
    }

    /// Returns the entry that this one is a further name of.
    fn linked_to(&mut self, index: usize, node: &Node) -> Option<usize> {
        let metadata = &node.metadata;
        let is_directory = matches!(node.kind, NodeKind::Directory { .. });
        if is_directory || metadata.links < 2 || metadata.inode == 0 {
            return None;
        }
        let key = (metadata.device_id, metadata.inode);
        if let Some((first, kind)) = self.links.get(&key) {
            // A file that changed while it was backed up is not the same under its second name.
            return (*kind == node.kind).then_some(*first);
        }
        self.links.insert(key, (index, node.kind.clone()));
        None
    }

    fn add_content(&mut self, index: usize, recorded_size: u64, content: &[BlobId]) {
        let mut size = 0;
        let mut pieces = 0;
        for id in content {
            let Some(location) = self.repository.index().get(BlobKind::Data, id) else {
                // Where the pieces behind it go is not known, unless it is the only one lacking;
                // a file of the right size with everything before the gap is worth more than none.
                self.fail_lost(index, format!("no index lists its data blob {}", id.to_hex()));
                break;
            };
            self.reads.need(*id, location, Use { file: index, offset: size });
            size += u64::from(location.plaintext_length());
            pieces += 1;
        }
        if self.lost.contains(&index) {
            size = size.max(recorded_size);
        } else if size != recorded_size {
            let what = format!("recorded as {recorded_size} bytes, its content has {size}");
            self.known.warn(path_of(&self.entries, Some(index)), what);
        }
        self.totals.bytes += size;
        self.entries[index].action = Action::File { size, pieces };
    }

    fn fail_lost(&mut self, index: usize, what: String) {
        self.lost.insert(index);
        self.fail(Some(index), what);
    }

    fn fail(&mut self, entry: DirIndex, what: impl std::fmt::Display) {
        self.known.fail(path_of(&self.entries, entry), what);
    }

    fn finish(self) -> RestorePlan {
        let reads = self.reads.finish();
        let mut totals = self.totals;
        totals.requests = reads.len() as u64;
        totals.bytes_to_fetch = reads.iter().map(|range| u64::from(range.length)).sum();
        let (entries, lost, known) = (self.entries, self.lost, self.known);
        RestorePlan { entries, reads, lost, known, totals }
    }
}
