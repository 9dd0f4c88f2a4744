//! How the tiers stand, from the catalog's local view alone: no tier is asked.

use lifeboat_model::{AssetName, TierName};
use lifeboat_plan::Plan;

use crate::catalog::body::Body;
use crate::catalog::view::{View, ViewError, Wanted};
use crate::ending::Ending;
use crate::error::explain;
use crate::residence::fence;
use crate::schedule::{Conditions, TierCondition};
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
