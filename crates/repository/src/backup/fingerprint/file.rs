//! The fingerprints of the directories that the last backup of the same host and paths came by, in a
//! local file.
//!
//! A row says: a directory with this fingerprint, whose directories have these trees, has this tree.
//! That stays true wherever and whenever it is read; what may change is whether the repository still
//! has what the tree names. So the file names the index files that were there, and is used only while
//! all of them are: an index file never changes, so all that was found then is found now.
//!
//! # Invariants
//!
//! - Nothing in it is believed before its seal was opened, which only the repository's key makes.
//! - A row is written only for a tree that a backup made or found to be what it would make.
//! - It is not used while blobs are left out of the index; see [`Repository::leave_out`].
//!
//! # Crash consistency
//!
//! It appears by rename, without fsync, after the snapshot. Whatever a crash, or somebody, makes of it
//! costs the time that it would have saved. It may be deleted at any time.
//!
//! # Limits
//!
//! It is in memory while a backup runs: 104 bytes a directory, [`ROWS_MAX`] of them at most, and 150 for
//! each that is new or changed; while it is written, three times that. [`FILES_MAX`] files are kept for a
//! repository.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use lifeboat_model::{BlobId, IndexId};
use sha2::{Digest, Sha256};

use super::Fingerprint;
use crate::repository::{Indexed, Repository};

/// What the files are called, before the digits that tell whose they are.
const FILE_PREFIX: &str = "fingerprints-";

/// What a file begins with; the number is that of the format, fingerprints included.
const MAGIC: [u8; 24] = *b"lifeboat fingerprints 01";

/// How many directories are remembered at most: 27 MB.
const ROWS_MAX: usize = 1 << 18;

/// How many files are kept at most; the oldest go. More than a site has assets, on any host.
const FILES_MAX: usize = 32;

/// The longest file that is read: rows, each of which is also the directory of another, and the names of
/// as many index files as a repository may well have.
const FILE_BYTES_MAX: u64 = (ROWS_MAX * (ROW_LENGTH + 32)) as u64 + (4 << 20);

/// A tree, its fingerprint, and where among all the trees of its directories begin and how many it has.
const ROW_LENGTH: usize = 32 + 32 + 4 + 4;

/// What is known of a directory that has a certain tree.
#[derive(Debug, Clone, Copy)]
pub(in crate::backup) struct Row<'f> {
    /// Its number in the file.
    pub(in crate::backup) number: usize,
    /// The tree.
    pub(in crate::backup) tree: BlobId,
    /// Its fingerprint.
    pub(in crate::backup) fingerprint: Fingerprint,
    subtrees: &'f [[u8; 32]],
}

impl Row<'_> {
    /// Returns how many directories there are in it.
    pub(in crate::backup) const fn subtree_count(&self) -> usize {
        self.subtrees.len()
    }

    /// Returns the trees of the directories in it, in the order of their names.
    pub(in crate::backup) fn subtrees(&self) -> impl Iterator<Item = BlobId> {
        self.subtrees.iter().map(|id| BlobId::from_bytes(*id))
    }
}

/// A directory that was looked at closely.
#[derive(Debug)]
struct Fresh {
    fingerprint: Fingerprint,
    subtrees: Vec<BlobId>,
}

/// The fingerprints that are known, and those that one backup adds.
#[derive(Debug)]
pub(in crate::backup) struct Fingerprints {
    name: String,
    rows: Rows,
    /// Which rows this backup came by.
    met: Vec<AtomicBool>,
    fresh: Mutex<BTreeMap<BlobId, Fresh>>,
}

impl Fingerprints {
    /// Reads those of the last backup of a host and paths, as far as they may be used; nothing where
    /// nothing is kept.
    pub(in crate::backup) fn open(
        repository: &Repository<Indexed>,
        hostname: &str,
        paths: &[String],
    ) -> Option<Self> {
        let cache = repository.cache().filter(|_| repository.index().is_whole())?;
        let name = file_name(hostname, paths);
        let sealed = cache.read(&name, FILE_BYTES_MAX);
        let rows = sealed.and_then(|sealed| repository.key().open(&sealed).ok());
        let rows = rows.and_then(|bytes| Rows::parse(bytes, &repository.index_file_ids()));
        let rows = rows.unwrap_or_default();
        let met = (0..rows.len()).map(|_| AtomicBool::new(false)).collect();
        Some(Self { name, rows, met, fresh: Mutex::default() })
    }

    /// Returns what is known of a directory that has this tree.
    pub(in crate::backup) fn get(&self, tree: &BlobId) -> Option<Row<'_>> {
        self.rows.find(tree)
    }

    /// Takes note that a directory still is what a row says.
    pub(in crate::backup) fn meet(&self, number: usize) {
        self.met[number].store(true, Ordering::Relaxed);
    }

    /// Takes note of a directory that was looked at closely.
    pub(in crate::backup) fn add(
        &self,
        tree: BlobId,
        fingerprint: Fingerprint,
        subtrees: Vec<BlobId>,
    ) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.len() < ROWS_MAX {
            fresh.insert(tree, Fresh { fingerprint, subtrees });
        }
    }

    /// Writes down all that this backup came by, if that is not what is there already.
    ///
    /// All of it is listed in index files by now.
    pub(in crate::backup) fn save(self, repository: &Repository<Indexed>) {
        let Some(cache) = repository.cache() else { return };
        let fresh = self.fresh.into_inner().unwrap_or_else(PoisonError::into_inner);
        let is_met = |met: &AtomicBool| met.load(Ordering::Relaxed);
        if fresh.is_empty() && self.met.iter().all(is_met) {
            return;
        }
        let mut writer = RowWriter::default();
        let kept = self.met.iter().enumerate().filter(|(_, met)| is_met(met));
        for row in kept.filter_map(|(number, _)| self.rows.get(number)) {
            writer.add(row.tree, row.fingerprint, row.subtrees());
        }
        for (tree, Fresh { fingerprint, subtrees }) in fresh {
            writer.add(tree, fingerprint, subtrees.into_iter());
        }
        let sealed = repository.key().seal(&writer.finish(&repository.index_file_ids()));
        cache.replace_bytes(&self.name, &sealed);
        cache.keep_newest(FILE_PREFIX, FILES_MAX);
    }
}

/// One file for each host and set of paths, since those have a parent in common.
fn file_name(hostname: &str, paths: &[String]) -> String {
    let mut hash = Sha256::new();
    for text in std::iter::once(hostname).chain(paths.iter().map(String::as_str)) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    format!("{FILE_PREFIX}{}", hex::encode(&hash.finalize()[..16]))
}

/// Rows in the order of their trees, as they are stored.
#[derive(Debug, Default)]
struct Rows {
    bytes: Vec<u8>,
    listed: Range<usize>,
    subtrees: Range<usize>,
}

impl Rows {
    /// Takes an opened file, if all index files that it relies on are `listed`.
    fn parse(bytes: Vec<u8>, listed: &BTreeSet<IndexId>) -> Option<Self> {
        let (counts, rest) = bytes.strip_prefix(&MAGIC)?.split_first_chunk::<8>()?;
        let begin = bytes.len() - rest.len();
        let [files, rows] = *counts.as_chunks::<4>().0 else { return None };
        let length = |count: [u8; 4], each: usize| {
            usize::try_from(u32::from_le_bytes(count)).ok()?.checked_mul(each)
        };
        let rows_begin = begin.checked_add(length(files, 32)?)?;
        let rows_end = rows_begin.checked_add(length(rows, ROW_LENGTH)?)?;
        let relied_on = bytes.get(begin..rows_begin)?.as_chunks::<32>().0;
        let is_listed = |id: &[u8; 32]| listed.contains(&IndexId::from_bytes(*id));
        if !relied_on.iter().all(is_listed) || bytes.len() < rows_end {
            return None;
        }
        let subtrees = rows_end..bytes.len();
        Some(Self { bytes, listed: rows_begin..rows_end, subtrees })
    }

    fn items(&self) -> &[[u8; ROW_LENGTH]] {
        self.bytes[self.listed.clone()].as_chunks().0
    }

    fn len(&self) -> usize {
        self.items().len()
    }

    fn find(&self, tree: &BlobId) -> Option<Row<'_>> {
        let number = self.items().binary_search_by(|row| row[..32].cmp(tree.as_bytes())).ok()?;
        self.get(number)
    }

    fn get(&self, number: usize) -> Option<Row<'_>> {
        let (tree, rest) = self.items().get(number)?.split_first_chunk()?;
        let (fingerprint, rest) = rest.split_first_chunk()?;
        let [begin, count] = *rest.as_chunks::<4>().0 else { return None };
        let begin = usize::try_from(u32::from_le_bytes(begin)).ok()?;
        let end = begin.checked_add(usize::try_from(u32::from_le_bytes(count)).ok()?)?;
        Some(Row {
            number,
            tree: BlobId::from_bytes(*tree),
            fingerprint: Fingerprint::from_bytes(*fingerprint),
            subtrees: self.bytes[self.subtrees.clone()].as_chunks().0.get(begin..end)?,
        })
    }
}

/// Writes rows in the order of their trees.
#[derive(Debug, Default)]
struct RowWriter {
    rows: BTreeMap<BlobId, (Fingerprint, Range<usize>)>,
    subtrees: Vec<BlobId>,
}

impl RowWriter {
    fn add(
        &mut self,
        tree: BlobId,
        fingerprint: Fingerprint,
        subtrees: impl Iterator<Item = BlobId>,
    ) {
        if self.rows.len() < ROWS_MAX {
            let begin = self.subtrees.len();
            self.subtrees.extend(subtrees);
            self.rows.insert(tree, (fingerprint, begin..self.subtrees.len()));
        }
    }

    fn finish(self, files: &BTreeSet<IndexId>) -> Vec<u8> {
        let number =
            |number: usize| u32::try_from(number).expect("there are few rows").to_le_bytes();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&number(files.len()));
        bytes.extend_from_slice(&number(self.rows.len()));
        for id in files {
            bytes.extend_from_slice(id.as_bytes());
        }
        for (tree, (fingerprint, subtrees)) in &self.rows {
            bytes.extend_from_slice(tree.as_bytes());
            bytes.extend_from_slice(fingerprint.as_bytes());
            bytes.extend_from_slice(&number(subtrees.start));
            bytes.extend_from_slice(&number(subtrees.len()));
        }
        for id in &self.subtrees {
            bytes.extend_from_slice(id.as_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(number: u8) -> BlobId {
        BlobId::from_bytes([number; 32])
    }

    fn listed(numbers: &[u8]) -> BTreeSet<IndexId> {
        numbers.iter().map(|number| IndexId::from_bytes([*number; 32])).collect()
    }

    fn print(number: u8) -> Fingerprint {
        Fingerprint::from_bytes([number; 32])
    }

    fn written() -> Vec<u8> {
        let mut writer = RowWriter::default();
        writer.add(tree(9), print(1), [tree(4), tree(5)].into_iter());
        writer.add(tree(4), print(2), std::iter::empty());
        writer.finish(&listed(&[2, 1]))
    }

    #[test]
    fn rows_are_found_by_their_trees() {
        let rows = Rows::parse(written(), &listed(&[1, 2, 3])).unwrap();
        let row = rows.find(&tree(9)).unwrap();
        assert_eq!((row.fingerprint, row.subtree_count()), (print(1), 2));
        assert_eq!(row.subtrees().collect::<Vec<_>>(), [tree(4), tree(5)]);
        let row = rows.find(&tree(4)).unwrap();
        assert_eq!((row.fingerprint, row.subtree_count()), (print(2), 0));
        assert!(rows.find(&tree(5)).is_none());
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn an_index_file_that_is_gone_makes_all_of_it_useless() {
        assert!(Rows::parse(written(), &listed(&[1, 3])).is_none());
        assert!(Rows::parse(written(), &listed(&[])).is_none());
    }

    #[test]
    fn hosts_and_paths_have_files_of_their_own() {
        let name = |host, paths: &[&str]| {
            file_name(host, &paths.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let names =
            [name("a", &["b"]), name("ab", &[]), name("a", &["b", ""]), name("", &["a", "b"])];
        assert_eq!(BTreeSet::from(names).len(), 4);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(rest in prop::collection::vec(0..3_u8, 0..300)) {
            let bytes = [&MAGIC[..], &rest].concat();
            if let Some(rows) = Rows::parse(bytes, &listed(&[0, 1])) {
                let _ = rows.find(&tree(1));
                (0..rows.len()).filter_map(|number| rows.get(number)).for_each(|row| {
                    row.subtrees().for_each(drop);
                });
            }
        }
    }
}
