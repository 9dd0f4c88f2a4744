//! `lifeboat backup`: back up now, here or by the daemon that runs the plan.

mod handed;

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::time::Duration;

use clap::Args;
use lifeboat_model::{
    AssetName, ByteSize, Exit, ScheduleName, SnapshotId, TierName, Timestamp, counted,
};
use lifeboat_ops::backup::{self, AssetReport, BackupJobReport, BackupOptions};
use lifeboat_ops::ending::{Ending, StageOutcome};
use serde::Serialize;

use crate::failure::Failure;
use crate::render::{self, Answer, Cell, Page, Sort, Table, Tone, time};
use crate::session::Session;
use crate::tier_argument::TierArgument;

/// The arguments of `lifeboat backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// Back up these assets; without any, all of the plan
    #[arg(value_name = "ASSET")]
    assets: Vec<AssetName>,
    /// Store on these tiers, each by name or address; without any, where the plan's schedules send each asset
    #[arg(long, value_name = "TIER", value_delimiter = ',')]
    to: Vec<TierArgument>,
    /// Back up what this schedule says, and keep it as long as the schedule's rule says
    #[arg(long, value_name = "SCHEDULE")]
    schedule: Option<ScheduleName>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Done(BackupJobReport);

impl Answer for Done {
    const SCHEMA: &'static str = "lifeboat.backup/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Self(report) = self;
        let mut table = Table::new([
            "Asset", "Result", "Tier", "Snapshot", ">Files", ">Read", ">Stored", ">Took",
        ]);
        for asset in &report.assets {
            rows(asset, &mut table);
        }
        page.table(&table);
        for asset in &report.assets {
            write_troubles(asset, page)?;
        }
        for lock in report.locks.iter().filter(|lock| lock.ending != Ending::Succeeded) {
            write_outcome("locks", lock, page)?;
        }
        for verified in &report.verifications {
            render::write_verification(verified, page)?;
        }
        for tier in &report.caught_up {
            let word = page.paint.strong("caught up");
            let count = counted(tier.brought.len(), "snapshot");
            write!(page, "{word}: {} got {count} that it had missed", tier.tier)?;
            match &tier.trouble {
                Some(trouble) => writeln!(page, ", and lacks {}: {}", tier.lacks, trouble.message)?,
                None => writeln!(page)?,
            }
        }
        render::write_all_traffic(&report.traffic, page)?;
        for tier in &report.catalog {
            if let Some(error) = &tier.error {
                let word = page.paint.warning("catalog");
                writeln!(page, "{word}: {} gets its records later: {error}", tier.tier)?;
            }
        }
        let ending = page.paint.tone(render::tone_of(report.ending), &report.ending.to_string());
        writeln!(page, "\n{ending} in {}", took(report.started, report.ended))
    }
}

/// Adds a row for each tier that an asset is on, and for each that it should be on; one without, if there is none.
fn rows(asset: &AssetReport, table: &mut Table) {
    let none = || Cell::new("-", Tone::Aside);
    let counts = asset.counts.unwrap_or_default();
    for (index, (ending, tier, snapshot)) in lines(asset).into_iter().enumerate() {
        let once = |text: String| Cell::from(if index == 0 { text } else { String::new() });
        let counted = |text: String| match (index, asset.snapshots.is_empty()) {
            (0, true) => none(),
            _ => once(text),
        };
        table.row([
            once(asset.asset.to_string()),
            Cell::new(ending.to_string(), render::tone_of(ending)),
            tier.map_or_else(none, |tier| tier.to_string().into()),
            snapshot.map_or_else(none, |snapshot| snapshot.to_string().into()),
            counted(counts.files().to_string()),
            counted(ByteSize(counts.bytes_read).to_string()),
            counted(ByteSize(counts.bytes_stored).to_string()),
            once(span(asset)),
        ]);
    }
}

/// Returns how it ended on each tier, and the snapshot there; before that how it ended as a whole, if that is no tier's
/// fault: a hook failed, or there is no tier.
fn lines(asset: &AssetReport) -> Vec<(Ending, Option<&TierName>, Option<SnapshotId>)> {
    let there = asset.snapshots.iter().map(|on| (&on.tier, Some(on.snapshot)));
    let all = there.chain(lacking(asset).into_iter().map(|tier| (tier, None)));
    let on_tier = |(tier, snapshot)| (ending_on(asset, tier), Some(tier), snapshot);
    let mut lines: Vec<_> = all.map(on_tier).collect();
    let worst = lines.iter().map(|(ending, ..)| *ending).max();
    if worst != Some(asset.ending) {
        lines.insert(0, (asset.ending, None, None));
    }
    lines
}

/// Returns how storing an asset on a tier ended.
fn ending_on(asset: &AssetReport, tier: &TierName) -> Ending {
    let own = asset.stages.iter().filter(|stage| stage.tier.as_ref() == Some(tier));
    own.map(|stage| stage.ending).max().unwrap_or(asset.ending)
}

/// Returns the tiers that an asset should be on and is not.
fn lacking(asset: &AssetReport) -> BTreeSet<&TierName> {
    let wanted = asset.stages.iter().filter_map(|stage| stage.tier.as_ref());
    let is_there = |tier: &TierName| asset.snapshots.iter().any(|on| on.tier == *tier);
    wanted.filter(|tier| !is_there(tier)).collect()
}

/// Returns how long the work on an asset took; opening tiers, which is done for all of them, is not among it.
fn span(asset: &AssetReport) -> String {
    let lacking = lacking(asset);
    let is_work = |stage: &&StageOutcome| {
        asset.snapshots.is_empty() || stage.tier.as_ref().is_none_or(|tier| !lacking.contains(tier))
    };
    let since = asset.stages.iter().filter(is_work).map(|stage| stage.started).min();
    let until = asset.stages.iter().filter(is_work).map(|stage| stage.ended).max();
    since.zip(until).map_or_else(String::new, |(since, until)| took(since, until))
}

/// Writes what did not go well with an asset, and what else is worth knowing.
fn write_troubles(asset: &AssetReport, page: &mut Page) -> fmt::Result {
    for stage in asset.stages.iter().filter(|stage| stage.ending != Ending::Succeeded) {
        write_stage(asset, stage, page)?;
    }
    for remark in &asset.remarks {
        let word = page.paint.strong("remark");
        writeln!(page, "{word}: {}, {remark}", asset.asset)?;
    }
    let word = page.paint.warning("left out");
    page.lines(&asset.skipped, 0, |skipped| format!("{word}: {skipped}"))
}

fn write_stage(asset: &AssetReport, stage: &StageOutcome, page: &mut Page) -> fmt::Result {
    write_outcome(asset.asset.as_str(), stage, page)
}

fn write_outcome(what: &str, stage: &StageOutcome, page: &mut Page) -> fmt::Result {
    let word = page.paint.tone(render::tone_of(stage.ending), &stage.ending.to_string());
    write!(page, "{word}: {what}, {}", stage.stage)?;
    if let Some(tier) = &stage.tier {
        write!(page, " on {tier}")?;
    }
    match &stage.message {
        Some(message) => writeln!(page, ": {message}")?,
        None => writeln!(page)?,
    }
    if let Some(hint) = &stage.hint {
        let word = page.paint.good("hint");
        writeln!(page, "    {word}: {hint}")?;
    }
    Ok(())
}

fn took(started: Timestamp, ended: Timestamp) -> String {
    time::duration(Duration::try_from(ended.duration_since(started)).unwrap_or_default())
}

impl Backup {
    /// Backs up; what goes wrong with one asset does not keep the others from being stored.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let options = BackupOptions {
            assets: self.assets,
            to: TierArgument::all_of(&self.to, &site)?,
            schedule: self.schedule,
            ..BackupOptions::default()
        };
        if let Some(exit) = handed::hand_over(&site, &options, session)? {
            return Ok(exit);
        }
        let report = backup::backup(&site, &options, &*session.events(), &session.cancel)?;
        let exit = report.exit();
        session.end(&Done(report), exit)
    }
}
