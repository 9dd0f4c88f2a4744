//! `[scenarios]`: what can happen, and which runbook answers it.

use lifeboat_model::ClassName;

use crate::table::table;
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
    }
}
