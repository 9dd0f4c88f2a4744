//! What a job asked of each tier, by the sort of request, and what that costs where the plan has prices.

use std::collections::BTreeMap;

use lifeboat_model::TierName;
use lifeboat_plan::plan::cost::TierCost;
use lifeboat_tiers::counting::Traffic;
use serde::Serialize;

use crate::wire::Site;

/// How many bytes a price is for.
const GIB: u64 = 1 << 30;

/// What a job asked of a tier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierTraffic {
    /// Which tier.
    pub tier: TierName,
    /// The requests and the bytes.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// What so many requests cost, in the plan's currency.
    pub request_cost: Option<f64>,
    /// What reading so much costs, in the plan's currency.
    pub read_cost: Option<f64>,
    /// What keeping for a month what was written costs, in the plan's currency.
    pub month_cost: Option<f64>,
}

impl TierTraffic {
    /// Returns what each tier of a site was asked for since `before`.
    pub fn since(site: &Site, before: &BTreeMap<TierName, Traffic>) -> Vec<Self> {
        let began = |tier: &TierName| before.get(tier).copied().unwrap_or_default();
        let all = site.traffic().into_iter();
        all.map(|(tier, now)| Self::priced(site, now.since(began(&tier)), tier)).collect()
    }

    fn priced(site: &Site, traffic: Traffic, tier: TierName) -> Self {
        let prices = site.plan().costs().tiers.get(&tier);
        let request_cost = prices.and_then(|prices| request_cost(&traffic, prices));
        let read_cost = prices.and_then(|prices| prices.per_gib_read);
        let month_cost = prices.and_then(|prices| prices.per_gib_month);
        Self {
            tier,
            traffic,
            request_cost,
            read_cost: read_cost.map(|price| price * gib(traffic.read_bytes)),
            month_cost: month_cost.map(|price| price * gib(traffic.written_bytes)),
        }
    }
}

/// Says what requests cost, if the plan has a price for any of them. Removing costs nothing on any store known.
fn request_cost(traffic: &Traffic, prices: &TierCost) -> Option<f64> {
    let writes = traffic.puts + traffic.lists + traffic.protects;
    let kinds = [
        (writes, prices.per_1000_writes),
        (traffic.gets + traffic.heads, prices.per_1000_reads),
        (traffic.thaws, prices.per_1000_thaws),
    ];
    let is_known = kinds.iter().any(|(_, price)| price.is_some());
    is_known.then(|| kinds.into_iter().map(|(count, price)| thousands(count, price)).sum())
}

/// Says what so many requests cost at a price for a thousand.
#[expect(clippy::cast_precision_loss, reason = "a price is rounded to cents")]
pub(crate) fn thousands(count: u64, price: Option<f64>) -> f64 {
    count as f64 / 1000.0 * price.unwrap_or(0.0)
}

/// Returns a number of bytes in GiB, for a price.
#[expect(clippy::cast_precision_loss, reason = "a price is rounded to cents")]
pub(crate) fn gib(bytes: u64) -> f64 {
    bytes as f64 / GIB as f64
}
