//! What a tier lacks: captures of its assets that other tiers hold and that it never got.
//!
//! What was on a tier once and is not there any more was removed by the tier's retention, or is gone, and is no backlog;
//! [`Backlog::of_gone`] finds what of the gone lies elsewhere, for whoever wants it back. A capture is known by its asset and its moment: where a tier has another key, the
//! same one has another id there.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{AssetName, SnapshotId, TierName, Timestamp};
use lifeboat_plan::Plan;

use crate::adoptions::Adoptions;
use crate::catalog::body::{AssetBackedUp, Body};
use crate::catalog::view::{View, ViewError, Wanted};
use crate::retention::rules::{Capture, would_stay};

/// A complete capture, and where it was brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What was recorded of it first.
    pub body: AssetBackedUp,
    /// What storing it took, in bytes.
    pub bytes: u64,
    /// Its snapshots, and when each was recorded.
    pub on: BTreeMap<TierName, (SnapshotId, Timestamp)>,
}

/// All complete captures that were recorded.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    captures: BTreeMap<(AssetName, Timestamp), Recorded>,
    /// Where each tier was set up.
    adoptions: BTreeMap<TierName, Adoptions>,
}

/// A capture that a tier lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// Of which asset.
    pub asset: AssetName,
    /// Up to when every change is in it.
    pub captured: Timestamp,
    /// The tiers that hold it, with its id there.
    pub on: BTreeMap<TierName, SnapshotId>,
    /// What storing it took, in bytes.
    pub bytes: u64,
    /// What was recorded of it.
    pub body: AssetBackedUp,
}

impl Lacking {
    /// Returns what it is known by, whatever its id is on a tier.
    pub fn key(&self) -> (AssetName, Timestamp) {
        (self.asset.clone(), self.captured)
    }
}

/// The snapshots that lie on the tiers that could be looked at.
pub type Present = BTreeMap<TierName, BTreeSet<SnapshotId>>;

impl Backlog {
    /// Reads what was recorded.
    pub fn load(view: &View, plan: &Plan) -> Result<Self, ViewError> {
        let mut backlog = Self::default();
        let wanted = Wanted { kind: "asset-backed-up", asset: None, tier: None, good_only: false };
        for record in view.latest(wanted, u32::MAX)?.iter().rev() {
            if let Body::AssetBackedUp(body) = record.body() {
                backlog.add(body, record.header().time);
            }
        }
        for tier in plan.tiers().keys() {
            backlog.adoptions.insert(tier.clone(), Adoptions::load(view, tier)?);
        }
        Ok(backlog)
    }

    /// Takes in a record; they come the oldest first.
    fn add(&mut self, body: &AssetBackedUp, time: Timestamp) {
        let Some(captured) = body.captured else { return };
        let key = (body.asset.clone(), captured);
        let recorded = self.captures.entry(key).or_insert_with(|| Recorded {
            body: body.clone(),
            bytes: body.bytes_stored,
            on: BTreeMap::new(),
        });
        for there in &body.snapshots {
            recorded.on.insert(there.tier.clone(), (there.snapshot, time));
        }
    }

    /// Tells whether a capture was ever brought to where a tier lies.
    fn had(&self, tier: &TierName, recorded: &Recorded) -> bool {
        let counts = |time| self.adoptions.get(tier).is_none_or(|known| known.counts(time));
        recorded.on.get(tier).is_some_and(|(_, time)| counts(*time))
    }

    /// Forgets all that was brought to a tier, since it is to lie at a place where nothing is yet.
    pub(crate) fn forget(&mut self, tier: &TierName) {
        for recorded in self.captures.values_mut() {
            recorded.on.remove(tier);
        }
    }

    /// Returns the newest capture of an asset that a tier holds.
    pub fn newest(
        &self,
        asset: &AssetName,
        tier: &TierName,
        present: &Present,
    ) -> Option<(Timestamp, SnapshotId)> {
        let there = present.get(tier)?;
        self.of(asset).rev().find_map(|(captured, recorded)| {
            let (id, _) = recorded.on.get(tier)?;
            there.contains(id).then_some((captured, *id))
        })
    }

    /// Returns when the captures of an asset were made that are among some snapshots of a tier and lie on none of those that
    /// could be looked at.
    pub(crate) fn nowhere_else(
        &self,
        asset: &AssetName,
        (tier, snapshots): (&TierName, &BTreeSet<SnapshotId>),
        present: &Present,
    ) -> Vec<Timestamp> {
        let holds = |(name, (id, _)): (&TierName, &(SnapshotId, Timestamp))| {
            present.get(name).is_some_and(|there| there.contains(id))
        };
        let is_only_there = |recorded: &Recorded| {
            recorded.on.get(tier).is_some_and(|(id, _)| snapshots.contains(id))
                && !recorded.on.iter().any(holds)
        };
        let only_there = self.of(asset).filter(|(_, recorded)| is_only_there(recorded));
        only_there.map(|(captured, _)| captured).collect()
    }

    /// Tells what a snapshot of a tier holds, where that was complete: which asset, and up to when.
    pub fn what(&self, tier: &TierName, snapshot: SnapshotId) -> Option<(&AssetName, Timestamp)> {
        let is_it =
            |recorded: &Recorded| recorded.on.get(tier).is_some_and(|(id, _)| *id == snapshot);
        let ((asset, captured), _) = self.captures.iter().find(|(_, recorded)| is_it(recorded))?;
        Some((asset, *captured))
    }

    /// Returns the captures of an asset, the oldest first.
    fn of(&self, asset: &AssetName) -> impl DoubleEndedIterator<Item = (Timestamp, &Recorded)> {
        let range = (asset.clone(), Timestamp::MIN)..=(asset.clone(), Timestamp::MAX);
        self.captures.range(range).map(|((_, captured), recorded)| (*captured, recorded))
    }

    /// Returns the captures of an asset that lie elsewhere, are newer than the newest of a tier, and would stay there; the newest
    /// first.
    pub fn ahead(
        &self,
        (plan, tier): (&Plan, &TierName),
        asset: &AssetName,
        present: &Present,
        now: Timestamp,
    ) -> Vec<Lacking> {
        let newest = self.newest(asset, tier, present).map(|(captured, _)| captured);
        let is_newer = |captured, _: &Recorded| newest.is_none_or(|newest| captured > newest);
        let mut ahead = self.wanted((plan, tier), asset, present, now, &is_newer);
        ahead.reverse();
        ahead
    }

    /// Returns what a tier is to get that it never had and that its retention would not remove again, the newest first.
    pub fn of_tier(
        &self,
        plan: &Plan,
        tier: &TierName,
        present: &Present,
        now: Timestamp,
    ) -> Vec<Lacking> {
        let assets = plan.assets().keys().filter(|asset| plan.tiers_of(asset).contains(tier));
        let never_had = |_, recorded: &Recorded| !self.had(tier, recorded);
        let wanted =
            assets.flat_map(|asset| self.wanted((plan, tier), asset, present, now, &never_had));
        let mut found: Vec<_> = wanted.collect();
        found.sort_by_key(|lacking| std::cmp::Reverse(lacking.captured));
        found
    }

    /// Returns those of the captures of an asset that lie elsewhere and would stay on a tier beside what it has, the oldest
    /// first.
    fn wanted(
        &self,
        (plan, tier): (&Plan, &TierName),
        asset: &AssetName,
        present: &Present,
        now: Timestamp,
        may_be: &dyn Fn(Timestamp, &Recorded) -> bool,
    ) -> Vec<Lacking> {
        let (mut captures, mut found) = (Vec::new(), Vec::new());
        let there = present.get(tier);
        for (captured, recorded) in self.of(asset) {
            let own = recorded.on.get(tier).map(|(id, _)| *id);
            let own = own.filter(|id| there.is_some_and(|there| there.contains(id)));
            let lacks = lacking(captured, recorded, tier, present);
            let lacks = lacks.filter(|_| own.is_none() && may_be(captured, recorded));
            let elsewhere = lacks.as_ref().and_then(|lacks| lacks.on.values().next().copied());
            if let Some(id) = own.or(elsewhere) {
                let schedule = recorded.body.schedule.clone();
                captures.push(Capture { id, time: captured, schedule });
            }
            found.extend(lacks.zip(elsewhere));
        }
        if found.is_empty() {
            return Vec::new();
        }
        let stays = would_stay((plan, tier), asset, captures, now);
        found.into_iter().filter(|(_, id)| stays.contains(id)).map(|(lacks, _)| lacks).collect()
    }

    /// Returns what lies elsewhere of the snapshots that are gone from a tier, the newest first.
    pub fn of_gone(
        &self,
        tier: &TierName,
        gone: &BTreeSet<SnapshotId>,
        present: &Present,
    ) -> Vec<Lacking> {
        let is_gone = |recorded: &Recorded| {
            recorded.on.get(tier).is_some_and(|(snapshot, _)| gone.contains(snapshot))
        };
        let all = self.captures.iter().filter(|(_, recorded)| is_gone(recorded));
        let elsewhere = |captured, recorded| lacking(captured, recorded, tier, present);
        let found = all.filter_map(|((_, captured), recorded)| elsewhere(*captured, recorded));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|lacking| std::cmp::Reverse(lacking.captured));
        found
    }
}

/// Says where else a capture lies; nothing, if nowhere.
fn lacking(
    captured: Timestamp,
    recorded: &Recorded,
    tier: &TierName,
    present: &Present,
) -> Option<Lacking> {
    let holds = |name: &TierName, id| present.get(name).is_some_and(|there| there.contains(id));
    let elsewhere = recorded.on.iter().filter(|(name, (id, _))| *name != tier && holds(name, id));
    let on: BTreeMap<_, _> = elsewhere.map(|(name, (id, _))| (name.clone(), *id)).collect();
    (!on.is_empty()).then(|| Lacking {
        asset: recorded.body.asset.clone(),
        captured,
        on,
        bytes: recorded.bytes,
        body: recorded.body.clone(),
    })
}
