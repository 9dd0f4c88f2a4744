//! The platform on what came back: a yard in which the assets of a test take their places, and services are started on them.
//!
//! The keeper restores as a recovery would, with the same paths, ports and users, starts the services that the test names, and asks
//! the checks that only a service can answer. What the host has besides is seen as it is; nothing that happens gets out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{
    AssetName, Cancel, CheckName, EventSink, Outcome, RestoreTestName, ServiceName, Silent,
    TierName,
};
use lifeboat_plan::plan::asset::AssetKind;
use lifeboat_plan::plan::check::Probe;
use lifeboat_plan::plan::timetable::RestoreTest;
use lifeboat_postgres::yard::{Ground, Yard};
use lifeboat_tiers::durable;
use serde::{Deserialize, Serialize};

use super::RestoreTestOptions;
use super::moment::Moment;
use super::restored::verdict;
use crate::catalog::body::ServicesTested;
use crate::drill::Sinks;
use crate::drill::teardown::{self, Seen, Teardown};
use crate::error::{OpsError, explain};
use crate::host::Host;
use crate::point::At;
use crate::procedure::deed::fetch_words;
use crate::procedure::mailbox::Mailbox;
use crate::procedure::platform::Platform;
use crate::procedure::probe::{Asker, Finding};
use crate::procedure::target::Target;
use crate::procedure::values::Values;
use crate::recovery::has_base_backups;
use crate::recovery::in_place::{self, InPlaceOptions};
use crate::restore::{self, Destination, RestoreOptions};
use crate::wire::Site;
use crate::yard::{Layout, YardPlace, data_of};

/// How often it is looked how far a keeper is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The only address that there is inside.
const HERE: &str = "127.0.0.1";

/// What a keeper is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StandOrders {
    test: RestoreTestName,
    /// As [`At::parse`] reads it.
    at: String,
    target: String,
    tier: Option<TierName>,
    result: PathBuf,
}

/// What a keeper found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stood {
    /// The services that were seen healthy, in the order in which they were started.
    pub(super) services: Vec<ServiceName>,
    /// What the checks showed that only a service answers.
    pub(super) answers: BTreeMap<CheckName, (Outcome, String)>,
    /// Whether all of it came about.
    pub(super) outcome: Outcome,
    /// What kept it.
    pub(super) trouble: Option<String>,
}

impl Stood {
    /// Tells it as it is recorded.
    pub(super) fn tested(&self, duration_ms: u64) -> ServicesTested {
        let started: Vec<_> = self.services.iter().map(ServiceName::as_str).collect();
        let message = self.trouble.clone();
        ServicesTested {
            message: message.unwrap_or_else(|| format!("{} healthy", started.join(", "))),
            started: self.services.clone(),
            outcome: self.outcome,
            duration_ms,
        }
    }

    /// Of a platform that could not be started, for a reason that says nothing of the copies.
    pub(super) fn not(why: String) -> Self {
        let (services, answers) = (Vec::new(), BTreeMap::new());
        Self { services, answers, outcome: Outcome::CouldNotVerify, trouble: Some(why) }
    }
}

/// Tells whether only a service can answer a check.
pub(super) const fn asks_a_service(probe: &Probe) -> bool {
    matches!(probe, Probe::Http(_) | Probe::Tcp(_) | Probe::Smtp(_))
}

/// A stand before it is built.
pub(super) struct Stand<'a> {
    pub(super) site: &'a Site,
    pub(super) options: &'a RestoreTestOptions,
    pub(super) plans: &'a RestoreTest,
    pub(super) assets: &'a BTreeSet<AssetName>,
    pub(super) moment: &'a Moment,
    /// An empty directory for the yard.
    pub(super) place: YardPlace,
    pub(super) events: &'a dyn EventSink,
    pub(super) cancel: &'a Cancel,
}

impl Stand<'_> {
    /// Builds the yard, waits until its keeper is done, and ends it; tells what he found and what is left of it.
    pub(super) fn carry_out(&self) -> (Stood, Vec<String>) {
        let opened = self.ground().and_then(|ground| {
            let log = self.place.0.with_extension("log");
            let log = File::create(&log).map_err(failed("make", &log))?;
            Ok(Yard::open(&ground, log).map_err(|error| explain(&error)))
        });
        let mut yard = match opened {
            Ok(Ok(yard)) => yard,
            Ok(Err(why)) => {
                return (Stood::not(format!("no platform can be started here: {why}")), Vec::new());
            }
            Err(error) => return (Stood::not(explain(&error)), Vec::new()),
        };
        let waited = self.wait(&mut yard);
        let seen = Seen::in_yard(&self.place.0);
        drop(yard);
        let stood = waited.unwrap_or_else(|| self.found());
        teardown::remove(&self.place.0);
        let looked = Teardown::look(&self.place.0, &seen, self.site.surroundings().now());
        (stood, looked.left().to_vec())
    }

    fn ground(&self) -> Result<Ground, OpsError> {
        let Self { site, options, plans, place, .. } = self;
        let orders = StandOrders {
            test: options.test.clone(),
            at: self.moment.at.spelled(),
            target: self.moment.target.to_string(),
            tier: options.tier.clone(),
            result: place.result(),
        };
        let layout = Layout {
            site,
            place,
            lost: self.lost()?,
            sinks: &plans.sinks,
            own_program: &options.own_program,
            errand: ["test".to_owned(), options.test.to_string()],
            orders: serde_json::to_string(&orders).expect("orders have only texts for keys"),
        };
        layout.ground()
    }

    /// Returns what the test brings back, which is lost until then.
    fn lost(&self) -> Result<BTreeSet<PathBuf>, OpsError> {
        let mut lost = BTreeSet::new();
        for asset in self.assets {
            match &self.site.asset(asset)?.kind {
                AssetKind::Files(files) => {
                    lost.extend(files.paths.iter().map(|path| path.as_path().to_owned()));
                }
                AssetKind::Postgres(_) if has_base_backups(self.site, asset) => {
                    lost.extend(data_of(self.site, asset, self.events, self.cancel)?);
                }
                AssetKind::Postgres(_) | AssetKind::Command(_) => {}
            }
        }
        // Whoever loses the root directory has nothing left to start from.
        lost.retain(|path| path.parent().is_some());
        Ok(lost)
    }

    /// Waits for the keeper. Says why nothing is known of what he found, if nothing is.
    fn wait(&self, yard: &mut Yard) -> Option<Stood> {
        let surroundings = self.site.surroundings();
        loop {
            match yard.ended() {
                Ok(None) => {}
                Ok(Some(status)) if status.success() => return None,
                Ok(Some(status)) => {
                    return Some(Stood::not(format!("the yard's keeper {status}: {}", self.log())));
                }
                Err(error) => return Some(Stood::not(explain(&error))),
            }
            if self.cancel.is_cancelled() {
                return Some(Stood::not("it was cancelled".to_owned()));
            }
            let clock = &surroundings.clock;
            surroundings.runtime.block_on(async { clock.sleep(LOOK_EVERY).await });
        }
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.place.0.with_extension("log")).unwrap_or_default();
        text.lines().next_back().unwrap_or_default().to_owned()
    }

    fn found(&self) -> Stood {
        let text = fs::read(self.place.result()).map_err(|error| error.to_string());
        let read = text.and_then(|t| serde_json::from_slice(&t).map_err(|error| error.to_string()));
        read.unwrap_or_else(|why| Stood::not(format!("the yard's keeper left no word: {why}")))
    }
}

/// Keeps a yard in which what a test brings back takes its place: restores, starts services, asks, and writes down what
/// that showed.
///
/// `site` knows [where the platform is](Site::in_yard); `fetch` are the words by which this program is run with its plan.
///
/// # Errors
///
/// Where nothing could be written down.
pub fn stand(
    site: &Site,
    orders: &StandOrders,
    fetch: &[String],
    cancel: &Cancel,
) -> Result<(), OpsError> {
    let keeper = Keeper { site, orders, fetch, cancel, events: Arc::new(Silent) };
    let mut stood = Stood::not("it was not tried".to_owned());
    match keeper.keep(&mut stood) {
        Ok(()) => (stood.outcome, stood.trouble) = (Outcome::Passed, None),
        Err((outcome, why)) => (stood.outcome, stood.trouble) = (outcome, Some(why)),
    }
    let bytes = serde_json::to_vec(&stood).expect("it has only texts for keys");
    durable::replace(&orders.result, &bytes, durable::PRIVATE)
        .map_err(failed("write", &orders.result))
}

struct Keeper<'a> {
    site: &'a Site,
    orders: &'a StandOrders,
    fetch: &'a [String],
    cancel: &'a Cancel,
    events: Arc<dyn EventSink>,
}

/// Why something did not come about, and what that says of the copies.
type Kept = Result<(), (Outcome, String)>;

impl Keeper<'_> {
    fn keep(&self, stood: &mut Stood) -> Kept {
        let Self { site, orders, cancel, .. } = self;
        let unknown = |why: String| (Outcome::CouldNotVerify, why);
        let plans = site.plan().restore_tests().get(&orders.test);
        let plans = plans.ok_or_else(|| unknown("the plan has no such test".to_owned()))?;
        let inside = site.inside().ok_or_else(|| unknown("there is no yard".to_owned()))?;
        let mails = Mailbox::default();
        let _sinks = Sinks::open(inside, &plans.sinks, &mails)
            .map_err(|error| unknown(format!("nothing can stand in for others: {error}")))?;
        for asset in plans.assets.pick(site.plan().assets().keys()) {
            self.restore(asset).map_err(|error| {
                (verdict(site, &error), format!("`{asset}`: {}", explain(&error)))
            })?;
        }
        let target = Target { host: HERE.to_owned(), place: None, directory: None };
        let values = Values::of_plan(site.plan()).with_target(&target);
        let host = &Host::Here;
        let (act, mails, notes) = (None, Some(&mails), None);
        let asker = Asker { host, site, values: &values, act, mails, notes, cancel };
        if let Some(start) = &plans.start {
            let started = Platform { asker }.start(start);
            let started = started.map_err(|failure| (Outcome::Failed, failure.why))?;
            stood.services = started.into_iter().map(|(name, _)| name).collect();
        }
        for name in &plans.checks {
            let probe = site.plan().checks().get(name).filter(|probe| asks_a_service(probe));
            if let Some(probe) = probe {
                let Finding { outcome, message } = asker.ask(probe);
                stood.answers.insert(name.clone(), (outcome, message));
            }
        }
        Ok(())
    }

    /// Puts an asset where it was; what a command wrote and nothing takes back is left out.
    fn restore(&self, asset: &AssetName) -> Result<(), OpsError> {
        let Self { site, orders, cancel, events, .. } = self;
        let confirm = Some(site.name().clone());
        if let AssetKind::Command(command) = &site.asset(asset)?.kind
            && command.restore.is_none()
        {
            return Ok(());
        }
        if has_base_backups(site, asset) {
            let none = |_| OpsError::NoTime { text: orders.target.clone() };
            let target = orders.target.parse().map_err(none)?;
            let options = InPlaceOptions {
                confirm,
                fetch: fetch_words(self.fetch, asset),
                tier: orders.tier.clone(),
                ..InPlaceOptions::new(asset.clone(), target)
            };
            return in_place::recover(site, &options, &**events, cancel)?.recovery.whole();
        }
        let options = RestoreOptions {
            at: At::parse(&orders.at)?,
            confirm,
            tier: orders.tier.clone(),
            ..RestoreOptions::new(asset.clone(), Destination::InPlace)
        };
        restore::restore(site, &options, &**events, cancel)?.whole()
    }
}

fn failed<'p>(
    action: &'static str,
    path: &'p Path,
) -> impl FnOnce(std::io::Error) -> OpsError + 'p {
    move |source| OpsError::Io { action, path: path.to_owned(), source }
}
