//! What only a simulation asks for: nonces that a seed decides, so that it replays to the last byte,
//! and packs so small that few bytes fill several.
//!
//! What is sealed is named by its hash, so the order of names, and with it the order of many
//! operations, depends on nonces. Here one is derived from a seed and the plaintext: whoever seals
//! the same under the same seed gets the same bytes, whatever other threads do meanwhile.
//!
//! Only built with the feature `simulation`, which nothing else asks for: a nonce
//! that can be foretold is no secret lost, but one that is used for two texts is. Even then a key
//! draws random nonces until somebody gives it a seed.

use lifeboat_model::ByteSize;
use sha2::{Digest, Sha256};

use crate::backup::BackupOptions;
use crate::crypto::NONCE_LENGTH;
use crate::repository::{Repository, State};

/// Where a key's nonces come from; keys are the same wherever.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Nonces(Option<u64>);

impl PartialEq for Nonces {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Nonces {}

impl Nonces {
    pub(crate) fn nonce_for(self, plaintext: &[u8]) -> Option<[u8; NONCE_LENGTH]> {
        let hash = Sha256::new().chain_update(self.0?.to_le_bytes()).chain_update(plaintext);
        let mut nonce = [0; NONCE_LENGTH];
        nonce.copy_from_slice(&hash.finalize()[..NONCE_LENGTH]);
        Some(nonce)
    }
}

impl<S: State> Repository<S> {
    /// Lets everything that is sealed from now on have nonces that `seed` decides.
    #[must_use]
    pub fn with_nonces_of(mut self, seed: u64) -> Self {
        self.key_mut().nonces = Nonces(Some(seed));
        self
    }
}

impl BackupOptions {
    /// Lets packs of data have this size, however small.
    #[must_use]
    pub const fn with_packs_of(mut self, size: ByteSize) -> Self {
        self.pack_size = size;
        self.smallest_pack = Some(size);
        self
    }
}
