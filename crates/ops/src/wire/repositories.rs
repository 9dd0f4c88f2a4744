//! Opening and making the repository on a tier.

use std::sync::Arc;

use lifeboat_model::{Cancel, EventSink};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::{Indexed, InitOptions, Open, OpenOptions, Repository, Store};
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
    let store = store(tier, surroundings);
    let repository = Repository::open(store, &key.spelled(), &OpenOptions::default())?;
    Ok(repository.load_index(cancel, events)?)
}

/// Makes a repository; with the key and the chunker's seed of an elder one of the site, so that
/// packs are copied between them as they are.
pub fn make(
    tier: &NamedTier,
    key: &RecoveryKey,
    elder: Option<&Repository<Indexed>>,
    surroundings: &Surroundings,
) -> Result<Repository<Open>, OpsError> {
    let options = InitOptions {
        password: &key.spelled(),
        kdf: KdfParameters::RECOVERY_KEY,
        master_key: elder.map(|elder| elder.key().clone()),
        polynomial: elder.map(|elder| elder.config().chunker_polynomial),
        origin: KeyOrigin {
            created: surroundings.now(),
            username: "lifeboat".to_owned(),
            hostname: surroundings.hostname.clone(),
        },
    };
    Ok(Repository::init(store(tier, surroundings), &options)?)
}
