//! What is done again and again: one task for each thing of the plan that has its times.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use lifeboat_model::{AssetName, DrillName, RestoreTestName, ScheduleName, TierName};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::asset::Asset;
use lifeboat_plan::plan::timetable::{Drill, RestoreTest, Schedule};
use lifeboat_plan::schedule::Timetable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A task; its order is the order in which tasks that are due at the same time are begun.
///
/// What brings data into safety comes first, then what proves it, and at the end what removes something:
/// what a failed proof would have kept must not go before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Records that some tier lacks are put there.
    Delivery,
    /// A watched asset has changed and is captured.
    Capture(AssetName),
    /// A schedule's assets are backed up.
    Backup(ScheduleName),
    /// A tier gets what it missed.
    CatchUp(TierName),
    /// A share of what a tier holds is read back.
    Verification(TierName),
    /// Assets are restored into a sandbox and questioned.
    RestoreTest(RestoreTestName),
    /// A scenario is rehearsed.
    Drill(DrillName),
    /// What the plan does not keep is removed.
    Retention,
}

/// A text names no task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` names no task: expected backup:SCHEDULE, capture:ASSET, catch-up:TIER, verification:TIER, restore-test:NAME, drill:NAME, retention or delivery"
)]
pub struct ParseTaskError {
    text: String,
}

impl Task {
    /// Returns all tasks of a plan.
    pub fn all(plan: &Plan) -> Vec<Self> {
        let mut tasks = vec![Self::Delivery];
        let watched = plan.assets().iter().filter(|(_, asset)| asset.is_watched());
        tasks.extend(watched.map(|(name, _)| Self::Capture(name.clone())));
        tasks.extend(plan.schedules().keys().cloned().map(Self::Backup));
        tasks.extend(plan.tiers().keys().cloned().map(Self::CatchUp));
        tasks.extend(plan.tiers().keys().cloned().map(Self::Verification));
        tasks.extend(plan.restore_tests().keys().cloned().map(Self::RestoreTest));
        tasks.extend(plan.drills().keys().cloned().map(Self::Drill));
        if plan.tiers().values().any(|tier| !tier.keep.keeps_all()) {
            tasks.push(Self::Retention);
        }
        tasks
    }

    /// Tells whether a plan has this task.
    pub fn is_of(&self, plan: &Plan) -> bool {
        match self {
            Self::Delivery | Self::Retention => true,
            Self::Capture(name) => plan.assets().get(name).is_some_and(Asset::is_watched),
            Self::Backup(name) => plan.schedules().contains_key(name),
            Self::CatchUp(tier) | Self::Verification(tier) => plan.tiers().contains_key(tier),
            Self::RestoreTest(name) => plan.restore_tests().contains_key(name),
            Self::Drill(name) => plan.drills().contains_key(name),
        }
    }

    /// Returns when the plan wants a task done, of those that go by the calendar.
    pub fn timetable(&self, plan: &Plan) -> Option<Timetable> {
        match self {
            Self::Backup(name) => plan.schedules().get(name).map(Schedule::timetable),
            Self::RestoreTest(name) => plan.restore_tests().get(name).map(RestoreTest::timetable),
            Self::Drill(name) => plan.drills().get(name).map(Drill::timetable),
            Self::Retention => Some(plan.retention().timetable()),
            Self::Capture(_) | Self::Delivery | Self::CatchUp(_) | Self::Verification(_) => None,
        }
    }

    /// Returns the assets that a task is about.
    pub fn assets(&self, plan: &Plan) -> BTreeSet<AssetName> {
        let selection = match self {
            Self::Capture(name) => return BTreeSet::from([name.clone()]),
            Self::Backup(name) => plan.schedules().get(name).map(|schedule| &schedule.assets),
            Self::RestoreTest(name) => plan.restore_tests().get(name).map(|test| &test.assets),
            _ => None,
        };
        let picked = selection.map(|selection| selection.pick(plan.assets().keys()));
        picked.into_iter().flatten().cloned().collect()
    }

    /// Tells whether it is done where the platform lives alone: what captures, brings captures on, or removes.
    pub const fn is_for_home(&self) -> bool {
        matches!(self, Self::Capture(_) | Self::Backup(_) | Self::CatchUp(_) | Self::Retention)
    }

    /// Tells whether it is tried again before its next time when it failed: what brings data into safety, or makes room for
    /// it. A restore test or a drill that failed has found something out, which trying again would hide.
    pub const fn is_tried_again(&self) -> bool {
        matches!(self, Self::Backup(_) | Self::Retention)
    }

    /// Returns how soon what it is about must be back and how little of it may be lost; the smaller, the
    /// more urgent, and what has no objective is the least.
    pub(super) fn urgency(&self, plan: &Plan) -> (Duration, Duration) {
        let urgency = |name: &AssetName| {
            let asset = plan.assets().get(name)?;
            let rto = asset.rto.or_else(|| class_rto(plan, name)).map(Duration::from);
            let rpo = asset.rpo.map(Duration::from);
            Some((rto.unwrap_or(Duration::MAX), rpo.unwrap_or(Duration::MAX)))
        };
        let assets = self.assets(plan);
        assets.iter().filter_map(urgency).min().unwrap_or((Duration::MAX, Duration::MAX))
    }

    /// Returns the word for its sort, and its name in the plan.
    fn words(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Delivery => ("delivery", None),
            Self::Capture(name) => ("capture", Some(name.as_str())),
            Self::Backup(name) => ("backup", Some(name.as_str())),
            Self::CatchUp(tier) => ("catch-up", Some(tier.as_str())),
            Self::Verification(tier) => ("verification", Some(tier.as_str())),
            Self::RestoreTest(name) => ("restore-test", Some(name.as_str())),
            Self::Drill(name) => ("drill", Some(name.as_str())),
            Self::Retention => ("retention", None),
        }
    }

    pub(super) const RANK_OF_BACKUPS: u8 = 2;

    /// Returns its place among the sorts of tasks.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Delivery => 0,
            Self::Capture(_) => 1,
            Self::Backup(_) => Self::RANK_OF_BACKUPS,
            Self::CatchUp(_) => 3,
            Self::Verification(_) => 4,
            Self::RestoreTest(_) => 5,
            Self::Drill(_) => 6,
            Self::Retention => 7,
        }
    }
}

/// Returns the time within which the service must be back that bears an asset's name.
fn class_rto(plan: &Plan, asset: &AssetName) -> Option<lifeboat_plan::value::duration::Span> {
    let service = plan.services().iter().find(|(name, _)| name.as_str() == asset.as_str())?.1;
    plan.classes().get(&service.class)?.rto
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words() {
            (sort, Some(name)) => f.pad(&format!("{sort}:{name}")),
            (sort, None) => f.pad(sort),
        }
    }
}

impl FromStr for Task {
    type Err = ParseTaskError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let Some((sort, name)) = text.split_once(':') else {
                return match text {
                    "delivery" => Some(Self::Delivery),
                    "retention" => Some(Self::Retention),
                    _ => None,
                };
            };
            Some(match sort {
                "capture" => Self::Capture(name.parse().ok()?),
                "backup" => Self::Backup(name.parse().ok()?),
                "catch-up" => Self::CatchUp(name.parse().ok()?),
                "verification" => Self::Verification(name.parse().ok()?),
                "restore-test" => Self::RestoreTest(name.parse().ok()?),
                "drill" => Self::Drill(name.parse().ok()?),
                _ => return None,
            })
        };
        parse().ok_or_else(|| ParseTaskError { text: text.to_owned() })
    }
}

impl Serialize for Task {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Task {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
