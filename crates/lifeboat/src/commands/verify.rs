//! `lifeboat verify`: prove that copies are whole, and that what they hold comes back.

pub mod restored;

use std::fmt::{self, Write as _};

use clap::{Args, ValueEnum};
use lifeboat_model::Exit;
use lifeboat_ops::verification::{self, Share, VerifyOptions, VerifyReport};
use serde::Serialize;

use self::restored::RestoredArguments;
use crate::failure::Failure;
use crate::render::{self, Answer, Page, Sort};
use crate::session::Session;
use crate::tier_argument::TierArgument;

/// The arguments of `lifeboat verify`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    /// Verify these tiers, each by name or address; without any, all of the plan. With --restore, read from the one that is given
    #[arg(value_name = "TIER")]
    tiers: Vec<TierArgument>,
    /// How much of the stored data to read back
    #[arg(long, value_name = "HOW MUCH", default_value = "all", conflicts_with = "restore")]
    read_data: ReadData,
    #[command(flatten)]
    restored: RestoredArguments,
}

const EXAMPLES: &str = "\
Examples:
  lifeboat verify
  lifeboat verify secondary --read-data share
  lifeboat verify --restore database
  lifeboat verify --restore database --at 2026-11-23T01:59:59Z secondary";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReadData {
    /// All of it
    All,
    /// What the plan says for after a backup, chosen so that all is read in its cycle
    Share,
    /// Nothing: only the structure is checked
    None,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Verified(VerifyReport);

impl Answer for Verified {
    const SCHEMA: &'static str = "lifeboat.verify/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        for tier in &self.0.tiers {
            render::write_verification(tier, page)?;
        }
        render::write_all_traffic(&self.0.traffic, page)?;
        let outcome = page.paint.outcome(self.0.outcome);
        writeln!(page, "{outcome}")
    }
}

impl Verify {
    /// Verifies the tiers, or a restore: 1 for damage, 4 for what could not be looked at.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        if self.restored.is_asked_for()? {
            return self.restored.run(&self.tiers, session);
        }
        let site = session.site()?;
        let share = match self.read_data {
            ReadData::All => Share::All,
            ReadData::Share => Share::AfterBackup,
            ReadData::None => Share::None,
        };
        let options = VerifyOptions { tiers: TierArgument::all_of(&self.tiers, &site)?, share };
        let report = verification::verify(&site, &options, &*session.events(), &session.cancel)?;
        let exit = report.exit();
        session.end(&Verified(report), exit)
    }
}
