//! What an entry makes of a run, and which entries it refuses.

use lifeboat_model::{StepName, Timestamp};

use super::{Mood, Run, RunError, Stand, Stretch, UndoStand, Worker, is_act};
use crate::entry::{AttemptEnding, Entry, Fact, Found, Outcome};
use crate::journal::check_place;
use crate::output::{Output, Outputs, broken_promise};
use crate::times::Shares;
use crate::{Again, Failure, Interruption, Task, Undo};

/// Why an entry makes no sense.
type Senseless = String;

impl Run {
    /// Takes in the next entry; one that makes no sense changes nothing.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), RunError> {
        check_place(entry, self.count, Some(self.last))?;
        let senseless = |why| RunError::Senseless { sequence: entry.sequence, why };
        if entry.time < self.last_time {
            return Err(senseless("it is older than the one before it".to_owned()));
        }
        self.take(&entry.fact, entry.sequence, entry.time).map_err(senseless)?;
        self.count += 1;
        self.last = entry.id();
        self.last_time = entry.time;
        Ok(())
    }

    fn take(&mut self, fact: &Fact, sequence: u64, now: Timestamp) -> Result<(), Senseless> {
        if let Mood::Finished(_) = self.mood {
            return Err("the run is over".to_owned());
        }
        match fact {
            Fact::Began(_) => Err("the run was declared before".to_owned()),
            Fact::Taken { by } => {
                self.interrupt();
                self.driver = Some(by.clone());
                Ok(())
            }
            Fact::Started { step, attempt } => self.started(step, *attempt, sequence, now),
            Fact::Ended { step, ending } => self.ended(step, ending, now),
            Fact::Found { step, found } => self.found(step, found, now),
            Fact::LeftOut { step, why } => {
                let index = self.beginnable(step)?;
                self.settle(index, Stand::LeftOut { why: why.clone() }, now);
                Ok(())
            }
            Fact::Asked { step } => self.asked(step, sequence, now),
            Fact::Confirmed { step, note, ticked, .. } => self.confirmed(step, note, ticked, now),
            Fact::Approved { step, by, note, .. } => self.approved(step, by, note, now),
            Fact::Declined { step, by, why } => self.declined(step, by, why, now),
            Fact::Elapsed { step } => self.elapsed(step, now),
            Fact::Finished { outcome } => self.finish(*outcome),
            Fact::Paused { .. } | Fact::Resumed { .. } | Fact::Aborted { .. } => {
                self.turn(fact, now)
            }
            Fact::Retried { step, .. } => self.retried(step, now),
            Fact::Skipped { step, by, why } => self.skipped(step, by, why, now),
            Fact::UndoStarted { step } => self.undo_started(step, now),
            Fact::UndoEnded { step, failure } => self.undo_ended(step, failure.as_ref(), now),
        }
    }

    fn find(&self, step: &StepName) -> Result<usize, Senseless> {
        self.runbook.graph.index(step).ok_or_else(|| format!("there is no step `{step}`"))
    }

    /// Returns a step that may be begun now.
    fn beginnable(&self, name: &StepName) -> Result<usize, Senseless> {
        let index = self.find(name)?;
        if self.mood != Mood::Going {
            return Err(format!("`{name}` cannot begin: the run is not going on"));
        }
        if !self.is_ready(&self.runbook.graph.steps()[index]) {
            return Err(format!(
                "`{name}` cannot begin: it began before, or needs what is not done"
            ));
        }
        Ok(index)
    }

    fn started(
        &mut self,
        name: &StepName,
        attempt: u32,
        sequence: u64,
        now: Timestamp,
    ) -> Result<(), Senseless> {
        let index = self.find(name)?;
        let step = &self.runbook.graph.steps()[index];
        if !is_act(step) && !matches!(step.task, Task::Wait(_)) {
            return Err(format!("`{name}` is for a person to do"));
        }
        let repeats = step.interruption == Interruption::Repeat;
        match self.courses[index].stand {
            Stand::Retrying { .. } if self.mood == Mood::Going => {}
            Stand::Interrupted if repeats && self.mood == Mood::Going => {}
            _ => {
                self.beginnable(name)?;
            }
        }
        let course = &mut self.courses[index];
        if attempt != course.attempts + 1 {
            return Err(format!("`{name}` had {} attempts before", course.attempts));
        }
        course.attempts = attempt;
        course.begun.get_or_insert((sequence, now));
        course.stand = Stand::Running { since: now };
        self.stretches.push(Stretch::begin(index, Worker::Actor, now));
        Ok(())
    }

    fn ended(
        &mut self,
        name: &StepName,
        ending: &AttemptEnding,
        now: Timestamp,
    ) -> Result<(), Senseless> {
        let index = self.find(name)?;
        let Stand::Running { .. } = self.courses[index].stand else {
            return Err(format!("`{name}` was not running"));
        };
        self.close(index, now);
        match ending {
            AttemptEnding::Done { outputs } => {
                self.share(index, outputs);
                self.done(index, outputs.clone(), now)?;
            }
            AttemptEnding::Stopped => self.courses[index].stand = Stand::Interrupted,
            AttemptEnding::Failed(failure) => self.failed(index, failure, now),
        }
        Ok(())
    }

    fn done(&mut self, index: usize, outputs: Outputs, now: Timestamp) -> Result<(), Senseless> {
        let step = &self.runbook.graph.steps()[index];
        if let Some(broken) = broken_promise(&step.outputs, &outputs) {
            return Err(format!("`{}` is not done: {broken}", step.name));
        }
        self.courses[index].outputs = outputs;
        self.settle(index, Stand::Done, now);
        Ok(())
    }

    fn failed(&mut self, index: usize, failure: &Failure, now: Timestamp) {
        let retry = self.runbook.graph.steps()[index].retry;
        let course = &mut self.courses[index];
        course.failures += 1;
        if failure.again == Again::MayHelp && course.failures <= retry.times {
            let at = now.saturating_add(retry.wait).unwrap_or(Timestamp::MAX);
            course.stand = Stand::Retrying { at };
        } else {
            self.settle(index, Stand::Failed(failure.clone()), now);
        }
    }

    fn found(&mut self, name: &StepName, found: &Found, now: Timestamp) -> Result<(), Senseless> {
        let index = self.find(name)?;
        if self.courses[index].stand != Stand::Interrupted {
            return Err(format!("`{name}` was not interrupted"));
        }
        match found {
            Found::Done { outputs } => self.done(index, outputs.clone(), now)?,
            Found::NotDone { .. } => self.courses[index].stand = Stand::Waiting,
            Found::Unclear { why } => {
                let why =
                    format!("it was interrupted, and nobody can tell whether it worked: {why}");
                self.settle(index, Stand::Failed(Failure::lasting(why)), now);
            }
        }
        Ok(())
    }

    fn asked(&mut self, name: &StepName, sequence: u64, now: Timestamp) -> Result<(), Senseless> {
        let index = self.beginnable(name)?;
        if !matches!(
            self.runbook.graph.steps()[index].task,
            Task::Manual { .. } | Task::Approve { .. }
        ) {
            return Err(format!("`{name}` asks nobody"));
        }
        let course = &mut self.courses[index];
        course.begun.get_or_insert((sequence, now));
        course.stand = Stand::Asked { since: now };
        self.stretches.push(Stretch::begin(index, Worker::Person, now));
        Ok(())
    }

    /// Returns a step that waits for a person.
    fn awaited(&self, name: &StepName) -> Result<usize, Senseless> {
        let index = self.find(name)?;
        match self.courses[index].stand {
            Stand::Asked { .. } => Ok(index),
            _ => Err(format!("`{name}` waits for nobody")),
        }
    }

    fn confirmed(
        &mut self,
        name: &StepName,
        note: &str,
        ticked: &[String],
        now: Timestamp,
    ) -> Result<(), Senseless> {
        let index = self.awaited(name)?;
        let Task::Manual { checklist } = &self.runbook.graph.steps()[index].task else {
            return Err(format!("`{name}` wants an approval"));
        };
        if let Some(open) = checklist.iter().find(|point| !ticked.contains(point)) {
            return Err(format!("`{name}` is not done: `{open}` is not ticked off"));
        }
        self.close(index, now);
        self.done(index, Outputs::from([("note".to_owned(), Output::text(note))]), now)
    }

    fn approved(
        &mut self,
        name: &StepName,
        by: &str,
        note: &str,
        now: Timestamp,
    ) -> Result<(), Senseless> {
        let index = self.awaited(name)?;
        let Task::Approve { .. } = self.runbook.graph.steps()[index].task else {
            return Err(format!("`{name}` wants to be confirmed"));
        };
        self.close(index, now);
        let outputs = [("note", Output::text(note)), ("by", Output::text(by))];
        self.done(index, outputs.map(|(name, value)| (name.to_owned(), value)).into(), now)
    }

    fn declined(
        &mut self,
        name: &StepName,
        by: &str,
        why: &str,
        now: Timestamp,
    ) -> Result<(), Senseless> {
        let index = self.awaited(name)?;
        self.close(index, now);
        let failure = Failure::lasting(format!("{by} said no: {why}"));
        self.settle(index, Stand::Failed(failure), now);
        Ok(())
    }

    fn elapsed(&mut self, name: &StepName, now: Timestamp) -> Result<(), Senseless> {
        let index = self.find(name)?;
        let (Task::Wait(length), Stand::Running { since }) =
            (&self.runbook.graph.steps()[index].task, &self.courses[index].stand)
        else {
            return Err(format!("`{name}` does not wait for time to pass"));
        };
        if since.saturating_add(*length).is_ok_and(|end| end > now) {
            return Err(format!("the time that `{name}` waits for is not over"));
        }
        self.close(index, now);
        self.done(index, Outputs::new(), now)
    }

    fn finish(&mut self, outcome: Outcome) -> Result<(), Senseless> {
        if self.is_anything_running() {
            return Err("something is still under way".to_owned());
        }
        self.mood = Mood::Finished(outcome);
        Ok(())
    }

    fn turn(&mut self, fact: &Fact, now: Timestamp) -> Result<(), Senseless> {
        let mood = match (fact, &self.mood) {
            (Fact::Aborted { by, why }, Mood::Going | Mood::Paused { .. }) => {
                Mood::Aborting { by: by.clone(), why: why.clone() }
            }
            (Fact::Paused { by, why }, Mood::Going) => {
                Mood::Paused { by: by.clone(), why: why.clone() }
            }
            (Fact::Resumed { .. }, Mood::Paused { .. }) => Mood::Going,
            (Fact::Aborted { .. }, _) => return Err("it is being aborted already".to_owned()),
            (Fact::Resumed { .. }, _) => return Err("it is not paused".to_owned()),
            _ => return Err("it is not going on".to_owned()),
        };
        if matches!(mood, Mood::Aborting { .. }) {
            self.ask_nobody(now);
        }
        self.mood = mood;
        Ok(())
    }

    /// Lets go of the people who were asked.
    fn ask_nobody(&mut self, now: Timestamp) {
        for index in 0..self.courses.len() {
            if let Stand::Asked { .. } = self.courses[index].stand {
                self.close(index, now);
                self.courses[index].stand = Stand::Waiting;
            }
        }
    }

    fn retried(&mut self, name: &StepName, now: Timestamp) -> Result<(), Senseless> {
        let index = self.find(name)?;
        let is_aborting = matches!(self.mood, Mood::Aborting { .. });
        let course = &mut self.courses[index];
        match (&course.stand, &course.undo) {
            (_, UndoStand::Failed(_)) if is_aborting => course.undo = UndoStand::Waiting,
            (Stand::Failed(_), _) if !is_aborting => {
                course.stand = Stand::Waiting;
                course.failures = 0;
                course.ended = None;
            }
            (Stand::Retrying { .. }, _) if !is_aborting => {
                course.stand = Stand::Retrying { at: now };
            }
            _ => return Err(format!("`{name}` did not fail")),
        }
        Ok(())
    }

    fn skipped(
        &mut self,
        name: &StepName,
        by: &str,
        why: &str,
        now: Timestamp,
    ) -> Result<(), Senseless> {
        let index = self.find(name)?;
        let course = &mut self.courses[index];
        if matches!(self.mood, Mood::Aborting { .. }) {
            let (UndoStand::Waiting | UndoStand::Failed(_)) = course.undo else {
                return Err(format!("the undo of `{name}` is not waiting, nor did it fail"));
            };
            course.undo = UndoStand::Skipped;
            return Ok(());
        }
        match course.stand {
            Stand::Running { .. } => Err(format!("`{name}` is under way")),
            Stand::Done | Stand::LeftOut { .. } | Stand::Skipped { .. } => {
                Err(format!("`{name}` is settled"))
            }
            _ => {
                self.close(index, now);
                self.settle(index, Stand::Skipped { by: by.to_owned(), why: why.to_owned() }, now);
                Ok(())
            }
        }
    }

    fn undo_started(&mut self, name: &StepName, now: Timestamp) -> Result<(), Senseless> {
        let index = self.find(name)?;
        if self.next_undo() != Some(index) || self.is_anything_running() {
            return Err(format!("`{name}` is not what is undone next"));
        }
        self.courses[index].undo = UndoStand::Running;
        self.stretches.push(Stretch::begin(index, Worker::Actor, now));
        Ok(())
    }

    fn undo_ended(
        &mut self,
        name: &StepName,
        failure: Option<&Failure>,
        now: Timestamp,
    ) -> Result<(), Senseless> {
        let index = self.find(name)?;
        if self.courses[index].undo != UndoStand::Running {
            return Err(format!("`{name}` was not being undone"));
        }
        self.close(index, now);
        self.courses[index].undo =
            failure.map_or(UndoStand::Done, |failure| UndoStand::Failed(failure.clone()));
        Ok(())
    }

    /// Returns the step whose undo comes next: of those that were begun, the last one.
    pub(super) fn next_undo(&self) -> Option<usize> {
        if !matches!(self.mood, Mood::Aborting { .. }) {
            return None;
        }
        let steps = self.runbook.graph.steps();
        let open = (0..steps.len()).filter(|index| {
            let undo = &self.courses[*index].undo;
            steps[*index].undo == Undo::Possible
                && matches!(undo, UndoStand::Waiting | UndoStand::Failed(_))
        });
        let begun = open.filter_map(|index| Some((self.courses[index].begun?.0, index)));
        begun.max().map(|(_, index)| index)
    }

    pub(super) fn is_anything_running(&self) -> bool {
        self.courses.iter().any(|course| {
            matches!(course.stand, Stand::Running { .. }) || course.undo == UndoStand::Running
        })
    }

    /// Interrupts what was under way. Nobody knows when its process ended, so what is counted ends with the
    /// last entry. Time that passes is not under way: it goes on passing.
    fn interrupt(&mut self) {
        let last = self.last_time;
        for index in 0..self.courses.len() {
            let is_waiting = matches!(self.runbook.graph.steps()[index].task, Task::Wait(_));
            let course = &mut self.courses[index];
            let is_running = matches!(course.stand, Stand::Running { .. }) && !is_waiting;
            if is_running {
                course.stand = Stand::Interrupted;
            }
            if is_running || course.undo == UndoStand::Running {
                course.undo = match std::mem::take(&mut course.undo) {
                    UndoStand::Running => UndoStand::Waiting,
                    other => other,
                };
                self.close(index, last);
            }
        }
    }

    fn settle(&mut self, index: usize, stand: Stand, now: Timestamp) {
        self.courses[index].stand = stand;
        self.courses[index].ended = Some(now);
    }

    /// Takes in what a step says of the stretch that it just ended.
    fn share(&mut self, index: usize, outputs: &Outputs) {
        let own = |stretch: &&mut Stretch| stretch.step == index;
        if let Some(stretch) = self.stretches.iter_mut().rev().find(own) {
            stretch.shares = Shares::of(outputs);
        }
    }

    fn close(&mut self, index: usize, now: Timestamp) {
        let open = |stretch: &&mut Stretch| stretch.step == index && stretch.to.is_none();
        if let Some(stretch) = self.stretches.iter_mut().rev().find(open) {
            stretch.to = Some(now);
        }
    }
}
