//! `lifeboat postgres remove`: takes back what `postgres setup` did.

use clap::Args;
use lifeboat_model::Exit;
use lifeboat_ops::server_setup;
use lifeboat_postgres::setup::Foreign;

use super::{Changed, Server};
use crate::failure::Failure;
use crate::session::Session;

/// The arguments of `lifeboat postgres remove`.
#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    server: Server,
}

impl Remove {
    /// Takes it back; ends with 3 while the rest waits for a restart.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let options = self.server.options(Foreign::Keep);
        if self.server.dry_run || self.server.print_sql {
            let preview = server_setup::preview_removal(&site, &options, &session.cancel)?;
            return self.server.show(preview, session);
        }
        let report = server_setup::take_back(&site, &options, &session.cancel)?;
        let exit = report.exit();
        session.end(&Changed(report), exit)
    }
}
