//! What a tier lists, held against what the catalog records: where listings may lag, a snapshot that was recorded and is not
//! listed is looked for by its name, since what is asked for by name is there as soon as it was stored.

use std::collections::BTreeSet;

use lifeboat_model::{Capability, SnapshotId, TierName};
use lifeboat_repository::repository::State;
use lifeboat_repository::{Repository, Snapshot, Store};
use lifeboat_tiers::TierError;

use crate::adoptions::Adoptions;
use crate::catalog::body::Body;
use crate::catalog::view::{Mark, View};
use crate::error::OpsError;
use crate::holdings::let_go;
use crate::wire::open::{OpenSite, OpenTier};

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
        if is_there(store, &id)? {
            unlisted.insert(id);
        }
    }
    Ok(unlisted)
}

/// Asks for a snapshot by its name.
fn is_there(store: &Store, id: &SnapshotId) -> Result<bool, TierError> {
    match store.size(id) {
        Ok(_) => Ok(true),
        Err(TierError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Finds what was recorded to lie on a tier, is not there, and nobody decided to remove.
///
/// Where something seems to be gone, the catalog is read from the tier once more: who removes something records that before, maybe
/// after this site was opened.
pub(crate) fn gone(open: &OpenSite<'_>, tier: &OpenTier) -> Result<BTreeSet<SnapshotId>, OpsError> {
    let (view, name) = (open.catalog().view(), &tier.named.name);
    let (store, recorded) = (tier.repository.store(), recorded(view, name, view.mark()?)?);
    let listed: BTreeSet<SnapshotId> = tier.repository.snapshot_ids()?.into_iter().collect();
    let decided = let_go(view, name)?;
    let is_prompt = store.tier().capabilities().has(Capability::PromptListing);
    let mut gone = BTreeSet::new();
    for id in recorded.difference(&listed).filter(|id| !decided.contains(id)) {
        if is_prompt || !is_there(store, id)? {
            gone.insert(*id);
        }
    }
    if !gone.is_empty() {
        open.catalog().catch_up(std::slice::from_ref(&tier.named))?;
        let decided = let_go(view, name)?;
        gone.retain(|id| !decided.contains(id));
    }
    Ok(gone)
}

/// Returns the snapshots that were recorded, up to a mark, to lie on a tier.
pub(crate) fn recorded(
    view: &View,
    tier: &TierName,
    until: Mark,
) -> Result<BTreeSet<SnapshotId>, OpsError> {
    let (records, adoptions) = (view.backups_until(tier, until)?, Adoptions::load(view, tier)?);
    let here = records.iter().filter(|record| adoptions.counts(record.header().time));
    let recorded = here.filter_map(|record| match record.body() {
        Body::AssetBackedUp(body) => Some(&body.snapshots),
        _ => None,
    });
    let here = recorded.flatten().filter(|there| there.tier == *tier);
    Ok(here.map(|there| there.snapshot).collect())
}
