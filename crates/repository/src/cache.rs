//! A local copy of what every command reads first: index files, snapshot files, tree packs.
//!
//! One directory a repository id, laid out as restic lays out its own, below a directory that the
//! caller chose. [`Cache::read_through`] is all a reader needs.
//!
//! # Invariants
//!
//! - A file's name is the SHA-256 of its bytes, and both are compared on every use: what a crash,
//!   a full disk or somebody else left there is never believed, only fetched again.
//! - The repository never depends on the cache: no failure to read or write it is an error.
//!
//! # Crash consistency
//!
//! Files appear by rename, without fsync. After a crash one may be empty or torn; its hash then
//! tells, and it is replaced.
//!
//! # Limits
//!
//! It holds at most what the repository lists: [`Cache::trim`] drops the rest. Tree packs are a
//! few per cent of a repository. What else is kept here (the atlas, fingerprints) sees to its own
//! seal and size.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lifeboat_model::RepositoryId;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::Pid;
use sha2::{Digest, Sha256};

/// The signature that tells backup programs to leave a directory out (bford.info/cachedir).
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory holds copies of a repository's metadata and may be deleted at any time.\n";

/// Larger files are not kept: no index, snapshot or tree pack that a program writes comes near.
const FILE_SIZE_MAX: u64 = 256 << 20;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheKind {
    /// Index files.
    Index,
    /// Snapshot files.
    Snapshot,
    /// Packs that hold trees.
    TreePack,
}

impl CacheKind {
    const fn directory(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Snapshot => "snapshots",
            Self::TreePack => "data",
        }
    }
}

/// The local cache of one repository.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    unique: AtomicU64,
}

impl Cache {
    /// Opens the cache of a repository below `base`, making it where it lacks.
    pub fn open(base: &Path, repository: RepositoryId) -> io::Result<Self> {
        let directory = base.join(repository.to_hex());
        for kind in [CacheKind::Index, CacheKind::Snapshot, CacheKind::TreePack] {
            fs::create_dir_all(directory.join(kind.directory()))?;
        }
        let cache = Self { directory, unique: AtomicU64::new(0) };
        cache.put_once(&base.join("CACHEDIR.TAG"), CACHEDIR_TAG.as_bytes())?;
        cache.put_once(&cache.directory.join("version"), b"1")?;
        Ok(cache)
    }

    /// Returns the file of this name, from the cache or else by `fetch`, and then keeps it.
    ///
    /// Whoever fetches verifies; bytes that do not bear their name are passed on but not kept.
    pub fn read_through<E>(
        &self,
        kind: CacheKind,
        name: &[u8; 32],
        fetch: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        if let Some(bytes) = self.get(kind, name) {
            return Ok(bytes);
        }
        let bytes = fetch()?;
        self.put(kind, name, &bytes);
        Ok(bytes)
    }

    /// Returns a file if it is there and whole; removes it if it is not whole.
    pub fn get(&self, kind: CacheKind, name: &[u8; 32]) -> Option<Bytes> {
        let path = self.path(kind, name);
        let mut bytes = Vec::new();
        File::open(&path).ok()?.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes).ok()?;
        if bears_name(&bytes, name) {
            return Some(bytes.into());
        }
        tracing::debug!(path = %path.display(), "A cached file is damaged and is fetched again.");
        let _ = fs::remove_file(&path);
        None
    }

    /// Tells whether a file seems to be there.
    pub(crate) fn has(&self, kind: CacheKind, name: &[u8; 32]) -> bool {
        self.path(kind, name).exists()
    }

    /// Keeps a file; if that fails, the next reader fetches it again.
    pub fn put(&self, kind: CacheKind, name: &[u8; 32], bytes: &[u8]) {
        let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= FILE_SIZE_MAX);
        if !fits || !bears_name(bytes, name) {
            return;
        }
        let path = self.path(kind, name);
        if let Err(error) = self.write(&path, bytes) {
            tracing::debug!(path = %path.display(), %error, "A file could not be cached.");
        }
    }

    /// Removes all files of a kind whose names are not `listed`, as far as that works; returns how
    /// many.
    pub fn trim(&self, kind: CacheKind, listed: impl Fn(&[u8; 32]) -> bool) -> u64 {
        self.retain(kind, listed).unwrap_or_else(|error| {
            tracing::debug!(%error, "The cache could not be trimmed.");
            0
        })
    }

    fn retain(&self, kind: CacheKind, listed: impl Fn(&[u8; 32]) -> bool) -> io::Result<u64> {
        let mut removed = 0;
        for bucket in fs::read_dir(self.directory.join(kind.directory()))? {
            let bucket = bucket?.path();
            for file in fs::read_dir(&bucket)? {
                let file = file?;
                let mut name = [0; 32];
                let is_name = hex::decode_to_slice(file.file_name().as_encoded_bytes(), &mut name);
                if is_name.is_err() || !listed(&name) {
                    fs::remove_file(file.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    fn path(&self, kind: CacheKind, name: &[u8; 32]) -> PathBuf {
        let name = hex::encode(name);
        self.directory.join(kind.directory()).join(&name[..2]).join(name)
    }

    /// Returns the path of a file that is no copy of one of the repository's.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Puts what `write` writes in the place of such a file, once it is whole.
    pub(crate) fn replace(
        &self,
        name: &str,
        write: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        self.sweep(name);
        self.write_with(&self.path_of(name), write)
    }

    /// Reads such a file, unless it is not there or longer than `length_max`.
    pub(crate) fn read(&self, name: &str, length_max: u64) -> Option<Vec<u8>> {
        let file = File::open(self.path_of(name)).ok()?;
        let length = file.metadata().ok()?.len();
        let mut bytes = Vec::with_capacity(usize::try_from(length.min(length_max)).ok()?);
        file.take(length_max + 1).read_to_end(&mut bytes).ok()?;
        u64::try_from(bytes.len()).is_ok_and(|length| length <= length_max).then_some(bytes)
    }

    /// Puts bytes in the place of such a file, as far as that works.
    pub(crate) fn replace_bytes(&self, name: &str, bytes: &[u8]) {
        if let Err(error) = self.replace(name, |mut file| file.write_all(bytes)) {
            tracing::debug!(name, %error, "A file could not be cached.");
        }
    }

    /// Removes all but the newest such files whose names begin so, as far as that works.
    pub(crate) fn keep_newest(&self, prefix: &str, count: usize) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut found: Vec<_> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        found.sort_unstable();
        for (_, path) in &found[..found.len().saturating_sub(count)] {
            let _ = fs::remove_file(path);
        }
    }

    /// Makes a file that vanishes with the process.
    pub(crate) fn scratch(&self) -> io::Result<File> {
        let path = self.temporary(&self.path_of("scratch"));
        fs::create_dir_all(&self.directory)?;
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }

    /// Removes what processes that are gone were writing in the place of a file.
    fn sweep(&self, name: &str) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        for entry in entries.filter_map(Result::ok) {
            let writer = entry.file_name().to_str().and_then(|file| {
                let rest = file.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp")?;
                rest.split_once('-')?.0.parse().ok()
            });
            let is_gone = writer.and_then(Pid::from_raw).is_some_and(|writer| {
                rustix::process::test_kill_process(writer) == Err(Errno::SRCH)
            });
            if is_gone {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn put_once(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if path.exists() { Ok(()) } else { self.write(path, bytes) }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write_with(path, |mut file| file.write_all(bytes))
    }

    fn temporary(&self, path: &Path) -> PathBuf {
        let number = self.unique.fetch_add(1, Ordering::Relaxed);
        path.with_extension(format!("{}-{number}.tmp", std::process::id()))
    }

    fn write_with(
        &self,
        path: &Path,
        write: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let temporary = self.temporary(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let written = File::create(&temporary)
            .and_then(|file| write(&file))
            .and_then(|()| Ok(rustix::fs::renameat(CWD, &temporary, CWD, path)?));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

fn bears_name(bytes: &[u8], name: &[u8; 32]) -> bool {
    Sha256::digest(bytes).as_slice() == name
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"an index";

    fn cache(base: &Path) -> Cache {
        Cache::open(base, RepositoryId::from_bytes([7; 32])).unwrap()
    }

    fn name_of(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    fn fetched(cache: &Cache) -> bool {
        let mut fetched = false;
        let bytes = cache.read_through(CacheKind::Index, &name_of(BODY), || {
            fetched = true;
            Ok::<_, io::Error>(Bytes::from_static(BODY))
        });
        assert_eq!(bytes.unwrap(), BODY);
        fetched
    }

    #[test]
    fn a_file_is_fetched_once() {
        let base = tempfile::tempdir().unwrap();
        let cache = cache(base.path());
        assert!(fetched(&cache));
        assert!(!fetched(&cache));
        let tag = fs::read_to_string(base.path().join("CACHEDIR.TAG")).unwrap();
        assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55"));
    }

    #[test]
    fn a_damaged_or_lost_file_is_fetched_again() {
        let base = tempfile::tempdir().unwrap();
        let cache = cache(base.path());
        assert!(fetched(&cache));
        let path = cache.path(CacheKind::Index, &name_of(BODY));
        for damage in [&b"an indey"[..], b"", b"an index and more"] {
            File::create(&path).unwrap().write_all(damage).unwrap();
            assert!(fetched(&cache));
            assert_eq!(fs::read(&path).unwrap(), BODY);
        }
        fs::remove_dir_all(base.path()).unwrap();
        assert!(fetched(&cache), "the whole cache may vanish");
    }

    #[test]
    fn bytes_that_do_not_bear_their_name_are_not_kept() {
        let base = tempfile::tempdir().unwrap();
        let cache = cache(base.path());
        cache.put(CacheKind::Snapshot, &name_of(BODY), b"something else");
        assert_eq!(cache.get(CacheKind::Snapshot, &name_of(BODY)), None);
    }

    #[test]
    fn what_the_repository_no_longer_lists_goes() {
        let base = tempfile::tempdir().unwrap();
        let cache = cache(base.path());
        let (kept, gone) = (name_of(b"kept"), name_of(b"gone"));
        cache.put(CacheKind::TreePack, &kept, b"kept");
        cache.put(CacheKind::TreePack, &gone, b"gone");
        let removed = cache.retain(CacheKind::TreePack, |name| *name == kept).unwrap();
        assert_eq!(removed, 1);
        assert!(cache.get(CacheKind::TreePack, &kept).is_some());
        assert_eq!(cache.get(CacheKind::TreePack, &gone), None);
    }

    #[test]
    fn of_many_files_of_a_sort_the_newest_stay() {
        let base = tempfile::tempdir().unwrap();
        let cache = cache(base.path());
        for (age, name) in ["x-new", "x-old", "x-older", "y"].into_iter().enumerate() {
            cache.replace_bytes(name, name.as_bytes());
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(10 - age as u64);
            let file = File::options().write(true).open(cache.path_of(name)).unwrap();
            file.set_modified(time).unwrap();
        }
        cache.keep_newest("x-", 2);
        let there = |name| cache.read(name, 100).is_some();
        assert!(there("x-new") && there("x-old") && there("y") && !there("x-older"));
        assert_eq!(cache.read("x-new", 4), None, "it is longer");
    }
}
