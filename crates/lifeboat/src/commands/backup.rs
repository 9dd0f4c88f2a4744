//! `lifeboat backup`: back up now, here or by the daemon that runs the plan.

mod handed;

use std::fmt::{self, Write as _};
use std::time::Duration;

use clap::Args;
use lifeboat_model::{AssetName, ByteSize, Exit, ScheduleName, Timestamp, counted};
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
        for on in &report.traffic {
            render::write_traffic(on, page)?;
        }
        for on in report.traffic.iter().filter(|on| on.traffic.retries > 0) {
            let (word, count) = (page.paint.strong("tried again"), on.traffic.retries);
            writeln!(page, "{word}: {count} of the requests to {}", on.tier)?;
        }
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

/// Adds a row for each tier that an asset is on; one without, if it is on none.
fn rows(asset: &AssetReport, table: &mut Table) {
    let result = || Cell::new(asset.ending.to_string(), render::tone_of(asset.ending));
    let counts = asset.counts.unwrap_or_default();
    let since = asset.stages.iter().map(|stage| stage.started).min();
    let until = asset.stages.iter().map(|stage| stage.ended).max();
    let took = since.zip(until).map_or_else(String::new, |(since, until)| took(since, until));
    for (index, on) in asset.snapshots.iter().enumerate() {
        let place = [on.tier.to_string().into(), on.snapshot.to_string().into()];
        let [tier, snapshot]: [Cell; 2] = place;
        table.row(match index {
            0 => [
                asset.asset.to_string().into(),
                result(),
                tier,
                snapshot,
                counts.files().to_string().into(),
                ByteSize(counts.bytes_read).to_string().into(),
                ByteSize(counts.bytes_stored).to_string().into(),
                took.as_str().into(),
            ],
            _ => ["".into(), "".into(), tier, snapshot, "".into(), "".into(), "".into(), "".into()],
        });
    }
    if asset.snapshots.is_empty() {
        let none = || Cell::new("-", Tone::Aside);
        let asset = asset.asset.to_string().into();
        table.row([asset, result(), none(), none(), none(), none(), none(), took.into()]);
    }
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
