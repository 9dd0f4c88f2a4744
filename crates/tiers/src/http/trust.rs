//! Which authorities are believed when a store says who it is.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_model::{Classify, ErrorKind, Hint};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The authorities that are believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// Those of the system.
    #[default]
    System,
    /// Those in this file alone, in PEM.
    File(PathBuf),
}

/// No encrypted connection could be prepared.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file with the authorities cannot be read.
    #[error("the authorities in {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds no certificate that could be used.
    #[error("{} holds no certificate of an authority in PEM", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// The system's authorities or the library's own tables cannot be used.
    #[error("encrypted connections cannot be made")]
    Tls {
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The client cannot be made.
    #[error("the client for stores cannot be made")]
    Client {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

impl Classify for TrustError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Unreadable { path, .. } | Self::NoAuthority { path } => Some(Hint::new(format!(
                "see what it holds: openssl x509 -noout -subject -in {}; it is named in AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE or SSL_CERT_FILE",
                path.display()
            ))),
            Self::Tls { .. } | Self::Client { .. } => None,
        }
    }
}

impl Trust {
    /// Prepares connections that are made only to whom these authorities vouch for.
    pub(super) fn client_config(&self) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = self.verifier(&provider)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TrustError::Tls { source })?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(config)
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, TrustError> {
        let path = match self {
            Self::System => {
                return rustls_platform_verifier::Verifier::new(Arc::clone(provider))
                    .map(|verifier| Arc::new(verifier) as _)
                    .map_err(|source| TrustError::Tls { source });
            }
            Self::File(path) => path,
        };
        let pem = std::fs::read(path)
            .map_err(|source| TrustError::Unreadable { path: path.clone(), source })?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map(|verifier| verifier as _)
            .map_err(|_| TrustError::NoAuthority { path: path.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_read_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let trust = Trust::File(path.clone());
        let refused = |trust: &Trust| trust.client_config().unwrap_err();
        assert!(matches!(refused(&trust), TrustError::Unreadable { .. }));
        std::fs::File::create(&path).unwrap();
        let error = refused(&trust);
        assert!(matches!(error, TrustError::NoAuthority { .. }), "{error}");
        assert!(error.hint().unwrap().to_string().contains("ca.pem"));
    }
}
