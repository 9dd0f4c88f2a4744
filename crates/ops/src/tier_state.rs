//! What each tier of a site holds and lacks: its points, how far it is behind the best one, its space,
//! its lock, and what is still on its way there.
//!
//! Nothing is written and no key is needed: one listing of each tier, and what was recorded, tell all of it.
//! All tiers are looked at at the same time, so that one that does not answer is waited for once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::TryStreamExt as _;
use lifeboat_model::{
    AssetName, Capability, Exit, Outcome, Silent, SiteName, SnapshotId, TierName, Timestamp,
};
use lifeboat_plan::plan::asset::{Postgres, WalMode};
use lifeboat_postgres::archive::{ArchivedFile, SystemId};
use lifeboat_postgres::wal::{SegmentName, WalFileName};
use lifeboat_tiers::{LockMode, ObjectMeta, ObjectPath, ObjectPrefix, Protection, Tier, TierError};
use serde::Serialize;

use crate::adoptions::Emptiness;
use crate::backlog::{Backlog, Lacking, Present};
use crate::catalog::view::View;
use crate::error::{OpsError, Trouble};
use crate::holdings::let_go;
use crate::inquiry::Inquiry;
use crate::listing::recorded;
use crate::readiness::{wanted, weakness};
use crate::state::State;
use crate::status::history::History;
use crate::wire::{Reached, Site};

/// The version of [`TiersReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// Where a repository has its snapshots.
const SNAPSHOTS: &str = "repo/snapshots/";

/// How the tiers of a site stand.
#[derive(Debug, Serialize)]
pub struct TiersReport {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// When it was looked.
    pub now: Timestamp,
    /// The tiers, in the plan's order.
    pub tiers: Vec<TierState>,
}

/// How one tier stands.
#[derive(Debug, Serialize)]
pub struct TierState {
    /// Which tier.
    pub tier: TierName,
    /// Where it is.
    pub address: String,
    /// Whether it is there.
    pub stands: Stands,
    /// Where it lay before its address changed in the plan, as long as nothing is where it is to be.
    pub moved_from: Option<String>,
    /// Why it could not be looked at.
    pub trouble: Option<Trouble>,
    /// The assets that the plan sends there.
    pub assets: Vec<AssetThere>,
    /// What lies there; absent if it could not be looked at.
    pub space: Option<Space>,
    /// How what lies there is kept from being deleted.
    pub lock: Lock,
    /// What it is to get still; absent if it could not be looked at.
    pub pending: Option<Pending>,
}

/// Whether a tier is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stands {
    /// It was set up.
    SetUp,
    /// It never was; the next backup does that.
    New,
    /// Its address changed in the plan, and nothing is there yet; the next backup sets it up.
    Moved,
    /// It was set up and is not there any more.
    Lost,
    /// It could not be looked at.
    Unreachable,
}

/// An asset on a tier.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct AssetThere {
    /// Which asset.
    pub asset: AssetName,
    /// Up to when its newest capture there has every change; as recorded, if the tier could not be looked at.
    pub captured: Option<Timestamp>,
    /// The snapshot of that.
    pub snapshot: Option<SnapshotId>,
    /// How far it is behind the best tier; as the catalog knows it, if this one could not be looked at.
    pub lag: Lag,
    /// How far its log is behind; absent if the plan sends none there, or the tier could not be looked at.
    pub log: Option<LogLag>,
}

/// How far a log on a tier is behind that of the best one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LogLag {
    /// How many segments others hold that are newer than its newest.
    pub segments: usize,
    /// How many bytes those have.
    pub bytes: u64,
    /// From when its newest was stored to when the newest of all was, in seconds; absent if it has none.
    pub seconds: Option<u64>,
}

/// How far a tier is behind the best one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Lag {
    /// How many captures.
    pub points: usize,
    /// What storing those took, in bytes.
    pub bytes: u64,
    /// From its newest capture to the newest of all, in seconds; absent if it has none.
    pub seconds: Option<u64>,
}

/// How much lies on a tier, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Space {
    /// The repository.
    pub repository: u64,
    /// The archived write-ahead log.
    pub wal: u64,
    /// The catalog.
    pub catalog: u64,
    /// Plans, the mark, and whatever else.
    pub other: u64,
    /// How many objects that is.
    pub objects: u64,
    /// What is free, on a tier of this machine.
    pub free: Option<u64>,
}

/// How a tier keeps what lies there from being deleted.
#[derive(Debug, Serialize)]
pub struct Lock {
    /// For how long the plan wants it, in seconds.
    pub declared_s: Option<u64>,
    /// Whether what was read back is what the plan wants; nothing where it wants none.
    pub outcome: Option<Outcome>,
    /// What the store says of the newest snapshot and the newest pack: of the one that is locked less.
    pub found: Option<Protection>,
    /// Why nothing could be read back, or is not as declared.
    pub message: Option<String>,
}

/// What a tier is to get still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Pending {
    /// Snapshots that it missed, or that are gone from it and lie on another tier.
    pub snapshots: usize,
    /// What storing those took, in bytes.
    pub bytes: u64,
    /// Records of the catalog.
    pub records: usize,
    /// Files of the write-ahead log that other tiers hold.
    pub wal_files: usize,
    /// Snapshots that were recorded there and are gone without anybody's word, wherever else they lie.
    pub gone: usize,
}

impl TiersReport {
    /// Tells whether a tier could not be looked at.
    pub fn has_trouble(&self) -> bool {
        self.tiers.iter().any(|tier| tier.trouble.is_some())
    }

    /// Tells whether a lock is not as the plan wants it.
    pub fn has_weak_lock(&self) -> bool {
        self.tiers.iter().any(|tier| tier.lock.outcome == Some(Outcome::Failed))
    }
}

/// A segment of a cluster's log.
type Segment = (SystemId, SegmentName);

/// How many bytes segments have, and when each was stored.
type Segments = BTreeMap<Segment, (u64, Timestamp)>;

/// What was found on a tier.
#[derive(Debug, Default)]
struct Found {
    /// What it means that nothing was there.
    nothing: Option<Emptiness>,
    objects: Vec<ObjectMeta>,
    gone: BTreeSet<SnapshotId>,
    /// How the newest snapshot and the newest pack are locked, each with when it was stored.
    protection: Vec<Result<(Timestamp, Protection), TierError>>,
}

/// Looks at all tiers of a site.
pub fn tiers_report(site: &Site) -> Result<TiersReport, OpsError> {
    let surroundings = site.surroundings();
    let view = View::open(&State::open(&surroundings.state_directory)?.view_path())?;
    let (mut backlog, mut history) =
        (Backlog::load(&view, site.plan())?, History::load(&view, site.plan())?);
    let names: Vec<&TierName> = site.plan().tiers().keys().collect();
    let expected = names.iter().map(|name| Ok(((*name).clone(), expected(&view, name)?)));
    let expected: Present = expected.collect::<Result<_, OpsError>>()?;
    let looked = look_at_all(site, &history, expected);
    for (name, found) in names.iter().zip(&looked) {
        if found.as_ref().is_ok_and(|it| matches!(it.nothing, Some(Emptiness::Moved { .. }))) {
            backlog.forget(name);
            history.forget(name);
        }
    }
    let records: BTreeSet<ObjectPath> =
        view.all()?.iter().map(crate::catalog::record::Record::path).collect();
    let facts = Facts {
        site,
        backlog,
        history,
        records,
        now: surroundings.now(),
        tiers: names.into_iter().zip(looked).collect(),
    };
    let tiers = facts.tiers.iter().map(|(name, found)| facts.state(name, found));
    let tiers = tiers.collect::<Result<_, _>>()?;
    Ok(TiersReport { schema: SCHEMA, site: site.name().clone(), now: facts.now, tiers })
}

/// Looks at all tiers at the same time, in the plan's order.
fn look_at_all(site: &Site, history: &History, expected: Present) -> Vec<Result<Found, Trouble>> {
    let (looker, history) = (site.clone(), history.clone());
    let mut asked = Inquiry::begin(site.plan().tiers().keys().cloned(), move |name, _| {
        look(&looker, name, &history, &expected[name])
    });
    let heard = |name: &TierName| site.silent_for(name);
    let found = asked.gather_unless_silent(&Silent, site.silence_max(), heard);
    let mut found: BTreeMap<_, _> = found.into_iter().collect();
    let names = site.plan().tiers().keys();
    names.map(|name| found.remove(name).unwrap_or_else(|| Err(site.late(name)))).collect()
}

/// Returns the snapshots that should lie on a tier.
pub(crate) fn expected(view: &View, tier: &TierName) -> Result<BTreeSet<SnapshotId>, OpsError> {
    let (recorded, let_go) = (recorded(view, tier, view.mark()?)?, let_go(view, tier)?);
    Ok(recorded.difference(&let_go).copied().collect())
}

/// Goes to a tier and lists all of it.
fn look(
    site: &Site,
    name: &TierName,
    history: &History,
    expected: &BTreeSet<SnapshotId>,
) -> Result<Found, Trouble> {
    let tier = match site.reach(name) {
        Reached::Ready(named) => named.tier,
        Reached::Trouble(trouble) => return Err(trouble),
        Reached::Vacant(vacancy) => {
            let address = vacancy.address().to_owned();
            return match history.nothing_at(name, &address) {
                Emptiness::Lost => {
                    Err(Trouble::of(&Emptiness::Lost.trouble(name.clone(), address)))
                }
                nothing => Ok(Found { nothing: Some(nothing), ..Found::default() }),
            };
        }
    };
    let found = async {
        let objects: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await?;
        let protection = protection(tier.as_ref(), &objects).await;
        let gone = gone(tier.as_ref(), &snapshots(&objects), expected).await?;
        Ok(Found { nothing: None, objects, gone, protection })
    };
    let found: Result<_, TierError> = site.surroundings().runtime.block_on(found);
    found.map_err(|error| Trouble::of(&error))
}

/// Finds what should lie on a tier and does not; where listings may lag, it is asked for by its name.
pub(crate) async fn gone(
    tier: &dyn Tier,
    listed: &BTreeSet<SnapshotId>,
    expected: &BTreeSet<SnapshotId>,
) -> Result<BTreeSet<SnapshotId>, TierError> {
    let mut gone: BTreeSet<_> = expected.difference(listed).copied().collect();
    if !tier.capabilities().has(Capability::PromptListing) {
        for id in gone.clone() {
            let path = format!("{SNAPSHOTS}{}", id.to_hex()).parse().expect("it is a valid path");
            match tier.head(&path).await {
                Ok(_) => gone.remove(&id),
                Err(TierError::NotFound { .. }) => false,
                Err(error) => return Err(error),
            };
        }
    }
    Ok(gone)
}

/// Returns the snapshots among some objects.
fn snapshots(objects: &[ObjectMeta]) -> BTreeSet<SnapshotId> {
    let paths = objects.iter().map(|meta| &meta.path);
    let snapshots = paths.filter(|path| path.as_str().starts_with(SNAPSHOTS));
    snapshots.filter_map(|path| path.file_name().parse().ok()).collect()
}

/// Reads back how the newest snapshot and the newest pack are locked.
async fn protection(
    tier: &dyn Tier,
    objects: &[ObjectMeta],
) -> Vec<Result<(Timestamp, Protection), TierError>> {
    let mut found = Vec::new();
    for folder in [SNAPSHOTS, "repo/data/"] {
        let stored = objects.iter().filter(|meta| meta.path.as_str().starts_with(folder));
        if let Some(newest) = stored.max_by_key(|meta| meta.modified) {
            let protection = tier.protection(&newest.path).await;
            found.push(protection.map(|protection| (newest.modified, protection)));
        }
    }
    found
}

/// Tells how strong a lock is beside others: by its mode, then by its date.
const fn strength(protection: Protection) -> Option<(LockMode, Timestamp)> {
    match protection {
        Protection::None => None,
        Protection::Locked { mode, until } => Some((mode, until)),
    }
}

/// What was found on all tiers, and what was recorded.
struct Facts<'a> {
    site: &'a Site,
    backlog: Backlog,
    history: History,
    records: BTreeSet<ObjectPath>,
    now: Timestamp,
    tiers: Vec<(&'a TierName, Result<Found, Trouble>)>,
}

impl Facts<'_> {
    fn present(&self) -> Present {
        let found =
            self.tiers.iter().filter_map(|(name, found)| Some((name, found.as_ref().ok()?)));
        found.map(|(name, found)| ((*name).clone(), snapshots(&found.objects))).collect()
    }

    fn state(
        &self,
        name: &TierName,
        found: &Result<Found, Trouble>,
    ) -> Result<TierState, OpsError> {
        let (plan, present) = (self.site.plan(), self.present());
        let assets = plan.assets().keys().filter(|asset| plan.tiers_of(asset).contains(name));
        let there = found.as_ref().ok();
        let present = match there {
            Some(_) => present,
            None => self.as_recorded(name, present),
        };
        Ok(TierState {
            tier: name.clone(),
            address: self.site.address(name)?,
            stands: stands(found),
            moved_from: there.and_then(|found| match &found.nothing {
                Some(Emptiness::Moved { from }) => Some(from.clone()),
                _ => None,
            }),
            trouble: found.as_ref().err().cloned(),
            assets: assets.map(|asset| self.asset(asset, name, (&present, there))).collect(),
            space: there.map(|found| Space { free: self.free(name), ..found.space() }),
            lock: self.lock(name, there),
            pending: there.map(|found| self.pending(name, found, &present)),
        })
    }

    /// Adds what the catalog knows of a tier that could not be looked at.
    fn as_recorded(&self, tier: &TierName, mut present: Present) -> Present {
        let good = self.history.good.iter().filter(|((_, on), _)| on == tier);
        let there = good.flat_map(|(_, good)| good).filter(|good| !good.is_gone);
        present.insert(tier.clone(), there.map(|good| good.snapshot).collect());
        present
    }

    fn asset(
        &self,
        asset: &AssetName,
        tier: &TierName,
        (present, found): (&Present, Option<&Found>),
    ) -> AssetThere {
        let newest = self.backlog.newest(asset, tier, present);
        let lag = {
            let plan = (self.site.plan(), tier);
            let ahead = self.backlog.ahead(plan, asset, present, self.now);
            let seconds = |best: Timestamp| {
                let (captured, _) = newest?;
                Duration::try_from(best.duration_since(captured)).ok().map(|lag| lag.as_secs())
            };
            Lag {
                points: ahead.len(),
                bytes: ahead.iter().map(|lacking| lacking.bytes).sum(),
                seconds: match ahead.first() {
                    Some(best) => seconds(best.captured),
                    None => newest.map(|_| 0),
                },
            }
        };
        AssetThere {
            asset: asset.clone(),
            captured: newest.map(|(captured, _)| captured),
            snapshot: newest.map(|(_, snapshot)| snapshot),
            lag,
            log: found.and_then(|found| self.log_lag(asset, tier, found)),
        }
    }

    /// Tells how far the log of an asset is behind on a tier to which the plan sends it.
    fn log_lag(&self, asset: &AssetName, tier: &TierName, found: &Found) -> Option<LogLag> {
        let mut logging = self.logging();
        let (_, database) = logging.clone().find(|(name, _)| *name == asset)?;
        if !database.wal.to.contains(tier) {
            return None;
        }
        // Before its first base nobody recorded whose log a cluster's is, unless there is no other database.
        let is_only_one = logging.nth(1).is_none();
        let based = &self.history.based;
        let is_own = |(system, _): &Segment| {
            is_only_one || based.contains(&(asset.clone(), system.0.to_string()))
        };
        let own = |found: &Found| -> Segments {
            found.segments().into_iter().filter(|(segment, _)| is_own(segment)).collect()
        };
        let here = own(found);
        let newest: BTreeMap<SystemId, SegmentName> = here.keys().copied().collect();
        let is_newer = |(system, name): &Segment| newest.get(system).is_none_or(|own| name > own);
        let others = self.tiers.iter().filter(|(other, _)| database.wal.to.contains(other));
        let there = others.filter_map(|(_, found)| found.as_ref().ok()).flat_map(own);
        let ahead: Segments = there.filter(|(segment, _)| is_newer(segment)).collect();
        let stored = |all: &Segments| all.values().map(|(_, stored)| *stored).max();
        let seconds = stored(&here).map(|own| {
            let best = stored(&ahead).unwrap_or(own);
            Duration::try_from(best.duration_since(own)).map_or(0, |lag| lag.as_secs())
        });
        let bytes = ahead.values().map(|(bytes, _)| bytes).sum();
        Some(LogLag { segments: ahead.len(), bytes, seconds })
    }

    /// Returns the databases whose log is archived.
    fn logging(&self) -> impl Iterator<Item = (&AssetName, &Postgres)> + Clone {
        let databases = self.site.plan().assets().iter();
        let databases = databases.filter_map(|(name, asset)| Some((name, asset.postgres()?)));
        databases.filter(|(_, database)| database.wal.mode != WalMode::None)
    }

    fn free(&self, name: &TierName) -> Option<u64> {
        let tier = self.site.plan().tiers().get(name)?;
        let folder = tier.url.folder().filter(|_| !self.site.is_elsewhere(name))?;
        let room = rustix::fs::statvfs(folder.as_path()).ok()?;
        Some(room.f_bavail.saturating_mul(room.f_frsize))
    }

    fn lock(&self, name: &TierName, found: Option<&Found>) -> Lock {
        let rules = self.site.plan().tiers().get(name).filter(|rules| rules.lock.is_some());
        let read = found.map(|found| found.protection.iter().map(Result::as_ref));
        let read = read.map(Iterator::collect::<Result<Vec<_>, _>>);
        let weakest = read.iter().flatten().flatten().map(|(_, protection)| *protection);
        let weakest = weakest.min_by_key(|protection| strength(*protection));
        let unknown = |why: String| (Some(Outcome::CouldNotVerify), Some(why));
        let (outcome, message) = match (rules, read) {
            (None, _) => (None, None),
            (_, None) => unknown("the tier could not be looked at".to_owned()),
            (_, Some(Err(error))) => unknown(crate::error::explain(error)),
            (_, Some(Ok(read))) if read.is_empty() => {
                unknown("nothing is stored there yet".to_owned())
            }
            (Some(rules), Some(Ok(read))) => {
                let weak = read.iter().find_map(|found| weakness(rules, **found, self.now));
                let outcome = if weak.is_some() { Outcome::Failed } else { Outcome::Passed };
                (Some(outcome), weak)
            }
        };
        let declared_s = rules.and_then(wanted).map(|(declared, _)| declared.as_secs());
        Lock { declared_s, outcome, found: weakest, message }
    }

    fn pending(&self, name: &TierName, found: &Found, present: &Present) -> Pending {
        let missed = self.backlog.of_tier(self.site.plan(), name, present, self.now);
        let mut missed: Vec<_> = missed
            .into_iter()
            .filter(|lacking| {
                let mut there = lacking.on.values();
                !there.any(|id| present.get(name).is_some_and(|ids| ids.contains(id)))
            })
            .collect();
        let known: BTreeSet<_> = missed.iter().map(Lacking::key).collect();
        let back = self.backlog.of_gone(name, &found.gone, present).into_iter();
        missed.extend(back.filter(|lacking| !known.contains(&lacking.key())));
        let own: BTreeSet<&ObjectPath> = found.objects.iter().map(|meta| &meta.path).collect();
        Pending {
            snapshots: missed.len(),
            bytes: missed.iter().map(|lacking| lacking.bytes).sum(),
            records: self.records.iter().filter(|record| !own.contains(record)).count(),
            wal_files: self.wal_files(name, found),
            gone: found.gone.len(),
        }
    }

    /// Counts the files of the log that other tiers hold and that this one is to hold as well.
    fn wal_files(&self, name: &TierName, found: &Found) -> usize {
        let logs = self.logging().filter(|(_, database)| database.wal.to.contains(name));
        let sources: BTreeSet<&TierName> = logs.flat_map(|(_, db)| &db.wal.to).collect();
        let others = self.tiers.iter().filter(|(other, _)| sources.contains(*other));
        let others = others.filter_map(|(_, found)| found.as_ref().ok());
        let all: BTreeSet<_> = others.flat_map(Found::wal).collect();
        all.difference(&found.wal().collect()).count()
    }
}

/// Says in a word what was found where a tier should be.
fn stands(found: &Result<Found, Trouble>) -> Stands {
    match found {
        Ok(Found { nothing: None, .. }) => Stands::SetUp,
        Ok(Found { nothing: Some(Emptiness::Moved { .. }), .. }) => Stands::Moved,
        Ok(Found { nothing: Some(_), .. }) => Stands::New,
        Err(trouble) if trouble.exit == Exit::NoRepository.code() => Stands::Lost,
        Err(_) => Stands::Unreachable,
    }
}

impl Found {
    fn wal(&self) -> impl Iterator<Item = (SystemId, WalFileName)> + '_ {
        let files = self.objects.iter().filter_map(|meta| ArchivedFile::parse(&meta.path));
        files.map(|file| (file.system, file.file))
    }

    /// Returns the segments of logs, each with its bytes and when it was stored.
    fn segments(&self) -> Segments {
        let files = self.objects.iter().filter_map(|meta| {
            let file = ArchivedFile::parse(&meta.path)?;
            let segment = (file.system, file.file.segment()?);
            Some((segment, (meta.size, meta.modified)))
        });
        files.collect()
    }

    fn space(&self) -> Space {
        let mut space = Space { objects: self.objects.len() as u64, ..Space::default() };
        for ObjectMeta { path, size, .. } in &self.objects {
            let folder = path.as_str().split('/').next();
            *match folder {
                Some("repo") => &mut space.repository,
                Some("wal") => &mut space.wal,
                Some("catalog") => &mut space.catalog,
                _ => &mut space.other,
            } += size;
        }
        space
    }
}
