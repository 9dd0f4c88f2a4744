//! The works that are measured, and what is wanted of each.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::failure::BenchError;

/// A work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A first backup of files that nothing can compress.
    MediaBackup,
    /// Bringing them back.
    MediaRestore,
    /// Checking their repository, all data read.
    MediaCheck,
    /// A first backup of many small and mixed files.
    MixedBackup,
    /// A backup of them when nothing has changed.
    MixedUnchanged,
    /// Bringing them back.
    MixedRestore,
    /// Checking their repository, all data read.
    MixedCheck,
    /// A first backup of a PostgreSQL data directory.
    DatabaseBackup,
    /// Forgetting 30 of 100 snapshots, and removing what only they need.
    Prune,
}

/// What it is made on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Material {
    /// Files that nothing can compress.
    Media,
    /// Many small and mixed files.
    Mixed,
    /// A PostgreSQL data directory.
    Database,
    /// A repository with a hundred snapshots.
    History,
}

/// What is wanted of lifeboat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At least this many times as fast as restic.
    Faster(f64),
    /// At most this share of restic's processor time.
    CpuShare(f64),
    /// At least this share of what the hardware allows.
    CeilingShare(f64),
    /// At most this many times the time of a bare walk.
    WalkTimes(f64),
    /// At most this many times the time of `cp -a`.
    CopyTimes(f64),
    /// A repository that is at most this many times as large as restic's.
    SizeTimes(f64),
    /// At most this many megabytes resident.
    ResidentMegabytes(f64),
}

impl Goal {
    /// Tells whether it is met by what was measured.
    pub fn is_met_by(self, measured: f64) -> bool {
        match self {
            Self::Faster(least) | Self::CeilingShare(least) => measured >= least,
            Self::CpuShare(most)
            | Self::WalkTimes(most)
            | Self::CopyTimes(most)
            | Self::SizeTimes(most)
            | Self::ResidentMegabytes(most) => measured <= most,
        }
    }

    /// Writes a measured value as the goal itself is written.
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::Faster(_) => format!("{value:.1}× as fast as restic"),
            Self::CpuShare(_) => format!("{:.0}% of restic's CPU", value * 100.0),
            Self::CeilingShare(_) => format!("{:.0}% of the ceiling", value * 100.0),
            Self::WalkTimes(_) => format!("{value:.1}× the time of a bare walk"),
            Self::CopyTimes(_) => format!("{value:.2}× the time of cp -a"),
            Self::SizeTimes(_) => format!("{value:.3}× the size of restic's repository"),
            Self::ResidentMegabytes(_) => format!("{value:.0} MB resident"),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bound, value) = match *self {
            Self::Faster(value) | Self::CeilingShare(value) => ("≥", value),
            Self::CpuShare(value)
            | Self::WalkTimes(value)
            | Self::CopyTimes(value)
            | Self::SizeTimes(value)
            | Self::ResidentMegabytes(value) => ("≤", value),
        };
        write!(f, "{bound} {}", self.shown(value))
    }
}

/// What every work is held to.
const MEMORY: Goal = Goal::ResidentMegabytes(300.0);

/// A repository may be as large as restic's; a hundredth is lost in what differs from run to run.
const SIZE: Goal = Goal::SizeTimes(1.01);

impl Work {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; 9] = [
        Self::MediaBackup,
        Self::MediaRestore,
        Self::MediaCheck,
        Self::MixedBackup,
        Self::MixedUnchanged,
        Self::MixedRestore,
        Self::MixedCheck,
        Self::DatabaseBackup,
        Self::Prune,
    ];

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MediaBackup => "media-backup",
            Self::MediaRestore => "media-restore",
            Self::MediaCheck => "media-check",
            Self::MixedBackup => "mixed-backup",
            Self::MixedUnchanged => "mixed-unchanged",
            Self::MixedRestore => "mixed-restore",
            Self::MixedCheck => "mixed-check",
            Self::DatabaseBackup => "database-backup",
            Self::Prune => "prune",
        }
    }

    /// Describes it for a person.
    pub const fn title(self) -> &'static str {
        match self {
            Self::MediaBackup => "first backup, media",
            Self::MediaRestore => "restore, media",
            Self::MediaCheck => "check with all data, media",
            Self::MixedBackup => "first backup, mixed tree",
            Self::MixedUnchanged => "nothing changed, mixed tree",
            Self::MixedRestore => "restore, mixed tree",
            Self::MixedCheck => "check with all data, mixed tree",
            Self::DatabaseBackup => "first backup, PostgreSQL data",
            Self::Prune => "forget and prune 30 of 100 snapshots",
        }
    }

    /// Returns what it is made on.
    pub const fn material(self) -> Material {
        match self {
            Self::MediaBackup | Self::MediaRestore | Self::MediaCheck => Material::Media,
            Self::MixedBackup | Self::MixedUnchanged | Self::MixedRestore | Self::MixedCheck => {
                Material::Mixed
            }
            Self::DatabaseBackup => Material::Database,
            Self::Prune => Material::History,
        }
    }

    /// Returns what is wanted of lifeboat in it.
    pub const fn goals(self) -> &'static [Goal] {
        use Goal::{CeilingShare, CopyTimes, CpuShare, Faster, WalkTimes};
        match self {
            Self::MediaBackup => &[Faster(2.5), CpuShare(0.4), CeilingShare(0.8), SIZE, MEMORY],
            Self::MixedBackup => &[Faster(2.5), CeilingShare(0.8), SIZE, MEMORY],
            Self::DatabaseBackup => &[SIZE, MEMORY],
            Self::MixedUnchanged => &[Faster(6.0), WalkTimes(2.0), MEMORY],
            Self::MediaRestore => &[Faster(2.0), CopyTimes(1.7), MEMORY],
            Self::MixedRestore => &[Faster(2.0), CopyTimes(1.0), MEMORY],
            Self::MediaCheck | Self::MixedCheck => &[Faster(1.5), CeilingShare(0.8), MEMORY],
            Self::Prune => &[Faster(3.0), MEMORY],
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl FromStr for Work {
    type Err = BenchError;

    fn from_str(word: &str) -> Result<Self, BenchError> {
        Self::ALL
            .into_iter()
            .find(|work| work.name() == word)
            .ok_or_else(|| BenchError::UnknownWork { word: word.to_owned(), known: Self::names() })
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
    fn every_work_is_found_by_its_name() {
        for work in Work::ALL {
            assert_eq!(work.name().parse::<Work>().unwrap(), work);
            assert!(work.goals().contains(&MEMORY));
        }
        let error = "media".parse::<Work>().unwrap_err();
        assert!(error.to_string().contains("the works are media-backup, media-restore"), "{error}");
    }

    #[test]
    fn goals_are_judged_in_their_own_direction() {
        assert!(Goal::Faster(2.5).is_met_by(2.5) && !Goal::Faster(2.5).is_met_by(2.4));
        assert!(Goal::CpuShare(0.4).is_met_by(0.3) && !Goal::CpuShare(0.4).is_met_by(0.5));
        assert_eq!(Goal::CpuShare(0.4).to_string(), "≤ 40% of restic's CPU");
        assert_eq!(Goal::Faster(6.0).to_string(), "≥ 6.0× as fast as restic");
    }
}
