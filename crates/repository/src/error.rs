//! Why an operation on a repository failed, and what is wrong with a damaged object.
//!
//! [`RepositoryError`] is the one error of this crate's boundary. A damaged object is always a
//! [`Corruption`]: it names the object by its full id, so that the message can be pasted into a
//! command, and carries the [`Defect`] as its source.

use std::fmt;
use std::io;
use std::path::PathBuf;

use lifeboat_model::{
    BlobId, ByteSize, Cancelled, Classify, ErrorKind, Exit, Hint, IndexId, KeyId, LockId, PackId,
    SnapshotId,
};
use lifeboat_tiers::TierError;

use crate::blob::BlobKind;
use crate::compress::CompressionError;
use crate::config::ConfigError;
use crate::crypto::OpenError;
use crate::key::KeyFileError;
use crate::pack::HeaderError;
use crate::tree::TreeError;

/// An operation on a repository failed.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is no config at the address.
    #[error("there is no repository at {address}")]
    NoRepository {
        /// The repository's address.
        address: String,
    },
    /// A repository was to be made where one is.
    #[error("there is a repository at {address} already")]
    AlreadyExists {
        /// The repository's address.
        address: String,
    },
    /// The repository is of another version of the format.
    #[error(
        "the repository at {address} has format version {version}; only version 2 is supported"
    )]
    UnsupportedVersion {
        /// The repository's address.
        address: String,
        /// Its version.
        version: u32,
    },
    /// The repository has no key file that could be opened.
    #[error("there is no key file at {address}, so that no password opens the repository")]
    NoKeyFile {
        /// The repository's address.
        address: String,
    },
    /// No key file opened with the given key.
    #[error("the password opens none of the key files at {address}, {tried} of which were tried")]
    WrongKey {
        /// The repository's address.
        address: String,
        /// How many key files were tried.
        tried: usize,
    },
    /// A key file asks for more than this program is willing to spend.
    #[error("key file {key} at {address} cannot be used")]
    UnusableKey {
        /// The repository's address.
        address: String,
        /// The key file, all digits.
        key: String,
        /// What it asks for.
        #[source]
        source: KeyFileError,
    },
    /// Somebody else holds a lock that stands in the way.
    #[error("the repository at {address} is locked by {holder}")]
    Locked {
        /// The repository's address.
        address: String,
        /// Who holds the lock, since when.
        holder: String,
    },
    /// The lock that is held could not be refreshed, so that others may take it for stale.
    #[error("the lock on the repository at {address} was not refreshed for {minutes} minutes")]
    LockLost {
        /// The repository's address.
        address: String,
        /// For how long.
        minutes: u64,
    },
    /// A snapshot has no such path.
    #[error("{} is not in the snapshot", path.display())]
    NoSuchPath {
        /// What was asked for.
        path: PathBuf,
        /// The root of the snapshot.
        tree: BlobId,
    },
    /// What was asked for as a file is something else.
    #[error("{} is not a file in the snapshot", path.display())]
    NotAFile {
        /// What was asked for.
        path: PathBuf,
    },
    /// Snapshots lack something, and packs are there that no index lists and that may hold it.
    #[error("snapshots of {address} lack data that may lie in {count} packs that no index lists")]
    UnlistedPacks {
        /// Which repository.
        address: String,
        /// How many packs.
        count: usize,
    },
    /// A restore's target holds something already.
    #[error("{} is not empty", path.display())]
    TargetNotEmpty {
        /// The target.
        path: PathBuf,
    },
    /// A restore would remove everything of this system that the snapshot does not have.
    #[error("{} is this system's root: what is not in the snapshot would be removed", path.display())]
    WouldDeleteSystem {
        /// The target.
        path: PathBuf,
    },
    /// Stored bytes are not what they should be.
    #[error(transparent)]
    Corrupt(#[from] Box<Corruption>),
    /// No snapshot has this id, or there is none at all.
    #[error("no snapshot at {address} matches `{wanted}`")]
    NoSnapshot {
        /// The repository's address.
        address: String,
        /// What was asked for.
        wanted: String,
    },
    /// Several ids begin with the prefix.
    #[error("{} {what} at {address} begin with `{prefix}`: {}", candidates.len(), first(candidates))]
    AmbiguousId {
        /// The repository's address.
        address: String,
        /// What was looked for, in the plural: `snapshots`.
        what: &'static str,
        /// What was asked for.
        prefix: String,
        /// All that begin with it.
        candidates: Vec<String>,
    },
    /// No id begins with the digits.
    #[error("none of the {what} at {address} begins with `{digits}`")]
    NoSuchId {
        /// The repository's address.
        address: String,
        /// What was looked for, in the plural: `packs`.
        what: &'static str,
        /// What was asked for.
        digits: String,
    },
    /// The key file that the repository was opened with was to be removed.
    #[error("key file {key} opened the repository at {address} and cannot be removed")]
    KeyInUse {
        /// The repository's address.
        address: String,
        /// The key file, all digits.
        key: String,
    },
    /// There are as many key files as are ever tried.
    #[error(
        "the repository at {address} has {count} key files already, and no more are ever tried"
    )]
    TooManyKeys {
        /// The repository's address.
        address: String,
        /// How many there are.
        count: usize,
    },
    /// What was asked for as a directory is something else.
    #[error("{} is not a directory in the snapshot", path.display())]
    NotADirectory {
        /// What was asked for.
        path: PathBuf,
    },
    /// A directory cannot be stored as a tree.
    #[error("cannot store a directory")]
    UnstorableTree {
        /// What stands in the way.
        #[from]
        source: TreeError,
    },
    /// Something is longer than the format can hold.
    #[error("{what} of {length} bytes exceeds the format's limit of {limit}")]
    TooLarge {
        /// What was to be stored.
        what: &'static str,
        /// Its length in bytes.
        length: u64,
        /// The longest the format can hold, in bytes.
        limit: u64,
    },
    /// A file on this machine could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted, like `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// There is no room for the rest of a restore.
    #[error("cannot write {}: there is no room for the {missing} that are not restored yet", path.display())]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// How long the files are together that are not whole yet.
        missing: ByteSize,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The local copy of the index was damaged and could not be made anew.
    #[error("the local index {} is damaged and could not be made anew", path.display())]
    LocalIndexDamaged {
        /// The file.
        path: PathBuf,
    },
    /// The tier did not do what was asked.
    #[error(transparent)]
    Tier(#[from] TierError),
    /// The work was asked to stop and did.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Classify for RepositoryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRepository { .. }
            | Self::NoKeyFile { .. }
            | Self::NoSnapshot { .. }
            | Self::NoSuchId { .. }
            | Self::NoSuchPath { .. } => ErrorKind::NotFound,
            Self::AlreadyExists { .. }
            | Self::UnsupportedVersion { .. }
            | Self::Locked { .. }
            | Self::KeyInUse { .. }
            | Self::TooManyKeys { .. }
            | Self::UnlistedPacks { .. }
            | Self::TargetNotEmpty { .. } => ErrorKind::Conflict,
            Self::LockLost { .. } | Self::LocalIndexDamaged { .. } => ErrorKind::Unavailable,
            Self::WrongKey { .. }
            | Self::UnusableKey { .. }
            | Self::Io { .. }
            | Self::NoRoom { .. } => ErrorKind::Denied,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::AmbiguousId { .. }
            | Self::NotAFile { .. }
            | Self::NotADirectory { .. }
            | Self::WouldDeleteSystem { .. } => ErrorKind::Usage,
            Self::UnstorableTree { .. } | Self::TooLarge { .. } => ErrorKind::Bug,
            Self::Tier(source) => source.kind(),
            Self::Cancelled(_) => ErrorKind::Cancelled,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NoRepository { .. } => Exit::NoRepository,
            Self::WrongKey { .. } => Exit::WrongKey,
            Self::Locked { .. } => Exit::Locked,
            _ => self.kind().exit(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::NoRepository { address } => Some(Hint::new(format!(
                "check the address; if {address} is new, make a repository with `lifeboat repo init`"
            ))),
            Self::AlreadyExists { .. } => Some(Hint::new(
                "open it with its password; lifeboat never makes a new repository over one that is there",
            )),
            Self::UnsupportedVersion { version: 1, .. } => {
                Some(Hint::new("bring it to version 2 first: `restic migrate upgrade_repo_v2`"))
            }
            Self::UnsupportedVersion { .. } => {
                Some(Hint::new("a newer version of lifeboat or restic may know it"))
            }
            Self::Locked { .. } => Some(Hint::new(
                "wait for it to end; if its process is gone, `lifeboat repo unlock` removes stale locks",
            )),
            Self::UnlistedPacks { .. } => Some(Hint::new(
                "`lifeboat repo repair index` lists them; what is lost even so can be left out after that",
            )),
            Self::LockLost { .. } => Some(Hint::new(
                "see why the repository could not be written for so long, then run the command again: it goes on from what was stored",
            )),
            Self::NoSuchPath { .. } => Some(Hint::new(
                "`lifeboat repo ls` lists what is in a snapshot; a path begins at its root, like /srv/www",
            )),
            Self::NotAFile { .. } => {
                Some(Hint::new("`lifeboat repo ls` lists what is in a snapshot"))
            }
            Self::NotADirectory { path } => Some(Hint::new(format!(
                "name the directory that it lies in; `--include {}` restores it alone, `lifeboat repo cat` prints it",
                path.display()
            ))),
            Self::TargetNotEmpty { .. } => Some(Hint::new(
                "restore into an empty or new directory; `--overwrite if-changed` goes on with an interrupted restore",
            )),
            Self::NoRoom { .. } => Some(Hint::new(
                "make room, then run the command again with `--overwrite if-changed`: it goes on where it was",
            )),
            Self::WouldDeleteSystem { .. } => {
                Some(Hint::new("say by `--include` below what files may be removed"))
            }
            Self::NoSnapshot { .. } => {
                Some(Hint::new("`lifeboat repo snapshots` lists what is there"))
            }
            Self::LocalIndexDamaged { path } => {
                Some(Hint::new(format!("remove {} and run the command again", path.display())))
            }
            Self::AmbiguousId { .. } => Some(Hint::new("give more digits of the id")),
            Self::NoSuchId { what: KEY_FILES, .. } => {
                Some(Hint::new("`lifeboat repo key list` lists them with their ids"))
            }
            Self::NoSuchId { .. } => {
                Some(Hint::new("`lifeboat repo list` lists the ids of what is there"))
            }
            Self::Corrupt(corruption) => Some(corruption.hint()),
            Self::Tier(source) => source.hint(),
            _ => self.hint_on_keys(),
        }
    }
}

impl RepositoryError {
    /// Returns what to do about the passwords that open a repository.
    fn hint_on_keys(&self) -> Option<Hint> {
        match self {
            Self::NoKeyFile { .. } => Some(Hint::new(
                "put the files below `keys` back from a copy of the repository, or of another one with the same master key",
            )),
            Self::WrongKey { .. } => Some(Hint::new(
                "check that it is the password of this repository, with nothing before or behind it",
            )),
            Self::UnusableKey { .. } => Some(Hint::new(
                "this key file was not made by restic or lifeboat; remove it once another key file opens the repository",
            )),
            Self::TooManyKeys { .. } => {
                Some(Hint::new("remove one that is not needed with `lifeboat repo key remove`"))
            }
            Self::KeyInUse { .. } => Some(Hint::new(
                "open the repository with another password to remove this one, or change it with `lifeboat repo key passwd`",
            )),
            _ => None,
        }
    }
}

/// What key files are called where one is looked for by its id.
pub const KEY_FILES: &str = "key files";

/// How many candidates an error names.
const CANDIDATES_SHOWN: usize = 4;

fn first(candidates: &[String]) -> String {
    let shown = candidates.iter().take(CANDIDATES_SHOWN).map(String::as_str);
    let more = (candidates.len() > CANDIDATES_SHOWN).then_some("…");
    shown.chain(more).collect::<Vec<_>>().join(", ")
}

/// One damaged object.
#[derive(Debug, thiserror::Error)]
#[error("{object} at {address} is damaged")]
pub struct Corruption {
    /// The repository's address.
    pub address: String,
    /// Which object.
    pub object: StoredObject,
    /// What is wrong with it.
    #[source]
    pub defect: Defect,
}

impl Corruption {
    fn hint(&self) -> Hint {
        Hint::new(match (&self.object, &self.defect) {
            (StoredObject::Config | StoredObject::Key(_), _) => {
                "copy the object back from another copy of this repository"
            }
            (StoredObject::Index(_), _) => {
                "the data may be whole: `lifeboat repo repair index` makes the index anew from the packs"
            }
            (StoredObject::Lock(_), _) => "`lifeboat repo unlock --remove-all` removes all locks",
            (StoredObject::Snapshot(_), _) => {
                "restore another snapshot, or this one from another tier; `lifeboat repo forget ID` removes one that cannot be read"
            }
            (StoredObject::Pack(_) | StoredObject::Blob { .. }, _) => {
                "`lifeboat repo check --read-data` names all that is damaged and how it is mended; what is lost can be restored from another tier"
            }
        })
    }
}

/// A stored object, as messages name it: with all digits of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredObject {
    /// The config.
    Config,
    /// A key file.
    Key(KeyId),
    /// A lock file.
    Lock(LockId),
    /// A snapshot file.
    Snapshot(SnapshotId),
    /// An index file.
    Index(IndexId),
    /// A pack file.
    Pack(PackId),
    /// A blob, and the pack and offset where the index has it, if it has.
    Blob {
        /// What sort of blob.
        kind: BlobKind,
        /// The blob.
        id: BlobId,
        /// The pack and the offset in it.
        at: Option<(PackId, u32)>,
    },
}

impl StoredObject {
    /// Returns the pack that it is or lies in, if that is known.
    pub const fn pack(&self) -> Option<PackId> {
        match self {
            Self::Pack(pack) | Self::Blob { at: Some((pack, _)), .. } => Some(*pack),
            _ => None,
        }
    }
}

impl fmt::Display for StoredObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => f.write_str("config"),
            Self::Key(id) => write!(f, "key file {}", id.to_hex()),
            Self::Lock(id) => write!(f, "lock {}", id.to_hex()),
            Self::Snapshot(id) => write!(f, "snapshot {}", id.to_hex()),
            Self::Index(id) => write!(f, "index {}", id.to_hex()),
            Self::Pack(id) => write!(f, "pack {}", id.to_hex()),
            Self::Blob { kind, id, at: None } => write!(f, "{kind} blob {}", id.to_hex()),
            Self::Blob { kind, id, at: Some((pack, offset)) } => {
                write!(f, "{kind} blob {} in pack {} at {offset}", id.to_hex(), pack.to_hex())
            }
        }
    }
}

/// What is wrong with a damaged object.
#[derive(Debug, thiserror::Error)]
pub enum Defect {
    /// It should be there and is not.
    #[error("it is missing")]
    Missing,
    /// A snapshot or tree refers to a blob that no index lists.
    #[error("no index lists it")]
    NotIndexed,
    /// Its bytes do not hash to its name.
    #[error("its content hashes to {}", hex::encode(actual))]
    Hash {
        /// What the bytes hash to.
        actual: [u8; 32],
    },
    /// It has the wrong length.
    #[error("it has {actual} bytes instead of {expected}")]
    Length {
        /// How many bytes it should have.
        expected: u64,
        /// How many it has.
        actual: u64,
    },
    /// Its seal does not open.
    #[error(transparent)]
    Seal(#[from] OpenError),
    /// Its compressed bytes do not decompress.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// It begins with a byte that stands for no known encoding.
    #[error("it begins with {first:#04x}, which is no known encoding")]
    Encoding {
        /// Its first byte.
        first: u8,
    },
    /// It is not the JSON document that it should be.
    #[error("it is not the document that it should be")]
    Json(#[from] serde_json::Error),
    /// The config cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The pack's header does not describe the pack.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The tree is not as a tree must be.
    #[error(transparent)]
    Tree(#[from] TreeError),
}
