//! Which files of the write-ahead log go from a tier. Pure.
//!
//! # Invariants
//!
//! - From the start of the oldest base that stays on a tier on, everything of its cluster stays there.
//! - What makes a base whole that stays on another tier stays: its log may be nowhere else.
//! - A cluster goes only once bases of it were recorded and none is left; while it is not known what all
//!   tiers hold, none goes.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::Lsn;
use lifeboat_postgres::archive::inventory::Listed;
use lifeboat_postgres::archive::{Inventory, SystemId};
use lifeboat_postgres::wal::{SegmentNumber, SegmentSize, TimelineId, WalFileName};

use crate::catalog::body::BaseRecord;

/// Where in a cluster's log a base backup lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseAt {
    /// Whose log.
    pub system: SystemId,
    /// On which timeline.
    pub timeline: TimelineId,
    /// Where replay begins.
    pub start: Lsn,
    /// From where on the data make sense.
    pub stop: Lsn,
}

impl BaseAt {
    /// Reads what was recorded of a base; nothing, if it makes no sense.
    pub fn of(base: &BaseRecord) -> Option<Self> {
        Some(Self {
            system: SystemId(base.system_id.parse().ok()?),
            timeline: TimelineId(base.timeline),
            start: base.start_lsn,
            stop: base.stop_lsn,
        })
    }
}

/// Whether all bases are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Every tier was looked at, and where each base on it lies in the log is known.
    Whole,
    /// Some base may be missing here.
    Partial,
}

/// The bases that stay.
#[derive(Debug, Clone)]
pub struct Bases {
    /// Those on this tier.
    pub here: Vec<BaseAt>,
    /// Those on the others.
    pub elsewhere: Vec<BaseAt>,
    /// Whether these are all.
    pub sight: Sight,
    /// The clusters of which a base was ever recorded.
    pub recorded: BTreeSet<SystemId>,
}

/// What a cluster needs.
enum Need {
    All,
    Nothing,
    From(Floor),
}

struct Floor {
    /// The first segment of the oldest base.
    number: SegmentNumber,
    /// The oldest timeline that a base lies on.
    timeline: TimelineId,
    /// The segments that make the bases of other tiers whole.
    whole: BTreeSet<SegmentNumber>,
}

/// Returns the files that go, those that came first before the others.
pub fn going(listed: &[Listed], bases: &Bases) -> Vec<Listed> {
    let inventory = Inventory::of(listed.iter().copied());
    let clusters = inventory.clusters().iter();
    let needs: BTreeMap<SystemId, (SegmentSize, Need)> = clusters
        .map(|(system, cluster)| {
            let size = cluster.size().unwrap_or_default();
            (*system, (size, need(*system, size, bases)))
        })
        .collect();
    let used: BTreeSet<(SystemId, TimelineId)> = listed
        .iter()
        .filter(|file| file.name.file.segment().is_some() && stays(file, &needs, &BTreeSet::new()))
        .map(|file| (file.name.system, file.name.file.timeline()))
        .collect();
    let mut going: Vec<_> =
        listed.iter().filter(|file| !stays(file, &needs, &used)).copied().collect();
    // So that a run that is interrupted leaves no hole: a history goes after its segments.
    going.sort_by_key(|file| {
        let name = file.name;
        let segment = name.file.segment();
        (name.system, segment.is_none(), segment, name.file.timeline(), name.digest)
    });
    going
}

fn need(system: SystemId, size: SegmentSize, bases: &Bases) -> Need {
    let of = |all: &[BaseAt]| -> Vec<BaseAt> {
        all.iter().filter(|base| base.system == system).copied().collect()
    };
    let (here, elsewhere) = (of(&bases.here), of(&bases.elsewhere));
    if bases.sight == Sight::Partial {
        return Need::All;
    }
    let anchors = if here.is_empty() { &elsewhere } else { &here };
    let all = || here.iter().chain(&elsewhere);
    let (Some(start), Some(timeline)) =
        (anchors.iter().map(|base| base.start).min(), all().map(|base| base.timeline).min())
    else {
        return if bases.recorded.contains(&system) { Need::Nothing } else { Need::All };
    };
    let segments = |base: &BaseAt| {
        let last = SegmentNumber::before(base.stop, size).0;
        (SegmentNumber::of(base.start, size).0..=last).map(SegmentNumber)
    };
    let whole = elsewhere.iter().flat_map(segments).collect();
    Need::From(Floor { number: SegmentNumber::of(start, size), timeline, whole })
}

fn stays(
    file: &Listed,
    needs: &BTreeMap<SystemId, (SegmentSize, Need)>,
    used: &BTreeSet<(SystemId, TimelineId)>,
) -> bool {
    let name = file.name;
    let Some((size, need)) = needs.get(&name.system) else { return true };
    let floor = match need {
        Need::All => return true,
        Need::Nothing => return false,
        Need::From(floor) => floor,
    };
    match name.file {
        // Whoever looks for the newest timeline asks for one history after the other.
        WalFileName::History(timeline) => {
            timeline >= floor.timeline || used.contains(&(name.system, timeline))
        }
        file => {
            let number = file.segment().and_then(|segment| segment.number(*size));
            // A segment of another size is a stranger.
            number.is_none_or(|number| number >= floor.number || floor.whole.contains(&number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_model::Timestamp;
    use lifeboat_postgres::archive::{ArchivedFile, WalAddress};
    use lifeboat_postgres::wal::SegmentName;
    use proptest::prelude::*;

    const SIZE: SegmentSize = SegmentSize::MIN;
    const OLD: SystemId = SystemId(7);
    const NEW: SystemId = SystemId(8);

    fn listed(system: SystemId, file: WalFileName) -> Listed {
        let name = ArchivedFile::of(WalAddress { system, size: SIZE, file }, b"");
        Listed { name, size: 1, modified: Timestamp::UNIX_EPOCH }
    }

    fn segment(timeline: u32, number: u64) -> WalFileName {
        SegmentName::new(TimelineId(timeline), SegmentNumber(number), SIZE).unwrap().into()
    }

    fn at(number: u64) -> Lsn {
        SegmentNumber(number).start(SIZE).unwrap()
    }

    fn base(system: SystemId, timeline: u32, first: u64, last: u64) -> BaseAt {
        let (timeline, start, stop) = (TimelineId(timeline), at(first), Lsn(at(last).0 + 10));
        BaseAt { system, timeline, start, stop }
    }

    fn bases(here: &[BaseAt], elsewhere: &[BaseAt]) -> Bases {
        let recorded = BTreeSet::from([OLD, NEW]);
        Bases { here: here.to_vec(), elsewhere: elsewhere.to_vec(), sight: Sight::Whole, recorded }
    }

    fn gone(listed: &[Listed], bases: &Bases) -> Vec<WalFileName> {
        going(listed, bases).iter().map(|file| file.name.file).collect()
    }

    fn segments(numbers: std::ops::Range<u64>) -> Vec<Listed> {
        numbers.map(|number| listed(OLD, segment(1, number))).collect()
    }

    #[test]
    fn what_lies_before_the_oldest_base_goes_the_oldest_first() {
        let all = segments(0..10);
        let two = [base(OLD, 1, 7, 8), base(OLD, 1, 4, 5)];
        assert_eq!(
            gone(&all, &bases(&two, &[])),
            (0..4).map(|n| segment(1, n)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_makes_the_base_of_another_tier_whole_stays() {
        let all = segments(0..10);
        let found = gone(&all, &bases(&[base(OLD, 1, 7, 8)], &[base(OLD, 1, 2, 3)]));
        assert_eq!(found, [0, 1, 4, 5, 6].map(|number| segment(1, number)));
        let found = gone(&all, &bases(&[], &[base(OLD, 1, 2, 3)]));
        assert_eq!(found, [0, 1].map(|number| segment(1, number)), "no base here: from the oldest");
    }

    #[test]
    fn a_cluster_goes_with_its_last_base_and_not_before_its_first() {
        let mut all = segments(0..3);
        all.push(listed(NEW, segment(1, 9)));
        let found = going(&all, &bases(&[base(NEW, 1, 9, 9)], &[]));
        assert!(found.iter().all(|file| file.name.system == OLD) && found.len() == 3);
        let mut unseen = bases(&[base(NEW, 1, 9, 9)], &[]);
        unseen.recorded.remove(&OLD);
        assert_eq!(gone(&all, &unseen), []);
        let partial = Bases { sight: Sight::Partial, ..bases(&[base(NEW, 1, 9, 9)], &[]) };
        assert_eq!(gone(&all, &partial), []);
    }

    #[test]
    fn histories_go_that_no_base_leads_to() {
        let history = |timeline| listed(OLD, WalFileName::History(TimelineId(timeline)));
        let mut all = vec![history(2), history(3), history(4)];
        all.extend([listed(OLD, segment(2, 1)), listed(OLD, segment(3, 5))]);
        let found = gone(&all, &bases(&[base(OLD, 3, 5, 5)], &[]));
        assert_eq!(found, [segment(2, 1), WalFileName::History(TimelineId(2))]);
    }

    proptest! {
        /// Each base that stays has all of its log from its start on, wherever it lies.
        #[test]
        fn every_base_that_stays_can_be_replayed(
            here in prop::collection::vec((1_u32..3, 0_u64..40, 0_u64..3), 0..4),
            elsewhere in prop::collection::vec((1_u32..3, 0_u64..40, 0_u64..3), 0..4),
        ) {
            let all: Vec<_> = (1..3).flat_map(|t| (0..50).map(move |n| listed(OLD, segment(t, n)))).collect();
            let of = |all: &[(u32, u64, u64)]| -> Vec<BaseAt> {
                all.iter().map(|(t, first, more)| base(OLD, *t, *first, first + more)).collect()
            };
            let bases = bases(&of(&here), &of(&elsewhere));
            let gone = gone(&all, &bases);
            for (timeline, first, _) in here {
                for number in first..50 {
                    prop_assert!(!gone.contains(&segment(timeline, number)));
                }
            }
            for (timeline, first, more) in elsewhere {
                for number in first..=first + more {
                    prop_assert!(!gone.contains(&segment(timeline, number)));
                }
            }
        }
    }
}
