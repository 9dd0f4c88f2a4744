//! `lifeboat wal push`: PostgreSQL's `archive_command`.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use lifeboat_model::{AssetName, Exit, TierName};
use lifeboat_ops::residence::fence::expect_as_known_to_pusher;
use lifeboat_ops::wal::client::{self, Answered};
use lifeboat_ops::wal::protocol::Wish;
use lifeboat_ops::wal::{self, Pushed, Rehearsed, WalLog};
use lifeboat_postgres::wal::WalFileName;
use serde::Serialize;

use super::Served;
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page};
use crate::session::Session;
use crate::surroundings;

/// The arguments of `lifeboat wal push`.
#[derive(Debug, Args)]
pub struct Push {
    /// Archive this file, as PostgreSQL names it with %p
    #[arg(value_name = "PATH", required_unless_present = "check")]
    path: Option<PathBuf>,
    /// Archive nothing: find out whether this user could, in the working directory of the server
    #[arg(long, conflicts_with = "path")]
    check: bool,
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
        let Some(path) = &self.path else { return self.rehearse(session) };
        let file = wal::parse(&path.file_name().unwrap_or_default().to_string_lossy())?;
        match self.served.ask(Wish::Push, file, path, session) {
            Some(Answered::Done(_)) => {
                return session.done(&Shown { file, tiers: None, behind: Vec::new() });
            }
            Some(Answered::Failed(message)) => return Err(CommandError::Served { message }.into()),
            Some(Answered::End) | None => {}
        }
        let site = session.site_quietly()?;
        expect_as_known_to_pusher(&site)?;
        let log = WalLog::of(&site, self.asset.as_ref())?;
        let Pushed { file, stored, behind } = log.push(path, &session.cancel)?;
        let tiers = Some(stored.into_iter().map(|(tier, _)| tier).collect());
        let behind = behind.into_iter().map(|(tier, why)| Late { tier, why }).collect();
        session.done(&Shown { file, tiers, behind })
    }

    /// Finds out whether a file could be archived: by whoever serves the log, or alone.
    fn rehearse(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site_quietly()?;
        let log = WalLog::of(&site, self.asset.as_ref())?;
        let here = surroundings::absolute(Path::new("."))?;
        let served = session.runtime.block_on(client::is_served(&self.served.socket, &here));
        match log.rehearse(&session.cancel) {
            Err(error) if !served => Err(error.into()),
            Err(_) => session.done(&Able { served, tiers: Vec::new(), behind: Vec::new() }),
            Ok(Rehearsed { able, behind }) => {
                let behind = behind.into_iter().map(|(tier, why)| Late { tier, why }).collect();
                session.done(&Able { served, tiers: able, behind })
            }
        }
    }
}

/// Whether a file could be archived.
#[derive(Serialize)]
struct Able {
    /// Whether somebody serves the log here.
    served: bool,
    /// The tiers that could take it from this user.
    tiers: Vec<TierName>,
    behind: Vec<Late>,
}

impl Answer for Able {
    const SCHEMA: &'static str = "lifeboat.wal.push-check/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let names: Vec<_> = self.tiers.iter().map(TierName::as_str).collect();
        match (self.served, names.is_empty()) {
            (_, false) => writeln!(page, "files could be archived on {}", names.join(", "))?,
            (_, true) => writeln!(page, "files could be archived by whoever serves the log here")?,
        }
        for Late { tier, why } in &self.behind {
            let word = page.paint.warning("behind");
            writeln!(page, "{word}: tier `{tier}` could not take them: {why}")?;
        }
        Ok(())
    }
}
