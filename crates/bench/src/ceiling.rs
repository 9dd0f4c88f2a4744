//! What the hardware allows: each stage of the work timed with nothing beside it, then added up.
//!
//! The stages run one after the other over the pieces of sample files, each with its own watch, on all
//! cores at once: cores share memory, caches and, where a core is one of two threads of the same
//! silicon, the very units that hash and encipher, so that `n` of them are rarely `n` times as fast as
//! one. A piece is as warm in the cache as it is in a backup, and no stage waits for another. Perfect
//! work on `n` cores takes the sum of the stages, divided by `n`: no engine that has to do these stages
//! with these primitives can be faster, however it overlaps them.
//!
//! # Limits
//!
//! Which stages meet on two cores is chance, here as in a backup.

mod stages;
mod walk;

pub use stages::{Stage, Stages, measure};
pub use walk::{Walked, walk};

use serde::Serialize;

use crate::corpus::Corpus;

/// What perfect work on a corpus would take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ceiling {
    /// The stages, over a sample.
    pub stages: Stages,
    /// Looking at every name of the corpus, with all cores.
    pub walk_s: f64,
    /// A first backup of it, with all cores.
    pub backup_s: f64,
    /// A check of its repository that reads all data, with all cores.
    pub check_s: f64,
}

impl Ceiling {
    /// Adds the stages up for a corpus and cores.
    ///
    /// Data that the corpus holds twice is read, cut and named, but compressed, sealed, written and
    /// checked only once.
    #[expect(clippy::cast_precision_loss, reason = "times are rounded anyway")]
    pub fn of(corpus: &Corpus, stages: Stages, walk_s: f64, cores: usize) -> Self {
        let sample_bytes = stages.read.bytes.max(1) as f64;
        let [whole, unique] =
            [corpus.walked.bytes, corpus.unique_bytes].map(|bytes| bytes as f64 / sample_bytes);
        let storing = stages.backup_seconds() - stages.known_seconds();
        let cores = cores as f64;
        Self {
            stages,
            walk_s,
            backup_s: walk_s + (whole * stages.known_seconds() + unique * storing) / cores,
            check_s: unique * stages.check_seconds() / cores,
        }
    }
}
