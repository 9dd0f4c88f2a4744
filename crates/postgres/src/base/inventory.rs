//! What a running server's data directory and tablespaces hold, with the size that each file has now.
//!
//! Entries have their names in the snapshot: `pgdata/base/5/1259`, `tblspc/16400/PG_15_202209061/…`.
//!
//! # Invariants
//!
//! - What is gone between the listing and the look is left out, and nothing else is.
//! - A link that leads to a file or a directory is stored as what it leads to, so that a restored
//!   directory stands alone. Links of tablespaces are not followed: the server tells where those are.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use lifeboat_repository::source::EntryMetadata;
use serde::{Deserialize, Serialize};

use super::error::BaseError;
use super::exclusion::{Exclusion, WAL_DIRECTORIES, exclusion, is_left_out};
use super::relation::{Fork, RelationFile, RelationName};

/// The folder of the data directory in a snapshot.
pub const DATA_FOLDER: &str = "pgdata";

/// The folder of the tablespaces in a snapshot.
pub const TABLESPACE_FOLDER: &str = "tblspc";

/// The control file, below the data directory.
pub const CONTROL_FILE: &str = "global/pg_control";

/// How deep directories may lie in each other: a cluster has four levels, a link can make a circle.
const DEPTH_MAX: usize = 32;

/// Which file of this host a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// The number of its file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl From<&Metadata> for FileIdentity {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A directory beside the data directory in which relations lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its number.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Where it is; a relative path lies in the data directory.
    pub location: PathBuf,
}

/// Where a server's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The data directory.
    pub data: PathBuf,
    /// The tablespaces.
    pub tablespaces: Vec<Tablespace>,
    /// The directory in a tablespace that is this server's, like `PG_15_202209061`.
    pub version_directory: String,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Which file it is.
        identity: FileIdentity,
        /// What of which relation it holds, if it does.
        relation: Option<RelationFile>,
    },
}

/// Something that is backed up.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its path in the snapshot, below the asset's folder.
    pub path: PathBuf,
    /// Where it is.
    pub source: PathBuf,
    /// Whose it is, and since when it is as it is.
    pub metadata: EntryMetadata,
    /// When it was changed last, in seconds since 1970.
    pub modified: i64,
    /// What it is.
    pub kind: EntryKind,
}

/// Something that no backup can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oddity {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub what: &'static str,
}

/// What is backed up of a server, the control file left out, which comes last of all.
#[derive(Debug, Default)]
pub struct Inventory {
    /// The entries; a directory comes before what is in it.
    pub entries: Vec<Entry>,
    /// What was left out although it is not the server's.
    pub oddities: Vec<Oddity>,
}

/// A directory that is still to be looked into.
struct Visit {
    source: PathBuf,
    /// Its path in the snapshot.
    path: PathBuf,
    /// Its path below the data directory or tablespace.
    own: PathBuf,
    depth: usize,
    has_relations: bool,
}

impl Inventory {
    /// Looks through all of a server's directories.
    pub fn take(places: &Places) -> Result<Self, BaseError> {
        let mut inventory = Self::default();
        inventory.scan(Visit {
            source: places.data.clone(),
            path: PathBuf::from(DATA_FOLDER),
            own: PathBuf::new(),
            depth: 0,
            has_relations: false,
        })?;
        for tablespace in &places.tablespaces {
            let folder = Path::new(TABLESPACE_FOLDER).join(tablespace.oid.to_string());
            // A relative location is that of a tablespace in place, within the data directory.
            let location = places.data.join(&tablespace.location);
            if !inventory.add_directory(&folder, &location)? {
                continue;
            }
            let version = &places.version_directory;
            inventory.scan(Visit {
                source: location.join(version),
                path: folder.join(version),
                own: PathBuf::from(version),
                depth: 1,
                has_relations: false,
            })?;
        }
        Ok(inventory)
    }

    /// Returns how many files there are, and how many bytes.
    pub fn totals(&self) -> (u64, u64) {
        self.entries.iter().fold((0, 0), |(files, bytes), entry| match entry.kind {
            EntryKind::Directory => (files, bytes),
            EntryKind::File { size, .. } => (files + 1, bytes + size),
        })
    }

    fn scan(&mut self, top: Visit) -> Result<(), BaseError> {
        if !self.add_directory(&top.path, &top.source)? {
            return Ok(());
        }
        let mut waiting = vec![top];
        while let Some(visit) = waiting.pop() {
            if visit.depth > DEPTH_MAX {
                return Err(BaseError::TooDeep { path: visit.source });
            }
            self.look_into(&visit, &mut waiting)?;
        }
        Ok(())
    }

    /// Adds a directory, unless it is gone.
    fn add_directory(&mut self, path: &Path, source: &Path) -> Result<bool, BaseError> {
        let Some(metadata) = unless_gone(source, fs::metadata(source))? else { return Ok(false) };
        self.add(path, source, &metadata, EntryKind::Directory);
        Ok(true)
    }

    fn add(&mut self, path: &Path, source: &Path, metadata: &Metadata, kind: EntryKind) {
        self.entries.push(Entry {
            path: path.to_owned(),
            source: source.to_owned(),
            metadata: EntryMetadata::from(metadata),
            modified: metadata.mtime(),
            kind,
        });
    }

    fn look_into(&mut self, visit: &Visit, waiting: &mut Vec<Visit>) -> Result<(), BaseError> {
        let names = names(&visit.source)?;
        let unlogged = if visit.has_relations { unlogged(&names) } else { BTreeSet::new() };
        for name in &names {
            let relation = name.to_str().map_or(RelationName::Other, RelationName::parse);
            let relation = if visit.has_relations { relation } else { RelationName::Other };
            if is_left_out(relation, |number| unlogged.contains(&number)) {
                continue;
            }
            let below = Visit {
                source: visit.source.join(name),
                path: visit.path.join(name),
                own: visit.own.join(name),
                depth: visit.depth + 1,
                has_relations: false,
            };
            let relation = match relation {
                RelationName::Relation(file) => Some(file),
                RelationName::Temporary | RelationName::Other => None,
            };
            self.look_at(below, relation, waiting)?;
        }
        Ok(())
    }

    fn look_at(
        &mut self,
        found: Visit,
        relation: Option<RelationFile>,
        waiting: &mut Vec<Visit>,
    ) -> Result<(), BaseError> {
        let verdict = exclusion(&found.own);
        if verdict == Exclusion::Dropped || found.own == Path::new(CONTROL_FILE) {
            return Ok(());
        }
        let source = &found.source;
        let Some(metadata) = unless_gone(source, fs::metadata(source))? else {
            if source.is_symlink() {
                self.oddities.push(Oddity { path: found.source, what: "a link to nothing" });
            }
            return Ok(());
        };
        if metadata.is_dir() {
            self.add(&found.path, source, &metadata, EntryKind::Directory);
            if verdict == Exclusion::Emptied {
                self.add_wal_directories(&found, &metadata);
            } else {
                let has_relations = has_relations(&found.own);
                waiting.push(Visit { has_relations, ..found });
            }
        } else if metadata.is_file() {
            let (size, identity) = (metadata.len(), FileIdentity::from(&metadata));
            self.add(&found.path, source, &metadata, EntryKind::File { size, identity, relation });
        } else {
            self.oddities.push(Oddity { path: found.source, what: "neither file nor directory" });
        }
        Ok(())
    }

    /// Adds the directories that a server wants below an emptied one.
    fn add_wal_directories(&mut self, found: &Visit, metadata: &Metadata) {
        for directory in WAL_DIRECTORIES {
            if let Ok(rest) = Path::new(directory).strip_prefix(&found.own)
                && !rest.as_os_str().is_empty()
            {
                let (path, source) = (found.path.join(rest), found.source.join(rest));
                self.add(&path, &source, metadata, EntryKind::Directory);
            }
        }
    }
}

/// Tells whether a directory holds relations: `global`, `base/5`, `PG_15_202209061/5`.
pub(crate) fn has_relations(own: &Path) -> bool {
    let names: Vec<_> = own.iter().filter_map(OsStr::to_str).collect();
    match names.as_slice() {
        ["global"] => true,
        [above, database] => {
            (*above == "base" || above.starts_with("PG_"))
                && database.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => false,
    }
}

/// Returns the numbers of the relations that are not logged.
fn unlogged(names: &[std::ffi::OsString]) -> BTreeSet<u32> {
    let files = names.iter().filter_map(|name| match RelationName::parse(name.to_str()?) {
        RelationName::Relation(file) => Some(file),
        RelationName::Temporary | RelationName::Other => None,
    });
    files.filter(|file| file.fork == Fork::Init).map(|file| file.number).collect()
}

/// Lists a directory in the order of names; one that is gone is empty.
fn names(directory: &Path) -> Result<Vec<std::ffi::OsString>, BaseError> {
    let Some(entries) = unless_gone(directory, fs::read_dir(directory))? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Some(entry) = unless_gone(directory, entry)? {
            names.push(entry.file_name());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What is not there any more is no error: the log says that it was removed.
fn unless_gone<T>(path: &Path, result: io::Result<T>) -> Result<Option<T>, BaseError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BaseError::io("look at", path, source)),
    }
}

#[cfg(test)]
mod tests;
