//! `lifeboat wal get`: PostgreSQL's `restore_command`.
//!
//! PostgreSQL takes every code from 1 to 125 for "there is no such file", ends its recovery and may
//! promote. So this ends with 1 when that is proven and with nothing else below 126; `session` sees to it
//! for all that goes wrong before and around it.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use lifeboat_model::{AssetName, Exit, TierName};
use lifeboat_ops::wal::client::Answered;
use lifeboat_ops::wal::protocol::Wish;
use lifeboat_ops::wal::{self, Fetched, WalLog};
use serde::Serialize;

use super::Served;
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page};
use crate::session::Session;
use crate::tier_argument::TierArgument;

/// The arguments of `lifeboat wal get`.
#[derive(Debug, Args)]
pub struct Get {
    /// Fetch this file, as PostgreSQL names it with %f
    #[arg(value_name = "FILE")]
    file: String,
    /// Put it here, as PostgreSQL says with %p
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Fetch it of the log of this asset [default: the only one whose log is archived]
    #[arg(long, value_name = "ASSET")]
    asset: Option<AssetName>,
    /// Ask only these tiers, each by name or address, whose end then counts as the end
    #[arg(long, value_name = "TIER", value_delimiter = ',')]
    from: Vec<TierArgument>,
    #[command(flatten)]
    served: Served,
}

#[derive(Serialize)]
struct Shown {
    file: String,
    /// Whether it is there now, or the archive ends before it.
    found: bool,
    /// Who had it; not told by whoever served it.
    tier: Option<TierName>,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.wal.get/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        if self.found { Ok(()) } else { writeln!(page, "the archive ends before {}", self.file) }
    }
}

impl Get {
    /// Fetches the file; ends with 1 only at the proven end of the archive.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self.ask(session)? {
            Some(Answered::End) => return self.end(session, Fetched::End),
            Some(Answered::Failed(message)) => return Err(CommandError::Served { message }.into()),
            Some(Answered::Done(_)) => {
                return session.done(&Shown { file: self.file, found: true, tier: None });
            }
            None => {}
        }
        let site = session.site_quietly()?;
        let from = TierArgument::all_of(&self.from, &site)?;
        let log = WalLog::of(&site, self.asset.as_ref())?;
        let fetched = log.get(&self.file, &self.path, &from, &session.cancel)?;
        self.end(session, fetched)
    }

    /// Asks whoever serves the log, and puts what he gives in its place; who names tiers asks them himself.
    fn ask(&self, session: &Session) -> Result<Option<Answered>, Failure> {
        if !self.from.is_empty() {
            return Ok(None);
        }
        let file = wal::parse(&self.file)?;
        let answered = self.served.ask(Wish::Get, file, &self.path, session);
        if let Some(Answered::Done(bytes)) = &answered {
            wal::place(file, bytes.clone(), &self.path)?;
        }
        Ok(answered)
    }

    fn end(self, session: &Session, fetched: Fetched) -> Result<Exit, Failure> {
        let (tier, exit) = match fetched {
            Fetched::Placed { tier } => (Some(tier), Exit::Done),
            Fetched::End => (None, Exit::Failed),
        };
        session.end(&Shown { file: self.file, found: tier.is_some(), tier }, exit)
    }
}
