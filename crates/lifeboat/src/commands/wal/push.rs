//! `lifeboat wal push`: PostgreSQL's `archive_command`.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use lifeboat_model::{AssetName, Exit, TierName};
use lifeboat_ops::wal::client::Answered;
use lifeboat_ops::wal::protocol::Wish;
use lifeboat_ops::wal::{self, Pushed, WalLog};
use lifeboat_postgres::wal::WalFileName;
use serde::Serialize;

use super::Served;
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page};
use crate::session::Session;

/// The arguments of `lifeboat wal push`.
#[derive(Debug, Args)]
pub struct Push {
    /// Archive this file, as PostgreSQL names it with %p
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Archive it as the log of this asset [default: the only one whose log is archived]
    #[arg(long, value_name = "ASSET")]
    asset: Option<AssetName>,
    #[command(flatten)]
    served: Served,
}

#[derive(Serialize)]
struct Shown {
    file: WalFileName,
    /// Not told by whoever served it.
    tiers: Option<Vec<TierName>>,
    behind: Vec<Late>,
}

#[derive(Serialize)]
struct Late {
    tier: TierName,
    why: String,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.wal.push/1";

    /// Says only what is not as it should be: PostgreSQL's log has a line for each file already.
    fn write(&self, page: &mut Page) -> fmt::Result {
        for Late { tier, why } in &self.behind {
            let word = page.paint.warning("behind");
            writeln!(page, "{word}: tier `{tier}` does not hold {} yet: {why}", self.file)?;
        }
        Ok(())
    }
}

impl Push {
    /// Archives the file; ends with 0 once it is durable on every tier that has to hold it.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let file = wal::parse(&self.path.file_name().unwrap_or_default().to_string_lossy())?;
        match self.served.ask(Wish::Push, file, &self.path, session) {
            Some(Answered::Done(_)) => {
                return session.done(&Shown { file, tiers: None, behind: Vec::new() });
            }
            Some(Answered::Failed(message)) => return Err(CommandError::Served { message }.into()),
            Some(Answered::End) | None => {}
        }
        let site = session.site_quietly()?;
        let log = WalLog::of(&site, self.asset.as_ref())?;
        let Pushed { file, stored, behind } = log.push(&self.path, &session.cancel)?;
        let tiers = Some(stored.into_iter().map(|(tier, _)| tier).collect());
        let behind = behind.into_iter().map(|(tier, why)| Late { tier, why }).collect();
        session.done(&Shown { file, tiers, behind })
    }
}
