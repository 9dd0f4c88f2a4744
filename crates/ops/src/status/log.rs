//! How far the archived log of a server leads beyond its base backups, from what a tier holds of it. Pure.

use lifeboat_model::{Lsn, Timestamp};
use lifeboat_postgres::archive::inventory::SegmentRange;
use lifeboat_postgres::wal::{SegmentName, SegmentNumber, SegmentSize};
use serde::Serialize;

use crate::catalog::body::BaseRecord;
use crate::wal::status::{ClusterLog, TierLog};
use crate::wal::stillness::Stillness;

/// What a tier holds of an asset's log behind its newest base backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LogThere {
    /// When something was archived last.
    pub archived: Option<Timestamp>,
    /// The last commit that can be reached from that base; absent where nobody could read it.
    pub reaches: Option<Timestamp>,
    /// Up to when nothing was committed that it does not hold, as the server itself said; absent unless it rests.
    pub still: Option<Timestamp>,
    /// How many segments behind that base are missing.
    pub missing: u64,
}

/// Finds what a tier's log adds to a base backup; `None` if it holds nothing of that cluster.
pub fn log_there(log: &TierLog, base: &BaseRecord, still: Option<&Stillness>) -> Option<LogThere> {
    let cluster = log.clusters.iter().find(|found| found.system.to_string() == base.system_id)?;
    let size = cluster.segment_bytes.and_then(SegmentSize::new).unwrap_or_default();
    let start = SegmentNumber::of(base.start_lsn, size);
    let follows = |name: SegmentName| name.number(size).is_some_and(|number| number >= start);
    let later = || cluster.timelines.iter().filter(|at| at.timeline.0 >= base.timeline);
    let holes = later().flat_map(|timeline| &timeline.holes);
    let missing: u64 = holes.filter(|hole| follows(hole.last)).map(|hole| hole.count).sum();
    let begins =
        later().flat_map(|timeline| &timeline.ranges).any(|range| holds(range, start, size));
    let leads_on = missing == 0 && begins;
    let reaches = leads_on.then(|| last_commit(cluster, base.start_lsn, size)).flatten();
    let still = still.filter(|still| leads_on && is_held(cluster, base, still, size));
    let still = still.map(|still| still.until);
    Some(LogThere { archived: cluster.latest, reaches, still, missing })
}

/// Tells whether all that was committed before a server rested is in the log or the base.
fn is_held(cluster: &ClusterLog, base: &BaseRecord, still: &Stillness, size: SegmentSize) -> bool {
    let is_same = still.system_id.to_string() == base.system_id && still.timeline >= base.timeline;
    let own = cluster.timelines.iter().filter(|timeline| timeline.timeline.0 == still.timeline);
    let ends = own.flat_map(|timeline| &timeline.ranges).filter_map(|range| range.last.end(size));
    is_same && ends.max().is_some_and(|end| still.committed_before <= end)
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
