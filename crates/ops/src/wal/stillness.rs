//! Up to when nothing was committed on a server beyond what its log holds, from what it said now and then. Pure.
//!
//! That is this host's own word and lies in its journal, as what a sweep of watched files saw: what cannot be read of it costs
//! exposure and nothing else. Source: the decisions' "position check when the database is idle".

use lifeboat_model::{Lsn, Timestamp};
use lifeboat_postgres::stillness::Reading;
use serde::{Deserialize, Serialize};

/// A time through which nothing was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stillness {
    /// The cluster.
    pub system_id: u64,
    /// The timeline that it writes.
    pub timeline: u32,
    /// The number behind that of the latest transaction that ended.
    pub next: u64,
    /// Where the log has to be archived up to so that all that was committed is in it.
    pub committed_before: Lsn,
    /// When that was seen first.
    pub from: Timestamp,
    /// When it was seen last; what was asked then was asked after it.
    pub until: Timestamp,
}

/// What a reading means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// What is known from now on, if anything is.
    pub stillness: Option<Stillness>,
    /// Whether the segment with the last commit waits for its end although nothing more is written to it.
    pub segment: LastSegment,
}

/// How the segment with the last commit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastSegment {
    /// It was or will be ended by what is written.
    Goes,
    /// Nobody writes, so nobody ends it.
    Waits,
}

/// Takes in what a server said when it was asked after `at`.
pub fn follow(before: Option<Stillness>, reading: &Reading, at: Timestamp) -> Followed {
    let same = before.filter(|before| {
        before.system_id == reading.system_id
            && before.timeline == reading.timeline.0
            && before.next == reading.next
            && before.from <= at
    });
    let Some(same) = same else {
        let begun = Stillness {
            system_id: reading.system_id,
            timeline: reading.timeline.0,
            next: reading.next,
            committed_before: reading.committed_before,
            from: at,
            until: at,
        };
        let stillness = reading.is_settled.then_some(begun);
        return Followed { stillness, segment: LastSegment::Goes };
    };
    let waits = reading.is_being_written(same.committed_before);
    let segment = if waits { LastSegment::Waits } else { LastSegment::Goes };
    // A clock that was set back takes back what it vouched for.
    Followed { stillness: Some(Stillness { until: at, ..same }), segment }
}

#[cfg(test)]
mod tests {
    use lifeboat_postgres::wal::{SegmentSize, TimelineId};

    use super::*;

    const START: u64 = 5 << 24;

    fn reading(next: u64, place: u64) -> Reading {
        Reading {
            system_id: 7,
            timeline: TimelineId(1),
            committed_before: Lsn(place),
            next,
            is_settled: true,
            size: SegmentSize::new(16 << 20).unwrap(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn a_server_that_rests_is_vouched_for_up_to_the_last_reading_and_its_segment_is_ended_once() {
        let first = follow(None, &reading(700, START + 500), at(0));
        let begun = first.stillness.unwrap();
        assert_eq!((begun.from, begun.until, first.segment), (at(0), at(0), LastSegment::Goes));
        // What a checkpoint writes moves the place and is no commit.
        let second = follow(first.stillness, &reading(700, START + 900), at(90));
        assert_eq!(second.segment, LastSegment::Waits);
        let third = follow(second.stillness, &reading(700, (6 << 24) + 100), at(180));
        assert_eq!(third.segment, LastSegment::Goes, "it was ended");
        let still = third.stillness.unwrap();
        assert_eq!((still.committed_before, still.until), (Lsn(START + 500), at(180)));
    }

    #[test]
    fn whoever_commits_or_may_have_begins_anew() {
        let begun = follow(None, &reading(700, START + 500), at(0)).stillness;
        let committed = follow(begun, &reading(701, START + 700), at(90)).stillness.unwrap();
        assert_eq!((committed.from, committed.committed_before), (at(90), Lsn(START + 700)));
        let running = Reading { is_settled: false, ..reading(702, START + 800) };
        assert_eq!(follow(begun, &running, at(90)).stillness, None, "an older one may commit");
        let promoted = Reading { timeline: TimelineId(2), ..reading(700, START + 500) };
        assert_eq!(follow(begun, &promoted, at(90)).stillness.unwrap().from, at(90));
        let other = Reading { system_id: 8, ..reading(700, START + 500) };
        assert_eq!(follow(begun, &other, at(90)).stillness.unwrap().from, at(90));
    }

    #[test]
    fn a_transaction_that_began_later_and_runs_on_committed_nothing() {
        let begun = follow(None, &reading(700, START + 500), at(0)).stillness;
        // 700 itself runs by now: it is not older than what the snapshot shows as ended.
        let still = follow(begun, &reading(700, START + 900), at(90)).stillness.unwrap();
        assert_eq!((still.from, still.until), (at(0), at(90)));
    }

    #[test]
    fn a_clock_that_was_set_back_takes_back_what_it_vouched_for() {
        let begun = follow(None, &reading(700, START + 500), at(1000)).stillness;
        let back = follow(begun, &reading(700, START + 500), at(10)).stillness.unwrap();
        assert_eq!((back.from, back.until), (at(10), at(10)));
    }
}
