//! Where a proof keeps its repositories: in memory, opened by a cheap key.

use std::io;
use std::sync::{Arc, LazyLock};

use lifeboat_model::{Secret, Timestamp};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::{
    InitOptions, MasterKey, Open, OpenOptions, Repository, RepositoryError, Store,
};
use lifeboat_tiers::{ObjectPrefix, Tier};
use tempfile::TempDir;
use tokio::runtime::{Builder, Handle, Runtime};

/// What opens every repository that is made here.
pub(crate) const PASSWORD: &str = "nothing is kept here";

/// Drives all tiers of this process. Tiers in memory answer at once, so one thread is enough.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a thread can be started")
});

/// Returns what drives tiers.
pub(crate) fn runtime() -> Handle {
    RUNTIME.handle().clone()
}

/// Returns the repository's place on a tier.
pub(crate) fn store(tier: Arc<dyn Tier>) -> Store {
    Store::new(tier, runtime(), ObjectPrefix::ALL)
}

/// Makes a repository whose key costs nothing to derive, since it is opened many thousand times.
pub(crate) fn init(store: Store) -> Result<Repository<Open>, RepositoryError> {
    init_with(store, None)
}

/// Makes a repository with this master key.
pub(crate) fn init_with(
    store: Store,
    master_key: Option<MasterKey>,
) -> Result<Repository<Open>, RepositoryError> {
    let options = InitOptions {
        password: &Secret::new(PASSWORD),
        kdf: KdfParameters::new(2, 1, 1).expect("the smallest parameters are valid"),
        master_key,
        polynomial: None,
        origin: KeyOrigin {
            created: Timestamp::UNIX_EPOCH,
            username: "proof".to_owned(),
            hostname: "proof".to_owned(),
        },
    };
    Repository::init(store, &options)
}

pub(crate) fn open(store: Store) -> Result<Repository<Open>, RepositoryError> {
    Repository::open(store, &Secret::new(PASSWORD), &OpenOptions::default())
}

/// Makes a directory in memory, which goes away when it is dropped.
pub(crate) fn scratch() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("lifeboat-proof-").tempdir_in("/dev/shm")
}

/// Waits for a tier.
pub(crate) fn block_on<T>(answer: impl Future<Output = T>) -> T {
    RUNTIME.handle().block_on(answer)
}
