//! A step: what it needs, how it is tried, and what an interruption means to it. What it does is its
//! actor's matter.

use std::collections::BTreeMap;
use std::time::Duration;

use lifeboat_model::StepName;
use serde::{Deserialize, Serialize};

use crate::output::{Output, OutputKind};

/// How long one attempt may take if nobody said: no single step of a recovery takes longer than a day,
/// and one that hangs has to be noticed at some time.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_hours(24);

/// A step of a runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: StepName,
    /// The steps that come before it.
    pub needs: Vec<StepName>,
    /// What it takes from steps before it.
    pub inputs: Vec<Input>,
    /// What it gives to those behind it.
    pub outputs: BTreeMap<String, OutputKind>,
    /// Who does it.
    pub task: Task,
    /// When it is done at all.
    pub condition: Option<Condition>,
    /// Why it is left out of this run, if it is.
    pub left_out: Option<String>,
    /// Whether its failure stops those that need it.
    pub is_critical: bool,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How often it is tried again.
    pub retry: Retry,
    /// What becomes of it if it was interrupted.
    pub interruption: Interruption,
    /// Whether it can be undone.
    pub undo: Undo,
    /// To which part of the recovery its time counts.
    pub phase: Phase,
}

impl Step {
    /// Returns a critical step that is tried once and needs nothing.
    pub const fn new(name: StepName, task: Task) -> Self {
        Self {
            name,
            needs: Vec::new(),
            inputs: Vec::new(),
            outputs: BTreeMap::new(),
            task,
            condition: None,
            left_out: None,
            is_critical: true,
            timeout: TIMEOUT_DEFAULT,
            retry: Retry { times: 0, wait: Duration::ZERO },
            interruption: Interruption::FindOut,
            undo: Undo::Nothing,
            phase: Phase::Prepare,
        }
    }
}

/// Who does a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// An actor.
    Act,
    /// A person, who confirms it; all points of the list have to be ticked off.
    Manual {
        /// The points.
        checklist: Vec<String>,
    },
    /// A person agrees, who has this name or this role.
    Approve {
        /// The role, or the contact.
        by: String,
    },
    /// Nobody: time passes.
    Wait(Duration),
}

/// How often a step is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retry {
    /// How many times, after the first.
    pub times: u32,
    /// How long to wait in between.
    pub wait: Duration,
}

/// What becomes of a step that was running when the process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// It is done again: doing it twice is as good as once.
    Repeat,
    /// It is asked for first, and done again only if it is known not to have happened.
    FindOut,
}

/// Whether a step can be undone. An undo has to stand being done twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// There is nothing to undo, or no way.
    Nothing,
    /// Its actor can.
    Possible,
}

/// What a step takes from one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// From which step.
    pub step: StepName,
    /// Which of its outputs.
    pub output: String,
}

/// When a step is done at all: if an output of a step before it is this, or is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Which output.
    pub input: Input,
    /// What it is held against.
    pub test: Test,
}

/// What an output is held against, as text. An output that was never given is like no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// It has to be this.
    Is(String),
    /// It must not be this.
    IsNot(String),
}

impl Test {
    /// Tells whether `output` passes.
    pub fn holds(&self, output: Option<&Output>) -> bool {
        let text = output.map(ToString::to_string);
        match self {
            Self::Is(wanted) => text.as_ref() == Some(wanted),
            Self::IsNot(unwanted) => text.as_ref() != Some(unwanted),
        }
    }
}

/// A part of a recovery, by which its time is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Deciding from which point to recover, before the first step.
    Decide,
    /// Making the place ready, and what else belongs to none of the others.
    Prepare,
    /// Finding out what is read from where, and waiting until it can be, as for cold storage.
    Fetch,
    /// Reading data from tiers, writing and checking them.
    Restore,
    /// A server replays its log before it is there again.
    Replay,
    /// Starting services until they are healthy; one that was restored beside replays its log then.
    Start,
    /// Asking whether it worked.
    Validate,
}

impl Phase {
    /// Returns its name, as it is serialised.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::Prepare => "prepare",
            Self::Fetch => "fetch",
            Self::Restore => "restore",
            Self::Replay => "replay",
            Self::Start => "start",
            Self::Validate => "validate",
        }
    }
}

/// How far a step is, as the graph sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// Not begun.
    #[default]
    Waiting,
    /// Begun and not ended.
    Running,
    /// Ended well, or left out on purpose.
    Done,
    /// Ended badly.
    Failed,
}
