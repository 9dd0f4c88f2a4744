//! `lifeboat points`: the moments to which one can go back.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{AssetName, Exit, Outcome, TierName, counted};
use lifeboat_ops::error::gone_hint;
use lifeboat_ops::holdings::{self, PointsReport};
use lifeboat_ops::ladder::{Height, Rung};
use lifeboat_ops::point::Point;
use serde::Serialize;

use crate::failure::Failure;
use crate::render::{Answer, Cell, Page, Table, Tone, time};
use crate::session::Session;

/// The arguments of `lifeboat points`.
#[derive(Debug, Args)]
pub struct Points {
    /// List only the points that hold this asset
    #[arg(value_name = "ASSET")]
    asset: Option<AssetName>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Listed(PointsReport);

impl Answer for Listed {
    const SCHEMA: &'static str = "lifeboat.points/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let PointsReport { points, troubles, damaged, missing, .. } = &self.0;
        if points.is_empty() && !troubles.is_empty() {
            writeln!(page, "no recovery points where it could be looked")?;
        } else if points.is_empty() {
            writeln!(page, "no recovery points; `lifeboat backup` makes one")?;
        } else {
            let mut table = Table::new(["Point", "Time", "Holds", "Lacks", "Whole on", "Proof"]);
            for point in points {
                row(point, &mut table);
            }
            page.table(&table);
        }
        for (tier, trouble) in troubles {
            let word = page.paint.warning("not looked at");
            writeln!(page, "{word}: {tier}: {}", trouble.message)?;
        }
        for tier in damaged {
            let word = page.paint.bad("damaged");
            writeln!(page, "{word}: {tier}: what of it comes back `lifeboat verify {tier}` tells")?;
        }
        for gone in missing {
            let word = page.paint.bad("gone");
            let count = counted(gone.snapshots.len(), "recorded snapshot");
            let tier = &gone.tier;
            writeln!(page, "{word}: {count} not on {tier}")?;
            let some = gone.snapshots.first().map(ToString::to_string).unwrap_or_default();
            writeln!(page, "    {}: {}", page.paint.good("hint"), gone_hint(tier, &some))?;
        }
        Ok(())
    }
}

fn row(point: &Point, table: &mut Table) {
    let holds: Vec<String> = point
        .members
        .iter()
        .map(|member| match member.skew.as_secs() {
            0 => member.capture.asset.to_string(),
            skew => format!("{} ({skew:+} s)", member.capture.asset),
        })
        .collect();
    let lacks: Vec<&str> = point.missing.iter().map(AssetName::as_str).collect();
    let whole: Vec<&str> = point.whole_on.iter().map(TierName::as_str).collect();
    table.row([
        Cell::new(point.name.as_str(), Tone::Strong),
        time::exact(point.time).into(),
        holds.join(", ").into(),
        Cell::new(lacks.join(", "), Tone::Warning),
        whole.join(", ").into(),
        proof(point),
    ]);
}

/// Says how far up a point is on each tier, and since when; a doubt stands beside it.
fn proof(point: &Point) -> Cell {
    let told: Vec<String> = point
        .heights
        .iter()
        .map(|(tier, height)| {
            let Height { rung, since, doubt, .. } = height;
            let since = time::instant(*since);
            match doubt {
                None => format!("{tier}: {rung} since {since}"),
                Some(doubt) => {
                    format!("{tier}: {rung} since {since}, {}: {}", doubt.rung, doubt.outcome)
                }
            }
        })
        .collect();
    let doubts = point.heights.values().filter_map(|height| height.doubt.as_ref());
    let worst = doubts.map(|doubt| doubt.outcome).max();
    let highest = point.heights.values().map(|height| height.rung).max();
    let tone = match (worst, highest) {
        (Some(Outcome::Failed), _) => Tone::Bad,
        (Some(_), _) => Tone::Warning,
        (None, Some(Rung::Proven)) => Tone::Good,
        (None, _) => Tone::Plain,
    };
    Cell::new(told.join("; "), tone)
}

impl Points {
    /// Lists the points, the newest first; ends with 4 when a tier could not be looked at.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let events = session.events();
        let report =
            holdings::recovery_points(&site, self.asset.as_ref(), &*events, &session.cancel)?;
        // What could not be looked at may hold points that are not listed.
        let exit = if report.troubles.is_empty() { Exit::Done } else { Exit::CouldNotVerify };
        session.end(&Listed(report), exit)
    }
}
