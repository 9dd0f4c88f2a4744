//! A directory with a source tree and a repository on a tier, and backups of one into the other.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::{BlobId, Cancel, Outcome, PackId, Secret, Silent, SystemClock, Timestamp};
use lifeboat_repository::backup::{BackupError, BackupOptions, BackupReport, backup};
use lifeboat_repository::check::{CheckOptions, ReadData, check};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::source::{FilesSource, Source};
use lifeboat_repository::{Indexed, InitOptions, NodeKind, OpenOptions, Repository, Store};
use lifeboat_testing::restic::Restic;
use lifeboat_tiers::local::LocalTier;
use lifeboat_tiers::{ObjectPrefix, Tier};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

pub(crate) struct Site {
    dir: TempDir,
    runtime: Runtime,
}

impl Site {
    /// Makes a site with an empty repository.
    pub(crate) fn new() -> Self {
        Self::below(tempfile::tempdir().unwrap())
    }

    /// Makes a site whose directories above it nobody else changes meanwhile: their times are in what
    /// is stored. `test` names the only one who uses the place.
    pub(crate) fn undisturbed(test: &str) -> Self {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        std::fs::create_dir_all(&place).unwrap();
        Self::below(tempfile::tempdir_in(place).unwrap())
    }

    fn below(dir: TempDir) -> Self {
        let site = Self {
            dir,
            runtime: Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
        };
        let options = InitOptions {
            password: &Secret::new(PASSWORD),
            kdf: KdfParameters::new(1 << 10, 8, 1).unwrap(),
            master_key: None,
            polynomial: None,
            origin: KeyOrigin {
                created: Timestamp::UNIX_EPOCH,
                username: String::new(),
                hostname: String::new(),
            },
        };
        let tier = LocalTier::create(&site.dir.path().join("tier")).unwrap();
        Repository::init(site.store(Arc::new(tier)), &options).unwrap();
        site
    }

    /// Returns where the files that are backed up belong; nothing is there yet.
    pub(crate) fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    /// Returns a path for whatever a test needs.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn restic(&self) -> Restic {
        Restic::new(self.dir.path().join("tier/repo"), PASSWORD)
    }

    pub(crate) fn tier(&self) -> Arc<dyn Tier> {
        Arc::new(LocalTier::open(&self.dir.path().join("tier")).unwrap())
    }

    fn store(&self, tier: Arc<dyn Tier>) -> Store {
        self.store_at(tier, "repo".parse().unwrap())
    }

    /// Returns the files below a prefix of any tier.
    pub(crate) fn store_at(&self, tier: Arc<dyn Tier>, prefix: ObjectPrefix) -> Store {
        Store::new(tier, self.runtime.handle().clone(), prefix)
    }

    pub(crate) fn repository(&self) -> Repository<Indexed> {
        self.repository_on(self.tier())
    }

    pub(crate) fn repository_on(&self, tier: Arc<dyn Tier>) -> Repository<Indexed> {
        self.opened_on(tier).load_index(&Cancel::new(), &Silent).unwrap()
    }

    /// Opens the repository with a cache.
    pub(crate) fn repository_with_cache(&self) -> Repository<Indexed> {
        let mut opened = self.opened_on(self.tier());
        opened.use_cache(&self.path("cache")).unwrap();
        opened.load_index(&Cancel::new(), &Silent).unwrap()
    }

    /// Opens the repository without its index, which may be damaged.
    pub(crate) fn opened_on(&self, tier: Arc<dyn Tier>) -> Repository {
        let password = Secret::new(PASSWORD);
        Repository::open(self.store(tier), &password, &OpenOptions::default()).unwrap()
    }

    /// Asserts that lifeboat's own check, reading all data, finds nothing wrong.
    pub(crate) fn check(&self) {
        let options = CheckOptions { data: ReadData::All };
        let report = check(&self.repository(), &options, &Silent, &Cancel::new()).unwrap();
        assert_eq!(report.outcome(), Outcome::Passed, "{:?}", report.findings);
    }

    /// Backs the source directory up.
    pub(crate) fn backup(&self) -> BackupReport {
        self.backup_of(vec![files(&[&self.source()])]).unwrap()
    }

    /// Returns the tree of the source directory below the root of a snapshot.
    pub(crate) fn subtree(&self, repository: &Repository<Indexed>, root: BlobId) -> BlobId {
        self.source().strip_prefix("/").unwrap().iter().fold(root, |tree, name| {
            match repository.tree(&tree).unwrap().get(name).unwrap().kind {
                NodeKind::Directory { subtree } => subtree,
                _ => panic!("{} is no directory", name.display()),
            }
        })
    }

    pub(crate) fn backup_of(&self, sources: Vec<Source>) -> Result<BackupReport, BackupError> {
        run(&self.repository(), sources)
    }
}

pub(crate) fn run(
    repository: &Repository<Indexed>,
    sources: Vec<Source>,
) -> Result<BackupReport, BackupError> {
    let options = BackupOptions::new("site");
    backup(repository, sources, &options, &Silent, &Cancel::new(), &SystemClock)
}

/// Asserts that every pack is listed, and that no blob lies in two packs, nor twice in one.
pub(crate) fn assert_stored_once(repository: &Repository<Indexed>) {
    let listed: HashSet<PackId> = repository.index().packs().unwrap().into_iter().collect();
    let mut seen = HashSet::new();
    for file in repository.store().list::<PackId>().unwrap() {
        assert!(listed.contains(&file.id), "no index lists {}", file.id.to_hex());
        for blob in repository.pack_header(&file.id, file.size).unwrap().blobs {
            assert!(seen.insert((blob.kind, blob.id)), "{} is there twice", blob.id.to_hex());
        }
    }
}

pub(crate) fn files(paths: &[&Path]) -> Source {
    let paths = paths.iter().map(|path| path.to_path_buf()).collect();
    Source::Files(FilesSource { paths, ..FilesSource::default() })
}

/// Returns the place of an absolute path below a restore's target.
pub(crate) fn restored(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").unwrap())
}

/// Returns bytes that cannot be compressed, the same for the same seed.
pub(crate) fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(step).take(length).collect()
}
