//! Randomness for keys and names, straight from the operating system.

use rand::TryRng;
use rand::rngs::SysRng;

/// Returns `N` bytes that nobody can guess.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).expect("the operating system gives randomness");
    bytes
}
