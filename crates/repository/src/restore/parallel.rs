//! Doing the same to many entries on several threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use lifeboat_model::{Cancel, Cancelled};

/// How many entries a thread takes at a time.
const STEP: u32 = 64;

/// How many threads there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parallel(pub usize);

/// Does something to each number of a range; each thread has a state of its own. What comes of it is
/// returned in no particular order.
pub(super) fn for_each<S, T: Send>(
    parallel: Parallel,
    numbers: Range<u32>,
    cancel: &Cancel,
    new_state: impl Fn() -> S + Sync,
    action: impl Fn(&mut S, u32) -> Option<T> + Sync,
) -> Result<Vec<T>, Cancelled> {
    for_each_in_steps((parallel, STEP), numbers, cancel, new_state, action)
}

/// Does the same where each number stands for so much that a thread takes `step` at a time.
pub(super) fn for_each_in_steps<S, T: Send>(
    (Parallel(threads), step): (Parallel, u32),
    numbers: Range<u32>,
    cancel: &Cancel,
    new_state: impl Fn() -> S + Sync,
    action: impl Fn(&mut S, u32) -> Option<T> + Sync,
) -> Result<Vec<T>, Cancelled> {
    let next = AtomicU32::new(numbers.start);
    let results = Mutex::new(Vec::new());
    let work = || {
        let (mut state, mut mine) = (new_state(), Vec::new());
        while !cancel.is_cancelled() {
            let Ok(begin) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |begin| {
                (begin < numbers.end).then(|| begin.saturating_add(step))
            }) else {
                break;
            };
            let taken = begin..begin.saturating_add(step).min(numbers.end);
            mine.extend(taken.filter_map(|number| action(&mut state, number)));
        }
        results.lock().unwrap_or_else(PoisonError::into_inner).append(&mut mine);
    };
    let steps = numbers.len().div_ceil(step as usize);
    thread::scope(|scope| {
        for _ in 1..threads.min(steps) {
            scope.spawn(work);
        }
        work();
    });
    cancel.check()?;
    Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_met_once() {
        for range in [0..0, 5..6, 0..64, 3..1000] {
            let met = |(): &mut (), number| (number % 2 == 0).then_some(number);
            let mut found =
                for_each(Parallel(3), range.clone(), &Cancel::new(), || (), met).unwrap();
            found.sort_unstable();
            assert_eq!(found, range.filter(|number| number % 2 == 0).collect::<Vec<_>>());
        }
    }

    #[test]
    fn it_ends_when_it_is_cancelled() {
        let cancel = Cancel::new();
        cancel.cancel();
        let none = |(): &mut (), _| Some(());
        assert!(for_each(Parallel(2), 0..1000, &cancel, || (), none).is_err());
    }
}
