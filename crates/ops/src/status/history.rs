//! What the catalog's view tells about a plan's assets and tiers.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{AssetName, JobId, Outcome, PlanId, SnapshotId, TierName, Timestamp};
use lifeboat_plan::Plan;
use serde::Serialize;

use crate::adoptions::{Adoptions, Emptiness};
use crate::catalog::body::{AssetBackedUp, BaseRecord, Body, RecoveryEnded};
use crate::catalog::record::Record;
use crate::catalog::view::{View, ViewError, Wanted};
use crate::drill::DrillEnded;
use crate::ending::{Ending, JobStage};
use crate::objectives::Rehearsal;
use crate::proof::{self, Tested};
use crate::standing::{Standing, VerifiedOnce};

/// How many good backups are looked at: those that somebody removed are passed over.
const GOOD_MAX: u32 = 200;

/// How many recoveries, and how many drills, are looked at for the last of each scenario.
const RECOVERIES_MAX: u32 = 100;

/// A complete backup of an asset on a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Good {
    /// Up to when every change is in it.
    pub captured: Timestamp,
    /// Its snapshot there.
    pub snapshot: SnapshotId,
    /// How large all that is in it is, in bytes, where that was recorded.
    pub size_bytes: Option<u64>,
    /// Where in the server's log it lies, if it is a base backup.
    pub base: Option<BaseRecord>,
    /// Whether it was recorded that somebody removed it.
    pub is_gone: bool,
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

/// The last time that an asset came back from a tier, or was to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BroughtBack {
    /// From which tier.
    pub tier: TierName,
    /// When it ended.
    pub time: Timestamp,
    /// How.
    pub by: Rehearsal,
    /// What it showed.
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// By which plan.
    pub plan: Option<PlanId>,
}

/// What was recorded, as far as a status needs it.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Whether this host knows of no record at all: what was done is recorded, if anywhere, on the tiers alone.
    pub is_blank: bool,
    /// Complete backups, the newest first.
    pub good: BTreeMap<(AssetName, TierName), Vec<Good>>,
    /// Last attempts.
    pub attempts: BTreeMap<(AssetName, TierName), Attempt>,
    /// The verifications that the tiers are judged by.
    pub verified: BTreeMap<TierName, VerifiedOnce>,
    /// Where the tiers were set up.
    pub(crate) adoptions: BTreeMap<TierName, Adoptions>,
    /// When the plan's recovery key was confirmed.
    pub key_confirmed: Option<Timestamp>,
    /// The restore tests that were run, the newest first.
    pub tests: Vec<Tested>,
    /// The last times that assets came back, of each tier and sort one, the newest first.
    pub brought_back: BTreeMap<AssetName, Vec<BroughtBack>>,
    /// Recoveries, the newest first.
    pub recoveries: Vec<(Timestamp, RecoveryEnded)>,
    /// Drills, the newest first.
    pub drills: Vec<(Timestamp, DrillEnded)>,
    /// The clusters of which there was ever a base backup, by their system ids.
    pub based: BTreeSet<(AssetName, String)>,
}

impl History {
    /// Reads the history of a plan.
    pub fn load(view: &View, plan: &Plan) -> Result<Self, ViewError> {
        let mut history = Self { is_blank: view.is_empty()?, ..Self::default() };
        for asset in plan.assets().keys() {
            for tier in plan.tiers_of(asset) {
                history.load_backups(view, asset, tier)?;
            }
        }
        for back in history.brought_back.values_mut() {
            back.sort_by_key(|back| std::cmp::Reverse(back.time));
        }
        for tier in plan.tiers().keys() {
            history.load_tier(view, tier)?;
        }
        history.tests = proof::load(view, plan)?;
        history.load_recoveries(view)?;
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

    /// Tells what it means that nothing is where a tier should be.
    pub(crate) fn nothing_at(&self, tier: &TierName, address: &str) -> Emptiness {
        self.adoptions.get(tier).map_or(Emptiness::New, |known| known.nothing_at(address))
    }

    /// Forgets what was recorded of a tier, since it is to lie at a place where nothing is yet.
    pub(crate) fn forget(&mut self, tier: &TierName) {
        self.good.retain(|(_, on), _| on != tier);
        self.attempts.retain(|(_, on), _| on != tier);
        self.verified.remove(tier);
    }

    fn load_recoveries(&mut self, view: &View) -> Result<(), ViewError> {
        let wanted = Wanted { kind: "recovery-ended", asset: None, tier: None, good_only: false };
        let records = view.latest(wanted, RECOVERIES_MAX)?;
        let ended = records.iter().filter_map(|record| match record.body() {
            Body::RecoveryEnded(body) => Some((record.header().time, body.clone())),
            _ => None,
        });
        self.recoveries.extend(ended);
        let wanted = Wanted { kind: "drill-ended", ..wanted };
        let records = view.latest(wanted, RECOVERIES_MAX)?;
        let ended = records.iter().filter_map(|record| match record.body() {
            Body::DrillEnded(body) => Some((record.header().time, (**body).clone())),
            _ => None,
        });
        self.drills.extend(ended);
        Ok(())
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
        let (mut captures, adoptions) =
            (view.captures(asset, tier, GOOD_MAX)?, Adoptions::load(view, tier)?);
        captures.retain(|capture| adoptions.counts(capture.stored));
        let bases = captures.iter().filter_map(|capture| capture.base.as_ref());
        self.based.extend(bases.map(|base| (asset.clone(), base.system_id.clone())));
        let good = captures.into_iter().map(|capture| Good {
            captured: capture.captured,
            snapshot: capture.snapshot,
            size_bytes: capture.size_bytes,
            base: capture.base,
            is_gone: capture.is_gone,
        });
        self.good.insert(key.clone(), good.collect());
        for kind in ["restored", "restore-verified"] {
            let last = view.latest(Wanted { kind, good_only: false, ..wanted }, 1)?.pop();
            if let Some(back) = last.as_ref().and_then(brought_back) {
                self.brought_back.entry(asset.clone()).or_default().push(back);
            }
        }
        let last = view.latest(Wanted { good_only: false, ..wanted }, 1)?.pop();
        let last = last.filter(|record| adoptions.counts(record.header().time));
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
        self.adoptions.insert(tier.clone(), Adoptions::load(view, tier)?);
        Ok(())
    }
}

fn brought_back(record: &Record) -> Option<BroughtBack> {
    let (time, plan) = (record.header().time, record.header().plan);
    match record.body() {
        Body::Restored(body) => Some(BroughtBack {
            tier: body.tier.clone(),
            time,
            by: Rehearsal::Restore,
            outcome: match body.ending {
                Ending::Succeeded => Outcome::Passed,
                Ending::Failed | Ending::Incomplete => Outcome::Failed,
                _ => Outcome::CouldNotVerify,
            },
            duration_ms: body.duration_ms,
            plan,
        }),
        Body::RestoreVerified(body) => Some(BroughtBack {
            tier: body.tier.clone(),
            time,
            by: Rehearsal::VerifiedRestore,
            outcome: body.outcome,
            duration_ms: body.duration_ms,
            plan,
        }),
        _ => None,
    }
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
