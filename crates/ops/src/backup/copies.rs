//! Copying a snapshot from the tier where it was made to the others.

use lifeboat_model::SnapshotId;

use super::{AssetReport, Job};
use crate::error::{OpsError, Trouble};
use crate::wire::open::OpenTier;

impl Job<'_> {
    pub(super) fn copy(
        &self,
        _from: &OpenTier,
        _to: &OpenTier,
        _snapshot: SnapshotId,
        _report: &mut AssetReport,
    ) -> Result<(), Trouble> {
        Err(Trouble::of(&OpsError::NotBuilt { what: "copying".to_owned() }))
    }
}
