//! What the catalog's view tells about a plan's assets and tiers.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{AssetName, JobId, SnapshotId, TierName, Timestamp};
use lifeboat_plan::Plan;
use serde::Serialize;

use crate::catalog::body::{AssetBackedUp, Body};
use crate::catalog::view::{View, ViewError, Wanted};
use crate::ending::{Ending, JobStage};
use crate::proof::{self, Tested};
use crate::standing::{Standing, VerifiedOnce};

/// How many good backups are looked at: those that were removed since are passed over.
const GOOD_MAX: u32 = 100;

/// A complete backup of an asset on a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Good {
    /// Up to when every change is in it.
    pub captured: Timestamp,
    /// Its snapshot there.
    pub snapshot: SnapshotId,
}

/// The last attempt to bring an asset to a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// In which job.
    pub job: JobId,
    /// When it ended.
    pub time: Timestamp,
    /// How.
    pub ending: Ending,
    /// Why, unless it succeeded.
    pub message: Option<String>,
}

/// What was recorded, as far as a status needs it.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Complete backups, the newest first.
    pub good: BTreeMap<(AssetName, TierName), Vec<Good>>,
    /// Last attempts.
    pub attempts: BTreeMap<(AssetName, TierName), Attempt>,
    /// The verifications that the tiers are judged by.
    pub verified: BTreeMap<TierName, VerifiedOnce>,
    /// Tiers that were set up, with their addresses.
    pub adopted: BTreeSet<(TierName, String)>,
    /// When the plan's recovery key was confirmed.
    pub key_confirmed: Option<Timestamp>,
    /// The restore tests that were run, the newest first.
    pub tests: Vec<Tested>,
    /// The clusters of which there was ever a base backup, by their system ids.
    pub based: BTreeSet<(AssetName, String)>,
}

impl History {
    /// Reads the history of a plan.
    pub fn load(view: &View, plan: &Plan) -> Result<Self, ViewError> {
        let mut history = Self::default();
        for asset in plan.assets().keys() {
            for tier in plan.tiers_of(asset) {
                history.load_backups(view, asset, tier)?;
            }
        }
        for tier in plan.tiers().keys() {
            history.load_tier(view, tier)?;
        }
        history.tests = proof::load(view, plan)?;
        let wanted = Wanted { kind: "key-confirmed", asset: None, tier: None, good_only: false };
        for record in view.latest(wanted, u32::MAX)? {
            if let Body::KeyConfirmed(confirmed) = record.body() {
                let verifier = plan.key().verifier.as_ref();
                if verifier.is_none_or(|verifier| *verifier == confirmed.verifier) {
                    history.key_confirmed = Some(record.header().time);
                    break;
                }
            }
        }
        Ok(history)
    }

    /// Takes note that an asset was as it is from one instant until another: whatever was captured in between holds all of it
    /// until then.
    pub fn was_unchanged(&mut self, asset: &AssetName, from: Timestamp, until: Timestamp) {
        let of_it = self.good.iter_mut().filter(|((name, _), _)| name == asset);
        for good in of_it.flat_map(|(_, good)| good) {
            if (from..until).contains(&good.captured) {
                good.captured = until;
            }
        }
    }

    fn load_backups(
        &mut self,
        view: &View,
        asset: &AssetName,
        tier: &TierName,
    ) -> Result<(), ViewError> {
        let wanted = Wanted {
            kind: "asset-backed-up",
            asset: Some(asset),
            tier: Some(tier),
            good_only: true,
        };
        let key = (asset.clone(), tier.clone());
        let records = view.latest(wanted, GOOD_MAX)?;
        let good = records.iter().filter_map(|record| match record.body() {
            Body::AssetBackedUp(body) => good_on(body, tier),
            _ => None,
        });
        // What a tier missed was brought there later than what is newer.
        let mut good: Vec<_> = good.collect();
        good.sort_by_key(|good| std::cmp::Reverse(good.captured));
        self.good.insert(key.clone(), good);
        let bases = records.iter().filter_map(|record| match record.body() {
            Body::AssetBackedUp(body) => body.base.as_ref(),
            _ => None,
        });
        self.based.extend(bases.map(|base| (asset.clone(), base.system_id.clone())));
        let last = view.latest(Wanted { good_only: false, ..wanted }, 1)?.pop();
        let attempt = last.as_ref().and_then(|record| match record.body() {
            Body::AssetBackedUp(body) => attempt_on(body, tier),
            _ => None,
        });
        self.attempts.extend(attempt.map(|attempt| (key, attempt)));
        Ok(())
    }

    fn load_tier(&mut self, view: &View, tier: &TierName) -> Result<(), ViewError> {
        let verified = Standing::load(view, tier)?.verified;
        self.verified.extend(verified.map(|verified| (tier.clone(), verified)));
        let wanted =
            Wanted { kind: "tier-adopted", asset: None, tier: Some(tier), good_only: false };
        for record in view.latest(wanted, u32::MAX)? {
            if let Body::TierAdopted(adopted) = record.body() {
                self.adopted.insert((tier.clone(), adopted.address.clone()));
            }
        }
        Ok(())
    }
}

fn good_on(body: &AssetBackedUp, tier: &TierName) -> Option<Good> {
    let there = body.snapshots.iter().find(|there| there.tier == *tier)?;
    Some(Good { captured: body.captured?, snapshot: there.snapshot })
}

fn attempt_on(body: &AssetBackedUp, tier: &TierName) -> Option<Attempt> {
    let stored = |stage| matches!(stage, JobStage::Store | JobStage::Copy);
    let outcome = body
        .stages
        .iter()
        .rfind(|stage| stored(stage.stage) && stage.tier.as_ref() == Some(tier))?;
    Some(Attempt {
        job: body.job,
        time: outcome.ended,
        ending: outcome.ending,
        message: outcome.message.clone(),
    })
}
