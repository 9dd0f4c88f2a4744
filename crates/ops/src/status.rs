//! Whether the platform could be brought back now: [`assess`], a pure function of the plan, what
//! was recorded, what the tiers hold, and the time. [`status`] gathers these for it.
//!
//! # Invariants
//!
//! - Nothing counts as protected for what was once done: a snapshot has to be there now, on a tier that was not found
//!   damaged and was verified as the plan asks.
//! - What could not be looked at is unknown, and neither good nor bad.
//! - What retention let go is not missing, and a failed attempt takes nothing from what an earlier one stored.

pub mod history;
pub mod log;
mod look;
pub mod proof;
pub mod rehearsals;
mod risks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use lifeboat_model::{AssetName, Outcome, PlanId, SiteName, SnapshotId, TierName, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::asset::Asset;
use lifeboat_plan::plan::tier::Tier;
use lifeboat_tiers::Protection;
use serde::Serialize;

use crate::catalog::body::Whereabouts;
use crate::daemon::report::JobsReport;
use crate::error::Trouble;
use crate::objectives::{Comeback, Limits, Place, Sight, Way, comeback, exposure, judge_exposure};
use crate::residence::Residence;
use crate::residence::begun::BegunHandOver;
use crate::residence::sought::Sought;
use crate::retention::hold::Hold;
use crate::scorecard::{Held, Medium, Scorecard, TierCopy, place_of, scorecard};
use crate::standing::VerifiedOnce;
use crate::wal::stillness::Stillness;
use history::{Attempt, Good, History};
use log::{LogThere, log_there};
use proof::{Proof, proof};
use rehearsals::{Rehearsed, ScenarioStatus, rehearsed, scenarios};

pub use crate::objectives::Objective;
pub use look::{status, status_beside};

/// The version of [`StatusReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// The answer to "could everything come back now, as the plan promises?".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As far as was ever proven, yes.
    Yes,
    /// Something could not be looked at, or was not proven as the plan asks.
    Unknown,
    /// No; what stands in the way is named.
    No,
}

/// An asset on one tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AssetOnTier {
    /// Which tier.
    pub tier: TierName,
    /// Up to when every change is known to be captured there.
    pub captured: Option<Timestamp>,
    /// The snapshot that holds it.
    pub snapshot: Option<SnapshotId>,
    /// How much would be lost now, in seconds.
    pub exposure_s: Option<u64>,
    /// How that stands against the objective.
    pub objective: Objective,
    /// How the last attempt ended.
    pub last_attempt: Option<Attempt>,
    /// How many recorded snapshots are no longer there.
    pub snapshots_missing: usize,
    /// How many newer captures other tiers hold.
    pub behind: usize,
    /// What it holds of the asset's log, where the plan sends that there and it could be looked at.
    pub log: Option<LogThere>,
    /// Whether the plan sends the asset's log there.
    pub wants_log: bool,
}

/// An asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AssetStatus {
    /// Which asset.
    pub asset: AssetName,
    /// What the plan allows to be lost, in seconds.
    pub rpo_s: Option<u64>,
    /// How far beyond that is only a risk, in seconds.
    pub grace_s: Option<u64>,
    /// How long bringing it back may take, in seconds.
    pub rto_s: Option<u64>,
    /// How it stands on its best tier.
    pub objective: Objective,
    /// How much would be lost now on its best tier, in seconds.
    pub exposure_s: Option<u64>,
    /// Whether a snapshot is there, on a tier that is whole and was verified as the plan asks.
    pub protected: Verdict,
    /// How long bringing it back takes.
    pub comeback: Comeback,
    /// How it was proven to come back.
    pub proof: Proof,
    /// Its 3-2-1-1-0.
    pub scorecard: Scorecard,
    /// Where copies are.
    pub tiers: Vec<AssetOnTier>,
}

impl AssetStatus {
    /// Returns the newest instant up to which everything is captured on some tier.
    pub fn captured_anywhere(&self) -> Option<Timestamp> {
        self.tiers.iter().filter_map(|on| on.captured).max()
    }
}

/// A tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TierStatus {
    /// Which tier.
    pub tier: TierName,
    /// Where it is.
    pub address: String,
    /// What is wrong with it.
    pub trouble: Option<Trouble>,
    /// How many snapshots it holds.
    pub snapshots: Option<usize>,
    /// How many that were stored there are gone, and nobody said that they should be.
    pub gone: usize,
    /// Where it lay before its address changed in the plan, as long as nothing is where it is to be.
    pub moved_from: Option<String>,
    /// What the lock of its newest snapshot lacks of what the plan says.
    pub weak_lock: Option<String>,
    /// The verification that it is judged by: one that failed stands until all data was read and
    /// is whole.
    pub verified: Option<VerifiedOnce>,
}

/// Something that a person should know, worst first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Risk {
    /// What it means for the verdict.
    pub verdict: Verdict,
    /// What it is about: an asset, a tier, an asset on a tier, a task.
    pub subject: String,
    /// What is so.
    pub message: String,
    /// The command that helps.
    pub command: Option<String>,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusReport {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// The plan in force.
    pub plan: PlanId,
    /// When this was asked.
    pub now: Timestamp,
    /// The answer.
    pub verdict: Verdict,
    /// Where the platform lives, as far as this host knows; null for a plan without places.
    pub place: Option<Lived>,
    /// When the recovery key was confirmed.
    pub key_confirmed: Option<Timestamp>,
    /// The assets.
    pub assets: Vec<AssetStatus>,
    /// The tiers.
    pub tiers: Vec<TierStatus>,
    /// Restore tests and drills.
    pub rehearsals: Vec<Rehearsed>,
    /// What can happen, and how long recovering from it takes.
    pub scenarios: Vec<ScenarioStatus>,
    /// Tiers that hold something, or may, while nothing at all is recorded on this host.
    pub unrecorded: Vec<TierName>,
    /// What keeps everything from being removed.
    pub holds: Vec<Hold>,
    /// What runs, waits and comes next; absent where no daemon ever ran.
    pub activity: Option<JobsReport>,
    /// What stands in the way or could.
    pub risks: Vec<Risk>,
    /// The one command to run next.
    pub next: Option<String>,
}

/// Where the platform lives, and where this host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lived {
    /// This host.
    pub here: Whereabouts,
    /// Where it lives.
    #[serde(flatten)]
    pub residence: Residence,
    /// Recoveries that bring it somewhere and are not over.
    pub underway: Vec<Sought>,
    /// A hand-over that was begun here and is not over.
    pub hand_over: Option<BegunHandOver>,
}

/// What was seen on a tier.
#[derive(Debug, Default)]
pub struct Seen {
    /// The snapshots of its repository.
    pub snapshots: BTreeSet<SnapshotId>,
    /// How the newest of them is kept from being deleted, where the store was asked.
    pub protection: Option<Protection>,
    /// What its lock lacks of what the plan says of the tier.
    pub weak_lock: Option<String>,
    /// How long cold storage takes there.
    pub thaw_within: Option<Duration>,
    /// Those that were recorded there and are gone without anybody's word.
    pub gone: BTreeSet<SnapshotId>,
    /// Where the tier lay before its address changed in the plan, as long as nothing is where it is to be.
    pub moved_from: Option<String>,
    /// What it holds of logs.
    pub logs: BTreeMap<AssetName, crate::wal::status::TierLog>,
}

/// What was looked at.
#[derive(Debug, Default)]
pub struct Facts {
    /// Whether the tiers are taken to hold what was recorded, and were not looked at.
    pub nobody_looked: bool,
    /// What each tier holds now.
    pub tiers: BTreeMap<TierName, Result<Seen, Trouble>>,
    /// Where each is.
    pub addresses: BTreeMap<TierName, String>,
    /// The hosts that are asked for what lies there, but for vendors' own.
    pub hosts: BTreeMap<TierName, String>,
    /// The jobs of this host, if a daemon ever ran.
    pub activity: Option<JobsReport>,
    /// The last jobs of restore tests and drills.
    pub rehearsals: Vec<crate::jobs::Job>,
    /// Where the platform lives.
    pub place: Option<Lived>,
    /// The holds that are open.
    pub holds: Vec<Hold>,
    /// The file that is to hold the recovery key on this host and is not there.
    pub key_lacking: Option<PathBuf>,
    /// Through which time servers were seen to rest.
    pub stillness: BTreeMap<AssetName, Stillness>,
}

impl Facts {
    /// Returns what the catalog alone tells: each tier holds what was recorded there and was not found gone since.
    pub fn as_recorded(plan: &Plan, history: &History) -> Self {
        let seen = |tier: &TierName| {
            let good =
                history.good.iter().filter(|((_, on), _)| on == tier).flat_map(|(_, good)| good);
            let (gone, there): (Vec<_>, Vec<_>) = good.partition(|good| good.is_gone);
            let ids = |all: Vec<&Good>| all.into_iter().map(|good| good.snapshot).collect();
            Seen { snapshots: ids(there), gone: ids(gone), ..Seen::default() }
        };
        let tiers = plan.tiers().keys().map(|tier| (tier.clone(), Ok(seen(tier))));
        Self { tiers: tiers.collect(), nobody_looked: true, ..Self::default() }
    }

    fn seen(&self, tier: &TierName) -> Option<&Seen> {
        self.tiers.get(tier)?.as_ref().ok()
    }
}

/// Judges how things stand.
pub fn assess(plan: &Plan, history: &History, facts: &Facts, now: Timestamp) -> StatusReport {
    let tested = crate::proof::proofs(plan, &history.tests, now);
    let view = Assessment { plan, history, facts, tested, now };
    let assets: Vec<_> =
        plan.assets().iter().map(|(name, asset)| view.asset(name, asset)).collect();
    let tiers: Vec<_> = plan.tiers().keys().map(|tier| view.tier(tier)).collect();
    let rehearsals = rehearsed(plan, history, facts, now);
    let scenarios = scenarios(plan, history);
    let mut report = StatusReport {
        schema: SCHEMA,
        site: plan.site().clone(),
        plan: plan.id(),
        now,
        verdict: Verdict::Yes,
        place: facts.place.clone(),
        key_confirmed: history.key_confirmed,
        next: None,
        assets,
        tiers,
        rehearsals,
        scenarios,
        unrecorded: plan.tiers().keys().filter(|tier| view.is_unrecorded(tier)).cloned().collect(),
        holds: facts.holds.clone(),
        activity: facts.activity.clone(),
        risks: Vec::new(),
    };
    report.risks = risks::of(&report, facts, plan);
    report.verdict = report.risks.iter().map(|risk| risk.verdict).max().unwrap_or(Verdict::Yes);
    report.next = report.risks.iter().find_map(|risk| risk.command.clone());
    report
}

struct Assessment<'a> {
    plan: &'a Plan,
    history: &'a History,
    facts: &'a Facts,
    tested: BTreeMap<AssetName, crate::proof::Proof>,
    now: Timestamp,
}

impl Assessment<'_> {
    fn tier(&self, tier: &TierName) -> TierStatus {
        let seen = self.facts.tiers.get(tier);
        TierStatus {
            tier: tier.clone(),
            address: self.facts.addresses.get(tier).cloned().unwrap_or_default(),
            trouble: seen.and_then(|seen| seen.as_ref().err().cloned()),
            snapshots: self.facts.seen(tier).map(|seen| seen.snapshots.len()),
            gone: self.facts.seen(tier).map_or(0, |seen| seen.gone.len()),
            moved_from: self.facts.seen(tier).and_then(|seen| seen.moved_from.clone()),
            weak_lock: self.facts.seen(tier).and_then(|seen| seen.weak_lock.clone()),
            verified: self.history.verified.get(tier).cloned(),
        }
    }

    fn asset(&self, name: &AssetName, asset: &Asset) -> AssetStatus {
        let (limits, wanted) = (Limits::of(asset), self.plan.tiers_of(name));
        let elsewhere = self.held_anywhere(name, &wanted);
        let on_tier = |tier: &&TierName| {
            let mut on = self.on_tier(name, asset, tier, &limits);
            on.behind = elsewhere.iter().filter(|there| Some(**there) > on.captured).count();
            on
        };
        let tiers: Vec<_> = wanted.iter().map(on_tier).collect();
        let best = tiers.iter().min_by_key(|on| (on.objective, on.exposure_s.unwrap_or(u64::MAX)));
        let back = self.history.brought_back.get(name).map_or(&[][..], Vec::as_slice);
        AssetStatus {
            asset: name.clone(),
            rpo_s: limits.rpo.map(|rpo| rpo.as_secs()),
            grace_s: limits.grace.map(|grace| grace.as_secs()),
            rto_s: limits.rto.map(|rto| rto.as_secs()),
            objective: best.map_or(Objective::Missed, |on| on.objective),
            exposure_s: best.and_then(|on| on.exposure_s),
            protected: self.protected(&tiers),
            comeback: comeback(&limits, &self.ways(name, &tiers), back),
            proof: proof(self.tested.get(name), back),
            scorecard: scorecard(&self.copies(&tiers), self.cycle(), self.now),
            tiers,
        }
    }

    fn cycle(&self) -> Duration {
        Duration::from(self.plan.verification().full_within)
    }

    fn good(&self, asset: &AssetName, tier: &TierName) -> &[Good] {
        let key = (asset.clone(), tier.clone());
        self.history.good.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Returns the captures of an asset that some tier was seen to hold.
    fn held_anywhere(&self, asset: &AssetName, tiers: &BTreeSet<&TierName>) -> BTreeSet<Timestamp> {
        let seen = tiers.iter().filter_map(|tier| Some((*tier, self.facts.seen(tier)?)));
        let held = seen.flat_map(|(tier, seen)| {
            let good = self.good(asset, tier).iter();
            good.filter(|good| seen.snapshots.contains(&good.snapshot)).map(|good| good.captured)
        });
        held.collect()
    }

    fn on_tier(
        &self,
        name: &AssetName,
        asset: &Asset,
        tier: &TierName,
        limits: &Limits,
    ) -> AssetOnTier {
        let (good, seen) = (self.good(name, tier), self.facts.seen(tier));
        let is_gone =
            |good: &&Good| seen.is_some_and(|seen| !seen.snapshots.contains(&good.snapshot));
        let newest = good.iter().find(|good| !is_gone(good));
        let wants_log = asset.postgres().is_some_and(|postgres| postgres.wal.to.contains(tier));
        let log = newest.and_then(|newest| newest.base.as_ref()).and_then(|base| {
            let log = seen?.logs.get(name)?;
            let still = self.facts.stillness.get(name);
            Some(log_there(log, base, still).unwrap_or_default())
        });
        let reaches = log.and_then(|log| log.reaches.max(log.still));
        let captured = newest.map(|good| reaches.map_or(good.captured, |at| at.max(good.captured)));
        let lost = captured.map(|captured| exposure(captured, self.now));
        let sight = if seen.is_some() { Sight::Clear } else { Sight::None };
        let objective = match judge_exposure(lost, limits, sight) {
            Objective::Missed if self.is_unrecorded(tier) => Objective::Unknown,
            // The log may lead further; nobody looked.
            Objective::AtRisk | Objective::Missed
                if wants_log
                    && lost.is_some()
                    && !seen.is_some_and(|it| it.logs.contains_key(name)) =>
            {
                Objective::Unknown
            }
            judged => judged,
        };
        let key = (name.clone(), tier.clone());
        AssetOnTier {
            tier: tier.clone(),
            captured,
            snapshot: newest.map(|good| good.snapshot),
            exposure_s: lost.map(|lost| lost.as_secs()),
            objective,
            last_attempt: self.history.attempts.get(&key).cloned(),
            snapshots_missing: good.iter().filter(is_gone).count(),
            behind: 0,
            log,
            wants_log,
        }
    }

    /// Tells whether a tier may hold what nothing is recorded of, since nothing at all is recorded here.
    fn is_unrecorded(&self, tier: &TierName) -> bool {
        let may_hold = |seen: &Seen| self.facts.nobody_looked || !seen.snapshots.is_empty();
        self.history.is_blank && self.facts.seen(tier).is_none_or(may_hold)
    }

    fn protected(&self, tiers: &[AssetOnTier]) -> Verdict {
        let of_tier = |on: &AssetOnTier| match (self.facts.seen(&on.tier), on.snapshot) {
            (None, _) => Verdict::Unknown,
            (Some(_), None) if self.is_unrecorded(&on.tier) => Verdict::Unknown,
            (Some(_), None) => Verdict::No,
            (Some(_), Some(_)) => self.is_whole(&on.tier),
        };
        tiers.iter().map(of_tier).min().unwrap_or(Verdict::No)
    }

    /// Tells whether a tier was verified as the plan asks, and found whole.
    fn is_whole(&self, tier: &TierName) -> Verdict {
        match self.history.verified.get(tier) {
            Some(once) if once.outcome == Outcome::Failed => Verdict::No,
            Some(once)
                if once.outcome == Outcome::Passed
                    && exposure(once.time, self.now) <= self.cycle() =>
            {
                Verdict::Yes
            }
            _ => Verdict::Unknown,
        }
    }

    fn place(&self, tier: &TierName, planned: &Tier) -> Place {
        place_of(&planned.url, self.facts.hosts.get(tier).map(String::as_str))
    }

    fn copies<'c>(&'c self, tiers: &'c [AssetOnTier]) -> Vec<TierCopy<'c>> {
        let copy = |on: &'c AssetOnTier| {
            let planned = self.plan.tiers().get(&on.tier)?;
            let seen = self.facts.seen(&on.tier);
            Some(TierCopy {
                tier: &on.tier,
                medium: Medium::of(planned),
                place: self.place(&on.tier, planned),
                held: match (seen, on.snapshot) {
                    (None, _) => Held::Unknown,
                    (Some(_), None) => Held::Nothing,
                    (Some(_), Some(_)) => Held::Whole,
                },
                protection: seen.and_then(|seen| seen.protection),
                verified: self.history.verified.get(&on.tier),
            })
        };
        tiers.iter().filter_map(copy).collect()
    }

    fn ways<'w>(&'w self, asset: &AssetName, tiers: &'w [AssetOnTier]) -> Vec<Way<'w>> {
        let way = |on: &'w AssetOnTier| {
            let planned = self.plan.tiers().get(&on.tier)?;
            let good = self.good(asset, &on.tier);
            let newest = good.iter().find(|good| Some(good.snapshot) == on.snapshot)?;
            let thaw = self.facts.seen(&on.tier)?.thaw_within.filter(|_| planned.is_archive());
            Some(Way {
                tier: &on.tier,
                place: self.place(&on.tier, planned),
                size_bytes: newest.size_bytes?,
                rehydration: thaw.unwrap_or_default(),
            })
        };
        tiers.iter().filter_map(way).collect()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod truth_tests;
