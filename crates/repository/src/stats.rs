//! How much snapshots hold and take.
//!
//! The four modes count as restic's do. What a directory without hard links comes to is counted once,
//! however many snapshots and places share it.
//!
//! # Limits
//!
//! It holds an id of 32 bytes for every content or directory that it has to count only once; of raw data
//! a byte for every blob of the repository.
//!
//! Source: restic `cmd/restic/cmd_stats.go`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use lifeboat_model::{BlobId, Cancel};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::blob::{BlobKind, plaintext_length};
use crate::error::RepositoryError;
use crate::forest::{Place, Unreadable, walk_forest};
use crate::node::{Node, NodeKind};
use crate::references::References;
use crate::repository::{Indexed, Repository};
use crate::tree::TreeError;
use crate::walk::{Directory, batches, not_a_tree, read_trees};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatsMode {
    /// What a restore of each snapshot would write, hard links once.
    RestoreSize,
    /// Files with different contents; whatever has none counts together as one, as in restic.
    FilesByContents,
    /// Different blobs of each path's different contents.
    BlobsPerFile,
    /// All blobs, each once: what lies in the repository for these snapshots.
    RawData,
}

/// What was counted.
#[derive(Debug, Default)]
pub struct StatsReport {
    /// Entries, or files; nothing in [`StatsMode::RawData`].
    pub files: u64,
    /// Blobs, where the mode counts them.
    pub blobs: u64,
    /// Their length in bytes; of raw data as it is stored.
    pub bytes: u64,
    /// How well raw data is compressed.
    pub compression: Option<CompressionStats>,
    /// Directories that could not be read, so that what is in them is not counted.
    pub unreadable: Vec<Unreadable>,
}

/// How well blobs are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompressionStats {
    /// The length of all blobs before compression.
    pub uncompressed_bytes: u64,
    /// The length of compressed blobs as they are stored.
    pub compressed_stored_bytes: u64,
    /// The length of compressed blobs before.
    pub compressed_plain_bytes: u64,
}

/// Counts what lies below these roots, one of each snapshot.
pub fn stats(
    repository: &Repository<Indexed>,
    roots: &[BlobId],
    mode: StatsMode,
    cancel: &Cancel,
) -> Result<StatsReport, RepositoryError> {
    match mode {
        StatsMode::RestoreSize => restore_size(repository, roots, cancel),
        StatsMode::FilesByContents => files_by_contents(repository, roots, cancel),
        StatsMode::BlobsPerFile => blobs_per_file(repository, roots, cancel),
        StatsMode::RawData => raw_data(repository, roots, cancel),
    }
}

/// Visits each directory below the roots once, wherever it is; returns what could not be read.
fn visit_once(
    repository: &Repository<Indexed>,
    roots: &[BlobId],
    cancel: &Cancel,
    mut look: impl FnMut(&BlobId, &Directory) -> Result<(), TreeError>,
) -> Result<Vec<Unreadable>, RepositoryError> {
    let mut unreadable = Vec::new();
    let mut seen = HashSet::new();
    let mut level: Vec<(BlobId, PathBuf)> =
        roots.iter().map(|root| (*root, PathBuf::from("/"))).collect();
    while !level.is_empty() {
        let mut next = Vec::new();
        level.retain(|(id, _)| seen.insert(*id));
        for batch in batches(&repository.index(), &level, |(id, _)| *id) {
            cancel.check()?;
            let ids: Vec<BlobId> = batch.iter().map(|(id, _)| *id).collect();
            let trees = read_trees(repository, &repository.index(), &ids);
            for ((id, path), tree) in batch.iter().zip(trees) {
                let looked = tree.and_then(|tree| {
                    let below = tree.for_each(|node| {
                        if let NodeKind::Directory { subtree } = node.kind {
                            next.push((subtree, path.join(&node.name)));
                        }
                    });
                    let looked = below.and_then(|()| look(id, &tree));
                    looked.map_err(|error| not_a_tree(repository, *id, error))
                });
                if let Err(error) = looked {
                    unreadable.push(Unreadable { path: path.clone(), error });
                }
            }
        }
        level = next;
    }
    Ok(unreadable)
}

/// What one directory comes to, without those below it.
#[derive(Default)]
struct Own {
    entries: u64,
    bytes: u64,
    /// Files of several links, by device and inode, and their sizes.
    linked: Vec<((u64, u64), u64)>,
    below: Vec<BlobId>,
}

impl Own {
    fn of(tree: &Directory) -> Result<Self, TreeError> {
        let mut own = Self::default();
        tree.for_each(|Node { kind, metadata, .. }| {
            own.entries += 1;
            match kind {
                NodeKind::File { size, .. } if metadata.links > 1 && metadata.inode != 0 => {
                    own.linked.push(((metadata.device_id, metadata.inode), *size));
                }
                NodeKind::File { size, .. } => own.bytes += size,
                NodeKind::Directory { subtree } => own.below.push(*subtree),
                _ => {}
            }
        })?;
        Ok(own)
    }
}

fn restore_size(
    repository: &Repository<Indexed>,
    roots: &[BlobId],
    cancel: &Cancel,
) -> Result<StatsReport, RepositoryError> {
    let mut directories = HashMap::new();
    let unreadable = visit_once(repository, roots, cancel, |id, tree| {
        directories.insert(*id, Own::of(tree)?);
        Ok(())
    })?;
    let mut report = StatsReport { unreadable, ..StatsReport::default() };
    let mut plain = HashMap::new();
    for root in roots {
        cancel.check()?;
        let mut links = HashSet::new();
        let mut pending = vec![*root];
        while let Some(id) = pending.pop() {
            if let Some((entries, bytes)) = without_links(&directories, &mut plain, id) {
                report.files += entries;
                report.bytes += bytes;
            } else if let Some(own) = directories.get(&id) {
                report.files += own.entries;
                report.bytes += own.bytes;
                let new = own.linked.iter().filter(|(inode, _)| links.insert(*inode));
                report.bytes += new.map(|(_, size)| size).sum::<u64>();
                pending.extend(&own.below);
            }
        }
    }
    Ok(report)
}

/// What a directory and all below it come to, if no hard link is among it.
type Plain = HashMap<BlobId, Option<(u64, u64)>>;

/// Adds a directory up from those below it, without recursion, since trees can be deep.
fn without_links(
    directories: &HashMap<BlobId, Own>,
    plain: &mut Plain,
    root: BlobId,
) -> Option<(u64, u64)> {
    let mut pending = vec![root];
    while let Some(id) = pending.last().copied() {
        if plain.contains_key(&id) {
            pending.pop();
            continue;
        }
        let Some(own) = directories.get(&id) else {
            plain.insert(id, Some((0, 0)));
            continue;
        };
        let unknown: Vec<BlobId> =
            own.below.iter().filter(|below| !plain.contains_key(*below)).copied().collect();
        if unknown.is_empty() {
            let none_linked = own.linked.is_empty().then_some((own.entries, own.bytes));
            let sum = none_linked.and_then(|sum| {
                own.below.iter().try_fold(sum, |(entries, bytes), below| {
                    plain[below].map(|(more, longer)| (entries + more, bytes + longer))
                })
            });
            plain.insert(id, sum);
        } else {
            pending.extend(unknown);
        }
    }
    plain[&root]
}

/// Names a file's content.
fn content_id(node: &Node) -> [u8; 32] {
    let mut hash = Sha256::new();
    if let NodeKind::File { content, .. } = &node.kind {
        for id in content {
            hash.update(id.as_bytes());
        }
    }
    hash.finalize().into()
}

fn files_by_contents(
    repository: &Repository<Indexed>,
    roots: &[BlobId],
    cancel: &Cancel,
) -> Result<StatsReport, RepositoryError> {
    let mut report = StatsReport::default();
    let mut seen = HashSet::new();
    report.unreadable = visit_once(repository, roots, cancel, |_, tree| {
        tree.for_each(|node| {
            if seen.insert(content_id(node)) {
                report.files += 1;
                if let NodeKind::File { size, .. } = node.kind {
                    report.bytes += size;
                }
            }
        })
    })?;
    Ok(report)
}

/// Where a content was seen first, in the order of snapshots and paths.
struct First {
    snapshot: u32,
    path: PathBuf,
    content: Vec<BlobId>,
}

fn blobs_per_file(
    repository: &Repository<Indexed>,
    roots: &[BlobId],
    cancel: &Cancel,
) -> Result<StatsReport, RepositoryError> {
    let mut firsts: HashMap<[u8; 32], First> = HashMap::new();
    let look = |place: &Place, tree: &Directory| {
        let snapshot = place.members.first().copied().unwrap_or_default();
        tree.for_each(|node| {
            let NodeKind::File { content, .. } = &node.kind else { return };
            let path = place.path.join(&node.name);
            let first = firsts.entry(content_id(node)).or_insert_with(|| First {
                snapshot,
                path: path.clone(),
                content: content.clone(),
            });
            if (snapshot, &path) < (first.snapshot, &first.path) {
                (first.snapshot, first.path) = (snapshot, path);
            }
        })
    };
    let unreadable = walk_forest(repository, roots, cancel, |_| true, look)?;
    let mut paths: BTreeMap<PathBuf, HashSet<BlobId>> = BTreeMap::new();
    for First { path, content, .. } in firsts.into_values().filter(|f| !f.content.is_empty()) {
        paths.entry(path).or_default().extend(content);
    }
    let mut report =
        StatsReport { files: paths.len() as u64, unreadable, ..StatsReport::default() };
    let index = repository.index();
    for id in paths.values().flatten() {
        report.blobs += 1;
        let length = index.get(BlobKind::Data, id).map_or(0, |at| at.plaintext_length());
        report.bytes += u64::from(length);
    }
    Ok(report)
}

fn raw_data(
    repository: &Repository<Indexed>,
    roots: &[BlobId],
    cancel: &Cancel,
) -> Result<StatsReport, RepositoryError> {
    let index = repository.index();
    let used = References::new(&index);
    let mut looked_up = Ok(());
    let unreadable = visit_once(repository, roots, cancel, |id, tree| {
        used.trees.insert(*id, index.ordinal(BlobKind::Tree, id));
        tree.for_each(|node| {
            if let (NodeKind::File { content, .. }, Ok(())) = (&node.kind, &looked_up) {
                looked_up = used.add_data(&index, content.iter().copied(), &|_, _| ());
            }
        })
    })?;
    looked_up?;
    used.end_data(&index, &|_, _| ())?;
    let mut report = StatsReport { unreadable, ..StatsReport::default() };
    let mut compression = CompressionStats::default();
    for (kind, table) in [(BlobKind::Data, &used.data), (BlobKind::Tree, &used.trees)] {
        index.for_each_blob(kind, |blob, ordinal| {
            if table.note(ordinal).is_none() {
                return;
            }
            let (stored, plain) = (
                u64::from(blob.length),
                u64::from(plaintext_length(blob.length, blob.uncompressed_length)),
            );
            report.blobs += 1;
            report.bytes += stored;
            compression.uncompressed_bytes += plain;
            if blob.uncompressed_length.is_some() {
                compression.compressed_stored_bytes += stored;
                compression.compressed_plain_bytes += plain;
            }
        })?;
    }
    report.compression = Some(compression);
    Ok(report)
}
