//! Recovering a PostgreSQL server from a base backup and its archived log, into a directory of its own.
//!
//! [`preview`] says which base backup is taken, what can be reached and what will be lost; [`recover`] puts the
//! cluster there, and starts it if that is wanted. The server itself replays the log, which it fetches by
//! `lifeboat wal get`.
//!
//! # Crash consistency
//!
//! A kill leaves a directory that no server starts from, until a restore with `--delta` completes it. Nothing
//! but the directory and those of its tablespaces is written to.

mod bases;
pub mod in_place;
mod log_reach;
mod running;
pub mod sandbox;
pub mod verified;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::{
    AssetName, Cancel, EventSink, Exit, JobId, Lsn, PackId, SiteName, SnapshotId,
};
use lifeboat_model::{TierName, Timestamp};
use lifeboat_plan::plan::asset::{Base, Postgres, WalMode};
use lifeboat_postgres::base::Manifest;
use lifeboat_postgres::base::inventory::{CONTROL_FILE, DATA_FOLDER, TABLESPACE_FOLDER};
use lifeboat_postgres::base::manifest::ConfigurationFile;
use lifeboat_postgres::recovery::choice::Behind;
use lifeboat_postgres::recovery::choose;
use lifeboat_postgres::recovery::placement::{Before, Finish, Owner};
use lifeboat_postgres::recovery::settings::{AtTarget, Place, ReadAhead, RecoverySettings};
use lifeboat_postgres::recovery::{Candidate, Choice, ChoiceError, Placement, RecoveryTarget};
use lifeboat_repository::listing::find;
use lifeboat_repository::restore::{
    self, Existing, RestoreOptions, RestorePlan, RestoreReport as FilesReport, Selection,
    Unexpected, packs_needed, read_file,
};
use lifeboat_repository::{Node, NodeKind, RepositoryError, Snapshot};
use serde::Serialize;

use self::bases::{Found, bases, gate};
use self::log_reach::ArchivedLog;
use crate::backup::base::{ETC, base_folder};
use crate::catalog::body::{Body, JobEnded, JobStarted, Restored};
use crate::ending::Ending;
use crate::error::{OpsError, Trouble};
use crate::met_damage;
use crate::standing::Standing;
use crate::thaw::{Gate, ThawForecast, ThawOptions};
use crate::traffic::TierTraffic;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite, OpenTier};

pub use self::running::Started;

/// The version of [`RecoveryReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// The major version from which on servers read the log ahead of what they replay.
const READS_AHEAD: u32 = 15;

/// How many seconds are drawn before it is said that holes of the log are in the way.
const DRAWS_MAX: u32 = 32;

/// No file of settings is larger.
const SETTINGS_SIZE_MAX: u64 = 64 << 20;

/// Whether the server is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It is not.
    No,
    /// It is, and waited for.
    AndWait,
    /// It is, until it takes changes; then it is shut down again, for whoever starts it always.
    AndStop,
}

/// What is recovered.
#[derive(Debug, Clone)]
pub struct RecoveryOptions {
    /// Which asset.
    pub asset: AssetName,
    /// Up to where.
    pub target: RecoveryTarget,
    /// From which tier; the first in the plan's order that has a base backup, if absent.
    pub tier: Option<TierName>,
    /// The data directory.
    pub to: PathBuf,
    /// What may be there.
    pub before: Before,
    /// Where tablespaces go, by where they were.
    pub tablespaces: Vec<(PathBuf, PathBuf)>,
    /// Whether the server is started.
    pub start: Start,
    /// The words of the command that fetches the log, up to its socket.
    pub fetch: Vec<String>,
    /// What is done about packs in cold storage.
    pub thaw: ThawOptions,
}

impl RecoveryOptions {
    /// All of an asset, from the first tier that has it, into a directory that is empty; its server is not started,
    /// and no store is asked for what lies cold.
    pub fn new(asset: AssetName, target: RecoveryTarget, to: PathBuf) -> Self {
        Self {
            asset,
            target,
            tier: None,
            to,
            before: Before::Empty,
            tablespaces: Vec::new(),
            start: Start::No,
            fetch: Vec::new(),
            thaw: ThawOptions::default(),
        }
    }
}

/// What a recovery is going to do.
#[derive(Debug, Clone, Serialize)]
pub struct RecoveryPreview {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// Which asset.
    pub asset: AssetName,
    /// From which tier.
    pub tier: TierName,
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Up to where, as it was asked for.
    pub at: String,
    /// What the server is told.
    pub target: String,
    /// Along which timeline.
    pub timeline: u32,
    /// Where replay begins.
    pub start_lsn: Lsn,
    /// From where on the data make sense.
    pub consistent_lsn: Lsn,
    /// When that was.
    pub consistent: Timestamp,
    /// Up to where the log is read at most.
    pub end_lsn: Lsn,
    /// When the last transaction was committed that the archive tells of.
    pub last_commit: Option<Timestamp>,
    /// The data directory.
    pub to: PathBuf,
    /// Where each tablespace goes.
    pub tablespaces: Vec<(PathBuf, PathBuf)>,
    /// How many pages were damaged on the server when it was backed up.
    pub damaged_pages: u64,
    /// Whose log it is: the server's system id, in digits.
    pub cluster: String,
    /// The cluster that took its place later, as after a major upgrade.
    pub followed_by: Option<Follower>,
    /// What of it lies in cold storage; absent where nothing does, and once it was recovered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thaw: Option<ThawForecast>,
}

/// A cluster that took another one's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Follower {
    /// Its system id, in digits.
    pub cluster: String,
    /// From when on it can be recovered; what it committed before is in no backup.
    pub reachable_from: Timestamp,
}

/// What a recovery did.
#[derive(Debug, Serialize)]
pub struct RecoveryReport {
    /// What it set out to do.
    #[serde(flatten)]
    pub preview: RecoveryPreview,
    /// Which job.
    pub job: JobId,
    /// How it ended.
    pub ending: Ending,
    /// The files that were restored.
    #[serde(skip)]
    pub files: FilesReport,
    /// The server that was started.
    pub started_server: Option<Started>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What each tier was asked for, and what that costs.
    pub traffic: Vec<TierTraffic>,
}

impl RecoveryReport {
    /// Refuses one of which not everything came back.
    pub(crate) fn whole(&self) -> Result<(), OpsError> {
        if self.ending == Ending::Succeeded {
            return Ok(());
        }
        let asset = self.preview.asset.clone();
        if self.files.met_damage() {
            return Err(OpsError::PointDamaged { asset, tier: self.preview.tier.clone() });
        }
        Err(OpsError::NotWhole { asset, ending: self.ending })
    }

    /// Returns how the command ends.
    pub fn exit(&self) -> Exit {
        self.ending.exit()
    }
}

/// Tells whether an asset has base backups by its plan.
pub fn has_base_backups(site: &Site, asset: &AssetName) -> bool {
    let postgres = site.asset(asset).ok().and_then(|asset| asset.postgres());
    postgres.is_some_and(|postgres| postgres.base != Base::Logical)
}

/// Tells whether base backups are all that there is of an asset by its plan, so that they alone can take its place.
pub fn has_base_backups_alone(site: &Site, asset: &AssetName) -> bool {
    let postgres = site.asset(asset).ok().and_then(|asset| asset.postgres());
    postgres.is_some_and(|postgres| postgres.base == Base::Physical)
}

/// Tells whether a restore of an asset replays a base backup: in its own place a server that has dumps, too, comes back
/// from these.
pub fn is_replayed<T: ?Sized>(site: &Site, asset: &AssetName, to: Option<&T>) -> bool {
    has_base_backups_alone(site, asset) || (to.is_some() && has_base_backups(site, asset))
}

/// Tells whether the write-ahead log of an asset is archived by its plan, so that it can go to any moment.
pub fn has_log(site: &Site, asset: &AssetName) -> bool {
    let postgres = site.asset(asset).ok().and_then(|asset| asset.postgres());
    postgres.is_some_and(|postgres| postgres.wal.mode != WalMode::None)
}

/// Says what a recovery would do; changes nothing but the catalog's view.
pub fn preview(
    site: &Site,
    options: &RecoveryOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<RecoveryPreview, OpsError> {
    let site = &site.clone().beside();
    let open = open(site, options, events, cancel)?;
    let chosen = choose_base(&open, options, (events, cancel))?;
    let packs = || chosen.packs(options, cancel);
    let thaw = chosen.gate(&open, options, cancel).forecast(packs)?;
    Ok(RecoveryPreview { thaw, ..chosen.preview(site, options) })
}

/// Recovers.
pub fn recover(
    site: &Site,
    options: &RecoveryOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<RecoveryReport, OpsError> {
    let site = &site.clone().beside();
    let before = site.traffic();
    let open = open(site, options, events, cancel)?;
    let chosen = choose_base(&open, options, (events, cancel))?;
    chosen.placement(options)?.check(options.before)?;
    let packs = || chosen.packs(options, cancel);
    chosen.gate(&open, options, cancel).pass(options.thaw, packs, events)?;
    let report = carry_out(&open, &chosen, (options, Place::Beside), events, cancel)?;
    Ok(RecoveryReport { traffic: TierTraffic::since(site, &before), ..report })
}

/// Carries out what was chosen, as a job of the catalog.
fn carry_out(
    open: &OpenSite<'_>,
    chosen: &Chosen<'_>,
    (options, standing): (&RecoveryOptions, Place),
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<RecoveryReport, OpsError> {
    let site = open.site();
    let before = site.traffic();
    let (job, started) = (site.surroundings().new_job(), site.surroundings().now());
    let (command, assets) = ("restore".to_owned(), vec![options.asset.clone()]);
    open.record(Body::JobStarted(JobStarted { job, command, assets }))?;
    open.deliver()?;
    let manner = Manner {
        restore_command: running::restore_command(options),
        at_target: AtTarget::Promote,
        keeping: Keeping::Durable,
        standing,
    };
    let work = Recovery { site, options, chosen, manner, events, cancel };
    let done = open.lock_to_read(chosen.tier, events, cancel).and_then(|held| {
        let done = work.run();
        // What went away since the lock was lost is no damage.
        held.map_or(Ok(()), |held| held.check())?;
        done
    });
    let ended = site.surroundings().now();
    let took = Duration::try_from(ended.duration_since(started)).unwrap_or_default();
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let ending = match &done {
        Ok((files, _)) if files.is_complete() => Ending::Succeeded,
        Ok(_) => Ending::Incomplete,
        Err(error) => Trouble::of(error).ending,
    };
    let preview = chosen.preview(site, options);
    let read = done.as_ref().map(|(files, _)| Some(files));
    met_damage::record(open, (&preview.tier, job), read)?;
    open.record(Body::Restored(Restored {
        job,
        asset: options.asset.clone(),
        tier: preview.tier.clone(),
        snapshot: preview.snapshot,
        target: options.to.display().to_string(),
        in_place: standing == Place::Server,
        ending,
        duration_ms,
    }))?;
    open.record(Body::JobEnded(JobEnded { job, ending }))?;
    open.deliver()?;
    let (files, started_server) = done?;
    Ok(RecoveryReport {
        preview,
        job,
        ending,
        files,
        started_server,
        started,
        ended,
        duration_ms,
        traffic: TierTraffic::since(site, &before),
    })
}

/// Finds a second that a server can be recovered to: `draw` proposes one of a count of seconds, again if the log
/// does not lead to it. The latest moment, where the archive tells of none between the bases and its end.
pub(crate) fn any_second(
    site: &Site,
    options: &RecoveryOptions,
    draw: &mut dyn FnMut(u64) -> u64,
    heard: (&dyn EventSink, &Cancel),
) -> Result<RecoveryTarget, OpsError> {
    let open = open(site, options, heard.0, heard.1)?;
    // No base is so old, so that all of them are read.
    let wanted = RecoveryTarget::Time(Timestamp::MIN);
    let wanted = RecoveryOptions { target: wanted, ..options.clone() };
    for tier in tiers_in_order(&open, &options.asset)? {
        let bases = bases(&open, tier, &wanted, heard)?;
        if let Some(newest) = bases.first() {
            let own = bases.iter().filter(|base| base.head.system_id == newest.head.system_id);
            let candidates: Vec<_> = own.map(|base| base.head.candidate).collect();
            let asset = site.asset(&options.asset)?;
            let postgres = asset.postgres().expect("only a database has base backups");
            let mut log = ArchivedLog::open(&open, postgres, newest.head.system_id)?;
            return drawn(&candidates, &mut log, draw);
        }
    }
    Err(ChoiceError::NoBase.into())
}

fn drawn(
    bases: &[Candidate],
    log: &mut ArchivedLog,
    draw: &mut dyn FnMut(u64) -> u64,
) -> Result<RecoveryTarget, OpsError> {
    let last = choose(bases, &RecoveryTarget::Latest, log)?.last_commit;
    let oldest = bases.iter().map(|base| base.stopped).min();
    let Some((oldest, last)) = oldest.zip(last) else { return Ok(RecoveryTarget::Latest) };
    // The second in which a base stopped is reached from its end on only.
    let first = oldest.as_second().saturating_add(1);
    let Ok(count) = u64::try_from(last.as_second().saturating_sub(first).saturating_add(1)) else {
        return Ok(RecoveryTarget::Latest);
    };
    if count == 0 {
        return Ok(RecoveryTarget::Latest);
    }
    let mut refused = None;
    for _ in 0..DRAWS_MAX {
        let second = first.saturating_add_unsigned(draw(count).min(count - 1));
        let time = Timestamp::from_second(second).unwrap_or(last);
        match choose(bases, &RecoveryTarget::Time(time), log) {
            Ok(_) => return Ok(RecoveryTarget::Time(time)),
            Err(error @ OpsError::Choice(ChoiceError::Hole { .. })) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.expect("it was tried at least once"))
}

fn open<'s>(
    site: &'s Site,
    options: &RecoveryOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<OpenSite<'s>, OpsError> {
    let all = site.plan().tiers().keys();
    if let Some(tier) = &options.tier {
        site.address(tier)?;
    }
    let wanted = |tier: &&TierName| options.tier.as_ref().is_none_or(|only| only == *tier);
    let tiers = all.filter(wanted).cloned().collect();
    OpenSite::open(site, &tiers, NewTiers::Leave, events, cancel)
}

/// What was chosen.
struct Chosen<'o> {
    tier: &'o OpenTier,
    found: Found,
    choice: Choice,
    followed_by: Option<Follower>,
}

/// Chooses base backup and timeline on the first tier from which the target can be reached: one that keeps for longer leads
/// further back.
fn choose_base<'o>(
    open: &'o OpenSite<'_>,
    options: &RecoveryOptions,
    heard: (&dyn EventSink, &Cancel),
) -> Result<Chosen<'o>, OpsError> {
    let postgres =
        open.site().asset(&options.asset)?.postgres().ok_or_else(|| OpsError::NotInPlan {
            what: format!("`{}` as an asset of kind = \"postgres\"", options.asset),
        })?;
    let mut refused: Option<ChoiceError> = None;
    for tier in tiers_in_order(open, &options.asset)? {
        let bases = bases(open, tier, options, heard)?;
        if bases.is_empty() {
            continue;
        }
        match choose_among(open, postgres, options, tier, bases) {
            Err(OpsError::Choice(error)) if error.may_end_on_another_tier() => {
                refused = Some(match refused {
                    Some(before) => before.wider(error),
                    None => error,
                });
            }
            chosen => return chosen,
        }
    }
    Err(refused.unwrap_or(ChoiceError::NoBase).into())
}

/// Returns the tiers that were opened, in the order in which an asset is looked for on them: those that were found damaged last.
fn tiers_in_order<'o>(
    open: &'o OpenSite<'_>,
    asset: &AssetName,
) -> Result<Vec<&'o OpenTier>, OpsError> {
    let mut order = open.site().tiers_of(asset, &[]).unwrap_or_default();
    order.extend(open.site().plan().tiers().keys().cloned());
    let damaged = Standing::damaged(open.catalog().view(), &order)?;
    order.sort_by_key(|name| damaged.contains(name));
    Ok(order.iter().filter_map(|name| open.tier(name).ok()).collect())
}

fn choose_among<'o>(
    open: &'o OpenSite<'_>,
    postgres: &Postgres,
    options: &RecoveryOptions,
    tier: &'o OpenTier,
    mut bases: Vec<Found>,
) -> Result<Chosen<'o>, OpsError> {
    // A major upgrade makes another cluster, and no log leads from the one to the other.
    let mut systems: Vec<u64> = bases.iter().map(|base| base.head.system_id).collect();
    systems.dedup();
    let mut refused = None;
    for system_id in systems {
        let own = |base: &&Found| base.head.system_id == system_id;
        let candidates: Vec<_> = bases.iter().filter(own).map(|base| base.head.candidate).collect();
        let mut log = ArchivedLog::open(open, postgres, system_id)?;
        match choose(&candidates, &options.target, &mut log) {
            Ok(choice) => {
                let is_chosen = |base: &Found| base.head.system_id == system_id;
                let mut places = (0..bases.len()).filter(|place| is_chosen(&bases[*place]));
                let place = places.nth(choice.base).expect("a candidate is one of the bases");
                let followed_by = follower(&bases, &bases[place]);
                let found = bases.swap_remove(place);
                return Ok(Chosen { tier, found, choice, followed_by });
            }
            Err(OpsError::Choice(error)) if error.is_elsewhere() => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or(ChoiceError::NoBase).into())
}

/// Returns the cluster of the first base backup after a chosen one that is of another.
fn follower(bases: &[Found], chosen: &Found) -> Option<Follower> {
    let (id, stopped) = (chosen.head.system_id, chosen.head.candidate.stopped);
    let heads = bases.iter().map(|base| (base.head.system_id, base.head.candidate.stopped));
    let later = heads.filter(|(cluster, later)| *cluster != id && *later > stopped);
    later
        .min_by_key(|(_, later)| *later)
        .map(|(cluster, reachable_from)| Follower { cluster: cluster.to_string(), reachable_from })
}

impl Chosen<'_> {
    fn preview(&self, site: &Site, options: &RecoveryOptions) -> RecoveryPreview {
        let Found { id, head, .. } = &self.found;
        let places =
            Placement::place_tablespaces(&options.to, &head.tablespaces, &options.tablespaces);
        RecoveryPreview {
            schema: SCHEMA,
            site: site.name().clone(),
            asset: options.asset.clone(),
            tier: self.tier.named.name.clone(),
            snapshot: *id,
            at: options.target.to_string(),
            target: self.choice.target.to_string(),
            timeline: self.choice.history.timeline().0,
            start_lsn: head.candidate.start,
            consistent_lsn: head.candidate.stop,
            consistent: head.candidate.stopped,
            end_lsn: self.choice.end,
            last_commit: self.choice.last_commit,
            to: options.to.clone(),
            tablespaces: places.into_iter().map(|space| (space.from, space.to)).collect(),
            damaged_pages: head.damaged_pages,
            cluster: head.system_id.to_string(),
            followed_by: self.followed_by.clone(),
            thaw: None,
        }
    }

    /// Reads what the base backup is; on a tier whose packs lie cold only once they can be read.
    fn manifest(&self) -> Result<&Manifest, OpsError> {
        self.found.manifest(self.tier)
    }

    /// Returns what stands before its packs.
    fn gate<'a>(
        &'a self,
        open: &'a OpenSite<'a>,
        options: &'a RecoveryOptions,
        cancel: &'a Cancel,
    ) -> Gate<'a> {
        gate(open, self.tier, options, self.found.id, cancel)
    }

    /// Returns the packs from which a recovery reads, without those whose content is right already where a
    /// cluster is kept.
    fn packs(
        &self,
        options: &RecoveryOptions,
        cancel: &Cancel,
    ) -> Result<BTreeSet<PackId>, OpsError> {
        if options.before == Before::Empty {
            return self.found.packs(self.tier, cancel);
        }
        let (repository, folder) = (&self.tier.repository, base_folder(&options.asset));
        let directories = self.directories(options)?;
        let apart: Vec<_> = directories.iter().map(|(from, _)| from.clone()).collect();
        let mut packs = self.found.packs_without(self.tier, &apart, cancel)?;
        let control = folder.join(DATA_FOLDER).join(CONTROL_FILE);
        let (snapshot, everything) = (&self.found.snapshot, Selection::default());
        packs.extend(RestorePlan::new(repository, snapshot, &control, everything, cancel)?.packs());
        for (from, to) in directories {
            let options = files_options(options.before, Keeping::Durable, &to);
            packs.extend(packs_needed(repository, &self.below(&from)?, &options, cancel)?);
        }
        Ok(packs)
    }

    /// Returns the directories of the snapshot that become the cluster's, each with its place.
    fn directories(&self, options: &RecoveryOptions) -> Result<Vec<(PathBuf, PathBuf)>, OpsError> {
        let (folder, placement) = (base_folder(&options.asset), self.placement(options)?);
        let data = (folder.join(DATA_FOLDER), placement.data);
        let tablespaces = placement.tablespaces.into_iter().map(|tablespace| {
            let from = folder.join(TABLESPACE_FOLDER).join(tablespace.oid.to_string());
            (from, tablespace.to)
        });
        Ok(std::iter::once(data).chain(tablespaces).collect())
    }

    /// Returns a snapshot of what lies below a directory.
    fn below(&self, path: &Path) -> Result<Snapshot, OpsError> {
        let NodeKind::Directory { subtree } = self.node(path)?.kind else {
            return Err(RepositoryError::NotAFile { path: path.to_owned() }.into());
        };
        Ok(Snapshot { tree: subtree, ..self.found.snapshot.clone() })
    }

    fn node(&self, path: &Path) -> Result<Node, OpsError> {
        let node = find(&self.tier.repository, &self.found.snapshot, path)?;
        node.ok_or_else(|| {
            let (path, tree) = (path.to_owned(), self.found.snapshot.tree);
            RepositoryError::NoSuchPath { path, tree }.into()
        })
    }

    /// Returns whose the cluster is; none where only its own user may decide.
    fn owner(&self, asset: &AssetName) -> Result<Option<Owner>, OpsError> {
        let Node { metadata, .. } = self.node(&base_folder(asset).join(DATA_FOLDER))?;
        let owner = Owner { uid: metadata.uid, gid: metadata.gid };
        Ok(nix::unistd::geteuid().is_root().then_some(owner))
    }

    fn placement(&self, options: &RecoveryOptions) -> Result<Placement, OpsError> {
        let node = self.node(&base_folder(&options.asset).join(DATA_FOLDER))?;
        let tablespaces = Placement::place_tablespaces(
            &options.to,
            &self.found.head.tablespaces,
            &options.tablespaces,
        );
        Ok(Placement {
            data: options.to.clone(),
            tablespaces,
            owner: self.owner(&options.asset)?,
            mode: node.metadata.mode.permissions(),
        })
    }
}

/// Whether what is restored has to survive a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    Durable,
    Throwaway,
}

/// Returns how a directory of a cluster is restored, its control file left out.
fn files_options(before: Before, keeping: Keeping, to: &Path) -> RestoreOptions {
    let control = format!("/{CONTROL_FILE}");
    let (existing, unexpected) = match before {
        // Directories of tablespaces in place lie within the data directory.
        Before::Empty => (Existing::Always, Unexpected::Keep),
        Before::Cluster => (Existing::Always, Unexpected::Remove),
    };
    RestoreOptions {
        existing,
        unexpected,
        selection: Selection::new(&[], &[control.as_str()]).expect("it is a plain path"),
        durable: keeping == Keeping::Durable,
        ..RestoreOptions::new(to)
    }
}

/// How a cluster is recovered.
struct Manner {
    restore_command: String,
    at_target: AtTarget,
    keeping: Keeping,
    standing: Place,
}

/// A recovery while it runs.
struct Recovery<'a> {
    site: &'a Site,
    options: &'a RecoveryOptions,
    chosen: &'a Chosen<'a>,
    manner: Manner,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
}

impl Recovery<'_> {
    fn run(&self) -> Result<(FilesReport, Option<Started>), OpsError> {
        let files = self.put_in_place()?;
        let started = match self.options.start {
            Start::AndWait | Start::AndStop if files.is_complete() => {
                Some(self.start(&self.options.to)?)
            }
            Start::AndWait | Start::AndStop | Start::No => None,
        };
        Ok((files, started))
    }

    /// Restores the files, and makes them a cluster that can be started if they are complete.
    fn put_in_place(&self) -> Result<FilesReport, OpsError> {
        let placement = self.chosen.placement(self.options)?;
        placement.begin(self.options.before, self.chosen.manifest()?.major())?;
        let mut files = FilesReport::default();
        for (from, to) in self.chosen.directories(self.options)? {
            files.add(self.restore(&from, &to)?);
        }
        if !files.is_complete() {
            // Without all of its files a cluster must not become one that can be started.
            return Ok(files);
        }
        self.cancel.check()?;
        placement.finish(&self.finish()?)?;
        Ok(files)
    }

    /// Restores what lies below a path of the snapshot into a directory, the control file left out.
    fn restore(&self, from: &Path, to: &Path) -> Result<FilesReport, OpsError> {
        let snapshot = self.chosen.below(from)?;
        let options = files_options(self.options.before, self.manner.keeping, to);
        let repository = &self.chosen.tier.repository;
        Ok(restore::restore(repository, &snapshot, &options, self.events, self.cancel)?)
    }

    fn finish(&self) -> Result<Finish, OpsError> {
        let folder = base_folder(&self.options.asset);
        let manifest = self.chosen.manifest()?;
        let configuration = manifest.configuration.iter().map(|file| {
            let ConfigurationFile { role, path } = file;
            let stored = folder.join(ETC).join(path.0.strip_prefix("/").unwrap_or(&path.0));
            Ok((*role, path.0.clone(), self.read(&stored)?))
        });
        Ok(Finish {
            control: self.read(&folder.join(DATA_FOLDER).join(CONTROL_FILE))?,
            label: self.read(&folder.join("backup_label"))?,
            configuration: configuration.collect::<Result<_, OpsError>>()?,
            settings: self.settings(manifest.major()),
            manifest: manifest.clone(),
        })
    }

    fn settings(&self, major: u32) -> RecoverySettings {
        RecoverySettings {
            target: self.chosen.choice.target.clone(),
            timeline: self.chosen.choice.history.timeline(),
            at_target: self.manner.at_target,
            restore_command: self.manner.restore_command.clone(),
            place: self.manner.standing,
            read_ahead: self.read_ahead(major),
        }
    }

    fn read_ahead(&self, major: u32) -> ReadAhead {
        let can = major >= READS_AHEAD;
        match self.chosen.choice.behind {
            Behind::Hole if can => ReadAhead::Never,
            Behind::Hole | Behind::Whole => ReadAhead::Usual,
        }
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, OpsError> {
        let (tier, snapshot) = (self.chosen.tier, &self.chosen.found.snapshot);
        let mut bytes = Vec::new();
        read_file(&tier.repository, snapshot, path)?
            .take(SETTINGS_SIZE_MAX)
            .read_to_end(&mut bytes)
            .map_err(|source| OpsError::Unreadable { path: path.to_owned(), source })?;
        Ok(bytes)
    }
}
