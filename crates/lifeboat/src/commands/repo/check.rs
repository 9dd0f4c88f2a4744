//! `lifeboat repo check`: check that a repository is whole.

use std::fmt::{self, Write as _};
use std::time::Duration;

use clap::Args;
use lifeboat_model::{Exit, Outcome, counted};
use lifeboat_plan::value::percent::Percent;
use lifeboat_repository::check::{self, CheckOptions, CheckReport, Part, ReadData, RollingShare};
use lifeboat_repository::profile::{Profile, ProfileReport};
use serde::Serialize;

use super::Access;
use crate::failure::Failure;
use crate::render::{self, Answer, Page, Sort};
use crate::session::Session;

/// Within which time runs that read a share go round, where no plan says otherwise.
const CYCLE: Duration = Duration::from_hours(30 * 24);

/// The arguments of `lifeboat repo check`.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    access: Access,
    /// Read the stored data too: all of it, or a share like `--read-data=5%`, which goes round by the
    /// clock: runs at most 36 hours apart read everything in 30 days
    #[arg(
        long,
        value_name = "SHARE",
        num_args = 0..=1,
        default_missing_value = "100%",
        require_equals = true,
        value_parser = share
    )]
    read_data: Option<Percent>,
    /// Read one of several parts of the stored data, like `1/7`, or a share like `5%`: whoever reads
    /// each part once has read everything
    #[arg(long, value_name = "PART", value_parser = subset, conflicts_with = "read_data")]
    read_data_subset: Option<Subset>,
    /// Tell what the time went into while data was read
    #[arg(long)]
    profile: bool,
}

/// How much of the data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subset {
    Share(Percent),
    Part(Part),
}

/// Parses a percentage that is more than nothing: what reads nothing must not look as if it had proven
/// anything.
fn share(text: &str) -> Result<Percent, String> {
    match text.parse() {
        Ok(Percent::NONE) => {
            Err("nothing would be read; without it only the structure is checked".into())
        }
        Ok(share) => Ok(share),
        Err(error) => Err(format!("{error}")),
    }
}

/// Parses `n/t`, or a percentage.
fn subset(text: &str) -> Result<Subset, String> {
    let Some((number, of)) = text.split_once('/') else {
        return share(text).map(Subset::Share);
    };
    let part = number.parse().ok().zip(of.parse().ok());
    part.and_then(|(number, of)| Part::new(number, of))
        .map(Subset::Part)
        .ok_or_else(|| format!("expected a part like `1/7`, of at most 255, not `{text}`"))
}

#[derive(Serialize)]
struct Checked {
    outcome: Outcome,
    #[serde(flatten)]
    report: CheckReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<ProfileReport>,
}

impl Answer for Checked {
    const SCHEMA: &'static str = "lifeboat.repo.check/1";

    fn sort(&self) -> Sort {
        if self.profile.is_some() { Sort::Data } else { Sort::Summary }
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let CheckReport { findings, snapshots, trees, packs, packs_read, .. } = &self.report;
        render::findings(findings, page)?;
        if let Some(profile) = &self.profile {
            render::profile::write(profile, page)?;
        }
        let outcome = page.paint.outcome(self.outcome);
        writeln!(
            page,
            "{outcome}: {}, {}, {}, {packs_read} of them read",
            counted(*snapshots, "snapshot"),
            counted(*trees, "directory"),
            counted(*packs, "pack")
        )
    }
}

impl Check {
    /// Checks the repository: 1 for damage, 4 for what could not be looked at.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (repository, lock) = self.access.begin(session)?;
        let data = match self.read_data.map(Subset::Share).or(self.read_data_subset) {
            None => ReadData::None,
            Some(Subset::Part(part)) => ReadData::Part(part),
            Some(Subset::Share(share)) => read_data(share, session),
        };
        let profile = if self.profile { Profile::measuring() } else { Profile::off() };
        let events = session.events();
        let options = CheckOptions { data };
        let (events, cancel) = (&*events, &session.cancel);
        let checked = check::check_measured(&repository, &options, &profile, events, cancel);
        super::end_lock(lock)?;
        let report = checked?;
        let outcome = report.outcome();
        let profile = profile.report();
        session.end(&Checked { outcome, report, profile }, render::exit_of(outcome))
    }
}

/// Turns a share into packs: each run reads those whose turn it is, so that runs add up to all.
fn read_data(share: Percent, session: &Session) -> ReadData {
    if share == Percent::whole(100) {
        return ReadData::All;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 1 to 100")]
    let percent = (share.fraction() * 100.0).ceil() as u8;
    ReadData::Share(RollingShare::of_percent(percent, session.clock.now(), CYCLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_shares_are_written_as_restic_does() {
        assert_eq!(subset("2/7"), Ok(Subset::Part(Part::new(2, 7).unwrap())));
        assert_eq!(subset("5%"), Ok(Subset::Share(Percent::whole(5))));
        for bad in ["0/7", "8/7", "1/256", "1/", "/", "x", "0%", "0.0%"] {
            assert!(subset(bad).is_err(), "{bad}");
        }
    }
}
