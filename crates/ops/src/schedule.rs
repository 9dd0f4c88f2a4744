//! What is due, and what comes next: a pure function of the plan, what was done, how things stand and now.
//!
//! A task of the calendar is due from each of its times on, put off by its jitter, until that time or a later
//! one was *taken up*. Times that passed meanwhile are made up for once, by a single run that stands for
//! the last of them and tells how many there were. A run that failed is tried again before its next time, a few
//! times and with growing waits, where trying may help: see [`Task::is_tried_again`]. Otherwise, whatever became of a run,
//! its time is not taken up again.
//!
//! Catching up, verifying, delivering and capturing what changed have no times of their own: they are due when there is
//! need, and after a failure again after a wait that doubles.
//!
//! What is due but must not begin is *held*, with the reason: a pause, a blackout, a run that works on the
//! same, too many at once. It stays due, so that it is made up for when the reason is gone.
//!
//! # Invariants
//!
//! - No time of the calendar is taken up twice but to try again, and none is passed over without being counted.
//! - Nothing begins before its time, in a pause, or in a blackout that does not spare it.
//! - Of two that work on the same asset, or of which one removes something, one waits.
//! - What proves or removes never takes all the places that the plan has for work.
//! - A clock that was set forward and back again keeps nothing from being done.

mod rhythm;
mod task;
#[cfg(test)]
mod tests;
mod work;

pub use rhythm::{MISSED_MAX, TRIES_MAX, tried_again};
pub use task::{ParseTaskError, Task};
pub use work::{Claims, Taken, Work, Workload};

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use lifeboat_model::{AssetName, BlackoutName, TierName, Timestamp};
use lifeboat_plan::Plan;
use serde::{Deserialize, Serialize};

use rhythm::{Rhythm, Slot};

/// What was done of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Since when the plan has it: nothing before that was missed.
    pub since: Timestamp,
    /// The last of its times that was taken up.
    pub slot: Option<Timestamp>,
    /// When it ended last.
    pub ended: Option<Timestamp>,
    /// How often in a row it did not succeed.
    pub failures: u32,
    /// How many attempts were made at that time, if the last of them failed and ended it; else 0.
    pub tries: u32,
}

impl Past {
    /// Returns the past of a task that was never done.
    pub const fn since(since: Timestamp) -> Self {
        Self { since, slot: None, ended: None, failures: 0, tries: 0 }
    }

    /// Returns the time after which the next one counts.
    fn taken(&self) -> Timestamp {
        self.slot.map_or(self.since, |slot| slot.max(self.since))
    }
}

/// What was done of all tasks.
pub type History = BTreeMap<Task, Past>;

/// How a tier stands, as the catalog has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TierCondition {
    /// When something was brought there first; nothing is verified before.
    pub filled: Option<Timestamp>,
    /// When it was verified last.
    pub verified: Option<Timestamp>,
    /// Whether it lacks what another one holds.
    pub is_behind: bool,
}

/// A pause that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Why.
    pub why: String,
    /// Who asked for it.
    pub by: String,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// What runs, or begins before anything that is due.
    pub running: Vec<Taken>,
    /// The tasks that run, or wait for their turn: they are not taken up again.
    pub open: BTreeSet<Task>,
    /// The pause, if there is one.
    pub pause: Option<Pause>,
    /// The tiers.
    pub tiers: BTreeMap<TierName, TierCondition>,
    /// How many records wait for some tier.
    pub undelivered: usize,
    /// From when on watched assets are to be captured that have changed.
    pub watched: BTreeMap<AssetName, Timestamp>,
    /// Why nothing is captured or removed here, if the platform lives somewhere else.
    pub elsewhere: Option<String>,
    /// The recovery of this host that is not over, if there is one.
    pub recovering: Option<Recovering>,
}

/// A recovery that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovering {
    /// Of what, for people.
    pub why: String,
    /// What it brings back: until it is over that is not worth capturing, and would be the newest point.
    pub assets: BTreeSet<AssetName>,
}

impl Recovering {
    /// Tells whether a task waits for it: what captures what is brought back, what removes, and what would compete with it
    /// for tiers and disks without adding to safety.
    fn holds(&self, task: &Task, plan: &Plan) -> bool {
        match task {
            Task::Capture(asset) => self.assets.contains(asset),
            Task::Backup(schedule) => {
                let schedule = plan.schedules().get(schedule);
                let takes = |asset| schedule.is_some_and(|own| own.assets.includes(asset));
                self.assets.iter().any(takes)
            }
            Task::Verification(_) | Task::RestoreTest(_) | Task::Drill(_) | Task::Retention => true,
            Task::Delivery | Task::CatchUp(_) => false,
        }
    }
}

/// How far a clock may be set back before a pause that began later is taken for one of a wrong clock.
const CLOCK_SET_BACK_MAX: Duration = Duration::from_hours(1);

impl Pause {
    /// Tells whether it holds at an instant.
    pub fn holds_at(&self, now: Timestamp) -> bool {
        now < self.until && rhythm::after(now, CLOCK_SET_BACK_MAX) >= self.since
    }
}

/// Why something that is due does not begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Held {
    /// Somebody asked for a pause.
    Pause {
        /// Until then.
        until: Timestamp,
    },
    /// The plan wants nothing begun now.
    Blackout {
        /// By this blackout.
        name: BlackoutName,
        /// Until then.
        until: Timestamp,
    },
    /// It runs already, or something that works on the same.
    Task {
        /// This one.
        task: Task,
    },
    /// What somebody asked for works on the same.
    Asked {
        /// What that is.
        what: String,
    },
    /// As many run as may.
    Full,
    /// The platform lives somewhere else.
    Elsewhere {
        /// Where, and since when.
        why: String,
    },
    /// A recovery is not over.
    Recovery {
        /// Of what.
        why: String,
    },
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pause { until } => write!(f, "paused until {until}"),
            Self::Blackout { name, until } => write!(f, "blackout `{name}` until {until}"),
            Self::Task { task } => write!(f, "waits for {task}"),
            Self::Asked { what } => write!(f, "waits for a {what}"),
            Self::Full => f.write_str("waits for its turn"),
            Self::Elsewhere { why } | Self::Recovery { why } => f.write_str(why),
        }
    }
}

/// A run that is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Due {
    /// Of which task.
    pub task: Task,
    /// The time that it stands for.
    pub slot: Timestamp,
    /// How many earlier ones it makes up for, at most [`MISSED_MAX`].
    pub missed: u32,
    /// The how manieth attempt at that time it is, from 1.
    pub attempt: u32,
    /// Why it does not begin, if it must not.
    pub held: Option<Held>,
}

/// When a task is due next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextRun {
    /// Which task.
    pub task: Task,
    /// When it can begin, as things stand; in the past if it is due.
    pub at: Timestamp,
    /// The how manieth attempt it is, from 1.
    pub attempt: u32,
    /// What puts it off until then.
    pub held: Option<Held>,
}

/// Returns what is due, the most urgent first; what is not held can begin, all of it at once.
pub fn due(plan: &Plan, history: &History, conditions: &Conditions, now: Timestamp) -> Vec<Due> {
    let mut found: Vec<_> = Task::all(plan)
        .into_iter()
        .filter_map(|task| {
            let past = past(history, &task, now);
            let Slot { at, missed, attempt } =
                Rhythm::of(&task, plan, (&past, conditions), now).due(&past, now)?;
            Some(Due { task, slot: at, missed, attempt, held: None })
        })
        .collect();
    found.sort_by_cached_key(|due| {
        let urgency = due.task.urgency(plan);
        (rank(due, now), urgency, due.slot, due.task.clone())
    });
    hold(&mut found, plan, conditions, now);
    found
}

/// How long what removes waits for a moment in which nothing else runs, before nothing but backups begins any more.
const REMOVAL_PATIENCE: Duration = Duration::from_hours(24);

fn is_overdue(due: &Due, now: Timestamp) -> bool {
    due.task == Task::Retention
        && (due.missed > 0 || rhythm::after(due.slot, REMOVAL_PATIENCE) <= now)
}

/// Returns a run's place in the order: removing comes last, but once it is overdue before all that can wait for it.
fn rank(due: &Due, now: Timestamp) -> (u8, bool) {
    let last_before = Task::RANK_OF_BACKUPS;
    if is_overdue(due, now) { (last_before, true) } else { (due.task.rank(), false) }
}

/// Decides what of all that is due must wait.
fn hold(found: &mut [Due], plan: &Plan, conditions: &Conditions, now: Timestamp) {
    let quiet = Quiet::new(plan, conditions);
    let mut load = Workload::new(plan, &conditions.running);
    for due in found {
        let taken = Taken::by(due.task.clone().into(), plan);
        let is_open = conditions.open.contains(&due.task);
        due.held = quiet
            .holds(&due.task, now)
            .or_else(|| is_open.then(|| Held::Task { task: due.task.clone() }))
            .or_else(|| load.holds(&taken.claims));
        let comes_next = matches!(due.held, Some(Held::Task { .. } | Held::Asked { .. }));
        if due.held.is_none() || (comes_next && is_overdue(due, now)) {
            load.take(taken);
        }
    }
}

/// Returns when each task of the plan is due next, the soonest first; those that are not due as things stand
/// are left out.
pub fn next_runs(
    plan: &Plan,
    history: &History,
    conditions: &Conditions,
    now: Timestamp,
) -> Vec<NextRun> {
    let quiet = Quiet::new(plan, conditions);
    let mut runs: Vec<_> = Task::all(plan)
        .into_iter()
        .filter_map(|task| {
            let past = past(history, &task, now);
            let next = Rhythm::of(&task, plan, (&past, conditions), now).next(&past, now)?;
            let (at, held) = quiet.put_off(&task, next.at, now);
            Some(NextRun { task, at, attempt: next.attempt, held })
        })
        .collect();
    runs.sort_by(|a, b| (a.at, &a.task).cmp(&(b.at, &b.task)));
    runs
}

fn past(history: &History, task: &Task, now: Timestamp) -> Past {
    // A task that nobody has seen yet begins now.
    history.get(task).copied().unwrap_or(Past::since(now))
}

/// Sets right what was done while the clock was wrong: whatever was done later than `now` counts as done now,
/// so that it keeps nothing from being done until then. Returns the tasks that this was so for.
///
/// Called before [`due`], each time, and what it returns is kept: a time that is taken back moves with `now`
/// otherwise.
pub fn set_right(history: &mut History, now: Timestamp) -> Vec<Task> {
    let mut changed = Vec::new();
    for (task, past) in history {
        let not_later = |instant: Option<Timestamp>| instant.map(|instant| instant.min(now));
        let right = Past {
            since: past.since.min(now),
            slot: not_later(past.slot),
            ended: not_later(past.ended),
            failures: past.failures,
            tries: past.tries,
        };
        if right != *past {
            *past = right;
            changed.push(task.clone());
        }
    }
    changed
}

/// When nothing begins.
struct Quiet<'p> {
    plan: &'p Plan,
    pause: Option<&'p Pause>,
    elsewhere: Option<&'p String>,
    recovering: Option<&'p Recovering>,
}

/// How many hours of quiet in a row are looked at before a run is said to be held by the last of them.
const QUIET_IN_A_ROW_MAX: usize = 100;

impl<'p> Quiet<'p> {
    fn new(plan: &'p Plan, conditions: &'p Conditions) -> Self {
        let (pause, elsewhere) = (conditions.pause.as_ref(), conditions.elsewhere.as_ref());
        Self { plan, pause, elsewhere, recovering: conditions.recovering.as_ref() }
    }

    /// Returns what holds a task at an instant: what does so for longest.
    fn holds(&self, task: &Task, at: Timestamp) -> Option<Held> {
        // What was done has to be known on every tier, and says nothing of the data.
        if *task == Task::Delivery {
            return None;
        }
        // Until something changes, and nobody knows when.
        if let Some(why) = self.elsewhere.filter(|_| task.is_for_home()) {
            return Some(Held::Elsewhere { why: why.clone() });
        }
        if let Some(recovering) = self.recovering.filter(|it| it.holds(task, self.plan)) {
            return Some(Held::Recovery { why: recovering.why.clone() });
        }
        let paused = self.pause.filter(|pause| pause.holds_at(at));
        let paused = paused.map(|pause| (pause.until, Held::Pause { until: pause.until }));
        let blackouts = self.plan.blackouts().iter().filter_map(|(name, blackout)| {
            let spared =
                matches!(task, Task::Backup(schedule) if blackout.spare.contains(schedule));
            let until = blackout.timetable().covered_until(blackout.lasts.duration(), at)?;
            let held = Held::Blackout { name: name.clone(), until };
            (!spared).then_some((until, held))
        });
        paused.into_iter().chain(blackouts).max_by_key(|(until, _)| *until).map(|(_, held)| held)
    }

    /// Puts a run off until nothing holds it any more.
    fn put_off(&self, task: &Task, at: Timestamp, now: Timestamp) -> (Timestamp, Option<Held>) {
        let (mut at, mut reason) = (at, None);
        for _ in 0..QUIET_IN_A_ROW_MAX {
            let Some(held) = self.holds(task, at.max(now)) else { break };
            let until = match &held {
                Held::Pause { until } | Held::Blackout { until, .. } => Some(*until),
                _ => None,
            };
            reason = Some(held);
            let Some(until) = until else { break };
            at = until;
        }
        (at, reason)
    }
}

/// Returns how long nothing can become due: until the first run of those that are not due yet.
pub fn idle_for(runs: &[NextRun], now: Timestamp, at_most: Duration) -> Duration {
    let next = runs.iter().map(|run| Reverse(run.at.max(now))).max();
    let wait = next.and_then(|Reverse(at)| Duration::try_from(at.duration_since(now)).ok());
    wait.unwrap_or(at_most).min(at_most)
}
