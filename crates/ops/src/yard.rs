//! What a yard is made of, by a plan: what of the host is not there, and what only its keeper sees.
//!
//! Hidden are the state and the cache of this host, its tiers, and the secrets of the plan that lie in files; the keeper sees
//! those that he needs. What is lost besides, whoever plays in the yard says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lifeboat_model::{AssetName, Cancel, EventSink};
use lifeboat_plan::SecretRef;
use lifeboat_plan::value::sink::SinkAddress;
use lifeboat_postgres::enclosure::Errand;
use lifeboat_postgres::recovery::RecoveryTarget;
use lifeboat_postgres::yard::{Ground, KeeperAccess, KeeperView};
use lifeboat_tiers::durable;

use crate::error::OpsError;
use crate::recovery::in_place::{self, InPlaceOptions};
use crate::wire::Site;

/// The words of the command line by which this program becomes a keeper.
const KEEP: &str = "--keep";
const INSIDE: &str = "--inside";

/// Where the keeper has what is his own, in the yard's place.
const KEEPER: &str = "keeper";

/// Only root comes here.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// What names the servers that are asked for names; the keeper needs the host's.
const RESOLVER: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// Where everything of a yard lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct YardPlace(pub(crate) PathBuf);

impl YardPlace {
    /// Returns where the keeper has what is his own.
    pub(crate) fn keeper(&self) -> PathBuf {
        self.0.join(KEEPER)
    }

    /// Returns where the keeper writes what he found.
    pub(crate) fn result(&self) -> PathBuf {
        self.keeper().join("result.json")
    }
}

/// A yard before it is built.
pub(crate) struct Layout<'a> {
    pub(crate) site: &'a Site,
    pub(crate) place: &'a YardPlace,
    /// What is not there when it begins.
    pub(crate) lost: BTreeSet<PathBuf>,
    /// What stands in for services of others.
    pub(crate) sinks: &'a [SinkAddress],
    pub(crate) own_program: &'a Path,
    /// The words by which this program becomes the keeper: a command of its own, and what it is about.
    pub(crate) errand: [String; 2],
    /// What the keeper is told.
    pub(crate) orders: String,
}

impl Layout<'_> {
    /// Gathers what the yard is made of, and writes down what its keeper needs.
    pub(crate) fn ground(self) -> Result<Ground, OpsError> {
        let Self { site, place, own_program, .. } = self;
        let keeper = place.keeper();
        durable::create_directories(&keeper, PRIVATE_DIRECTORY).map_err(failed("make", &keeper))?;
        let written = write_plan(site, &keeper)?;
        let (secrets, tiers) = (secrets(site), tiers(site));
        let surroundings = site.surroundings();
        let mut absent = self.lost;
        absent.extend([surroundings.state_directory.clone(), surroundings.cache_directory.clone()]);
        absent.extend(secrets.iter().chain(&tiers).cloned());
        let words = ["--plan".to_owned(), written.display().to_string()].into_iter();
        let words = words.chain(self.errand);
        let arguments = words.chain([KEEP.to_owned(), self.orders, INSIDE.to_owned()]).collect();
        let own = |name: &str| keeper.join(name).display().to_string();
        Ok(Ground {
            own_program: own_program.to_owned(),
            keeper_sees: views(place, &secrets, &tiers),
            place: place.0.clone(),
            absent: absent.into_iter().collect(),
            names: self.sinks.iter().map(|sink| sink.host.clone()).collect(),
            keeper: Errand { program: own_program.to_owned(), arguments },
            environment: vec![
                ("STATE_DIRECTORY".to_owned(), own("state")),
                ("CACHE_DIRECTORY".to_owned(), own("cache")),
            ],
        })
    }
}

fn views(place: &YardPlace, secrets: &[PathBuf], tiers: &[PathBuf]) -> Vec<KeeperView> {
    let view = |path: &Path, access| KeeperView {
        from: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        at: path.to_owned(),
        access,
    };
    // Locks are all that reaches a tier: the keeper's tiers take nothing else.
    let tiers = tiers.iter().map(|path| view(path, KeeperAccess::Write));
    let secrets = secrets.iter().map(|path| view(path, KeeperAccess::Read));
    let resolver = RESOLVER.iter().map(|path| view(Path::new(path), KeeperAccess::Read));
    let own = std::iter::once(view(&place.keeper(), KeeperAccess::Write));
    tiers.chain(secrets).chain(resolver).chain(own).collect()
}

/// Writes the plan and its runbooks down for the keeper: where they lie on the host may be lost in the yard.
fn write_plan(site: &Site, keeper: &Path) -> Result<PathBuf, OpsError> {
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
    first.ok_or_else(|| OpsError::NotInPlan { what: "text".to_owned() })
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

/// Returns where a server had its data.
pub(crate) fn data_of(
    site: &Site,
    asset: &AssetName,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Vec<PathBuf>, OpsError> {
    let options = InPlaceOptions::new(asset.clone(), RecoveryTarget::Latest);
    let preview = in_place::preview(site, &options, events, cancel)?;
    Ok(preview.replaces.into_iter().chain([preview.recovery.to]).collect())
}

fn failed<'p>(
    action: &'static str,
    path: &'p Path,
) -> impl FnOnce(std::io::Error) -> OpsError + 'p {
    move |source| OpsError::Io { action, path: path.to_owned(), source }
}
