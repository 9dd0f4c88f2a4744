//! Retention: what each tier keeps, in the plan's words, and removing the rest.
//!
//! [`rules`] decides over snapshots and [`log`] over the write-ahead log, both pure; this file gathers what
//! they decide upon and does what they say.
//!
//! # Invariants
//!
//! - What is decided is decided under restic's exclusive lock of every tier that something is removed from,
//!   from what lies there then.
//! - Nothing is removed from a tier that does not list a snapshot which was recorded and is there: what else it does not list
//!   nobody knows. What such a snapshot needs on other tiers stays.
//! - Nothing is removed from a tier from which a snapshot is gone that was recorded there and that nobody let go: its data may be all
//!   that is left of it. [`letting_go`] is how a person says that it may.
//! - Nothing goes that the rules or the store's own locks keep; see [`rules`] and [`log`].
//! - While retention is held nothing is written or removed but locks, and those are extended; see [`hold`].
//!
//! # Crash consistency
//!
//! On each tier, in this order: the catalog says which snapshots are to go; they go; their data is pruned;
//! the log goes that no base needs any more, the oldest first; the locks of bases and their log are extended; the catalog says that it
//! is done. A kill leaves snapshots, data or log that are not needed, which the next run removes, and whatever stays can
//! be restored at every moment. What was recorded as to go is not taken for lost.
//!
//! # Limits
//!
//! A hold that another host recorded is seen once one of the tiers that it was delivered to is reached.

mod execution;
mod facts;
pub mod hold;
pub mod letting_go;
pub mod log;
pub mod price;
pub mod rules;

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{AssetName, Cancel, Capability, EventSink, Exit, JobId, SiteName};
use lifeboat_model::{SnapshotId, TierName, Timestamp};
use lifeboat_postgres::archive::inventory::{Listed, list};
use lifeboat_postgres::archive::name::root;
use lifeboat_repository::lock::LockGuard;
use lifeboat_repository::prune::PruneReport;
use lifeboat_tiers::{Protection, TierError};
use serde::Serialize;

use self::execution::{Done, Work};
use self::facts::Facts;
use self::hold::{Hold, holds};
use self::log::{BaseAt, Bases, Sight};
use self::price::{Going, Price, Requests};
use self::rules::{Condition, Evidence, Inputs, Maker, Reason, TierFate, TierHeld, decide};
use crate::backup::base::{has_base, read_manifest};
use crate::catalog::body::{Body, JobEnded, JobStarted, RetentionDecided, RetentionDone};
use crate::catalog::view::Wanted;
use crate::ending::Ending;
use crate::error::{OpsError, Trouble};
use crate::listing::{self, Seen, see};
use crate::lock_keeping::{Sake, keep_locks};
use crate::readiness::{Deletion, clear_away, may_delete};
use crate::standing::Standing;
use crate::traffic::TierTraffic;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite, OpenTier};

/// The version of [`RetentionReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// What is done with what is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is shown.
    Show,
    /// It is done.
    Run,
}

/// What retention looks at.
#[derive(Debug, Clone)]
pub struct RetentionOptions {
    /// These tiers; all, if empty.
    pub tiers: Vec<TierName>,
    /// What is done with what is decided.
    pub purpose: Purpose,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotFate {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Of which asset; absent if this site did not make it.
    pub asset: Option<AssetName>,
    /// When it was made.
    pub time: Timestamp,
    /// What is known of it.
    pub evidence: Evidence,
    /// Why it stays; it goes if there is no reason.
    pub reasons: Vec<Reason>,
}

/// What becomes of the log on a tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LogFate {
    /// How many files go.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many of them stay since the store locks them.
    pub locked: u64,
}

/// What becomes of a tier.
#[derive(Debug, Serialize)]
pub struct TierReport {
    /// Which tier.
    pub tier: TierName,
    /// How it ended.
    pub ending: Ending,
    /// Why nothing, or not all, was done, if so.
    pub trouble: Option<Trouble>,
    /// Its snapshots, the newest first.
    pub snapshots: Vec<SnapshotFate>,
    /// Its log.
    pub log: LogFate,
    /// What pruning does, or would do.
    pub prune: Option<PruneReport>,
    /// How often the tier is asked.
    pub requests: Option<Requests>,
    /// What that costs; absent where the plan does not say what the tier costs.
    pub price: Option<Price>,
}

impl TierReport {
    fn of(fate: &TierFate) -> Self {
        let snapshots = fate.fates.iter().map(|fate| SnapshotFate {
            snapshot: fate.held.id,
            asset: match &fate.held.maker {
                Maker::Site { asset, .. } => Some(asset.clone()),
                Maker::Stranger => None,
            },
            time: fate.held.snapshot.time.instant(),
            evidence: fate.held.evidence,
            reasons: fate.reasons.clone(),
        });
        Self { snapshots: snapshots.collect(), ..Self::new(fate.tier.clone()) }
    }

    const fn new(tier: TierName) -> Self {
        Self {
            tier,
            ending: Ending::Succeeded,
            trouble: None,
            snapshots: Vec::new(),
            log: LogFate { files: 0, bytes: 0, locked: 0 },
            prune: None,
            requests: None,
            price: None,
        }
    }

    fn fail(&mut self, trouble: Trouble) {
        self.ending = trouble.ending;
        self.trouble = Some(trouble);
    }
}

/// What retention decided and did.
#[derive(Debug, Serialize)]
pub struct RetentionReport {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// Which job, if anything was to be done.
    pub job: Option<JobId>,
    /// How it ended: as the worst tier did.
    pub ending: Ending,
    /// The holds that are open.
    pub holds: Vec<Hold>,
    /// The tiers.
    pub tiers: Vec<TierReport>,
    /// What each tier was asked for, and what that costs.
    pub traffic: Vec<TierTraffic>,
}

impl RetentionReport {
    /// Returns how the command ends.
    pub fn exit(&self) -> Exit {
        let locked = |tier: &TierReport| {
            tier.trouble.as_ref().is_some_and(|trouble| trouble.exit == Exit::Locked.code())
        };
        if self.ending == Ending::Failed && self.tiers.iter().any(locked) {
            return Exit::Locked;
        }
        self.ending.exit()
    }
}

/// Decides what goes from the tiers, and removes it if that is the purpose.
pub fn retention(
    site: &Site,
    options: &RetentionOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<RetentionReport, OpsError> {
    for tier in &options.tiers {
        site.address(tier)?;
    }
    let before = site.traffic();
    // What is kept elsewhere decides what may go here.
    let all: BTreeSet<TierName> = site.plan().tiers().keys().cloned().collect();
    let leave = NewTiers::Leave;
    let (open, job) = match options.purpose {
        Purpose::Show => (OpenSite::open(site, &all, leave, events, cancel)?, None),
        Purpose::Run => {
            let open = OpenSite::open_home(site, &all, leave, events, cancel)?;
            let job = begin(&open)?;
            (open, Some(job))
        }
    };
    let (guards, behind, gone) = Default::default();
    let mut run = Run { open: &open, job, events, cancel, guards, behind, gone };
    let wanted = |tier: &&TierName| options.tiers.is_empty() || options.tiers.contains(tier);
    let wanted: Vec<TierName> = all.iter().filter(wanted).cloned().collect();
    run.lock(&wanted);
    let facts = Facts::load(open.catalog().view())?;
    let held = holds(site, open.catalog().view())?;
    let fates = run.decide(&facts, &held, &wanted)?;
    let mut tiers = Vec::new();
    for tier in wanted {
        tiers.push(run.tier(&tier, &facts, &fates)?);
    }
    drop(run);
    let ending = tiers.iter().map(|tier| tier.ending).max().unwrap_or(Ending::Succeeded);
    if let Some(job) = job {
        open.record(Body::JobEnded(JobEnded { job, ending }))?;
    }
    open.deliver()?;
    Ok(RetentionReport {
        schema: SCHEMA,
        site: site.name().clone(),
        job,
        ending,
        holds: held,
        tiers,
        traffic: TierTraffic::since(site, &before),
    })
}

fn begin(open: &OpenSite<'_>) -> Result<JobId, OpsError> {
    let job = open.site().new_job();
    let (command, assets) = ("retention".to_owned(), Vec::new());
    open.record(Body::JobStarted(JobStarted { job, command, assets }))?;
    Ok(job)
}

/// A run of retention.
struct Run<'a> {
    open: &'a OpenSite<'a>,
    /// The job, if anything is to be done.
    job: Option<JobId>,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
    guards: BTreeMap<TierName, Result<LockGuard, Trouble>>,
    /// The tiers that hold what they do not list, and a snapshot of those.
    behind: BTreeMap<TierName, SnapshotId>,
    /// What is gone from tiers without anybody's word.
    gone: BTreeMap<TierName, BTreeSet<SnapshotId>>,
}

impl Run<'_> {
    /// Takes an exclusive lock of each tier that something may go from.
    fn lock(&mut self, wanted: &[TierName]) {
        if self.job.is_none() {
            return;
        }
        for name in wanted {
            if let Ok(tier) = self.open.tier(name) {
                let guard = self.lock_alone(tier).map_err(|error| Trouble::of(&error));
                self.guards.insert(name.clone(), guard);
            }
        }
    }

    /// Fails if the plan says that this host removes nothing, and the tier agrees; before it is locked, since a lock could
    /// not be taken away either.
    fn lock_alone(&self, tier: &OpenTier) -> Result<LockGuard, OpsError> {
        let (site, name) = (self.open.site(), &tier.named.name);
        let (rules, store) = (site.plan().tiers().get(name), tier.named.tier.as_ref());
        let runtime = &site.surroundings().runtime;
        if rules.is_some_and(|rules| rules.append_only) {
            match runtime.block_on(may_delete(store))? {
                Deletion::Done => {}
                Deletion::Refused => return Err(OpsError::AppendOnly { tier: name.clone() }),
            }
        } else if rules.is_some_and(|rules| rules.lock.is_some()) {
            runtime.block_on(clear_away(store))?;
        }
        Ok(self.open.lock_alone(tier, self.events, self.cancel)?)
    }

    /// Decides over everything that can be looked at.
    fn decide(
        &mut self,
        facts: &Facts,
        held: &[Hold],
        wanted: &[TierName],
    ) -> Result<Vec<TierFate>, OpsError> {
        let (site, now) = (self.open.site(), self.open.site().surroundings().now());
        let mut tiers = Vec::new();
        for tier in self.open.open_tiers() {
            let name = &tier.named.name;
            let seen = see(self.open.catalog().view(), name, &tier.repository);
            let Ok(Seen { snapshots, unlisted }) = seen else { continue };
            self.behind.extend(unlisted.first().map(|id| (name.clone(), *id)));
            let Ok(gone) = listing::gone(self.open, tier) else { continue };
            if !gone.is_empty() {
                self.gone.insert(name.clone(), gone);
            }
            let is_damaged = Standing::load(self.open.catalog().view(), name)?.is_damaged();
            let held = snapshots.into_iter().map(|(id, s)| facts.held(site.name(), name, id, s));
            tiers.push(TierHeld {
                tier: name.clone(),
                keep: site
                    .plan()
                    .tiers()
                    .get(name)
                    .map(|tier| tier.keep.clone())
                    .unwrap_or_default(),
                condition: if is_damaged { Condition::Damaged } else { Condition::Sound },
                snapshots: held.collect(),
            });
        }
        let schedules = rules::schedules(site.plan());
        let holds = held.iter().map(|hold| hold.reason.clone()).collect();
        let mut inputs = Inputs { tiers, schedules, holds, now };
        let first = decide(&inputs);
        for (tier, fate) in inputs.tiers.iter_mut().zip(&first) {
            if wanted.contains(&tier.tier) {
                self.ask_locks(tier, fate)?;
            }
        }
        Ok(decide(&inputs))
    }

    /// Asks until when the snapshots are locked that would go.
    fn ask_locks(&self, tier: &mut TierHeld, fate: &TierFate) -> Result<(), OpsError> {
        let Ok(open) = self.open.tier(&tier.tier) else { return Ok(()) };
        if !open.named.tier.capabilities().has(Capability::ObjectLock) {
            return Ok(());
        }
        let going: BTreeSet<SnapshotId> = fate.going().map(|held| held.id).collect();
        let store = open.repository.store();
        for held in tier.snapshots.iter_mut().filter(|held| going.contains(&held.id)) {
            self.cancel.check()?;
            let asked = store.runtime().block_on(store.tier().protection(&store.path(&held.id)));
            held.locked_until = match asked {
                Ok(Protection::Locked { until, .. }) => Some(until),
                Ok(Protection::None) | Err(TierError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(())
    }

    /// Shows or does what is decided for a tier; what goes wrong there does not spoil the others.
    fn tier(
        &self,
        name: &TierName,
        facts: &Facts,
        fates: &[TierFate],
    ) -> Result<TierReport, OpsError> {
        let _span = tracing::info_span!("retention", tier = %name).entered();
        let ready = self.open.tier(name).and_then(|tier| match self.guards.get(name) {
            Some(Err(trouble)) => Err(trouble.clone()),
            Some(Ok(guard)) => Ok((tier, Some(guard))),
            None => Ok((tier, None)),
        });
        let (tier, guard) = match ready {
            Ok(ready) => ready,
            Err(trouble) => {
                let mut report = TierReport::new(name.clone());
                report.fail(trouble);
                return Ok(report);
            }
        };
        let Some(fate) = fates.iter().find(|fate| fate.tier == *name) else {
            let mut report = TierReport::new(name.clone());
            let unread = tier.repository.snapshots().map(drop);
            report.fail(unread.map_or_else(|error| Trouble::of(&error), |()| unseen(name)));
            return Ok(report);
        };
        let mut report = TierReport::of(fate);
        let done = match (self.behind.get(name), self.gone.get(name)) {
            (Some(&snapshot), _) => Err(OpsError::ListingBehind { tier: name.clone(), snapshot }),
            (None, Some(gone)) => {
                let snapshots = gone.iter().copied().collect();
                Err(OpsError::SnapshotsGone { tier: name.clone(), snapshots })
            }
            (None, None) => {
                self.act(tier, guard, fate, &self.bases(name, facts, fates)?, &mut report)
            }
        };
        let ending = match done {
            Ok(()) => Ending::Succeeded,
            Err(error) => {
                report.fail(Trouble::of(&error));
                report.ending
            }
        };
        self.record_end(&report, fate, ending)?;
        Ok(report)
    }

    fn act(
        &self,
        tier: &OpenTier,
        guard: Option<&LockGuard>,
        fate: &TierFate,
        bases: &Bases,
        report: &mut TierReport,
    ) -> Result<(), OpsError> {
        let name = &tier.named.name;
        // A recovery of this host may have begun meanwhile.
        if !holds(self.open.site(), self.open.catalog().view())?.is_empty() {
            if guard.is_some() {
                keep_locks(self.open, tier, Sake::Moments, self.events, self.cancel)?;
            }
            return Ok(());
        }
        let listed = self.listed(tier)?;
        let is_kept = fate.condition == Condition::Damaged;
        let log = if is_kept { Vec::new() } else { log::going(&listed, bases) };
        let going: Vec<SnapshotId> = fate.going().map(|held| held.id).collect();
        let work = Work { open: self.open, tier, events: self.events, cancel: self.cancel };
        let Done { prune, log: gone } = match (guard, self.job) {
            (Some(guard), Some(job)) => {
                if !going.is_empty() {
                    let (tier, snapshots) = (name.clone(), going.clone());
                    self.open.record(Body::RetentionDecided(RetentionDecided {
                        job,
                        tier,
                        snapshots,
                    }))?;
                    self.open.deliver()?;
                }
                let done = work.perform(guard, &going, &log)?;
                keep_locks(self.open, tier, Sake::Moments, self.events, self.cancel)?;
                done
            }
            _ => work.foresee(&going, &log)?,
        };
        let counts = Going {
            snapshots: going.len() as u64,
            log_files: gone.files,
            log_bytes: gone.bytes,
            log_listed: listed.len() as u64,
        };
        let requests = Requests::of(&prune, counts);
        let cost = self.open.site().plan().costs().tiers.get(name);
        report.price = cost.map(|cost| Price::of(cost, &requests, &prune, gone.bytes));
        (report.prune, report.requests, report.log) = (Some(prune), Some(requests), gone);
        Ok(())
    }

    fn listed(&self, tier: &OpenTier) -> Result<Vec<Listed>, OpsError> {
        let runtime = &self.open.site().surroundings().runtime;
        Ok(runtime.block_on(list(tier.named.tier.as_ref(), &root()))?)
    }

    fn record_end(
        &self,
        report: &TierReport,
        fate: &TierFate,
        ending: Ending,
    ) -> Result<(), OpsError> {
        let Some(job) = self.job else { return Ok(()) };
        let snapshots = if ending == Ending::Succeeded { fate.going().count() as u64 } else { 0 };
        self.open.record(Body::RetentionDone(RetentionDone {
            job,
            tier: report.tier.clone(),
            ending,
            snapshots,
            freed_bytes: report.prune.map_or(0, |prune| prune.freed_bytes),
            log_files: report.log.files,
            log_bytes: report.log.bytes,
        }))?;
        self.open.deliver()?;
        Ok(())
    }

    /// Finds where the bases that stay lie in the log.
    fn bases(&self, here: &TierName, facts: &Facts, fates: &[TierFate]) -> Result<Bases, OpsError> {
        let recorded = facts.clusters.clone();
        let mut bases =
            Bases { here: Vec::new(), elsewhere: Vec::new(), sight: self.sight(fates)?, recorded };
        for fate in fates {
            let tier = self.open.tier(&fate.tier).ok();
            for held in fate.staying() {
                let Maker::Site { asset, .. } = &held.maker else { continue };
                if !has_base(&held.snapshot, asset) {
                    continue;
                }
                let base = facts.base(&held.snapshot, asset);
                let read = || read_manifest(tier?, &held.snapshot, asset).ok();
                match base.or_else(|| read().map(|manifest| at(&manifest))) {
                    None => bases.sight = Sight::Partial,
                    Some(base) if fate.tier == *here => bases.here.push(base),
                    Some(base) => bases.elsewhere.push(base),
                }
            }
        }
        Ok(bases)
    }

    /// Tells whether every tier that was ever set up was looked at, and holds what was recorded there.
    fn sight(&self, fates: &[TierFate]) -> Result<Sight, OpsError> {
        if !self.gone.is_empty() {
            return Ok(Sight::Partial);
        }
        for name in self.open.site().plan().tiers().keys() {
            let wanted =
                Wanted { kind: "tier-adopted", asset: None, tier: Some(name), good_only: false };
            let was_there = !self.open.catalog().view().latest(wanted, 1)?.is_empty();
            if was_there && !fates.iter().any(|fate| fate.tier == *name) {
                return Ok(Sight::Partial);
            }
        }
        Ok(Sight::Whole)
    }
}

fn unseen(tier: &TierName) -> Trouble {
    Trouble {
        ending: Ending::CouldNotVerify,
        message: format!("the snapshots on `{tier}` could not be read when it was decided"),
        hint: Some(format!("lifeboat retention show {tier}")),
        exit: Exit::CouldNotVerify.code(),
        kind: None,
    }
}

fn at(manifest: &lifeboat_postgres::base::manifest::Manifest) -> BaseAt {
    BaseAt {
        system: lifeboat_postgres::archive::SystemId(manifest.system_id),
        timeline: manifest.timeline,
        start: manifest.start_lsn,
        stop: manifest.stop_lsn,
    }
}
