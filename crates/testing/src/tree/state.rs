//! What lies in a directory at one moment, with all that a restore has to bring back.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, major, minor, seek};
use sha2::{Digest as _, Sha256};

use super::attribute;

/// What sort of thing an entry is, with what only that sort has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// The SHA-256 of its content.
        hash: [u8; 32],
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// What it says.
        target: PathBuf,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device.
    BlockDevice {
        /// Its numbers.
        numbers: (u32, u32),
    },
    /// A character device.
    CharacterDevice {
        /// Its numbers.
        numbers: (u32, u32),
    },
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-uid, set-gid and sticky.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// When it was last changed, in seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Extended attributes, ACLs among them.
    pub attributes: BTreeMap<OsString, Vec<u8>>,
    /// The first of all paths in the tree that are this same file, if there are several.
    pub linked_to: Option<PathBuf>,
    /// Where a file has holes, as offset and length in bytes.
    pub holes: Vec<(u64, u64)>,
}

/// A directory with all that is below it, by path relative to it; `.` is the directory itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeState {
    /// The entries in the order of their paths.
    pub entries: BTreeMap<PathBuf, Entry>,
}

impl TreeState {
    /// Returns how many regular files there are.
    pub fn file_count(&self) -> usize {
        self.files().count()
    }

    /// Returns how many bytes the regular files have together.
    pub fn total_bytes(&self) -> u64 {
        self.files().sum()
    }

    fn files(&self) -> impl Iterator<Item = u64> {
        self.entries.values().filter_map(|entry| match entry.kind {
            Kind::File { size, .. } => Some(size),
            _ => None,
        })
    }
}

/// Reads everything in and below `root`, which may also be a single file.
pub fn capture(root: impl AsRef<Path>) -> io::Result<TreeState> {
    let root = root.as_ref();
    let mut state = TreeState::default();
    let mut first_paths = HashMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = std::fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            for child in std::fs::read_dir(&path)? {
                todo.push(child?.path());
            }
        }
        let relative = path.strip_prefix(root).expect("everything found is below the root");
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        if !metadata.is_dir() && metadata.nlink() > 1 {
            let group: &mut Vec<PathBuf> =
                first_paths.entry((metadata.dev(), metadata.ino())).or_default();
            group.push(relative.to_owned());
        }
        state.entries.insert(relative.to_owned(), entry(&path, &metadata)?);
    }
    join_links(&mut state, first_paths.into_values());
    Ok(state)
}

/// Names in each entry the first path of its hard link group.
fn join_links(state: &mut TreeState, groups: impl Iterator<Item = Vec<PathBuf>>) {
    for group in groups.filter(|group| group.len() > 1) {
        let first = group.iter().min().cloned();
        for path in &group {
            let entry = state.entries.get_mut(path).expect("every path of a group was captured");
            entry.linked_to.clone_from(&first);
        }
    }
}

fn entry(path: &Path, metadata: &Metadata) -> io::Result<Entry> {
    let holes = if metadata.is_file() { holes(path, metadata.len())? } else { Vec::new() };
    Ok(Entry {
        kind: kind(path, metadata)?,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        attributes: attribute::read(path)?,
        linked_to: None,
        holes,
    })
}

fn kind(path: &Path, metadata: &Metadata) -> io::Result<Kind> {
    let kind = metadata.file_type();
    let numbers = (major(metadata.rdev()), minor(metadata.rdev()));
    Ok(if kind.is_file() {
        let (size, hash) = hash(path)?;
        Kind::File { size, hash }
    } else if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink { target: std::fs::read_link(path)? }
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else if kind.is_block_device() {
        Kind::BlockDevice { numbers }
    } else {
        Kind::CharacterDevice { numbers }
    })
}

fn hash(path: &Path) -> io::Result<(u64, [u8; 32])> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((size, hasher.finalize().into()));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

/// Finds the holes of a file; a file system that knows none reports none.
fn holes(path: &Path, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let file = File::open(path)?;
    let mut holes = Vec::new();
    let mut offset = 0;
    while offset < size {
        let hole = seek(&file, SeekFrom::Hole(offset))?;
        if hole >= size {
            break;
        }
        offset = match seek(&file, SeekFrom::Data(hole)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => size,
            Err(error) => return Err(error.into()),
        };
        holes.push((hole, offset - hole));
    }
    Ok(holes)
}
