//! What each tier holds of the log: ranges, holes, times, and what is behind.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{AssetName, Cancel, TierName, Timestamp};
use lifeboat_postgres::archive::inventory::{
    Duplicate, Listed, SegmentRange, TimelineInventory, list,
};
use lifeboat_postgres::archive::name::root;
use lifeboat_postgres::archive::reach::TimeIndex;
use lifeboat_postgres::archive::{
    ArchivedFile, ClusterInventory, Copies, Duty, Inventory, SystemId,
};
use lifeboat_postgres::wal::WalFileName;
use lifeboat_tiers::Tier;
use lifeboat_tiers::envelope::Opener;
use serde::Serialize;

use super::{WalError, WalLog};
use crate::error::{OpsError, Trouble};
use crate::inquiry::ask_all;

/// The times of more ranges than this are not looked up: each costs some reads.
const TIMED_RANGES_MAX: usize = 16;

/// What the tiers hold of an asset's log.
#[derive(Debug, Serialize)]
pub struct WalStatus {
    /// Whose log.
    pub asset: AssetName,
    /// The tiers, in the plan's order.
    pub tiers: Vec<TierLog>,
    /// Why times are not known, if they are not.
    pub no_times: Option<String>,
}

impl WalStatus {
    /// Tells whether something that should be there is not, or is there twice.
    pub fn has_holes(&self) -> bool {
        let clusters = self.tiers.iter().flat_map(|tier| &tier.clusters);
        clusters.into_iter().any(ClusterLog::has_holes)
    }

    /// Tells whether a tier could not be looked at.
    pub fn has_trouble(&self) -> bool {
        self.tiers.iter().any(|tier| tier.trouble.is_some())
    }
}

/// What one tier holds.
#[derive(Debug, Serialize)]
pub struct TierLog {
    /// Which tier.
    pub tier: TierName,
    /// Whether the server waits for it.
    pub acknowledges: bool,
    /// Why it could not be looked at.
    pub trouble: Option<Trouble>,
    /// The clusters whose log it holds.
    pub clusters: Vec<ClusterLog>,
    /// How many files other tiers hold and this one does not.
    pub behind: u64,
}

/// What one tier holds of one cluster.
#[derive(Debug, Serialize)]
pub struct ClusterLog {
    /// Which cluster.
    pub system: SystemId,
    /// How large its segments are.
    pub segment_bytes: Option<u32>,
    /// When something was archived last.
    pub latest: Option<Timestamp>,
    /// Its timelines.
    pub timelines: Vec<TimelineInventory>,
    /// When the first and the last transaction of a range were committed.
    pub times: Vec<RangeTimes>,
    /// Files that are there with different bytes.
    pub duplicates: Vec<Duplicate>,
}

impl ClusterLog {
    fn has_holes(&self) -> bool {
        let lacks = |timeline: &TimelineInventory| {
            !timeline.holes.is_empty() || !timeline.has_history && !timeline.ranges.is_empty()
        };
        !self.duplicates.is_empty() || self.timelines.iter().any(lacks)
    }

    /// Returns the times of a range, where they are known.
    pub fn times_of(&self, range: &SegmentRange) -> Option<&RangeTimes> {
        self.times.iter().find(|times| times.range == *range)
    }
}

/// The times of a range of segments.
#[derive(Debug, Serialize)]
pub struct RangeTimes {
    /// Which range.
    pub range: SegmentRange,
    /// When its first commit was.
    pub first: Option<Timestamp>,
    /// When its last commit was.
    pub last: Option<Timestamp>,
}

type Held = Result<(std::sync::Arc<dyn Tier>, Vec<Listed>), Trouble>;

impl WalLog<'_> {
    /// Looks at every tier of the log.
    pub fn status(&self, cancel: &Cancel) -> Result<WalStatus, WalError> {
        let key = self.site.recovery_key(cancel);
        let (opener, no_times) = match key {
            Ok(key) => (Some(key.opener()), None),
            Err(error) => (None, Some(crate::error::explain(&error))),
        };
        let held = ask_all(&self.wal.to, |name| self.held(name));
        let held: BTreeMap<_, _> = self.wal.to.iter().cloned().zip(held).collect();
        let all: BTreeSet<_> =
            held.values().flatten().flat_map(|(_, listed)| names(listed)).collect();
        let mut tiers = Vec::new();
        for tier in &self.wal.to {
            cancel.check().map_err(OpsError::from)?;
            tiers.push(self.tier_log(tier, &held[tier], &all, opener.as_ref()));
        }
        Ok(WalStatus { asset: self.asset.clone(), tiers, no_times })
    }

    fn held(&self, name: &TierName) -> Held {
        let tier = self.reach(name)?.tier;
        let listed = self.site.surroundings().runtime.block_on(list(&*tier, &root()));
        match listed {
            Ok(listed) => Ok((tier, listed)),
            Err(error) => Err(Trouble::of(&error)),
        }
    }

    fn tier_log(
        &self,
        name: &TierName,
        held: &Held,
        all: &BTreeSet<(SystemId, WalFileName)>,
        opener: Option<&Opener>,
    ) -> TierLog {
        let acknowledges = self.duty(name) == Duty::Acknowledges;
        let mut log = TierLog {
            tier: name.clone(),
            acknowledges,
            trouble: None,
            clusters: Vec::new(),
            behind: 0,
        };
        match held {
            Err(trouble) => log.trouble = Some(trouble.clone()),
            Ok((tier, listed)) => {
                let own: BTreeSet<_> = names(listed).collect();
                log.behind = all.difference(&own).count() as u64;
                for (system, cluster) in Inventory::of(listed.iter().copied()).clusters() {
                    let times =
                        opener.map(|opener| self.times(&**tier, listed, *system, cluster, opener));
                    match times.transpose() {
                        Ok(times) => {
                            let times = times.unwrap_or_default();
                            log.clusters.push(cluster_log(*system, cluster, times));
                        }
                        Err(error) => {
                            log.trouble = Some(Trouble::of(&error));
                            log.clusters.push(cluster_log(*system, cluster, Vec::new()));
                        }
                    }
                }
            }
        }
        log
    }

    /// Looks up the times of a cluster's latest ranges.
    fn times(
        &self,
        tier: &dyn Tier,
        listed: &[Listed],
        system: SystemId,
        cluster: &ClusterInventory,
        opener: &Opener,
    ) -> Result<Vec<RangeTimes>, lifeboat_postgres::archive::ArchiveError> {
        let mut segments: Vec<Listed> = listed
            .iter()
            .filter(|listed| {
                let ArchivedFile { file, system: whose, .. } = listed.name;
                whose == system && matches!(file, WalFileName::Segment(_))
            })
            .copied()
            .collect();
        segments.sort_by_key(|listed| listed.name.file);
        let ranges = cluster.by_timeline().into_iter().flat_map(|timeline| timeline.ranges);
        let ranges: Vec<_> = ranges.collect();
        let skipped = ranges.len().saturating_sub(TIMED_RANGES_MAX);
        let mut times = Vec::new();
        for range in ranges.into_iter().skip(skipped) {
            let from = segments.partition_point(|at| at.name.file < range.first.into());
            let to = segments.partition_point(|at| at.name.file <= range.last.into());
            let copies = Copies::on(tier, &segments[from..to]);
            let mut index = TimeIndex::new(opener, &copies);
            let runtime = &self.site.surroundings().runtime;
            let first = runtime.block_on(index.first())?;
            let last = runtime.block_on(index.last())?;
            times.push(RangeTimes { range, first, last });
        }
        Ok(times)
    }
}

fn names(listed: &[Listed]) -> impl Iterator<Item = (SystemId, WalFileName)> + '_ {
    listed.iter().map(|listed| (listed.name.system, listed.name.file))
}

fn cluster_log(system: SystemId, cluster: &ClusterInventory, times: Vec<RangeTimes>) -> ClusterLog {
    ClusterLog {
        system,
        segment_bytes: cluster.size().map(lifeboat_postgres::wal::SegmentSize::bytes),
        latest: cluster.latest(),
        timelines: cluster.by_timeline(),
        times,
        duplicates: cluster.duplicates().collect(),
    }
}
