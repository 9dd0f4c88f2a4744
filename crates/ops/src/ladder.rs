//! How far up each copy is: present, structure, data, restored, proven. A pure function of what was recorded.
//!
//! ```no_run
//! # fn f(view: &lifeboat_ops::catalog::view::View, plan: &lifeboat_plan::Plan,
//! #      tier: &lifeboat_model::TierName, snapshot: lifeboat_model::SnapshotId)
//! #      -> Result<(), lifeboat_ops::catalog::view::ViewError> {
//! use lifeboat_ops::ladder::{Ladder, Rung};
//! let ladder = Ladder::load(view, plan)?;
//! let proven = ladder.rung(tier, snapshot).is_some_and(|height| height.rung == Rung::Proven);
//! # Ok(()) }
//! ```
//!
//! # Invariants
//!
//! - Whatever holds at a rung held at all rungs below it at the same time: what was restored whole was read whole.
//! - What failed at a rung takes that rung and all above it away, until it is shown anew. What was found of a tier
//!   stands for all copies on it, until all of its data was read and is whole, or the copy itself was restored.
//! - What could not be verified takes nothing away and is told beside it, until it was verified.
//!
//! # Limits
//!
//! - What is not recorded does not count: a restore of a part, or somebody's own.

use std::collections::BTreeMap;
use std::time::Duration;

use lifeboat_model::{AssetName, JobId, Outcome, SnapshotId, TierName, Timestamp};
use lifeboat_plan::Plan;
use serde::{Deserialize, Serialize};

use crate::catalog::body::{Body, RestoreTested, RestoreVerified, TierVerified};
use crate::catalog::view::{View, ViewError, Wanted};
use crate::ending::Ending;
use crate::point::{Capture, Point};
use crate::recovery::verified::{CheckResult, OF_PLAN};
use crate::verification::cycle;

/// How far up a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// It was stored there, and nobody recorded that it is gone.
    Present,
    /// Everything that it consists of is listed and there.
    Structure,
    /// All of its data was read back, at once or share by share, and is what was stored.
    Data,
    /// It was restored as a whole, and what came back is what was stored.
    Restored,
    /// What was restored passed every check of the plan that was asked.
    Proven,
}

impl Rung {
    /// All of them, from the ground up.
    pub const ALL: [Self; 5] =
        [Self::Present, Self::Structure, Self::Data, Self::Restored, Self::Proven];
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Present => "present",
            Self::Structure => "structure",
            Self::Data => "data",
            Self::Restored => "restored",
            Self::Proven => "proven",
        })
    }
}

/// What stands against a copy: a failure that nothing took back, or what could not be verified last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doubt {
    /// At which rung.
    pub rung: Rung,
    /// Failed, or could not verify.
    pub outcome: Outcome,
    /// Since when.
    pub since: Timestamp,
    /// What was said.
    pub why: String,
}

/// Where a copy stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Height {
    /// The highest rung that holds.
    pub rung: Rung,
    /// Since when it has held without a break.
    pub since: Timestamp,
    /// When that was shown last.
    pub shown: Timestamp,
    /// What stands against it.
    pub doubt: Option<Doubt>,
}

/// How far up every copy is.
#[derive(Debug, Clone, Default)]
pub struct Ladder {
    copies: BTreeMap<(TierName, SnapshotId), Climb>,
    tiers: BTreeMap<TierName, TierCourse>,
    began: BTreeMap<JobId, Timestamp>,
}

/// What was shown of a rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    since: Timestamp,
    shown: Timestamp,
}

/// One copy's way up and down.
#[derive(Debug, Clone)]
struct Climb {
    stored: Timestamp,
    job: JobId,
    held: [Option<Held>; Rung::ALL.len()],
    doubt: Option<Doubt>,
}

/// What the verifications of a tier add up to.
#[derive(Debug, Clone, Copy, Default)]
struct TierCourse {
    is_damaged: bool,
    /// Since when shares of the data are read one after the other.
    rolls_since: Option<Timestamp>,
}

/// The kinds of records that tell of copies.
const KINDS: [&str; 8] = [
    "asset-backed-up",
    "job-started",
    "tier-verified",
    "restored",
    "restore-verified",
    "restore-tested",
    "snapshots-missing",
    "retention-decided",
];

impl Ladder {
    /// Reads where the copies of a plan's tiers stand.
    pub fn load(view: &View, plan: &Plan) -> Result<Self, ViewError> {
        let mut records = Vec::new();
        for kind in KINDS {
            let wanted = Wanted { kind, asset: None, tier: None, good_only: false };
            records.extend(view.latest(wanted, u32::MAX)?);
        }
        records.sort_by_key(|record| {
            let header = record.header();
            (header.time, header.writer, header.sequence)
        });
        let events = records.iter().map(|record| (record.header().time, record.body()));
        Ok(Self::of(events, &|tier| cycle(plan, tier)))
    }

    /// Works out where copies stand by what happened, which comes in the order of time; `cycle` tells within which
    /// time all data of a tier is read once.
    pub fn of<'e>(
        events: impl IntoIterator<Item = (Timestamp, &'e Body)>,
        cycle: &dyn Fn(&TierName) -> Duration,
    ) -> Self {
        let mut ladder = Self::default();
        for (time, body) in events {
            ladder.add(time, body, cycle);
        }
        ladder
    }

    /// Returns where a copy stands; none if it is not known to be there.
    pub fn rung(&self, tier: &TierName, snapshot: SnapshotId) -> Option<Height> {
        self.copies.get(&(tier.clone(), snapshot))?.height()
    }

    /// Returns where a recovery point stands on a tier: where the lowest of its members does. None if the tier does
    /// not hold all of it.
    pub fn point(&self, point: &Point, tier: &TierName) -> Option<Height> {
        let copy = |asset: &Capture| {
            let snapshot = asset.copies.get(tier)?;
            self.copies.get(&(tier.clone(), *snapshot))
        };
        let members = point.members.iter().map(|member| copy(&member.capture));
        let members: Vec<&Climb> = members.collect::<Option<_>>()?;
        let rung = members.iter().map(|climb| climb.top()).min()??;
        let held = || members.iter().filter_map(|climb| climb.held[rung as usize]);
        let doubts = members.iter().filter_map(|climb| climb.doubt.as_ref());
        Some(Height {
            rung,
            since: held().map(|held| held.since).max()?,
            shown: held().map(|held| held.shown).min()?,
            doubt: doubts.max_by_key(|doubt| doubt.outcome).cloned(),
        })
    }

    fn add(&mut self, time: Timestamp, body: &Body, cycle: &dyn Fn(&TierName) -> Duration) {
        match body {
            Body::JobStarted(body) => {
                self.began.insert(body.job, time);
            }
            Body::AssetBackedUp(body) => {
                for there in &body.snapshots {
                    let climb = self.climb(&there.tier, there.snapshot, time, body.job);
                    climb.show(Rung::Present, time);
                }
            }
            Body::TierVerified(body) => self.tier_verified(time, body, cycle(&body.tier)),
            // A restore to a directory may have been of a part only, which its record does not tell.
            Body::Restored(body) if body.in_place && body.ending == Ending::Succeeded => {
                self.climb(&body.tier, body.snapshot, time, body.job).show(Rung::Restored, time);
            }
            Body::RestoreVerified(body) => self.restore_verified(time, body),
            Body::RestoreTested(body) => self.restore_tested(time, body),
            Body::SnapshotsMissing(body) => self.gone(&body.tier, &body.snapshots),
            Body::RetentionDecided(body) => self.gone(&body.tier, &body.snapshots),
            _ => {}
        }
    }

    fn climb(
        &mut self,
        tier: &TierName,
        snapshot: SnapshotId,
        time: Timestamp,
        job: JobId,
    ) -> &mut Climb {
        self.copies.entry((tier.clone(), snapshot)).or_insert_with(|| Climb::new(time, job))
    }

    fn gone(&mut self, tier: &TierName, snapshots: &[SnapshotId]) {
        for snapshot in snapshots {
            self.copies.remove(&(tier.clone(), *snapshot));
        }
    }

    fn tier_verified(&mut self, time: Timestamp, body: &TierVerified, cycle: Duration) {
        let course = self.tiers.entry(body.tier.clone()).or_default();
        let disproves = body.outcome == Outcome::Passed && body.all_data;
        match body.outcome {
            Outcome::Failed => *course = TierCourse { is_damaged: true, rolls_since: None },
            _ if disproves => *course = TierCourse { is_damaged: false, rolls_since: Some(time) },
            _ => {
                course.rolls_since.get_or_insert(time);
            }
        }
        let course = *course;
        let began = body.read_until.or_else(|| self.began.get(&body.job).copied());
        let copies = self.copies.iter_mut().filter(|((tier, _), _)| *tier == body.tier);
        for (_, climb) in copies {
            match body.outcome {
                Outcome::Failed => climb.fail(Rung::Structure, time, first(&body.findings)),
                Outcome::CouldNotVerify => {
                    climb.doubt(Rung::Structure, time, first(&body.findings));
                }
                // What a tier was found to lack is not found again by reading a share.
                Outcome::Passed if course.is_damaged => {}
                Outcome::Passed => {
                    // Only what was there before it was looked at was looked at.
                    let seen = climb.job == body.job || began.is_some_and(|b| climb.stored <= b);
                    if seen {
                        let rolled = course.rolls_since.map(|since| since.max(climb.stored));
                        let rolled = rolled.and_then(|since| since.checked_add(cycle).ok());
                        let is_read = body.read_until.zip(rolled).is_some_and(|(r, at)| r >= at);
                        let all = disproves || is_read;
                        climb.show(if all { Rung::Data } else { Rung::Structure }, time);
                    }
                }
            }
        }
    }

    fn restore_verified(&mut self, time: Timestamp, body: &RestoreVerified) {
        let climb = self.climb(&body.tier, body.snapshot, time, body.job);
        let of_restore =
            |check: &&CheckResult| ["files", "pages", "recovery"].contains(&check.name.as_str());
        let (restore, others): (Vec<_>, Vec<_>) = body.checks.iter().partition(of_restore);
        let came_back = restore.iter().map(|check| check.outcome).max().unwrap_or(body.outcome);
        let why = body.trouble.clone().unwrap_or_else(|| worst(&restore));
        if body.checks.is_empty() {
            // Without a check it did not come back, whatever it says.
            let outcome = came_back.max(Outcome::CouldNotVerify);
            climb.take(Rung::Restored, outcome, time, why);
        } else if climb.take(Rung::Restored, came_back, time, why) {
            let asked = others.iter().any(|check| check.name.starts_with(OF_PLAN));
            climb.proven(time, &others, asked);
        }
    }

    fn restore_tested(&mut self, time: Timestamp, body: &RestoreTested) {
        for tested in &body.assets {
            let Some((tier, snapshot)) = tested.tier.as_ref().zip(tested.snapshot) else {
                continue;
            };
            let climb = self.climb(tier, snapshot, time, body.job);
            if !climb.take(Rung::Restored, tested.outcome, time, tested.message.clone()) {
                continue;
            }
            let checks: Vec<_> = checks_of(body, &tested.asset).collect();
            climb.proven(time, &checks, !checks.is_empty());
            let control = body.control.as_ref().filter(|control| control.asset == tested.asset);
            if let Some(control) = control.filter(|control| control.outcome == Outcome::Failed) {
                climb.fail(Rung::Proven, time, control.message.clone());
            }
        }
    }
}

fn checks_of<'b>(
    body: &'b RestoreTested,
    asset: &AssetName,
) -> impl Iterator<Item = &'b CheckResult> {
    let own = body.checks.iter().filter(move |check| check.assets.contains(asset));
    own.map(|check| &check.result)
}

impl Climb {
    const fn new(stored: Timestamp, job: JobId) -> Self {
        Self { stored, job, held: [None; Rung::ALL.len()], doubt: None }
    }

    /// It holds at a rung, and so at all below.
    fn show(&mut self, rung: Rung, time: Timestamp) {
        for held in &mut self.held[..=rung as usize] {
            held.get_or_insert(Held { since: time, shown: time }).shown = time;
        }
        if self.doubt.as_ref().is_some_and(|doubt| doubt.rung <= rung) {
            self.doubt = None;
        }
    }

    fn fail(&mut self, rung: Rung, time: Timestamp, why: String) {
        self.held[rung as usize..].fill(None);
        self.doubt = Some(Doubt { rung, outcome: Outcome::Failed, since: time, why });
    }

    /// It could not be told whether it holds; a failure that stands says more.
    fn doubt(&mut self, rung: Rung, time: Timestamp, why: String) {
        let stands = self.doubt.as_ref().is_some_and(|doubt| doubt.outcome == Outcome::Failed);
        if !stands {
            let outcome = Outcome::CouldNotVerify;
            self.doubt = Some(Doubt { rung, outcome, since: time, why });
        }
    }

    /// Takes what was found at a rung; tells whether it holds there.
    fn take(&mut self, rung: Rung, outcome: Outcome, time: Timestamp, why: String) -> bool {
        match outcome {
            Outcome::Passed => self.show(rung, time),
            Outcome::CouldNotVerify => self.doubt(rung, time, why),
            Outcome::Failed => self.fail(rung, time, why),
        }
        outcome == Outcome::Passed
    }

    /// Takes what checks showed of what was restored; without a question of the plan nothing is proven.
    fn proven(&mut self, time: Timestamp, checks: &[&CheckResult], was_asked: bool) {
        let outcome = checks.iter().map(|check| check.outcome).max();
        let Some(outcome) = outcome.filter(|o| was_asked || *o != Outcome::Passed) else { return };
        self.take(Rung::Proven, outcome, time, worst(checks));
    }

    /// Returns the highest rung that holds.
    fn top(&self) -> Option<Rung> {
        let mut rungs = Rung::ALL.iter().zip(&self.held).rev();
        rungs.find_map(|(rung, held)| held.map(|_| *rung))
    }

    fn height(&self) -> Option<Height> {
        let rung = self.top()?;
        let Held { since, shown } = self.held[rung as usize]?;
        Some(Height { rung, since, shown, doubt: self.doubt.clone() })
    }
}

/// Says what is the matter with the worst of some checks.
fn worst(checks: &[&CheckResult]) -> String {
    let worst = checks.iter().max_by_key(|check| check.outcome);
    worst.map_or_else(String::new, |check| {
        let said = check.findings.first().unwrap_or(&check.message);
        format!("{}: {said}", check.name)
    })
}

fn first(findings: &[String]) -> String {
    findings.first().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests;
