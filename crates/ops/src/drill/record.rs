//! What a drill showed, as it is recorded.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{
    DrillName, EntryId, Outcome, RunId, RunbookId, ScenarioName, StepName, Timestamp,
};
use lifeboat_plan::plan::runbook::Action;
use lifeboat_plan::plan::timetable::Drill;
use lifeboat_plan::value::template::Template;
use lifeboat_runbook::{Phase, Run, Stand};
use serde::{Deserialize, Serialize};

use super::checklist;
use super::findings::Finding;
use super::keeper::Kept;
use super::preparation::Prepared;
use super::teardown::Teardown;
use crate::evidence::measure::{loss_of_scenario, objectives};
use crate::procedure::Procedure;
use crate::procedure::conduct::POINT_TIME;
use crate::procedure::outlook::rto;
use crate::procedure::report::milliseconds;
use crate::procedure::values::Values;
use crate::wire::Site;

/// A drill is over; written once everything of it is gone again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillEnded {
    /// Which run.
    pub run: RunId,
    /// Which drill of the plan, if it is one.
    pub drill: Option<DrillName>,
    /// Of what.
    pub scenario: ScenarioName,
    /// The hash of what its runbook says; absent for one that was killed.
    pub runbook: Option<RunbookId>,
    /// The verdict over all of it.
    pub outcome: Outcome,
    /// Why it ended early, if it did.
    pub trouble: Option<String>,
    /// How the run ended, if it did.
    pub ran: Option<lifeboat_runbook::Outcome>,
    /// The time of the point that it came back to, if it restored anything.
    pub point: Option<Timestamp>,
    /// What was done before the declaration, if the scenario happens to a platform that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<Prepared>,
    /// When it was begun.
    pub started: Timestamp,
    /// The hash of the journal's last entry, which holds all of it; absent if nothing was declared.
    pub journal: Option<EntryId>,
    /// How many entries the journal has.
    pub entries: u64,
    /// From the declaration to the end of the run, in milliseconds.
    pub total_ms: u64,
    /// What each part took, in milliseconds.
    pub phases_ms: BTreeMap<Phase, u64>,
    /// How long nothing but a person was waited for, in milliseconds.
    pub people_ms: u64,
    /// How long nothing happened, in milliseconds.
    pub standstill_ms: u64,
    /// How long it may take, in milliseconds.
    pub rto_ms: Option<u64>,
    /// How much of the newest data would have been lost, in milliseconds.
    pub loss_ms: Option<u64>,
    /// How much may be lost, in milliseconds.
    pub rpo_ms: Option<u64>,
    /// The points of the check-list.
    pub checklist: Vec<PointChecked>,
    /// Steps that were not done in earnest.
    pub simulated: Vec<SimulatedStep>,
    /// What came to those who stand for services of others.
    pub sinks: Vec<SinkSaw>,
    /// What is to be mended.
    pub findings: Vec<Finding>,
    /// What was looked for afterwards, and found.
    pub teardown: Teardown,
    /// How long all of it took, with building and tearing down, in milliseconds.
    pub duration_ms: u64,
}

impl DrillEnded {
    /// Of a drill of which nothing is known but that it was begun, and that it is gone.
    pub(super) fn begun(
        (run, scenario, started): (RunId, ScenarioName, Timestamp),
        teardown: Teardown,
    ) -> Self {
        Self {
            run,
            drill: None,
            scenario,
            runbook: None,
            outcome: Outcome::Failed,
            trouble: None,
            ran: None,
            point: None,
            prepared: None,
            started,
            journal: None,
            entries: 0,
            total_ms: 0,
            phases_ms: BTreeMap::new(),
            people_ms: 0,
            standstill_ms: 0,
            rto_ms: None,
            loss_ms: None,
            rpo_ms: None,
            checklist: Vec::new(),
            simulated: Vec::new(),
            sinks: Vec::new(),
            findings: Vec::new(),
            teardown,
            duration_ms: 0,
        }
    }
}

/// A point of the check-list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointChecked {
    /// What it says.
    pub says: String,
    /// Whether it holds.
    pub outcome: Outcome,
    /// What was asked, and what was answered.
    pub message: String,
}

/// A step that was not done in earnest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulatedStep {
    /// Which.
    pub step: StepName,
    /// What was not done.
    pub what: String,
}

/// What came to somebody who stands for a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkSaw {
    /// Which service.
    pub address: String,
    /// How much came.
    pub came: u64,
    /// The beginning of what came last, for whoever wants to see it.
    pub last: Option<String>,
}

/// What a record is made of.
pub(super) struct Facts<'a> {
    pub(super) site: &'a Site,
    pub(super) procedure: &'a Procedure,
    pub(super) id: RunId,
    pub(super) name: Option<DrillName>,
    pub(super) planned: Option<&'a Drill>,
    pub(super) started: Timestamp,
    pub(super) run: Option<&'a Run>,
    /// The steps that no person answered.
    pub(super) unanswered: &'a BTreeSet<StepName>,
}

impl Facts<'_> {
    /// Puts together what is known at the end, but for the findings.
    pub(super) fn ended(
        &self,
        (trouble, kept): (Option<String>, Kept),
        teardown: Teardown,
        now: Timestamp,
    ) -> DrillEnded {
        let Self { site, procedure, run, .. } = self;
        let times = run.map(|run| run.times(run.last_time())).unwrap_or_default();
        let rto = rto(site, procedure);
        let began = run.map(|run| &run.began().about);
        let point = began.and_then(|about| about.get(POINT_TIME)?.parse().ok());
        let ran = run.and_then(|run| match run.mood() {
            lifeboat_runbook::Mood::Finished(outcome) => Some(*outcome),
            _ => None,
        });
        let mut checklist = checklist::of_run(procedure, *run);
        let unasked = || checklist::unasked(site, procedure, self.planned);
        checklist.extend(if kept.points.is_empty() { unasked() } else { kept.points });
        checklist.extend(rto.map(|rto| checklist::in_time(ran, times.total, rto)));
        let objectives = run.map(|run| objectives(site.plan(), procedure, run)).unwrap_or_default();
        let loss = loss_of_scenario(&objectives);
        checklist.extend(loss.map(checklist::little_lost));
        let simulated = self.simulated();
        let of_points = checklist.iter().map(|point| point.outcome).max();
        let of_run = match (ran, &trouble) {
            (Some(lifeboat_runbook::Outcome::Succeeded), None) => Outcome::Passed,
            _ => Outcome::Failed,
        };
        DrillEnded {
            drill: self.name.clone(),
            runbook: Some(procedure.runbook().id),
            outcome: of_run.max(of_points.unwrap_or(Outcome::Passed)).max(teardown.outcome()),
            trouble,
            ran,
            point,
            prepared: kept.prepared,
            journal: run.map(Run::last),
            entries: run.map_or(0, Run::count),
            total_ms: milliseconds(times.total),
            phases_ms: times.phases.iter().map(|(p, time)| (*p, milliseconds(*time))).collect(),
            people_ms: milliseconds(times.people),
            standstill_ms: milliseconds(times.standstill),
            rto_ms: rto.map(milliseconds),
            loss_ms: loss.map_or(kept.loss_ms, |loss| loss.measured_ms),
            rpo_ms: loss.map(|loss| loss.limit_ms),
            checklist,
            simulated,
            sinks: kept.sinks,
            duration_ms: milliseconds(
                now.duration_since(self.started).try_into().unwrap_or_default(),
            ),
            ..DrillEnded::begun((self.id, procedure.name().clone(), self.started), teardown)
        }
    }

    /// Names the steps that were left out, that nobody answered, and that told nobody.
    fn simulated(&self) -> Vec<SimulatedStep> {
        let Some(run) = self.run else { return Vec::new() };
        let values = Values::of_run(self.site.plan(), self.procedure, run);
        // What steps gave may hold secrets, and this is kept.
        let text = |template: &Template| values.text(template, &[]);
        let mut simulated = Vec::new();
        for (step, course) in run.steps() {
            let name = &step.name;
            let planned = self.procedure.step(name).map(|step| &step.action);
            let what = match (&course.stand, planned) {
                (Stand::LeftOut { why }, _) => Some(format!("left out: {why}")),
                (Stand::Done, Some(Action::Notify(notify))) => {
                    Some(format!("told nobody: {}", text(&notify.notify.message)))
                }
                (Stand::Done, Some(Action::Manual(_) | Action::Rotate(_) | Action::Approve(_))) => {
                    self.answered(name, text)
                }
                _ => None,
            };
            simulated.extend(what.map(|what| SimulatedStep { step: name.clone(), what }));
        }
        simulated
    }

    /// Says that nobody answered a step, if nobody did.
    fn answered(&self, name: &StepName, text: impl Fn(&Template) -> String) -> Option<String> {
        self.unanswered.get(name)?;
        let planned = self.procedure.step(name)?;
        match &planned.action {
            Action::Approve(approve) => {
                Some(format!("answered for {}: {}", approve.approve.by, text(&approve.approve.ask)))
            }
            Action::Manual(manual) => {
                Some(format!("not done by anybody: {}", text(&manual.manual)))
            }
            _ => Some("not done by anybody".to_owned()),
        }
    }
}
