//! Locks: restic's own, so that lifeboat and restic can work in one repository.
//!
//! [`LockGuard::acquire`] takes one; it is refreshed until the guard is dropped, which releases it.
//! [`LockGuard::begin`] takes a shared one for work that begins with reading, and does not wait until it is
//! certain that nobody else was quicker. [`LockGuard::announce`] takes one for work that shows what it reads
//! and does nothing else, and waits for that only if something went wrong.
//!
//! | beside → | backup, copy into | restore, list, check | prune, rewrite |
//! |---|---|---|---|
//! | **backup, copy into** (shared) | yes | yes | no |
//! | **restore, list, check** (shared) | yes | yes | no |
//! | **prune, rewrite, delete** (exclusive) | no | no | no |
//!
//! stock `restic` takes the same: `backup`, `restore`, `copy` shared; `prune`, `forget`, `check`
//! exclusive. rustic neither takes nor honours locks: do not let it prune beside others.
//!
//! # Invariants
//!
//! - A lock is taken by writing it and then looking again: of two that write at the same time at
//!   least one sees the other and gives way. Whoever gets an exclusive one sees all that was done
//!   under locks that are gone. On a store that declares [`Capability::PromptListing`] both look again at once.
//! - Elsewhere a listing shows within [`LISTING_LAG_MAX`], *L*, what was stored and removed before it. A shared lock
//!   is looked after 0.2 s later, as restic does; an exclusive one, written at *w*, at *w* + 2*L*, and nothing is read
//!   under it before *w* + 3*L*. A shared lock that was written until *w* + *L* is listed then, or was released, and
//!   what was done under it is listed at *w* + 3*L*; whoever writes one later sees the exclusive one listed. One
//!   that was refreshed meanwhile is listed too: [`REFRESH_AFTER`] is more than 3*L*.
//! - So that whoever comes next sees what an exclusive holder did, the lock stays *L* longer; so does a lock file that a
//!   refresh replaced, and *L* passes after an exclusive one was swept away as stale.
//! - A lock file that cannot be read stands in the way, since nobody knows what it says; one of no
//!   bytes does not, since restic ignores it.
//! - Nothing is listed or removed under a lock that is not certain: [`Cancel::check_may_write`] waits for
//!   that.
//! - Work under a lock that was not refreshed for [`ABORT_AFTER`] is cancelled, well before others
//!   may take the lock for stale. Whoever lists what it stored, makes a snapshot or removes something
//!   has the clock looked at right before, since the guard's thread may sleep longer than the machine.
//! - Locks are removed by their holder, or by anybody once they are stale. Where they may not be deleted they stay, and whoever
//!   takes a shared lock finds that out by one request and reads no more than a day of them: [`record::ABANDONED_AFTER`].
//!
//! # Crash consistency
//!
//! A refresh writes the new file and then removes the old one, so there is always at least one.
//! After a kill a lock file is left; it counts as stale at once on this machine (its process is
//! gone) and after [`record::STALE_AFTER`] on others, and the next to take a lock removes it.
//!
//! # Limits
//!
//! Staleness compares the clocks of machines: keep them within a few minutes of each other.
//!
//! Sources: restic `internal/restic/lock.go`, `doc/design.rst`, section "Locks".

pub mod record;
mod unlock;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::BytesMut;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use jiff::{SignedDuration, Timestamp};
use lifeboat_model::LockId;
use lifeboat_model::{Cancel, Cancelled, Capability, Classify, Clock, ErrorKind, Exit, Keeper};
use lifeboat_tiers::TierError;
use sha2::{Digest, Sha256};

use crate::crypto::MasterKey;
use crate::error::RepositoryError;
use crate::repository::{Repository, State, open_document, save_document};
use crate::store::Store;

pub use record::{LockKind, LockOwner, LockRecord};
use record::{LockSurvey, is_abandoned};
pub use unlock::{FoundLock, Removal, Standing, unlock};

/// How old a lock gets before it is refreshed.
pub const REFRESH_AFTER: Duration = Duration::from_mins(5);

/// How old a lock may get before work under it is cancelled: three quarters of the age at which
/// others take it for stale.
pub const ABORT_AFTER: Duration = Duration::from_secs(22 * 60 + 30);

/// How long to wait before looking again after a shared lock was written, as restic does. Nobody waits where listings do not lag.
const SETTLE: Duration = Duration::from_millis(200);

/// How long a listing may take to show what was stored or removed before it, on a store that does not say that it shows it at
/// once. Those that lag do so by seconds. Whoever is alone waits for it, since only he loses anything: four times in all.
pub const LISTING_LAG_MAX: Duration = Duration::from_secs(10);

/// How often an unreadable lock is looked at before it counts as a conflict; the first wait is
/// [`RETRY_FIRST`], each further one twice as long.
const RETRIES: u32 = 4;
const RETRY_FIRST: Duration = Duration::from_secs(5);

/// How often all locks are looked at again because one that was listed is gone.
const LOOKS_MAX: u32 = 8;

/// How often to try again while waiting for another's lock.
const POLL: Duration = Duration::from_secs(10);

/// How often the guard's thread looks at the clock.
const TICK: Duration = Duration::from_secs(5);

/// How a lock is taken.
#[derive(Debug, Clone)]
pub struct LockOptions {
    /// Which kind.
    pub kind: LockKind,
    /// Who takes it.
    pub owner: LockOwner,
    /// How long to wait for others to release theirs.
    pub wait: Duration,
}

impl LockOptions {
    /// A lock of this process that does not wait.
    pub fn new(kind: LockKind) -> Self {
        Self { kind, owner: LockOwner::this_process(), wait: Duration::ZERO }
    }
}

/// A lock that is held, refreshed by a thread of its own, and released on drop.
#[derive(Debug)]
pub struct LockGuard {
    held: Arc<Held>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LockGuard {
    /// Takes a lock.
    ///
    /// If it cannot be refreshed later on, `cancel` is revoked, and [`LockGuard::check`] tells why.
    /// Must not be dropped within asynchronous code, as nothing of a [`Store`] must be called there.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Locked`] if another lock stands in the way for longer than the wait.
    pub fn acquire<S: State>(
        repository: &Repository<S>,
        options: &LockOptions,
        clock: &Arc<dyn Clock>,
        cancel: &Cancel,
    ) -> Result<Self, RepositoryError> {
        let locks = Locks::of(repository, (options.kind, options.owner.clone()), clock, cancel);
        let state = locks.acquire(options.wait)?;
        Ok(Self::keep(locks, state, TICK))
    }

    /// Takes a shared lock, but leaves it open until later whether somebody else was quicker, so that
    /// reading can begin at once; where listings do not lag, it is certain at once. It does not wait for
    /// others to release theirs.
    ///
    /// Whoever is about to write waits for certainty, see [`Cancel::check_may_write`]. If somebody was
    /// quicker, `cancel` is revoked, and [`LockGuard::check`] tells who.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Locked`] if another lock stands in the way already.
    pub fn begin<S: State>(
        repository: &Repository<S>,
        owner: LockOwner,
        clock: &Arc<dyn Clock>,
        cancel: &Cancel,
    ) -> Result<Self, RepositoryError> {
        let locks = Locks::of(repository, (LockKind::Shared, owner), clock, cancel);
        if locks.settling().is_zero() {
            let state = locks.try_acquire()?;
            return Ok(Self::keep(locks, state, TICK));
        }
        let state = locks.claim()?;
        Ok(Self::keep(locks, state, SETTLE))
    }

    /// Takes a shared lock for work that shows what it reads and does nothing else: it is looked for others
    /// while the lock is written. On a disk whose listings do not lag it is certain at once, as with [`LockGuard::begin`]; on a store that
    /// is far the second look, which need not wait then, goes on beside the reading.
    ///
    /// Who takes an exclusive lock at the same moment may not be seen, and may not see this one. It is looked
    /// again 0.2 s later, by the guard's thread; whoever is alone removes nothing for three times [`LISTING_LAG_MAX`] after he wrote
    /// his lock. So work that is over by then saw everything, and [`LockGuard::check_at_once`] ends it; longer work is revoked. Work that
    /// failed ends with [`LockGuard::check`], which looks before it tells: what is missing may have been removed.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Locked`] if another lock stands in the way already.
    pub fn announce<S: State>(
        repository: &Repository<S>,
        owner: LockOwner,
        clock: &Arc<dyn Clock>,
        cancel: &Cancel,
    ) -> Result<Self, RepositoryError> {
        let locks = Locks::of(repository, (LockKind::Shared, owner), clock, cancel);
        let settling = locks.settling();
        if settling.is_zero() && locks.store.reads_here() {
            let state = locks.try_acquire()?;
            return Ok(Self::keep(locks, state, TICK));
        }
        let state = locks.announce()?;
        Ok(Self::keep(locks, state, settling))
    }

    /// Holds a lock; its thread looks at it for the first time after `pause`.
    fn keep(locks: Locks, state: LockState, mut pause: Duration) -> Self {
        let held = Arc::new(Held { locks, state: Mutex::new(state) });
        let keeper: Arc<dyn Keeper> = Arc::<Held>::clone(&held);
        held.locks.cancel.heed(Arc::downgrade(&keeper));
        let (stop, stopped) = bounded::<()>(0);
        let refresher = Arc::clone(&held);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                refresher.look();
                refresher.tick();
                pause = TICK;
            }
        });
        Self { held, stop: Some(stop), thread: Some(thread) }
    }

    /// Refreshes the lock if that is due; the guard's own thread does the same every few seconds.
    pub fn tick(&self) {
        self.held.tick();
    }

    /// Fails if the lock was lost, or was never won, so that what was done since may not be relied on. It
    /// looks now, also if the machine slept and the guard's own thread did not wake yet.
    pub fn check(&self) -> Result<(), RepositoryError> {
        self.held.look();
        self.verdict()
    }

    /// Like [`LockGuard::check`], but does not wait until it is certain that nobody else was quicker: if it is too early
    /// for that, what was read so far was there.
    pub fn check_at_once(&self) -> Result<(), RepositoryError> {
        self.held.look_if_settled();
        self.verdict()
    }

    fn verdict(&self) -> Result<(), RepositoryError> {
        let mut state = self.held.state();
        if let Claim::Refused(reason) = &mut state.claim {
            return Err(reason.take().unwrap_or_else(|| Cancelled.into()));
        }
        match state.lost_after {
            None => Ok(()),
            Some(age) => Err(RepositoryError::LockLost {
                address: self.held.locks.store.address().to_owned(),
                minutes: age.as_secs() / 60,
            }),
        }
    }

    /// Returns which kind of lock it is.
    pub fn kind(&self) -> LockKind {
        self.held.locks.kind
    }

    /// Returns the lock's current file.
    pub fn id(&self) -> LockId {
        self.held.state().id
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        // Without its sender the thread's wait ends at once.
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("The thread that refreshes a lock panicked.");
        }
        self.held.linger();
        let mut state = self.held.state();
        let former = state.former.take();
        for id in former.into_iter().chain([state.id]) {
            self.held.locks.remove_own(&id);
        }
    }
}

#[derive(Debug)]
struct Held {
    locks: Locks,
    state: Mutex<LockState>,
}

#[derive(Debug)]
struct LockState {
    id: LockId,
    refreshed: Timestamp,
    lost_after: Option<Duration>,
    claim: Claim,
    /// The file before the last refresh, which stays until listings show its successor.
    former: Option<LockId>,
}

/// Whether anybody else was quicker.
#[derive(Debug)]
enum Claim {
    /// Nobody knows yet; since when others can see the lock.
    Open(Timestamp),
    /// Nobody was.
    Certain,
    /// Somebody was, or it could not be found out; why, until it was told.
    Refused(Option<RepositoryError>),
}

impl Keeper for Held {
    /// Makes certain that nobody else was quicker, and gives the lock up if it is too old. It is not
    /// refreshed here, since whoever asks must not wait longer than that.
    fn look(&self) {
        let mut state = self.state();
        self.make_certain(&mut state);
        self.age(&mut state);
    }
}

impl Held {
    /// Looks, unless that would mean to wait.
    fn look_if_settled(&self) {
        let mut state = self.state();
        let waits =
            matches!(state.claim, Claim::Open(since) if !self.locks.wait_from(since).is_zero());
        if !waits {
            self.make_certain(&mut state);
        }
        self.age(&mut state);
    }

    fn make_certain(&self, state: &mut LockState) {
        let Claim::Open(since) = state.claim else { return };
        state.claim = match self.locks.settle(state.id, since) {
            Ok(()) => Claim::Certain,
            Err(error) => {
                self.locks.cancel.revoke();
                Claim::Refused(Some(error))
            }
        };
    }

    /// Returns how old the lock is, and now; nothing once it is lost, which it is from a certain age on.
    fn age(&self, state: &mut LockState) -> Option<(Duration, Timestamp)> {
        let now = self.locks.clock.now();
        let age = Duration::try_from(now.duration_since(state.refreshed)).unwrap_or_default();
        if age >= ABORT_AFTER && state.lost_after.is_none() {
            // Also after the machine slept: somebody may have removed the lock and gone to work.
            state.lost_after = Some(age);
            self.locks.cancel.revoke();
        }
        state.lost_after.is_none().then_some((age, now))
    }

    fn tick(&self) {
        // Held while the tier is asked: two refreshes at once would leave a file behind.
        let mut state = self.state();
        let Some((age, now)) = self.age(&mut state) else { return };
        if age >= self.locks.listing_lag() {
            self.remove_former(&mut state);
        }
        if age < REFRESH_AFTER || !matches!(state.claim, Claim::Certain) {
            return;
        }
        match self.locks.write(now) {
            Ok(id) => {
                state.former = Some(std::mem::replace(&mut state.id, id));
                state.refreshed = now;
                if self.locks.listing_lag().is_zero() {
                    self.remove_former(&mut state);
                }
            }
            Err(error) => tracing::warn!(%error, "A lock could not be refreshed; trying again."),
        }
    }

    fn remove_former(&self, state: &mut LockState) {
        if let Some(old) = state.former.take() {
            self.locks.remove_own(&old);
        }
    }

    /// Keeps an exclusive lock until listings show what was done under it; one that is gone protects nobody.
    fn linger(&self) {
        let (locks, lag) = (&self.locks, self.locks.listing_lag());
        if locks.kind == LockKind::Shared || lag.is_zero() {
            return;
        }
        let state = self.state();
        let (id, is_lost) = (state.id, state.lost_after.is_some());
        drop(state);
        if !is_lost && locks.store.size(&id).is_ok() {
            // Also where somebody asked to stop: what was done until then is not listed yet either.
            locks.store.runtime().block_on(async { locks.clock.sleep(lag).await });
        }
    }

    fn state(&self) -> MutexGuard<'_, LockState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The locks of a repository, as one who wants one sees them.
#[derive(Debug)]
struct Locks {
    store: Store,
    key: MasterKey,
    owner: LockOwner,
    kind: LockKind,
    clock: Arc<dyn Clock>,
    cancel: Cancel,
}

impl Locks {
    fn of<S: State>(
        repository: &Repository<S>,
        (kind, owner): (LockKind, LockOwner),
        clock: &Arc<dyn Clock>,
        cancel: &Cancel,
    ) -> Self {
        Self {
            store: repository.store().clone(),
            key: repository.key().clone(),
            owner,
            kind,
            clock: Arc::clone(clock),
            cancel: cancel.clone(),
        }
    }

    fn acquire(&self, wait: Duration) -> Result<LockState, RepositoryError> {
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        let deadline = self.clock.now().saturating_add(wait).unwrap_or(Timestamp::MAX);
        loop {
            match self.try_acquire() {
                Err(error) if error.exit() == Exit::Locked && self.clock.now() < deadline => {
                    self.sleep(POLL)?;
                }
                other => return other,
            }
        }
    }

    fn try_acquire(&self) -> Result<LockState, RepositoryError> {
        let state = self.claim()?;
        let (id, refreshed) = (state.id, state.refreshed);
        let settled = self.settle(id, self.clock.now()).and_then(|()| self.refuse_stale(refreshed));
        match settled {
            Ok(()) => Ok(LockState { claim: Claim::Certain, ..state }),
            Err(error) => {
                // If this fails, the lock goes stale with this process.
                let _ = self.store.delete(&id);
                Err(error)
            }
        }
    }

    /// Writes a lock where none stands in the way.
    fn claim(&self) -> Result<LockState, RepositoryError> {
        let survey = self.refuse_conflicts(None)?;
        self.remove_stale(&survey.stale)?;
        if survey.was_alone {
            // Who left it did not wait until others see what he did.
            self.sleep(self.listing_lag())?;
        }
        let refreshed = self.clock.now();
        let id = self.write(refreshed)?;
        // Not before: a write may take long, and nobody sees what is not written.
        let claim = Claim::Open(self.clock.now());
        Ok(LockState { id, refreshed, lost_after: None, claim, former: None })
    }

    /// Writes a lock while it is looked for others, and takes it back if one stands in the way.
    fn announce(&self) -> Result<LockState, RepositoryError> {
        if self.store.requests(2) < 2 {
            return self.claim();
        }
        let refreshed = self.clock.now();
        let (written, mut free) = std::thread::scope(|scope| {
            let writing = scope.spawn(|| self.write(refreshed));
            let free = self.refuse_conflicts(None);
            let written = writing.join();
            (written.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), free)
        });
        let (id, since) = (written?, self.clock.now());
        if self.settling() > Duration::ZERO && self.wait_from(refreshed).is_zero() {
            // The write took so long that whoever came after that look may be at work already.
            free = free.and_then(|_| self.refuse_conflicts(Some(id)));
        }
        if let Err(error) = free {
            // If this fails, the lock goes stale with this process.
            let _ = self.store.delete(&id);
            return Err(error);
        }
        Ok(LockState { id, refreshed, lost_after: None, claim: Claim::Open(since), former: None })
    }

    /// Removes locks whose holders are gone. Where nothing may be deleted they stay, in nobody's way but
    /// that of one who wants to be alone; whoever may not delete one is not let delete the next.
    fn remove_stale(&self, stale: &[LockId]) -> Result<(), TierError> {
        for (removed, id) in stale.iter().enumerate() {
            match (self.store.delete(id), self.kind) {
                (Ok(()), _) => tracing::info!(lock = id.to_hex(), "A stale lock was removed."),
                (Err(error), LockKind::Shared) if error.kind() == ErrorKind::Denied => {
                    tracing::info!(%error, left = stale.len() - removed, "Stale locks stay.");
                    break;
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes a lock of our own that is over; where that fails it goes stale. Where nothing may be deleted that is how it is meant.
    fn remove_own(&self, id: &LockId) {
        let lock = id.to_hex();
        match self.store.delete(id) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::info!(%error, lock, "A lock stays, and goes stale.");
            }
            Err(error) => {
                tracing::warn!(%error, lock, "A lock could not be removed; it goes stale.");
            }
        }
    }

    /// Fails if the machine slept while the lock was taken: others may have removed it as stale, and
    /// work.
    fn refuse_stale(&self, refreshed: Timestamp) -> Result<(), RepositoryError> {
        let age =
            Duration::try_from(self.clock.now().duration_since(refreshed)).unwrap_or_default();
        if age < ABORT_AFTER {
            return Ok(());
        }
        let address = self.store.address().to_owned();
        Err(RepositoryError::LockLost { address, minutes: age.as_secs() / 60 })
    }

    /// Waits until everything is seen that others do, or did before they saw our lock.
    fn settle(&self, id: LockId, since: Timestamp) -> Result<(), RepositoryError> {
        self.sleep(self.wait_from(since))?;
        self.refuse_conflicts(Some(id))?;
        match self.kind {
            LockKind::Shared => Ok(()),
            // Whoever wrote his lock shortly before ours may have worked and gone meanwhile. What he
            // left has to be seen before anything is taken for unused.
            LockKind::Exclusive => self.sleep(self.listing_lag()),
        }
    }

    /// Returns how long it is until a lock that was written at `since` is looked after.
    fn wait_from(&self, since: Timestamp) -> Duration {
        let passed = Duration::try_from(self.clock.now().duration_since(since));
        let wait = match self.kind {
            LockKind::Shared => self.settling(),
            // Until whoever did not see it is seen: those who look after theirs at once, as shared ones do.
            LockKind::Exclusive => 2 * self.listing_lag(),
        };
        wait.saturating_sub(passed.unwrap_or_default())
    }

    /// Returns how long whoever is not alone waits before he looks again.
    fn settling(&self) -> Duration {
        SETTLE.min(self.listing_lag())
    }

    /// Returns how long a listing may take to show what was done before it.
    fn listing_lag(&self) -> Duration {
        let is_prompt = self.store.tier().capabilities().has(Capability::PromptListing);
        if is_prompt { Duration::ZERO } else { LISTING_LAG_MAX }
    }

    /// Looks at all locks but our own, patiently at what cannot be read.
    fn refuse_conflicts(&self, own: Option<LockId>) -> Result<LockSurvey, RepositoryError> {
        let mut pause = RETRY_FIRST;
        for attempt in 0.. {
            let survey = self.survey(own)?;
            let holder = match (survey.conflicts.first(), survey.unreadable.first()) {
                (Some((_, lock)), _) => lock.describe(self.clock.now()),
                (None, Some(id)) if attempt == RETRIES => {
                    format!("lock file {}, which cannot be read", id.to_hex())
                }
                (None, Some(_)) => {
                    self.sleep(pause)?;
                    pause *= 2;
                    continue;
                }
                (None, None) => return Ok(survey),
            };
            let address = self.store.address().to_owned();
            return Err(RepositoryError::Locked { address, holder });
        }
        unreachable!("the loop ends by its last retry")
    }

    /// Looks at all locks, until each that was listed could be read: one that is gone was released, or
    /// refreshed under a name that was not listed yet.
    fn survey(&self, own: Option<LockId>) -> Result<LockSurvey, RepositoryError> {
        for _ in 0..LOOKS_MAX {
            let (survey, gone) = self.look(own)?;
            if gone.is_empty() || !survey.conflicts.is_empty() {
                return Ok(survey);
            }
            self.sleep(self.settling())?;
        }
        let (mut survey, gone) = self.look(own)?;
        survey.unreadable.extend(gone);
        Ok(survey)
    }

    /// Looks at all locks once; returns those, too, that were gone when they were read.
    fn look(&self, own: Option<LockId>) -> Result<(LockSurvey, Vec<LockId>), RepositoryError> {
        let (mut survey, mut gone) = (LockSurvey::default(), Vec::new());
        let now = self.clock.now();
        let files = self.store.list_dated::<LockId>()?;
        let newest = files.iter().map(|(_, stored)| *stored).max().unwrap_or(now);
        for (file, stored) in files {
            if Some(file.id) == own || file.size == 0 {
                continue;
            }
            if is_abandoned(stored, newest, now) {
                survey.stale.push(file.id);
                continue;
            }
            let bytes = match self.store.get_hashed(&file.id) {
                Ok((bytes, _)) => bytes,
                Err(TierError::NotFound { .. }) => {
                    gone.push(file.id);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            survey.add(self.kind, file.id, read_lock(&self.key, file.id, &bytes), now, &self.owner);
        }
        Ok((survey, gone))
    }

    fn write(&self, now: Timestamp) -> Result<LockId, TierError> {
        let record = LockRecord::new(self.kind, &self.owner, now);
        let document = serde_json::to_vec(&record).expect("a lock is plain data");
        save_document(&self.store, &self.key, &document)
    }

    fn sleep(&self, duration: Duration) -> Result<(), RepositoryError> {
        // Within the runtime, since a real clock asks it for a timer when the future is made.
        let wait = async { self.cancel.cut_short(self.clock.sleep(duration)).await };
        self.store.runtime().block_on(wait)?;
        Ok(self.cancel.check()?)
    }
}

/// Reads what a lock file says; nothing if it cannot be told.
fn read_lock(key: &MasterKey, id: LockId, bytes: &[u8]) -> Option<LockRecord> {
    if Sha256::digest(bytes).as_slice() != id.as_bytes() {
        return None;
    }
    let document = open_document(key, &mut BytesMut::from(bytes)).ok()?;
    serde_json::from_slice(&document).ok()
}
