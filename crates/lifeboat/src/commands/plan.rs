//! `lifeboat plan`: the plan as lifeboat understands it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use clap::Subcommand;
use lifeboat_model::{Exit, PlanId, StepName};
use lifeboat_ops::step_order::{self, Layers};
use serde::Serialize;
use serde_json::Value;

use crate::failure::{CommandError, Failure};
use crate::plan_file;
use crate::render::{Answer, Page};
use crate::screen;
use crate::session::Session;

/// The commands of `lifeboat plan`.
#[derive(Debug, Subcommand)]
pub enum Plan {
    /// Show the plan with all defaults filled in, and its id
    Show,
    /// Print the JSON Schema of the plan, for editors
    Schema {
        /// Print the schema of a runbook file instead
        #[arg(long)]
        runbook: bool,
    },
    /// Write the plan as a document for people (not built yet, exit 5)
    Document,
}

#[derive(Serialize)]
struct Shown {
    id: PlanId,
    plan: Value,
    /// For each runbook the steps that can be done at once, in their order.
    orders: BTreeMap<String, Layers>,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.plan.show/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "# plan {}", self.id.to_hex())?;
        writeln!(page, "{:#}", self.plan)?;
        for (runbook, layers) in &self.orders {
            writeln!(page, "# {runbook}, in this order:")?;
            for (number, layer) in (1..).zip(layers) {
                let names: Vec<_> = layer.iter().map(StepName::as_str).collect();
                writeln!(page, "#   {number}. {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Runs the command.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self {
            Self::Show => {
                let plan = plan_file::load(session)?.plan;
                let orders = step_order::orders(&plan)?;
                session.done(&Shown { id: plan.id(), plan: plan.to_json(), orders })
            }
            // The schema is a JSON document by its own standard, with and without `--json`.
            Self::Schema { runbook } => {
                let schema =
                    if runbook { lifeboat_plan::runbook_schema() } else { lifeboat_plan::schema() };
                screen::print(format!("{schema:#}\n").as_bytes())?;
                Ok(Exit::Done)
            }
            Self::Document => Err(CommandError::NotBuilt {
                command: "plan document",
                feature: "the plan as a document for people",
            }
            .into()),
        }
    }
}
