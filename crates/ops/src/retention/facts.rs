//! What the catalog knows of snapshots: by whom they were made, what was proven of them, where their bases
//! lie in the log.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{AssetName, JobId, Outcome, SiteName, SnapshotId, TierName, Timestamp};
use lifeboat_postgres::archive::SystemId;
use lifeboat_repository::Snapshot;

use super::log::BaseAt;
use super::rules::{Evidence, Held, Maker};
use crate::catalog::body::{AssetBackedUp, Body};
use crate::catalog::view::{View, ViewError, Wanted};
use crate::point::tagged;

/// What was recorded of a backup.
#[derive(Debug, Clone)]
struct Recorded {
    time: Timestamp,
    is_complete: bool,
    base: Option<BaseAt>,
}

/// What the catalog knows.
#[derive(Debug, Default)]
pub(super) struct Facts {
    stored: BTreeMap<(TierName, SnapshotId), Recorded>,
    made: BTreeMap<(String, AssetName), Recorded>,
    /// When verifications began that read all data of a tier and found nothing.
    read: BTreeMap<TierName, Timestamp>,
    recovered: BTreeSet<(TierName, SnapshotId)>,
    /// The clusters of which a base was ever recorded.
    pub clusters: BTreeSet<SystemId>,
}

fn all(view: &View, kind: &str) -> Result<Vec<(Timestamp, Body)>, ViewError> {
    let wanted = Wanted { kind, asset: None, tier: None, good_only: false };
    let records = view.latest(wanted, u32::MAX)?;
    Ok(records.iter().map(|record| (record.header().time, record.body().clone())).collect())
}

impl Facts {
    pub(super) fn load(view: &View) -> Result<Self, ViewError> {
        let mut facts = Self::default();
        for (time, body) in all(view, "asset-backed-up")? {
            if let Body::AssetBackedUp(body) = body {
                facts.add(time, &body);
            }
        }
        let mut began: BTreeMap<JobId, Timestamp> = BTreeMap::new();
        for (time, body) in all(view, "job-started")? {
            if let Body::JobStarted(body) = body {
                began.insert(body.job, time);
            }
        }
        for (_, body) in all(view, "tier-verified")? {
            let Body::TierVerified(body) = body else { continue };
            let began = began.get(&body.job).filter(|_| body.outcome == Outcome::Passed);
            if let Some(began) = began.filter(|_| body.all_data) {
                let read = facts.read.entry(body.tier).or_insert(*began);
                *read = (*read).max(*began);
            }
        }
        for (_, body) in all(view, "restore-verified")? {
            let Body::RestoreVerified(body) = body else { continue };
            if body.outcome == Outcome::Passed {
                facts.recovered.insert((body.tier, body.snapshot));
            }
        }
        Ok(facts)
    }

    fn add(&mut self, time: Timestamp, body: &AssetBackedUp) {
        let base = body.base.as_ref().and_then(BaseAt::of);
        self.clusters.extend(base.map(|base| base.system));
        let recorded = Recorded { time, is_complete: body.captured.is_some(), base };
        for there in &body.snapshots {
            self.stored.insert((there.tier.clone(), there.snapshot), recorded.clone());
        }
        self.made.insert((body.job.to_string(), body.asset.clone()), recorded);
    }

    /// Tells what a snapshot is to retention.
    pub(super) fn held(
        &self,
        site: &SiteName,
        tier: &TierName,
        id: SnapshotId,
        snapshot: Snapshot,
    ) -> Held {
        let asset = tagged(&snapshot, "asset").and_then(|asset| asset.parse().ok());
        let asset = asset.filter(|_| snapshot.hostname == site.as_str());
        let schedule = tagged(&snapshot, "schedule").and_then(|name| name.parse().ok());
        let evidence = self.evidence(tier, id, &snapshot, asset.as_ref());
        let maker = asset.map_or(Maker::Stranger, |asset| Maker::Site { asset, schedule });
        Held { id, snapshot, maker, evidence, locked_until: None }
    }

    fn evidence(
        &self,
        tier: &TierName,
        id: SnapshotId,
        snapshot: &Snapshot,
        asset: Option<&AssetName>,
    ) -> Evidence {
        let here = (tier.clone(), id);
        if self.recovered.contains(&here) {
            return Evidence::Recovered;
        }
        let stored = self.stored.get(&here);
        let is_complete =
            stored.or_else(|| self.made_of(snapshot, asset?)).is_some_and(|r| r.is_complete);
        // Only what was there before all was read was read.
        let is_read = stored.zip(self.read.get(tier)).is_some_and(|(r, began)| r.time <= *began);
        match (is_complete, is_read) {
            (true, true) => Evidence::Whole,
            (true, false) => Evidence::Complete,
            (false, _) => Evidence::Partial,
        }
    }

    fn made_of(&self, snapshot: &Snapshot, asset: &AssetName) -> Option<&Recorded> {
        self.made.get(&(tagged(snapshot, "job")?.to_owned(), asset.clone()))
    }

    /// Returns where the base in a snapshot lies in the log, if that was recorded.
    pub(super) fn base(&self, snapshot: &Snapshot, asset: &AssetName) -> Option<BaseAt> {
        self.made_of(snapshot, asset)?.base
    }
}
