//! Followers: repositories that get the packs of a backup while it runs, beside the one that leads.
//!
//! What is backed up is read, cut, compressed and sealed once. The repository that leads decides by its
//! index what is new; each pack that is finished is offered to every follower as well, which stores it
//! on threads of its own. A follower never keeps the leader waiting: what it has no room for it passes
//! over, and one that fails takes nothing more until it was asked why. Whatever it lacks in the end is
//! copied from the leader (see the module `copy`), and the snapshot comes with that copy.
//!
//! # Invariants
//!
//! - A pack is listed here after it is durable here, and after its size was confirmed; as with every
//!   [`PackWriter`].
//! - [`Follower::offer`] does not wait for the tier.
//! - All of the followers of a backup have its leader's master key: a pack is the same bytes everywhere.
//! - The caller holds a shared lock on the follower's repository.
//!
//! # Crash consistency
//!
//! As with a copy: what is stored is listed every few hundred megabytes and when the follower is
//! settled; after a kill, packs that no index lists are adopted by whoever wants what is in them.
//!
//! # Limits
//!
//! [`ROOM`] bytes of packs wait or are on their way, or one pack if it is larger.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use lifeboat_model::{ByteSize, Cancel};

use crate::backup::PACK_SIZE;
use crate::error::RepositoryError;
use crate::pack::FinishedPack;
use crate::packing::PackWriter;
use crate::repository::{Indexed, Repository};

/// How many bytes of packs wait or are on their way: what four threads are sending, and as much as one
/// waits for.
const ROOM: ByteSize = ByteSize(96 << 20);

/// How many packs are on their way at once to a tier that is far away: each mostly waits.
const SENDERS_FAR: usize = 4;

/// How many to a tier of this machine: one that is being made durable and one that is written.
const SENDERS_HERE: usize = 2;

/// What a follower was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// How many packs it stored.
    pub packs: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many it had no room for, or did not take after a failure.
    pub passed_over: u64,
}

/// A repository that gets packs while a backup onto another one runs.
#[derive(Debug)]
pub struct Follower<'a> {
    repository: &'a Repository<Indexed>,
    cancel: &'a Cancel,
    room: u64,
    writer: PackWriter<'a>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(u64, FinishedPack)>,
    /// The numbers of those that wait or are on their way.
    open: BTreeSet<u64>,
    /// The bytes of those.
    held: u64,
    /// How many were taken so far.
    taken: u64,
    ended: bool,
    failure: Option<RepositoryError>,
    sent: Sent,
}

impl<'a> Follower<'a> {
    /// Begins to follow.
    pub fn new(repository: &'a Repository<Indexed>, cancel: &'a Cancel) -> Self {
        Self::with_room(repository, cancel, ROOM)
    }

    /// Begins to follow, and holds at most so many bytes in memory.
    pub fn with_room(
        repository: &'a Repository<Indexed>,
        cancel: &'a Cancel,
        room: ByteSize,
    ) -> Self {
        let pack_size = usize::try_from(PACK_SIZE.0).unwrap_or(usize::MAX);
        let writer = PackWriter::new(repository, pack_size, cancel).reading_back();
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { repository, cancel, room: room.0, writer, state, changed }
    }

    /// Returns the repository that follows.
    pub const fn repository(&self) -> &'a Repository<Indexed> {
        self.repository
    }

    /// Returns how many threads should be in [`Self::store_all`].
    pub fn senders(&self) -> usize {
        let store = self.repository.store();
        store.requests(if store.reads_here() { SENDERS_HERE } else { SENDERS_FAR })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a pack if there is room for it, and if something in it is not there yet.
    pub(crate) fn offer(&self, pack: &FinishedPack) {
        let index = self.repository.index();
        if pack.blobs.iter().all(|blob| index.contains(blob.kind, &blob.id)) {
            return;
        }
        drop(index);
        let length = pack.bytes.len() as u64;
        let mut state = self.lock();
        let has_room = state.held == 0 || state.held + length <= self.room;
        if state.ended || state.failure.is_some() || !has_room {
            state.sent.passed_over += 1;
            return;
        }
        let number = state.taken;
        state.taken += 1;
        state.held += length;
        state.open.insert(number);
        state.waiting.push_back((number, pack.clone()));
        drop(state);
        self.changed.notify_all();
    }

    /// Stores what is taken, until the follower is [ended](Self::end); any number of threads may.
    pub fn store_all(&self) {
        while let Some((number, pack)) = self.next() {
            let stored = self.cancel.check().map_err(RepositoryError::from);
            let stored = stored.and_then(|()| self.writer.store(&pack));
            self.was_stored(number, &pack, stored);
        }
    }

    /// Stores what waits now, on the calling thread.
    pub fn store_waiting(&self) {
        loop {
            let Some((number, pack)) = self.lock().waiting.pop_front() else { return };
            let stored = self.writer.store(&pack);
            self.was_stored(number, &pack, stored);
        }
    }

    fn next(&self) -> Option<(u64, FinishedPack)> {
        let mut state = self.lock();
        loop {
            if let Some(next) = state.waiting.pop_front() {
                return Some(next);
            }
            if state.ended {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn was_stored(&self, number: u64, pack: &FinishedPack, stored: Result<(), RepositoryError>) {
        let length = pack.bytes.len() as u64;
        let mut state = self.lock();
        state.open.remove(&number);
        state.held -= length;
        match stored {
            Ok(()) => {
                state.sent.packs += 1;
                state.sent.bytes += length;
            }
            Err(error) => state.fail(error),
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until what was taken so far is stored, and lists it, so that a copy finds it there.
    ///
    /// # Errors
    ///
    /// Why something could not be stored or listed; it takes packs again afterwards.
    pub fn settle(&self) -> Result<(), RepositoryError> {
        let mut state = self.lock();
        let until = state.taken;
        while state.open.first().is_some_and(|first| *first < until) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let failure = state.failure.take();
        drop(state);
        // What is stored is listed all the same, so that a copy need not store it again.
        let listed = self.writer.list();
        failure.map_or(listed, Err)
    }

    /// Lets those go who are in [`Self::store_all`], once they stored what was taken.
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Returns what it was sent so far.
    pub fn sent(&self) -> Sent {
        self.lock().sent
    }
}

impl State {
    /// Lets go of what waits: it is copied later, if its tier is well by then.
    fn fail(&mut self, error: RepositoryError) {
        for (number, pack) in self.waiting.drain(..) {
            self.open.remove(&number);
            self.held -= pack.bytes.len() as u64;
            self.sent.passed_over += 1;
        }
        self.sent.passed_over += 1;
        self.failure.get_or_insert(error);
    }
}
