//! `lifeboat tiers`: what each tier holds and lacks, and bringing one up to date.

mod catch_up;
mod mark;

use std::fmt::{self, Write as _};
use std::time::Duration;

use clap::{Args, Subcommand};
use lifeboat_model::{AssetName, ByteSize, Exit, Outcome, counted};
use lifeboat_ops::tier_state::{
    self, AssetThere, Lock, LogLag, Pending, Stands, TierState, TiersReport,
};
use lifeboat_plan::plan::asset::WalMode;
use lifeboat_tiers::protection::Protection;
use serde::Serialize;

use crate::failure::Failure;
use crate::render::{Answer, Cell, Page, Table, Tone, time};
use crate::session::Session;

/// The arguments of `lifeboat tiers`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Tiers {
    #[command(subcommand)]
    command: Option<Below>,
}

/// The commands of `lifeboat tiers`.
#[derive(Debug, Subcommand)]
enum Below {
    /// Copy to tiers what they missed from one that holds it
    CatchUp(catch_up::CatchUp),
    /// Put the mark of a tier back that lost it, once what lies there is proven to be this site's
    Mark(mark::Mark),
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    report: TiersReport,
    /// Whose log is archived, for the commands that lead on.
    #[serde(skip)]
    logs: Vec<AssetName>,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.tiers/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Self { report, logs } = self;
        page.table(&tiers(report));
        writeln!(page)?;
        page.table(&assets(report));
        if report.has_trouble() {
            let word = page.paint.strong("as recorded");
            writeln!(
                page,
                "{word}: what a tier holds that could not be looked at, and how far it is behind"
            )?;
        }
        for tier in &report.tiers {
            write_stands(tier, page)?;
            if let Some(message) = tier.lock.message.as_ref().filter(|_| tier.trouble.is_none()) {
                let word = match tier.lock.outcome {
                    Some(Outcome::Failed) => page.paint.bad("not locked as planned"),
                    _ => page.paint.warning("lock could not be verified"),
                };
                writeln!(page, "{word}: {}: {message}", tier.tier)?;
            }
        }
        for (tier, gone) in report.tiers.iter().filter_map(|tier| Some((tier, tier.pending?.gone)))
        {
            if gone > 0 {
                let word = page.paint.bad("gone");
                let name = &tier.tier;
                writeln!(
                    page,
                    "{word}: {name}: {gone} snapshots that were stored there; `lifeboat verify {name}` names them"
                )?;
            }
        }
        let late = |tier: &&TierState| tier.pending.is_some_and(|pending| pending.snapshots > 0);
        if report.tiers.iter().any(|tier| matches!(tier.stands, Stands::New | Stands::Moved)) {
            writeln!(page, "\nnext: lifeboat backup")?;
        } else if let Some(tier) = report.tiers.iter().find(late) {
            writeln!(page, "\nnext: lifeboat tiers catch-up {}", tier.tier)?;
        }
        let lacks_log =
            |tier: &TierState| tier.pending.is_some_and(|pending| pending.wal_files > 0);
        if report.tiers.iter().any(lacks_log) {
            for asset in logs {
                writeln!(page, "\nnext: lifeboat wal catch-up --asset {asset}")?;
            }
        }
        Ok(())
    }
}

/// Says of a tier that is not there as it was left what that means.
fn write_stands(tier: &TierState, page: &mut Page) -> fmt::Result {
    let (name, address) = (&tier.tier, &tier.address);
    match (tier.stands, &tier.trouble, &tier.moved_from) {
        (Stands::New, _, _) => {
            let word = page.paint.warning("new");
            writeln!(
                page,
                "{word}: {name}: nothing is at {address} yet; `lifeboat backup` sets it up"
            )
        }
        (_, _, Some(from)) => {
            let word = page.paint.warning("moved");
            writeln!(
                page,
                "{word}: {name}: nothing is at {address} yet, where it is to be by the plan; what lies at {from} no longer counts. `lifeboat backup` sets it up and brings it what others hold"
            )
        }
        (stands, Some(trouble), _) => {
            let word = if stands == Stands::Lost { "lost" } else { "unreachable" };
            writeln!(page, "{}: {name}: {}", page.paint.bad(word), trouble.message)
        }
        _ => Ok(()),
    }
}

fn dash() -> Cell {
    Cell::new("-", Tone::Aside)
}

fn not_known() -> Cell {
    Cell::new("not known", Tone::Warning)
}

fn bytes(bytes: u64) -> Cell {
    ByteSize(bytes).to_string().into()
}

fn tiers(report: &TiersReport) -> Table {
    let mut table = Table::new([
        "Tier",
        "Reached",
        ">Repository",
        ">WAL",
        ">Catalog",
        ">Free",
        "Lock",
        "Pending",
        "Address",
    ]);
    for tier in &report.tiers {
        let reached = match tier.stands {
            Stands::SetUp => Cell::new("yes", Tone::Good),
            Stands::New => Cell::new("new", Tone::Warning),
            Stands::Moved => Cell::new("moved", Tone::Warning),
            Stands::Lost => Cell::new("lost", Tone::Bad),
            Stands::Unreachable => Cell::new("unreachable", Tone::Bad),
        };
        let space = |part: fn(&tier_state::Space) -> u64| {
            tier.space.as_ref().map_or_else(dash, |space| bytes(part(space)))
        };
        table.row([
            tier.tier.to_string().into(),
            reached,
            space(|space| space.repository),
            space(|space| space.wal),
            space(|space| space.catalog),
            tier.space.and_then(|space| space.free).map_or_else(dash, bytes),
            if tier.trouble.is_some() { not_known() } else { lock(&tier.lock) },
            tier.pending.map_or_else(not_known, pending),
            tier.address.as_str().into(),
        ]);
    }
    table
}

fn lock(lock: &Lock) -> Cell {
    match (lock.outcome, lock.found) {
        (Some(Outcome::CouldNotVerify), _) => Cell::new("could not verify", Tone::Warning),
        (outcome, Some(Protection::Locked { until, .. })) => {
            let tone = if outcome == Some(Outcome::Failed) { Tone::Bad } else { Tone::Good };
            Cell::new(format!("until {}", time::instant(until)), tone)
        }
        (Some(Outcome::Failed), _) => Cell::new("missing", Tone::Bad),
        _ => Cell::new("none", Tone::Aside),
    }
}

fn pending(Pending { snapshots, records, wal_files, .. }: Pending) -> Cell {
    let counts = [(snapshots, "snapshot"), (records, "record"), (wal_files, "WAL file")];
    let some = counts.into_iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> = some.map(|(count, what)| counted(count, what)).collect();
    if words.is_empty() {
        Cell::new("nothing", Tone::Good)
    } else {
        Cell::new(words.join(", "), Tone::Warning)
    }
}

fn assets(report: &TiersReport) -> Table {
    let mut table = Table::new([
        "Asset",
        "Tier",
        "Newest",
        ">Points behind",
        ">Bytes behind",
        ">Time behind",
        "Log behind",
    ]);
    let mut rows: Vec<_> = report
        .tiers
        .iter()
        .flat_map(|tier| tier.assets.iter().map(move |asset| (&asset.asset, &tier.tier, asset)))
        .collect();
    rows.sort_by_key(|(asset, tier, _)| (*asset, *tier));
    for (asset, tier, AssetThere { captured, lag, log, .. }) in rows {
        let points = match lag.points {
            0 => Cell::new("0", Tone::Good),
            points => Cell::new(points.to_string(), Tone::Warning),
        };
        let seconds = lag.seconds.map(Duration::from_secs);
        table.row([
            asset.to_string().into(),
            tier.to_string().into(),
            captured.map_or_else(dash, |when| time::instant(when).into()),
            points,
            bytes(lag.bytes),
            seconds.map_or_else(dash, |lag| time::duration(lag).into()),
            log.as_ref().map_or_else(dash, log_behind),
        ]);
    }
    table
}

fn log_behind(log: &LogLag) -> Cell {
    if log.segments == 0 {
        return Cell::new("nothing", Tone::Good);
    }
    let mut words = vec![counted(log.segments, "segment"), ByteSize(log.bytes).to_string()];
    words.extend(log.seconds.map(|lag| time::duration(Duration::from_secs(lag))));
    Cell::new(words.join(", "), Tone::Warning)
}

impl Tiers {
    /// Shows the tiers; ends with 4 when one could not be looked at, with 1 when one lacks its lock.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self.command {
            Some(Below::CatchUp(command)) => return command.run(session),
            Some(Below::Mark(command)) => return command.run(session),
            None => {}
        }
        let site = session.site()?;
        let report = tier_state::tiers_report(&site)?;
        let archived = site.databases().filter(|(_, database)| database.wal.mode != WalMode::None);
        let logs = archived.map(|(name, _)| name.clone()).collect();
        let exit = match (report.has_weak_lock(), report.has_trouble()) {
            (true, _) => Exit::Failed,
            (false, true) => Exit::CouldNotVerify,
            (false, false) => Exit::Done,
        };
        session.end(&Shown { report, logs }, exit)
    }
}
