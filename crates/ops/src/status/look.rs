//! Gathers what a status is made of: all tiers at the same time, so that one that does not answer is waited for once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use futures::TryStreamExt as _;
use lifeboat_model::{AssetName, EventSink, Silent, SnapshotId, TierName, Timestamp};
use lifeboat_plan::plan::asset::WalMode;
use lifeboat_plan::plan::tier::Tier as PlannedTier;
use lifeboat_plan::value::secret::SecretRef;
use lifeboat_tiers::{ObjectMeta, ObjectPrefix, Tier, TierError};

use super::history::History;
use super::rehearsals::tasks;
use super::{Facts, Lived, Seen, StatusReport, assess};
use crate::adoptions::Emptiness;
use crate::backlog::Present;
use crate::catalog::view::View;
use crate::daemon::control::Served;
use crate::daemon::report::{activity, journal_of};
use crate::error::{OpsError, Trouble};
use crate::inquiry::Inquiry;
use crate::jobs::Job;
use crate::readiness::weakness;
use crate::residence::begun::begun;
use crate::residence::{self, Known};
use crate::retention::hold::holds;
use crate::state::State;
use crate::tier_state::{expected, gone};
use crate::wal::WalLog;
use crate::wal::status::WalStatus;
use crate::wal::stillness::Stillness;
use crate::wire::addresses::hosts_of;
use crate::wire::{Reached, Site};

/// Tells how things stand where no daemon is asked; see [`status_beside`].
pub fn status(site: &Site) -> Result<StatusReport, OpsError> {
    status_beside(site, None)
}

/// Gathers what [`assess`] needs; takes no lock, and needs the key only for how far a log leads. `daemon` is what answered on
/// the daemon's socket.
pub fn status_beside(site: &Site, daemon: Option<Served>) -> Result<StatusReport, OpsError> {
    let surroundings = site.surroundings();
    let state = State::open(&surroundings.state_directory)?;
    let view = View::open(&state.view_path())?;
    let mut history = History::load(&view, site.plan())?;
    move_on(&mut history, site, surroundings.now());
    let names = site.plan().tiers().keys();
    let expected = names.map(|name| Ok((name.clone(), expected(&view, name)?)));
    let expected: Present = expected.collect::<Result<_, OpsError>>()?;
    let mut facts = Facts { tiers: look(site, &history, expected), ..Facts::default() };
    for (tier, seen) in &facts.tiers {
        if seen.as_ref().is_ok_and(|seen| seen.moved_from.is_some()) {
            history.forget(tier);
        }
    }
    facts.key_lacking = key_lacking(site);
    facts.holds = holds(site, &view)?;
    if let Some(here) = residence::own(site)? {
        let known = Known::load(&view)?;
        let hand_over = begun(site, &here, &known)?;
        let Known { residence, underway, .. } = known;
        facts.place = Some(Lived { here, residence, underway, hand_over });
    }
    for name in site.plan().tiers().keys() {
        facts.addresses.insert(name.clone(), site.address(name)?);
    }
    facts.hosts = hosts_of(site.plan(), &surroundings.environment);
    if let Ok(Some((_, journal))) = journal_of(site) {
        facts.activity = activity(site, daemon, &history).ok();
        let databases = site.databases().map(|(asset, _)| asset);
        let stillness = databases.filter_map(|asset| {
            // What cannot be read of it costs exposure and nothing else.
            let still = journal.stillness(asset).ok().flatten()?;
            let until = still.until.min(surroundings.now());
            Some((asset.clone(), Stillness { until, ..still }))
        });
        facts.stillness = stillness.collect();
        let last = |task| journal.last_of(&task).ok().flatten();
        let last: Vec<Job> = tasks(site.plan()).into_iter().filter_map(last).collect();
        facts.rehearsals = last;
    }
    Ok(assess(site.plan(), &history, &facts, surroundings.now()))
}

/// Returns the file that is to hold the recovery key, if it is not there. What a command prints nobody asks for to show how
/// things stand.
fn key_lacking(site: &Site) -> Option<PathBuf> {
    let SecretRef::File(file) = &site.plan().key().secret else { return None };
    let found = file.as_path().symlink_metadata();
    let is_lacking = found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    is_lacking.then(|| file.as_path().to_owned())
}

/// Moves on what is known of watched assets: what a sweep saw to be as it was captured is captured until then.
///
/// That is this host's own word and not in the catalog, which would get a record of it every few seconds; what
/// cannot be read of it costs exposure and nothing else.
fn move_on(history: &mut History, site: &Site, now: Timestamp) {
    let Ok(Some((_, journal))) = journal_of(site) else { return };
    let watched = site.plan().assets().iter().filter(|(_, asset)| asset.is_watched());
    for (asset, _) in watched {
        let kept = journal.watched(asset).ok().flatten();
        if let Some((from, until)) = kept.and_then(|kept| kept.span()) {
            history.was_unchanged(asset, from, until.min(now));
        }
    }
}

type Looked = BTreeMap<TierName, Result<Seen, Trouble>>;

fn look(site: &Site, history: &History, expected: Present) -> Looked {
    let (asker, history) = (site.clone(), history.clone());
    let names = site.plan().tiers().keys().cloned();
    let mut tiers = Inquiry::begin(names, move |name, _: &dyn EventSink| {
        look_at(&asker, name, (&history, &expected))
    });
    let logged = site.databases().filter(|(_, database)| database.wal.mode != WalMode::None);
    let logged: BTreeMap<AssetName, Vec<TierName>> =
        logged.map(|(asset, database)| (asset.clone(), database.wal.to.clone())).collect();
    let asker = site.clone();
    let mut logs =
        Inquiry::begin(logged.keys().cloned(), move |asset: &AssetName, _| log_of(&asker, asset));
    let (longest, heard) = (site.silence_max(), |name: &TierName| site.silent_for(name));
    let found = tiers.gather_unless_silent(&Silent, longest, heard);
    let mut looked: Looked = found.into_iter().collect();
    looked.extend(tiers.awaited().iter().map(|name| (name.clone(), Err(site.late(name)))));
    // Of a log something is heard as long as it is of one of its tiers.
    let heard = |asset: &AssetName| logged[asset].iter().map(heard).min().unwrap_or_default();
    for (asset, log) in logs.gather_unless_silent(&Silent, longest, heard) {
        add_log(&asset, log, &mut looked);
    }
    looked
}

fn look_at(
    site: &Site,
    name: &TierName,
    (history, expected): (&History, &Present),
) -> Result<Seen, Trouble> {
    let address = site.address(name).map_err(|error| Trouble::of(&error))?;
    match site.reach(name) {
        Reached::Trouble(trouble) => Err(trouble),
        Reached::Vacant(_) => match history.nothing_at(name, &address) {
            Emptiness::New => Ok(Seen::default()),
            Emptiness::Moved { from } => Ok(Seen { moved_from: Some(from), ..Seen::default() }),
            Emptiness::Lost => Err(Trouble::of(&Emptiness::Lost.trouble(name.clone(), address))),
        },
        Reached::Ready(named) => {
            let rules = site.plan().tiers().get(name);
            let now = site.surroundings().now();
            let seen = seen(named.tier.as_ref(), (rules, now), &expected[name]);
            let seen = site.surroundings().runtime.block_on(seen);
            seen.map_err(|error| Trouble::of(&error))
        }
    }
}

/// Lists the snapshots of a tier's repository, which takes no key, and asks how the newest is locked.
async fn seen(
    tier: &dyn Tier,
    (rules, now): (Option<&PlannedTier>, Timestamp),
    expected: &BTreeSet<SnapshotId>,
) -> Result<Seen, TierError> {
    let prefix: ObjectPrefix = "repo/snapshots".parse().expect("it is a valid path");
    let listed: Vec<ObjectMeta> = tier.list(&prefix).try_collect().await?;
    let id = |meta: &ObjectMeta| meta.path.file_name().parse::<SnapshotId>().ok();
    let snapshots: BTreeSet<_> = listed.iter().filter_map(id).collect();
    let newest = listed.iter().max_by_key(|meta| meta.modified);
    let protection = match newest {
        // What a store cannot say is not known.
        Some(newest) => tier.protection(&newest.path).await.ok(),
        None => None,
    };
    let weak_lock = newest
        .zip(protection)
        .zip(rules)
        .and_then(|((newest, found), rules)| weakness(rules, (newest.modified, found), now));
    let gone = gone(tier, &snapshots, expected).await?;
    let thaw_within = tier.thaw_within();
    Ok(Seen { snapshots, protection, weak_lock, thaw_within, gone, ..Seen::default() })
}

fn log_of(site: &Site, asset: &AssetName) -> Option<WalStatus> {
    let log = WalLog::of(site, Some(asset)).ok()?;
    log.status(&site.surroundings().cancel).ok()
}

fn add_log(asset: &AssetName, log: Option<WalStatus>, looked: &mut Looked) {
    for on in log.into_iter().flat_map(|log| log.tiers) {
        if let Some(Ok(seen)) = looked.get_mut(&on.tier)
            && on.trouble.is_none()
        {
            seen.logs.insert(asset.clone(), on);
        }
    }
}
