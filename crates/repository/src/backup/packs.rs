//! The packs that are being filled, and the memory of those that were stored.
//!
//! # Limits
//!
//! At most as many packs of a kind are open as [`OpenPacks::new`] was told, and the memory of at most
//! [`SPARES_MAX`] stored ones is kept.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::pack::PackBuilder;

/// How many stored packs' memory is kept for the next ones: about as many as come back between two
/// that are begun.
const SPARES_MAX: usize = 3;

/// The packs of one kind that are being filled. One that a worker took is his until he gives it
/// back, so that he seals into it without a lock.
pub(super) struct OpenPacks {
    size: usize,
    most: usize,
    state: Mutex<Idle>,
    given_back: Condvar,
}

#[derive(Default)]
struct Idle {
    idle: Vec<PackBuilder>,
    taken: usize,
}

impl OpenPacks {
    /// Begins at most `most` packs of `size` bytes each at once.
    pub(super) fn new(size: usize, most: usize) -> Self {
        Self { size, most, state: Mutex::default(), given_back: Condvar::new() }
    }

    /// Returns how large a pack becomes.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Takes a pack that has room, or an empty one, or waits for one.
    pub(super) fn take(&self) -> PackBuilder {
        let mut state = lock(&self.state);
        loop {
            // The one used last first: a small backup fills one pack.
            if let Some(pack) = state.idle.pop() {
                state.taken += 1;
                return pack;
            }
            if state.taken < self.most {
                state.taken += 1;
                return PackBuilder::default();
            }
            state = self.given_back.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives a pack back that was taken, or the one that was begun in its place.
    pub(super) fn give_back(&self, pack: PackBuilder) {
        let mut state = lock(&self.state);
        state.taken -= 1;
        state.idle.push(pack);
        drop(state);
        self.given_back.notify_one();
    }

    /// Returns all packs that nobody has taken, put together as far as they fit.
    pub(super) fn drain(&self) -> Vec<PackBuilder> {
        PackBuilder::gather(std::mem::take(&mut lock(&self.state).idle), self.size)
    }
}

/// Memory that packs were in. What the system has given once need not be asked for again, and its
/// pages are there already.
#[derive(Default)]
pub(super) struct Spares(Mutex<Vec<Vec<u8>>>);

impl Spares {
    /// Takes the memory of a stored pack back, unless somebody else still holds it.
    pub(super) fn keep(&self, bytes: Bytes) {
        let Ok(bytes) = bytes.try_into_mut() else { return };
        let mut spares = lock(&self.0);
        if spares.len() < SPARES_MAX {
            spares.push(bytes.into());
        }
    }

    /// Begins a pack, in memory that was kept if there is some.
    pub(super) fn begin_pack(&self) -> PackBuilder {
        PackBuilder::reusing(lock(&self.0).pop().unwrap_or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_stored_pack_is_used_again() {
        let spares = Spares::default();
        let pack = Bytes::from(vec![1; 1 << 20]);
        let place = pack.as_ptr();
        spares.keep(pack);
        let bytes = lock(&spares.0).pop().unwrap();
        assert_eq!(bytes.as_ptr(), place);
        assert_eq!(bytes.capacity(), 1 << 20);
    }

    #[test]
    fn memory_that_somebody_holds_is_left_alone_and_little_is_kept() {
        let spares = Spares::default();
        let held = Bytes::from(vec![1; 8]);
        spares.keep(held.clone());
        assert!(lock(&spares.0).is_empty());
        for _ in 0..2 * SPARES_MAX {
            spares.keep(Bytes::from(vec![2; 8]));
        }
        assert_eq!(lock(&spares.0).len(), SPARES_MAX);
        assert!(spares.begin_pack().is_empty());
    }
}
