//! A year of the reference plan in seconds: the real daemon, journal, catalog and scheduler on a simulated clock, over tiers
//! in memory that fail, with jobs that fail, panic and are killed. At the end all that was said is held against what
//! was injected, and the catalog against what lies on the tiers.

mod platform;

use std::collections::BTreeSet;

use platform::{Cause, Platform, hours, let_go, listed};

use super::*;
use crate::catalog::body::Body;
use crate::catalog::record::Record;
use crate::daemon::conditions;
use lifeboat_model::{SnapshotId, TierName};

/// How many days are simulated, unless `LIFEBOAT_DAYS` says otherwise, as `make year` does.
const DAYS: u64 = 14;

/// What is injected follows from this, unless `LIFEBOAT_SEED` says otherwise.
const SEED: u64 = 6;

/// How long nothing is injected at the end, so that what was missed is made up for.
const CALM_HOURS: u64 = 48;

fn number(variable: &str, otherwise: u64) -> u64 {
    let found = std::env::var(variable).ok();
    found.map_or(otherwise, |text| text.parse().expect(variable))
}

/// A daemon's looks: when, and whether anything was done or waited then.
type Looks = Vec<(Timestamp, bool)>;

struct Year {
    ground: Ground,
    platform: Arc<Platform>,
    random: StdRng,
    looks: Looks,
    /// The jobs that a daemon left running when it was killed.
    lost: BTreeSet<JobId>,
    lives: u32,
}

impl Year {
    fn daemon(&self) -> Arc<Daemon> {
        let loader: Loader = Box::new(|| Err("not asked for".to_owned()));
        let executor = self.platform.clone();
        let setup = Setup { loader, executor, workers: Workers::Loop };
        Daemon::open(self.ground.site(), setup).unwrap()
    }

    /// Lets a daemon go round until then, or until it is killed.
    fn live(&mut self, daemon: &Arc<Daemon>, end: Timestamp) {
        while self.ground.now() < end && !self.platform.is_killed.load(Ordering::Relaxed) {
            let (now, before) = (self.ground.now(), lock(&self.platform.log).begun);
            let wait = daemon.step().unwrap();
            let is_done = lock(&self.platform.log).begun > before;
            let waits = !daemon.journal.open_jobs().unwrap().is_empty();
            self.looks.push((now, is_done || waits));
            self.ground.clock.advance(wait);
        }
    }

    /// Ends a daemon as a kill does: what it did not write down is lost.
    fn kill(&mut self, daemon: Arc<Daemon>) {
        let open = daemon.journal.open_jobs().unwrap().into_iter();
        let running = open.filter(|job| job.state == JobState::Running);
        self.lost.extend(running.map(|job| job.id));
        drop(daemon);
        self.platform.is_killed.store(false, Ordering::Relaxed);
        self.platform.is_abandoned.store(true, Ordering::Relaxed);
        self.lives += 1;
    }

    fn run(&mut self, end: Timestamp) -> Arc<Daemon> {
        let mut daemon = self.daemon();
        while self.ground.now() < end {
            let life = hours(self.ground.now(), self.random.random_range(1..72));
            self.live(&daemon, life.min(end));
            self.kill(daemon);
            self.ground.clock.advance(Duration::from_mins(self.random.random_range(1..60 * 12)));
            daemon = self.daemon();
        }
        self.platform.calm_down();
        let over = self.ground.now().max(end);
        self.live(&daemon, hours(over, CALM_HOURS));
        // What ended in the last look is written down by the next.
        daemon.write_down().unwrap();
        daemon
    }
}

#[test]
fn the_plan_runs_by_itself_whatever_fails_and_however_often_the_daemon_dies() {
    let (days, seed) = (number("LIFEBOAT_DAYS", DAYS), number("LIFEBOAT_SEED", SEED));
    println!("a simulated year: LIFEBOAT_SEED={seed} LIFEBOAT_DAYS={days}");
    let ground = Ground::new("2027-11-01T12:00:00Z");
    let start = ground.now();
    let end = hours(start, 24 * days);
    let platform = Platform::new(ground.site().plan(), &ground.clock, seed, end);
    let (random, platform) = (StdRng::seed_from_u64(seed + 1), Arc::new(platform));
    let (looks, lost) = (Looks::new(), BTreeSet::new());
    let mut year = Year { ground, platform, random, looks, lost, lives: 1 };
    let daemon = year.run(end);
    let jobs = ended(&daemon);
    assert!(year.lives > 5, "{}", year.lives);
    every_time_is_taken_up_once_or_counted(&year, &daemon, &jobs, start..end);
    nothing_is_said_without_cause_nor_passed_over(&year, &jobs);
    what_is_tried_again_had_failed_and_comes_about(&jobs);
    let records = year.platform.open(&daemon.site()).view().all().unwrap();
    journal_and_catalog_agree(&year, &jobs, &records);
    catalog_and_tiers_agree(&year, &daemon, &records);
    println!("{} jobs in {} lives, {} records", jobs.len(), year.lives, records.len());
}

fn every_time_is_taken_up_once_or_counted(
    year: &Year,
    daemon: &Daemon,
    jobs: &[Job],
    span: std::ops::Range<Timestamp>,
) {
    for (task, timetable) in calendar(daemon.site().plan()) {
        let mut due =
            std::iter::successors(timetable.next_after(span.start), |at| timetable.next_after(*at));
        for job in jobs.iter().filter(|job| job.task() == Some(&task) && job.attempt == 1) {
            assert!(job.missed < MISSED_MAX);
            let passed: Vec<_> = due.by_ref().take(job.missed as usize + 1).collect();
            assert_eq!(passed.last().copied(), job.slot, "{task}: each time once, or counted");
            assert!(job.started >= job.slot, "{task}: not early");
            for missed in passed.windows(2) {
                assert_missed(&year.looks, &task, missed[0]..missed[1]);
            }
        }
        assert!(due.next().unwrap() > span.end, "{task}: nothing was forgotten");
    }
}

/// A time that was missed was so since nobody looked until the next one, or something else was done whenever somebody did.
fn assert_missed(looks: &[(Timestamp, bool)], task: &Task, until: std::ops::Range<Timestamp>) {
    let first = looks.partition_point(|(at, _)| *at < until.start);
    let mut looked = looks[first..].iter().take_while(|(at, _)| *at < until.end);
    let idle = looked.find(|(_, is_busy)| !is_busy);
    assert_eq!(idle, None, "{task} of {} was missed without cause", until.start);
}

/// Whatever failed did so for something that was injected, and whatever was injected is said.
fn nothing_is_said_without_cause_nor_passed_over(year: &Year, jobs: &[Job]) {
    let log = lock(&year.platform.log);
    for job in jobs {
        let cause = log.causes.get(&job.id);
        match job.state {
            JobState::Succeeded => assert_eq!(cause, None, "passed over: {job:?}"),
            JobState::Lost => assert!(year.lost.contains(&job.id), "without cause: {job:?}"),
            JobState::Failed => {
                let message = job.message.as_deref().expect("nothing fails without a word");
                let word = match cause.unwrap_or_else(|| panic!("without cause: {job:?}")) {
                    Cause::Refused => "made to fail",
                    Cause::Panic => "it panicked; this is a bug",
                    Cause::Outage(_) => "a tier is down",
                };
                assert!(message.contains(word), "{cause:?}: {job:?}");
            }
            other => panic!("{other}: {job:?}"),
        }
    }
    let known: BTreeMap<_, _> = jobs.iter().map(|job| (job.id, job.state)).collect();
    for (job, cause) in &log.causes {
        let state = known.get(job);
        assert!(matches!(state, Some(JobState::Failed | JobState::Lost)), "{cause:?}: {job}");
    }
    for job in &year.lost {
        assert_eq!(known.get(job), Some(&JobState::Lost), "{job} was killed");
    }
    let counts =
        |wanted: &dyn Fn(&Cause) -> bool| log.causes.values().filter(|c| wanted(c)).count();
    assert!(counts(&|cause| *cause == Cause::Refused) > 0);
    assert!(counts(&|cause| *cause == Cause::Panic) > 0);
    assert!(counts(&|cause| matches!(cause, Cause::Outage(_))) > 0);
    assert!(!year.lost.is_empty());
}

fn what_is_tried_again_had_failed_and_comes_about(jobs: &[Job]) {
    let again = jobs.iter().filter(|job| job.attempt > 1 && job.state == JobState::Succeeded);
    assert!(again.count() > 3, "what failed came about when it was tried again");
    assert!(jobs.iter().all(|job| job.attempt <= TRIES_MAX));
    let by_attempt: BTreeMap<_, _> =
        jobs.iter().map(|job| ((job.task(), job.slot, job.attempt), job.state)).collect();
    for job in jobs.iter().filter(|job| job.attempt > 1 && job.slot.is_some()) {
        let why = by_attempt.get(&(job.task(), job.slot, job.attempt - 1));
        assert!(matches!(why, Some(JobState::Failed | JobState::Lost)), "without cause: {job:?}");
    }
}

/// Every job that worked began and ended once in the catalog, as the journal has it.
fn journal_and_catalog_agree(year: &Year, jobs: &[Job], records: &[Record]) {
    let log = lock(&year.platform.log);
    let mut began: BTreeMap<JobId, u32> = BTreeMap::new();
    let mut over: BTreeMap<JobId, Vec<Ending>> = BTreeMap::new();
    for record in records {
        match record.body() {
            Body::JobStarted(body) => *began.entry(body.job).or_default() += 1,
            Body::JobEnded(body) => over.entry(body.job).or_default().push(body.ending),
            _ => {}
        }
    }
    assert!(began.values().all(|count| *count == 1), "none began twice under one id");
    assert_eq!(began.keys().copied().collect::<BTreeSet<_>>(), log.worked);
    let states: BTreeMap<_, _> = jobs.iter().map(|job| (job.id, job.state)).collect();
    for job in began.keys() {
        let endings = over.get(job).map(Vec::as_slice);
        let [ending] = endings.unwrap_or_default() else { panic!("{job} ended as {endings:?}") };
        let is_right = match states.get(job) {
            Some(JobState::Succeeded) => *ending == Ending::Succeeded,
            Some(JobState::Failed) => matches!(ending, Ending::Failed | Ending::Interrupted),
            // It may have been killed right after it was done.
            Some(JobState::Lost) => true,
            _ => false,
        };
        assert!(is_right, "{job}: {:?} in the journal, {ending} in the catalog", states.get(job));
    }
}

/// What the catalog says is there, is there, and nothing else but what a kill left.
fn catalog_and_tiers_agree(year: &Year, daemon: &Daemon, records: &[Record]) {
    let (site, platform) = (daemon.site(), &year.platform);
    let catalog = platform.open(&site);
    let runtime = &site.surroundings().runtime;
    let mut said: BTreeMap<&TierName, BTreeSet<SnapshotId>> = BTreeMap::new();
    for record in records {
        if let Body::AssetBackedUp(body) = record.body() {
            for there in &body.snapshots {
                said.entry(&there.tier).or_default().insert(there.snapshot);
            }
        }
    }
    let orphans = &lock(&platform.log).orphans;
    for (tier, memory) in &platform.tiers {
        let there = listed(runtime, memory.as_ref());
        let removed = let_go(catalog.view(), tier);
        let said: BTreeSet<_> = said[tier].difference(&removed).copied().collect();
        assert!(said.is_subset(&there), "{tier}: {:?} are gone", said.difference(&there));
        for snapshot in there.difference(&said) {
            let is_known = orphans.contains(&(tier.clone(), *snapshot));
            assert!(is_known, "{tier}: nobody speaks of {snapshot}");
        }
        assert!(there.len() > 10, "{tier} holds {}", there.len());
    }
    let verified = catalog.verify(&platform.reach()).unwrap();
    assert!(verified.flaws.is_empty(), "{verified:?}");
    assert_eq!(verified.records, records.len());
    let conditions = conditions::of_catalog(&daemon.state, site.plan());
    assert_eq!(conditions.undelivered, 0, "every tier has every record");
    let behind = conditions.tiers.iter().filter(|(_, tier)| tier.is_behind);
    assert_eq!(behind.count(), 0, "every tier caught up");
}
