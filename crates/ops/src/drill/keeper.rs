//! The keeper of a drill: drives its run in the yard, restores into it, and asks in the end what holds.
//!
//! He runs this very program in the yard, with a state of his own, as on a new machine: what he knows he has from the tiers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::{
    Cancel, DrillName, EventSink, PlaceName, RunId, ScenarioName, Silent, Timestamp,
};
use lifeboat_plan::plan::runbook::RunKind;
use lifeboat_plan::plan::scenario::PlatformState;
use lifeboat_runbook::Operator;
use lifeboat_tiers::durable;
use serde::{Deserialize, Serialize};

use super::preparation::{Preparation, Prepared};
use super::record::{PointChecked, SinkSaw};
use super::sinks::Sinks;
use super::{DrillError, Unheard, checklist, failed};
use crate::catalog::body::{Body, Restored};
use crate::catalog::view::{View, Wanted};
use crate::error::{OpsError, explain};
use crate::host::Host;
use crate::point::At;
use crate::procedure::Procedure;
use crate::procedure::conduct::{Conduct, Declaration};
use crate::procedure::mailbox::Mailbox;
use crate::procedure::outlook::{ChosenPoint, look_ahead};
use crate::procedure::probe::Asker;
use crate::procedure::target::Target;
use crate::procedure::values::Values;
use crate::state::State;
use crate::wire::Site;

/// What a keeper is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeeperOrders {
    pub(super) run: RunId,
    pub(super) scenario: ScenarioName,
    pub(super) drill: Option<DrillName>,
    pub(super) at: String,
    pub(super) declared: Timestamp,
    pub(super) host: String,
    /// Which place of the plan this host is.
    pub(super) place: Option<PlaceName>,
    pub(super) operator: Operator,
    pub(super) result: PathBuf,
}

/// What a keeper found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) points: Vec<PointChecked>,
    pub(super) sinks: Vec<SinkSaw>,
    pub(super) loss_ms: Option<u64>,
    /// What was done so that something could happen to a platform that runs.
    pub(super) prepared: Option<Prepared>,
    /// What was restored, the oldest first.
    pub(super) restored: Vec<Restored>,
    pub(super) trouble: Option<String>,
}

impl Kept {
    /// Reads what a keeper wrote, if he came to it.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// Keeps a yard: drives the run to its end, asks what holds, and writes that down.
///
/// `site` knows [where the platform is](Site::in_yard); `fetch` are the words by which this program is run with its plan.
///
/// # Errors
///
/// Where nothing could be written down.
pub fn keep(
    site: &Site,
    orders: &KeeperOrders,
    fetch: Vec<String>,
    cancel: &Cancel,
) -> Result<(), DrillError> {
    let mut kept = Kept::default();
    let keeper = Keeper { site, orders, cancel };
    if let Err(error) = keeper.keep(fetch, &mut kept) {
        kept.trouble = Some(explain(&error));
    }
    let bytes = serde_json::to_vec(&kept).expect("it has only texts for keys");
    durable::replace(&orders.result, &bytes, durable::PRIVATE)
        .map_err(failed("write", &orders.result))
}

struct Keeper<'a> {
    site: &'a Site,
    orders: &'a KeeperOrders,
    cancel: &'a Cancel,
}

impl Keeper<'_> {
    fn keep(&self, fetch: Vec<String>, kept: &mut Kept) -> Result<(), DrillError> {
        let Self { site, orders, cancel } = self;
        let planned = orders.drill.as_ref().and_then(|name| site.plan().drills().get(name));
        let (mails, mut sinks) = (Mailbox::default(), Sinks::default());
        if let (Some(planned), Some(inside)) = (planned, site.inside()) {
            let opened = Sinks::open(inside, &planned.sinks, &mails);
            sinks = opened.map_err(failed("listen inside of", Path::new("the yard")))?;
        }
        let procedure = Procedure::of(site.plan(), &orders.scenario, RunKind::Drill)?;
        let events: Arc<dyn EventSink> = Arc::new(Silent);
        let (host, place) = (orders.host.clone(), orders.place.clone());
        let target = Target { host, place, directory: Some(beside(orders.run)) };
        kept.prepared = self.prepare((&procedure, &target), &fetch, (&mails, &*events))?;
        // What the preparation restored is no part of the recovery.
        let before =
            kept.prepared.as_ref().map_or(Ok(0), |_| self.restored().map(|it| it.len()))?;
        let declared = match kept.prepared {
            Some(_) => site.surroundings().now(),
            None => orders.declared,
        };
        let outlook = look_ahead(site, &procedure, At::parse(&orders.at)?, &*events, cancel)?;
        kept.loss_ms = outlook.loss_ms;
        let conduct = Conduct::take(Arc::new((*site).clone()), orders.operator.clone())?;
        let conduct = conduct.with_mails(mails.clone());
        let declaration = Declaration {
            procedure: &procedure,
            outlook: &outlook,
            target: target.clone(),
            declared,
        };
        conduct.declare_as(orders.run, &declaration)?;
        conduct.drive(fetch, &Unheard, &events, cancel)?;
        if !cancel.is_cancelled() {
            let values = self.values((&procedure, &target), outlook.point.as_ref(), declared);
            let asker = self.asker(&values, &mails);
            kept.points = checklist::ask(&procedure, planned, &asker);
        }
        kept.sinks = sinks.saw();
        kept.restored = self.restored()?.split_off(before);
        Ok(())
    }

    /// Brings the platform up to which something happens, if it runs in this scenario.
    fn prepare(
        &self,
        work: (&Procedure, &Target),
        fetch: &[String],
        (mails, events): (&Mailbox, &dyn EventSink),
    ) -> Result<Option<Prepared>, DrillError> {
        let (procedure, _) = work;
        if procedure.scenario().platform == PlatformState::Lost {
            return Ok(None);
        }
        let inside = self.site.inside().ok_or(DrillError::NoYard)?;
        let values = self.values(work, None, self.orders.declared);
        let asker = self.asker(&values, mails);
        let cancel = self.cancel;
        let preparation = Preparation { procedure, inside, fetch, asker, events, cancel };
        preparation.carry_out().map(Some)
    }

    fn asker<'s>(&'s self, values: &'s Values, mails: &'s Mailbox) -> Asker<'s> {
        let (site, cancel) = (self.site, self.cancel);
        let (act, mails, notes) = (None, Some(mails), None);
        Asker { host: &Host::Here, site, values, act, mails, notes, cancel }
    }

    /// Reads what the run recorded of its restores, in a catalog that goes with the yard.
    fn restored(&self) -> Result<Vec<Restored>, OpsError> {
        let state = State::open(&self.site.surroundings().state_directory)?;
        let view = View::open(&state.view_path())?;
        let wanted = Wanted { kind: "restored", asset: None, tier: None, good_only: false };
        let records = view.latest(wanted, u32::MAX)?;
        let restored = records.iter().rev().filter_map(|record| match record.body() {
            Body::Restored(restored) if restored.in_place => Some(restored.clone()),
            _ => None,
        });
        Ok(restored.collect())
    }

    fn values(
        &self,
        (procedure, target): (&Procedure, &Target),
        point: Option<&ChosenPoint>,
        declared: Timestamp,
    ) -> Values {
        let kind = procedure.kind().to_string();
        let values = Values::of(self.site.plan(), procedure).with_target(target);
        let values = values.with_run(self.orders.run, &kind, declared);
        match point {
            Some(point) => values.with_point(&point.at, point.time),
            None => values,
        }
    }
}

/// Where a drill puts what its runbook restores beside what is there: a directory that begins empty in a yard.
fn beside(run: RunId) -> String {
    format!("/var/tmp/{run}")
}
