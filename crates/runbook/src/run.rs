//! A run of a runbook: what the entries of its journal add up to. Pure.
//!
//! # Invariants
//!
//! A run is nothing but its entries: folding the same entries gives the same run, in any process. An entry that
//! makes no sense where it stands is refused and changes nothing, so that a journal cannot hold one. A step is
//! begun at most once at a time, and only after all that it needs.

mod apply;
pub mod decide;

use std::sync::Arc;

use lifeboat_model::{Classify, EntryId, ErrorKind, Hint, RunbookId, StepName, Timestamp};

use crate::entry::{Began, Entry, FORMAT, Fact, Operator, Outcome};
use crate::journal::{Journal, JournalError};
use crate::times::Shares;
use crate::{Failure, Outputs, Progress, Runbook, Step, Task};

/// A journal does not tell of a run of this runbook.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no entry yet.
    #[error("the journal is empty: the run was never declared")]
    Empty,
    /// It was written by a later version.
    #[error(
        "the journal was written by a later version: it has format {found}, and this one knows up to {FORMAT}"
    )]
    Newer {
        /// Its format.
        found: u32,
    },
    /// The runbook is not that with which the run began.
    #[error(
        "the runbook was changed while its run is open: it began with {began}, and now there is {now}"
    )]
    Changed {
        /// What the run began with.
        began: RunbookId,
        /// What there is now.
        now: RunbookId,
    },
    /// An entry makes no sense where it stands.
    #[error("entry {sequence} of the journal makes no sense there: {why}")]
    Senseless {
        /// Which entry.
        sequence: u64,
        /// Why not.
        why: String,
    },
}

impl Classify for RunError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Journal(error) => error.kind(),
            Self::Empty => ErrorKind::NotFound,
            Self::Newer { .. } | Self::Changed { .. } => ErrorKind::Conflict,
            Self::Senseless { .. } => ErrorKind::Corrupt,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Changed { .. } => {
                "put the runbook back as it was and go on, or `lifeboat recover abort` and begin anew"
            }
            Self::Newer { .. } => "go on with the version that began it, or a later one",
            _ => return None,
        };
        Some(Hint::new(text))
    }
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// Not begun, or to be begun anew.
    Waiting,
    /// A person is waited for.
    Asked {
        /// Since when.
        since: Timestamp,
    },
    /// An attempt is under way.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// An attempt was under way when its process ended.
    Interrupted,
    /// An attempt failed, and another one follows.
    Retrying {
        /// When.
        at: Timestamp,
    },
    /// It failed.
    Failed(Failure),
    /// It is done.
    Done,
    /// It is left out, by what the runbook says.
    LeftOut {
        /// Why.
        why: String,
    },
    /// A person said that it is not to be done.
    Skipped {
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
}

impl Stand {
    /// Tells whether nothing more comes of it by itself.
    pub const fn is_settled(&self) -> bool {
        matches!(self, Self::Done | Self::LeftOut { .. } | Self::Skipped { .. } | Self::Failed(_))
    }

    const fn progress(&self) -> Progress {
        match self {
            Self::Waiting => Progress::Waiting,
            Self::Asked { .. }
            | Self::Running { .. }
            | Self::Interrupted
            | Self::Retrying { .. } => Progress::Running,
            Self::Failed(_) => Progress::Failed,
            Self::Done | Self::LeftOut { .. } | Self::Skipped { .. } => Progress::Done,
        }
    }
}

/// How far the undo of a step is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum UndoStand {
    /// Not begun.
    #[default]
    Waiting,
    /// Under way.
    Running,
    /// It failed.
    Failed(Failure),
    /// It is done.
    Done,
    /// A person said that it is not to be done.
    Skipped,
}

/// What a run knows of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// How far it is.
    pub stand: Stand,
    /// How many attempts were begun.
    pub attempts: u32,
    /// How many of them failed since a person last asked for another.
    failures: u32,
    /// What it gave.
    pub outputs: Outputs,
    /// The entry and the time at which it was first begun.
    pub begun: Option<(u64, Timestamp)>,
    /// When it was settled.
    pub ended: Option<Timestamp>,
    /// How far its undo is.
    pub undo: UndoStand,
}

impl Course {
    const fn new() -> Self {
        Self {
            stand: Stand::Waiting,
            attempts: 0,
            failures: 0,
            outputs: Outputs::new(),
            begun: None,
            ended: None,
            undo: UndoStand::Waiting,
        }
    }
}

/// Where a run as a whole is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mood {
    /// It goes on.
    Going,
    /// Nothing new is begun.
    Paused {
        /// Who wants that.
        by: String,
        /// Why.
        why: String,
    },
    /// What was done is undone.
    Aborting {
        /// Who wants that.
        by: String,
        /// Why.
        why: String,
    },
    /// It is over.
    Finished(Outcome),
}

/// A stretch of time in which a step was worked at, or its person waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) step: usize,
    pub(crate) is_for_person: bool,
    pub(crate) from: Timestamp,
    pub(crate) to: Option<Timestamp>,
    pub(crate) shares: Shares,
}

/// Who works at a step, or is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worker {
    Actor,
    Person,
}

impl Stretch {
    pub(crate) fn begin(step: usize, worker: Worker, from: Timestamp) -> Self {
        let is_for_person = worker == Worker::Person;
        Self { step, is_for_person, from, to: None, shares: Shares::default() }
    }
}

/// A run of a runbook.
#[derive(Debug, Clone)]
pub struct Run {
    runbook: Arc<Runbook>,
    began: Began,
    declared: Timestamp,
    begun: Timestamp,
    courses: Vec<Course>,
    mood: Mood,
    driver: Option<Operator>,
    stretches: Vec<Stretch>,
    count: u64,
    last: EntryId,
    last_time: Timestamp,
}

impl Run {
    /// Returns the run that its first entry begins.
    pub fn begin(runbook: Arc<Runbook>, first: &Entry) -> Result<Self, RunError> {
        let Fact::Began(began) = &first.fact else {
            let why = "a run begins with its declaration".to_owned();
            return Err(RunError::Senseless { sequence: first.sequence, why });
        };
        if began.format > FORMAT {
            return Err(RunError::Newer { found: began.format });
        }
        if began.runbook != runbook.id {
            return Err(RunError::Changed { began: began.runbook, now: runbook.id });
        }
        Ok(Self {
            courses: vec![Course::new(); runbook.graph.steps().len()],
            runbook,
            began: began.clone(),
            declared: began.declared.min(first.time),
            begun: first.time,
            mood: Mood::Going,
            driver: None,
            stretches: Vec::new(),
            count: 1,
            last: first.id(),
            last_time: first.time,
        })
    }

    /// Returns the run that a journal tells of.
    pub fn load(runbook: Arc<Runbook>, journal: &dyn Journal) -> Result<Self, RunError> {
        let entries = journal.read(0, None)?;
        let (first, rest) = entries.split_first().ok_or(RunError::Empty)?;
        let mut run = Self::begin(runbook, first)?;
        for entry in rest {
            run.apply(entry)?;
        }
        Ok(run)
    }

    /// Takes in what others added to the journal; returns it.
    pub fn catch_up(&mut self, journal: &dyn Journal) -> Result<Vec<Entry>, RunError> {
        let entries = journal.read(self.count, Some(self.last))?;
        for entry in &entries {
            self.apply(entry)?;
        }
        Ok(entries)
    }

    /// Returns the entry that comes next if `fact` happened at `now`. A clock that was set back does not
    /// make entries older than those before them.
    pub fn next_entry(&self, fact: Fact, now: Timestamp) -> Entry {
        let time = now.max(self.last_time);
        Entry { sequence: self.count, time, before: Some(self.last), fact }
    }

    /// Returns what it carries out.
    pub fn runbook(&self) -> &Runbook {
        &self.runbook
    }

    /// Returns its declaration.
    pub const fn began(&self) -> &Began {
        &self.began
    }

    /// Returns when it was declared.
    pub const fn declared(&self) -> Timestamp {
        self.declared
    }

    /// Returns when its first entry was written.
    pub const fn begun(&self) -> Timestamp {
        self.begun
    }

    /// Returns the time of its last entry.
    pub const fn last_time(&self) -> Timestamp {
        self.last_time
    }

    /// Returns the hash of its last entry, in which all of it is held.
    pub const fn last(&self) -> EntryId {
        self.last
    }

    /// Returns how many entries it has.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns where it is.
    pub const fn mood(&self) -> &Mood {
        &self.mood
    }

    /// Returns who drives it, or did last.
    pub const fn driver(&self) -> Option<&Operator> {
        self.driver.as_ref()
    }

    /// Returns the steps, each with how far it is, in the runbook's own order.
    pub fn steps(&self) -> impl Iterator<Item = (&Step, &Course)> {
        self.runbook.graph.steps().iter().zip(&self.courses)
    }

    /// Returns a step and how far it is.
    pub fn step(&self, name: &StepName) -> Option<(&Step, &Course)> {
        let index = self.runbook.graph.index(name)?;
        Some((&self.runbook.graph.steps()[index], &self.courses[index]))
    }

    /// Returns what all steps gave.
    pub fn given(&self) -> Vec<(StepName, Outputs)> {
        let gave = self.steps().filter(|(_, course)| !course.outputs.is_empty());
        gave.map(|(step, course)| (step.name.clone(), course.outputs.clone())).collect()
    }

    pub(crate) fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    fn progress(&self, name: &StepName) -> Progress {
        self.step(name).map_or(Progress::Waiting, |(_, course)| course.stand.progress())
    }

    /// Tells whether all that a step needs is behind it.
    fn is_ready(&self, step: &Step) -> bool {
        let ready = self.runbook.graph.ready(|name| self.progress(name));
        ready.iter().any(|ready| ready.name == step.name)
    }
}

/// Tells whether a step is worked at by an actor.
pub(crate) const fn is_act(step: &Step) -> bool {
    matches!(step.task, Task::Act)
}
