//! Validated object paths: relative, slash-separated, without tricks.

use std::fmt;
use std::str::FromStr;

/// A text cannot be an object path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` cannot be an object path: expected parts of letters, digits, `.`, `-`, `_`, joined by `/`"
)]
pub struct ParsePathError {
    text: String,
}

fn is_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// The path of an object: never absolute, never with `.`, `..` or hidden parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPath(String);

impl ObjectPath {
    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl FromStr for ObjectPath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.split('/').all(is_part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParsePathError { text: text.to_owned() })
        }
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A directory-like prefix of object paths; the empty one contains everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectPrefix(Option<ObjectPath>);

impl ObjectPrefix {
    /// The prefix of everything.
    pub const ALL: Self = Self(None);

    /// Returns the path, unless it is the prefix of everything.
    pub const fn path(&self) -> Option<&ObjectPath> {
        self.0.as_ref()
    }

    /// Tells whether `path` lies below this prefix.
    pub fn contains(&self, path: &ObjectPath) -> bool {
        self.0.as_ref().is_none_or(|prefix| {
            path.as_str().strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

impl From<ObjectPath> for ObjectPrefix {
    fn from(path: ObjectPath) -> Self {
        Self(Some(path))
    }
}

impl FromStr for ObjectPrefix {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self::ALL) } else { Ok(Self(Some(text.parse()?))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_escape_their_tier() {
        for bad in ["", "/a", "a/", "a//b", "../a", "a/..", "a/./b", ".a", "a b", "a\\b", "ä"] {
            assert!(bad.parse::<ObjectPath>().is_err(), "{bad}");
        }
        assert!("wal/7/00000001/0A.zst.age".parse::<ObjectPath>().is_ok());
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let prefix: ObjectPrefix = "repo/data".parse().unwrap();
        assert!(prefix.contains(&"repo/data/00/ff".parse().unwrap()));
        assert!(!prefix.contains(&"repo/database".parse().unwrap()));
        assert!(ObjectPrefix::ALL.contains(&"x".parse().unwrap()));
    }
}
