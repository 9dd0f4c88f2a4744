//! `lifeboat wal status`: what each tier holds of the log.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{AssetName, Exit, TierName, Timestamp, counted};
use lifeboat_ops::wal::WalLog;
use lifeboat_ops::wal::status::{ClusterLog, TierLog, WalStatus};
use serde::Serialize;

use crate::failure::Failure;
use crate::render::{Answer, Cell, Page, Table, Tone, time};
use crate::session::Session;

/// The arguments of `lifeboat wal status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Show the log of this asset [default: the only one whose log is archived]
    #[arg(long, value_name = "ASSET")]
    asset: Option<AssetName>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(WalStatus);

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.wal.status/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Self(status) = self;
        if status.tiers.iter().all(|tier| tier.clusters.is_empty()) {
            writeln!(page, "nothing of `{}` is archived yet", status.asset)?;
        } else {
            page.table(&ranges(status));
        }
        for tier in &status.tiers {
            write_trouble(page, tier)?;
            for cluster in &tier.clusters {
                write_gaps(page, &tier.tier, cluster)?;
            }
        }
        match &status.no_times {
            Some(why) => {
                let word = page.paint.tone(Tone::Aside, "times are not shown");
                writeln!(page, "{word}: {why}")
            }
            None => Ok(()),
        }
    }
}

fn instant(time: Option<Timestamp>) -> Cell {
    time.map_or_else(|| Cell::new("-", Tone::Aside), |time| time::instant(time).into())
}

fn ranges(status: &WalStatus) -> Table {
    let mut table =
        Table::new(["Tier", "Cluster", "From", "To", ">Segments", "First commit", "Last commit"]);
    for tier in &status.tiers {
        for cluster in &tier.clusters {
            for range in cluster.timelines.iter().flat_map(|timeline| &timeline.ranges) {
                let times = cluster.times_of(range);
                table.row([
                    tier.tier.to_string().into(),
                    cluster.system.to_string().into(),
                    range.first.to_string().into(),
                    range.last.to_string().into(),
                    range.count.to_string().into(),
                    instant(times.and_then(|times| times.first)),
                    instant(times.and_then(|times| times.last)),
                ]);
            }
        }
    }
    table
}

fn write_trouble(page: &mut Page, tier: &TierLog) -> fmt::Result {
    let name = &tier.tier;
    if let Some(trouble) = &tier.trouble {
        let word = page.paint.bad("not looked at");
        writeln!(page, "{word}: {name}: {}", trouble.message)?;
    }
    if tier.behind > 0 {
        let word = page.paint.warning("behind");
        let count = counted(tier.behind, "file");
        writeln!(page, "{word}: {name} lacks {count} (lifeboat wal catch-up)")?;
    }
    Ok(())
}

fn write_gaps(page: &mut Page, tier: &TierName, cluster: &ClusterLog) -> fmt::Result {
    for timeline in &cluster.timelines {
        for hole in &timeline.holes {
            let word = page.paint.bad("hole");
            let (first, last, count) = (hole.first, hole.last, counted(hole.count, "segment"));
            writeln!(page, "{word}: {tier} lacks {count}, {first} to {last}")?;
        }
        if !timeline.has_history && !timeline.ranges.is_empty() {
            let word = page.paint.bad("no history");
            let number = timeline.timeline;
            writeln!(page, "{word}: {tier} does not tell where timeline {number} comes from")?;
        }
    }
    for duplicate in &cluster.duplicates {
        let word = page.paint.bad("split brain");
        let digests: Vec<_> = duplicate.digests.iter().map(ToString::to_string).collect();
        writeln!(page, "{word}: {tier} holds {} as {}", duplicate.file, digests.join(" and "))?;
    }
    Ok(())
}

impl Status {
    /// Shows what there is; ends with 3 when something lacks or is there twice, with 4 when a tier
    /// could not be looked at.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let status = WalLog::of(&site, self.asset.as_ref())?.status(&session.cancel)?;
        let exit = if status.has_holes() {
            Exit::Incomplete
        } else if status.has_trouble() {
            Exit::CouldNotVerify
        } else {
            Exit::Done
        };
        session.end(&Shown(status), exit)
    }
}
