//! A world in which each step has one effect, which is there or not.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lifeboat_model::{Cancel, Clock as _, StepName, Timestamp};

use super::time::SimulatedTime;
use crate::{
    Act, Actor, Failure, Interruption, Occasion, Output, OutputKind, Outputs, Runbook, Step,
    Verdict,
};

/// Whether a process lives, and a count of what was added to its journal.
#[derive(Debug, Default)]
pub struct Life {
    is_over: AtomicBool,
    beats: AtomicU64,
}

impl Life {
    /// Tells whether the process was killed.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn revive(&self) {
        self.is_over.store(false, Ordering::Relaxed);
    }

    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn heartbeat(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }
}

/// What goes wrong at the first attempt at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It says that it failed, and did.
    Fails,
    /// It never ends.
    Hangs,
    /// It says that it worked, and did not.
    Lies,
}

#[derive(Debug, Default)]
struct State {
    effects: BTreeSet<StepName>,
    troubled: BTreeSet<StepName>,
    undone: Vec<StepName>,
    violations: Vec<String>,
}

/// An actor on a simulated world.
#[derive(Debug)]
pub struct World {
    runbook: Arc<Runbook>,
    time: Arc<SimulatedTime>,
    life: Arc<Life>,
    troubles: BTreeMap<StepName, Trouble>,
    state: Mutex<State>,
}

impl World {
    /// Returns a world in which nothing was done.
    pub fn new(runbook: Arc<Runbook>, time: Arc<SimulatedTime>) -> Self {
        let (life, troubles, state) = (Arc::default(), BTreeMap::new(), Mutex::default());
        Self { runbook, time, life, troubles, state }
    }

    /// Lets steps have trouble.
    #[must_use]
    pub fn with(mut self, troubles: BTreeMap<StepName, Trouble>) -> Self {
        self.troubles = troubles;
        self
    }

    /// Returns the life of the process that acts here.
    pub const fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// Returns the steps that have an effect.
    pub fn effects(&self) -> BTreeSet<StepName> {
        self.state().effects.clone()
    }

    /// Returns the steps whose undo was begun, each time that it was, the first one first.
    pub fn undone(&self) -> Vec<StepName> {
        self.state().undone.clone()
    }

    /// Returns what should not have happened.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, name: &StepName) -> &Step {
        let index = self.runbook.graph.index(name).expect("a step of the runbook");
        &self.runbook.graph.steps()[index]
    }

    /// Lets time pass: steps take different times, the same in each play.
    async fn work(&self, name: &StepName) {
        let seconds = name.as_str().bytes().map(u64::from).sum::<u64>() % 50 + 1;
        self.time.sleep(Duration::from_secs(seconds)).await;
        if self.life.is_over() {
            pending::<()>().await;
        }
    }

    /// Has the effect of a step, which must be there once only unless the step may be repeated.
    fn effect(&self, name: &StepName) {
        let repeats = self.step(name).interruption == Interruption::Repeat;
        let mut state = self.state();
        if !state.effects.insert(name.clone()) && !repeats {
            state.violations.push(format!("`{name}` was done twice"));
        }
    }

    /// Tells what goes wrong with a step now.
    fn trouble(&self, name: &StepName) -> Option<Trouble> {
        let trouble = *self.troubles.get(name)?;
        self.state().troubled.insert(name.clone()).then_some(trouble)
    }
}

fn outputs(step: &Step) -> Outputs {
    let value = |kind: &OutputKind| match kind {
        OutputKind::Text => Output::text("a text"),
        OutputKind::Number => Output::Number(7),
        OutputKind::Time => Output::Time(Timestamp::UNIX_EPOCH),
    };
    step.outputs.iter().map(|(name, kind)| (name.clone(), value(kind))).collect()
}

#[async_trait]
impl Actor for World {
    async fn perform(&self, act: &Act, _: &Cancel) -> Result<Outputs, Failure> {
        let step = self.step(&act.step);
        for input in &step.inputs {
            if act.given(input.step.as_str(), &input.output).is_none() {
                let what = format!("`{}` misses `{}` of `{}`", step.name, input.output, input.step);
                self.state().violations.push(what);
            }
        }
        self.work(&act.step).await;
        match self.trouble(&act.step) {
            None => self.effect(&act.step),
            Some(Trouble::Lies) => {}
            Some(Trouble::Fails) => return Err(Failure::new("it is played that it fails")),
            Some(Trouble::Hangs) => pending::<()>().await,
        }
        self.work(&act.step).await;
        Ok(outputs(step))
    }

    async fn verify(&self, act: &Act, _: Occasion, _: &Cancel) -> Verdict {
        self.work(&act.step).await;
        if self.state().effects.contains(&act.step) {
            Verdict::Done(outputs(self.step(&act.step)))
        } else {
            Verdict::NotDone("its effect is not there".to_owned())
        }
    }

    async fn undo(&self, act: &Act, _: &Cancel) -> Result<(), Failure> {
        self.state().undone.push(act.step.clone());
        self.work(&act.step).await;
        self.state().effects.remove(&act.step);
        self.work(&act.step).await;
        Ok(())
    }
}
