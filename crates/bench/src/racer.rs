//! Who is measured, and what each is told to do.

use std::path::Path;
use std::sync::Arc;

use lifeboat_model::{Clock as _, Secret, SystemClock};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::polynomial::Polynomial;
use lifeboat_repository::{InitOptions, Repository, Store};
use lifeboat_testing::restic::Restic;
use lifeboat_tiers::{LocalTier, ObjectPrefix, Tier};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use crate::ceiling::walk;
use crate::failure::{BenchError, file, system};
use crate::launch::Invocation;

/// The password of all repositories here: 256 random bits long, as a recovery key is.
pub const PASSWORD: &str = "5d0f6e1c9ab34e7788c2d1f0a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6";

/// A polynomial that restic's own tests use; every repository has it, so that all runs cut equally.
const POLYNOMIAL: Polynomial = Polynomial::from_bits(0x003D_A335_8B4D_C173);

/// A program that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Racer {
    /// The release binary of this project.
    Lifeboat,
    /// Stock restic.
    Restic,
    /// `cp -a`, which neither compresses nor encrypts nor finds anything again.
    Cp,
}

impl Racer {
    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lifeboat => "lifeboat",
            Self::Restic => "restic",
            Self::Cp => "cp -a",
        }
    }
}

/// What a racer is told to do.
#[derive(Debug, Clone, Copy)]
pub enum Task<'a> {
    /// Back `source` up; `cp` copies it to where the others have their repository.
    Backup(&'a Path),
    /// Bring the latest snapshot back below `target`; `cp` copies `source` there.
    Restore {
        /// What was backed up.
        source: &'a Path,
        /// Where to.
        target: &'a Path,
    },
    /// Read and check everything.
    Check,
    /// Forget all snapshots of each host but this many, and remove what only the others need.
    Prune(u64),
}

impl Task<'_> {
    /// Returns the command of `racer` for this, on its repository.
    pub fn of(self, racer: Racer, lifeboat: &Path, repository: &Path) -> Invocation {
        match racer {
            Racer::Lifeboat => self.of_lifeboat(Invocation::new(lifeboat), repository),
            Racer::Restic => {
                self.of_restic(Invocation::new("restic").argument("--repo").argument(repository))
            }
            Racer::Cp => {
                let (from, to) = match self {
                    Self::Backup(source) => (source, repository),
                    Self::Restore { source, target } => (source, target),
                    Self::Check | Self::Prune(_) => (repository, repository),
                };
                Invocation::new("cp").argument("-a").argument(from).argument(to)
            }
        }
    }

    fn of_lifeboat(self, lifeboat: Invocation, repository: &Path) -> Invocation {
        let command = lifeboat.argument("repo").argument(self.subcommand()).argument(repository);
        match self {
            Self::Backup(source) => command.argument(source),
            Self::Restore { target, .. } => {
                command.argument("latest").argument("--to").argument(target)
            }
            Self::Check => command.argument("--read-data"),
            Self::Prune(kept) => command.arguments(keep(kept)).argument("--prune"),
        }
    }

    fn of_restic(self, restic: Invocation) -> Invocation {
        let command = restic.argument(self.subcommand());
        match self {
            Self::Backup(source) => command.argument(source),
            Self::Restore { target, .. } => {
                command.argument("latest").argument("--target").argument(target)
            }
            Self::Check => command.argument("--read-data"),
            Self::Prune(kept) => command.arguments(keep(kept)).argument("--prune"),
        }
    }

    /// Returns the word for it, which is the same in lifeboat's plumbing and in restic.
    pub const fn subcommand(self) -> &'static str {
        match self {
            Self::Backup(_) => "backup",
            Self::Restore { .. } => "restore",
            Self::Check => "check",
            Self::Prune(_) => "forget",
        }
    }
}

fn keep(kept: u64) -> [String; 2] {
    ["--keep-last".to_owned(), kept.to_string()]
}

/// Makes an empty repository in a directory.
///
/// Both racers get the same: the key file asks for the same work, that of a recovery key, and the
/// polynomial is the same, so that nobody is ahead because of what `init` chose.
pub fn init(path: &Path) -> Result<(), BenchError> {
    init_on(Arc::new(LocalTier::create(path)?))
}

/// Makes an empty repository like [`init`], wherever it is.
pub fn init_on(tier: Arc<dyn Tier>) -> Result<(), BenchError> {
    let runtime = runtime()?;
    let store = Store::new(tier, runtime.handle().clone(), ObjectPrefix::ALL);
    let options = InitOptions {
        password: &Secret::new(PASSWORD),
        kdf: KdfParameters::RECOVERY_KEY,
        master_key: None,
        polynomial: Some(POLYNOMIAL),
        origin: KeyOrigin {
            created: SystemClock.now(),
            username: "bench".to_owned(),
            hostname: "bench".to_owned(),
        },
    };
    Repository::init(store, &options)?;
    Ok(())
}

/// Returns a runtime for what is prepared on a tier.
pub fn runtime() -> Result<Runtime, BenchError> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().map_err(system("start a runtime"))
}

/// Returns restic on a repository, to prepare and to judge; nothing of this is timed.
pub fn restic(repository: &Path) -> Restic {
    Restic::new(repository, PASSWORD)
}

/// Adds up the bytes of all files of a repository.
pub fn stored_bytes(repository: &Path) -> Result<u64, BenchError> {
    Ok(walk(repository, 1).map_err(file("look at", repository))?.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_told_the_same() {
        let repository = Path::new("/r");
        let shown =
            |task: Task<'_>, racer| task.of(racer, Path::new("lifeboat"), repository).shown();
        let task = Task::Backup(Path::new("/s"));
        assert_eq!(shown(task, Racer::Lifeboat), "lifeboat repo backup /r /s");
        assert_eq!(shown(task, Racer::Restic), "restic --repo /r backup /s");
        assert_eq!(shown(task, Racer::Cp), "cp -a /s /r");
        assert_eq!(
            shown(Task::Prune(35), Racer::Restic),
            "restic --repo /r forget --keep-last 35 --prune"
        );
    }

    #[test]
    fn restic_opens_what_is_made_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let repository = directory.path().join("r");
        init(&repository).unwrap();
        assert_eq!(restic(&repository).snapshots().unwrap().len(), 0);
        assert!(stored_bytes(&repository).unwrap() > 100);
    }
}
