//! `lifeboat retention`: what the plan keeps on each tier, removing the rest, and keeping it from being
//! removed.

use std::fmt::{self, Write as _};

use clap::{Args, Subcommand};
use lifeboat_model::{ByteSize, Exit, counted};
use lifeboat_ops::retention::hold::{self, Hold, WhichHolds};
use lifeboat_ops::retention::letting_go::{self, LetGo, WhichGone};
use lifeboat_ops::retention::{
    self, Purpose, RetentionOptions, RetentionReport, SnapshotFate, TierReport,
};
use serde::Serialize;

use crate::failure::Failure;
use crate::render::{self, Answer, Cell, Page, Sort, Table, Tone, time};
use crate::session::Session;
use crate::tier_argument::TierArgument;

/// The commands of `lifeboat retention`.
#[derive(Debug, Subcommand)]
pub enum Retention {
    /// Show what would go, why each of the others stays, and what removing costs
    Show(Tiers),
    /// Remove what the plan does not keep
    Run(Tiers),
    /// Keep everything from being removed, until that is released
    Hold(NewHold),
    /// End a hold
    Release(Release),
    /// Say that snapshots which are gone from a tier may stay away
    LetGo(Gone),
}

/// Which tiers.
#[derive(Debug, Args)]
pub struct Tiers {
    /// On these tiers, each by name or address; without any, on all of the plan
    #[arg(value_name = "TIER")]
    tiers: Vec<TierArgument>,
}

/// The arguments of `lifeboat retention hold`.
#[derive(Debug, Args)]
pub struct NewHold {
    /// Say why, for whoever asks what may be removed again
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// The arguments of `lifeboat retention release`.
#[derive(Debug, Args)]
pub struct Release {
    /// End the hold whose id begins like this; that of a recovery, by the id of its run, only where its host is lost
    #[arg(value_name = "HOLD", required_unless_present = "all")]
    hold: Option<String>,
    /// End all holds that people began
    #[arg(long, conflicts_with = "hold")]
    all: bool,
}

/// The arguments of `lifeboat retention let-go`.
#[derive(Debug, Args)]
pub struct Gone {
    /// From this tier, by name or address
    #[arg(value_name = "TIER")]
    tier: TierArgument,
    /// Let the snapshots go whose ids begin like this
    #[arg(value_name = "SNAPSHOT", required_unless_present = "all")]
    snapshots: Vec<String>,
    /// Let all go that are gone from there
    #[arg(long, conflicts_with = "snapshots")]
    all: bool,
}

#[derive(Serialize)]
struct Shown {
    #[serde(skip)]
    purpose: Purpose,
    #[serde(flatten)]
    report: RetentionReport,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.retention/1";

    fn sort(&self) -> Sort {
        match self.purpose {
            Purpose::Show => Sort::Data,
            Purpose::Run => Sort::Summary,
        }
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        for tier in &self.report.tiers {
            self.write_tier(tier, page)?;
        }
        for hold in &self.report.holds {
            write_hold(hold, page)?;
        }
        if !self.report.holds.is_empty() {
            writeln!(
                page,
                "nothing is removed, packed anew or taken out of the log while that is so"
            )?;
        }
        match self.purpose {
            Purpose::Show => writeln!(page, "nothing was changed"),
            Purpose::Run => {
                render::write_all_traffic(&self.report.traffic, page)?;
                let ending = self.report.ending;
                writeln!(page, "{}", page.paint.tone(render::tone_of(ending), &ending.to_string()))
            }
        }
    }
}

impl Shown {
    fn write_tier(&self, tier: &TierReport, page: &mut Page) -> fmt::Result {
        let going = tier.snapshots.iter().filter(|fate| fate.reasons.is_empty()).count();
        let staying = tier.snapshots.len() - going;
        let word = page.paint.strong(&tier.tier.to_string());
        match &tier.trouble {
            // What lies there is not known, and nothing is removed.
            Some(_) if tier.snapshots.is_empty() => {
                writeln!(
                    page,
                    "{word}: its snapshots could not be looked at; nothing {}",
                    self.removed()
                )?;
            }
            _ => writeln!(
                page,
                "{word}: {} kept, {going} {}",
                counted(staying, "snapshot"),
                self.removed()
            )?,
        }
        let mut table = Table::new(["Asset", "Time", "Snapshot", "Result"]);
        for fate in &tier.snapshots {
            table.row(self.row(fate));
        }
        if !tier.snapshots.is_empty() {
            page.table(&table);
        }
        self.write_amounts(tier, page)?;
        if let Some(trouble) = &tier.trouble {
            let word = page.paint.bad(&tier.ending.to_string());
            writeln!(page, "{word}: {}", trouble.message)?;
            if let Some(hint) = &trouble.hint {
                writeln!(page, "    {}: {hint}", page.paint.good("hint"))?;
            }
        }
        Ok(())
    }

    fn row(&self, fate: &SnapshotFate) -> [Cell; 4] {
        let asset = fate.asset.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let reasons: Vec<_> = fate.reasons.iter().map(ToString::to_string).collect();
        let result = if reasons.is_empty() {
            Cell::new(self.removed(), Tone::Warning)
        } else {
            format!("kept: {}", reasons.join(", ")).into()
        };
        [asset.into(), time::instant(fate.time).into(), fate.snapshot.to_string().into(), result]
    }

    const fn removed(&self) -> &'static str {
        match self.purpose {
            Purpose::Show => "to be removed",
            Purpose::Run => "removed",
        }
    }

    fn write_amounts(&self, tier: &TierReport, page: &mut Page) -> fmt::Result {
        let size = |bytes| ByteSize(bytes).to_string();
        if tier.log.files + tier.log.locked > 0 {
            let (files, bytes) = (counted(tier.log.files, "file"), size(tier.log.bytes));
            writeln!(page, "log: {files} of {bytes} {}", self.removed())?;
        }
        if tier.log.locked > 0 {
            let files = counted(tier.log.locked, "file");
            writeln!(page, "log: {files} not removed, since the store locks them")?;
        }
        if let Some(prune) = &tier.prune {
            let (freed, locked) = (size(prune.freed_bytes), prune.packs.locked);
            writeln!(page, "repository: {freed} freed")?;
            if locked.count > 0 {
                let bytes = size(locked.bytes);
                writeln!(page, "repository: {bytes} stay, since the store locks them")?;
            }
            if prune.packs.cold.count > 0 {
                let bytes = size(prune.packs.cold.bytes);
                writeln!(page, "repository: {bytes} stay, since they are in cold storage")?;
            }
        }
        // Once it was done it is told what was asked, not what was foreseen.
        if let Some(asked) = tier.requests.filter(|_| self.purpose == Purpose::Show) {
            render::write_requests(&asked, page)?;
            writeln!(page)?;
        }
        if let Some(price) = &tier.price {
            let (once, saved) = (price.once, price.saved_per_month);
            writeln!(page, "costs {once:.4} once and saves {saved:.4} a month")?;
        }
        Ok(())
    }
}

/// Returns by what a hold is released, or the recovery that ends it.
fn name_of(hold: &Hold) -> Option<String> {
    let record = hold.id.map(|id| id.to_string());
    hold.run.map(|run| run.to_string()).or(record)
}

fn write_hold(hold: &Hold, page: &mut Page) -> fmt::Result {
    let word = page.paint.warning("held");
    write!(page, "{word} since {}: {}", time::instant(hold.since), hold.reason)?;
    match name_of(hold) {
        Some(name) => writeln!(page, " ({name})"),
        None => writeln!(page),
    }
}

#[derive(Serialize)]
struct Began {
    hold: Hold,
}

impl Answer for Began {
    const SCHEMA: &'static str = "lifeboat.retention.hold/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        write_hold(&self.hold, page)?;
        let name = name_of(&self.hold).unwrap_or_default();
        writeln!(page, "`lifeboat retention release {name}` ends it")
    }
}

#[derive(Serialize)]
struct Released {
    released: Vec<Hold>,
}

impl Answer for Released {
    const SCHEMA: &'static str = "lifeboat.retention.release/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        for hold in &self.released {
            let name = name_of(hold).unwrap_or_default();
            writeln!(page, "released: {} ({name})", hold.reason)?;
        }
        if self.released.is_empty() { writeln!(page, "nothing was held") } else { Ok(()) }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Gave(LetGo);

impl Answer for Gave {
    const SCHEMA: &'static str = "lifeboat.retention.let-go/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let LetGo { tier, snapshots, .. } = &self.0;
        for snapshot in snapshots {
            writeln!(page, "{snapshot} may stay away from {tier}")?;
        }
        if snapshots.is_empty() { writeln!(page, "nothing is gone from {tier}") } else { Ok(()) }
    }
}

impl Retention {
    /// Runs the command: 1 if a tier failed, 4 if one could not be looked at, 11 if one is locked.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let (events, cancel) = (session.events(), &session.cancel);
        let (purpose, tiers) = match self {
            Self::Show(Tiers { tiers }) => (Purpose::Show, tiers),
            Self::Run(Tiers { tiers }) => (Purpose::Run, tiers),
            Self::Hold(NewHold { reason }) => {
                let hold = hold::hold(&site, &reason, &*events, cancel)?;
                return session.done(&Began { hold });
            }
            Self::Release(Release { hold, .. }) => {
                let which = hold.map_or(WhichHolds::All, WhichHolds::One);
                let released = hold::release(&site, &which, &*events, cancel)?;
                return session.done(&Released { released });
            }
            Self::LetGo(Gone { tier, snapshots, all }) => {
                let which = if all { WhichGone::All } else { WhichGone::These(snapshots) };
                let gave = letting_go::let_go(&site, &tier.of(&site)?, &which, &*events, cancel)?;
                return session.done(&Gave(gave));
            }
        };
        let tiers = TierArgument::all_of(&tiers, &site)?;
        let options = RetentionOptions { tiers, purpose };
        let report = retention::retention(&site, &options, &*events, cancel)?;
        let exit = report.exit();
        session.end(&Shown { purpose, report }, exit)
    }
}
