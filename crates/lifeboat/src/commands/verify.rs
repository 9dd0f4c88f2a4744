//! `lifeboat verify`: prove that copies are whole.

use std::fmt::{self, Write as _};

use clap::{Args, ValueEnum};
use lifeboat_model::{Exit, TierName};
use lifeboat_ops::verification::{self, Share, VerifyOptions, VerifyReport};
use serde::Serialize;

use crate::failure::Failure;
use crate::render::{self, Answer, Page, Sort};
use crate::session::Session;

/// The arguments of `lifeboat verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Verify these tiers; without any, all of the plan
    #[arg(value_name = "TIER")]
    tiers: Vec<TierName>,
    /// How much of the stored data to read back
    #[arg(long, value_name = "HOW MUCH", default_value = "all")]
    read_data: ReadData,
}

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
        let outcome = page.paint.outcome(self.0.outcome);
        writeln!(page, "{outcome}")
    }
}

impl Verify {
    /// Verifies the tiers: 1 for damage, 4 for what could not be looked at.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let share = match self.read_data {
            ReadData::All => Share::All,
            ReadData::Share => Share::AfterBackup,
            ReadData::None => Share::None,
        };
        let options = VerifyOptions { tiers: self.tiers, share };
        let report = verification::verify(&site, &options, &*session.events(), &session.cancel)?;
        let exit = report.exit();
        session.end(&Verified(report), exit)
    }
}
