//! `lifeboat status`: objectives, last outcomes, what is at risk.

use std::fmt::{self, Write as _};
use std::time::Duration;

use clap::Args;
use lifeboat_model::Exit;
use lifeboat_ops::status::{
    self, AssetOnTier, AssetStatus, Objective, Risk, StatusReport, TierStatus, Verdict,
};
use serde::Serialize;

use crate::failure::Failure;
use crate::render::{self, Answer, Cell, Page, Table, Tone, time};
use crate::session::Session;

/// The arguments of `lifeboat status`.
#[derive(Debug, Args)]
pub struct Status {
    /// End with 1 when the platform could not come back now, with 4 when that is not known
    #[arg(long)]
    check: bool,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(StatusReport);

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.status/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Self(report) = self;
        let (word, tone) = match report.verdict {
            Verdict::Yes => ("yes", Tone::Good),
            Verdict::Unknown => ("not known", Tone::Warning),
            Verdict::No => ("no", Tone::Bad),
        };
        let word = page.paint.tone(tone, word);
        let site = page.paint.strong(report.site.as_str());
        writeln!(page, "{site}: could everything come back now as planned? {word}\n")?;
        page.table(&assets(report));
        writeln!(page)?;
        page.table(&tiers(report));
        if !report.risks.is_empty() {
            writeln!(page)?;
        }
        report.risks.iter().try_for_each(|risk| write_risk(page, risk))?;
        match &report.next {
            Some(command) => writeln!(page, "\nnext: {command}"),
            None => Ok(()),
        }
    }
}

fn write_risk(page: &mut Page, risk: &Risk) -> fmt::Result {
    let word = match risk.verdict {
        Verdict::No => page.paint.bad("missing"),
        Verdict::Unknown => page.paint.warning("unproven"),
        Verdict::Yes => page.paint.tone(Tone::Aside, "note"),
    };
    write!(page, "{word}: {}", risk.message)?;
    match &risk.command {
        Some(command) => writeln!(page, " ({command})"),
        None => writeln!(page),
    }
}

fn seconds(seconds: Option<u64>) -> Cell {
    match seconds {
        Some(seconds) => time::duration(Duration::from_secs(seconds)).into(),
        None => Cell::new("-", Tone::Aside),
    }
}

fn objective(objective: Objective) -> Cell {
    match objective {
        Objective::Met => Cell::new("met", Tone::Good),
        Objective::None => Cell::new("none set", Tone::Aside),
        Objective::AtRisk => Cell::new("at risk", Tone::Warning),
        Objective::Unknown => Cell::new("not known", Tone::Warning),
        Objective::Missed => Cell::new("missed", Tone::Bad),
    }
}

fn assets(report: &StatusReport) -> Table {
    let mut table = Table::new([
        "Asset",
        ">RPO",
        ">Lost now",
        "Objective",
        ">RTO",
        "Tier",
        "Captured",
        "Last backup",
    ]);
    for asset in &report.assets {
        if asset.tiers.is_empty() {
            table.row(asset_row(asset, None, true));
        }
        for (index, on) in asset.tiers.iter().enumerate() {
            table.row(asset_row(asset, Some(on), index == 0));
        }
    }
    table
}

/// Makes a row for an asset on a tier; what holds for all tiers stands in the asset's first row.
fn asset_row(asset: &AssetStatus, on: Option<&AssetOnTier>, is_first: bool) -> [Cell; 8] {
    let first = |cell: Cell| if is_first { cell } else { "".into() };
    let dash = || Cell::new("-", Tone::Aside);
    [
        first(asset.asset.to_string().into()),
        first(seconds(asset.rpo_s)),
        seconds(on.and_then(|on| on.exposure_s)),
        objective(on.map_or(asset.objective, |on| on.objective)),
        first(seconds(asset.rto_s)),
        on.map_or_else(dash, |on| on.tier.to_string().into()),
        on.and_then(|on| on.captured).map_or_else(dash, |when| time::instant(when).into()),
        on.and_then(|on| on.last_attempt.as_ref()).map_or_else(dash, |attempt| {
            Cell::new(attempt.ending.to_string(), render::tone_of(attempt.ending))
        }),
    ]
}

fn tiers(report: &StatusReport) -> Table {
    let mut table = Table::new(["Tier", ">Snapshots", "Verified", "Result", "Address"]);
    for TierStatus { tier, address, trouble, snapshots, verified } in &report.tiers {
        let (when, result) = match verified {
            None => (Cell::new("never", Tone::Warning), "".into()),
            Some(once) => (time::ago(once.time, report.now).into(), once.outcome.into()),
        };
        let snapshots: Cell = match (snapshots, trouble) {
            (_, Some(trouble)) => Cell::new(trouble.ending.to_string(), Tone::Bad),
            (Some(count), None) => count.to_string().into(),
            (None, None) => Cell::new("-", Tone::Aside),
        };
        table.row([tier.to_string().into(), snapshots, when, result, address.as_str().into()]);
    }
    table
}

impl Status {
    /// Shows how things stand.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let report = status::status(&session.site()?)?;
        let exit = match report.verdict {
            Verdict::No if self.check => Exit::Failed,
            Verdict::Unknown if self.check => Exit::CouldNotVerify,
            // The question was how things stand, and it was answered.
            _ => Exit::Done,
        };
        session.end(&Shown(report), exit)
    }
}
