//! Recovery as code: steps, the order in which they can be done, the journal of a run, and what drives
//! it; knows no backups.
//!
//! A runbook names its steps and what each one needs. [`Graph::build`] accepts them if every need is
//! a step and none needs itself in a circle. A [`Run`] is what the entries of a journal say of a runbook
//! that is carried out: [`Run::decide`] says what comes next, [`Run::command`] what a person may do about
//! it. Both are pure. [`Executor`] asks, does and writes down; what a step does is its [`Actor`]'s matter.

pub mod actor;
pub mod command;
pub mod entry;
pub mod executor;
pub mod graph;
pub mod journal;
pub mod output;
pub mod run;
pub mod simulation;
pub mod step;
pub mod times;

use lifeboat_model::RunbookId;

pub use actor::{Act, Actor, Again, Failure, Occasion, PointFound, Verdict};
pub use command::{Command, Person, Refusal};
pub use entry::{Entry, Fact, Operator, Outcome};
pub use executor::{Executor, ExecutorError, Halt, Witness};
pub use graph::{Graph, GraphError};
pub use journal::{Journal, JournalError};
pub use output::{Output, OutputKind, Outputs};
pub use run::decide::{Decision, Stuck};
pub use run::{Course, Mood, Run, RunError, Stand, UndoStand};
pub use step::{Condition, Input, Interruption, Phase, Progress, Retry, Step, Task, Test, Undo};
pub use times::Times;

/// Steps in a valid order, and the hash of everything that they say.
#[derive(Debug, Clone)]
pub struct Runbook {
    /// The hash of its content, by which a run knows that it is still the same.
    pub id: RunbookId,
    /// Its steps.
    pub graph: Graph,
}
