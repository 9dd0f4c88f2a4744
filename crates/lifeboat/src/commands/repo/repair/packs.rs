//! `lifeboat repo repair packs`: save what is whole of packs that are damaged.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{ByteSize, Exit, counted};
use lifeboat_repository::repair::{PackRepair, PacksToMend, SalvagedPack, repair_packs};
use serde::Serialize;

use super::super::{Access, Run};
use crate::failure::Failure;
use crate::render::{Answer, Page};
use crate::session::Session;

/// The arguments of `lifeboat repo repair packs`.
///
/// Each pack is read. One that is whole stays as it is; of one that is damaged or gone, every piece that is
/// whole and lies nowhere else is stored again in new packs, and then the damaged pack is removed.
/// What is lost of it is in no index any more: so the next backup stores it again if it is still on the
/// disk, and `lifeboat repo repair snapshots` tells which files lack it.
#[expect(clippy::struct_field_names, reason = "the field is the argument that people see")]
#[derive(Debug, Args)]
#[command(mut_arg("no_lock", super::super::only_when_dry))]
pub struct Packs {
    #[command(flatten)]
    access: Access,
    /// These packs, by the first digits of their ids, as `lifeboat repo check --read-data` names them
    #[arg(
        value_name = "PACK",
        required_unless_present = "read_data",
        conflicts_with = "read_data"
    )]
    packs: Vec<String>,
    /// Read all packs, and repair those that are damaged
    #[arg(long)]
    read_data: bool,
    /// Change nothing, only show what could be saved
    #[arg(long, short = 'n')]
    dry_run: bool,
}

#[derive(Serialize)]
struct RepairedPacks {
    dry_run: bool,
    #[serde(flatten)]
    repair: PackRepair,
}

/// Writes what could be had of packs.
pub fn write_salvaged(packs: &[SalvagedPack], page: &mut Page) -> fmt::Result {
    for SalvagedPack { id, whole_blobs, lost_blobs } in packs {
        let lost = lost_blobs.len();
        let saved = counted(*whole_blobs, "blob");
        writeln!(page, "pack {}: {saved} saved, {lost} lost", id.to_hex())?;
        page.lines(lost_blobs, 0, |blob| {
            format!("  lost: {} blob {}", blob.kind, blob.id.to_hex())
        })?;
    }
    Ok(())
}

impl Answer for RepairedPacks {
    const SCHEMA: &'static str = "lifeboat.repo.repair.packs/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let repair = &self.repair;
        write_salvaged(&repair.repaired_packs, page)?;
        for id in &repair.unknown_packs {
            writeln!(page, "pack {} stays: nobody can say what is in it", id.to_hex())?;
        }
        let damaged = repair.repaired_packs.len();
        writeln!(page, "{} read, {damaged} damaged or gone", counted(repair.packs_read, "pack"))?;
        if self.dry_run {
            return writeln!(page, "nothing was changed");
        }
        writeln!(
            page,
            "written: {} in {} and {}",
            ByteSize(repair.bytes_written),
            counted(repair.packs_written, "pack"),
            counted(repair.index_files_written, "index file")
        )?;
        if repair.lost_blobs() == 0 {
            return Ok(());
        }
        writeln!(
            page,
            "back up what is still on the disk, which stores again what lacks; then `lifeboat repo repair snapshots` leaves out what stays lost"
        )
    }
}

impl Packs {
    /// Repairs packs: 3 if something is lost, or a pack stays of which nothing is known.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let run = Run::from(self.dry_run);
        let (repository, lock) = self.access.open_exclusive(run, session)?;
        let packs = if self.read_data {
            PacksToMend::All
        } else {
            PacksToMend::Named(repository.wanted_packs(&self.packs)?)
        };
        let held = lock.as_ref().filter(|_| run == Run::Real);
        let repaired = repair_packs(&repository, held, &packs, &*session.events(), &session.cancel);
        super::super::end_lock(lock)?;
        let repair = repaired?;
        let whole = repair.lost_blobs() == 0 && repair.unknown_packs.is_empty();
        let exit = if whole { Exit::Done } else { Exit::Incomplete };
        session.end(&RepairedPacks { dry_run: self.dry_run, repair }, exit)
    }
}
