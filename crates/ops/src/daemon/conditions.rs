//! How the tiers stand, from the catalog's local view alone: no tier is asked.

use lifeboat_model::{AssetName, ScenarioName, TierName};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::runbook::RunKind;

use crate::catalog::body::Body;
use crate::catalog::view::{View, ViewError, Wanted};
use crate::ending::Ending;
use crate::error::explain;
use crate::procedure::Procedure;
use crate::procedure::conduct::SCENARIO;
use crate::procedure::runs::{KnownRun, Runs};
use crate::residence::fence;
use crate::schedule::{Conditions, Recovering, TierCondition};
use crate::state::State;
use crate::status::history::History;
use crate::wire::Site;
use lifeboat_model::Outcome;

/// How many verifications are looked at for one that came about.
const VERIFICATIONS_MAX: u32 = 100;

/// Reads how things stand; what cannot be read is said, and counts as nothing to do.
pub(super) fn of_catalog(state: &State, plan: &Plan) -> Conditions {
    of_known(state, plan, None)
}

/// Does so with the history that somebody has read already.
pub(super) fn of_known(state: &State, plan: &Plan, history: Option<&History>) -> Conditions {
    let undelivered = state.undelivered().unwrap_or_else(|error| {
        let error: &dyn std::error::Error = &error;
        tracing::error!(error, "It cannot be seen what is to be delivered.");
        0
    });
    let read = View::open(&state.view_path()).and_then(|view| match history {
        Some(history) => of_view(&view, plan, history),
        None => of_view(&view, plan, &History::load(&view, plan)?),
    });
    let tiers = read.unwrap_or_else(|error| {
        let error: &dyn std::error::Error = &error;
        tracing::error!(error, "The catalog's local view cannot be read.");
        Conditions::default().tiers
    });
    Conditions { tiers, undelivered, ..Conditions::default() }
}

/// Says why nothing is captured or removed here, if the platform lives somewhere else as far as this host knows. A job that
/// begins asks the tiers.
pub(super) fn elsewhere(site: &Site) -> Option<String> {
    fence::expect_as_known(site).err().map(|error| explain(&error))
}

/// Returns the recovery of this host that is not over. Whether one is that cannot be read is not known, and what would keep
/// backups from being made for ever is no reason to make none: whoever recovers is told of it.
pub(super) fn recovering(site: &Site) -> Option<Recovering> {
    let open = Runs::of(site).and_then(|runs| runs.open_run());
    let open = open.unwrap_or_else(|error| {
        tracing::warn!(error = explain(&error), "It is not known whether a recovery is open.");
        None
    });
    let run = open.filter(KnownRun::is_recovery)?;
    let scenario: ScenarioName = run.about(SCENARIO)?.parse().ok()?;
    let procedure = Procedure::of(site.plan(), &scenario, RunKind::Recovery);
    // A scenario that is no longer in the plan may bring back anything.
    let assets = procedure.map_or_else(
        |_| site.plan().assets().keys().cloned().collect(),
        |procedure| procedure.restored(),
    );
    let why = format!("the recovery of `{scenario}` is not over ({})", run.id);
    Some(Recovering { why, assets })
}

type Tiers = std::collections::BTreeMap<TierName, TierCondition>;

fn of_view(view: &View, plan: &Plan, history: &History) -> Result<Tiers, ViewError> {
    let mut tiers = Tiers::new();
    for tier in plan.tiers().keys() {
        let good = history.good.iter().filter(|((_, on), _)| on == tier);
        let filled = good.filter_map(|(_, good)| good.last()).map(|good| good.captured).min();
        let mut assets = plan.assets().keys();
        let is_behind = assets.any(|asset| is_behind(history, plan, asset, tier));
        let verified = last_verified(view, tier)?;
        tiers.insert(tier.clone(), TierCondition { filled, verified, is_behind });
    }
    Ok(tiers)
}

/// Tells whether the last attempt to bring an asset to a tier failed, and another one holds a newer capture.
fn is_behind(history: &History, plan: &Plan, asset: &AssetName, tier: &TierName) -> bool {
    let newest = |tier: &TierName| {
        let good = history.good.get(&(asset.clone(), tier.clone()))?;
        good.first().map(|good| good.captured)
    };
    let attempt = history.attempts.get(&(asset.clone(), tier.clone()));
    let failed = attempt.is_some_and(|attempt| {
        !matches!(attempt.ending, Ending::Succeeded | Ending::Incomplete | Ending::NotBuilt)
    });
    failed && plan.tiers_of(asset).into_iter().any(|other| newest(other) > newest(tier))
}

fn last_verified(
    view: &View,
    tier: &TierName,
) -> Result<Option<lifeboat_model::Timestamp>, ViewError> {
    let wanted = Wanted { kind: "tier-verified", asset: None, tier: Some(tier), good_only: false };
    let records = view.latest(wanted, VERIFICATIONS_MAX)?;
    let came_about = records.iter().find(|record| match record.body() {
        Body::TierVerified(body) => body.outcome != Outcome::CouldNotVerify,
        _ => false,
    });
    Ok(came_about.map(|record| record.header().time))
}
