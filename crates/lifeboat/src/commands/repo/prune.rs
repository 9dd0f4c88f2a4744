//! `lifeboat repo prune`: remove the data that no snapshot needs.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{ByteSize, Exit, SnapshotId, counted};
use lifeboat_repository::lock::LockGuard;
use lifeboat_repository::prune::{
    self, Amount, MaxUnused, PruneOptions, PruneReport, Repack, SmallPacks, Uncompressed,
};
use lifeboat_repository::{Indexed, Repository};
use serde::Serialize;

use super::{Access, Run};
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page, Sort, Table};
use crate::session::Session;

/// The arguments of `lifeboat repo prune`.
#[derive(Debug, Args)]
#[command(mut_arg("no_lock", super::only_when_dry))]
pub struct Prune {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    limits: Limits,
    /// Change nothing, only show what would be done and what it costs
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// What is worth packing anew.
#[derive(Debug, Args)]
pub struct Limits {
    /// How much that nobody needs may stay: a size, a share of the repository, or `unlimited`
    #[arg(long, value_name = "LIMIT", default_value = "5%")]
    max_unused: MaxUnused,
    /// Pack anew at most packs of this size together; 0 helps where the disk is full
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_repack_size: Option<u64>,
    /// Pack anew only directories, not data
    #[arg(long)]
    repack_cacheable_only: bool,
    /// Put all packs together that are well below the usual size
    #[arg(long)]
    repack_small: bool,
    /// Compress what is stored uncompressed
    #[arg(long)]
    repack_uncompressed: bool,
}

fn size(text: &str) -> Result<u64, CommandError> {
    prune::parse_size(text).ok_or_else(|| {
        CommandError::usage(format!("`{text}` is not a size"), "write a size like `500MiB`")
    })
}

impl Limits {
    fn options(&self, without: BTreeSet<SnapshotId>) -> PruneOptions {
        PruneOptions {
            max_unused: self.max_unused,
            max_repack: self.max_repack_size,
            repack: if self.repack_cacheable_only { Repack::CacheableOnly } else { Repack::All },
            small: if self.repack_small { SmallPacks::All } else { SmallPacks::Outliers },
            uncompressed: if self.repack_uncompressed {
                Uncompressed::Compress
            } else {
                Uncompressed::Keep
            },
            without,
            ..PruneOptions::default()
        }
    }

    /// Prunes, or finds out what that would do, as if some snapshots were gone.
    pub fn prune(
        &self,
        repository: Repository,
        lock: Option<&LockGuard>,
        without: BTreeSet<SnapshotId>,
        run: Run,
        session: &Session,
    ) -> Result<PruneReport, Failure> {
        let (events, cancel) = (session.events(), &session.cancel);
        let repository: Repository<Indexed> = repository.load_index(cancel, &*events)?;
        let plan = prune::plan(&repository, self.options(without), &*events, cancel)?;
        match (run, lock) {
            (Run::Real, Some(lock)) => Ok(plan.perform(lock, &*events, cancel)?),
            (Run::Dry, _) | (Run::Real, None) => Ok(plan.price(cancel)?),
        }
    }
}

#[derive(Serialize)]
struct Pruned {
    dry_run: bool,
    #[serde(flatten)]
    report: PruneReport,
}

impl Answer for Pruned {
    const SCHEMA: &'static str = "lifeboat.repo.prune/1";

    fn sort(&self) -> Sort {
        if self.dry_run { Sort::Data } else { Sort::Summary }
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        write_report(page, &self.report)?;
        if self.dry_run { writeln!(page, "nothing was changed") } else { Ok(()) }
    }
}

/// Writes the same table before and after.
pub fn write_report(page: &mut Page, report: &PruneReport) -> fmt::Result {
    let size = |bytes| ByteSize(bytes).to_string();
    let row = |table: &mut Table, name: &str, amount: Amount| {
        table.row([name.into(), amount.count.to_string().into(), size(amount.bytes).into()]);
    };
    let mut blobs = Table::new(["Blobs", ">Count", ">Size"]);
    row(&mut blobs, "in use", report.used);
    row(&mut blobs, "stored twice", report.duplicate);
    row(&mut blobs, "unused", report.unused);
    page.table(&blobs);
    let packs = &report.packs;
    let mut table = Table::new(["Packs", ">Count", ">Size"]);
    row(&mut table, "kept", packs.kept);
    row(&mut table, "packed anew", packs.repacked);
    row(&mut table, "removed, unused", packs.removed);
    row(&mut table, "removed, in no index", packs.orphans);
    page.table(&table);
    if packs.cold.count > 0 {
        let (count, bytes) = (packs.cold.count, size(packs.cold.bytes));
        writeln!(
            page,
            "kept as they are, since they are in cold storage: {} with {bytes}",
            counted(count, "pack")
        )?;
    }
    if packs.missing > 0 {
        writeln!(page, "forgotten, as not there: {}", counted(packs.missing, "pack"))?;
    }
    let traffic = &report.traffic;
    writeln!(
        page,
        "read: {}; written: {} in {} and {}; requests: {}",
        size(traffic.bytes_read),
        size(traffic.bytes_written),
        counted(traffic.packs_written, "pack"),
        counted(traffic.index_files_written, "index file"),
        traffic.requests,
    )?;
    let (freed, rest) = (size(report.freed_bytes), size(report.unused_after_bytes));
    writeln!(page, "freed: {freed}; unused data that stays: {rest}")
}

impl Prune {
    /// Prunes the repository.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let run = Run::from(self.dry_run);
        self.access.expect_nothing_held(run, session)?;
        let (repository, lock) = self.access.open_exclusive(run, session)?;
        let without = BTreeSet::new();
        let report = self.limits.prune(repository, lock.as_ref(), without, run, session)?;
        super::end_lock(lock)?;
        session.done(&Pruned { dry_run: self.dry_run, report })
    }
}
