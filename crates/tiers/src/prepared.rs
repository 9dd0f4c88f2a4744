//! Which directories this process has looked after once, so that it does not do so before each object.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// How many directories are remembered as prepared; beyond it they are prepared again, which costs
/// a few syncs. A repository has 256 and a handful.
const PREPARED_MAX: usize = 4096;

/// Directories that this process made durable and swept.
#[derive(Debug, Default)]
pub(crate) struct Prepared(Mutex<HashSet<PathBuf>>);

impl Prepared {
    pub(crate) fn contains(&self, directory: &Path) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(directory)
    }

    pub(crate) fn insert(&self, directory: &Path) {
        let mut prepared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if prepared.len() >= PREPARED_MAX {
            prepared.clear();
        }
        prepared.insert(directory.to_owned());
    }
}
