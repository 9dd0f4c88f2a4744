//! `lifeboat verify --restore`: recover a server into a sandbox, and check what came back.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lifeboat_model::{AssetName, Exit, Outcome};
use lifeboat_ops::recovery::has_base_backups;
use lifeboat_ops::recovery::sandbox::Demand;
use lifeboat_ops::recovery::verified::{
    self, CheckResult, Moment, VerifiedOptions, VerifiedReport,
};
use lifeboat_ops::thaw::{ThawForecast, ThawOptions};
use lifeboat_postgres::enclosure::Isolation;
use serde::Serialize;

use crate::commands::restore::cluster::parse_target;
use crate::commands::thaw::{Attempt, ComeBack, ThawArguments, Words};
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page, Sort, time};
use crate::session::Session;
use crate::surroundings;
use crate::tier_argument::TierArgument;

/// What only the verification of a restore takes.
#[derive(Debug, Args)]
pub struct RestoredArguments {
    /// Recover this server from its base backup and its log, in a sandbox that can reach nothing, and check
    /// what came back: files, pages, tables and indexes, row counts, and the plan's questions
    #[arg(long, value_name = "ASSET")]
    restore: Option<AssetName>,
    /// Recover this moment: `latest`, a time, lsn:LSN, xid:XID, name:NAME or `immediate`
    /// [default: that at which rows were counted at the last base backup]
    #[arg(long, value_name = "TIME", requires = "restore")]
    at: Option<String>,
    /// Put the sandbox's files into this folder, which needs room for the whole server
    #[arg(long, value_name = "DIR", requires = "restore")]
    scratch: Option<PathBuf>,
    /// Do without namespaces where the host gives none: the server is then kept by settings alone
    #[arg(long, requires = "restore")]
    weak_isolation: bool,
    #[command(flatten)]
    cold: ThawArguments,
}

impl RestoredArguments {
    /// Tells whether a restore is to be verified.
    pub fn is_asked_for(&self) -> Result<bool, CommandError> {
        if self.restore.is_none() && self.cold.are_given() {
            let message = "`--thaw` and `--wait` are for a restore that is verified".to_owned();
            let hint = "add `--restore ASSET`; `lifeboat verify` says how much lies cold, and wakes nothing";
            return Err(CommandError::usage(message, hint));
        }
        Ok(self.restore.is_some())
    }

    /// Verifies a restore: 1 for what does not hold, 4 for what could not be checked.
    pub fn run(self, tiers: &[TierArgument], session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let asset = self.restore.clone().expect("it was asked for");
        site.asset(&asset)?;
        if !has_base_backups(&site, &asset) {
            let hint = "give an asset with base = \"physical\"; of others, `lifeboat restore --to DIR` is the proof";
            return Err(CommandError::usage(format!("`{asset}` has no base backups"), hint).into());
        }
        let tiers = TierArgument::all_of(tiers, &site)?;
        if tiers.len() > 1 {
            let message = "a restore is read from one tier".to_owned();
            return Err(CommandError::usage(message, "name one tier, or none").into());
        }
        let moment = match &self.at {
            None => Moment::Counted,
            Some(at) => Moment::At(parse_target(at)?),
        };
        let system = |source| CommandError::System { action: "find this program", source };
        let options = VerifiedOptions {
            asset,
            moment,
            tier: tiers.into_iter().next(),
            scratch: self.scratch.as_deref().map(surroundings::absolute).transpose()?,
            demand: if self.weak_isolation { Demand::WhatCanBeHad } else { Demand::Namespaces },
            own_program: std::env::current_exe().map_err(system)?,
            thaw: ThawOptions::default(),
        };
        let events = session.events();
        let attempt = self.cold.attempt(session, |thaw| {
            let options = VerifiedOptions { thaw, ..options.clone() };
            verified::verify_restore(&site, &options, &|_| {}, &*events, &session.cancel)
        });
        match attempt? {
            Attempt::Done(report) => {
                let exit = report.exit();
                session.end(&Verified(report), exit)
            }
            Attempt::Waits(forecast) => {
                let words = self.again(&forecast, session)?;
                ComeBack::end(forecast, &words, session)
            }
        }
    }

    /// Returns the words of the command that verifies the same, from the same tier.
    fn again(&self, forecast: &ThawForecast, session: &Session) -> Result<Words, Failure> {
        let mut words = Words::new(session)?;
        words.plain(["verify", forecast.tier.as_str()]);
        words.option("--restore", &self.restore);
        words.option("--at", &self.at);
        words.option("--scratch", self.scratch.as_ref().map(|path| path.display()));
        words.flags([("--weak-isolation", self.weak_isolation)]);
        Ok(words)
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Verified(VerifiedReport);

impl Answer for Verified {
    const SCHEMA: &'static str = "lifeboat.verify.restore/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let VerifiedReport { recovered, sandbox, checks, outcome, duration_ms, .. } = &self.0;
        writeln!(
            page,
            "{} at {} from {}, by the base backup of {}",
            recovered.asset,
            recovered.at,
            recovered.tier,
            time::instant(recovered.consistent)
        )?;
        if let Some(sandbox) = sandbox {
            writeln!(
                page,
                "restored in {}, replayed in {}",
                took(sandbox.restored_ms),
                took(sandbox.replayed_ms)
            )?;
            if let Isolation::SettingsOnly { why } = &sandbox.isolation {
                let word = page.paint.warning("warning");
                writeln!(page, "{word}: the server was kept by settings alone: {why}")?;
            }
        }
        let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
        for check in checks {
            write_check(check, width, page)?;
        }
        let outcome = page.paint.outcome(*outcome);
        writeln!(page, "{outcome} in {}", took(*duration_ms))
    }
}

pub fn write_check(check: &CheckResult, width: usize, page: &mut Page) -> fmt::Result {
    let CheckResult { name, outcome, message, findings, findings_more, duration_ms } = check;
    let word = page.paint.outcome(*outcome);
    // What is wrong says more than what would have been right.
    let message = match outcome {
        Outcome::Passed => message.as_str(),
        _ if findings.is_empty() => message.as_str(),
        _ => "",
    };
    writeln!(page, "{name:width$}  {word} in {}  {message}", took(*duration_ms))?;
    for finding in findings {
        writeln!(page, "    {finding}")?;
    }
    if *findings_more > 0 {
        writeln!(page, "    and {findings_more} more")?;
    }
    Ok(())
}

pub fn took(duration_ms: u64) -> String {
    time::duration(Duration::from_millis(duration_ms))
}
