//! Packs of directories that were read last, in memory.
//!
//! The directories of a snapshot lie in few packs and are read one by one; without this each of them
//! would cost reading and hashing the whole pack that it lies in.
//!
//! # Limits
//!
//! [`BYTES_MAX`], but always one pack, and those that are being fetched; and how often each of the last
//! [`ASKED_MAX`] was asked for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lifeboat_model::PackId;

/// How much is kept: eight packs of the size that is written here.
const BYTES_MAX: usize = 32 << 20;

/// Of how many packs it is remembered how often they were asked for: more than are read by turns.
const ASKED_MAX: usize = 64;

/// Packs, the one used last first.
#[derive(Debug, Default)]
pub(crate) struct TreePacks {
    packs: Mutex<VecDeque<Kept>>,
    asked: Mutex<VecDeque<(PackId, usize)>>,
}

/// A pack that is kept, or that somebody fetches.
#[derive(Debug, Clone)]
struct Kept {
    pack: PackId,
    length: usize,
    /// Locked by whoever fetches it; empty if that failed.
    bytes: Arc<Mutex<Option<Bytes>>>,
}

impl TreePacks {
    /// Returns a pack like [`TreePacks::get`], but nothing the first `alone` times that it is asked for:
    /// where a part of it can be read for little, whoever wants a few directories shall not pay for all.
    pub(crate) fn get_after(
        &self,
        alone: usize,
        pack: &PackId,
        fetch: impl FnOnce() -> Option<Bytes>,
    ) -> Option<Bytes> {
        if self.was_asked(pack) >= alone { self.get(pack, fetch) } else { None }
    }

    /// Counts that a pack is asked for, and returns how often it was before.
    fn was_asked(&self, pack: &PackId) -> usize {
        let mut asked = lock(&self.asked);
        if let Some((_, times)) = asked.iter_mut().find(|(known, _)| known == pack) {
            *times += 1;
            return *times - 1;
        }
        asked.push_front((*pack, 1));
        asked.truncate(ASKED_MAX);
        0
    }

    /// Returns a pack, which `fetch` fetches if it is not there.
    ///
    /// Who wants the same one waits meanwhile; others do not.
    pub(crate) fn get(
        &self,
        pack: &PackId,
        fetch: impl FnOnce() -> Option<Bytes>,
    ) -> Option<Bytes> {
        let cell = self.find(pack);
        let mut bytes = lock(&cell);
        if bytes.is_none() {
            *bytes = fetch();
            self.was_fetched(pack, bytes.as_ref().map(Bytes::len));
        }
        bytes.clone()
    }

    /// Returns where a pack is kept, or will be.
    fn find(&self, pack: &PackId) -> Arc<Mutex<Option<Bytes>>> {
        let mut packs = lock(&self.packs);
        let known = packs.iter().position(|kept| kept.pack == *pack);
        let kept = known.and_then(|position| packs.remove(position));
        let kept = kept.unwrap_or_else(|| Kept { pack: *pack, length: 0, bytes: Arc::default() });
        let cell = Arc::clone(&kept.bytes);
        packs.push_front(kept);
        cell
    }

    /// Keeps a pack that was fetched, and lets go of what was used longest ago; of one that could not be
    /// fetched nothing is kept.
    fn was_fetched(&self, pack: &PackId, length: Option<usize>) {
        let mut packs = lock(&self.packs);
        let Some(length) = length else {
            packs.retain(|kept| kept.pack != *pack);
            return;
        };
        if let Some(kept) = packs.iter_mut().find(|kept| kept.pack == *pack) {
            kept.length = length;
        }
        let mut total = packs.iter().map(|kept| kept.length).sum::<usize>();
        while total > BYTES_MAX && packs.len() > 1 {
            total -= packs.pop_back().map_or(0, |kept| kept.length);
        }
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
    fn a_pack_that_is_asked_for_seldom_is_not_fetched() {
        let packs = TreePacks::default();
        let pack = PackId::from_bytes([1; 32]);
        for _ in 0..2 {
            assert_eq!(packs.get_after(2, &pack, || unreachable!("it is asked for seldom")), None);
        }
        let bytes = Bytes::from_static(b"pack");
        assert_eq!(packs.get_after(2, &pack, || Some(bytes.clone())), Some(bytes.clone()));
        assert_eq!(packs.get_after(2, &pack, || unreachable!("it is kept")), Some(bytes));
    }

    #[test]
    fn one_that_is_being_fetched_is_waited_for_and_keeps_nobody_from_another() {
        let packs = TreePacks::default();
        let (one, other) = (PackId::from_bytes([1; 32]), PackId::from_bytes([2; 32]));
        std::thread::scope(|scope| {
            let found = packs.get(&one, || {
                // As long as this one is not there, the other one can be had.
                scope.spawn(|| packs.get(&other, || Some(Bytes::from_static(b"2")))).join().unwrap()
            });
            assert_eq!(found.unwrap(), "2");
        });
        assert_eq!(packs.get(&one, || unreachable!("it is kept")).unwrap(), "2");
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
