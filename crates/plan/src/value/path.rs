//! Paths of the host, and paths beside the plan.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use crate::value::text_value;

/// A path from the root of the host, without `.` and `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPath(PathBuf);

/// A path of a file beside the plan: relative, and never out of the plan's folder, so that the
/// plan and its files can be stored and found together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanPath(String);

/// A text is not a path of the wanted sort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePathError {
    /// It does not start at the root.
    #[error("`{text}` is not an absolute path: start it with `/`")]
    NotAbsolute {
        /// What was written.
        text: String,
    },
    /// It goes up again.
    #[error("`{text}` holds `..`: write the path that it leads to")]
    GoesUp {
        /// What was written.
        text: String,
    },
    /// It leaves the plan's folder.
    #[error(
        "`{text}` is not inside the plan's folder: write a path relative to the plan, without `..`"
    )]
    OutsidePlan {
        /// What was written.
        text: String,
    },
    /// It holds a character that no path has.
    #[error("a path cannot hold the character NUL")]
    Nul,
}

impl HostPath {
    /// Returns it as a path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Tells whether `other` is this path or lies below it.
    pub fn contains(&self, other: &Path) -> bool {
        other.starts_with(&self.0)
    }
}

impl AsRef<Path> for HostPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl FromStr for HostPath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let own = || text.to_owned();
        let path = Path::new(text);
        if text.contains('\0') {
            return Err(ParsePathError::Nul);
        }
        if !path.is_absolute() {
            return Err(ParsePathError::NotAbsolute { text: own() });
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(ParsePathError::GoesUp { text: own() });
        }
        // Collecting the components drops `.`, doubled and trailing slashes.
        Ok(Self(path.components().collect()))
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl PlanPath {
    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PlanPath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('\0') {
            return Err(ParsePathError::Nul);
        }
        let parts: Option<Vec<_>> = Path::new(text)
            .components()
            .filter(|part| *part != Component::CurDir)
            .map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        match parts {
            Some(parts) if !parts.is_empty() => Ok(Self(parts.join("/"))),
            _ => Err(ParsePathError::OutsidePlan { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for PlanPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

text_value! {
    HostPath: "bad-path", { "pattern": "^/" };
    PlanPath: "bad-path", { "pattern": "^[^/]" };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_paths_are_absolute_and_plain() {
        let path: HostPath = "/var//www/./media/".parse().unwrap();
        assert_eq!(path.to_string(), "/var/www/media");
        assert!(path.contains(Path::new("/var/www/media/a")));
        assert!(!path.contains(Path::new("/var/www/media2")));
        for bad in ["", "var", "./x", "/a/../b", "/a\0"] {
            assert!(bad.parse::<HostPath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn plan_paths_stay_inside() {
        assert_eq!("./runbooks//a.toml".parse::<PlanPath>().unwrap().as_str(), "runbooks/a.toml");
        for bad in ["", ".", "/etc/a.toml", "../a.toml", "a/../../b"] {
            assert!(bad.parse::<PlanPath>().is_err(), "{bad}");
        }
    }
}
