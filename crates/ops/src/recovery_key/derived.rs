//! What follows from a recovery key: an age identity and the root signing key, and their public
//! halves as a plan names them.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bech32::{Bech32, Hrp};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use lifeboat_model::Secret;
use serde::{Serialize, Serializer};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Separates this use of HKDF from every other; changing a label changes every derived key.
const SALT: &[u8] = b"lifeboat recovery key v1";
const AGE_LABEL: &[u8] = b"lifeboat v1 age x25519 identity";
const ROOT_LABEL: &[u8] = b"lifeboat v1 ed25519 root signing key";

fn derive(key: &[u8; 32], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(SALT), key)
        .expand(label, derived.as_mut())
        .expect("32 bytes are less than HKDF's limit");
    derived
}

/// Returns the age identity in the form that `age -i` reads.
pub(super) fn age_identity(key: &[u8; 32]) -> Secret {
    let hrp = Hrp::parse("AGE-SECRET-KEY-").expect("it is a valid prefix");
    let text = bech32::encode_upper::<Bech32>(hrp, derive(key, AGE_LABEL).as_ref());
    Secret::new(text.expect("32 bytes fit into bech32"))
}

/// Returns the root signing key.
pub(super) fn root_key(key: &[u8; 32]) -> RootKey {
    RootKey(SigningKey::from_bytes(&derive(key, ROOT_LABEL)))
}

/// The key that enrols writers; derived from the recovery key, so that it is nowhere else.
pub struct RootKey(SigningKey);

impl RootKey {
    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message)
    }

    /// Returns the public half.
    pub fn verifier(&self) -> Verifier {
        Verifier(self.0.verifying_key())
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(…)")
    }
}

/// A text is not an ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a verifier: expected `ed25519:` and 32 bytes in base64")]
pub struct ParseVerifierError {
    text: String,
}

/// An ed25519 public key, written `ed25519:<base64>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verifier(VerifyingKey);

impl Verifier {
    /// Wraps a public key.
    pub const fn new(key: VerifyingKey) -> Self {
        Self(key)
    }

    /// Tells whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        // The strict form refuses the malleable signatures that plain ed25519 lets pass.
        self.0.verify_strict(message, signature).is_ok()
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", BASE64.encode(self.0.as_bytes()))
    }
}

impl FromStr for Verifier {
    type Err = ParseVerifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("ed25519:")
            .and_then(|encoded| BASE64.decode(encoded).ok())
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
            .map(Self)
            .ok_or_else(|| ParseVerifierError { text: text.to_owned() })
    }
}

impl Serialize for Verifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
