//! What removing costs, and what it saves: requests by kind, and money where the plan says what a tier
//! costs. Pure.

use lifeboat_plan::plan::cost::TierCost;
use lifeboat_repository::prune::PruneReport;
use serde::Serialize;

use crate::traffic::{gib, thousands};

/// How many objects a page of a listing has, on every store that pages.
const PAGE: u64 = 1000;

/// How often a tier is asked, by what for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// To read an object, or to say something of it.
    pub reads: u64,
    /// To store an object.
    pub writes: u64,
    /// To list a page of objects.
    pub lists: u64,
    /// To remove an object.
    pub deletes: u64,
}

/// What removing costs and saves, in the plan's currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Price {
    /// What the work costs once.
    pub once: f64,
    /// What is saved each month from then on.
    pub saved_per_month: f64,
}

/// What goes besides packs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Going {
    pub snapshots: u64,
    pub log_files: u64,
    pub log_bytes: u64,
    /// How many files of the log there are.
    pub log_listed: u64,
}

impl Requests {
    /// Adds up what forgetting, pruning and removing the log ask a tier for.
    pub(super) fn of(prune: &PruneReport, going: Going) -> Self {
        let (packs, traffic) = (&prune.packs, &prune.traffic);
        let writes = traffic.packs_written + traffic.index_files_written;
        let gone = packs.removed.count + packs.repacked.count + packs.orphans.count;
        let deletes = gone + traffic.index_files_removed;
        let listed = packs.kept.count + gone;
        Self {
            reads: traffic.requests.saturating_sub(writes + deletes),
            writes,
            lists: listed.div_ceil(PAGE).max(1) + going.log_listed.div_ceil(PAGE).max(1),
            deletes: deletes + going.snapshots + going.log_files,
        }
    }
}

impl Price {
    /// Says what that costs on a tier with these prices. Removing costs nothing on any store known.
    pub(super) fn of(
        cost: &TierCost,
        requests: &Requests,
        prune: &PruneReport,
        log_bytes: u64,
    ) -> Self {
        let read = gib(prune.traffic.bytes_read) * cost.per_gib_read.unwrap_or(0.0);
        let freed = gib(prune.freed_bytes + log_bytes);
        Self {
            once: thousands(requests.writes + requests.lists, cost.per_1000_writes)
                + thousands(requests.reads, cost.per_1000_reads)
                + read,
            saved_per_month: freed * cost.per_gib_month.unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_repository::prune::{Amount, PacksReport, TrafficReport};

    #[test]
    fn requests_are_told_apart_and_priced() {
        let amount = |count, bytes| Amount { count, bytes };
        let prune = PruneReport {
            freed_bytes: 2 << 30,
            packs: PacksReport {
                kept: amount(1500, 0),
                removed: amount(3, 0),
                repacked: amount(2, 0),
                ..PacksReport::default()
            },
            traffic: TrafficReport {
                bytes_read: 1 << 30,
                packs_written: 1,
                index_files_written: 1,
                index_files_removed: 1,
                requests: 4 + 2 + 1 + 1 + 5,
                ..TrafficReport::default()
            },
            ..PruneReport::default()
        };
        let going = Going { snapshots: 4, log_files: 10, log_bytes: 1 << 30, log_listed: 20 };
        let requests = Requests::of(&prune, going);
        assert_eq!(requests, Requests { reads: 5, writes: 2, lists: 3, deletes: 20 });
        let cost = TierCost {
            per_gib_month: Some(0.5),
            per_gib_read: Some(0.25),
            per_gib_thaw: None,
            per_1000_writes: Some(100.0),
            per_1000_reads: Some(200.0),
            per_1000_thaws: None,
            per_month: Some(9.0),
        };
        let price = Price::of(&cost, &requests, &prune, going.log_bytes);
        assert_eq!(price, Price { once: 0.5 + 1.0 + 0.25, saved_per_month: 1.5 });
    }
}
