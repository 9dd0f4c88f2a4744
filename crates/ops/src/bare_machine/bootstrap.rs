//! Bringing plan, runbooks and catalog of a site to a machine that has none of it.
//!
//! # Crash consistency
//!
//! Runbooks are written before the plan that names them, each whole or not at all, and nothing that is there
//! is ever replaced: after a kill the same command goes on where it was.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::{AssetName, Cancel, PlanId, SiteName, TierName, Timestamp};
use lifeboat_plan::plan::asset::AssetKind;
use lifeboat_plan::value::duration::Span;
use lifeboat_tiers::durable;
use serde::Serialize;

use super::{FoundSite, KnownPlan};
use crate::backup::base::{has_base, read_manifest};
use crate::catalog::{Catalog, CatalogKeys, CatalogReport};
use crate::error::OpsError;
use crate::holdings::Holdings;
use crate::named_tier::NamedTier;
use crate::point::{Capture, Point, Role, roles};
use crate::recovery::has_base_backups;
use crate::state::State;
use crate::wire::open::OpenTier;
use crate::wire::{Reached, Site};

/// The version of [`Bootstrapped`] as JSON.
pub const SCHEMA: u32 = 1;

/// What the plan is called, where lifeboat looks for it by itself.
const PLAN_NAME: &str = "plan.toml";

/// Everybody may look for runbooks; what is in them only their owner reads, as after `lifeboat init`.
const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = durable::PRIVATE;

/// What is on this machine now, and how it goes on.
#[derive(Debug, Serialize)]
pub struct Bootstrapped {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// Through which of its tiers.
    pub tier: TierName,
    /// Where that was found.
    pub address: String,
    /// Where the plan says that it is.
    pub planned: String,
    /// The plan that was taken.
    pub plan: PlanId,
    /// All plans of the tier, those that were in force first, the newest of them first.
    pub plans: Vec<KnownPlan>,
    /// The plan's file, and then those of its runbooks.
    pub files: Vec<PlanFile>,
    /// What the catalog's view was rebuilt from.
    pub catalog: CatalogReport,
    /// What the plan protects, in the order in which it comes back.
    pub assets: Vec<Protected>,
    /// The recovery points on the tier, the newest first.
    pub points: Vec<Point>,
}

impl Bootstrapped {
    /// Tells whether a file is in the way, so that neither plan nor runbooks were written.
    pub fn is_blocked(&self) -> bool {
        self.files.iter().any(|file| file.state == FileState::Other)
    }

    /// Tells whether the tier was found where the plan says that it is.
    pub fn is_where_planned(&self) -> bool {
        self.address.trim_end_matches('/') == self.planned.trim_end_matches('/')
    }

    /// Tells whether a plan was in force later than the one that was taken, and cannot be used.
    pub fn is_older(&self) -> bool {
        self.plans.iter().any(|known| known.trouble.is_some())
    }
}

/// A file of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanFile {
    /// Where it belongs.
    pub path: PathBuf,
    /// What became of it.
    pub state: FileState,
}

/// What became of a file of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// It was written.
    Written,
    /// It was there already, byte by byte.
    There,
    /// Something else is there, and stays.
    Other,
    /// It was not written, since another one is in the way.
    Left,
}

/// An asset of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Protected {
    /// Which asset.
    pub asset: AssetName,
    /// What part it plays in a point.
    pub role: Role,
    /// How it comes back.
    pub way: Way,
    /// How much may be lost, in seconds.
    pub rpo_s: Option<u64>,
    /// How long it may take, in seconds.
    pub rto_s: Option<u64>,
    /// When the newest copy on the tier was captured.
    pub newest: Option<Timestamp>,
}

/// How an asset comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "to")]
pub enum Way {
    /// Where it came from.
    InPlace,
    /// A server from its base backup, into a data directory.
    Cluster {
        /// The one that the server had, if the tier tells.
        data_directory: Option<PathBuf>,
    },
}

/// Writes plan and runbooks below a directory, rebuilds the catalog's view from the tier, and says what there
/// is.
pub fn bootstrap(
    found: FoundSite,
    directory: &Path,
    cancel: &Cancel,
) -> Result<Bootstrapped, OpsError> {
    let FoundSite { site, tier: name, plans, repository, .. } = found;
    let named = match site.reach(&name) {
        Reached::Ready(named) => named,
        // It was there a moment ago.
        Reached::Vacant(_) | Reached::Trouble(_) => {
            let address = site.address(&name)?;
            return Err(OpsError::TierLost { tier: name, address });
        }
    };
    let (catalog, report) = rebuild(&site, &named, cancel)?;
    let tier = OpenTier { named, repository };
    let Holdings { captures, points, .. } = Holdings::of_tier(&site, catalog.view(), &tier)?;
    let assets = in_order(&site).into_iter();
    let assets = assets.map(|asset| protected(&site, &tier, &asset, &captures));
    Ok(Bootstrapped {
        schema: SCHEMA,
        site: site.name().clone(),
        address: site.address(&name)?,
        planned: site.plan().tiers()[&name].url.to_string(),
        plan: site.plan().id(),
        plans,
        assets: assets.collect::<Result<_, _>>()?,
        points,
        catalog: report,
        files: write(&site, directory)?,
        tier: name,
    })
}

fn rebuild(
    site: &Site,
    named: &NamedTier,
    cancel: &Cancel,
) -> Result<(Catalog, CatalogReport), OpsError> {
    let surroundings = site.surroundings();
    let lock = State::open(&surroundings.state_directory)?.lock()?;
    let keys = CatalogKeys::from(&site.recovery_key(cancel)?);
    let catalog = Catalog::open(lock, site.name().clone(), keys, surroundings)?;
    let report = catalog.rebuild(std::slice::from_ref(named))?;
    Ok((catalog, report))
}

/// Returns the assets in the order in which they come back: databases, what they name, what they run with;
/// among those as they stand in the plan.
fn in_order(site: &Site) -> Vec<AssetName> {
    let roles = roles(site.plan());
    let mut assets = site.assets_as_written().to_vec();
    assets.sort_by_key(|asset| roles.get(asset).copied());
    assets
}

fn protected(
    site: &Site,
    tier: &OpenTier,
    asset: &AssetName,
    captures: &[Capture],
) -> Result<Protected, OpsError> {
    let newest = captures.iter().rfind(|capture| capture.asset == *asset);
    let planned = site.asset(asset)?;
    let seconds = |span: Option<Span>| span.map(|span| Duration::from(span).as_secs());
    let way = match &planned.kind {
        AssetKind::Postgres(_) if has_base_backups(site, asset) => {
            let directory = newest.and_then(|capture| data_directory(tier, asset, capture));
            Way::Cluster { data_directory: directory }
        }
        _ => Way::InPlace,
    };
    Ok(Protected {
        asset: asset.clone(),
        role: roles(site.plan())[asset],
        way,
        rpo_s: seconds(planned.rpo),
        rto_s: seconds(planned.rto),
        newest: newest.map(|capture| capture.time),
    })
}

/// Reads where a server had its data; whoever restores it may choose another place anyway.
fn data_directory(tier: &OpenTier, asset: &AssetName, capture: &Capture) -> Option<PathBuf> {
    let id = capture.copies.get(&tier.named.name)?;
    let snapshot = tier.repository.snapshot(id).ok().filter(|found| has_base(found, asset))?;
    Some(read_manifest(tier, &snapshot, asset).ok()?.data_directory.0)
}

/// Writes plan and runbooks, unless something else is where one of them belongs.
fn write(site: &Site, directory: &Path) -> Result<Vec<PlanFile>, OpsError> {
    let names =
        std::iter::once(PLAN_NAME).chain(site.sources().iter().skip(1).map(|file| &*file.path));
    let texts = site.sources().iter().map(|file| file.text.as_bytes());
    let wanted: Vec<_> = names.map(|name| directory.join(name)).zip(texts).collect();
    let mut files = Vec::new();
    for (path, text) in &wanted {
        files.push(PlanFile { path: path.clone(), state: look(path, text)? });
    }
    if files.iter().any(|file| file.state == FileState::Other) {
        return Ok(files);
    }
    // The plan comes last: it never names a runbook that is not there yet.
    for (file, (path, text)) in files.iter_mut().zip(&wanted).rev() {
        if file.state == FileState::Left {
            file.state = put(path, text)?;
        }
    }
    Ok(files)
}

/// Looks what is where a file belongs.
fn look(path: &Path, text: &[u8]) -> Result<FileState, OpsError> {
    match fs::read(path) {
        Ok(bytes) if bytes == text => Ok(FileState::There),
        Ok(_) => Ok(FileState::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FileState::Left),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(FileState::Other),
        Err(source) => Err(failed("read", path, source)),
    }
}

fn put(path: &Path, text: &[u8]) -> Result<FileState, OpsError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let written = durable::create_directories(folder, DIRECTORY_MODE)
        .and_then(|()| durable::write_new(path, text, FILE_MODE));
    match written {
        Ok(()) => Ok(FileState::Written),
        // Somebody was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(FileState::Other),
        Err(source) => Err(failed("write", path, source)),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> OpsError {
    OpsError::Io { action, path: path.to_owned(), source }
}
