//! Runbooks carried out in a simulated world: what each one has to stand, as checks that tests call.
//!
//! A check panics with what it found. Time is simulated, so that a day passes in no time; nothing is decided by
//! chance. The world is what [`World`] says: each step has one effect, which is there or not.

pub mod ledger;
pub mod time;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lifeboat_model::{Cancel, RunId, StepName, Timestamp};

pub use ledger::{Ledger, Moment};
pub use time::{SimulatedTime, play};
pub use world::{Trouble, World};

use crate::command::{Command, Person};
use crate::entry::{Began, Entry, FORMAT, Fact, Operator, Outcome};
use crate::run::is_act;
use crate::{Executor, Halt, Journal as _, Mood, Run, Runbook, Stand, Task, Undo, Witness};

/// How many times a run may be taken over or helped before it counts as one that never ends.
const TURNS_MAX: usize = 200;

/// How a run ended, and what it left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndState {
    /// How.
    pub outcome: Outcome,
    /// The steps that are done.
    pub done: BTreeSet<StepName>,
    /// The steps that have an effect.
    pub effects: BTreeSet<StepName>,
}

impl EndState {
    fn without(&self, step: &StepName) -> Self {
        let less = |steps: &BTreeSet<StepName>| {
            steps.iter().filter(|other| *other != step).cloned().collect()
        };
        let (done, effects) = (less(&self.done), less(&self.effects));
        Self { outcome: Outcome::Incomplete, done, effects }
    }
}

#[derive(Debug)]
struct Nobody;

impl Witness for Nobody {
    fn saw(&self, _: &Run, _: &Entry) {}
}

/// One play: a runbook, its world, and what happens to whoever drives it.
#[derive(Debug)]
pub struct Play {
    runbook: Arc<Runbook>,
    time: Arc<SimulatedTime>,
    world: World,
    ledger: Ledger,
    abort_at: Option<u64>,
    is_aborted: bool,
}

impl Play {
    /// Returns a play in which nothing goes wrong.
    pub fn new(runbook: &Arc<Runbook>) -> Self {
        let time = Arc::new(SimulatedTime::new(Timestamp::UNIX_EPOCH));
        let world = World::new(Arc::clone(runbook), Arc::clone(&time));
        let ledger = Ledger::new(Arc::clone(world.life()));
        let runbook = Arc::clone(runbook);
        Self { runbook, time, world, ledger, abort_at: None, is_aborted: false }
    }

    /// Lets steps have trouble.
    #[must_use]
    pub fn with(mut self, troubles: BTreeMap<StepName, Trouble>) -> Self {
        self.world = self.world.with(troubles);
        self
    }

    /// Kills whoever drives the run, once.
    #[must_use]
    pub fn killed(self, moment: Moment) -> Self {
        self.ledger.kill_at(moment);
        self
    }

    /// Lets a person abort the run once it has this many entries.
    #[must_use]
    pub const fn aborted_at(mut self, count: u64) -> Self {
        self.abort_at = Some(count);
        self
    }

    /// Plays to the end: people answer what they are asked, and have failed steps tried again.
    pub fn to_the_end(mut self) -> (EndState, u64) {
        self.declare();
        for _ in 0..TURNS_MAX {
            self.world.life().revive();
            match self.turn() {
                None | Some(Halt::Left) => {}
                Some(Halt::Stuck(stuck)) => {
                    for step in stuck.into_iter().map(|stuck| stuck.step) {
                        self.say(&Command::Retry { step });
                    }
                }
                Some(Halt::Finished(outcome)) => return self.end(outcome),
            }
        }
        panic!("it never ends: {:?}", self.ledger.read(0, None))
    }

    fn declare(&self) {
        let about = BTreeMap::new();
        let run = "run_00000000000070008000000000000000".parse::<RunId>().expect("an id");
        let (runbook, time) = (self.runbook.id, Timestamp::UNIX_EPOCH);
        let fact = Fact::Began(Began { format: FORMAT, run, runbook, declared: time, about });
        let entry = Entry { sequence: 0, time, before: None, fact };
        self.ledger.append(&entry).expect("an empty ledger takes a first entry");
    }

    fn load(&self) -> Run {
        Run::load(Arc::clone(&self.runbook), &self.ledger).expect("the ledger tells of the run")
    }

    /// Drives until it halts; nothing if whoever drove was killed.
    fn turn(&mut self) -> Option<Halt> {
        let cancel = Cancel::new();
        let by = Operator { login: "alice".into(), host: "web-1".into(), process: 7 };
        let clocks = (&*self.time as _, &cancel);
        let run = self.load();
        let executor = Executor::new(run, &self.ledger, &self.world, clocks, &Nobody);
        let (life, abort_at) = (Arc::clone(self.world.life()), self.abort_at);
        let mut people = People { seen: self.load(), play: self };
        let mut is_aborted = self.is_aborted;
        let drive = executor.drive(by);
        let ended = play(&self.time, drive, &life, || {
            is_aborted |= people.answer(abort_at.filter(|_| !is_aborted));
        });
        self.is_aborted = is_aborted;
        ended.map(|ended| ended.expect("a ledger in memory does not fail").1)
    }

    /// Lets a person say something, if the run takes it.
    fn say(&self, command: &Command) {
        let run = self.load();
        let names = run.steps().filter_map(|(step, _)| match &step.task {
            Task::Approve { by } => Some(by.clone()),
            _ => None,
        });
        let person = Person { name: "alice".to_owned(), rights: names.collect() };
        let fact = run.command(command, &person).expect("people say what makes sense");
        let entry = run.next_entry(fact, lifeboat_model::Clock::now(&*self.time));
        self.ledger.append(&entry).expect("nobody else adds entries meanwhile");
    }

    fn end(&self, outcome: Outcome) -> (EndState, u64) {
        let run = self.load();
        assert_eq!(self.world.violations(), Vec::<String>::new());
        let undone = self.world.undone();
        assert!(outcome == Outcome::Aborted || undone.is_empty(), "{undone:?} is undone");
        let begun = run.steps().filter(|(step, _)| step.undo == Undo::Possible);
        let begun = begun.filter_map(|(step, course)| Some((step.name.clone(), course.begun?.0)));
        assert_eq!(wrong_undo(&begun.collect(), undone), None);
        let times = run.times(Timestamp::MAX);
        let parts = times.phases.values().sum::<std::time::Duration>();
        assert_eq!(parts + times.people + times.standstill, times.total, "the parts add up");
        let done = run.steps().filter(|(_, course)| course.stand == Stand::Done);
        let done = done.map(|(step, _)| step.name.clone()).collect();
        let effects = self.world.effects();
        (EndState { outcome, done, effects }, run.count())
    }
}

/// People, who look at the run whenever time has moved on.
struct People<'a> {
    play: &'a Play,
    /// The run, as they last saw it.
    seen: Run,
}

impl People<'_> {
    /// Answers what was asked, and aborts the run if that is to be; tells whether it did.
    fn answer(&mut self, abort_at: Option<u64>) -> bool {
        self.seen.catch_up(&self.play.ledger).expect("the ledger tells of the run");
        let run = &self.seen;
        if abort_at.is_some_and(|count| run.count() >= count) && *run.mood() == Mood::Going {
            self.play.say(&Command::Abort { why: "it is played".to_owned() });
            return true;
        }
        for (step, course) in run.steps() {
            let Stand::Asked { .. } = course.stand else { continue };
            let (name, note) = (step.name.clone(), "done".to_owned());
            let command = match &step.task {
                Task::Manual { checklist } => {
                    Command::Confirm { step: name, note, ticked: checklist.clone() }
                }
                _ => Command::Approve { step: name, note },
            };
            self.play.say(&command);
            break;
        }
        false
    }
}

/// Checks everything that a runbook has to stand.
pub fn all(runbook: &Arc<Runbook>) {
    a_step_that_fails_hangs_or_lies_once_changes_nothing(runbook);
    a_kill_at_any_entry_changes_nothing(runbook);
    an_abort_at_any_entry_undoes_what_can_be(runbook);
}

/// Each step fails once, hangs once, lies once: the end is as if nothing had happened, but for a step that is not
/// critical and tried once only.
pub fn a_step_that_fails_hangs_or_lies_once_changes_nothing(runbook: &Arc<Runbook>) {
    let (end, _) = Play::new(runbook).to_the_end();
    for step in runbook.graph.steps() {
        for trouble in [Trouble::Fails, Trouble::Hangs, Trouble::Lies] {
            let troubles = BTreeMap::from([(step.name.clone(), trouble)]);
            let (found, _) = Play::new(runbook).with(troubles).to_the_end();
            let expected = if step.is_critical || step.retry.times > 0 || !is_act(step) {
                end.clone()
            } else {
                end.without(&step.name)
            };
            assert_eq!(found, expected, "`{}` {trouble:?}", step.name);
        }
    }
}

/// Whoever drives is killed before or after each entry: the end is as if nothing had happened.
pub fn a_kill_at_any_entry_changes_nothing(runbook: &Arc<Runbook>) {
    let (end, count) = Play::new(runbook).to_the_end();
    for sequence in 1..count {
        for moment in [Moment::Before(sequence), Moment::After(sequence)] {
            let (found, _) = Play::new(runbook).killed(moment).to_the_end();
            assert_eq!(found, end, "killed {moment:?}");
        }
    }
}

/// A person aborts the run at each entry, and whoever drives is killed at each entry that follows: what can be
/// undone has no effect at the end, and nothing else was undone.
pub fn an_abort_at_any_entry_undoes_what_can_be(runbook: &Arc<Runbook>) {
    let (_, count) = Play::new(runbook).to_the_end();
    for at in 1..count {
        let (end, aborted) = Play::new(runbook).aborted_at(at).to_the_end();
        if end.outcome != Outcome::Aborted {
            continue;
        }
        check_undone(runbook, &end);
        for sequence in at..aborted {
            for moment in [Moment::Before(sequence), Moment::After(sequence)] {
                let killed = Play::new(runbook).aborted_at(at).killed(moment);
                check_undone(runbook, &killed.to_the_end().0);
            }
        }
    }
}

/// Says what is wrong with what was undone: only what was `begun` and has an undo may be, the last one first; a kill has the
/// undo that was under way done again. Pure.
fn wrong_undo(begun: &BTreeMap<StepName, u64>, mut undone: Vec<StepName>) -> Option<String> {
    undone.dedup();
    let mut before: Option<(&StepName, u64)> = None;
    for step in &undone {
        let Some(&at) = begun.get(step) else {
            return Some(format!("`{step}` is undone, which was not begun or has no undo"));
        };
        if let Some((later, _)) = before.filter(|(_, later)| *later <= at) {
            return Some(format!("`{later}` is undone before `{step}`, which was begun later"));
        }
        before = Some((step, at));
    }
    None
}

fn check_undone(runbook: &Runbook, end: &EndState) {
    for step in runbook.graph.steps() {
        let has_effect = end.effects.contains(&step.name);
        assert!(!has_effect || step.undo == Undo::Nothing, "`{}` is not undone", step.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_begun_may_be_undone_and_the_last_one_first() {
        let name = |name: &str| name.parse::<StepName>().unwrap();
        let begun = BTreeMap::from([(name("stop"), 3), (name("start"), 9)]);
        let wrong = |undone: &[&str]| {
            wrong_undo(&begun, undone.iter().map(|step| name(step)).collect()).unwrap_or_default()
        };
        assert_eq!(wrong(&["start", "stop", "stop"]), "", "a kill has one done again");
        assert!(wrong(&["stop", "start"]).contains("which was begun later"));
        assert!(wrong(&["start", "stop", "start"]).contains("which was begun later"));
        assert!(wrong(&["start", "restore"]).contains("was not begun or has no undo"));
    }
}
