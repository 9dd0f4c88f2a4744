//! The state directory: this host's memory, which may be lost without losing any data.
//!
//! ```text
//! version           the version of this layout, written first
//! lock              held by the process that writes here
//! daemon            held by the daemon, as long as it runs
//! jobs.sqlite       what is to be done, what runs, and what became of what was done
//! writer.json       who this host is among the writers of the catalog
//! catalog.sqlite    the local view of the catalog
//! outbox/           records that are not on every tier yet
//! runs/             the journals of recoveries: the one thing here that is nowhere else while a run is open
//! place             which place of the plan this host is, where an operator said so
//! locks/            until when objects of a tier are locked, where that was extended; a file a tier
//! ```
//!
//! [`State::open`] is enough to read; whoever writes asks for the [`StateLock`] and keeps it. The jobs of one process that
//! work at the same time share it: a [`Lender`] takes it with the first and gives it back with the last.
//! Everything in it can be read by its owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lifeboat_model::{Classify, ErrorKind, Exit, Hint, TierName, Timestamp};
use lifeboat_tiers::durable;
use rustix::fs::{FlockOperation, flock};

use crate::at_work::AtWork;
use crate::writer::Writer;

/// The version of the layout that this version writes.
const VERSION: u32 = 1;
const PRIVATE_DIRECTORY: u32 = 0o700;
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
            Self::Newer { .. } | Self::Locked { .. } | Self::Served { .. } => ErrorKind::Conflict,
            Self::Damaged { .. } => ErrorKind::Corrupt,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Locked { .. } | Self::Served { .. } => Exit::Locked,
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
        Ok(StateLock(Arc::new(Held {
            state: self.clone(),
            writing: Mutex::new(Outbox::MaybeAhead),
            settling: Mutex::new(()),
            at_work: AtWork::default(),
            _file: file,
        })))
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
        let path = self.directory.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(PRIVATE_FILE);
        let file = options.open(&path).map_err(failed("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(held(self.directory.clone())),
            Err(errno) => Err(failed("lock", &path)(errno.into())),
        }
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
    _file: File,
}

/// How the outbox stands beside the catalog's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outbox {
    /// The view has all that is in it.
    InView,
    /// It may hold a record that the view lacks.
    MaybeAhead,
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
    pub(crate) fn writing(&self) -> MutexGuard<'_, Outbox> {
        self.0.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else sets a tier up, or records what is recorded once.
    pub(crate) fn settling(&self) -> MutexGuard<'_, ()> {
        self.0.settling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns who works here.
    pub(crate) fn at_work(&self) -> &AtWork {
        &self.0.at_work
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
