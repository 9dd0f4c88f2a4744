//! What was measured over time: of each scenario its plan's estimates with measured values beside them, and the way they go.
//! Pure.

use std::collections::BTreeMap;

use lifeboat_model::{ClassName, Outcome, RecordId, ScenarioName, Timestamp};
use lifeboat_plan::Plan;
use serde::Serialize;

use super::document::{EstimateKept, Kind, Limited, TimesKept};
use super::evidence_in;
use crate::catalog::record::Record;
use crate::procedure::report::milliseconds;

/// The version of [`TimesTable`] as JSON.
pub const SCHEMA: u32 = 1;

/// So many runs of a scenario are told.
const RUNS_MAX: usize = 12;

/// A change of less than so many percent tells nothing.
const STEADY_PERCENT: u64 = 10;

/// What was measured of the scenarios of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimesTable {
    /// The version of this document.
    pub schema: u32,
    /// Each scenario.
    pub scenarios: Vec<ScenarioTimes>,
}

/// A scenario as the plan thinks of it, and as it was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScenarioTimes {
    /// Which.
    pub scenario: ScenarioName,
    /// How much it matters.
    pub class: Option<ClassName>,
    /// How long it may take, in milliseconds.
    pub rto_ms: Option<u64>,
    /// How much may be lost, in milliseconds.
    pub rpo_ms: Option<u64>,
    /// How long the plan thinks that it takes.
    pub estimate: Option<String>,
    /// What was measured, the newest first.
    pub runs: Vec<MeasuredRun>,
    /// What the newest run that succeeded says of each estimate.
    pub estimates: Vec<EstimateKept>,
    /// Which way it goes.
    pub trend: Trend,
}

/// A run that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MeasuredRun {
    /// Its evidence.
    pub record: RecordId,
    /// Recovery or drill.
    pub of: Kind,
    /// Which run.
    pub run: String,
    /// When it was declared.
    pub declared: Timestamp,
    /// The verdict.
    pub outcome: Outcome,
    /// Where the time went.
    pub times: TimesKept,
    /// How much was lost, in milliseconds.
    pub lost_ms: Option<u64>,
}

impl MeasuredRun {
    /// Returns how long it took without waiting for people, in milliseconds.
    pub const fn worked_ms(&self) -> u64 {
        self.times.total_ms.saturating_sub(self.times.people_ms)
    }
}

/// Which way the times of a scenario go; people's time is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "trend", rename_all = "kebab-case")]
pub enum Trend {
    /// Fewer than two runs succeeded.
    Unknown,
    /// It takes as long as before.
    Steady,
    /// It takes less than before.
    Faster {
        /// By how much, in percent of the median before.
        percent: u64,
    },
    /// It takes longer than before.
    Slower {
        /// By how much, in percent of the median before.
        percent: u64,
    },
}

/// Gathers what evidence tells of the scenarios of a plan; `only` one of them, if that is asked for.
pub fn times(plan: &Plan, evidence: &[Record], only: Option<&ScenarioName>) -> TimesTable {
    let runs = runs(evidence);
    let wanted = plan.scenarios().iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
    let scenarios = wanted.map(|(name, scenario)| {
        let own = runs.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
        let newest = own.iter().find(|(run, _)| run.outcome == Outcome::Passed);
        let measured: Vec<_> = own.iter().map(|(run, _)| run.clone()).collect();
        let class = scenario.class.as_ref().and_then(|class| plan.classes().get(class));
        let rto = scenario.rto.or(class.and_then(|class| class.rto));
        ScenarioTimes {
            scenario: name.clone(),
            class: scenario.class.clone(),
            rto_ms: rto.map(|rto| milliseconds(rto.duration())),
            rpo_ms: scenario.rpo.map(|rpo| milliseconds(rpo.duration())),
            estimate: scenario.estimate.as_ref().map(ToString::to_string),
            estimates: newest.map(|(_, estimates)| estimates.clone()).unwrap_or_default(),
            trend: trend(&measured),
            runs: measured.into_iter().take(RUNS_MAX).collect(),
        }
    });
    TimesTable { schema: SCHEMA, scenarios: scenarios.collect() }
}

/// What a run measured, and what its plan had thought.
type Run = (MeasuredRun, Vec<EstimateKept>);

fn runs(evidence: &[Record]) -> BTreeMap<String, Vec<Run>> {
    let mut runs: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    for record in evidence {
        let Some(own) = evidence_in(record) else { continue };
        let facts = &own.facts;
        if facts.of == Kind::RestoreTest {
            continue;
        }
        let lost = facts.objectives.iter().filter(|kept| kept.limited == Limited::Rpo);
        let measured = MeasuredRun {
            record: record.id(),
            of: facts.of,
            run: facts.run.clone(),
            declared: facts.declared,
            outcome: facts.outcome,
            times: facts.times.clone(),
            lost_ms: lost.filter_map(|kept| kept.measured_ms).max(),
        };
        runs.entry(facts.subject.clone()).or_default().push((measured, facts.estimates.clone()));
    }
    for own in runs.values_mut() {
        own.sort_by_key(|(run, _)| std::cmp::Reverse((run.declared, run.record)));
    }
    runs
}

/// Holds the newest run that succeeded against the median of those before it.
pub fn trend(newest_first: &[MeasuredRun]) -> Trend {
    let passed = newest_first.iter().filter(|run| run.outcome == Outcome::Passed);
    let mut worked: Vec<_> = passed.map(MeasuredRun::worked_ms).collect();
    if worked.len() < 2 {
        return Trend::Unknown;
    }
    let newest = worked.remove(0);
    worked.sort_unstable();
    let median = worked[worked.len() / 2].max(1);
    let change = (i128::from(newest) - i128::from(median)) * 100 / i128::from(median);
    let percent = u64::try_from(change.unsigned_abs()).unwrap_or(u64::MAX);
    match change {
        _ if percent < STEADY_PERCENT => Trend::Steady,
        change if change < 0 => Trend::Faster { percent },
        _ => Trend::Slower { percent },
    }
}
