//! Finds the key file that a password opens.

use lifeboat_model::{KeyId, Secret};
use lifeboat_tiers::TierError;

use bytes::Bytes;

use super::{KEY_FILES_MAX, OpenOptions, corrupt, verified};
use crate::config::{Config, ConfigError};
use crate::crypto::{MasterKey, OpenError};
use crate::error::{RepositoryError, StoredObject};
use crate::key::KeyFile;
use crate::store::Store;

/// Finds the key file that the password opens and whose master key opens the config.
///
/// A key file that cannot be used is passed over, since another one may be whole.
pub(super) fn unlock(
    store: &Store,
    password: &Secret,
    (options, keys): (&OpenOptions, Vec<KeyId>),
    sealed_config: &[u8],
) -> Result<(MasterKey, KeyId, Config), RepositoryError> {
    let (files, unusable) = usable_key_files(store, options, keys)?;
    let mut failure = None;
    for (id, file) in &files {
        let key = match file.open(password) {
            Ok(None) => continue,
            Ok(Some(key)) => key,
            Err(error) => {
                failure = Some(corrupt(store, StoredObject::Key(*id), error));
                continue;
            }
        };
        match open_config(store, &key, sealed_config)? {
            Ok(document) => {
                let config = Config::parse(&document).map_err(|error| match error {
                    ConfigError::Version { version } => {
                        let address = store.address().to_owned();
                        RepositoryError::UnsupportedVersion { address, version }
                    }
                    error => corrupt(store, StoredObject::Config, error),
                })?;
                return Ok((key, *id, config));
            }
            Err(error) => failure = Some(corrupt(store, StoredObject::Config, error)),
        }
    }
    let unusable = unusable.filter(|_| files.is_empty());
    let address = || store.address().to_owned();
    Err(failure.or(unusable).unwrap_or_else(|| match files.len() {
        0 => RepositoryError::NoKeyFile { address: address() },
        tried => RepositoryError::WrongKey { address: address(), tried },
    }))
}

/// Opens the config; one that does not open is read once more, since a line may have altered it, but not from a
/// disk.
fn open_config(
    store: &Store,
    key: &MasterKey,
    sealed: &[u8],
) -> Result<Result<Vec<u8>, OpenError>, TierError> {
    let opened = key.open(sealed);
    if opened.is_ok() || store.reads_here() {
        return Ok(opened);
    }
    tracing::warn!("the config came damaged; reading it again");
    Ok(store.get_config()?.map_or(opened, |again| key.open(&again)))
}

/// Key files in the order in which they are tried, and why one of the others cannot be.
type KeyFiles = (Vec<(KeyId, KeyFile)>, Option<RepositoryError>);

fn usable_key_files(
    store: &Store,
    options: &OpenOptions,
    mut ids: Vec<KeyId>,
) -> Result<KeyFiles, RepositoryError> {
    ids.sort_by_key(|id| Some(*id) != options.key_hint);
    ids.truncate(KEY_FILES_MAX);
    let mut files = Vec::new();
    let mut unusable = None;
    let read = store.get_each(&ids);
    for (id, bytes) in ids.into_iter().zip(read) {
        match parse_key_file(store, id, bytes) {
            Ok(file) => files.push((id, file)),
            Err(error @ (RepositoryError::UnusableKey { .. } | RepositoryError::Corrupt(_))) => {
                tracing::warn!(key = id.to_hex(), "passing over a key file that cannot be used");
                unusable = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    files.sort_by_key(|(id, file)| (Some(*id) != options.key_hint, file.parameters().work()));
    Ok((files, unusable))
}

pub(crate) fn read_key_file(store: &Store, id: KeyId) -> Result<KeyFile, RepositoryError> {
    parse_key_file(store, id, store.get(&id))
}

fn parse_key_file(
    store: &Store,
    id: KeyId,
    bytes: Result<Bytes, TierError>,
) -> Result<KeyFile, RepositoryError> {
    let bytes = verified(store, &id, bytes)?;
    KeyFile::parse(&bytes).map_err(|source| RepositoryError::UnusableKey {
        address: store.address().to_owned(),
        key: id.to_hex(),
        source,
    })
}
