//! Loading the index: from the atlas as far as it goes, from index files beyond that.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::IndexId;

use super::Index;
use super::atlas::survey::{self, SurveyError};
use super::atlas::{self, Atlas};
use super::document::{PackDigest, PackEntry};
use super::reader::{IndexReader, Origin};
use crate::error::RepositoryError;
use crate::store::ListedFile;

/// Bytes of index files up to which there is no atlas: they are parsed in a few milliseconds.
const ATLAS_BYTES_MIN: u64 = 256 << 10;

/// Bytes of index files beyond the atlas that are put into memory at most, and not into a new atlas:
/// some 350,000 blobs, 17 MB.
const BEYOND_BYTES_MAX: u64 = 16 << 20;

/// The part of what the atlas covers that may be beyond it; so an atlas is made only after the index
/// grew by that part.
const BEYOND_PART: u64 = 4;

/// Index files beyond the atlas at most: each is opened every time.
const BEYOND_FILES_MAX: usize = 64;

/// Loads index files; `was_read` is told of each, and may end it.
pub(crate) fn load(
    reader: &Arc<IndexReader>,
    listed: &[ListedFile<IndexId>],
    was_read: &(dyn Fn(&IndexId) -> Result<(), RepositoryError> + Sync),
) -> Result<Index, RepositoryError> {
    let all: Vec<IndexId> = listed.iter().map(|file| file.id).collect();
    let Some(cache) = reader.cache() else {
        return read_into(Index::default(), reader, &all, was_read);
    };
    let path = cache.path_of(atlas::FILE_NAME);
    if let Some(found) = open(&path, reader, &all) {
        let covered: HashSet<&IndexId> = found.files().iter().collect();
        let (below, beyond): (Vec<_>, Vec<_>) =
            listed.iter().partition(|file| covered.contains(&file.id));
        if !is_outgrown(&below, &beyond) {
            below.iter().try_for_each(|file| was_read(&file.id))?;
            let beyond: Vec<IndexId> = beyond.iter().map(|file| file.id).collect();
            return read_into(Index::on(found), reader, &beyond, was_read);
        }
    }
    if bytes(listed) < ATLAS_BYTES_MIN {
        return read_into(Index::default(), reader, &all, was_read);
    }
    match survey::make(reader, &all, was_read) {
        Ok(()) => {}
        Err(SurveyError::Repository(error)) => return Err(error),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, "The local index could not be made.");
        }
    }
    match open(&path, reader, &all) {
        Some(found) if found.files().len() == all.len() => Ok(Index::on(found)),
        // What was read is not told again.
        _ => read_into(Index::default(), reader, &all, &|_| Ok(())),
    }
}

/// Opens the atlas if there is one and all that it covers is listed; one that cannot be used is
/// removed, since nothing else would.
fn open(path: &Path, reader: &Arc<IndexReader>, listed: &[IndexId]) -> Option<Atlas> {
    let found = match Atlas::open(path, Arc::clone(reader)) {
        Ok(found) => found,
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(path = %path.display(), error, "There is no local index to be used.");
            return None;
        }
    };
    let is_listed = |file: &IndexId| listed.binary_search(file).is_ok();
    found.files().iter().all(is_listed).then_some(found)
}

fn bytes<'f>(files: impl IntoIterator<Item = &'f ListedFile<IndexId>>) -> u64 {
    files.into_iter().map(|file| file.size).sum()
}

/// Tells whether so much is beyond an atlas that it pays to make a new one.
fn is_outgrown(below: &[&ListedFile<IndexId>], beyond: &[&ListedFile<IndexId>]) -> bool {
    let part = bytes(below.iter().copied()) / BEYOND_PART;
    let limit = part.clamp(ATLAS_BYTES_MIN, BEYOND_BYTES_MAX);
    beyond.len() > BEYOND_FILES_MAX || bytes(beyond.iter().copied()) > limit
}

/// Reads index files into memory, on top of what is there.
fn read_into(
    index: Index,
    reader: &IndexReader,
    files: &[IndexId],
    was_read: &(dyn Fn(&IndexId) -> Result<(), RepositoryError> + Sync),
) -> Result<Index, RepositoryError> {
    let index = Mutex::new(index);
    reader.read_all(
        files,
        Vec::new,
        |packs: &mut Vec<PackEntry>, pack| packs.push(pack),
        |packs, id, read| {
            read?;
            index.lock().unwrap_or_else(PoisonError::into_inner).add_packs(packs);
            packs.clear();
            was_read(id)
        },
    )?;
    Ok(index.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Is told of each index file whether it could be read, and of every pack that it lists; what it makes
/// of a failure is its own affair.
pub(crate) trait Inspector: Sync {
    /// An index file was read, or could not be; an error ends the loading.
    fn was_read(
        &self,
        file: &IndexId,
        packs: &[PackDigest],
        read: Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError>;
}

/// Loads index files from the tier itself, into memory or into a file that vanishes with the process;
/// what cannot be read is left out.
pub(crate) fn load_apart(
    reader: &Arc<IndexReader>,
    listed: &[ListedFile<IndexId>],
    inspector: &dyn Inspector,
) -> Result<Index, RepositoryError> {
    debug_assert_eq!(reader.origin, Origin::Tier);
    let files: Vec<IndexId> = listed.iter().map(|file| file.id).collect();
    if bytes(listed) > BEYOND_BYTES_MAX && reader.cache().is_some() {
        match survey::make_apart(reader, &files, inspector) {
            Ok(atlas) => return Ok(Index::on(atlas)),
            Err(SurveyError::Repository(error)) => return Err(error),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::debug!(error, "The index goes into memory.");
            }
        }
    }
    let index = Mutex::new(Index::default());
    reader.read_all(
        &files,
        <(Vec<PackEntry>, Vec<PackDigest>)>::default,
        |(packs, digests), pack| {
            digests.push(PackDigest::of(&pack));
            packs.push(pack);
        },
        |(packs, digests), id, read| {
            index.lock().unwrap_or_else(PoisonError::into_inner).add_packs(packs);
            packs.clear();
            inspector.was_read(id, &std::mem::take(digests), read)
        },
    )?;
    Ok(index.into_inner().unwrap_or_else(PoisonError::into_inner))
}
