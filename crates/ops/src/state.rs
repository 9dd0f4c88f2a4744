//! The state directory: this host's memory, which may be lost without losing any data.
//!
//! ```text
//! version             the version of this layout, written first
//! lock                held by the process that works here
//! replacing           held by the process that puts something back in place
//! writing             held for the moment in which a record is written
//! settling            held while a tier is set up, or recorded what is recorded once
//! at-work/            a file for each job, held by its process as long as it is at work
//! daemon              held by the daemon, as long as it runs
//! lifeboat.sock       where the daemon listens, unless it is told otherwise
//! jobs.sqlite         what is to be done, what runs, and what became of what was done
//! writer.json         who this host is among the writers of the catalog
//! catalog.sqlite      the local view of the catalog
//! outbox/             records that are not on every tier yet
//! runs/               the journals of recoveries: the one thing here that is nowhere else while a run is open
//! drills/             the journals of drills, and what each has to tear down
//! place               which place of the plan this host is, where an operator said so
//! hand-over           a hand-over to another place, as long as it goes on
//! hand-over-commands  which of its commands run
//! locks/              until when objects of a tier are locked, where that was extended; a file a tier
//! ```
//!
//! [`State::open`] is enough to read; whoever writes asks for the [`StateLock`] and keeps it. The jobs of one process that
//! work at the same time share it: a [`Lender`] takes it with the first and gives it back with the last. Who only records
//! what he did, as a restore, works [`State::beside`] whoever has it.
//! Everything in it can be read by its owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lifeboat_model::{AssetName, Classify, ErrorKind, Exit, Hint, JobId, TierName, Timestamp};
use lifeboat_tiers::durable;
use rustix::fs::{FlockOperation, flock};

use crate::at_work::{AtWork, Presence};
use crate::writer::Writer;

/// The version of the layout that this version writes.
const VERSION: u32 = 1;
pub(crate) const PRIVATE_DIRECTORY: u32 = 0o700;
const PRIVATE_FILE: u32 = durable::PRIVATE;
/// No file of the state that is read whole is larger.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A later version of lifeboat wrote it; it was not touched.
    #[error("the state in {} was written by a later version: it has version {found}, and this one knows up to {VERSION}", path.display())]
    Newer {
        /// The state directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A file of it is not what was written.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// Another process works here.
    #[error("another lifeboat is at work with the state in {}", path.display())]
    Locked {
        /// The state directory.
        path: PathBuf,
    },
    /// Another process replaces data of this host.
    #[error("another lifeboat is putting something back in place with the state in {}", path.display())]
    Replacing {
        /// The state directory.
        path: PathBuf,
    },
    /// Another daemon runs the plan here.
    #[error("a daemon runs with the state in {} already", path.display())]
    Served {
        /// The state directory.
        path: PathBuf,
    },
}

impl Classify for StateError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::Denied
            }
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Newer { .. }
            | Self::Locked { .. }
            | Self::Replacing { .. }
            | Self::Served { .. } => ErrorKind::Conflict,
            Self::Damaged { .. } => ErrorKind::Corrupt,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Locked { .. } | Self::Replacing { .. } | Self::Served { .. } => Exit::Locked,
            other => other.kind().exit(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Io { .. } => "choose another state directory, or run as the user who owns it",
            Self::Newer { .. } => "install the version that wrote it, or a later one",
            Self::Damaged { .. } => {
                "move the state directory away: `lifeboat catalog rebuild` fills a new one from the tiers"
            }
            Self::Locked { .. } => {
                "see with `lifeboat jobs` what works here; a lock goes when its process does, and a daemon's when none of its jobs runs"
            }
            Self::Replacing { .. } => {
                "wait for it, or restore into a directory meanwhile: `lifeboat restore ASSET --to DIR`"
            }
            Self::Served { .. } => {
                "ask it with `lifeboat jobs`; one daemon serves a state directory"
            }
        };
        Some(Hint::new(text))
    }
}

/// Names the file and the action in an I/O error.
fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { action, path, source }
}

/// A state directory of this version.
#[derive(Debug, Clone)]
pub struct State {
    directory: PathBuf,
}

impl State {
    /// Opens the state in `directory`, or begins it there.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        durable::create_directories(directory, PRIVATE_DIRECTORY)
            .map_err(failed("create", directory))?;
        let path = directory.join("version");
        match read_small(&path)? {
            None => {
                match durable::write_new(&path, format!("{VERSION}\n").as_bytes(), PRIVATE_FILE) {
                    Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(failed("write", &path)(source));
                    }
                    _ => {}
                }
            }
            Some(bytes) => check_version(directory, &path, &bytes)?,
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// Returns where the catalog's view lies.
    pub fn view_path(&self) -> PathBuf {
        self.directory.join("catalog.sqlite")
    }

    fn outbox(&self) -> PathBuf {
        self.directory.join("outbox")
    }

    /// Counts the records that are not on every tier yet.
    pub fn undelivered(&self) -> Result<usize, StateError> {
        let outbox = self.outbox();
        match fs::read_dir(&outbox) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(failed("list", &outbox)(source)),
            Ok(entries) => {
                let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
                Ok(names.filter(|name| !durable::is_temporary(name)).count())
            }
        }
    }

    /// Returns which place this host is, where an operator said so.
    pub(crate) fn place(&self) -> Result<Option<String>, StateError> {
        let path = self.place_path();
        let Some(bytes) = read_small(&path)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| StateError::Damaged { path })?;
        Ok(Some(text.trim().to_owned()))
    }

    /// Returns where a hand-over is noted while it goes on.
    pub(crate) fn hand_over_path(&self) -> PathBuf {
        self.directory.join("hand-over")
    }

    /// Returns where it is noted which commands of a hand-over run.
    pub(crate) fn hand_over_commands_path(&self) -> PathBuf {
        self.directory.join("hand-over-commands")
    }

    fn place_path(&self) -> PathBuf {
        self.directory.join("place")
    }

    /// Returns where the journal of jobs lies.
    pub fn journal_path(&self) -> PathBuf {
        self.directory.join("jobs.sqlite")
    }

    /// Returns where the daemon listens that serves this state, unless it is told otherwise.
    pub fn socket_path(&self) -> PathBuf {
        self.directory.join("lifeboat.sock")
    }

    /// Returns where the drills lie.
    pub(crate) fn drills_path(&self) -> PathBuf {
        self.directory.join("drills")
    }

    /// Returns where the runs of runbooks lie.
    pub(crate) fn runs_path(&self) -> PathBuf {
        self.directory.join("runs")
    }

    /// Takes the lock, without waiting for whoever holds it.
    pub fn lock(&self) -> Result<StateLock, StateError> {
        let file = self.hold("lock", |path| StateError::Locked { path })?;
        Ok(self.right(Some(file)))
    }

    /// Takes the right to write records beside whoever has the lock.
    ///
    /// He who has it sets tiers up, removes, and brings data to tiers; nothing of that may be done with this right.
    pub fn beside(&self) -> StateLock {
        self.right(None)
    }

    fn right(&self, file: Option<File>) -> StateLock {
        StateLock(Arc::new(Held {
            state: self.clone(),
            writing: Mutex::new(Outbox::MaybeAhead),
            settling: Mutex::new(()),
            at_work: AtWork::new(self.directory.join("at-work")),
            file,
        }))
    }

    /// Takes the lock that makes this process the only one that replaces data of this host.
    pub(crate) fn lock_replacing(&self) -> Result<ReplacingLock, StateError> {
        let file = self.hold("replacing", |path| StateError::Replacing { path })?;
        Ok(ReplacingLock { _file: file })
    }

    /// Takes the lock that makes this process the only daemon here.
    pub fn lock_daemon(&self) -> Result<DaemonLock, StateError> {
        let file = self.hold("daemon", |path| StateError::Served { path })?;
        Ok(DaemonLock { _file: file })
    }

    fn hold(
        &self,
        name: &str,
        held: impl FnOnce(PathBuf) -> StateError,
    ) -> Result<File, StateError> {
        self.try_hold(name)?.ok_or_else(|| held(self.directory.clone()))
    }

    /// Locks a file of the state, unless somebody else has it.
    fn try_hold(&self, name: &str) -> Result<Option<File>, StateError> {
        let path = self.directory.join(name);
        lock_file(&path).map_err(failed("lock", &path))
    }

    /// Locks a file of the state as soon as nobody else has it.
    fn wait_for(&self, name: &str) -> Result<File, StateError> {
        let path = self.directory.join(name);
        let file = open_lock(&path).map_err(failed("open", &path))?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed("lock", &path)(errno.into())),
            }
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(PRIVATE_FILE).open(path)
}

/// Locks a file, which is made if need be, unless somebody else has it.
pub(crate) fn lock_file(path: &Path) -> io::Result<Option<File>> {
    let file = open_lock(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn check_version(directory: &Path, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let found = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
    match found {
        Some(VERSION) => Ok(()),
        Some(found) if found > VERSION => {
            Err(StateError::Newer { path: directory.to_owned(), found })
        }
        _ => Err(StateError::Damaged { path: path.to_owned() }),
    }
}

fn read_small(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let file = match File::open(path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed("read", path))?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_SIZE_MAX).read_to_end(&mut bytes).map_err(failed("read", path))?;
    Ok(Some(bytes))
}

/// The right to replace data of this host; given back when dropped, also by a kill.
#[derive(Debug)]
pub(crate) struct ReplacingLock {
    _file: File,
}

/// The right to run a plan with a state directory; given back when dropped, also by a kill.
#[derive(Debug)]
pub struct DaemonLock {
    _file: File,
}

/// The right to write to a state directory; given back when the last clone is dropped, also by a kill.
#[derive(Debug, Clone)]
pub struct StateLock(Arc<Held>);

/// What those share who have the right.
#[derive(Debug)]
struct Held {
    state: State,
    writing: Mutex<Outbox>,
    settling: Mutex<()>,
    at_work: AtWork,
    /// The lock; absent of who works beside whoever has it.
    file: Option<File>,
}

/// How the outbox stands beside the catalog's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outbox {
    /// The view has all that is in it.
    InView,
    /// It may hold a record that the view lacks.
    MaybeAhead,
}

/// The right to write a record, held by nobody else on this host as long as this lives.
///
/// That the outbox may hold what the view lacks is noted in the locked file for the next process, should this one be
/// killed in between; whoever begins to write looks anyway.
#[derive(Debug)]
pub(crate) struct Writing<'l> {
    outbox: MutexGuard<'l, Outbox>,
    file: File,
    path: PathBuf,
}

impl Writing<'_> {
    /// Tells how the outbox stands beside the view.
    pub(crate) fn outbox(&self) -> Outbox {
        *self.outbox
    }

    /// Notes how the outbox stands from now on.
    pub(crate) fn note(&mut self, outbox: Outbox) -> Result<(), StateError> {
        let length = match outbox {
            Outbox::InView => 0,
            Outbox::MaybeAhead => 1,
        };
        self.file.set_len(length).map_err(failed("write", &self.path))?;
        *self.outbox = outbox;
        Ok(())
    }
}

/// Nobody else on this host sets a tier up, or records what is recorded once, as long as this lives.
#[derive(Debug)]
pub(crate) struct Settling<'l> {
    _here: MutexGuard<'l, ()>,
    _file: File,
}

/// Gives those who work in one process at the same time the right of one.
#[derive(Debug, Default)]
pub struct Lender(Mutex<Weak<Held>>);

impl Lender {
    /// Lends the right, which is taken if nobody here has it.
    pub fn lend(&self, state: &State) -> Result<StateLock, StateError> {
        let mut lent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lent.upgrade() {
            Some(held) if held.state.directory == state.directory => Ok(StateLock(held)),
            // A state of its own, as of a bare machine in a test, is nobody else's.
            Some(_) => state.lock(),
            None => {
                let lock = state.lock()?;
                *lent = Arc::downgrade(&lock.0);
                Ok(lock)
            }
        }
    }
}

impl StateLock {
    /// Returns the state that is locked.
    pub fn state(&self) -> &State {
        &self.0.state
    }

    /// Waits until nobody else writes a record; what is returned tells how the outbox stands, and is kept right.
    pub(crate) fn writing(&self) -> Result<Writing<'_>, StateError> {
        let mut outbox = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.state().wait_for("writing")?;
        let path = self.state().directory.join("writing");
        let noted = file.metadata().map_err(failed("read", &path))?;
        if noted.len() > 0 {
            *outbox = Outbox::MaybeAhead;
        }
        Ok(Writing { outbox, file, path })
    }

    /// Waits until nobody else sets a tier up, or records what is recorded once. Who works beside others leaves that to
    /// them, and gets nothing while they do.
    pub(crate) fn settling(&self) -> Result<Option<Settling<'_>>, StateError> {
        let here = self.0.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &self.0.file {
            Some(_) => Some(self.state().wait_for("settling")?),
            None => self.state().try_hold("settling")?,
        };
        Ok(file.map(|file| Settling { _here: here, _file: file }))
    }

    /// Returns who works here.
    pub(crate) fn at_work(&self) -> &AtWork {
        &self.0.at_work
    }

    /// Returns those of these jobs, which began and did not end, that nobody works on any more.
    pub(crate) fn abandoned(&self, began: Vec<JobId>) -> Result<Vec<JobId>, StateError> {
        let folder = self.state().directory.join("at-work");
        self.at_work().abandoned(began).map_err(failed("read", &folder))
    }

    /// Enters a job that works on these assets.
    pub(crate) fn enter(&self, job: JobId, assets: &[AssetName]) -> Result<Presence, StateError> {
        let folder = self.state().directory.join("at-work");
        self.at_work().enter(job, assets).map_err(failed("write", &folder))
    }

    /// Returns this host's writer; the first call makes it.
    pub fn writer(&self, now: Timestamp) -> Result<Writer, StateError> {
        let path = self.state().directory.join("writer.json");
        if let Some(bytes) = read_small(&path)? {
            let bytes = zeroize::Zeroizing::new(bytes);
            return Writer::from_stored(&bytes).ok_or(StateError::Damaged { path });
        }
        let writer = Writer::generate(now);
        durable::write_new(&path, &writer.to_stored(), PRIVATE_FILE)
            .map_err(failed("write", &path))?;
        Ok(writer)
    }

    /// Keeps which place this host is.
    pub(crate) fn keep_place(&self, place: &str) -> Result<(), StateError> {
        let path = self.state().place_path();
        durable::replace(&path, format!("{place}\n").as_bytes(), PRIVATE_FILE)
            .map_err(failed("write", &path))
    }

    fn lock_book_path(&self, tier: &TierName) -> PathBuf {
        self.state().directory.join("locks").join(tier.as_str())
    }

    /// Returns what is known of extended locks; nothing if that was lost.
    pub(crate) fn lock_book(&self, tier: &TierName) -> Result<String, StateError> {
        let path = self.lock_book_path(tier);
        match fs::read_to_string(&path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) if source.kind() == io::ErrorKind::InvalidData => Ok(String::new()),
            other => other.map_err(failed("read", &path)),
        }
    }

    /// Keeps what is known of extended locks.
    pub(crate) fn keep_lock_book(&self, tier: &TierName, text: &str) -> Result<(), StateError> {
        let path = self.lock_book_path(tier);
        let folder = self.state().directory.join("locks");
        durable::create_directories(&folder, PRIVATE_DIRECTORY)
            .map_err(failed("create", &folder))?;
        durable::replace(&path, text.as_bytes(), PRIVATE_FILE).map_err(failed("write", &path))
    }

    fn outbox(&self) -> PathBuf {
        self.state().outbox()
    }

    /// Keeps a record until it is on every tier; from then on it counts as written.
    pub(crate) fn keep_outgoing(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let outbox = self.outbox();
        durable::create_directories(&outbox, PRIVATE_DIRECTORY)
            .map_err(failed("create", &outbox))?;
        let path = outbox.join(name);
        durable::write_new(&path, bytes, PRIVATE_FILE).map_err(failed("write", &path))
    }

    /// Returns what is kept, by name.
    pub(crate) fn outgoing(&self) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let outbox = self.outbox();
        let entries = match fs::read_dir(&outbox) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed("list", &outbox))?,
        };
        let mut kept = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("list", &outbox))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if durable::is_temporary(&name) {
                continue;
            }
            if let Some(bytes) = read_small(&entry.path())? {
                kept.push((name, bytes));
            }
        }
        kept.sort();
        Ok(kept)
    }

    /// Forgets a kept record, since every tier has it.
    pub(crate) fn forget_outgoing(&self, name: &str) -> Result<(), StateError> {
        let path = self.outbox().join(name);
        durable::remove(&path).map_err(failed("remove", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_reads_it_and_the_writer_stays() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("lifeboat");
        let lock = State::open(&directory).unwrap().lock().unwrap();
        let first = lock.writer(Timestamp::UNIX_EPOCH).unwrap().id();
        assert_eq!(lock.writer(Timestamp::UNIX_EPOCH).unwrap().id(), first);
        lock.keep_outgoing("a", b"1").unwrap();
        assert_eq!(lock.outgoing().unwrap(), [("a".to_owned(), b"1".to_vec())]);
        assert_eq!(mode(&directory), 0o700);
        for file in ["version", "lock", "writer.json", "outbox/a"] {
            assert_eq!(mode(&directory.join(file)), 0o600, "{file}");
        }
        lock.forget_outgoing("a").unwrap();
        assert!(lock.outgoing().unwrap().is_empty());
    }

    #[test]
    fn one_process_writes_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        let held = state.lock().unwrap();
        assert_eq!(state.lock().unwrap_err().exit(), Exit::Locked);
        drop(held);
        assert!(state.lock().is_ok());
    }

    #[test]
    fn who_works_beside_waits_for_moments_only_and_leaves_settling_to_others() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        let held = state.lock().unwrap();
        let beside = state.beside();
        let settling = held.settling().unwrap();
        assert!(settling.is_some() && beside.settling().unwrap().is_none());
        drop(settling);
        assert!(beside.settling().unwrap().is_some());
        held.writing().unwrap().note(Outbox::InView).unwrap();
        assert_eq!(held.writing().unwrap().outbox(), Outbox::InView);
        // Killed between outbox and view.
        beside.writing().unwrap().note(Outbox::MaybeAhead).unwrap();
        assert_eq!(held.writing().unwrap().outbox(), Outbox::MaybeAhead);
    }

    #[test]
    fn who_works_in_one_process_shares_the_right_until_the_last_is_done() {
        let home = tempfile::tempdir().unwrap();
        let (state, lender) = (State::open(home.path()).unwrap(), Lender::default());
        let first = lender.lend(&state).unwrap();
        let second = lender.lend(&state).unwrap();
        drop(first);
        assert_eq!(state.lock().unwrap_err().exit(), Exit::Locked);
        drop(second);
        let other = state.lock().unwrap();
        assert_eq!(lender.lend(&state).unwrap_err().exit(), Exit::Locked);
        drop(other);
        assert!(lender.lend(&state).is_ok());
    }

    #[test]
    fn two_daemons_never_serve_one_state() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        let held = state.lock_daemon().unwrap();
        let error = state.lock_daemon().unwrap_err();
        assert!(matches!(error, StateError::Served { .. }), "{error}");
        assert_eq!(error.exit(), Exit::Locked);
        assert!(state.lock().is_ok(), "others may work beside it");
        drop(held);
        assert!(state.lock_daemon().is_ok());
    }

    #[test]
    fn newer_state_is_refused_and_not_touched() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("version");
        durable::replace(&path, b"2\n", 0o600).unwrap();
        let error = State::open(home.path()).unwrap_err();
        assert!(matches!(error, StateError::Newer { found: 2, .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"2\n");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        durable::replace(&path, b"x", 0o600).unwrap();
        assert!(matches!(State::open(home.path()), Err(StateError::Damaged { .. })));
    }
}
