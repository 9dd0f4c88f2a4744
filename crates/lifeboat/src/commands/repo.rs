//! `lifeboat repo`: plumbing on any restic repository, by address and password and without a plan.

mod backup;
mod cat;
mod check;
mod choice;
mod copy;
mod diff;
mod find;
mod forget;
mod init;
mod key;
mod list;
mod ls;
mod password;
mod place;
mod prune;
mod repair;
mod restore;
mod snapshots;
mod stats;
mod tag;
mod unlock;
pub(super) mod unreadable;

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeboat_model::Exit;
use lifeboat_ops::retention::hold;
use lifeboat_repository::lock::{LockGuard, LockKind, LockOptions, LockOwner};
use lifeboat_repository::{OpenOptions, Repository, RepositoryError};
use lifeboat_tiers::{Listings, Refusal, Throttle, TierError};

use crate::failure::{CommandError, Failure};
use crate::session::Session;
use password::Purpose;
use place::Place;

/// The manual's introduction to the plumbing.
pub const LONG_ABOUT: &str = "\
Work on any restic repository by address and password, without a plan

The repository may have been made by lifeboat, restic or rustic. That of a tier of the plan is `tier:NAME`, or \
NAME where no path is called so: it is reached as the plan says and opened by the plan's key, unless a \
password is given by an option. By address it lies below `repo` of the tier, and its password is what \
`lifeboat key export --restic` prints.

Otherwise the password is read from --password-file or --password-command, else from RESTIC_PASSWORD, \
RESTIC_PASSWORD_FILE or RESTIC_PASSWORD_COMMAND, else asked for at the terminal. It cannot be given on \
the command line, where others could see it.

    lifeboat repo init /srv/backups
    lifeboat repo backup /srv/backups /etc /home
    lifeboat repo snapshots /srv/backups
    lifeboat repo snapshots tier:primary
    lifeboat repo restore /srv/backups latest:/etc --to /tmp/etc
    lifeboat repo check /srv/backups --read-data";

/// The plumbing commands.
#[derive(Debug, Subcommand)]
pub enum Repo {
    /// Make a new, empty repository
    Init(init::Init),
    /// Make a snapshot of files and directories
    Backup(Box<backup::Backup>),
    /// List the snapshots
    Snapshots(snapshots::Snapshots),
    /// List the ids of snapshots, packs and whatever else is stored
    List(list::List),
    /// List what a snapshot contains
    Ls(ls::Ls),
    /// Find where something is, by its name or by its id
    Find(Box<find::Find>),
    /// Show what differs between two snapshots
    Diff(diff::Diff),
    /// Count what snapshots hold and take
    Stats(stats::Stats),
    /// Change the tags of snapshots
    Tag(tag::Tag),
    /// Restore a snapshot, or a part of it, into a directory
    Restore(restore::Restore),
    /// Check that a repository is whole
    Check(check::Check),
    /// Copy snapshots into another repository
    Copy(copy::Copy),
    /// Remove snapshots that a policy does not keep
    Forget(Box<forget::Forget>),
    /// Remove the data that no snapshot needs
    Prune(prune::Prune),
    /// Repair packs, an index, or snapshots, that are damaged
    #[command(subcommand)]
    Repair(repair::Repair),
    /// Print an object of a repository, or a file of a snapshot, as it is
    Cat(cat::Cat),
    /// List, add, remove and change the passwords that open the repository
    #[command(subcommand)]
    Key(key::Key),
    /// Remove locks that nobody holds any more
    Unlock(unlock::Unlock),
}

impl Repo {
    /// Runs the command.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self {
            Self::Init(command) => command.run(session),
            Self::Backup(command) => command.run(session),
            Self::Snapshots(command) => command.run(session),
            Self::List(command) => command.run(session),
            Self::Ls(command) => command.run(session),
            Self::Find(command) => command.run(session),
            Self::Diff(command) => command.run(session),
            Self::Stats(command) => command.run(session),
            Self::Tag(command) => command.run(session),
            Self::Key(command) => command.run(session),
            Self::Unlock(command) => command.run(session),
            Self::Restore(command) => command.run(session),
            Self::Check(command) => command.run(session),
            Self::Copy(command) => command.run(session),
            Self::Forget(command) => command.run(session),
            Self::Prune(command) => command.run(session),
            Self::Repair(command) => command.run(session),
            Self::Cat(command) => command.run(session),
        }
    }
}

/// Gives a lock back; fails if it was lost, so that what was read under it may have gone away.
fn end_lock(lock: Option<LockGuard>) -> Result<(), Failure> {
    Ok(lock.map_or(Ok(()), |lock| lock.check())?)
}

/// Whether something is done or only tried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// It is done.
    Real,
    /// It is shown what would be done.
    Dry,
}

impl From<bool> for Run {
    fn from(is_dry: bool) -> Self {
        if is_dry { Self::Dry } else { Self::Real }
    }
}

/// Where a repository is and what opens it.
#[derive(Debug, Args)]
pub struct Access {
    /// The repository: a path, an address like `file:///srv/backups`, `s3://bucket/prefix`,
    /// `azure://account/container/prefix` or `sftp://user@host/path`, or a tier of the plan, `tier:NAME`
    #[arg(value_name = "REPOSITORY")]
    pub address: String,
    /// Read the password from the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "password_command")]
    pub password_file: Option<PathBuf>,
    /// What the option for that is called.
    #[arg(skip = "--password-file")]
    pub password_option: &'static str,
    /// Take the password from the first line that this shell command prints
    #[arg(long, value_name = "COMMAND")]
    pub password_command: Option<OsString>,
    /// Write no lock: for a repository that can only be read
    #[arg(long)]
    pub no_lock: bool,
    /// Keep no local copy of what is read most, and use none
    #[arg(long)]
    pub no_cache: bool,
    /// Say that whoever runs the store promises listings that show at once what was stored and removed, so that
    /// nobody has to wait for that
    #[arg(long)]
    pub prompt_listing: bool,
    #[command(flatten)]
    pub bandwidth: Bandwidth,
}

/// Says of `--no-lock` that it serves what is only tried out.
fn only_when_dry(argument: clap::Arg) -> clap::Arg {
    argument.help("Write no lock: only with --dry-run, for a repository that can only be read")
}

/// Leaves `--no-lock` out of a manual: where no lock is taken anyway, or never without one.
fn unmentioned(argument: clap::Arg) -> clap::Arg {
    argument.hide(true)
}

/// How fast bytes may go to a repository and come from it.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Bandwidth {
    /// Write at most so many KiB a second
    #[arg(long, value_name = "RATE", value_parser = rate)]
    limit_upload: Option<u64>,
    /// Read at most so many KiB a second
    #[arg(long, value_name = "RATE", value_parser = rate)]
    limit_download: Option<u64>,
}

/// Parses KiB a second into bytes a second.
fn rate(text: &str) -> Result<u64, String> {
    text.parse::<u64>()
        .ok()
        .and_then(|kib| kib.checked_mul(1 << 10))
        .ok_or_else(|| format!("expected a number of KiB a second, like `512`, not `{text}`"))
}

impl From<Bandwidth> for Throttle {
    /// Of nothing, as with restic, is no limit.
    fn from(bandwidth: Bandwidth) -> Self {
        Self {
            write: bandwidth.limit_upload.and_then(NonZeroU64::new),
            read: bandwidth.limit_download.and_then(NonZeroU64::new),
        }
    }
}

impl Access {
    /// Opens the repository with its password and, unless told otherwise, locks it against deletion.
    pub fn open(&self, session: &Session) -> Result<(Repository, Option<LockGuard>), Failure> {
        self.open_locked(LockKind::Shared, session)
    }

    /// Opens it like [`Access::open`] for work that begins with reading: before it writes, or ends, it is
    /// made certain that nobody else was quicker to lock it.
    pub fn begin(&self, session: &Session) -> Result<(Repository, Option<LockGuard>), Failure> {
        let mut repository = self.open_without_lock(session)?;
        let begin = || {
            let (owner, clock) = (LockOwner::this_process(), &session.clock);
            LockGuard::begin(&repository, owner, clock, &session.cancel)
        };
        let lock = (!self.no_lock).then(begin).transpose().map_err(unlocked)?;
        if !self.no_cache {
            use_cache(&mut repository, session);
        }
        Ok((repository, lock))
    }

    /// Opens it like [`Access::open`] for work that shows what it reads and does nothing else, and does that.
    pub fn look<T>(
        &self,
        session: &Session,
        show: impl FnOnce(Repository) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (repository, lock) = self.open_to_look(session)?;
        let shown = show(repository);
        match (lock, &shown) {
            (None, _) => {}
            (Some(lock), Ok(_)) => lock.check_at_once()?,
            // What is missing may have been removed by somebody who was not seen: then he is the reason.
            (Some(lock), Err(_)) => lock.check()?,
        }
        shown
    }

    fn open_to_look(&self, session: &Session) -> Result<(Repository, Option<LockGuard>), Failure> {
        let mut repository = self.open_without_lock(session)?;
        let announce = || {
            let (owner, clock) = (LockOwner::this_process(), &session.clock);
            LockGuard::announce(&repository, owner, clock, &session.cancel)
        };
        let lock = (!self.no_lock).then(announce).transpose().map_err(unlocked)?;
        if !self.no_cache {
            use_cache(&mut repository, session);
        }
        Ok((repository, lock))
    }

    /// Opens the repository and, unless told otherwise, takes a lock of this kind.
    fn open_locked(
        &self,
        kind: LockKind,
        session: &Session,
    ) -> Result<(Repository, Option<LockGuard>), Failure> {
        let (place, mut repository) = self.enter(session)?;
        if kind == LockKind::Exclusive && !self.no_lock {
            place.announce_wait(&repository, session);
        }
        let acquire = || {
            let options = LockOptions::new(kind);
            LockGuard::acquire(&repository, &options, &session.clock, &session.cancel)
        };
        let lock = (!self.no_lock).then(acquire).transpose().map_err(unlocked)?;
        if !self.no_cache {
            use_cache(&mut repository, session);
        }
        Ok((repository, lock))
    }

    /// Opens it for work that removes something, which nobody else may work beside. Without a lock,
    /// it can only be tried out.
    pub fn open_exclusive(
        &self,
        run: Run,
        session: &Session,
    ) -> Result<(Repository, Option<LockGuard>), Failure> {
        if self.no_lock && run == Run::Real {
            return Err(CommandError::usage(
                "what removes something needs a lock",
                "leave `--no-lock` out, or add `--dry-run`",
            )
            .into());
        }
        self.open_locked(LockKind::Exclusive, session)
    }

    /// Refuses to remove anything from a tier of the plan while retention is held.
    pub fn expect_nothing_held(&self, run: Run, session: &Session) -> Result<(), Failure> {
        match Place::find(&self.address, session)? {
            Place::Tier(site, tier) if run == Run::Real => Ok(hold::expect_none(&site, &tier)?),
            _ => Ok(()),
        }
    }

    /// Opens it for work that removes something and cannot be tried out.
    pub fn open_alone(
        &self,
        session: &Session,
    ) -> Result<(Repository, Option<LockGuard>), Failure> {
        if self.no_lock {
            let message = "what removes something needs a lock";
            return Err(CommandError::usage(message, "leave `--no-lock` out").into());
        }
        self.open_locked(LockKind::Exclusive, session)
    }

    /// Opens the repository with its password, without a lock and without the cache.
    pub fn open_without_lock(&self, session: &Session) -> Result<Repository, Failure> {
        self.enter(session).map(|(_, repository)| repository)
    }

    /// Goes to the repository and opens it.
    fn enter(&self, session: &Session) -> Result<(Place, Repository), Failure> {
        let place = Place::find(&self.address, session)?;
        let store = place.open(self, session)?;
        let password = password::find(self, &place, Purpose::Open, session)?;
        match Repository::open(store, &password, &OpenOptions::default()) {
            Ok(repository) => Ok((place, repository)),
            Err(RepositoryError::NoRepository { address }) => {
                Err(place.without_repository(address, session).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns what is known of how soon listings there show what was stored and removed.
    const fn listings(&self) -> Listings {
        if self.prompt_listing { Listings::Prompt } else { Listings::AsKnown }
    }
}

/// Says of a lock that may not be written what to do about that.
fn unlocked(error: RepositoryError) -> Failure {
    match error {
        RepositoryError::Tier(
            error @ (TierError::Denied { .. }
            | TierError::Refused { refusal: Refusal::NotAllowed, .. }),
        ) => CommandError::Unlockable(error).into(),
        error => error.into(),
    }
}

/// Reads through the local cache, unless there can be none.
fn use_cache(repository: &mut Repository, session: &Session) {
    let base = session.process.repository_cache();
    if let Err(error) = repository.use_cache(&base) {
        let base = base.display();
        session.screen.remark(&format!("no local cache is used: cannot write {base}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_kib_a_second_and_nothing_is_no_limit() {
        let limits = |upload, download| {
            Throttle::from(Bandwidth {
                limit_upload: Some(rate(upload).unwrap()),
                limit_download: Some(rate(download).unwrap()),
            })
        };
        let expected = Throttle { write: NonZeroU64::new(512 << 10), read: None };
        assert_eq!(limits("512", "0"), expected);
        for bad in ["-1", "1M", "", "99999999999999999999", "18014398509481985"] {
            assert!(rate(bad).unwrap_err().contains(bad), "{bad}");
        }
    }

    #[test]
    fn where_no_lock_can_be_written_one_can_do_without() {
        let source = std::io::ErrorKind::PermissionDenied.into();
        let (tier, action) = ("file:///srv/restic".to_owned(), "write locks/1".to_owned());
        let denied = unlocked(TierError::Denied { tier, action, source }.into());
        assert!(denied.error().hint().unwrap().to_string().contains("--no-lock"));
        assert_eq!(denied.exit(), Exit::Failed);
    }
}
