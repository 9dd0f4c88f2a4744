//! Opened blocks that are kept in memory.

use std::sync::{Mutex, PoisonError};

use super::block::BLOCK_LENGTH;

/// A number of places for blocks; each block has one place, which it shares with others.
#[derive(Debug)]
pub(super) struct Kept {
    places: Vec<Mutex<Option<KeptBlock>>>,
}

#[derive(Debug)]
struct KeptBlock {
    number: u64,
    bytes: Box<[u8; BLOCK_LENGTH]>,
}

impl Kept {
    /// Makes this many places, or one.
    pub(super) fn new(places: usize) -> Self {
        Self { places: (0..places.max(1)).map(|_| Mutex::default()).collect() }
    }

    /// Looks into a block, which `read` reads if it is not kept; nothing if it cannot.
    pub(super) fn with<R>(
        &self,
        number: u64,
        read: impl FnOnce(&mut [u8; BLOCK_LENGTH]) -> bool,
        look: impl FnOnce(&[u8; BLOCK_LENGTH]) -> R,
    ) -> Option<R> {
        let place = usize::try_from(number).unwrap_or(0) % self.places.len();
        let mut kept = self.places[place].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.number == number) {
            return Some(look(&kept.bytes));
        }
        // Taken out while it is overwritten: what is half read must never be found.
        let mut bytes = kept.take().map_or_else(|| Box::new([0; BLOCK_LENGTH]), |kept| kept.bytes);
        if !read(&mut bytes) {
            return None;
        }
        let block = kept.insert(KeptBlock { number, bytes });
        Some(look(&block.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_once_until_another_takes_its_place() {
        let kept = Kept::new(2);
        let reads = std::cell::RefCell::new(Vec::new());
        for number in [0, 0, 1, 2, 2, 1, 0] {
            let read = |block: &mut [u8; BLOCK_LENGTH]| {
                block[0] = u8::try_from(number).unwrap();
                reads.borrow_mut().push(number);
                true
            };
            assert_eq!(kept.with(number, read, |block| block[0].into()), Some(number));
        }
        assert_eq!(*reads.borrow(), [0, 1, 2, 0]);
    }

    #[test]
    fn what_could_not_be_read_is_not_kept() {
        let kept = Kept::new(1);
        assert_eq!(kept.with(1, |_| true, |_| ()), Some(()));
        assert_eq!(kept.with(2, |_| false, |_| ()), None);
        assert_eq!(kept.with(1, |_| false, |_| ()), None, "its bytes were overwritten");
    }
}
