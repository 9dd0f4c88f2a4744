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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5956a3f67a6230d4a92cefb29529f10196c7d92582ec305fd71ff6d331d6271b";

    fn parse(version: u32, polynomial: &str, more: &str) -> Result<Config, ConfigError> {
        let text = format!(
            r#"{{"version":{version},"id":"{ID}","chunker_polynomial":"{polynomial}"{more}}}"#
        );
        Config::parse(text.as_bytes())
    }

    #[test]
    fn a_config_is_written_as_restic_does() {
        let config = parse(2, "25b468838dcb75", r#","chunk_size":1048576"#).unwrap();
        let written = String::from_utf8(config.to_document()).unwrap();
        assert_eq!(
            written,
            format!(r#"{{"version":2,"id":"{ID}","chunker_polynomial":"25b468838dcb75"}}"#)
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let version_1 = parse(1, "25b468838dcb75", "").unwrap_err();
        assert!(matches!(version_1, ConfigError::Version { version: 1 }));
        for polynomial in ["25b468838dcb76", "1", "0", "ffffffffffffffff"] {
            let error = parse(2, polynomial, "").unwrap_err();
            assert!(matches!(error, ConfigError::Polynomial { .. }), "{polynomial}");
        }
        assert!(matches!(Config::parse(b"{}"), Err(ConfigError::Json(_))));
    }

    #[test]
    fn a_new_config_can_be_read() {
        let config = Config::new(Polynomial::random_irreducible());
        assert_eq!(Config::parse(&config.to_document()).unwrap(), config);
    }
}
