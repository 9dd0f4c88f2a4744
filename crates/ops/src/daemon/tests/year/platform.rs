//! The platform of a simulated year: tiers in memory, and work that stores, copies and removes names of snapshots there and
//! records it as the operations do. What is injected is written into a log, against which all that is said is held.

use std::sync::atomic::AtomicU64;

use futures::TryStreamExt as _;
use lifeboat_model::{Outcome, SnapshotId, TierName};
use lifeboat_plan::Plan;
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Rule, Target};
use lifeboat_tiers::{MemoryTier, ObjectPath, ObjectPrefix, PutMode, Tier};

use super::*;
use crate::backlog::{Backlog, Present};
use crate::catalog::body::{
    AssetBackedUp, Body, JobEnded, JobStarted, RetentionDecided, TierSnapshot, TierVerified,
};
use crate::catalog::view::Wanted;
use crate::catalog::{Catalog, CatalogKeys};
use crate::ending::{JobStage, StageOutcome};
use crate::named_tier::NamedTier;
use crate::recovery_key::RecoveryKey;

/// Where the names of snapshots lie.
const FOLDER: &str = "repo/snapshots";

/// How long a tier keeps them.
const KEPT: Duration = Duration::from_hours(24 * 10);

/// How long a job takes at most.
const MINUTES_MAX: u64 = 40;

/// Between how many hours tiers fail, for how many at most as a rule, and for how many once in a while: what waits for a
/// tier is tried again with everything that is delivered, so that long outages are what a year's seconds go into.
const OUTAGE_EVERY: std::ops::Range<u64> = 50..400;
const OUTAGE_MAX: u64 = 8;
const OUTAGE_LONG: u64 = 40;
const LONG_ONE_IN: u32 = 8;

/// Why a job did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// It was made to fail.
    Refused,
    /// It was made to panic.
    Panic,
    /// This tier was down.
    Outage(TierName),
}

/// What was injected.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Into which jobs.
    pub causes: BTreeMap<JobId, Cause>,
    /// Snapshots whose job was killed before it could record them.
    pub orphans: BTreeSet<(TierName, SnapshotId)>,
    /// The jobs that wrote into the catalog that they began.
    pub worked: BTreeSet<JobId>,
    /// How many jobs were begun.
    pub begun: usize,
}

/// A job's process was killed.
#[derive(Debug)]
struct Killed;

/// The platform.
#[derive(Debug)]
pub(super) struct Platform {
    clock: Arc<SimClock>,
    pub key: RecoveryKey,
    pub tiers: BTreeMap<TierName, Arc<MemoryTier>>,
    outages: BTreeMap<TierName, Vec<(Timestamp, Timestamp)>>,
    random: Mutex<StdRng>,
    pub log: Mutex<Log>,
    pub is_killed: AtomicBool,
    /// Whether a job may have begun that nobody ends any more.
    pub is_abandoned: AtomicBool,
    is_calm: AtomicBool,
    snapshots: AtomicU64,
}

impl Platform {
    pub(super) fn new(plan: &Plan, clock: &Arc<SimClock>, seed: u64, end: Timestamp) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let start = lifeboat_model::Clock::now(clock.as_ref());
        let mut of_tier = |tier: &TierName| {
            let mut at = start;
            let mut outages = Vec::new();
            while at < end {
                at = hours(at, random.random_range(OUTAGE_EVERY));
                let is_long = random.random_ratio(1, LONG_ONE_IN);
                let most = if is_long { OUTAGE_LONG } else { OUTAGE_MAX };
                outages.push((at, hours(at, random.random_range(1..most)).min(end)));
            }
            (tier.clone(), outages)
        };
        Self {
            clock: Arc::clone(clock),
            key: RecoveryKey::generate(),
            outages: plan.tiers().keys().map(&mut of_tier).collect(),
            tiers: plan.tiers().keys().map(|tier| (tier.clone(), Arc::default())).collect(),
            random: Mutex::new(random),
            log: Mutex::default(),
            is_killed: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            is_calm: AtomicBool::new(false),
            snapshots: AtomicU64::new(0),
        }
    }

    /// From now on nothing is injected.
    pub(super) fn calm_down(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
    }

    fn now(&self) -> Timestamp {
        lifeboat_model::Clock::now(self.clock.as_ref())
    }

    fn draw(&self, below: u64) -> u64 {
        lock(&self.random).random_range(0..below)
    }

    /// Says of one in so many that it happens.
    fn strikes(&self, one_in: u64) -> bool {
        !self.is_calm.load(Ordering::Relaxed) && self.draw(one_in) == 0
    }

    fn is_down(&self, tier: &TierName) -> bool {
        let now = self.now();
        self.outages[tier].iter().any(|(from, until)| (*from..*until).contains(&now))
    }

    /// Returns the tiers as they can be reached now.
    pub(super) fn reach(&self) -> Vec<NamedTier> {
        let reach = |(name, memory): (&TierName, &Arc<MemoryTier>)| {
            let tier: Arc<dyn Tier> = Arc::<MemoryTier>::clone(memory);
            if !self.is_down(name) {
                return NamedTier { name: name.clone(), tier };
            }
            let down = FaultTier::new(tier);
            down.add(Rule::new(Target::Any, Fault::Fail(Moment::Before)));
            NamedTier { name: name.clone(), tier: Arc::new(down) }
        };
        self.tiers.iter().map(reach).collect()
    }

    pub(super) fn open(&self, site: &Site) -> Catalog {
        let keys = CatalogKeys::from(&self.key);
        let lock = site.state_lock().unwrap();
        let catalog = Catalog::open(lock, site.name().clone(), keys, site.surroundings()).unwrap();
        catalog.enrol(&self.key.root_key(), "host", None).unwrap();
        catalog
    }

    fn cause(&self, job: JobId, cause: Cause) {
        lock(&self.log).causes.insert(job, cause);
    }

    fn pass(&self, minutes: u64) {
        self.clock.advance(Duration::from_mins(minutes));
    }
}

pub(super) fn hours(from: Timestamp, hours: u64) -> Timestamp {
    from.saturating_add(Duration::from_hours(hours)).unwrap()
}

/// Returns the snapshots that lie on a tier.
pub(super) fn listed(runtime: &tokio::runtime::Handle, tier: &dyn Tier) -> BTreeSet<SnapshotId> {
    let folder: ObjectPrefix = FOLDER.parse().unwrap();
    let listed: Vec<_> = runtime.block_on(tier.list(&folder).try_collect()).unwrap();
    listed.iter().map(|found| found.path.as_str()[FOLDER.len() + 1..].parse().unwrap()).collect()
}

fn path(snapshot: SnapshotId) -> ObjectPath {
    format!("{FOLDER}/{}", snapshot.to_hex()).parse().unwrap()
}

impl Executor for Platform {
    fn execute(&self, site: Site, job: &Job, _: &dyn EventSink, _: &Cancel) -> Finished {
        lock(&self.log).begun += 1;
        if self.is_killed.load(Ordering::Relaxed) {
            return Finished::failed("nobody hears this any more");
        }
        self.pass(self.draw(MINUTES_MAX / 2));
        if self.strikes(40) {
            return Finished { is_busy: true, ..Finished::failed("busy") };
        }
        if self.strikes(50) {
            self.cause(job.id, Cause::Refused);
            return Finished::failed("it was made to fail");
        }
        let shift = Shift { platform: self, site: &site, job: job.id, catalog: self.open(&site) };
        let Ok(ending) = shift.work(job) else {
            self.is_killed.store(true, Ordering::Relaxed);
            return Finished::failed("nobody hears this any more");
        };
        self.pass(self.draw(MINUTES_MAX / 2));
        let why = (ending != Ending::Succeeded).then(|| "a tier is down".to_owned());
        Finished::done(ending, why)
    }
}

/// A job at work.
struct Shift<'a> {
    platform: &'a Platform,
    site: &'a Site,
    job: JobId,
    catalog: Catalog,
}

impl Shift<'_> {
    fn record(&self, body: Body) {
        self.catalog.append(body, Some(self.site.plan().id())).unwrap();
    }

    fn deliver(&self) {
        self.catalog.deliver(&self.platform.reach()).unwrap();
    }

    /// The process may be killed here.
    fn risk(&self) -> Result<(), Killed> {
        if self.platform.strikes(700) { Err(Killed) } else { Ok(()) }
    }

    fn close_interrupted(&self) {
        // The operations look each time, which takes a look at every job that there ever was.
        if !self.platform.is_abandoned.swap(false, Ordering::Relaxed) {
            return;
        }
        for job in self.catalog.abandoned().unwrap() {
            self.record(Body::JobEnded(JobEnded { job, ending: Ending::Interrupted }));
        }
    }

    fn work(&self, job: &Job) -> Result<Ending, Killed> {
        self.close_interrupted();
        let task = job.task().unwrap();
        let assets: Vec<_> = task.assets(self.site.plan()).into_iter().collect();
        let _present = self.catalog.state_lock().enter(self.job, &assets).unwrap();
        let command = task.to_string();
        self.record(Body::JobStarted(JobStarted { job: self.job, command, assets }));
        lock(&self.platform.log).worked.insert(self.job);
        if self.platform.strikes(60) {
            self.platform.cause(self.job, Cause::Panic);
            self.platform.is_abandoned.store(true, Ordering::Relaxed);
            panic!("a defect");
        }
        let down = match task {
            Task::Backup(schedule) => self.back_up(schedule)?,
            Task::CatchUp(tier) => self.catch_up(tier)?,
            Task::Verification(tier) => self.verify(tier),
            Task::Retention => self.remove()?,
            Task::Delivery => self.first_down(),
            Task::Capture(_) | Task::RestoreTest(_) | Task::Drill(_) => None,
        };
        self.risk()?;
        let ending = if down.is_some() { Ending::Failed } else { Ending::Succeeded };
        if let Some(tier) = down {
            self.platform.cause(self.job, Cause::Outage(tier));
        }
        self.record(Body::JobEnded(JobEnded { job: self.job, ending }));
        self.risk()?;
        self.deliver();
        Ok(ending)
    }

    fn first_down(&self) -> Option<TierName> {
        let mut tiers = self.platform.tiers.keys();
        tiers.find(|tier| self.platform.is_down(tier)).cloned()
    }

    /// Stores a name on a tier; `None` if it is down.
    fn put(&self, tier: &TierName, snapshot: SnapshotId) -> Result<Option<TierSnapshot>, Killed> {
        if self.platform.is_down(tier) {
            return Ok(None);
        }
        let runtime = &self.site.surroundings().runtime;
        let path = path(snapshot);
        let put = self.platform.tiers[tier].put(&path, "x".into(), PutMode::Overwrite);
        runtime.block_on(put).unwrap();
        // Until it is recorded nobody knows of it.
        lock(&self.platform.log).orphans.insert((tier.clone(), snapshot));
        self.risk()?;
        Ok(Some(TierSnapshot { tier: tier.clone(), snapshot }))
    }

    fn note_recorded(&self, there: &[TierSnapshot]) {
        let mut log = lock(&self.platform.log);
        for there in there {
            log.orphans.remove(&(there.tier.clone(), there.snapshot));
        }
    }

    fn stage(&self, tier: &TierName, is_there: bool) -> StageOutcome {
        let now = self.platform.now();
        let ending = if is_there { Ending::Succeeded } else { Ending::Failed };
        StageOutcome {
            stage: JobStage::Copy,
            tier: Some(tier.clone()),
            ending,
            message: (!is_there).then(|| "it is down".to_owned()),
            hint: None,
            started: now,
            ended: now,
        }
    }

    fn back_up(&self, schedule: &lifeboat_model::ScheduleName) -> Result<Option<TierName>, Killed> {
        let plan = self.site.plan();
        let tiers = plan.schedules()[schedule].to.pick(plan.tiers().keys());
        let mut down = None;
        for asset in Task::Backup(schedule.clone()).assets(plan) {
            let number = self.platform.snapshots.fetch_add(1, Ordering::Relaxed);
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            let (snapshot, captured) = (SnapshotId::from_bytes(bytes), self.platform.now());
            self.platform.pass(1);
            let (mut snapshots, mut stages) = (Vec::new(), Vec::new());
            for tier in &tiers {
                let there = self.put(tier, snapshot)?;
                stages.push(self.stage(tier, there.is_some()));
                if there.is_none() {
                    down = Some((*tier).clone());
                }
                snapshots.extend(there);
            }
            let captured = Some(captured).filter(|_| !snapshots.is_empty());
            let body = self.body(asset, captured, snapshots.clone(), stages);
            self.record(Body::AssetBackedUp(body));
            self.note_recorded(&snapshots);
            self.risk()?;
        }
        Ok(down)
    }

    fn body(
        &self,
        asset: AssetName,
        captured: Option<Timestamp>,
        snapshots: Vec<TierSnapshot>,
        stages: Vec<StageOutcome>,
    ) -> AssetBackedUp {
        AssetBackedUp {
            job: self.job,
            asset,
            schedule: None,
            captured,
            snapshots,
            revision: None,
            base: None,
            size_bytes: Some(1),
            bytes_read: 1,
            bytes_stored: 1,
            skipped: Vec::new(),
            stages,
        }
    }

    fn catch_up(&self, tier: &TierName) -> Result<Option<TierName>, Killed> {
        if self.platform.is_down(tier) {
            return Ok(Some(tier.clone()));
        }
        let (plan, runtime) = (self.site.plan(), &self.site.surroundings().runtime);
        let up = self.platform.tiers.iter().filter(|(name, _)| !self.platform.is_down(name));
        let present: Present =
            up.map(|(name, memory)| (name.clone(), listed(runtime, memory.as_ref()))).collect();
        let backlog = Backlog::load(self.catalog.view(), plan).unwrap();
        for lacking in backlog.of_tier(plan, tier, &present, self.platform.now()) {
            let Some(snapshot) = lacking.on.values().next() else { continue };
            let there: Vec<_> = self.put(tier, *snapshot)?.into_iter().collect();
            let stages = vec![self.stage(tier, true)];
            let body = self.body(lacking.asset, Some(lacking.captured), there.clone(), stages);
            self.record(Body::AssetBackedUp(body));
            self.note_recorded(&there);
            self.risk()?;
        }
        Ok(None)
    }

    fn verify(&self, tier: &TierName) -> Option<TierName> {
        let is_down = self.platform.is_down(tier);
        self.record(Body::TierVerified(TierVerified {
            job: self.job,
            tier: tier.clone(),
            outcome: if is_down { Outcome::CouldNotVerify } else { Outcome::Passed },
            packs_read: 1,
            bytes_read: 1,
            all_data: false,
            read_until: Some(self.platform.now()),
            findings: Vec::new(),
            damaged_packs: BTreeSet::new(),
        }));
        is_down.then(|| tier.clone())
    }

    fn remove(&self) -> Result<Option<TierName>, Killed> {
        let mut down = None;
        for (tier, memory) in &self.platform.tiers {
            if self.platform.is_down(tier) {
                down = Some(tier.clone());
            } else {
                self.remove_from(tier, memory)?;
            }
        }
        Ok(down)
    }

    fn remove_from(&self, tier: &TierName, memory: &MemoryTier) -> Result<(), Killed> {
        let (view, runtime) = (self.catalog.view(), &self.site.surroundings().runtime);
        let limit = self.platform.now().saturating_sub(KEPT).unwrap();
        let mut snapshots = Vec::new();
        for asset in self.site.plan().assets().keys() {
            let captures = view.captures(asset, tier, u32::MAX).unwrap();
            let old = captures.iter().skip(1).filter(|capture| capture.captured < limit);
            snapshots.extend(old.map(|capture| capture.snapshot));
        }
        if !snapshots.is_empty() {
            let (job, tier) = (self.job, tier.clone());
            self.record(Body::RetentionDecided(RetentionDecided { job, tier, snapshots }));
        }
        // What an earlier one decided and did not come to, goes too.
        for snapshot in let_go(view, tier).intersection(&listed(runtime, memory)) {
            self.risk()?;
            runtime.block_on(memory.delete(&path(*snapshot))).unwrap();
        }
        Ok(())
    }
}

/// Returns what it was decided to remove from a tier.
pub(super) fn let_go(view: &crate::catalog::view::View, tier: &TierName) -> BTreeSet<SnapshotId> {
    let wanted =
        Wanted { kind: "retention-decided", asset: None, tier: Some(tier), good_only: false };
    let records = view.latest(wanted, u32::MAX).unwrap();
    let decided = records.iter().filter_map(|record| match record.body() {
        Body::RetentionDecided(body) => Some(body.snapshots.clone()),
        _ => None,
    });
    decided.flatten().collect()
}
