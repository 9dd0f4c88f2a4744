//! A repository that was opened with its key: the one way to read and write what is in it.
//!
//! [`Repository::open`] gives a `Repository<Open>`, which reads and writes snapshots, key files and
//! other documents. [`Repository::load_index`] turns it into a `Repository<Indexed>`, which finds
//! blobs; what needs the index does not compile without it.
//!
//! # Invariants
//!
//! - Every file that is read is hashed and held against its name before anything in it is used.
//! - A blob becomes known to the index in memory only after the index file that lists it is
//!   durable; so what [`Repository::contains`] tells may be referred to by a snapshot.
//! - Nothing here overwrites or deletes.
//!
//! # Crash consistency
//!
//! Writers store packs, then index files, then the snapshot, each durable before the next. Readers
//! go the other way: whoever wants a consistent view lists the snapshots *before* it loads the
//! index, so that every snapshot it saw has its blobs in the index it has. A new repository's key
//! file is stored before its config: an interrupted `init` leaves no repository, and the next one
//! goes on from there; a key file that it left behind opens nothing and is passed over.
//!
//! # Limits
//!
//! At most [`KEY_FILES_MAX`] key files are tried, the cheapest first.
//!
//! Sources: restic `doc/design.rst`, sections "Repository Format", "Read and Write Ordering";
//! restic `internal/repository/repository.go`.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::{Bytes, BytesMut};
use lifeboat_model::{
    BlobId, Cancel, Classify, ErrorKind, Event, EventSink, IndexId, KeyId, PackId, Secret,
    SnapshotId, Stage, Work,
};
use lifeboat_tiers::TierError;
use sha2::{Digest, Sha256};

use crate::blob::{BlobKind, BlobLocation, BlobOpener};
use crate::cache::{Cache, CacheKind};
use crate::compress::{compress_document, decompress_document};
use crate::config::Config;
use crate::crypto::MasterKey;
use crate::error::{Corruption, Defect, RepositoryError, StoredObject};
use crate::index::{self, Index, IndexFile, IndexReader, Origin};
use crate::key::{KdfParameters, KeyFile, KeyOrigin};
use crate::pack::FinishedPack;
use crate::polynomial::Polynomial;
use crate::snapshot::Snapshot;
use crate::store::{FileId, FileKind, ListedFile, Store};
use crate::tree::Tree;
use crate::tree_packs::TreePacks;
use crate::walk::read_each;

/// How many key files are tried; as restic does.
pub const KEY_FILES_MAX: usize = 20;

/// How many directories of one pack are read alone from a tier that is here before all of it is: a part is
/// read for little.
const ALONE_HERE: usize = 1;

/// How many directories of one pack are read alone from a tier that is far, by who looks for one path: as
/// deep as most paths are. What takes more of a pack shall not wait for each of them.
const ALONE_FAR: usize = 8;

/// Whether the directories that lie beside one are wanted as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Neighbours {
    /// They are asked for next.
    Wanted,
    /// Most of them are not: whoever asks is on the way to some path.
    Passed,
}

/// The byte that says that a document is compressed.
const COMPRESSED: u8 = 2;

mod read_back;
mod reading;
mod unlock;

pub(crate) use unlock::read_key_file;
use unlock::unlock;

mod sealed {
    use lifeboat_model::IndexId;

    use crate::index::IndexFile;

    pub trait State: std::fmt::Debug + Send + Sync + 'static {
        /// Makes what an index file lists known, once the file is durable.
        fn was_saved(&self, _id: IndexId, _file: &IndexFile) {}

        /// Returns how many packs are known.
        fn packs_known(&self) -> usize {
            0
        }
    }
}

/// How much of a repository is loaded.
pub trait State: sealed::State {}

/// The repository was opened with its key.
#[derive(Debug)]
pub struct Open(());

/// The index was loaded, too.
#[derive(Debug)]
pub struct Indexed {
    index: RwLock<Index>,
    /// The index files that were there when it was loaded.
    files: Mutex<Vec<ListedFile<IndexId>>>,
    /// Those that were saved since.
    saved: Mutex<Vec<IndexId>>,
    tree_packs: TreePacks,
}

impl sealed::State for Open {}

impl sealed::State for Indexed {
    fn was_saved(&self, id: IndexId, file: &IndexFile) {
        self.index.write().unwrap_or_else(PoisonError::into_inner).add(file);
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    fn packs_known(&self) -> usize {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.packs().map_or(0, |packs| packs.len())
    }
}

impl State for Open {}
impl State for Indexed {}

/// How a repository is made.
#[derive(Debug)]
pub struct InitOptions<'a> {
    /// The password that opens it.
    pub password: &'a Secret,
    /// How the password is stretched.
    pub kdf: KdfParameters,
    /// The master key of the site's other repositories, so that packs can be copied as they are;
    /// otherwise a new one is made.
    pub master_key: Option<MasterKey>,
    /// The chunker polynomial of the site's other repositories; otherwise a new one is made.
    pub polynomial: Option<Polynomial>,
    /// Who makes it, for the key file.
    pub origin: KeyOrigin,
}

/// How a repository is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The key file to try before the others.
    pub key_hint: Option<KeyId>,
}

/// The snapshots of a repository as far as they can be read.
#[derive(Debug, Default)]
pub struct ReadableSnapshots {
    /// Those that are whole, the oldest first.
    pub snapshots: Vec<(SnapshotId, Snapshot)>,
    /// What is wrong with the others; each error names its snapshot.
    pub damaged: Vec<RepositoryError>,
}

impl ReadableSnapshots {
    /// Goes on with those that are whole, after telling the log of the others.
    pub(crate) fn or_warn(self) -> Vec<(SnapshotId, Snapshot)> {
        for error in &self.damaged {
            let error: &dyn std::error::Error = error;
            tracing::warn!(error, "A snapshot cannot be read and is passed over.");
        }
        self.snapshots
    }
}

/// An opened repository.
#[derive(Debug)]
pub struct Repository<S: State = Open> {
    store: Store,
    key: MasterKey,
    key_id: KeyId,
    config: Config,
    cache: Option<Arc<Cache>>,
    state: S,
}

impl Repository<Open> {
    /// Makes a repository where there is none.
    ///
    /// Refuses a place that has no config but snapshots, indexes or packs: that is a repository
    /// that lost its config, not an empty place.
    pub fn init(store: Store, options: &InitOptions<'_>) -> Result<Self, RepositoryError> {
        if store.get_config()?.is_some() {
            return Err(RepositoryError::AlreadyExists { address: store.address().to_owned() });
        }
        refuse_lost_config(&store)?;
        let key = options.master_key.clone().unwrap_or_else(MasterKey::generate);
        let polynomial = options.polynomial.unwrap_or_else(Polynomial::random_irreducible);
        let (key_id, key_file) =
            KeyFile::seal(&key, options.password, options.kdf, &options.origin);
        store.put(&key_id, key_file.into())?;
        let config = Config::new(polynomial);
        match store.create_config(key.seal(&config.to_document()).into()) {
            Err(error) => Err(give_up_init(&store, &key_id, error)),
            Ok(()) => Ok(Self { store, key, key_id, config, cache: None, state: Open(()) }),
        }
    }

    /// Opens a repository; restic may have made it.
    pub fn open(
        store: Store,
        password: &Secret,
        options: &OpenOptions,
    ) -> Result<Self, RepositoryError> {
        let (config, keys) = store.get_config_and_list::<KeyId>()?;
        let Some(sealed_config) = config else {
            refuse_lost_config(&store)?;
            return Err(RepositoryError::NoRepository { address: store.address().to_owned() });
        };
        let keys = keys.into_iter().map(|file| file.id).collect();
        let (key, key_id, config) = unlock(&store, password, (options, keys), &sealed_config)?;
        Ok(Self { store, key, key_id, config, cache: None, state: Open(()) })
    }

    /// Keeps what is read most below a local directory; one cache serves many repositories.
    pub fn use_cache(&mut self, base: &Path) -> std::io::Result<()> {
        self.cache = Some(Arc::new(Cache::open(base, self.config.id)?));
        Ok(())
    }

    /// Loads all index files.
    pub fn load_index(
        self,
        cancel: &Cancel,
        events: &dyn EventSink,
    ) -> Result<Repository<Indexed>, RepositoryError> {
        let files = self.store.list::<IndexId>()?;
        let index = self.read_index(&files, cancel, events)?;
        let state = Indexed {
            index: RwLock::new(index),
            files: Mutex::new(files),
            saved: Mutex::default(),
            tree_packs: TreePacks::default(),
        };
        let Self { store, key, key_id, config, cache, state: Open(()) } = self;
        Ok(Repository { store, key, key_id, config, cache, state })
    }
}

impl<S: State> Repository<S> {
    fn read_index(
        &self,
        files: &[ListedFile<IndexId>],
        cancel: &Cancel,
        events: &dyn EventSink,
    ) -> Result<Index, RepositoryError> {
        let total =
            Work { items: files.len() as u64, bytes: files.iter().map(|file| file.size).sum() };
        events.emit(Event::Started { stage: Stage::Index, total: Some(total) });
        let was_read = |id: &IndexId| {
            let known = files.binary_search_by_key(id, |file| file.id);
            let work = Work { items: 1, bytes: known.map_or(0, |position| files[position].size) };
            events.emit(Event::Advanced { stage: Stage::Index, work });
            Ok(cancel.check()?)
        };
        cancel.check()?;
        let index = index::load(&Arc::new(self.index_reader(Origin::Cache)), files, &was_read)?;
        events.emit(Event::Finished { stage: Stage::Index });
        self.trim_cache(files, &index);
        Ok(index)
    }

    /// Removes from the cache what is on the tier no more.
    fn trim_cache(&self, files: &[ListedFile<IndexId>], index: &Index) {
        let Some(cache) = &self.cache else { return };
        let is_listed = |name: &[u8; 32]| {
            files.binary_search_by_key(&IndexId::from_bytes(*name), |file| file.id).is_ok()
        };
        // Packs go only when the index files go that list them.
        if cache.trim(CacheKind::Index, is_listed) > 0 {
            let has = |name: &[u8; 32]| index.has_pack(&PackId::from_bytes(*name));
            cache.trim(CacheKind::TreePack, has);
        }
    }

    /// Loads index files as they lie on the tier, for whoever checks them.
    pub(crate) fn load_index_apart(
        &self,
        files: &[ListedFile<IndexId>],
        inspector: &dyn index::Inspector,
    ) -> Result<Index, RepositoryError> {
        index::load_apart(&Arc::new(self.index_reader(Origin::Tier)), files, inspector)
    }

    fn index_reader(&self, origin: Origin) -> IndexReader {
        IndexReader {
            origin,
            store: self.store.clone(),
            key: self.key.clone(),
            cache: self.cache.clone(),
            repository: self.config.id,
        }
    }
}

/// A place with snapshots, indexes or packs but no config is a damaged repository, not none.
fn refuse_lost_config(store: &Store) -> Result<(), RepositoryError> {
    let empty = store.list::<SnapshotId>()?.is_empty() && store.list::<IndexId>()?.is_empty();
    if empty { Ok(()) } else { Err(corrupt(store, StoredObject::Config, Defect::Missing)) }
}

/// Takes the key file back of a repository that was not made.
fn give_up_init(store: &Store, key_id: &KeyId, error: TierError) -> RepositoryError {
    // Where no answer came, the config may be there after all, and only this key file opens it.
    if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Cancelled) {
        // If this fails, a key file is left that opens nothing and stands in nobody's way.
        let _ = store.delete(key_id);
    }
    match error {
        TierError::AlreadyExists { .. } => {
            RepositoryError::AlreadyExists { address: store.address().to_owned() }
        }
        error => error.into(),
    }
}

fn corrupt(store: &Store, object: StoredObject, defect: impl Into<Defect>) -> RepositoryError {
    let address = store.address().to_owned();
    Box::new(Corruption { address, object, defect: defect.into() }).into()
}

/// Reads a file and holds its bytes against its name.
fn get_verified<I: FileId>(store: &Store, id: &I) -> Result<Bytes, RepositoryError> {
    verified(store, id, store.get(id))
}

/// Holds the bytes that were read of a file against its name.
fn verified<I: FileId>(
    store: &Store,
    id: &I,
    read: Result<Bytes, TierError>,
) -> Result<Bytes, RepositoryError> {
    match read.and_then(|bytes| store.hashed(id, bytes)) {
        Ok((bytes, actual)) if actual == *id.as_bytes() => Ok(bytes),
        Ok((_, actual)) => Err(corrupt(store, id.object(), Defect::Hash { actual })),
        Err(TierError::NotFound { .. }) => Err(corrupt(store, id.object(), Defect::Missing)),
        Err(error) => Err(error.into()),
    }
}

/// Compresses, seals and stores a document durably; returns its name.
pub(crate) fn save_document<I: FileId>(
    store: &Store,
    key: &MasterKey,
    document: &[u8],
) -> Result<I, TierError> {
    let mut plaintext = vec![COMPRESSED];
    plaintext.extend_from_slice(&compress_document(document));
    let sealed = key.seal(&plaintext);
    let id = I::from_bytes(Sha256::digest(&sealed).into());
    store.put(&id, sealed.into())?;
    Ok(id)
}

/// Opens and decompresses the sealed bytes of a document.
pub(crate) fn open_document(key: &MasterKey, sealed: &mut [u8]) -> Result<Vec<u8>, Defect> {
    let opened = key.open_in_place(sealed)?;
    match opened.first() {
        Some(b'{' | b'[') => Ok(opened.to_vec()),
        Some(&COMPRESSED) => Ok(decompress_document(&opened[1..])?),
        Some(first) => Err(Defect::Encoding { first: *first }),
        None => Err(Defect::Length { expected: 1, actual: 0 }),
    }
}

/// Reads and opens a document, from the cache if it is one of those that are kept there.
pub(crate) fn read_document<I: FileId>(
    store: &Store,
    key: &MasterKey,
    cache: Option<&Cache>,
    id: &I,
) -> Result<Vec<u8>, RepositoryError> {
    let kind = match I::KIND {
        FileKind::Index => Some(CacheKind::Index),
        FileKind::Snapshot => Some(CacheKind::Snapshot),
        FileKind::Key | FileKind::Lock | FileKind::Pack => None,
    };
    let sealed = match cache.zip(kind) {
        Some((cache, kind)) => cache.read_through(kind, id.as_bytes(), || get_verified(store, id)),
        None => get_verified(store, id),
    };
    let mut sealed = BytesMut::from(sealed?);
    open_document(key, &mut sealed).map_err(|defect| corrupt(store, id.object(), defect))
}

impl<S: State> Repository<S> {
    /// Returns how people call the place where it lies.
    pub fn address(&self) -> &str {
        self.store.address()
    }

    /// Returns its files.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Returns its master key.
    pub const fn key(&self) -> &MasterKey {
        &self.key
    }

    #[cfg(feature = "simulation")]
    pub(crate) const fn key_mut(&mut self) -> &mut MasterKey {
        &mut self.key
    }

    /// Returns the key file that it was opened with.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Returns the local copy of what is read most, if there is one.
    pub(crate) fn cache(&self) -> Option<&Cache> {
        self.cache.as_deref()
    }

    /// Returns its config.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Makes the error that names a damaged object of this repository.
    pub fn corrupt(&self, object: StoredObject, defect: impl Into<Defect>) -> RepositoryError {
        corrupt(&self.store, object, defect)
    }

    /// Reads a file as it is stored on the tier and holds it against its name.
    pub fn load_raw<I: FileId>(&self, id: &I) -> Result<Bytes, RepositoryError> {
        get_verified(&self.store, id)
    }

    /// Reads a document: a snapshot, an index or a lock; the first two from the cache, if there is
    /// one.
    pub fn load_document<I: FileId>(&self, id: &I) -> Result<Vec<u8>, RepositoryError> {
        read_document(&self.store, &self.key, self.cache.as_deref(), id)
    }

    /// Reads a document as it lies on the tier, whatever the cache has, for whoever checks or mends it.
    pub(crate) fn read_apart<I: FileId, T>(
        &self,
        id: &I,
        parse: impl Fn(&[u8]) -> Result<T, serde_json::Error>,
    ) -> Result<T, RepositoryError> {
        let document = read_document(&self.store, &self.key, None, id)?;
        parse(&document).map_err(|error| self.corrupt(id.object(), error))
    }

    /// Opens and decompresses the sealed bytes of a document.
    pub fn open_document(&self, sealed: &mut [u8]) -> Result<Vec<u8>, Defect> {
        open_document(&self.key, sealed)
    }

    /// Stores a document durably and returns its name.
    pub fn save_document<I: FileId>(&self, document: &[u8]) -> Result<I, RepositoryError> {
        Ok(save_document(&self.store, &self.key, document)?)
    }

    /// Reads an index file.
    pub fn index_file(&self, id: &IndexId) -> Result<IndexFile, RepositoryError> {
        IndexFile::parse(&self.load_document(id)?).map_err(|e| self.corrupt(id.object(), e))
    }

    /// Lists all snapshots, in the order of their ids.
    pub fn snapshot_ids(&self) -> Result<Vec<SnapshotId>, RepositoryError> {
        Ok(self.store.list()?.into_iter().map(|file| file.id).collect())
    }

    /// Reads all snapshots, the oldest first; fails if one is damaged.
    pub fn snapshots(&self) -> Result<Vec<(SnapshotId, Snapshot)>, RepositoryError> {
        let mut found = self.readable_snapshots()?;
        found.damaged.drain(..).next().map_or(Ok(found.snapshots), Err)
    }

    /// Reads all snapshots that are whole, the oldest first, and tells what is wrong with the others.
    ///
    /// Must not decide about what to delete: what only a damaged snapshot refers to is not unused.
    pub fn readable_snapshots(&self) -> Result<ReadableSnapshots, RepositoryError> {
        let ids = self.snapshot_ids()?;
        let mut found = ReadableSnapshots::default();
        let read = read_each(self, &ids, |_, id| self.snapshot(id));
        for (id, snapshot) in ids.iter().zip(read) {
            match snapshot {
                Ok(snapshot) => found.snapshots.push((*id, snapshot)),
                Err(error @ RepositoryError::Corrupt(_)) => found.damaged.push(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(cache) = &self.cache {
            let is_listed =
                |name: &[u8; 32]| ids.binary_search(&SnapshotId::from_bytes(*name)).is_ok();
            cache.trim(CacheKind::Snapshot, is_listed);
        }
        found.snapshots.sort_by_key(|(id, snapshot)| (snapshot.time, *id));
        Ok(found)
    }

    /// Reads a snapshot.
    pub fn snapshot(&self, id: &SnapshotId) -> Result<Snapshot, RepositoryError> {
        Snapshot::parse(&self.load_document(id)?).map_err(|e| self.corrupt(id.object(), e))
    }

    /// Stores a snapshot durably; everything that it refers to must be durable already.
    pub fn save_snapshot(&self, snapshot: &Snapshot) -> Result<SnapshotId, RepositoryError> {
        self.save_document(&snapshot.to_document())
    }

    /// Stores a pack durably; where there is a colder class, one that holds nothing of a tree goes
    /// there, since only a recovery reads it.
    pub fn save_pack(&self, pack: &FinishedPack) -> Result<(), RepositoryError> {
        let bytes = pack.bytes.clone();
        if pack.blobs.iter().all(|blob| blob.kind == BlobKind::Data) {
            Ok(self.store.put_cold(&pack.id, bytes)?)
        } else {
            Ok(self.store.put(&pack.id, bytes)?)
        }
    }

    /// Stores an index file durably; the packs that it lists must be durable already. Their blobs
    /// are known from then on.
    pub fn save_index(&self, file: &IndexFile) -> Result<IndexId, RepositoryError> {
        let id = self.save_document(&file.to_document())?;
        self.state.was_saved(id, file);
        Ok(id)
    }
}

impl Repository<Indexed> {
    /// Returns the index.
    ///
    /// Must not be held while an index is saved.
    pub fn index(&self) -> impl Deref<Target = Index> {
        self.state.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the index anew if others added or removed index files since it was loaded.
    ///
    /// Whoever took a lock after the index was loaded calls this before anything is stored: what a
    /// prune removed in between must not be built upon. It forgets what [`Self::leave_out`] left out.
    pub fn refresh_index(
        &self,
        cancel: &Cancel,
        events: &dyn EventSink,
    ) -> Result<(), RepositoryError> {
        let listed = self.store.list::<IndexId>()?;
        let mut files = self.state.files.lock().unwrap_or_else(PoisonError::into_inner);
        if *files == listed {
            return Ok(());
        }
        let index = self.read_index(&listed, cancel, events)?;
        *self.state.index.write().unwrap_or_else(PoisonError::into_inner) = index;
        *files = listed;
        // What was saved is among them, unless others removed it.
        self.saved().clear();
        Ok(())
    }

    /// Returns the index files whose content is known.
    pub(crate) fn index_file_ids(&self) -> BTreeSet<IndexId> {
        let files = self.state.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.iter().map(|file| file.id).chain(self.saved().iter().copied()).collect()
    }

    fn saved(&self) -> MutexGuard<'_, Vec<IndexId>> {
        self.state.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what others listed since the index was loaded, and shows every index file that is there.
    pub(crate) fn take_up_index_files(
        &self,
        cancel: &Cancel,
        mut show: impl FnMut(&IndexFile),
    ) -> Result<(), RepositoryError> {
        let listed = self.store.list::<IndexId>()?;
        let mut files = self.state.files.lock().unwrap_or_else(PoisonError::into_inner);
        for found in listed {
            cancel.check()?;
            let file = self.index_file(&found.id)?;
            show(&file);
            if let Err(place) = files.binary_search(&found) {
                self.state.index.write().unwrap_or_else(PoisonError::into_inner).add(&file);
                files.insert(place, found);
            }
        }
        Ok(())
    }

    /// Forgets what lies in these packs, as if no index listed them: what is stored from then on
    /// refers to nothing in them, and a pack that is stored again is known again.
    pub fn leave_out(&self, packs: &BTreeSet<PackId>) {
        self.state.index.write().unwrap_or_else(PoisonError::into_inner).leave_out(packs);
    }

    /// Tells whether a blob is durable and indexed.
    pub fn contains(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.index().contains(kind, id)
    }

    /// Returns where a blob lies.
    pub fn locate(&self, kind: BlobKind, id: &BlobId) -> Option<BlobLocation> {
        self.index().get(kind, id)
    }

    /// Reads a blob; where one place is damaged and there is another, from there.
    pub fn read_blob(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes, RepositoryError> {
        self.read_blob_with(&mut BlobOpener::new(&self.key), kind, id)
    }

    /// Reads a blob with a worker's own opener.
    pub fn read_blob_with(
        &self,
        opener: &mut BlobOpener<'_>,
        kind: BlobKind,
        id: &BlobId,
    ) -> Result<Bytes, RepositoryError> {
        self.read_blob_among(Neighbours::Wanted, opener, kind, id)
    }

    fn read_blob_among(
        &self,
        neighbours: Neighbours,
        opener: &mut BlobOpener<'_>,
        kind: BlobKind,
        id: &BlobId,
    ) -> Result<Bytes, RepositoryError> {
        let locations: Vec<BlobLocation> = self.index().locations(kind, id).collect();
        let mut result =
            Err(self.corrupt(StoredObject::Blob { kind, id: *id, at: None }, Defect::NotIndexed));
        for location in &locations {
            if kind == BlobKind::Tree
                && let Some(plaintext) = self.read_from_whole_pack(neighbours, opener, id, location)
            {
                return Ok(plaintext);
            }
            result = self.read_blob_at(opener, kind, id, location).map(Bytes::from);
            if !matches!(result, Err(RepositoryError::Corrupt(_))) {
                break;
            }
        }
        result
    }

    /// Reads a directory out of its whole pack in memory, since its neighbours are asked for next. Whatever
    /// goes wrong, the directory alone is read from the tier instead.
    fn read_from_whole_pack(
        &self,
        neighbours: Neighbours,
        opener: &mut BlobOpener<'_>,
        id: &BlobId,
        location: &BlobLocation,
    ) -> Option<Bytes> {
        let packs = &self.state.tree_packs;
        let pack = &location.pack;
        let bytes = if self.store.reads_here() {
            // What lies here is read as fast as its copy in the cache; the directory has its own hash.
            packs.get_after(ALONE_HERE, pack, || self.store.get(pack).ok())?
        } else {
            let cache = self.cache.as_ref()?;
            let (kind, name) = (CacheKind::TreePack, pack.as_bytes());
            let is_near = neighbours == Neighbours::Wanted || cache.has(kind, name);
            packs.get_after(if is_near { 0 } else { ALONE_FAR }, pack, || {
                cache.read_through(kind, name, || self.load_raw(pack)).ok()
            })?
        };
        let begin = location.offset as usize;
        let mut sealed = bytes.get(begin..begin.checked_add(location.length as usize)?)?.to_vec();
        opener.open(id, &mut sealed, location.uncompressed_length).ok().map(Bytes::from)
    }

    /// Reads a directory.
    pub fn tree(&self, id: &BlobId) -> Result<Tree, RepositoryError> {
        self.tree_with(&mut BlobOpener::new(&self.key), id)
    }

    /// Reads a directory with a worker's own opener.
    pub fn tree_with(
        &self,
        opener: &mut BlobOpener<'_>,
        id: &BlobId,
    ) -> Result<Tree, RepositoryError> {
        self.tree_among(Neighbours::Wanted, opener, id)
    }

    /// Reads a directory like [`Repository::tree_with`].
    pub(crate) fn tree_among(
        &self,
        neighbours: Neighbours,
        opener: &mut BlobOpener<'_>,
        id: &BlobId,
    ) -> Result<Tree, RepositoryError> {
        let document = self.read_blob_among(neighbours, opener, BlobKind::Tree, id)?;
        let at = self.locate(BlobKind::Tree, id).map(|location| (location.pack, location.offset));
        Tree::parse(&document)
            .map_err(|e| self.corrupt(StoredObject::Blob { kind: BlobKind::Tree, id: *id, at }, e))
    }
}
