//! What a person may tell a run to do; each of it becomes an entry of the journal, or is refused with why.

use std::collections::BTreeSet;
use std::fmt;

use lifeboat_model::{Classify, ErrorKind, Hint, StepName};

use crate::entry::Fact;
use crate::{Mood, Run, Stand, Task};

/// Somebody who commands, as whoever asks for it knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// What they are called in the journal.
    pub name: String,
    /// All the names and roles by which they may be meant.
    pub rights: BTreeSet<String>,
}

/// What a person tells a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Begin nothing new.
    Pause {
        /// Why.
        why: String,
    },
    /// Go on.
    Resume,
    /// Try a step again that failed.
    Retry {
        /// Which.
        step: StepName,
    },
    /// Do without a step.
    Skip {
        /// Which.
        step: StepName,
        /// Why.
        why: String,
    },
    /// Agree.
    Approve {
        /// To what.
        step: StepName,
        /// Why, which is noted.
        note: String,
    },
    /// Do not agree.
    Decline {
        /// To what.
        step: StepName,
        /// Why not.
        why: String,
    },
    /// Confirm that something was done.
    Confirm {
        /// What.
        step: StepName,
        /// What is noted.
        note: String,
        /// The points that are ticked off.
        ticked: Vec<String>,
    },
    /// Give up, and undo what was done.
    Abort {
        /// Why.
        why: String,
    },
}

/// A run does not take a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such step.
    #[error("the runbook has no step `{step}`")]
    NoStep {
        /// What was named.
        step: StepName,
    },
    /// The step is not where the command would make sense.
    #[error("`{step}` {stand}, so that there is nothing to {verb}")]
    NotNow {
        /// Which step.
        step: StepName,
        /// How far it is.
        stand: String,
        /// What was wanted.
        verb: &'static str,
    },
    /// It is not for this person to say.
    #[error("`{step}` waits for {wanted}, and {name} is not that")]
    NotTheirs {
        /// Which step.
        step: StepName,
        /// Who may say it.
        wanted: String,
        /// Who said it.
        name: String,
    },
    /// Points of the list are open.
    #[error("`{step}` is not done before all of its list is: {}", Open(.open))]
    Unticked {
        /// Which step.
        step: StepName,
        /// What is open.
        open: Vec<String>,
    },
    /// No reason was given.
    #[error("a reason is needed: the report repeats it")]
    NoReason,
    /// The run is not where the command would make sense.
    #[error("the run {mood}, so that there is nothing to {verb}")]
    NotSo {
        /// Where it is.
        mood: String,
        /// What was wanted.
        verb: &'static str,
    },
}

struct Open<'a>(&'a [String]);

impl fmt::Display for Open<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted: Vec<_> = self.0.iter().map(|point| format!("`{point}`")).collect();
        f.write_str(&quoted.join(", "))
    }
}

impl Classify for Refusal {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoStep { .. } => ErrorKind::NotFound,
            Self::NotNow { .. } | Self::NotSo { .. } => ErrorKind::Conflict,
            Self::NotTheirs { .. } => ErrorKind::Denied,
            Self::Unticked { .. } | Self::NoReason => ErrorKind::Usage,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::NoStep { .. } | Self::NotNow { .. } | Self::NotSo { .. } => {
                "`lifeboat recover status` shows the steps and how far each is"
            }
            Self::NotTheirs { .. } => {
                "contacts say with `login` or `role` who they are: let one of them run the command"
            }
            Self::Unticked { .. } => {
                "tick each point off with `--done 'POINT'`, or all with `--all`"
            }
            Self::NoReason => "add `--reason 'WHY'`",
        };
        Some(Hint::new(text))
    }
}

impl Run {
    /// Returns the fact that a command makes, if the run takes it from this person.
    pub fn command(&self, command: &Command, person: &Person) -> Result<Fact, Refusal> {
        let by = person.name.clone();
        match command {
            Command::Pause { why } => {
                self.expect_mood("pause", |mood| *mood == Mood::Going)?;
                Ok(Fact::Paused { by, why: why.clone() })
            }
            Command::Resume => {
                self.expect_mood("resume", |mood| matches!(mood, Mood::Paused { .. }))?;
                Ok(Fact::Resumed { by })
            }
            Command::Abort { why } => {
                let may = |mood: &Mood| matches!(mood, Mood::Going | Mood::Paused { .. });
                self.expect_mood("abort", may)?;
                Ok(Fact::Aborted { by, why: reason(why)? })
            }
            Command::Retry { step } => {
                let fact = Fact::Retried { step: step.clone(), by };
                self.would_take(step, "retry", fact)
            }
            Command::Skip { step, why } => {
                let fact = Fact::Skipped { step: step.clone(), by, why: reason(why)? };
                self.would_take(step, "skip", fact)
            }
            Command::Approve { step, note } => {
                let (right, note) = (self.right(step, person, "approve")?, reason(note)?);
                Ok(Fact::Approved { step: step.clone(), by, right, note })
            }
            Command::Decline { step, why } => {
                self.right(step, person, "decline")?;
                Ok(Fact::Declined { step: step.clone(), by, why: reason(why)? })
            }
            Command::Confirm { step, note, ticked } => {
                self.check_list(step, ticked)?;
                let (step, note, ticked) = (step.clone(), note.clone(), ticked.clone());
                Ok(Fact::Confirmed { step, by, note, ticked })
            }
        }
    }

    fn expect_mood(&self, verb: &'static str, may: impl Fn(&Mood) -> bool) -> Result<(), Refusal> {
        if may(self.mood()) {
            return Ok(());
        }
        let mood = match self.mood() {
            Mood::Going => "is going on".to_owned(),
            Mood::Paused { by, .. } => format!("is paused by {by}"),
            Mood::Aborting { by, .. } => format!("is being aborted by {by}"),
            Mood::Finished(_) => "is over".to_owned(),
        };
        Err(Refusal::NotSo { mood, verb })
    }

    /// Refuses a fact that the run would not take.
    fn would_take(&self, step: &StepName, verb: &'static str, fact: Fact) -> Result<Fact, Refusal> {
        self.expect_mood(verb, |mood| !matches!(mood, Mood::Finished(_)))?;
        let (_, course) = self.step(step).ok_or_else(|| Refusal::NoStep { step: step.clone() })?;
        let entry = self.next_entry(fact, self.last_time());
        if self.clone().apply(&entry).is_ok() {
            return Ok(entry.fact);
        }
        let stand = said(&course.stand).to_owned();
        Err(Refusal::NotNow { step: step.clone(), stand, verb })
    }

    /// Returns by which right a person may answer a step.
    fn right(
        &self,
        name: &StepName,
        person: &Person,
        verb: &'static str,
    ) -> Result<String, Refusal> {
        let (step, course) =
            self.step(name).ok_or_else(|| Refusal::NoStep { step: name.clone() })?;
        let (Task::Approve { by }, Stand::Asked { .. }) = (&step.task, &course.stand) else {
            let stand = said(&course.stand).to_owned();
            return Err(Refusal::NotNow { step: name.clone(), stand, verb });
        };
        if person.rights.contains(by) {
            return Ok(by.clone());
        }
        let (wanted, name) = (by.clone(), person.name.clone());
        Err(Refusal::NotTheirs { step: step.name.clone(), wanted, name })
    }

    fn check_list(&self, name: &StepName, ticked: &[String]) -> Result<(), Refusal> {
        let (step, course) =
            self.step(name).ok_or_else(|| Refusal::NoStep { step: name.clone() })?;
        let (Task::Manual { checklist }, Stand::Asked { .. }) = (&step.task, &course.stand) else {
            let stand = said(&course.stand).to_owned();
            return Err(Refusal::NotNow { step: name.clone(), stand, verb: "confirm" });
        };
        let open: Vec<_> =
            checklist.iter().filter(|point| !ticked.contains(point)).cloned().collect();
        if open.is_empty() { Ok(()) } else { Err(Refusal::Unticked { step: name.clone(), open }) }
    }
}

fn reason(why: &str) -> Result<String, Refusal> {
    if why.trim().is_empty() { Err(Refusal::NoReason) } else { Ok(why.to_owned()) }
}

/// Says how far a step is, as the rest of a sentence.
pub const fn said(stand: &Stand) -> &'static str {
    match stand {
        Stand::Waiting => "has not begun",
        Stand::Asked { .. } => "waits for a person",
        Stand::Running { .. } => "is under way",
        Stand::Interrupted => "was interrupted",
        Stand::Retrying { .. } => "failed and is tried again",
        Stand::Failed(_) => "failed",
        Stand::Done => "is done",
        Stand::LeftOut { .. } => "is left out",
        Stand::Skipped { .. } => "was skipped",
    }
}
