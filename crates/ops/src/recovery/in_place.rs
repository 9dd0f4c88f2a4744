//! Putting a base backup in the place of the server's data.
//!
//! The data go where they were when they were backed up. The server replays its log up to the target, on a socket of
//! its own, and is shut down again: whoever starts it always, starts one that is whole.
//!
//! # Invariants
//!
//! - Nothing is moved before the site's name was given, nor while a server may run there, nor before all can be read.
//! - What was there keeps its bytes under its name with `.before-` and the time.
//! - What comes back is the server: it archives its log as before, on a timeline of its own.
//!
//! # Crash consistency
//!
//! A mark beside the data directory says that what is there is this restore's own work; it is written once all that
//! was there is aside. A kill before leaves directories that are as they were, or aside; a kill after leaves the mark,
//! by which the next restore completes what is there, stops what was started there, and keeps none of it aside.
//!
//! # Limits
//!
//! Settings that lay outside of the data directory come back into it, where a server looks that is told nothing else.
//! A host that keeps them elsewhere, as Debian does, captures them as files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lifeboat_model::{AssetName, Cancel, EventSink, SiteName, TierName, Timestamp};
use lifeboat_postgres::base::{BaseError, Manifest};
use lifeboat_postgres::recovery::RecoveryTarget;
use lifeboat_postgres::recovery::placement::Before;
use lifeboat_postgres::recovery::settings::Place;
use lifeboat_postgres::recovery::start::ServerPrograms;
use lifeboat_postgres::yard::Inside;
use lifeboat_tiers::durable;

use super::{
    RecoveryOptions, RecoveryPreview, RecoveryReport, Start, carry_out, choose_base, open,
};
use crate::ending::Ending;
use crate::error::OpsError;
use crate::restore::{set_aside, suffix_of};
use crate::thaw::ThawOptions;
use crate::wire::Site;

/// Ends the name of the mark beside a data directory.
const MARK: &str = ".lifeboat-restoring";

/// Everybody may come through the directories above a data directory; what is secret is closed by itself.
const ABOVE: u32 = 0o755;

const MARK_FILE: u32 = 0o600;

/// What takes its place again.
#[derive(Debug, Clone)]
pub struct InPlaceOptions {
    /// Which asset.
    pub asset: AssetName,
    /// Up to where.
    pub target: RecoveryTarget,
    /// The site's name, which confirms that its data may be replaced.
    pub confirm: Option<SiteName>,
    /// The words of the command that fetches the log, up to its socket.
    pub fetch: Vec<String>,
    /// What is done about packs in cold storage.
    pub thaw: ThawOptions,
    /// From which tier; the first in the plan's order that has a base backup, if absent.
    pub tier: Option<TierName>,
}

impl InPlaceOptions {
    /// Of an asset, up to a target; nobody confirmed it yet, and no store is asked for what lies cold.
    pub fn new(asset: AssetName, target: RecoveryTarget) -> Self {
        let (fetch, thaw) = (Vec::new(), ThawOptions::default());
        Self { asset, target, confirm: None, fetch, thaw, tier: None }
    }

    /// Returns what is recovered, before it is known where to.
    fn somewhere(&self) -> RecoveryOptions {
        RecoveryOptions {
            start: Start::AndStop,
            fetch: self.fetch.clone(),
            thaw: self.thaw,
            tier: self.tier.clone(),
            ..RecoveryOptions::new(self.asset.clone(), self.target.clone(), PathBuf::new())
        }
    }

    /// Returns what is recovered, and that it goes where it was.
    fn where_it_was(&self, manifest: &Manifest) -> Result<RecoveryOptions, OpsError> {
        let to = manifest.data_directory.0.clone();
        if !to.is_absolute() || to.parent().is_none() {
            let what = format!("the data directory cannot have been `{}`", to.display());
            return Err(BaseError::Manifest { what }.into());
        }
        let outside = manifest.tablespaces.iter().map(|tablespace| &tablespace.location);
        let outside = outside.filter(|location| location.is_absolute());
        let tablespaces = outside.map(|location| (location.clone(), location.clone())).collect();
        Ok(RecoveryOptions { to, tablespaces, ..self.somewhere() })
    }
}

/// What would be done.
#[derive(Debug, Clone)]
pub struct InPlacePreview {
    /// From which base backup, and up to where.
    pub recovery: RecoveryPreview,
    /// What is there now, which is kept aside.
    pub replaces: Vec<PathBuf>,
}

/// What was done.
#[derive(Debug)]
pub struct InPlaceReport {
    /// What the server has now.
    pub recovery: RecoveryReport,
    /// Where the old state is kept.
    pub kept_aside: Vec<PathBuf>,
}

/// Says what putting a base backup in place would do; changes nothing but the catalog's view.
pub fn preview(
    site: &Site,
    options: &InPlaceOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<InPlacePreview, OpsError> {
    let (somewhere, site) = (options.somewhere(), &site.clone().beside());
    let open = open(site, &somewhere, events, cancel)?;
    let chosen = choose_base(&open, &somewhere, (events, cancel))?;
    let wanted = options.where_it_was(chosen.manifest()?)?;
    let there = directories(&wanted).filter(|path| path.symlink_metadata().is_ok());
    let replaces = there.map(Path::to_owned).collect();
    Ok(InPlacePreview { recovery: chosen.preview(site, &wanted), replaces })
}

/// Keeps what is there aside, and puts a base backup in its place.
pub fn recover(
    site: &Site,
    options: &InPlaceOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<InPlaceReport, OpsError> {
    if options.confirm.as_ref() != Some(site.name()) {
        return Err(OpsError::Unconfirmed { site: site.name().clone() });
    }
    let _replacing = site.replacing()?;
    let (somewhere, site) = (options.somewhere(), &site.clone().alone_if_free());
    let open = open(site, &somewhere, events, cancel)?;
    let chosen = choose_base(&open, &somewhere, (events, cancel))?;
    let manifest = chosen.manifest()?;
    let mut wanted = options.where_it_was(manifest)?;
    let mark = mark_beside(&wanted.to);
    if mark.exists() {
        stop_own(site, manifest.major(), &wanted, cancel)?;
        wanted.before = Before::Cluster;
    }
    chosen.placement(&wanted)?.check_unused()?;
    let packs = || chosen.packs(&wanted, cancel);
    chosen.gate(&open, &wanted, cancel).pass(wanted.thaw, packs, events)?;
    let mut kept_aside = Vec::new();
    if wanted.before == Before::Empty {
        kept_aside = clear(&wanted, site.surroundings().now())?;
    }
    durable::replace(&mark, b"", MARK_FILE).map_err(failed("write", &mark))?;
    let recovery = carry_out(&open, &chosen, (&wanted, Place::Server), events, cancel)?;
    if recovery.ending == Ending::Succeeded {
        durable::remove(&mark).map_err(failed("remove", &mark))?;
    }
    Ok(InPlaceReport { recovery, kept_aside })
}

/// Stops what an attempt that was killed left running.
fn stop_own(
    site: &Site,
    major: u32,
    wanted: &RecoveryOptions,
    cancel: &Cancel,
) -> Result<(), OpsError> {
    if !wanted.to.join("postmaster.pid").exists() {
        return Ok(());
    }
    let postgres = site.asset(&wanted.asset)?.postgres();
    let postgres = postgres.expect("only a database has base backups");
    let (_, environment) = site.connection(postgres, cancel)?;
    let runner = site.inside().map(Inside::runner);
    Ok(ServerPrograms::find(major, &environment)?.run_by(runner).stop(&wanted.to)?)
}

/// Keeps aside what is where the cluster goes, and makes the directories above.
fn clear(wanted: &RecoveryOptions, now: Timestamp) -> Result<Vec<PathBuf>, OpsError> {
    let suffix = suffix_of(now);
    let mut kept_aside = Vec::new();
    for path in directories(wanted) {
        kept_aside.extend(set_aside(path, &suffix).map_err(failed("keep aside", path))?);
        let above = path.parent().unwrap_or(Path::new("/"));
        durable::create_directories(above, ABOVE).map_err(failed("make", above))?;
    }
    Ok(kept_aside)
}

/// The data directory and those of its tablespaces that lie elsewhere.
fn directories(wanted: &RecoveryOptions) -> impl Iterator<Item = &Path> {
    let spaces = wanted.tablespaces.iter().map(|(_, to)| to.as_path());
    std::iter::once(wanted.to.as_path()).chain(spaces)
}

fn mark_beside(data: &Path) -> PathBuf {
    let mut name: OsString = data.as_os_str().to_owned();
    name.push(MARK);
    name.into()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> OpsError {
    let path = path.to_owned();
    move |source| OpsError::Io { action, path, source }
}
