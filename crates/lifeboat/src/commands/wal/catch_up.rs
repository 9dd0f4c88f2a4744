//! `lifeboat wal catch-up`: brings tiers up to date that lack what others hold.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{AssetName, Exit, TierName, counted};
use lifeboat_ops::Trouble;
use lifeboat_ops::wal::{CaughtUp, WalLog};
use lifeboat_postgres::archive::CatchUpReport;
use serde::Serialize;

use crate::failure::Failure;
use crate::render::{Answer, Page};
use crate::session::Session;

/// The arguments of `lifeboat wal catch-up`.
#[derive(Debug, Args)]
pub struct CatchUp {
    /// Bring the log of this asset up to date [default: the only one whose log is archived]
    #[arg(long, value_name = "ASSET")]
    asset: Option<AssetName>,
}

#[derive(Serialize)]
struct Shown {
    tiers: Vec<Copied>,
}

#[derive(Serialize)]
struct Copied {
    tier: TierName,
    files: u64,
    bytes: u64,
    trouble: Option<Trouble>,
}

impl Copied {
    fn of(CaughtUp { tier, ended }: CaughtUp) -> Self {
        match ended {
            Ok(CatchUpReport { files, bytes }) => Self { tier, files, bytes, trouble: None },
            Err(trouble) => Self { tier, files: 0, bytes: 0, trouble: Some(trouble) },
        }
    }
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.wal.catch-up/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        for Copied { tier, files, trouble, .. } in &self.tiers {
            match trouble {
                None => writeln!(page, "{tier}: {} copied", counted(*files, "file"))?,
                Some(trouble) => {
                    let word = page.paint.bad("behind");
                    writeln!(page, "{tier}: {word}: {}", trouble.message)?;
                }
            }
        }
        Ok(())
    }
}

impl CatchUp {
    /// Copies what is lacking; ends with 3 when a tier still lacks something.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let log = WalLog::of(&site, self.asset.as_ref())?;
        let ended = log.catch_up(&session.cancel)?;
        let tiers: Vec<_> = ended.into_iter().map(Copied::of).collect();
        let is_behind = tiers.iter().any(|tier| tier.trouble.is_some());
        let exit = if is_behind { Exit::Incomplete } else { Exit::Done };
        session.end(&Shown { tiers }, exit)
    }
}
