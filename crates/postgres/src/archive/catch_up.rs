//! Bringing to a tier what it lacks of the log, by copying objects as they are from one that has them.
//!
//! Nothing is opened, so a host without the recovery key can do it. What arrives is what the other tier
//! gave: whoever asks for a file opens it and sees whether it is whole.

use futures::StreamExt as _;
use futures::stream;
use lifeboat_model::{Cancel, TierName};
use lifeboat_tiers::{ObjectPrefix, PutMode, ReadRange, Tier, TierError};
use serde::Serialize;

use super::error::ArchiveError;
use super::inventory::{self, Listed};

use std::collections::BTreeMap;

/// How many objects are on their way at once; each is in memory, compressed.
const COPIES_MAX: usize = 4;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CatchUpReport {
    /// How many files.
    pub files: u64,
    /// How many bytes, as they lie on the tier.
    pub bytes: u64,
}

/// Copies what lies below `folder` on `from` and not on `to`, oldest first.
///
/// Goes on after a file that could not be copied: each that arrives is one less to lose.
pub async fn catch_up(
    from: &dyn Tier,
    to: &dyn Tier,
    to_name: &TierName,
    folder: &ObjectPrefix,
    cancel: &Cancel,
) -> Result<CatchUpReport, ArchiveError> {
    let lacking = lacking(from, to, folder).await?;
    let copies = stream::iter(lacking).map(|listed| async move {
        if cancel.is_cancelled() {
            return None;
        }
        Some(copy(from, to, &listed).await.map(|()| listed.size))
    });
    let ended: Vec<_> = copies.buffered(COPIES_MAX).collect().await;
    let mut report = CatchUpReport::default();
    let (mut missing, mut first) = (0, None);
    for copied in ended {
        match copied {
            Some(Ok(size)) => {
                report.files += 1;
                report.bytes += size;
            }
            Some(Err(error)) => {
                missing += 1;
                first.get_or_insert(error);
            }
            None => missing += 1,
        }
    }
    match first {
        None => Ok(report),
        Some(error) => {
            let source = Box::new(ArchiveError::Tier(error));
            Err(ArchiveError::Behind { tier: to_name.clone(), missing, source })
        }
    }
}

/// Returns what one tier has and another has not.
async fn lacking(
    from: &dyn Tier,
    to: &dyn Tier,
    folder: &ObjectPrefix,
) -> Result<Vec<Listed>, TierError> {
    let held: BTreeMap<_, _> = inventory::list(to, folder)
        .await?
        .into_iter()
        .map(|listed| (listed.name.path(), listed.size))
        .collect();
    let mut lacking = inventory::list(from, folder).await?;
    lacking.retain(|listed| !held.contains_key(&listed.name.path()));
    lacking.sort_by_key(|listed| listed.name.file);
    Ok(lacking)
}

async fn copy(from: &dyn Tier, to: &dyn Tier, listed: &Listed) -> Result<(), TierError> {
    let path = listed.name.path();
    let body = from.get(&path, ReadRange::Full).await?;
    match to.put(&path, body, PutMode::Create).await {
        // Somebody stored it meanwhile.
        Err(TierError::AlreadyExists { .. }) => Ok(()),
        other => other,
    }
}
