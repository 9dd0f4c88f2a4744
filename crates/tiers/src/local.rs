//! A tier on a directory of this machine: a disk, or whatever is mounted there.
//!
//! # Invariants
//!
//! - An object is one regular file, read-only, whose name below the root is the object's path.
//! - The root is the directory that was there when the tier was opened. If its disk is unmounted
//!   meanwhile, every operation fails; nothing is written into the empty mount point.
//!
//! # Crash consistency
//!
//! As in [`durable`]: a kill during `put` leaves the object absent, whole, or as it was, and at
//! most one hidden temporary file, which `list` does not see and which the next process that
//! writes into that directory removes once it is old. New directories are synced into those above
//! them before an object in them counts as stored.
//!
//! # Limits
//!
//! `list` does not follow symbolic links to directories, except in the prefix itself.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lifeboat_model::{Capabilities, Capability, Timestamp};
use rustix::fs::{FsWord, OFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;

use crate::durable::{self, Modes, Temporary, errno, is_absent};
use crate::prepared::Prepared;
use crate::{Listings, ObjectMeta, ObjectPath, ObjectPrefix, PutMode, ReadRange, Tier, TierError};

/// How many listed objects wait for whoever reads the stream, about a quarter of a megabyte.
const LISTED_WAITING_MAX: usize = 1024;

/// A directory as a tier.
#[derive(Debug, Clone)]
pub struct LocalTier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    address: String,
    identity: Identity,
    modes: Modes,
    capabilities: Capabilities,
    prepared: Prepared,
}

/// Which directory on which file system; another mount under the same path has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(meta: &Metadata) -> Self {
        Self { device: meta.dev(), inode: meta.ino() }
    }
}

impl LocalTier {
    /// Opens the directory at `path`, which must be there.
    pub fn open(path: &Path) -> Result<Self, TierError> {
        Self::open_as(path, Listings::AsKnown)
    }

    /// Opens it like [`LocalTier::open`], where somebody knows how soon its listings show what others stored.
    pub fn open_as(path: &Path, listings: Listings) -> Result<Self, TierError> {
        let root = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let address = address(&root);
        let meta = match fs::metadata(&root) {
            Ok(meta) if meta.is_dir() => meta,
            Ok(_) => return Err(TierError::Missing { tier: address }),
            Err(error) if is_absent(&error) => return Err(TierError::Missing { tier: address }),
            Err(error) => return Err(refused(&address, "open its directory".to_owned(), error)),
        };
        Ok(Self(Arc::new(Inner {
            capabilities: capabilities(&root, listings),
            root,
            address,
            identity: Identity::of(&meta),
            modes: Modes::below(meta.mode()),
            prepared: Prepared::default(),
        })))
    }

    /// Creates the directory at `path` and its missing parents, or takes the one that is there.
    ///
    /// Only for a tier that is new. A tier that was there before is opened, since an empty
    /// directory in its place would hide the loss.
    pub fn create(path: &Path) -> Result<Self, TierError> {
        Self::create_as(path, Listings::AsKnown)
    }

    /// Creates it like [`LocalTier::create`], where somebody knows how soon its listings show what others stored.
    pub fn create_as(path: &Path, listings: Listings) -> Result<Self, TierError> {
        let root = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        durable::create_directories(&root, 0o700)
            .map_err(|error| refused(&address(&root), "create its directory".to_owned(), error))?;
        Self::open_as(&root, listings)
    }

    /// Returns the root directory.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Runs `work` on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, TierError> + Send + 'static,
    ) -> Result<T, TierError> {
        let inner = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || {
            inner.check_root()?;
            work(&inner)
        });
        match task.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(cancelled) => Err(TierError::Unavailable {
                    tier: self.0.address.clone(),
                    action: "finish before the program's end".to_owned(),
                    source: io::Error::other(cancelled),
                }),
            },
        }
    }
}

/// File systems whose directories are in this kernel's memory, so that whoever lists one sees what
/// everybody else did before: ext2 to ext4, XFS, Btrfs, F2FS, bcachefs, ZFS and tmpfs.
///
/// Source: Linux `include/uapi/linux/magic.h`; XFS, bcachefs and ZFS in their own headers.
const PROMPT_FILE_SYSTEMS: [FsWord; 7] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e, 0x2fc1_2fc1, 0x0102_1994];

/// Returns what the file system of a directory can do. Another machine may write to one that it serves
/// over a network, or that FUSE makes; of these nothing is known.
fn capabilities(root: &Path, listings: Listings) -> Capabilities {
    let common = Capabilities::NONE.with(Capability::ConditionalPut);
    let kind = rustix::fs::statfs(root).map(|status| status.f_type);
    if listings.are_prompt(kind.is_ok_and(|kind| PROMPT_FILE_SYSTEMS.contains(&kind))) {
        return common.with(Capability::PromptListing);
    }
    common
}

fn address(root: &Path) -> String {
    format!("file://{}", root.display())
}

/// Says what a failure of the system means for the tier.
fn refused(address: &str, action: String, source: io::Error) -> TierError {
    let tier = address.to_owned();
    match errno(&source) {
        Some(Errno::NOSPC | Errno::DQUOT) => TierError::Full { tier, action, source },
        Some(
            Errno::ROFS
            | Errno::ACCESS
            | Errno::PERM
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::NAMETOOLONG
            | Errno::LOOP,
        ) => TierError::Denied { tier, action, source },
        _ => TierError::Unavailable { tier, action, source },
    }
}

fn modified(meta: &Metadata) -> Timestamp {
    // Nanoseconds are always below a second; a time outside of what can be told is told as the
    // nearest one.
    let nanosecond = i32::try_from(meta.mtime_nsec()).unwrap_or_default();
    Timestamp::new(meta.mtime(), nanosecond).unwrap_or(if meta.mtime() < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

impl Inner {
    fn check_root(&self) -> Result<(), TierError> {
        let tier = || self.address.clone();
        match fs::metadata(&self.root) {
            Ok(meta) if Identity::of(&meta) == self.identity => Ok(()),
            Ok(_) => Err(TierError::Replaced { tier: tier() }),
            Err(error) if is_absent(&error) => Err(TierError::Missing { tier: tier() }),
            Err(error) => Err(refused(&self.address, "look at its directory".to_owned(), error)),
        }
    }

    fn file(&self, path: &ObjectPath) -> PathBuf {
        self.root.join(path.as_str())
    }

    fn failed(&self, verb: &str, path: &ObjectPath, error: io::Error) -> TierError {
        refused(&self.address, format!("{verb} {path}"), error)
    }

    fn put(&self, path: &ObjectPath, body: &[u8], mode: PutMode) -> Result<(), TierError> {
        let target = self.file(path);
        let stored = self.temporary(&target).and_then(|mut file| {
            file.fill(body, self.modes.object)?;
            match mode {
                PutMode::Overwrite => file.take_name(&target),
                PutMode::Create => file.take_free_name(&target),
            }
        });
        stored.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists if mode == PutMode::Create => {
                TierError::already_exists(&self.address, path)
            }
            _ => self.failed("write", path, error),
        })
    }

    /// Creates a temporary file beside `target`, preparing the directory on its first use.
    fn temporary(&self, target: &Path) -> io::Result<Temporary> {
        let directory = durable::parent(target)?;
        if self.prepared.contains(directory) {
            match Temporary::beside(target) {
                // Somebody removed the directory since.
                Err(error) if is_absent(&error) => {}
                other => return other,
            }
        }
        self.create_directories(directory)?;
        let file = Temporary::beside(target)?;
        if let Err(error) = file.sweep_leftovers() {
            tracing::debug!(path = %directory.display(), %error, "leftovers could not be looked for");
        }
        self.prepared.insert(directory);
        Ok(file)
    }

    /// Makes `directory` and those between it and the root durably; never the root itself.
    fn create_directories(&self, directory: &Path) -> io::Result<()> {
        if directory == self.root {
            return Ok(());
        }
        let above = durable::parent(directory)?;
        self.create_directories(above)?;
        durable::create_directory(directory, self.modes.directory)
    }

    fn open_object(&self, path: &ObjectPath) -> Result<(File, Metadata), TierError> {
        // Opening a fifo would wait for its writer without O_NONBLOCK; files ignore it.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(self.file(path));
        let looked_at = opened.and_then(|file| file.metadata().map(|meta| (file, meta)));
        match looked_at {
            Ok((file, meta)) if meta.is_file() => Ok((file, meta)),
            Ok(_) => Err(TierError::not_found(&self.address, path)),
            Err(error) if is_absent(&error) => Err(TierError::not_found(&self.address, path)),
            Err(error) => Err(self.failed("read", path, error)),
        }
    }

    fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        let mut body = Vec::new();
        self.get_into(path, range, &mut body)?;
        Ok(Bytes::from(body))
    }

    /// Reads into the memory that `body` has, which grows if need be.
    fn get_into(
        &self,
        path: &ObjectPath,
        range: ReadRange,
        body: &mut Vec<u8>,
    ) -> Result<(), TierError> {
        let (file, meta) = self.open_object(path)?;
        let size = meta.len();
        let span = range
            .within(size)
            .ok_or_else(|| TierError::out_of_range(&self.address, path, range, size))?;
        let length = usize::try_from(span.end - span.start).map_err(io::Error::other);
        let read = length.and_then(|length| {
            body.try_reserve_exact(length.saturating_sub(body.len()))?;
            // Only what it grows by is zeroed.
            body.resize(length, 0);
            file.read_exact_at(body, span.start)
        });
        read.map_err(|error| self.failed("read", path, error))
    }

    fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        match fs::metadata(self.file(path)) {
            Ok(meta) if meta.is_file() => {
                Ok(ObjectMeta { path: path.clone(), size: meta.len(), modified: modified(&meta) })
            }
            Ok(_) => Err(TierError::not_found(&self.address, path)),
            Err(error) if is_absent(&error) => Err(TierError::not_found(&self.address, path)),
            Err(error) => Err(self.failed("look at", path, error)),
        }
    }

    fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        match durable::remove(&self.file(path)) {
            // A directory is no object, so the object is not there.
            Err(error) if errno(&error) == Some(Errno::ISDIR) => Ok(()),
            other => other.map_err(|error| self.failed("delete", path, error)),
        }
    }

    /// Calls `found` with each object below `prefix`, until it returns false.
    fn walk(
        &self,
        prefix: &ObjectPrefix,
        found: &mut dyn FnMut(ObjectMeta) -> bool,
    ) -> Result<(), TierError> {
        let start = prefix.path().map(|path| path.as_str().to_owned()).unwrap_or_default();
        let mut waiting = vec![start];
        while let Some(directory) = waiting.pop() {
            let step = self.walk_directory(&directory, &mut waiting, found);
            let goes_on =
                step.map_err(|error| refused(&self.address, format!("list `{directory}`"), error))?;
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// Lists one directory; those in it join `waiting`. Whatever vanishes meanwhile was deleted.
    fn walk_directory(
        &self,
        directory: &str,
        waiting: &mut Vec<String>,
        found: &mut dyn FnMut(ObjectMeta) -> bool,
    ) -> io::Result<bool> {
        let entries = match fs::read_dir(self.root.join(directory)) {
            Err(error) if is_absent(&error) => return Ok(true),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            // Hidden names are temporary files; other names that cannot be an object's are not
            // ours, like `lost+found`.
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let separator = if directory.is_empty() { "" } else { "/" };
            let Ok(path) = format!("{directory}{separator}{name}").parse::<ObjectPath>() else {
                continue;
            };
            let meta = match entry.metadata() {
                Err(error) if is_absent(&error) => continue,
                other => other?,
            };
            if meta.is_dir() {
                waiting.push(path.as_str().to_owned());
            } else if meta.is_file() {
                let object = ObjectMeta { path, size: meta.len(), modified: modified(&meta) };
                if !found(object) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

#[async_trait]
impl Tier for LocalTier {
    fn address(&self) -> &str {
        &self.0.address
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError> {
        let path = path.clone();
        self.blocking(move |inner| inner.put(&path, &body, mode)).await
    }

    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        let path = path.clone();
        self.blocking(move |inner| inner.get(&path, range)).await
    }

    fn reads_here(&self) -> bool {
        true
    }

    fn get_here(
        &self,
        path: &ObjectPath,
        range: ReadRange,
        buffer: &mut Vec<u8>,
    ) -> Option<Result<(), TierError>> {
        Some(self.0.check_root().and_then(|()| self.0.get_into(path, range, buffer)))
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        let path = path.clone();
        self.blocking(move |inner| inner.head(&path)).await
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        let (sender, receiver) = mpsc::channel(LISTED_WAITING_MAX);
        let prefix = prefix.clone();
        let walk = self.blocking(move |inner| {
            inner.walk(&prefix, &mut |object| sender.blocking_send(object).is_ok())
        });
        let objects = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|object| (Ok(object), receiver))
        });
        // The walk yields nothing by itself, only its failure; it has to be driven beside the
        // objects, and a reader that drops the stream ends it at its next object.
        let failure = stream::once(walk).filter_map(async |result| result.err().map(Err));
        stream::select(objects, failure).boxed()
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        let path = path.clone();
        self.blocking(move |inner| inner.delete(&path)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;
    use lifeboat_model::{Classify, ErrorKind};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    fn path(text: &str) -> ObjectPath {
        text.parse().unwrap()
    }

    async fn put(tier: &LocalTier, name: &str) -> Result<(), TierError> {
        tier.put(&path(name), Bytes::from_static(b"body"), PutMode::Overwrite).await
    }

    async fn names(tier: &LocalTier) -> Vec<String> {
        let listed: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
        let mut names: Vec<_> = listed.into_iter().map(|meta| meta.path.to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn listings_are_prompt_where_that_is_known() {
        let is_prompt =
            |path, listings| capabilities(Path::new(path), listings).has(Capability::PromptListing);
        assert!(is_prompt("/dev/shm", Listings::AsKnown), "tmpfs");
        assert!(!is_prompt("/proc", Listings::AsKnown), "nothing is known of it");
        assert!(!is_prompt("/not/there", Listings::AsKnown));
        assert!(is_prompt("/proc", Listings::Prompt), "somebody knows");
        assert!(!is_prompt("/dev/shm", Listings::Late), "something lies in between");
    }

    #[test]
    fn only_create_makes_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("new/tier");
        assert!(matches!(LocalTier::open(&root), Err(TierError::Missing { .. })));
        assert!(!root.exists());
        LocalTier::create(&root).unwrap();
        LocalTier::create(&root).unwrap();
        LocalTier::open(&root).unwrap();
        fs::File::create(folder.path().join("file")).unwrap();
        let file = folder.path().join("file");
        assert!(matches!(LocalTier::open(&file), Err(TierError::Missing { .. })));
    }

    #[tokio::test]
    async fn a_root_that_went_away_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("tier");
        let tier = LocalTier::create(&root).unwrap();
        put(&tier, "repo/a").await.unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(matches!(put(&tier, "repo/a").await, Err(TierError::Missing { .. })));
        assert!(!root.exists());
        let listed: Result<Vec<_>, _> = tier.list(&ObjectPrefix::ALL).try_collect().await;
        assert!(matches!(listed, Err(TierError::Missing { .. })));
        // What was deleted stays deleted, but of a tier that is away nothing can be said.
        assert!(matches!(tier.delete(&path("a")).await, Err(TierError::Missing { .. })));
    }

    #[tokio::test]
    async fn another_directory_in_the_roots_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("tier");
        let tier = LocalTier::create(&root).unwrap();
        rustix::fs::rename(&root, folder.path().join("unmounted")).unwrap();
        fs::create_dir(&root).unwrap();
        let error = put(&tier, "repo/a").await.unwrap_err();
        assert!(matches!(error, TierError::Replaced { .. }));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn objects_are_read_only_and_private_unless_the_root_is_shared() {
        for (root_mode, file, directory) in [(0o755, 0o440, 0o750), (0o700, 0o400, 0o700)] {
            let folder = tempfile::tempdir().unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(root_mode)).unwrap();
            let tier = LocalTier::open(folder.path()).unwrap();
            put(&tier, "repo/a").await.unwrap();
            let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().mode() & 0o777;
            assert_eq!((mode("repo/a"), mode("repo")), (file, directory));
        }
    }

    #[tokio::test]
    async fn leftovers_are_unseen_and_swept_once_old() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("repo/.lifeboat-0000000000000001.tmp");
        let young = folder.path().join("repo/.lifeboat-0000000000000002.tmp");
        fs::create_dir(folder.path().join("repo")).unwrap();
        for (leftover, age) in [(&old, 25), (&young, 23)] {
            let file = File::create(leftover).unwrap();
            let now = file.metadata().unwrap().modified().unwrap();
            file.set_modified(now - Duration::from_hours(age)).unwrap();
        }
        let tier = LocalTier::open(folder.path()).unwrap();
        assert!(names(&tier).await.is_empty());
        put(&tier, "repo/a").await.unwrap();
        assert!(!old.exists());
        assert!(young.exists());
        assert_eq!(names(&tier).await, ["repo/a"]);
    }

    #[tokio::test]
    async fn what_is_no_object_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let tier = LocalTier::open(folder.path()).unwrap();
        put(&tier, "repo/a").await.unwrap();
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        File::create(folder.path().join("lost+found/b")).unwrap();
        File::create(folder.path().join("a note.txt")).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        assert_eq!(names(&tier).await, ["repo/a"]);
        let read = tier.get(&path("fifo"), ReadRange::Full).await;
        assert!(matches!(read, Err(TierError::NotFound { .. })), "{read:?}");
    }

    #[tokio::test]
    async fn a_directory_that_somebody_removed_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let tier = LocalTier::open(folder.path()).unwrap();
        put(&tier, "repo/data/00/a").await.unwrap();
        fs::remove_dir_all(folder.path().join("repo")).unwrap();
        put(&tier, "repo/data/00/a").await.unwrap();
        assert_eq!(names(&tier).await, ["repo/data/00/a"]);
    }

    #[tokio::test]
    async fn a_path_below_an_object_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let tier = LocalTier::open(folder.path()).unwrap();
        put(&tier, "a").await.unwrap();
        for mode in [PutMode::Overwrite, PutMode::Create] {
            let refused = tier.put(&path("a/b"), Bytes::new(), mode).await;
            assert!(matches!(refused, Err(TierError::Denied { .. })), "{refused:?}");
        }
        assert_eq!(tier.get(&path("a"), ReadRange::Full).await.unwrap(), "body");
    }

    /// Nobody can create a file in `/sys`, not even root.
    #[tokio::test]
    async fn a_tier_that_cannot_be_written_says_so() {
        let tier = LocalTier::open(Path::new("/sys")).unwrap();
        let refused = put(&tier, "kernel/a").await;
        assert!(matches!(refused, Err(TierError::Denied { .. })), "{refused:?}");
        let deleted = tier.delete(&path("kernel/mm/absent")).await;
        assert!(deleted.is_ok(), "{deleted:?}");
    }

    #[tokio::test]
    async fn what_is_read_here_is_what_is_read_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let tier = LocalTier::open(folder.path()).unwrap();
        put(&tier, "a").await.unwrap();
        assert!(tier.reads_here());
        let mut buffer = vec![7; 100];
        for range in [
            ReadRange::Full,
            ReadRange::Suffix(2),
            ReadRange::Bounded { offset: 1, length: 3 },
            ReadRange::Bounded { offset: 4, length: 0 },
        ] {
            tier.get_here(&path("a"), range, &mut buffer).unwrap().unwrap();
            assert_eq!(buffer, tier.get(&path("a"), range).await.unwrap(), "{range:?}");
        }
        let beyond = ReadRange::Bounded { offset: 2, length: 3 };
        let error = tier.get_here(&path("a"), beyond, &mut buffer).unwrap().unwrap_err();
        assert!(matches!(error, TierError::OutOfRange { .. }), "{error}");
        let error = tier.get_here(&path("b"), ReadRange::Full, &mut buffer).unwrap().unwrap_err();
        assert!(matches!(error, TierError::NotFound { .. }), "{error}");
    }

    #[test]
    fn the_systems_word_decides_what_a_failure_means() {
        let told = |errno: Errno| refused("file:///x", "write a".to_owned(), errno.into());
        for full in [Errno::NOSPC, Errno::DQUOT] {
            assert!(matches!(told(full), TierError::Full { .. }), "{full:?}");
        }
        for denied in [Errno::ROFS, Errno::ACCESS, Errno::PERM] {
            assert!(matches!(told(denied), TierError::Denied { .. }), "{denied:?}");
        }
        for passing in [Errno::IO, Errno::STALE, Errno::TIMEDOUT, Errno::MFILE] {
            assert_eq!(told(passing).kind(), ErrorKind::Unavailable, "{passing:?}");
        }
    }
}
