//! `lifeboat evidence times`: the plan's estimates with what was measured beside them.

use std::fmt::{self, Write as _};
use std::time::Duration;

use clap::Args;
use lifeboat_model::{Exit, Outcome, ScenarioName};
use lifeboat_ops::evidence::document::{EstimateKept, Limited, ObjectiveKept};
use lifeboat_ops::evidence::trend::{self, MeasuredRun, ScenarioTimes, TimesTable, Trend};
use lifeboat_ops::procedure::Procedure;
use lifeboat_plan::plan::runbook::RunKind;
use serde::Serialize;

use crate::failure::Failure;
use crate::render::{Answer, Cell, Page, Table, Tone, time};
use crate::session::Session;
use crate::tier_argument::TierArgument;

/// The arguments of `lifeboat evidence times`.
#[derive(Debug, Args)]
pub struct Times {
    /// Show this scenario in full: every run with its parts, every estimate of its runbook
    #[arg(value_name = "SCENARIO")]
    scenario: Option<ScenarioName>,
    /// Read this tier, by name or address, not what this host knows
    #[arg(long, value_name = "TIER")]
    from: Option<TierArgument>,
}

/// Writes so many milliseconds.
pub(crate) fn text(ms: u64) -> String {
    time::duration(Duration::from_millis(ms))
}

fn or_dash(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), text)
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    table: TimesTable,
    #[serde(skip)]
    is_in_full: bool,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.evidence.times/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let head = [
            "Scenario",
            "Class",
            ">RTO",
            ">RPO",
            ">Estimate",
            ">Measured",
            ">Lost",
            "Last run",
            "Trend",
        ];
        let mut table = Table::new(head);
        for scenario in &self.table.scenarios {
            row(scenario, &mut table);
        }
        page.table(&table);
        if self.is_in_full {
            for scenario in &self.table.scenarios {
                write_runs(&scenario.runs, page)?;
                write_estimates(&scenario.estimates, page)?;
            }
        }
        Ok(())
    }
}

fn row(scenario: &ScenarioTimes, table: &mut Table) {
    let run = scenario.runs.first();
    let measured = run.map(|run| {
        let is_late = scenario.rto_ms.is_some_and(|rto| run.times.total_ms > rto);
        let tone = if is_late || run.outcome == Outcome::Failed { Tone::Bad } else { Tone::Good };
        Cell::new(text(run.times.total_ms), tone)
    });
    let last = run.map_or_else(
        || "never measured".to_owned(),
        |run| format!("{} {}, {}", time::instant(run.declared), run.of.name(), run.outcome),
    );
    table.row([
        scenario.scenario.as_str().into(),
        scenario.class.as_ref().map(ToString::to_string).unwrap_or_default().into(),
        or_dash(scenario.rto_ms).into(),
        or_dash(scenario.rpo_ms).into(),
        scenario.estimate.clone().unwrap_or_else(|| "-".to_owned()).into(),
        measured.unwrap_or_else(|| "-".into()),
        or_dash(run.and_then(|run| run.lost_ms)).into(),
        last.into(),
        direction(scenario.trend),
    ]);
}

fn direction(trend: Trend) -> Cell {
    match trend {
        Trend::Unknown => Cell::new("-", Tone::Aside),
        Trend::Steady => "as before".into(),
        Trend::Faster { percent } => Cell::new(format!("{percent}% faster"), Tone::Good),
        Trend::Slower { percent } => Cell::new(format!("{percent}% slower"), Tone::Bad),
    }
}

/// Writes every run with its parts, the newest first.
fn write_runs(runs: &[MeasuredRun], page: &mut Page) -> fmt::Result {
    if runs.is_empty() {
        return Ok(());
    }
    writeln!(page)?;
    let head = [
        "Declared",
        "Of",
        ">Decide",
        ">Prepare",
        ">Fetch",
        ">Restore",
        ">Replay",
        ">Start",
        ">Validate",
        ">People",
        ">Idle",
        ">In all",
        "Verdict",
    ];
    let mut table = Table::new(head);
    for run in runs {
        let part = |name: &str| text(run.times.phases_ms.get(name).copied().unwrap_or(0));
        table.row([
            time::instant(run.declared).into(),
            run.of.name().into(),
            part("decide").into(),
            part("prepare").into(),
            part("fetch").into(),
            part("restore").into(),
            part("replay").into(),
            part("start").into(),
            part("validate").into(),
            text(run.times.people_ms).into(),
            text(run.times.standstill_ms).into(),
            text(run.times.total_ms).into(),
            run.outcome.into(),
        ]);
    }
    page.table(&table);
    Ok(())
}

/// Writes what the plan thought, with what was measured beside it.
pub(crate) fn write_estimates(estimates: &[EstimateKept], page: &mut Page) -> fmt::Result {
    if estimates.is_empty() {
        return Ok(());
    }
    writeln!(page)?;
    let mut table = Table::new(["Estimate of", ">Plan", ">Measured"]);
    for kept in estimates {
        let measured = match kept.measured_ms {
            None => Cell::new("not measured", Tone::Aside),
            Some(ms) if ms > kept.most_ms => Cell::new(text(ms), Tone::Bad),
            Some(ms) => Cell::new(text(ms), Tone::Good),
        };
        table.row([kept.of.as_str().into(), kept.estimate.as_str().into(), measured]);
    }
    page.table(&table);
    Ok(())
}

/// Writes what the plan allows, with what was measured beside it.
pub(crate) fn write_objectives(objectives: &[ObjectiveKept], page: &mut Page) -> fmt::Result {
    if objectives.is_empty() {
        return Ok(());
    }
    writeln!(page)?;
    let mut table = Table::new(["Objective", ">Allowed", ">Measured", ""]);
    for kept in objectives {
        let name = match kept.limited {
            Limited::Rto => "RTO",
            Limited::Rpo => "RPO",
        };
        let tone = kept.outcome.into();
        let measured = kept.measured_ms.map_or_else(|| "not measured".to_owned(), text);
        table.row([
            format!("{name} of {}", kept.of).into(),
            text(kept.limit_ms).into(),
            Cell::new(measured, tone),
            Cell::new(kept.message.as_str(), Tone::Aside),
        ]);
    }
    page.table(&table);
    Ok(())
}

impl Times {
    /// Runs the command.
    pub(super) fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let only = self.scenario.as_ref();
        if let Some(scenario) = only {
            // Says which ones there are.
            Procedure::of(site.plan(), scenario, RunKind::Recovery)?;
        }
        let records = super::records(&site, self.from.as_ref(), session)?;
        let table = trend::times(site.plan(), &records, only);
        session.done(&Shown { table, is_in_full: only.is_some() })
    }
}
