//! Power cuts: real system calls on a disk that forgets what was not synced.
//!
//! [`survive`] lets a host work on a [`PowerDisk`]: on two local tiers it makes repositories, backs up,
//! copies, forgets and prunes ([`holding`]); beside them it keeps a journal ([`journal`]) and the
//! catalog with its view in SQLite ([`records`]); and it knows what it was told is stored. At some
//! system call, as the seed decides, the process dies or the power fails; what survived is mounted
//! again and looked at.
//!
//! # Invariants
//!
//! - What was acknowledged is there, whole, after any number of kills and power cuts, and what was
//!   forgotten stays so.
//! - A check that reads all data finds nothing wrong, wherever a prune was interrupted.
//! - A file that was replaced holds the old bytes or the new ones; the new ones once that was
//!   acknowledged.
//! - A record that was appended is in the view, in one whole chain, whatever became of the view's file.
//! - The next run completes.

mod holding;
mod journal;
mod records;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::clock::SimClock;
use lifeboat_model::{Clock, Timestamp};
use lifeboat_repository::check::explain;
use lifeboat_testing::power::{End, PowerDisk};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use holding::Holding;
use journal::Journal;
use records::Records;
pub use records::{RecordWork, work_on_records};

/// How often the power fails, or a process dies, in the life of one disk.
const ENDS: usize = 4;

/// After how many changes and syncs that happens at the latest; some ten tasks have more.
const CHANGES_MAX: u64 = 400;

/// How long a host is down: longer than a lock counts that nobody refreshes.
const REST: Duration = Duration::from_hours(1);

/// What a disk lived through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Life {
    /// How many backups and copies were acknowledged.
    pub stored: u64,
    /// How many snapshots were forgotten.
    pub forgotten: u64,
    /// How many prunes ended.
    pub prunes: u64,
    /// How many prunes were interrupted.
    pub prunes_interrupted: u64,
    /// How many records were appended to the catalog.
    pub records: u64,
    /// How many of those appends were interrupted.
    pub records_interrupted: u64,
}

impl Life {
    /// Adds what another disk lived through.
    pub const fn add(&mut self, other: &Self) {
        self.stored += other.stored;
        self.forgotten += other.forgotten;
        self.prunes += other.prunes;
        self.prunes_interrupted += other.prunes_interrupted;
        self.records += other.records;
        self.records_interrupted += other.records_interrupted;
    }
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Backup,
    Copy,
    Forget,
    Prune,
    Record,
    Journal,
}

/// Why something was not done; here only the power is to blame.
type Trouble = Box<dyn Error>;

/// A host on a disk, and what it was told.
struct Host {
    disk: PowerDisk,
    rng: StdRng,
    clock: Arc<dyn Clock>,
    first: Holding,
    second: Holding,
    journal: Journal,
    records: Records,
    life: Life,
}

/// Lives a disk's life; an error says what was lost. `program` is the binary of this crate.
pub fn survive(seed: u64, program: &Path) -> Result<Life, String> {
    let disk = PowerDisk::mount().map_err(|error| format!("cannot mount: {error}"))?;
    // Nobody waits for a lock to settle.
    let time = Arc::new(SimClock::new(Timestamp::UNIX_EPOCH));
    let clock: Arc<dyn Clock> = Arc::<SimClock>::clone(&time);
    let mut host = Host {
        first: Holding::new(disk.path().join("first")),
        second: Holding::new(disk.path().join("second")),
        journal: Journal::new(disk.path().join("journal")),
        records: Records::new(program, disk.path()),
        disk,
        rng: StdRng::seed_from_u64(seed),
        clock,
        life: Life::default(),
    };
    for _ in 0..ENDS {
        let nth = host.rng.random_range(1..=CHANGES_MAX);
        host.disk.cut_after(nth);
        host.work_until_the_end()?;
        let is_kill = host.rng.random_ratio(1, 4);
        let end = if is_kill { End::Kill } else { End::PowerCut(host.rng.random()) };
        host.disk.restart(end).map_err(|error| format!("cannot mount again: {error}"))?;
        // The locks of who died are stale by then; his process, which is this one, goes on.
        time.advance(REST);
        host.look().map_err(|trouble| format!("after {end:?}: {}", explain(&*trouble)))?;
    }
    Ok(host.life)
}

impl Host {
    /// Works until nothing can be written any more.
    fn work_until_the_end(&mut self) -> Result<(), String> {
        while !self.disk.is_off() {
            let tasks = [
                (Task::Backup, 5),
                (Task::Copy, 2),
                (Task::Forget, 2),
                (Task::Prune, 3),
                (Task::Record, 3),
                (Task::Journal, 1),
            ];
            let task = tasks.choose_weighted(&mut self.rng, |(_, weight)| *weight);
            let task = task.expect("there is a choice").0;
            let done = self.perform(task);
            if self.disk.is_off() {
                self.life.prunes_interrupted += u64::from(task == Task::Prune);
                self.life.records_interrupted += u64::from(task == Task::Record);
            } else if let Err(error) = done {
                return Err(format!("{task:?} failed by itself: {}", explain(&*error)));
            }
        }
        Ok(())
    }

    fn perform(&mut self, task: Task) -> Result<(), Trouble> {
        let Self { first, second, rng, clock, life, .. } = self;
        match task {
            Task::Backup => {
                first.back_up(rng, clock)?;
                life.stored += 1;
            }
            Task::Copy => life.stored += first.copy_to(second, rng, clock)?,
            Task::Forget => {
                let holding = if rng.random() { first } else { second };
                life.forgotten += holding.forget(rng, clock)?;
            }
            Task::Prune => {
                let holding = if rng.random() { first } else { second };
                life.prunes += holding.prune(clock)?;
            }
            Task::Record => life.records += self.records.append(rng)?,
            Task::Journal => self.journal.write(rng)?,
        }
        Ok(())
    }

    /// Looks at what is left, and makes sure that work goes on.
    fn look(&mut self) -> Result<(), Trouble> {
        self.journal.look()?;
        self.records.look()?;
        self.first.look()?;
        self.second.look()?;
        for task in [Task::Backup, Task::Copy, Task::Prune, Task::Record] {
            self.perform(task).map_err(|error| format!("{task:?}: {}", explain(&*error)))?;
        }
        Ok(())
    }
}
