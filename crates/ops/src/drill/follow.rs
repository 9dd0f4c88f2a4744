//! Following a run that a keeper drives, and answering for people.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use lifeboat_model::StepName;
use lifeboat_plan::plan::runbook::Action;
use lifeboat_runbook::{Command, Fact, Journal as _, Person, Run, Runbook, Stand, Task, Witness};

use crate::procedure::conduct::add;
use crate::procedure::journal_file::JournalFile;
use crate::procedure::values::Values;
use crate::procedure::{Procedure, ProcedureError};
use crate::wire::Site;

/// Who answers for people that a drill does not ask.
pub(super) const SIMULATED: &str = "simulated";

/// Why something is agreed to that nobody is asked.
const NOBODY_ASKED: &str = "a drill asks nobody";

/// What a step asks of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Which step.
    pub step: StepName,
    /// What it asks.
    pub text: String,
    /// What is to be ticked off.
    pub checklist: Vec<String>,
    /// Who may say it: a role or a contact; nobody in particular, if absent.
    pub by: Option<String>,
}

/// What somebody says to a step that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nobody is asked: it is noted as simulated.
    Simulated,
    /// This person says this.
    Said(Command, Person),
}

/// Those whom a drill asks.
pub trait People: Debug {
    /// Answers a step.
    fn answer(&self, asked: &Asked) -> Answer;
}

/// Nobody: every step that asks is noted as simulated.
#[derive(Debug, Clone, Copy, Default)]
pub struct Simulated;

impl People for Simulated {
    fn answer(&self, _: &Asked) -> Answer {
        Answer::Simulated
    }
}

impl Asked {
    /// Returns what stands for an answer that nobody gives.
    fn simulated(&self) -> (Command, Person) {
        let rights = self.by.iter().cloned().collect();
        let step = self.step.clone();
        let command = match self.by {
            Some(_) => Command::Approve { step, note: NOBODY_ASKED.to_owned() },
            None => Command::Confirm { step, note: String::new(), ticked: self.checklist.clone() },
        };
        (command, Person { name: SIMULATED.to_owned(), rights })
    }
}

/// Follows a run by its journal.
#[derive(Debug)]
pub(super) struct Follower {
    runbook: Arc<Runbook>,
    journal: JournalFile,
    run: Option<Run>,
    unanswered: BTreeSet<StepName>,
}

impl Follower {
    pub(super) fn new(procedure: &Procedure, journal: JournalFile) -> Self {
        let runbook = Arc::clone(procedure.runbook());
        Self { runbook, journal, run: None, unanswered: BTreeSet::new() }
    }

    /// Returns the run as far as it is known.
    pub(super) const fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Returns the steps that no person answered.
    pub(super) const fn unanswered(&self) -> &BTreeSet<StepName> {
        &self.unanswered
    }

    /// Takes in what was written since.
    pub(super) fn catch_up(&mut self, witness: &dyn Witness) -> Result<(), ProcedureError> {
        let known = self.run.as_ref().map(|run| (run.count(), Some(run.last())));
        let (from, before) = known.unwrap_or((0, None));
        for entry in self.journal.read(from, before)? {
            match &mut self.run {
                None => self.run = Some(Run::begin(Arc::clone(&self.runbook), &entry)?),
                Some(run) => run.apply(&entry)?,
            }
            if let Fact::Confirmed { step, by, .. } | Fact::Approved { step, by, .. } = &entry.fact
                && by == SIMULATED
            {
                self.unanswered.insert(step.clone());
            }
            if let Some(run) = &self.run {
                witness.saw(run, &entry);
            }
        }
        Ok(())
    }

    /// Has every step answered that asks.
    pub(super) fn answer(
        &self,
        site: &Site,
        procedure: &Procedure,
        people: &dyn People,
    ) -> Result<(), ProcedureError> {
        let Some(run) = &self.run else { return Ok(()) };
        for asked in questions(site, procedure, run) {
            let (command, person) = match people.answer(&asked) {
                Answer::Simulated => asked.simulated(),
                Answer::Said(command, person) => (command, person),
            };
            let mut next = run.clone();
            let now = site.surroundings().now();
            let said =
                add(&mut next, &self.journal, now, |run| Ok(run.command(&command, &person)?));
            match said {
                // Somebody else answered meanwhile, or may not: it is asked again, if it still asks.
                Ok(_) | Err(ProcedureError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns what the steps of a run ask people now.
fn questions(site: &Site, procedure: &Procedure, run: &Run) -> Vec<Asked> {
    let (values, given) = (Values::of_run(site.plan(), procedure, run), run.given());
    let asking = run.steps().filter(|(_, course)| matches!(course.stand, Stand::Asked { .. }));
    let questions = asking.map(|(step, _)| {
        let planned = procedure.step(&step.name).map(|planned| &planned.action);
        let template = match planned {
            Some(Action::Manual(manual)) => Some(&manual.manual),
            Some(Action::Approve(approve)) => Some(&approve.approve.ask),
            Some(Action::Rotate(rotate)) => Some(&rotate.rotate.what),
            _ => None,
        };
        let text = template.map(|template| values.text(template, &given));
        let (checklist, by) = match &step.task {
            Task::Manual { checklist } => (checklist.clone(), None),
            Task::Approve { by } => (Vec::new(), Some(by.clone())),
            _ => (Vec::new(), None),
        };
        Asked { step: step.name.clone(), text: text.unwrap_or_default(), checklist, by }
    });
    questions.collect()
}
