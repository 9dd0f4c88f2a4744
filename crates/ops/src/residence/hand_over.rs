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
//! A kill leaves services stopped, and no record: the platform still lives here. To hand it over again does all of it
//! anew, to start its services ends it. Once the record is written, nothing is captured here any more.

use std::collections::BTreeSet;

use lifeboat_model::{
    Cancel, EventSink, JobId, PlaceName, ServiceName, SiteName, TierName, Timestamp,
};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::service::Service;
use lifeboat_plan::value::command::Command;
use serde::Serialize;

use super::fence::expect_home_now;
use super::{Known, PlaceError, own};
use crate::backup::{AssetReport, BackupJobReport, BackupOptions, backup};
use crate::catalog::body::{Body, PlaceLeft, Whereabouts};
use crate::command::NO_LIMIT;
use crate::error::OpsError;
use crate::host::Host;
use crate::procedure::platform;
use crate::procedure::probe::Asker;
use crate::procedure::services::start_order;
use crate::procedure::values::{Target, Values};
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
    expect_home_now(site, cancel)?;
    let mut platform = Platform::new(site, &here, cancel);
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
}

impl<'a> Platform<'a> {
    fn new(site: &'a Site, here: &Whereabouts, cancel: &'a Cancel) -> Self {
        let planned = here.place.as_ref().and_then(|place| site.plan().places().get(place));
        let host = planned.map_or_else(|| here.host.clone(), |place| place.host.clone());
        let target = Target { host, place: here.place.clone(), directory: None };
        let values = Values::of_plan(site.plan()).with_target(&target);
        Self { site, values, cancel, stopped: Vec::new() }
    }

    /// Stops those that are meant, those first that need others.
    fn stop(&mut self, is_meant: impl Fn(&Service) -> bool) -> Result<(), OpsError> {
        for name in order(self.site.plan()).into_iter().rev() {
            let Some(service) = self.site.plan().services().get(&name) else { continue };
            let Some(stop) = service.stop.as_ref().filter(|_| is_meant(service)) else { continue };
            // First: what fails in the middle may have stopped it.
            self.stopped.push(name.clone());
            self.run(stop)
                .and_then(|()| self.expect_silence(&name))
                .map_err(|why| PlaceError::NotStopped { service: name, why })?;
        }
        Ok(())
    }

    /// Starts what was stopped, as far as that goes; whoever handed it over is told what does not.
    fn start_again(&self) {
        for name in order(self.site.plan()).iter().filter(|name| self.stopped.contains(name)) {
            let service = self.site.plan().services().get(name);
            let Some(start) = service.and_then(|service| service.start.as_ref()) else { continue };
            if let Err(why) = self.run(start) {
                tracing::error!(service = %name, why, "It could not be started again.");
            }
        }
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

    fn run(&self, command: &Command) -> Result<(), String> {
        let words = self.values.words(command, None).map_err(|error| error.to_string())?;
        let ran = Host::Here.run(self.site, words, (NO_LIMIT, None), self.cancel);
        ran.map(drop).map_err(|error| crate::error::explain(&error))
    }
}

fn order(plan: &Plan) -> Vec<ServiceName> {
    start_order(plan, &plan.services().keys().cloned().collect())
}
