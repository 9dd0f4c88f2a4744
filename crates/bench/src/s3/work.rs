//! The works that are measured on S3 and through SFTP, and what is wanted of lifeboat in each.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::store::Way;
use crate::failure::BenchError;

/// The round trip of a line to a store that is far away, as between continents.
pub const ROUND_TRIP: Duration = Duration::from_millis(50);

/// A work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A first backup of media, straight to the server.
    Loopback,
    /// The same over a line that does not delay, which is what the next one is held against.
    Near,
    /// The same over a line with a round trip of 50 ms.
    Far,
    /// Bringing the media back over that line.
    Restore,
    /// Listing all packs of a large repository.
    Packs,
    /// Opening it and listing one directory, with nothing in the cache.
    OpenCold,
    /// The same with what the run before left in the cache.
    OpenCached,
    /// Restoring one file of it, with the index in the cache and no directories.
    OneFile,
    /// A first backup of media to the SSH server of this machine.
    Ssh,
    /// Bringing the media back from there.
    SshRestore,
}

/// What is wanted of lifeboat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At least this many times as fast as restic.
    Faster(f64),
    /// At least this share of the throughput that it has over a line that does not delay.
    NearShare(f64),
    /// At most so many seconds.
    Seconds(f64),
    /// At most this many times the bytes that the work needs.
    NeededTimes(f64),
    /// At most this many megabytes resident.
    ResidentMegabytes(f64),
}

impl Goal {
    /// Tells whether it is met by what was measured.
    pub fn is_met_by(self, measured: f64) -> bool {
        match self {
            Self::Faster(least) | Self::NearShare(least) => measured >= least,
            Self::Seconds(most) | Self::NeededTimes(most) | Self::ResidentMegabytes(most) => {
                measured <= most
            }
        }
    }

    /// Writes a measured value as the goal itself is written.
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::Faster(_) => format!("{value:.2}× as fast as restic"),
            Self::NearShare(_) => format!("{:.0}% of the speed without delay", value * 100.0),
            Self::Seconds(_) => format!("{value:.2} s"),
            Self::NeededTimes(_) => format!("{value:.3}× the bytes that it needs"),
            Self::ResidentMegabytes(_) => format!("{value:.0} MB resident"),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bound, value) = match *self {
            Self::Faster(value) | Self::NearShare(value) => ("≥", value),
            Self::Seconds(value) | Self::NeededTimes(value) | Self::ResidentMegabytes(value) => {
                ("≤", value)
            }
        };
        write!(f, "{bound} {}", self.shown(value))
    }
}

/// What every work is held to.
const MEMORY: Goal = Goal::ResidentMegabytes(300.0);

/// What is read beside ranges, directories and documents: the heads of answers, and listings.
const NEEDED: Goal = Goal::NeededTimes(1.02);

impl Work {
    /// All of them, in the order in which they are done.
    pub const ALL: [Self; 10] = [
        Self::Loopback,
        Self::Near,
        Self::Far,
        Self::Restore,
        Self::Packs,
        Self::OpenCold,
        Self::OpenCached,
        Self::OneFile,
        Self::Ssh,
        Self::SshRestore,
    ];

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Near => "near",
            Self::Far => "far",
            Self::Restore => "restore",
            Self::Packs => "packs",
            Self::OpenCold => "open-cold",
            Self::OpenCached => "open-cached",
            Self::OneFile => "one-file",
            Self::Ssh => "ssh",
            Self::SshRestore => "ssh-restore",
        }
    }

    /// Describes it for a person.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Loopback => "first backup, media, straight to the server",
            Self::Near => "first backup, media, line without delay",
            Self::Far => "first backup, media, 50 ms",
            Self::Restore => "restore, media, 50 ms",
            Self::Packs => "list 100,000 packs, 50 ms",
            Self::OpenCold => "open and list a directory, nothing cached, 50 ms",
            Self::OpenCached => "open and list a directory, cached, 50 ms",
            Self::OneFile => "restore one file of 8 MB, index cached, 50 ms",
            Self::Ssh => "first backup, media, SFTP",
            Self::SshRestore => "restore, media, SFTP",
        }
    }

    /// Returns over which line it is done.
    pub const fn way(self) -> Way {
        match self {
            Self::Loopback => Way::Straight,
            Self::Near => Way::Line(Duration::ZERO),
            Self::Ssh | Self::SshRestore => Way::Ssh,
            _ => Way::Line(ROUND_TRIP),
        }
    }

    /// Tells whether it is done on media, and not on the large repository.
    pub const fn is_on_media(self) -> bool {
        matches!(
            self,
            Self::Loopback | Self::Near | Self::Far | Self::Restore | Self::Ssh | Self::SshRestore
        )
    }

    /// Returns the work that leaves what this one brings back, if it brings something back.
    pub const fn restored(self) -> Option<Self> {
        match self {
            Self::Restore => Some(Self::Near),
            Self::SshRestore => Some(Self::Ssh),
            _ => None,
        }
    }

    /// Returns what is wanted of lifeboat in it.
    pub const fn goals(self) -> &'static [Goal] {
        use Goal::{Faster, NearShare, Seconds};
        match self {
            Self::Loopback => &[Faster(2.0), MEMORY],
            Self::Near | Self::Restore | Self::Ssh | Self::SshRestore => &[MEMORY],
            Self::Far => &[NearShare(0.8), MEMORY],
            Self::Packs | Self::OpenCold => &[Seconds(3.0), MEMORY],
            Self::OpenCached => &[Seconds(0.5), MEMORY],
            Self::OneFile => &[NEEDED, MEMORY],
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
    fn every_work_is_found_by_its_name_and_held_to_its_memory() {
        for work in Work::ALL {
            assert_eq!(work.name().parse::<Work>().unwrap(), work);
            assert!(work.goals().contains(&MEMORY));
        }
        let error = "media".parse::<Work>().unwrap_err();
        assert!(error.to_string().contains("the works are loopback, near"), "{error}");
    }

    #[test]
    fn goals_are_judged_in_their_own_direction() {
        assert!(Goal::NearShare(0.8).is_met_by(0.8) && !Goal::NearShare(0.8).is_met_by(0.7));
        assert!(Goal::Seconds(0.5).is_met_by(0.4) && !Goal::Seconds(0.5).is_met_by(0.6));
        assert_eq!(Goal::NearShare(0.8).to_string(), "≥ 80% of the speed without delay");
        assert_eq!(Goal::Seconds(0.5).to_string(), "≤ 0.50 s");
    }
}
