//! Copying a snapshot from the tier where it was made to the others.

use lifeboat_model::{Cancel, SnapshotId};
use lifeboat_repository::copy::copy_snapshot;

use super::hold::Hold;
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
        let holds = [self.hold(from)?, self.hold(to)?];
        let cancel = Cancel::part_of(&holds.map(Hold::cancel));
        let copied =
            copy_snapshot(&from.repository, &to.repository, &snapshot, self.events, &cancel);
        let copied = copied.map_err(|error| {
            let lost = holds.iter().find_map(|hold| hold.ask());
            lost.cloned().unwrap_or_else(|| Trouble::of(&error))
        })?;
        let tier = to.named.name.clone();
        report.snapshots.push(TierSnapshotReport { tier, snapshot: copied.snapshot });
        Ok(())
    }
}
