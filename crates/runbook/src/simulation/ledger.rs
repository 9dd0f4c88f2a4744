//! A journal in memory, whose writer can be killed at any entry.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use lifeboat_model::clock::Sleep;
use lifeboat_model::{Clock, EntryId};

use super::world::Life;
use crate::journal::{Journal, JournalError};
use crate::{Entry, Fact};

/// When a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the entry of this number counts.
    Before(u64),
    /// Once the entry of this number counts.
    After(u64),
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    kill_at: Option<Moment>,
    waiting: Vec<Waker>,
}

/// A journal in memory.
#[derive(Debug)]
pub struct Ledger {
    state: Mutex<State>,
    life: Arc<Life>,
}

impl Ledger {
    /// Returns an empty one, for a process with this life.
    pub fn new(life: Arc<Life>) -> Self {
        Self { state: Mutex::default(), life }
    }

    /// Has its process killed.
    pub fn kill_at(&self, moment: Moment) {
        self.state().kill_at = Some(moment);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whether an entry is by a person, who has another process.
const fn is_by_person(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Confirmed { .. }
            | Fact::Approved { .. }
            | Fact::Retried { .. }
            | Fact::Aborted { .. }
            | Fact::Began(_)
    )
}

impl Journal for Ledger {
    fn read(&self, from: u64, _: Option<EntryId>) -> Result<Vec<Entry>, JournalError> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(self.state().entries.get(from..).unwrap_or_default().to_vec())
    }

    fn append(&self, entry: &Entry) -> Result<(), JournalError> {
        let mut state = self.state();
        let is_ours = !is_by_person(&entry.fact);
        let kills = |moment| is_ours && state.kill_at == Some(moment);
        let (before, after) =
            (kills(Moment::Before(entry.sequence)), kills(Moment::After(entry.sequence)));
        if before {
            self.life.end();
        }
        if before || after {
            state.kill_at = None;
        }
        if is_ours && self.life.is_over() {
            let source = std::io::ErrorKind::BrokenPipe.into();
            return Err(JournalError::Io {
                action: "add to",
                path: "in memory".to_owned(),
                source,
            });
        }
        if entry.sequence != state.entries.len() as u64 {
            return Err(JournalError::Outrun);
        }
        state.entries.push(entry.clone());
        if after {
            self.life.end();
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.life.beat();
        waiting.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn more<'a>(&'a self, seen: u64, _: &'a dyn Clock) -> Sleep<'a> {
        Box::pin(std::future::poll_fn(move |cx| {
            let mut state = self.state();
            if state.entries.len() as u64 > seen {
                return Poll::Ready(());
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        }))
    }
}
