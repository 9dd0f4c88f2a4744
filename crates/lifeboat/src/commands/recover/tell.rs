//! What a person tells a run: pause, retry, skip, approve, confirm, abort; and how it stands.

use clap::Subcommand;
use lifeboat_model::{Exit, StepName};
use lifeboat_ops::procedure::conduct;
use lifeboat_ops::procedure::people::person;
use lifeboat_ops::procedure::report::RunReport;
use lifeboat_runbook::Command;

use super::{Shown, status};
use crate::failure::Failure;
use crate::session::Session;
use crate::surroundings;

/// What the open run is told. Nobody has to drive it meanwhile.
#[derive(Debug, Subcommand)]
pub enum Tell {
    /// Show how the open run stands, or the last one: each step, who is waited for, where the time went
    Status,
    /// Begin nothing new; what is under way ends
    Pause {
        /// Why; the report repeats it
        #[arg(long, value_name = "WHY", default_value = "")]
        reason: String,
    },
    /// Go on after a pause
    Resume,
    /// Try a step again that failed, or an undo that did
    Retry {
        /// The step
        step: StepName,
    },
    /// Do without a step; while a run is aborted, without its undo
    Skip {
        /// The step
        step: StepName,
        /// Why; the report repeats it
        #[arg(long, value_name = "WHY")]
        reason: String,
    },
    /// Say yes to what a step asks, if your login or role may
    Approve {
        /// The step
        step: StepName,
        /// Why; the report repeats it, and later steps may use it
        #[arg(long, value_name = "WHY", alias = "note")]
        reason: String,
    },
    /// Say no to what a step asks; the run stops there
    Decline {
        /// The step
        step: StepName,
        /// Why; the report repeats it
        #[arg(long, value_name = "WHY")]
        reason: String,
    },
    /// Confirm that a manual step is done
    Confirm {
        /// The step
        step: StepName,
        /// What is to be noted; later steps may use it
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
        /// Tick this point of its list off; to be repeated for more
        #[arg(long, value_name = "POINT")]
        done: Vec<String>,
        /// Tick all points of its list off
        #[arg(long, conflicts_with = "done")]
        all: bool,
    },
    /// Give the run up: stop what is under way, and undo what was begun, the last first
    Abort {
        /// Why; the report repeats it
        #[arg(long, value_name = "WHY")]
        reason: String,
    },
}

impl Tell {
    /// Tells the open run.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let command = match self {
            Self::Status => return status(session),
            Self::Pause { reason } => Command::Pause { why: reason },
            Self::Resume => Command::Resume,
            Self::Retry { step } => Command::Retry { step },
            Self::Skip { step, reason } => Command::Skip { step, why: reason },
            Self::Approve { step, reason } => Command::Approve { step, note: reason },
            Self::Decline { step, reason } => Command::Decline { step, why: reason },
            Self::Confirm { step, note, done, all } => {
                let ticked = if all { all_points(&step, session)? } else { done };
                Command::Confirm { step, note, ticked }
            }
            Self::Abort { reason } => Command::Abort { why: reason },
        };
        say(&command, session)
    }
}

fn all_points(step: &StepName, session: &Session) -> Result<Vec<String>, Failure> {
    let report = conduct::show(&session.site()?)?;
    let found = report.steps.into_iter().find(|known| known.step == *step);
    Ok(found.map(|found| found.checklist).unwrap_or_default())
}

fn say(command: &Command, session: &Session) -> Result<Exit, Failure> {
    let site = session.site()?;
    let whoever = person(site.plan(), &surroundings::login());
    let report: RunReport = conduct::say(&site, command, &whoever)?;
    session.done(&Shown(report))
}
