//! Sealing: AES-256 in counter mode, authenticated by Poly1305-AES.
//!
//! A sealed object is `nonce (16) ‖ ciphertext ‖ MAC (16)`. The nonce is the whole initial counter
//! block, counted up as one 128-bit big-endian number. The MAC covers the ciphertext only: its
//! one-time key is `r` and `AES-128_k(nonce)`.
//!
//! # Invariants
//!
//! - A nonce is random and never all zero, which restic refuses.
//! - Plaintext of an object whose MAC is wrong is never handed out.
//! - Keys are wiped when dropped and never shown by `Debug`.
//!
//! Sources: restic `doc/design.rst`, section "Keys, Encryption and MAC";
//! restic `internal/repository/crypto/crypto.go`.

mod stream;

use std::fmt;

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use poly1305::universal_hash::UniversalHash;
use poly1305::{Block, Poly1305};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::json::base64_bytes;
use stream::{KeyStream, TILE_LENGTH};

/// How many bytes the nonce takes at the front of a sealed object.
pub const NONCE_LENGTH: usize = 16;

/// How many bytes the MAC takes at the end of a sealed object.
pub const MAC_LENGTH: usize = 16;

/// How much longer a sealed object is than its plaintext, in bytes.
pub const OVERHEAD: usize = NONCE_LENGTH + MAC_LENGTH;

/// The bits of `r` that Poly1305 wants to be zero: the top four of every fourth byte, and the low
/// two of the byte after each of these.
const R_MASK: [u8; 16] =
    [255, 255, 255, 15, 252, 255, 255, 15, 252, 255, 255, 15, 252, 255, 255, 15];

/// A sealed object cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is shorter than an empty sealed object.
    #[error("its {length} bytes are too few to be sealed")]
    TooShort {
        /// Its length in bytes.
        length: usize,
    },
    /// It was changed, or was sealed by another key.
    #[error("its authentication code does not match")]
    Unauthenticated,
}

/// The key that everything in a repository but its key files is sealed with.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    encrypt: [u8; 32],
    mac_k: [u8; 16],
    mac_r: [u8; 16],
    #[cfg(feature = "simulation")]
    #[zeroize(skip)]
    pub(crate) nonces: crate::simulation::Nonces,
}

impl MasterKey {
    /// Makes a new random key.
    pub fn generate() -> Self {
        Self::from_bytes(&rand::random())
    }

    /// Takes a key apart from 64 bytes: cipher key, then `k`, then `r` of the MAC.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut key = Self {
            encrypt: [0; 32],
            mac_k: [0; 16],
            mac_r: [0; 16],
            #[cfg(feature = "simulation")]
            nonces: crate::simulation::Nonces::default(),
        };
        key.encrypt.copy_from_slice(&bytes[..32]);
        key.mac_k.copy_from_slice(&bytes[32..48]);
        key.mac_r.copy_from_slice(&bytes[48..]);
        for (byte, mask) in key.mac_r.iter_mut().zip(R_MASK) {
            *byte &= mask;
        }
        key
    }

    /// Tells whether no part of the key is all zero; such a key was never written, only lost.
    pub fn is_valid(&self) -> bool {
        [&self.encrypt[..], &self.mac_k, &self.mac_r]
            .iter()
            .all(|part| part.iter().any(|byte| *byte != 0))
    }

    /// Returns `plaintext` sealed.
    pub fn seal(&self, plaintext: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.seal_onto(plaintext, &mut sealed);
        sealed
    }

    /// Appends `plaintext`, sealed, to `target`.
    ///
    /// It goes over tile by tile, so that the cache holds what is enciphered and authenticated.
    pub fn seal_onto(&self, plaintext: &[u8], target: &mut Vec<u8>) {
        let nonce = self.nonce(plaintext);
        let (mut stream, mut mac) = self.ciphers(nonce);
        target.reserve(plaintext.len() + OVERHEAD);
        target.extend_from_slice(&nonce);
        let (tiles, rest) = plaintext.as_chunks::<TILE_LENGTH>();
        for tile in tiles {
            let begin = target.len();
            stream.append(tile, target);
            mac.update(Block::slice_as_chunks(&target[begin..]).0);
        }
        let begin = target.len();
        stream.append(rest, target);
        let tag = finish_mac(mac, &target[begin..]);
        target.extend_from_slice(&tag);
    }

    /// Opens a sealed object into a new buffer.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut buffer = sealed.to_vec();
        let length = self.open_in_place(&mut buffer)?.len();
        buffer.copy_within(NONCE_LENGTH..NONCE_LENGTH + length, 0);
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Opens a sealed object where it lies and returns the part that is its plaintext.
    ///
    /// If it fails, the buffer's content is of no use.
    pub fn open_in_place<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        let length = sealed.len();
        if length < OVERHEAD {
            return Err(OpenError::TooShort { length });
        }
        let (nonce, text_and_tag) = sealed.split_at_mut(NONCE_LENGTH);
        let (text, tag) = text_and_tag.split_at_mut(length - OVERHEAD);
        let nonce: [u8; NONCE_LENGTH] = (*nonce).try_into().expect("split at the nonce's length");
        let (mut stream, mut mac) = self.ciphers(nonce);
        let (tiles, rest) = text.as_chunks_mut::<TILE_LENGTH>();
        for tile in tiles {
            mac.update(Block::slice_as_chunks(tile).0);
            stream.apply(tile);
        }
        let expected = finish_mac(mac, rest);
        stream.apply(rest);
        if equal_in_constant_time(&expected, tag) {
            Ok(text)
        } else {
            text.zeroize();
            Err(OpenError::Unauthenticated)
        }
    }

    #[cfg(not(feature = "simulation"))]
    #[expect(clippy::unused_self, reason = "a simulated key has nonces of its own")]
    fn nonce(&self, _plaintext: &[u8]) -> [u8; NONCE_LENGTH] {
        random_nonce()
    }

    #[cfg(feature = "simulation")]
    fn nonce(&self, plaintext: &[u8]) -> [u8; NONCE_LENGTH] {
        self.nonces.nonce_for(plaintext).unwrap_or_else(random_nonce)
    }

    fn ciphers(&self, nonce: [u8; NONCE_LENGTH]) -> (KeyStream, Poly1305) {
        let stream = KeyStream::new(&self.encrypt, nonce);
        let mut s = nonce.into();
        Aes128::new(&self.mac_k.into()).encrypt_block(&mut s);
        let mut one_time = [0; 32];
        one_time[..16].copy_from_slice(&self.mac_r);
        one_time[16..].copy_from_slice(&s);
        let mac = Poly1305::new(&one_time.into());
        one_time.zeroize();
        (stream, mac)
    }
}

/// Feeds the end of the text, which need not be a multiple of the block size.
fn finish_mac(mut mac: Poly1305, rest: &[u8]) -> [u8; MAC_LENGTH] {
    let (blocks, tail) = Block::slice_as_chunks(rest);
    mac.update(blocks);
    mac.compute_unpadded(tail).into()
}

fn random_nonce() -> [u8; NONCE_LENGTH] {
    loop {
        let nonce: [u8; NONCE_LENGTH] = rand::random();
        if nonce != [0; NONCE_LENGTH] {
            return nonce;
        }
    }
}

fn equal_in_constant_time(a: &[u8; MAC_LENGTH], b: &[u8]) -> bool {
    a.len() == b.len()
        && std::hint::black_box(a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y))) == 0
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// How a master key stands, sealed, in a key file.
#[derive(Serialize, Deserialize)]
struct MasterKeyDocument {
    mac: MacKeyDocument,
    #[serde(with = "base64_bytes")]
    encrypt: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct MacKeyDocument {
    #[serde(with = "base64_bytes")]
    k: Vec<u8>,
    #[serde(with = "base64_bytes")]
    r: Vec<u8>,
}

impl Drop for MasterKeyDocument {
    fn drop(&mut self) {
        self.encrypt.zeroize();
        self.mac.k.zeroize();
        self.mac.r.zeroize();
    }
}

impl Serialize for MasterKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        MasterKeyDocument {
            mac: MacKeyDocument { k: self.mac_k.to_vec(), r: self.mac_r.to_vec() },
            encrypt: self.encrypt.to_vec(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MasterKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = MasterKeyDocument::deserialize(deserializer)?;
        let mut bytes = [&document.encrypt[..], &document.mac.k, &document.mac.r].concat();
        let lengths = (document.encrypt.len(), document.mac.k.len(), document.mac.r.len());
        let key = match (lengths, bytes.as_slice().try_into()) {
            ((32, 16, 16), Ok(bytes)) => Some(Self::from_bytes(bytes)),
            _ => None,
        };
        bytes.zeroize();
        key.filter(Self::is_valid).ok_or_else(|| serde::de::Error::custom("not a master key"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> MasterKey {
        MasterKey::from_bytes(&std::array::from_fn(|i| u8::try_from(i).unwrap() + 1))
    }

    /// D. J. Bernstein, "The Poly1305-AES message-authentication code", appendix B.
    #[test]
    fn the_mac_is_that_of_the_paper() {
        let bytes = |text: &str| hex::decode(text).unwrap();
        let mut material = vec![0; 32];
        material.extend(bytes("ec074c835580741701425b623235add6"));
        material.extend(bytes("851fc40c3467ac0be05cc20404f3f700"));
        let key = MasterKey::from_bytes(material.as_slice().try_into().unwrap());
        let nonce = bytes("fb447350c4e868c52ac3275cf9d4327e").try_into().unwrap();
        let (_, mac) = key.ciphers(nonce);
        assert_eq!(
            finish_mac(mac, &bytes("f3f6")).to_vec(),
            bytes("f4c633c3044fc145f84f335cb81953de")
        );
    }

    #[test]
    fn every_change_of_a_sealed_object_is_noticed() {
        let sealed = key().seal(b"a small secret");
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 0x20;
            assert_eq!(key().open(&changed), Err(OpenError::Unauthenticated), "{position}");
        }
        assert_eq!(MasterKey::generate().open(&sealed), Err(OpenError::Unauthenticated));
        assert_eq!(key().open(&sealed[..31]), Err(OpenError::TooShort { length: 31 }));
    }

    #[test]
    fn a_key_survives_its_document_and_hides_in_debug() {
        let document = serde_json::to_string(&key()).unwrap();
        assert!(document.starts_with(r#"{"mac":{"k":"ISIjJCUmJygpKissLS4vMA==","r":"#));
        assert_eq!(serde_json::from_str::<MasterKey>(&document).unwrap(), key());
        assert_eq!(format!("{:?}", key()), "MasterKey(…)");
        let zero = r#"{"mac":{"k":"AAAAAAAAAAAAAAAAAAAAAA==","r":"AAAAAAAAAAAAAAAAAAAAAA=="},"encrypt":"AAAA"}"#;
        assert!(serde_json::from_str::<MasterKey>(zero).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_sealed_opens(length in 0..40_000_usize, seed in any::<u8>()) {
            let plaintext: Vec<u8> =
                (0..length).map(|i| seed.wrapping_add(i.to_le_bytes()[0])).collect();
            let sealed = key().seal(&plaintext);
            prop_assert_eq!(sealed.len(), length + OVERHEAD);
            prop_assert_eq!(key().open(&sealed), Ok(plaintext));
        }
    }
}
