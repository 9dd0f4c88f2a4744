//! The differences between two trees, each named.

use std::fmt;
use std::path::{Path, PathBuf};

use super::state::{Entry, Kind, TreeState};

/// What of an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aspect {
    /// It is in one tree only.
    Presence,
    /// It is another sort of thing.
    Kind,
    /// Size or bytes of a file, target of a symlink, numbers of a device.
    Content,
    /// Permission bits.
    Mode,
    /// User or group.
    Owner,
    /// When it was last changed.
    Modified,
    /// Extended attributes, ACLs among them.
    Attributes,
    /// Which paths are the same file.
    Links,
    /// Where a file has holes.
    Holes,
}

/// One difference between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which entry.
    pub path: PathBuf,
    /// What of it.
    pub aspect: Aspect,
    /// How it should be.
    pub expected: String,
    /// How it is.
    pub actual: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, aspect, expected, actual } = self;
        write!(f, "{}: {aspect:?} is {actual}, expected {expected}", path.display())
    }
}

impl TreeState {
    /// Names each way in which `actual` is not like `self`, except in the `ignored` aspects.
    pub fn differences(&self, actual: &Self, ignored: &[Aspect]) -> Vec<Difference> {
        let added = actual.entries.iter().filter(|(path, _)| !self.entries.contains_key(*path));
        let added = added.map(|(path, entry)| presence(path, "nothing", kind_name(&entry.kind)));
        let changed =
            self.entries.iter().flat_map(|(path, expected)| match actual.entries.get(path) {
                Some(actual) => entry_differences(path, expected, actual),
                None => vec![presence(path, kind_name(&expected.kind), "nothing")],
            });
        changed.chain(added).filter(|found| !ignored.contains(&found.aspect)).collect()
    }
}

fn presence(path: &Path, expected: &str, actual: &str) -> Difference {
    Difference {
        path: path.to_owned(),
        aspect: Aspect::Presence,
        expected: expected.to_owned(),
        actual: actual.to_owned(),
    }
}

const fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::File { .. } => "a file",
        Kind::Directory => "a directory",
        Kind::Symlink { .. } => "a symlink",
        Kind::Fifo => "a fifo",
        Kind::Socket => "a socket",
        Kind::BlockDevice { .. } => "a block device",
        Kind::CharacterDevice { .. } => "a character device",
    }
}

fn entry_differences(path: &Path, expected: &Entry, actual: &Entry) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |aspect, expected: String, actual: String| {
        if expected != actual {
            found.push(Difference { path: path.to_owned(), aspect, expected, actual });
        }
    };
    let owner = |entry: &Entry| format!("{}:{}", entry.uid, entry.gid);
    let modified = |entry: &Entry| format!("{}.{:09}", entry.modified.0, entry.modified.1);
    compare(Aspect::Kind, kind_name(&expected.kind).into(), kind_name(&actual.kind).into());
    compare(Aspect::Content, content(&expected.kind), content(&actual.kind));
    compare(Aspect::Mode, format!("{:04o}", expected.mode), format!("{:04o}", actual.mode));
    compare(Aspect::Owner, owner(expected), owner(actual));
    compare(Aspect::Modified, modified(expected), modified(actual));
    compare(
        Aspect::Attributes,
        format!("{:?}", expected.attributes),
        format!("{:?}", actual.attributes),
    );
    compare(Aspect::Links, format!("{:?}", expected.linked_to), format!("{:?}", actual.linked_to));
    compare(Aspect::Holes, format!("{:?}", expected.holes), format!("{:?}", actual.holes));
    found
}

fn content(kind: &Kind) -> String {
    match kind {
        Kind::File { size, hash } => {
            format!("{size} bytes with SHA-256 {}…", hex::encode(&hash[..8]))
        }
        Kind::Symlink { target } => format!("-> {}", target.display()),
        Kind::BlockDevice { numbers } | Kind::CharacterDevice { numbers } => format!("{numbers:?}"),
        Kind::Directory | Kind::Fifo | Kind::Socket => String::new(),
    }
}
