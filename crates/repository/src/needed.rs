//! Which packs snapshots cannot do without.

use std::collections::BTreeSet;

use lifeboat_model::{Cancel, EventSink, PackId};

use crate::error::RepositoryError;
use crate::index::CountedPack;
use crate::references::References;
use crate::repository::{Indexed, Repository};
use crate::snapshot::Snapshot;

/// Finds the packs that hold anything of these snapshots. Of a blob that is stored more than once, every
/// place counts.
pub fn packs_of<'s>(
    repository: &Repository<Indexed>,
    snapshots: impl IntoIterator<Item = &'s Snapshot>,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<BTreeSet<PackId>, RepositoryError> {
    let index = repository.index();
    let mut used = References::new(&index);
    let roots = snapshots.into_iter().map(|snapshot| snapshot.tree);
    used.add(repository, &index, roots, &|_, _| (), events, cancel)?;
    let mut packs = BTreeSet::new();
    index.for_each_counted_pack(&mut |pack: CountedPack| {
        let is_used =
            pack.blobs.iter().any(|(blob, ordinal)| used.table(blob.kind).note(*ordinal).is_some());
        if is_used {
            packs.insert(pack.id);
        }
    })?;
    Ok(packs)
}
