//! Memory that is filled by reading into it and used again without being cleared.

use std::fmt;
use std::ops::Deref;

/// Bytes, and room for more that was initialised once.
///
/// A `Vec` would have to be zeroed before each read; here the room stays as the last use left it.
#[derive(Clone, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    length: usize,
}

impl Buffer {
    /// Returns room for `size` more bytes; what is in it has no meaning.
    pub(super) fn room(&mut self, size: usize) -> &mut [u8] {
        let end = self.length + size;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.length..end]
    }

    /// Takes the first `length` bytes of the room into the content.
    pub(super) fn extend_from_room(&mut self, length: usize) {
        self.length = (self.length + length).min(self.bytes.len());
    }

    /// Keeps the first `length` bytes.
    pub(super) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Returns how much memory it holds, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Buffer {}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.length, self.bytes.len())
    }
}
