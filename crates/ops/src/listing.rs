//! What a tier lists, held against what the catalog records: where listings may lag, a snapshot that was recorded and is not
//! listed is looked for by its name, since what is asked for by name is there as soon as it was stored.

use std::collections::BTreeSet;

use lifeboat_model::{Capability, SnapshotId, TierName};
use lifeboat_repository::repository::State;
use lifeboat_repository::{Repository, Snapshot};
use lifeboat_tiers::TierError;

use crate::catalog::body::Body;
use crate::catalog::view::{Mark, View};
use crate::error::OpsError;
use crate::holdings::let_go;

/// The snapshots of a tier.
#[derive(Debug)]
pub(crate) struct Seen {
    /// All of them, the oldest first.
    pub snapshots: Vec<(SnapshotId, Snapshot)>,
    /// Those of them that are there and not listed.
    pub unlisted: BTreeSet<SnapshotId>,
}

/// Reads the snapshots of a tier, listed or not.
pub(crate) fn see<S: State>(
    view: &View,
    tier: &TierName,
    repository: &Repository<S>,
) -> Result<Seen, OpsError> {
    let mut snapshots = repository.snapshots()?;
    let unlisted = unlisted(view, tier, repository, &snapshots)?;
    for id in &unlisted {
        snapshots.push((*id, repository.snapshot(id)?));
    }
    snapshots.sort_by_key(|(id, snapshot)| (snapshot.time, *id));
    Ok(Seen { snapshots, unlisted })
}

/// Finds what was recorded on a tier, is there, and is not among what was listed.
fn unlisted<S: State>(
    view: &View,
    tier: &TierName,
    repository: &Repository<S>,
    listed: &[(SnapshotId, Snapshot)],
) -> Result<BTreeSet<SnapshotId>, OpsError> {
    let store = repository.store();
    if store.tier().capabilities().has(Capability::PromptListing) {
        return Ok(BTreeSet::new());
    }
    let mut wanted = recorded(view, tier, view.mark()?)?;
    let known: BTreeSet<SnapshotId> = listed.iter().map(|(id, _)| *id).collect();
    let let_go = let_go(view, tier)?;
    wanted.retain(|id| !known.contains(id) && !let_go.contains(id));
    let mut unlisted = BTreeSet::new();
    for id in wanted {
        match store.size(&id) {
            Ok(_) => {
                unlisted.insert(id);
            }
            Err(TierError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(unlisted)
}

/// Returns the snapshots that were recorded, up to a mark, to lie on a tier.
pub(crate) fn recorded(
    view: &View,
    tier: &TierName,
    until: Mark,
) -> Result<BTreeSet<SnapshotId>, OpsError> {
    let records = view.backups_until(tier, until)?;
    let recorded = records.iter().filter_map(|record| match record.body() {
        Body::AssetBackedUp(body) => Some(&body.snapshots),
        _ => None,
    });
    let here = recorded.flatten().filter(|there| there.tier == *tier);
    Ok(here.map(|there| there.snapshot).collect())
}
