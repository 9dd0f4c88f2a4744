//! Copying a snapshot from the tier where it was made to the others.

use lifeboat_model::SnapshotId;
use lifeboat_repository::copy::copy_snapshot;

use super::{AssetReport, Job, TierSnapshotReport};
use crate::error::Trouble;
use crate::wire::open::OpenTier;

impl Job<'_> {
    pub(super) fn copy(
        &self,
        from: &OpenTier,
        to: &OpenTier,
        snapshot: SnapshotId,
        report: &mut AssetReport,
    ) -> Result<(), Trouble> {
        let (from, repository) = (&from.repository, &to.repository);
        let copied = copy_snapshot(from, repository, &snapshot, self.events, self.cancel);
        let copied = copied.map_err(|error| Trouble::of(&error))?;
        let tier = to.named.name.clone();
        report.snapshots.push(TierSnapshotReport { tier, snapshot: copied.snapshot });
        Ok(())
    }
}
