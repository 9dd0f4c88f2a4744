//! What the newest moments of a server are recovered from, and which records say so.
//!
//! A base backup is needed until a newer one is there, and with it the log from its start on, however long ago
//! that was: a moment of today is the base of last week and all log since. So their locks have to last as
//! long as those of a snapshot of today.
//!
//! Of the catalog few records are needed for long: of each writer the first, without which nothing that it wrote
//! counts, and of each such base the one that tells where in the log it lies. Others say what happened when they
//! were stored, and are locked as long as what they tell of.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use lifeboat_model::{AssetName, SiteName, SnapshotId, Timestamp};
use lifeboat_postgres::archive::ArchivedFile;
use lifeboat_postgres::archive::inventory::Listed;
use lifeboat_repository::Snapshot;
use lifeboat_tiers::{ObjectMeta, ObjectPath};

use crate::backup::base::has_base;
use crate::catalog::body::Body;
use crate::catalog::record::Record;
use crate::catalog::view::{View, ViewError, Wanted};
use crate::point::tagged;
use crate::retention::log::{BaseAt, Bases, Sight, going};

/// What the newest moments of an asset are recovered from on a tier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its newest base backup, and those before down to the first that is recorded.
    pub snapshots: Vec<SnapshotId>,
    /// The one that is recorded; unless all records of them are lost.
    pub base: Option<RecordedBase>,
}

/// A base backup of which it is known where in the log it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedBase {
    /// Where that is.
    pub at: BaseAt,
    /// When making it began, by its host's clock; log that it needs was stored no earlier than shortly before.
    pub began: Timestamp,
    /// The record that says so.
    pub record: ObjectPath,
}

/// Returns what the newest moments of an asset are recovered from, among the snapshots that are there.
pub fn standing(
    view: &View,
    (site, asset): (&SiteName, &AssetName),
    there: &[(SnapshotId, Snapshot)],
) -> Result<Standing, ViewError> {
    let is_base = |(_, snapshot): &&(SnapshotId, Snapshot)| {
        let is_own = snapshot.hostname == site.as_str();
        is_own && tagged(snapshot, "asset") == Some(asset.as_str()) && has_base(snapshot, asset)
    };
    let mut bases: Vec<_> = there.iter().filter(is_base).collect();
    bases.sort_by_key(|(_, snapshot)| Reverse(snapshot.time.instant()));
    let mut standing = Standing::default();
    for (id, snapshot) in bases {
        standing.snapshots.push(*id);
        standing.base = recorded(view, asset, snapshot)?;
        if standing.base.is_some() {
            break;
        }
    }
    Ok(standing)
}

fn recorded(
    view: &View,
    asset: &AssetName,
    snapshot: &Snapshot,
) -> Result<Option<RecordedBase>, ViewError> {
    let Some(job) = tagged(snapshot, "job").and_then(|job| job.parse().ok()) else {
        return Ok(None);
    };
    Ok(view.job(job)?.iter().find_map(|record| {
        let Body::AssetBackedUp(body) = record.body() else { return None };
        let at = BaseAt::of(body.base.as_ref().filter(|_| body.asset == *asset)?)?;
        let began = body.stages.iter().map(|stage| stage.started).min();
        let began = began.unwrap_or(record.header().time);
        Some(RecordedBase { at, began, record: record.path() })
    }))
}

/// Returns where the record of each writer lies without which none of its records counts.
pub fn enrolments(view: &View) -> Result<Vec<ObjectPath>, ViewError> {
    let wanted = Wanted { kind: "enrolment", asset: None, tier: None, good_only: false };
    Ok(view.latest(wanted, u32::MAX)?.iter().map(Record::path).collect())
}

/// Returns which of the objects of the log a base needs, up to the log's end.
pub fn log_of(base: BaseAt, listed: &[ObjectMeta]) -> Vec<ObjectMeta> {
    let files = listed.iter().filter_map(|object| {
        let name = ArchivedFile::parse(&object.path).filter(|name| name.system == base.system)?;
        Some((object, Listed { name, size: object.size, modified: object.modified }))
    });
    let (objects, files): (Vec<_>, Vec<_>) = files.unzip();
    let bases = Bases {
        here: vec![base],
        elsewhere: Vec::new(),
        sight: Sight::Whole,
        recorded: BTreeSet::from([base.system]),
    };
    let before: BTreeSet<ObjectPath> =
        going(&files, &bases).iter().map(|file| file.name.path()).collect();
    objects.into_iter().filter(|object| !before.contains(&object.path)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use lifeboat_model::Lsn;
    use lifeboat_postgres::archive::{SystemId, WalAddress};
    use lifeboat_postgres::wal::{
        SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName,
    };

    use super::*;

    const SIZE: SegmentSize = SegmentSize::MIN;

    fn object(file: WalFileName) -> ObjectMeta {
        let address = WalAddress { system: SystemId(7), size: SIZE, file };
        let path = ArchivedFile::of(address, b"").path();
        ObjectMeta { path, size: 1, modified: Timestamp::UNIX_EPOCH }
    }

    fn name(number: u64) -> WalFileName {
        SegmentName::new(TimelineId(1), SegmentNumber(number), SIZE).unwrap().into()
    }

    fn segment(number: u64) -> ObjectMeta {
        object(name(number))
    }

    #[test]
    fn a_base_needs_its_log_from_its_start_on_and_no_tails() {
        let start = SegmentNumber(3).start(SIZE).unwrap();
        let at = BaseAt {
            system: SystemId(7),
            timeline: TimelineId(1),
            start: Lsn(start.0 + 100),
            stop: SegmentNumber(5).start(SIZE).unwrap(),
        };
        let mut listed: Vec<_> = (0..8).map(segment).collect();
        listed.push(object(WalFileName::History(TimelineId(2))));
        let tail = "wal/7/1/000000010000000000000008.tail/0-1.zst.age".parse().unwrap();
        listed.push(ObjectMeta { path: tail, ..segment(0) });
        let other = WalAddress { system: SystemId(8), size: SIZE, file: name(5) };
        listed.push(ObjectMeta { path: ArchivedFile::of(other, b"").path(), ..segment(0) });
        let mut needed: Vec<_> = (3..8).map(segment).collect();
        needed.push(object(WalFileName::History(TimelineId(2))));
        assert_eq!(log_of(at, &listed), needed);
    }
}
