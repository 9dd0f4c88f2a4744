//! Packs of directories that were read last, in memory.
//!
//! The directories of a snapshot lie in few packs and are read one by one; without this each of them
//! would cost reading and hashing the whole pack that it lies in.
//!
//! # Limits
//!
//! [`BYTES_MAX`], but always one pack; and the ids of the last [`ASKED_MAX`] that were asked for once.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lifeboat_model::PackId;

/// How much is kept: eight packs of the size that is written here.
const BYTES_MAX: usize = 32 << 20;

/// How many packs are remembered that were asked for once: more than are read by turns.
const ASKED_MAX: usize = 16;

/// Packs, the one used last first.
#[derive(Debug, Default)]
pub(crate) struct TreePacks {
    packs: Mutex<VecDeque<(PackId, Bytes)>>,
    asked: Mutex<VecDeque<PackId>>,
}

impl TreePacks {
    /// Returns a pack like [`TreePacks::get`], but nothing when it is asked for first: where a part of it
    /// can be read for little, whoever wants one directory shall not pay for all.
    pub(crate) fn get_again(
        &self,
        pack: &PackId,
        fetch: impl FnOnce() -> Option<Bytes>,
    ) -> Option<Bytes> {
        let mut asked = lock(&self.asked);
        if !asked.contains(pack) {
            asked.push_front(*pack);
            asked.truncate(ASKED_MAX);
            return None;
        }
        drop(asked);
        self.get(pack, fetch)
    }

    /// Returns a pack, which `fetch` fetches if it is not there.
    ///
    /// Others wait meanwhile: most likely they want the same one.
    pub(crate) fn get(
        &self,
        pack: &PackId,
        fetch: impl FnOnce() -> Option<Bytes>,
    ) -> Option<Bytes> {
        let mut packs = lock(&self.packs);
        let known = packs.iter().position(|(id, _)| id == pack);
        let bytes = match known.and_then(|position| packs.remove(position)) {
            Some((_, bytes)) => bytes,
            None => fetch()?,
        };
        packs.push_front((*pack, bytes.clone()));
        let mut length = packs.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        while length > BYTES_MAX && packs.len() > 1 {
            length -= packs.pop_back().map_or(0, |(_, bytes)| bytes.len());
        }
        Some(bytes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetches(packs: &TreePacks, number: u8, length: usize) -> bool {
        let mut fetched = false;
        let bytes = packs.get(&PackId::from_bytes([number; 32]), || {
            fetched = true;
            Some(Bytes::from(vec![number; length]))
        });
        assert_eq!(bytes.unwrap(), vec![number; length]);
        fetched
    }

    #[test]
    fn what_was_used_last_is_kept() {
        let packs = TreePacks::default();
        let third = BYTES_MAX / 3;
        assert!((0..3).all(|number| fetches(&packs, number, third)));
        assert!(!fetches(&packs, 0, third));
        assert!(fetches(&packs, 3, third), "1 goes");
        assert!(!fetches(&packs, 0, third) && !fetches(&packs, 2, third));
        assert!(fetches(&packs, 1, third));
    }

    #[test]
    fn a_pack_that_is_asked_for_once_is_not_fetched() {
        let packs = TreePacks::default();
        let pack = PackId::from_bytes([1; 32]);
        assert_eq!(packs.get_again(&pack, || unreachable!("it is asked for first")), None);
        let bytes = Bytes::from_static(b"pack");
        assert_eq!(packs.get_again(&pack, || Some(bytes.clone())), Some(bytes.clone()));
        assert_eq!(packs.get_again(&pack, || unreachable!("it is kept")), Some(bytes));
    }

    #[test]
    fn a_pack_larger_than_all_is_kept_alone() {
        let packs = TreePacks::default();
        assert!(fetches(&packs, 0, 1) && fetches(&packs, 1, BYTES_MAX + 1));
        assert!(!fetches(&packs, 1, BYTES_MAX + 1));
        assert!(fetches(&packs, 0, 1));
    }

    #[test]
    fn what_cannot_be_fetched_is_tried_again() {
        let packs = TreePacks::default();
        assert_eq!(packs.get(&PackId::from_bytes([1; 32]), || None), None);
        assert!(fetches(&packs, 1, 9));
    }
}
