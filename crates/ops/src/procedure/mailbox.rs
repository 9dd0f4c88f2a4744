//! Who takes a platform's mails when something stands in for their server.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lifeboat_model::Cancel;

/// How often it is looked whether somebody still waits.
const POLL: Duration = Duration::from_millis(100);

/// Counts mails as they come; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Mailbox(Arc<(Mutex<u64>, Condvar)>);

impl Mailbox {
    /// Returns how many have come.
    pub fn count(&self) -> u64 {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of one.
    pub fn take(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.1.notify_all();
    }

    /// Waits until more than so many have come; tells whether that came about.
    pub fn has_more_than(&self, count: u64, within: Duration, cancel: &Cancel) -> bool {
        let end = Instant::now() + within;
        let mut come = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *come <= count && Instant::now() < end && !cancel.is_cancelled() {
            come = self.0.1.wait_timeout(come, POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
        *come > count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_hears_of_a_mail_and_of_none() {
        let (mails, cancel) = (Mailbox::default(), Cancel::new());
        let (before, taker) = (mails.count(), mails.clone());
        let thread = std::thread::spawn(move || taker.take());
        assert!(mails.has_more_than(before, Duration::from_mins(1), &cancel));
        thread.join().unwrap();
        cancel.cancel();
        assert!(!mails.has_more_than(mails.count(), Duration::from_mins(1), &cancel));
    }
}
