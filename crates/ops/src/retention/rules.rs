//! Which snapshots of which tier go, and why each of the others stays. Pure.
//!
//! # Invariants
//!
//! - What is not this plan's stays, and so does everything while retention is held.
//! - Of each asset the newest on each tier stays, and the newest that was verified stays on some tier that
//!   was not found damaged.
//! - Nothing goes whose lock has not run out, and nothing from a tier that was found damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lifeboat_model::{AssetName, BlobId, ScheduleName, SnapshotId, TierName, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::tier::Keep;
use lifeboat_repository::Snapshot;
use lifeboat_repository::forget::{Count, Policy, Span};
use serde::{Serialize, Serializer};

/// How much is known of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Something was left out of it, or nobody recorded that nothing was.
    Partial,
    /// Nothing was left out of it.
    Complete,
    /// All data of its tier was read since, and was whole.
    Whole,
    /// It was recovered into a sandbox, and what came back was right.
    Recovered,
}

impl Evidence {
    /// Tells whether it was proven after it was made.
    pub const fn is_verified(self) -> bool {
        matches!(self, Self::Whole | Self::Recovered)
    }
}

/// Who made a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    /// This site.
    Site {
        /// Of which asset it is.
        asset: AssetName,
        /// By which schedule it was made.
        schedule: Option<ScheduleName>,
    },
    /// Somebody else.
    Stranger,
}

/// A snapshot on a tier.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Its id.
    pub id: SnapshotId,
    /// What it is.
    pub snapshot: Snapshot,
    /// Who made it.
    pub maker: Maker,
    /// What is known of it.
    pub evidence: Evidence,
    /// Until when it is locked, where that was asked.
    pub locked_until: Option<Timestamp>,
}

impl Held {
    fn asset(&self) -> Option<&AssetName> {
        match &self.maker {
            Maker::Site { asset, .. } => Some(asset),
            Maker::Stranger => None,
        }
    }

    fn time(&self) -> Timestamp {
        self.snapshot.time.instant()
    }
}

/// What a tier holds.
#[derive(Debug, Clone, PartialEq)]
pub struct TierHeld {
    /// Which tier.
    pub tier: TierName,
    /// What the plan keeps there.
    pub keep: Keep,
    /// Whether it was proven damaged, and not whole since.
    pub condition: Condition,
    /// Its snapshots.
    pub snapshots: Vec<Held>,
}

/// What was proven of a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing against it.
    Sound,
    /// That something there is damaged.
    Damaged,
}

/// All that decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// The tiers that could be looked at.
    pub tiers: Vec<TierHeld>,
    /// What the plan's schedules keep beyond the tiers' rules.
    pub schedules: BTreeMap<ScheduleName, Keep>,
    /// Why nothing may go, if so.
    pub holds: Vec<String>,
    /// Now.
    pub now: Timestamp,
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    /// The plan removes nothing from the tier.
    NoRule,
    /// A rule of the tier keeps it.
    Rule {
        /// Which.
        rule: String,
    },
    /// A rule of the schedule that made it keeps it.
    Schedule {
        /// Which schedule.
        schedule: ScheduleName,
        /// Which rule.
        rule: String,
    },
    /// This plan did not make it.
    NotOurs,
    /// It is the newest of its asset there.
    Newest,
    /// It is the newest of its asset that was verified, and no other tier keeps it.
    LastVerified,
    /// Retention is held.
    Held {
        /// Why.
        why: String,
    },
    /// The tier was found damaged; what is left of it may be needed.
    Damaged,
    /// The store locks it.
    Locked {
        /// Until when.
        #[serde(serialize_with = "as_text")]
        until: Timestamp,
    },
}

fn as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("the tier keeps everything"),
            Self::Rule { rule } => f.write_str(rule),
            Self::Schedule { schedule, rule } => write!(f, "{rule} of schedule {schedule}"),
            Self::NotOurs => f.write_str("not made by this plan"),
            Self::Newest => f.write_str("newest of its asset"),
            Self::LastVerified => f.write_str("last verified"),
            Self::Held { why } => write!(f, "held: {why}"),
            Self::Damaged => f.write_str("the tier is damaged"),
            Self::Locked { until } => write!(f, "locked until {until:.0}"),
        }
    }
}

/// What becomes of a snapshot: it goes if nothing keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Fate {
    /// The snapshot.
    pub held: Held,
    /// Why it stays.
    pub reasons: Vec<Reason>,
}

impl Fate {
    /// Tells whether it goes.
    pub fn goes(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// What becomes of what a tier holds, the newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct TierFate {
    /// Which tier.
    pub tier: TierName,
    /// What was proven of it.
    pub condition: Condition,
    /// Its snapshots.
    pub fates: Vec<Fate>,
}

impl TierFate {
    /// Returns the snapshots that go.
    pub fn going(&self) -> impl Iterator<Item = &Held> {
        self.fates.iter().filter(|fate| fate.goes()).map(|fate| &fate.held)
    }

    /// Returns the snapshots that stay.
    pub fn staying(&self) -> impl Iterator<Item = &Held> {
        self.fates.iter().filter(|fate| !fate.goes()).map(|fate| &fate.held)
    }
}

/// Decides what goes.
pub fn decide(inputs: &Inputs) -> Vec<TierFate> {
    let mut tiers: Vec<_> = inputs.tiers.iter().map(|tier| decide_tier(tier, inputs)).collect();
    keep_last_verified(&mut tiers);
    tiers
}

/// Returns what the schedules of a plan keep beyond the tiers' rules.
pub(crate) fn schedules(plan: &Plan) -> BTreeMap<ScheduleName, Keep> {
    let schedules = plan.schedules().iter();
    schedules.filter_map(|(name, made)| Some((name.clone(), made.keep.clone()?))).collect()
}

/// A complete capture of an asset as the catalog knows it.
#[derive(Debug, Clone)]
pub(crate) struct Capture {
    /// The snapshot of it on some tier.
    pub id: SnapshotId,
    /// When it was made.
    pub time: Timestamp,
    /// By which schedule, if by one.
    pub schedule: Option<ScheduleName>,
}

/// Returns which captures of an asset would stay on a tier of the plan if all of these lay there and nothing held them.
pub(crate) fn would_stay(
    (plan, tier): (&Plan, &TierName),
    asset: &AssetName,
    captures: Vec<Capture>,
    now: Timestamp,
) -> BTreeSet<SnapshotId> {
    let held = |Capture { id, time, schedule }: Capture| Held {
        id,
        snapshot: Snapshot::new(time, BlobId::from_bytes([0; 32]), Vec::new()),
        maker: Maker::Site { asset: asset.clone(), schedule },
        evidence: Evidence::Complete,
        locked_until: None,
    };
    let there = TierHeld {
        tier: tier.clone(),
        keep: plan.tiers().get(tier).map(|tier| tier.keep.clone()).unwrap_or_default(),
        condition: Condition::Sound,
        snapshots: captures.into_iter().map(held).collect(),
    };
    let rules = Inputs { tiers: Vec::new(), schedules: schedules(plan), holds: Vec::new(), now };
    decide_tier(&there, &rules).staying().map(|held| held.id).collect()
}

fn decide_tier(tier: &TierHeld, inputs: &Inputs) -> TierFate {
    let mut kept: BTreeMap<SnapshotId, Vec<Reason>> = BTreeMap::new();
    let assets: BTreeSet<&AssetName> = tier.snapshots.iter().filter_map(Held::asset).collect();
    for asset in assets {
        let own: Vec<&Held> = tier.snapshots.iter().filter(|h| h.asset() == Some(asset)).collect();
        for (id, reason) in by_rules(tier, &own, inputs) {
            kept.entry(id).or_default().push(reason);
        }
        let newest = newest(&own).map(|held| held.id).filter(|id| !kept.contains_key(id));
        kept.extend(newest.map(|id| (id, vec![Reason::Newest])));
    }
    let fate = |held: &Held| {
        let mut reasons = kept.remove(&held.id).unwrap_or_default();
        if held.maker == Maker::Stranger {
            reasons.push(Reason::NotOurs);
        }
        if reasons.is_empty() {
            reasons = obstacles(held, tier, inputs);
        }
        Fate { held: held.clone(), reasons }
    };
    let mut fates: Vec<_> = tier.snapshots.iter().map(fate).collect();
    fates.sort_by_key(|fate| (std::cmp::Reverse(fate.held.time()), fate.held.id));
    TierFate { tier: tier.tier.clone(), condition: tier.condition, fates }
}

/// Returns what keeps a snapshot that no rule keeps.
fn obstacles(held: &Held, tier: &TierHeld, inputs: &Inputs) -> Vec<Reason> {
    let mut reasons: Vec<_> =
        inputs.holds.iter().map(|why| Reason::Held { why: why.clone() }).collect();
    if tier.condition == Condition::Damaged {
        reasons.push(Reason::Damaged);
    }
    let locked = held.locked_until.filter(|until| *until > inputs.now);
    reasons.extend(locked.map(|until| Reason::Locked { until }));
    reasons
}

/// Applies the rules of the tier to all snapshots of an asset, and those of each schedule to what it made.
fn by_rules(tier: &TierHeld, own: &[&Held], inputs: &Inputs) -> Vec<(SnapshotId, Reason)> {
    let plain = |rule: Option<String>| rule.map_or(Reason::NoRule, |rule| Reason::Rule { rule });
    let mut kept = apply(&tier.keep, own, inputs.now, plain);
    for (name, keep) in &inputs.schedules {
        let made_by = |held: &&&Held| matches!(&held.maker, Maker::Site { schedule: Some(schedule), .. } if schedule == name);
        let made: Vec<&Held> = own.iter().filter(made_by).copied().collect();
        let of_schedule = |rule: Option<String>| {
            let rule = rule.unwrap_or_else(|| "everything".to_owned());
            Reason::Schedule { schedule: name.clone(), rule }
        };
        kept.extend(apply(keep, &made, inputs.now, of_schedule));
    }
    kept
}

fn apply(
    keep: &Keep,
    held: &[&Held],
    now: Timestamp,
    reason: impl Fn(Option<String>) -> Reason,
) -> Vec<(SnapshotId, Reason)> {
    if keep.keeps_all() {
        return held.iter().map(|held| (held.id, reason(None))).collect();
    }
    let snapshots = held.iter().map(|held| (held.id, held.snapshot.clone())).collect();
    let (kept, _) = policy(keep).apply(snapshots, now);
    let reasons = kept.into_iter().map(|kept| (kept.id, reason(Some(kept.reasons.join(", ")))));
    reasons.collect()
}

/// Says in the repository's words what the plan keeps. An hour that has begun counts as a whole one.
fn policy(keep: &Keep) -> Policy {
    let count = |number: Option<u32>| Count::AtMost(number.unwrap_or_default());
    Policy {
        last: count(keep.last),
        hourly: count(keep.hourly),
        daily: count(keep.daily),
        weekly: count(keep.weekly),
        monthly: count(keep.monthly),
        yearly: count(keep.yearly),
        within: Span::of_hours(u32::try_from(keep.hours_within()).unwrap_or(u32::MAX)),
        ..Policy::default()
    }
}

/// Returns the newest that is complete, else the newest.
fn newest<'h>(own: &[&'h Held]) -> Option<&'h Held> {
    let complete = own.iter().filter(|held| held.evidence >= Evidence::Complete);
    let newest = complete.max_by_key(|held| held.time());
    newest.or_else(|| own.iter().max_by_key(|held| held.time())).copied()
}

/// Keeps of each asset the newest copies that were verified, unless one of them stays anyway.
fn keep_last_verified(tiers: &mut [TierFate]) {
    let sound = |tier: &&TierFate| tier.condition == Condition::Sound;
    let mut last: BTreeMap<AssetName, Timestamp> = BTreeMap::new();
    let verified = |fate: &&Fate| fate.held.evidence.is_verified();
    for fate in tiers.iter().filter(sound).flat_map(|tier| &tier.fates).filter(verified) {
        if let Some(asset) = fate.held.asset() {
            let time = last.entry(asset.clone()).or_insert_with(|| fate.held.time());
            *time = (*time).max(fate.held.time());
        }
    }
    for (asset, time) in last {
        let is_last = |fate: &Fate| {
            let held = &fate.held;
            held.asset() == Some(&asset) && held.time() == time && held.evidence.is_verified()
        };
        let mut staying = tiers.iter().filter(sound).flat_map(|tier| &tier.fates);
        if staying.any(|fate| is_last(fate) && !fate.goes()) {
            continue;
        }
        for fate in tiers.iter_mut().flat_map(|tier| &mut tier.fates).filter(|f| is_last(f)) {
            fate.reasons.push(Reason::LastVerified);
        }
    }
}

#[cfg(test)]
mod tests;
