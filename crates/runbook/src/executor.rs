//! What carries a run out: begins what the run decides, waits for it, and writes down what came of it.
//!
//! # Crash consistency
//!
//! An attempt is written down before it begins and after it ended, so that a kill at any moment leaves a journal
//! that says what was under way. Whoever takes the run over finds out what became of that, or does it again,
//! as each step says.
//!
//! # Limits
//!
//! At most [`SIDE_BY_SIDE_MAX`](crate::run::decide::SIDE_BY_SIDE_MAX) steps are under way at once. What is told to
//! stop has [`GRACE`] to do so; then it is dropped.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::pending;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use lifeboat_model::{Cancel, Classify, Clock, ErrorKind, Hint, StepName, Timestamp};

use crate::actor::{Act, Actor, Failure, Occasion, Verdict};
use crate::entry::{AttemptEnding, Entry, Fact, Found, Operator, Outcome};
use crate::journal::{Journal, JournalError};
use crate::output::{Outputs, broken_promise};
use crate::run::decide::{Decision, Stuck};
use crate::run::{Mood, Run, RunError};
use crate::{Step, Task};

/// How long something that is told to stop may take to do so: long enough to end a child and to take away
/// a temporary file.
pub const GRACE: Duration = Duration::from_secs(30);

/// A run cannot be carried on.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// What its journal holds is not what it should be, or nothing can be added.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<JournalError> for ExecutorError {
    fn from(error: JournalError) -> Self {
        Self::Run(error.into())
    }
}

impl Classify for ExecutorError {
    fn kind(&self) -> ErrorKind {
        let Self::Run(error) = self;
        error.kind()
    }

    fn hint(&self) -> Option<Hint> {
        let Self::Run(error) = self;
        error.hint()
    }
}

/// Somebody who is told of each entry; must be quick and must not fail.
pub trait Witness: Debug + Sync {
    /// Takes note of an entry, and of what the run is with it.
    fn saw(&self, run: &Run, entry: &Entry);
}

/// Why a run is not carried on for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// It is over.
    Finished(Outcome),
    /// A person has to decide first.
    Stuck(Vec<Stuck>),
    /// Whoever drove it was asked to stop; what was under way is interrupted.
    Left,
}

/// What came of something that was under way.
enum Answer {
    Attempt(StepName, AttemptEnding),
    Finding(StepName, Found),
    Undo(StepName, Option<Failure>),
    /// An undo was told to stop; it is done again by whoever comes next.
    UndoStopped(StepName),
}

/// Whether an entry was added.
#[derive(PartialEq, Eq)]
enum Written {
    Yes,
    /// Others added entries first, which are taken in: it is to be decided anew.
    Outrun,
}

/// What there is to do after all that was decided was carried out.
enum Next {
    /// Decide anew.
    Decide,
    /// Wait, at most until then.
    Wait(Option<Timestamp>),
    /// Leave it to a person.
    Stuck(Vec<Stuck>),
}

/// Drives one run.
pub struct Executor<'a> {
    run: Run,
    journal: &'a dyn Journal,
    actor: &'a dyn Actor,
    clock: &'a dyn Clock,
    witness: &'a dyn Witness,
    cancel: &'a Cancel,
    work: FuturesUnordered<BoxFuture<'a, Answer>>,
    under_way: BTreeMap<StepName, Cancel>,
}

impl<'a> Executor<'a> {
    /// Returns what drives `run`, whose entries `journal` keeps. The caller holds the lock of the run.
    pub fn new(
        run: Run,
        journal: &'a dyn Journal,
        actor: &'a dyn Actor,
        (clock, cancel): (&'a dyn Clock, &'a Cancel),
        witness: &'a dyn Witness,
    ) -> Self {
        let (work, under_way) = (FuturesUnordered::new(), BTreeMap::new());
        Self { run, journal, actor, clock, witness, cancel, work, under_way }
    }

    /// Drives the run until it is over, stuck, or `cancel` is set; returns where it then is.
    pub async fn drive(mut self, by: Operator) -> Result<(Run, Halt), ExecutorError> {
        if !matches!(self.run.mood(), Mood::Finished(_)) {
            self.write_surely(&Fact::Taken { by })?;
        }
        loop {
            self.catch_up()?;
            if let Mood::Finished(outcome) = self.run.mood() {
                return Ok((self.run.clone(), Halt::Finished(*outcome)));
            }
            if self.cancel.is_cancelled() {
                self.leave().await?;
                return Ok((self.run, Halt::Left));
            }
            match self.carry_out()? {
                Next::Decide => {}
                Next::Wait(until) => self.wait(until).await?,
                Next::Stuck(stuck) => return Ok((self.run, Halt::Stuck(stuck))),
            }
        }
    }

    /// Carries out what is decided now.
    fn carry_out(&mut self) -> Result<Next, ExecutorError> {
        let (mut until, mut has_written): (Option<Timestamp>, bool) = (None, false);
        if let Mood::Aborting { .. } = self.run.mood() {
            self.stop_finding();
        }
        for decision in self.run.decide(self.clock.now()) {
            match decision {
                Decision::WaitUntil(time) => until = Some(until.map_or(time, |t| t.min(time))),
                Decision::Stuck(stuck) => return Ok(Next::Stuck(stuck)),
                decision => match self.answer(decision)? {
                    Some(Written::Outrun) => return Ok(Next::Decide),
                    Some(Written::Yes) => has_written = true,
                    None => {}
                },
            }
        }
        Ok(if has_written { Next::Decide } else { Next::Wait(until) })
    }

    /// Answers a decision with an entry, unless what it wants is under way.
    fn answer(&mut self, decision: Decision) -> Result<Option<Written>, ExecutorError> {
        let written = match decision {
            Decision::Start { step, attempt } => self.start(step, attempt)?,
            Decision::FindOut { step } if !self.under_way.contains_key(&step) => {
                self.find_out(&step);
                return Ok(None);
            }
            Decision::Undo { step } if !self.under_way.contains_key(&step) => self.undo(&step)?,
            Decision::Stop { step } => match self.under_way.get(&step) {
                Some(cancel) => {
                    cancel.cancel();
                    return Ok(None);
                }
                None => self.write(&Fact::Ended { step, ending: AttemptEnding::Stopped })?,
            },
            Decision::LeaveOut { step, why } => self.write(&Fact::LeftOut { step, why })?,
            Decision::Ask { step } => self.write(&Fact::Asked { step })?,
            Decision::Elapse { step } => self.write(&Fact::Elapsed { step })?,
            Decision::Finish(outcome) => self.write(&Fact::Finished { outcome })?,
            _ => return Ok(None),
        };
        Ok(Some(written))
    }

    fn act(&self, step: &StepName) -> (Act, Step) {
        let (known, course) = self.run.step(step).expect("a run decides on steps of its own");
        let (step, attempt, given) = (step.clone(), course.attempts, self.run.given());
        (Act { step, attempt, given }, known.clone())
    }

    fn start(&mut self, step: StepName, attempt: u32) -> Result<Written, ExecutorError> {
        if self.write(&Fact::Started { step: step.clone(), attempt })? == Written::Outrun {
            return Ok(Written::Outrun);
        }
        let (act, known) = self.act(&step);
        if let Task::Wait(_) = known.task {
            return Ok(Written::Yes);
        }
        let (actor, clock) = (self.actor, self.clock);
        let cancel = self.begin(step);
        self.work.push(Box::pin(async move {
            let ending = attempt_at(actor, clock, &act, &known, &cancel).await;
            Answer::Attempt(act.step, ending)
        }));
        Ok(Written::Yes)
    }

    fn find_out(&mut self, step: &StepName) {
        let (act, known) = self.act(step);
        let (actor, clock) = (self.actor, self.clock);
        let cancel = self.begin(step.clone());
        self.work.push(Box::pin(async move {
            let look = actor.verify(&act, Occasion::Interrupted, &cancel);
            let found = match bounded(clock, known.timeout, &cancel, look).await {
                Bounded::Ended(verdict) => found(verdict, &known),
                Bounded::TimedOut => Found::Unclear { why: late(known.timeout) },
                Bounded::Stopped => Found::Unclear { why: "nobody waited for it".to_owned() },
            };
            Answer::Finding(act.step, found)
        }));
    }

    fn undo(&mut self, step: &StepName) -> Result<Written, ExecutorError> {
        if self.write(&Fact::UndoStarted { step: step.clone() })? == Written::Outrun {
            return Ok(Written::Outrun);
        }
        let (act, known) = self.act(step);
        let (actor, clock) = (self.actor, self.clock);
        let cancel = self.begin(step.clone());
        self.work.push(Box::pin(async move {
            let undo = actor.undo(&act, &cancel);
            match bounded(clock, known.timeout, &cancel, undo).await {
                Bounded::Ended(Err(_)) if cancel.is_cancelled() => Answer::UndoStopped(act.step),
                Bounded::Ended(undone) => Answer::Undo(act.step, undone.err()),
                Bounded::TimedOut => {
                    Answer::Undo(act.step, Some(Failure::new(late(known.timeout))))
                }
                Bounded::Stopped => Answer::UndoStopped(act.step),
            }
        }));
        Ok(Written::Yes)
    }

    fn begin(&mut self, step: StepName) -> Cancel {
        let cancel = Cancel::new();
        self.under_way.insert(step, cancel.clone());
        cancel
    }

    /// What became of an interrupted step does not matter to a run that is given up.
    fn stop_finding(&self) {
        for (step, course) in self.run.steps() {
            if course.stand == crate::Stand::Interrupted
                && course.undo != crate::UndoStand::Running
                && let Some(cancel) = self.under_way.get(&step.name)
            {
                cancel.cancel();
            }
        }
    }

    async fn wait(&mut self, until: Option<Timestamp>) -> Result<(), ExecutorError> {
        let left = until.map(|time| time.duration_since(self.clock.now()));
        let left = left.map_or(Duration::ZERO, |left| Duration::try_from(left).unwrap_or_default());
        let answer = tokio::select! {
            biased;
            answer = self.work.next(), if !self.work.is_empty() => answer,
            () = self.journal.more(self.run.count(), self.clock) => None,
            () = self.clock.sleep(left), if until.is_some() => None,
            _ = self.cancel.cut_short(pending::<()>()) => None,
        };
        answer.map_or(Ok(()), |answer| self.note(answer))
    }

    /// Writes down what came of something.
    fn note(&mut self, answer: Answer) -> Result<(), ExecutorError> {
        let (step, fact) = match answer {
            Answer::Attempt(step, ending) => (step.clone(), Fact::Ended { step, ending }),
            Answer::Finding(step, found) => (step.clone(), Fact::Found { step, found }),
            Answer::Undo(step, failure) => (step.clone(), Fact::UndoEnded { step, failure }),
            Answer::UndoStopped(step) => {
                self.under_way.remove(&step);
                return Ok(());
            }
        };
        self.under_way.remove(&step);
        self.write_surely(&fact)
    }

    /// Stops what is under way.
    async fn leave(&mut self) -> Result<(), ExecutorError> {
        for cancel in self.under_way.values() {
            cancel.cancel();
        }
        while let Some(answer) = self.work.next().await {
            // What nobody waited for any more is found out by whoever comes next.
            if !matches!(answer, Answer::Finding(_, Found::Unclear { .. })) {
                self.note(answer)?;
            }
        }
        Ok(())
    }

    fn catch_up(&mut self) -> Result<(), ExecutorError> {
        for entry in self.journal.read(self.run.count(), Some(self.run.last()))? {
            self.run.apply(&entry)?;
            self.witness.saw(&self.run, &entry);
        }
        Ok(())
    }

    /// Adds an entry, unless others added some first.
    fn write(&mut self, fact: &Fact) -> Result<Written, ExecutorError> {
        let entry = self.run.next_entry(fact.clone(), self.clock.now());
        let mut next = self.run.clone();
        next.apply(&entry)?;
        match self.journal.append(&entry) {
            Ok(()) => {
                self.run = next;
                self.witness.saw(&self.run, &entry);
                Ok(Written::Yes)
            }
            Err(JournalError::Outrun) => {
                self.catch_up()?;
                Ok(Written::Outrun)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Adds an entry that is true whatever others added. They are people, so that they come to an end.
    fn write_surely(&mut self, fact: &Fact) -> Result<(), ExecutorError> {
        while self.write(fact)? == Written::Outrun {}
        Ok(())
    }
}

/// How bounded work ended.
enum Bounded<T> {
    Ended(T),
    TimedOut,
    Stopped,
}

/// Lets work end, but no later than its time allows; once told to stop it has [`GRACE`].
async fn bounded<T>(
    clock: &dyn Clock,
    timeout: Duration,
    cancel: &Cancel,
    work: impl Future<Output = T>,
) -> Bounded<T> {
    tokio::pin!(work);
    let is_late = tokio::select! {
        biased;
        ended = &mut work => return Bounded::Ended(ended),
        _ = cancel.cut_short(pending::<()>()) => false,
        () = clock.sleep(timeout) => true,
    };
    cancel.cancel();
    let ended = tokio::select! {
        biased;
        ended = &mut work => Some(ended),
        () = clock.sleep(GRACE) => None,
    };
    match ended {
        _ if is_late => Bounded::TimedOut,
        Some(ended) => Bounded::Ended(ended),
        None => Bounded::Stopped,
    }
}

/// Performs a step and looks whether it worked.
async fn attempt_at(
    actor: &dyn Actor,
    clock: &dyn Clock,
    act: &Act,
    step: &Step,
    cancel: &Cancel,
) -> AttemptEnding {
    let work = async {
        let mut outputs = actor.perform(act, cancel).await?;
        match actor.verify(act, Occasion::Performed, cancel).await {
            Verdict::Done(more) => outputs.extend(more),
            Verdict::NotDone(why) => {
                return Err(Failure::new(format!("it says that it worked, but {why}")));
            }
            Verdict::Unclear(why) => {
                return Err(Failure::new(format!("it could not be verified: {why}")));
            }
        }
        match broken_promise(&step.outputs, &outputs) {
            Some(broken) => Err(Failure::lasting(broken)),
            None => Ok(outputs),
        }
    };
    match bounded(clock, step.timeout, cancel, work).await {
        Bounded::Ended(Ok(outputs)) => AttemptEnding::Done { outputs },
        Bounded::Ended(Err(_)) if cancel.is_cancelled() => AttemptEnding::Stopped,
        Bounded::Ended(Err(failure)) => AttemptEnding::Failed(failure),
        Bounded::TimedOut => AttemptEnding::Failed(Failure::new(late(step.timeout))),
        Bounded::Stopped => AttemptEnding::Stopped,
    }
}

fn found(verdict: Verdict, step: &Step) -> Found {
    match verdict {
        Verdict::Done(outputs) => found_done(outputs, step),
        Verdict::NotDone(why) => Found::NotDone { why },
        Verdict::Unclear(why) => Found::Unclear { why },
    }
}

/// What is done and does not give what it promised is no use to those behind it.
fn found_done(outputs: Outputs, step: &Step) -> Found {
    match broken_promise(&step.outputs, &outputs) {
        None => Found::Done { outputs },
        Some(broken) => Found::Unclear { why: broken },
    }
}

fn late(timeout: Duration) -> String {
    format!("it did not end within {} s", timeout.as_secs())
}
