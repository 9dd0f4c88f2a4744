//! The runs of a site in its state directory, and who drives.
//!
//! ```text
//! runs/driver          held, and written to, by the process that drives a run
//! runs/<run>/journal   all that is known of a run
//! runs/<run>/commands  a note of each command of its steps that runs
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use lifeboat_model::RunId;
use lifeboat_plan::plan::runbook::RunKind;
use lifeboat_runbook::journal::Damage;
use lifeboat_runbook::{Entry, Fact, Journal as _, JournalError, Operator, Outcome};
use lifeboat_tiers::durable;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::ProcedureError;
use super::conduct::KIND_OF_RUN;
use super::journal_file::JournalFile;
use crate::error::OpsError;
use crate::state::State;
use crate::wire::Site;

/// Only the owner of the state may look.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// How often somebody who only looks at who drives is waited for: a look takes some microseconds.
const LOOKS_MAX: usize = 10_000;

/// No more is read of who drives.
const OPERATOR_SIZE_MAX: u64 = 4096;

/// The runs of a site. What is in a directory that bears no run's id was set aside by a person.
#[derive(Debug, Clone)]
pub struct Runs {
    directory: PathBuf,
}

/// A run that is known.
#[derive(Debug, Clone)]
pub struct KnownRun {
    /// Which run.
    pub id: RunId,
    /// What was written of it; nothing, if that is damaged.
    pub entries: Vec<Entry>,
    /// What is damaged of it.
    pub damage: Option<Damage>,
    /// Whether another one was declared later, which is done only once this one is over.
    pub is_followed: bool,
}

impl KnownRun {
    /// Tells whether it is over.
    pub fn is_over(&self) -> bool {
        let is_followed = self.damage.is_some() && self.is_followed;
        is_followed || self.entries.iter().any(|entry| matches!(entry.fact, Fact::Finished { .. }))
    }

    /// Tells whether it is done in earnest.
    pub(crate) fn is_recovery(&self) -> bool {
        self.about(KIND_OF_RUN).is_none_or(|kind| kind == RunKind::Recovery.to_string())
    }

    /// Tells whether it was given up.
    pub(crate) fn was_aborted(&self) -> bool {
        let aborted = Fact::Finished { outcome: Outcome::Aborted };
        self.entries.iter().any(|entry| entry.fact == aborted)
    }

    /// Returns something that it was declared with.
    pub fn about(&self, key: &str) -> Option<&str> {
        match &self.entries.first()?.fact {
            Fact::Began(began) => began.about.get(key).map(String::as_str),
            _ => None,
        }
    }
}

impl Runs {
    /// Finds the recoveries in the state of a site, or makes the place for them.
    pub fn of(site: &Site) -> Result<Self, ProcedureError> {
        Self::at(State::open(&site.surroundings().state_directory)?.runs_path())
    }

    /// Finds the runs of drills that are over, which lie beside what else is left of those.
    pub(crate) fn of_drills(site: &Site) -> Result<Self, ProcedureError> {
        Self::at(State::open(&site.surroundings().state_directory)?.drills_path())
    }

    fn at(directory: PathBuf) -> Result<Self, ProcedureError> {
        durable::create_directories(&directory, PRIVATE_DIRECTORY)
            .map_err(failed("create", &directory))?;
        Ok(Self { directory })
    }

    /// Returns the journal of a run, for which a place is made.
    pub fn journal(&self, run: RunId) -> Result<JournalFile, ProcedureError> {
        let directory = self.directory.join(run.to_string());
        durable::create_directories(&directory, PRIVATE_DIRECTORY)
            .map_err(failed("create", &directory))?;
        Ok(JournalFile::new(directory.join("journal")))
    }

    /// Returns where it is noted which commands of a run's steps run, for which a place is made.
    pub(super) fn commands(&self, run: RunId) -> Result<PathBuf, ProcedureError> {
        let directory = self.directory.join(run.to_string()).join("commands");
        durable::create_directories(&directory, PRIVATE_DIRECTORY)
            .map_err(failed("create", &directory))?;
        Ok(directory)
    }

    /// Returns all runs that were declared, the oldest first.
    pub fn all(&self) -> Result<Vec<KnownRun>, ProcedureError> {
        let read = self.ids()?.into_iter().filter_map(|id| self.read(id).transpose());
        let mut all = read.collect::<Result<Vec<_>, _>>()?;
        if let Some((_, followed)) = all.split_last_mut() {
            for run in followed {
                run.is_followed = true;
            }
        }
        Ok(all)
    }

    /// Returns the ids of all runs for which a place was made, the oldest first; their names are ordered by time.
    fn ids(&self) -> Result<Vec<RunId>, ProcedureError> {
        let entries = fs::read_dir(&self.directory).map_err(failed("read", &self.directory))?;
        let mut ids: Vec<RunId> =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Reads a run; nothing, if it was not declared.
    fn read(&self, id: RunId) -> Result<Option<KnownRun>, ProcedureError> {
        let (entries, damage) = match self.journal(id)?.read(0, None) {
            Ok(entries) => (entries, None),
            Err(JournalError::Damaged(damage)) => (Vec::new(), Some(damage)),
            Err(error) => return Err(error.into()),
        };
        let was_declared = !entries.is_empty() || damage.is_some();
        Ok(was_declared.then_some(KnownRun { id, entries, damage, is_followed: false }))
    }

    /// Returns the run that was declared last, which alone can be open: one is declared only once those before it are over.
    /// Damage to these stands in nobody's way, to the last it does.
    fn newest(&self) -> Result<Option<KnownRun>, ProcedureError> {
        let mut newest = self.ids()?.into_iter().rev().filter_map(|id| self.read(id).transpose());
        let Some(newest) = newest.next().transpose()? else { return Ok(None) };
        match newest.damage {
            None => Ok(Some(newest)),
            Some(source) => {
                let (run, directory) = (newest.id, self.directory.join(newest.id.to_string()));
                Err(ProcedureError::DamagedRun { run, directory, source })
            }
        }
    }

    /// Returns the run that is not over.
    pub fn open_run(&self) -> Result<Option<KnownRun>, ProcedureError> {
        Ok(self.newest()?.filter(|run| !run.is_over()))
    }

    /// Returns the run that is not over, or the last one.
    pub fn latest(&self) -> Result<KnownRun, ProcedureError> {
        self.newest()?.ok_or(ProcedureError::NoRun)
    }

    /// Takes the right to drive; whoever has it is named.
    pub fn drive(&self, operator: &Operator) -> Result<Driver, ProcedureError> {
        let path = self.directory.join("driver");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(durable::PRIVATE);
        let mut file = options.open(&path).map_err(failed("open", &path))?;
        match is_taken(&file) {
            Ok(false) => {}
            Ok(true) => {
                let by = who(&file).unwrap_or_else(|| "somebody who is just beginning".to_owned());
                return Err(ProcedureError::Driven { by });
            }
            Err(errno) => return Err(failed("lock", &path)(errno.into())),
        }
        let write = |file: &mut File| -> io::Result<()> {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(operator.to_string().as_bytes())
        };
        write(&mut file).map_err(failed("write", &path))?;
        Ok(Driver { _file: file })
    }

    /// Returns who drives now, if anybody does.
    pub fn driver(&self) -> Option<String> {
        let file = File::open(self.directory.join("driver")).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => who(&file),
            _ => None,
        }
    }
}

/// Takes the lock of whoever drives, unless somebody else does. Whoever only looks holds it too, shared and
/// for a moment, and is waited for.
fn is_taken(file: &File) -> Result<bool, Errno> {
    for _ in 0..LOOKS_MAX {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(false),
            Err(Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(errno),
        }
        match flock(file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => flock(file, FlockOperation::Unlock)?,
            Err(Errno::WOULDBLOCK) => return Ok(true),
            Err(errno) => return Err(errno),
        }
        std::thread::yield_now();
    }
    Ok(true)
}

fn who(file: &File) -> Option<String> {
    let mut text = String::new();
    file.take(OPERATOR_SIZE_MAX).read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}

/// The right to drive a run; given back when dropped, also by a kill.
#[derive(Debug)]
pub struct Driver {
    _file: File,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProcedureError {
    let path = path.to_owned();
    move |source| ProcedureError::Ops(OpsError::Io { action, path, source })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lifeboat_model::{Classify as _, RunbookId, Timestamp};
    use lifeboat_runbook::entry::{Began, FORMAT};

    use super::*;

    /// Declares a run that is over, and returns where its journal is.
    fn over(runs: &Runs, number: u128) -> (RunId, PathBuf) {
        let id = RunId::from_uuid(uuid::Uuid::from_u128(number));
        let journal = runs.journal(id).unwrap();
        let (time, runbook) = (Timestamp::UNIX_EPOCH, RunbookId::from_bytes([7; 32]));
        let about = BTreeMap::new();
        let began = Began { format: FORMAT, run: id, runbook, declared: time, about };
        let first = Entry { sequence: 0, time, before: None, fact: Fact::Began(began) };
        journal.append(&first).unwrap();
        let fact = Fact::Finished { outcome: Outcome::Aborted };
        journal.append(&Entry { sequence: 1, time, before: Some(first.id()), fact }).unwrap();
        (id, runs.directory.join(id.to_string()).join("journal"))
    }

    #[test]
    fn damage_to_the_journal_of_an_old_run_stands_in_nobodys_way_and_to_the_newest_is_named() {
        let home = tempfile::tempdir().unwrap();
        let runs = Runs { directory: home.path().to_owned() };
        let ((old, of_old), (new, of_new)) = (over(&runs, 1), over(&runs, 2));
        let flip = |path: &Path| {
            let text = fs::read_to_string(path).unwrap().replacen("1970", "1971", 1);
            File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
        };
        flip(&of_old);
        let damaged: Vec<_> =
            runs.all().unwrap().iter().map(|run| (run.id, run.damage.is_some())).collect();
        assert_eq!(damaged, [(old, true), (new, false)]);
        assert!(runs.open_run().unwrap().is_none());
        assert_eq!(runs.latest().unwrap().id, new);
        flip(&of_new);
        let refused = runs.open_run().unwrap_err();
        let directory = of_new.parent().unwrap();
        assert!(refused.to_string().contains(directory.to_str().unwrap()), "{refused}");
        let aside = directory.with_extension("damaged");
        assert!(refused.hint().unwrap().to_string().contains(aside.to_str().unwrap()));
        rustix::fs::rename(directory, &aside).unwrap();
        assert!(runs.open_run().is_err(), "the other one is the newest now");
    }

    #[test]
    fn the_second_who_drives_is_told_who_the_first_is_and_looking_is_no_driving() {
        let home = tempfile::tempdir().unwrap();
        let runs = Runs { directory: home.path().to_owned() };
        let operator = |login: &str| Operator {
            login: login.to_owned(),
            host: "web-1".to_owned(),
            process: 7,
        };
        assert_eq!(runs.driver(), None);
        let driver = runs.drive(&operator("alice")).unwrap();
        let refused = runs.drive(&operator("bob")).unwrap_err();
        assert_eq!(refused.to_string(), "the run is driven by alice on web-1 (process 7)");
        assert_eq!(runs.driver().as_deref(), Some("alice on web-1 (process 7)"));
        drop(driver);
        assert_eq!(runs.driver(), None, "what it wrote stays, and says nothing any more");
        std::thread::scope(|scope| {
            let looks = scope.spawn(|| (0..2000).filter(|_| runs.driver().is_some()).count());
            for _ in 0..200 {
                drop(runs.drive(&operator("bob")).unwrap());
            }
            looks.join().unwrap();
        });
    }
}
