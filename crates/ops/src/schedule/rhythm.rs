//! When a task is due: at times of the calendar, or so long after what was done last.

use std::time::Duration;

use lifeboat_model::{SiteName, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_plan::schedule::Timetable;
use lifeboat_plan::value::duration::Span;
use sha2::{Digest, Sha256};

use super::{Conditions, Past, Task};

/// How many missed runs are counted; that there were more is all that anybody wants to know then.
pub const MISSED_MAX: u32 = 1_000;

/// How soon is tried again what did not succeed and has no time of its own; doubled each time up to the
/// longest, since a tier that was down for hours is rarely back within minutes.
const RETRY_FIRST: Duration = Duration::from_mins(5);
const RETRY_LONGEST: Duration = Duration::from_hours(6);

/// The same for what is captured when it changes, of which less may be lost.
const RECAPTURE_FIRST: Duration = Duration::from_secs(30);
const RECAPTURE_LONGEST: Duration = Duration::from_mins(15);

/// How many attempts are made at one time of the calendar: the last some 75 minutes after the first, which outlasts a restart
/// of what was down. What is down for longer is for a person to see, and for the next time.
pub const TRIES_MAX: u32 = 5;

/// How long a verification that has nothing to read may wait for the next.
const STRUCTURE_EVERY: Duration = Duration::from_hours(24);
/// How often a tier is verified at most, however short its cycle is.
const VERIFY_EVERY_MIN: Duration = Duration::from_hours(1);

/// When a task is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rhythm {
    /// At times of the calendar, put off by a fixed length, and again from then on where the last one failed.
    Calendar { timetable: Timetable, jitter: Duration, again: Option<Timestamp> },
    /// From then on, until it was done.
    From(Timestamp),
    /// Not, as things stand.
    Never,
}

/// The run that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// The time of the calendar that it stands for.
    pub at: Timestamp,
    /// How many earlier ones it makes up for.
    pub missed: u32,
    /// The how manieth attempt at it this is.
    pub attempt: u32,
}

impl Slot {
    const fn new(at: Timestamp) -> Self {
        Self { at, missed: 0, attempt: 1 }
    }
}

impl Rhythm {
    /// Returns when a task of a plan is due.
    pub(super) fn of(
        task: &Task,
        plan: &Plan,
        (past, conditions): (&Past, &Conditions),
        now: Timestamp,
    ) -> Self {
        let calendar = |most: Span| {
            let jitter = jitter(plan.site(), task, most.duration());
            let ended = past.ended.unwrap_or(past.since);
            let again = tried_again(task, past.tries, ended);
            task.timetable(plan).map(|timetable| Self::Calendar { timetable, jitter, again })
        };
        let planned = match task {
            Task::Backup(name) => plan.schedules().get(name).and_then(|it| calendar(it.jitter)),
            Task::RestoreTest(name) => {
                plan.restore_tests().get(name).and_then(|it| calendar(it.jitter))
            }
            Task::Drill(name) => plan.drills().get(name).and_then(|it| calendar(it.jitter)),
            Task::Retention => calendar(plan.retention().jitter),
            Task::Capture(asset) => conditions.watched.get(asset).map(|changed| {
                let rested = past.ended.filter(|_| past.failures > 0);
                let wait = doubled(RECAPTURE_FIRST, past.failures).min(RECAPTURE_LONGEST);
                Self::From(rested.map_or(*changed, |ended| after(ended, wait).max(*changed)))
            }),
            Task::Delivery => (conditions.undelivered > 0).then(|| Self::From(again(past))),
            Task::CatchUp(tier) => {
                let is_behind = conditions.tiers.get(tier).is_some_and(|tier| tier.is_behind);
                is_behind.then(|| Self::From(again(past)))
            }
            Task::Verification(tier) => conditions.tiers.get(tier).and_then(|on| {
                let last = on.verified.or(on.filled)?.min(now);
                let next = after(last, verification_interval(plan, tier));
                Some(Self::From(next.max(again(past))))
            }),
        };
        planned.unwrap_or(Self::Never)
    }

    /// Returns the run that is due at `now`, if there is one that was not taken up.
    pub(super) fn due(&self, past: &Past, now: Timestamp) -> Option<Slot> {
        match self {
            Self::Never => None,
            Self::From(at) => (*at <= now).then_some(Slot::new(*at)),
            Self::Calendar { timetable, jitter, again } => {
                let shown = now.saturating_sub(*jitter).unwrap_or(Timestamp::MIN);
                let taken = past.taken();
                if let Some(at) = timetable.last_until(shown, taken) {
                    return Some(Slot { missed: missed(timetable, taken, at), ..Slot::new(at) });
                }
                again.filter(|again| *again <= now)?;
                Some(Slot { attempt: past.tries + 1, ..Slot::new(past.slot?) })
            }
        }
    }

    /// Returns when it is due next: since when, if it is due at `now`.
    pub(super) fn next(&self, past: &Past, now: Timestamp) -> Option<Slot> {
        match self {
            Self::Never => None,
            Self::From(at) => Some(Slot::new(*at)),
            Self::Calendar { timetable, jitter, again } => {
                let next = timetable.next_after(past.taken())?;
                let shown = now.saturating_sub(*jitter).unwrap_or(Timestamp::MIN);
                // Of several that were missed the last is the one that is made up for.
                let at = if next <= shown {
                    timetable.last_until(shown, past.taken()).unwrap_or(next)
                } else {
                    next
                };
                let at = after(at, *jitter);
                Some(match again {
                    Some(again) if *again < at => {
                        Slot { attempt: past.tries + 1, ..Slot::new(*again) }
                    }
                    _ => Slot::new(at),
                })
            }
        }
    }
}

/// Counts the runs between two.
fn missed(timetable: &Timetable, taken: Timestamp, at: Timestamp) -> u32 {
    let next = |from: &Timestamp| timetable.next_after(*from).filter(|next| *next < at);
    let between = std::iter::successors(next(&taken), next);
    between.take(MISSED_MAX as usize).fold(0, |count, _| count + 1)
}

pub(super) fn after(instant: Timestamp, length: Duration) -> Timestamp {
    instant.saturating_add(length).unwrap_or(Timestamp::MAX)
}

/// Returns from when on a task may be tried that is done whenever there is need.
fn again(past: &Past) -> Timestamp {
    let Some(ended) = past.ended else { return past.since };
    if past.failures == 0 { ended } else { after(ended, wait(past.failures)) }
}

/// Returns from when on a time of the calendar is tried again of which so many attempts failed, the last at `ended`; `None`
/// if it is not.
pub fn tried_again(task: &Task, tries: u32, ended: Timestamp) -> Option<Timestamp> {
    let is_tried = task.is_tried_again() && (1..TRIES_MAX).contains(&tries);
    is_tried.then(|| after(ended, wait(tries)))
}

/// Returns how long is waited after so many failures.
fn wait(failures: u32) -> Duration {
    doubled(RETRY_FIRST, failures).min(RETRY_LONGEST)
}

fn doubled(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
}

/// Returns how often a tier is verified: so that each time the plan's share is read, and all in a cycle.
fn verification_interval(plan: &Plan, tier: &lifeboat_model::TierName) -> Duration {
    let rules = plan.verification();
    let retention = plan.tiers().get(tier).and_then(|tier| tier.keep.reach());
    let cycle = Duration::from(rules.full_within);
    let cycle = retention.map_or(cycle, |retention| retention.min(cycle));
    match rules.after_backup.read_data.fraction() {
        share if share > 0.0 => cycle.mul_f64(share).max(VERIFY_EVERY_MIN),
        _ => STRUCTURE_EVERY,
    }
}

/// Returns by how much a task of a site is put off: the same each time, and spread evenly over sites.
fn jitter(site: &SiteName, task: &Task, most: Duration) -> Duration {
    let range = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    if range == 0 {
        return Duration::ZERO;
    }
    let digest: [u8; 32] = Sha256::digest(format!("lifeboat jitter\n{site}\n{task}\n")).into();
    let number = digest[..8].iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    Duration::from_millis(number % range)
}
