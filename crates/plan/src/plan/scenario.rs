//! `[scenarios]`: what can happen, and which runbook answers it.

use lifeboat_model::ClassName;

use crate::table::{table, words};
use crate::value::command::Command;
use crate::value::duration::Span;
use crate::value::estimate::Estimate;
use crate::value::path::PlanPath;

table! {
    /// Something that can happen, and what is then done.
    pub struct Scenario {
        /// What it is called among people.
        title: Option<String>,
        /// The runbook's file, beside the plan.
        runbook: PlanPath,
        /// How much it matters.
        class: Option<ClassName>,
        /// How long the recovery may take.
        rto: Option<Span>,
        /// How much of the newest data may be lost.
        rpo: Option<Span>,
        /// How long it is thought to take.
        estimate: Option<Estimate>,
        /// What brings it about.
        causes: Vec<String> = Vec::new(),
        /// How the platform is when its runbook begins; a drill brings it up before if it runs.
        platform: PlatformState = PlatformState::Lost,
        /// Does in a drill what happened, to a platform that runs; nothing runs it anywhere else.
        damage: Option<Command>,
    }
}

words! {
    /// How the platform is when a runbook begins.
    pub enum PlatformState {
        /// It is gone, with all that the runbook brings back.
        Lost = "lost",
        /// It runs, damaged perhaps.
        Runs = "runs",
    }
}
