//! Which base backup and which timeline lead to a target, and what can be reached at all. Pure: what the
//! archive holds is handed in.
//!
//! # Why a time may become the end of the log
//!
//! A server that is to stop at a time stops at the first transaction that ended *after* it, and calls it
//! an error if there is none. In quiet hours there is none. If all that was ever committed, as far as the
//! archive shows, was committed by that time, then the end of the log is that very state.
//!
//! # Which timeline
//!
//! For a time the one that was in use then: the newest that had begun by that time. Else the newest. So a
//! time before a failover, or before a recovery to an earlier moment, means what the database held at
//! that time, also if that was given up later.

use lifeboat_model::{Classify, ErrorKind, Hint, Lsn, Timestamp};

use super::target::RecoveryTarget;
use crate::base::Manifest;
use crate::timeline::TimelineHistory;
use crate::wal::{SegmentName, TimelineId};

/// A base backup from which a recovery could begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// On which timeline.
    pub timeline: TimelineId,
    /// Where replay begins.
    pub start: Lsn,
    /// From where on the data make sense.
    pub stop: Lsn,
    /// When that was.
    pub stopped: Timestamp,
}

impl From<&Manifest> for Candidate {
    fn from(manifest: &Manifest) -> Self {
        let Manifest { timeline, start_lsn, stop_lsn, stopped, .. } = manifest;
        Self { timeline: *timeline, start: *start_lsn, stop: *stop_lsn, stopped: *stopped }
    }
}

/// What the archive holds behind a base backup.
pub trait LogReach {
    /// What goes wrong when it is asked.
    type Error;

    /// Returns the timeline that goes on from a base backup, with its past: the one that was in use at a
    /// time, as far as the log leads there, or the newest.
    fn timeline(
        &mut self,
        base: &Candidate,
        at: Option<Timestamp>,
    ) -> Result<TimelineHistory, Self::Error>;

    /// Returns where the log ends along a timeline, behind its last segment.
    fn end(&mut self, history: &TimelineHistory) -> Result<Lsn, Self::Error>;

    /// Returns the segments that lack between two positions.
    fn missing(
        &mut self,
        history: &TimelineHistory,
        from: Lsn,
        to: Lsn,
    ) -> Result<Vec<SegmentName>, Self::Error>;

    /// Returns the end of the segment in which a transaction ended at a time or later; none if the log
    /// does not lead so far.
    fn end_at(
        &mut self,
        history: &TimelineHistory,
        from: Lsn,
        time: Timestamp,
    ) -> Result<Option<Lsn>, Self::Error>;

    /// Returns when the last transaction was committed that the log tells of.
    fn last_commit(
        &mut self,
        history: &TimelineHistory,
        from: Lsn,
    ) -> Result<Option<Timestamp>, Self::Error>;

    /// Returns the end of the first restore point of a name behind a position.
    fn restore_point(
        &mut self,
        history: &TimelineHistory,
        from: Lsn,
        name: &str,
    ) -> Result<Option<Lsn>, Self::Error>;

    /// Returns the end of the record by which a transaction ended, in the segments from one position
    /// up to another, or to the end.
    fn transaction(
        &mut self,
        history: &TimelineHistory,
        from: Lsn,
        to: Option<Lsn>,
        xid: u32,
    ) -> Result<Option<Lsn>, Self::Error>;
}

/// Up to which moment a recovery may lead, and why not further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Which of the base backups.
    pub base: usize,
    /// Along which timeline.
    pub history: TimelineHistory,
    /// What the server is told; a time that lies in quiet hours is the end of the log.
    pub target: RecoveryTarget,
    /// Up to where the log leads.
    pub end: Lsn,
    /// When the last transaction was committed that the log tells of.
    pub last_commit: Option<Timestamp>,
    /// What lies behind that.
    pub behind: Behind,
}

/// What lies behind the part of the log that a recovery needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// The rest of it, or nothing.
    Whole,
    /// A hole: a server that reads ahead would come upon it before it reached its target.
    Hole,
}

/// No recovery leads to a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// There is no base backup at all.
    #[error("there is no base backup")]
    NoBase,
    /// All base backups are younger.
    #[error("no base backup is so old: the oldest leads to {oldest} and later")]
    TooEarly {
        /// When the data of the oldest one make sense.
        oldest: Timestamp,
    },
    /// All base backups begin later in the log.
    #[error("no base backup is so old: the oldest leads to {oldest} and further")]
    TooEarlyInLog {
        /// From where on the data of the oldest one make sense.
        oldest: Lsn,
    },
    /// The log does not lead there.
    #[error("the archive ends at {end}, before that position")]
    BeyondEnd {
        /// Where it ends.
        end: Lsn,
    },
    /// The log does not tell of it.
    #[error(
        "`{target}` is nowhere in the log that follows the base backups, the oldest of which begins at {begin}"
    )]
    Unknown {
        /// What was looked for.
        target: RecoveryTarget,
        /// Where the log was looked through from.
        begin: Lsn,
    },
    /// Something lacks on the way.
    #[error("{count} segments of the log lack on the way there, the first is `{first}`")]
    Hole {
        /// The first.
        first: SegmentName,
        /// How many.
        count: usize,
    },
}

impl ChoiceError {
    /// Tells whether the log of another cluster may lead to the target.
    pub const fn is_elsewhere(&self) -> bool {
        matches!(
            self,
            Self::TooEarly { .. }
                | Self::TooEarlyInLog { .. }
                | Self::BeyondEnd { .. }
                | Self::Unknown { .. }
        )
    }

    /// Tells whether the base backups of another tier may lead to the target.
    pub const fn may_end_on_another_tier(&self) -> bool {
        self.is_elsewhere() || matches!(self, Self::Hole { .. })
    }

    /// Of what two tiers lack for the same target, returns what tells of the wider reach; else the first.
    #[must_use]
    pub fn wider(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::TooEarly { oldest }, Self::TooEarly { oldest: wider }) if wider < oldest => {
                other
            }
            (Self::TooEarlyInLog { oldest }, Self::TooEarlyInLog { oldest: wider })
                if wider < oldest =>
            {
                other
            }
            _ => self,
        }
    }
}

impl Classify for ChoiceError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Hole { .. } => ErrorKind::Incomplete,
            _ => ErrorKind::NotFound,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::NoBase => "`lifeboat backup` makes one",
            Self::TooEarly { .. }
            | Self::TooEarlyInLog { .. }
            | Self::BeyondEnd { .. }
            | Self::Unknown { .. } => {
                "`lifeboat wal status` and `lifeboat points` show what can be reached"
            }
            Self::Hole { .. } => {
                "`lifeboat wal status` shows which tier has it; `lifeboat wal catch-up` brings the others up to date; or give `--at` a moment before the hole"
            }
        };
        Some(Hint::new(text))
    }
}

/// Chooses among base backups of one cluster.
pub fn choose<R>(
    bases: &[Candidate],
    target: &RecoveryTarget,
    reach: &mut R,
) -> Result<Choice, R::Error>
where
    R: LogReach,
    R::Error: From<ChoiceError>,
{
    let Way { base, history, end } = way(bases, target, reach)?;
    let candidate = &bases[base];
    let last_commit = reach.last_commit(&history, candidate.start)?;
    let archive_end = reach.end(&history)?;
    let (target, end) = match target {
        RecoveryTarget::Lsn(lsn) if *lsn > archive_end => {
            return Err(ChoiceError::BeyondEnd { end: archive_end }.into());
        }
        RecoveryTarget::Time(time) => match reach.end_at(&history, candidate.start, *time)? {
            Some(end) => (target.clone(), end),
            None => (RecoveryTarget::Latest, archive_end),
        },
        _ => (target.clone(), end.unwrap_or(archive_end)),
    };
    let end = end.max(candidate.stop);
    let missing = reach.missing(&history, candidate.start, end)?;
    if let Some(first) = missing.first() {
        return Err(ChoiceError::Hole { first: *first, count: missing.len() }.into());
    }
    let is_whole = reach.missing(&history, end, archive_end.max(end))?.is_empty();
    let behind = if is_whole { Behind::Whole } else { Behind::Hole };
    Ok(Choice { base, history, target, end, last_commit, behind })
}

/// From where, along which timeline, and how far.
struct Way {
    base: usize,
    history: TimelineHistory,
    /// Where the target lies, if that is known by now.
    end: Option<Lsn>,
}

fn way<R>(bases: &[Candidate], target: &RecoveryTarget, reach: &mut R) -> Result<Way, R::Error>
where
    R: LogReach,
    R::Error: From<ChoiceError>,
{
    if matches!(target, RecoveryTarget::Name(_) | RecoveryTarget::Xid(_)) {
        return way_to_record(bases, target, reach);
    }
    let base = newest_base(bases, target)?;
    let candidate = &bases[base];
    let (history, end) = match target {
        // The server goes on along its own timeline only as far as it has to.
        RecoveryTarget::Immediate => {
            (TimelineHistory::without_ancestors(candidate.timeline), Some(candidate.stop))
        }
        RecoveryTarget::Time(time) => (reach.timeline(candidate, Some(*time))?, None),
        RecoveryTarget::Lsn(lsn) => (reach.timeline(candidate, None)?, Some(*lsn)),
        _ => (reach.timeline(candidate, None)?, None),
    };
    Ok(Way { base, history, end })
}

/// Finds the newest base backup behind which the log tells of the target. Of several restore points of one
/// name a server stops at the first that it comes upon.
fn way_to_record<R>(
    bases: &[Candidate],
    target: &RecoveryTarget,
    reach: &mut R,
) -> Result<Way, R::Error>
where
    R: LogReach,
    R::Error: From<ChoiceError>,
{
    let mut order: Vec<_> = bases.iter().enumerate().collect();
    order.sort_by_key(|(_, base)| std::cmp::Reverse((base.timeline, base.stop)));
    let (mut seen, mut searched) = (None, None);
    for (index, base) in order {
        let history = reach.timeline(base, None)?;
        let found = match target {
            RecoveryTarget::Name(name) => reach.restore_point(&history, base.start, name)?,
            RecoveryTarget::Xid(xid) => {
                let found = reach.transaction(&history, base.start, searched, *xid)?;
                // What a newer base could not be used for may do for this one.
                found.or(seen)
            }
            _ => None,
        };
        if let Some(end) = found.filter(|end| *end > base.stop) {
            return Ok(Way { base: index, history, end: Some(end) });
        }
        (seen, searched) = (seen.or(found), Some(base.start));
    }
    let oldest = bases.iter().min_by_key(|base| base.stop).ok_or(ChoiceError::NoBase)?;
    Err(match seen {
        Some(_) => ChoiceError::TooEarlyInLog { oldest: oldest.stop },
        None => ChoiceError::Unknown { target: target.clone(), begin: oldest.start },
    }
    .into())
}

/// Returns the newest base backup from which a target can be reached: it has to make sense before.
fn newest_base(bases: &[Candidate], target: &RecoveryTarget) -> Result<usize, ChoiceError> {
    let fits = |candidate: &Candidate| match target {
        RecoveryTarget::Time(time) => candidate.stopped <= *time,
        RecoveryTarget::Lsn(lsn) => candidate.stop <= *lsn,
        _ => true,
    };
    let fitting = bases.iter().enumerate().filter(|(_, candidate)| fits(candidate));
    let newest = fitting.max_by_key(|(_, candidate)| (candidate.timeline, candidate.stop));
    if let Some((index, _)) = newest {
        return Ok(index);
    }
    let oldest = bases.iter().min_by_key(|candidate| candidate.stop).ok_or(ChoiceError::NoBase)?;
    Err(match target {
        RecoveryTarget::Lsn(_) => ChoiceError::TooEarlyInLog { oldest: oldest.stop },
        _ => ChoiceError::TooEarly { oldest: oldest.stopped },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::{SegmentNumber, SegmentSize};

    const SEGMENT: u64 = 16 << 20;

    /// An archive in memory: segment 3 to 9 of one timeline, a commit every ten seconds in the first
    /// five of them.
    #[derive(Default)]
    struct Archive {
        holes: Vec<u64>,
        /// Restore points by their names, and transactions by their numbers.
        marks: Vec<(&'static str, Lsn)>,
    }

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn segment(number: u64) -> SegmentName {
        SegmentName::new(TimelineId(1), SegmentNumber(number), SegmentSize::default()).unwrap()
    }

    impl LogReach for Archive {
        type Error = ChoiceError;

        fn timeline(
            &mut self,
            base: &Candidate,
            _: Option<Timestamp>,
        ) -> Result<TimelineHistory, ChoiceError> {
            Ok(TimelineHistory::without_ancestors(base.timeline))
        }

        fn restore_point(
            &mut self,
            _: &TimelineHistory,
            from: Lsn,
            name: &str,
        ) -> Result<Option<Lsn>, ChoiceError> {
            let found = self.marks.iter().find(|(mark, lsn)| *mark == name && *lsn >= from);
            Ok(found.map(|(_, lsn)| *lsn))
        }

        fn transaction(
            &mut self,
            history: &TimelineHistory,
            from: Lsn,
            to: Option<Lsn>,
            xid: u32,
        ) -> Result<Option<Lsn>, ChoiceError> {
            let found = self.restore_point(history, from, &xid.to_string())?;
            Ok(found.filter(|lsn| to.is_none_or(|to| *lsn < Lsn(to.0.next_multiple_of(SEGMENT)))))
        }

        fn end(&mut self, _: &TimelineHistory) -> Result<Lsn, ChoiceError> {
            Ok(Lsn(10 * SEGMENT))
        }

        fn missing(
            &mut self,
            _: &TimelineHistory,
            from: Lsn,
            to: Lsn,
        ) -> Result<Vec<SegmentName>, ChoiceError> {
            let range = from.0 / SEGMENT..to.0.div_ceil(SEGMENT);
            let holes = self.holes.iter().filter(|hole| range.contains(hole));
            Ok(holes.map(|hole| segment(*hole)).collect())
        }

        fn end_at(
            &mut self,
            _: &TimelineHistory,
            _: Lsn,
            wanted: Timestamp,
        ) -> Result<Option<Lsn>, ChoiceError> {
            let number =
                (3u64..8).find(|number| time(i64::try_from(*number).unwrap() * 10) >= wanted);
            Ok(number.map(|number| Lsn((number + 1) * SEGMENT)))
        }

        fn last_commit(
            &mut self,
            _: &TimelineHistory,
            _: Lsn,
        ) -> Result<Option<Timestamp>, ChoiceError> {
            Ok(Some(time(70)))
        }
    }

    fn base(number: u64) -> Candidate {
        let start = Lsn(number * SEGMENT + 0x28);
        let stopped = time(i64::try_from(number).unwrap() * 10 - 5);
        Candidate { timeline: TimelineId(1), start, stop: Lsn(start.0 + 0x100), stopped }
    }

    fn chosen(target: &RecoveryTarget, holes: &[u64]) -> Result<Choice, ChoiceError> {
        choose(
            &[base(3), base(6)],
            target,
            &mut Archive { holes: holes.to_vec(), ..Archive::default() },
        )
    }

    #[test]
    fn the_newest_base_that_makes_sense_before_the_target_is_taken() {
        for (target, index) in [
            (RecoveryTarget::Time(time(54)), 0),
            (RecoveryTarget::Time(time(55)), 1),
            (RecoveryTarget::Lsn(Lsn(6 * SEGMENT + 0x127)), 0),
            (RecoveryTarget::Lsn(Lsn(6 * SEGMENT + 0x128)), 1),
            (RecoveryTarget::Latest, 1),
            (RecoveryTarget::Immediate, 1),
        ] {
            let choice = chosen(&target, &[]).unwrap();
            assert_eq!((choice.base, &choice.target), (index, &target));
            assert_eq!(choice.last_commit, Some(time(70)));
        }
    }

    #[test]
    fn a_time_in_quiet_hours_is_the_end_of_the_log() {
        let choice = chosen(&RecoveryTarget::Time(time(71)), &[]).unwrap();
        assert_eq!((choice.target, choice.end), (RecoveryTarget::Latest, Lsn(10 * SEGMENT)));
        let choice = chosen(&RecoveryTarget::Time(time(70)), &[]).unwrap();
        assert_eq!(choice.end, Lsn(8 * SEGMENT));
    }

    #[test]
    fn what_no_base_reaches_is_said_with_what_one_does() {
        let early = chosen(&RecoveryTarget::Time(time(24)), &[]).unwrap_err();
        assert_eq!(early, ChoiceError::TooEarly { oldest: time(25) });
        let early = chosen(&RecoveryTarget::Lsn(Lsn(SEGMENT)), &[]).unwrap_err();
        assert_eq!(early, ChoiceError::TooEarlyInLog { oldest: base(3).stop });
        let late = chosen(&RecoveryTarget::Lsn(Lsn(11 * SEGMENT)), &[]).unwrap_err();
        assert_eq!(late, ChoiceError::BeyondEnd { end: Lsn(10 * SEGMENT) });
        let on = |second| ChoiceError::TooEarly { oldest: time(second) };
        assert_eq!((on(25).wider(on(24)), on(24).wider(on(25))), (on(24), on(24)));
        assert_eq!(on(25).wider(ChoiceError::NoBase), on(25));
        let none = choose(&[], &RecoveryTarget::Latest, &mut Archive::default());
        assert_eq!(none, Err(ChoiceError::NoBase));
    }

    #[test]
    fn a_hole_counts_only_on_the_way() {
        let hole = Err(ChoiceError::Hole { first: segment(7), count: 1 });
        assert_eq!(chosen(&RecoveryTarget::Latest, &[7]), hole);
        assert_eq!(chosen(&RecoveryTarget::Time(time(65)), &[7]), hole);
        let before = chosen(&RecoveryTarget::Time(time(56)), &[7]).unwrap();
        assert_eq!(before.behind, Behind::Hole);
        assert!(chosen(&RecoveryTarget::Immediate, &[7]).is_ok());
        let behind = chosen(&RecoveryTarget::Latest, &[5]).unwrap();
        assert_eq!(behind.behind, Behind::Whole, "the hole is before the base");
    }

    #[test]
    fn a_name_or_a_transaction_is_looked_for_behind_the_newest_base_that_leads_there() {
        let at = |number: u64, offset: u64| Lsn(number * SEGMENT + offset);
        let marks = vec![
            ("before", at(2, 0x100)),
            ("old", at(4, 0x100)),
            ("twice", at(4, 0x200)),
            // Between start and stop of the newer base.
            ("within", at(6, 0x100)),
            ("twice", at(7, 0x100)),
            ("new", at(8, 0x100)),
            ("731", at(4, 0x300)),
            ("732", at(6, 0x80)),
            ("733", at(9, 0x100)),
        ];
        let to = |text: &str| {
            let mut archive = Archive { marks: marks.clone(), holes: vec![5] };
            choose(&[base(3), base(6)], &text.parse().unwrap(), &mut archive)
        };
        for (target, index, end) in [
            ("name:old", 0, at(4, 0x100)),
            ("name:twice", 1, at(7, 0x100)),
            ("name:new", 1, at(8, 0x100)),
            ("xid:731", 0, at(4, 0x300)),
            ("xid:733", 1, at(9, 0x100)),
        ] {
            let choice = to(target).unwrap();
            assert_eq!(
                (choice.base, choice.end, choice.target.to_string()),
                (index, end, target.to_owned())
            );
        }
        // These are reached from the older base only, and on the way there is a hole.
        let hole = Err(ChoiceError::Hole { first: segment(5), count: 1 });
        assert_eq!((to("name:within"), to("xid:732")), (hole.clone(), hole));
        let unknown = |text: &str| {
            Err(ChoiceError::Unknown { target: text.parse().unwrap(), begin: base(3).start })
        };
        for text in ["name:before", "name:nowhere", "xid:9"] {
            assert_eq!(to(text), unknown(text));
        }
    }
}
