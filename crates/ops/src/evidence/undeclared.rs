//! Evidence of a drill that was over before its run was declared, or whose journal cannot be told: what is known of it. Pure.

use lifeboat_model::Outcome;
use lifeboat_plan::Plan;

use super::Drilled;
use super::carried::{hypothesis, no_times};
use super::document::{Facts, JournalKept, Kind, Mode, Place, Source, bounded, text};
use crate::drill::DrillEnded;

/// A drill that is torn down, and of whose run nothing can be told.
#[derive(Debug, Clone, Copy)]
pub struct Undeclared<'a> {
    /// The plan by which it was to be carried out.
    pub plan: &'a Plan,
    /// What came of it.
    pub ended: &'a DrillEnded,
    /// Who ran it.
    pub by: &'a str,
    /// On which host.
    pub host: &'a str,
}

impl Undeclared<'_> {
    /// Says what is known: that it failed, why, and what is left of it.
    pub(super) fn facts(&self, drilled: &Drilled) -> Facts {
        let Self { plan, ended, .. } = self;
        let scenario = plan.scenarios().get(&ended.scenario);
        let mut not_verified = vec![self.why_nothing()];
        not_verified.extend(drilled.not_verified.iter().cloned());
        let place = Place {
            host: self.host.to_owned(),
            sandbox: Some(drilled.sandbox.clone()),
            network: text(&drilled.network),
        };
        let journal = ended.journal.map(|last| JournalKept { last, entries: ended.entries });
        Facts {
            of: Kind::Drill,
            run: ended.run.to_string(),
            subject: ended.scenario.to_string(),
            title: format!("Drill of {}", ended.scenario),
            hypothesis: scenario
                .map_or_else(String::new, |scenario| hypothesis(&ended.scenario, scenario)),
            mode: Mode::Sandbox,
            trigger: text(&drilled.trigger),
            operators: vec![text(self.by)],
            decisions: Vec::new(),
            declared: ended.started,
            ended: drilled.teardown.time,
            outcome: Outcome::Failed,
            ending: if journal.is_some() { "not told" } else { "not declared" }.to_owned(),
            runbook: ended.runbook,
            source: Source {
                point: None,
                target_time: ended.point,
                rejected: Vec::new(),
                assets: Vec::new(),
            },
            place,
            steps: Vec::new(),
            times: no_times(),
            objectives: Vec::new(),
            estimates: Vec::new(),
            checks: bounded(drilled.points.clone(), "checks", &mut not_verified),
            counts: Vec::new(),
            taken: Vec::new(),
            notifications: Vec::new(),
            teardown: Some(drilled.teardown.clone()),
            teardown_absent: None,
            findings: bounded(drilled.findings.clone(), "findings", &mut not_verified),
            journal,
            not_verified: bounded(not_verified, "reasons", &mut Vec::new()),
        }
    }

    fn why_nothing(&self) -> String {
        let why = self.ended.trouble.as_deref().unwrap_or("why is not known");
        let what = match self.ended.journal {
            Some(_) => "its steps: the journal of the run cannot be told",
            None => "the whole runbook: it was over before anything was declared",
        };
        text(&format!("{what}: {why}"))
    }
}
