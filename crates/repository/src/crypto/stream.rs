//! AES-256 in counter mode, a tile at a time.
//!
//! The counters of a whole tile are written down, enciphered at once, and combined with the text:
//! the processor works on many blocks at the same time, and nothing leaves its first-level cache.
//!
//! # Invariants
//!
//! - The counter is one big-endian number of 128 bits, as restic counts.
//! - Texts that are given one after the other are enciphered like one, if the length of each but the
//!   last is a multiple of the block's.
//!
//! Source: NIST SP 800-38A, section 6.5.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes256, Block};

use super::NONCE_LENGTH;

/// How many bytes go through at once: with their key stream they take half of a first-level cache.
pub(super) const TILE_LENGTH: usize = 8 * 1024;

const BLOCK_LENGTH: usize = 16;

/// The stream of bytes that a text is combined with.
pub(super) struct KeyStream {
    cipher: Aes256,
    counter: u128,
    tile: [Block; TILE_LENGTH / BLOCK_LENGTH],
}

impl KeyStream {
    /// Begins with the counter that the nonce is.
    pub(super) fn new(key: &[u8; 32], nonce: [u8; NONCE_LENGTH]) -> Self {
        Self {
            cipher: Aes256::new(key.into()),
            counter: u128::from_be_bytes(nonce),
            tile: [Block::default(); TILE_LENGTH / BLOCK_LENGTH],
        }
    }

    /// Appends at most a tile of text, enciphered, to `target`.
    pub(super) fn append(&mut self, text: &[u8], target: &mut Vec<u8>) {
        let stream = self.next(text.len());
        target.extend(text.iter().zip(stream).map(|(byte, key)| byte ^ key));
    }

    /// Enciphers, or deciphers, at most a tile of text where it lies.
    pub(super) fn apply(&mut self, text: &mut [u8]) {
        let stream = self.next(text.len());
        for (byte, key) in text.iter_mut().zip(stream) {
            *byte ^= key;
        }
    }

    /// Returns the next `length` bytes of the stream, at most a tile.
    fn next(&mut self, length: usize) -> &[u8] {
        let blocks = &mut self.tile[..length.div_ceil(BLOCK_LENGTH)];
        for block in &mut *blocks {
            *block = self.counter.to_be_bytes().into();
            self.counter = self.counter.wrapping_add(1);
        }
        self.cipher.encrypt_blocks(blocks);
        &Block::slice_as_flattened(blocks)[..length]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// NIST SP 800-38A, F.5.5: CTR-AES256, whose counter begins with f0f1…ff.
    #[test]
    fn the_cipher_is_that_of_the_standard() {
        let bytes = |text: &str| hex::decode(text).unwrap();
        let key = bytes("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        let nonce = bytes("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
        let mut text = bytes("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        let mut stream =
            KeyStream::new(key.as_slice().try_into().unwrap(), nonce.try_into().unwrap());
        stream.apply(&mut text);
        assert_eq!(
            hex::encode(text),
            "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
        );
    }

    /// The low 64 bits overflow into the high ones.
    #[test]
    fn the_counter_is_one_number_of_128_bits() {
        let mut nonce = [0xff; NONCE_LENGTH];
        nonce[..8].fill(0);
        let mut text = [0; 32];
        KeyStream::new(&[1; 32], nonce).apply(&mut text);
        let mut next = [0; NONCE_LENGTH];
        next[7] = 1;
        let mut second = [0; 16];
        KeyStream::new(&[1; 32], next).apply(&mut second);
        assert_eq!(text[16..], second);
    }

    /// Enciphers block by block, each with a counter of its own.
    fn block_by_block(key: &[u8; 32], nonce: [u8; NONCE_LENGTH], text: &[u8]) -> Vec<u8> {
        let (cipher, first) = (Aes256::new(key.into()), u128::from_be_bytes(nonce));
        let blocks = (0_u128..).zip(text.chunks(BLOCK_LENGTH));
        let enciphered = blocks.flat_map(|(number, block)| {
            let mut stream: Block = first.wrapping_add(number).to_be_bytes().into();
            cipher.encrypt_block(&mut stream);
            block.iter().zip(stream).map(|(byte, key)| byte ^ key).collect::<Vec<u8>>()
        });
        enciphered.collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn tiles_are_the_same_as_one_block_after_the_other(
            key: [u8; 32],
            nonce: [u8; NONCE_LENGTH],
            text in prop::collection::vec(any::<u8>(), 0..3 * TILE_LENGTH),
        ) {
            let expected = block_by_block(&key, nonce, &text);
            let (mut appended, mut applied) = (Vec::new(), text.clone());
            let mut stream = KeyStream::new(&key, nonce);
            text.chunks(TILE_LENGTH).for_each(|tile| stream.append(tile, &mut appended));
            let mut stream = KeyStream::new(&key, nonce);
            applied.chunks_mut(TILE_LENGTH).for_each(|tile| stream.apply(tile));
            prop_assert_eq!(&appended, &expected);
            prop_assert_eq!(&applied, &expected);
        }
    }
}
