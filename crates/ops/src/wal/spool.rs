//! Segments that were fetched before recovery asks for them, in a directory of their own.
//!
//! # Crash consistency
//!
//! A file here is never believed: its name has the digest of its bytes, which are held against it when
//! it is taken. What a crash leaves is removed by the next one that opens the spool.
//!
//! # Limits
//!
//! The caller keeps at most as many files here as it fetches ahead. A disk without room is no failure: then
//! nothing is kept.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lifeboat_postgres::archive::name::ShortDigest;
use lifeboat_postgres::archive::{WalAddress, WalFile};
use lifeboat_tiers::durable;

/// What a spooled file's name ends with; nothing else is ever removed.
const SUFFIX: &str = ".spooled";

/// The directory.
#[derive(Debug, Clone)]
pub struct Spool(PathBuf);

impl Spool {
    /// Makes the directory, or empties the one that is there.
    pub fn open(directory: &Path) -> io::Result<Self> {
        durable::create_directories(directory, 0o700)?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.to_str().is_some_and(|path| path.ends_with(SUFFIX)) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self(directory.to_owned()))
    }

    fn path(&self, address: WalAddress, digest: ShortDigest) -> PathBuf {
        self.0.join(format!("{}-{}-{digest}{SUFFIX}", address.system, address.file))
    }

    /// Keeps a file and returns what it is known by.
    pub fn keep(&self, file: &WalFile) -> io::Result<ShortDigest> {
        let digest = ShortDigest::of(file.bytes());
        let path = self.path(file.address(), digest);
        let kept = File::create(&path).and_then(|mut target| target.write_all(file.bytes()));
        // Part of a file is of no use, and takes room that others need.
        kept.inspect_err(|_| drop(fs::remove_file(&path))).map(|()| digest)
    }

    /// Takes a file out, if it is there and whole.
    pub fn take(&self, address: WalAddress, digest: ShortDigest) -> Option<WalFile> {
        let path = self.path(address, digest);
        let mut bytes = Vec::new();
        let length = u64::from(address.size.bytes()) + 1;
        let read = File::open(&path).and_then(|file| file.take(length).read_to_end(&mut bytes));
        drop(fs::remove_file(&path));
        let is_whole = read.is_ok() && ShortDigest::of(&bytes) == digest;
        is_whole.then(|| WalFile::check(address, Bytes::from(bytes)).ok()).flatten()
    }

    /// Removes a file that nobody will ask for.
    pub fn forget(&self, address: WalAddress, digest: ShortDigest) {
        // One that cannot be removed now is removed when the spool is opened again.
        drop(fs::remove_file(self.path(address, digest)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_postgres::archive::SystemId;
    use lifeboat_postgres::wal::{SegmentSize, TimelineId, WalFileName};

    fn history(text: &str) -> WalFile {
        let file = WalFileName::History(TimelineId(2));
        let address = WalAddress { system: SystemId(7), size: SegmentSize::MIN, file };
        WalFile::check(address, Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn what_was_kept_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        let file = history("1\t0/300000\tnone\n");
        let digest = spool.keep(&file).unwrap();
        assert_eq!(spool.take(file.address(), digest), Some(file.clone()));
        assert_eq!(spool.take(file.address(), digest), None);
    }

    #[test]
    fn what_a_crash_or_anybody_left_is_never_believed() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        let file = history("1\t0/300000\tnone\n");
        for bytes in [&b""[..], b"1\t0/3", b"1\t0/300001\tnone\n"] {
            let digest = spool.keep(&file).unwrap();
            let path = spool.path(file.address(), digest);
            File::create(&path).unwrap().write_all(bytes).unwrap();
            assert_eq!(spool.take(file.address(), digest), None);
        }
        spool.keep(&file).unwrap();
        let other = directory.path().join("somebody's");
        File::create(&other).unwrap();
        Spool::open(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(other.exists());
    }
}
