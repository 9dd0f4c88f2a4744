//! The large repository: a hundred thousand packs, of which one file can be restored.

use std::path::Path;

use lifeboat_model::{BlobId, Cancel, Silent};
use lifeboat_repository::listing;
use lifeboat_repository::{BlobKind, Indexed, NodeKind, Repository};
use lifeboat_testing::interrupt::Interrupt;
use serde::Serialize;

use crate::corpus::Recipe;
use crate::failure::BenchError;
use crate::racer;
use crate::scale::blobs::{self, Packing, REAL_FILE};

/// How many packs there are at full scale.
pub const PACKS: u64 = 100_000;

/// Its name in the bucket.
pub const NAME: &str = "large";

/// The directory that is listed, which every one of these repositories has.
pub const LISTED: &str = "/00000000";

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Large {
    /// Its packs.
    pub packs: u64,
    /// Its blobs of data.
    pub blobs: u64,
    /// The bytes of its index files.
    pub index_bytes: u64,
    /// The bytes of the one file that can be restored.
    pub file_bytes: u64,
    /// The sealed bytes of the one file's content and of the directories on its path: what restoring it
    /// needs when the index is known.
    pub needed_bytes: u64,
}

/// Makes it in an empty directory.
pub fn make(path: &Path, recipe: Recipe, interrupt: &Interrupt) -> Result<Large, BenchError> {
    let packing = Packing::LARGE;
    let blobs = recipe.scaled(PACKS) * packing.blobs_per_pack;
    blobs::make(path, blobs, packing, interrupt)?;
    let runtime = racer::runtime()?;
    let repository = blobs::open(path, &runtime)?;
    let index_files = repository.store().list::<lifeboat_model::IndexId>()?;
    let repository = repository.load_index(&Cancel::new(), &Silent)?;
    let (packs, known) = {
        let index = repository.index();
        (index.packs()?.len() as u64, index.len(BlobKind::Data) as u64)
    };
    Ok(Large {
        packs,
        blobs: known,
        index_bytes: index_files.iter().map(|file| file.size).sum(),
        ..one_file(&repository)?
    })
}

/// Looks at the one file, and adds up what restoring it needs.
fn one_file(repository: &Repository<Indexed>) -> Result<Large, BenchError> {
    let mut snapshots = repository.snapshots()?;
    let (_, newest) = snapshots.pop().expect("there are two");
    let file = Path::new(REAL_FILE);
    let mut trees = vec![newest.tree];
    for directory in file.ancestors().skip(1).filter(|path| path.parent().is_some()) {
        let node = listing::find(repository, &newest, directory)?;
        if let Some(NodeKind::Directory { subtree }) = node.map(|node| node.kind) {
            trees.push(subtree);
        }
    }
    let node = listing::find(repository, &newest, file)?;
    let Some(NodeKind::File { size, content }) = node.map(|node| node.kind) else {
        unreachable!("it is in both snapshots");
    };
    let lengths = |kind: BlobKind, ids: &[BlobId]| -> u64 {
        ids.iter().filter_map(|id| repository.locate(kind, id)).map(|at| u64::from(at.length)).sum()
    };
    let needed_bytes = lengths(BlobKind::Tree, &trees) + lengths(BlobKind::Data, &content);
    Ok(Large { file_bytes: size, needed_bytes, ..Large::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_one_has_one_file_that_needs_what_it_holds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("repository");
        let recipe = Recipe { seed: 1, scale: 0.001 };
        let large = make(&path, recipe, &Interrupt::default()).unwrap();
        // A whole directory at least, the pack of the one file, and one of directories.
        assert_eq!((large.packs, large.blobs), (252, 4008));
        let content = 8 << 20;
        assert!(large.file_bytes.abs_diff(content) < 1000, "{large:?}");
        assert!(large.needed_bytes > content, "{large:?}");
        assert!(large.needed_bytes < content + content / 10, "{large:?}");
    }
}
