//! `lifeboat repo repair`: repair packs, an index, or snapshots, that are damaged.

mod packs;

use std::fmt::{self, Write as _};

use clap::{Args, Subcommand};
use lifeboat_model::{ByteSize, Exit, counted};
use lifeboat_repository::repair::{
    DamagedSnapshots, IndexRepair, Loss, PacksToRead, SnapshotOutcome, SnapshotRepair,
    repair_index, repair_snapshots,
};
use lifeboat_repository::selection::SnapshotName;
use serde::Serialize;

use super::choice::{self, Choice};
use super::{Access, Run};
use crate::failure::Failure;
use crate::render::{Answer, Page};
use crate::session::Session;

/// The sorts of repair.
#[derive(Debug, Subcommand)]
pub enum Repair {
    /// Save what is whole of packs that are damaged, and give up the rest
    Packs(packs::Packs),
    /// Make the index fit the packs that are there
    Index(Index),
    /// Make snapshots that need nothing that is lost
    Snapshots(Snapshots),
}

impl Repair {
    /// Runs the command.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self {
            Self::Packs(command) => command.run(session),
            Self::Index(command) => command.run(session),
            Self::Snapshots(command) => command.run(session),
        }
    }
}

/// The arguments of `lifeboat repo repair index`.
#[derive(Debug, Args)]
#[command(mut_arg("no_lock", super::only_when_dry))]
pub struct Index {
    #[command(flatten)]
    access: Access,
    /// Read the headers of all packs, and make the index from them alone
    #[arg(long)]
    read_all_packs: bool,
    /// Change nothing, only show what is wrong
    #[arg(long, short = 'n')]
    dry_run: bool,
}

#[derive(Serialize)]
struct RepairedIndex {
    dry_run: bool,
    #[serde(flatten)]
    repair: IndexRepair,
}

impl Answer for RepairedIndex {
    const SCHEMA: &'static str = "lifeboat.repo.repair.index/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let repair = &self.repair;
        for id in &repair.damaged_index_files {
            writeln!(page, "index {} cannot be used", id.to_hex())?;
        }
        for (packs, what) in [
            (&repair.added_packs, "was in no index"),
            (&repair.corrected_packs, "was listed otherwise than it is"),
            (&repair.missing_packs, "was listed and is not there"),
            (&repair.damaged_packs, "cannot be read"),
        ] {
            for id in packs {
                writeln!(page, "pack {} {what}", id.to_hex())?;
            }
        }
        packs::write_salvaged(&repair.salvaged_packs, page)?;
        if self.dry_run {
            return writeln!(page, "nothing was changed");
        }
        writeln!(
            page,
            "{} headers read; {} index files written, {} removed",
            repair.headers_read, repair.index_files_written, repair.index_files_removed
        )
    }
}

impl Index {
    /// Repairs the index: 3 if packs are there that cannot be read.
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        let run = Run::from(self.dry_run);
        let (repository, lock) = self.access.open_exclusive(run, session)?;
        let packs = if self.read_all_packs { PacksToRead::All } else { PacksToRead::Unknown };
        let held = lock.as_ref().filter(|_| run == Run::Real);
        let repaired = repair_index(&repository, held, packs, &*session.events(), &session.cancel);
        super::end_lock(lock)?;
        let repair = repaired?;
        let whole = repair.damaged_packs.is_empty();
        let exit = if whole { Exit::Done } else { Exit::Incomplete };
        session.end(&RepairedIndex { dry_run: self.dry_run, repair }, exit)
    }
}

/// The arguments of `lifeboat repo repair snapshots`.
///
/// Repair the index first. Directories that are lost become empty, and files lose what is lost of
/// them: so data is lost for good once the damaged snapshots are removed. A backup of what is still
/// there heals more, since it stores again what is missing.
#[expect(clippy::struct_field_names, reason = "the field is the argument that people see")]
#[derive(Debug, Args)]
#[command(mut_arg("no_lock", super::only_when_dry))]
pub struct Snapshots {
    #[command(flatten)]
    access: Access,
    /// Only these snapshots: `latest`, or the first digits of their ids
    #[arg(value_name = "SNAPSHOT", value_parser = choice::snapshot_name())]
    snapshots: Vec<SnapshotName>,
    /// Remove the damaged snapshots after the new ones were made
    #[arg(long)]
    forget: bool,
    /// Change nothing, only show what is lost
    #[arg(long, short = 'n')]
    dry_run: bool,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Serialize)]
struct RepairedSnapshots {
    dry_run: bool,
    #[serde(flatten)]
    repair: SnapshotRepair,
}

impl Answer for RepairedSnapshots {
    const SCHEMA: &'static str = "lifeboat.repo.repair.snapshots/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        for snapshot in &self.repair.snapshots {
            let id = snapshot.id;
            match snapshot.outcome {
                SnapshotOutcome::Whole => continue,
                SnapshotOutcome::Repaired { new: None } => {
                    writeln!(page, "snapshot {id} would be repaired:")?;
                }
                SnapshotOutcome::Repaired { new: Some(new) } => {
                    writeln!(page, "snapshot {id} was repaired as {new}:")?;
                }
                SnapshotOutcome::Lost => {
                    writeln!(page, "snapshot {id} is lost: its root cannot be read")?;
                }
            }
            for loss in &snapshot.losses {
                match loss {
                    Loss::Directory { path } => writeln!(page, "  {}/ is empty", path.display())?,
                    Loss::File { path, size_bytes, left_bytes } => {
                        let (size, left) = (ByteSize(*size_bytes), ByteSize(*left_bytes));
                        writeln!(page, "  {} has {left} of {size} left", path.display())?;
                    }
                    Loss::Size { path } => {
                        writeln!(page, "  {} was recorded with a wrong size", path.display())?;
                    }
                }
            }
        }
        let (damaged, all) = (self.repair.damaged(), self.repair.snapshots.len());
        writeln!(page, "{damaged} of {} damaged", counted(all, "snapshot"))?;
        if self.dry_run { writeln!(page, "nothing was changed") } else { Ok(()) }
    }
}

impl Snapshots {
    /// Repairs snapshots.
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        let run = Run::from(self.dry_run);
        let (repository, lock) = self.access.open_exclusive(run, session)?;
        let snapshots = repository.choose_all(&self.snapshots, &self.choice.filter())?;
        let (events, cancel) = (session.events(), &session.cancel);
        let mut repository = repository.load_index(cancel, &*events)?;
        let damaged = if self.forget { DamagedSnapshots::Forget } else { DamagedSnapshots::Keep };
        let held = lock.as_ref().filter(|_| run == Run::Real);
        let repaired =
            repair_snapshots(&mut repository, held, snapshots, damaged, &*events, cancel);
        super::end_lock(lock)?;
        session.done(&RepairedSnapshots { dry_run: self.dry_run, repair: repaired? })
    }
}
