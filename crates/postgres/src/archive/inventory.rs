//! What an archive holds, told from the paths of its objects alone: one listing, and nothing is read.
//!
//! # Limits
//!
//! A path does not say where a timeline was left. Gaps between two timelines are therefore found along
//! a [history](TimelineHistory), by [`ClusterInventory::missing`]; those within one are found here.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt as _;
use lifeboat_model::{Lsn, Timestamp};
use lifeboat_tiers::{ObjectMeta, ObjectPrefix, Tier, TierError};
use serde::Serialize;

use super::name::{ArchivedFile, ShortDigest, SystemId};
use crate::timeline::TimelineHistory;
use crate::wal::{SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};

/// An object of an archive, as a listing tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Which file, and which bytes.
    pub name: ArchivedFile,
    /// The object's size in bytes.
    pub size: u64,
    /// When it was stored.
    pub modified: Timestamp,
}

impl Listed {
    fn of(object: &ObjectMeta) -> Option<Self> {
        let name = ArchivedFile::parse(&object.path)?;
        Some(Self { name, size: object.size, modified: object.modified })
    }
}

/// Lists what is archived below a folder; what else lies there is passed over.
pub async fn list(tier: &dyn Tier, folder: &ObjectPrefix) -> Result<Vec<Listed>, TierError> {
    let mut listed = Vec::new();
    let mut objects = tier.list(folder);
    while let Some(object) = objects.try_next().await? {
        listed.extend(Listed::of(&object));
    }
    Ok(listed)
}

/// What a tier holds of all clusters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    clusters: BTreeMap<SystemId, ClusterInventory>,
}

impl Inventory {
    /// Counts up what was listed.
    pub fn of(listed: impl IntoIterator<Item = Listed>) -> Self {
        let mut inventory = Self::default();
        for found in listed {
            inventory.clusters.entry(found.name.system).or_default().add(&found);
        }
        inventory
    }

    /// Lists a tier.
    pub async fn look(tier: &dyn Tier) -> Result<Self, TierError> {
        Ok(Self::of(list(tier, &super::name::root()).await?))
    }

    /// Returns the clusters, by their system ids.
    pub const fn clusters(&self) -> &BTreeMap<SystemId, ClusterInventory> {
        &self.clusters
    }

    /// Returns what is held of a cluster, if anything.
    pub fn cluster(&self, system: SystemId) -> Option<&ClusterInventory> {
        self.clusters.get(&system)
    }
}

/// A file that the archive holds with different bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// Which file.
    pub file: WalFileName,
    /// What each of them is known by.
    pub digests: BTreeSet<ShortDigest>,
}

/// Segments that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SegmentRange {
    /// The first.
    pub first: SegmentName,
    /// The last.
    pub last: SegmentName,
    /// How many.
    pub count: u64,
}

/// What is held of one timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineInventory {
    /// Which one.
    pub timeline: TimelineId,
    /// Its segments.
    pub ranges: Vec<SegmentRange>,
    /// What lies between them and is not there.
    pub holes: Vec<SegmentRange>,
    /// Whether where it comes from is held, or it comes from nowhere.
    pub has_history: bool,
}

/// What is held of one cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterInventory {
    /// The size that most of the segments have; one with another size is a stranger.
    sizes: BTreeMap<SegmentSize, u64>,
    segments: BTreeMap<SegmentName, ShortDigest>,
    others: BTreeMap<WalFileName, ShortDigest>,
    duplicates: BTreeMap<WalFileName, BTreeSet<ShortDigest>>,
    latest: Option<Timestamp>,
}

impl ClusterInventory {
    fn add(&mut self, found: &Listed) {
        let ArchivedFile { file, digest, size, .. } = found.name;
        if let Some(size) = size {
            *self.sizes.entry(size).or_default() += 1;
        }
        self.latest = self.latest.max(Some(found.modified));
        let other = match file {
            WalFileName::Segment(segment) => hold(self.segments.entry(segment), digest),
            _ => hold(self.others.entry(file), digest),
        };
        if let Some(other) = other {
            self.duplicates.entry(file).or_default().extend([other, digest]);
        }
    }

    /// Returns how large the cluster's segments are; not known while there is no segment.
    pub fn size(&self) -> Option<SegmentSize> {
        self.sizes.iter().max_by_key(|(_, count)| **count).map(|(size, _)| *size)
    }

    /// Returns when the newest object was stored.
    pub const fn latest(&self) -> Option<Timestamp> {
        self.latest
    }

    /// Returns the segments and what each is known by.
    pub const fn segments(&self) -> &BTreeMap<SegmentName, ShortDigest> {
        &self.segments
    }

    /// Returns the file of this name, with any bytes.
    pub fn digest_of(&self, file: WalFileName) -> Option<ShortDigest> {
        match file {
            WalFileName::Segment(segment) => self.segments.get(&segment).copied(),
            _ => self.others.get(&file).copied(),
        }
    }

    /// Returns the files that are held with different bytes.
    pub fn duplicates(&self) -> impl Iterator<Item = Duplicate> + '_ {
        self.duplicates
            .iter()
            .map(|(file, digests)| Duplicate { file: *file, digests: digests.clone() })
    }

    /// Returns every timeline of which there is a segment or a history.
    pub fn timelines(&self) -> BTreeSet<TimelineId> {
        let others = self.others.keys().map(|file| file.timeline());
        let mut found: BTreeSet<_> = others.collect();
        let mut next = self.segments.keys().next().copied();
        while let Some(segment) = next {
            found.insert(segment.timeline());
            next = self.last_of(segment.timeline()).and_then(|last| {
                let behind = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
                self.segments.range(behind).next().map(|(name, _)| *name)
            });
        }
        found
    }

    /// Returns the last segment of a timeline.
    pub fn last_of(&self, timeline: TimelineId) -> Option<SegmentName> {
        self.of(timeline).next_back()
    }

    fn of(&self, timeline: TimelineId) -> impl DoubleEndedIterator<Item = SegmentName> + '_ {
        let any = |text: &str| {
            format!("{:08X}{text}", timeline.0).parse::<SegmentName>().expect("it is a name")
        };
        let (first, last) = (any("0000000000000000"), any("FFFFFFFFFFFFFFFF"));
        self.segments.range(first..=last).map(|(name, _)| *name)
    }

    /// Returns the ranges, the holes and what else is to be said of each timeline.
    pub fn by_timeline(&self) -> Vec<TimelineInventory> {
        let size = self.size().unwrap_or_default();
        let describe = |timeline: TimelineId| {
            let (ranges, holes) = ranges(self.of(timeline), size);
            let history = WalFileName::History(timeline);
            // The first comes from nowhere, and so has none.
            let has_history = timeline == TimelineId(1) || self.others.contains_key(&history);
            TimelineInventory { timeline, ranges, holes, has_history }
        };
        self.timelines().into_iter().map(describe).collect()
    }

    /// Returns the segments that recovery from one position to another along a history needs and
    /// that are not held, each under the name that it should have.
    ///
    /// A segment in which a timeline was left may lie under the name of either, or only as what was there of
    /// it when a standby took over.
    pub fn missing(&self, history: &TimelineHistory, from: Lsn, to: Lsn) -> Vec<SegmentName> {
        let size = self.size().unwrap_or_default();
        let (first, last) = (SegmentNumber::of(from, size), SegmentNumber::before(to, size));
        (first.0..=last.0)
            .map(SegmentNumber)
            .filter_map(|number| {
                let mut names = history
                    .timelines_of(number, size)
                    .filter_map(|timeline| SegmentName::new(timeline, number, size));
                let is_held = |name: &SegmentName| {
                    let partial = WalFileName::Partial(*name);
                    self.segments.contains_key(name) || self.others.contains_key(&partial)
                };
                let wanted = names.next()?;
                (!is_held(&wanted) && !names.any(|name| is_held(&name))).then_some(wanted)
            })
            .collect()
    }
}

/// Notes what is held; returns what was there already if that is something else.
fn hold<K: Ord>(entry: Entry<'_, K, ShortDigest>, digest: ShortDigest) -> Option<ShortDigest> {
    match entry {
        Entry::Vacant(entry) => {
            entry.insert(digest);
            None
        }
        Entry::Occupied(entry) => (*entry.get() != digest).then_some(*entry.get()),
    }
}

/// Parts ordered segments of one timeline into those that follow each other and what lacks between.
fn ranges(
    segments: impl Iterator<Item = SegmentName>,
    size: SegmentSize,
) -> (Vec<SegmentRange>, Vec<SegmentRange>) {
    let (mut ranges, mut holes): (Vec<SegmentRange>, Vec<SegmentRange>) = (Vec::new(), Vec::new());
    for segment in segments {
        let Some(number) = segment.number(size) else { continue };
        match ranges.last_mut() {
            Some(range) if range.last.next(size) == Some(segment) => {
                range.last = segment;
                range.count += 1;
            }
            last => {
                holes.extend(last.and_then(|range| between(range.last, segment, size)));
                debug_assert!(number.start(size).is_some(), "what has a number has a position");
                ranges.push(SegmentRange { first: segment, last: segment, count: 1 });
            }
        }
    }
    (ranges, holes)
}

/// Returns what lies between two segments of one timeline.
fn between(before: SegmentName, after: SegmentName, size: SegmentSize) -> Option<SegmentRange> {
    let (start, end) = (before.number(size)?.0 + 1, after.number(size)?.0);
    let name = |number| SegmentName::new(before.timeline(), SegmentNumber(number), size);
    let (first, last) = (name(start)?, name(end.checked_sub(1)?)?);
    Some(SegmentRange { first, last, count: end - start })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::archive::name::WalAddress;
    use crate::archive::tests::SYSTEM;

    const SIZE: SegmentSize = SegmentSize::MIN;

    fn listed(file: WalFileName, bytes: &[u8]) -> Listed {
        let address = WalAddress { system: SYSTEM, size: SIZE, file };
        let name = ArchivedFile::of(address, bytes);
        Listed { name, size: 0, modified: Timestamp::UNIX_EPOCH }
    }

    fn segment(timeline: u32, number: u64) -> SegmentName {
        SegmentName::new(TimelineId(timeline), SegmentNumber(number), SIZE).unwrap()
    }

    fn inventory(segments: &[(u32, u64)]) -> ClusterInventory {
        let files = segments.iter().map(|(timeline, number)| segment(*timeline, *number).into());
        let all = Inventory::of(files.map(|file| listed(file, b"")));
        all.cluster(SYSTEM).cloned().unwrap_or_default()
    }

    fn history(timeline: u32, file: &str) -> TimelineHistory {
        TimelineHistory::parse(TimelineId(timeline), file.as_bytes()).unwrap()
    }

    #[test]
    fn holes_are_named_and_the_end_of_a_log_file_number_is_none() {
        let found = inventory(&[(1, 0xFFE), (1, 0xFFF), (1, 0x1000), (1, 0x1003), (2, 5)]);
        let timelines = found.by_timeline();
        assert_eq!(timelines.len(), 2);
        let ranges: Vec<_> = timelines[0].ranges.iter().map(|range| range.count).collect();
        assert_eq!(ranges, [3, 1]);
        let hole = SegmentRange { first: segment(1, 0x1001), last: segment(1, 0x1002), count: 2 };
        assert_eq!(timelines[0].holes, [hole]);
        assert!(timelines[1].holes.is_empty());
        assert_eq!((timelines[0].has_history, timelines[1].has_history), (true, false));
    }

    #[test]
    fn two_files_of_one_name_are_seen() {
        let file = WalFileName::from(segment(1, 5));
        let partial = WalFileName::Partial(segment(1, 5));
        let found = [(file, b"a"), (file, b"b"), (file, b"a"), (partial, b"c")];
        let all = Inventory::of(found.map(|(file, bytes)| listed(file, bytes)));
        let duplicates: Vec<_> = all.cluster(SYSTEM).unwrap().duplicates().collect();
        let digests = BTreeSet::from([ShortDigest::of(b"a"), ShortDigest::of(b"b")]);
        assert_eq!(duplicates, [Duplicate { file, digests }]);
    }

    #[test]
    fn what_a_recovery_lacks_is_found_over_timelines() {
        let second = history(2, "1\t0/550000\tno recovery target specified\n");
        let (from, to) = (Lsn(0x30_0000), Lsn(0x70_0000));
        let missing = |segments: &[(u32, u64)]| inventory(segments).missing(&second, from, to);
        assert_eq!(missing(&[(1, 3), (1, 4), (2, 5), (2, 6)]), []);
        // The segment of the switch may be had from before or after it.
        assert_eq!(missing(&[(1, 3), (1, 4), (1, 5), (2, 6)]), []);
        assert_eq!(missing(&[(1, 3), (1, 4), (2, 6)]), [segment(2, 5)]);
        let partial = Inventory::of([
            listed(segment(1, 4).into(), b""),
            listed(WalFileName::Partial(segment(1, 5)), b""),
        ]);
        let (held, to) = (partial.cluster(SYSTEM).unwrap(), Lsn(0x55_0000));
        assert_eq!(held.missing(&second, Lsn(0x40_0000), to), []);
        // What the given-up timeline has behind the switch does not count.
        assert_eq!(missing(&[(1, 3), (2, 5), (1, 6), (1, 7)]), [segment(1, 4), segment(2, 6)]);
        let first = TimelineHistory::without_ancestors(TimelineId(1));
        assert_eq!(inventory(&[(1, 3)]).missing(&first, from, Lsn(0x40_0000)), []);
    }

    #[test]
    fn a_hundred_thousand_names_are_counted() {
        let numbers = (0..100_000_u64).filter(|number| *number != 77_777);
        let all = Inventory::of(numbers.map(|number| listed(segment(3, number).into(), b"")));
        let timelines = all.cluster(SYSTEM).unwrap().by_timeline();
        assert_eq!((timelines[0].ranges.len(), timelines[0].holes[0].count), (2, 1));
    }

    proptest! {
        #[test]
        fn ranges_and_holes_are_all_there_is(numbers in prop::collection::btree_set(0..200_u64, 1..60)) {
            let found = inventory(&numbers.iter().map(|number| (1, *number)).collect::<Vec<_>>());
            let timeline = &found.by_timeline()[0];
            let count = |ranges: &[SegmentRange]| ranges.iter().map(|range| range.count).sum::<u64>();
            let span = numbers.last().unwrap() - numbers.first().unwrap() + 1;
            prop_assert_eq!(count(&timeline.ranges), numbers.len() as u64);
            prop_assert_eq!(count(&timeline.ranges) + count(&timeline.holes), span);
            prop_assert_eq!(timeline.ranges.len(), timeline.holes.len() + 1);
        }
    }
}
