//! What comes next in a run.

use lifeboat_model::{StepName, Timestamp};

use super::{Course, Mood, Run, Stand, UndoStand};
use crate::entry::Outcome;
use crate::{Condition, Failure, Interruption, Step, Task, Test};

/// How many steps are under way at once at most: more only fight for the disk and the network, and nobody
/// follows them.
pub const SIDE_BY_SIDE_MAX: usize = 8;

/// Something that is to happen. It stands until an entry answers it, so that whoever drives the run does not
/// begin it twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Begin an attempt at a step.
    Start {
        /// Which step.
        step: StepName,
        /// The how manyth attempt.
        attempt: u32,
    },
    /// Find out what became of an interrupted attempt.
    FindOut {
        /// At which step.
        step: StepName,
    },
    /// Leave a step out.
    LeaveOut {
        /// Which step.
        step: StepName,
        /// Why.
        why: String,
    },
    /// Ask the person that a step waits for.
    Ask {
        /// Which step.
        step: StepName,
    },
    /// The time is over that a step waited for.
    Elapse {
        /// Which step.
        step: StepName,
    },
    /// Nothing else happens before this moment, unless something ends or a person says something.
    WaitUntil(Timestamp),
    /// Stop what is under way.
    Stop {
        /// Which step.
        step: StepName,
    },
    /// Undo a step.
    Undo {
        /// Which step.
        step: StepName,
    },
    /// End the run.
    Finish(Outcome),
    /// Nothing more can happen before a person decides.
    Stuck(Vec<Stuck>),
}

/// What keeps a run from going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Which step.
    pub step: StepName,
    /// Why.
    pub failure: Failure,
    /// The steps that wait for it.
    pub behind: Vec<StepName>,
    /// Whether it is the step's undo that failed.
    pub is_undo: bool,
}

impl Run {
    /// Says what is to happen at `now`. Nothing means that something under way, a person who was asked, or
    /// whoever paused the run is waited for.
    pub fn decide(&self, now: Timestamp) -> Vec<Decision> {
        match &self.mood {
            Mood::Going => self.go_on(now),
            Mood::Paused { .. } | Mood::Finished(_) => Vec::new(),
            Mood::Aborting { .. } => self.undo(),
        }
    }

    fn go_on(&self, now: Timestamp) -> Vec<Decision> {
        let mut decisions = self.of_unsettled(now);
        let running = self.steps().filter(|(_, course)| is_running(course)).count();
        let starts = decisions.iter().filter(|decision| begins_work(decision)).count();
        let mut room = SIDE_BY_SIDE_MAX.saturating_sub(running + starts);
        for step in self.runbook.graph.ready(|name| self.progress(name)) {
            let decision = self.begin_step(step);
            if begins_work(&decision) {
                if room == 0 {
                    continue;
                }
                room -= 1;
            }
            decisions.push(decision);
        }
        let waits = self
            .steps()
            .any(|(_, course)| is_running(course) || matches!(course.stand, Stand::Asked { .. }));
        if decisions.is_empty() && !waits {
            decisions.push(self.end());
        }
        decisions
    }

    /// What becomes of steps that have begun and are not settled.
    fn of_unsettled(&self, now: Timestamp) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for (step, course) in self.steps() {
            let (name, attempt) = (step.name.clone(), course.attempts + 1);
            match (&course.stand, &step.task) {
                (Stand::Retrying { at }, _) if *at > now => {
                    decisions.push(Decision::WaitUntil(*at));
                }
                (Stand::Retrying { .. }, _) => {
                    decisions.push(Decision::Start { step: name, attempt });
                }
                (Stand::Interrupted, _) if step.interruption == Interruption::Repeat => {
                    decisions.push(Decision::Start { step: name, attempt });
                }
                (Stand::Interrupted, _) => decisions.push(Decision::FindOut { step: name }),
                (Stand::Running { since }, Task::Wait(length)) => {
                    let end = since.saturating_add(*length).unwrap_or(Timestamp::MAX);
                    decisions.push(if end <= now {
                        Decision::Elapse { step: name }
                    } else {
                        Decision::WaitUntil(end)
                    });
                }
                _ => {}
            }
        }
        decisions
    }

    fn begin_step(&self, step: &Step) -> Decision {
        let name = step.name.clone();
        if let Some(why) = &step.left_out {
            return Decision::LeaveOut { step: name, why: why.clone() };
        }
        if let Some(why) = step.condition.as_ref().and_then(|condition| self.unmet(condition)) {
            return Decision::LeaveOut { step: name, why };
        }
        match step.task {
            Task::Manual { .. } | Task::Approve { .. } => Decision::Ask { step: name },
            Task::Act | Task::Wait(_) => {
                let attempt = self.step(&step.name).map_or(0, |(_, course)| course.attempts) + 1;
                Decision::Start { step: name, attempt }
            }
        }
    }

    /// Says why a condition is not met, if it is not.
    fn unmet(&self, condition: &Condition) -> Option<String> {
        let input = &condition.input;
        let output =
            self.step(&input.step).and_then(|(_, course)| course.outputs.get(&input.output));
        if condition.test.holds(output) {
            return None;
        }
        let found = output.map_or_else(|| "absent".to_owned(), |output| format!("`{output}`"));
        let wanted = match &condition.test {
            Test::Is(text) => format!("would have to be `{text}`"),
            Test::IsNot(text) => format!("must not be `{text}`"),
        };
        Some(format!("`{}` of `{}` is {found} and {wanted}", input.output, input.step))
    }

    /// What there is to say when nothing more happens by itself.
    fn end(&self) -> Decision {
        let failed = self.steps().filter_map(|(step, course)| match &course.stand {
            Stand::Failed(failure) if step.is_critical => Some((step, failure)),
            _ => None,
        });
        let stuck: Vec<_> = failed.map(|(step, failure)| self.stuck(step, failure)).collect();
        if !stuck.is_empty() {
            return Decision::Stuck(stuck);
        }
        let is_whole = self
            .steps()
            .all(|(_, course)| matches!(course.stand, Stand::Done | Stand::LeftOut { .. }));
        Decision::Finish(if is_whole { Outcome::Succeeded } else { Outcome::Incomplete })
    }

    fn stuck(&self, step: &Step, failure: &Failure) -> Stuck {
        let blocked = self.runbook.graph.blocked(|name| self.progress(name));
        let behind = blocked.into_iter().map(|step| step.name.clone()).collect();
        Stuck { step: step.name.clone(), failure: failure.clone(), behind, is_undo: false }
    }

    fn undo(&self) -> Vec<Decision> {
        let running = self.steps().filter(|(_, course)| is_running(course));
        let stops: Vec<_> =
            running.map(|(step, _)| Decision::Stop { step: step.name.clone() }).collect();
        if !stops.is_empty() || self.is_anything_running() {
            return stops;
        }
        let Some(index) = self.next_undo() else {
            return vec![Decision::Finish(Outcome::Aborted)];
        };
        let step = self.runbook.graph.steps()[index].name.clone();
        vec![match &self.courses[index].undo {
            UndoStand::Failed(failure) => {
                let failure = failure.clone();
                Decision::Stuck(vec![Stuck { step, failure, behind: Vec::new(), is_undo: true }])
            }
            _ => Decision::Undo { step },
        }]
    }
}

const fn is_running(course: &Course) -> bool {
    matches!(course.stand, Stand::Running { .. })
}

const fn begins_work(decision: &Decision) -> bool {
    matches!(decision, Decision::Start { .. } | Decision::FindOut { .. })
}
