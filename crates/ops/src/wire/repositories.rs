//! Opening and making the repository on a tier.

use std::sync::Arc;

use lifeboat_model::{Cancel, EventSink};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::polynomial::Polynomial;
use lifeboat_repository::repository::State;
use lifeboat_repository::{Indexed, InitOptions, MasterKey, Open, OpenOptions, Repository, Store};
use lifeboat_tiers::ObjectPrefix;

use crate::error::OpsError;
use crate::named_tier::NamedTier;
use crate::recovery_key::RecoveryKey;
use crate::surroundings::Surroundings;

/// Where the repository lies on a tier of lifeboat's.
const PREFIX: &str = "repo";

/// Returns where the repository on a tier lies.
pub fn store(tier: &NamedTier, surroundings: &Surroundings) -> Store {
    let prefix: ObjectPrefix = PREFIX.parse().expect("it is a valid path");
    Store::new(Arc::clone(&tier.tier), surroundings.runtime.clone(), prefix)
}

/// Opens the repository on a tier and loads its index.
pub fn open(
    tier: &NamedTier,
    key: &RecoveryKey,
    surroundings: &Surroundings,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Repository<Indexed>, OpsError> {
    Ok(open_bare(tier, key, surroundings)?.load_index(cancel, events)?)
}

/// What all repositories of a site have in common, so that packs are copied between them as they are.
pub struct Lineage {
    key: MasterKey,
    polynomial: Polynomial,
}

impl Lineage {
    /// Takes that of a repository.
    pub fn of<S: State>(repository: &Repository<S>) -> Self {
        let polynomial = repository.config().chunker_polynomial;
        Self { key: repository.key().clone(), polynomial }
    }

    /// Reads that of the repository on a tier, without its index.
    pub fn read(
        tier: &NamedTier,
        key: &RecoveryKey,
        surroundings: &Surroundings,
    ) -> Result<Self, OpsError> {
        Ok(Self::of(&open_bare(tier, key, surroundings)?))
    }
}

/// Opens the repository on a tier without its index.
pub fn open_bare(
    tier: &NamedTier,
    key: &RecoveryKey,
    surroundings: &Surroundings,
) -> Result<Repository<Open>, OpsError> {
    let store = store(tier, surroundings);
    Ok(Repository::open(store, &key.spelled(), &OpenOptions::default())?)
}

/// Makes a repository, of the same lineage as those before it, if there are any.
pub fn make(
    tier: &NamedTier,
    key: &RecoveryKey,
    lineage: Option<Lineage>,
    surroundings: &Surroundings,
) -> Result<Repository<Open>, OpsError> {
    let (master_key, polynomial) =
        lineage.map(|Lineage { key, polynomial }| (key, polynomial)).unzip();
    let options = InitOptions {
        password: &key.spelled(),
        kdf: KdfParameters::RECOVERY_KEY,
        master_key,
        polynomial,
        origin: KeyOrigin {
            created: surroundings.now(),
            username: "lifeboat".to_owned(),
            hostname: surroundings.hostname.clone(),
        },
    };
    Ok(Repository::init(store(tier, surroundings), &options)?)
}
