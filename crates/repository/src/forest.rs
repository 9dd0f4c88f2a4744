//! Walks the directories of many snapshots at once, each only once for all snapshots that have it in
//! the same place.
//!
//! [`crate::walk`] visits a directory once wherever it is found; here its path matters too, and so
//! does which snapshots it stands for.
//!
//! # Limits
//!
//! Level by level: it holds the paths of one level of directories and, where snapshots differ, which
//! of them have it. Snapshots that share a directory share all that is below it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::{BlobId, Cancel};

use crate::error::RepositoryError;
use crate::node::{Node, NodeKind};
use crate::repository::{Indexed, Repository};
use crate::tree::TreeError;
use crate::walk::{Directory, batches, not_a_tree, read_trees};

/// Which of the snapshots that are walked have something, by their numbers in ascending order.
pub(crate) type Members = Arc<[u32]>;

/// A directory in a place.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Its path.
    pub path: PathBuf,
    /// Its tree.
    pub tree: BlobId,
    /// The snapshots that have just this tree at this path.
    pub members: Members,
}

/// Something that could not be looked at, and so is missing from an answer.
#[derive(Debug)]
pub struct Unreadable {
    /// The directory.
    pub path: PathBuf,
    /// Why.
    pub error: RepositoryError,
}

/// Visits every directory below the roots, one root a snapshot, that `enter` lets in; `look` gets
/// each with what was read of it, a directory after the one that it lies in.
///
/// What cannot be read is returned, and the walk goes on without it.
pub(crate) fn walk_forest(
    repository: &Repository<Indexed>,
    roots: &[BlobId],
    cancel: &Cancel,
    enter: impl Fn(&Path) -> bool,
    mut look: impl FnMut(&Place, &Directory) -> Result<(), TreeError>,
) -> Result<Vec<Unreadable>, RepositoryError> {
    let mut unreadable = Vec::new();
    let mut next = Level::default();
    for (number, root) in (0..).zip(roots) {
        next.add(PathBuf::from("/"), *root, &Members::from([number]));
    }
    loop {
        let level = next.take();
        if level.is_empty() {
            return Ok(unreadable);
        }
        for batch in batches(&repository.index(), &level, |place| place.tree) {
            cancel.check()?;
            let ids: Vec<BlobId> = batch.iter().map(|place| place.tree).collect();
            let trees = read_trees(repository, &repository.index(), &ids);
            for (place, tree) in batch.iter().zip(trees) {
                let looked = tree.and_then(|tree| {
                    let looked = tree.for_each(|node| next.add_child(place, node, &enter));
                    let looked = looked.and_then(|()| look(place, &tree));
                    looked.map_err(|error| not_a_tree(repository, place.tree, error))
                });
                if let Err(error) = looked {
                    unreadable.push(Unreadable { path: place.path.clone(), error });
                }
            }
        }
    }
}

/// The directories that are as far down as one another.
#[derive(Default)]
struct Level {
    places: Vec<(PathBuf, BlobId, Vec<Members>)>,
    numbers: HashMap<(PathBuf, BlobId), usize>,
}

impl Level {
    fn add_child(&mut self, place: &Place, node: &Node, enter: impl Fn(&Path) -> bool) {
        if let NodeKind::Directory { subtree } = &node.kind {
            let path = place.path.join(&node.name);
            if enter(&path) {
                self.add(path, *subtree, &place.members);
            }
        }
    }

    fn add(&mut self, path: PathBuf, tree: BlobId, members: &Members) {
        let number = *self.numbers.entry((path, tree)).or_insert_with_key(|(path, _)| {
            self.places.push((path.clone(), tree, Vec::new()));
            self.places.len() - 1
        });
        self.places[number].2.push(Arc::clone(members));
    }

    fn take(&mut self) -> Vec<Place> {
        self.numbers.clear();
        let places = std::mem::take(&mut self.places).into_iter();
        places.map(|(path, tree, groups)| Place { path, tree, members: united(&groups) }).collect()
    }
}

/// Unites groups that have no member in common, unless a damaged tree has one name twice.
fn united(groups: &[Members]) -> Members {
    if let [only] = groups {
        return Arc::clone(only);
    }
    let mut members: Vec<u32> = groups.iter().flat_map(|group| group.iter().copied()).collect();
    members.sort_unstable();
    members.dedup();
    members.into()
}
