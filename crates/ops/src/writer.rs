//! Who writes records here: one key for a host and its state directory.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey};
use lifeboat_model::{Timestamp, WriterId};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::random;
use crate::recovery_key::Verifier;
use crate::surroundings::uuid_v7;

/// A writer's id and signing key.
pub struct Writer {
    id: WriterId,
    key: SigningKey,
}

/// How a writer is kept in the state directory.
#[derive(Serialize, Deserialize)]
struct Stored {
    schema: u32,
    writer: WriterId,
    seed: String,
}

impl Writer {
    /// Makes a new writer.
    pub fn generate(now: Timestamp) -> Self {
        let seed = Zeroizing::new(random::bytes());
        Self { id: WriterId::from_uuid(uuid_v7(now)), key: SigningKey::from_bytes(&seed) }
    }

    /// Returns who it is.
    pub const fn id(&self) -> WriterId {
        self.id
    }

    /// Returns its public key.
    pub fn verifier(&self) -> Verifier {
        Verifier::new(self.key.verifying_key())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.key.sign(message)
    }

    /// Writes it for the state directory.
    pub(crate) fn to_stored(&self) -> Zeroizing<Vec<u8>> {
        let mut stored =
            Stored { schema: 1, writer: self.id, seed: BASE64.encode(self.key.to_bytes()) };
        let bytes = Zeroizing::new(serde_json::to_vec(&stored).expect("a writer is JSON"));
        stored.seed.zeroize();
        bytes
    }

    /// Reads it from the state directory; `None` if it is damaged.
    pub(crate) fn from_stored(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        let text = Zeroizing::new(stored.seed);
        let seed = Zeroizing::new(BASE64.decode(text.as_bytes()).ok()?);
        let seed: &[u8; 32] = seed.as_slice().try_into().ok()?;
        Some(Self { id: stored.writer, key: SigningKey::from_bytes(seed) })
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_reads_back_and_hides_its_key() {
        let writer = Writer::generate(Timestamp::UNIX_EPOCH);
        let back = Writer::from_stored(&writer.to_stored()).unwrap();
        assert_eq!((back.id(), back.verifier()), (writer.id(), writer.verifier()));
        assert_eq!(format!("{writer:?}"), format!("Writer({})", writer.id()));
        assert!(Writer::from_stored(b"{}").is_none());
    }
}
