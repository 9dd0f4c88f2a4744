//! Where something is: entries by their names, and blobs, directories and packs by their ids.
//!
//! Each directory is looked into once however many snapshots share it, and only those are entered
//! that can hold a match.
//!
//! # Limits
//!
//! It holds what it found; a file among that without the list of its blobs.
//!
//! Source: restic `cmd/restic/cmd_find.go`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use lifeboat_model::pattern::Pattern;
use lifeboat_model::{BlobId, Cancel, PackId, Timestamp};

use crate::blob::{BlobKind, BlobLocation};
use crate::error::RepositoryError;
use crate::forest::{Members, Place, Unreadable, walk_forest};
use crate::node::{Node, NodeKind};
use crate::repository::{Indexed, Repository, State};
use crate::time::NodeTime;
use crate::tree::TreeError;
use crate::walk::Directory;

/// Which entries are wanted.
#[derive(Debug, Clone)]
pub struct Names {
    /// Whose path one of these matches.
    pub patterns: Vec<Pattern>,
    /// That were not changed before this.
    pub oldest: Option<Timestamp>,
    /// That were not changed after this.
    pub newest: Option<Timestamp>,
}

impl Names {
    fn takes(&self, path: &Path, node: &Node) -> bool {
        let instant = |time: NodeTime| (time.seconds(), time.nanoseconds());
        let modified = instant(node.metadata.mtime);
        self.patterns.iter().any(|pattern| pattern.matches(path))
            && self.oldest.is_none_or(|oldest| modified >= instant(oldest.into()))
            && self.newest.is_none_or(|newest| modified <= instant(newest.into()))
    }
}

/// Which blobs are wanted, whether they are there or only referred to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// Pieces of files.
    pub data: HashSet<BlobId>,
    /// Directories.
    pub trees: HashSet<BlobId>,
}

/// What is looked for.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Entries by their names.
    Names(Names),
    /// Blobs by their ids.
    Objects(Objects),
}

/// Something that was found.
#[derive(Debug)]
pub struct Hit {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub found: Found,
    members: Members,
}

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// An entry with a wanted name; a file's list of blobs is left out.
    Entry(Box<Node>),
    /// A file that a wanted blob belongs to.
    Piece {
        /// The blob.
        id: BlobId,
        /// The tree that lists the file.
        parent: BlobId,
    },
    /// A wanted directory.
    Directory {
        /// Its tree.
        id: BlobId,
    },
}

/// What was found in all snapshots.
#[derive(Debug, Default)]
pub struct FindReport {
    hits: Vec<Hit>,
    /// Directories that could not be read, so that what is in them was not looked at.
    pub unreadable: Vec<Unreadable>,
}

impl FindReport {
    /// Returns what was found in one of the snapshots, by its number, in the order of the paths.
    pub fn in_snapshot(&self, number: usize) -> impl Iterator<Item = &Hit> {
        let is_in = move |hit: &&Hit| {
            u32::try_from(number).is_ok_and(|number| hit.members.binary_search(&number).is_ok())
        };
        self.hits.iter().filter(is_in)
    }

    /// Tells whether nothing was found in any snapshot.
    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }
}

/// Looks below these roots, one of each snapshot.
pub fn find(
    repository: &Repository<Indexed>,
    roots: &[BlobId],
    wanted: &Wanted,
    cancel: &Cancel,
) -> Result<FindReport, RepositoryError> {
    let enter = |path: &Path| match wanted {
        Wanted::Names(names) => names.patterns.iter().any(|pattern| pattern.may_match_below(path)),
        Wanted::Objects(_) => true,
    };
    let mut hits = Vec::new();
    let unreadable = walk_forest(repository, roots, cancel, enter, |place, tree| match wanted {
        Wanted::Names(names) => add_entries(&mut hits, place, tree, names),
        Wanted::Objects(objects) => add_objects(&mut hits, place, tree, objects),
    })?;
    hits.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(FindReport { hits, unreadable })
}

fn add_entries(
    hits: &mut Vec<Hit>,
    place: &Place,
    tree: &Directory,
    names: &Names,
) -> Result<(), TreeError> {
    tree.for_each(|node| {
        let path = place.path.join(&node.name);
        if names.takes(&path, node) {
            let mut node = node.clone();
            if let NodeKind::File { content, .. } = &mut node.kind {
                *content = Vec::new();
            }
            let found = Found::Entry(Box::new(node));
            hits.push(Hit { path, found, members: place.members.clone() });
        }
    })
}

fn add_objects(
    hits: &mut Vec<Hit>,
    place: &Place,
    tree: &Directory,
    objects: &Objects,
) -> Result<(), TreeError> {
    let members = &place.members;
    if objects.trees.contains(&place.tree) {
        let found = Found::Directory { id: place.tree };
        hits.push(Hit { path: place.path.clone(), found, members: members.clone() });
    }
    tree.for_each(|node| {
        let NodeKind::File { content, .. } = &node.kind else { return };
        let mut told = HashSet::new();
        for id in content.iter().filter(|id| objects.data.contains(id)) {
            if told.insert(*id) {
                let (path, found) =
                    (place.path.join(&node.name), Found::Piece { id: *id, parent: place.tree });
                hits.push(Hit { path, found, members: members.clone() });
            }
        }
    })
}

impl<S: State> Repository<S> {
    /// Returns the packs whose ids begin with these digits, one pack each; a pack that is gone is named by
    /// all of its digits.
    pub fn wanted_packs(&self, packs: &[String]) -> Result<BTreeSet<PackId>, RepositoryError> {
        let wanted = |digits: &String| match (self.find_file("packs", digits), digits.parse()) {
            (Err(RepositoryError::NoSuchId { .. }), Ok(id)) => Ok(id),
            (found, _) => found,
        };
        packs.iter().map(wanted).collect()
    }
}

impl Repository<Indexed> {
    /// Returns the id of a wanted blob: by its first digits if it is there, by all of them also if
    /// it is lost and only referred to.
    pub fn wanted_blob(&self, kind: BlobKind, digits: &str) -> Result<BlobId, RepositoryError> {
        match (self.find_blob(kind, digits), digits.parse()) {
            (Err(RepositoryError::NoSuchId { .. }), Ok(id)) => Ok(id),
            (found, _) => found,
        }
    }

    /// Returns what lies, as the index says, in packs.
    pub fn pack_objects(&self, packs: &[String]) -> Result<Objects, RepositoryError> {
        let wanted = self.wanted_packs(packs)?;
        let mut objects = Objects::default();
        for kind in [BlobKind::Data, BlobKind::Tree] {
            for (id, location) in self.index().blobs(kind) {
                if wanted.contains(&location.pack) {
                    objects.add(kind, id);
                }
            }
        }
        Ok(objects)
    }

    /// Returns where blobs lie that are not lost.
    pub fn locations_of(&self, objects: &Objects) -> BTreeMap<(BlobKind, BlobId), BlobLocation> {
        let index = self.index();
        let data = objects.data.iter().map(|id| (BlobKind::Data, *id));
        let trees = objects.trees.iter().map(|id| (BlobKind::Tree, *id));
        let located = |(kind, id)| Some(((kind, id), index.get(kind, &id)?));
        data.chain(trees).filter_map(located).collect()
    }
}

impl Objects {
    /// Wants one more.
    pub fn add(&mut self, kind: BlobKind, id: BlobId) {
        match kind {
            BlobKind::Data => self.data.insert(id),
            BlobKind::Tree => self.trees.insert(id),
        };
    }

    /// Wants what the other wants as well.
    pub fn extend(&mut self, other: Self) {
        self.data.extend(other.data);
        self.trees.extend(other.trees);
    }
}
