//! The journal in SQLite: [`Journal`], every change of which is one transaction.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeboat_model::{AssetName, JobId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use super::{ATTEMPTS_MAX, Job, JobState, JournalError, KEPT_MAX};
use crate::ending::Ending;
use crate::schedule::{Due, History, Past, Pause, Task};
use crate::wal::stillness::Stillness;
use crate::watch::Kept;

/// The version of the tables; older ones are brought up to it, one version at a time.
const TABLES_VERSION: i32 = 3;

/// How long is waited for another process, which holds the file for a row at a time.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What brings the tables from each version to the next.
const STEPS: [&str; 3] = [
    "
    CREATE TABLE tasks (
        task TEXT PRIMARY KEY,
        since_us INTEGER NOT NULL,
        slot_us INTEGER,
        ended_us INTEGER,
        failures INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        task TEXT,
        queued_us INTEGER NOT NULL,
        job TEXT NOT NULL
    );
    CREATE INDEX jobs_by_state ON jobs (state, number);
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
",
    "ALTER TABLE tasks ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;",
    "CREATE INDEX jobs_by_task ON jobs (task, number);",
];

/// The journal of one state directory.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Journal {
    /// Opens or makes the journal at `path`.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let path = path.to_owned();
        // Made here, since SQLite would make it readable for everybody.
        let made =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        made.map_err(|source| JournalError::Create { path: path.clone(), source })?;
        let wrap = |source| JournalError::Sqlite { path: path.clone(), source };
        let mut connection = Connection::open(&path).map_err(wrap)?;
        let version = prepare(&mut connection).map_err(wrap)?;
        if version > TABLES_VERSION {
            return Err(JournalError::Newer { path });
        }
        Ok(Self { path, connection: Mutex::new(connection) })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transact<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let mut connection = self.connection();
        let done =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|open| {
                let done = work(&open)?;
                open.commit()?;
                Ok(done)
            });
        done.map_err(|source| JournalError::Sqlite { path: self.path.clone(), source })
    }

    /// Returns what was done of these tasks; those that are new begin now.
    pub fn history(&self, tasks: &[Task], now: Timestamp) -> Result<History, JournalError> {
        // A task of another plan stays, in case that plan comes back, and concerns nobody meanwhile.
        let known = self.known_history(tasks)?;
        if tasks.iter().all(|task| known.contains_key(task)) {
            return Ok(known);
        }
        self.transact(|open| {
            for task in tasks {
                open.prepare_cached(
                    "INSERT OR IGNORE INTO tasks (task, since_us, failures) VALUES (?1, ?2, 0)",
                )?
                .execute(params![task.to_string(), now.as_microsecond()])?;
            }
            Ok(())
        })?;
        self.known_history(tasks)
    }

    /// Returns what was done of those of these tasks that were seen before.
    pub fn known_history(&self, tasks: &[Task]) -> Result<History, JournalError> {
        let rows = self.transact(all_tasks)?;
        let known = rows.into_iter().filter_map(|(task, past)| Some((task.parse().ok()?, past)));
        Ok(known.filter(|(task, _)| tasks.contains(task)).collect())
    }

    /// Keeps what was set right after the clock was.
    pub fn keep(&self, history: &History) -> Result<(), JournalError> {
        self.transact(|open| {
            for (task, past) in history {
                open.prepare_cached(
                    "UPDATE tasks SET since_us = ?2, slot_us = ?3, ended_us = ?4, failures = ?5, tries = ?6
                     WHERE task = ?1",
                )?
                .execute(params![
                    task.to_string(),
                    past.since.as_microsecond(),
                    past.slot.map(Timestamp::as_microsecond),
                    past.ended.map(Timestamp::as_microsecond),
                    past.failures,
                    past.tries
                ])?;
            }
            Ok(())
        })
    }

    /// Queues what is due: its time is taken up with that.
    pub fn take_up(&self, due: &Due, job: &Job) -> Result<(), JournalError> {
        self.transact(|open| {
            let slot = due.slot.as_microsecond();
            open.prepare_cached("UPDATE tasks SET slot_us = ?2, tries = 0 WHERE task = ?1")?
                .execute(params![due.task.to_string(), slot])?;
            insert(open, job)
        })
    }

    /// Queues a job that somebody asked for.
    pub fn queue(&self, job: &Job) -> Result<(), JournalError> {
        self.transact(|open| insert(open, job))
    }

    /// Begins a job; `false` if it does not wait any more.
    pub fn begin(
        &self,
        id: JobId,
        now: Timestamp,
        lease: Timestamp,
    ) -> Result<Option<Job>, JournalError> {
        self.change(id, |job| {
            if job.state != JobState::Queued {
                return false;
            }
            (job.state, job.started, job.lease) = (JobState::Running, Some(now), Some(lease));
            true
        })
    }

    /// Vouches for what runs for a while longer.
    pub fn renew(&self, id: JobId, lease: Timestamp) -> Result<(), JournalError> {
        let renewed = self.change(id, |job| {
            let is_running = job.state == JobState::Running;
            if is_running {
                job.lease = Some(lease);
            }
            is_running
        });
        renewed.map(drop)
    }

    /// Lets a job that was begun wait again, for what it says.
    pub fn put_back(&self, id: JobId, message: &str) -> Result<(), JournalError> {
        let back = self.change(id, |job| {
            let is_running = job.state == JobState::Running;
            if is_running {
                (job.state, job.started, job.lease) = (JobState::Queued, None, None);
                job.message = Some(message.to_owned());
            }
            is_running
        });
        back.map(drop)
    }

    /// Ends a job that runs.
    pub fn end(
        &self,
        id: JobId,
        now: Timestamp,
        (ending, message): (Ending, Option<&str>),
    ) -> Result<Option<Job>, JournalError> {
        self.transact(|open| {
            let Some(mut job) = find(open, id)? else { return Ok(None) };
            if job.state != JobState::Running {
                return Ok(None);
            }
            (job.state, job.ending, job.ended) = (JobState::of(ending), Some(ending), Some(now));
            (job.lease, job.message) = (None, message.map(str::to_owned));
            update(open, &job)?;
            settle(open, &job, now)?;
            sweep(open)?;
            Ok(Some(job))
        })
    }

    /// Cancels a job that waits; returns the job as it stands then.
    pub fn cancel(&self, id: JobId, now: Timestamp) -> Result<Option<Job>, JournalError> {
        self.change(id, |job| {
            let waits = job.state == JobState::Queued;
            if waits {
                (job.state, job.ending) = (JobState::Cancelled, Some(Ending::Cancelled));
                job.ended = Some(now);
            }
            waits
        })?;
        self.get(id)
    }

    /// Marks what runs as lost and queues it again, under an id of its own, unless it was begun too often. Only for who
    /// holds the daemon's lock.
    pub fn recover(
        &self,
        now: Timestamp,
        new_id: impl Fn() -> JobId,
    ) -> Result<Vec<Job>, JournalError> {
        self.transact(|open| {
            let running = select(open, JobState::Running)?;
            for job in &running {
                let mut lost = job.clone();
                (lost.state, lost.ending, lost.ended) =
                    (JobState::Lost, Some(Ending::Interrupted), Some(now));
                lost.lease = None;
                update(open, &lost)?;
                if job.attempt < ATTEMPTS_MAX {
                    let mut again = Job::queued(new_id(), job.work.clone(), now);
                    (again.slot, again.missed) = (job.slot, job.missed);
                    (again.attempt, again.asked_by) = (job.attempt + 1, job.asked_by.clone());
                    insert(open, &again)?;
                } else {
                    settle(open, &lost, now)?;
                }
            }
            Ok(running)
        })
    }

    /// Returns what waits or runs, in the order in which it was queued.
    pub fn open_jobs(&self) -> Result<Vec<Job>, JournalError> {
        self.transact(|open| {
            let mut jobs = select(open, JobState::Running)?;
            jobs.extend(select(open, JobState::Queued)?);
            Ok(jobs)
        })
    }

    /// Returns the newest jobs that ended, the newest first.
    pub fn ended(&self, limit: u32) -> Result<Vec<Job>, JournalError> {
        self.transact(|open| {
            let mut statement = open.prepare_cached(
                "SELECT job FROM jobs WHERE state NOT IN ('queued', 'running')
                 ORDER BY number DESC LIMIT ?1",
            )?;
            let rows = statement.query_map([limit], job)?;
            rows.collect()
        })
    }

    /// Returns a job.
    pub fn get(&self, id: JobId) -> Result<Option<Job>, JournalError> {
        self.transact(|open| find(open, id))
    }

    /// Returns the last job of each task that ended.
    pub fn last_of(&self, task: &Task) -> Result<Option<Job>, JournalError> {
        self.transact(|open| {
            open.prepare_cached(
                "SELECT job FROM jobs WHERE task = ?1 AND state NOT IN ('queued', 'running')
                 ORDER BY number DESC LIMIT 1",
            )?
            .query_row([task.to_string()], job)
            .optional()
        })
    }

    /// Returns the pause that was asked for last, whether or not it is over.
    pub fn pause(&self) -> Result<Option<Pause>, JournalError> {
        let text = self.setting("pause")?;
        let damaged = |_| JournalError::Damaged { path: self.path.clone() };
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(damaged)
    }

    /// Begins a pause, or ends it.
    pub fn set_pause(&self, pause: Option<&Pause>) -> Result<(), JournalError> {
        let text = pause.map(|pause| serde_json::to_string(pause).expect("a pause is JSON"));
        self.set("pause", text.as_deref())
    }

    /// Returns where the last daemon listened.
    pub fn socket(&self) -> Result<Option<PathBuf>, JournalError> {
        Ok(self.setting("socket")?.map(PathBuf::from))
    }

    /// Keeps where the daemon listens; a path that is not text is found by nobody.
    pub(crate) fn keep_socket(&self, path: &Path) -> Result<(), JournalError> {
        self.set("socket", path.to_str())
    }

    /// Returns what is remembered of a watched asset.
    pub fn watched(&self, asset: &AssetName) -> Result<Option<Kept>, JournalError> {
        let text = self.setting(&watched(asset))?;
        let damaged = |_| JournalError::Damaged { path: self.path.clone() };
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(damaged)
    }

    /// Remembers it.
    pub fn keep_watched(&self, asset: &AssetName, kept: &Kept) -> Result<(), JournalError> {
        let text = serde_json::to_string(kept).expect("it is JSON");
        self.set(&watched(asset), Some(&text))
    }

    /// Returns through which time nothing was committed on an asset's server.
    pub fn stillness(&self, asset: &AssetName) -> Result<Option<Stillness>, JournalError> {
        let text = self.setting(&stillness(asset))?;
        let damaged = |_| JournalError::Damaged { path: self.path.clone() };
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(damaged)
    }

    /// Remembers it, or that nothing is known.
    pub fn keep_stillness(
        &self,
        asset: &AssetName,
        kept: Option<&Stillness>,
    ) -> Result<(), JournalError> {
        let text = kept.map(|kept| serde_json::to_string(kept).expect("it is JSON"));
        self.set(&stillness(asset), text.as_deref())
    }

    fn setting(&self, name: &str) -> Result<Option<String>, JournalError> {
        self.transact(|open| {
            open.query_row("SELECT value FROM settings WHERE name = ?1", [name], |row| row.get(0))
                .optional()
        })
    }

    fn set(&self, name: &str, value: Option<&str>) -> Result<(), JournalError> {
        self.transact(|open| {
            match value {
                None => open.execute("DELETE FROM settings WHERE name = ?1", [name]),
                Some(value) => {
                    open.execute("INSERT OR REPLACE INTO settings VALUES (?1, ?2)", [name, value])
                }
            }
            .map(drop)
        })
    }

    /// Changes a job, if `change` says so; returns it as it is then.
    fn change(
        &self,
        id: JobId,
        change: impl FnOnce(&mut Job) -> bool,
    ) -> Result<Option<Job>, JournalError> {
        self.transact(|open| {
            let Some(mut job) = find(open, id)? else { return Ok(None) };
            if !change(&mut job) {
                return Ok(None);
            }
            update(open, &job)?;
            Ok(Some(job))
        })
    }
}

/// Returns the name under which is kept what is remembered of a watched asset.
fn watched(asset: &AssetName) -> String {
    format!("watched:{asset}")
}

/// Returns the name under which is kept through which time a server was seen to rest.
fn stillness(asset: &AssetName) -> String {
    format!("stillness:{asset}")
}

fn all_tasks(open: &Transaction<'_>) -> rusqlite::Result<Vec<(String, Past)>> {
    let mut rows = open
        .prepare_cached("SELECT task, since_us, slot_us, ended_us, failures, tries FROM tasks")?;
    let rows = rows.query_map([], past)?;
    rows.collect()
}

/// Makes the tables, or brings them up to this version; returns which version they have then.
fn prepare(connection: &mut Connection) -> rusqlite::Result<i32> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A job that was begun must not be forgotten: it would be begun again beside itself.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let open = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i32 = open.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(0);
    if done >= STEPS.len() {
        return Ok(version);
    }
    for step in &STEPS[done..] {
        open.execute_batch(step)?;
    }
    open.pragma_update(None, "user_version", TABLES_VERSION)?;
    open.commit()?;
    Ok(TABLES_VERSION)
}

fn insert(open: &Transaction<'_>, job: &Job) -> rusqlite::Result<()> {
    open.prepare_cached(
        "INSERT INTO jobs (id, state, task, queued_us, job) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        job.id.to_string(),
        job.state.as_str(),
        job.task().map(ToString::to_string),
        job.queued.as_microsecond(),
        to_text(job)
    ])
    .map(drop)
}

fn update(open: &Transaction<'_>, job: &Job) -> rusqlite::Result<()> {
    open.prepare_cached("UPDATE jobs SET state = ?2, job = ?3 WHERE id = ?1")?
        .execute(params![job.id.to_string(), job.state.as_str(), to_text(job)])
        .map(drop)
}

fn to_text(job: &Job) -> String {
    serde_json::to_string(job).expect("a job is JSON")
}

fn find(open: &Transaction<'_>, id: JobId) -> rusqlite::Result<Option<Job>> {
    open.prepare_cached("SELECT job FROM jobs WHERE id = ?1")?
        .query_row([id.to_string()], job)
        .optional()
}

fn select(open: &Transaction<'_>, state: JobState) -> rusqlite::Result<Vec<Job>> {
    let mut statement =
        open.prepare_cached("SELECT job FROM jobs WHERE state = ?1 ORDER BY number")?;
    let rows = statement.query_map([state.as_str()], job)?;
    rows.collect()
}

/// Takes note for a task that its job ended.
fn settle(open: &Transaction<'_>, job: &Job, now: Timestamp) -> rusqlite::Result<()> {
    let Some(task) = job.task() else { return Ok(()) };
    let failures = match job.state {
        JobState::Succeeded => "0",
        _ => "failures + 1",
    };
    // Only what failed at its time may be tried again: not what somebody stopped, nor what brought the daemon down.
    let tries = match (job.ending, job.slot) {
        (Some(Ending::Failed), Some(_)) => Some(job.attempt),
        (Some(Ending::Succeeded), _) | (_, Some(_)) => Some(0),
        (_, None) => None,
    };
    let sql = format!(
        "UPDATE tasks SET ended_us = ?2, failures = {failures}, tries = COALESCE(?3, tries)
         WHERE task = ?1"
    );
    let values = params![task.to_string(), now.as_microsecond(), tries];
    open.prepare_cached(&sql)?.execute(values).map(drop)
}

/// Lets go of what ended long ago, but never of what a task did last: a busy asset's captures push out no yearly drill.
fn sweep(open: &Transaction<'_>) -> rusqlite::Result<()> {
    open.prepare_cached(
        "DELETE FROM jobs WHERE state NOT IN ('queued', 'running')
         AND number <= (SELECT max(number) FROM jobs) - ?1
         AND (task IS NULL OR EXISTS (
             SELECT 1 FROM jobs later WHERE later.task = jobs.task AND later.number > jobs.number
               AND later.state NOT IN ('queued', 'running')))",
    )?
    .execute([KEPT_MAX])
    .map(drop)
}

/// Reads a job; a text that is none is an error of its column.
fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let text: String = row.get(0)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn past(row: &Row<'_>) -> rusqlite::Result<(String, Past)> {
    let instant = |at: i64| Timestamp::from_microsecond(at).unwrap_or(Timestamp::MIN);
    let slot: Option<i64> = row.get(2)?;
    let ended: Option<i64> = row.get(3)?;
    let past = Past {
        since: instant(row.get(1)?),
        slot: slot.map(instant),
        ended: ended.map(instant),
        failures: row.get(4)?,
        tries: row.get(5)?,
    };
    Ok((row.get(0)?, past))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Work;

    #[test]
    fn what_a_task_did_last_is_kept_however_much_others_do() {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::open(&home.path().join("jobs.sqlite")).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let new = |task: &str| {
            let id = JobId::from_uuid(crate::surroundings::uuid_v7(now));
            Job::queued(id, Work::Task { task: task.parse().unwrap() }, now)
        };
        let end = |job: &Job| {
            journal.begin(job.id, now, now).unwrap();
            journal.end(job.id, now, (Ending::Succeeded, None)).unwrap();
        };
        let (first, last) = (new("drill:spring"), new("drill:spring"));
        for drill in [&first, &last] {
            journal.queue(drill).unwrap();
            end(drill);
        }
        let captures: Vec<_> = (0..=KEPT_MAX).map(|_| new("capture:media")).collect();
        let queued = |open: &Transaction<'_>| captures.iter().try_for_each(|job| insert(open, job));
        journal.transact(queued).unwrap();
        end(&captures[0]);
        end(&captures[1]);
        assert!(journal.get(first.id).unwrap().is_none(), "it is not what the drill did last");
        let kept = journal.last_of(&"drill:spring".parse().unwrap()).unwrap();
        assert_eq!(kept.map(|job| job.id), Some(last.id));
    }
}
