//! How far the archived log of a server leads beyond its base backups, from what a tier holds of it. Pure.

use lifeboat_model::{Lsn, Timestamp};
use lifeboat_postgres::archive::inventory::SegmentRange;
use lifeboat_postgres::wal::{SegmentName, SegmentNumber, SegmentSize};
use serde::Serialize;

use crate::catalog::body::BaseRecord;
use crate::wal::status::{ClusterLog, TierLog};

/// What a tier holds of an asset's log behind its newest base backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LogThere {
    /// When something was archived last.
    pub archived: Option<Timestamp>,
    /// The last commit that can be reached from that base; absent where nobody could read it.
    pub reaches: Option<Timestamp>,
    /// How many segments behind that base are missing.
    pub missing: u64,
}

/// Finds what a tier's log adds to a base backup; `None` if it holds nothing of that cluster.
pub fn log_there(log: &TierLog, base: &BaseRecord) -> Option<LogThere> {
    let cluster = log.clusters.iter().find(|found| found.system.to_string() == base.system_id)?;
    let size = cluster.segment_bytes.and_then(SegmentSize::new).unwrap_or_default();
    let start = SegmentNumber::of(base.start_lsn, size);
    let follows = |name: SegmentName| name.number(size).is_some_and(|number| number >= start);
    let later = || cluster.timelines.iter().filter(|at| at.timeline.0 >= base.timeline);
    let holes = later().flat_map(|timeline| &timeline.holes);
    let missing: u64 = holes.filter(|hole| follows(hole.last)).map(|hole| hole.count).sum();
    let begins =
        later().flat_map(|timeline| &timeline.ranges).any(|range| holds(range, start, size));
    let reaches = (missing == 0 && begins).then(|| last_commit(cluster, base.start_lsn, size));
    Some(LogThere { archived: cluster.latest, reaches: reaches.flatten(), missing })
}

/// Tells whether a segment lies in a range.
fn holds(range: &SegmentRange, number: SegmentNumber, size: SegmentSize) -> bool {
    let (first, last) = (range.first.number(size), range.last.number(size));
    first.is_some_and(|first| first <= number) && last.is_some_and(|last| number <= last)
}

fn last_commit(cluster: &ClusterLog, start: Lsn, size: SegmentSize) -> Option<Timestamp> {
    let start = SegmentNumber::of(start, size);
    let behind = cluster
        .times
        .iter()
        .filter(|times| times.range.last.number(size).is_some_and(|last| last >= start));
    behind.filter_map(|times| times.last).max()
}
