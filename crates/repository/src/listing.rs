//! What is in a snapshot: finding one entry, and listing a directory or all below it.
//!
//! # Limits
//!
//! A listing holds the directories on the way to where it is, not the whole snapshot.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::vec::IntoIter;

use lifeboat_model::BlobId;

use crate::error::RepositoryError;
use crate::node::{Node, NodeKind};
use crate::repository::{Indexed, Repository};
use crate::snapshot::Snapshot;

/// How far down a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Only what is in the directory itself.
    Children,
    /// Everything below it.
    All,
}

/// An entry of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its absolute path in the snapshot.
    pub path: PathBuf,
    /// What it is.
    pub node: Node,
}

/// Lists a directory of a snapshot; a path that names something else lists just that.
///
/// Entries come in the order of their names, a directory before what is in it. A directory that
/// cannot be read is an error in its place, and the listing goes on behind it.
pub fn list<'r>(
    repository: &'r Repository<Indexed>,
    snapshot: &Snapshot,
    path: &Path,
    depth: Depth,
) -> Result<Listing<'r>, RepositoryError> {
    let names = path_components(path);
    let path = shown_path(names.iter().map(OsString::as_os_str));
    let mut listing = Listing { repository, depth, levels: Vec::new(), pending: None };
    match find(repository, snapshot, &path)? {
        None => listing.enter(path, snapshot.tree)?,
        Some(Node { kind: NodeKind::Directory { subtree }, .. }) => listing.enter(path, subtree)?,
        Some(node) => {
            let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
            listing.levels.push(Level { path: parent, nodes: vec![node].into_iter() });
        }
    }
    Ok(listing)
}

/// Finds the entry at a path; the root itself is no entry.
pub fn find(
    repository: &Repository<Indexed>,
    snapshot: &Snapshot,
    path: &Path,
) -> Result<Option<Node>, RepositoryError> {
    let missing = || RepositoryError::NoSuchPath { path: path.to_owned(), tree: snapshot.tree };
    let mut found: Option<Node> = None;
    for name in path_components(path) {
        let tree = match &found {
            None => snapshot.tree,
            Some(Node { kind: NodeKind::Directory { subtree }, .. }) => *subtree,
            Some(_) => return Err(missing()),
        };
        let nodes = repository.tree(&tree)?.nodes;
        found = Some(nodes.into_iter().find(|node| node.name == name).ok_or_else(missing)?);
    }
    Ok(found)
}

/// The entries of a listing, read as they are asked for.
#[derive(Debug)]
pub struct Listing<'r> {
    repository: &'r Repository<Indexed>,
    depth: Depth,
    levels: Vec<Level>,
    /// A directory that was handed out and is entered next.
    pending: Option<(PathBuf, BlobId)>,
}

#[derive(Debug)]
struct Level {
    path: PathBuf,
    nodes: IntoIter<Node>,
}

impl Listing<'_> {
    fn enter(&mut self, path: PathBuf, tree: BlobId) -> Result<(), RepositoryError> {
        let nodes = self.repository.tree(&tree)?.nodes.into_iter();
        self.levels.push(Level { path, nodes });
        Ok(())
    }
}

impl Iterator for Listing<'_> {
    type Item = Result<Listed, RepositoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((path, tree)) = self.pending.take()
            && let Err(error) = self.enter(path, tree)
        {
            return Some(Err(error));
        }
        loop {
            let level = self.levels.last_mut()?;
            let Some(node) = level.nodes.next() else {
                self.levels.pop();
                continue;
            };
            let path = level.path.join(&node.name);
            if let (NodeKind::Directory { subtree }, Depth::All) = (&node.kind, self.depth) {
                self.pending = Some((path.clone(), *subtree));
            }
            return Some(Ok(Listed { path, node }));
        }
    }
}

/// Splits a path in a snapshot into names; a leading slash makes no difference.
///
/// `..` stays and matches nothing: a snapshot has no directory above its root.
pub fn path_components(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        Component::ParentDir => Some(OsString::from("..")),
        Component::Normal(name) => Some(name.to_owned()),
    };
    path.components().filter_map(name).collect()
}

/// Joins names to an absolute path.
pub fn shown_path<'n>(names: impl Iterator<Item = &'n OsStr>) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(names);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_relative_to_the_root() {
        for same in ["/srv/media", "srv/media", "/srv//media/", "./srv/./media"] {
            assert_eq!(path_components(Path::new(same)), ["srv", "media"], "{same}");
        }
        assert_eq!(path_components(Path::new("/")), [] as [&str; 0]);
        assert_eq!(path_components(Path::new("/srv/../etc")), ["srv", "..", "etc"]);
    }
}
