//! `lifeboat repo check`: check that a repository is whole.

use std::fmt::{self, Write as _};
use std::time::Duration;

use clap::Args;
use lifeboat_model::{Exit, Outcome};
use lifeboat_plan::value::percent::Percent;
use lifeboat_repository::check::{self, CheckOptions, CheckReport, ReadData, RollingShare};
use lifeboat_repository::lock::LockKind;
use serde::Serialize;

use super::Access;
use crate::failure::Failure;
use crate::render::{self, Answer, Page};
use crate::session::Session;

/// Within which time runs that read a share go round, where no plan says otherwise.
const CYCLE: Duration = Duration::from_hours(30 * 24);

/// The arguments of `lifeboat repo check`.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    access: Access,
    /// Read the stored data too: all of it, or a share like `--read-data=5%`
    #[arg(
        long,
        value_name = "SHARE",
        num_args = 0..=1,
        default_missing_value = "100%",
        require_equals = true
    )]
    read_data: Option<Percent>,
}

#[derive(Serialize)]
struct Checked {
    outcome: Outcome,
    #[serde(flatten)]
    report: CheckReport,
}

impl Answer for Checked {
    const SCHEMA: &'static str = "lifeboat.repo.check/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let CheckReport { findings, snapshots, trees, packs, packs_read, .. } = &self.report;
        render::findings(findings, page)?;
        let outcome = page.paint.outcome(self.outcome);
        writeln!(
            page,
            "{outcome}: {snapshots} snapshots, {trees} directories, {packs} packs, {packs_read} of them read"
        )
    }
}

impl Check {
    /// Checks the repository: 1 for damage, 4 for what could not be looked at.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (repository, lock) = self.access.open_uncached(LockKind::Shared, session)?;
        let data = match self.read_data {
            None => ReadData::None,
            Some(share) => read_data(share, session),
        };
        let events = session.events();
        let checked = check::check(&repository, &CheckOptions { data }, &*events, &session.cancel);
        super::end_lock(lock)?;
        let report = checked?;
        let outcome = report.outcome();
        session.end(&Checked { outcome, report }, render::exit_of(outcome))
    }
}

/// Turns a share into packs: each run reads those whose turn it is, so that runs add up to all.
fn read_data(share: Percent, session: &Session) -> ReadData {
    if share == Percent::NONE {
        return ReadData::None;
    }
    if share == Percent::whole(100) {
        return ReadData::All;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 1 to 100")]
    let percent = (share.fraction() * 100.0).ceil() as u8;
    ReadData::Share(RollingShare::of_percent(percent, session.clock.now(), CYCLE))
}
