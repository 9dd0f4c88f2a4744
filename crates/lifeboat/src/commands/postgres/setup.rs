//! `lifeboat postgres setup`: makes the role, sets archiving, proves it.

use clap::Args;
use lifeboat_model::Exit;
use lifeboat_ops::server_setup;
use lifeboat_postgres::setup::Foreign;

use super::{Changed, Server};
use crate::failure::Failure;
use crate::session::Session;

/// The arguments of `lifeboat postgres setup`.
#[derive(Debug, Args)]
pub struct Setup {
    #[command(flatten)]
    server: Server,
    /// Replace an archive_command that is somebody else's; it is kept, and `remove` brings it back
    #[arg(long)]
    replace: bool,
}

impl Setup {
    /// Sets the server up; ends with 3 while that waits for a restart.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let foreign = if self.replace { Foreign::Replace } else { Foreign::Keep };
        let options = self.server.options(foreign);
        if self.server.dry_run || self.server.print_sql {
            let preview = server_setup::preview(&site, &options, &session.cancel)?;
            return self.server.show(preview, session);
        }
        let report = server_setup::set_up(&site, &options, &session.cancel)?;
        let exit = report.exit();
        session.end(&Changed(report), exit)
    }
}
