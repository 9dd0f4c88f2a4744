//! What a restore is going to do, before it looks at the target.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use lifeboat_model::pattern::EntryKind;
use lifeboat_model::{BlobId, Cancel, PackId};

use super::entries::{DirNumber, Entries, EntryNumber, Sort, Wanted};
use super::name::Component;
use super::reads::{PackTable, Piece};
use super::report::{Remark, RestoreReport};
use super::select::{Selection, Verdict, Within};
use crate::blob::BlobKind;
use crate::check::explain;
use crate::error::RepositoryError;
use crate::listing::path_components;
use crate::node::{Node, NodeKind};
use crate::repository::{Indexed, Neighbours, Repository};
use crate::snapshot::Snapshot;
use crate::walk::{Directory, batches, not_a_tree, read_cached, read_each};

/// Directories deeper than this are refused; Linux itself reaches no path of half as many.
const DEPTH_MAX: usize = 4096;

/// What a restore is going to do.
///
/// It holds all entries of what is restored and all their pieces, some 200 bytes for a small file.
#[derive(Debug)]
pub struct RestorePlan {
    pub(super) entries: Entries,
    /// The entries of each depth: directories come before what is in them.
    pub(super) levels: Vec<Range<EntryNumber>>,
    /// All pieces, those of one file side by side and in order.
    pub(super) pieces: Vec<Piece>,
    pub(super) packs: PackTable,
    /// Files that cannot become whole.
    pub(super) lost: HashSet<EntryNumber>,
    /// Directories of which not everything is known that is in them.
    pub(super) unclear: HashSet<DirNumber>,
    /// What cannot be made, since something is in its way.
    pub(super) blocked: HashSet<EntryNumber>,
    /// What planning already knows: failures and warnings.
    pub(super) known: RestoreReport,
    /// How the root is restored.
    pub(super) root: Wanted,
    /// How many names the path has that is restored.
    pub(super) depth: usize,
    pub(super) selection: Selection,
    pub(super) totals: RestoreTotals,
}

/// How much a snapshot holds of what is restored.
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
}

impl RestoreTotals {
    fn add(&mut self, sort: Sort) {
        match sort {
            Sort::Directory { .. } => self.directories += 1,
            Sort::File { size, .. } => {
                self.files += 1;
                self.bytes += size;
            }
            Sort::Socket => {}
            _ => self.others += 1,
        }
    }

    /// Takes something out that was counted.
    pub(super) fn leave_out(&mut self, sort: Sort) {
        let mut less = Self::default();
        less.add(sort);
        self.files -= less.files;
        self.directories -= less.directories;
        self.others -= less.others;
        self.bytes -= less.bytes;
    }
}

impl RestorePlan {
    /// Looks at what is to be restored: of what lies at and below `subpath`, what is selected.
    pub fn new(
        repository: &Repository<Indexed>,
        snapshot: &Snapshot,
        subpath: &Path,
        selection: Selection,
        cancel: &Cancel,
    ) -> Result<Self, RepositoryError> {
        let mut planner = Planner::new(repository, path_components(subpath), selection);
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

    /// Returns the packs from which content is read.
    pub fn packs(&self) -> BTreeSet<PackId> {
        let missing = self.pieces.iter().filter(|piece| !piece.is_there);
        missing.map(|piece| self.packs.pack(piece)).collect()
    }

    /// Returns what is known beforehand to fail.
    pub fn failures(&self) -> &[Remark] {
        &self.known.failed
    }

    /// Returns the paths that the restore will make, a directory before what is in it.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.depth_first().map(|number| self.path(number))
    }

    /// Returns the wanted entries in the order of a listing.
    pub(super) fn depth_first(&self) -> impl Iterator<Item = EntryNumber> {
        self.entries.depth_first(self.levels.first().map_or(0, |level| level.end))
    }

    /// Returns the path of an entry in the snapshot.
    pub(super) fn path(&self, number: EntryNumber) -> PathBuf {
        self.entries.path(Some(number))
    }
}

/// A directory that is still to be looked into.
struct Visit {
    directory: DirNumber,
    tree: BlobId,
    within: Within,
}

struct Planner<'r> {
    repository: &'r Repository<Indexed>,
    /// The components of the path that is restored; all of the snapshot if there are none.
    subpath: Vec<OsString>,
    found: bool,
    selection: Selection,
    entries: Entries,
    levels: Vec<Range<EntryNumber>>,
    pieces: Vec<Piece>,
    packs: PackTable,
    lost: HashSet<EntryNumber>,
    unclear: HashSet<DirNumber>,
    known: RestoreReport,
    /// Files with several names, by device and inode: the first name.
    links: HashMap<(u64, u64), EntryNumber>,
}

impl<'r> Planner<'r> {
    fn new(
        repository: &'r Repository<Indexed>,
        subpath: Vec<OsString>,
        selection: Selection,
    ) -> Self {
        Self {
            repository,
            found: subpath.is_empty(),
            subpath,
            selection,
            entries: Entries::default(),
            levels: Vec::new(),
            pieces: Vec::new(),
            packs: PackTable::default(),
            lost: HashSet::new(),
            unclear: HashSet::new(),
            known: RestoreReport::default(),
            links: HashMap::new(),
        }
    }

    /// Looks into the directories level by level, reading many of them at a time.
    fn walk(&mut self, root: BlobId, cancel: &Cancel) -> Result<(), RepositoryError> {
        let within = self.selection.at_root();
        let mut level = vec![Visit { directory: None, tree: root, within }];
        let mut depth = 0;
        while !level.is_empty() {
            let begin = self.number()?;
            let mut next = Vec::new();
            let repository = self.repository;
            for batch in batches(&repository.index(), &level, |visit| visit.tree) {
                cancel.check()?;
                let trees = read_each(repository, batch, |opener, visit: &Visit| {
                    let neighbours = match visit.within {
                        Within::Selected => Neighbours::Wanted,
                        Within::Searched => Neighbours::Passed,
                    };
                    read_cached(repository, neighbours, opener, &visit.tree)
                });
                for (visit, tree) in batch.iter().zip(trees) {
                    self.look_into(visit, tree, depth, &mut next)?;
                }
            }
            self.levels.push(begin..self.number()?);
            level = next;
            depth += 1;
        }
        Ok(())
    }

    fn look_into(
        &mut self,
        visit: &Visit,
        tree: Result<Directory, RepositoryError>,
        depth: usize,
        next: &mut Vec<Visit>,
    ) -> Result<(), RepositoryError> {
        match tree {
            Ok(_) if depth >= DEPTH_MAX => {
                self.fail(visit.directory, "it lies too deep to be restored");
                Ok(())
            }
            Ok(tree) => self.add_nodes(visit, &tree, depth, next),
            // Without its root nothing of the snapshot is known.
            Err(error) if depth == 0 => Err(error),
            Err(error) => {
                if let RepositoryError::Corrupt(corruption) = &error {
                    self.known.note_damage(explain(&error), corruption.object.pack());
                }
                self.fail(visit.directory, explain(&error));
                Ok(())
            }
        }
    }

    fn add_nodes(
        &mut self,
        visit: &Visit,
        tree: &Directory,
        depth: usize,
        next: &mut Vec<Visit>,
    ) -> Result<(), RepositoryError> {
        let begin = self.number()?;
        let path = (!self.selection.is_everything()).then(|| self.entries.path(visit.directory));
        let lost = |error| not_a_tree(self.repository, visit.tree, error);
        // What has no order may name something twice.
        let mut names = (!tree.is_ordered().map_err(lost)?).then(HashSet::new);
        let mut added = Ok(());
        let read = tree.for_each(|node| {
            if added.is_err() || self.subpath.get(depth).is_some_and(|name| *name != node.name) {
                return;
            }
            self.found |= depth + 1 >= self.subpath.len();
            if names.as_mut().is_some_and(|names| !names.insert(node.name.clone())) {
                let what = format!("it has two entries named `{}`", node.name.display());
                self.fail(visit.directory, what);
                return;
            }
            added = self.add_node(visit, path.as_deref(), node, depth, next);
        });
        read.map_err(|error| not_a_tree(self.repository, visit.tree, error))?;
        added?;
        if let Some(directory) = visit.directory {
            let sort = Sort::Directory { first: begin, count: self.number()? - begin };
            self.entries.get_mut(directory).sort = sort;
        }
        Ok(())
    }

    fn add_node(
        &mut self,
        visit: &Visit,
        path: Option<&Path>,
        node: &Node,
        depth: usize,
        next: &mut Vec<Visit>,
    ) -> Result<(), RepositoryError> {
        let name = match Component::new(&node.name) {
            Ok(name) => name,
            Err(error) => {
                self.fail(visit.directory, error);
                return Ok(());
            }
        };
        let verdict = if depth + 1 < self.subpath.len() {
            // The path may lead through something that is no directory.
            let is_directory = matches!(node.kind, NodeKind::Directory { .. });
            if is_directory { Verdict::Search } else { Verdict::Skip }
        } else {
            self.judge(path, node, visit.within)
        };
        let within = match verdict {
            Verdict::Skip => return Ok(()),
            Verdict::Restore => Within::Selected,
            Verdict::Search => visit.within,
        };
        let number = self.add_entry(visit.directory, &name, node)?;
        if verdict == Verdict::Restore {
            self.entries.want(number);
        }
        if let NodeKind::Directory { subtree } = node.kind {
            next.push(Visit { directory: Some(number), tree: subtree, within });
        }
        Ok(())
    }

    fn judge(&self, directory: Option<&Path>, node: &Node, within: Within) -> Verdict {
        let Some(directory) = directory else { return Verdict::Restore };
        let kind = match node.kind {
            NodeKind::Directory { .. } => EntryKind::Directory,
            _ => EntryKind::Other,
        };
        self.selection.judge(&directory.join(&node.name), kind, within)
    }

    fn number(&self) -> Result<EntryNumber, RepositoryError> {
        self.entries.next().ok_or(RepositoryError::TooLarge {
            what: "a restore",
            length: self.entries.count() as u64,
            limit: super::entries::ENTRIES_MAX as u64,
        })
    }

    fn add_entry(
        &mut self,
        parent: DirNumber,
        name: &Component,
        node: &Node,
    ) -> Result<EntryNumber, RepositoryError> {
        let number = self.number()?;
        let sort = match (self.linked_to(number, node), &node.kind) {
            (Some(first), _) => Sort::HardLink { first },
            (None, NodeKind::Directory { .. }) => Sort::Directory { first: 0, count: 0 },
            (None, NodeKind::File { .. }) => Sort::File { size: 0, first: 0, count: 0 },
            (None, NodeKind::Symlink { target }) => {
                Sort::Symlink(self.entries.add_text(target.as_bytes()))
            }
            (None, NodeKind::BlockDevice { device }) => Sort::BlockDevice(*device),
            (None, NodeKind::CharDevice { device }) => Sort::CharDevice(*device),
            (None, NodeKind::Fifo) => Sort::Fifo,
            (None, NodeKind::Socket) => Sort::Socket,
        };
        self.entries.add(parent, name, node, sort);
        if let (Sort::File { .. }, NodeKind::File { size, content }) = (sort, &node.kind) {
            self.add_content(number, *size, content)?;
        }
        if sort == Sort::Socket {
            let path = self.entries.path(Some(number));
            self.known.warn(path, "a socket is made by its process and was left out");
        }
        Ok(number)
    }

    /// Returns the entry that this one is a further name of.
    fn linked_to(&mut self, number: EntryNumber, node: &Node) -> Option<EntryNumber> {
        let metadata = &node.metadata;
        let is_directory = matches!(node.kind, NodeKind::Directory { .. });
        if is_directory || metadata.links < 2 || metadata.inode == 0 {
            return None;
        }
        let key = (metadata.device_id, metadata.inode);
        if let Some(first) = self.links.get(&key) {
            // A file that changed while it was backed up is not the same under its second name.
            return self.is_same(*first, &node.kind).then_some(*first);
        }
        self.links.insert(key, number);
        None
    }

    fn is_same(&self, first: EntryNumber, kind: &NodeKind) -> bool {
        match (self.entries.get(first).sort, kind) {
            (Sort::File { first: piece, count, .. }, NodeKind::File { content, .. }) => {
                let pieces = &self.pieces[piece as usize..(piece + count) as usize];
                let same = pieces.iter().zip(content).all(|(piece, id)| piece.id == *id);
                // Of a file that is lost not all pieces are known.
                same && (pieces.len() == content.len() || self.lost.contains(&first))
            }
            (Sort::Symlink(text), NodeKind::Symlink { target }) => {
                self.entries.text(text) == target
            }
            (Sort::BlockDevice(a), NodeKind::BlockDevice { device: b })
            | (Sort::CharDevice(a), NodeKind::CharDevice { device: b }) => a == *b,
            (Sort::Fifo, NodeKind::Fifo) | (Sort::Socket, NodeKind::Socket) => true,
            _ => false,
        }
    }

    fn add_content(
        &mut self,
        number: EntryNumber,
        recorded_size: u64,
        content: &[BlobId],
    ) -> Result<(), RepositoryError> {
        let first = self.pieces.len();
        let mut size = 0;
        let index = self.repository.index();
        let mut missing = None;
        for id in content {
            let Some(location) = index.get(BlobKind::Data, id) else {
                // Where the pieces behind it go is not known, unless it is the only one lacking;
                // a file of the right size with everything before the gap is worth more than none.
                missing = Some(id);
                break;
            };
            self.pieces.push(self.packs.piece(*id, &location, number, size));
            size += u64::from(location.plaintext_length());
        }
        drop(index);
        let (first, count) = u32::try_from(first)
            .ok()
            .zip(u32::try_from(self.pieces.len()).ok())
            .map(|(first, end)| (first, end - first))
            .ok_or(RepositoryError::TooLarge {
                what: "a restore",
                length: self.pieces.len() as u64,
                limit: u64::from(u32::MAX),
            })?;
        if let Some(id) = missing {
            self.lost.insert(number);
            let what = format!("no index lists its data blob {}", id.to_hex());
            self.known.note_damage(what.clone(), None);
            self.fail(Some(number), what);
            size = size.max(recorded_size);
        } else if size != recorded_size {
            let what = format!("recorded as {recorded_size} bytes, its content has {size}");
            self.known.warn(self.entries.path(Some(number)), what);
        }
        self.entries.get_mut(number).sort = Sort::File { size, first, count };
        Ok(())
    }

    fn fail(&mut self, entry: DirNumber, what: impl std::fmt::Display) {
        self.unclear.insert(entry);
        self.known.fail(self.entries.path(entry), what);
    }

    fn finish(mut self) -> RestorePlan {
        let mut totals = RestoreTotals::default();
        for (_, entry) in self.entries.iter().filter(|(_, entry)| entry.wanted != Wanted::No) {
            totals.add(entry.sort);
        }
        if totals == RestoreTotals::default() && self.selection.at_root() == Within::Searched {
            // Whoever asked for something shall not take nothing for it.
            let asked = Path::new("/").join(self.subpath.iter().collect::<PathBuf>());
            self.known.fail(asked, "nothing in it matches what is to be included");
        }
        let root = if !self.subpath.is_empty() {
            Wanted::Leads
        } else if self.selection.at_root() == Within::Selected {
            Wanted::Yes
        } else {
            Wanted::No
        };
        RestorePlan {
            entries: self.entries,
            levels: self.levels,
            pieces: self.pieces,
            packs: self.packs,
            lost: self.lost,
            unclear: self.unclear,
            blocked: HashSet::new(),
            known: self.known,
            root,
            depth: self.subpath.len(),
            selection: self.selection,
            totals,
        }
    }
}
