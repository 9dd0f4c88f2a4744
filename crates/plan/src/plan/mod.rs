//! The plan as it is meant: typed, complete, and not to be changed any more.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{
    AssetName, BlackoutName, ChannelName, CheckName, ClassName, ContactName, DrillName, PlaceName,
    PlanId, RestoreTestName, RunbookId, ScenarioName, ScheduleName, ServiceName, SiteName,
    TierName, VendorName,
};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::decode::{Decode, Defaults};
use crate::document::Document;
use crate::identity;
use crate::value::path::PlanPath;

pub mod about;
pub mod asset;
pub mod check;
pub mod cost;
pub mod location;
pub mod people;
pub mod runbook;
pub mod scenario;
pub mod service;
pub mod tier;
pub mod timetable;

use about::{About, Key};
use asset::Asset;
use check::Probe;
use cost::Costs;
use location::Place;
use people::{Channel, Contact, Escalation, Vendor};
use runbook::Runbook;
use scenario::Scenario;
use service::{Class, Service};
use tier::Tier;
use timetable::{Blackout, Drill, Jobs, RestoreTest, Retention, Schedule, Verification};

/// A plan without errors: every name in it leads somewhere.
///
/// It can be read and not changed; another plan is another value with another id.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    id: PlanId,
    about: About,
    key: Key,
    document: Document,
    runbooks: BTreeMap<PlanPath, Runbook>,
}

/// Defines what reads a section of the plan.
macro_rules! sections {
    ($($(#[doc = $doc:literal])* $section:ident : $type:ty;)*) => {
        impl Plan {
            $(
                $(#[doc = $doc])*
                pub fn $section(&self) -> &$type {
                    &self.document.$section
                }
            )*
        }
    };
}

sections! {
    /// Where the platform can live.
    places: BTreeMap<PlaceName, Place>;
    /// The classes of services.
    classes: BTreeMap<ClassName, Class>;
    /// What runs.
    services: BTreeMap<ServiceName, Service>;
    /// What is protected.
    assets: BTreeMap<AssetName, Asset>;
    /// Where copies live.
    tiers: BTreeMap<TierName, Tier>;
    /// When what is backed up.
    schedules: BTreeMap<ScheduleName, Schedule>;
    /// When what is not kept is removed.
    retention: Retention;
    /// Hours in which nothing is begun.
    blackouts: BTreeMap<BlackoutName, Blackout>;
    /// How much is done at the same time.
    jobs: Jobs;
    /// How copies are proven to be whole.
    verification: Verification;
    /// The questions.
    checks: BTreeMap<CheckName, Probe>;
    /// The restore tests.
    restore_tests: BTreeMap<RestoreTestName, RestoreTest>;
    /// The drills.
    drills: BTreeMap<DrillName, Drill>;
    /// What can happen.
    scenarios: BTreeMap<ScenarioName, Scenario>;
    /// The people.
    contacts: BTreeMap<ContactName, Contact>;
    /// The companies.
    vendors: BTreeMap<VendorName, Vendor>;
    /// Who is told when, from the first level on.
    escalation: Vec<Escalation>;
    /// How somebody is told.
    notify: BTreeMap<ChannelName, Channel>;
    /// What it costs.
    costs: Costs;
}

impl Plan {
    /// Makes a plan of a document in which no error was found.
    pub(crate) fn resolve(
        document: Document,
        runbooks: BTreeMap<PlanPath, Runbook>,
    ) -> Option<Self> {
        let about = document.plan.0.clone()?;
        let key = document.key.0.clone()?;
        let id = identity::plan_id(&document, &runbooks);
        Some(Self { id, about, key, document, runbooks })
    }

    /// The hash of what the plan and its runbooks mean: layout and comments do not change it.
    pub fn id(&self) -> PlanId {
        self.id
    }

    /// The platform's name on the tiers.
    pub fn site(&self) -> &SiteName {
        &self.about.site
    }

    /// Whose plan it is.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Where the recovery key is.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The runbooks that scenarios name, by their path beside the plan.
    pub fn runbooks(&self) -> &BTreeMap<PlanPath, Runbook> {
        &self.runbooks
    }

    /// The runbook of a scenario, and the hash of what it means.
    pub fn runbook_of(&self, scenario: &Scenario) -> Option<(&Runbook, RunbookId)> {
        let runbook = self.runbooks.get(&scenario.runbook)?;
        Some((runbook, identity::runbook_id(runbook)))
    }

    /// The schedules that back `asset` up.
    pub fn schedules_of<'p>(
        &'p self,
        asset: &AssetName,
    ) -> impl Iterator<Item = (&'p ScheduleName, &'p Schedule)> {
        self.schedules().iter().filter(|(_, schedule)| schedule.assets.includes(asset))
    }

    /// The place that a host is, by what it calls itself.
    pub fn place_of(&self, hostname: &str) -> Option<&PlaceName> {
        let mut places = self.places().iter().filter(|(_, place)| place.is_host(hostname));
        places.next().map(|(name, _)| name)
    }

    /// The tiers that some schedule fills with `asset`.
    pub fn tiers_of<'p>(&'p self, asset: &AssetName) -> BTreeSet<&'p TierName> {
        self.schedules_of(asset).flat_map(|(_, s)| s.to.pick(self.tiers().keys())).collect()
    }

    /// The whole plan with its defaults, as `plan show --json` prints it.
    pub fn to_json(&self) -> Json {
        let mut json = self.document.encode(Defaults::Written);
        let runbooks = self.runbooks.iter();
        json["runbooks"] = runbooks
            .map(|(path, runbook)| (path.to_string(), runbook.encode(Defaults::Written)))
            .collect();
        json
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}
