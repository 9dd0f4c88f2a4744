//! The key files of a repository: each is the same master key, sealed by another password.
//!
//! # Invariants
//!
//! - The key file that the repository was opened with is never removed, so one is always left.
//! - A key file counts as added once it was read back and its password opened it.
//! - Whoever removes one holds an exclusive lock: two that remove each other's key would leave none.
//!
//! # Limits
//!
//! At most [`KEY_FILES_MAX`] key files, since neither restic nor this tries more: the next password
//! might open nothing.
//!
//! # Crash consistency
//!
//! A password is changed by adding the new key file before the old one is removed. After a kill
//! between the two both passwords open the repository.
//!
//! Source: restic `cmd/restic/cmd_key.go`.

use lifeboat_model::{KeyId, Secret};

use crate::error::{RepositoryError, StoredObject};
use crate::key::{KdfParameters, KeyFile, KeyNote, KeyOrigin};
use crate::repository::{KEY_FILES_MAX, Repository, State, read_key_file};

/// A key file.
#[derive(Debug)]
pub struct ListedKey {
    /// Its name.
    pub id: KeyId,
    /// Who made it and when, or why it cannot be read.
    pub note: Result<KeyNote, RepositoryError>,
}

impl<S: State> Repository<S> {
    /// Lists the key files, in the order of their ids.
    pub fn keys(&self) -> Result<Vec<ListedKey>, RepositoryError> {
        let files = self.store().list::<KeyId>()?.into_iter();
        let listed = |id| {
            let note = read_key_file(self.store(), id).map(|file| file.note().clone());
            ListedKey { id, note }
        };
        Ok(files.map(|file| listed(file.id)).collect())
    }

    /// Adds a key file that another password opens, and sees to it that it does.
    pub fn add_key(
        &self,
        password: &Secret,
        kdf: KdfParameters,
        origin: &KeyOrigin,
    ) -> Result<KeyId, RepositoryError> {
        let count = self.store().list::<KeyId>()?.len();
        if count >= KEY_FILES_MAX {
            let address = self.address().to_owned();
            return Err(RepositoryError::TooManyKeys { address, count });
        }
        let (id, bytes) = KeyFile::seal(self.key(), password, kdf, origin);
        self.store().put(&id, bytes.into())?;
        let opened = read_key_file(self.store(), id)?
            .open(password)
            .map_err(|error| self.corrupt(StoredObject::Key(id), error))?;
        if opened.as_ref() == Some(self.key()) {
            return Ok(id);
        }
        // What does not open the repository must not look as if it did.
        self.store().delete(&id)?;
        Err(RepositoryError::WrongKey { address: self.address().to_owned(), tried: 1 })
    }

    /// Removes a key file; its password opens nothing any more.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::KeyInUse`] for the one that the repository was opened with.
    pub fn remove_key(&self, id: &KeyId) -> Result<(), RepositoryError> {
        if *id == self.key_id() {
            let address = self.address().to_owned();
            return Err(RepositoryError::KeyInUse { address, key: id.to_hex() });
        }
        // Read and not only remembered: another may have removed it since the repository was opened.
        read_key_file(self.store(), self.key_id())?;
        Ok(self.store().delete(id)?)
    }

    /// Changes the password that the repository was opened with; returns the new key file.
    pub fn change_password(
        &self,
        password: &Secret,
        kdf: KdfParameters,
        origin: &KeyOrigin,
    ) -> Result<KeyId, RepositoryError> {
        let id = self.add_key(password, kdf, origin)?;
        self.store().delete(&self.key_id())?;
        Ok(id)
    }
}
