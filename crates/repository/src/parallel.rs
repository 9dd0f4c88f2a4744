//! Work on many items by a few threads; the first failure ends it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::RepositoryError;

/// Lets several threads take items one by one, until all are done or one failed; `work` is run once
/// on each thread.
pub(crate) fn in_parallel<T: Sync>(
    items: &[T],
    threads: usize,
    work: impl Fn(&mut dyn Iterator<Item = &T>) -> Result<(), RepositoryError> + Sync,
) -> Result<(), RepositoryError> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<RepositoryError>> = Mutex::default();
    let run = || {
        let mut mine = std::iter::from_fn(|| {
            let failed = failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            if failed { None } else { items.get(next.fetch_add(1, Ordering::Relaxed)) }
        });
        if let Err(error) = work(&mut mine) {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(run);
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use lifeboat_model::Cancelled;

    use super::*;

    #[test]
    fn every_item_is_taken_once() {
        let (items, sum) = ((1..=1000).collect::<Vec<u64>>(), AtomicU64::new(0));
        let add = |mine: &mut dyn Iterator<Item = &u64>| {
            for item in mine {
                sum.fetch_add(*item, Ordering::Relaxed);
            }
            Ok(())
        };
        in_parallel(&items, 4, add).unwrap();
        assert_eq!(sum.into_inner(), 500_500);
    }

    #[test]
    fn a_failure_ends_the_work() {
        let (items, taken) = (vec![(); 10_000], AtomicU64::new(0));
        let fail = |mine: &mut dyn Iterator<Item = &()>| {
            mine.next();
            taken.fetch_add(1, Ordering::Relaxed);
            Err(Cancelled.into())
        };
        in_parallel(&items, 3, fail).unwrap_err();
        assert!(taken.into_inner() <= 3);
    }
}
