//! `lifeboat tiers mark`: puts the mark of a tier back that lost it.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::Exit;
use lifeboat_ops::wire::marking::{self, Deed, Marked};
use serde::Serialize;

use crate::failure::Failure;
use crate::render::{Answer, Page};
use crate::session::Session;
use crate::tier_argument::TierArgument;

/// The arguments of `lifeboat tiers mark`.
#[derive(Debug, Args)]
pub struct Mark {
    /// Of this tier, by name or address
    #[arg(value_name = "TIER")]
    tier: TierArgument,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Done(Marked);

impl Answer for Done {
    const SCHEMA: &'static str = "lifeboat.tiers.mark/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Marked { tier, address, site, deed } = &self.0;
        match deed {
            Deed::WasThere => writeln!(page, "{tier} at {address} is marked as {site}'s already"),
            Deed::PutBack => writeln!(
                page,
                "{tier} at {address} is {site}'s by its repository and its records, and is marked as that again"
            ),
        }
    }
}

impl Mark {
    /// Marks the tier, if the recovery key opens what lies there and records of the site tell of it.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let marked = marking::mark(&site, &self.tier.of(&site)?, &session.cancel)?;
        session.done(&Done(marked))
    }
}
