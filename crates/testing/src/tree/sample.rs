//! A tree with everything that a Linux file system can hold, the same for the same seed.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, makedev, mknodat, utimensat};

use super::attribute::{self, ACL_ACCESS, ACL_DEFAULT};

/// Something unusual that a tree can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Files and directories of all sorts of modes, set-uid, set-gid and sticky among them.
    Modes,
    /// Entries of other owners and groups; only root can make them.
    Owners,
    /// Symbolic links: relative, absolute, dangling, to themselves, of a long and a non-UTF-8 target.
    Symlinks,
    /// Several names of one file, across directories.
    HardLinks,
    /// Named pipes.
    Fifos,
    /// Block and character devices; only root can make them.
    Devices,
    /// Extended attributes, an empty, a binary and a large one.
    Attributes,
    /// Access and default ACLs.
    Acls,
    /// Files with holes at the start, in the middle and at the end.
    Sparse,
    /// Names that are odd, though valid text.
    OddNames,
    /// Names that are not UTF-8.
    NonUtf8Names,
    /// Empty directories, a deep one among them, and empty files.
    Empty,
    /// A file of several megabytes, so that it has several chunks.
    Large,
}

impl Feature {
    const ALL: [Self; 13] = [
        Self::Modes,
        Self::Owners,
        Self::Symlinks,
        Self::HardLinks,
        Self::Fifos,
        Self::Devices,
        Self::Attributes,
        Self::Acls,
        Self::Sparse,
        Self::OddNames,
        Self::NonUtf8Names,
        Self::Empty,
        Self::Large,
    ];

    /// Tells whether only root can make it.
    pub const fn needs_root(self) -> bool {
        matches!(self, Self::Owners | Self::Devices)
    }
}

/// A recipe for a tree.
///
/// ```no_run
/// use lifeboat_testing::tree::{Feature, Sample};
/// Sample::new(42).files(100).with(Feature::HardLinks).build("/tmp/sample")?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sample {
    seed: u64,
    files: usize,
    features: Vec<Feature>,
}

impl Sample {
    /// Returns a recipe for a few plain files in a few directories, made from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { seed, files: 20, features: Vec::new() }
    }

    /// Returns a recipe with every feature that this process may make.
    pub fn everything(seed: u64) -> Self {
        let root = nix::unistd::geteuid().is_root();
        let mut sample = Self::new(seed);
        sample.features.extend(Feature::ALL.into_iter().filter(|f| root || !f.needs_root()));
        sample
    }

    /// Sets how many plain files there are.
    #[must_use]
    pub const fn files(mut self, count: usize) -> Self {
        self.files = count;
        self
    }

    /// Adds a feature.
    #[must_use]
    pub fn with(mut self, feature: Feature) -> Self {
        if !self.features.contains(&feature) {
            self.features.push(feature);
        }
        self
    }

    /// Leaves a feature out.
    #[must_use]
    pub fn without(mut self, feature: Feature) -> Self {
        self.features.retain(|f| *f != feature);
        self
    }

    /// Makes the tree at `root`, which must not exist yet.
    pub fn build(&self, root: impl AsRef<Path>) -> io::Result<()> {
        let root = root.as_ref();
        std::fs::create_dir_all(root)?;
        let mut maker = Maker { root: root.to_owned(), rng: StdRng::seed_from_u64(self.seed) };
        maker.plain_files(self.files)?;
        // In a fixed order, so that the order of `with` does not change what is made.
        for feature in Feature::ALL.into_iter().filter(|f| self.features.contains(f)) {
            maker.make(feature)?;
        }
        maker.set_times(root)
    }
}

/// The tree in the making.
struct Maker {
    root: PathBuf,
    rng: StdRng,
}

impl Maker {
    fn make(&mut self, feature: Feature) -> io::Result<()> {
        match feature {
            Feature::Modes => self.modes(),
            Feature::Owners => self.owners(),
            Feature::Symlinks => self.symlinks(),
            Feature::HardLinks => self.hard_links(),
            Feature::Fifos => self.node("pipe", FileType::Fifo, 0),
            Feature::Devices => {
                self.node("null", FileType::CharacterDevice, makedev(1, 3))?;
                self.node("loop", FileType::BlockDevice, makedev(7, 42))
            }
            Feature::Attributes => self.attributes(),
            Feature::Acls => self.acls(),
            Feature::Sparse => self.sparse(),
            Feature::OddNames => self.odd_names(),
            Feature::NonUtf8Names => self.non_utf8_names(),
            Feature::Empty => self.empty(),
            Feature::Large => self.file("large/blob.bin", 9 * 1024 * 1024 + 17).map(drop),
        }
    }

    /// Makes a file of `size` random bytes and the directories above it.
    fn file(&mut self, name: impl AsRef<Path>, size: usize) -> io::Result<PathBuf> {
        let mut content = vec![0; size];
        self.rng.fill_bytes(&mut content);
        self.file_of(name, &content)
    }

    fn file_of(&self, name: impl AsRef<Path>, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        std::fs::create_dir_all(path.parent().expect("every path lies below the root"))?;
        File::create_new(&path)?.write_all(content)?;
        Ok(path)
    }

    fn directory(&self, name: impl AsRef<Path>) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    fn plain_files(&mut self, count: usize) -> io::Result<()> {
        for number in 0..count {
            let name = format!("plain/{}/file-{number}.txt", number % 7);
            let size = self.rng.random_range(0..20_000);
            if number % 3 == 0 {
                let line = format!("line of file {number}\n");
                self.file_of(name, line.repeat(size / line.len()).as_bytes())?;
            } else {
                self.file(name, size)?;
            }
        }
        Ok(())
    }

    fn modes(&mut self) -> io::Result<()> {
        for mode in [0o400, 0o444, 0o600, 0o640, 0o644, 0o666, 0o700, 0o755, 0o777, 0o4755, 0o2755]
        {
            let path = self.file(format!("modes/{mode:04o}.bin"), 64)?;
            std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        for mode in [0o700, 0o750, 0o1777, 0o2775] {
            let path = self.directory(format!("modes/{mode:04o}.d"))?;
            std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    fn owners(&mut self) -> io::Result<()> {
        // 33 is www-data on Debian; the others have no name, which must survive too.
        for (uid, gid) in [(33, 33), (0, 33), (4242, 4343), (70_000, 0)] {
            let path = self.file(format!("owners/{uid}-{gid}.bin"), 32)?;
            std::os::unix::fs::chown(&path, Some(uid), Some(gid))?;
            let directory = self.directory(format!("owners/{uid}-{gid}.d"))?;
            std::os::unix::fs::chown(&directory, Some(uid), Some(gid))?;
        }
        let link = self.root.join("owners/link");
        std::os::unix::fs::symlink("0-33.bin", &link)?;
        std::os::unix::fs::lchown(&link, Some(4242), Some(33))
    }

    fn symlinks(&mut self) -> io::Result<()> {
        self.file("symlinks/target.txt", 100)?;
        let long = "very-long-name/".repeat(40);
        let targets: [(&str, &OsStr); 6] = [
            ("relative", OsStr::new("target.txt")),
            ("absolute", OsStr::new("/etc/hostname")),
            ("dangling", OsStr::new("../no/such/file")),
            ("itself", OsStr::new("itself")),
            ("long", OsStr::new(&long)),
            ("bytes", OsStr::from_bytes(b"caf\xe9")),
        ];
        for (name, target) in targets {
            std::os::unix::fs::symlink(target, self.root.join("symlinks").join(name))?;
        }
        Ok(())
    }

    fn hard_links(&mut self) -> io::Result<()> {
        let first = self.file("links/a/first.bin", 5000)?;
        let elsewhere = self.directory("links/b")?;
        std::fs::hard_link(&first, elsewhere.join("second.bin"))?;
        std::fs::hard_link(&first, self.root.join("links/third.bin"))?;
        self.file_of("links/c/twin-1", b"")?;
        std::fs::hard_link(self.root.join("links/c/twin-1"), self.root.join("links/c/twin-2"))
    }

    fn node(&self, name: &str, kind: FileType, device: u64) -> io::Result<()> {
        let path = self.directory("nodes")?.join(name);
        Ok(mknodat(CWD, &path, kind, Mode::from_raw_mode(0o640), device)?)
    }

    fn attributes(&mut self) -> io::Result<()> {
        let path = self.file("attributes/file.bin", 10)?;
        attribute::write(&path, "user.empty", b"")?;
        attribute::write(&path, "user.binary", &[0, 255, 10, 13, 0])?;
        let mut large = vec![0; 2000];
        self.rng.fill_bytes(&mut large);
        attribute::write(&path, "user.large", &large)?;
        let directory = self.directory("attributes/directory")?;
        attribute::write(&directory, "user.comment", "für später".as_bytes())
    }

    fn acls(&mut self) -> io::Result<()> {
        let path = self.file("acls/file.bin", 10)?;
        attribute::write(&path, ACL_ACCESS, &attribute::acl_granting(4242, 6))?;
        let directory = self.directory("acls/directory")?;
        attribute::write(&directory, ACL_DEFAULT, &attribute::acl_granting(33, 4))
    }

    fn sparse(&mut self) -> io::Result<()> {
        const MEBIBYTE: u64 = 1 << 20;
        let mut block = vec![0; 64 * 1024];
        self.rng.fill_bytes(&mut block);
        let islands: [(&str, u64, &[u64]); 4] = [
            ("hole-first", 2 * MEBIBYTE, &[MEBIBYTE]),
            ("hole-between", 3 * MEBIBYTE, &[0, 3 * MEBIBYTE - 64 * 1024]),
            ("hole-last", 2 * MEBIBYTE, &[0]),
            ("only-hole", 5 * MEBIBYTE, &[]),
        ];
        for (name, size, offsets) in islands {
            let mut file = File::create_new(self.directory("sparse")?.join(name))?;
            file.set_len(size)?;
            for offset in offsets {
                file.seek(SeekFrom::Start(*offset))?;
                file.write_all(&block)?;
            }
        }
        Ok(())
    }

    fn odd_names(&self) -> io::Result<()> {
        let long = "n".repeat(255);
        let names = [
            " ",
            "-rf",
            "--help",
            "a\nb",
            "a\tb",
            "\u{1b}[31mred",
            "quote'\"`",
            "back\\slash",
            "*?[a]",
            "$HOME",
            "ünïcödé",
            "u\u{308}decomposed",
            "日本語",
            "🛟",
            "con",
            ".hidden",
            "...",
            "trailing ",
            "<>&|;",
            "\u{2028}separator",
            &long,
        ];
        for name in names {
            self.file_of(Path::new("odd").join(name), name.as_bytes())?;
        }
        self.directory("odd dir\n/inner").map(drop)
    }

    fn non_utf8_names(&self) -> io::Result<()> {
        for name in [&b"latin-\xe9"[..], b"\xff\xfe", b"broken-\xc3", b"\xed\xa0\x80surrogate"] {
            self.file_of(Path::new("bytes").join(OsStr::from_bytes(name)), name)?;
        }
        let directory = self.directory(Path::new("bytes").join(OsStr::from_bytes(b"dir-\x80")))?;
        File::create_new(directory.join("inside")).map(drop)
    }

    fn empty(&self) -> io::Result<()> {
        self.directory("empty/directory")?;
        self.directory("empty/a/b/c/d/e/f/g/h")?;
        self.file_of("empty/file", b"").map(drop)
    }

    /// Gives everything below and including `path` a time of its own, children before parents.
    fn set_times(&mut self, path: &Path) -> io::Result<()> {
        if std::fs::symlink_metadata(path)?.is_dir() {
            let children = std::fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
            // The order of a directory is the file system's; the seed's times must not depend on it.
            let mut children: Vec<_> = children.into_iter().map(|child| child.path()).collect();
            children.sort();
            children.iter().try_for_each(|child| self.set_times(child))?;
        }
        let time = Timespec {
            tv_sec: self.rng.random_range(0..1_800_000_000),
            tv_nsec: self.rng.random_range(0..1_000_000_000),
        };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Aspect, Kind, capture};

    #[test]
    fn the_same_seed_makes_the_same_tree() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            Sample::everything(3).build(dir.path().join(name)).unwrap();
        }
        Sample::everything(4).build(dir.path().join("c")).unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| capture(dir.path().join(name)).unwrap());
        assert_eq!(a.differences(&b, &[]), []);
        assert!(!a.differences(&c, &[]).is_empty());
    }

    #[test]
    fn everything_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        Sample::everything(5).build(dir.path().join("tree")).unwrap();
        let tree = capture(dir.path().join("tree")).unwrap();
        let entry = |path: &str| &tree.entries[Path::new(path)];
        assert_eq!(entry("nodes/pipe").kind, Kind::Fifo);
        assert_eq!(entry("modes/4755.bin").mode, 0o4755);
        assert_eq!(
            entry("links/third.bin").linked_to.as_deref(),
            Some("links/a/first.bin".as_ref())
        );
        assert_eq!(entry("attributes/file.bin").attributes.len(), 3);
        assert!(entry("acls/file.bin").attributes.contains_key(OsStr::new(ACL_ACCESS)));
        assert_eq!(entry("sparse/only-hole").holes, [(0, 5 << 20)]);
        if nix::unistd::geteuid().is_root() {
            assert_eq!(entry("nodes/null").kind, Kind::CharacterDevice { numbers: (1, 3) });
            assert_eq!((entry("owners/link").uid, entry("owners/link").gid), (4242, 33));
        }
    }

    #[test]
    fn each_sort_of_change_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        Sample::everything(6).build(&root).unwrap();
        let before = capture(&root).unwrap();
        std::fs::remove_file(root.join("nodes/pipe")).unwrap();
        std::fs::set_permissions(root.join("modes/0600.bin"), Permissions::from_mode(0o640))
            .unwrap();
        File::options().append(true).open(root.join("odd/con")).unwrap().write_all(b"!").unwrap();
        let after = capture(&root).unwrap();
        let found = before.differences(&after, &[Aspect::Modified]);
        let named: Vec<_> = found.iter().map(|d| (d.path.to_str().unwrap(), d.aspect)).collect();
        assert_eq!(
            named,
            [
                ("modes/0600.bin", Aspect::Mode),
                ("nodes/pipe", Aspect::Presence),
                ("odd/con", Aspect::Content)
            ]
        );
    }
}
