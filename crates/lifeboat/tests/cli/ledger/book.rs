//! What clients know of their transactions: when each was sent, and when the server said that it was committed.
//!
//! The time of a commit lies between the two. So for a transaction that was acknowledged before a moment the
//! moment must show it, and for one that was sent after it must not; between the two either is right. That
//! holds also where the log has two commits in another order than that of their times: whatever stands
//! before a commit in the log was timed before the client heard of it.

use std::collections::BTreeSet;

use lifeboat_model::{Clock as _, SystemClock, Timestamp};

/// A transaction: who sent it, and which of his it is.
pub type Key = (u32, u32);

/// How a transaction ended, as far as its client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The server said by then that it was committed.
    Committed(Timestamp),
    /// It was rolled back, or is known not to have been committed.
    GivenUp,
    /// The connection was lost before an answer.
    Unknown,
}

/// A transaction.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub key: Key,
    /// When it was sent, at the latest.
    pub sent: Timestamp,
    pub ended: Ended,
}

impl Entry {
    /// Tells whether a database as it was at a moment has the transaction; `None` where either is right.
    fn is_there(&self, moment: Timestamp) -> Option<bool> {
        match self.ended {
            Ended::GivenUp => Some(false),
            _ if self.sent > moment => Some(false),
            Ended::Committed(by) if by < moment => Some(true),
            Ended::Committed(_) | Ended::Unknown => None,
        }
    }
}

/// Tells the time as the server does, which counts microseconds.
pub fn now() -> Timestamp {
    let micros = SystemClock.now().as_microsecond();
    Timestamp::from_microsecond(micros).unwrap()
}

/// All transactions of all clients.
#[derive(Debug, Default)]
pub struct Book(Vec<Entry>);

impl Book {
    pub fn add(&mut self, entries: Vec<Entry>) {
        self.0.extend(entries);
    }

    /// Learns from the server itself what became of those whose answers were lost, and holds all others
    /// against what it has.
    pub fn settle(&mut self, there: &BTreeSet<Key>) {
        let by = now();
        for entry in self.0.iter_mut().filter(|entry| entry.ended == Ended::Unknown) {
            let is_there = there.contains(&entry.key);
            entry.ended = if is_there { Ended::Committed(by) } else { Ended::GivenUp };
        }
        assert_eq!(self.judge(now(), there), Vec::<String>::new(), "the server itself");
    }

    /// Says what a database as it was at a moment has and should not, and the other way round.
    pub fn judge(&self, moment: Timestamp, there: &BTreeSet<Key>) -> Vec<String> {
        let wrong = self.0.iter().filter_map(|entry| {
            let is_there = there.contains(&entry.key);
            let should = entry.is_there(moment)?;
            (should != is_there).then(|| format!("{entry:?} is there: {is_there}"))
        });
        let known: BTreeSet<_> = self.0.iter().map(|entry| entry.key).collect();
        let strange = there.difference(&known).map(|key| format!("{key:?} is nobody's"));
        wrong.chain(strange).collect()
    }

    /// Returns how many were committed, and when the last of them was.
    pub fn committed(&self) -> (usize, Timestamp) {
        let times = self.0.iter().filter_map(|entry| match entry.ended {
            Ended::Committed(by) => Some(by),
            _ => None,
        });
        (times.clone().count(), times.max().unwrap_or_default())
    }
}

#[test]
fn a_book_tells_what_must_be_there_what_must_not_and_what_may() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let entry = |number, sent, ended| Entry { key: (1, number), sent: at(sent), ended };
    let mut book = Book::default();
    book.add(vec![
        entry(0, 10, Ended::Committed(at(12))),
        entry(1, 13, Ended::GivenUp),
        entry(2, 14, Ended::Committed(at(16))),
        entry(3, 17, Ended::Unknown),
    ]);
    let wrong = |moment, there: &[u32]| {
        let there = there.iter().map(|number| (1, *number)).collect();
        book.judge(at(moment), &there).len()
    };
    assert_eq!((wrong(9, &[]), wrong(9, &[0])), (0, 1));
    assert_eq!((wrong(10, &[]), wrong(12, &[0]), wrong(13, &[])), (0, 0, 1));
    assert_eq!((wrong(15, &[0]), wrong(15, &[0, 2]), wrong(15, &[0, 1])), (0, 0, 1));
    assert_eq!((wrong(20, &[0, 2]), wrong(20, &[0, 2, 3]), wrong(20, &[0, 2, 7])), (0, 0, 1));
    book.settle(&[(1, 0), (1, 2)].into());
    assert_eq!(book.judge(now(), &[(1, 0), (1, 2), (1, 3)].into()).len(), 1);
}
