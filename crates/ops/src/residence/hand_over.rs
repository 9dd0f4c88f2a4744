//! Making the platform stand still, so that it can go on somewhere else and nothing is lost.
//!
//! ```text
//! services that write stop ── from now on it is still ── the last backup ── those that hold data stop ── it is recorded
//! ```
//!
//! A service that `holds` an asset runs until that was backed up: a database has to answer. What fails on the way starts again what
//! was stopped, and the platform lives on where it is.
//!
//! # Crash consistency
//!
//! A kill leaves services stopped, and no record: the platform still lives here. What was stopped is [noted](super::begun)
//! and told. To hand it over again does all of it anew, [`take_back`] starts what was stopped. Once the record is written, nothing
//! is captured here any more.

use std::collections::BTreeSet;
use std::path::PathBuf;

use lifeboat_model::{
    Cancel, EventSink, JobId, PlaceName, ServiceName, SiteName, TierName, Timestamp,
};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::service::Service;
use lifeboat_plan::value::command::Command;
use serde::Serialize;

use super::begun::{BegunHandOver, begun};
use super::fence::{expect_home_now, known_here};
use super::{Known, PlaceError, own};
use crate::backup::{AssetReport, BackupJobReport, BackupOptions, backup};
use crate::catalog::body::{Body, PlaceLeft, Whereabouts};
use crate::command::{self, Left, NO_LIMIT, Noted, Notes};
use crate::error::OpsError;
use crate::host::Host;
use crate::procedure::platform;
use crate::procedure::probe::Asker;
use crate::procedure::services::start_order;
use crate::procedure::target::Target;
use crate::procedure::values::Values;
use crate::process::ProcessMark;
use crate::state::State;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite};

/// The version of [`HandOverReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// What is handed over, and by whom.
#[derive(Debug, Clone)]
pub struct HandOverOptions {
    /// Where it is to go on, if that is known.
    pub to: Option<PlaceName>,
    /// Who does it.
    pub login: String,
    /// The site's name, by which somebody confirmed that its services may be stopped.
    pub confirm: SiteName,
}

/// What was handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HandOverReport {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// Where it lived.
    pub here: Whereabouts,
    /// Where it is to go on.
    pub to: Option<PlaceName>,
    /// Since when it writes nothing.
    pub still: Timestamp,
    /// The services that were stopped, in that order.
    pub stopped: Vec<ServiceName>,
    /// The last backup.
    pub job: JobId,
    /// The tiers that hold all of it.
    pub tiers: BTreeSet<TierName>,
    /// The tiers that tell of it; others get its record later.
    pub told: BTreeSet<TierName>,
}

/// Makes the platform stand still.
pub fn hand_over(
    site: &Site,
    options: &HandOverOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<HandOverReport, OpsError> {
    let here = own(site)?.ok_or(PlaceError::NoPlaces)?;
    expect_whither(site, options)?;
    expect_elsewhere(&here, options.to.as_ref())?;
    expect_home_now(site, cancel)?;
    let before = begun(site, &here, &known_here(site)?)?;
    expect_nobody_at_it(before.as_ref())?;
    end_what_was_left(site)?;
    let mut platform = Platform::new(site, &here, cancel);
    platform.begun = Some(BegunHandOver {
        begun: site.surroundings().now(),
        login: options.login.clone(),
        to: options.to.clone(),
        // What one before left stopped is started with the rest, if this one fails.
        stopped: before.map(|before| before.stopped).unwrap_or_default(),
        process: own_process()?,
    });
    match quiesce(&mut platform, events) {
        Err(error) => {
            platform.start_again();
            Err(error)
        }
        Ok((still, report)) => {
            let left = PlaceLeft {
                whereabouts: here.clone(),
                to: options.to.clone(),
                still,
                job: report.job,
                login: options.login.clone(),
                after: BTreeSet::new(),
            };
            let told =
                record(site, left, (events, cancel)).inspect_err(|_| platform.start_again())?;
            BegunHandOver::forget(site)?;
            Ok(HandOverReport {
                schema: SCHEMA,
                site: site.name().clone(),
                here,
                to: options.to.clone(),
                still,
                stopped: platform.stopped,
                job: report.job,
                tiers: whole_on(&report.assets),
                told,
            })
        }
    }
}

/// What was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TakenBack {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// Where it lives on.
    pub here: Whereabouts,
    /// The services that run again, in the order in which they were started.
    pub started: Vec<ServiceName>,
}

/// Starts again what a hand-over stopped that was cut short; the platform lives on here.
pub fn take_back(site: &Site, cancel: &Cancel) -> Result<TakenBack, OpsError> {
    let here = own(site)?.ok_or(PlaceError::NoPlaces)?;
    let known = known_here(site)?;
    known.expect_at(&here, site.plan())?;
    let begun = begun(site, &here, &known)?.ok_or(PlaceError::NothingBegun)?;
    expect_nobody_at_it(Some(&begun))?;
    end_what_was_left(site)?;
    let mut platform = Platform::new(site, &here, cancel);
    platform.stopped.clone_from(&begun.stopped);
    let (started, failed) = platform.start_all();
    if let Some((service, why)) = failed.into_iter().next() {
        return Err(PlaceError::NotStarted { service, why }.into());
    }
    BegunHandOver::forget(site)?;
    let (schema, site) = (SCHEMA, site.name().clone());
    Ok(TakenBack { schema, site, here, started })
}

fn own_process() -> Result<ProcessMark, OpsError> {
    let path = PathBuf::from("/proc/self/stat");
    ProcessMark::own().map_err(|source| OpsError::Io { action: "read", path, source })
}

/// Ends a command that a killed hand-over left running: it must not stop what is started again.
fn end_what_was_left(site: &Site) -> Result<(), OpsError> {
    let surroundings = site.surroundings();
    let path = State::open(&surroundings.state_directory)?.hand_over_commands_path();
    match command::end_left(&path, surroundings) {
        Ok(_) => Ok(()),
        Err(Left::Unread(source)) => Err(OpsError::Io { action: "read", path, source }),
        Err(Left::Hangs(Noted { of, program, process })) => {
            let process = process.number;
            Err(PlaceError::StillRuns { service: of, program, process }.into())
        }
    }
}

/// Refuses while another process hands over.
fn expect_nobody_at_it(begun: Option<&BegunHandOver>) -> Result<(), PlaceError> {
    match begun.filter(|begun| begun.goes_on()) {
        None => Ok(()),
        Some(begun) => Err(PlaceError::HandingOver {
            login: begun.login.clone(),
            since: begun.begun,
            process: begun.process.number,
        }),
    }
}

fn expect_whither(site: &Site, options: &HandOverOptions) -> Result<(), OpsError> {
    if options.confirm != *site.name() {
        return Err(OpsError::Unconfirmed { site: site.name().clone() });
    }
    match &options.to {
        Some(to) if !site.plan().places().contains_key(to) => {
            let known = site.plan().places().keys().cloned().collect();
            Err(PlaceError::Unknown { place: to.clone(), known }.into())
        }
        _ => Ok(()),
    }
}

/// Refuses to hand over to where the platform lives already: nothing would be won, and it would stand still.
fn expect_elsewhere(here: &Whereabouts, to: Option<&PlaceName>) -> Result<(), PlaceError> {
    match to {
        Some(to) if here.place.as_ref() == Some(to) => Err(PlaceError::Here { place: to.clone() }),
        _ => Ok(()),
    }
}

/// Stops what writes, backs all of it up, and stops the rest; returns since when it is still.
fn quiesce(
    platform: &mut Platform<'_>,
    events: &dyn EventSink,
) -> Result<(Timestamp, BackupJobReport), OpsError> {
    let (site, cancel) = (platform.site, platform.cancel);
    platform.stop(|service| service.holds.is_empty())?;
    let still = site.surroundings().now();
    let report = backup(site, &BackupOptions::default(), events, cancel)?;
    if let Some(lacking) = report.assets.iter().find(|asset| !is_whole(asset)) {
        let why = lacking.stages.iter().find_map(|stage| stage.message.clone());
        let (asset, why) = (lacking.asset.clone(), why.unwrap_or_else(|| "part of it".to_owned()));
        return Err(PlaceError::NotCaptured { asset, why }.into());
    }
    platform.stop(|service| !service.holds.is_empty())?;
    Ok((still, report))
}

fn is_whole(asset: &AssetReport) -> bool {
    asset.captured.is_some() && !asset.snapshots.is_empty()
}

/// Returns the tiers that hold all assets.
fn whole_on(assets: &[AssetReport]) -> BTreeSet<TierName> {
    let of = |asset: &AssetReport| -> BTreeSet<TierName> {
        asset.snapshots.iter().map(|on| on.tier.clone()).collect()
    };
    assets.iter().map(of).reduce(|all, own| &all & &own).unwrap_or_default()
}

/// Records that it is left, and returns the tiers that tell of it. Refused where no tier could: then no other place would know.
fn record(
    site: &Site,
    left: PlaceLeft,
    (events, cancel): (&dyn EventSink, &Cancel),
) -> Result<BTreeSet<TierName>, OpsError> {
    let tiers = site.plan().tiers().keys().cloned().collect();
    let open = OpenSite::open_home(site, &tiers, NewTiers::Leave, events, cancel)?;
    if open.open_tiers().next().is_none() {
        return Err(PlaceError::Unheard.into());
    }
    let after = Known::load(open.catalog().view())?.ends();
    open.record(Body::PlaceLeft(PlaceLeft { after, ..left }))?;
    let delivered = open.deliver()?.into_iter().filter(|tier| tier.error.is_none());
    Ok(delivered.map(|tier| tier.tier).collect())
}

/// The platform's services while they are stopped.
struct Platform<'a> {
    site: &'a Site,
    values: Values,
    cancel: &'a Cancel,
    stopped: Vec<ServiceName>,
    /// What is noted of it, while it is handed over.
    begun: Option<BegunHandOver>,
}

impl<'a> Platform<'a> {
    fn new(site: &'a Site, here: &Whereabouts, cancel: &'a Cancel) -> Self {
        let planned = here.place.as_ref().and_then(|place| site.plan().places().get(place));
        let host = planned.map_or_else(|| here.host.clone(), |place| place.host.clone());
        let target = Target { host, place: here.place.clone(), directory: None };
        let values = Values::of_plan(site.plan()).with_target(&target);
        Self { site, values, cancel, stopped: Vec::new(), begun: None }
    }

    /// Stops those that are meant, those first that need others.
    fn stop(&mut self, is_meant: impl Fn(&Service) -> bool) -> Result<(), OpsError> {
        for name in order(self.site.plan()).into_iter().rev() {
            let Some(service) = self.site.plan().services().get(&name) else { continue };
            let Some(stop) = service.stop.as_ref().filter(|_| is_meant(service)) else { continue };
            // First: what fails in the middle may have stopped it.
            self.stopped.push(name.clone());
            self.note(&name)?;
            self.run(&name, stop)
                .and_then(|()| self.expect_silence(&name))
                .map_err(|why| PlaceError::NotStopped { service: name, why })?;
        }
        Ok(())
    }

    /// Notes that a service is being stopped.
    fn note(&mut self, name: &ServiceName) -> Result<(), OpsError> {
        let Some(begun) = &mut self.begun else { return Ok(()) };
        if !begun.stopped.contains(name) {
            begun.stopped.push(name.clone());
        }
        begun.keep(self.site)
    }

    /// Starts what was stopped, as far as that goes; whoever handed it over is told what does not, and it stays noted.
    fn start_again(&mut self) {
        if let Some(begun) = &self.begun {
            self.stopped.clone_from(&begun.stopped);
        }
        let (_, failed) = self.start_all();
        for (service, why) in &failed {
            tracing::error!(%service, why, "It could not be started again.");
        }
        let noted = match &mut self.begun {
            _ if failed.is_empty() => BegunHandOver::forget(self.site),
            Some(begun) => {
                begun.stopped = failed.into_iter().map(|(service, _)| service).collect();
                begun.keep(self.site)
            }
            None => Ok(()),
        };
        if let Err(error) = noted {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "What is stopped could not be noted.");
        }
    }

    /// Starts what was stopped, as far as that goes; returns what runs, and what does not and why.
    fn start_all(&self) -> (Vec<ServiceName>, Vec<(ServiceName, String)>) {
        let (mut started, mut failed) = (Vec::new(), Vec::new());
        for name in order(self.site.plan()).into_iter().filter(|name| self.stopped.contains(name)) {
            let service = self.site.plan().services().get(&name);
            let Some(start) = service.and_then(|service| service.start.as_ref()) else { continue };
            match self.run(&name, start) {
                Ok(()) => started.push(name),
                Err(why) => failed.push((name, why)),
            }
        }
        (started, failed)
    }

    /// Refuses a service that still answers: what it writes from now on would be lost.
    fn expect_silence(&self, name: &ServiceName) -> Result<(), String> {
        let Self { site, values, cancel, .. } = self;
        let host = &Host::Here;
        let (act, mails, notes) = (None, None, None);
        let asker = Asker { host, site, values, act, mails, notes, cancel };
        let services = platform::Platform { asker };
        services.wait_for_silence(name).map_err(|failure| failure.why)
    }

    fn run(&self, name: &ServiceName, command: &Command) -> Result<(), String> {
        let words = self.values.words(command, None).map_err(|error| error.to_string())?;
        let state = State::open(&self.site.surroundings().state_directory);
        let directory = state.map_err(|error| error.to_string())?.hand_over_commands_path();
        let notes = Notes { directory, of: name.to_string() };
        let ran = Host::Here.run(self.site, words, (NO_LIMIT, Some(&notes)), self.cancel);
        ran.map(drop).map_err(|error| crate::error::explain(&error))
    }
}

fn order(plan: &Plan) -> Vec<ServiceName> {
    start_order(plan, &plan.services().keys().cloned().collect())
}
