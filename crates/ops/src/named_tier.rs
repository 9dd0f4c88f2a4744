//! A tier that is there, under the name that the plan gave it.

use std::sync::Arc;

use lifeboat_model::TierName;
use lifeboat_tiers::Tier;

/// A reachable tier and its name.
#[derive(Debug, Clone)]
pub struct NamedTier {
    /// What the plan calls it.
    pub name: TierName,
    /// Where it is.
    pub tier: Arc<dyn Tier>,
}
