//! The daemon: runs the plan by itself, job after job, until it is asked to stop.
//!
//! ```text
//! step:  what ended is written down ── what is due is taken up ── what waits is begun ── wait
//!           ▲                                                        │
//!           └──────────────── threads, one a job, which call the operations
//! ```
//!
//! Everything that decides is in [`crate::schedule`], everything that must not be forgotten in
//! [`crate::jobs`], everything that is done in the operations. What is here only goes round.
//!
//! Jobs run side by side, as many as the plan says, none beside one that works on the same. They share the lock of the
//! state directory, which is taken with the first and given back when none runs: so a command of this host works
//! between them, and two processes never write at the same time.
//!
//! # Invariants
//!
//! - The loop waits for no job: it goes on looking, answering and renewing leases.
//! - A plan that does not hold never replaces one that does.
//! - Nothing that goes wrong in a job, a panic included, ends the daemon.
//!
//! # Crash consistency
//!
//! See [`crate::jobs`]. A step that fails, as on a full disk, is done again; what ended is kept until it could
//! be written down.
//!
//! # Limits
//!
//! A job that is asked to stop has [`STOP_WITHIN`]; one that takes longer is left to the end of the process,
//! and is then lost and begun anew.

pub mod client;
mod conditions;
pub mod control;
pub mod execution;
mod http;
mod listeners;
mod logs;
mod metrics;
mod pages;
mod pings;
pub mod report;
mod socket;
mod stillness;
mod supervisor;
#[cfg(test)]
mod tests;
pub mod watcher;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeboat_model::{AssetName, Cancel, Classify, ErrorKind, Exit, Hint, JobId, Timestamp};
use tokio::sync::Notify;

pub use self::http::Published;

use self::execution::{Executor, Finished};
use self::listeners::Listeners;
use self::pings::Pings;
use self::supervisor::Supervisor;
use self::watcher::Watcher;
use crate::ending::Ending;
use crate::error::explain;
use crate::jobs::{Job, JobState, Journal, JournalError, Work};
use crate::schedule::{
    Conditions, Due, Taken, Task, Workload, due, idle_for, next_runs, set_right, tried_again,
};
use crate::state::{DaemonLock, Lender, State, StateError};
use crate::wal::WalError;
use crate::wire::Site;

/// How often is looked around when nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// How long is vouched for what runs: several looks.
const LEASE: Duration = Duration::from_mins(2);

/// How long a job waits for a command of this host that works with the state.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// How long what runs has to stop once it was asked to.
pub const STOP_WITHIN: Duration = Duration::from_mins(1);

/// How often is looked meanwhile whether it did.
const STOP_LOOK_EVERY: Duration = Duration::from_millis(100);

/// After how long the catalog is read again though nothing was done here: another host may have written.
const CONDITIONS_FOR: Duration = Duration::from_mins(10);

/// The daemon could not begin.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state directory is not to be had.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal is not to be had.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A log cannot be served.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// Nothing can be watched.
    #[error("cannot wait for changes")]
    Watch(#[source] std::io::Error),
    /// Its health and metrics cannot be read.
    #[error("cannot listen on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// Nobody can ask it anything.
    #[error("cannot listen on {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
}

impl Classify for DaemonError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::State(error) => error.kind(),
            Self::Journal(error) => error.kind(),
            Self::Wal(error) => error.kind(),
            Self::Watch(_) => ErrorKind::Unavailable,
            Self::Socket { source, .. } | Self::Address { source, .. } => match source.kind() {
                std::io::ErrorKind::AddrInUse => ErrorKind::Conflict,
                std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Unavailable,
            },
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::State(error) => error.exit(),
            other => other.kind().exit(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::State(error) => error.hint(),
            Self::Journal(error) => error.hint(),
            Self::Wal(error) => error.hint(),
            Self::Watch(_) => Some(Hint::new("let the daemon have more open files (ulimit -n)")),
            Self::Address { .. } => {
                Some(Hint::new("name another one with --http, or stop who listens there"))
            }
            Self::Socket { .. } => {
                Some(Hint::new("name another one with --socket, or stop who listens there"))
            }
        }
    }
}

/// Reads the plan anew; an error is what a person is told.
pub type Loader = Box<dyn Fn() -> Result<Site, String> + Send + Sync>;

/// Where jobs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// Each on a thread of its own.
    Threads,
    /// In the loop, which waits for them: on a simulated clock.
    Loop,
}

/// When the daemon ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Once it is asked to stop.
    Stopped,
    /// Once nothing is due and nothing runs.
    Idle,
}

/// What a daemon is made of besides the plan.
pub struct Setup {
    /// Reads the plan anew.
    pub loader: Loader,
    /// Does the work.
    pub executor: Arc<dyn Executor>,
    /// Where it does so.
    pub workers: Workers,
}

/// What a daemon did since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How many jobs ended.
    pub jobs: u64,
    /// How the worst of them did.
    pub worst: Ending,
}

/// A job that runs.
#[derive(Debug)]
struct Running {
    cancel: Cancel,
    taken: Taken,
    /// The asset that it captures since it changed.
    captures: Option<AssetName>,
    is_unwanted: bool,
}

/// The plan in force, and what is wrong with the one on disk.
struct InForce {
    site: Arc<Site>,
    trouble: Option<String>,
}

/// The daemon of one state directory.
pub struct Daemon {
    setup: Setup,
    started: Timestamp,
    journal: Journal,
    state: State,
    lender: Arc<Lender>,
    in_force: Mutex<InForce>,
    running: Mutex<BTreeMap<JobId, Running>>,
    ended: Mutex<Vec<(JobId, Finished)>>,
    rests: Mutex<BTreeMap<JobId, Timestamp>>,
    known: Mutex<Option<(Timestamp, Conditions)>>,
    tally: Mutex<Tally>,
    looked: Mutex<Timestamp>,
    listeners: Listeners,
    wake: Notify,
    is_stopping: AtomicBool,
    supervisor: Supervisor,
    watcher: Watcher,
    pings: Pings,
    _lock: DaemonLock,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("started", &self.started).finish_non_exhaustive()
    }
}

impl Daemon {
    /// Becomes the daemon of a site's state directory; what an earlier one left running is marked and queued
    /// again.
    pub fn open(site: Site, setup: Setup) -> Result<Arc<Self>, DaemonError> {
        let surroundings = site.surroundings().clone();
        let state = State::open(&surroundings.state_directory)?;
        let lock = state.lock_daemon()?;
        let journal = Journal::open(&state.journal_path())?;
        let started = surroundings.now();
        for job in journal.recover(started, || surroundings.new_job())? {
            tracing::warn!(job = %job.id, work = %job.work, "Its daemon ended in the middle of it.");
        }
        let supervisor = Supervisor::of(&surroundings.environment);
        let pings = match setup.workers {
            Workers::Threads => Pings::begin(&site),
            Workers::Loop => Pings::nobody(),
        };
        Ok(Arc::new(Self {
            setup,
            started,
            journal,
            state,
            lender: Arc::default(),
            in_force: Mutex::new(InForce { site: Arc::new(site), trouble: None }),
            running: Mutex::default(),
            ended: Mutex::default(),
            rests: Mutex::default(),
            known: Mutex::default(),
            tally: Mutex::new(Tally { jobs: 0, worst: Ending::Succeeded }),
            looked: Mutex::new(started),
            listeners: Listeners::default(),
            wake: Notify::new(),
            is_stopping: AtomicBool::new(false),
            supervisor,
            watcher: Watcher::new().map_err(DaemonError::Watch)?,
            pings,
            _lock: lock,
        }))
    }

    /// Returns the site of the plan in force.
    pub fn site(&self) -> Arc<Site> {
        Arc::clone(&lock(&self.in_force).site)
    }

    /// Returns the journal.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    fn now(&self) -> Timestamp {
        self.site().surroundings().now()
    }

    /// Runs the plan.
    pub fn run(self: &Arc<Self>, until: Until, cancel: &Cancel) -> Tally {
        self.supervisor.ready(&self.told());
        let watching = match self.setup.workers {
            Workers::Threads => self.begin_watching(),
            Workers::Loop => None,
        };
        let stillness = match self.setup.workers {
            Workers::Threads => self.begin_stillness(),
            Workers::Loop => None,
        };
        while !cancel.is_cancelled() {
            let step = self.look();
            self.pings.alive(self.site(), step.as_ref().err().map(|error| explain(error)));
            let wait = step.unwrap_or_else(|error| {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "The journal could not be kept; it is tried again.");
                LOOK_EVERY
            });
            let is_idle = wait > Duration::ZERO
                && lock(&self.running).is_empty()
                && self.journal.open_jobs().is_ok_and(|jobs| jobs.is_empty());
            if until == Until::Idle && is_idle {
                break;
            }
            self.supervisor.alive(&self.told());
            self.wait(wait.min(self.supervisor.patience()), cancel);
        }
        self.stop();
        if let Some(watching) = watching {
            self.watcher.ring();
            // What it panics with is logged where it happens.
            _ = watching.join();
        }
        if let Some(stillness) = stillness {
            stillness.end();
        }
        self.pings.finish(&self.site());
        *lock(&self.tally)
    }

    /// Waits, unless something happens.
    fn wait(&self, at_most: Duration, cancel: &Cancel) {
        let site = self.site();
        let surroundings = site.surroundings();
        surroundings.runtime.block_on(async {
            let happens = Box::pin(self.wake.notified());
            let waited = futures::future::select(happens, surroundings.clock.sleep(at_most));
            drop(cancel.cut_short(waited).await);
        });
    }

    /// Does what there is to do, and takes note that somebody looked, unless the journal could not be kept.
    fn look(self: &Arc<Self>) -> Result<Duration, JournalError> {
        let wait = self.step()?;
        *lock(&self.looked) = self.now();
        Ok(wait)
    }

    /// Does what there is to do; returns how long nothing more is to be expected.
    pub(crate) fn step(self: &Arc<Self>) -> Result<Duration, JournalError> {
        self.write_down()?;
        let (site, now) = (self.site(), self.now());
        let plan = site.plan();
        let mut history = self.journal.history(&Task::all(plan), now)?;
        let moved = set_right(&mut history, now);
        if !moved.is_empty() {
            tracing::warn!(
                "The clock was set back; what was done later than now counts as done now."
            );
            self.journal.keep(&history)?;
        }
        let conditions = self.conditions(now)?;
        for due in due(plan, &history, &conditions, now) {
            if due.held.is_none() {
                self.take_up(&due, &site)?;
            }
        }
        self.begin_waiting()?;
        if self.setup.workers == Workers::Loop && !lock(&self.ended).is_empty() {
            return Ok(Duration::ZERO);
        }
        let history = self.journal.history(&Task::all(plan), now)?;
        let mut runs = next_runs(plan, &history, &self.conditions(now)?, now);
        // What is due already waits for something else than time.
        runs.retain(|run| run.at > now);
        Ok(idle_for(&runs, now, self.look_again()).max(Duration::from_millis(1)))
    }

    /// Returns after how long is looked around though no task falls due.
    fn look_again(&self) -> Duration {
        match self.setup.workers {
            _ if !lock(&self.rests).is_empty() => BUSY_WAIT,
            Workers::Threads => LOOK_EVERY,
            // Nothing happens on a simulated clock but what is due.
            Workers::Loop => CONDITIONS_FOR,
        }
    }

    fn take_up(&self, due: &Due, site: &Site) -> Result<(), JournalError> {
        let surroundings = site.surroundings();
        let work = Work::Task { task: due.task.clone() };
        let mut job = Job::queued(surroundings.new_job(), work, surroundings.now());
        (job.slot, job.missed, job.attempt) = (Some(due.slot), due.missed, due.attempt);
        if due.missed > 0 {
            tracing::warn!(task = %due.task, missed = due.missed, "One run makes up for those that were missed.");
        }
        self.journal.take_up(due, &job)
    }

    /// Returns what waits, in the order in which it is begun: what a person asked for first.
    fn waiting(&self) -> Result<Vec<Job>, JournalError> {
        let mut waiting = self.journal.open_jobs()?;
        waiting.retain(|job| job.state == JobState::Queued);
        waiting.sort_by_key(|job| job.asked_by.is_none());
        Ok(waiting)
    }

    fn at_work(&self) -> Vec<Taken> {
        lock(&self.running).values().map(|running| running.taken.clone()).collect()
    }

    /// Begins what waits, as far as there is room and nothing that runs is in the way.
    fn begin_waiting(self: &Arc<Self>) -> Result<(), JournalError> {
        let (site, now) = (self.site(), self.now());
        let running: Vec<_> = lock(&self.running).keys().copied().collect();
        for id in running {
            self.journal.renew(id, lease(now))?;
        }
        let mut load = Workload::new(site.plan(), &self.at_work());
        for job in self.waiting()? {
            let rests = lock(&self.rests).get(&job.id).is_some_and(|until| now < *until);
            if rests || self.is_stopping.load(Ordering::Relaxed) {
                continue;
            }
            let taken = Taken::by(job.work.clone(), site.plan());
            if load.holds(&taken.claims).is_some() {
                continue;
            }
            if let Some(job) = self.journal.begin(job.id, now, lease(now))? {
                load.take(taken.clone());
                self.begin(job, taken);
            }
        }
        Ok(())
    }

    fn begin(self: &Arc<Self>, job: Job, taken: Taken) {
        let cancel = Cancel::new();
        let captures = match job.task() {
            Some(Task::Capture(asset)) => Some(asset.clone()),
            _ => None,
        };
        if let Some(asset) = &captures {
            self.watcher.begun(asset, self.now());
        }
        self.pings.started(self.site(), &job);
        let running = Running { cancel: cancel.clone(), taken, captures, is_unwanted: false };
        lock(&self.running).insert(job.id, running);
        tracing::info!(job = %job.id, work = %job.work, "It begins.");
        let (daemon, id) = (Arc::clone(self), job.id);
        let work = move || {
            let done = catch_unwind(AssertUnwindSafe(|| daemon.do_job(&job, &cancel)));
            let done = done.unwrap_or_else(|_| Finished::failed("it panicked; this is a bug"));
            lock(&daemon.ended).push((job.id, done));
            daemon.wake.notify_one();
        };
        if self.setup.workers == Workers::Loop {
            return work();
        }
        if let Err(error) = std::thread::Builder::new().name("job".to_owned()).spawn(work) {
            let done = Finished::failed(&format!("no thread could be started: {error}"));
            lock(&self.ended).push((id, done));
        }
    }

    fn do_job(&self, job: &Job, cancel: &Cancel) -> Finished {
        let _span = tracing::error_span!("job", job = %job.id, work = %job.work).entered();
        let site = self.site().as_ref().clone().for_job(job.id).lent_by(&self.lender);
        // What was asked to stop waits for no tier any more, whatever else goes on.
        let mut surroundings = site.surroundings().clone();
        surroundings.cancel = Cancel::part_of(&[&surroundings.cancel, cancel]);
        let site = site.with_surroundings(surroundings);
        let events = self.listeners.of(job.id);
        self.setup.executor.execute(site, job, &events, cancel)
    }

    /// Writes down what ended; what could not be written down stays to be.
    fn write_down(&self) -> Result<(), JournalError> {
        loop {
            let Some((id, done)) = lock(&self.ended).first().cloned() else { return Ok(()) };
            self.settle(id, &done)?;
            lock(&self.ended).remove(0);
        }
    }

    fn settle(&self, id: JobId, done: &Finished) -> Result<(), JournalError> {
        let (now, message) = (self.now(), done.message.as_deref());
        let is_unwanted = lock(&self.running).get(&id).is_some_and(|running| running.is_unwanted);
        let is_stopping = self.is_stopping.load(Ordering::Relaxed);
        if done.is_busy {
            let message = "another lifeboat of this host is at work";
            self.journal.put_back(id, message)?;
            let until = now.saturating_add(BUSY_WAIT).unwrap_or(now);
            lock(&self.rests).insert(id, until);
        } else if done.ending == Ending::Cancelled && is_stopping && !is_unwanted {
            self.journal.put_back(id, "the daemon was stopped meanwhile")?;
        } else {
            let ended = self.journal.end(id, now, (done.ending, message))?;
            lock(&self.rests).remove(&id);
            tell(id, done);
            let mut tally = lock(&self.tally);
            *tally = Tally { jobs: tally.jobs + 1, worst: tally.worst.max(done.ending) };
            drop(tally);
            if let Some(job) = ended {
                tell_of_retry(&job, now);
                self.pings.ended(self.site(), &job, done);
                self.listeners.end(&job, done);
            }
        }
        let captures = lock(&self.running).remove(&id).and_then(|running| running.captures);
        if let Some(asset) = captures {
            self.captured(&asset, done.captured);
        }
        *lock(&self.known) = None;
        Ok(())
    }

    /// Stops what runs, and waits for it, but not for ever.
    fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.supervisor.stopping();
        for running in lock(&self.running).values() {
            running.cancel.cancel();
        }
        let site = self.site();
        let surroundings = site.surroundings();
        let looks = STOP_WITHIN.as_millis() / STOP_LOOK_EVERY.as_millis();
        for _ in 0..looks {
            if let Err(error) = self.write_down() {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "What ended could not be written down.");
            }
            if lock(&self.running).is_empty() {
                return;
            }
            surroundings.runtime.block_on(surroundings.clock.sleep(STOP_LOOK_EVERY));
        }
        tracing::warn!("Something still runs; it will be begun anew.");
    }

    /// Returns how things stand, as far as they do not change with every look.
    fn conditions(&self, now: Timestamp) -> Result<Conditions, JournalError> {
        let known = lock(&self.known).clone();
        let is_fresh = |read: Timestamp| {
            Duration::try_from(now.duration_since(read)).is_ok_and(|age| age < CONDITIONS_FOR)
        };
        let mut conditions = match known {
            Some((read, known)) if is_fresh(read) => known,
            _ => {
                let site = self.site();
                let mut read = conditions::of_catalog(&self.state, site.plan());
                read.elsewhere = conditions::elsewhere(&site);
                *lock(&self.known) = Some((now, read.clone()));
                read
            }
        };
        let open = self.journal.open_jobs()?;
        conditions.open = open.iter().filter_map(Job::task).cloned().collect();
        conditions.running = self.soon_at_work()?;
        conditions.pause = self.journal.pause()?;
        conditions.watched = self.watcher.due(now);
        conditions.recovering = conditions::recovering(&self.site());
        Ok(conditions)
    }

    /// Returns what runs, and what of that which waits can begin beside it. What cannot keeps nothing else from beginning:
    /// it may have to wait for hours.
    fn soon_at_work(&self) -> Result<Vec<Taken>, JournalError> {
        let (site, mut taken) = (self.site(), self.at_work());
        for job in self.waiting()? {
            let next = Taken::by(job.work, site.plan());
            if Workload::new(site.plan(), &taken).holds(&next.claims).is_none() {
                taken.push(next);
            }
        }
        Ok(taken)
    }

    /// Reads the plan anew; the one in force stays if it does not hold.
    pub fn reload(&self) -> Result<bool, String> {
        self.supervisor.reloading();
        let loaded = (self.setup.loader)();
        let mut in_force = lock(&self.in_force);
        let reloaded = match loaded.and_then(|site| of_same_site(site, &in_force.site)) {
            Ok(site) => {
                in_force.trouble = None;
                let is_new = site.plan().id() != in_force.site.plan().id();
                in_force.site = Arc::new(site);
                tracing::info!(is_new, "The plan was read.");
                Ok(is_new)
            }
            Err(trouble) => {
                tracing::error!(
                    trouble,
                    "The plan was not taken over; the one before stays in force."
                );
                in_force.trouble = Some(trouble.clone());
                Err(trouble)
            }
        };
        drop(in_force);
        *lock(&self.known) = None;
        self.supervisor.ready(&self.told());
        self.wake.notify_one();
        self.watcher.ring();
        reloaded
    }

    /// Reads a plan that did not hold once more; one that is mended to what is in force leaves nothing to be told.
    fn look_at_plan_again(&self) {
        if lock(&self.in_force).trouble.is_none() {
            return;
        }
        let loaded = (self.setup.loader)();
        let mut in_force = lock(&self.in_force);
        match loaded.and_then(|site| of_same_site(site, &in_force.site)) {
            Ok(site) if site.plan().id() == in_force.site.plan().id() => in_force.trouble = None,
            Ok(_) => {
                let trouble = "it holds again and is not in force; take it over: lifeboat reload";
                in_force.trouble = Some(trouble.to_owned());
            }
            Err(trouble) => in_force.trouble = Some(trouble),
        }
    }

    /// Stops a job: one that waits at once, one that runs at its next safe point.
    pub fn cancel_job(&self, id: JobId) -> Result<Option<Job>, JournalError> {
        let job = self.journal.cancel(id, self.now())?;
        if let Some(running) = lock(&self.running).get_mut(&id) {
            running.is_unwanted = true;
            running.cancel.cancel();
        }
        self.wake.notify_one();
        Ok(job)
    }

    /// Says in a line what goes on.
    fn told(&self) -> String {
        let trouble = lock(&self.in_force).trouble.is_some();
        let running = lock(&self.running).len();
        let plan = if trouble { "; the plan on disk does not hold" } else { "" };
        match running {
            0 => format!("waiting{plan}"),
            _ => format!("{running} running{plan}"),
        }
    }
}

/// Refuses the plan of another site: state, journal and lock are of the one that is served.
fn of_same_site(site: Site, served: &Site) -> Result<Site, String> {
    let (name, served) = (site.name(), served.name());
    if name == served {
        return Ok(site);
    }
    Err(format!(
        "it is the plan of another site, `{name}`, and this daemon serves `{served}`; start one for it: lifeboat serve"
    ))
}

fn lease(now: Timestamp) -> Timestamp {
    now.saturating_add(LEASE).unwrap_or(Timestamp::MAX)
}

/// Says that a run is tried again, and when.
fn tell_of_retry(job: &Job, now: Timestamp) {
    let fails = job.ending == Some(Ending::Failed) && job.slot.is_some();
    let again = job.task().filter(|_| fails).and_then(|task| tried_again(task, job.attempt, now));
    if let Some(at) = again {
        tracing::warn!(job = %job.id, work = %job.work, attempt = job.attempt + 1, %at, "It is tried again.");
    }
}

fn tell(id: JobId, done: &Finished) {
    // In JSON `message` is what is said.
    let (ending, why) = (done.ending, done.message.as_deref().unwrap_or(""));
    if ending == Ending::Succeeded {
        tracing::info!(job = %id, "It is done.");
    } else {
        tracing::error!(job = %id, %ending, why, "It did not succeed.");
    }
}
