//! `lifeboat tiers catch-up`: copies to tiers what they missed.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{ByteSize, Exit};
use lifeboat_ops::catch_up::{self, Brought, CatchUpReport};
use serde::Serialize;

use crate::commands::repo::Bandwidth;
use crate::failure::Failure;
use crate::render::{self, Answer, Page, Sort, Table, time};
use crate::session::Session;
use crate::tier_argument::TierArgument;

/// The arguments of `lifeboat tiers catch-up`.
#[derive(Debug, Args)]
pub struct CatchUp {
    /// Bring these tiers up to date, each by name or address; without any, all of the plan
    #[arg(value_name = "TIER")]
    tiers: Vec<TierArgument>,
    #[command(flatten)]
    bandwidth: Bandwidth,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Done(CatchUpReport);

impl Answer for Done {
    const SCHEMA: &'static str = "lifeboat.tiers.catch-up/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Self(report) = self;
        let mut table =
            Table::new(["Tier", "Asset", "Captured", "Snapshot", "From", ">Packs", ">Size"]);
        let all = report.tiers.iter().flat_map(|tier| tier.brought.iter().map(move |b| (tier, b)));
        for (tier, Brought { asset, captured, snapshot, from, packs, bytes }) in all {
            table.row([
                tier.tier.to_string().into(),
                asset.to_string().into(),
                time::instant(*captured).into(),
                snapshot.to_string().into(),
                from.to_string().into(),
                packs.to_string().into(),
                ByteSize(*bytes).to_string().into(),
            ]);
        }
        if report.tiers.iter().any(|tier| !tier.brought.is_empty()) {
            page.table(&table);
        }
        for tier in &report.tiers {
            match &tier.trouble {
                Some(trouble) => {
                    let word = page.paint.bad("behind");
                    writeln!(page, "{}: {word}: {}", tier.tier, trouble.message)?;
                    if let Some(hint) = &trouble.hint {
                        writeln!(page, "    {}: {hint}", page.paint.good("hint"))?;
                    }
                }
                None if tier.brought.is_empty() => writeln!(page, "{}: lacks nothing", tier.tier)?,
                None => {}
            }
        }
        render::write_all_traffic(&report.traffic, page)
    }
}

impl CatchUp {
    /// Copies the newest snapshots first; ends with 3 when a tier got a part, with 1 when one got nothing.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?.with_throttle(self.bandwidth.into());
        let tiers = TierArgument::all_of(&self.tiers, &site)?;
        let report = catch_up::catch_up(&site, &tiers, &*session.events(), &session.cancel)?;
        let exit = report.exit();
        session.end(&Done(report), exit)
    }
}
