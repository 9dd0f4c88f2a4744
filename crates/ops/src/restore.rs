//! Restoring an asset: beside what is there, or in its place with the old state kept aside. What a
//! command captured goes back through a command, which alone knows what it replaces.
//!
//! [`preview`] says what would be restored and what it replaces; [`restore()`] does it. What replaces
//! something needs the site's name as confirmation, handed in as a value.
//!
//! # Crash consistency
//!
//! A restore into a directory touches nothing else. In place, files are first renamed aside, all or
//! none, and stay there; a database is loaded and compared under another name, and only then takes
//! the place of the old one in one transaction. After a kill the old state is where it was or
//! aside under a name that ends with the time.
//!
//! # Beside others
//!
//! A restore waits for nobody who works with this host's state, and is refused by nobody but one who replaces something as
//! well: it only records what it did.

mod better;
mod database;
mod elsewhere;
mod files;
mod output;
mod packs;
mod stage;
mod tables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::Timestamp;
use lifeboat_model::{AssetName, Cancel, EventSink, Exit, JobId, SiteName, SnapshotId, TierName};
use lifeboat_plan::plan::asset::AssetKind;
use lifeboat_plan::plan::runbook::Extent;
use lifeboat_repository::Snapshot;
use lifeboat_repository::lock::LockGuard;
use lifeboat_repository::restore::{self, RestoreReport as FilesReport, Selection};
use serde::Serialize;

pub use database::DatabaseReport;
pub(crate) use database::Load;
pub(crate) use stage::{set_aside, suffix_of};
pub use tables::RestoredTable;

use crate::catalog::body::{Body, JobEnded, JobStarted, Restored};
use crate::ending::Ending;
use crate::error::{OpsError, Trouble};
use crate::holdings::Holdings;
use crate::met_damage;
use crate::point::{At, Capture, ChosenCapture, Point, capture_at};
use crate::standing::Standing;
use crate::thaw::{Gate, ThawForecast, ThawOptions};
use crate::traffic::TierTraffic;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite, OpenTier, Quorum};

/// The version of [`RestoreJobReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// Where a restore goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Below this directory, which is created or has to be empty.
    Directory(PathBuf),
    /// Where it came from; what is there is kept aside.
    InPlace,
    /// Some tables of the asset's dump, by their names as SQL writes them, each as a file of SQL in a
    /// directory, which is created or has to be empty.
    Tables(Vec<String>, PathBuf),
}

/// What is restored.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Which asset.
    pub asset: AssetName,
    /// Which moment.
    pub at: At,
    /// This very snapshot, whatever the moment says.
    pub snapshot: Option<SnapshotId>,
    /// From which tier; the first in the plan's order that has it, if absent.
    pub tier: Option<TierName>,
    /// Where to.
    pub to: Destination,
    /// The site's name, which confirms that its data may be replaced.
    pub confirm: Option<SiteName>,
    /// Whether an owner that could not be set makes the restore incomplete.
    pub strict_owner: bool,
    /// What of the files, where they go to a directory.
    pub selection: Selection,
    /// How much of the files, where they go in place.
    pub extent: Extent,
    /// What is done about packs in cold storage.
    pub thaw: ThawOptions,
}

impl RestoreOptions {
    /// The newest of an asset, all of it, from the first tier that has it; replaces nothing and asks no store for
    /// what lies cold.
    pub fn new(asset: AssetName, to: Destination) -> Self {
        Self {
            asset,
            at: At::Latest,
            snapshot: None,
            tier: None,
            to,
            confirm: None,
            strict_owner: false,
            selection: Selection::default(),
            extent: Extent::Everything,
            thaw: ThawOptions::default(),
        }
    }
}

/// What a restore is going to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestorePreview {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// What was captured when.
    #[serde(flatten)]
    pub capture: Capture,
    /// The point that was named and ties it; absent where a time was given or the newest is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<TiedBy>,
    /// From which tier.
    pub tier: TierName,
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Where to, as a person says it.
    pub target: String,
    /// What is there now and is replaced.
    pub replaces: Vec<String>,
    /// Whether what is replaced is kept aside; if not, a command of the plan decides what becomes of it.
    pub keeps_replaced: bool,
    /// What of it lies in cold storage; absent where nothing does, and once it was restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thaw: Option<ThawForecast>,
}

/// The point by which a capture was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TiedBy {
    /// What it is called.
    pub name: String,
    /// Its time.
    pub time: Timestamp,
    /// How many seconds after that the capture was made; negative before it.
    pub skew_s: i64,
}

impl TiedBy {
    fn of(point: &Point, capture: &Capture) -> Self {
        let skew_s = capture.time.duration_since(point.time).as_secs();
        Self { name: point.name.clone(), time: point.time, skew_s }
    }
}

/// What a restore did.
#[derive(Debug, Serialize)]
pub struct RestoreJobReport {
    /// What it set out to do.
    #[serde(flatten)]
    pub preview: RestorePreview,
    /// Which job.
    pub job: JobId,
    /// How it ended.
    pub ending: Ending,
    /// Files that were restored.
    pub files: Option<FilesReport>,
    /// The database that was restored.
    pub database: Option<DatabaseReport>,
    /// The tables that were restored as files.
    pub tables: Vec<RestoredTable>,
    /// Where the old files are kept.
    pub kept_aside: Vec<PathBuf>,
    /// From where else the same can be had, if not all of it came.
    pub hint: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What each tier was asked for, and what that costs.
    pub traffic: Vec<TierTraffic>,
}

impl RestoreJobReport {
    /// Refuses one of which not everything came back.
    pub(crate) fn whole(&self) -> Result<(), OpsError> {
        if self.ending == Ending::Succeeded {
            return Ok(());
        }
        let asset = self.preview.capture.asset.clone();
        if self.files.as_ref().is_some_and(FilesReport::met_damage) {
            return Err(OpsError::PointDamaged { asset, tier: self.preview.tier.clone() });
        }
        Err(OpsError::NotWhole { asset, ending: self.ending })
    }

    /// Returns how the command ends.
    pub fn exit(&self) -> Exit {
        self.ending.exit()
    }
}

/// Returns the plan's only database, which `--database-only` means.
pub fn only_database(site: &Site) -> Result<AssetName, OpsError> {
    let databases: Vec<_> = site.databases().map(|(name, _)| name.clone()).collect();
    match <[AssetName; 1]>::try_from(databases) {
        Ok([only]) => Ok(only),
        Err(databases) => Err(OpsError::NotOneDatabase { count: databases.len() }),
    }
}

/// Says what a restore would do; changes nothing but the catalog's view.
pub fn preview(
    site: &Site,
    options: &RestoreOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<RestorePreview, OpsError> {
    let kind = &site.asset(&options.asset)?.kind;
    let site = &site.clone().beside();
    let (open, holdings) = open(site, options, events, cancel)?;
    let chosen = choose((&open, &holdings), options, cancel)?;
    let packs = || chosen.packs(options, kind, cancel);
    let thaw = chosen.gate(&open, options, cancel).forecast(packs)?;
    Ok(RestorePreview { thaw, ..chosen.preview })
}

/// Restores.
pub fn restore(
    site: &Site,
    options: &RestoreOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<RestoreJobReport, OpsError> {
    let _span = tracing::info_span!("restore", asset = %options.asset).entered();
    let kind = &site.asset(&options.asset)?.kind;
    if options.to == Destination::InPlace && options.confirm.as_ref() != Some(site.name()) {
        return Err(OpsError::Unconfirmed { site: site.name().clone() });
    }
    let (site, _replacing) = &match options.to {
        Destination::InPlace => (site.clone().alone_if_free(), site.replacing()?),
        Destination::Directory(_) | Destination::Tables(..) => (site.clone().beside(), None),
    };
    let (before, begun) = (site.traffic(), site.surroundings().now());
    let (open, holdings) = open(site, options, events, cancel)?;
    let chosen = choose((&open, &holdings), options, cancel)?;
    // It is part of how long a restore takes; waiting for cold storage is told apart.
    let opening = Duration::try_from(site.surroundings().now().duration_since(begun));
    let packs = || chosen.packs(options, kind, cancel);
    chosen.gate(&open, options, cancel).pass(options.thaw, packs, events)?;
    let (job, started) = (site.surroundings().new_job(), site.surroundings().now());
    let asset = options.asset.clone();
    let (command, assets) = ("restore".to_owned(), vec![asset]);
    open.record(Body::JobStarted(JobStarted { job, command, assets }))?;
    open.deliver()?;
    let work = Restoration { site, options, chosen: &chosen, started, events, cancel };
    let done = open.lock_to_read(chosen.tier, events, cancel).and_then(|held| work.run_under(held));
    let ended = site.surroundings().now();
    let took = Duration::try_from(ended.duration_since(started)).unwrap_or_default();
    let took = took + opening.unwrap_or_default();
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let ending = match &done {
        Ok(done) => done.ending(),
        Err(error) => Trouble::of(error).ending,
    };
    let preview = chosen.preview.clone();
    let read = done.as_ref().map(|done| done.files.as_ref());
    met_damage::record(&open, (&preview.tier, job), read)?;
    open.record(Body::Restored(Restored {
        job,
        asset: options.asset.clone(),
        tier: preview.tier.clone(),
        snapshot: preview.snapshot,
        target: preview.target.clone(),
        in_place: options.to == Destination::InPlace,
        ending,
        duration_ms,
    }))?;
    open.record(Body::JobEnded(JobEnded { job, ending }))?;
    open.deliver()?;
    let hint = elsewhere::hint(&open, &chosen, options, &done);
    let done = match (done, &hint) {
        (Err(error), Some(hint)) => {
            return Err(OpsError::HeldElsewhere { error: Box::new(error), hint: hint.clone() });
        }
        (done, _) => done?,
    };
    let Done { files, database, tables, kept_aside } = done;
    Ok(RestoreJobReport {
        preview,
        job,
        ending,
        files,
        database,
        tables,
        kept_aside,
        hint,
        started,
        ended,
        duration_ms,
        traffic: TierTraffic::since(site, &before),
    })
}

/// Restores into a directory and reads it back there, as a test does: nothing is recorded. `hear` is told what was
/// chosen.
pub(crate) fn bring_back(
    site: &Site,
    options: &RestoreOptions,
    directory: &Path,
    hear: &mut dyn FnMut(&RestorePreview),
    (events, cancel): (&dyn EventSink, &Cancel),
) -> Result<FilesReport, OpsError> {
    let kind = &site.asset(&options.asset)?.kind;
    let (open, holdings) = open(site, options, events, cancel)?;
    let chosen = choose((&open, &holdings), options, cancel)?;
    let packs = || chosen.packs(options, kind, cancel);
    hear(&chosen.preview);
    chosen.gate(&open, options, cancel).pass(options.thaw, packs, events)?;
    let held = open.lock_to_read(chosen.tier, events, cancel)?;
    let below = restore::RestoreOptions {
        verify: restore::Verify::Content,
        ..files::below(directory, options)
    };
    let repository = &chosen.tier.repository;
    let report = restore::restore(repository, &chosen.snapshot, &below, events, cancel)?;
    // If the lock was lost, what was read may have gone away meanwhile.
    held.map_or(Ok(()), |held| held.check())?;
    Ok(report)
}

/// Opens the site with as many tiers as are enough to decide by what is restored, and looks into them.
fn open<'s>(
    site: &'s Site,
    options: &RestoreOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<(OpenSite<'s>, Holdings), OpsError> {
    if let Some(tier) = &options.tier {
        site.address(tier)?;
    }
    let all = site.plan().tiers().keys();
    let wanted = |tier: &&TierName| options.tier.as_ref().is_none_or(|only| only == *tier);
    let tiers: BTreeSet<_> = all.filter(wanted).cloned().collect();
    let quorum = Quorum::OneOfEach(BTreeSet::from([tiers.clone()]));
    let open = OpenSite::begin(site, (&tiers, &quorum), NewTiers::Leave, events, cancel)?;
    let unread = |holdings: &Holdings| &tiers - &holdings.looked_into();
    let decides = |holdings: &Holdings| {
        let better = better::held_by(&open, options, holdings, &unread(holdings))?;
        Ok(better.is_none() && better::is_found(options, holdings))
    };
    let mut holdings = Holdings::of_open_until(&open, &decides)?;
    if !open.awaited().is_empty() && (!decides(&holdings)? || all_damaged(&open)?) {
        open.take_in(events, cancel)?;
        holdings = Holdings::of_open_until(&open, &decides)?;
    }
    if let Some(tier) = better::held_by(&open, options, &holdings, &unread(&holdings))? {
        tracing::warn!(asset = %options.asset, %tier, "What is wanted was stored on this tier in a newer copy, and it cannot be read.");
    }
    let is_late = |tier: &&TierName| {
        open.awaited().contains(*tier)
            || (open.tier(tier).is_ok() && unread(&holdings).contains(*tier))
    };
    for tier in tiers.iter().filter(is_late) {
        tracing::warn!(%tier, "The tier has not answered so far, and is not asked; what is wanted of it is held by others as well.");
    }
    Ok((open, holdings))
}

/// Tells whether what has answered was found damaged, all of it.
fn all_damaged(open: &OpenSite<'_>) -> Result<bool, OpsError> {
    let names: BTreeSet<_> = open.open_tiers().map(|tier| tier.named.name.clone()).collect();
    Ok(Standing::damaged(open.catalog().view(), &names)? == names)
}

/// Returns the capture that is wanted.
fn captured<'h>(options: &RestoreOptions, holdings: &'h Holdings) -> Option<ChosenCapture<'h>> {
    let Holdings { captures, points, .. } = holdings;
    let Some(snapshot) = options.snapshot else {
        return capture_at(&options.asset, options.at, captures, points);
    };
    let mut own = captures.iter().filter(|capture| capture.asset == options.asset);
    let capture = own.find(|capture| capture.copies.values().any(|id| *id == snapshot))?;
    Some(ChosenCapture { capture, point: None })
}

/// What was chosen to restore.
struct Chosen<'o> {
    tier: &'o OpenTier,
    snapshot: Snapshot,
    preview: RestorePreview,
}

fn choose<'o>(
    (open, holdings): (&'o OpenSite<'_>, &Holdings),
    options: &RestoreOptions,
    cancel: &Cancel,
) -> Result<Chosen<'o>, OpsError> {
    let (site, asset) = (open.site(), &options.asset);
    let kind = &site.asset(asset)?.kind;
    if let Some(only) = &options.tier {
        let unread = |trouble| OpsError::TierUnread { tier: only.clone(), trouble };
        open.tier(only).map_err(unread)?;
    }
    let capture = captured(options, holdings);
    let none = || OpsError::NoPoint { asset: asset.clone(), when: options.at.to_string() };
    let ChosenCapture { capture, point } = capture.ok_or_else(none)?;
    let mut order = site.tiers_of(asset, &[]).unwrap_or_default();
    order.extend(capture.copies.keys().cloned());
    // What was found damaged is asked last.
    let damaged = Standing::damaged(open.catalog().view(), &order)?;
    order.sort_by_key(|name| damaged.contains(name));
    let usable = order.iter().find_map(|name| {
        let snapshot = capture.copies.get(name)?;
        Some((open.tier(name).ok()?, *snapshot))
    });
    let (tier, id) = usable.ok_or_else(none)?;
    let snapshot = tier.repository.snapshot(&id)?;
    let (target, replaces) = match &options.to {
        Destination::Directory(directory) | Destination::Tables(_, directory) => {
            (directory.display().to_string(), Vec::new())
        }
        Destination::InPlace => match kind {
            AssetKind::Files(_) => files::replaced(&snapshot),
            AssetKind::Postgres(postgres) => database::replaced(site, postgres, cancel),
            AssetKind::Command(command) => output::replaced(command),
        },
    };
    let preview = RestorePreview {
        schema: SCHEMA,
        site: site.name().clone(),
        capture: capture.clone(),
        point: point.map(|point| TiedBy::of(point, capture)),
        tier: tier.named.name.clone(),
        snapshot: id,
        target,
        replaces,
        keeps_replaced: !matches!(kind, AssetKind::Command(_)),
        thaw: None,
    };
    Ok(Chosen { tier, snapshot, preview })
}

impl Chosen<'_> {
    /// Returns what stands before the packs of a restore.
    fn gate<'a>(
        &'a self,
        open: &'a OpenSite<'a>,
        options: &'a RestoreOptions,
        cancel: &'a Cancel,
    ) -> Gate<'a> {
        let RestorePreview { capture, snapshot, .. } = &self.preview;
        let at = capture.time.to_string();
        Gate { open, tier: self.tier, asset: &options.asset, snapshot: *snapshot, at, cancel }
    }
}

/// A restore while it runs.
struct Restoration<'a> {
    site: &'a Site,
    options: &'a RestoreOptions,
    chosen: &'a Chosen<'a>,
    started: Timestamp,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
}

/// What was done.
#[derive(Default)]
struct Done {
    files: Option<FilesReport>,
    database: Option<DatabaseReport>,
    tables: Vec<RestoredTable>,
    kept_aside: Vec<PathBuf>,
}

impl Done {
    fn ending(&self) -> Ending {
        match &self.files {
            Some(files) if !files.is_complete() => Ending::Incomplete,
            _ => Ending::Succeeded,
        }
    }
}

impl Restoration<'_> {
    /// Runs under a lock; if that was lost, what was read may have gone away meanwhile.
    fn run_under(&self, lock: Option<LockGuard>) -> Result<Done, OpsError> {
        let done = self.run();
        lock.map_or(Ok(()), |lock| lock.check())?;
        done
    }

    fn run(&self) -> Result<Done, OpsError> {
        match (&self.options.to, &self.site.asset(&self.options.asset)?.kind) {
            (Destination::Directory(directory), _) => self.files_into(directory),
            (Destination::Tables(names, directory), AssetKind::Postgres(postgres)) => {
                self.tables(postgres, names, directory)
            }
            (Destination::Tables(..), _) => Err(OpsError::NotInPlan {
                what: format!("dump of `{}`, which is no database", self.options.asset),
            }),
            (Destination::InPlace, AssetKind::Files(_)) => self.files_in_place(),
            (Destination::InPlace, AssetKind::Postgres(postgres)) => self.database(postgres),
            (Destination::InPlace, AssetKind::Command(command)) => self.output(command),
        }
    }
}
