//! What is measured of the library alone, in a process of its own: loading an index and looking into it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use lifeboat_model::{Cancel, Silent};
use lifeboat_repository::index::IndexedPack;
use lifeboat_repository::{BlobKind, Indexed, Repository, RepositoryError};
use serde::{Deserialize, Serialize};

use super::blobs;
use crate::failure::BenchError;
use crate::machine::own_memory;
use crate::racer;

/// How many blobs that are there are looked up, and as many that are not.
const LOOKED_UP: u64 = 200_000;

/// What is done with the index once it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Nothing.
    Load,
    /// Blobs are looked up in no order.
    LookUp,
    /// All blobs are gone through, and all packs.
    Iterate,
}

impl Step {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::LookUp => "look-up",
            Self::Iterate => "iterate",
        }
    }
}

/// Which repository, and how many blobs of data it has.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// The repository
    #[arg(long, value_name = "DIR")]
    pub repository: PathBuf,
    /// Where caches lie
    #[arg(long, value_name = "DIR")]
    pub cache: PathBuf,
    /// How many blobs of data it has
    #[arg(long)]
    pub blobs: u64,
}

/// What was seen from within.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// How long loading took.
    pub load_s: f64,
    /// The anonymous memory of the process after it.
    pub loaded_bytes: u64,
    /// How long the rest took.
    pub work_s: f64,
    /// How many things that was.
    pub items: u64,
    /// The anonymous memory of the process after it.
    pub worked_bytes: u64,
}

/// Does a step and says what was seen; fails if the index does not answer as it should.
pub fn perform(step: Step, place: &Place) -> Result<Seen, BenchError> {
    let runtime = racer::runtime()?;
    let mut repository = blobs::open(&place.repository, &runtime)?;
    repository.use_cache(&place.cache).map_err(crate::failure::file("open", &place.cache))?;
    let watch = Instant::now();
    let repository = repository.load_index(&Cancel::new(), &Silent)?;
    let load_s = watch.elapsed().as_secs_f64();
    let loaded_bytes = own_memory("RssAnon");
    let watch = Instant::now();
    let items = match step {
        Step::Load => 0,
        Step::LookUp => look_up(&repository, place)?,
        Step::Iterate => iterate(&repository, place)?,
    };
    let work_s = watch.elapsed().as_secs_f64();
    Ok(Seen { load_s, loaded_bytes, work_s, items, worked_bytes: own_memory("RssAnon") })
}

fn look_up(repository: &Repository<Indexed>, place: &Place) -> Result<u64, BenchError> {
    let index = repository.index();
    for number in 0..LOOKED_UP {
        // A prime spreads them over all blobs.
        let there = number.wrapping_mul(2_654_435_761) % place.blobs;
        let found = index.get(BlobKind::Data, &blobs::id_of(there)).is_some();
        let ghost = index.contains(BlobKind::Data, &blobs::id_of(place.blobs + number));
        if !found || ghost {
            let what = format!("it finds blob {there}: {found}; one that is not there: {ghost}");
            return Err(wrong(&place.repository, what));
        }
    }
    Ok(2 * LOOKED_UP)
}

fn iterate(repository: &Repository<Indexed>, place: &Place) -> Result<u64, BenchError> {
    let index = repository.index();
    let alone = index.blobs(BlobKind::Data).count() as u64;
    let mut in_packs = 0;
    index.for_each_pack(|pack: IndexedPack| {
        in_packs += pack.blobs.iter().filter(|blob| blob.kind == BlobKind::Data).count() as u64;
        Ok::<_, RepositoryError>(())
    })?;
    let expected = place.blobs + blobs::REAL_BLOBS;
    if (alone, in_packs) == (expected, expected) {
        return Ok(alone + in_packs);
    }
    let what = format!("it has {alone} blobs and {in_packs} in packs, not {expected}");
    Err(wrong(&place.repository, what))
}

fn wrong(repository: &Path, what: String) -> BenchError {
    BenchError::WrongAnswer { repository: repository.to_owned(), what }
}
