//! What a job does, and what it takes up meanwhile: assets, tiers, and one of the places that the plan has.

use std::collections::BTreeSet;
use std::fmt;

use lifeboat_model::{AssetName, ScheduleName, TierName};
use lifeboat_plan::Plan;
use serde::{Deserialize, Serialize};

use super::{Held, Task};

/// How many of those that work at the same time may do something else than back up: what only proves or removes must not
/// take the place of what brings data into safety.
const OTHERS_MAX: usize = 1;

/// What a job does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "kebab-case")]
pub enum Work {
    /// A task of the plan.
    Task {
        /// Which one.
        task: Task,
    },
    /// A backup that somebody asked for.
    Backup {
        /// Of these assets; all, if empty.
        assets: Vec<AssetName>,
        /// Onto these tiers; where the plan sends each asset, if empty.
        to: Vec<TierName>,
        /// As this schedule does.
        schedule: Option<ScheduleName>,
    },
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task { task } => task.fmt(f),
            Self::Backup { schedule: Some(schedule), assets, .. } if assets.is_empty() => {
                f.pad(&format!("backup:{schedule}"))
            }
            Self::Backup { assets, .. } if assets.is_empty() => f.pad("backup of everything"),
            Self::Backup { assets, .. } => {
                let names: Vec<_> = assets.iter().map(AssetName::as_str).collect();
                f.pad(&format!("backup of {}", names.join(", ")))
            }
        }
    }
}

impl Work {
    /// Returns the assets that it brings into safety.
    fn assets(&self, plan: &Plan) -> BTreeSet<AssetName> {
        match self {
            // A restore test reads what lies on tiers and leaves the asset itself alone.
            Self::Task { task: task @ (Task::Backup(_) | Task::Capture(_)) } => task.assets(plan),
            Self::Task { .. } => BTreeSet::new(),
            Self::Backup { assets, .. } if !assets.is_empty() => assets.iter().cloned().collect(),
            Self::Backup { schedule: Some(schedule), .. } => {
                Task::Backup(schedule.clone()).assets(plan)
            }
            Self::Backup { .. } => plan.assets().keys().cloned().collect(),
        }
    }

    const fn place(&self) -> Place {
        match self {
            Self::Task { task: Task::Delivery } => Place::Delivery,
            Self::Task { task: Task::Capture(_) } => Place::Capture,
            Self::Task { task: Task::Backup(_) } | Self::Backup { .. } => Place::Backup,
            Self::Task { .. } => Place::Other,
        }
    }
}

impl From<Task> for Work {
    fn from(task: Task) -> Self {
        Self::Task { task }
    }
}

/// Which of the places that the plan has for work a job takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Delivery,
    Capture,
    Backup,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TiersClaimed {
    /// None is touched.
    None,
    /// Others may work there too.
    Shared,
    /// Nobody else may.
    Alone,
}

/// What work takes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    assets: BTreeSet<AssetName>,
    tiers: TiersClaimed,
    /// The tier that gets what it missed.
    catches_up: Option<TierName>,
    place: Place,
}

impl Claims {
    /// Returns what some work takes up by a plan.
    pub fn of(work: &Work, plan: &Plan) -> Self {
        let tiers = match work {
            Work::Task { task: Task::Delivery } => TiersClaimed::None,
            Work::Task { task: Task::Retention } => TiersClaimed::Alone,
            _ => TiersClaimed::Shared,
        };
        let catches_up = match work {
            Work::Task { task: Task::CatchUp(tier) } => Some(tier.clone()),
            _ => None,
        };
        Self { assets: work.assets(plan), tiers, catches_up, place: work.place() }
    }

    /// Tells whether what takes up this must not begin while `other` runs.
    pub fn waits_for(&self, other: &Self) -> bool {
        use TiersClaimed::{Alone, None};
        let tiers = match (self.tiers, other.tiers) {
            (None, _) | (_, None) => false,
            (Alone, _) | (_, Alone) => true,
            _ => false,
        };
        // A backup brings its tiers itself what they missed, at its end.
        let is_done_there = self.catches_up.is_some() && other.place == Place::Backup;
        tiers || is_done_there || !self.assets.is_disjoint(&other.assets)
    }
}

/// Work with what it took up when it was begun, by the plan of then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// What is done.
    pub work: Work,
    /// What it takes up.
    pub claims: Claims,
}

impl Taken {
    /// Returns what some work takes up that is begun by a plan.
    pub fn by(work: Work, plan: &Plan) -> Self {
        let claims = Claims::of(&work, plan);
        Self { work, claims }
    }
}

/// All that is done at the same time.
#[derive(Debug, Clone)]
pub struct Workload {
    at_once: usize,
    taken: Vec<Taken>,
}

impl Workload {
    /// Begins with what runs.
    pub fn new(plan: &Plan, running: &[Taken]) -> Self {
        Self { at_once: plan.jobs().at_once.get(), taken: running.to_vec() }
    }

    /// Returns why something must not begin beside it, if that is so.
    pub fn holds(&self, claims: &Claims) -> Option<Held> {
        let in_the_way = self.taken.iter().find(|taken| claims.waits_for(&taken.claims));
        match in_the_way.map(|taken| &taken.work) {
            Some(Work::Task { task }) => Some(Held::Task { task: task.clone() }),
            Some(asked) => Some(Held::Asked { what: asked.to_string() }),
            None => self.is_full(claims.place).then_some(Held::Full),
        }
    }

    fn is_full(&self, place: Place) -> bool {
        let count = |of: Place| self.taken.iter().filter(|taken| taken.claims.place == of).count();
        let both = || count(Place::Backup) + count(Place::Other);
        match place {
            Place::Delivery => false,
            Place::Capture => count(Place::Capture) >= self.at_once,
            Place::Backup => both() >= self.at_once,
            Place::Other => both() >= self.at_once || count(Place::Other) >= OTHERS_MAX,
        }
    }

    /// Adds something to it.
    pub fn take(&mut self, taken: Taken) {
        self.taken.push(taken);
    }
}
