//! Certificates of an authority that nobody knows, for servers that a test starts.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// A new authority.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Whether a certificate is valid today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is, and will be for long.
    Valid,
    /// It was.
    Over,
}

/// What a server proves its name with.
#[derive(Debug, Clone)]
pub struct Certificate(pub(crate) Arc<ServerConfig>);

impl Authority {
    /// Makes one.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let name = format!("authority {:x}", rand::random::<u64>());
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, key()).expect("these parameters are well"))
    }

    /// Returns its own certificate in PEM, for those who are to believe it.
    pub fn to_pem(&self) -> String {
        self.0.pem()
    }

    /// Vouches for a server of this name or address.
    pub fn certify(&self, name: &str, validity: Validity) -> Certificate {
        let mut params = CertificateParams::new([name.to_owned()]).expect("it is a name");
        if validity == Validity::Over {
            (params.not_before, params.not_after) =
                (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = key();
        let signed = params.signed_by(&key, &self.0).expect("these parameters are well");
        let secret = PrivateKeyDer::try_from(key.serialize_der()).expect("it was written so");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has what they need")
            .with_no_client_auth()
            .with_single_cert(vec![signed.der().clone()], secret)
            .expect("key and certificate belong together");
        Certificate(Arc::new(config))
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the system has random numbers")
}
