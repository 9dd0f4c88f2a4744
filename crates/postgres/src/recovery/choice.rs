//! Which base backup and which timeline lead to a target, and what can be reached at all. Pure: what the
//! archive holds is handed in.
//!
//! # Why a time may become the end of the log
//!
//! A server that is to stop at a time stops at the first transaction that ended *after* it, and calls it
//! an error if there is none. In quiet hours there is none. If all that was ever committed, as far as the
//! archive shows, was committed by that time, then the end of the log is that very state.

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

    /// Returns the newest timeline that goes on from a base backup, with its past.
    fn timeline(&mut self, base: &Candidate) -> Result<TimelineHistory, Self::Error>;

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
    /// Something lacks on the way.
    #[error("{count} segments of the log lack on the way there, the first is `{first}`")]
    Hole {
        /// The first.
        first: SegmentName,
        /// How many.
        count: usize,
    },
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
            Self::TooEarly { .. } | Self::TooEarlyInLog { .. } | Self::BeyondEnd { .. } => {
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
    let base = newest_base(bases, target)?;
    let candidate = &bases[base];
    let history = match target {
        // The server goes on along its own timeline only as far as it has to.
        RecoveryTarget::Immediate => TimelineHistory::without_ancestors(candidate.timeline),
        _ => reach.timeline(candidate)?,
    };
    let last_commit = reach.last_commit(&history, candidate.start)?;
    let archive_end = reach.end(&history)?;
    let (target, end) = match target {
        RecoveryTarget::Immediate => (RecoveryTarget::Immediate, candidate.stop),
        RecoveryTarget::Lsn(lsn) if *lsn > archive_end => {
            return Err(ChoiceError::BeyondEnd { end: archive_end }.into());
        }
        RecoveryTarget::Lsn(lsn) => (target.clone(), *lsn),
        RecoveryTarget::Time(time) => match reach.end_at(&history, candidate.start, *time)? {
            Some(end) => (target.clone(), end),
            None => (RecoveryTarget::Latest, archive_end),
        },
        RecoveryTarget::Latest | RecoveryTarget::Xid(_) | RecoveryTarget::Name(_) => {
            (target.clone(), archive_end)
        }
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
    struct Archive {
        holes: Vec<u64>,
    }

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn segment(number: u64) -> SegmentName {
        SegmentName::new(TimelineId(1), SegmentNumber(number), SegmentSize::default()).unwrap()
    }

    impl LogReach for Archive {
        type Error = ChoiceError;

        fn timeline(&mut self, base: &Candidate) -> Result<TimelineHistory, ChoiceError> {
            Ok(TimelineHistory::without_ancestors(base.timeline))
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
        choose(&[base(3), base(6)], target, &mut Archive { holes: holes.to_vec() })
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
        let none = choose(&[], &RecoveryTarget::Latest, &mut Archive { holes: Vec::new() });
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
}
