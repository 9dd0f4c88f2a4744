//! `lifeboat pause`, `lifeboat resume`: nothing is begun for a while.

use std::fmt::{self, Write as _};
use std::time::Duration;

use clap::Args;
use lifeboat_model::Exit;
use lifeboat_ops::daemon::control::{Ask, Reply};
use lifeboat_ops::schedule::Pause as Paused;
use lifeboat_plan::value::duration::Span;
use serde::Serialize;

use super::jobs::unexpected;
use crate::daemon;
use crate::failure::Failure;
use crate::render::{Answer, Page, Sort, time};
use crate::session::Session;

/// The arguments of `lifeboat pause`.
#[derive(Debug, Args)]
pub struct Pause {
    /// Begin nothing for so long, like 2h; it ends by itself
    #[arg(long = "for", value_name = "DURATION")]
    length: Span,
    /// Say why, for whoever wonders that nothing is done
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// The arguments of `lifeboat resume`.
#[derive(Debug, Args)]
pub struct Resume {}

#[derive(Serialize)]
struct Shown {
    pause: Option<Paused>,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.pause/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        match &self.pause {
            Some(pause) => writeln!(page, "nothing begins until {}", time::instant(pause.until)),
            None => writeln!(page, "what is due begins"),
        }
    }
}

impl Pause {
    /// Asks the daemon to begin nothing; what runs goes on.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let for_s = Duration::from(self.length).as_secs();
        let ask = Ask::Pause { for_s, why: self.why };
        match daemon::ask_in_force(session, &ask)? {
            Reply::Paused { pause } => session.done(&Shown { pause: Some(pause) }),
            _ => Err(unexpected()),
        }
    }
}

impl Resume {
    /// Ends the pause.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let Self {} = self;
        match daemon::ask_in_force(session, &Ask::Resume)? {
            Reply::Done => session.done(&Shown { pause: None }),
            _ => Err(unexpected()),
        }
    }
}
