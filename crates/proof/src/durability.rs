//! Power cuts: real system calls on a disk that forgets what was not synced.
//!
//! [`survive`] lets a writer work on a local tier that lies on a
//! [`PowerDisk`]: it makes a repository, backs up, and writes down beside it
//! what it was told is stored. At some system call, as the seed decides, the process dies or the power
//! fails; what survived is mounted again and looked at.
//!
//! # Invariants
//!
//! - What was acknowledged is there, whole, after any number of kills and power cuts.
//! - A check that reads all data finds nothing wrong.
//! - A file that was replaced holds the old bytes or the new ones; the new ones once that was
//!   acknowledged.
//! - The next run completes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_model::clock::SimClock;
use lifeboat_model::{Cancel, Clock, Outcome, Silent, SnapshotId, Timestamp};
use lifeboat_repository::check::{CheckOptions, ReadData, check, explain};
use lifeboat_repository::lock::{LockGuard, LockKind, LockOptions};
use lifeboat_repository::source::{Source, StreamSource};
use lifeboat_repository::{BackupOptions, Open, Repository, RepositoryError, backup};
use lifeboat_testing::power::{End, PowerDisk};
use lifeboat_tiers::{LocalTier, durable};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::place;

/// How often the power fails, or a process dies, in the life of one disk.
const ENDS: usize = 4;

/// After how many changes and syncs that happens at the latest; a run of three backups has more.
const CHANGES_MAX: u64 = 160;

/// How many bytes a stream has that is backed up.
const BYTES: usize = 4000;

/// Somebody who works on a disk, and what he was told.
struct Writer {
    disk: PowerDisk,
    rng: StdRng,
    clock: Arc<dyn Clock>,
    has_repository: bool,
    acknowledged: BTreeSet<SnapshotId>,
    journal: Journal,
}

/// What the journal may say.
#[derive(Default)]
struct Journal {
    /// What was last acknowledged.
    acknowledged: Option<String>,
    /// What was written after it, without an answer.
    attempted: Option<String>,
}

/// Lives a disk's life; an error says what was lost.
pub fn survive(seed: u64) -> Result<(), String> {
    let disk = PowerDisk::mount().map_err(|error| format!("cannot mount: {error}"))?;
    let mut writer = Writer {
        disk,
        rng: StdRng::seed_from_u64(seed),
        // Nobody waits for a lock to settle.
        clock: Arc::new(SimClock::new(Timestamp::UNIX_EPOCH)),
        has_repository: false,
        acknowledged: BTreeSet::new(),
        journal: Journal::default(),
    };
    for _ in 0..ENDS {
        let nth = writer.rng.random_range(1..=CHANGES_MAX);
        writer.disk.cut_after(nth);
        writer.work_until_the_end()?;
        let is_kill = writer.rng.random_ratio(1, 4);
        let end = if is_kill { End::Kill } else { End::PowerCut(writer.rng.random()) };
        writer.disk.restart(end).map_err(|error| format!("cannot mount again: {error}"))?;
        writer.look().map_err(|what| format!("after {end:?}: {what}"))?;
    }
    Ok(())
}

impl Writer {
    fn tier(&self) -> PathBuf {
        self.disk.path().join("tier")
    }

    fn journal(&self) -> PathBuf {
        self.disk.path().join("journal")
    }

    /// Works until nothing can be written any more.
    fn work_until_the_end(&mut self) -> Result<(), String> {
        while !self.disk.is_off() {
            if let Err(error) = self.back_up()
                && !self.disk.is_off()
            {
                return Err(format!("a backup failed by itself: {}", explain(&*error)));
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Result<Repository<Open>, Box<dyn std::error::Error>> {
        let tier = if self.has_repository {
            LocalTier::open(&self.tier())?
        } else {
            LocalTier::create(&self.tier())?
        };
        let store = place::store(Arc::new(tier));
        match place::open(store.clone()) {
            Err(RepositoryError::NoRepository { .. }) if !self.has_repository => {
                let repository = place::init(store)?;
                self.has_repository = true;
                Ok(repository)
            }
            opened => Ok(opened?),
        }
    }

    fn back_up(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let repository = self.open()?;
        self.has_repository = true;
        let cancel = Cancel::new();
        let lock = LockOptions::new(LockKind::Shared);
        let guard = LockGuard::acquire(&repository, &lock, &self.clock, &cancel)?;
        let repository = repository.load_index(&cancel, &Silent)?;
        let mut bytes = vec![0; BYTES];
        self.rng.fill_bytes(&mut bytes);
        let sources = vec![Source::Stream(StreamSource::document("/srv/stream", bytes))];
        let mut options = BackupOptions::new("site");
        options.workers = Some(NonZeroUsize::MIN);
        let clock = &*self.clock;
        let report = backup(&repository, sources, &options, &Silent, &cancel, clock)?;
        self.acknowledged.insert(report.snapshot);
        drop(guard);
        let text = report.snapshot.to_hex();
        self.journal.attempted = Some(text.clone());
        durable::replace(&self.journal(), text.as_bytes(), durable::PRIVATE)?;
        self.journal = Journal { acknowledged: Some(text), attempted: None };
        Ok(())
    }

    /// Looks at what is left.
    fn look(&mut self) -> Result<(), String> {
        self.look_at_journal()?;
        if self.has_repository {
            let tier = LocalTier::open(&self.tier()).map_err(|error| explain(&error))?;
            self.look_at(tier).map_err(|error| explain(&*error))?;
        }
        self.back_up().map_err(|error| format!("the next backup: {}", explain(&*error)))
    }

    fn look_at(&self, tier: LocalTier) -> Result<(), Box<dyn std::error::Error>> {
        let repository = place::open(place::store(Arc::new(tier)))?;
        let ids: BTreeSet<_> = repository.snapshot_ids()?.into_iter().collect();
        let lost: Vec<_> = self.acknowledged.difference(&ids).map(SnapshotId::to_hex).collect();
        if !lost.is_empty() {
            return Err(format!("acknowledged and gone: {lost:?}").into());
        }
        let options = CheckOptions { data: ReadData::All };
        let report = check(&repository, &options, &Silent, &Cancel::new())?;
        if report.outcome() == Outcome::Passed {
            Ok(())
        } else {
            Err(format!("the check finds {:?}", report.findings).into())
        }
    }

    fn look_at_journal(&mut self) -> Result<(), String> {
        let text = match fs::read_to_string(self.journal()) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(format!("the journal: {error}")),
        };
        let Journal { acknowledged, attempted } = std::mem::take(&mut self.journal);
        if text == acknowledged || (text.is_some() && text == attempted) {
            self.journal.acknowledged = text;
            Ok(())
        } else {
            Err(format!("the journal says {text:?}, neither {acknowledged:?} nor {attempted:?}"))
        }
    }
}
