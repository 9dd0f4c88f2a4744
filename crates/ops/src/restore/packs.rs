//! Which packs a restore reads, before it begins.

use std::collections::BTreeSet;
use std::path::Path;

use lifeboat_model::{Cancel, PackId};
use lifeboat_plan::plan::asset::AssetKind;
use lifeboat_repository::RepositoryError;
use lifeboat_repository::restore::{RestorePlan, Selection, packs_needed};

use super::{Chosen, Destination, RestoreOptions, files};
use crate::backup::{DumpPaths, output_path};
use crate::error::OpsError;

impl Chosen<'_> {
    /// Returns the packs from which content is read.
    pub(super) fn packs(
        &self,
        options: &RestoreOptions,
        kind: &AssetKind,
        cancel: &Cancel,
    ) -> Result<BTreeSet<PackId>, OpsError> {
        let asset = &options.asset;
        match (&options.to, kind) {
            (Destination::Directory(directory), _) => {
                let options = files::below(directory, options);
                Ok(packs_needed(&self.tier.repository, &self.snapshot, &options, cancel)?)
            }
            (Destination::InPlace, AssetKind::Files(_)) => {
                let mut packs = BTreeSet::new();
                for path in &self.snapshot.paths {
                    packs.extend(self.packs_below(Path::new(path), cancel)?);
                }
                Ok(packs)
            }
            (_, AssetKind::Command(_)) => self.packs_below(&output_path(asset), cancel),
            _ => self.packs_below(&DumpPaths::folder(asset), cancel),
        }
    }

    /// Returns the packs of all that lies at and below a path; of one that is not there the restore tells.
    fn packs_below(&self, path: &Path, cancel: &Cancel) -> Result<BTreeSet<PackId>, OpsError> {
        let (repository, everything) = (&self.tier.repository, Selection::default());
        match RestorePlan::new(repository, &self.snapshot, path, everything, cancel) {
            Ok(plan) => Ok(plan.packs()),
            Err(RepositoryError::NoSuchPath { .. }) => Ok(BTreeSet::new()),
            Err(error) => Err(error.into()),
        }
    }
}
