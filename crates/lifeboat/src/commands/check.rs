//! `lifeboat check`: whether the plan is sound, and whether it could run now.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{Exit, Outcome, counted};
use lifeboat_ops::readiness::{self, Answer as Answered, ReadinessReport, Subject};
use lifeboat_plan::Diagnostic;
use serde::Serialize;

use crate::failure::Failure;
use crate::render::{self, Answer, Page, Sort, Table};
use crate::session::Session;
use crate::{plan_file, render::diagnostic};

/// The arguments of `lifeboat check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Stop after the lint: ask no tier, database or key
    #[arg(long)]
    lint_only: bool,
}

#[derive(Serialize)]
struct Checked {
    /// Warnings and notes; a plan with errors is an error of the command.
    diagnostics: Vec<Diagnostic>,
    /// Absent when only the lint was asked for.
    readiness: Option<ReadinessReport>,
    #[serde(skip)]
    quiet: bool,
}

impl Answer for Checked {
    const SCHEMA: &'static str = "lifeboat.check/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        for found in self.diagnostics.iter().filter(|_| !self.quiet) {
            writeln!(page, "{}\n", diagnostic::text(found, page.paint))?;
        }
        let warnings = self.diagnostics.len();
        let word = page.paint.outcome(Outcome::Passed);
        match warnings {
            0 => writeln!(page, "the plan is sound: {word}")?,
            _ => writeln!(
                page,
                "the plan can be used, with {}: {word}",
                counted(warnings, "remark")
            )?,
        }
        self.readiness.as_ref().map_or(Ok(()), |report| write_readiness(report, page))
    }
}

fn write_readiness(report: &ReadinessReport, page: &mut Page) -> fmt::Result {
    let mut table = Table::new(["About", "What has to hold", "Result"]);
    for answer in &report.answers {
        let about = match &answer.subject {
            Subject::Key => "recovery key".to_owned(),
            Subject::State => "this host".to_owned(),
            Subject::Tier(tier) => format!("tier {tier}"),
            Subject::Asset(asset) => format!("asset {asset}"),
        };
        table.row([about.into(), answer.what.as_str().into(), answer.outcome.into()]);
    }
    writeln!(page)?;
    page.table(&table);
    let told = |answer: &&Answered| answer.outcome != Outcome::Passed || answer.message.is_some();
    for answer in report.answers.iter().filter(told) {
        let word = match answer.outcome {
            Outcome::Passed => page.paint.warning("note"),
            outcome => page.paint.outcome(outcome),
        };
        let message = answer.message.as_deref().unwrap_or("it does not hold");
        writeln!(page, "\n{word}: {}: {message}", answer.what)?;
        if let Some(hint) = &answer.hint {
            let word = page.paint.good("hint");
            writeln!(page, "{word}: {hint}")?;
        }
    }
    let word = page.paint.outcome(report.outcome);
    writeln!(page, "\ncould it run now: {word}")
}

impl Check {
    /// Lints the plan, then asks whether it could run: 1 when it could not, 4 when that is unknown.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let checked = plan_file::check(session)?;
        let diagnostics = checked.diagnostics.clone();
        let quiet = session.screen.quiet;
        if self.lint_only {
            return session.done(&Checked { diagnostics, readiness: None, quiet });
        }
        let site = session.site_of(checked)?;
        let report = readiness::readiness(&site, &*session.events(), &session.cancel)?;
        let exit = render::exit_of(report.outcome);
        session.end(&Checked { diagnostics, readiness: Some(report), quiet }, exit)
    }
}
