//! The journal: what is queued is done once, whatever happens in between.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use lifeboat_model::JobId;
use proptest::prelude::*;

use super::*;
use crate::schedule::{Due, Pause};
use crate::surroundings::uuid_v7;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn id(second: i64) -> JobId {
    JobId::from_uuid(uuid_v7(at(second)))
}

fn task() -> Task {
    "backup:hourly".parse().unwrap()
}

fn due(second: i64) -> Due {
    Due { task: task(), slot: at(second), missed: 2, attempt: 1, held: None }
}

fn job(second: i64) -> Job {
    let mut job = Job::queued(id(second), Work::Task { task: task() }, at(second));
    (job.slot, job.missed) = (Some(at(second)), 2);
    job
}

fn journal() -> (tempfile::TempDir, Journal) {
    let home = tempfile::tempdir().unwrap();
    let journal = Journal::open(&home.path().join("jobs.sqlite")).unwrap();
    (home, journal)
}

#[test]
fn a_job_is_begun_by_one_and_ends_once() {
    let (home, journal) = journal();
    let tasks = [task()];
    assert_eq!(journal.history(&tasks, at(0)).unwrap()[&task()].since, at(0));
    let job = job(10);
    journal.take_up(&due(10), &job).unwrap();
    assert_eq!(journal.history(&tasks, at(99)).unwrap()[&task()].slot, Some(at(10)));
    let other = Journal::open(&home.path().join("jobs.sqlite")).unwrap();
    let begun = journal.begin(job.id, at(11), at(71)).unwrap().unwrap();
    assert_eq!((begun.state, begun.started), (JobState::Running, Some(at(11))));
    assert_eq!(other.begin(job.id, at(12), at(72)).unwrap(), None, "by another");
    other.renew(job.id, at(100)).unwrap();
    assert_eq!(other.open_jobs().unwrap()[0].lease, Some(at(100)));
    let failed = (Ending::Failed, Some("no tier"));
    assert!(journal.end(job.id, at(20), failed).unwrap().is_some());
    assert_eq!(journal.end(job.id, at(21), (Ending::Succeeded, None)).unwrap(), None);
    let past = journal.history(&tasks, at(99)).unwrap()[&task()];
    assert_eq!((past.ended, past.failures), (Some(at(20)), 1));
    let ended = journal.last_of(&task()).unwrap().unwrap();
    assert_eq!((ended.state, ended.message.as_deref()), (JobState::Failed, Some("no tier")));
    assert_eq!(journal.ended(9).unwrap(), [ended]);
}

#[test]
fn what_a_dead_daemon_ran_is_lost_and_done_again_a_few_times() {
    let (_home, journal) = journal();
    journal.history(&[task()], at(0)).unwrap();
    journal.take_up(&due(10), &job(10)).unwrap();
    for attempt in 1..=ATTEMPTS_MAX {
        let [job]: [Job; 1] = journal.open_jobs().unwrap().try_into().unwrap();
        assert_eq!((job.attempt, job.slot, job.missed), (attempt, Some(at(10)), 2));
        journal.begin(job.id, at(20), at(80)).unwrap().unwrap();
        let lost = journal.recover(at(30), || id(30)).unwrap();
        assert_eq!(lost.len(), 1);
        let lost = journal.get(job.id).unwrap().unwrap();
        assert_eq!((lost.state, lost.ending), (JobState::Lost, Some(Ending::Interrupted)));
    }
    assert_eq!(journal.open_jobs().unwrap(), []);
    assert_eq!(journal.history(&[task()], at(40)).unwrap()[&task()].failures, 1);
}

#[test]
fn what_failed_at_its_time_may_be_tried_again_and_what_somebody_stopped_not() {
    let (_home, journal) = journal();
    journal.history(&[task()], at(0)).unwrap();
    let tries = |ending, attempt, slot| {
        let now = 10 * i64::from(attempt);
        let job = Job { slot, attempt, ..job(now) };
        journal.take_up(&due(now), &job).unwrap();
        journal.begin(job.id, at(now), at(now + 60)).unwrap().unwrap();
        journal.end(job.id, at(now + 1), (ending, Some("why"))).unwrap().unwrap();
        journal.history(&[task()], at(99)).unwrap()[&task()].tries
    };
    assert_eq!(tries(Ending::Failed, 1, Some(at(1))), 1);
    assert_eq!(tries(Ending::Failed, 2, Some(at(1))), 2);
    assert_eq!(tries(Ending::Cancelled, 3, Some(at(1))), 0);
    assert_eq!(tries(Ending::Failed, 4, None), 0, "whoever asked for it sees it");
    assert_eq!(tries(Ending::Incomplete, 5, Some(at(1))), 0, "catching up is a task of its own");
}

#[test]
fn a_journal_of_before_is_brought_up_to_date() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("jobs.sqlite");
    drop(Journal::open(&path).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "ALTER TABLE tasks DROP COLUMN tries; DROP INDEX jobs_by_task; PRAGMA user_version = 1;
             INSERT INTO tasks VALUES ('backup:hourly', 7, NULL, 9, 3);",
        )
        .unwrap();
    drop(connection);
    let journal = Journal::open(&path).unwrap();
    let past = journal.known_history(&[task()]).unwrap()[&task()];
    assert_eq!((past.failures, past.tries), (3, 0));
}

#[test]
fn what_waits_can_be_cancelled_and_what_runs_can_wait_again() {
    let (_home, journal) = journal();
    let (first, second) = (job(1), job(2));
    journal.queue(&first).unwrap();
    journal.queue(&second).unwrap();
    let cancelled = journal.cancel(first.id, at(3)).unwrap().unwrap();
    assert_eq!(cancelled.state, JobState::Cancelled);
    assert_eq!(journal.begin(first.id, at(4), at(9)).unwrap(), None);
    journal.begin(second.id, at(4), at(9)).unwrap().unwrap();
    let still = journal.cancel(second.id, at(5)).unwrap().unwrap();
    assert_eq!(still.state, JobState::Running, "who runs it has to stop it");
    journal.put_back(second.id, "another lifeboat is at work").unwrap();
    assert_eq!(journal.open_jobs().unwrap()[0].state, JobState::Queued);
    assert_eq!(journal.cancel(id(9), at(5)).unwrap(), None);
}

#[test]
fn a_pause_is_kept_until_it_is_ended() {
    let (home, journal) = journal();
    assert_eq!(journal.pause().unwrap(), None);
    let (why, by) = ("disks".to_owned(), "alice".to_owned());
    let pause = Pause { since: at(0), until: at(60), why, by };
    journal.set_pause(Some(&pause)).unwrap();
    drop(journal);
    let journal = Journal::open(&home.path().join("jobs.sqlite")).unwrap();
    assert_eq!(journal.pause().unwrap(), Some(pause));
    journal.set_pause(None).unwrap();
    assert_eq!(journal.pause().unwrap(), None);
}

#[test]
fn a_newer_journal_is_refused_and_a_damaged_one_named() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("jobs.sqlite");
    drop(Journal::open(&path).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", i32::MAX).unwrap();
    drop(connection);
    assert!(matches!(Journal::open(&path).unwrap_err(), JournalError::Newer { .. }));
    let other = home.path().join("other.sqlite");
    lifeboat_tiers::durable::replace(&other, b"no database, but long enough", 0o600).unwrap();
    let error = Journal::open(&other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.hint().is_some());
}

#[test]
fn every_state_has_its_word() {
    for state in JobState::ALL {
        assert_eq!(state.as_str().parse(), Ok(state));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever daemons do and whenever they are killed, each time that was taken up ends once, or is begun
    /// as often as it may be, and never runs beside itself.
    #[test]
    fn killed_daemons_lose_and_double_nothing(steps in prop::collection::vec(0_u8..5, 1..60)) {
        let (_home, journal) = journal();
        journal.history(&[task()], at(0)).unwrap();
        let time = Cell::new(0_i64);
        let tick = || { time.set(time.get() + 1); time.get() };
        let mut taken = BTreeSet::new();
        for step in steps {
            let open = journal.open_jobs().unwrap();
            let running: Vec<_> = open.iter().filter(|job| job.state == JobState::Running).collect();
            prop_assert!(running.len() <= 1);
            match step {
                0 => {
                    let now = tick();
                    journal.take_up(&due(now), &job(now)).unwrap();
                    taken.insert(at(now));
                }
                1 if running.is_empty() => {
                    if let Some(next) = open.first() {
                        let lease = at(time.get()).checked_add(Duration::from_mins(1)).unwrap();
                        prop_assert!(journal.begin(next.id, at(tick()), lease).unwrap().is_some());
                    }
                }
                2 => {
                    if let Some(job) = running.first() {
                        journal.end(job.id, at(tick()), (Ending::Succeeded, None)).unwrap();
                    }
                }
                3 => drop(journal.recover(at(tick()), || id(time.get())).unwrap()),
                _ => {}
            }
        }
        journal.recover(at(tick()), || id(time.get())).unwrap();
        let all: Vec<_> = journal.ended(u32::MAX).unwrap().into_iter().chain(journal.open_jobs().unwrap()).collect();
        for slot in taken {
            let attempts: Vec<_> = all.iter().filter(|job| job.slot == Some(slot)).collect();
            let done = attempts.iter().filter(|job| job.state == JobState::Succeeded).count();
            let waits = attempts.iter().filter(|job| job.state == JobState::Queued).count();
            let lost = attempts.iter().filter(|job| job.state == JobState::Lost).count();
            prop_assert_eq!(done + waits + lost, attempts.len());
            prop_assert!(done + waits == 1 || (done + waits == 0 && lost == ATTEMPTS_MAX as usize));
        }
    }
}
