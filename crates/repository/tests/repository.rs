//! What a repository does with keys, snapshots and damage, on a tier in memory.

#![cfg(test)]

use std::sync::Arc;

use bytes::Bytes;
use lifeboat_model::{
    BlobId, Cancel, Classify, ErrorKind, Exit, IndexId, KeyId, PackId, Secret, Silent, SnapshotId,
    Timestamp,
};
use lifeboat_repository::blob::{BlobSealer, blob_id};
use lifeboat_repository::compress::Compression;
use lifeboat_repository::index::IndexFile;
use lifeboat_repository::key::{KdfParameters, KeyFileError, KeyOrigin};
use lifeboat_repository::pack::{FinishedPack, PackBuilder};
use lifeboat_repository::{
    BlobKind, Defect, Indexed, InitOptions, MasterKey, OpenOptions, Repository, RepositoryError,
    Snapshot, Store, StoredObject,
};
use lifeboat_tiers::fault::{Fault, Moment, Operation, Rule, Target};
use lifeboat_tiers::{FaultTier, MemoryTier, PutMode, Tier};
use tokio::runtime::Runtime;

fn init(store: Store, key: Option<MasterKey>) -> Result<Repository, RepositoryError> {
    let options = InitOptions {
        password: &Secret::new("password"),
        kdf: KdfParameters::new(16, 1, 1).unwrap(),
        master_key: key,
        polynomial: None,
        origin: KeyOrigin {
            created: Timestamp::UNIX_EPOCH,
            username: String::new(),
            hostname: String::new(),
        },
    };
    Repository::init(store, &options)
}

/// A place for a repository.
struct Place {
    runtime: Runtime,
    tier: Arc<MemoryTier>,
}

impl Place {
    fn new() -> Self {
        Self { runtime: Runtime::new().unwrap(), tier: Arc::new(MemoryTier::new()) }
    }

    fn store(&self) -> Store {
        Store::new(self.tier.clone(), self.runtime.handle().clone(), "repo".parse().unwrap())
    }

    fn put(&self, path: &str, bytes: impl Into<Bytes>) {
        let path = path.parse().unwrap();
        self.runtime.block_on(self.tier.put(&path, bytes.into(), PutMode::Overwrite)).unwrap();
    }

    fn delete(&self, path: &str) {
        self.runtime.block_on(self.tier.delete(&path.parse().unwrap())).unwrap();
    }

    fn init_with(&self, key: Option<MasterKey>) -> Result<Repository, RepositoryError> {
        init(self.store(), key)
    }

    fn init(&self) -> Repository {
        self.init_with(None).unwrap()
    }

    fn open(&self) -> Result<Repository, RepositoryError> {
        Repository::open(self.store(), &Secret::new("password"), &OpenOptions::default())
    }

    fn indexed(&self) -> Result<Repository<Indexed>, RepositoryError> {
        self.open()?.load_index(&Cancel::new(), &Silent)
    }

    /// Changes one byte of the only file whose path begins with `prefix`, and returns its path.
    fn damage(&self, prefix: &str, position: usize) -> String {
        let contents = self.tier.contents();
        let mut files = contents.iter().filter(|(path, _)| path.as_str().starts_with(prefix));
        let (path, bytes) = files.next().unwrap();
        assert!(files.next().is_none(), "several files begin with {prefix}");
        let mut bytes = bytes.to_vec();
        bytes[position] ^= 1;
        self.put(path.as_str(), bytes);
        path.to_string()
    }
}

fn pack(repository: &Repository<Indexed>, kind: BlobKind, plaintext: &[u8]) -> FinishedPack {
    let mut builder = PackBuilder::default();
    let mut sealer = BlobSealer::new(repository.key(), Compression::Auto);
    builder.add(&sealer.seal(kind, blob_id(plaintext), plaintext).unwrap()).unwrap();
    let pack = builder.finish(repository.key());
    repository.save_pack(&pack).unwrap();
    pack
}

fn index(packs: &[&FinishedPack]) -> IndexFile {
    IndexFile { packs: packs.iter().map(|p| (*p).into()).collect(), ..IndexFile::default() }
}

fn corruption(error: &RepositoryError) -> (&StoredObject, &Defect) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    match error {
        RepositoryError::Corrupt(corruption) => (&corruption.object, &corruption.defect),
        other => panic!("{other:?} is no corruption"),
    }
}

fn snapshot(second: i64) -> Snapshot {
    let tree = BlobId::from_bytes([1; 32]);
    Snapshot::new(Timestamp::from_second(second).unwrap(), tree, vec!["/a".to_owned()])
}

#[test]
fn a_new_repository_opens_with_its_password_only() {
    let place = Place::new();
    let made = place.init();
    let opened = place.open().unwrap();
    assert_eq!((opened.key(), opened.config()), (made.key(), made.config()));
    assert_eq!(opened.address(), "memory:/repo".replace("memory:", place.tier.address()));
    let wrong = Repository::open(place.store(), &Secret::new("guess"), &OpenOptions::default())
        .unwrap_err();
    assert_eq!((wrong.kind(), wrong.exit()), (ErrorKind::Denied, Exit::WrongKey));
    assert!(wrong.to_string().contains("none of the key files at"), "{wrong}");
}

#[test]
fn an_empty_place_is_no_repository() {
    let error = Place::new().open().unwrap_err();
    assert_eq!((error.kind(), error.exit()), (ErrorKind::NotFound, Exit::NoRepository));
    assert!(error.hint().unwrap().to_string().contains("repo init"));
}

#[test]
fn a_repository_is_never_made_over_another() {
    let place = Place::new();
    place.init();
    let before = place.tier.contents();
    let error = place.init_with(None).unwrap_err();
    assert!(matches!(error, RepositoryError::AlreadyExists { .. }), "{error}");
    assert_eq!(place.tier.contents(), before);
}

#[test]
fn a_lost_config_is_damage_and_no_empty_place() {
    let place = Place::new();
    place.init().save_snapshot(&snapshot(0)).unwrap();
    place.delete("repo/config");
    let before = place.tier.contents();
    for error in [place.open().unwrap_err(), place.init_with(None).unwrap_err()] {
        assert!(matches!(corruption(&error), (StoredObject::Config, Defect::Missing)));
    }
    assert_eq!(place.tier.contents(), before);
}

#[test]
fn an_interrupted_init_is_gone_on_with() {
    let place = Place::new();
    place.init();
    place.delete("repo/config");
    let again = place.init();
    assert_eq!(place.store().list::<KeyId>().unwrap().len(), 2);
    // The first key file opens with the password, too, but its master key opens nothing.
    assert_eq!(place.open().unwrap().key(), again.key());
}

#[test]
fn an_init_that_failed_leaves_no_key_file_unless_the_config_may_be_there() {
    let left = |fault| {
        let place = Place::new();
        let config = Rule::new(Target::Only(Operation::Put), fault).nth(2);
        let tier = Arc::new(FaultTier::new(Arc::clone(&place.tier) as Arc<dyn Tier>).with(config));
        let store = Store::new(tier, place.runtime.handle().clone(), "repo".parse().unwrap());
        let error = init(store, None).unwrap_err();
        (error.kind(), place.store().list::<KeyId>().unwrap().len())
    };
    assert_eq!(left(Fault::Full), (ErrorKind::Denied, 0));
    assert_eq!(left(Fault::Fail(Moment::After)), (ErrorKind::Unavailable, 1));
}

#[test]
fn repositories_of_a_site_share_a_key() {
    let (one, two) = (Place::new(), Place::new());
    let key = one.init().key().clone();
    let second = two.init_with(Some(key.clone())).unwrap();
    assert_eq!(second.key(), &key);
    assert_ne!(second.config().id, one.open().unwrap().config().id);
}

#[test]
fn a_key_file_that_asks_for_gigabytes_is_refused() {
    let place = Place::new();
    place.init();
    let salt = "A".repeat(86);
    let bomb =
        format!(r#"{{"kdf":"scrypt","N":1073741824,"r":8,"p":1,"salt":"{salt}==","data":"AAAA"}}"#);
    let name = blob_id(bomb.as_bytes()).to_hex();
    place.put(&format!("repo/keys/{name}"), bomb);
    // The genuine key file opens the repository all the same.
    let genuine = place.open().unwrap().key_id();
    let wrong = Secret::new("guess");
    let error = Repository::open(place.store(), &wrong, &OpenOptions::default()).unwrap_err();
    assert_eq!(error.exit(), Exit::WrongKey);
    place.delete(&format!("repo/keys/{}", genuine.to_hex()));
    match &place.open().unwrap_err() {
        RepositoryError::UnusableKey { key, source: KeyFileError::Memory { .. }, .. } => {
            assert_eq!(*key, name);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_key_file_does_not_keep_another_from_opening() {
    let place = Place::new();
    let origin = KeyOrigin {
        created: Timestamp::UNIX_EPOCH,
        username: String::new(),
        hostname: String::new(),
    };
    let repository = place.init();
    let first = format!("repo/keys/{}", repository.key_id().to_hex());
    let second = Secret::new("second");
    repository.add_key(&second, KdfParameters::new(16, 1, 1).unwrap(), &origin).unwrap();
    place.damage(&first, 20);
    Repository::open(place.store(), &second, &OpenOptions::default()).unwrap();
}

#[test]
fn a_second_password_opens_the_same_repository() {
    let place = Place::new();
    let origin = KeyOrigin {
        created: Timestamp::UNIX_EPOCH,
        username: String::new(),
        hostname: String::new(),
    };
    let kdf = KdfParameters::new(16, 1, 1).unwrap();
    let second = Secret::new("second");
    let id = place.init().add_key(&second, kdf, &origin).unwrap();
    for key_hint in [None, Some(id)] {
        let opened = Repository::open(place.store(), &second, &OpenOptions { key_hint }).unwrap();
        assert_eq!(opened.key_id(), id);
    }
    assert_ne!(place.open().unwrap().key_id(), id);
}

#[test]
fn a_changed_config_is_damage_and_no_wrong_key() {
    let place = Place::new();
    place.init();
    place.damage("repo/config", 20);
    let error = place.open().unwrap_err();
    assert!(matches!(corruption(&error), (StoredObject::Config, Defect::Seal(_))));
}

#[test]
fn a_changed_key_file_is_named() {
    let place = Place::new();
    let id = place.init().key_id();
    place.damage("repo/keys/", 20);
    let error = place.open().unwrap_err();
    let (object, defect) = corruption(&error);
    assert_eq!(*object, StoredObject::Key(id));
    assert!(matches!(defect, Defect::Hash { .. }));
    assert!(error.to_string().contains(&id.to_hex()), "{error}");
}

#[test]
fn snapshots_are_found_by_latest_and_by_their_first_digits() {
    let place = Place::new();
    let repository = place.init();
    let none = repository.find_snapshot("latest").unwrap_err();
    assert!(matches!(none, RepositoryError::NoSnapshot { .. }));
    let ids: Vec<SnapshotId> =
        [30, 50, 40].map(|s| repository.save_snapshot(&snapshot(s)).unwrap()).into();
    assert_eq!(repository.find_snapshot("latest").unwrap(), (ids[1], snapshot(50)));
    assert_eq!(repository.find_snapshot(&ids[2].to_hex()).unwrap().1, snapshot(40));
    assert_eq!(repository.find_snapshot(&ids[0].to_hex()[..16]).unwrap().0, ids[0]);
    let times: Vec<i64> =
        repository.snapshots().unwrap().iter().map(|(_, s)| s.time.instant().as_second()).collect();
    assert_eq!(times, [30, 40, 50]);
    for wanted in ["", "xyz", &"0".repeat(64)] {
        let error = repository.find_snapshot(wanted).unwrap_err();
        assert!(matches!(error, RepositoryError::NoSnapshot { .. }), "{wanted}");
    }
}

#[test]
fn digits_that_fit_several_snapshots_are_ambiguous() {
    let repository = Place::new().init();
    // Of seventeen ids, two begin with the same digit.
    let ids: Vec<String> =
        (0..17).map(|s| repository.save_snapshot(&snapshot(s)).unwrap().to_hex()).collect();
    let shared = |id: &&String| ids.iter().filter(|other| other[..1] == id[..1]).count() > 1;
    let digit = &ids.iter().find(shared).unwrap()[..1];
    let error = repository.find_snapshot(digit).unwrap_err();
    let RepositoryError::AmbiguousId { candidates, .. } = &error else { panic!("{error}") };
    assert!(candidates.len() > 1 && candidates.iter().all(|id| ids.contains(id)), "{error}");
    assert_eq!(error.exit(), Exit::Usage);
}

#[test]
fn a_changed_snapshot_is_named_with_all_digits() {
    let place = Place::new();
    let id = place.init().save_snapshot(&snapshot(0)).unwrap();
    place.damage("repo/snapshots/", 40);
    let error = place.open().unwrap().snapshots().unwrap_err();
    assert!(matches!(corruption(&error).1, Defect::Hash { .. }));
    assert!(error.to_string().contains(&id.to_hex()), "{error}");
    assert!(error.hint().unwrap().to_string().contains("another tier"));
}

#[test]
fn a_damaged_snapshot_does_not_hide_the_others() {
    let place = Place::new();
    let damaged = place.init().save_snapshot(&snapshot(60)).unwrap();
    place.damage("repo/snapshots/", 40);
    let repository = place.open().unwrap();
    let ids = [30, 50, 40].map(|s| repository.save_snapshot(&snapshot(s)).unwrap());
    let found = repository.readable_snapshots().unwrap();
    let read: Vec<SnapshotId> = found.snapshots.iter().map(|(id, _)| *id).collect();
    assert_eq!(read, [ids[0], ids[2], ids[1]]);
    assert_eq!(found.damaged.len(), 1);
    assert!(found.damaged[0].to_string().contains(&damaged.to_hex()));
    assert_eq!(repository.find_snapshot("latest").unwrap().0, ids[1]);
    assert!(repository.snapshots().is_err(), "who asks for all must not get fewer");
}

#[test]
fn a_truncated_index_is_named_and_says_how_to_make_it_anew() {
    let place = Place::new();
    place.init();
    let repository = place.indexed().unwrap();
    let packed = pack(&repository, BlobKind::Data, b"one");
    let id = repository.save_index(&index(&[&packed])).unwrap();
    let path = format!("repo/index/{}", id.to_hex());
    let whole = place.tier.contents()[&path.parse().unwrap()].clone();
    for length in [0, 31, whole.len() / 2, whole.len() - 1] {
        place.put(&path, whole.slice(..length));
        let error = place.indexed().unwrap_err();
        assert_eq!(*corruption(&error).0, StoredObject::Index(id), "{length}");
        assert!(error.hint().unwrap().to_string().contains("lifeboat repo repair index"));
    }
}

#[test]
fn documents_that_restic_wrote_without_compression_are_read() {
    let place = Place::new();
    let repository = place.init();
    let sealed = repository.key().seal(&snapshot(7).to_document());
    let id = SnapshotId::from_bytes(*blob_id(&sealed).as_bytes());
    place.store().put(&id, sealed.into()).unwrap();
    assert_eq!(repository.snapshot(&id).unwrap(), snapshot(7));

    let unknown = repository.key().seal(b"\x01{}");
    let id = SnapshotId::from_bytes(*blob_id(&unknown).as_bytes());
    place.store().put(&id, unknown.into()).unwrap();
    let error = repository.snapshot(&id).unwrap_err();
    assert!(matches!(corruption(&error).1, Defect::Encoding { first: 1 }));
}

#[test]
fn a_blob_is_known_once_its_index_is_saved() {
    let place = Place::new();
    place.init();
    let repository = place.indexed().unwrap();
    let packed = pack(&repository, BlobKind::Data, b"one");
    let id = blob_id(b"one");
    let error = repository.read_blob(BlobKind::Data, &id).unwrap_err();
    assert!(matches!(corruption(&error).1, Defect::NotIndexed));
    repository.save_index(&index(&[&packed])).unwrap();
    for repository in [repository, place.indexed().unwrap()] {
        assert_eq!(repository.read_blob(BlobKind::Data, &id).unwrap(), "one");
        assert!(!repository.contains(BlobKind::Tree, &id));
        assert_eq!(repository.locate(BlobKind::Data, &id).unwrap().pack, packed.id);
    }
}

#[test]
fn a_damaged_blob_is_read_from_its_other_pack() {
    let place = Place::new();
    place.init();
    let repository = place.indexed().unwrap();
    let packs = [b"one"; 2].map(|text| pack(&repository, BlobKind::Data, text));
    repository.save_index(&index(&[&packs[0], &packs[1]])).unwrap();
    let first = repository.locate(BlobKind::Data, &blob_id(b"one")).unwrap().pack.to_hex();
    place.damage(&format!("repo/data/{}/{first}", &first[..2]), 20);
    assert_eq!(repository.read_blob(BlobKind::Data, &blob_id(b"one")).unwrap(), "one");
    for pack in &packs {
        let hex = pack.id.to_hex();
        place.delete(&format!("repo/data/{}/{hex}", &hex[..2]));
    }
    let error = repository.read_blob(BlobKind::Data, &blob_id(b"one")).unwrap_err();
    assert!(matches!(corruption(&error), (StoredObject::Pack(_), Defect::Missing)));
}

#[test]
fn a_pack_that_ends_early_is_named() {
    let place = Place::new();
    place.init();
    let repository = place.indexed().unwrap();
    let packed = pack(&repository, BlobKind::Data, b"one");
    repository.save_index(&index(&[&packed])).unwrap();
    place.store().put(&packed.id, packed.bytes.slice(..10)).unwrap();
    let error = repository.read_blob(BlobKind::Data, &blob_id(b"one")).unwrap_err();
    let (object, defect) = corruption(&error);
    assert_eq!(*object, StoredObject::Pack(packed.id));
    assert!(matches!(defect, Defect::Length { expected: 35, actual: 10 }), "{defect:?}");
    let error = repository.pack_header(&packed.id, 10).unwrap_err();
    assert!(matches!(corruption(&error).1, Defect::Header(_)));
}

#[test]
fn a_tree_that_is_none_is_named_with_its_pack() {
    let place = Place::new();
    place.init();
    let repository = place.indexed().unwrap();
    let packed = pack(&repository, BlobKind::Tree, b"{\"nodes\":[{}]}");
    repository.save_index(&index(&[&packed])).unwrap();
    let error = repository.tree(&packed.blobs[0].id).unwrap_err();
    let (object, defect) = corruption(&error);
    let at = Some((packed.id, 0));
    assert_eq!(*object, StoredObject::Blob { kind: BlobKind::Tree, id: packed.blobs[0].id, at });
    assert!(matches!(defect, Defect::Tree(_)));
}

#[test]
fn loading_an_index_stops_when_asked() {
    let place = Place::new();
    place.init();
    let repository = place.indexed().unwrap();
    repository.save_index(&IndexFile::default()).unwrap();
    let cancel = Cancel::new();
    cancel.cancel();
    let error = place.open().unwrap().load_index(&cancel, &Silent).unwrap_err();
    assert_eq!(error.exit(), Exit::Cancelled);
    assert_eq!(place.store().list::<IndexId>().unwrap().len(), 1);
    assert_eq!(place.store().list::<PackId>().unwrap(), []);
}
