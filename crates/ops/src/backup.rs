//! Backing up: every asset that was asked for, onto every tier that the plan sends it to.
//!
//! ```text
//! for each asset: before ── store on the tier that leads ── after | on_failure
//!                              └─ meanwhile, and then: copy to each of the others, on its own lane
//! then for each tier that got something: verify
//! ```
//!
//! All tiers are gone to at the same time, and the work begins as soon as each asset has one that is open and the others
//! had a moment. A tier that answers later gets then what was stored meanwhile; one that does not is told of with each
//! asset that it should have.
//!
//! A tier of this machine leads, if there is one. The hook after is run once the asset was read: a slow
//! tier keeps no service waiting.
//!
//! What goes wrong with one asset or one tier is its own outcome and does not spoil the rest; each
//! outcome is computed once, here, and the report, the records and the exit code are made of it.
//!
//! A pack that a verification found damaged counts as not there: what it held is read and stored
//! again, so that a backup after damage is whole, whatever became of those before.
//!
//! # Locks
//!
//! The state directory's lock makes this the only job of its host; a shared lock in each repository
//! keeps `prune` away, also restic's and another host's. A lock that was not won, or is lost, ends the
//! work on its tier alone.
//!
//! # Crash consistency
//!
//! A kill leaves the snapshots that were made, their records as far as they were written, and a job
//! that began and never ended, which the next run of this host marks as interrupted. What was
//! stored without a snapshot is found again by the next backup. A point is computed from snapshots,
//! so one without a record still counts.

pub mod base;
mod capture;
mod command;
mod database;
mod files;
mod hold;
mod hooks;
pub(crate) mod lane;
mod late;
mod live_database;
mod remark;

pub use command::output_path;
pub use database::DumpPaths;
pub(crate) use database::file_name;
pub(crate) use files::left_out;
pub use hooks::HookReport;
pub use remark::Remark;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread;

use lifeboat_model::{AssetName, Cancel, Event, EventSink, Exit, JobId, SnapshotId, TierName};
use lifeboat_model::{ScheduleName, SiteName, Timestamp};
use lifeboat_plan::plan::asset::Asset;
use lifeboat_plan::plan::tier::Tier as PlannedTier;
use lifeboat_repository::RepositoryError;
use lifeboat_repository::backup::{Counts, Skipped};
use serde::Serialize;

use self::capture::CaptureTrouble;
use self::hold::Hold;
use self::lane::{Delivered, Lane, Lanes, Ordered, Traffic};
use crate::catalog::TierSync;
use crate::catalog::body::{
    AssetBackedUp, BaseRecord, Body, JobEnded, JobStarted, SKIPPED_MAX, TierSnapshot,
};
use crate::catch_up::{CaughtUp, Gone, Missed};
use crate::ending::{Ending, JobStage, StageOutcome};
use crate::error::{OpsError, Trouble};
use crate::holdings::Holdings;
use crate::inquiry::ask_all;
use crate::lock_keeping::{Sake, keep_locks};
use crate::point::{Role, roles};
use crate::residence::fence::take_first;
use crate::traffic::TierTraffic;
use crate::verification::{Share, TierVerification, verify_tier};
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite, OpenTier, Quorum};

/// The version of [`BackupJobReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// What is backed up.
#[derive(Debug, Clone, Default)]
pub struct BackupOptions {
    /// These assets; all, if empty.
    pub assets: Vec<AssetName>,
    /// Onto these tiers; where the plan sends each asset, if empty.
    pub to: Vec<TierName>,
    /// As this schedule does, whose rule then keeps what is made.
    pub schedule: Option<ScheduleName>,
    /// What else is done.
    pub extent: Extent,
}

/// What a backup does beside storing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// Tiers get what they missed, and a share of what they hold is read back.
    #[default]
    Whole,
    /// Nothing: it is one of many in an hour, and others wait for it.
    StoreAlone,
}

impl BackupOptions {
    /// Fills in what the schedule says and nobody said otherwise.
    fn filled_in(&self, site: &Site) -> Result<Self, OpsError> {
        let mut options = self.clone();
        let Some(name) = &self.schedule else { return Ok(options) };
        let plan = site.plan();
        let schedule = plan.schedules().get(name).ok_or_else(|| {
            let what = format!("schedule `{name}`");
            OpsError::NotInPlan { what }
        })?;
        if options.assets.is_empty() {
            options.assets =
                schedule.assets.pick(plan.assets().keys()).into_iter().cloned().collect();
        }
        if options.to.is_empty() {
            options.to = schedule.to.pick(plan.tiers().keys()).into_iter().cloned().collect();
        }
        Ok(options)
    }
}

/// What a backup did.
#[derive(Debug, Serialize)]
pub struct BackupJobReport {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// Which job.
    pub job: JobId,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended: as its worst part did.
    pub ending: Ending,
    /// The assets, in the order in which they were done.
    pub assets: Vec<AssetReport>,
    /// How extending locks ended on each tier on which the plan wants some.
    pub locks: Vec<StageOutcome>,
    /// The verification of each tier that got something.
    pub verifications: Vec<TierVerification>,
    /// What tiers got that they had missed earlier, and what they still lack.
    pub caught_up: Vec<CaughtUp>,
    /// What happened to the catalog on each tier, where something was put there.
    pub catalog: Vec<TierSync>,
    /// What each tier was asked for, and what that costs.
    pub traffic: Vec<TierTraffic>,
    #[serde(skip)]
    exits: BTreeSet<u8>,
}

impl BackupJobReport {
    /// Returns how the command ends.
    ///
    /// Where all that failed failed for one reason, its code says more than `failed`: always for a lock, which passes by
    /// itself; for what else has a code only if nothing was stored. A backup that lacks a tier is the same failure
    /// whatever kept that from its part, and whenever.
    pub fn exit(&self) -> Exit {
        let is_stored = self.assets.iter().any(|asset| !asset.snapshots.is_empty());
        let told: &[Exit] = if is_stored {
            &[Exit::Locked]
        } else {
            &[Exit::Locked, Exit::WrongKey, Exit::NoRepository, Exit::Usage]
        };
        match (self.ending, self.exits.iter().copied().collect::<Vec<_>>().as_slice()) {
            (Ending::Failed, [only]) => {
                let told = told.iter().find(|exit| exit.code() == *only);
                told.copied().unwrap_or(Exit::Failed)
            }
            (ending, _) => ending.exit(),
        }
    }
}

/// What became of an asset.
#[derive(Debug, Serialize)]
pub struct AssetReport {
    /// Which asset.
    pub asset: AssetName,
    /// How it ended: as its worst stage did.
    pub ending: Ending,
    /// Up to when every change was captured; absent if it is incomplete.
    pub captured: Option<Timestamp>,
    /// The application's revision.
    pub revision: Option<String>,
    /// The base backup, where one was made.
    pub base: Option<BaseRecord>,
    /// Its snapshot on each tier.
    pub snapshots: Vec<TierSnapshotReport>,
    /// What was read and stored.
    pub counts: Option<Counts>,
    /// What is worth knowing though nothing failed, like what is left out by rule.
    pub remarks: Vec<Remark>,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
    /// How each stage ended on each tier.
    pub stages: Vec<StageOutcome>,
    /// What the hooks wrote.
    pub hooks: Vec<HookReport>,
    #[serde(skip)]
    exits: BTreeSet<u8>,
}

/// A snapshot on a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TierSnapshotReport {
    /// Which tier.
    pub tier: TierName,
    /// Which snapshot.
    pub snapshot: SnapshotId,
}

impl AssetReport {
    fn new(asset: &AssetName) -> Self {
        Self {
            asset: asset.clone(),
            ending: Ending::Succeeded,
            captured: None,
            revision: None,
            base: None,
            snapshots: Vec::new(),
            counts: None,
            remarks: Vec::new(),
            skipped: Vec::new(),
            stages: Vec::new(),
            hooks: Vec::new(),
            exits: BTreeSet::new(),
        }
    }

    /// Adds how a stage ended.
    fn note(
        &mut self,
        (stage, tier): (JobStage, Option<&TierName>),
        (started, ended): (Timestamp, Timestamp),
        result: Result<(), Trouble>,
    ) {
        let trouble = result.err();
        self.exits.extend(trouble.as_ref().map(|trouble| trouble.exit));
        self.stages.push(outcome((stage, tier), (started, ended), trouble));
    }

    fn worst(&self) -> Ending {
        self.stages.iter().map(|stage| stage.ending).max().unwrap_or(Ending::Failed)
    }

    fn to_record(&self, job: &Job<'_>) -> AssetBackedUp {
        let counts = self.counts.unwrap_or_default();
        let snapshots = self.snapshots.iter();
        AssetBackedUp {
            job: job.id,
            asset: self.asset.clone(),
            schedule: job.options.schedule.clone(),
            captured: self.captured,
            snapshots: snapshots
                .map(|on| TierSnapshot { tier: on.tier.clone(), snapshot: on.snapshot })
                .collect(),
            revision: self.revision.clone(),
            base: self.base.clone(),
            size_bytes: self.counts.map(|counts| counts.bytes_total),
            bytes_read: counts.bytes_read,
            bytes_stored: counts.bytes_stored,
            skipped: self.skipped.iter().take(SKIPPED_MAX).map(ToString::to_string).collect(),
            stages: self.stages.clone(),
        }
    }
}

/// Backs up.
pub fn backup(
    site: &Site,
    options: &BackupOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<BackupJobReport, OpsError> {
    let options = &options.filled_in(site)?;
    let surroundings = site.surroundings();
    let (before, begun) = (site.traffic(), surroundings.now());
    let assets = in_order(site, &options.assets)?;
    let open = open(site, options, &assets, events, cancel)?;
    take_first(&open)?;
    Holdings::of_open(&open)?.record_missing(&open)?;
    let (job, started) = (site.new_job(), surroundings.now());
    open.record(Body::JobStarted(JobStarted {
        job,
        command: "backup".to_owned(),
        assets: assets.clone(),
    }))?;
    open.deliver()?;
    let mut work = Job {
        open: &open,
        id: job,
        begun,
        started,
        options,
        events,
        cancel,
        holds: BTreeMap::new(),
        live_directories: OnceCell::new(),
    };
    work.hold_tiers();
    let prompt = work.held();
    open.leave_damage_out(&prompt)?;
    let lanes: Lanes<'_> = work.lanes().collect();
    let (mut reports, mut caught_up) = thread::scope(|scope| {
        let mut traffic = lanes.open(scope, events, surroundings.clock.as_ref());
        let reports = work.back_up_all(&assets, &mut traffic)?;
        let caught_up = work.catch_up(&reports, prompt, &mut traffic)?;
        Ok::<_, OpsError>((reports, caught_up))
    })?;
    drop(lanes);
    caught_up.extend(work.bring_late(&mut reports)?);
    let locks = work.keep_locks(&reports);
    let verifications = work.verify(&reports)?;
    drop(work);
    let endings = reports.iter().map(|report| report.ending);
    let endings = endings.chain(locks.iter().map(|lock| lock.ending));
    let ending = endings.chain(verifications.iter().map(TierVerification::ending)).max();
    let ending = ending.unwrap_or(Ending::Succeeded);
    open.record(Body::JobEnded(JobEnded { job, ending }))?;
    let catalog = open.deliver()?;
    let exits = reports.iter().flat_map(|report| report.exits.iter().copied()).collect();
    Ok(BackupJobReport {
        schema: SCHEMA,
        site: site.name().clone(),
        job,
        started: begun,
        ended: surroundings.now(),
        ending,
        assets: reports,
        locks,
        verifications,
        caught_up,
        traffic: TierTraffic::since(site, &before),
        catalog,
        exits,
    })
}

/// Opens the tiers that the assets go to: one of each asset's has to be there before the work begins.
fn open<'s>(
    site: &'s Site,
    options: &BackupOptions,
    assets: &[AssetName],
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<OpenSite<'s>, OpsError> {
    let mut tiers: BTreeSet<TierName> = options.to.iter().cloned().collect();
    let mut one_of_each = BTreeSet::new();
    for asset in assets {
        // An asset without a destination is that asset's outcome, unless a tier was misspelt.
        match site.tiers_of(asset, &options.to) {
            Ok(found) => {
                tiers.extend(found.iter().cloned());
                one_of_each.insert(found.into_iter().collect());
            }
            Err(OpsError::NoDestination { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let quorum = Quorum::OneOfEach(one_of_each);
    OpenSite::begin_home(site, (&tiers, &quorum), NewTiers::SetUp, events, cancel)
}

/// Puts configuration before databases and media after them, so that the job makes a whole point.
fn in_order(site: &Site, wanted: &[AssetName]) -> Result<Vec<AssetName>, OpsError> {
    let roles = roles(site.plan());
    let mut assets = site.assets(wanted)?;
    assets.sort_by_key(|asset| match roles.get(asset) {
        Some(Role::Configuration) | None => 0,
        Some(Role::Database) => 1,
        Some(Role::Media) => 2,
    });
    Ok(assets)
}

/// Tells how a stage ended.
fn outcome(
    (stage, tier): (JobStage, Option<&TierName>),
    (started, ended): (Timestamp, Timestamp),
    trouble: Option<Trouble>,
) -> StageOutcome {
    StageOutcome {
        stage,
        tier: tier.cloned(),
        ending: trouble.as_ref().map_or(Ending::Succeeded, |trouble| trouble.ending),
        hint: trouble.as_ref().and_then(|trouble| trouble.hint.clone()),
        message: trouble.map(|trouble| trouble.message),
        started,
        ended,
    }
}

/// A backup while it runs.
struct Job<'a> {
    open: &'a OpenSite<'a>,
    id: JobId,
    /// When the tiers were gone to.
    begun: Timestamp,
    /// When there were enough of them.
    started: Timestamp,
    options: &'a BackupOptions,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
    holds: BTreeMap<TierName, Result<Hold, Trouble>>,
    /// Where PostgreSQL servers run; looked for once, when the first file asset needs it.
    live_directories: OnceCell<BTreeSet<PathBuf>>,
}

impl Job<'_> {
    fn site(&self) -> &Site {
        self.open.site()
    }

    fn now(&self) -> Timestamp {
        self.site().surroundings().now()
    }

    /// Locks the tiers that are open and not locked yet, all at the same time.
    fn hold_tiers(&mut self) {
        let is_held = |tier: &&OpenTier| self.holds.contains_key(&tier.named.name);
        let tiers: Vec<_> = self.open.open_tiers().filter(|tier| !is_held(tier)).collect();
        let (site, events, cancel) = (self.site(), self.events, self.cancel);
        let held = ask_all(&tiers, |tier| Hold::begin(site, tier, events, cancel));
        let names = tiers.iter().map(|tier| tier.named.name.clone());
        self.holds.extend(names.zip(held));
    }

    /// Returns the tiers that are locked.
    fn held(&self) -> BTreeSet<TierName> {
        let held = self.holds.iter().filter(|(_, hold)| hold.is_ok());
        held.map(|(name, _)| name.clone()).collect()
    }

    /// Returns a tier that is open and locked.
    fn tier(&self, name: &TierName) -> Result<&OpenTier, Trouble> {
        let tier = self.open.tier(name)?;
        match self.hold(tier)?.lost() {
            Some(trouble) => Err(trouble.clone()),
            None => Ok(tier),
        }
    }

    fn hold(&self, tier: &OpenTier) -> Result<&Hold, Trouble> {
        let hold = self.holds.get(&tier.named.name).expect("every tier that is open was locked");
        hold.as_ref().map_err(Trouble::clone)
    }

    /// Returns when something began, and that it ended now.
    fn since(&self, started: Timestamp) -> (Timestamp, Timestamp) {
        (started, self.now())
    }

    /// Opens a lane to each tier that is held.
    fn lanes(&self) -> impl Iterator<Item = Lane<'_>> {
        self.open.open_tiers().filter_map(|tier| {
            let hold = self.hold(tier).ok()?;
            Some(Lane::new(tier, hold.cancel()))
        })
    }

    /// Backs all assets up, and records what each tier has as soon as it has it.
    fn back_up_all(
        &self,
        assets: &[AssetName],
        traffic: &mut Traffic<'_, '_>,
    ) -> Result<Vec<AssetReport>, OpsError> {
        let mut reports = Vec::new();
        for (number, asset) in assets.iter().enumerate() {
            let report = self.back_up(asset, number, traffic)?;
            self.open.record(Body::AssetBackedUp(report.to_record(self)))?;
            self.open.deliver()?;
            reports.push(report);
            while let Some(delivered) = traffic.ended() {
                self.was_delivered(delivered, &mut reports)?;
            }
        }
        self.await_all(&mut reports, traffic)?;
        Ok(reports)
    }

    /// Takes note that a tier got a snapshot, or why it did not.
    fn was_delivered(
        &self,
        delivered: Delivered,
        reports: &mut [AssetReport],
    ) -> Result<(), OpsError> {
        let Delivered { what, from, to, started, ended, copied } = delivered;
        let Ordered::Asset(number) = what else { return Ok(()) };
        let report = &mut reports[number];
        let copied = copied.map_err(|error| self.why([&from, &to], &error));
        let tier = to.clone();
        let on = copied.as_ref().ok().map(|copied| {
            report.snapshots.push(TierSnapshotReport { tier, snapshot: copied.snapshot });
            TierSnapshot { tier: to.clone(), snapshot: copied.snapshot }
        });
        let bytes_stored = copied.as_ref().map_or(0, |copied| copied.bytes);
        report.note((JobStage::Copy, Some(&to)), (started, ended), copied.map(drop));
        let record = AssetBackedUp {
            snapshots: on.into_iter().collect(),
            bytes_read: 0,
            bytes_stored,
            skipped: Vec::new(),
            stages: report.stages.last().cloned().into_iter().collect(),
            ..report.to_record(self)
        };
        self.open.record(Body::AssetBackedUp(record))?;
        self.open.deliver()?;
        Ok(())
    }

    /// Says why a copy failed: since a lock is lost, if one is.
    fn why(&self, tiers: [&TierName; 2], error: &RepositoryError) -> Trouble {
        let tiers = tiers.into_iter().filter_map(|name| self.open.tier(name).ok());
        let mut holds = tiers.filter_map(|tier| self.hold(tier).ok());
        let lost = holds.find_map(|hold| hold.ask().cloned());
        lost.unwrap_or_else(|| Trouble::of(error))
    }

    /// Waits until all that is on its way to the tiers is there.
    fn await_all(
        &self,
        reports: &mut [AssetReport],
        traffic: &mut Traffic<'_, '_>,
    ) -> Result<(), OpsError> {
        while let Some(delivered) = traffic.wait() {
            self.was_delivered(delivered, reports)?;
        }
        for report in reports {
            report.ending = report.worst();
        }
        Ok(())
    }

    /// Brings those of these tiers that took everything what they missed earlier.
    fn catch_up(
        &self,
        reports: &[AssetReport],
        tiers: BTreeSet<TierName>,
        traffic: &mut Traffic<'_, '_>,
    ) -> Result<Vec<CaughtUp>, OpsError> {
        if self.options.extent == Extent::StoreAlone {
            return Ok(Vec::new());
        }
        let stages = || reports.iter().flat_map(|report| &report.stages);
        let is_well = |tier: &TierName| {
            let mut own = stages().filter(|stage| stage.tier.as_ref() == Some(tier));
            own.all(|stage| matches!(stage.ending, Ending::Succeeded | Ending::Incomplete))
        };
        let tiers = tiers.into_iter().filter(is_well);
        let mut missed = Missed::of(self.open, traffic.lanes(), tiers, Gone::StaysAway)?;
        missed.begin(traffic);
        while let Some(delivered) = traffic.wait() {
            let (from, to) = (delivered.from.clone(), delivered.to.clone());
            let why = |error: &RepositoryError| self.why([&from, &to], error);
            if let Some(record) = missed.take(delivered, self.id, traffic, &why) {
                self.open.record(Body::AssetBackedUp(record))?;
                self.open.deliver()?;
            }
        }
        let mut caught_up = missed.report();
        caught_up.retain(|tier| !tier.brought.is_empty() || tier.lacks > 0);
        Ok(caught_up)
    }

    fn back_up(
        &self,
        name: &AssetName,
        number: usize,
        traffic: &mut Traffic<'_, '_>,
    ) -> Result<AssetReport, OpsError> {
        let asset = self.site().asset(name)?;
        let mut report = AssetReport::new(name);
        let started = self.now();
        match self.site().tiers_of(name, &self.options.to) {
            Err(error) => {
                let trouble = Err(Trouble::of(&error));
                report.note((JobStage::Store, None), self.since(started), trouble);
            }
            Ok(tiers) => {
                if self.run_before(asset, &mut report) {
                    self.store(asset, &tiers, number, traffic, &mut report);
                } else {
                    self.skip(&tiers, "the hook before it failed", &mut report);
                }
            }
        }
        self.run_after(asset, &mut report);
        report.ending = report.worst();
        Ok(report)
    }

    /// Stores an asset on the first tier that takes it, and orders it for those after it.
    fn store(
        &self,
        asset: &Asset,
        tiers: &[TierName],
        number: usize,
        traffic: &mut Traffic<'_, '_>,
        report: &mut AssetReport,
    ) {
        let (mut usable, late) = (Vec::new(), self.open.awaited());
        for name in tiers.iter().filter(|name| !late.contains(*name)) {
            match self.tier(name) {
                Ok(tier) => usable.push(tier),
                Err(trouble) => {
                    let opening = (self.begun, self.started);
                    report.note((JobStage::Copy, Some(name)), opening, Err(trouble));
                }
            }
        }
        // What is here takes what is read as fast as it is read.
        usable.sort_by_key(|tier| !tier.named.tier.reads_here());
        let lanes = traffic.lanes();
        let stored = self.store_on_one_of(asset, &usable, lanes, report);
        let Some((first, others)) = stored else { return };
        let Some(snapshot) = report.snapshots.first().map(|on| on.snapshot) else {
            let names: Vec<_> = others.iter().map(|tier| tier.named.name.clone()).collect();
            return self.skip(&names, "there is nothing to copy", report);
        };
        for tier in others {
            let asset = Ordered::Asset(number);
            traffic.order(asset, &first.named.name, &tier.named.name, snapshot);
        }
    }

    /// Stores an asset on the first tier that takes it: one that breaks down gives way to the next.
    /// Returns that tier and those that are left.
    fn store_on_one_of<'t>(
        &self,
        asset: &Asset,
        tiers: &'t [&'t OpenTier],
        lanes: &Lanes<'_>,
        report: &mut AssetReport,
    ) -> Option<(&'t OpenTier, &'t [&'t OpenTier])> {
        let mut waiting = tiers;
        while let Some((tier, others)) = waiting.split_first() {
            let started = self.now();
            let lane = |tier: &&OpenTier| lanes.to(&tier.named.name);
            // What it was sent as one of the others need not be stored again.
            lane(tier).into_iter().for_each(Lane::settle);
            let followers: Vec<_> = others.iter().filter_map(lane).map(Lane::follower).collect();
            let stored = self.capture(asset, tier, &followers, report);
            let gives_way = matches!(stored, Err(CaptureTrouble::Tier(_)));
            let stage = (JobStage::Store, Some(&tier.named.name));
            report.note(stage, self.since(started), stored.map_err(Trouble::from));
            if !gives_way {
                return Some((tier, others));
            }
            waiting = others;
        }
        None
    }

    fn skip(&self, tiers: &[TierName], why: &str, report: &mut AssetReport) {
        for tier in tiers {
            let trouble = Trouble {
                ending: Ending::Skipped,
                message: why.to_owned(),
                hint: None,
                exit: Exit::Failed.code(),
                kind: None,
            };
            let now = self.since(self.now());
            report.note((JobStage::Copy, Some(tier)), now, Err(trouble));
        }
    }

    /// The tags of this job's snapshot of an asset.
    fn tags(&self, asset: &AssetName) -> Vec<String> {
        use crate::point::tag;
        // None for a point: what ties snapshots to one is computed from all of them, and called by a capture's time,
        // which a tag that is written before cannot know.
        let mut tags = vec![tag("asset", asset), tag("job", &self.id)];
        tags.extend(self.options.schedule.iter().map(|schedule| tag("schedule", schedule)));
        tags
    }

    /// Extends the locks of what was made, on every tier that locks.
    fn keep_locks(&self, reports: &[AssetReport]) -> Vec<StageOutcome> {
        let reached: BTreeSet<_> =
            reports.iter().flat_map(|report| &report.snapshots).map(|on| &on.tier).collect();
        let locks = |name: &&TierName| crate::lock_keeping::terms(self.open, name).is_some();
        let mut outcomes = Vec::new();
        for name in reached.into_iter().filter(locks) {
            let started = self.now();
            let kept = self.tier(name).and_then(|tier| {
                let cancel = self.hold(tier)?.cancel();
                let kept = keep_locks(self.open, tier, Sake::Made(self.id), self.events, cancel);
                kept.map(drop).map_err(|error| Trouble::of(&error))
            });
            outcomes.push(outcome((JobStage::Lock, Some(name)), self.since(started), kept.err()));
        }
        outcomes
    }

    /// Verifies every tier that got something.
    fn verify(&self, reports: &[AssetReport]) -> Result<Vec<TierVerification>, OpsError> {
        if self.options.extent == Extent::StoreAlone {
            return Ok(Vec::new());
        }
        let reached: BTreeSet<_> =
            reports.iter().flat_map(|report| &report.snapshots).map(|on| &on.tier).collect();
        let mut verified = Vec::new();
        for name in reached {
            if let Ok(tier) = self.tier(name) {
                let hold = self.hold(tier).expect("a tier that is usable is held");
                let (tier, cancel) = ((tier, Some(hold.guard())), hold.cancel());
                let (share, events) = (self.share(name), self.events);
                verified.push(verify_tier(self.open, tier, self.id, share, events, cancel)?);
            }
        }
        Ok(verified)
    }

    /// Returns how much is read after a backup: no data of an archive, which nobody asked to be woken, and none where the plan
    /// leaves that to verifications of their own.
    fn share(&self, tier: &TierName) -> Share {
        let plan = self.site().plan();
        let is_archive = plan.tiers().get(tier).is_some_and(PlannedTier::is_archive);
        let reads = plan.verification().after_backup.read_data.fraction() > 0.0;
        if reads && !is_archive { Share::AfterBackup } else { Share::None }
    }

    /// Tells listeners of a stage that has no progress of its own.
    fn emit(&self, event: Event) {
        self.events.emit(event);
    }
}
