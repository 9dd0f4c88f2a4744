//! The works that lifeboat and pgBackRest are measured in, and what is wanted of lifeboat.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::engine::Engine;
use crate::failure::BenchError;

/// A work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A first base backup.
    FirstBackup,
    /// A base backup after one page in a hundred changed.
    NextBackup,
    /// Bringing the cluster back, into an empty directory.
    Restore,
    /// Bringing it back over what it was before one page in a hundred changed.
    DeltaRestore,
    /// Archiving the log, one segment a call.
    Push,
    /// Archiving it by who ships ahead.
    PushAhead,
    /// Calls for segments that were shipped before.
    Call,
    /// Replaying the log.
    Replay,
}

/// Something that is counted beside the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// What was stored, in bytes, the log left out.
    StoredBytes,
    /// What was fetched, in bytes.
    FetchedBytes,
    /// What was written, in bytes.
    WrittenBytes,
    /// How many segments of the log were archived.
    Segments,
    /// How long calls took, in milliseconds: the middle one.
    CallMs,
    /// How long the longest call took, in milliseconds.
    LongestCallMs,
    /// The share of the segments that had been fetched when they were asked for.
    PrefetchedShare,
}

/// What is wanted of lifeboat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At least this many times as fast as another.
    Faster(Engine, f64),
    /// At most this share of another's time.
    TimeShare(Engine, f64),
    /// At most this share of what another stores.
    StoredShare(Engine, f64),
    /// At least this many times as fast as its own restore into an empty directory.
    FasterThanFull(f64),
    /// At most this share of the bytes that its own restore into an empty directory fetches.
    FetchedShare(f64),
    /// At most this share of the bytes that it writes.
    WrittenShare(f64),
    /// A call of at most so many milliseconds.
    CallMs(f64),
    /// At least this share of segments that had been fetched when they were asked for.
    PrefetchedShare(f64),
}

impl Goal {
    /// Tells whether it is met by what was measured.
    pub fn is_met_by(self, measured: f64) -> bool {
        match self {
            Self::Faster(_, least) | Self::FasterThanFull(least) | Self::PrefetchedShare(least) => {
                measured >= least
            }
            Self::TimeShare(_, most)
            | Self::StoredShare(_, most)
            | Self::FetchedShare(most)
            | Self::WrittenShare(most)
            | Self::CallMs(most) => measured <= most,
        }
    }

    /// Writes a measured value as the goal itself is written.
    pub fn shown(self, value: f64) -> String {
        let share = value * 100.0;
        match self {
            Self::Faster(than, _) => format!("{value:.2}× as fast as {}", than.name()),
            Self::TimeShare(of, _) => format!("{share:.0}% of the time of {}", of.name()),
            Self::StoredShare(of, _) => format!("{share:.1}% of what {} stores", of.name()),
            Self::FasterThanFull(_) => format!("{value:.2}× as fast as a full restore"),
            Self::FetchedShare(_) => format!("{share:.1}% of a full restore's bytes fetched"),
            Self::WrittenShare(_) => format!("{share:.1}% of a full restore's bytes written"),
            Self::CallMs(_) => format!("{value:.1} ms a call"),
            Self::PrefetchedShare(_) => format!("{share:.1}% prefetched"),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bound, value) = match *self {
            Self::Faster(_, value) | Self::FasterThanFull(value) | Self::PrefetchedShare(value) => {
                ("≥", value)
            }
            Self::TimeShare(_, value)
            | Self::StoredShare(_, value)
            | Self::FetchedShare(value)
            | Self::WrittenShare(value)
            | Self::CallMs(value) => ("≤", value),
        };
        write!(f, "{bound} {}", self.shown(value))
    }
}

impl Work {
    /// All of them, in the order in which they are done.
    pub const ALL: [Self; 8] = [
        Self::FirstBackup,
        Self::NextBackup,
        Self::Restore,
        Self::DeltaRestore,
        Self::Push,
        Self::PushAhead,
        Self::Call,
        Self::Replay,
    ];

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstBackup => "first-backup",
            Self::NextBackup => "next-backup",
            Self::Restore => "restore",
            Self::DeltaRestore => "delta-restore",
            Self::Push => "push",
            Self::PushAhead => "push-ahead",
            Self::Call => "call",
            Self::Replay => "replay",
        }
    }

    /// Describes it for a person.
    pub const fn title(self) -> &'static str {
        match self {
            Self::FirstBackup => "first base backup",
            Self::NextBackup => "base backup after 1% of pages changed",
            Self::Restore => "restore into an empty directory",
            Self::DeltaRestore => "restore over what it was before 1% changed",
            Self::Push => "archiving, one segment a call",
            Self::PushAhead => "archiving, shipped ahead",
            Self::Call => "a call for what was shipped ahead",
            Self::Replay => "replay of the log",
        }
    }

    /// Returns who does it.
    pub const fn engines(self) -> &'static [Engine] {
        match self {
            Self::FirstBackup | Self::NextBackup | Self::Restore | Self::DeltaRestore => {
                &Engine::ALL
            }
            Self::Push | Self::PushAhead => &[Engine::Lifeboat, Engine::Pgbackrest],
            Self::Call | Self::Replay => &[Engine::Lifeboat],
        }
    }

    /// Returns what is wanted of lifeboat in it.
    pub const fn goals(self) -> &'static [Goal] {
        use Engine::{Pgbackrest, PgbackrestBlocks};
        match self {
            Self::FirstBackup | Self::PushAhead => &[Goal::Faster(Pgbackrest, 2.0)],
            Self::NextBackup => &[
                Goal::Faster(Pgbackrest, 5.0),
                Goal::StoredShare(Pgbackrest, 0.25),
                Goal::Faster(PgbackrestBlocks, 2.0),
                Goal::StoredShare(PgbackrestBlocks, 1.0),
            ],
            Self::Restore => &[Goal::Faster(Pgbackrest, 1.3)],
            Self::DeltaRestore => {
                &[Goal::FasterThanFull(2.0), Goal::FetchedShare(0.1), Goal::WrittenShare(0.1)]
            }
            Self::Push => &[Goal::TimeShare(Pgbackrest, 0.5)],
            Self::Call => &[Goal::CallMs(10.0)],
            Self::Replay => &[Goal::PrefetchedShare(0.95)],
        }
    }
}

impl FromStr for Work {
    type Err = BenchError;

    fn from_str(word: &str) -> Result<Self, BenchError> {
        Self::ALL.into_iter().find(|work| work.name() == word).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            BenchError::UnknownWork { word: word.to_owned(), known }
        })
    }
}

impl Serialize for Work {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_in_their_own_direction() {
        let (faster, share) =
            (Goal::Faster(Engine::Pgbackrest, 2.0), Goal::StoredShare(Engine::Pgbackrest, 0.25));
        assert!(faster.is_met_by(2.0) && !faster.is_met_by(1.9));
        assert!(share.is_met_by(0.25) && !share.is_met_by(0.26));
        assert_eq!(faster.to_string(), "≥ 2.00× as fast as pgBackRest");
        assert_eq!(share.to_string(), "≤ 25.0% of what pgBackRest stores");
    }

    #[test]
    fn lifeboat_does_every_work_and_is_held_to_something() {
        for work in Work::ALL {
            assert_eq!(work.name().parse::<Work>().unwrap(), work);
            assert_eq!(work.engines()[0], Engine::Lifeboat);
            assert!(!work.goals().is_empty());
        }
    }
}
