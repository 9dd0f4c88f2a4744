//! The base backups of an asset on a tier, and what has to be known of one to plan a recovery.
//!
//! That stands in the catalog, which can be read at any time. A base backup's manifest lies among the data, which on
//! a tier of an archive's class cannot; it is read there only if nothing was recorded, and once all data can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use lifeboat_model::{AssetName, Cancel, EventSink, PackId, SnapshotId};
use lifeboat_postgres::base::Manifest;
use lifeboat_postgres::base::inventory::Tablespace;
use lifeboat_postgres::base::manifest::MANIFEST;
use lifeboat_postgres::recovery::{Candidate, RecoveryTarget};
use lifeboat_postgres::wal::TimelineId;
use lifeboat_repository::Snapshot;
use lifeboat_repository::restore::{RestorePlan, Selection};

use super::RecoveryOptions;
use crate::backup::DumpPaths;
use crate::backup::base::{base_folder, has_base, read_manifest};
use crate::catalog::body::{BaseRecord, Body};
use crate::catalog::view::Wanted;
use crate::error::OpsError;
use crate::listing::see;
use crate::point::{tag, tagged};
use crate::thaw::Gate;
use crate::wire::open::{OpenSite, OpenTier};

/// A base backup on a tier.
pub(super) struct Found {
    asset: AssetName,
    pub(super) id: SnapshotId,
    pub(super) snapshot: Snapshot,
    pub(super) head: Head,
    manifest: OnceLock<Manifest>,
}

/// What has to be known of a base backup to plan a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Of which cluster it is.
    pub(super) system_id: u64,
    /// Where in the log it lies.
    pub(super) candidate: Candidate,
    /// How many pages were damaged on the server.
    pub(super) damaged_pages: u64,
    /// Its tablespaces.
    pub(super) tablespaces: Vec<Tablespace>,
}

impl From<&Manifest> for Head {
    fn from(manifest: &Manifest) -> Self {
        Self {
            system_id: manifest.system_id,
            candidate: Candidate::from(manifest),
            damaged_pages: manifest.damaged_pages(),
            tablespaces: manifest.tablespaces.clone(),
        }
    }
}

impl Head {
    /// Takes what was recorded; records of before lack some of it.
    fn recorded(record: &BaseRecord) -> Option<Self> {
        Some(Self {
            system_id: record.system_id.parse().ok()?,
            candidate: Candidate {
                timeline: TimelineId(record.timeline),
                start: record.start_lsn,
                stop: record.stop_lsn,
                stopped: record.stopped,
            },
            damaged_pages: record.damaged_pages,
            tablespaces: record.tablespaces.clone()?,
        })
    }
}

impl Found {
    /// Reads the manifest, once.
    pub(super) fn manifest(&self, tier: &OpenTier) -> Result<&Manifest, OpsError> {
        if let Some(manifest) = self.manifest.get() {
            return Ok(manifest);
        }
        let manifest = read_manifest(tier, &self.snapshot, &self.asset)?;
        Ok(self.manifest.get_or_init(|| manifest))
    }

    /// Returns the packs from which all of it is read, without dumps of the same moment.
    pub(super) fn packs(
        &self,
        tier: &OpenTier,
        cancel: &Cancel,
    ) -> Result<BTreeSet<PackId>, OpsError> {
        self.packs_without(tier, &[], cancel)
    }

    /// Returns the packs from which it is read, without what lies below some folders.
    pub(super) fn packs_without(
        &self,
        tier: &OpenTier,
        folders: &[std::path::PathBuf],
        cancel: &Cancel,
    ) -> Result<BTreeSet<PackId>, OpsError> {
        let mut left_out = vec![DumpPaths::folder(&self.asset)];
        left_out.extend_from_slice(folders);
        let selection = Selection::new(&[], &left_out).expect("they are plain paths");
        let folder = base_folder(&self.asset);
        let plan = RestorePlan::new(&tier.repository, &self.snapshot, &folder, selection, cancel)?;
        Ok(plan.packs())
    }
}

/// Reads the base backups of an asset, the newest first, down to the first from which the target can be
/// reached.
pub(super) fn bases(
    open: &OpenSite<'_>,
    tier: &OpenTier,
    options: &RecoveryOptions,
    (events, cancel): (&dyn EventSink, &Cancel),
) -> Result<Vec<Found>, OpsError> {
    let (asset, own) = (&options.asset, tag("asset", &options.asset));
    let mut snapshots = see(open.catalog().view(), &tier.named.name, &tier.repository)?.snapshots;
    snapshots.retain(|(_, snapshot)| {
        let is_own = snapshot.hostname == open.site().name().as_str();
        is_own && snapshot.tags.contains(&own) && has_base(snapshot, asset)
    });
    snapshots.sort_by_key(|(_, snapshot)| std::cmp::Reverse(snapshot.time.instant()));
    let recorded = recorded(open, asset)?;
    let mut bases = Vec::new();
    for (id, snapshot) in snapshots {
        let head = tagged(&snapshot, "job").and_then(|job| recorded.get(job));
        let manifest = OnceLock::new();
        let head = if let Some(head) = head.and_then(Head::recorded) {
            head
        } else {
            let gate = gate(open, tier, options, id, cancel);
            let packs = || packs_of_manifest(tier, &snapshot, asset, cancel);
            gate.pass(options.thaw, packs, events)?;
            let read = read_manifest(tier, &snapshot, asset)?;
            Head::from(manifest.get_or_init(|| read))
        };
        let reaches = match options.target {
            RecoveryTarget::Time(time) => head.candidate.stopped <= time,
            RecoveryTarget::Latest | RecoveryTarget::Immediate => true,
            // Positions and names are of one cluster's log, and it may not be the newest one's.
            RecoveryTarget::Lsn(_) | RecoveryTarget::Xid(_) | RecoveryTarget::Name(_) => false,
        };
        bases.push(Found { asset: asset.clone(), id, snapshot, head, manifest });
        if reaches {
            bases.rotate_right(1);
            break;
        }
    }
    Ok(bases)
}

/// Returns what stands before the packs of a base backup.
pub(super) fn gate<'a>(
    open: &'a OpenSite<'a>,
    tier: &'a OpenTier,
    options: &'a RecoveryOptions,
    snapshot: SnapshotId,
    cancel: &'a Cancel,
) -> Gate<'a> {
    Gate { open, tier, asset: &options.asset, snapshot, at: options.target.to_string(), cancel }
}

/// Returns what was recorded of an asset's base backups, by the job that made them.
fn recorded(
    open: &OpenSite<'_>,
    asset: &AssetName,
) -> Result<BTreeMap<String, BaseRecord>, OpsError> {
    let wanted =
        Wanted { kind: "asset-backed-up", asset: Some(asset), tier: None, good_only: false };
    let records = open.catalog().view().latest(wanted, u32::MAX)?;
    let bases = records.iter().filter_map(|record| match record.body() {
        Body::AssetBackedUp(body) => Some((body.job.to_string(), body.base.clone()?)),
        _ => None,
    });
    Ok(bases.collect())
}

fn packs_of_manifest(
    tier: &OpenTier,
    snapshot: &Snapshot,
    asset: &AssetName,
    cancel: &Cancel,
) -> Result<BTreeSet<PackId>, OpsError> {
    let path = base_folder(asset).join(MANIFEST);
    let everything = Selection::default();
    Ok(RestorePlan::new(&tier.repository, snapshot, &path, everything, cancel)?.packs())
}
