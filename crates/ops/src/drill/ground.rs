//! What the yard of a drill is made of, by its plan.
//!
//! Lost are what the runbook restores: the paths of files, and where servers had their data; of a platform that runs, these
//! alone, as they come back before it is started. Hidden are the state and the
//! cache of this host, its tiers, and the secrets of the plan that lie in files; the keeper sees those that he needs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lifeboat_model::{AssetName, Cancel, EventSink};
use lifeboat_plan::SecretRef;
use lifeboat_plan::plan::asset::AssetKind;
use lifeboat_plan::plan::runbook::Action;
use lifeboat_plan::plan::scenario::PlatformState;
use lifeboat_postgres::enclosure::Errand;
use lifeboat_postgres::recovery::RecoveryTarget;
use lifeboat_postgres::yard::{Ground, KeeperAccess, KeeperView};
use lifeboat_tiers::durable;

use super::keeper::KeeperOrders;
use super::{DrillError, Play, failed, preparation};
use crate::error::OpsError;
use crate::recovery::has_base_backups_alone;
use crate::recovery::in_place::{self, InPlaceOptions};
use crate::residence::own;
use crate::wire::Site;

/// The word of the command line by which this program becomes a keeper.
pub(super) const KEEP: &str = "--keep";

/// Only root comes here.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// What names the servers that are asked for names; the keeper needs the host's.
const RESOLVER: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// Gathers what the yard of a drill is made of, and writes down what its keeper needs.
pub(super) fn of(
    play: &Play<'_>,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Ground, DrillError> {
    let Play { site, options, .. } = play;
    let place = play.claimed.place();
    let keeper = play.claimed.keeper();
    durable::create_directories(&keeper, PRIVATE_DIRECTORY).map_err(failed("make", &keeper))?;
    let written = write_plan(site, &keeper)?;
    let (secrets, tiers) = (secrets(site), tiers(site));
    let surroundings = site.surroundings();
    let mut absent = lost(play, events, cancel)?;
    absent.extend([surroundings.state_directory.clone(), surroundings.cache_directory.clone()]);
    absent.extend(secrets.iter().chain(&tiers).cloned());
    let orders = KeeperOrders {
        run: play.run,
        scenario: options.scenario.clone(),
        drill: options.drill.clone(),
        at: options.at.clone(),
        declared: play.started,
        host: options.host.clone(),
        place: own(site)?.and_then(|here| here.place),
        operator: options.operator.clone(),
        result: play.claimed.result(),
    };
    let orders = serde_json::to_string(&orders).expect("orders have only texts for keys");
    let scenario = options.scenario.to_string();
    let words = ["--plan".to_owned(), written.display().to_string(), "drill".to_owned(), scenario];
    let arguments = words.into_iter().chain([KEEP.to_owned(), orders, "--inside".to_owned()]);
    let planned = options.planned(site);
    let sinks = planned.map(|drill| drill.sinks.as_slice()).unwrap_or_default();
    let own = |name: &str| keeper.join(name).display().to_string();
    Ok(Ground {
        own_program: options.own_program.clone(),
        keeper_sees: views(&place, &secrets, &tiers),
        place,
        absent: absent.into_iter().collect(),
        names: sinks.iter().map(|sink| sink.host.clone()).collect(),
        keeper: Errand { program: options.own_program.clone(), arguments: arguments.collect() },
        environment: vec![
            ("STATE_DIRECTORY".to_owned(), own("state")),
            ("CACHE_DIRECTORY".to_owned(), own("cache")),
        ],
    })
}

fn views(place: &Path, secrets: &[PathBuf], tiers: &[PathBuf]) -> Vec<KeeperView> {
    let view = |path: &Path, access| KeeperView {
        from: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        at: path.to_owned(),
        access,
    };
    // Locks are all that reaches a tier: the keeper's tiers take nothing else.
    let tiers = tiers.iter().map(|path| view(path, KeeperAccess::Write));
    let secrets = secrets.iter().map(|path| view(path, KeeperAccess::Read));
    let resolver = RESOLVER.iter().map(|path| view(Path::new(path), KeeperAccess::Read));
    let own = std::iter::once(view(&place.join("keeper"), KeeperAccess::Write));
    tiers.chain(secrets).chain(resolver).chain(own).collect()
}

/// Writes the plan and its runbooks down for the keeper: where they lie on the host may be lost in the yard.
fn write_plan(site: &Site, keeper: &Path) -> Result<PathBuf, DrillError> {
    let folder = keeper.join("plan");
    let mut first = None;
    for source in site.sources() {
        let name = match first {
            None => Path::new("plan.toml"),
            Some(_) => Path::new(&source.path),
        };
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(&folder);
        durable::create_directories(parent, PRIVATE_DIRECTORY).map_err(failed("make", parent))?;
        durable::replace(&path, source.text.as_bytes(), durable::PRIVATE)
            .map_err(failed("write", &path))?;
        first.get_or_insert(path);
    }
    first.ok_or_else(|| DrillError::Unknown { what: "text".to_owned() })
}

/// Returns the tiers of this host.
fn tiers(site: &Site) -> Vec<PathBuf> {
    let folders = site.plan().tiers().values().filter_map(|tier| tier.url.folder());
    folders.map(|folder| folder.as_path().to_owned()).collect()
}

/// Returns the files in which the plan's secrets are.
fn secrets(site: &Site) -> Vec<PathBuf> {
    let plan = site.plan();
    let of_tiers = plan.tiers().values().flat_map(|tier| {
        [&tier.access_key_id, &tier.secret_access_key, &tier.account_key, &tier.sas_token]
    });
    let of_servers = site.databases().map(|(_, postgres)| &postgres.password);
    let all = of_tiers.chain(of_servers).flatten().chain([&plan.key().secret]);
    let files = all.filter_map(|secret| match secret {
        SecretRef::File(path) => Some(path.as_path().to_owned()),
        _ => None,
    });
    files.collect()
}

/// Returns what is lost when the yard begins: what the runbook brings back, or of a platform that runs, what is brought back
/// before that is started.
fn lost(
    play: &Play<'_>,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<BTreeSet<PathBuf>, DrillError> {
    if play.procedure.scenario().platform == PlatformState::Runs {
        let mut lost = BTreeSet::new();
        for asset in preparation::servers(play.site, play.procedure) {
            lost.extend(data_of(play.site, asset, events, cancel)?);
        }
        return Ok(lost);
    }
    let steps = play.procedure.steps().iter();
    let restored: BTreeSet<&AssetName> = steps
        .filter_map(|step| match &step.action {
            Action::Restore(restore) if restore.restore.to.is_none() => {
                Some(&restore.restore.asset)
            }
            _ => None,
        })
        .collect();
    let mut lost = BTreeSet::new();
    for asset in restored {
        match &play.site.asset(asset)?.kind {
            AssetKind::Files(files) => {
                lost.extend(files.paths.iter().map(|path| path.as_path().to_owned()));
            }
            AssetKind::Postgres(_) if has_base_backups_alone(play.site, asset) => {
                lost.extend(data_of(play.site, asset, events, cancel)?);
            }
            AssetKind::Postgres(_) | AssetKind::Command(_) => {}
        }
    }
    // Whoever loses the root directory has nothing left to recover with.
    lost.retain(|path| path.parent().is_some());
    Ok(lost)
}

/// Returns where a server had its data.
fn data_of(
    site: &Site,
    asset: &AssetName,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Vec<PathBuf>, OpsError> {
    let options = InPlaceOptions::new(asset.clone(), RecoveryTarget::Latest);
    let preview = in_place::preview(site, &options, events, cancel)?;
    Ok(preview.replaces.into_iter().chain([preview.recovery.to]).collect())
}
