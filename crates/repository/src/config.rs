//! The config: a repository's version, its id and its chunker's polynomial.
//!
//! It is the only file that is not named by its hash, and the only sealed one that is never
//! compressed. A repository exists from the moment its config does.
//!
//! Sources: restic `doc/design.rst`, section "Repository Format"; restic
//! `internal/restic/config.go`.

use lifeboat_model::RepositoryId;
use serde::{Deserialize, Serialize};

use crate::polynomial::Polynomial;

/// The only version of the format that is read and written.
pub const VERSION: u32 = 2;

/// A config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not the document that it should be.
    #[error("it is not a config")]
    Json(#[from] serde_json::Error),
    /// It is of another version.
    #[error("its format is version {version}, not {VERSION}")]
    Version {
        /// The version it names.
        version: u32,
    },
    /// Its polynomial would cut nothing well.
    #[error("its chunker polynomial {polynomial} is not irreducible of degree 53 or less")]
    Polynomial {
        /// The polynomial it names.
        polynomial: Polynomial,
    },
}

/// What a config says; what else others wrote into it is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The version of the format.
    pub version: u32,
    /// The repository's random id.
    pub id: RepositoryId,
    /// The polynomial of restic's chunker.
    pub chunker_polynomial: Polynomial,
}

impl Config {
    /// Makes the config of a new repository.
    pub fn new(chunker_polynomial: Polynomial) -> Self {
        let id = RepositoryId::from_bytes(rand::random());
        Self { version: VERSION, id, chunker_polynomial }
    }

    /// Parses an opened config.
    pub fn parse(document: &[u8]) -> Result<Self, ConfigError> {
        /// Read first, since a config of another version may differ in the rest.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(document)?;
        if version != VERSION {
            return Err(ConfigError::Version { version });
        }
        let config: Self = serde_json::from_slice(document)?;
        let polynomial = config.chunker_polynomial;
        if polynomial.degree() > Polynomial::DEGREE || !polynomial.is_irreducible() {
            return Err(ConfigError::Polynomial { polynomial });
        }
        Ok(config)
    }

    /// Writes the config as it is to be sealed.
    pub fn to_document(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a config is plain data")
    }
}
