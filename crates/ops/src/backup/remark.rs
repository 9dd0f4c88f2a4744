//! What a person should know of a backup in which nothing failed.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

/// Something about an asset that was backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "remark")]
pub enum Remark {
    /// A directory was left out by rule: a PostgreSQL server runs in it.
    LiveDatabase {
        /// Which directory.
        #[serde(serialize_with = "as_shown")]
        path: PathBuf,
    },
    /// Something in a server's directories that no backup can have.
    NotStored {
        /// Where it is.
        #[serde(serialize_with = "as_shown")]
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// All pages of a server were hashed, since the backup before says nothing of them.
    AllRead {
        /// Why not.
        why: String,
    },
    /// Pages of a relation are damaged on the server; they were stored as they are.
    DamagedPages {
        /// In which file, by its path in the snapshot.
        #[serde(serialize_with = "as_shown")]
        path: PathBuf,
        /// How many.
        pages: u64,
    },
}

/// Writes a path as it is shown: serde itself refuses one that is not UTF-8.
fn as_shown<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LiveDatabase { path } => write!(
                f,
                "{} is left out: a PostgreSQL server runs in it, which an asset of \
                 kind = \"postgres\" protects",
                path.display()
            ),
            Self::NotStored { path, what } => {
                write!(f, "{} is left out: it is {what}", path.display())
            }
            Self::AllRead { why } => {
                write!(
                    f,
                    "all pages were compared, since the base backup before does not count: {why}"
                )
            }
            Self::DamagedPages { path, pages } => {
                write!(f, "{}: damaged pages: {pages}", path.display())
            }
        }
    }
}
