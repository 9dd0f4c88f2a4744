//! What is backed up: made from a seed, so that two runs measure the same bytes.
//!
//! - [`media`]: files that cannot be compressed, as photos and films are.
//! - [`mixed`]: a hundred thousand small and mixed files, from the machine's own `/usr`.
//! - [`database`]: the data directory of a PostgreSQL server that was stopped.
//! - [`history`]: a repository with a hundred snapshots of trees that change.

pub mod database;
pub mod history;
pub mod media;
pub mod mixed;
pub(crate) mod random;

use std::path::PathBuf;

use crate::ceiling::{Walked, walk};
use crate::failure::{BenchError, file};

/// Files to be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// Where they lie.
    pub root: PathBuf,
    /// How much it is.
    pub walked: Walked,
    /// How much of it is left when equal files are counted once.
    pub unique_bytes: u64,
    /// Some of the files, to time the stages over.
    pub sample: Vec<PathBuf>,
}

impl Corpus {
    /// Looks at what was made below `root`; without `unique_bytes`, all files differ.
    fn look(
        root: PathBuf,
        unique_bytes: Option<u64>,
        sample: Vec<PathBuf>,
    ) -> Result<Self, BenchError> {
        let walked = walk(&root, 1).map_err(file("look at", &root))?;
        Ok(Self { unique_bytes: unique_bytes.unwrap_or(walked.bytes), root, walked, sample })
    }
}

/// Which corpus, and how much of everything, is made from which numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// Where all random numbers come from.
    pub seed: u64,
    /// How much of the full size: 1 for all of it.
    pub scale: f64,
}

impl Recipe {
    /// Returns an amount at this scale; at least one.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "amounts are round numbers, and a scale is not negative"
    )]
    pub fn scaled(&self, amount: u64) -> u64 {
        ((amount as f64 * self.scale).round() as u64).max(1)
    }
}
