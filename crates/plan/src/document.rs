//! The top of a plan file: its sections.

use std::collections::BTreeMap;

use lifeboat_model::{
    AssetName, BlackoutName, ChannelName, CheckName, ClassName, ContactName, DrillName, PlaceName,
    RestoreTestName, ScenarioName, ScheduleName, ServiceName, TierName, VendorName,
};
use serde_json::{Value as Json, json};

use crate::decode::{Context, Decode, Defaults, Definitions, Needed, Value, whole_number};
use crate::plan::about::{About, Key};
use crate::plan::asset::Asset;
use crate::plan::check::Probe;
use crate::plan::cost::Costs;
use crate::plan::location::Place;
use crate::plan::people::{Channel, Contact, Escalation, Vendor};
use crate::plan::scenario::Scenario;
use crate::plan::service::{Class, Service};
use crate::plan::tier::Tier;
use crate::plan::timetable::{
    Blackout, Drill, Jobs, RestoreTest, Retention, Schedule, Verification,
};
use crate::table::table;

table! {
    /// A disaster recovery plan that lifeboat can execute.
    pub(crate) struct Document {
        /// The version of the language.
        format: Needed<Format>,
        /// Whose plan this is.
        plan: Needed<About>,
        /// Where the recovery key is, never the key itself.
        key: Needed<Key>,
        /// Where the platform can live.
        places: BTreeMap<PlaceName, Place>,
        /// The classes of services.
        classes: BTreeMap<ClassName, Class>,
        /// What runs.
        services: BTreeMap<ServiceName, Service>,
        /// What is protected.
        assets: BTreeMap<AssetName, Asset>,
        /// Where copies live.
        tiers: BTreeMap<TierName, Tier>,
        /// When what is backed up.
        schedules: BTreeMap<ScheduleName, Schedule>,
        /// When what is not kept is removed.
        retention: Retention = Retention::default(),
        /// Hours in which nothing is begun.
        blackouts: BTreeMap<BlackoutName, Blackout>,
        /// How much is done at the same time.
        jobs: Jobs = Jobs::default(),
        /// How copies are proven to be whole.
        verification: Verification = Verification::default(),
        /// The questions.
        checks: BTreeMap<CheckName, Probe>,
        /// The restore tests.
        restore_tests: BTreeMap<RestoreTestName, RestoreTest>,
        /// The drills.
        drills: BTreeMap<DrillName, Drill>,
        /// What can happen.
        scenarios: BTreeMap<ScenarioName, Scenario>,
        /// The people.
        contacts: BTreeMap<ContactName, Contact>,
        /// The companies.
        vendors: BTreeMap<VendorName, Vendor>,
        /// Who is told when.
        escalation: Vec<Escalation> = Vec::new(),
        /// How somebody is told.
        notify: BTreeMap<ChannelName, Channel>,
        /// What it costs.
        costs: Costs,
    }
}

/// The version of the plan language; this lifeboat reads one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format;

const FORMAT: i64 = 1;

impl Decode for Format {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let number = whole_number(value, 0, i64::MAX, cx)?;
        if number != FORMAT {
            let message = format!("format {number} is not known");
            let finding = cx
                .error("unknown-format", value.span(), message)
                .label(format!("this lifeboat reads format {FORMAT}"))
                .help("a newer plan needs a newer lifeboat");
            cx.report(finding);
            return None;
        }
        Some(Self)
    }

    fn encode(&self, _defaults: Defaults) -> Json {
        Json::from(FORMAT)
    }

    fn schema(_definitions: &mut Definitions) -> Json {
        json!({ "const": FORMAT })
    }
}
