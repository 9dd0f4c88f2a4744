//! Whether the platform could be brought back now: [`assess`], a pure function of the plan, what
//! was recorded, what the tiers hold, and the time. [`status`] gathers these for it.

pub mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::TryStreamExt as _;
use lifeboat_model::{AssetName, Outcome, PlanId, SiteName, SnapshotId, TierName, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_tiers::{ObjectPrefix, Tier, TierError};
use serde::Serialize;

use crate::catalog::view::View;
use crate::daemon::report::journal_of;
use crate::ending::Ending;
use crate::error::{OpsError, Trouble};
use crate::proof;
use crate::standing::VerifiedOnce;
use crate::state::State;
use crate::wire::{Reached, Site};
use history::{Attempt, Good, History};

/// The version of [`StatusReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// The answer to "could everything come back now, as the plan promises?".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As far as was ever proven, yes.
    Yes,
    /// Something could not be looked at, or was never proven.
    Unknown,
    /// No; what stands in the way is named.
    No,
}

/// How an exposure stands against its objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Within the rpo.
    Met,
    /// The plan sets none.
    None,
    /// Beyond the rpo, within its grace.
    AtRisk,
    /// Nobody could look.
    Unknown,
    /// Beyond rpo and grace, or never captured.
    Missed,
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
    /// The verification that it is judged by: one that failed stands until all data was read and
    /// is whole.
    pub verified: Option<VerifiedOnce>,
}

/// Something that a person should know, worst first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Risk {
    /// What it means for the verdict.
    pub verdict: Verdict,
    /// What it is.
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
    /// When the recovery key was confirmed.
    pub key_confirmed: Option<Timestamp>,
    /// The assets.
    pub assets: Vec<AssetStatus>,
    /// The tiers.
    pub tiers: Vec<TierStatus>,
    /// What stands in the way or could.
    pub risks: Vec<Risk>,
    /// The one command to run next.
    pub next: Option<String>,
}

/// What the tiers hold now.
#[derive(Debug, Default)]
pub struct TierFacts(pub BTreeMap<TierName, Result<BTreeSet<SnapshotId>, Trouble>>);

/// Gathers what [`assess`] needs; needs no key and takes no lock.
pub fn status(site: &Site) -> Result<StatusReport, OpsError> {
    let surroundings = site.surroundings();
    let state = State::open(&surroundings.state_directory)?;
    let mut history = History::load(&View::open(&state.view_path())?, site.plan())?;
    move_on(&mut history, site, surroundings.now());
    let mut facts = TierFacts::default();
    let mut addresses = BTreeMap::new();
    for name in site.plan().tiers().keys() {
        let address = site.address(name)?;
        let seen = match site.reach(name) {
            Reached::Trouble(trouble) => Err(trouble),
            Reached::Vacant(_) if history.adopted.contains(&(name.clone(), address.clone())) => {
                let (tier, address) = (name.clone(), address.clone());
                Err(Trouble::of(&OpsError::TierLost { tier, address }))
            }
            Reached::Vacant(_) => Ok(BTreeSet::new()),
            Reached::Ready(named) => surroundings
                .runtime
                .block_on(snapshot_ids(named.tier.as_ref()))
                .map_err(|error| Trouble::of(&error)),
        };
        addresses.insert(name.clone(), address);
        facts.0.insert(name.clone(), seen);
    }
    Ok(assess(site.plan(), &history, &facts, &addresses, surroundings.now()))
}

/// Moves on what is known of watched assets: what a sweep saw to be as it was captured is captured until then.
///
/// That is this host's own word and not in the catalog, which would get a record of it every few seconds; what
/// cannot be read of it costs exposure and nothing else.
fn move_on(history: &mut History, site: &Site, now: Timestamp) {
    let Ok(Some((_, journal))) = journal_of(site) else { return };
    let watched = site.plan().assets().iter().filter(|(_, asset)| asset.is_watched());
    for (asset, _) in watched {
        let kept = journal.watched(asset).ok().flatten();
        if let Some((from, until)) = kept.and_then(|kept| kept.span()) {
            history.was_unchanged(asset, from, until.min(now));
        }
    }
}

/// Lists the snapshots of a tier's repository, which takes no key.
async fn snapshot_ids(tier: &dyn Tier) -> Result<BTreeSet<SnapshotId>, TierError> {
    let prefix: ObjectPrefix = "repo/snapshots".parse().expect("it is a valid path");
    let listed: Vec<_> = tier.list(&prefix).try_collect().await?;
    Ok(listed.iter().filter_map(|meta| meta.path.file_name().parse().ok()).collect())
}

/// Judges how things stand.
pub fn assess(
    plan: &Plan,
    history: &History,
    facts: &TierFacts,
    addresses: &BTreeMap<TierName, String>,
    now: Timestamp,
) -> StatusReport {
    let assets: Vec<_> = plan
        .assets()
        .iter()
        .map(|(name, asset)| {
            let limits = Limits {
                rpo: asset.rpo.map(Duration::from),
                grace: asset.grace(),
                rto: asset.rto.map(Duration::from),
            };
            assess_asset(name, &limits, plan.tiers_of(name), history, facts, now)
        })
        .collect();
    let tiers: Vec<_> = plan
        .tiers()
        .keys()
        .map(|tier| {
            let seen = facts.0.get(tier);
            TierStatus {
                tier: tier.clone(),
                address: addresses.get(tier).cloned().unwrap_or_default(),
                trouble: seen.and_then(|seen| seen.as_ref().err().cloned()),
                snapshots: seen.and_then(|seen| seen.as_ref().ok().map(BTreeSet::len)),
                verified: history.verified.get(tier).cloned(),
            }
        })
        .collect();
    let mut risks = Vec::new();
    for asset in &assets {
        asset_risks(asset, &mut risks);
    }
    for tier in &tiers {
        tier_risks(tier, plan, now, &mut risks);
    }
    risks.extend(proof::risks(&proof::proofs(plan, &history.tests, now), plan));
    if history.key_confirmed.is_none() {
        risks.push(Risk {
            verdict: Verdict::Unknown,
            message: "nobody confirmed that the recovery key is kept away from this host"
                .to_owned(),
            command: Some("lifeboat key confirm".to_owned()),
        });
    }
    risks.sort_by_key(|risk| std::cmp::Reverse(risk.verdict));
    StatusReport {
        schema: SCHEMA,
        site: plan.site().clone(),
        plan: plan.id(),
        now,
        verdict: risks.iter().map(|risk| risk.verdict).max().unwrap_or(Verdict::Yes),
        key_confirmed: history.key_confirmed,
        next: risks.iter().find_map(|risk| risk.command.clone()),
        assets,
        tiers,
        risks,
    }
}

struct Limits {
    rpo: Option<Duration>,
    grace: Option<Duration>,
    rto: Option<Duration>,
}

fn assess_asset(
    asset: &AssetName,
    limits: &Limits,
    tiers: BTreeSet<&TierName>,
    history: &History,
    facts: &TierFacts,
    now: Timestamp,
) -> AssetStatus {
    let elsewhere = held_anywhere(asset, &tiers, history, facts);
    let tiers: Vec<_> = tiers
        .into_iter()
        .map(|tier| {
            let key = (asset.clone(), tier.clone());
            let good = history.good.get(&key).map_or(&[][..], Vec::as_slice);
            let last_attempt = history.attempts.get(&key).cloned();
            let seen = facts.0.get(tier).and_then(|seen| seen.as_ref().ok());
            let mut on = assess_on_tier(tier, limits, good, last_attempt, seen, now);
            on.behind = elsewhere.iter().filter(|there| Some(**there) > on.captured).count();
            on
        })
        .collect();
    let best = tiers.iter().min_by_key(|on| (on.objective, on.exposure_s.unwrap_or(u64::MAX)));
    AssetStatus {
        asset: asset.clone(),
        rpo_s: limits.rpo.map(|rpo| rpo.as_secs()),
        grace_s: limits.grace.map(|grace| grace.as_secs()),
        rto_s: limits.rto.map(|rto| rto.as_secs()),
        objective: best.map_or(Objective::Missed, |on| on.objective),
        exposure_s: best.and_then(|on| on.exposure_s),
        tiers,
    }
}

/// Returns the captures of an asset that some tier was seen to hold.
fn held_anywhere(
    asset: &AssetName,
    tiers: &BTreeSet<&TierName>,
    history: &History,
    facts: &TierFacts,
) -> BTreeSet<Timestamp> {
    let seen = tiers.iter().filter_map(|tier| Some((tier, facts.0.get(*tier)?.as_ref().ok()?)));
    let held = seen.flat_map(|(tier, seen)| {
        let good = history.good.get(&(asset.clone(), (*tier).clone()));
        let there = good.into_iter().flatten().filter(|good| seen.contains(&good.snapshot));
        there.map(|good| good.captured)
    });
    held.collect()
}

fn assess_on_tier(
    tier: &TierName,
    limits: &Limits,
    good: &[Good],
    last_attempt: Option<Attempt>,
    seen: Option<&BTreeSet<SnapshotId>>,
    now: Timestamp,
) -> AssetOnTier {
    let is_there = |good: &&Good| seen.is_none_or(|seen| seen.contains(&good.snapshot));
    let newest = good.iter().find(is_there);
    let exposure = newest.map(|good| {
        Duration::try_from(now.duration_since(good.captured)).unwrap_or(Duration::ZERO)
    });
    AssetOnTier {
        tier: tier.clone(),
        captured: newest.map(|good| good.captured),
        snapshot: newest.map(|good| good.snapshot),
        exposure_s: exposure.map(|exposure| exposure.as_secs()),
        objective: judge(exposure, limits, seen.is_some()),
        last_attempt,
        snapshots_missing: seen
            .map_or(0, |seen| good.iter().filter(|good| !seen.contains(&good.snapshot)).count()),
        behind: 0,
    }
}

fn judge(exposure: Option<Duration>, limits: &Limits, is_seen: bool) -> Objective {
    let (Some(exposure), true) = (exposure, is_seen) else {
        return if is_seen { Objective::Missed } else { Objective::Unknown };
    };
    match limits.rpo {
        None => Objective::None,
        Some(rpo) if exposure <= rpo => Objective::Met,
        Some(rpo) if exposure <= rpo + limits.grace.unwrap_or_default() => Objective::AtRisk,
        Some(_) => Objective::Missed,
    }
}

fn asset_risks(status: &AssetStatus, risks: &mut Vec<Risk>) {
    let asset = &status.asset;
    let command = Some(format!("lifeboat backup {asset}"));
    let mut risk = |verdict, message: String, command: Option<String>| {
        risks.push(Risk { verdict, message, command });
    };
    match status.objective {
        Objective::Missed if status.exposure_s.is_none() => {
            risk(Verdict::No, format!("`{asset}` was never captured"), command.clone());
        }
        Objective::Missed => {
            let message = format!("`{asset}` would lose more than its rpo and grace allow");
            risk(Verdict::No, message, command.clone());
        }
        Objective::AtRisk => {
            risk(Verdict::Yes, format!("`{asset}` is beyond its rpo"), command.clone());
        }
        Objective::Unknown => {
            let message = format!("no tier of `{asset}` could be looked at");
            risk(Verdict::Unknown, message, Some("lifeboat check".to_owned()));
        }
        Objective::Met | Objective::None => {}
    }
    for on in &status.tiers {
        let tier = &on.tier;
        if on.snapshots_missing > 0 {
            let message =
                format!("{} snapshots of `{asset}` are gone from `{tier}`", on.snapshots_missing);
            risk(Verdict::Unknown, message, Some("lifeboat points".to_owned()));
        }
        if on.captured.is_none()
            && status.exposure_s.is_some()
            && on.objective != Objective::Unknown
        {
            let message = format!("`{asset}` has no copy on `{tier}`");
            risk(Verdict::Unknown, message, command.clone());
        }
        if on.behind > 0 && on.captured.is_some() && on.objective != Objective::Unknown {
            let message = format!("`{tier}` is {} captures of `{asset}` behind", on.behind);
            risk(Verdict::Yes, message, Some(format!("lifeboat tiers catch-up {tier}")));
        }
        if let Some(attempt) = on.last_attempt.as_ref().filter(|a| a.ending != Ending::Succeeded) {
            let why = attempt.message.as_deref().unwrap_or("it does not say why");
            let message =
                format!("the last backup of `{asset}` to `{tier}`: {}: {why}", attempt.ending);
            risk(Verdict::Yes, message, command.clone());
        }
    }
}

fn tier_risks(status: &TierStatus, plan: &Plan, now: Timestamp, risks: &mut Vec<Risk>) {
    let tier = &status.tier;
    let mut risk = |verdict, message: String, command: &str| {
        risks.push(Risk { verdict, message, command: Some(command.to_owned()) });
    };
    if let Some(trouble) = &status.trouble {
        let verdict = if trouble.ending == Ending::Failed { Verdict::No } else { Verdict::Unknown };
        risk(verdict, format!("`{tier}`: {}", trouble.message), "lifeboat check");
        return;
    }
    if status.snapshots.unwrap_or(0) == 0 {
        return;
    }
    let command = format!("lifeboat verify {tier}");
    let cycle = Duration::from(plan.verification().full_within);
    match &status.verified {
        None => risk(Verdict::Unknown, format!("`{tier}` was never verified"), &command),
        Some(verified) if verified.outcome == Outcome::Failed => {
            let message =
                format!("`{tier}` was found damaged, and not read whole without damage since");
            risk(Verdict::No, message, &command);
        }
        Some(verified) => {
            let age = Duration::try_from(now.duration_since(verified.time)).unwrap_or_default();
            if verified.outcome == Outcome::CouldNotVerify || age > cycle {
                let message =
                    format!("`{tier}` was not verified within {} d", cycle.as_secs() / 86_400);
                risk(Verdict::Unknown, message, &command);
            }
        }
    }
}

#[cfg(test)]
mod tests;
