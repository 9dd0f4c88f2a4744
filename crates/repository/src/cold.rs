//! Packs in cold storage: which of them can be read at once, and asking the store for the others.
//!
//! # Limits
//!
//! A store is asked of each pack by itself, [`REQUESTS_MAX`] at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_model::{Cancel, PackId};
use lifeboat_tiers::{TierError, Warmth};

use crate::error::RepositoryError;
use crate::prune::Amount;
use crate::store::Store;

/// How many packs are asked about at a time: each only waits for the store, and a terabyte has some sixteen
/// thousand.
const REQUESTS_MAX: usize = 32;

/// How warm some packs are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackWarmth {
    /// Those that can be read at once.
    pub ready: Amount,
    /// Those that were asked for and cannot be read yet, with their sizes in bytes.
    pub thawing: BTreeMap<PackId, u64>,
    /// Those that nobody asked for, with their sizes in bytes.
    pub cold: BTreeMap<PackId, u64>,
}

impl PackWarmth {
    /// Tells whether all of them can be read at once.
    pub fn is_ready(&self) -> bool {
        self.thawing.is_empty() && self.cold.is_empty()
    }
}

/// Asks how warm packs are. One that is not there is left out: whoever reads it names what that costs.
pub fn warmth_of(
    store: &Store,
    packs: &BTreeSet<PackId>,
    cancel: &Cancel,
) -> Result<PackWarmth, RepositoryError> {
    if packs.is_empty() {
        return Ok(PackWarmth::default());
    }
    let sizes: HashMap<PackId, u64> =
        store.list::<PackId>()?.into_iter().map(|file| (file.id, file.size)).collect();
    let ask = |id: PackId| async move {
        cancel.check()?;
        match store.tier().warmth(&store.path(&id)).await {
            Ok(warmth) => Ok(Some((id, warmth))),
            Err(TierError::NotFound { .. }) => Ok(None),
            Err(error) => Err(RepositoryError::from(error)),
        }
    };
    let asked = stream::iter(packs.iter().copied()).map(ask);
    let asked = asked.buffer_unordered(store.requests(REQUESTS_MAX)).try_collect::<Vec<_>>();
    let mut found = PackWarmth::default();
    for (id, warmth) in store.runtime().block_on(asked)?.into_iter().flatten() {
        let size = sizes.get(&id).copied().unwrap_or_default();
        match warmth {
            Warmth::Ready => found.ready.add(size),
            Warmth::Thawing => _ = found.thawing.insert(id, size),
            Warmth::Cold => _ = found.cold.insert(id, size),
        }
    }
    Ok(found)
}

/// Asks the store to make packs readable, all at once, and does not wait for them. Returns how many it was asked
/// for, also if not all could be.
pub fn thaw(
    store: &Store,
    packs: impl IntoIterator<Item = PackId>,
    cancel: &Cancel,
) -> (u64, Result<(), RepositoryError>) {
    let ask = |id: PackId| async move {
        cancel.check()?;
        Ok::<_, RepositoryError>(store.tier().thaw(&store.path(&id)).await?)
    };
    let asked = stream::iter(packs).map(ask).buffer_unordered(store.requests(REQUESTS_MAX));
    let asked = store.runtime().block_on(asked.collect::<Vec<_>>());
    let count = asked.iter().filter(|asked| asked.is_ok()).count() as u64;
    (count, asked.into_iter().collect())
}
