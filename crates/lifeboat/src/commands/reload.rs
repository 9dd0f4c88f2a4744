//! `lifeboat reload`: the daemon reads the plan anew.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{Exit, PlanId};
use lifeboat_ops::daemon::control::{Ask, Reply};
use serde::Serialize;

use super::jobs::unexpected;
use crate::daemon;
use crate::failure::Failure;
use crate::render::{Answer, Page, Sort};
use crate::session::Session;

/// The arguments of `lifeboat reload`.
#[derive(Debug, Args)]
pub struct Reload {}

#[derive(Serialize)]
struct Shown {
    plan: PlanId,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.reload/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "plan {} is in force", self.plan)
    }
}

impl Reload {
    /// Asks the daemon; a plan that does not hold is refused, and the one before stays in force.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let Self {} = self;
        // The daemon reads one that does not hold too, and tells of it from then on.
        let asked = daemon::ask_in_force(session, &Ask::Reload);
        // What is wrong with it is shown as every command shows it.
        session.site()?;
        match asked? {
            Reply::Reloaded { plan } => session.done(&Shown { plan }),
            _ => Err(unexpected()),
        }
    }
}
