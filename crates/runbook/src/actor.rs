//! What does a step: performs it, finds out whether it worked, takes it back.

use std::fmt::Debug;

use async_trait::async_trait;
use lifeboat_model::{Cancel, StepName};
use serde::{Deserialize, Serialize};

use crate::Outputs;

/// One attempt at a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// Which step.
    pub step: StepName,
    /// The how manyth attempt, from 1.
    pub attempt: u32,
    /// What the steps before it gave.
    pub given: Vec<(StepName, Outputs)>,
}

impl Act {
    /// Returns what a step before it gave.
    pub fn given(&self, step: &str, output: &str) -> Option<&crate::Output> {
        let (_, outputs) = self.given.iter().find(|(name, _)| name.as_str() == step)?;
        outputs.get(output)
    }
}

/// Does what steps are about.
///
/// # Contract
///
/// - Every future may be dropped at any time, also long after `cancel` was set: nothing of it goes on then.
/// - `undo` stands being called twice, and for a step that was begun and did not get anywhere.
/// - `perform` of a step that is [repeated](crate::Interruption::Repeat) stands being called twice.
#[async_trait]
pub trait Actor: Debug + Send + Sync {
    /// Does it.
    async fn perform(&self, act: &Act, cancel: &Cancel) -> Result<Outputs, Failure>;

    /// Finds out whether it is done.
    async fn verify(&self, act: &Act, occasion: Occasion, cancel: &Cancel) -> Verdict;

    /// Takes it back.
    async fn undo(&self, act: &Act, cancel: &Cancel) -> Result<(), Failure>;
}

/// Why it is asked whether a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It was performed, and says that it worked.
    Performed,
    /// It was being performed when the process died.
    Interrupted,
}

/// Whether a step is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Done(Outputs),
    /// It is not.
    NotDone(String),
    /// That could not be found out; this never counts as done.
    Unclear(String),
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Why, as a person reads it.
    pub why: String,
    /// What leads on, besides the commands that every failed step has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether trying the same again may help.
    pub again: Again,
    /// With what a command ended, if that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// What it says of the point from which the run recovers.
    #[serde(default, skip_serializing_if = "PointFound::is_untold")]
    pub point: PointFound,
}

/// What a failure says of the point from which a run recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointFound {
    /// Nothing.
    #[default]
    Untold,
    /// What was read of it is damaged.
    Damaged,
}

impl PointFound {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    fn is_untold(&self) -> bool {
        *self == Self::Untold
    }
}

/// Whether trying the same again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Again {
    /// It may.
    MayHelp,
    /// It will fail as it did.
    IsUseless,
}

impl Failure {
    /// Returns a failure that may pass.
    pub fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            hint: None,
            again: Again::MayHelp,
            exit: None,
            point: PointFound::Untold,
        }
    }

    /// Returns a failure that stays.
    pub fn lasting(why: impl Into<String>) -> Self {
        Self { again: Again::IsUseless, ..Self::new(why) }
    }
}
