//! How often what happened in simulations: a simulation in which nothing happens proves nothing.

use std::fmt;

/// Defines everything that is counted, each with the words in which it is told.
macro_rules! deeds {
    ($($deed:ident => $words:literal,)*) => {
        /// Something that is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Deed {
            $(#[doc = $words] $deed,)*
        }

        impl Deed {
            /// Everything that is counted.
            pub const ALL: &[Self] = &[$(Self::$deed,)*];

            /// Says what it is.
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$deed => $words,)*
                }
            }
        }
    };
}

deeds! {
    Backup => "backups made",
    SeveralPacks => "of them with several packs of data",
    Copy => "snapshots copied",
    CopyOfSeveral => "copies of several snapshots at once",
    Check => "checks of all data",
    Read => "snapshots read",
    Forget => "runs that forgot snapshots",
    Prune => "prunes that ended well",
    PruneRepacked => "of them with packs packed anew",
    PruneRemoved => "of them with packs removed that nothing used",
    PruneOrphans => "of them with packs removed that no index listed",
    IndexRepair => "repairs of an index that changed it",
    PackRepair => "runs that read all packs to repair them",
    SnapshotRepair => "runs that looked for snapshots to repair",
    BackupKilled => "backups killed midway",
    CopyKilled => "copies killed midway",
    ForgetKilled => "forgets killed midway",
    PruneKilled => "prunes killed midway",
    RepairKilled => "repairs killed midway",
    WriterLostLock => "backups and copies that lost their lock",
    PrunerLostLock => "forgets, prunes and repairs that lost theirs",
    StaleLockRemoved => "stale locks of others removed",
    LockInTheWay => "tasks that another's lock kept from beginning",
    Torn => "writes torn that left a part aside",
    TornInPlace => "writes torn that left a part in place",
    DiskFull => "writes that found the disk full",
    RequestLost => "requests lost",
    AnswerLost => "writes done whose answers were lost",
    DeleteAnswerLost => "removals done whose answers were lost",
    ListingLagged => "listings that lagged behind writes",
    ListingLate => "listings that lagged behind writes by seconds",
    Slow => "requests that took up to minutes",
    MachineSlept => "machines that slept for most of an hour",
    FannedOut => "backups that several tiers got at once",
    PackPassedOver => "packs that a follower had no room for",
    LeaderGaveWay => "backups that went on with another tier",
    CaughtUp => "snapshots that a tier got later",
    TierDown => "tiers that went down for a while",
    IndexWrecked => "index files taken away at the end",
    PackWrecked => "packs taken away or cut at the end",
    PackRotted => "packs with a changed byte at the end",
    RestoredPast => "restores that went past damage",
    PackRepaired => "damaged packs of which the rest was saved or given up",
    PruneRefused => "prunes that refused to go on with damage",
    SnapshotRepaired => "snapshots repaired after damage",
}

/// How often each of them happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally([u64; Deed::ALL.len()]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; Deed::ALL.len()])
    }
}

impl Tally {
    /// Counts something once more.
    pub(crate) const fn note(&mut self, deed: Deed) {
        self.0[deed as usize] += 1;
    }

    /// Adds what happened elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// Returns how often something happened.
    pub const fn count(&self, deed: Deed) -> u64 {
        self.0[deed as usize]
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for deed in Deed::ALL {
            writeln!(f, "{:>9} {}", self.count(*deed), deed.words())?;
        }
        Ok(())
    }
}
