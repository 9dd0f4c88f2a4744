//! From where else the same can be had, when a tier did not give what it should hold.
//!
//! Nothing falls back by itself: whoever restores decides what is read.

use lifeboat_model::TierName;
use lifeboat_postgres::PostgresError;
use lifeboat_repository::RepositoryError;

use super::{Chosen, Destination, Done, RestoreOptions};
use crate::catalog::body::{Body, TierSnapshot};
use crate::catalog::view::Wanted;
use crate::error::OpsError;
use crate::wire::open::OpenSite;

/// Says how to restore the same from another tier, if the one that was read may be to blame and
/// another has it.
pub(super) fn hint(
    open: &OpenSite<'_>,
    chosen: &Chosen<'_>,
    options: &RestoreOptions,
    done: &Result<Done, OpsError>,
) -> Option<String> {
    let suspect = match done {
        Ok(done) => done.files.as_ref().is_some_and(|files| !files.failed.is_empty()),
        Err(error) => blames_tier(error),
    };
    let other = if suspect { other_tier(open, chosen) } else { None }?;
    let (site, asset) = (open.site(), &options.asset);
    let from = if site.is_elsewhere(&chosen.preview.tier) {
        format!("--from {}", site.address(&other).ok()?)
    } else {
        format!("--tier {other}")
    };
    let to = match &options.to {
        Destination::Directory(_) => "--to DIR".to_owned(),
        Destination::InPlace => "--in-place".to_owned(),
        Destination::Tables(names, _) => format!("--table {} --to DIR", names.join(" --table ")),
    };
    let at = chosen.preview.capture.time;
    Some(format!(
        "`{other}` holds the same snapshot: `lifeboat restore {asset} --at {at} {from} {to}`"
    ))
}

/// Tells whether reading from the tier failed, and not something where the data goes.
fn blames_tier(error: &OpsError) -> bool {
    matches!(
        error,
        OpsError::Tier(_)
            | OpsError::Unreadable { .. }
            | OpsError::Repository(RepositoryError::Corrupt(_) | RepositoryError::Tier(_))
            | OpsError::Postgres(PostgresError::DumpUnreadable { .. })
    )
}

/// Finds another tier with the snapshot: one that was seen to have it, else one that got it.
fn other_tier(open: &OpenSite<'_>, chosen: &Chosen<'_>) -> Option<TierName> {
    let preview = &chosen.preview;
    let seen = preview.capture.copies.keys().find(|name| **name != preview.tier);
    if let Some(seen) = seen {
        return Some(seen.clone());
    }
    let asset = Some(&preview.capture.asset);
    let wanted = Wanted { kind: "asset-backed-up", asset, tier: None, good_only: false };
    // A view that cannot be read costs the hint, not what the restore has to tell.
    let records = open.catalog().view().latest(wanted, u32::MAX).ok()?;
    let stored = records.iter().filter_map(|record| match record.body() {
        Body::AssetBackedUp(body) => Some(&body.snapshots),
        _ => None,
    });
    let known = open.site().plan().tiers();
    // A copy keeps the id of what it is a copy of.
    let is_other = |there: &&TierSnapshot| {
        there.snapshot == preview.snapshot
            && there.tier != preview.tier
            && known.contains_key(&there.tier)
    };
    stored.flatten().find(is_other).map(|there| there.tier.clone())
}
