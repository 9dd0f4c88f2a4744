//! Index files that are read back from the tier before anything in them counts as known.

use lifeboat_model::IndexId;

use super::{Repository, State};
use crate::error::RepositoryError;
use crate::index::IndexFile;

impl<S: State> Repository<S> {
    /// Stores an index file like [`Self::save_index`], and reads it back before anything in it is known.
    pub(crate) fn save_index_and_read_it(
        &self,
        file: &IndexFile,
    ) -> Result<IndexId, RepositoryError> {
        let id = self.save_document(&file.to_document())?;
        self.load_raw(&id)?;
        self.state.was_saved(id, file);
        Ok(id)
    }

    /// Returns how many packs the index lists that is loaded; none, if there is none.
    pub(crate) fn packs_known(&self) -> usize {
        self.state.packs_known()
    }
}
